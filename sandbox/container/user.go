package container

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/sbx-dev/sbx/sandbox/stack"
)

// User is an account of an image.
type User struct {
	Name     string // empty where the image's /etc/passwd has none with the uid
	UID, GID int
	Groups   []int  // supplementary, sorted
	Home     string // "/" where nothing says it
}

// mostAccounts is how much of an image's passwd and group is read, in bytes.
const mostAccounts = 1 << 20

// mostName is how long a user and group can be named, in bytes: an error shows it.
const mostName = 512

// Lookup finds who a text means in an image: NAME, UID, NAME:GROUP, UID:GID or
// any mixture; the empty text is root. Names are looked up in the image's
// /etc/passwd and /etc/group, in which links are followed inside the image. A
// number need not be there. The error says which name the image does not have.
func Lookup(root stack.Stack, text string) (User, error) {
	if len(text) > mostName {
		return User{}, fmt.Errorf("a user of %d bytes is none: %q…", len(text), text[:32])
	}
	user, group, hasGroup := strings.Cut(text, ":")
	if user == "" {
		user = "0"
	}
	passwd, err := accounts(root, "/etc/passwd", 7)
	if err != nil {
		return User{}, err
	}
	groups, err := accounts(root, "/etc/group", 4)
	if err != nil {
		return User{}, err
	}
	u := User{Home: "/"}
	uid, numberErr := id(user)
	u.UID = uid
	at := slices.IndexFunc(passwd, func(f []string) bool { return f[0] == user })
	if at < 0 && numberErr == nil {
		at = slices.IndexFunc(passwd, func(f []string) bool { return f[2] == user })
	}
	switch {
	case at >= 0:
		f := passwd[at]
		u.Name = f[0]
		if u.UID, err = id(f[2]); err != nil {
			return User{}, fmt.Errorf("user %s: %w", f[0], err)
		}
		if u.GID, err = id(f[3]); err != nil {
			return User{}, fmt.Errorf("user %s: %w", f[0], err)
		}
		if strings.HasPrefix(f[5], "/") {
			u.Home = f[5]
		}
	case numberErr != nil:
		return User{}, fmt.Errorf("the image's /etc/passwd has no user %q", user)
	case u.UID == 0:
		u.Name, u.Home = "root", "/root"
	}
	if !hasGroup {
		for _, f := range groups {
			if u.Name == "" || !slices.Contains(strings.Split(f[3], ","), u.Name) {
				continue
			}
			if gid, err := id(f[2]); err == nil && gid != u.GID {
				u.Groups = append(u.Groups, gid)
			}
		}
		slices.Sort(u.Groups)
		u.Groups = slices.Compact(u.Groups)
		return u, nil
	}
	if at := slices.IndexFunc(groups, func(f []string) bool { return f[0] == group }); at >= 0 {
		group = groups[at][2]
	}
	if u.GID, err = id(group); err != nil {
		return User{}, fmt.Errorf("the image's /etc/group has no group %q", group)
	}
	return u, nil
}

// accounts reads a file of accounts; none is an empty one. Lines with fewer
// fields are passed over.
func accounts(root stack.Stack, name string, fields int) ([][]string, error) {
	real, err := root.Resolve(name)
	if err != nil {
		return nil, err
	}
	text, err := root.ReadFile(real, mostAccounts)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out [][]string
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(strings.TrimRight(line, "\n"), ":"); len(f) >= fields && f[0] != "" {
			out = append(out, f)
		}
	}
	return out, nil
}

// id reads a uid or gid.
func id(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 1<<32-1 {
		return 0, fmt.Errorf("%q is no id: 0 to 4294967294", text)
	}
	return int(n), nil
}
