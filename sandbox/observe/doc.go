// Package observe looks at a process from outside and subtracts two looks.
//
// [Snapshot] reads /proc/PID and returns a [View]: plain data that says which
// namespaces the process is in, how its ids are mapped, what it has mounted,
// which capabilities it holds, what filters it, which limits bind it, and what
// it can see of other processes and of the network. [Diff] takes two views and
// says in one plain sentence for each difference what an isolation step
// changed. [View.Write] draws one view as a table for a terminal.
//
// Nothing runs inside the observed process and nothing is joined. All that the
// package knows is what the kernel tells a bystander, which has three limits:
//
//   - What could not be read is listed in [View.Unreadable] with its path and
//     reason. A nil slice in a View therefore means "not read", an empty one
//     means "read, and there is none".
//   - Some facts are not in /proc at all. Landlock rules are one: [View.Landlock]
//     says so until a caller who knows the plan fills it in. The hostname of
//     another UTS namespace is another: /proc/sys/kernel/hostname answers for
//     its reader, whichever process's root it is opened through.
//   - A process of another user, or one that is not dumpable, hides its
//     environment, its descriptors' targets and its memory (ptrace(2),
//     "Ptrace access mode checking").
//
// What a view holds was partly chosen by the observed process: its command
// line, its environment, names of files and mount points, the name in comm(5).
// [View.Write] and [Diff] escape whatever a terminal could obey; a program that
// prints other fields of a View escapes them itself. A view holds the values of
// environment variables, secrets included; neither Write nor Diff prints them,
// but the JSON form of a View does.
//
// The parsers take an [io.Reader] and stand alone, so that each can be tested
// with text no kernel at hand would write.
package observe
