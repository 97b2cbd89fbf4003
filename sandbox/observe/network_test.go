package observe

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

const netDevText = "Inter-|   Receive                                                |  Transmit\n" +
	" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n" +
	"    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0\n" +
	"veth@0:1234567890123       4    0    0    0     0          0         0       56       7    0    0    0     0       0          0\n"

func TestParseNetDev(t *testing.T) {
	got, err := ParseNetDev(strings.NewReader(netDevText))
	want := []Interface{
		{Name: "lo", Addresses: []string{}, RxBytes: 100, RxPackets: 2, TxBytes: 100, TxPackets: 2},
		{Name: "veth@0", Addresses: []string{}, RxBytes: 1234567890123, RxPackets: 4, TxBytes: 56, TxPackets: 7},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestParseIfInet6(t *testing.T) {
	got, err := ParseIfInet6(strings.NewReader("fd000000000000000000000000000002 04 40 00 82     eth0\n" +
		"00000000000000000000000000000001 01 80 10 80       lo\n"))
	want := []InterfaceAddress{{"eth0", "fd00::2/64"}, {"lo", "::1/128"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

// net/netip, which the package itself does not link, is the judge.
func TestIPv6String(t *testing.T) {
	for _, text := range []string{
		"::", "::1", "1::", "2001:db8::1", "2001:db8:0:1:1:1:1:1", "2001:0:0:1::1", "1:0:0:2:0:0:0:3", "fe80::fc:ff:fe00:1", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:0",
	} {
		ip := netip.MustParseAddr(text).As16()
		if got, want := ipv6String(ip), netip.AddrFrom16(ip).String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

const fibTrieText = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.2
           /32 host LOCAL
        |-- 198.51.100.9
           /32 host LOCAL
Local:
  +-- 127.0.0.0/8 2 0 2
     |-- 127.0.0.1
        /32 host LOCAL
`

const routeText = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
	"eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
	"eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"

func TestPlaceIPv4(t *testing.T) {
	addresses, err := ParseFibTrie(strings.NewReader(fibTrieText))
	if want := []string{"127.0.0.1", "192.0.2.2", "198.51.100.9"}; err != nil || !reflect.DeepEqual(addresses, want) {
		t.Fatalf("got %v, %v", addresses, err)
	}
	routes, err := ParseRoute(strings.NewReader(routeText))
	want := []Route{{"eth0", 0, 0xc0000201, 0}, {"eth0", 0xc0000200, 0, 0xffffff00}}
	if err != nil || !reflect.DeepEqual(routes, want) {
		t.Fatalf("got %x, %v", routes, err)
	}
	interfaces := []Interface{{Name: "lo"}, {Name: "eth0"}}
	left := placeIPv4(interfaces, addresses, routes)
	if !reflect.DeepEqual(left, []string{"198.51.100.9"}) {
		t.Errorf("left over: %v", left)
	}
	if !reflect.DeepEqual(interfaces[0].Addresses, []string{"127.0.0.1"}) || !reflect.DeepEqual(interfaces[1].Addresses, []string{"192.0.2.2/24"}) {
		t.Errorf("placed: %+v", interfaces)
	}
}

const snmpText = "Ip: Forwarding DefaultTTL OutDiscards OutNoRoutes\nIp: 2 64 0 17\n" +
	"Tcp: RtoAlgorithm MaxConn\nTcp: 1 -1\n"

func TestParseSNMP(t *testing.T) {
	for _, c := range []struct {
		protocol, counter string
		want              int64
	}{{"Ip", "OutNoRoutes", 17}, {"Ip", "Forwarding", 2}, {"Tcp", "MaxConn", -1}} {
		if got, err := ParseSNMP(strings.NewReader(snmpText), c.protocol, c.counter); err != nil || got != c.want {
			t.Errorf("%s %s = %d, %v", c.protocol, c.counter, got, err)
		}
	}
	if _, err := ParseSNMP(strings.NewReader(snmpText), "Udp", "InDatagrams"); err == nil {
		t.Error("a protocol that is not there has a counter")
	}
	const text6 = "Ip6InReceives                   \t5\nIp6OutNoRoutes                  \t3\n"
	if got, err := ParseSNMP6(strings.NewReader(text6), "Ip6OutNoRoutes"); err != nil || got != 3 {
		t.Errorf("got %d, %v", got, err)
	}
	if _, err := ParseSNMP6(strings.NewReader(text6), "Ip6"); err == nil {
		t.Error("a counter that is not there was found")
	}
}
