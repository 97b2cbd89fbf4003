package build

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// configure applies an instruction that changes the image's config and no file.
// It says what the history has of it, and whether it was such an instruction.
func configure(config *v1.Config, s *scope, c instructions.Command) (text string, done bool, err error) {
	done = true
	switch c := c.(type) {
	case *instructions.EnvCommand:
		for _, kv := range c.Env {
			s.setEnv(kv.Key, kv.Value)
			text += " " + kv.String()
		}
		config.Env = slices.Clone(s.env)
		text = "ENV" + text
	case *instructions.ArgCommand:
		s.declare(c.Args)
		for _, a := range c.Args {
			text += " " + a.Key
			if a.Value != nil {
				text += "=" + *a.Value
			}
		}
		text = "ARG" + text
	case *instructions.LabelCommand:
		if config.Labels == nil {
			config.Labels = map[string]string{}
		}
		for _, kv := range c.Labels {
			config.Labels[kv.Key] = kv.Value
			text += " " + kv.String()
		}
		text = "LABEL" + text
	case *instructions.CmdCommand:
		config.Cmd = withShell(config, c.ShellDependantCmdLine)
		text = "CMD " + list(config.Cmd)
	case *instructions.EntrypointCommand:
		config.Entrypoint = withShell(config, c.ShellDependantCmdLine)
		if len(c.CmdLine) > 0 {
			config.Cmd = nil // it was meant for the entrypoint before (Dockerfile reference)
		}
		text = "ENTRYPOINT " + list(config.Entrypoint)
	case *instructions.ExposeCommand:
		text, err = expose(config, s, c)
	case *instructions.UserCommand:
		config.User = c.User
		text = "USER " + c.User
	case *instructions.VolumeCommand:
		if config.Volumes == nil {
			config.Volumes = map[string]struct{}{}
		}
		for _, v := range c.Volumes {
			if v == "" {
				return "", true, errors.New("a volume has no empty name")
			}
			config.Volumes[v] = struct{}{}
		}
		text = "VOLUME " + list(c.Volumes)
	case *instructions.StopSignalCommand:
		config.StopSignal = c.Signal
		text = "STOPSIGNAL " + c.Signal
	case *instructions.HealthCheckCommand:
		config.Healthcheck = &v1.HealthConfig{
			Test: c.Health.Test, Interval: c.Health.Interval, Timeout: c.Health.Timeout,
			StartPeriod: c.Health.StartPeriod, Retries: c.Health.Retries,
		}
		if c.Health.StartInterval != 0 {
			return "", true, unsupported("HEALTHCHECK --start-interval", "the config of an image has no field for it in this version")
		}
		text = oneLine(c.String())
	case *instructions.ShellCommand:
		config.Shell = slices.Clone(c.Shell)
		text = "SHELL " + list(c.Shell)
	case *instructions.OnbuildCommand:
		config.OnBuild = append(config.OnBuild, c.Expression)
		text = "ONBUILD " + oneLine(c.Expression)
	case *instructions.MaintainerCommand:
		text = "MAINTAINER " + c.Maintainer
	default:
		return "", false, nil
	}
	return text, true, err
}

// expand replaces the variables in an instruction, in place.
func expand(s *scope, c instructions.Command) error {
	if e, ok := c.(instructions.SupportsSingleWordExpansion); ok {
		if err := e.Expand(s.expand); err != nil {
			return err
		}
	}
	if e, ok := c.(instructions.SupportsSingleWordExpansionRaw); ok {
		return e.ExpandRaw(s.expandRaw)
	}
	return nil
}

// defaultShell is the shell where no SHELL names another.
var defaultShell = []string{"/bin/sh", "-c"}

func shellOf(config *v1.Config) []string {
	if len(config.Shell) > 0 {
		return config.Shell
	}
	return defaultShell
}

// withShell is a command line as it is executed: the exec form as it is, the
// shell form as the argument of the shell.
func withShell(config *v1.Config, c instructions.ShellDependantCmdLine) []string {
	if !c.PrependShell || len(c.CmdLine) == 0 {
		return slices.Clone(c.CmdLine)
	}
	return append(slices.Clone(shellOf(config)), strings.Join(c.CmdLine, " "))
}

// list writes words as the exec form of an instruction.
func list(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	return "[" + strings.Join(quoted, " ") + "]"
}

// expose adds ports: PORT[-PORT][/tcp|/udp|/sctp].
func expose(config *v1.Config, s *scope, c *instructions.ExposeCommand) (string, error) {
	if config.ExposedPorts == nil {
		config.ExposedPorts = map[string]struct{}{}
	}
	text := "EXPOSE"
	for _, word := range c.Ports {
		words, err := s.expandWords(word)
		if err != nil {
			return "", err
		}
		for _, w := range words {
			ports, protocol, has := strings.Cut(strings.ToLower(w), "/")
			if !has {
				protocol = "tcp"
			}
			if protocol != "tcp" && protocol != "udp" && protocol != "sctp" {
				return "", fmt.Errorf("%q: the protocol is tcp, udp or sctp", w)
			}
			first, last, isRange := strings.Cut(ports, "-")
			if !isRange {
				last = first
			}
			from, err1 := strconv.ParseUint(first, 10, 16)
			to, err2 := strconv.ParseUint(last, 10, 16)
			if err1 != nil || err2 != nil || to < from {
				return "", fmt.Errorf("%q is no port: PORT or PORT-PORT, 0 to 65535", w)
			}
			for p := from; p <= to; p++ {
				config.ExposedPorts[strconv.FormatUint(p, 10)+"/"+protocol] = struct{}{}
			}
			text += " " + w
		}
	}
	return text, nil
}

// workdir is the folder that a WORKDIR means, absolute.
func workdir(config *v1.Config, dir string) string {
	if !path.IsAbs(dir) {
		dir = path.Join("/", config.WorkingDir, dir)
	}
	return path.Clean(dir)
}
