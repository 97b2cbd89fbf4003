package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sbx-dev/sbx/sandbox"
)

// remedy is something to be run or written that mends a host.
type remedy struct {
	Name string `json:"name"`
	What string `json:"what"` // a sentence
	Text string `json:"text"` // to be copied as it is
}

var remedyNames = [...]string{"apparmor", "sysctl", "docker", "github", "gitlab"}

func checkRemedy(name string) error {
	if name == "all" || slices.Contains(remedyNames[:], name) {
		return nil
	}
	hint := "remedies: all " + strings.Join(remedyNames[:], " ")
	if near := nearest(name, remedyNames[:]); near != "" {
		hint = "did you mean " + near + "?"
	}
	return &usageError{msg: "--fix: no remedy is called " + quoted(name), hint: hint}
}

func remediesNamed(name string) []remedy {
	if name != "all" {
		return []remedy{remedyOf(name)}
	}
	var out []remedy
	for _, n := range remedyNames {
		out = append(out, remedyOf(n))
	}
	return out
}

// remediesFor are those that mend what was found, by what the host itself says
// is the matter.
func remediesFor(d *diagnosis) []remedy {
	out := []remedy{}
	if d.OK {
		return out
	}
	word := func(file string) string {
		text, _ := os.ReadFile(file)
		return strings.TrimSpace(string(text))
	}
	apparmor := word("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1"
	if apparmor {
		out = append(out, remedyOf("apparmor"))
	}
	if inFirstUserNamespace() && word("/proc/sys/user/max_user_namespaces") == "0" || word("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
		out = append(out, remedyOf("sysctl"))
	}
	refused := slices.ContainsFunc(d.Steps, func(t *sandbox.Trial) bool {
		return strings.Contains(t.Hint, "--security-opt")
	})
	if refused || insideContainer() != "" {
		out = append(out, remedyOf("docker"))
	}
	if os.Getenv("GITHUB_ACTIONS") != "" {
		out = append(out, remedyOf("github"))
	}
	if os.Getenv("GITLAB_CI") != "" {
		out = append(out, remedyOf("gitlab"))
	}
	return out
}

func remedyOf(name string) remedy {
	switch name {
	case "apparmor":
		return remedy{name, "Ubuntu 23.10 and later: a profile that lets sbx, and nothing else, use user namespaces.", appArmorText()}
	case "sysctl":
		return remedy{name, "A host on which user namespaces are switched off: switch them on, now and at every start.", sysctlText}
	case "docker":
		return remedy{name, "A container in which sbx is to run: the flags of docker run (and podman run) that its isolation needs.", dockerText}
	case "github":
		return remedy{name, "GitHub Actions, on the hosted Ubuntu runners.", githubText}
	}
	return remedy{"gitlab", "GitLab CI: the job, and the runner's own configuration.", gitlabText}
}

// appArmorText is a profile in the form of Ubuntu's own ones for browsers
// (apparmor.d(5); "userns" in the profiles of AppArmor 4).
func appArmorText() string {
	path, err := os.Executable()
	if err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
	} else {
		path = "/usr/local/bin/sbx"
	}
	return `sudo tee /etc/apparmor.d/sbx >/dev/null <<'END'
abi <abi/4.0>,
include <tunables/global>

profile sbx ` + appArmorPath(path) + ` flags=(unconfined) {
  userns,
  include if exists <local/sbx>
}
END
sudo apparmor_parser -r /etc/apparmor.d/sbx
`
}

// appArmorPath is a path as a profile's name: quoted where it has spaces, its
// pattern characters escaped.
func appArmorPath(path string) string {
	var b strings.Builder
	for _, r := range path {
		if strings.ContainsRune(`\*?[]{}^"`, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	if strings.ContainsAny(path, " \t") {
		return `"` + b.String() + `"`
	}
	return b.String()
}

const sysctlText = `sudo tee /etc/sysctl.d/60-user-namespaces.conf >/dev/null <<'END'
user.max_user_namespaces = 15000
-kernel.unprivileged_userns_clone = 1
END
sudo sysctl --system
`

const dockerText = `# seccomp:     clone3, mount and pivot_root are made with user namespaces
# apparmor:    docker's profile refuses every mount
# systempaths: a masked /proc keeps the kernel from mounting a new one
#              (podman spells it --security-opt unmask=ALL)
docker run --security-opt seccomp=unconfined \
           --security-opt apparmor=unconfined \
           --security-opt systempaths=unconfined \
           IMAGE sbx doctor
`

const githubText = `jobs:
  test:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@v4
      - name: Let sbx use user namespaces
        run: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0
      - run: sbx doctor
      - run: sbx run --profile ci -- make test

  # A job in a container has to be allowed as much as docker run:
  in-a-container:
    runs-on: ubuntu-24.04
    container:
      image: IMAGE
      options: >-
        --security-opt seccomp=unconfined
        --security-opt apparmor=unconfined
        --security-opt systempaths=unconfined
    steps:
      - run: sbx doctor
`

const gitlabText = `# .gitlab-ci.yml
test:
  script:
    # A runner cannot unmask /proc: --profile ci goes on without the step proc.
    - sbx run --profile ci -- make test

# /etc/gitlab-runner/config.toml of a runner with the Docker executor
[[runners]]
  [runners.docker]
    security_opt = ["seccomp=unconfined", "apparmor=unconfined"]
`

// printRemedies writes what is to be copied to stdout, with the explanations as
// comments.
func printRemedies(list []remedy) error {
	s, cols := styleOf(os.Stdout), width(os.Stdout)
	var b strings.Builder
	if len(list) == 0 {
		say("nothing that is on by default is broken here; --fix=all prints every remedy")
		return nil
	}
	for i, r := range list {
		if i > 0 {
			b.WriteByte('\n')
		}
		for _, part := range fold(r.Name+": "+r.What, cols-2) {
			b.WriteString(s.dim("# "+part) + "\n")
		}
		b.WriteString(r.Text)
	}
	_, err := os.Stdout.WriteString(b.String())
	return err
}
