package observe

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// Every fuzz target asks at least that a parser neither panics nor returns
// more than its text has room for. Where the kernel's format can be written
// again from the result, a second parse must give the same result.

func FuzzStatus(f *testing.F) {
	f.Add(statusText)
	f.Add("Name:\ta\\nb\\\\\nUid:\t0 0 0 0\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseStatus(strings.NewReader(text))
		if len(s.Groups)+len(s.NStgid)+len(s.NSsid)+len(s.NSpgid) > len(text) {
			t.Fatal("more numbers than bytes")
		}
		if err != nil {
			return
		}
		name := strings.ReplaceAll(strings.ReplaceAll(s.Name, `\`, `\\`), "\n", `\n`)
		if strings.TrimSpace(name) != name {
			return // a name with spaces at its ends is not given back whole
		}
		again, err := ParseStatus(strings.NewReader(fmt.Sprintf(
			"Name:\t%s\nState:\t%s\nTgid:\t%d\nUid:\t%d %d %d %d\nCapEff:\t%016x\n",
			name, s.State, s.TGID, s.UID[0], s.UID[1], s.UID[2], s.UID[3], s.CapEff)))
		if err != nil || again.Name != s.Name || again.UID != s.UID || again.CapEff != s.CapEff || again.TGID != s.TGID {
			t.Fatalf("%+v became %+v, %v", s, again, err)
		}
	})
}

func FuzzStat(f *testing.F) {
	f.Add("4248 (sleep) S 4246 4238 2553 34817 -1 4194560 102 0 0 0 0 0 0 0 20 0 1 0 70146 2990080 415\n")
	f.Add("1 () R (1 1) R 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseStat(strings.NewReader(text))
		if err != nil {
			return
		}
		again, err := ParseStat(strings.NewReader(fmt.Sprintf("%d (%s) %s %d %d %d %d 0 0 0 0 0 0 0 0 0 0 0 0 0 0 %d\n",
			s.PID, s.Comm, s.State, s.PPID, s.Group, s.Session, int32(s.TTY), s.StartTime)))
		if err != nil || again != s {
			t.Fatalf("%+v became %+v, %v", s, again, err)
		}
		if TTYName(s.TTY) == "" && s.TTY != 0 {
			t.Fatalf("terminal %d has no name", s.TTY)
		}
	})
}

// formatMount writes a mount as the kernel does, each byte escaped that its
// place in the line needs escaped.
func formatMount(m Mount) string {
	escape := func(s, special string) string {
		var b strings.Builder
		for i := 0; i < len(s); i++ {
			if strings.IndexByte(special+" \t\n\r\\", s[i]) >= 0 {
				fmt.Fprintf(&b, `\%03o`, s[i])
				continue
			}
			b.WriteByte(s[i])
		}
		return b.String()
	}
	options := func(list []string) string {
		escaped := make([]string, len(list))
		for i, o := range list {
			escaped[i] = escape(o, ",")
		}
		return strings.Join(escaped, ",")
	}
	tags := ""
	for _, p := range m.Propagation {
		tags += p + " "
	}
	return fmt.Sprintf("%d %d %s %s %s %s %s- %s %s %s\n", m.ID, m.Parent, m.Device, escape(m.Root, ""), escape(m.Target, "#"),
		options(m.Options), tags, escape(m.FSType, ""), escape(m.Source, ""), options(m.SuperOptions))
}

func FuzzMountinfo(f *testing.F) {
	f.Add("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n")
	f.Add("40 35 0:40 / /a\\040b\\134 ro shared:2 - fuse.x src rw\n65 43 0:41 / /mnt rw - tmpfs  rw\n")
	f.Add("69 65 0:42 / /m rw - overlay ovl rw,lowerdir=l\\134:1:/mnt/m\\040x::d,upperdir=u,workdir=w\n")
	f.Fuzz(func(t *testing.T, text string) {
		mounts, err := ParseMountinfo(strings.NewReader(text))
		if len(mounts) > strings.Count(text, "\n")+1 {
			t.Fatal("more mounts than lines")
		}
		if err != nil {
			return
		}
		var b strings.Builder
		for _, m := range mounts {
			if (m.Overlay != nil) != (m.FSType == "overlay") {
				t.Fatalf("overlay folders of a %s", m.FSType)
			}
			if n := len(m.Options) + len(m.SuperOptions); n > len(text)+2 {
				t.Fatalf("%d options", n)
			}
			b.WriteString(formatMount(m))
		}
		again, err := ParseMountinfo(strings.NewReader(b.String()))
		if err != nil || !reflect.DeepEqual(again, mounts) {
			t.Fatalf("%q\n%+v became\n%+v, %v", b.String(), mounts, again, err)
		}
	})
}

func FuzzIDMap(f *testing.F) {
	f.Add("         0       1001          1\n         1     100000      65536\n", uint32(1001))
	f.Add("0 0 4294967295\n", uint32(0))
	f.Add("4294967295 4294967295 4294967295\n", uint32(1<<32-1))
	f.Fuzz(func(t *testing.T, text string, id uint32) {
		ranges, err := ParseIDMap(strings.NewReader(text))
		if err != nil {
			return
		}
		var b strings.Builder
		mapped := false
		for _, r := range ranges {
			fmt.Fprintf(&b, "%10d %10d %10d\n", r.Inside, r.Outside, r.Count)
			mapped = mapped || uint64(id) >= uint64(r.Outside) && uint64(id) < uint64(r.Outside)+uint64(r.Count)
		}
		again, err := ParseIDMap(strings.NewReader(b.String()))
		if err != nil || !reflect.DeepEqual(again, ranges) {
			t.Fatalf("%v became %v, %v", ranges, again, err)
		}
		if !mapped && insideID(ranges, id) != overflowID {
			t.Fatalf("%d is in no range of %v and is %d", id, ranges, insideID(ranges, id))
		}
		if describeMap(ranges) == "" {
			t.Fatal("a map without words")
		}
	})
}

func FuzzTimeOffsets(f *testing.F) {
	f.Add("monotonic           0         0\nboottime      -86401  500000000\n")
	f.Add("boottime -9223372036854775808 -9223372036854775808\n")
	f.Fuzz(func(t *testing.T, text string) {
		offsets, err := ParseTimeOffsets(strings.NewReader(text))
		if err != nil {
			return
		}
		if describeOffsets(offsets) == "" {
			t.Fatal("offsets without words")
		}
		for _, o := range offsets {
			if strings.ContainsAny(o.Clock, " \t\n") {
				t.Fatalf("a clock called %q", o.Clock)
			}
		}
	})
}

func FuzzLimits(f *testing.F) {
	f.Add(limitsText)
	f.Add("Max cpu time              18446744073709551615 0 us\n")
	f.Fuzz(func(t *testing.T, text string) {
		limits, err := ParseLimits(strings.NewReader(text))
		if err != nil {
			return
		}
		encoded, err := json.Marshal(limits)
		if err != nil {
			t.Fatal(err)
		}
		var again []Rlimit
		if err := json.Unmarshal(encoded, &again); err != nil {
			t.Fatalf("%s: %v", encoded, err)
		}
		for i := range limits {
			if limits[i].Soft != again[i].Soft || limits[i].Hard != again[i].Hard {
				t.Fatalf("%v became %v", limits[i], again[i])
			}
		}
	})
}

func FuzzCgroup(f *testing.F) {
	f.Add("9:name=systemd:/\n4:cpu,cpuacct:/a:b/c (deleted)\n0::/../x\n")
	f.Fuzz(func(t *testing.T, text string) {
		paths, err := ParseCgroup(strings.NewReader(text))
		if err != nil {
			return
		}
		var b strings.Builder
		for _, p := range paths {
			fmt.Fprintf(&b, "%d:%s:%s\n", p.Hierarchy, strings.Join(p.Controllers, ","), p.Path)
		}
		again, err := ParseCgroup(strings.NewReader(b.String()))
		if err != nil || !reflect.DeepEqual(again, paths) {
			t.Fatalf("%v became %v, %v", paths, again, err)
		}
	})
}

func FuzzNetDev(f *testing.F) {
	f.Add(netDevText)
	f.Fuzz(func(t *testing.T, text string) {
		interfaces, err := ParseNetDev(strings.NewReader(text))
		if err != nil {
			return
		}
		var b strings.Builder
		for _, i := range interfaces {
			fmt.Fprintf(&b, "%6s: %d %d 0 0 0 0 0 0 %d %d 0 0 0 0 0 0\n", i.Name, i.RxBytes, i.RxPackets, i.TxBytes, i.TxPackets)
		}
		again, err := ParseNetDev(strings.NewReader(b.String()))
		if err != nil || !reflect.DeepEqual(again, interfaces) {
			t.Fatalf("%v became %v, %v", interfaces, again, err)
		}
	})
}

func FuzzIfInet6(f *testing.F) {
	f.Add("fd000000000000000000000000000002 04 40 00 82     eth0\n00000000000000000000000000000001 01 80 10 80       lo\n")
	f.Fuzz(func(t *testing.T, text string) {
		addresses, err := ParseIfInet6(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, a := range addresses {
			prefix, err := netip.ParsePrefix(a.Address)
			if err != nil {
				t.Fatal(err)
			}
			ip := prefix.Addr()
			// netip writes an IPv4-mapped address in dotted form.
			if !ip.Is4In6() && prefix.String() != a.Address {
				t.Fatalf("%s is not the canonical %s", a.Address, prefix)
			}
		}
	})
}

func FuzzFibTrie(f *testing.F) {
	f.Add(fibTrieText)
	f.Fuzz(func(t *testing.T, text string) {
		addresses, err := ParseFibTrie(strings.NewReader(text))
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, a := range addresses {
			if _, ok := parseIPv4(a); !ok || seen[a] || !strings.Contains(text, a) {
				t.Fatalf("address %q", a)
			}
			seen[a] = true
		}
	})
}

func FuzzRoute(f *testing.F) {
	f.Add(routeText, "192.0.2.2")
	f.Fuzz(func(t *testing.T, text, address string) {
		routes, err := ParseRoute(strings.NewReader(text))
		if err != nil {
			return
		}
		interfaces := []Interface{{Name: "lo"}, {Name: "eth0"}}
		left := placeIPv4(interfaces, []string{address}, routes)
		n := len(left) + len(interfaces[0].Addresses) + len(interfaces[1].Addresses)
		if _, ok := parseIPv4(address); ok && n != 1 || !ok && n != 0 {
			t.Fatalf("%q is in %d places", address, n)
		}
	})
}

func FuzzSNMP(f *testing.F) {
	f.Add(snmpText, "Ip", "OutNoRoutes")
	f.Add("Ip6OutNoRoutes\t3\n", "", "Ip6OutNoRoutes")
	f.Fuzz(func(t *testing.T, text, protocol, counter string) {
		if n, err := ParseSNMP(strings.NewReader(text), protocol, counter); err == nil {
			again, err := ParseSNMP(strings.NewReader(fmt.Sprintf("%s: %s\n%s: %d\n", protocol, counter, protocol, n)), protocol, counter)
			if err != nil || again != n {
				t.Fatalf("%d became %d, %v", n, again, err)
			}
		}
		if n, err := ParseSNMP6(strings.NewReader(text), counter); err == nil {
			again, err := ParseSNMP6(strings.NewReader(fmt.Sprintf("%s %d\n", counter, n)), counter)
			if err != nil || again != n {
				t.Fatalf("%d became %d, %v", n, again, err)
			}
		}
	})
}

func FuzzFdinfo(f *testing.F) {
	f.Add("pos:\t12\nflags:\t02100002\nmnt_id:\t24\nino:\t3\neventfd-count:                0\n")
	f.Fuzz(func(t *testing.T, text string) {
		info, err := ParseFdinfo(strings.NewReader(text))
		if err != nil {
			return
		}
		again, err := ParseFdinfo(strings.NewReader(fmt.Sprintf("pos:\t%d\nflags:\t0%o\nmnt_id:\t%d\nino:\t%d\n", info.Position, info.Flags, info.MountID, info.Inode)))
		if err != nil || again != info {
			t.Fatalf("%+v became %+v, %v", info, again, err)
		}
	})
}

// What a hostile process chose must not reach a terminal as it is, and a line
// must not be wider than asked for.
func FuzzWrite(f *testing.F) {
	f.Add("sleep 20", uint8(80))
	f.Add("\x1b]0;owned\x07\u202e\r\n\xff \u00e9 …", uint8(0))
	f.Add(strings.Repeat("a b", 100), uint8(40))
	f.Fuzz(func(t *testing.T, text string, width uint8) {
		a, b := hostView(), hostView()
		b.Comm, b.Exe, b.Cwd, b.Root = text, text, text, text
		b.Command = []string{text, text}
		b.Hostname = text
		b.Environment = []Variable{{text, "secret-value"}}
		b.FDs = []FD{{FD: 7, Target: text}}
		b.Mounts = []Mount{{Target: text, FSType: text, Source: text, Overlay: &Overlay{Lower: []string{text}}}}
		b.Processes = []Process{{1, text}}
		b.Interfaces = []Interface{{Name: text, Addresses: []string{text}}}
		b.Cgroups = []CgroupPath{{Controllers: []string{text}, Path: text}}
		b.Landlock = Landlock{State: text, Rules: []string{text}}
		b.Unreadable = []Unread{{Part: text, Path: text, Reason: text}}
		var out strings.Builder
		if err := b.Write(&out, WriteOptions{Width: int(width), Reference: a}); err != nil {
			t.Fatal(err)
		}
		limit := int(width)
		if limit == 0 {
			limit = 80
		}
		for line := range strings.SplitSeq(out.String(), "\n") {
			if n := utf8.RuneCountInString(line); n > max(limit, 40) {
				t.Fatalf("%d characters instead of %d: %q", n, limit, line)
			}
			if printable(line) != line {
				t.Fatalf("not printable: %q", line)
			}
		}
		changes := Diff(a, b)
		for _, c := range append(changes, Diff(b, a)...) {
			for _, s := range []string{c.Subject, c.A, c.B, c.Sentence} {
				if printable(s) != s {
					t.Fatalf("not printable: %q", s)
				}
			}
		}
		all := out.String() + fmt.Sprint(changes)
		if strings.Contains(all, "secret-value") && !strings.Contains(text, "secret-value") {
			t.Fatal("the value of a variable was printed")
		}
		if self := Diff(b, b); len(self) != 0 {
			t.Fatalf("a view differs from itself: %v", self)
		}
	})
}
