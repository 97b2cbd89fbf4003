package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sbx-dev/sbx/sandbox/image"
)

// listCommand is sbx image ls.
type listCommand struct {
	Name    string   `arg:"" optional:"" help:"Only images of this repository, or of this name."`
	Digests bool     `help:"Show the digests of the manifests."`
	Filter  []string `short:"f" sep:"none" placeholder:"K=V" help:"dangling=true|false, reference=PATTERN or label=K[=V]; several must all hold."`
	Quiet   bool     `short:"q" help:"Print ids alone."`
	NoTrunc bool     `name:"no-trunc" help:"Print whole ids."`
	JSON    bool     `name:"json" help:"Print JSON."`
}

// row is one line of the list: one name of an image.
type row struct {
	full            string // the whole reference; empty for an image without one
	repository, tag string
	image           *image.Image
}

// Run lists the images.
func (l *listCommand) Run(c *call) error {
	images, damaged := c.store.List()
	return errors.Join(l.print(images), damaged)
}

func (l *listCommand) print(images []*image.Image) error {
	rows, err := l.rows(images)
	if err != nil {
		return err
	}
	if l.JSON {
		return l.json(os.Stdout, rows)
	}
	if l.Quiet {
		var ids []string
		for _, r := range rows {
			if id := l.id(r.image); !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		_, err := io.WriteString(os.Stdout, strings.Join(append(ids, ""), "\n"))
		return err
	}
	header := []string{"REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"}
	if l.Digests {
		header = slices.Insert(header, 2, "DIGEST")
	}
	lines := [][]string{header}
	now := time.Now()
	for _, r := range rows {
		line := []string{orNone(r.repository), orNone(r.tag), l.id(r.image), agoText(r.image.Created, now), sizeText(r.image.Size)}
		if l.Digests {
			line = slices.Insert(line, 2, r.image.Digest.String())
		}
		lines = append(lines, line)
	}
	return table(os.Stdout, lines)
}

func orNone(text string) string {
	if text == "" {
		return "<none>"
	}
	return text
}

func (l *listCommand) id(i *image.Image) string {
	if l.NoTrunc {
		return i.ID.String()
	}
	return image.Short(i.ID)
}

// rows are the names of the images that the filters let through.
func (l *listCommand) rows(images []*image.Image) ([]row, error) {
	filters := l.Filter
	if l.Name != "" {
		filters = append(filters, "reference="+l.Name)
	}
	var out []row
	for _, i := range images {
		names := i.Names
		if len(names) == 0 {
			names = []string{""}
		}
		for _, full := range names {
			repository, tag, _ := image.SplitReference(image.Familiar(full))
			r := row{full: full, repository: repository, tag: tag, image: i}
			ok, err := r.passes(filters)
			if err != nil {
				return nil, err
			}
			if ok {
				out = append(out, r)
			}
		}
	}
	return out, nil
}

func (r row) passes(filters []string) (bool, error) {
	for _, f := range filters {
		key, value, _ := strings.Cut(f, "=")
		ok := false
		switch key {
		case "dangling":
			if value != "true" && value != "false" {
				return false, &usageError{msg: "--filter dangling is true or false"}
			}
			ok = (r.full == "") == (value == "true")
		case "reference":
			for _, name := range []string{r.repository, r.repository + ":" + r.tag, r.full} {
				matched, err := path.Match(value, name)
				if err != nil {
					return false, &usageError{msg: "--filter reference=" + value + ": " + err.Error()}
				}
				ok = ok || matched && r.full != ""
			}
		case "label":
			k, v, valued := strings.Cut(value, "=")
			got, has := r.image.Config.Config.Labels[k]
			ok = has && (!valued || got == v)
		default:
			return false, &usageError{msg: "--filter " + key + " is not known", hint: "dangling=true, reference=PATTERN, label=K[=V]"}
		}
		if !ok {
			return false, nil
		}
	}
	return true, nil
}

// listedImage is an image in JSON.
type listedImage struct {
	ID           string    `json:"id"`
	Digest       string    `json:"digest"`
	PulledDigest string    `json:"pulled_digest,omitempty"` // of the list of platforms, where the registry has one
	Names        []string  `json:"names"`
	Created      time.Time `json:"created"`
	Size         int64     `json:"size"` // bytes of the unpacked files
	OS           string    `json:"os"`
	Architecture string    `json:"architecture"`
}

func listed(i *image.Image) listedImage {
	out := listedImage{
		ID: i.ID.String(), Digest: i.Digest.String(), Names: append([]string{}, i.Names...),
		Created: i.Created, Size: i.Size, OS: i.Config.OS, Architecture: i.Config.Architecture,
	}
	if i.Pulled.Hex != "" {
		out.PulledDigest = i.Pulled.String()
	}
	return out
}

func (l *listCommand) json(w io.Writer, rows []row) error {
	out := []listedImage{}
	for _, r := range rows {
		one := listed(r.image)
		if !slices.ContainsFunc(out, func(o listedImage) bool { return o.Digest == one.Digest }) {
			out = append(out, one)
		}
	}
	return writeJSON(w, struct {
		Version int           `json:"version"`
		Images  []listedImage `json:"images"`
	}{1, out})
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
