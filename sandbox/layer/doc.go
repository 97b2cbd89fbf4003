// Package layer keeps what a command in a sandbox wrote, and takes it to the
// host when it is told to.
//
// A [Store] is a folder of layers, each a folder of its own with the upper
// layers of overlayfs, a lower layer for HOME, and a record of what it belongs
// to:
//
//	layers/NAME/record.json   version, working folder, upper layers, CMD, runs
//	layers/NAME/lock          flock(2): one sandbox or one change at a time
//	layers/NAME/up/…          sandbox.Spec.Upper: an upper and a work folder each
//	layers/NAME/home          sandbox.Spec.Home, empty
//	layers/.box-ID            what the sandbox ID wrote over an image
//	layers/.dead-…            what is being removed
//	layers/.journal-…         temporary names that a change of the host uses
//
// [Layer.Changes] compares the upper layers with the host, [Layer.Apply] copies
// them to it, and [CopyOut] copies from a sandbox whose processes are gone.
//
// # What can be trusted
//
// Everything in an upper layer was chosen by CMD: names, links, modes, the depth
// of folders. Nothing in it is opened by a path that a link could lead out of
// (openat2(2), RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS), nothing but regular
// files is opened to be read, and the same holds on the host, where a link may
// lie that the project brought or that another process exchanges meanwhile.
// The user.overlay.* attributes and the 0:0 character devices can be trusted to
// be overlayfs' own: inside, neither can be made.
package layer
