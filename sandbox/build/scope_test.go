package build

import (
	"reflect"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

type v1Config = v1.Config

// configured does all instructions of the last stage that change the config.
func configured(t *testing.T, text string, args map[string]string) (*v1.Config, *scope) {
	t.Helper()
	f, err := parse("Dockerfile", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	global, err := f.newScope(&given{values: args, used: map[string]bool{}})
	if err != nil {
		t.Fatal(err)
	}
	s, config := global.stage([]string{"PATH=/bin"}), &v1.Config{}
	for _, c := range f.stages[len(f.stages)-1].Commands {
		if err := expand(s, c); err != nil {
			t.Fatal(err)
		}
		if _, done, err := configure(config, s, c); err != nil || !done {
			t.Fatal(source(c), done, err)
		}
	}
	return config, s
}

func TestConfig(t *testing.T) {
	config, _ := configured(t, `FROM a
ENV A=1 B="two words" C=$A
ENV C=${C}$A${B}
ENV PATH=/x:$PATH
LABEL l="$A" "k k"='$A'
EXPOSE 80 53/udp 1000-1002
USER bob:$A
VOLUME ["/data", "/$A"]
STOPSIGNAL SIG${SIGNAL:-INT}
SHELL ["/bin/bash", "-e", "-c"]
CMD echo $A
ENTRYPOINT ["/e", "$A"]
HEALTHCHECK --interval=5s --retries=3 CMD ["true"]
ONBUILD RUN echo $A
MAINTAINER me
`, nil)
	want := &v1.Config{
		Env:          []string{"PATH=/x:/bin", "A=1", "B=two words", "C=1two words"},
		Labels:       map[string]string{"l": "1", "k k": "$A"},
		ExposedPorts: map[string]struct{}{"80/tcp": {}, "53/udp": {}, "1000/tcp": {}, "1001/tcp": {}, "1002/tcp": {}},
		User:         "bob:1", Volumes: map[string]struct{}{"/data": {}, "/1": {}}, StopSignal: "SIGINT",
		Shell: []string{"/bin/bash", "-e", "-c"}, Entrypoint: []string{"/e", "$A"},
		Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "true"}, Interval: 5e9, Retries: 3},
		OnBuild:     []string{"RUN echo $A"},
	}
	if !reflect.DeepEqual(config, want) {
		t.Errorf("%+v\nwant %+v", config, want)
	}
	config, _ = configured(t, "FROM a\nENTRYPOINT [\"/e\"]\nCMD one two\n", nil)
	if got := strings.Join(config.Cmd, "|"); got != "/bin/sh|-c|one two" {
		t.Errorf("CMD in shell form: %s", got)
	}
}

// TestArgs: build arguments, their defaults, and ENV above both (Dockerfile
// reference, ARG).
func TestArgs(t *testing.T) {
	const file = `ARG GLOBAL=g
ARG BOTH=global
FROM a
ARG GLOBAL
ARG BOTH=stage
ARG NONE
ARG GIVEN=default
ARG TARGETARCH
ARG HIDDEN=arg
ENV HIDDEN=env
ENV OUT=$GLOBAL-$BOTH-$NONE-$GIVEN-${UNDECLARED}
`
	config, s := configured(t, file, map[string]string{"GIVEN": "given", "UNDECLARED": "u", "HTTP_PROXY": "p"})
	if got := config.Env[len(config.Env)-1]; got != "OUT=g-stage--given-" {
		t.Error(got)
	}
	args := s.runArgs()
	if len(args) != 4 || args[0] != "BOTH=stage" || args[1] != "GIVEN=given" || args[2] != "GLOBAL=g" || !strings.HasPrefix(args[3], "TARGETARCH=") {
		t.Errorf("what a RUN sees: %q", args)
	}
	if got := s.proxies(); len(got) != 1 || got[0] != "HTTP_PROXY=p" {
		t.Error(got)
	}
	if got := s.given.unused(); len(got) != 1 || got[0] != "UNDECLARED" {
		t.Errorf("unused: %q", got)
	}
}

func TestExposeRefused(t *testing.T) {
	for _, port := range []string{"x", "70000", "80/icmp", "9-1", "-1"} {
		f, err := parse("Dockerfile", []byte("FROM a\nEXPOSE "+port+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := f.newScope(&given{used: map[string]bool{}})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := configure(&v1.Config{}, s, f.stages[0].Commands[0]); err == nil {
			t.Errorf("EXPOSE %s is accepted", port)
		}
	}
}

func TestEscape(t *testing.T) {
	config, _ := configured(t, "# escape=`\nFROM a\nENV A=`$x B=\\x\n", nil)
	if got := strings.Join(config.Env[1:], " "); got != `A=$x B=\x` {
		t.Error(got)
	}
}
