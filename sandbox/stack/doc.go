// Package stack reads the layers of an image as overlayfs shows them together,
// without mounting anything.
//
// A layer is a folder in the form that overlayfs takes: a character device is a
// whiteout, which hides the name in the layers below, and a folder with the
// attribute user.overlay.opaque hides all that the layers below have in it
// (Documentation/filesystems/overlayfs.rst). The unpacker of package image makes
// no other devices, so every character device is a whiteout.
//
// The layers are not trusted, though they must not change meanwhile: a symbolic
// link is read and never followed by the kernel, since it would be followed in
// one layer only and lead out of it. Resolve follows links as a process would
// whose root the stack is.
package stack
