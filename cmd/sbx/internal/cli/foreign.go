package cli

import (
	"errors"
	"os"

	"github.com/sbx-dev/sbx/sandbox/layer"
)

// layerStore is the store of kept layers for what may remove some: where CMD was
// another user of an image, with an id of the caller's ranges, its files are not
// the caller's to remove.
func layerStore() (layer.Store, error) {
	store, err := layer.DefaultStore()
	store.Foreign = removeForeign
	return store, err
}

// removeForeign has sbx-image remove a tree as root of the subordinate ids.
func removeForeign(dir, name string) error {
	at, err := findSibling("sbx-image")
	if err != nil {
		return err
	}
	process, err := os.StartProcess(at, []string{"sbx-image", "remove-tree", "--", dir, name}, &os.ProcAttr{Files: []*os.File{nil, os.Stderr, os.Stderr}, Env: os.Environ()})
	if err != nil {
		return err
	}
	state, err := process.Wait()
	if err == nil && !state.Success() {
		err = errors.New(name + " holds files of your subordinate ids, and was not removed")
	}
	return err
}
