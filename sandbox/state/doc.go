// Package state keeps what is known of sandboxes that outlive the command that
// started them: which there are, whether they run, how they ended, and what they
// printed. There is no daemon. Each sandbox has one monitor, the process that
// started it and waits for it, and a folder in the store:
//
//	$XDG_RUNTIME_DIR/sbx/
//	    .lock            held while a sandbox is made or removed
//	    .names/NAME      a symbolic link to the id
//	    ID/lock          held by the monitor for as long as it lives
//	    ID/state.json    the Record, always replaced as a whole
//	    ID/log, log.1    what CMD printed, where it was started detached
//
// A file that says that something runs proves nothing: its writer may have been
// killed, the machine may have been booted since, and the number of a process may
// be another's by now. So a sandbox runs only if its monitor holds the lock
// (flock(2)), which the kernel releases whatever ends the monitor, and if the
// monitor's number and start time are those of the record, in this boot and PID
// namespace. And no signal goes to a number: Record.Open gives the process by a
// pidfd whose start time was compared.
//
// What is in the store is trusted, since it says what is signalled and joined: so
// its folder belongs to the user and is closed to others, and no sandbox may
// write to it.
package state
