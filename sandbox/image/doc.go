// Package image keeps container images for one user, without privilege and
// without a daemon: an OCI image layout with a name for each image that has
// one, and each layer unpacked once, shared by every image that holds it.
//
// What lies below a store's folder:
//
//	oci/              an OCI image layout (image-spec, image-layout.md): any tool
//	                  that reads one can read it
//	oci/index.json    one descriptor a name; its annotation
//	                  org.opencontainers.image.ref.name is the whole reference
//	oci/blobs/sha256/ manifests, configs and layers, byte for byte as they came:
//	                  so an image leaves the store with the digest it entered with
//	layers/ID/root/   a layer unpacked, ID being the digest of its uncompressed
//	                  archive (its diff id); whiteouts as overlayfs reads them
//	layers/ID/layer.json  what it holds, and what one user could not make: other
//	                  owners, device nodes, file capabilities
//	layers/ID/owners  is there, empty, where the files have their real owners
//	cache/KEY.json    the layer that an instruction of a build made
//	tmp/              what is being written
//	lock index.lock   flock(2): who writes below holds the first one shared, who
//	                  removes what nothing names holds it alone; the second is
//	                  held while index.json is replaced
//
// Everything is written beside and renamed, and the index comes last. So
// whenever a process dies, what the index names is whole, and Prune removes the
// rest. Nothing enters the store before its digest is verified.
//
// The package knows nothing of namespaces: an image is a list of folders and a
// config.
package image
