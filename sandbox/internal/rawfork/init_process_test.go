package rawfork

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

func TestInitReapsOrphans(t *testing.T) {
	r := shell(`
		for i in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.3 & ) ; (true & ) ; done
		grep -l '^PPid:	1$' /proc/[0-9]*/status 2>/dev/null | wc -l
		sleep 1
		grep -l '^State:	Z' /proc/[0-9]*/status 2>/dev/null | wc -l
		ls -d /proc/[0-9]* | wc -l`)
	r.stage.MountProc = true
	var orphans, zombies, all int
	if _, err := fmt.Sscan(r.output(t), &orphans, &zombies, &all); err != nil {
		t.Fatalf("%v in %q", err, &r.stdout)
	}
	// The shell is a child of PID 1 too. At the end there are PID 1, the
	// shell, ls and wc.
	if orphans < 2 || zombies != 0 || all > 4 {
		t.Errorf("%d children of PID 1 while orphans lived, then %d zombies among %d processes", orphans, zombies, all)
	}
}

func TestInitCredentials(t *testing.T) {
	r := shell("echo $$; exec sleep 60")
	r.opts.WaitForAck = true
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	r.cmd = &exec.Cmd{Stdout: in}
	r.start(t)
	in.Close()
	p := r.started(t)
	r.ack(t)
	var inner int
	if _, err := fmt.Fscan(out, &inner); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		fmt.Sprintf("PPid:\t%d\n", r.cmd.Process.Pid),
		fmt.Sprintf("NSpid:\t%d\t%d\n", p.pid, inner),
	} {
		if !strings.Contains(string(status), line) {
			t.Errorf("%q is not in %s", line, status)
		}
	}
	kill := func() error { return unix.Kill(int(p.pid), unix.SIGTERM) }
	if r.noPidfd != nil {
		t.Logf("no pidfd with the message before Linux 6.5: %v", r.noPidfd)
	} else {
		kill = func() error { return unix.PidfdSendSignal(p.pidfd, unix.SIGTERM, nil, 0) }
	}
	if err := kill(); err != nil {
		t.Fatal(err)
	}
	if got, want := r.finish(t), []InitMessage{{InitWaitStatus, 15}}; !slices.Equal(got, want) {
		t.Errorf("messages %v, want %v", got, want)
	}
}

func TestInitSignals(t *testing.T) {
	const all = "fffffffffffbfeff" // SIGKILL and SIGSTOP cannot be blocked
	for _, c := range []struct {
		name string
		keep bool
		want string
	}{{"cleared", false, "0000000000000000"}, {"kept", true, all}} {
		t.Run(c.name, func(t *testing.T) {
			// cat shows what it inherited; a shell would change it.
			r := &trial{candidates: []string{"/usr/bin/cat", "/bin/cat"}, argv: []string{"cat", "/proc/self/status"}}
			r.opts.KeepSignalMask = c.keep
			if out := r.output(t); !regexp.MustCompile(`(?m)^SigBlk:\s+` + c.want + `$`).MatchString(out) {
				t.Errorf("SigBlk is not %s in:\n%s", c.want, out)
			}
		})
	}
	t.Run("SIGCHLD ignored by the caller", func(t *testing.T) {
		r := shell("exit 9")
		r.stage.IgnoreSIGCHLD = true
		want := []InitMessage{{InitStarted, 0}, {InitWaitStatus, 9 << 8}}
		if got := r.run(t); !slices.Equal(got, want) {
			t.Errorf("messages %v, want %v", got, want)
		}
	})
}

func TestInitProcessGroup(t *testing.T) {
	groups := func(t *testing.T, r *trial) (pid, pgrp, session, tpgid int) {
		t.Helper()
		stat := r.output(t)
		var state string
		var ppid, tty int
		if _, err := fmt.Sscanf(stat[strings.LastIndex(stat, ")")+2:], "%s %d %d %d %d %d", &state, &ppid, &pgrp, &session, &tty, &tpgid); err != nil {
			t.Fatalf("%v in %q", err, stat)
		}
		pid, _ = strconv.Atoi(stat[:strings.Index(stat, " ")])
		return
	}
	cat := func() *trial {
		return &trial{candidates: []string{"/usr/bin/cat", "/bin/cat"}, argv: []string{"cat", "/proc/self/stat"}, stage: stage{MountProc: true}}
	}

	r := cat()
	if pid, pgrp, _, _ := groups(t, r); pid == pgrp {
		t.Error("CMD leads a process group that was not asked for")
	}
	r = cat()
	r.opts.NewProcessGroup = true
	if pid, pgrp, _, _ := groups(t, r); pid != pgrp {
		t.Errorf("process group %d, want CMD's pid %d", pgrp, pid)
	}

	t.Run("foreground", func(t *testing.T) {
		master, terminal := openTerminal(t)
		defer master.Close()
		defer terminal.Close()
		for _, group := range []bool{false, true} {
			r := cat()
			r.opts.NewProcessGroup, r.opts.Foreground = group, true
			r.cmd = &exec.Cmd{Stdin: terminal, SysProcAttr: &syscall.SysProcAttr{Setsid: true, Setctty: true}}
			pid, pgrp, session, tpgid := groups(t, r)
			if tpgid != pgrp || session != 1 || (pgrp == pid) != group {
				t.Errorf("pid %d: group %d, session %d, but %d has the terminal", pid, pgrp, session, tpgid)
			}
		}
	})
	t.Run("on demand", func(t *testing.T) {
		// The descriptor of the terminal is another than 0: that one is closed.
		master, terminal := openTerminal(t)
		defer master.Close()
		defer terminal.Close()
		for _, demand := range []struct {
			script string
			sig    unix.Signal
		}{{"read line <&1; echo got $line", unix.SIGTTIN}, {"stty -echo <&1; read line <&1; echo got $line", unix.SIGTTOU}} {
			r := shell(demand.script)
			r.opts.NewProcessGroup, r.opts.OnDemand, r.opts.Terminal = true, true, 1
			r.cmd = &exec.Cmd{Stdout: terminal, SysProcAttr: &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 1}}
			r.start(t)
			p := r.started(t)
			stop, ok := r.next(t)
			if !ok || stop.Kind != InitWaitStatus || stop.WaitStatus().StopSignal() != demand.sig {
				t.Fatalf("%s: %v %#x, want a stop by %v", demand.script, stop.Kind, stop.Value, demand.sig)
			}
			if group, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPGRP); err != nil || group != int(p.pid) {
				t.Errorf("%d is in the foreground, want CMD %d: %v", group, p.pid, err)
			}
			if err := unix.Kill(-int(p.pid), unix.SIGCONT); err != nil {
				t.Fatal(err)
			}
			if _, err := master.WriteString("this\n"); err != nil {
				t.Fatal(err)
			}
			if got, want := r.finish(t), []InitMessage{{InitWaitStatus, 0}}; !slices.Equal(got, want) {
				t.Errorf("%s: messages %v, want %v", demand.script, got, want)
			}
			seen := ""
			buf := make([]byte, 256)
			for !strings.Contains(seen, "got this") {
				n, err := master.Read(buf)
				if err != nil {
					t.Fatalf("%s: %q, %v", demand.script, seen, err)
				}
				seen += string(buf[:n])
			}
		}
	})
	t.Run("no terminal", func(t *testing.T) {
		r := cat()
		r.opts.Foreground = true
		want := []InitMessage{{InitExecFailed, uint32(unix.ENOTTY)}, {InitWaitStatus, 127 << 8}}
		if got := r.run(t); !slices.Equal(got, want) {
			t.Errorf("messages %v, want %v", got, want)
		}
	})
}

// openTerminal returns both ends of a new pseudo-terminal (pts(4)).
func openTerminal(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		testenv.Lacks(t, "pty", err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, terminal
}
