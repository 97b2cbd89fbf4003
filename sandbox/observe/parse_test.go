package observe

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// statusText is the status of a process with id 1001 that is PID 1 of a nested
// PID namespace, with the lines that the parser passes over.
const statusText = "Name:\tsleep\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t4248\nNgid:\t0\nPid:\t4248\nPPid:\t4246\n" +
	"TracerPid:\t0\nUid:\t1001\t1002\t1003\t1004\nGid:\t100\t100\t100\t100\nFDSize:\t256\nGroups:\t100 65534 \n" +
	"NStgid:\t4248\t1\nNSpid:\t4248\t1\nNSpgid:\t4238\t0\nNSsid:\t2553\t0\nVmPeak:\t    2920 kB\nSigQ:\t0/96365\n" +
	"CapInh:\t0000000000000000\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000003000\nCapBnd:\t000001ffffffffff\n" +
	"CapAmb:\t0000000000000001\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n"

func TestParseStatus(t *testing.T) {
	got, err := ParseStatus(strings.NewReader(statusText))
	if err != nil {
		t.Fatal(err)
	}
	want := Status{
		Name: "sleep", State: "S", TGID: 4248, PID: 4248, PPID: 4246,
		UID: [4]uint32{1001, 1002, 1003, 1004}, GID: [4]uint32{100, 100, 100, 100},
		Groups: []uint32{100, 65534}, NStgid: []int{4248, 1}, NSpgid: []int{4238, 0}, NSsid: []int{2553, 0},
		CapPrm: 1<<41 - 1, CapEff: 0x3000, CapBnd: 1<<41 - 1, CapAmb: 1,
		NoNewPrivs: true, Seccomp: 2, SeccompFilters: 3,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseStatusOldKernel(t *testing.T) {
	got, err := ParseStatus(strings.NewReader("Name:\ta\nSeccomp:\t0\n"))
	if err != nil || got.Seccomp != 0 || got.SeccompFilters != -1 {
		t.Errorf("without Seccomp_filters: %+v, %v", got, err)
	}
	got, err = ParseStatus(strings.NewReader("Name:\ta\n"))
	if err != nil || got.Seccomp != -1 {
		t.Errorf("without Seccomp: %+v, %v", got, err)
	}
}

// A process may call itself anything; the kernel escapes what would forge a
// line, and the parser gives the name back.
func TestParseStatusHostileName(t *testing.T) {
	got, err := ParseStatus(strings.NewReader("Name:\ta\\nUid:\\\\n: b\nUid:\t1\t1\t1\t1\n"))
	if err != nil || got.Name != "a\nUid:\\n: b" || got.UID[0] != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestParseStat(t *testing.T) {
	const rest = " S 4246 4238 2553 34817 -1 4194560 102 0 0 0 0 0 0 0 20 0 1 0 70146 2990080 415\n"
	for _, name := range []string{"sleep", "a b", ")", ") R 1 1 1 1", "(((", "a\nb", ""} {
		got, err := ParseStat(strings.NewReader("4248 (" + name + ")" + rest))
		want := Stat{PID: 4248, Comm: name, State: "S", PPID: 4246, Group: 4238, Session: 2553, TTY: 34817, StartTime: 70146}
		if err != nil || got != want {
			t.Errorf("%q: got %+v, %v", name, got, err)
		}
	}
}

func TestTTYName(t *testing.T) {
	for dev, want := range map[uint32]string{
		0: "", 136<<8 | 3: "pts/3", 137 << 8: "pts/1048576", 4<<8 | 1: "tty1", 4<<8 | 64: "ttyS0",
		5<<8 | 1: "console", 229 << 8: "hvc0", 136<<8 | 0x34 | 0x12<<20: "pts/4660", 99<<8 | 7: "99:7",
	} {
		if got := TTYName(dev); got != want {
			t.Errorf("TTYName(%#x) = %q, want %q", dev, got, want)
		}
	}
}

func TestParseMountinfo(t *testing.T) {
	for _, c := range []struct {
		name, line string
		want       Mount
	}{
		{
			"shared and slave", "36 35 98:0 /mnt1 /mnt2 rw,noatime shared:7 master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue",
			Mount{
				ID: 36, Parent: 35, Device: "98:0", Root: "/mnt1", Target: "/mnt2", FSType: "ext3", Source: "/dev/root",
				Options: []string{"rw", "noatime"}, SuperOptions: []string{"rw", "errors=continue"},
				Propagation: []string{"shared:7", "master:1", "propagate_from:2"},
			},
		},
		{
			"escapes", `40 35 0:40 / /a\040b\011c\012d\134e\043 ro - fuse.x\040y src\054comma ro`,
			Mount{
				ID: 40, Parent: 35, Device: "0:40", Root: "/", Target: "/a b\tc\nd\\e#", FSType: "fuse.x y", Source: "src,comma",
				Options: []string{"ro"}, SuperOptions: []string{"ro"}, Propagation: []string{}, ReadOnly: true,
			},
		},
		{
			"an empty source", "65 43 0:41 / /mnt rw,relatime - tmpfs  rw,uid=1001",
			Mount{
				ID: 65, Parent: 43, Device: "0:41", Root: "/", Target: "/mnt", FSType: "tmpfs",
				Options: []string{"rw", "relatime"}, SuperOptions: []string{"rw", "uid=1001"}, Propagation: []string{},
			},
		},
		{
			"a read-only bind of a folder called -", "66 43 0:41 /- /- ro unbindable - tmpfs - rw",
			Mount{
				ID: 66, Parent: 43, Device: "0:41", Root: "/-", Target: "/-", FSType: "tmpfs", Source: "-",
				Options: []string{"ro"}, SuperOptions: []string{"rw"}, Propagation: []string{"unbindable"}, ReadOnly: true,
			},
		},
		{
			"overlay", `69 65 0:42 / /m rw - overlay ovl rw,lowerdir=l\134:1:/mnt/m\040x::data\0542,upperdir=u,workdir=w`,
			Mount{
				ID: 69, Parent: 65, Device: "0:42", Root: "/", Target: "/m", FSType: "overlay", Source: "ovl",
				Options: []string{"rw"}, Propagation: []string{},
				SuperOptions: []string{"rw", `lowerdir=l\:1:/mnt/m x::data,2`, "upperdir=u", "workdir=w"},
				Overlay:      &Overlay{Lower: []string{"l:1", "/mnt/m x", "data,2"}, Upper: "u", Work: "w"},
			},
		},
		{
			"overlay by fsconfig, read-only", "69 65 0:42 / /m ro - overlay none ro,lowerdir+=/a:b,lowerdir+=/c,datadir+=/d",
			Mount{
				ID: 69, Parent: 65, Device: "0:42", Root: "/", Target: "/m", FSType: "overlay", Source: "none",
				Options: []string{"ro"}, Propagation: []string{}, ReadOnly: true,
				SuperOptions: []string{"ro", "lowerdir+=/a:b", "lowerdir+=/c", "datadir+=/d"},
				Overlay:      &Overlay{Lower: []string{"/a:b", "/c", "/d"}},
			},
		},
	} {
		got, err := ParseMountinfo(strings.NewReader(c.line + "\n"))
		if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], c.want) {
			t.Errorf("%s:\ngot  %+v, %v\nwant %+v", c.name, got, err, c.want)
		}
	}
}

func TestUnescapeOctal(t *testing.T) {
	for in, want := range map[string]string{
		`a\040b`: "a b", `\134040`: `\040`, `\`: `\`, `\04`: `\04`, `\048`: `\048`, `\777`: `\777`, `\377`: "\xff", "": "",
	} {
		if got := unescapeOctal(in); got != want {
			t.Errorf("unescapeOctal(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestPropagationType(t *testing.T) {
	for want, tags := range map[string][]string{
		"private": {}, "shared": {"shared:3"}, "slave": {"master:9", "propagate_from:1"},
		"shared and slave": {"shared:1", "master:2"}, "unbindable": {"unbindable"},
	} {
		m := Mount{Propagation: tags}
		if got := m.PropagationType(); got != want {
			t.Errorf("%q: %s, want %s", tags, got, want)
		}
	}
}

func TestParseIDMap(t *testing.T) {
	got, err := ParseIDMap(strings.NewReader("         0       1001          1\n         1     100000      65536\n"))
	want := []IDRange{{0, 1001, 1}, {1, 100000, 65536}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, %v", got, err)
	}
	for outside, inside := range map[uint32]uint32{1001: 0, 100000: 1, 165535: 65536, 165536: overflowID, 0: overflowID} {
		if n := insideID(got, outside); n != inside {
			t.Errorf("insideID(%d) = %d, want %d", outside, n, inside)
		}
	}
	if empty, err := ParseIDMap(strings.NewReader("")); err != nil || empty == nil || len(empty) != 0 {
		t.Errorf("an unwritten map: %v, %v", empty, err)
	}
	if text := describeMap(got); text != "0 inside is 1001 outside, 1 to 65536 inside are 100000 to 165535 outside" {
		t.Error(text)
	}
	if text := describeMap([]IDRange{{0, 0, 1<<32 - 1}}); text != "every id is itself" {
		t.Error(text)
	}
}

func TestParseTimeOffsets(t *testing.T) {
	got, err := ParseTimeOffsets(strings.NewReader("monotonic           0         0\nboottime      -86401  500000000\n"))
	want := []TimeOffset{{"monotonic", 0, 0}, {"boottime", -86401, 500000000}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, %v", got, err)
	}
	if text := describeOffsets(got); text != "boottime 86400.5 s behind the host's" {
		t.Error(text)
	}
	if text := describeOffsets([]TimeOffset{{"monotonic", 7, 0}, {"boottime", 1, 25}}); text != "monotonic 7 s ahead of the host's, boottime 1.000000025 s ahead of the host's" {
		t.Error(text)
	}
}

const limitsText = "Limit                     Soft Limit           Hard Limit           Units     \n" +
	"Max cpu time              unlimited            unlimited            seconds   \n" +
	"Max stack size            8388608              unlimited            bytes     \n" +
	"Max open files            1024                 20000                files     \n" +
	"Max nice priority         0                    0                    \n" +
	"Max something new         1                    2                    things    \n"

func TestParseLimits(t *testing.T) {
	got, err := ParseLimits(strings.NewReader(limitsText))
	want := []Rlimit{
		{"RLIMIT_CPU", Unlimited, Unlimited, "seconds"},
		{"RLIMIT_STACK", 8388608, Unlimited, "bytes"},
		{"RLIMIT_NOFILE", 1024, 20000, "files"},
		{"RLIMIT_NICE", 0, 0, ""},
		{"Max something new", 1, 2, "things"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestParseCgroup(t *testing.T) {
	got, err := ParseCgroup(strings.NewReader("9:name=systemd:/\n4:cpu,cpuacct:/a:b/c (deleted)\n0::/../x\n"))
	want := []CgroupPath{
		{9, []string{"name=systemd"}, "/"},
		{4, []string{"cpu", "cpuacct"}, "/a:b/c (deleted)"},
		{0, []string{}, "/../x"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if got[0].name() != "name=systemd" || got[1].name() != "cpu,cpuacct" || got[2].name() != "cgroup2" {
		t.Errorf("names %q %q %q", got[0].name(), got[1].name(), got[2].name())
	}
}

func TestParseFdinfo(t *testing.T) {
	got, err := ParseFdinfo(strings.NewReader("pos:\t12\nflags:\t02100002\nmnt_id:\t24\nino:\t3\neventfd-count:                0\nflags: 7777\nno colon\n"))
	want := Fdinfo{Position: 12, Flags: 0o2100002, MountID: 24, Inode: 3}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = ParseFdinfo(strings.NewReader("pos:\t0\nflags:\t0\n"))
	if err != nil || got.MountID != -1 {
		t.Errorf("without mnt_id: %+v, %v", got, err)
	}
}

func TestCapabilityNames(t *testing.T) {
	if got := CapabilityNames(0); got == nil || len(got) != 0 {
		t.Errorf("the empty set: %#v", got)
	}
	got := CapabilityNames(1<<0 | 1<<21 | 1<<40 | 1<<63)
	if want := []string{"CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE", "CAP_63"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	if n := len(CapabilityNames(1<<64 - 1)); n != 64 {
		t.Errorf("%d names for 64 bits", n)
	}
}

// Each parser refuses what no kernel writes, says which line, and keeps what
// it had read before.
func TestMalformed(t *testing.T) {
	for name, check := range map[string]func() error{
		"status without colon":    func() error { _, err := ParseStatus(strings.NewReader("Name\n")); return err },
		"status with three ids":   func() error { _, err := ParseStatus(strings.NewReader("Uid:\t1 2 3\n")); return err },
		"status with huge id":     func() error { _, err := ParseStatus(strings.NewReader("Groups:\t4294967296\n")); return err },
		"stat without name":       func() error { _, err := ParseStat(strings.NewReader("1 sleep S 1")); return err },
		"stat that is cut":        func() error { _, err := ParseStat(strings.NewReader("1 (sleep) S 1")); return err },
		"stat with reversed )(":   func() error { _, err := ParseStat(strings.NewReader("1 )sleep( S 1")); return err },
		"mount without separator": func() error { _, err := ParseMountinfo(strings.NewReader("1 2 3:4 / / rw ext4 x rw\n")); return err },
		"mount with a space more": func() error {
			_, err := ParseMountinfo(strings.NewReader("1 2 3:4 / / rw - ext4 x y rw\n"))
			return err
		},
		"mount with words as ids": func() error { _, err := ParseMountinfo(strings.NewReader("a 2 3:4 / / rw - ext4 x rw\n")); return err },
		"an empty mount":          func() error { _, err := ParseMountinfo(strings.NewReader("\n")); return err },
		"map of two numbers":      func() error { _, err := ParseIDMap(strings.NewReader("0 1\n")); return err },
		"map with a minus":        func() error { _, err := ParseIDMap(strings.NewReader("0 -1 1\n")); return err },
		"offset of two words":     func() error { _, err := ParseTimeOffsets(strings.NewReader("boottime 1\n")); return err },
		"limit that is cut":       func() error { _, err := ParseLimits(strings.NewReader("Max cpu time\n")); return err },
		"limit of words": func() error {
			_, err := ParseLimits(strings.NewReader("Max cpu time              a b c\n"))
			return err
		},
		"cgroup of two fields":   func() error { _, err := ParseCgroup(strings.NewReader("0:/\n")); return err },
		"cgroup below zero":      func() error { _, err := ParseCgroup(strings.NewReader("-1::/\n")); return err },
		"interface of words":     func() error { _, err := ParseNetDev(strings.NewReader("lo: a\n")); return err },
		"interface without name": func() error { _, err := ParseNetDev(strings.NewReader(": 1 2 3\n")); return err },
		"short IPv6 address":     func() error { _, err := ParseIfInet6(strings.NewReader("01 01 80 10 80 lo\n")); return err },
		"prefix of 129": func() error {
			_, err := ParseIfInet6(strings.NewReader(strings.Repeat("0", 32) + " 01 81 10 80 lo\n"))
			return err
		},
		"leaf that is no address": func() error { _, err := ParseFibTrie(strings.NewReader("|-- 1.2.3.256\n")); return err },
		"short route":             func() error { _, err := ParseRoute(strings.NewReader("lo 0 0\n")); return err },
		"snmp of unequal lines":   func() error { _, err := ParseSNMP(strings.NewReader("Ip: A B\nIp: 1\n"), "Ip", "A"); return err },
		"fdinfo in decimal":       func() error { _, err := ParseFdinfo(strings.NewReader("flags:\t9\n")); return err },
		"fdinfo without flags":    func() error { _, err := ParseFdinfo(strings.NewReader("pos:\t0\n")); return err },
	} {
		if err := check(); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	mounts, err := ParseMountinfo(strings.NewReader("1 2 3:4 / / rw - ext4 x rw\nrubbish\n"))
	if err == nil || !strings.Contains(err.Error(), "line 2") || len(mounts) != 1 {
		t.Errorf("got %v, %v", mounts, err)
	}
	if _, err := ParseMountinfo(strings.NewReader(strings.Repeat("a", maxLine+1))); err == nil {
		t.Error("a line without end was read")
	}
}
