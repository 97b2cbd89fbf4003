// Package container turns an image of the store into the spec of a sandbox: its
// layers are the root, and its config says which command runs, where, as whom
// and with which variables. It is the one place that knows both images and
// sandboxes; `sbx run --image` and the RUN of a build go through it.
package container
