package cli

func imageVerb() command {
	return &siblingCommand{
		synopsis: "ls|pull|push|load|save|import|tag|rm|inspect|history|prune [flags] [ARG…]",
		text: "Keeps images below $XDG_DATA_HOME/sbx (~/.local/share/sbx), as one user and without a daemon: an OCI image layout, each layer unpacked once.\n\n" +
			"pull and push speak to registries, with the logins of docker's config.json; --plain-http is for one on this machine, and --platform OS/ARCH fetches for another. load and save take and make archives of docker, podman and OCI; " +
			"import makes an image of a folder or a tar archive. tag gives one more name; rm takes one away, with the last one the image; prune removes what has no name, with --build-cache also what builds keep. " +
			"ls lists, inspect shows config and layers (--layer N: the files of one), history the steps. ls, inspect and history take --json. sbx image VERB --help shows the flags of each.",
		shown: [][2]string{
			{"sbx image ls", "those that are here"},
			{"sbx image pull busybox", "one more, from docker.io"},
			{"docker save alpine | sbx load", "from docker"},
			{"sbx image inspect busybox", "its config and its layers"},
			{"sbx image inspect --layer 1 busybox", "the files of the lowest layer"},
			{"sbx image history busybox", "the steps that made it"},
			{"sbx image tag busybox box:1", "one more name for it"},
			{"sbx image rm box:1", "a name less; with the last one the image goes"},
			{"sbx image prune", "remove images without a name"},
		},
	}
}

func loadVerb() command {
	return &siblingCommand{
		synopsis: "[-i FILE] [-q]",
		text:     "Adds the images of an archive that docker save, podman save or sbx save wrote, or an OCI archive: plain or compressed, from FILE or stdin. The same as sbx image load.",
		shown:    [][2]string{{"sbx load -i images.tar", "from a file"}, {"docker save alpine | sbx load", "from docker"}},
	}
}

func saveVerb() command {
	return &siblingCommand{
		synopsis: "[-o FILE] IMAGE…",
		text:     "Writes images as one archive that docker load, podman load and sbx load read; digests stay as they are. The same as sbx image save.",
		shown:    [][2]string{{"sbx save -o busybox.tar busybox", "to a file"}, {"sbx save busybox | docker load", "to docker"}},
	}
}

func commitVerb() command {
	return &siblingCommand{
		synopsis: "[-c INSTRUCTION] [-m TEXT] [--on IMAGE] NAME|ID IMAGE",
		text: "Makes an image of what a sandbox that runs has written so far, or of a layer that sbx run --keep NAME has kept: one layer, with the files where CMD saw them. Sandbox and kept layer go on.\n\n" +
			"What was written over an image (--image) is laid on the layers of that image, whose config it takes over; --on IMAGE names another one. Without an image below, the new one holds nothing else, and runs what the last run ran, in its folder. " +
			"-c changes the config by an instruction of a Dockerfile, -m says what the step in the history is. Files that were the caller's belong to root in the image.",
		shown: [][2]string{
			{"sbx commit try demo:1", "what was kept by sbx run --keep try"},
			{"sbx commit web demo:1", "what the sandbox web has written so far"},
			{"sbx commit --on busybox -c 'CMD [\"./server\"]' try demo:2", "on an image"},
		},
	}
}
