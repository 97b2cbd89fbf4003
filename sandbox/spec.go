package sandbox

import (
	"reflect"
	"slices"
	"time"
)

// Spec says what a sandbox is to be: plain data, the same after a round trip
// through JSON, and comparable with Equal. The zero Spec is fully isolated and
// shows the default parts of the host's root; every weakening is written down.
type Spec struct {
	// Args is CMD and its arguments. A first word without a slash is looked
	// for along the PATH of the sandbox.
	Args []string `json:"args,omitempty"`

	// Env adds to the sandbox's clean environment: "K=V" sets, "K" passes the
	// caller's K, "PREFIX_*" passes every variable of the caller that begins
	// so. Later entries win. With the step env skipped they are added to the
	// caller's whole environment.
	Env []string `json:"env,omitempty"`

	// Dir is CMD's working folder inside; it sets only that and never what is
	// shown. Empty means the caller's, where that is shown, else HOME.
	Dir string `json:"dir,omitempty"`

	// Hostname is the name in the UTS namespace; empty means "sandbox".
	Hostname string `json:"hostname,omitempty"`

	// Skip names the steps to leave out. What needs a skipped step must be
	// skipped too: Resolve adds it. With names those to add that are made only
	// when asked (time). Optional names those without which the sandbox is
	// made all the same where the host refuses them, and Require those (of
	// landlock) that must not degrade.
	Skip     []string `json:"skip,omitempty"`
	With     []string `json:"with,omitempty"`
	Optional []string `json:"optional,omitempty"`
	Require  []string `json:"require,omitempty"`

	// User is who CMD is inside. UID nil means the caller's own uid.
	User User `json:"user,omitzero"`

	// Rootfs is a folder of the host to be used as the root, copy on write,
	// in place of the parts of the host that are shown by default.
	Rootfs string `json:"rootfs,omitempty"`
	// Layers are folders of the host that together are the root, copy on write,
	// in place of Rootfs: the layers of an image, the lowest first. What one
	// removes of those below is a character device, or a folder with
	// user.overlay.opaque, as overlayfs has it. They must not change while the
	// sandbox runs. With Upper the root's own layer is Upper/@root/upper.
	Layers []string `json:"layers,omitempty"`
	// Folders are made where the root that Rootfs or Layers give has none: an
	// image's working folder and volumes. They hold no symbolic link.
	Folders []string `json:"folders,omitempty"`
	// RootWith is how the root is changed: "" or "pivot_root", or "chroot",
	// which a process with CAP_SYS_CHROOT can leave.
	RootWith string `json:"root_with,omitempty"`
	// HideDir leaves the caller's working folder hidden.
	HideDir bool `json:"hide_dir,omitempty"`
	// OnlyDir shows the working folder alone, not the top of its git work tree.
	OnlyDir bool `json:"only_dir,omitempty"`
	// Tools are shown out of the caller's hidden home: names of the table
	// (ToolNames), "auto" for those that PATH or CMD leads to, or "none". Empty
	// means auto. They are the host's: a Rootfs or an image has none.
	Tools []string `json:"tools,omitempty"`
	// ToolTable adds to the built-in table of tools.
	ToolTable ToolTable `json:"tool_table,omitzero"`
	// Mounts are shown beside the default, in order of their targets' depth.
	Mounts []Mount `json:"mounts,omitempty"`
	// Upper is a folder on the host in which the upper layers are kept, made
	// where it is not there; empty keeps them in memory, and they are gone at
	// exit.
	Upper string `json:"upper,omitempty"`
	// Home is a folder of the host that HOME shows copy on write, with its
	// upper layer in Upper, which must be set; empty leaves HOME empty and in
	// memory. It has no effect with Rootfs or Layers.
	Home string `json:"home,omitempty"`
	// Changes asks for a list of what CMD wrote, in Result.
	Changes bool `json:"changes,omitempty"`
	// LayerSize limits the tmpfs that holds what CMD writes, in bytes; 0 means
	// half of the machine's memory.
	LayerSize int64 `json:"layer_size,omitempty"`

	// Net is the network: "" or "none" for a namespace with lo alone, "host"
	// for the caller's.
	Net string `json:"net,omitempty"`
	// TCPConnect and TCPBind, when not nil, are the only TCP ports that CMD
	// may connect to and listen on (Landlock, ABI 4).
	TCPConnect []uint16 `json:"tcp_connect,omitempty"`
	TCPBind    []uint16 `json:"tcp_bind,omitempty"`

	// CapAdd and CapDrop name capabilities, with or without "CAP_", in the
	// sandbox's own user namespace. None is left without CapAdd; "ALL" means
	// every one.
	CapAdd  []string `json:"cap_add,omitempty"`
	CapDrop []string `json:"cap_drop,omitempty"`

	// Rlimits are set in the sandbox, beside the defaults (see DefaultRlimits).
	Rlimits []Rlimit `json:"rlimits,omitempty"`

	// Seccomp is the filter: "" or "default", "strict", "log", or the path of
	// a profile in the OCI format, compiled by sbx-seccomp.
	Seccomp string `json:"seccomp,omitempty"`

	// FakeOwners answers with success, and does nothing, where chown(2) or a
	// call of the family of setuid(2) and setgid(2) has an id that is not
	// mapped, and for setgroups(2): package managers work that would otherwise
	// end with EINVAL or EPERM. It is for a root of one id: User.UID must be 0,
	// and no other id mapped. It brings a filter of its own, the default with
	// these answers.
	FakeOwners bool `json:"fake_owners,omitempty"`

	// Timeout ends the sandbox after this wall-clock time; 0 means never. In
	// JSON it is in nanoseconds.
	Timeout time.Duration `json:"timeout,omitempty"`

	// AllowNesting lets sandboxes be made inside: it opens the filter for it,
	// max_user_namespaces, Landlock's path rules and the masks of /proc.
	AllowNesting bool `json:"allow_nesting,omitempty"`

	// BootOffset and MonotonicOffset shift the clocks of the time namespace,
	// in seconds. They need the step time.
	BootOffset      int64 `json:"boot_offset,omitempty"`
	MonotonicOffset int64 `json:"monotonic_offset,omitempty"`

	// AsPID1 makes CMD itself the first process of the PID namespace. It then
	// has to reap, and signals without a handler do not reach it.
	AsPID1 bool `json:"as_pid_1,omitempty"`

	// Terminal makes a terminal that CMD gets, the one on the lowest of the
	// descriptors 0 to 2 that is one, the controlling one of the sandbox's
	// session, with CMD's process group in its foreground.
	Terminal bool `json:"terminal,omitempty"`
	// TerminalOnDemand, beside Terminal, starts CMD in the terminal's
	// background, as a shell does with "&". When it reads from the terminal or
	// changes its settings, it is stopped, PID 1 gives it the foreground, and
	// Cmd.Stopped is told of SIGTTIN or SIGTTOU: whoever has the other end of
	// the terminal knows then that input is wanted, and sends SIGCONT. It has
	// no effect where CMD is PID 1 or the step pid is skipped.
	TerminalOnDemand bool `json:"terminal_on_demand,omitempty"`
}

// User is an identity inside and the id maps that make it. The zero User is
// the caller, mapped to itself, with every other id unmapped.
type User struct {
	UID *int `json:"uid,omitempty"` // nil means the caller's
	GID *int `json:"gid,omitempty"` // nil means the caller's, or 0 where UID is 0
	// UIDMap and GIDMap are the maps' lines. Empty means one line: User to
	// the caller.
	UIDMap []IDMap `json:"uid_map,omitempty"`
	GIDMap []IDMap `json:"gid_map,omitempty"`
	// Auto adds the caller's subordinate ranges (subuid(5)) around the line
	// of the caller itself. newuidmap(1) and newgidmap(1) write the maps.
	Auto bool `json:"auto,omitempty"`
	// Switch has the sandbox made by uid 0 inside, which is the caller, and CMD
	// change to UID and GID when everything is mounted: so the files of an
	// image have their own owners. It needs Auto, which maps them.
	Switch bool `json:"switch,omitempty"`
	// Groups are CMD's supplementary groups. They need Switch.
	Groups []int `json:"groups,omitempty"`
	// Unmapped leaves the maps empty: CMD is the overflow uid (65534).
	Unmapped bool `json:"unmapped,omitempty"`
}

// IDMap is one line of uid_map or gid_map (user_namespaces(7)).
type IDMap struct {
	Inside  int `json:"inside"`
	Outside int `json:"outside"`
	Count   int `json:"count"`
}

// The kinds of Mount.
const (
	BindRO  = "ro"     // a read-only recursive bind mount
	BindRW  = "rw"     // a recursive bind mount that writes to the host
	Overlay = "cow"    // an overlay: what CMD writes goes to the upper layer
	Tmpfs   = "tmpfs"  // an empty folder in memory
	Hide    = "hide"   // an empty, read-only folder or file in its place
	content = "file"   // a file of the sandbox's own, read-only
	symlink = "link"   // a symbolic link of the new root
	folder  = "folder" // an empty folder in the sandbox's own tmpfs
)

// Mount is something shown in the sandbox beside the default.
type Mount struct {
	Kind   string `json:"kind"`
	Source string `json:"source,omitempty"` // absolute path on the host; not for Tmpfs and Hide
	Target string `json:"target"`           // absolute path inside
	Size   int64  `json:"size,omitempty"`   // bytes, Tmpfs only; 0 means as LayerSize
	// Layer says of a BindRW that Source is a layer of an image, or of several, or
	// a build's own: nothing on the host runs what is in it, so no name in it is
	// guarded, and hard links to a whiteout of overlayfs may be made.
	Layer bool `json:"layer,omitempty"`
}

// Rlimit is one resource limit (getrlimit(2)). Unlimited is ^uint64(0).
type Rlimit struct {
	Name string `json:"name"` // as in RLIMIT_NAME, in lower case: "nofile", "nproc", "cpu"
	Soft uint64 `json:"soft"`
	Hard uint64 `json:"hard"`
}

// Equal says whether two specs ask for the same sandbox, word for word.
func (s *Spec) Equal(o *Spec) bool { return reflect.DeepEqual(s, o) }

// givenRoot says whether the root is a folder or an image, and nothing of the
// host's is shown by default.
func (s *Spec) givenRoot() bool { return s.Rootfs != "" || len(s.Layers) > 0 }

// rootName is what people know the root by.
func (s *Spec) rootName() string {
	if s.Rootfs != "" {
		return s.Rootfs
	}
	return "the image"
}

// Skips says whether the step is left out.
func (s *Spec) Skips(step string) bool { return slices.Contains(s.Skip, step) }
