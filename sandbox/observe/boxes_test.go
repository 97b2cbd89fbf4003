package observe

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// two is a caller and a process in a sandbox that shares only the time and the
// cgroup namespace with it.
func two() (host, box *View) {
	host = &View{Hostname: "lab-7", Command: []string{"sbx"}}
	box = &View{
		PID: 900, NStgid: []int{900, 2}, Command: []string{"sleep", "60"}, Hostname: "sandbox",
		UIDMap: []IDRange{{0, 1000, 1}}, NoNewPrivileges: true,
		Seccomp: Seccomp{Mode: "filter"}, Landlock: Landlock{State: "none"},
		Mounts:     []Mount{{Target: "/", FSType: "tmpfs"}, {Target: "/work", FSType: "overlay"}},
		Interfaces: []Interface{{Name: "lo"}},
		Processes:  []Process{{1, "sbx-init"}, {2, "sleep"}},
	}
	for i, kind := range []string{"user", "mnt", "pid", "uts", "ipc", "net", "cgroup", "time"} {
		n := Namespace{Kind: kind, Inode: uint64(100 + i), Shared: true}
		host.Namespaces = append(host.Namespaces, n)
		if kind != "time" && kind != "cgroup" {
			n = Namespace{Kind: kind, Inode: uint64(200 + i), Owner: 200}
		}
		box.Namespaces = append(box.Namespaces, n)
	}
	box.Namespaces[0].Owner, box.Namespaces[0].Parents = 100, []uint64{100}
	box.Namespaces[2].Parents = []uint64{102}
	return host, box
}

func drawn(t *testing.T, v, reference *View) string {
	t.Helper()
	b := v.Boxes(reference)
	var text strings.Builder
	if err := b.WriteTree(&text, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func TestBoxes(t *testing.T) {
	host, box := two()
	want := `host lab-7
│  shared with the process: cgroup, time
└─ user namespace [200]
   │  uid 0 inside is 1000 outside
   └─ mount namespace [201]
      │  2 mounts, 1 overlay: copy on write
      └─ PID namespace [202]
         │  CMD is process 2 inside, 900 outside
         └─ UTS namespace [203]
            │  its name is sandbox
            └─ IPC namespace [204]
               │  queues and shared memory of its own
               └─ network namespace [205]
                  │  interfaces: lo
                  └─ sleep 60
                        it sees: 1 sbx-init, 2 sleep
                        ✓ no capabilities  ✓ no_new_privs  ✗ no Landlock  ✓ seccomp filter
`
	if got := drawn(t, box, host); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A sandbox in a sandbox: what the outer one owns lies between the two user
// namespaces, and so does the outer PID namespace.
func TestBoxesNested(t *testing.T) {
	host, box := two()
	box.Namespaces[0].Owner, box.Namespaces[0].Parents = 150, []uint64{150, 100}
	box.Namespaces[2].Parents = []uint64{152, 102}
	box.Namespaces[5].Owner = 150 // the network is the outer one's
	var order []string
	for line := range strings.Lines(drawn(t, box, host)) {
		if _, title, ok := strings.Cut(line, "└─ "); ok {
			order = append(order, strings.TrimSpace(title))
		}
	}
	want := "user namespace [150], PID namespace [152], network namespace [205], user namespace [200], " +
		"mount namespace [201], PID namespace [202], UTS namespace [203], IPC namespace [204], sleep 60"
	if got := strings.Join(order, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A process with nothing of its own stands directly in the host's box.
func TestBoxesOfTheCaller(t *testing.T) {
	host, _ := two()
	got := drawn(t, host, host)
	if !strings.Contains(got, "└─ sbx\n") || strings.Contains(got, "namespace [") {
		t.Errorf("%s", got)
	}
}

// Whatever a process is called, the drawing is well-formed and says it as text.
func TestSVGOfHostileNames(t *testing.T) {
	host, box := two()
	box.Command = []string{`</text><script>alert(1)</script>`, "\x1b[2J\x00\xff", `"&`}
	box.Processes = []Process{{1, `<b>&"`}}
	box.Hostname = "a<b"
	b := box.Boxes(host)
	for _, inline := range []bool{true, false} {
		var text strings.Builder
		if err := b.WriteSVG(&text, inline); err != nil {
			t.Fatal(err)
		}
		elements, d := map[string]int{}, xml.NewDecoder(strings.NewReader(text.String()))
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%v in %s", err, text.String())
			}
			if start, ok := token.(xml.StartElement); ok {
				elements[start.Name.Local]++
			}
		}
		if elements["script"] != 0 || elements["text"] < 10 || (elements["style"] == 1) == inline {
			t.Errorf("inline=%t: %v", inline, elements)
		}
	}
}
