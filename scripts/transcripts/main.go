// Transcripts writes the transcripts of README.md, docs/*.md and the lessons anew from real
// runs:
//
//	go run ./scripts/transcripts [FILE…]
//
// A transcript is a console block between the lines <!-- transcript NAME --> and
// <!-- /transcript -->. Its commands are the lines that begin with "$ "; all
// other lines are what they printed, on stdout and stderr, and are replaced. The
// commands run as a normal user (scripts/as-user) with bin/sbx first on PATH, in
// a new folder with two small files. It is shown as /home/you/essay, and lies in
// a home made for the purpose. A lesson's commands run in a folder with the
// lesson's own files, called as the lesson.
//
// The package's test runs the commands too and compares; what differs from one
// host to the next (ids, processes, interfaces) is masked or left out there.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	files := os.Args[1:]
	if len(files) == 0 {
		var err error
		if files, err = documents("."); err != nil {
			fmt.Fprintln(os.Stderr, "transcripts:", err)
			os.Exit(1)
		}
	}
	for _, file := range files {
		if err := rewrite(file); err != nil {
			fmt.Fprintln(os.Stderr, "transcripts:", err)
			os.Exit(1)
		}
	}
}

// documents are the files below a root that may hold transcripts.
func documents(root string) ([]string, error) {
	list := []string{filepath.Join(root, "README.md")}
	for _, pattern := range []string{"docs/*.md", "lessons/*/README.md"} {
		pages, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, err
		}
		list = append(list, pages...)
	}
	return list, nil
}

// rewrite runs every transcript of a file and puts in what was printed.
func rewrite(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	root, err := filepath.Abs(".")
	if err != nil {
		return err
	}
	parts, err := split(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	var out []byte
	for _, p := range parts {
		out = append(out, p.before...)
		if p.name == "" {
			continue
		}
		runs, err := run(root, file, commands(p.block))
		if err != nil {
			return fmt.Errorf("%s: %s: %w", file, p.name, err)
		}
		out = append(out, format(runs)...)
	}
	return os.WriteFile(file, out, 0o644)
}
