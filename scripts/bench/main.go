// Bench measures what sbx costs beside other ways to start a command, and beside
// the targets that the project has set itself. `make bench` builds it as the
// caller and runs it as a normal user:
//
//	bin/bench [-n ROUNDS] [-part LIST] [-strict]
//
// Everything that is compared with each other runs interleaved, round by round,
// with the order rotated: on a shared machine two loops one after the other would
// compare two moments (docs/adr/0013-bench.md).
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// A part is one table of the benchmark.
type part struct {
	name string
	run  func(*bench) error
}

// parts are all tables in the order in which they are printed.
var parts = []part{
	{"start", (*bench).start},
	{"library", (*bench).library},
	{"heap", (*bench).heap},
	{"memory", (*bench).memory},
	{"filter", (*bench).filter},
	{"images", (*bench).images},
}

// podman is the name of the contender that the targets of images refer to, but
// for builds, where it is buildah.
const (
	podman  = "podman"
	buildah = "buildah"
)

// A bench is one run of the program: its settings, and the targets missed so far.
type bench struct {
	rounds int    // measured rounds of each comparison
	warmUp int    // rounds before them whose times are dropped
	sbx    string // path of the sbx to measure
	folder string // a private folder with a few files, the working folder of each contender
	missed []string
}

func main() {
	// The part heap needs processes of its own and executes this program for
	// them; such a call never reaches the flags.
	if len(os.Args) == 3 && os.Args[1] == heapWorker {
		size, err := strconv.Atoi(os.Args[2])
		if err == nil {
			err = serveHeap(size)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	b := &bench{}
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	chosen := flag.String("part", strings.Join(names, ","), "the tables to make, as a comma `list`")
	strict := flag.Bool("strict", false, "exit 1 when a target is missed")
	flag.IntVar(&b.rounds, "n", 200, "measured `rounds` of each comparison")
	flag.IntVar(&b.warmUp, "warm-up", 10, "`rounds` before them")
	flag.StringVar(&b.sbx, "sbx", besideSelf("sbx"), "`path` of the sbx to measure")
	flag.Parse()
	if flag.NArg() > 0 || b.rounds < 1 || b.warmUp < 0 {
		flag.Usage()
		os.Exit(2)
	}
	for name := range strings.SplitSeq(*chosen, ",") {
		if !slices.Contains(names, name) {
			fmt.Fprintf(os.Stderr, "bench: no part %q: there are %s\n", name, strings.Join(names, ", "))
			os.Exit(2)
		}
	}
	if err := b.all(*chosen); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if *strict && len(b.missed) > 0 {
		os.Exit(1)
	}
}

// besideSelf returns the path of a file in the folder of this program, which is
// bin/ of the clone.
func besideSelf(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(self), name)
}

// all makes the chosen tables, one after the other.
func (b *bench) all(chosen string) error {
	if os.Getuid() == 0 {
		return fmt.Errorf("run it as a normal user: make bench does")
	}
	folder, err := os.MkdirTemp("", "sbx-bench.")
	if err != nil {
		return err
	}
	defer func() {
		if err := os.RemoveAll(folder); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}()
	b.folder = folder
	for _, name := range []string{"a.txt", "b.txt", "c.txt"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(name+"\n"), 0o644); err != nil {
			return err
		}
	}
	// The library shows the working folder of its process, as sbx does.
	if err := os.Chdir(folder); err != nil {
		return err
	}
	fmt.Println(machine())
	for _, p := range parts {
		if !slices.Contains(strings.Split(chosen, ","), p.name) {
			continue
		}
		fmt.Println()
		if err := p.run(b); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	fmt.Println()
	if len(b.missed) == 0 {
		fmt.Println("no target missed")
	} else {
		fmt.Println("targets missed:")
		for _, miss := range b.missed {
			fmt.Println("  " + miss)
		}
	}
	return nil
}

// machine describes the host in one line: without it a figure in milliseconds
// says nothing.
func machine() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		release = []byte("unknown")
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		load = []byte("unknown")
	}
	return fmt.Sprintf("Linux %s, %s, %d cores, load %s, uid %d",
		strings.TrimSpace(string(release)), runtime.GOARCH, runtime.NumCPU(),
		strings.Join(strings.Fields(string(load))[:min(3, len(strings.Fields(string(load))))], " "), os.Getuid())
}

// judge returns the verdict on a figure that may be at most (or, with atLeast, at
// least) its target, and remembers a miss under what.
func (b *bench) judge(what string, reached, target float64, atLeast bool) string {
	if (atLeast && reached >= target) || (!atLeast && reached <= target) {
		return "OK"
	}
	sign := "≤"
	if atLeast {
		sign = "≥"
	}
	b.missed = append(b.missed, fmt.Sprintf("%s: %.2f, target %s %.2f", what, reached, sign, target))
	return "MISS"
}
