package main

import (
	"encoding/json"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// change applies one instruction of a Dockerfile to a config, as docker import
// --change does: those that only say something, and run nothing.
func change(config *v1.Config, text string) error {
	instruction, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	rest = strings.TrimSpace(rest)
	if rest == "" {
		return &usageError{msg: "--change " + text + ": it says nothing"}
	}
	switch strings.ToUpper(instruction) {
	case "CMD":
		config.Cmd = command(rest)
	case "ENTRYPOINT":
		config.Entrypoint = command(rest)
	case "USER":
		config.User = rest
	case "WORKDIR":
		if !strings.HasPrefix(rest, "/") {
			return &usageError{msg: "--change " + text + ": the folder is an absolute path"}
		}
		config.WorkingDir = rest
	case "STOPSIGNAL":
		config.StopSignal = rest
	case "ENV":
		if !strings.Contains(rest, "=") {
			return &usageError{msg: "--change " + text + ": ENV NAME=VALUE"}
		}
		config.Env = append(config.Env, rest)
	case "LABEL":
		key, value, ok := strings.Cut(rest, "=")
		if !ok {
			return &usageError{msg: "--change " + text + ": LABEL NAME=VALUE"}
		}
		if config.Labels == nil {
			config.Labels = map[string]string{}
		}
		config.Labels[key] = value
	case "EXPOSE":
		if !strings.Contains(rest, "/") {
			rest += "/tcp"
		}
		put(&config.ExposedPorts, rest)
	case "VOLUME":
		put(&config.Volumes, rest)
	default:
		return &usageError{msg: "--change " + text + ": " + instruction + " is not known here", hint: "CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR"}
	}
	return nil
}

func put(set *map[string]struct{}, key string) {
	if *set == nil {
		*set = map[string]struct{}{}
	}
	(*set)[key] = struct{}{}
}

// command is a command in exec form (a JSON array) or for a shell.
func command(text string) []string {
	var list []string
	if strings.HasPrefix(text, "[") && json.Unmarshal([]byte(text), &list) == nil {
		return list
	}
	return []string{"/bin/sh", "-c", text}
}
