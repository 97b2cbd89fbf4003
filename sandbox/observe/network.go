package observe

import (
	"encoding/hex"
	"fmt"
	"io"
	"math/bits"
	"strconv"
	"strings"
)

// Interface is one network interface of a process's network namespace. /proc
// does not say whether it is up; one that has an address is.
type Interface struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"` // IPv6 with prefix length first, then IPv4
	RxBytes   uint64   `json:"rx_bytes"`
	RxPackets uint64   `json:"rx_packets"`
	TxBytes   uint64   `json:"tx_bytes"`
	TxPackets uint64   `json:"tx_packets"`
}

// ParseNetDev reads /proc/PID/net/dev (proc_pid_net(5)): two lines of heading,
// then a name, a colon and sixteen counters.
func ParseNetDev(r io.Reader) ([]Interface, error) {
	interfaces := []Interface{}
	err := eachLine("net/dev", r, func(line string) error {
		if strings.Contains(line, "|") {
			return nil
		}
		colon := strings.LastIndexByte(line, ':')
		if colon < 0 {
			return fmt.Errorf("%w: no colon", errMalformed)
		}
		i := Interface{Name: strings.TrimSpace(line[:colon]), Addresses: []string{}}
		counters := strings.Fields(line[colon+1:])
		if i.Name == "" || len(counters) != 16 {
			return fmt.Errorf("%w: not a name and 16 counters", errMalformed)
		}
		for _, c := range []struct {
			into *uint64
			text string
		}{{&i.RxBytes, counters[0]}, {&i.RxPackets, counters[1]}, {&i.TxBytes, counters[8]}, {&i.TxPackets, counters[9]}} {
			var err error
			if *c.into, err = strconv.ParseUint(c.text, 10, 64); err != nil {
				return fmt.Errorf("%w: %w", errMalformed, err)
			}
		}
		interfaces = append(interfaces, i)
		return nil
	})
	return interfaces, err
}

// InterfaceAddress is an address and the interface that has it.
type InterfaceAddress struct {
	Interface string
	Address   string // with prefix length: fe80::1/64
}

// ParseIfInet6 reads /proc/PID/net/if_inet6: address, index, prefix length,
// scope and flags in hexadecimal, then the name.
func ParseIfInet6(r io.Reader) ([]InterfaceAddress, error) {
	addresses := []InterfaceAddress{}
	err := eachLine("net/if_inet6", r, func(line string) error {
		fields := strings.Fields(line)
		if len(fields) != 6 || len(fields[0]) != 32 {
			return fmt.Errorf("%w: not the fields of an address", errMalformed)
		}
		var ip [16]byte
		if _, err := hex.Decode(ip[:], []byte(fields[0])); err != nil {
			return fmt.Errorf("%w: %w", errMalformed, err)
		}
		length, err := strconv.ParseUint(fields[2], 16, 8)
		if err != nil || length > 128 {
			return fmt.Errorf("%w: prefix length %q", errMalformed, fields[2])
		}
		addresses = append(addresses, InterfaceAddress{
			Interface: fields[5],
			Address:   ipv6String(ip) + "/" + strconv.FormatUint(length, 10),
		})
		return nil
	})
	return addresses, err
}

// ipv6String writes an address as RFC 5952 asks: lower case, no leading
// zeros, the first longest run of two or more zero groups as "::". (net/netip
// would do it, at 20 to 40 µs of initialisation in every start of a sandbox.)
func ipv6String(ip [16]byte) string {
	group := func(i int) uint64 { return uint64(ip[2*i])<<8 | uint64(ip[2*i+1]) }
	runAt, runLength := -1, 1
	for i := 0; i < 8; i++ {
		n := 0
		for i+n < 8 && group(i+n) == 0 {
			n++
		}
		if n > runLength {
			runAt, runLength = i, n
		}
	}
	var b []byte
	for i := 0; i < 8; i++ {
		if i == runAt {
			b = append(b, "::"...)
			i += runLength - 1
			continue
		}
		if len(b) > 0 && b[len(b)-1] != ':' {
			b = append(b, ':')
		}
		b = strconv.AppendUint(b, group(i), 16)
	}
	return string(b)
}

// parseIPv4 reads a dotted quad.
func parseIPv4(text string) (uint32, bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 4 {
		return 0, false
	}
	var ip uint32
	for _, p := range parts {
		n, err := strconv.ParseUint(p, 10, 8)
		if err != nil {
			return 0, false
		}
		ip = ip<<8 | uint32(n)
	}
	return ip, true
}

// ParseFibTrie reads /proc/PID/net/fib_trie and returns the IPv4 addresses of
// the network namespace itself, each once, in the order of the file. They are
// the leaves marked "/32 host LOCAL"; the file does not name interfaces.
func ParseFibTrie(r io.Reader) ([]string, error) {
	addresses := []string{}
	leaf := ""
	err := eachLine("net/fib_trie", r, func(line string) error {
		line = strings.TrimSpace(line)
		if address, ok := strings.CutPrefix(line, "|-- "); ok {
			if _, ok := parseIPv4(address); !ok {
				return fmt.Errorf("%w: %q is no address", errMalformed, address)
			}
			leaf = address
			return nil
		}
		if line == "/32 host LOCAL" && leaf != "" && !contains(addresses, leaf) {
			addresses = append(addresses, leaf)
		}
		return nil
	})
	return addresses, err
}

// Route is one IPv4 route of the main table.
type Route struct {
	Interface   string
	Destination uint32 // in host byte order: 10.0.0.0 is 0x0a000000
	Gateway     uint32
	Mask        uint32
}

// ParseRoute reads /proc/PID/net/route. The kernel prints each address as the
// number that its four bytes are in memory, so that on a little-endian machine
// 127.0.0.0 reads 0000007F. All machines that sbx runs on are little-endian.
func ParseRoute(r io.Reader) ([]Route, error) {
	routes := []Route{}
	err := eachLine("net/route", r, func(line string) error {
		fields := strings.Fields(line)
		if len(fields) > 0 && fields[0] == "Iface" {
			return nil
		}
		if len(fields) < 8 {
			return fmt.Errorf("%w: %d fields", errMalformed, len(fields))
		}
		route := Route{Interface: fields[0]}
		for _, a := range []struct {
			into *uint32
			text string
		}{{&route.Destination, fields[1]}, {&route.Gateway, fields[2]}, {&route.Mask, fields[7]}} {
			n, err := strconv.ParseUint(a.text, 16, 32)
			if err != nil {
				return fmt.Errorf("%w: %w", errMalformed, err)
			}
			*a.into = bits.ReverseBytes32(uint32(n))
		}
		routes = append(routes, route)
		return nil
	})
	return routes, err
}

// placeIPv4 ties each address to the interface whose most specific direct
// route holds it, 127.0.0.0/8 to lo, and returns those left over.
func placeIPv4(interfaces []Interface, addresses []string, routes []Route) []string {
	left := []string{}
	for _, address := range addresses {
		ip, ok := parseIPv4(address)
		if !ok {
			continue
		}
		name, length := "", 0
		if ip>>24 == 127 {
			name = "lo"
		} else {
			for _, r := range routes {
				// A default route holds every address and so ties none.
				if n := bits.OnesCount32(r.Mask); r.Gateway == 0 && n > length && ip&r.Mask == r.Destination {
					name, length = r.Interface, n
				}
			}
		}
		placed := false
		for i := range interfaces {
			if name != "" && interfaces[i].Name == name {
				if length > 0 {
					address += "/" + strconv.Itoa(length)
				}
				interfaces[i].Addresses = append(interfaces[i].Addresses, address)
				placed = true
				break
			}
		}
		if !placed {
			left = append(left, address)
		}
	}
	return left
}

// ParseSNMP reads one counter of /proc/PID/net/snmp, such as OutNoRoutes of
// the protocol Ip. The file holds pairs of lines: names, then values.
func ParseSNMP(r io.Reader, protocol, counter string) (int64, error) {
	var names []string
	var value int64
	found := false
	err := eachLine("net/snmp", r, func(line string) error {
		prefix, rest, ok := strings.Cut(line, ":")
		if !ok {
			return fmt.Errorf("%w: no colon", errMalformed)
		}
		if prefix != protocol || found {
			return nil
		}
		words := strings.Fields(rest)
		if names == nil {
			names = words
			return nil
		}
		if len(words) != len(names) {
			return fmt.Errorf("%w: %d values for %d names", errMalformed, len(words), len(names))
		}
		for i, name := range names {
			if name == counter {
				n, err := strconv.ParseInt(words[i], 10, 64)
				if err != nil {
					return fmt.Errorf("%w: %w", errMalformed, err)
				}
				value, found = n, true
			}
		}
		names = nil
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("net/snmp: no counter %s of %s", counter, protocol)
	}
	return value, err
}

// ParseSNMP6 reads one counter of /proc/PID/net/snmp6, such as
// Ip6OutNoRoutes: a name and a value a line.
func ParseSNMP6(r io.Reader, counter string) (int64, error) {
	var value int64
	found := false
	err := eachLine("net/snmp6", r, func(line string) error {
		words := strings.Fields(line)
		if len(words) != 2 {
			return fmt.Errorf("%w: %d words", errMalformed, len(words))
		}
		if words[0] != counter || found {
			return nil
		}
		n, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil {
			return fmt.Errorf("%w: %w", errMalformed, err)
		}
		value, found = n, true
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("net/snmp6: no counter %s", counter)
	}
	return value, err
}
