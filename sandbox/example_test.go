package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/observe"
)

// The zero Spec is fully isolated: among other things CMD has a host name of its
// own, and processes of its own, of which it is the second.
func Example() {
	cmd := sandbox.Command("sh", "-c", "hostname; echo $$")
	out, err := cmd.Output()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(out))
	fmt.Println("exit", cmd.Result.Code)
	// Output:
	// sandbox
	// 2
	// exit 0
}

// Data is piped through a program that can do no more than compute.
func ExampleCommand() {
	cmd := sandbox.Command("tr", "a-z", "A-Z")
	cmd.Spec.HideDir = true // it need not see the working folder
	cmd.Stdin = strings.NewReader("hello\n")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Println(err)
	}
	// Output: HELLO
}

// The end of the context kills the sandbox with everything in it.
func ExampleCommandContext() {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err := sandbox.CommandContext(ctx, "sleep", "60").Run()
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	// Output: true
}

// A program that fails is a Result; only a sandbox that fails is another error.
func ExampleCmd_Run() {
	err := sandbox.Command("sh", "-c", "exit 3").Run()
	if exit, ok := errors.AsType[*sandbox.ExitError](err); ok {
		fmt.Println(exit.Verdict, exit.Code)
	}

	err = sandbox.Command("no-such-program").Run()
	fmt.Println(errors.Is(err, fs.ErrNotExist))

	cmd := sandbox.Command("true")
	cmd.Stdin, _ = os.Open("/")
	fmt.Println(cmd.Run())
	// Output:
	// exited 3
	// true
	// fds: descriptor 0 is a folder, which would be a way out of the sandbox
}

// Trace sees each call return, and CMD before its first instruction: the moment
// to look at it from outside.
func ExampleCmd_trace() {
	self, err := observe.Self()
	if err != nil {
		fmt.Println(err)
		return
	}
	cmd := sandbox.Command("true")
	cmd.Trace = func(e sandbox.Event) {
		switch {
		case e.Kind == sandbox.EventCall && e.Step == "uts":
			fmt.Println(e.Call, "=", e.Result)
		case e.Kind == sandbox.EventExec:
			inside, err := observe.Snapshot(e.Pid)
			if err != nil {
				fmt.Println(err)
				return
			}
			for _, c := range observe.Diff(self, inside) {
				if c.Step == "uts" && c.Subject != "hostname" {
					fmt.Println(c.Sentence)
				}
			}
		}
	}
	if err := cmd.Run(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// sethostname("sandbox", 7) = 0
	// the process is in a UTS namespace of its own: it can be given a hostname that the host does not take over
	// /etc/hostname is mounted over the host's
}

// Changes lists what CMD wrote to the copy; the folder itself stays as it is.
func ExampleCmd_changes() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(dir+"/thesis", []byte("my only copy\n"), 0o644); err != nil {
		fmt.Println(err)
		return
	}

	cmd := sandbox.Command("rm", "thesis")
	cmd.Spec.Dir = dir
	cmd.Spec.Mounts = []sandbox.Mount{{Kind: sandbox.Overlay, Source: dir, Target: dir}}
	cmd.Spec.Changes = true
	if err := cmd.Run(); err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range cmd.Result.Changes {
		fmt.Println(c.Kind, strings.TrimPrefix(c.Path, dir))
	}
	_, err = os.Stat(dir + "/thesis")
	fmt.Println("outside:", err)
	// Output:
	// deleted /thesis
	// outside: <nil>
}

// A step that is left out leaves out what it does, and nothing else.
func ExampleSpec_skip() {
	os.Setenv("TOKEN", "s3cret")
	defer os.Unsetenv("TOKEN")
	for _, skip := range [][]string{nil, {"env"}} {
		cmd := sandbox.Command("sh", "-c", "echo ${TOKEN:-no token} on $(hostname)")
		cmd.Spec.Skip = skip
		out, err := cmd.Output()
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Print(string(out))
	}
	// Output:
	// no token on sandbox
	// s3cret on sandbox
}

// Skipping a step takes along what needs it.
func ExampleSpec_Resolve() {
	spec := sandbox.Spec{Args: []string{"true"}, Skip: []string{"mount"}}
	resolved, also := spec.Resolve()
	fmt.Println("also skipped:", also)
	fmt.Println("still on:", !resolved.Skips("pid"))
	// Output:
	// also skipped: [overlay proc dev root]
	// still on: true
}

// Validate names the field and the reason.
func ExampleSpec_Validate() {
	spec := sandbox.Spec{Args: []string{"true"}, Net: "hots"}
	fmt.Println(spec.Validate())
	// Output: Net: "hots" is neither none nor host
}

// island is a host that exists in this file alone: Compile asks nothing else.
type island struct{}

func (island) Lstat(path string) sandbox.File {
	if path == "/" || path == "/usr" || path == "/home/ada" {
		return sandbox.File{Mode: unix.S_IFDIR}
	}
	return sandbox.File{}
}
func (island) LstatIn([]string, string) sandbox.File     { return sandbox.File{} }
func (island) Real(path string) string                   { return path }
func (island) Writable(string) bool                      { return false }
func (island) GitFolders(string) ([]string, bool, error) { return nil, true, nil }
func (island) ReadFile(string) ([]byte, error)           { return nil, fs.ErrNotExist }
func (island) ReadDir(string) ([]string, error)          { return nil, fs.ErrNotExist }

// A plan can be made and read for a machine that is not at hand. Here all steps
// but one, and the one that it needs, are left out.
func ExampleCompile() {
	skip, pulled := sandbox.Only([]string{"uts"})
	fmt.Println("needed too:", pulled)
	spec := sandbox.Spec{Args: []string{"/usr/bin/true"}, Skip: skip}
	plan, err := sandbox.Compile(&spec, &sandbox.Features{
		UID: 1000, GID: 1000, Dir: "/home/ada", LastCap: 40, Arch: "amd64", Host: island{},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, uts, _ := strings.Cut(plan.String(), "# uts\n")
	uts, _, _ = strings.Cut(uts, "#")
	fmt.Println("clone3:", plan.FlagsOf("uts"))
	fmt.Print(uts)
	// Output:
	// needed too: [user]
	// clone3: CLONE_NEWUTS
	// sethostname("sandbox", 7)
}

// A plan prints as strace(1) would print the calls, from the same values that
// are handed to the kernel.
func ExamplePlan_String() {
	spec := sandbox.Spec{Args: []string{"/usr/bin/true"}, Skip: sandbox.StepNames()}
	plan, err := sandbox.Compile(&spec, &sandbox.Features{Arch: "amd64", Host: island{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(plan)
	// Output:
	// clone3({flags=CLONE_VM|CLONE_PIDFD|CLONE_VFORK|CLONE_PARENT_SETTID|CLONE_CLEAR_SIGHAND, exit_signal=SIGCHLD}, 64)
	// # launch
	// close(launcher)
	// prctl(PR_SET_PDEATHSIG, SIGKILL)
	// write(socket, "?", 1)
	// # exec
	// rt_sigprocmask(SIG_SETMASK, [], NULL, 8)
	// execve("/usr/bin/true", ["/usr/bin/true"], [0 vars])
}

// The nearest command line of another program, and what it does not do.
func ExampleEquivalentOf() {
	skip, _ := sandbox.Only([]string{"uts"})
	spec := sandbox.Spec{Args: []string{"/usr/bin/true"}, Skip: skip}
	plan, err := sandbox.Compile(&spec, &sandbox.Features{
		UID: 1000, GID: 1000, Dir: "/home/ada", LastCap: 40, Arch: "amd64", Host: island{},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	e, err := sandbox.EquivalentOf("unshare", &spec, plan)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(strings.Join(e.Args, " "))
	// Output: unshare --map-current-user --uts /usr/bin/true
}

// Probe asks this machine for what a plan of the spec needs.
func ExampleProbe() {
	spec := sandbox.Spec{Args: []string{"true"}}
	features, err := sandbox.Probe(&spec)
	if err != nil {
		fmt.Println(err)
		return
	}
	plan, err := sandbox.Compile(&spec, features)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(features.UID == os.Getuid(), len(plan.Calls) > 100, plan.Skipped())
	// Output: true true []
}

// TryStep makes a sandbox with one step and says whether the host lets it.
func ExampleTryStep() {
	trial := sandbox.TryStep("uts")
	fmt.Println(trial.Step, trial.State, trial.Needed)
	// Output: uts works [user]
}

// HintOf is what to do about an error, where a second look at the host found
// the cause.
func ExampleHintOf() {
	cmd := sandbox.Command("true")
	cmd.Spec.Dir = "/no/such/folder"
	err := cmd.Run()
	fmt.Println(errors.Is(err, unix.ENOENT))
	fmt.Println(sandbox.HintOf(err))
	// Output:
	// true
	// /no/such/folder does not exist inside, nor on the host: -w only says where CMD starts; --tmpfs /no/such/folder makes an empty folder
}

// The table says of each step what it is and what it needs.
func ExampleLookupStep() {
	net := sandbox.LookupStep("net")
	fmt.Println(net.Summary)
	fmt.Println("without it:", net.Without)
	fmt.Println("needs:", net.Needs, "Linux:", net.Kernel)
	// Output:
	// a network namespace with lo alone
	// without it: CMD uses the host's network
	// needs: [user] Linux: 3.8
}

// The names are the toggles, in the order of the plan.
func ExampleStepNames() {
	names := sandbox.StepNames()
	fmt.Println(names[0], "…", names[len(names)-1])
	// Output: env … seccomp
}

// What must go when a step goes.
func ExampleClosure() {
	fmt.Println(sandbox.Closure([]string{"nnp"}))
	// Output: [nnp landlock seccomp]
}

// What needs a step, without the step itself.
func ExampleDependents() {
	fmt.Println(sandbox.Dependents("nnp"))
	// Output: [landlock seccomp]
}

// What to skip so that one step is left, and what stays because it is needed.
func ExampleOnly() {
	skip, pulled := sandbox.Only([]string{"proc"})
	fmt.Println("kept:", pulled)
	fmt.Println("skipped:", skip[:3], "…")
	// Output:
	// kept: [user mount pid]
	// skipped: [env fds uts] …
}
