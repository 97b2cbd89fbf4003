package sandbox

import (
	"path"
	"strings"
)

// passed are the variables of the caller that the clean environment keeps:
// they say how to print and whether this is a CI run, and hold no secret.
var passed = []string{"TERM", "COLORTERM", "NO_COLOR", "CI"}

// env makes the environment that execve is given. There is no call: the
// caller's variables are simply never handed on.
func (c *compiler) env() error {
	env := make([]string, 0, 12+len(c.spec.Env))
	home := c.home
	if c.spec.givenRoot() {
		home = "/root"
	}
	env = append(env, "PATH="+strings.Join(c.path, ":"), "HOME="+home, "USER="+c.userName(), "LOGNAME="+c.userName(),
		"LANG=C.UTF-8", "TZ=UTC")
	for _, name := range passed {
		if v := c.feat.getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	if c.tellsApt() {
		env = append(env, "APT_CONFIG="+aptConf)
	}
	for _, name := range c.toolVars {
		env = append(env, name+"="+c.feat.getenv(name))
	}
	c.Env = c.addEnv(env)
	return nil
}

// inheritEnv is the environment with the step skipped: the caller's own.
func (c *compiler) inheritEnv() {
	c.Env = c.addEnv(append([]string(nil), c.feat.Env...))
}

// addEnv applies Spec.Env. A later value of a name replaces an earlier one.
func (c *compiler) addEnv(env []string) []string {
	set := func(kv string) {
		name, _, _ := strings.Cut(kv, "=")
		for i := range env {
			if strings.HasPrefix(env[i], name) && len(env[i]) > len(name) && env[i][len(name)] == '=' {
				env[i] = kv
				return
			}
		}
		env = append(env, kv)
	}
	for _, e := range c.spec.Env {
		switch {
		case strings.Contains(e, "="):
			set(e)
		case strings.HasSuffix(e, "*"):
			for _, kv := range c.feat.Env {
				if strings.HasPrefix(kv, strings.TrimSuffix(e, "*")) {
					set(kv)
				}
			}
		default:
			for _, kv := range c.feat.Env {
				if strings.HasPrefix(kv, e+"=") {
					set(kv)
				}
			}
		}
	}
	return env
}

// searchPath is the caller's PATH, less what is relative, empty or absent
// inside.
func (c *compiler) searchPath(shown func(string) bool) []string {
	var out []string
	for dir := range strings.SplitSeq(c.callersPath(), ":") {
		if !path.IsAbs(dir) {
			continue
		}
		if shown(path.Clean(dir)) {
			out = append(out, dir)
			continue
		}
		for _, f := range c.toolPath {
			if f.name == path.Clean(dir) {
				out = append(out, f.real)
				break
			}
		}
	}
	return out
}

// callersPath is the PATH that CMD's is made of.
func (c *compiler) callersPath() string {
	value := c.feat.getenv("PATH")
	if c.spec.givenRoot() || value == "" {
		value = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	for _, e := range c.spec.Env { // -e PATH=… is what CMD is searched along, too
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			value = v
		}
	}
	return value
}

// userName is the name of who CMD is inside.
func (c *compiler) userName() string {
	if uid, _ := c.spec.insideIDs(c.feat); uid == 0 && c.on["user"] {
		return "root"
	}
	for _, v := range []string{"USER", "LOGNAME"} {
		if name := c.feat.getenv(v); validName(name) {
			return name
		}
	}
	return "user"
}

// validName keeps what would break a line of /etc/passwd out of it.
func validName(name string) bool {
	return name != "" && len(name) <= 64 && !strings.ContainsAny(name, ":\n\x00/ ")
}
