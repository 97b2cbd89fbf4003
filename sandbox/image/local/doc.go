// Package local finds an image of the store that package image keeps, and says
// what a sandbox of it needs: the folders of its layers, and its config. It only
// reads, and uses nothing but the standard library: sbx links it, and must start
// fast; what fetches and changes images is in sbx-image.
package local
