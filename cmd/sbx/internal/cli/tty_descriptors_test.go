package cli

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// These tests say what CMD has where some of the descriptors 0 to 2 are
// terminals and others are not. The line as it is echoed is not what a command
// prints: hence the quotation marks within words.

// outerShell is a bash with job control, as the caller's.
func outerShell(t *testing.T) *screen {
	t.Helper()
	s := open(t, "bash", "--norc", "--noprofile", "-i")
	s.await("outer> ")
	return s
}

func (s *screen) line(text string) { s.typed(text + "\r") }

// leave ends the shell, and looks whether the terminal is what it was.
func (s *screen) leave() {
	s.t.Helper()
	s.line("exit")
	s.awaitEnd()
	if now := s.settings(); now != s.before {
		s.t.Errorf("the terminal is not what it was:\n%+v, before\n%+v", now, s.before)
	}
}

// TestTerminalMessages is an attack: CMD was given a terminal for its messages
// alone, and reads from it what the user types for the shell. It succeeds where
// CMD has the caller's terminal itself.
func TestTerminalMessages(t *testing.T) {
	const attack = `sh -c 'test -t 2 && echo be""gun >&2; timeout --foreground 1 head -n 1 <&2 | sed s/^/sto""len:/ >&2; echo do""ne >&2' </dev/null >/dev/null`
	const settings = `sh -c 'stty -echo susp ^X <&2; stty -a <&2 >&2; echo do""ne >&2' </dev/null >/dev/null`
	for _, c := range []struct {
		flags  string
		stolen bool
	}{{"", false}, {"-T ", true}, {"--skip session ", true}} {
		s := outerShell(t)
		s.line("sbx run " + c.flags + attack)
		s.await("begun\r\n")
		s.typed("echo my-$((40+2))\r")
		s.await("done\r\n")
		s.mu.Lock()
		stolen := strings.Contains(string(s.seen), "stolen:")
		s.mu.Unlock()
		if stolen != c.stolen {
			t.Errorf("sbx run %s: stolen is %v:\n%s", c.flags, stolen, s.seen)
		}
		if !c.stolen {
			s.await("my-42\r\n") // the shell's own
		}
		s.await("outer> ")
		before := s.settings()
		s.line("sbx run " + c.flags + settings)
		s.await("done\r\n")
		s.await("outer> ")
		changed := s.settings().Cc[unix.VSUSP] != before.Cc[unix.VSUSP]
		if changed != c.stolen {
			t.Errorf("sbx run %s: the settings were changed: %v", c.flags, changed)
		}
	}
}

// TestTerminalPipeline: a program beside CMD has the keys, as long as CMD does
// not ask for them.
func TestTerminalPipeline(t *testing.T) {
	s := outerShell(t)
	s.line(`sbx run -- sh -c 'echo some; echo be""gun >&2' | sh -c 'cat >/dev/null; echo as""ks; read k </dev/tty; echo "k""ey=$k"'`)
	s.await("begun\r\n")
	s.await("asks\r\n")
	s.line("pressed")
	s.await("key=pressed\r\n")
	s.await("outer> ")
	// While CMD still runs.
	s.line(`sbx run -- sh -c 'echo some; sleep 2; echo la""st >&2' | sh -c 'read x; echo as""ks; read k </dev/tty; echo "k""ey=$k"'`)
	s.await("asks\r\n")
	s.line("pressed")
	s.await("key=pressed\r\n")
	s.await("last\r\n")
	s.await("outer> ")
	s.leave()
}

// TestTerminalOnDemand: a CMD whose output goes elsewhere gets the keys once it
// reads, in raw mode from there on.
func TestTerminalOnDemand(t *testing.T) {
	s := outerShell(t)
	s.line(`sbx run -- sh -c 'echo be""gun >&2; test -t 1 || echo no""ne >&2; read x; echo "go""t=$x" >&2; cat' >out; cat out`)
	s.await("begun\r\n")
	s.await("none\r\n")
	s.line("one")
	s.await("got=one\r\n")
	s.awaitRaw(true)
	s.line("two")
	s.await("two\r\n")
	s.typed("\x04")
	s.await("two\r\n")
	s.await("outer> ")
	// What others of the pipeline print meanwhile begins at the left.
	s.line(`sbx run -- sh -c 'read x; echo "go""t=$x"; read y' | sh -c 'read x; echo "$x"; echo "ne""xt"; cat'`)
	time.Sleep(300 * time.Millisecond)
	s.line("one")
	s.await("got=one") // the echo of what was typed may come behind it
	s.await("\r\nnext\r\n")
	s.line("two")
	s.await("outer> ")
	// And Ctrl-C there is CMD's.
	s.line(`sbx run -- sh -c 'trap "echo trap""ped >&2; exit 3" INT; read x; echo "go""t=$x" >&2; read y' >out; echo co""de=$?`)
	time.Sleep(300 * time.Millisecond)
	s.line("one")
	s.await("got=one\r\n")
	s.typed("\x03")
	s.await("trapped\r\n")
	s.await("code=3\r\n")
	s.await("outer> ")
	s.leave()
}

// TestTerminalPager: a CMD that reads from a pipe and prints to the terminal
// takes its keys from /dev/tty, one by one and without echo.
func TestTerminalPager(t *testing.T) {
	s := outerShell(t)
	s.line(`seq 3 | sbx run -- sh -c 'cat; stty -icanon -echo min 1 </dev/tty; echo wai""ting; k=$(dd bs=1 count=1 2>/dev/null </dev/tty); echo "ke""y=$k"; stty size </dev/tty'`)
	s.await("1\r\n2\r\n3\r\n")
	s.await("waiting\r\n")
	s.typed("q")
	s.await("key=q\r\n")
	s.await("30 100\r\n")
	s.await("outer> ")
	// A CMD that moves the cursor itself gets a bare line feed through.
	s.line(`echo | sbx run -- sh -c 'stty raw </dev/tty; printf "do""wn\nri""ght\r\n"; dd bs=1 count=1 2>/dev/null </dev/tty'`)
	s.await("down\nright\r\n")
	s.typed("q")
	s.await("outer> ")
	s.leave()
}

// TestTerminalDemandBehind: a CMD in the background that reads stops sbx, as the
// shell expects of any job.
func TestTerminalDemandBehind(t *testing.T) {
	s := outerShell(t)
	s.line(`sbx run -- sh -c 'read x; echo "go""t=$x" >&2' >out &`)
	s.await("outer> ")
	time.Sleep(500 * time.Millisecond)
	s.line("")
	s.await("Stopped")
	s.await("outer> ")
	s.line("fg")
	s.await("sbx run")
	time.Sleep(300 * time.Millisecond)
	s.line("one")
	s.await("got=one\r\n")
	s.await("outer> ")
	s.leave()
}

// TestTerminalRedirected: what is no terminal stays what it is, also beside two
// that are.
func TestTerminalRedirected(t *testing.T) {
	s := outerShell(t)
	s.line(`sbx run -- sh -c 'test -t 0 && test -t 1 && ! test -t 2 && echo ri""ght; echo apart >&2' 2>err; sed s/^/er""r:/ err`)
	s.await("right\r\n")
	s.await("err:apart\r\n")
	s.await("outer> ")
	s.line(`sbx run -t -- sh -c 'test -t 0 && test -t 1 && test -t 2 && echo all' </dev/null 2>err | sed s/^/pi""pe:/`)
	s.await("pipe:all\r")
	s.await("outer> ")
	s.leave()
}

// TestLineEnds: the stream may be cut anywhere.
func TestLineEnds(t *testing.T) {
	const stream = "one\r\ntwo\r\r\n\rthree\r\n\r\nfour\r"
	const want = "one\ntwo\r\n\rthree\n\nfour\r"
	for size := 1; size <= len(stream); size++ {
		var l lineEnds
		var got strings.Builder
		for at := 0; at < len(stream); at += size {
			got.Write(l.undo([]byte(stream[at:min(at+size, len(stream))]), false))
		}
		got.Write(l.undo(nil, true))
		if got.String() != want {
			t.Errorf("in pieces of %d bytes: %q, want %q", size, got.String(), want)
		}
	}
}

// TestTerminalNote: what -T means is said once there is a terminal.
func TestTerminalNote(t *testing.T) {
	s := open(t, sbxPath(t), "run", "-T", "sh", "-c", "tty; read x")
	s.await("sbx: CMD has your terminal as it is: it can read what you type, and change its settings\r\n")
	if settings := s.settings(); settings != s.before {
		t.Errorf("the terminal is not as it was:\n%+v, before\n%+v", settings, s.before)
	}
	s.line("")
	if code := s.awaitEnd(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
