// Package classroom serves the course and the switchboard to browsers: one page,
// made of the files in assets, and a small JSON interface under /api/.
//
// It isolates nothing itself. Every run is a process of its own, sbx, with
// limits, and as many at once as there are cores; a browser that goes away ends
// its run. What a browser may ask for is decided here and not on the page:
//
//   - The address holds a random token, which becomes a cookie. Host and Origin
//     are checked, so that no other page can use the listener (DNS rebinding,
//     cross-site requests).
//   - On a loopback address the person at the browser is the one who started the
//     server, and may switch every step off.
//   - From another machine the steps in Protected stay on, and so do those in
//     Guarding unless the teacher has said otherwise; a line that a student types
//     may hold only the flags in remoteFlags, and ask for no more than
//     limitFlags gives.
package classroom
