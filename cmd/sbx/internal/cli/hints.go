package cli

// dockerHabit says what a word of docker's is called here, with the words that
// came after it.
func dockerHabit(word string, rest []string) (string, bool) {
	switch word {
	case "images":
		return "sbx image ls", true
	case "rmi":
		return shellLine(append([]string{"sbx", "image", "rm"}, rest...)), true
	case "pull", "push", "tag", "import", "history":
		return shellLine(append([]string{"sbx", "image", word}, rest...)), true
	case "diff":
		return "sbx changes NAME lists what a sandbox or a kept layer holds, sbx run --changes what CMD wrote", true
	case "start", "create", "restart":
		return "sbx run -d --name NAME -- CMD makes a sandbox and starts it; one that has ended is not started again", true
	case "attach":
		return "sbx logs -f NAME follows what it prints, sbx exec -t NAME sh is a shell in there", true
	case "login", "logout":
		return "docker's logins are taken, from ~/.docker/config.json: docker " + word + ", or podman " + word + " --authfile ~/.docker/config.json", true
	case "container":
		if len(rest) > 0 && rest[0] != "container" {
			first := map[string]string{"ls": "ps", "list": "ps"}[rest[0]]
			if first == "" {
				first = rest[0]
			}
			return shellLine(append([]string{"sbx", first}, rest[1:]...)), true
		}
		return "sbx ps lists the sandboxes that run", true
	case "buildx", "builder":
		return "sbx build -t NAME .", true
	case "top":
		return "sbx exec NAME ps -ef shows the processes, sbx ps how many there are", true
	case "stats":
		return "sbx ps shows processes and memory", true
	case "port":
		return "sbx ps shows the ports that an image names; none is published: --net host uses the host's network", true
	case "pause", "unpause":
		return "sbx kill -s STOP NAME halts CMD, -s CONT lets it go on", true
	case "export":
		return "sbx cp NAME:/ - writes a tar stream", true
	case "volume":
		return "there are no volumes: sbx run -v ./DIR:/DIR shows a folder, --keep NAME keeps what CMD writes", true
	case "network":
		return "there are no networks: sbx run --net none (the default) or --net host", true
	case "system":
		return "sbx image prune removes images without a name, sbx prune kept layers that are not in use", true
	case "compose", "swarm":
		return "nothing starts several at once: sbx run -d --name NAME --image IMAGE for each", true
	case "search":
		return "registries are not searched: sbx image pull NAME fetches an image", true
	case "info", "check":
		return "sbx doctor tries each step on this machine", true
	case "shell", "bash", "sh":
		return "sbx run " + map[string]string{"shell": "$SHELL", "bash": "bash", "sh": "sh"}[word], true
	}
	return "", false
}

// laterFlag says of a flag of cli.md that this version does not have what to
// use instead.
func laterFlag(flag string) (string, bool) {
	switch flag {
	case "-p", "--publish", "--allow":
		return "--net host uses the host's network", true
	case "-m", "--memory":
		return "--ulimit as=BYTES limits the memory of each process", true
	case "--cpus":
		return "--cpu-time limits the CPU time of each process", true
	case "--disk", "--output-limit":
		return "--layer-size limits what is written in memory, --ulimit fsize=BYTES each file", true
	}
	return "", false
}

// runsFlag says why one of the flags that keep what CMD writes makes no sense
// for a verb that plans, or compares, and keeps nothing.
func runsFlag(verb, flag string) (string, bool) {
	switch flag {
	case "--keep", "--out", "--review":
	default:
		return "", false
	}
	switch verb {
	case "compare":
		return flag + ": compare keeps nothing: both runs begin with the same files, and what they write is gone", true
	case "explain":
		return flag + ": explain runs nothing, so nothing is written that could be copied", true
	}
	return "", false
}

// dockerFlag says what stands for a flag of docker's, or "".
func dockerFlag(flag string) string {
	switch flag {
	case "--pid":
		return "processes are apart by default; --skip pid,proc shows the host's"
	case "--ipc":
		return "System V IPC and message queues are apart by default; --skip ipc takes the host's"
	case "--uts":
		return "the host name is apart by default; --skip uts takes the host's"
	case "--cgroupns":
		return "cgroup names are apart by default; --skip cgroup shows the host's"
	case "--network":
		return "--net none (the default) or --net host"
	case "--privileged":
		return "no more can be given than you have; --cap-add ALL gives it in CMD's own user namespace"
	case "--read-only":
		return "--skip overlay: what is shown is read-only"
	case "--mount":
		return "-v SRC:DST[:ro], --tmpfs DST"
	case "--volumes-from":
		return "-v SRC:DST shows the same folder to several"
	case "--security-opt":
		return "--seccomp FILE, --skip seccomp, --skip nnp"
	case "--device", "--gpus":
		return "sbx explain dev lists the devices that there are"
	case "--platform":
		return "CMD runs on this machine's processor; sbx image pull --platform fetches the image of another"
	case "--restart":
		return "what has ended is not started again"
	case "--stop-timeout", "--stop-signal":
		return "sbx stop -t SECONDS -s SIGNAL NAME"
	case "-P", "--publish-all":
		return "--net host uses the host's network"
	case "--plain-http":
		return "sbx image pull --plain-http NAME first"
	case "--label", "-l":
		return "--name NAME names a sandbox; labels are for images: sbx build --label K=V"
	case "--force-rm", "--rm":
		return "leave it out: no container is left of a build"
	}
	return ""
}
