package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// boxes are sbx's own commands with a state folder of the test's.
type boxes struct {
	t   *testing.T
	env []string
	dir string
}

func newBoxes(t *testing.T) *boxes {
	t.Helper()
	need(t, "userns", "overlay", "built")
	dir, err := os.MkdirTemp("/var/tmp", "sbx-boxes-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &boxes{t, append(os.Environ(), "XDG_RUNTIME_DIR="+dir, "XDG_STATE_HOME="+dir), dir}
}

// sbx runs the program that make builds, and returns what it printed.
func (b *boxes) sbx(args ...string) (stdout, stderr string, code int) {
	program, err := filepath.Abs(builtSbx)
	if err != nil {
		b.t.Error(err)
	}
	cmd := exec.Command(program, args...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = b.env, b.dir, &out, &errs
	_ = cmd.Run()
	return strings.TrimSpace(out.String()), errs.String(), cmd.ProcessState.ExitCode()
}

// list is what sbx ps --json -a says.
func (b *boxes) list() (list struct {
	Sandboxes []struct {
		ID, Name, Status string
		Pid              int
	}
},
) {
	out, errs, _ := b.sbx("ps", "-a", "--json")
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		b.t.Fatalf("%v: %s%s", err, out, errs)
	}
	return list
}

// record reads a field of a record that is a process.
func (b *boxes) record(id string) (r struct {
	Monitor, Init, CMD struct{ Pid int }
},
) {
	text, err := os.ReadFile(filepath.Join(b.dir, "sbx", id, "state.json"))
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// TestMonitorKilled: a SIGKILL of the monitor takes the sandbox along, and what it
// leaves is dead, and can be removed.
func TestMonitorKilled(t *testing.T) {
	b := newBoxes(t)
	id, errs, code := b.sbx("run", "-d", "--name", "web", "--", "sh", "-c", "sleep 1000 & sleep 1000")
	if code != 0 {
		t.Fatal(errs)
	}
	r := b.record(id)
	if err := unix.Kill(r.Monitor.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); (running(r.CMD.Pid) || running(r.Init.Pid)) && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	if running(r.CMD.Pid) || running(r.Init.Pid) {
		t.Error("the sandbox outlives its monitor")
	}
	if l := b.list(); len(l.Sandboxes) != 1 || l.Sandboxes[0].Status != "dead" {
		t.Errorf("%+v", l)
	}
	for _, args := range [][]string{{"exec", "web", "true"}, {"kill", "web"}, {"kill", "-s", "TERM", "web"}} {
		if _, errs, code := b.sbx(args...); code != 125 || !strings.Contains(errs, "web does not run: dead: its monitor was killed") {
			t.Errorf("%s: %d, %s", args, code, errs)
		}
	}
	if out, errs, code := b.sbx("wait", "web"); code != 0 || out != "137" {
		t.Errorf("wait: %d, %s%s", code, out, errs)
	}
	if _, errs, code := b.sbx("stop", "web"); code != 0 {
		t.Errorf("stop: %s", errs)
	}
	if _, errs, code := b.sbx("rm", "web"); code != 0 {
		t.Errorf("rm: %s", errs)
	}
	b.empty()
}

func running(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

// empty holds that nothing is left of any sandbox.
func (b *boxes) empty() {
	b.t.Helper()
	for _, pattern := range []string{"sbx/[a-z]*", "sbx/.names/*", "sbx/.new-*", "sbx/.dead-*"} {
		if left, _ := filepath.Glob(filepath.Join(b.dir, pattern)); len(left) > 0 {
			b.t.Errorf("left behind: %q", left)
		}
	}
}

// TestReusedNumber: where a record's numbers are another process's by now, none of
// the verbs touches it, though the monitor lives.
func TestReusedNumber(t *testing.T) {
	b := newBoxes(t)
	victim := exec.Command("sleep", "1000.0004")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = victim.Process.Kill()
		_ = victim.Wait()
	}()
	time.Sleep(20 * time.Millisecond) // a process is told by its start in ticks of 10 ms
	id, errs, code := b.sbx("run", "-d", "--name", "web", "sleep", "1000")
	if code != 0 {
		t.Fatal(errs)
	}
	r := b.record(id)
	at := filepath.Join(b.dir, "sbx", id, "state.json")
	text, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	forged := string(text)
	for _, pid := range []int{r.Init.Pid, r.CMD.Pid} {
		forged = strings.ReplaceAll(forged, fmt.Sprintf(`"pid": %d,`, pid), fmt.Sprintf(`"pid": %d,`, victim.Process.Pid))
	}
	if forged == string(text) {
		t.Fatal("nothing is forged")
	}
	if err := os.WriteFile(at, []byte(forged), 0o600); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(time.Second, func() { _ = unix.Kill(r.Init.Pid, unix.SIGKILL) }) // for those that wait
	for _, args := range [][]string{{"kill", "web"}, {"exec", "web", "true"}, {"stop", "-t", "0", "web"}, {"kill", "-s", "KILL", id}, {"rm", "-f", "web"}} {
		b.sbx(args...)
		if !running(victim.Process.Pid) {
			t.Fatalf("%s has killed a process that has the number by now", args)
		}
	}
	b.empty()
}

// TestTwentyAtOnce: twenty start at once with one name each, and are listed,
// joined and removed at once; two that remove the same do not disturb each other.
func TestTwentyAtOnce(t *testing.T) {
	b := newBoxes(t)
	const n = 20
	at := func(do func(name string)) {
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { do("box" + strconv.Itoa(i)) })
		}
		wg.Wait()
	}
	at(func(name string) {
		if _, errs, code := b.sbx("run", "-d", "--name", name, "sleep", "1000"); code != 0 {
			t.Errorf("%s: %s", name, errs)
		}
	})
	l := b.list()
	for _, s := range l.Sandboxes {
		if s.Status != "running" {
			t.Errorf("%+v", s)
		}
	}
	if len(l.Sandboxes) != n {
		t.Errorf("%d sandboxes", len(l.Sandboxes))
	}
	at(func(name string) {
		if out, errs, code := b.sbx("exec", name, "hostname"); code != 0 || out != "sandbox" {
			t.Errorf("%s: %s%s", name, out, errs)
		}
	})
	at(func(name string) {
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if _, errs, code := b.sbx("rm", "-f", name); code != 0 && !strings.Contains(errs, "no sandbox ") {
					t.Errorf("%s: %s", name, errs)
				}
			})
		}
		wg.Wait()
	})
	b.empty()
	for _, s := range l.Sandboxes {
		if running(s.Pid) {
			t.Errorf("%s runs on", s.Name)
		}
	}
}

// TestStateIsHidden: a folder of the host that holds the state is shown for
// writing, but not the state: what is there decides what sbx signals and joins.
func TestStateIsHidden(t *testing.T) {
	b := newBoxes(t)
	if _, errs, code := b.sbx("run", "--rw", b.dir, "--", "sh", "-c", "echo own >"+b.dir+"/file; ! touch "+b.dir+"/sbx/forged"); code != 0 {
		t.Error(errs)
	}
	if text, err := os.ReadFile(filepath.Join(b.dir, "file")); err != nil || string(text) != "own\n" {
		t.Errorf("the folder itself is not written to: %q, %v", text, err)
	}
	b.empty()
}

// TestDetachedFromTheCaller: who reads what sbx run -d prints to the end does not
// wait for the sandbox, and neither the end of the caller's session nor a full
// pipe reaches it.
func TestDetachedFromTheCaller(t *testing.T) {
	b := newBoxes(t)
	program, err := filepath.Abs(builtSbx)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("setsid", "-w", "sh", "-c", program+` run -d --name web -- sh -c 'head -c 1000000 /dev/zero; echo done; sleep 1000' 3>&1 2>&1`)
	cmd.Env, cmd.Dir = b.env, b.dir
	begin := time.Now()
	out, err := cmd.CombinedOutput() // until everybody has closed it
	if err != nil || time.Since(begin) > 30*time.Second {
		t.Fatalf("%v after %v: %s", err, time.Since(begin), out)
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if out, _, _ := b.sbx("logs", "web"); strings.HasSuffix(out, "done") {
			break
		}
	}
	if out, _, _ := b.sbx("logs", "web"); len(out) != 1000004 {
		t.Errorf("%d bytes in the log", len(out))
	}
	if l := b.list(); len(l.Sandboxes) != 1 || l.Sandboxes[0].Status != "running" {
		t.Errorf("%+v", l)
	}
	if _, errs, code := b.sbx("rm", "-f", "web"); code != 0 {
		t.Error(errs)
	}
	b.empty()
}

// TestDetachInATerminal: sbx run -d returns in a terminal as well, and exec gives
// its CMD one there.
func TestDetachInATerminal(t *testing.T) {
	b := newBoxes(t)
	program, err := filepath.Abs(builtSbx)
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{"run -d --name web sleep 1000", "exec web sh -c 'test -t 0 && test -t 1 && stty size >/dev/null'", "exec -t web true"} {
		cmd := exec.Command("timeout", "20", "script", "-qec", program+" "+words, os.DevNull)
		cmd.Env, cmd.Dir = b.env, b.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", words, err, out)
		}
	}
	if _, errs, code := b.sbx("rm", "-f", "web"); code != 0 {
		t.Error(errs)
	}
	b.empty()
}
