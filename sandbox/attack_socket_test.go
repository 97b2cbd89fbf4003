package sandbox_test

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// Sockets are made by their calls here and not by package net, which would make
// the test binary a dynamic one with C in it.

// listener tells the secret to everybody who connects to a path, to an abstract
// name (which begins with "@"), or to the port of 127.0.0.1 that it returns when
// the address is empty.
func listener(t *testing.T, address string) string {
	t.Helper()
	family, sa := sockaddr(t, address)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	socket := os.NewFile(uintptr(fd), "listener")
	t.Cleanup(func() { socket.Close() })
	if err := unix.Bind(fd, sa); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 8); err != nil {
		t.Fatal(err)
	}
	if sa, err = unix.Getsockname(fd); err != nil {
		t.Fatal(err)
	}
	if inet, ok := sa.(*unix.SockaddrInet4); ok {
		address = strconv.Itoa(inet.Port)
	}
	conn, err := socket.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = conn.Read(func(fd uintptr) bool { // until the listener is closed
			peer, _, err := unix.Accept4(int(fd), unix.SOCK_CLOEXEC)
			if err == nil {
				_, _ = unix.Write(peer, []byte(aSecret))
				unix.Close(peer)
			}
			return false
		})
	}()
	return address
}

func sockaddr(t *testing.T, address string) (int, unix.Sockaddr) {
	t.Helper()
	if address == "" {
		return unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	}
	return unix.AF_UNIX, &unix.SockaddrUnix{Name: address}
}

// probeDial connects to a path, to "@NAME", or to a port of 127.0.0.1, and
// prints what is said there.
func probeDial(args []string) error {
	family, sa := unix.AF_UNIX, unix.Sockaddr(&unix.SockaddrUnix{Name: args[0]})
	if port, err := strconv.Atoi(args[0]); err == nil {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	socket := os.NewFile(uintptr(fd), "socket")
	defer socket.Close()
	if err := unix.Connect(fd, sa); err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, socket)
	return err
}

// interfacesUp are the network interfaces that work. Every network namespace
// has more on kernels with tunnels, which are down.
func interfacesUp(names []string) ([]string, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var up []string
	for _, name := range names {
		request, err := unix.NewIfreq(name)
		if err != nil {
			return nil, err
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if request.Uint16()&unix.IFF_UP != 0 {
			up = append(up, name)
		}
	}
	return up, nil
}
