package build

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
)

// parseOwner reads --chown: USER[:GROUP], each a number or a name of the
// stage's /etc/passwd and /etc/group. Without a group it is the user's own, and
// for a number that same number.
func parseOwner(stage tree, text string) (*owner, error) {
	user, group, pair := strings.Cut(text, ":")
	if user == "" || pair && group == "" {
		return nil, fmt.Errorf("--chown=%s is not USER or USER:GROUP", text)
	}
	o := &owner{}
	n, err := strconv.ParseUint(user, 10, 31)
	if err == nil {
		o.uid, o.gid = int(n), int(n)
	} else {
		fields, err := account(stage, "/etc/passwd", user, 4)
		if err != nil {
			return nil, fmt.Errorf("--chown=%s: user %s: %w", text, user, err)
		}
		if o.uid, err = strconv.Atoi(fields[2]); err == nil {
			o.gid, err = strconv.Atoi(fields[3])
		}
		if err != nil {
			return nil, fmt.Errorf("--chown=%s: /etc/passwd: %w", text, err)
		}
	}
	if !pair {
		return o, nil
	}
	if n, err := strconv.ParseUint(group, 10, 31); err == nil {
		o.gid = int(n)
		return o, nil
	}
	fields, err := account(stage, "/etc/group", group, 3)
	if err != nil {
		return nil, fmt.Errorf("--chown=%s: group %s: %w", text, group, err)
	}
	o.gid, err = strconv.Atoi(fields[2])
	return o, err
}

// account finds the line of a name in passwd(5) or group(5) of a stage.
func account(stage tree, file, name string, least int) ([]string, error) {
	at, err := resolve(stage, file)
	if err != nil {
		return nil, err
	}
	in, err := stage.open(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the stage has no %s: give a number", file)
	}
	if err != nil {
		return nil, err
	}
	defer in.Close()
	lines := bufio.NewScanner(io.LimitReader(in, 1<<20))
	for lines.Scan() {
		if fields := strings.Split(lines.Text(), ":"); len(fields) >= least && fields[0] == name {
			return fields, nil
		}
	}
	return nil, errors.Join(lines.Err(), fmt.Errorf("%s does not name it", file))
}

// parseMode reads --chmod, in octal.
func parseMode(text string) (*int64, error) {
	n, err := strconv.ParseInt(text, 8, 32)
	if err != nil || n < 0 || n > 0o7777 {
		return nil, unsupported("--chmod="+text, "permissions are given in octal, as in --chmod=755")
	}
	return &n, nil
}
