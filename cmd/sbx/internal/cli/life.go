package cli

import (
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/image/local"
	"github.com/sbx-dev/sbx/sandbox/layer"
	"github.com/sbx-dev/sbx/sandbox/state"
)

// life is a sandbox with a name, or one that was started detached: this process
// is its monitor. A nil life is that of every other sandbox: its methods do
// nothing.
type life struct {
	box    *state.Sandbox
	log    *state.Log   // nil in the foreground
	caller *os.File     // who started it waits here for the id; nil once it was told
	remove bool         // at the end
	kept   string       // the name that --keep gives
	layer  *layer.Layer // of its own, over an image; nil where that lies in memory
	image  *local.Image // nil without --image
	ref    string       // the image as it was asked for
	ran    bool
	own    *os.File // what sbx itself says, once the caller has gone
	copied chan struct{}
}

// checkLife says which flags do not go with -d.
func (r *runCommand) checkLife() error {
	if r.Name != "" {
		if err := state.CheckName(r.Name); err != nil {
			return &usageError{msg: "--name: " + err.Error()}
		}
	}
	switch {
	case !r.Detach:
		return nil
	case r.TTY:
		return &usageError{msg: "-d and -t exclude each other: CMD runs behind", hint: "sbx exec -t NAME CMD gives another CMD a terminal there"}
	case r.Review:
		return &usageError{msg: "-d and --review exclude each other: nobody is there to be asked", hint: "--keep NAME, and sbx apply NAME later"}
	case r.ResultFD != "":
		return &usageError{msg: "-d and --result-fd exclude each other", hint: "--report FILE is written when CMD ends; sbx wait NAME waits for it"}
	}
	return nil
}

// detach starts the monitor, which is this program with the same arguments, in a
// session of its own, and prints the id that it answers with.
func (r *runCommand) detach() error {
	if _, err := openState(); err != nil {
		return err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	// What the caller has open is not the monitor's: who waits for the end of a
	// pipe would wait for the sandbox's.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return os.NewSyscallError("close_range", err)
	}
	argv := slices.Concat([]string{os.Args[0], "run", "--monitor=3"}, os.Args[2:])
	monitor, err := os.StartProcess("/proc/self/exe", argv, &os.ProcAttr{
		Env: os.Environ(), Files: []*os.File{null, null, os.Stderr, write}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	write.Close()
	if err != nil {
		return err
	}
	id, err := io.ReadAll(read)
	if len(id) > 0 {
		_, err = os.Stdout.Write(id)
		return err
	}
	status, werr := monitor.Wait()
	if err = errors.Join(err, werr); err != nil {
		return err
	}
	if code := status.ExitCode(); code > 0 {
		return exitStatus(code)
	}
	return exitStatus(exitFailed)
}

// beginLife reserves id and name, and lets CMD write into the log where it is
// detached.
func (r *runCommand) beginLife(cmd *sandbox.Cmd) (*life, error) {
	l := &life{remove: r.Rm, kept: r.Keep}
	cmd.HoldLayers = true
	if r.Detach {
		n, err := strconv.Atoi(r.Monitor)
		if err != nil || n < 3 {
			return nil, &usageError{msg: "--monitor is for sbx itself"}
		}
		unix.CloseOnExec(n)
		l.caller = os.NewFile(uintptr(n), "caller")
	}
	store, err := openState()
	if err != nil {
		return nil, err
	}
	if l.box, err = store.Create(r.Name); err != nil {
		return nil, stateError(err, "sbx rm "+r.Name+" forgets the other one; sbx ps -a lists them")
	}
	if r.Image != "" {
		l.ref, l.image = r.Image, imagesInUse[len(imagesInUse)-1]
		l.keepLayer(&cmd.Spec)
	}
	err = l.keepFilter(&cmd.Spec)
	if err == nil && r.Detach {
		if l.log, err = state.NewLog(l.box.Dir(), state.LogSize); err == nil {
			cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, l.log, l.log
		}
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// keepLayer has what is written over an image lie on the disk until sbx rm. Where
// that cannot be it lies in memory, as without a name.
func (l *life) keepLayer(spec *sandbox.Spec) {
	if spec.Upper != "" || spec.Skips("overlay") {
		return
	}
	layers, err := layerStore()
	if err == nil && isShown(spec, layers.Dir()) {
		err = errors.New(layers.Dir() + " is shown inside")
	}
	if err == nil {
		l.layer, err = layers.CreateSandbox(l.box.Record.ID, l.box.Dir())
	}
	if err != nil {
		say("what CMD writes lies in memory, and is gone with the sandbox: " + err.Error())
		return
	}
	spec.Upper = l.layer.Upper()
}

// keepFilter keeps a copy of a filter's profile: sbx exec takes the same, also
// when the file is another by then.
func (l *life) keepFilter(spec *sandbox.Spec) error {
	switch spec.Seccomp {
	case "", "default", "strict", "log":
		return nil
	}
	profile, err := os.ReadFile(spec.Seccomp)
	if err != nil {
		return &usageError{msg: "--seccomp: " + err.Error()}
	}
	spec.Seccomp = filepath.Join(l.box.Dir(), "seccomp.json")
	return os.WriteFile(spec.Seccomp, profile, 0o600)
}

// started writes down which processes the sandbox has.
func (l *life) started(cmd *sandbox.Cmd) {
	if l == nil {
		return
	}
	dir, err := os.Getwd()
	if err != nil {
		dir = ""
	}
	err = l.box.Update(func(r *state.Record) {
		r.Status, r.Detached = state.Running, l.log != nil
		r.Spec, r.Env, r.Dir, r.HostDir, r.Skipped = cmd.Spec, cmd.Plan().Env, cmd.Plan().Dir(), dir, cmd.Plan().Skipped()
		r.Folders, r.Uppers, r.Kept = writableFolders(cmd.Plan(), dir), cmd.Plan().Layers(), l.kept
		if layers := cmd.Layers(); layers != nil {
			r.LayersFD = int(layers.Fd())
		}
		r.Image, r.ImageDigest, r.Ports, r.StopSignal = l.aboutImage()
		r.Init, r.CMD = state.ProcessOf(cmd.InitPid()), state.ProcessOf(cmd.Pid())
	})
	if err != nil {
		say("what is known of the sandbox cannot be kept: " + err.Error())
	}
}

// announce tells the caller the id, and lets go of him. CMD has lasted for a few
// milliseconds; whether it is in place yet, its name says.
func (l *life) announce(cmd *sandbox.Cmd) {
	if l == nil || l.caller == nil {
		return
	}
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		comm, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Pid()) + "/comm")
		if err != nil {
			return // it has ended, and how is known in a moment
		}
		if strings.TrimSpace(string(comm)) != "sbx-init" {
			break
		}
	}
	l.tell()
	// From now on what sbx says goes to the log.
	read, write, err := os.Pipe()
	if err != nil {
		return
	}
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		_ = unix.Dup3(int(null.Fd()), 2, 0)
		null.Close()
	}
	os.Stderr, l.own, l.copied = write, write, make(chan struct{})
	go func() {
		_, _ = io.Copy(l.log, read)
		close(l.copied)
	}()
}

func (l *life) tell() {
	if l.caller != nil {
		_, _ = l.caller.WriteString(l.box.Record.ID + "\n")
		l.caller.Close()
		l.caller = nil
	}
}

// ended writes down how CMD ended. Of a CMD that was not executed nothing is
// kept.
func (l *life) ended(cmd *sandbox.Cmd, err error) {
	if l == nil || cmd.Result == nil {
		return
	}
	var exec *sandbox.ExecError
	notFound := errors.As(err, &exec)
	l.ran = !notFound || l.log != nil && l.caller == nil
	result := *cmd.Result
	result.Changes = nil // a list without end, and sbx changes has it
	if uerr := l.box.Update(func(r *state.Record) {
		r.Status, r.Ended, r.Result = state.Exited, time.Now().Round(time.Millisecond), &result
		if notFound {
			r.Failed = exec.Error()
		}
	}); uerr != nil {
		say("what is known of the sandbox cannot be kept: " + uerr.Error())
	}
	if l.ran && !l.remove {
		l.tell()
	}
}

// close lets go of the sandbox, and forgets one that never ran or is to be
// forgotten.
func (l *life) close() {
	if l == nil {
		return
	}
	if l.own != nil {
		l.own.Close()
		<-l.copied
	}
	if l.log != nil {
		l.log.Close()
	}
	if l.layer != nil {
		if l.remove || !l.ran {
			if err := l.layer.Remove(); err != nil {
				say(err.Error() + ": sbx prune goes on with it")
			}
		}
		l.layer.Close()
	}
	if l.remove || !l.ran {
		if err := l.box.Remove(); err != nil && !errors.Is(err, state.ErrNotExist) {
			say(err.Error())
		}
	}
	if l.ran {
		l.tell()
	}
	l.box.Close()
}

// openState is the store of sandboxes.
func openState() (state.Store, error) {
	store, err := state.DefaultStore()
	if err == nil {
		_, err = store.Find("x") // is the folder the caller's own?
		if errors.Is(err, state.ErrNotExist) {
			err = nil
		}
	}
	return store, stateError(err, "")
}

// stateError puts an error of the store into the words of the command.
func stateError(err error, tip string) error {
	var folder *state.FolderError
	var name *state.NameError
	switch {
	case errors.As(err, &folder):
		return &usageError{msg: folder.Error(), hint: "export XDG_RUNTIME_DIR=DIR, a folder of mode 0700 that belongs to you"}
	case errors.As(err, &name):
		return &usageError{msg: name.Error(), hint: tip}
	}
	return err
}

// findSandbox finds the sandbox of a word: its name, its id, or how its id alone
// begins.
func findSandbox(word string) (state.Store, *state.Record, error) {
	store, err := openState()
	if err != nil {
		return store, nil, err
	}
	if _, err := strconv.Atoi(word); err == nil {
		return store, nil, &usageError{msg: word + " is the number of a process: sandboxes have names and ids, which begin with a letter", hint: "sbx ps lists them"}
	}
	r, err := store.Find(word)
	if errors.Is(err, state.ErrNotExist) {
		tip := "sbx ps -a lists them"
		if near := nearest(word, sandboxNames(store)); near != "" {
			tip = "did you mean " + near + "?"
		}
		return store, nil, &usageError{msg: "no sandbox has the name or id " + quoted(word), hint: tip}
	}
	return store, r, stateError(err, "a few digits more tell them apart")
}

func sandboxNames(store state.Store) []string {
	list, err := store.List()
	if err != nil {
		return nil
	}
	var names []string
	for _, r := range list {
		if r.Name != "" {
			names = append(names, r.Name)
		}
	}
	return names
}

// runningSandbox finds a sandbox that runs, and opens one of its processes.
func runningSandbox(word string, which func(*state.Record) state.Process) (state.Store, *state.Record, *sandbox.Process, error) {
	store, r, err := findSandbox(word)
	if err != nil {
		return store, nil, nil, err
	}
	if r.Status == state.Running {
		p, err := r.Open(which(r))
		if err == nil {
			return store, r, p, nil
		}
		if err != unix.ESRCH {
			return store, nil, nil, os.NewSyscallError("pidfd_open", err)
		}
		r.Status = state.Dead
		if now, err := store.Wait(r); err == nil {
			r = now
		}
	}
	tip := ""
	if r.Detached {
		tip = "sbx logs " + word + " shows what it printed"
	}
	return store, nil, nil, &usageError{msg: word + " does not run: " + statusText(r), hint: tip}
}

func initOf(r *state.Record) state.Process { return r.Init }
func cmdOf(r *state.Record) state.Process  { return r.CMD }

// each does something for every sandbox that was named, and goes on after one for
// which it failed.
func each(verb string, words []string, do func(word string) error) error {
	if len(words) == 0 {
		return &usageError{msg: "which sandbox?", hint: "sbx ps lists them"}
	}
	var failed error
	for _, word := range words {
		if err := do(word); err != nil {
			if len(words) == 1 {
				return err
			}
			failed = exitStatus(conclude(verb, err))
		}
	}
	return failed
}
