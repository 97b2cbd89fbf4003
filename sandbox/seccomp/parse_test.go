package seccomp

import (
	"strings"
	"testing"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

func TestParseErrors(t *testing.T) {
	rule := func(s string) string {
		return `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [` + "\n" + s + `]}`
	}
	for _, tt := range []struct{ name, in, want string }{
		{"nothing", "", "line 1, column 1: unexpected end of JSON input"},
		{"not JSON", "{\n  \"defaultAction\": oops\n}", "line 2, column 20: invalid character 'o'"},
		{"cut", "{\"defaultAction\":", "unexpected end of JSON input"},
		{"more than one", `{"defaultAction": "SCMP_ACT_ALLOW"} {}`, "line 1, column 37: invalid character '{' after top-level value"},
		{"not an object", `[]`, "a JSON array instead of"},
		{"null", `null`, `defaultAction: "" is no SCMP_ACT_`},
		{"unknown field", "{\n\"defaultAction\": \"SCMP_ACT_ALLOW\",\n\"sycalls\": []}", `line 3, column 9: unknown field "sycalls"`},
		{"field of another object", `{"defaultAction": "SCMP_ACT_ALLOW", "index": 1}`, `unknown field "index"`},
		{"other case", `{"DefaultAction": "SCMP_ACT_ALLOW"}`, `unknown field "DefaultAction"`},
		{"twice", "{\"defaultAction\": \"SCMP_ACT_ERRNO\",\n\"defaultAction\": \"SCMP_ACT_ALLOW\"}", `line 2, column 15: key "defaultAction" is given twice`},
		{"wrong kind", "{\n\"defaultAction\": 1}", "line 2, column 18: defaultAction: a JSON number instead of string"},
		{"negative index", rule(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": -1}]}`), "line 2"},
		{"no action", `{}`, `defaultAction: "" is no SCMP_ACT_`},
		{"unknown action", rule(`{"names": ["read"], "action": "ALLOW"}`), `syscalls[0].action: "ALLOW" is no SCMP_ACT_`},
		{"errno of allow", rule(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1}`), "syscalls[0].errnoRet: SCMP_ACT_ALLOW returns no errno"},
		{"large errno", rule(`{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4095}`), "larger than the largest errno"},
		{"unknown errno", rule(`{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errno": "ENOTHING"}`), `"ENOTHING" is no errno`},
		{"two errnos", rule(`{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errno": "ENOSYS", "errnoRet": 1}`), "errno: ENOSYS is 38, but errnoRet says 1"},
		{"no names", rule(`{"action": "SCMP_ACT_ALLOW"}`), "syscalls[0].names: no call"},
		{"name and names", rule(`{"name": "read", "names": ["write"], "action": "SCMP_ACT_ALLOW"}`), "exclude each other"},
		{"index", rule(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}`), "syscalls[0].args[0].index: 6 is not 0 to 5"},
		{"index twice", rule(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "op": "SCMP_CMP_NE"}, {"index": 1, "value": 1, "op": "SCMP_CMP_NE"}]}`), "argument 1 twice"},
		{"operator", rule(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "=="}]}`), `syscalls[0].args[0].op: "==" is no SCMP_CMP_`},
		{"kernel", rule(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "new"}}`), `"new" is no kernel version`},
		{"architecture", `{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["amd64"]}`, `architectures[0]: "amd64"`},
		{"flag", `{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]}`, "flags[0]"},
		{"listener", `{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}`, "listenerPath"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Parse([]byte(tt.in))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "seccomp: ") {
				t.Errorf("got %+v, %v, want …%s…", p, err, tt.want)
			}
		})
	}
	if _, err := Parse(make([]byte, filter.MaxProfile+1)); err == nil {
		t.Error("a profile larger than the limit")
	}
}

// FuzzParse takes any bytes for a profile: they are refused, or what they
// compile to does what they say.
func FuzzParse(f *testing.F) {
	// The built-in profiles are too long for a seed: the fuzzer spends its time
	// on shortening them.
	f.Add([]byte(dockerLike))
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"ioctl","action":"SCMP_ACT_TRAP","args":[{"index":1,"value":21522,"op":"SCMP_CMP_GT"}]}]}`))
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"syscalls":[{"names":["ioctl","mseal"],"action":"SCMP_ACT_ALLOW"},{"names":["ioctl"],"action":"SCMP_ACT_LOG","args":[{"index":1,"value":255,"valueTwo":4,"op":"SCMP_CMP_MASKED_EQ"}],"excludes":{"minKernel":"9.9"}}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := Parse(raw)
		if err != nil {
			return
		}
		for _, arch := range filter.Arches() {
			o := Options{Arch: arch, Kernel: "6.1"}
			program, err := p.Compile(o)
			if err != nil {
				continue
			}
			compareWithReference(t, p, o, program, 20)
		}
	})
}
