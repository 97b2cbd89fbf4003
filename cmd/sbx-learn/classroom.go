package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/lessons"
	"github.com/sbx-dev/sbx/lessons/classroom"
)

//nolint:lll // a tag cannot be broken
type classroomCommand struct {
	Listen       string   `default:"127.0.0.1:0" placeholder:"ADDRESS:PORT" help:"Where to listen. One that other machines reach needs --token, too."`
	Token        string   `env:"SBX_CLASSROOM_TOKEN" placeholder:"TOKEN" help:"What the address holds; random by default. From the environment it is seen by nobody else."`
	TeacherToken string   `env:"SBX_TEACHER_TOKEN" placeholder:"TOKEN" help:"The same for the teacher's page; random by default."`
	State        string   `placeholder:"FILE" help:"Where the students' progress is kept; in your state folder by default."`
	AllowOff     []string `sep:"," placeholder:"STEP,…" help:"Let other machines switch these steps off, too: of env, fds, pid, ipc, net, proc, dev, session, rlimits and seccomp; all is all of these."`
	Name         []string `sep:"," placeholder:"HOST,…" help:"Further names of this machine that browsers may use, beside its own and its addresses."`
	AtOnce       int      `placeholder:"N" help:"Runs at once; as many as there are cores by default."`
}

// leastToken is how many characters a token has that other machines could guess.
const leastToken = 8

// Run serves until a signal ends it.
func (cmd *classroomCommand) Run() error {
	home, err := lessons.Home()
	if err != nil {
		return err
	}
	sbx, err := findSbx()
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(cmd.Listen)
	if err != nil {
		return &usageError{msg: "--listen: " + err.Error(), hint: "sbx classroom --listen 127.0.0.1:8080"}
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		hint := "SBX_CLASSROOM_TOKEN=" + classroom.NewToken() + " sbx classroom --listen " + cmd.Listen
		switch {
		case cmd.Token == "":
			return &usageError{msg: "--listen " + cmd.Listen + " lets other machines in, so it needs a --token that you give to the class", hint: hint}
		case len(cmd.Token) < leastToken || cmd.TeacherToken != "" && len(cmd.TeacherToken) < leastToken:
			return &usageError{msg: "a token of fewer than " + strconv.Itoa(leastToken) + " characters can be guessed from another machine", hint: hint}
		}
	}
	if cmd.AtOnce < 0 {
		return &usageError{msg: "--at-once " + strconv.Itoa(cmd.AtOnce) + ": at least one run goes at once"}
	}
	config := classroom.Config{
		Sbx: sbx, Token: cmd.Token, TeacherToken: cmd.TeacherToken, State: cmd.State, AllowOff: cmd.AllowOff,
		AtOnce: cmd.AtOnce, Names: cmd.Name,
	}
	// No child is to have them: the runs are other people's.
	for _, name := range []string{"SBX_CLASSROOM_TOKEN", "SBX_TEACHER_TOKEN"} {
		if err := os.Unsetenv(name); err != nil {
			return err
		}
	}
	if config.Token == "" {
		config.Token = classroom.NewToken()
	}
	if config.TeacherToken == "" {
		config.TeacherToken = classroom.NewToken()
	}
	if config.State == "" {
		config.State = filepath.Join(home, "classroom.json")
	}
	listener, err := net.Listen("tcp", cmd.Listen)
	if err != nil {
		return err
	}
	server, err := classroom.New(config, listener)
	if err != nil {
		listener.Close()
		return &usageError{msg: err.Error()}
	}
	// Where pid and proc may be off, a run could otherwise read the tokens in this
	// process' environment and memory: it has the same uid (ptrace(2)).
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	fmt.Printf("The classroom is at\n  %s\nand the teacher's page at\n  %s\nCtrl-C ends it.\n",
		address(listener, "/", config.Token), address(listener, "/teacher", config.TeacherToken))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	if err := server.Serve(ctx, listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// address is what a browser on this machine opens; for a listener on every
// address it is the machine's name that others use.
func address(listener net.Listener, path, token string) string {
	at := listener.Addr().(*net.TCPAddr)
	host := at.IP.String()
	if at.IP.IsUnspecified() {
		host = "localhost"
		if name, err := os.Hostname(); err == nil {
			host = name
		}
	}
	return "http://" + net.JoinHostPort(host, fmt.Sprint(at.Port)) + path + "?token=" + token
}
