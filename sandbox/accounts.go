package sandbox

import (
	"strconv"
	"strings"
)

// accountFiles shows files of our own in /etc where the host's would not make
// sense inside: the name and address of the sandbox, its resolver, and the
// accounts where the id map changes who CMD is.
func (c *compiler) accountFiles() {
	name := c.hostname()
	own := func(file, text, why string) {
		if c.feat.Host.Lstat("/etc/" + file).exists() { // else there is nothing to cover, and no way to add
			c.addEntry(entry{kind: content, link: text, target: "/etc/" + file, file: true, why: why})
		}
	}
	network := c.on["net"] && c.spec.Net != "host"
	if c.on["uts"] {
		own("hostname", name+"\n", "the sandbox's name")
	}
	if network {
		own("hosts", "127.0.0.1 localhost "+name+"\n::1 localhost ip6-localhost "+name+"\n", "the sandbox's name")
		own("resolv.conf", "# the sandbox has no network\n", "no network")
	} else if f := c.feat.Host.Lstat("/etc/resolv.conf"); f.isLink() {
		// The link leads to /run, which is hidden.
		if text, err := c.feat.Host.ReadFile("/etc/resolv.conf"); err == nil {
			own("resolv.conf", string(text), "the host's, which a link into hidden /run holds")
		}
	}
	if !c.on["user"] {
		return
	}
	uid, gid := c.insideIDs()
	if uid != c.feat.UID {
		if text, err := c.feat.Host.ReadFile("/etc/passwd"); err == nil {
			line := c.userName() + ":x:" + strconv.Itoa(uid) + ":" + strconv.Itoa(gid) + "::" + c.home + ":/bin/sh\n"
			own("passwd", account(string(text), line, 3), "the id map")
		}
	}
	if gid != c.feat.GID {
		if text, err := c.feat.Host.ReadFile("/etc/group"); err == nil {
			own("group", account(string(text), c.userName()+":x:"+strconv.Itoa(gid)+":\n", 3), "the id map")
		}
	}
}

// callerName is the caller's name on the host, under which subuid(5) lists the
// ranges. Where the account is not in /etc/passwd (LDAP) it is $USER.
func (c *compiler) callerName() string {
	text, err := c.feat.Host.ReadFile("/etc/passwd")
	if err == nil {
		for l := range strings.Lines(string(text)) {
			if f := strings.Split(l, ":"); len(f) > 2 && f[2] == strconv.Itoa(c.feat.UID) {
				return f[0]
			}
		}
	}
	return c.feat.getenv("USER")
}

// account puts a line first in a file of accounts and leaves out every other
// with the same name or the same id, so that both directions of the look-up
// find it and only it.
func account(text, line string, id int) string {
	fields := strings.Split(line, ":")
	var b strings.Builder
	b.WriteString(line)
	for l := range strings.Lines(text) {
		f := strings.Split(l, ":")
		if f[0] == fields[0] || len(f) >= id && strings.TrimSpace(f[id-1]) == strings.TrimSpace(fields[id-1]) {
			continue
		}
		b.WriteString(l)
	}
	return b.String()
}
