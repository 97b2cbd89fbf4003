package container

import (
	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// BaseLabel is the label of an image that was built FROM host, with the value
// BaseHost: its programs are the host's, which are shown beside its layers. What
// is shown then is HostPaths and nothing that an image could name.
const (
	BaseLabel = "dev.sbx.base"
	BaseHost  = "host"
)

// HostNote says of an image that it has the label. Whoever made the image has set
// that, so people are told when it comes.
func HostNote(name string) string {
	return "sbx: " + name + " shows this machine's programs (/usr and their like), read-only: so its label " + BaseLabel + "=" + BaseHost + " says"
}

// HostPaths are shown by an image that was built FROM host, read-only, where they
// exist: programs with their libraries and data, and of /etc what those read
// everywhere. What is a symbolic link here (/bin on most hosts) is one in the
// image's lowest layer.
var HostPaths = []string{
	"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix",
	"/etc/alternatives", "/etc/ca-certificates", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
	"/etc/pki", "/etc/ssl/certs", "/etc/ssl/openssl.cnf",
}

// HostMounts are the folders and files of HostPaths that this host has.
func HostMounts() []sandbox.Mount {
	var out []sandbox.Mount
	for _, p := range HostPaths {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			continue
		}
		if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFDIR || kind == unix.S_IFREG {
			out = append(out, sandbox.Mount{Kind: sandbox.BindRO, Source: p, Target: p})
		}
	}
	return out
}
