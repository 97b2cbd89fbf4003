package observe_test

import (
	"fmt"
	"os"
	"strings"

	"github.com/sbx-dev/sbx/sandbox/observe"
)

// Look at oneself from outside.
func ExampleSnapshot() {
	v, err := observe.Snapshot(os.Getpid())
	if err != nil {
		fmt.Println(err)
		return
	}
	user, _ := v.Namespace("user")
	fmt.Println(v.PID == os.Getpid(), user.Shared)
	// Output: true true
}

// Two views of one program, of which the second was started without
// privileges and without the host's processes.
func ExampleDiff() {
	host := &observe.View{
		Processes:    make([]observe.Process, 142),
		Capabilities: observe.Capabilities{Bounding: observe.CapabilityNames(1<<41 - 1), Known: 41},
		Seccomp:      observe.Seccomp{Mode: "disabled"},
	}
	sandbox := &observe.View{
		Processes:       make([]observe.Process, 3),
		Capabilities:    observe.Capabilities{Known: 41},
		NoNewPrivileges: true,
		Seccomp:         observe.Seccomp{Mode: "filter", Filters: 1},
	}
	for _, c := range observe.Diff(host, sandbox) {
		fmt.Printf("%-8s %s\n", c.Step, c.Sentence)
	}
	// Output:
	// proc     the process sees 3 processes instead of 142
	// caps     no bounding capability is left of 41
	// nnp      no_new_privs is set: no setuid program and no file capability can raise the process's privileges
	// seccomp  a seccomp filter judges every system call
}

// One line of a mount table: a read-only tmpfs at a path with a space.
func ExampleParseMountinfo() {
	const line = `52 43 0:41 / /srv/my\040files ro,nosuid shared:7 - tmpfs  rw,size=64k`
	mounts, err := observe.ParseMountinfo(strings.NewReader(line))
	if err != nil {
		fmt.Println(err)
		return
	}
	m := mounts[0]
	fmt.Printf("%q %s %s read-only: %v\n", m.Target, m.FSType, m.PropagationType(), m.ReadOnly)
	// Output: "/srv/my files" tmpfs shared read-only: true
}

// Draw oneself as a table and take its first line.
func ExampleView_Write() {
	v, err := observe.Self()
	if err != nil {
		fmt.Println(err)
		return
	}
	var page strings.Builder
	if err := v.Write(&page, observe.WriteOptions{Width: 80}); err != nil {
		fmt.Println(err)
		return
	}
	heading, _, _ := strings.Cut(page.String(), "\n")
	fmt.Println(heading)
	// Output: PROCESS
}

// How often did something in this network namespace find no route?
func ExampleOutNoRoutes() {
	count, err := observe.OutNoRoutes(os.Getpid())
	fmt.Println(count >= 0, err)
	// Output: true <nil>
}

// A capability set as /proc/PID/status has it.
func ExampleCapabilityNames() {
	fmt.Println(observe.CapabilityNames(0x3000))
	// Output: [CAP_NET_ADMIN CAP_NET_RAW]
}
