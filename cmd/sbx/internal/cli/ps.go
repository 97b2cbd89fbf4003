package cli

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/state"
)

// psCommand is the model of sbx ps.
type psCommand struct {
	All   bool `name:"all" short:"a" help:"Those too that have ended."`
	Quiet bool `name:"quiet" short:"q" help:"Print the ids alone."`
	JSON  bool `name:"json" help:"Print JSON."`

	Words []string `arg:"" optional:"" hidden:""`
}

func psVerb() command { return &psCommand{} }

func (*psCommand) usage() string { return "[flags]" }

// Help implements kong.HelpProvider.
func (*psCommand) Help() string {
	return `Lists the sandboxes that were started with -d or --name: what runs in each, for how long, which steps are off, and how many processes it has and how much memory they hold. All others live and end with the command that made them.`
}

func (*psCommand) examples() [][2]string {
	return [][2]string{
		{"sbx ps -a", "those too that have ended"},
		{"sbx rm $(sbx ps -aq)", "forget all that have ended"},
	}
}

// listed is a row of sbx ps, and an object of its JSON.
type listed struct {
	ID      string     `json:"id"`
	Name    string     `json:"name,omitempty"`
	Root    string     `json:"root"` // "host", the image, or the folder of --rootfs
	Image   string     `json:"image,omitempty"`
	Digest  string     `json:"image_digest,omitempty"`
	Ports   []string   `json:"ports,omitempty"` // that the image says it listens on
	Command []string   `json:"command"`
	Status  string     `json:"status"`
	Code    *int       `json:"code,omitempty"` // of one that has ended
	Created time.Time  `json:"created"`
	Ended   *time.Time `json:"ended,omitempty"`
	Pid     int        `json:"pid,omitempty"` // CMD's, on the host
	Skipped []string   `json:"skipped,omitempty"`
	Pids    *int       `json:"pids,omitempty"`   // not where the step pid is off
	Memory  *int64     `json:"memory,omitempty"` // bytes, resident; what processes share is counted for each
	// status is for the table, and narrow the same in fewer columns.
	status, narrow string
}

func (p *psCommand) run(c *call) error {
	if words := c.cmd(p.Words); len(words) > 0 {
		return &usageError{msg: "takes no words", hint: "sbx inspect " + words[0]}
	}
	store, err := openState()
	if err != nil {
		return err
	}
	records, err := store.List()
	if err != nil {
		return err
	}
	rows := make([]listed, 0, len(records))
	var used map[uint64]use
	for _, r := range records {
		if r.Status != state.Running && !p.All {
			continue
		}
		l := listed{
			ID: r.ID, Name: r.Name, Root: "host", Image: r.Image, Digest: r.ImageDigest, Ports: r.Ports, Command: r.Spec.Args, Status: r.Status, Created: r.Created, Skipped: r.Skipped, status: statusText(r), narrow: statusWith(r, shortAge),
		}
		switch {
		case r.Image != "":
			l.Root = r.Image
		case r.Spec.Rootfs != "":
			l.Root = r.Spec.Rootfs
		}
		if r.Status == state.Running {
			l.Pid = r.CMD.Pid
			if used == nil && !p.Quiet {
				used = useOfNamespaces()
			}
			if u, ok := used[namespaceOf(r.Init.Pid)]; ok {
				l.Pids, l.Memory = &u.pids, &u.memory
			}
		} else if r.Status == state.Exited {
			code, ended := r.Code(), r.Ended
			l.Code, l.Ended = &code, &ended
		}
		rows = append(rows, l)
	}
	switch {
	case p.JSON:
		return writeJSON(os.Stdout, struct {
			Version   int      `json:"version"`
			Sandboxes []listed `json:"sandboxes"`
		}{1, rows})
	case p.Quiet:
		var b strings.Builder
		for _, r := range rows {
			b.WriteString(r.ID + "\n")
		}
		_, err := os.Stdout.WriteString(b.String())
		return err
	}
	return p.print(rows, len(records))
}

func (p *psCommand) print(rows []listed, all int) error {
	if len(rows) == 0 {
		switch {
		case all > 0:
			say("no sandbox runs; sbx ps -a lists those that have ended: " + strconv.Itoa(all))
		default:
			say("there is no sandbox with a name: sbx run -d --name NAME -- CMD starts one")
		}
		return nil
	}
	s, cols := styleOf(os.Stdout), width(os.Stdout)
	// Columns that say the same of each are left out, and CMD, which is last, is
	// cut where the line ends.
	header, root := []string{"ID", "NAME"}, "ROOT"
	var runs, skips, roots, ports bool
	for _, r := range rows {
		runs, skips, roots = runs || r.Status == state.Running, skips || len(r.Skipped) > 0, roots || r.Root != "host"
		if ports = ports || len(r.Ports) > 0; r.Image != "" {
			root = "IMAGE"
		}
	}
	for _, h := range []struct {
		on   bool
		name []string
	}{{roots, []string{root}}, {true, []string{"STATUS"}}, {runs, []string{"PIDS", "MEMORY"}}, {ports, []string{"PORTS"}}, {skips, []string{"STEPS OFF"}}, {true, []string{"COMMAND"}}} {
		if h.on {
			header = append(header, h.name...)
		}
	}
	table := make([][]cell, 0, len(rows))
	for _, r := range rows {
		code := "32"
		switch {
		case r.Status == state.Dead || r.Code != nil && *r.Code != 0:
			code = "31"
		case r.Status != state.Running:
			code = "2"
		}
		row := []cell{{r.ID, ""}, {dashed(r.Name), "1"}}
		if roots {
			row = append(row, cell{visible(r.Root), ""})
		}
		row = append(row, cell{r.status, code})
		if runs {
			pids, memory := "", ""
			if r.Pids != nil {
				pids, memory = strconv.Itoa(*r.Pids), sizeText(*r.Memory)
			}
			row = append(row, cell{dashed(pids), ""}, cell{dashed(memory), ""})
		}
		if ports {
			row = append(row, cell{dashed(strings.Join(r.Ports, " ")), ""})
		}
		if skips {
			row = append(row, cell{dashed(skippedText(r.Skipped)), "33"})
		}
		table = append(table, append(row, cell{visible(strings.Join(strings.Fields(strings.Join(r.Command, " ")), " ")), ""}))
	}
	const leastCMD = 12 // columns; with fewer it tells nothing
	rest := restOf(cols, header, table)
	if at := slices.Index(header, "STATUS"); rest < leastCMD {
		for i, r := range rows {
			table[i][at].text = r.narrow
		}
		rest = restOf(cols, header, table)
	}
	for _, row := range table {
		last := &row[len(row)-1]
		if head, tail := cutDisplay(last.text, max(rest, leastCMD)-1); tail != "" && displayWidth(last.text) > rest {
			last.text = strings.TrimRight(head, " ") + "…"
		}
	}
	var b strings.Builder
	writeTable(&b, s, cols, header, table)
	_, err := os.Stdout.WriteString(b.String())
	return err
}

// restOf is how many columns are left for the last one.
func restOf(cols int, header []string, table [][]cell) int {
	for i, h := range header[:len(header)-1] {
		widest := displayWidth(h)
		for _, row := range table {
			widest = max(widest, displayWidth(row[i].text))
		}
		cols -= widest + 2
	}
	return cols
}

// skippedText names the steps that are off, or those few that are on.
func skippedText(skipped []string) string {
	if len(skipped) < len(sandbox.Steps)/2 {
		return strings.Join(skipped, " ")
	}
	var on []string
	for _, name := range sandbox.StepNames() {
		if !slices.Contains(skipped, name) && !sandbox.LookupStep(name).OnRequest {
			on = append(on, name)
		}
	}
	if on == nil {
		return "all"
	}
	return "all but " + strings.Join(on, " ")
}

func dashed(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// statusText says what a sandbox does, in a few words.
func statusText(r *state.Record) string { return statusWith(r, ageText) }

// statusWith is statusText with durations as age writes them.
func statusWith(r *state.Record, age func(time.Duration) string) string {
	switch r.Status {
	case state.Running:
		return "up " + age(time.Since(r.Created))
	case state.Exited:
		text := "exited " + strconv.Itoa(r.Code())
		if r.Failed != "" {
			text = "CMD could not be executed"
		} else if r.Result != nil && r.Result.Verdict == "timeout" {
			text = "ended by its timeout"
		}
		return text + ", " + age(time.Since(r.Ended)) + " ago"
	case state.Created:
		return "about to start"
	}
	return "dead: its monitor was killed"
}

// ageText is a duration in the largest unit that it has two of.
func ageText(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if d >= 2*u.unit {
			return plural(int(d/u.unit), u.name)
		}
	}
	return plural(max(int(d/time.Second), 0), "second")
}

// shortAge is ageText with the first letter of the unit.
func shortAge(d time.Duration) string {
	number, unit, _ := strings.Cut(ageText(d), " ")
	return number + unit[:1]
}

// use is what the processes of one PID namespace use.
type use struct {
	pids   int
	memory int64 // bytes
}

// namespaceOf is the inode of a process's PID namespace; 0 where it has none of
// its own, or is gone.
func namespaceOf(pid int) uint64 {
	var own, its unix.Stat_t
	if unix.Stat("/proc/self/ns/pid", &own) != nil || unix.Stat("/proc/"+strconv.Itoa(pid)+"/ns/pid", &its) != nil || own.Ino == its.Ino {
		return 0
	}
	return its.Ino
}

// useOfNamespaces adds up what the caller's processes use, in one pass through
// /proc whatever the number of sandboxes.
func useOfNamespaces() map[uint64]use {
	out := map[uint64]use{}
	proc, err := os.Open("/proc")
	if err != nil {
		return out
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	page := int64(os.Getpagesize())
	for _, name := range names {
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		var st unix.Stat_t
		if unix.Stat("/proc/"+name+"/ns/pid", &st) != nil {
			continue // another user's
		}
		u := out[st.Ino]
		u.pids++
		if text, err := os.ReadFile("/proc/" + name + "/statm"); err == nil {
			if fields := strings.Fields(string(text)); len(fields) > 1 {
				resident, _ := strconv.ParseInt(fields[1], 10, 64)
				u.memory += resident * page
			}
		}
		out[st.Ino] = u
	}
	return out
}
