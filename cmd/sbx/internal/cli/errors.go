package cli

import (
	"errors"
	"strings"

	"github.com/sbx-dev/sbx/sandbox"
)

// errorText is an error in the words of the command: a field of Spec is named
// by the flag that sets it.
func errorText(err error) string {
	var spec *sandbox.SpecError
	if !errors.As(err, &spec) {
		return err.Error()
	}
	field, _, _ := strings.Cut(spec.Field, "[")
	if flag := flagOf(field); flag != "" {
		return flag + ": " + spec.Reason
	}
	return spec.Error()
}

// hintOfSpec is for a mount whose source is not there: docker makes a folder then.
func hintOfSpec(err error) string {
	var spec *sandbox.SpecError
	if !errors.As(err, &spec) || !strings.HasPrefix(spec.Field, "Mounts") {
		return ""
	}
	source, absent := strings.CutSuffix(spec.Reason, " does not exist")
	if source = strings.TrimPrefix(source, "the source "); !absent || !strings.HasPrefix(source, "/") {
		return ""
	}
	return "nothing is made on the host; a folder: " + shellLine([]string{"mkdir", "-p", source})
}

// flagOf is the flag that sets a field of Spec, or "".
func flagOf(field string) string {
	switch field {
	case "Args":
		return "CMD"
	case "Env":
		return "-e"
	case "Dir":
		return "-w"
	case "Hostname":
		return "--hostname"
	case "Skip":
		return "--skip"
	case "With":
		return "--with"
	case "Optional":
		return "--optional"
	case "Require":
		return "--require"
	case "User.UID", "User.GID":
		return "-u"
	case "User", "User.UIDMap":
		return "--uid-map"
	case "User.Unmapped":
		return "--uid-map none"
	case "User.Auto":
		return "--uid-map auto"
	case "User.GIDMap":
		return "--gid-map"
	case "Rootfs":
		return "--rootfs"
	case "Layers", "Folders":
		return "--image"
	case "User.Switch", "User.Groups":
		return "-u"
	case "RootWith":
		return "--root-with"
	case "Mounts":
		return "mount"
	case "Upper":
		return "--upper"
	case "Home":
		return "--keep"
	case "LayerSize":
		return "--layer-size"
	case "Net":
		return "--net"
	case "TCPConnect":
		return "--tcp-connect"
	case "TCPBind":
		return "--tcp-bind"
	case "CapAdd":
		return "--cap-add"
	case "CapDrop":
		return "--cap-drop"
	case "Rlimits":
		return "--ulimit"
	case "Seccomp":
		return "--seccomp"
	case "FakeOwners":
		return "--fake-owners"
	case "Timeout":
		return "--timeout"
	case "BootOffset", "MonotonicOffset":
		return "--boottime-offset"
	case "AsPID1":
		return "--as-pid-1"
	}
	return ""
}
