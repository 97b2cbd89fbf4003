package classroom

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/sbx-dev/sbx/internal/built"
	"github.com/sbx-dev/sbx/lessons"
)

// browser starts Debian's chromium with a page of its own.
func browser(t *testing.T) context.Context {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			program = p
			break
		}
	}
	if program == "" {
		built.Lacks(t, "chromium", "there is none: apt-get install chromium")
	}
	// Chromium's own sandbox does not start in every container, and what it
	// opens here is this package's page.
	// Chromium's processes write for a moment after the first has ended, so that
	// a folder of the test's could not be removed.
	profile, err := os.MkdirTemp("", "sbx-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for end := time.Now().Add(10 * time.Second); os.RemoveAll(profile) != nil; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Error("chromium goes on writing to " + profile)
				return
			}
		}
	})
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.UserDataDir(profile), chromedp.Flag("disable-dev-shm-usage", true))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 90*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// complaints collects what the browser finds wrong with the page: exceptions,
// refusals of the policy, requests to another host.
func complaints(ctx context.Context, host string, to *[]string) {
	chromedp.ListenTarget(ctx, func(ev any) {
		switch e := ev.(type) {
		case *runtime.EventExceptionThrown:
			*to = append(*to, "exception: "+e.ExceptionDetails.Error())
		case *log.EventEntryAdded:
			if e.Entry.Level == log.LevelError && !strings.Contains(e.Entry.Text, "422") && !strings.Contains(e.Entry.Text, "409") {
				*to = append(*to, "log: "+e.Entry.Text+" "+e.Entry.URL)
			}
		case *network.EventRequestWillBeSent:
			if !strings.HasPrefix(e.Request.URL, "http://"+host+"/") && !strings.HasPrefix(e.Request.URL, "data:") {
				*to = append(*to, "request to "+e.Request.URL)
			}
		}
	})
}

// shot writes a screenshot where SBX_SHOTS names a folder.
func shot(name string) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		dir := os.Getenv("SBX_SHOTS")
		if dir == "" {
			return nil
		}
		var png []byte
		if err := chromedp.CaptureScreenshot(&png).Do(ctx); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	})
}

// dark sets the colour scheme.
func dark(on bool) chromedp.Action {
	value := "light"
	if on {
		value = "dark"
	}
	return emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: value}})
}

// page opens the address of the classroom in a window of a size and collects
// what the browser finds wrong; it fails the test at its end.
func page(t *testing.T, ctx context.Context, s *served, width, height int64) {
	t.Helper()
	var bad []string
	complaints(ctx, s.host, &bad)
	t.Cleanup(func() {
		for _, b := range bad {
			t.Error(b)
		}
	})
	do(t, ctx, chromedp.EmulateViewport(width, height), dark(false),
		chromedp.Navigate(s.url("/?token="+s.config.Token)), chromedp.WaitVisible("#step-uts"), chromedp.WaitVisible("#drawing svg"))
}

func do(t *testing.T, ctx context.Context, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// value evaluates a script and returns what it gives.
func value[V any](t *testing.T, ctx context.Context, script string) V {
	t.Helper()
	var v V
	do(t, ctx, chromedp.Evaluate(script, &v))
	return v
}

// until waits until a script gives true; what it reads may not be there yet.
func until(t *testing.T, ctx context.Context, script string) {
	t.Helper()
	if err := chromedp.Run(ctx, chromedp.Poll("(() => { try { return "+script+" } catch { return false } })()", nil, chromedp.WithPollingTimeout(15*time.Second))); err != nil {
		_ = chromedp.Run(ctx, shot("failed"))
		t.Log(value[string](t, ctx, "document.querySelector('main').innerText"))
		t.Fatalf("%s: %v", script, err)
	}
}

// fits fails where the page itself scrolls sideways, or where an element that is
// shown reaches out of it.
func fits(t *testing.T, ctx context.Context, what string) {
	t.Helper()
	const script = `[...document.querySelectorAll('body *')].filter(e => e.getClientRects().length && !e.closest('.sr, .skip, .scroll, pre, svg, .names, .drawing'))
		.filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + '#' + e.id + '.' + e.className).slice(0, 5).join(' ')`
	if out := value[string](t, ctx, script); out != "" {
		t.Errorf("%s: out of the window: %s", what, out)
	}
	if value[bool](t, ctx, "document.documentElement.scrollWidth > innerWidth") {
		t.Errorf("%s: the page scrolls sideways", what)
	}
}

// Contrast of every text that is shown to the ground that is behind it.
const contrast = `(() => {
	const rgb = c => { const m = c.match(/[\d.]+/g).map(Number); return m.length > 3 ? m : [...m, 1] }
	const light = ([r, g, b]) => { const f = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; return .2126 * f(r) + .7152 * f(g) + .0722 * f(b) }
	const bad = []
	for (const e of document.querySelectorAll('body *')) {
		if (!e.getClientRects().length || e.closest('.sr, .skip') || ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue
		let ground = null
		for (let at = e; at && !ground; at = at.parentElement) { const c = rgb(getComputedStyle(at).backgroundColor); if (c[3] > 0) ground = c }
		const svg = e.closest('svg'), style = getComputedStyle(e)
		const a = light(rgb(svg ? style.fill : style.color)), b = light(ground || [255, 255, 255, 1])
		const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05)
		if (ratio < 4.5) bad.push(e.tagName + '.' + (e.className.baseVal ?? e.className) + ' “' + e.textContent.trim().slice(0, 20) + '” ' + ratio.toFixed(2))
	}
	return [...new Set(bad)].slice(0, 8).join('; ')
})()`

func readable(t *testing.T, ctx context.Context, what string) {
	t.Helper()
	for _, on := range []bool{false, true} {
		// Colours that change by a transition are waited for.
		do(t, ctx, dark(on), chromedp.Sleep(200*time.Millisecond))
		if out := value[string](t, ctx, contrast); out != "" {
			t.Errorf("%s, dark=%t: too little contrast: %s", what, on, out)
		}
	}
	do(t, ctx, dark(false))
}

func TestBrowserBoard(t *testing.T) {
	s := start(t, false)
	ctx := browser(t)
	page(t, ctx, s, 1280, 720)
	if !value[bool](t, ctx, "document.querySelector('#drawing svg').getAttribute('aria-label').includes('UTS namespace')") {
		t.Error("the boxes are not drawn at first")
	}
	before := value[float64](t, ctx, "document.querySelector('.pair').getBoundingClientRect().top")
	// A switch redraws the boxes, without a run of the command.
	do(t, ctx, chromedp.Click("#step-uts"))
	until(t, ctx, "!document.querySelector('#drawing svg').getAttribute('aria-label').includes('UTS namespace')")
	do(t, ctx, chromedp.Click("#run"))
	until(t, ctx, "document.querySelectorAll('.pane .differs').length == 2")
	var left, right, found string
	do(t, ctx, chromedp.Text("#panes .pane:nth-child(1) .output", &left), chromedp.Text("#panes .pane:nth-child(2) .output", &right), chromedp.Text("#found", &found))
	if left == right || !strings.Contains(right, "sandbox") || !strings.Contains(left, "differs:") || !strings.Contains(found, "UTS namespace of its own") {
		t.Errorf("without uts %q, with it %q, what differs %q", left, right, found)
	}
	if after := value[float64](t, ctx, "document.querySelector('.pair').getBoundingClientRect().top"); after != before {
		t.Errorf("the page jumps by %v when a run is there", after-before)
	}
	if got := value[string](t, ctx, "document.querySelector('#line').textContent + ' ' + location.hash"); !strings.Contains(got, "sbx run --skip uts -- sh -c") || !strings.Contains(got, "#board?off=uts&cmd=") {
		t.Errorf("the line and the link are %s", got)
	}
	until(t, ctx, "document.querySelectorAll('#plan .time:not(:empty)').length > 10 && document.querySelector('#bwrap').textContent.includes('bwrap')")
	if got := value[string](t, ctx, "document.querySelector('#view tbody').textContent"); !strings.Contains(got, "uts") || !strings.Contains(got, "the host’s") {
		t.Errorf("what the process sees: %s", got)
	}
	fits(t, ctx, "board")
	if bottom := value[float64](t, ctx, "document.querySelector('#keep').getBoundingClientRect().bottom"); bottom > 720 {
		t.Errorf("the switches end at %v: they do not fit one screen", bottom)
	}
	readable(t, ctx, "board")
	do(t, ctx, shot("board"), dark(true), shot("board-dark"), dark(false))

	// Off takes along what needs it, and on brings what it needs.
	do(t, ctx, chromedp.Click("#step-user"))
	if got := value[int](t, ctx, "['mount', 'pid', 'proc', 'root', 'net'].filter(n => document.getElementById('step-' + n).checked).length"); got != 0 {
		t.Errorf("%d steps stay on without user", got)
	}
	do(t, ctx, chromedp.Click("#step-proc"))
	if got := value[string](t, ctx, "[...document.querySelectorAll('#steps input:checked')].map(e => e.id.slice(5)).join(' ')"); got != "env fds user mount pid proc session rlimits caps nnp landlock seccomp" {
		t.Errorf("with proc are on: %s", got)
	}
	if got := value[string](t, ctx, "document.querySelector('#status').textContent"); !strings.Contains(got, "Also on, since proc needs it: user, mount, pid") {
		t.Errorf("it says %q", got)
	}
	do(t, ctx, chromedp.Click("#all-on"))

	// What a command prints is text.
	do(t, ctx, chromedp.SetValue("#command", `printf '<img src=x onerror=alert(1)><b>b</b>'`), chromedp.Click("#run"))
	until(t, ctx, "document.querySelector('#panes .output').textContent.includes('<img src=x onerror=alert(1)><b>b</b>')")
	if value[int](t, ctx, "document.querySelectorAll('#panes img, #panes b').length") != 0 {
		t.Error("the output has become elements")
	}
	// A refusal is a sentence, and what runs for long says so.
	do(t, ctx, chromedp.SetValue("#command", "true; true"), chromedp.Click("#run"))
	until(t, ctx, "document.querySelector('#status.bad').textContent.includes('one command')")
	do(t, ctx, chromedp.SetValue("#command", "sleep 2"), chromedp.Click("#run"))
	until(t, ctx, "/^Running …/.test(document.querySelector('#status').textContent)")
	do(t, ctx, chromedp.SetValue("#command", "echo later"), chromedp.Click("#run"))
	until(t, ctx, "document.querySelector('#panes .output').textContent.includes('later')")

	// Who waits is told for how many.
	var leave []func()
	for i := range s.config.AtOnce {
		_, _, l, err := s.queue.enter(t.Context(), "holder "+strconv.Itoa(i), "elsewhere")
		if err != nil {
			t.Fatal(err)
		}
		leave = append(leave, l)
	}
	passed := make(chan struct{})
	go func() {
		if _, _, l, err := s.queue.enter(t.Context(), "before", "elsewhere"); err == nil {
			l()
		}
		close(passed)
	}()
	wait(t, "another waits", func() bool { return s.queue.place("before") == 0 })
	do(t, ctx, chromedp.SetValue("#command", "echo my turn"), chromedp.Click("#run"))
	until(t, ctx, "document.querySelector('#status').textContent === 'Waiting: 1 run is before yours.'")
	for _, l := range leave {
		l()
	}
	<-passed
	until(t, ctx, "document.querySelector('#panes .output').textContent.includes('my turn')")
	if got := value[string](t, ctx, "document.querySelector('#status').textContent"); got != "Done; 1 stood before in the queue." {
		t.Errorf("it says %q", got)
	}

	// A link sets the board and runs nothing.
	do(t, ctx, chromedp.Evaluate("location.hash = '#board?off=net,pid&root=1&cmd=id'", nil))
	until(t, ctx, "document.querySelector('#status').textContent.includes('read both')")
	if got := value[string](t, ctx, "[...document.querySelectorAll('#steps input:not(:checked)')].map(e => e.id.slice(5)).join(' ') + ' ' + document.querySelector('#root').checked + ' ' + document.querySelector('#panes .output').textContent"); !strings.HasPrefix(got, "pid net time proc true") || !strings.Contains(got, "my turn") {
		t.Errorf("the link gives %s", got)
	}

	// 400 pixels.
	do(t, ctx, chromedp.EmulateViewport(400, 800), chromedp.Click("#all-on"), chromedp.SetValue("#command", "sh -c 'hostname; id -u'"), chromedp.Click("#step-uts"), chromedp.Click("#run"))
	until(t, ctx, "document.querySelectorAll('.pane .differs').length == 2")
	if got := value[string](t, ctx, "[...document.querySelectorAll('.pane .ran')].map(e => e.textContent).join('; ')"); got != "sbx run --skip uts -u 0 -- sh -c 'hostname; id -u'; sbx run -u 0 -- sh -c 'hostname; id -u'" {
		t.Errorf("the lines are %s", got)
	}
	fits(t, ctx, "board at 400")
	do(t, ctx, chromedp.Evaluate("scrollTo(0, 0)", nil), shot("board-narrow"))
}

// The keyboard alone: to the switches, the command and the lessons.
func TestBrowserKeyboard(t *testing.T) {
	s := start(t, false)
	ctx := browser(t)
	page(t, ctx, s, 1280, 720)
	at := func() string {
		return value[string](t, ctx, "(e => e.id || e.textContent.trim() || e.tagName)(document.activeElement)")
	}
	var seen []string
	for range 34 {
		do(t, ctx, chromedp.KeyEvent(kb.Tab))
		seen = append(seen, at())
		if !value[bool](t, ctx, "(e => e === document.body || e.matches('.skip') || getComputedStyle(e).outlineStyle !== 'none')(document.activeElement)") {
			t.Errorf("the focus on %s cannot be seen", at())
		}
		if at() == "run" {
			break
		}
	}
	want := []string{"To the content", "to-board", "to-lessons", "name", "Save", "all-on"}
	if len(seen) < 7 || !slices.Equal(seen[:6], want) || seen[6] != "step-env" || seen[len(seen)-1] != "run" {
		t.Fatalf("the order is %q", seen)
	}
	// Back to a switch, off, and r runs.
	do(t, ctx, chromedp.Focus("#step-uts"), chromedp.KeyEvent(" "))
	if value[bool](t, ctx, "document.querySelector('#step-uts').checked") {
		t.Fatal("Space does not switch")
	}
	if got := value[string](t, ctx, "document.querySelector('#about').textContent"); !strings.HasPrefix(got, "uts a UTS namespace") {
		t.Errorf("of the switch is said %q", got)
	}
	do(t, ctx, chromedp.KeyEvent("r"))
	until(t, ctx, "document.querySelectorAll('.pane .differs').length == 2")
	do(t, ctx, chromedp.KeyEvent("/"))
	if at() != "command" {
		t.Errorf("/ goes to %s", at())
	}
	do(t, ctx, chromedp.KeyEvent("gl"), chromedp.Blur("#command"), chromedp.KeyEvent("gl"))
	until(t, ctx, "!document.querySelector('#lessons').hidden")
	if got := value[string](t, ctx, "document.querySelector('#command').value"); !strings.HasSuffix(got, "gl") {
		t.Errorf("keys typed into the command are lost: %s", got)
	}
}

func TestBrowserLesson(t *testing.T) {
	s := start(t, false)
	ctx := browser(t)
	page(t, ctx, s, 1280, 720)
	do(t, ctx, chromedp.SetValue("#name", "Ada L."), chromedp.Click("#name-form button"))
	until(t, ctx, "document.querySelector('#name-shown').textContent === 'Ada L.' && document.querySelector('#name-form').hidden")
	do(t, ctx, chromedp.Click("#to-lessons"), chromedp.WaitVisible("#lesson-list a"))
	fits(t, ctx, "lessons")
	readable(t, ctx, "lessons")
	do(t, ctx, shot("lessons"), chromedp.Click("#lesson-list a[href='#lesson/04-uts']"), chromedp.WaitVisible("#predict fieldset"))
	if !value[bool](t, ctx, "document.querySelector('#experiment').disabled") {
		t.Error("the experiment can be run before the prediction")
	}
	do(t, ctx, chromedp.Click("#predict input[value='1']"), chromedp.Click("#predict button"))
	until(t, ctx, "!document.querySelector('#experiment').disabled && document.querySelector('#predict-result').textContent.startsWith('✗')")
	do(t, ctx, chromedp.Click("#experiment"))
	until(t, ctx, "document.querySelectorAll('#experiment-panes .end').length == 2")
	// Wrong, a hint, right.
	do(t, ctx, chromedp.Click("#check"))
	until(t, ctx, "document.querySelector('#check-status').textContent.includes('Not yet')")
	if got := value[string](t, ctx, "document.querySelector('#answer-pane').textContent"); !strings.Contains(got, "hostname: you must be root") {
		t.Errorf("of the answer is seen %q", got)
	}
	do(t, ctx, chromedp.Click("#hint"))
	if value[int](t, ctx, "document.querySelectorAll('#hints li').length") != 1 {
		t.Error("there is no hint")
	}
	fits(t, ctx, "lesson")
	readable(t, ctx, "lesson")
	do(t, ctx, chromedp.Evaluate("scrollTo(0, 0)", nil), shot("lesson"), dark(true), shot("lesson-dark"), dark(false))
	do(t, ctx, chromedp.SetValue("#answer", "sbx run --profile teaching -- hostname box"), chromedp.Click("#check"))
	until(t, ctx, "document.querySelector('#check-status').textContent.includes('Right') && !document.querySelector('#next').hidden")
	do(t, ctx, chromedp.EmulateViewport(400, 800))
	fits(t, ctx, "lesson at 400")
	do(t, ctx, chromedp.Evaluate("scrollTo(0, 0)", nil), dark(true), shot("lesson-narrow"), dark(false))

	// Every lesson fits and can be read; the capstone's box keeps its secret.
	for _, l := range lessons.All() {
		do(t, ctx, chromedp.Evaluate("location.hash = '#lesson/"+l.ID()+"'", nil))
		until(t, ctx, "lesson && lesson.id === '"+l.ID()+"'")
		fits(t, ctx, l.ID()+" at 400")
		if l.File != "" {
			// A file is typed into a field of several lines.
			if got := value[string](t, ctx, "document.querySelector('#answer').hidden + ' ' + document.querySelector('#answer-file').value"); got != "true "+l.Answer {
				t.Errorf("%s: the answer is shown as %q", l.ID(), got)
			}
			do(t, ctx, chromedp.SetValue("#answer-file", "FROM host\nRUN echo 'out of tea'; false\n"), chromedp.Click("#check"))
			until(t, ctx, "document.querySelector('#check-status').textContent.includes('Not yet') && document.querySelector('#answer-pane').textContent.includes('| out of tea')")
			fits(t, ctx, l.ID()+" at 400, checked")
			do(t, ctx, shot("lesson-file"))
		} else if value[bool](t, ctx, "document.querySelector('#answer').hidden || !document.querySelector('#answer-file').hidden") {
			t.Errorf("%s: the answer is not one line", l.ID())
		}
		if len(l.Secrets) == 0 {
			continue
		}
		do(t, ctx, chromedp.SetValue("#box-command", "cat /proc/self/status"), chromedp.Click("#box-form button"))
		until(t, ctx, "document.querySelector('#experiment-panes .output').textContent.includes('CapEff')")
		if text := value[string](t, ctx, "document.querySelector('#experiment-panes').textContent"); strings.Contains(text, "skip") {
			t.Errorf("the box tells: %s", text)
		}
	}

	// The teacher sees it, and a name stays text.
	do(t, ctx, chromedp.Click("#name-change"), chromedp.SetValue("#name", "Ada <b>L.</b>"), chromedp.Click("#name-form button"))
	until(t, ctx, "document.querySelector('#name-shown').textContent === 'Ada <b>L.</b>'")
	do(t, ctx, chromedp.EmulateViewport(1280, 720), chromedp.Navigate(s.url("/teacher?token="+s.config.TeacherToken)), chromedp.WaitVisible("#table tbody tr"))
	if got := value[string](t, ctx, "document.querySelector('#table tbody tr').textContent"); !strings.HasPrefix(got, "Ada <b>L.</b>1 of") || !strings.Contains(got, "✓") {
		t.Errorf("the teacher sees %s", got)
	}
	fits(t, ctx, "teacher")
	readable(t, ctx, "teacher")
	do(t, ctx, shot("teacher"))
}

// A class on another machine sees which switches stay on, and why.
func TestBrowserFar(t *testing.T) {
	s := start(t, true)
	ctx := browser(t)
	page(t, ctx, s, 1280, 720)
	do(t, ctx, chromedp.Click("#step-root"))
	if !value[bool](t, ctx, "document.querySelector('#step-root').checked && document.querySelector('#keep').disabled && document.querySelector('#about').textContent.includes('Stays on here')") {
		t.Error("root is not locked, or nobody says why")
	}
	do(t, ctx, chromedp.Click("#step-uts"), chromedp.Click("#run"))
	until(t, ctx, "document.querySelectorAll('.pane .differs').length == 2")
	readable(t, ctx, "board from afar")
	do(t, ctx, shot("board-far"))
}
