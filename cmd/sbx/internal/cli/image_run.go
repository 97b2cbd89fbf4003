package cli

import (
	"errors"
	"os"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/container"
	"github.com/sbx-dev/sbx/sandbox/image/local"
)

// imagesInUse are those that sandboxes of this process run from: prune leaves
// them alone until sbx ends.
var imagesInUse []*local.Image

// setImage makes the root that of the image, and completes CMD, environment,
// working folder and user from its config.
func (f *RunFlags) setImage(s *sandbox.Spec) error {
	if f.Image == "" {
		for flag, given := range map[string]bool{"--pull": f.Pull != "", "--entrypoint": f.Entrypoint != nil} {
			if given {
				return &usageError{msg: flag + " is about an image", hint: "sbx run --image REF " + flag + " …"}
			}
		}
		return nil
	}
	if f.Rootfs != "" {
		return &usageError{msg: "--image and --rootfs exclude each other"}
	}
	image, err := f.findImage()
	if err != nil {
		return err
	}
	imagesInUse = append(imagesInUse, image)
	o := container.Options{User: f.User}
	if n := len(f.Entrypoint); n > 0 {
		o.Entrypoint = []string{}
		if word := f.Entrypoint[n-1]; word != "" {
			o.Entrypoint = []string{word}
		}
	}
	if err := container.Apply(s, image, o); err != nil {
		return &usageError{msg: "--image " + f.Image + ": " + err.Error()}
	}
	return nil
}

// findImage opens the image in the store, and has it fetched where --pull says so.
func (f *RunFlags) findImage() (*local.Image, error) {
	dir, err := local.DefaultDir()
	if err != nil {
		return nil, err
	}
	switch f.Pull {
	case "always":
		if err := pull(f.Image); err != nil {
			return nil, err
		}
	case "", "missing", "never":
	default:
		return nil, &usageError{msg: "--pull " + f.Pull + ": is none of missing, never and always"}
	}
	image, err := local.Find(dir, f.Image)
	if err == nil || !errors.Is(err, local.ErrNotFound) {
		return image, err
	}
	if f.Pull == "never" {
		return nil, &usageError{msg: err.Error(), hint: "sbx image pull " + shellLine([]string{f.Image}) + ", or sbx image ls for those that are there"}
	}
	if f.Image == "host" {
		return nil, &usageError{msg: "--image host: host is no image, but a base for sbx build", hint: "without --image CMD has the host's programs; echo FROM host | sbx build -t base - makes an image of them"}
	}
	if _, err := local.Canonical(f.Image); err != nil {
		return nil, &usageError{msg: err.Error()}
	}
	if err := pull(f.Image); err != nil {
		return nil, err
	}
	return local.Find(dir, f.Image)
}

// pull has sbx-image fetch an image. What it says goes to stderr: stdout is
// CMD's.
func pull(ref string) error {
	at, err := findSibling("sbx-image")
	if err != nil {
		return err
	}
	process, err := os.StartProcess(at, []string{"sbx-image", "image", "pull", "--", ref}, &os.ProcAttr{Files: []*os.File{nil, os.Stderr, os.Stderr}})
	if err != nil {
		return err
	}
	state, err := process.Wait()
	if err != nil {
		return err
	}
	if !state.Success() {
		return exitStatus(exitFailed) // it has said why
	}
	return nil
}

// hintOfImage is for a CMD that no program is called by, but an image of the
// store: docker's `run IMAGE`.
func hintOfImage(name string) string {
	dir, err := local.DefaultDir()
	if err != nil {
		return ""
	}
	image, err := local.Find(dir, name)
	if err != nil || image.Name == "" { // the beginning of an id is a word as any
		return ""
	}
	image.Close()
	return "an image of yours has this name: sbx run --image " + shellLine([]string{name})
}
