package sandbox_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// TestConformance: what strace(1) saw of a sandbox is what its plan printed:
// the same calls in the same order with the same arguments, and where the plan
// names a saved result, the number that the earlier call returned.
func TestConformance(t *testing.T) {
	testenv.Need(t, "userns", "overlay", "seccomp", "landlock", "strace")
	zero := 0
	base, usr := programsLayer(t)
	many := []string{base}
	for i := range 60 {
		dir := filepath.Join(base, "..", fmt.Sprintf("%064d", i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		many = append(many, filepath.Clean(dir))
	}
	for name, spec := range map[string]sandbox.Spec{
		"default": {},
		"root inside, capabilities, ports, changes": {
			User: sandbox.User{UID: &zero}, CapAdd: []string{"kill", "SYS_ADMIN"}, Changes: true, TCPConnect: []uint16{443},
			Rlimits: []sandbox.Rlimit{{Name: "nofile", Soft: 64, Hard: 128}},
		},
		"no root":                 {Skip: []string{"root"}},
		"CMD is PID 1":            {AsPID1: true, Dir: "/tmp"},
		"chroot, mounts":          {RootWith: "chroot", Mounts: []sandbox.Mount{{Kind: sandbox.Tmpfs, Target: "/x"}, {Kind: sandbox.BindRO, Source: "/usr/lib", Target: "/y"}, {Kind: sandbox.Hide, Target: "/usr/share"}}},
		"owners are pretended":    {User: sandbox.User{UID: &zero}, FakeOwners: true},
		"nesting, time":           {AllowNesting: true, With: []string{"time"}, BootOffset: 60},
		"nothing":                 {Skip: sandbox.StepNames()},
		"an image":                {Layers: many[:3], Mounts: usr, Folders: []string{"/app"}, Dir: "/app"},
		"an image of many layers": {Layers: many, Mounts: usr},
		"a tool": {Tools: []string{"mine"}, ToolTable: sandbox.ToolTable{Tools: []sandbox.Tool{{
			Name: "mine", Folders: []sandbox.ToolFolder{{At: []sandbox.Place{sandbox.Place(ownFolder(t))}, Hide: []sandbox.Pattern{"token", "a/b/token"}}},
		}}}},
		"clone3 is refused":                {Skip: []string{"root"}},
		"clone3 is refused, CMD is PID 1":  {AsPID1: true},
		"clone3 is refused, no namespaces": {Skip: []string{"user"}},
	} {
		t.Run(name, func(t *testing.T) {
			refused := ""
			if strings.HasPrefix(name, "clone3") {
				refused = "refused"
				spec, _ = spec.Resolve()
			}
			spec.Args = []string{"true", "an argument"}
			text, err := json.Marshal(spec)
			if err != nil {
				t.Fatal(err)
			}
			calls, seen := straced(t, "plan", string(text), refused)
			saw := childCalls(t, seen)
			if refused != "" {
				saw = withoutHandlers(t, saw)
			}
			if plain := strings.Contains(seen, "clone(child_stack=NULL, flags=CLONE_VM|CLONE_PIDFD|CLONE_VFORK"); plain != (refused != "") {
				t.Errorf("clone in place of clone3: %v", plain)
			}
			conform(t, calls, saw)
		})
	}
}

// TestJoinConformance is TestConformance for the plan of a program that is
// started in a sandbox that runs.
func TestJoinConformance(t *testing.T) {
	testenv.Need(t, "userns", "overlay", "seccomp", "landlock", "strace")
	calls, seen := straced(t, "join")
	lines := strings.SplitAfter(seen, "\n")
	for i := len(lines) - 1; i >= 0; i-- { // the sandbox itself was made before
		if _, call, _ := strings.Cut(lines[i], " "); strings.HasPrefix(strings.TrimSpace(call), "clone3(") && strings.Contains(call, "CLONE_VFORK") {
			conform(t, calls, childCalls(t, strings.Join(lines[i:], "")))
			return
		}
	}
	t.Fatal("strace saw no clone3")
}

// straced runs a probe that prints a plan, and returns the plan's calls and what
// strace(1) saw.
func straced(t *testing.T, probe string, args ...string) (calls []string, seen string) {
	t.Helper()
	log := filepath.Join(ownFolder(t), "strace")
	cmd := exec.Command("strace", append([]string{"-f", "-qq", "-s", "100000", "-o", log, testBinary(), probeWord, probe}, args...)...)
	cmd.Dir = ownFolder(t)
	var plan, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &plan, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s%s", err, plan.String(), stderr.String())
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(plan.String()) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "clone3(") && !strings.HasPrefix(line, "clone(") {
			calls = append(calls, line)
		}
	}
	return calls, string(text)
}

// probePlan makes the sandbox of a spec and prints the plan that was launched.
func probePlan(args []string) error {
	c := &sandbox.Cmd{}
	if err := json.Unmarshal([]byte(args[0]), &c.Spec); err != nil {
		return err
	}
	if len(args) > 1 && args[1] != "" {
		f, err := sandbox.Probe(&c.Spec)
		if err != nil {
			return err
		}
		f.NoClone3 = true
		c.Features = f
	}
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := c.Run()
	os.Stdout.WriteString(c.Plan().String())
	return err
}

// pauses are the two calls of a pause, which the plan prints as a comment.
var pauses = regexp.MustCompile(`^(write\(\d+, *"\\0", 1\)|read\(\d+, *"\\1", 1\)) += 1$`)

// withoutHandlers takes away what the plan tells in a comment: that a child of
// clone begins with the default action for each signal that has a handler.
func withoutHandlers(t *testing.T, calls []string) []string {
	t.Helper()
	cleared := 0
	space := regexp.MustCompile(`, *`) // lost where strace was interrupted
	for i, call := range calls {
		call = space.ReplaceAllString(call, ", ")
		switch {
		case !strings.HasPrefix(call, "rt_sigaction("):
			if cleared < 10 { // Go handles nearly all
				t.Errorf("%d handlers were cleared", cleared)
			}
			return calls[i:]
		case strings.Contains(call, "{sa_handler=SIG_DFL, sa_mask=[], sa_flags=0}, NULL, 8) = 0"):
			cleared++
		case !strings.Contains(call, ", NULL, {sa_handler="):
			t.Errorf("neither asks for a handler nor clears one: %s", call)
		}
	}
	return nil
}

// childCalls are the calls of the process that clone3 made, up to and with the
// first that executes another program.
func childCalls(t *testing.T, log string) []string {
	t.Helper()
	lines := strings.Split(log, "\n")
	child, launcher := "", ""
	made := regexp.MustCompile(`\) += +(\d+)$`)
	for _, l := range lines {
		// Threads are made by clone3 too, but not with CLONE_VFORK.
		pid, call, _ := strings.Cut(l, " ")
		call = strings.TrimSpace(call)
		// The first is the launcher's: PID 1 makes CMD so as well.
		if launcher == "" && (strings.HasPrefix(call, "clone3(") || strings.HasPrefix(call, "clone(")) && strings.Contains(call, "CLONE_VFORK") {
			launcher = pid
		}
		if m := made.FindStringSubmatch(call); m != nil && launcher == pid && strings.Contains(call, "clone") {
			child = m[1]
			break
		}
	}
	if child == "" {
		t.Fatal("strace saw no clone3")
	}
	var out []string
	pending := ""
	for _, l := range lines {
		pid, call, _ := strings.Cut(l, " ")
		if call = strings.TrimSpace(call); pid != child {
			continue
		}
		if before, ok := strings.CutSuffix(call, "<unfinished ...>"); ok {
			pending = strings.TrimSpace(before)
			continue
		}
		if rest, ok := strings.CutPrefix(call, "<... "); ok {
			_, after, _ := strings.Cut(rest, " resumed>")
			call = pending + after
		}
		if n := len(out); n > 0 && strings.HasPrefix(call, "faccessat(") && strings.HasPrefix(out[n-1], "execve(") {
			continue // how a failed execve finds out whether the file is there
		}
		if pauses.MatchString(call) {
			continue
		}
		out = append(out, call)
		if strings.HasPrefix(call, "exec") && !strings.Contains(call, "= -1 ") {
			return out
		}
	}
	t.Fatal("strace saw no program executed")
	return nil
}

// conform compares the plan's lines with strace's.
func conform(t *testing.T, plan, seen []string) {
	t.Helper()
	bound := map[string]string{} // a slot's name to its number
	for i, want := range plan {
		if i >= len(seen) {
			if strings.HasPrefix(want, "execve(") && strings.HasPrefix(seen[len(seen)-1], "execve(") {
				return // CMD was found in an earlier folder of PATH
			}
			t.Fatalf("strace saw %d calls, the plan has %d; the next is %s", len(seen), len(plan), want)
		}
		want, mayFail, _ := strings.Cut(want, "  # or ")
		name, args, result := parseCall(want)
		// strace has no word for no propagation at all.
		sawName, sawArgs, sawResult := parseCall(strings.ReplaceAll(seen[i], "propagation=0 /* MS_??? */", "propagation=0"))
		if name != sawName {
			t.Fatalf("call %d: strace saw %s, the plan has %s", i, seen[i], want)
		}
		if strings.HasPrefix(sawResult, "-1 ") && !strings.HasPrefix(name, "exec") && (mayFail == "" || !strings.Contains(sawResult, mayFail)) {
			t.Errorf("call %d: %s failed: %s", i, want, sawResult)
		}
		if name == "mknodat" && strings.HasPrefix(args[2], "S_IFREG") {
			args = args[:3] // strace leaves the device of a regular file out
		}
		if name == "execveat" || name == "execve" {
			vars := regexp.MustCompile(`\d+ vars?`)
			env := slices.IndexFunc(args, func(a string) bool { return strings.HasSuffix(a, " vars]") })
			if vars.FindString(args[env]) != vars.FindString(sawArgs[env]) {
				t.Errorf("call %d: the environment has %s, the plan %s", i, sawArgs[env], args[env])
			}
			args[env], sawArgs[env] = "", ""
		}
		if len(args) != len(sawArgs) {
			t.Errorf("call %d: strace saw %s, the plan has %s", i, seen[i], want)
			continue
		}
		for k := range args {
			if !sameArgument(bound, args[k], sawArgs[k]) {
				t.Errorf("call %d, argument %d: strace saw %s, the plan has %s", i, k, seen[i], want)
			}
		}
		if result != "" {
			bound[result] = strings.TrimLeft(sawResult, "0")
		}
	}
	if len(seen) != len(plan) {
		t.Errorf("strace saw %d calls, the plan has %d", len(seen), len(plan))
	}
}

// parseCall takes a line of strace apart: name(arguments) = result.
func parseCall(line string) (name string, args []string, result string) {
	name, rest, _ := strings.Cut(line, "(")
	depth, quoted, from := 0, false, 0
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[' || c == '(':
			depth++
		case depth > 0 && (c == '}' || c == ']' || c == ')'):
			depth--
		case c == ',' && depth == 0:
			args = append(args, strings.TrimSpace(rest[from:i]))
			from = i + 1
		case c == ')' && depth == 0:
			if a := strings.TrimSpace(rest[from:i]); a != "" {
				args = append(args, a)
			}
			_, result, _ = strings.Cut(rest[i:], "= ")
			return name, args, strings.TrimSpace(result)
		}
	}
	return name, args, ""
}

// sameArgument compares one argument of the plan with strace's.
func sameArgument(bound map[string]string, want, saw string) bool {
	if want == saw {
		return true
	}
	if number, ok := bound[want]; ok {
		return number == strings.TrimLeft(saw, "0")
	}
	if slices.Contains([]string{"launcher", "socket", "init", "pidfd", "proc"}, want) { // set by the launcher
		bound[want] = saw
		_, err := strconv.Atoi(saw)
		return err == nil
	}
	if want == "LANDLOCK_RULE_NET_PORT" || strings.HasPrefix(want, "{") && unknown.MatchString(saw) {
		return unknown.MatchString(saw) || want == saw // younger than this strace
	}
	for slot, number := range bound {
		want = strings.ReplaceAll(want, "["+slot+"]", "["+number+"]")
	}
	if strings.HasPrefix(want, "{") && strings.HasPrefix(saw, "{") {
		a, b := fields(want), fields(saw)
		shared := 0
		for key, value := range a {
			if other, ok := b[key]; ok {
				shared++
				if !sameArgument(bound, value, other) && !sameBits(value, other) {
					return false
				}
			}
		}
		return shared > 0
	}
	return sameBits(want, saw)
}

// unknown is how strace prints what it does not know.
var unknown = regexp.MustCompile(`^0x[0-9a-f]+( /\*.*\*/)?$`)

// fields takes {key=value, …} apart.
func fields(s string) map[string]string {
	out := map[string]string{}
	_, parts, _ := parseCall("x(" + strings.TrimSuffix(strings.TrimPrefix(s, "{"), "}") + ")")
	for _, p := range parts {
		if key, value, ok := strings.Cut(p, "="); ok {
			out[key] = value
		}
	}
	return out
}

// sameBits compares flags whatever their order. Those that an older strace
// prints as numbers are counted as bits, and 4*1024 as 4096.
func sameBits(want, saw string) bool {
	bits := func(s string) (names []string, number uint64) {
		for part := range strings.SplitSeq(s, "|") {
			switch {
			case part == "LANDLOCK_ACCESS_FS_TRUNCATE":
				number |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
			case part == "LANDLOCK_ACCESS_FS_IOCTL_DEV":
				number |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
			case part == "LANDLOCK_ACCESS_FS_REFER":
				number |= unix.LANDLOCK_ACCESS_FS_REFER
			default:
				a, b, product := strings.Cut(part, "*")
				n, err := strconv.ParseUint(a, 0, 64)
				if m, err2 := strconv.ParseUint(b, 0, 64); err == nil && (!product || err2 == nil) {
					if product {
						n *= m
					}
					number |= n
					continue
				}
				names = append(names, part)
			}
		}
		slices.Sort(names)
		return names, number
	}
	a, n := bits(want)
	b, m := bits(saw)
	return slices.Equal(a, b) && n == m
}
