package lessons

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/txtar"
)

//go:embed */README.md */lesson.txtar
var files embed.FS

// Lesson is one folder of the course. Nothing of it changes after it was read.
type Lesson struct {
	Number  int      // 1 to 23; the numbers need not be contiguous
	Name    string   // the folder without the number: "uts"
	Title   string   // a few words, for lists
	Steps   []string // the isolation steps that it is about
	Minutes int      // how long it takes
	Man     []string // pages to read on, section in parentheses
	Readme  string   // Markdown

	Task     string
	File     string // of the student's folder, where that is the answer; "" where it is a line
	Off, On  Line   // the experiment; the zero Line where there is none
	Predict  Question
	Answer   string // what the student begins with
	Solution string
	Secrets  []string // of the capstone: the steps of which one is off

	Files map[string]string // of the student's folder
	Given Given             // what every line inherits, and what runs beside it
	check []claim
	hints []hint
	probe map[string]string
	// images are those that lie in the student's folder, by name: the layers but
	// for the lowest, which every image has (hostLayer).
	images map[string][]imageLayer
}

// Question is asked before the experiment runs.
type Question struct {
	Text    string
	Choices []Choice // in the order of the file
}

// Choice is a possible answer to a Question.
type Choice struct {
	Text  string
	Right bool
}

// ID is the name of the lesson's folder, such as 04-uts.
func (l *Lesson) ID() string { return fmt.Sprintf("%02d-%s", l.Number, l.Name) }

// All are the lessons in the order of their numbers. They are read once; an
// error in an embedded file is found by the tests, so All panics on one.
var All = sync.OnceValue(func() []*Lesson {
	all, err := load(files)
	if err != nil {
		panic(err)
	}
	return all
})

// Find returns a lesson by its number, its name or its ID.
func Find(word string) (*Lesson, bool) {
	n, err := strconv.Atoi(word)
	for _, l := range All() {
		if err == nil && l.Number == n || l.Name == word || l.ID() == word {
			return l, true
		}
	}
	return nil, false
}

// Next returns the lesson after one, nil after the last.
func Next(l *Lesson) *Lesson {
	i := slices.Index(All(), l)
	if i < 0 || i+1 == len(All()) {
		return nil
	}
	return All()[i+1]
}

// load reads every folder.
func load(fsys fs.FS) ([]*Lesson, error) {
	paths, err := fs.Glob(fsys, "*/lesson.txtar")
	if err != nil {
		return nil, err
	}
	var all []*Lesson
	for _, p := range paths {
		dir := strings.TrimSuffix(p, "/lesson.txtar")
		text, err := fs.ReadFile(fsys, p)
		if err != nil {
			return nil, err
		}
		l, err := parse(dir, text)
		if err != nil {
			return nil, fmt.Errorf("lessons: %s: %w", p, err)
		}
		readme, err := fs.ReadFile(fsys, dir+"/README.md")
		if err != nil {
			return nil, err
		}
		l.Readme = string(readme)
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b *Lesson) int { return a.Number - b.Number })
	return all, nil
}

// parse reads lesson.txtar. It refuses what it does not know, so that a
// misspelt section is an error and not a lesson without a check.
func parse(dir string, text []byte) (*Lesson, error) {
	number, name, ok := strings.Cut(dir, "-")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n <= 0 {
		return nil, fmt.Errorf("the folder %s is not called NN-name", dir)
	}
	l := &Lesson{Number: n, Name: name, Files: map[string]string{}, probe: map[string]string{}, images: map[string][]imageLayer{}}
	a := txtar.Parse(text)
	if err := l.head(string(a.Comment)); err != nil {
		return nil, err
	}
	for _, f := range a.Files {
		if err := l.section(f.Name, string(f.Data)); err != nil {
			return nil, fmt.Errorf("section %s: %w", f.Name, err)
		}
	}
	if l.File != "" {
		l.Answer += "\n"
		l.Files[l.File] = l.Answer
	}
	switch {
	case l.Title == "" || l.Minutes == 0 || len(l.Man) == 0 || l.Task == "" || l.Answer == "" || l.Solution == "":
		return nil, fmt.Errorf("title, minutes, man, task, answer or solution is missing")
	case len(l.check) == 0 || len(l.hints) == 0:
		return nil, fmt.Errorf("it has no check or no hints")
	case l.Predict.Text == "" || len(l.Predict.Choices) < 2:
		return nil, fmt.Errorf("it has no question with two choices")
	}
	return l, nil
}

// head reads the lines "key: value" before the first section.
func (l *Lesson) head(text string) error {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "title":
			l.Title = value
		case "minutes":
			n, err := strconv.Atoi(value)
			if err != nil {
				return err
			}
			l.Minutes = n
		case "steps":
			l.Steps = strings.Fields(value)
		case "man":
			for page := range strings.SplitSeq(value, ",") {
				l.Man = append(l.Man, strings.TrimSpace(page))
			}
		case "file":
			if !fs.ValidPath(value) {
				return fmt.Errorf("%q is no path within the folder", value)
			}
			l.File, l.Given.Data = value, dataFolder
		case "secrets":
			l.Secrets = strings.Fields(value)
		default:
			return fmt.Errorf("no key is called %q", key)
		}
	}
	return nil
}

func (l *Lesson) section(name, text string) (err error) {
	trimmed := strings.TrimSpace(text)
	switch kind, rest, _ := strings.Cut(name, "/"); kind {
	case "task":
		l.Task = trimmed
	case "off":
		l.Off, err = parseAny(trimmed)
	case "on":
		l.On, err = parseAny(trimmed)
	case "predict":
		l.Predict = question(trimmed)
	case "answer":
		l.Answer = trimmed
	case "solution":
		l.Solution = trimmed
	case "check":
		for line := range strings.Lines(trimmed) {
			c, err := parseClaim(strings.TrimSpace(line))
			if err != nil {
				return err
			}
			l.check = append(l.check, c)
		}
	case "hints":
		for line := range strings.Lines(trimmed) {
			h, err := parseHint(strings.TrimSpace(line))
			if err != nil {
				return err
			}
			l.hints = append(l.hints, h)
		}
	case "files":
		if !fs.ValidPath(rest) {
			return fmt.Errorf("%q is no path within the folder", rest)
		}
		l.Files[rest] = text
	case "env":
		l.Given.Env = append(l.Given.Env, rest+"="+trimmed)
	case "fd":
		if rest != strconv.Itoa(3+len(l.Given.Open)) {
			return fmt.Errorf("the descriptors are 3, 4 and so on, in order")
		}
		l.Given.Open = append(l.Given.Open, text)
	case "beside":
		l.Given.Beside = text
	case "image":
		l.Given.Data = dataFolder
		return l.addImage(rest, text)
	case "probe":
		l.probe[rest] = text
	default:
		return fmt.Errorf("there is no such section")
	}
	return err
}

func question(text string) Question {
	var q Question
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if after, ok := strings.CutPrefix(line, "+ "); ok {
			q.Choices = append(q.Choices, Choice{Text: after, Right: true})
		} else if after, ok := strings.CutPrefix(line, "- "); ok {
			q.Choices = append(q.Choices, Choice{Text: after})
		} else {
			q.Text = strings.TrimSpace(q.Text + " " + line)
		}
	}
	return q
}
