package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/container"
	"github.com/sbx-dev/sbx/sandbox/image"
	"github.com/sbx-dev/sbx/sandbox/image/local"
)

// capturing are the steps without which nothing of what a RUN writes would be
// its own: they cannot be skipped in a build.
var capturing = []string{"mount", "overlay", "root"}

func checkSpec(s *sandbox.Spec) error {
	for _, step := range capturing {
		if s.Skips(step) {
			return fmt.Errorf("a build needs the step %s: without it a RUN would write to the host, and to no layer", step)
		}
	}
	return nil
}

// scriptFolder is where a RUN finds a here-document that begins with #!.
const scriptFolder = "/run/sbx-build"

// commandLine is what a RUN executes. Script is the content of the here-document
// that it executes as a program, with its place inside; "" is none.
func commandLine(config *v1.Config, c *instructions.RunCommand) (words []string, script, at string, err error) {
	line := c.ShellDependantCmdLine
	if len(line.Files) == 0 {
		words = withShell(config, line)
		if len(words) == 0 {
			return nil, "", "", errors.New("it has no command")
		}
		return words, "", "", nil
	}
	if len(line.CmdLine) != 1 || !line.PrependShell {
		return nil, "", "", errors.New("a here-document goes with the shell form")
	}
	text := line.CmdLine[0]
	if parser.MustParseHeredoc(text) == nil {
		// The shell reads the documents itself: put them back behind the line.
		for _, f := range line.Files {
			text += "\n" + f.Data + f.Name
		}
		return append(slices.Clone(shellOf(config)), text+"\n"), "", "", nil
	}
	data := line.Files[0].Data
	if line.Files[0].Chomp {
		data = parser.ChompHeredocContent(data)
	}
	if strings.HasPrefix(data, "#!") {
		at = scriptFolder + "/" + filepath.Base(line.Files[0].Name)
		return []string{at}, data, at, nil
	}
	return append(slices.Clone(shellOf(config)), data), "", "", nil
}

// command does a RUN.
func (r *run) command(ctx context.Context, step Step, c *instructions.RunCommand) (outcome, error) {
	config := &r.st.config.Config
	words, script, at, err := commandLine(config, c)
	if err != nil {
		return outcome{}, err
	}
	spec := r.o.Spec
	spec.Args = words
	if err := network(&spec, instructions.GetNetwork(c)); err != nil {
		return outcome{}, err
	}
	mounts, err := r.mounts(ctx, instructions.GetMounts(c))
	if err != nil {
		return outcome{}, err
	}
	args := r.st.scope.runArgs()
	d := newDigester("run")
	r.st.parent(d)
	d.list(words)
	d.words(script, config.User, config.WorkingDir, string(instructions.GetNetwork(c)))
	d.list(r.st.scope.env)
	d.list(args)
	if err := mounts.key(ctx, d); err != nil {
		return outcome{}, err
	}
	did, err := r.layer(ctx, step, d.sum(), func(ctx context.Context) (*image.Layer, error) {
		spec.Env = slices.Concat(spec.Env, r.st.scope.proxies(), args)
		box := &boxed{run: r, step: step, spec: spec, mounts: mounts}
		if script != "" {
			if err := box.script(at, script); err != nil {
				return nil, err
			}
		}
		return box.layer(ctx)
	})
	did.text = "RUN " + history(words, args)
	return did, r.unwritable(words, err)
}

// history is a RUN as docker's history has it: the build arguments before the
// words that were executed.
func history(words, args []string) string {
	text := strings.Join(words, " ")
	if len(args) > 0 {
		text = fmt.Sprintf("|%d %s %s", len(args), strings.Join(args, " "), text)
	}
	return text
}

// network puts RUN --network into a spec.
func network(s *sandbox.Spec, mode instructions.NetworkMode) error {
	switch mode {
	case instructions.NetworkNone:
		s.Net = "none"
		s.Skip = slices.DeleteFunc(slices.Clone(s.Skip), func(step string) bool { return step == "net" })
	case instructions.NetworkHost:
		if s.Net != "host" && !s.Skips("net") {
			return errors.New("RUN --network=host takes the network of the host only where the build is given it: sbx build --net host")
		}
	}
	return nil
}

// boxed is the sandbox of one RUN.
type boxed struct {
	*run
	step   Step
	spec   sandbox.Spec
	mounts *mounts
	leave  []string // mount points, which are no part of the layer
}

// leaveOut are the paths that a sandbox makes in its root for itself.
var leaveOut = []string{"/proc", "/dev", "/sys", "/tmp", "/run", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", scriptFolder}

// script shows a here-document as a program.
func (b *boxed) script(at, text string) error {
	dir, err := b.addition.Dir()
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "script")
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		return err
	}
	b.spec.Mounts = append(slices.Clone(b.spec.Mounts), sandbox.Mount{Kind: sandbox.BindRO, Source: file, Target: at})
	b.leave = append(b.leave, at)
	return nil
}

// layer runs the command and makes a layer of what it wrote; nil where it wrote
// nothing.
func (b *boxed) layer(ctx context.Context) (*image.Layer, error) {
	upper, err := b.prepare(ctx)
	defer b.mounts.release()
	if err != nil {
		return nil, err
	}
	if err := b.execute(ctx); err != nil {
		return nil, err
	}
	l, empty, err := b.addition.AddUpper(b.st.layers, image.Upper{
		Dir: filepath.Join(upper, "@root", "upper"), LeaveOut: slices.Concat(leaveOut, b.leave),
	})
	if err != nil || empty {
		return nil, err
	}
	return &l, nil
}

// prepare completes the spec, and gives the folder that the upper layer is in.
func (b *boxed) prepare(ctx context.Context) (upper string, err error) {
	config := b.st.config.Config
	i := &local.Image{Layers: folders(b.st.layers), Config: local.Config{User: config.User, Env: config.Env, WorkingDir: config.WorkingDir}}
	if len(i.Layers) == 0 {
		empty, err := b.emptyLayer()
		if err != nil {
			return "", err
		}
		i.Layers = []string{empty}
	}
	for _, l := range b.st.layers {
		i.Owners = i.Owners || l.Contents.Owners == image.OwnersReal
	}
	if !slices.ContainsFunc(config.Env, func(kv string) bool { return strings.HasPrefix(kv, "PATH=") }) {
		i.Config.Env = append([]string{"PATH=" + defaultPath}, config.Env...)
	}
	if upper, err = b.addition.Dir(); err != nil {
		return "", err
	}
	b.spec.Upper = upper
	b.spec.Mounts = slices.Clone(b.spec.Mounts)
	if b.st.onHost {
		i.Config.Labels = map[string]string{container.BaseLabel: container.BaseHost}
		for _, m := range container.HostMounts() {
			b.leave = append(b.leave, m.Target)
		}
	}
	if err := b.mounts.place(ctx, b); err != nil {
		return "", err
	}
	if err := container.Apply(&b.spec, i, container.Options{Entrypoint: []string{}}); err != nil {
		return "", err
	}
	if b.spec.User.UID != nil && *b.spec.User.UID == 0 && !b.spec.Skips("user") {
		b.spec.CapAdd = append(slices.Clone(b.spec.CapAdd), rootRights...)
	}
	// With one id there is nobody to give a file to: package managers would end
	// with an error over owners that the layer does not have either way.
	b.spec.FakeOwners = !i.Owners && !b.spec.User.Auto && len(b.spec.User.UIDMap) == 0 &&
		(b.spec.User.UID == nil || *b.spec.User.UID == 0) && !b.spec.Skips("seccomp") && !b.spec.Skips("user") && b.spec.Seccomp == "" && !b.spec.AllowNesting
	return upper, nil
}

// rootRights are the capabilities of a RUN that is root, so that package managers
// can give files to others, and become others themselves. They hold for the ids
// of the sandbox's own user namespace: the caller and its subordinate ones.
var rootRights = []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"}

// execute runs the sandbox, with its output as the step's.
func (b *boxed) execute(ctx context.Context) error {
	if b.o.Explain {
		if err := b.explain(); err != nil {
			return err
		}
	}
	out := &lines{tell: func(line string) { b.tell(Event{Kind: Output, Step: b.step, Line: b.mask(line)}) }}
	cmd := sandbox.CommandContext(ctx, b.spec.Args[0])
	cmd.Spec, cmd.Stdout, cmd.Stderr = b.spec, out, out
	var net offline
	err := cmd.Start()
	if err == nil {
		net.gather(cmd)
		for _, note := range cmd.Plan().Notes {
			if b.first(note) {
				out.tell("sbx: " + note)
			}
		}
		err = cmd.Wait()
	}
	out.end()
	tried := net.tried()
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var exit *sandbox.ExitError
	if errors.As(err, &exit) {
		return &CommandError{Result: cmd.Result, Offline: tried, words: b.spec.Args}
	}
	return err
}

// first says whether a note has not been told in this build yet.
func (b *builder) first(note string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	told := b.noted[note]
	b.noted[note] = true
	return !told
}

// explain prints the plan.
func (b *boxed) explain() error {
	feat, err := sandbox.Probe(&b.spec)
	if err != nil {
		return err
	}
	plan, err := sandbox.Compile(&b.spec, feat)
	if err != nil {
		return err
	}
	for line := range strings.Lines(plan.String()) {
		b.tell(Event{Kind: Output, Step: b.step, Line: b.mask(strings.TrimSuffix(line, "\n"))})
	}
	return nil
}

// CommandError is a RUN that ran and failed.
type CommandError struct {
	Result *sandbox.Result
	// Offline says that it has tried the network, which it did not have.
	Offline bool
	words   []string
}

func (e *CommandError) Error() string {
	switch e.Result.Verdict {
	case sandbox.VerdictExited:
		return fmt.Sprintf("exit code %d", e.Result.Code)
	case sandbox.VerdictTimeout:
		return "it was ended after the time given"
	case sandbox.VerdictSeccomp:
		return "the filter ended it (SIGSYS): --seccomp log lets every call through"
	}
	return "ended by signal " + e.Result.Signal.String()
}
