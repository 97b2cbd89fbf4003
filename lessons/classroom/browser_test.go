package classroom

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
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
		if slices.Contains(strings.Split(os.Getenv("SBX_REQUIRE"), ","), "chromium") {
			t.Fatal("SBX_REQUIRE names chromium, and there is none")
		}
		t.Skip("no chromium: apt-get install chromium")
	}
	// Chromium's own sandbox does not start in every container, and what it
	// opens here is this package's page.
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-dev-shm-usage", true))
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
			if e.Entry.Level == log.LevelError && !strings.Contains(e.Entry.Text, "422") {
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

func TestBrowserBoard(t *testing.T) {
	s := start(t, false)
	ctx := browser(t)
	var bad []string
	complaints(ctx, s.host, &bad)
	var left, right, found, drawing string
	var wide bool
	err := chromedp.Run(ctx,
		chromedp.EmulateViewport(1280, 720),
		dark(false),
		chromedp.Navigate(s.url("/?token="+s.config.Token)),
		chromedp.WaitVisible("#step-uts"),
		chromedp.Click("#step-uts"),
		chromedp.Click("#run"),
		chromedp.WaitVisible(".pane"),
		chromedp.WaitVisible("#drawing svg"),
		shot("board"),
		chromedp.Text(".pane:nth-child(1) .output", &left),
		chromedp.Text(".pane:nth-child(2) .output", &right),
		chromedp.Text("#found", &found),
		chromedp.AttributeValue("#drawing svg", "aria-label", &drawing, nil),
		chromedp.Evaluate("document.documentElement.scrollWidth > innerWidth", &wide),
		dark(true),
		shot("board-dark"),
	)
	if err != nil {
		t.Fatal(err)
	}
	if left == right || !strings.Contains(right, "sandbox") {
		t.Errorf("without uts %q, with it %q", left, right)
	}
	if !strings.Contains(found, "UTS namespace of its own") {
		t.Errorf("what differs: %q", found)
	}
	if strings.Contains(drawing, "UTS namespace") || !strings.Contains(drawing, "PID namespace") {
		t.Errorf("the boxes are %q", drawing)
	}
	if wide {
		t.Error("the page scrolls sideways at 1280")
	}
	for _, b := range bad {
		t.Error(b)
	}
}
