package lessons

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sbx-dev/sbx/sandbox/observe"
)

// namespaceFacts ask which namespaces CMD is in, and how they are set up.
func namespaceFacts() []fact {
	return []fact{
		{
			name: "own", args: "KIND", least: 1, most: 1,
			help: "CMD is in a namespace of its own: user, mnt, pid, uts, ipc, net, cgroup or time",
			say:  says("CMD has a {} namespace of its own", "CMD is in your {} namespace"),
			look: seen(func(o *Observation, args []string) (found, error) {
				n, ok := o.View.Namespace(args[0])
				if !ok {
					return unknown("the kernel does not show the " + args[0] + " namespace")
				}
				if n.Shared {
					return is(false, fmt.Sprintf("CMD is in your %s namespace, %s:[%d]", args[0], args[0], n.Inode))
				}
				return is(true, fmt.Sprintf("CMD is in a namespace of its own, %s:[%d]", args[0], n.Inode))
			}),
		},
		{
			name: "uidmap", args: "INSIDE", least: 1, most: 1,
			help: "the uid map gives CMD's own id this number inside",
			say:  says("inside, you are uid {}", "inside, you are not uid {}"),
			look: seen(func(o *Observation, args []string) (found, error) {
				want, err := strconv.ParseUint(args[0], 10, 32)
				if err != nil {
					return found{}, err
				}
				in := o.View.UID.Inside
				return is(uint64(in) == want, "inside, you are uid "+strconv.FormatUint(uint64(in), 10)+mapText(o.View.UIDMap))
			}),
		},
		{
			name: "mapped", least: 0, most: 0,
			help: "there is a line in the uid map",
			say:  says("your uid is mapped", "no uid is mapped"),
			look: seen(func(o *Observation, _ []string) (found, error) {
				return is(len(o.View.UIDMap) > 0, "the uid map"+mapText(o.View.UIDMap))
			}),
		},
		{
			name: "processes", args: "MOST", least: 1, most: 1,
			help: "the /proc of CMD shows at most so many processes; 0 where it has none",
			say: func(args []string, not bool) string {
				what := args[0] + " processes"
				if args[0] == "1" {
					what = "1 process"
				}
				return says("CMD sees at most "+what, "CMD sees more than "+what)(nil, not)
			},
			look: seen(func(o *Observation, args []string) (found, error) {
				most, err := strconv.Atoi(args[0])
				if err != nil {
					return found{}, err
				}
				n := len(o.View.Processes)
				return is(n <= most, "CMD sees "+plural(n, "process", "processes"))
			}),
		},
		{
			name: "pid", args: "N", least: 1, most: 1,
			help: "getpid(2) of CMD returns N",
			say:  says("CMD is process {} of its namespace", "CMD is not process {} of its namespace"),
			look: seen(func(o *Observation, args []string) (found, error) {
				return is(strconv.Itoa(o.View.InsidePID()) == args[0], "CMD is process "+strconv.Itoa(o.View.InsidePID()))
			}),
		},
		{
			name: "interface", args: "NAME [up]", least: 1, most: 2,
			help: "CMD has this network interface, and it is up",
			say:  says("CMD has the network interface {}", "CMD does not have the network interface {}"),
			look: seen(func(o *Observation, args []string) (found, error) {
				var names []string
				holds := false
				for _, i := range o.View.Interfaces {
					names = append(names, i.Name)
					holds = holds || i.Name == args[0]
				}
				return is(holds, "CMD has the interfaces "+strings.Join(names, ", "))
			}),
		},
	}
}

func mapText(lines []observe.IDRange) string {
	if len(lines) == 0 {
		return ": the map is empty"
	}
	var out []string
	for _, l := range lines {
		out = append(out, fmt.Sprintf("%d to %d, count %d", l.Inside, l.Outside, l.Count))
	}
	return ": the map is " + strings.Join(out, "; ")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}
