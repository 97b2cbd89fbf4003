package cli

import (
	"os"
	"strings"

	"github.com/sbx-dev/sbx/sandbox"
)

type completionCommand struct {
	Shell string `arg:"" optional:"" help:"bash, zsh or fish."`
	Kind  string `arg:"" optional:"" hidden:""` // after "words", which the scripts ask
}

func completionVerb() command { return &completionCommand{} }

func (*completionCommand) usage() string { return "bash|zsh|fish" }

func (*completionCommand) examples() [][2]string {
	return [][2]string{
		{"sbx completion bash > ~/.local/share/bash-completion/completions/sbx", "bash"},
		{"sbx completion zsh > \"${fpath[1]}/_sbx\"", "zsh"},
		{"sbx completion fish > ~/.config/fish/completions/sbx.fish", "fish"},
	}
}

func (c *completionCommand) run(*call) error {
	if c.Shell == "words" {
		return printNames(c.Kind)
	}
	write, ok := map[string]func(*strings.Builder, []completed){
		"bash": completeBash, "zsh": completeZsh, "fish": completeFish,
	}[c.Shell]
	if !ok {
		return &usageError{msg: quoted(c.Shell) + " is no shell that sbx knows", hint: "sbx completion bash, zsh or fish"}
	}
	all, err := completions()
	if err != nil {
		return err
	}
	var b strings.Builder
	write(&b, all)
	_, err = os.Stdout.WriteString(b.String())
	return err
}

// completed is a verb with what can be completed after it.
type completed struct {
	verb
	flags []completedFlag
	steps bool // its words are names of steps
	// First are its first words, names of the kind the words after them: see
	// printNames.
	first []string
	names string
}

// completedFlag is a flag and the kind of its value.
type completedFlag struct {
	name, short, help string
	value             valueKind
	words             []string // of a value of the kind valueWord or valueSteps
}

type valueKind uint8

const (
	valueNone  valueKind = iota // a bool
	valueText                   // anything
	valueFile                   // a path
	valueWord                   // one of words
	valueSteps                  // a comma list of words
	valueImage                  // the name of an image
)

// completions builds the models of all verbs and reads from them.
func completions() ([]completed, error) {
	var out []completed
	for _, v := range verbs() {
		if v.hidden {
			continue
		}
		m, err := parser.Describe(v.name, v.model())
		if err != nil {
			return nil, err
		}
		c := completed{verb: v}
		c.first, c.names = wordsAfter(v.name)
		for _, p := range m.Positional {
			c.steps = c.steps || strings.Contains(strings.ToLower(p.Name), "step")
		}
		c.steps = c.steps || v.name == "explain" || v.name == "compare" || v.name == "doctor"
		for _, f := range m.Flags {
			if f.Hidden {
				continue
			}
			kind, words := valueOf(f.Name, f.Placeholder, f.Bool)
			c.flags = append(c.flags, completedFlag{f.Name, f.Short, f.Help, kind, words})
		}
		out = append(out, c)
	}
	return out, nil
}

// valueOf decides how a flag's value is completed.
func valueOf(name, placeholder string, isBool bool) (valueKind, []string) {
	switch {
	case isBool:
		return valueNone, nil
	case strings.HasPrefix(placeholder, "STEP"):
		return valueSteps, sandbox.StepNames()
	case name == "tools":
		return valueSteps, append([]string{"auto", "none"}, (&sandbox.Spec{}).ToolNames()...)
	case name == "image":
		return valueImage, nil
	case name == "profile":
		return valueWord, profileNames
	case name == "seccomp":
		return valueWord, []string{"default", "strict", "log"}
	case strings.Contains(placeholder, "|"):
		return valueWord, strings.Split(placeholder, "|")
	}
	switch placeholder {
	case "PATH", "DIR", "FILE", "SRC:DST[:MODE]":
		return valueFile, nil
	}
	return valueText, nil
}

func completeBash(b *strings.Builder, all []completed) {
	var names []string
	for _, c := range all {
		names = append(names, c.name)
	}
	b.WriteString(`# bash completion of sbx
_sbx() {
	local cur prev verb i list= before=
	COMPREPLY=()
	cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]}
	if [ "$COMP_CWORD" -eq 1 ]; then
		COMPREPLY=($(compgen -W '` + strings.Join(names, " ") + `' -- "$cur"))
		return
	fi
	for ((i = 2; i < COMP_CWORD; i++)); do
		if [ "${COMP_WORDS[i]}" = -- ]; then
			_sbx_command "$((i + 1))"
			return
		fi
	done
	case $verb:$prev in
`)
	for _, c := range all {
		for _, f := range c.flags {
			pattern := c.name + ":--" + f.name
			if f.short != "" {
				pattern += "|" + c.name + ":-" + f.short
			}
			switch f.value {
			case valueNone:
				continue
			case valueFile:
				b.WriteString("\t" + pattern + ") compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n")
			case valueImage:
				b.WriteString("\t" + pattern + ") COMPREPLY=($(compgen -W \"" + askNames("images") + "\" -- \"$cur\")); return ;;\n")
			case valueWord, valueSteps:
				b.WriteString("\t" + pattern + ") list='" + strings.Join(f.words, " ") + "' ;;\n")
			default:
				b.WriteString("\t" + pattern + ") return ;;\n")
			}
		}
	}
	b.WriteString(`	esac
	if [ -n "$list" ]; then
		case $cur in *,*) before=${cur%,*}, ;; esac
		COMPREPLY=($(compgen -P "$before" -W "$list" -- "${cur##*,}"))
		return
	fi
	case $verb in
`)
	for _, c := range all {
		var flags []string
		for _, f := range c.flags {
			flags = append(flags, "--"+f.name)
		}
		words := ""
		switch {
		case c.steps:
			words = strings.Join(sandbox.StepNames(), " ")
		case c.name == "completion":
			words = "bash zsh fish"
		case c.name == "profile":
			words = "ls show " + strings.Join(profileNames, " ")
		}
		b.WriteString("\t" + c.name + ")\n\t\tcase $cur in\n\t\t-*) COMPREPLY=($(compgen -W '" + strings.Join(flags, " ") + "' -- \"$cur\")) ;;\n")
		switch {
		case words != "":
			b.WriteString("\t\t*) COMPREPLY=($(compgen -W '" + words + "' -- \"$cur\")) ;;\n")
		case c.names == "places":
			b.WriteString("\t\t*) compopt -o nospace -o filenames; COMPREPLY=($(compgen -S : -W \"" + askNames("sandboxes") + "\" -- \"$cur\") $(compgen -f -- \"$cur\")) ;;\n")
		case c.first != nil:
			b.WriteString("\t\t*) if [ \"$COMP_CWORD\" -eq 2 ]; then COMPREPLY=($(compgen -W '" + strings.Join(c.first, " ") + "' -- \"$cur\"))\n")
			if c.names != "" {
				b.WriteString("\t\t\telse COMPREPLY=($(compgen -W \"" + askNames(c.names) + "\" -- \"$cur\"))\n")
			}
			b.WriteString("\t\t\tfi ;;\n")
		case c.name == "exec":
			b.WriteString("\t\t*) if [ \"$COMP_CWORD\" -eq 2 ]; then COMPREPLY=($(compgen -W \"" + askNames(c.names) + "\" -- \"$cur\")); else _sbx_command \"$COMP_CWORD\"; fi ;;\n")
		case c.names != "":
			b.WriteString("\t\t*) COMPREPLY=($(compgen -W \"" + askNames(c.names) + "\" -- \"$cur\")) ;;\n")
		default:
			b.WriteString("\t\t*) _sbx_command \"$COMP_CWORD\" ;;\n")
		}
		b.WriteString("\t\tesac ;;\n")
	}
	b.WriteString(`	esac
}
# CMD and its arguments, as bash completes them by themselves.
_sbx_command() {
	if declare -F _command_offset >/dev/null; then
		_command_offset "$1"
	elif [ "$1" -eq "$COMP_CWORD" ]; then
		COMPREPLY=($(compgen -c -- "${COMP_WORDS[COMP_CWORD]}"))
	else
		compopt -o filenames
		COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
	fi
}
complete -F _sbx sbx
`)
}

func completeZsh(b *strings.Builder, all []completed) {
	b.WriteString("#compdef sbx\n# zsh completion of sbx\n_sbx_steps() { _values -s , step " + strings.Join(sandbox.StepNames(), " ") + " }\n_sbx() {\n\tif (( CURRENT == 2 )); then\n\t\tlocal -a verbs=(\n")
	for _, c := range all {
		b.WriteString("\t\t\t" + shellQuote(c.name+":"+c.help) + "\n")
	}
	b.WriteString("\t\t)\n\t\t_describe verb verbs\n\t\treturn\n\tfi\n\tlocal verb=$words[2]\n\tshift words\n\t(( CURRENT-- ))\n\tcase $verb in\n")
	for _, c := range all {
		b.WriteString("\t" + c.name + ")\n\t\t_arguments -s")
		for _, f := range c.flags {
			value := ""
			switch f.value {
			case valueText:
				value = ":" + f.name + ":"
			case valueFile:
				value = ":" + f.name + ":_files"
			case valueWord:
				value = ":" + f.name + ":(" + strings.Join(f.words, " ") + ")"
			case valueImage:
				value = ":" + f.name + ":{compadd -- " + askNames("images") + "}"
			case valueSteps:
				value = ":" + f.name + ":_sbx_steps"
			}
			help := strings.NewReplacer("[", "(", "]", ")", ":", ",").Replace(f.help)
			b.WriteString(" \\\n\t\t\t" + shellQuote("*--"+f.name+"["+help+"]"+value))
			if f.short != "" {
				b.WriteString(" \\\n\t\t\t" + shellQuote("*-"+f.short+"["+help+"]"+value))
			}
		}
		switch {
		case c.steps:
			b.WriteString(" \\\n\t\t\t'*:step:_sbx_steps'\n")
		case c.name == "completion":
			b.WriteString(" \\\n\t\t\t'1:shell:(bash zsh fish)'\n")
		case c.name == "profile":
			b.WriteString(" \\\n\t\t\t'1:what:(ls show)' \\\n\t\t\t'2:profile:(" + strings.Join(profileNames, " ") + ")'\n")
		case c.first != nil:
			b.WriteString(" \\\n\t\t\t'1:what:(" + strings.Join(c.first, " ") + ")'")
			if c.names != "" {
				b.WriteString(" \\\n\t\t\t'*:name:{compadd -- " + askNames(c.names) + "}'")
			}
			b.WriteByte('\n')
		case c.name == "exec":
			b.WriteString(" \\\n\t\t\t'1:sandbox:{compadd -- " + askNames(c.names) + "}' \\\n\t\t\t'*::command:_normal'\n")
		case c.names == "places":
			b.WriteString(" \\\n\t\t\t'*:place:{compadd -S : -- " + askNames("sandboxes") + "; _files}'\n")
		case c.names != "":
			b.WriteString(" \\\n\t\t\t'*:name:{compadd -- " + askNames(c.names) + "}'\n")
		default:
			b.WriteString(" \\\n\t\t\t'*::command:_normal'\n")
		}
		b.WriteString("\t\t;;\n")
	}
	b.WriteString("\tesac\n}\nif [ \"$funcstack[1]\" = _sbx ]; then _sbx \"$@\"; else compdef _sbx sbx; fi\n")
}

func completeFish(b *strings.Builder, all []completed) {
	b.WriteString("# fish completion of sbx\ncomplete -c sbx -f\n")
	for _, c := range all {
		b.WriteString("complete -c sbx -n __fish_use_subcommand -a " + c.name + " -d " + shellQuote(c.help) + "\n")
	}
	for _, c := range all {
		when := "complete -c sbx -n '__fish_seen_subcommand_from " + c.name + "'"
		for _, f := range c.flags {
			line := when + " -l " + f.name
			if f.short != "" {
				line += " -s " + f.short
			}
			switch f.value {
			case valueText:
				line += " -x"
			case valueFile:
				line += " -r -F"
			case valueWord:
				line += " -x -a '" + strings.Join(f.words, " ") + "'"
			case valueImage:
				line += " -x -a '(" + fishNames("images") + ")'"
			case valueSteps:
				line += " -x -a '(__fish_complete_list , \"printf %s\\\\\\n " + strings.Join(f.words, " ") + "\")'"
			}
			b.WriteString(line + " -d " + shellQuote(f.help) + "\n")
		}
		switch {
		case c.steps:
			b.WriteString(when + " -a '" + strings.Join(sandbox.StepNames(), " ") + "'\n")
		case c.name == "completion":
			b.WriteString(when + " -a 'bash zsh fish'\n")
		case c.name == "profile":
			b.WriteString(when + " -a 'ls show " + strings.Join(profileNames, " ") + "'\n")
		case c.names == "places":
			b.WriteString(when + " -F -a '(" + fishNames("sandboxes") + " | string replace -r \\$ :)'\n")
		case c.first != nil:
			b.WriteString(when + " -a '" + strings.Join(c.first, " ") + "'\n")
			if c.names != "" {
				b.WriteString(when + " -a '(" + fishNames(c.names) + ")'\n")
			}
		case c.names != "":
			b.WriteString(when + " -a '(" + fishNames(c.names) + ")'\n")
		case c.name == "run":
			b.WriteString(when + " -a '(__fish_complete_subcommand --fcs-skip=2)'\n")
		}
	}
}

// shellQuote puts text into single quotes.
func shellQuote(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
