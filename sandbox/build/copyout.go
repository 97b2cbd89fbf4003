package build

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// copyOut writes a group into an empty folder of the caller's and gives the name
// there of what it stands for: a folder, or a file. Without owners all is the caller's.
// Only files, folders and links are written.
func copyOut(ctx context.Context, dir string, g group, owners bool) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	base := "shown"
	type later struct {
		name string
		mode os.FileMode
		time time.Time
	}
	var folders []later
	for _, it := range g.items {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		name := base
		if g.dir {
			name = filepath.Join(base, it.name)
		}
		mode := os.FileMode(it.mode & 0o777)
		switch {
		case it.isDir():
			if err := root.Mkdir(name, 0o700); err != nil {
				return "", err
			}
			folders = append(folders, later{name, mode, it.mtime})
		case it.isLink():
			if err := root.Symlink(it.link, name); err != nil {
				return "", err
			}
		case it.isRegular():
			if err := copyFile(root, name, it); err != nil {
				return "", fmt.Errorf("%s: %w", it.path, err)
			}
			if err := root.Chmod(name, mode); err != nil {
				return "", err
			}
			if err := root.Chtimes(name, it.mtime, it.mtime); err != nil {
				return "", err
			}
		default:
			continue
		}
		if owners && (it.uid != 0 || it.gid != 0) {
			if err := root.Lchown(name, it.uid, it.gid); err != nil {
				return "", err
			}
		}
	}
	slices.Reverse(folders)
	for _, f := range folders {
		if err := root.Chmod(f.name, f.mode); err != nil {
			return "", err
		}
		if err := root.Chtimes(f.name, f.time, f.time); err != nil {
			return "", err
		}
	}
	return base, nil
}

func copyFile(root *os.Root, name string, it item) error {
	in, err := it.reader()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if closed := out.Close(); err == nil {
		err = closed
	}
	return err
}

// flock takes a lock (flock(2)), or says EWOULDBLOCK where now is set and
// somebody else has it. A context that ends while it waits is looked at every
// tenth of a second.
func flock(ctx context.Context, file *os.File, how int, now bool) error {
	for {
		err := unix.Flock(int(file.Fd()), how|unix.LOCK_NB)
		if err == unix.EINTR {
			continue
		}
		if err != unix.EWOULDBLOCK || now {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
