package lessons

import (
	"os"
	"path/filepath"
	"testing"
)

// cheats are answers that look right and are not: another program under the name
// that the task asks for, a program that is told to do something else, output in
// place of facts, and steps that the task does not allow to be left out. A
// folder of the student's own, bin, holds copies of true with the names of others.
var cheats = map[string][]string{
	"10-layers": {
		"sbx run --image kiosk:2 -- cat /srv/menu",
		"sbx run -- sh -c 'cat data/sbx/layers/*/root/srv/token'",
		"sbx run -- cat kiosk.tar",
		"sbx run -- echo token",
		"sbx run --rw . -- sh -c 'for f in data/sbx/layers/*/root/srv/token; do echo mine >$f; done; echo mine'",
	},
	"11-cache": {
		"FROM host\nRUN printf 'CACHED\\nBuilt app: 4 layers, 3 steps from the cache\\n'\n",
		"FROM host\nWORKDIR /app\nCOPY install requirements ./\nRUN sh install\n",
		"FROM host\nWORKDIR /app\nRUN mkdir lib; echo tea >lib/tea; echo coffee >lib/coffee\nCOPY . .\n",
		"FROM host\nWORKDIR /app\nCOPY . .\nRUN --mount=type=cache,target=/app/lib sh install\n",
		"FROM host\nWORKDIR /app\nCOPY install requirements ./\nRUN sh install\nCOPY main ./\nRUN cksum main >sum\n",
		"FROM host\nWORKDIR /app\nCOPY install requirements ./\nRUN sh install\nRUN ln -s /etc/hostname main\n",
	},
	"13-pid1": {
		"sbx run --skip pid --timeout 1s -- sh job",
		"sbx run --as-pid-1 --only pid -- sh job",
		"sbx run --only pid -- sh -c 'echo 3'",
		"sbx run --only pid -- ./bin/sh job",
	},
	"14-network": {
		"sbx run --only net -- ./bin/perl talk.pl",
		"sbx run --only uts -- perl talk.pl",
		"sbx run --only net -- sh -c 'exit 0; perl talk.pl'",
		"sbx run --only net -e PERL5OPT=-Mstrict -- perl talk.pl",
	},
	"15-sockets": {
		"sbx run --rw run --net host --skip landlock -- perl ask.pl",
		"sbx run -- ./bin/perl ask.pl",
		"sbx run -v ./bin/perl:/usr/bin/perl:ro -- perl ask.pl",
		"sbx run --hide run -- perl ask.pl",
	},
	"16-ipc": {
		"sbx run --skip dev -- ls /dev/shm",
		"sbx run -- ls /dev/shm",
		"sbx run --skip dev,ipc --tmpfs /dev/shm -- ls /dev/shm",
		"sbx run --skip dev -v ./bin/sh:/usr/bin/dash:ro -- ls /dev/shm",
	},
	"17-capability-drop": {
		"sbx run --cap-add ALL -- perl serve.pl",
		"sbx run --cap-add NET_BIND_SERVICE --cap-add CHOWN -- perl serve.pl",
		"sbx run --cap-add NET_BIND_SERVICE --net host -- perl serve.pl",
		"sbx run --cap-add CHOWN -- ./bin/perl serve.pl",
		"sbx run -u 0 -v ./bin/perl:/usr/bin/perl:ro -- perl serve.pl",
	},
	"18-nnp": {
		"sbx run --skip nnp -u 0 --cap-add SYS_ADMIN -- perl refuse.pl mkdir -- echo done",
		"sbx run --only nnp -- perl refuse.pl -- echo done",
		"sbx run --only nnp -- ./bin/perl refuse.pl mkdir -- echo done",
		"sbx run -- perl refuse.pl mkdir -- echo done",
	},
	"19-seccomp": {
		"sbx run --skip overlay -- perl refuse.pl mkdir -- perl make.pl",
		"sbx run -- perl refuse.pl mkdir mkdirat -- true -- perl make.pl",
		"sbx run --rw . -- perl refuse.pl mkdir -- perl make.pl",
		"sbx run -- sh -c 'echo dear >diary' refuse.pl mkdir -- perl make.pl",
		"sbx run -- perl -e 'open F, q(>diary)' refuse.pl mkdir -- perl make.pl",
	},
	"20-leaks": {
		"sbx run --skip env -- printenv EDITION",
		"sbx run -e EDITION --skip fds -- printenv EDITION",
		"sbx run -e EDITION -e SECRET -- printenv EDITION",
		"sbx run -e '*' -- printenv EDITION",
		"sbx run --only env -- printenv EDITION",
	},
	"21-limits": {
		"sbx run --layer-size 500k -- sh fill.sh",
		"sbx run --layer-size 64m -- sh fill.sh",
		"sbx run --layer-size 2m --rw . -- sh fill.sh",
		"sbx run --skip overlay --layer-size 2m -- sh fill.sh",
		"sbx run --layer-size 64m -v ./bin/perl:/usr/bin/perl:ro -- sh fill.sh",
	},
	"22-nesting": {
		"sbx run --allow-nesting --skip seccomp -- unshare --user --map-root-user --pid --fork --mount-proc id -u",
		"sbx run --profile teaching -- unshare --user --map-root-user --pid --fork --mount-proc id -u",
		"sbx run --allow-nesting -u 0 --cap-add ALL -- unshare --user --map-root-user --pid --fork --mount-proc id -u",
		"sbx run -- ./bin/unshare --user --map-root-user --pid --fork --mount-proc id -u",
	},
}

func TestCheatsFail(t *testing.T) {
	for id, lines := range cheats {
		l, ok := Find(id)
		if !ok {
			t.Errorf("no lesson is called %s", id)
			continue
		}
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			r := student(t, l)
			bin := filepath.Join(r.Dir, "bin")
			if err := os.Mkdir(bin, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"sh", "perl", "unshare"} {
				// A script would stand in its own command line as sh; this does not.
				if err := copyProgram("/bin/true", filepath.Join(bin, name)); err != nil {
					t.Fatal(err)
				}
			}
			for _, line := range lines {
				rep, err := l.Check(t.Context(), r, line, "")
				if err != nil {
					t.Fatal(err)
				}
				if rep.Passed {
					t.Errorf("%s passes", line)
				}
				if len(rep.Hints) == 0 {
					t.Errorf("%s: there is no hint for it: %+v", line, rep.Findings)
				}
				if rep.Error != "" && rep.Observed == nil {
					t.Errorf("%s is no line: %s", line, rep.Error)
				}
			}
		})
	}
}

func copyProgram(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o755)
}
