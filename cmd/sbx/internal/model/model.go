// Package model reads the command lines of sbx with kong. It is all of sbx that
// knows kong, and it is initialised after package cli, whose quick way to read
// a plain `sbx run` therefore never pays for it (docs/adr/0006).
package model

import (
	"reflect"

	"github.com/alecthomas/kong"

	"github.com/sbx-dev/sbx/cmd/sbx/internal/usage"
)

// Kong is the usage.Parser that kong makes.
type Kong struct{}

// Parse implements usage.Parser.
func (Kong) Parse(verb string, model any, args []string) (usage.Optional, error) {
	help := new(helpMapper)
	k, err := build(verb, model, help)
	if err != nil {
		return usage.Optional{}, err
	}
	_, err = k.Parse(args)
	return help.Optional, err
}

// Describe implements usage.Parser.
func (Kong) Describe(verb string, model any) (*usage.Model, error) {
	k, err := build(verb, model, new(helpMapper))
	if err != nil {
		return nil, err
	}
	m := &usage.Model{Detail: k.Model.Detail}
	for _, p := range k.Model.Positional {
		m.Positional = append(m.Positional, usage.Positional{Name: p.Name, Summary: p.Summary()})
	}
	for _, f := range k.Model.Flags {
		flag := usage.Flag{
			Name: f.Name, Help: f.Help, Placeholder: f.PlaceHolder,
			Bool: f.IsBool(), Hidden: f.Hidden, Common: f.Tag.Has("common"),
		}
		if f.Short != 0 {
			flag.Short = string(f.Short)
		}
		if f.Group != nil {
			flag.Group = f.Group.Title
		}
		m.Flags = append(m.Flags, flag)
	}
	return m, nil
}

// build makes kong's model of one verb.
func build(verb string, model any, help *helpMapper) (*kong.Kong, error) {
	return kong.New(model,
		kong.Name("sbx "+verb),
		kong.NoDefaultHelp(),
		kong.NamedMapper("help", help),
		kong.TypeMapper(reflect.TypeFor[usage.Optional](), optional{}),
		kong.KindMapper(reflect.String, kong.MapperFunc(decodeString)),
		kong.Embed(&struct {
			Help string `name:"help" short:"h" type:"help" common:"" help:"Show this help; --help=all shows every flag."`
		}{}),
	)
}

// decodeString takes a word as it is. Kong's own mapper sends it through JSON,
// which exchanges bytes that are not UTF-8: names of files may hold those.
func decodeString(ctx *kong.DecodeContext, target reflect.Value) error {
	token, err := ctx.Scan.PopValue("string")
	if err != nil {
		return err
	}
	target.SetString(token.String())
	return nil
}

// optional decodes a usage.Optional.
type optional struct{}

// Decode implements kong.Mapper.
func (optional) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	target.Set(reflect.ValueOf(given(ctx)))
	return nil
}

// IsBool implements kong.BoolMapper: the flag takes no word after it.
func (optional) IsBool() bool { return true }

func given(ctx *kong.DecodeContext) usage.Optional {
	o := usage.Optional{Asked: true}
	if ctx.Scan.Peek().Type == kong.FlagValueToken {
		o.Value, _ = ctx.Scan.Pop().Value.(string)
	}
	return o
}

// helpMapper takes note of --help and --help=all while kong goes through argv,
// so that help is shown even where the rest is wrong.
type helpMapper struct{ usage.Optional }

// Decode implements kong.Mapper.
func (h *helpMapper) Decode(ctx *kong.DecodeContext, _ reflect.Value) error {
	h.Optional = given(ctx)
	return nil
}

// IsBool implements kong.BoolMapper.
func (*helpMapper) IsBool() bool { return true }
