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

// dockerFlag says what stands for a flag of docker's that takes host or private,
// or "".
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
	}
	return ""
}
