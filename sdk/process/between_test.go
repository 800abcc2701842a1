package process_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// asked is a Host that hands on what it is asked.
type asked struct {
	sdk.Host
	said chan string
}

func (a asked) Call(ctx context.Context, op string, request []byte) ([]byte, error) {
	switch op {
	case "upper":
		return []byte(strings.ToUpper(string(request))), nil
	case "said":
		a.said <- string(request)
		<-ctx.Done() // the end of the plugin ends it
	}
	return nil, context.Cause(ctx)
}

// TestBetween: a plugin calls its host when no task of it runs, and what is then under
// way ends with the plugin.
func TestBetween(t *testing.T) {
	cfg := config(t, "between")
	host := asked{newRecorder(), make(chan string, 1)}
	cfg.Between = host
	p := launch(t, cfg)
	if got := <-host.said; got != `"ABC" <nil>` {
		t.Errorf("it heard %s", got)
	}
	if got, err := p.Handle(t.Context(), task("echo", `1`), newRecorder()); string(got) != "1" || err != nil {
		t.Errorf("a task meanwhile: %s, %v", got, err)
	}
}

// TestNobodyBetween: without a host for it such a call is refused, and no more.
func TestNobodyBetween(t *testing.T) {
	cfg := config(t, "between")
	lines := make(chan string, 10)
	cfg.Log = func(_ slog.Level, line string) { lines <- line }
	p := launch(t, cfg)
	if got := <-lines; !strings.HasPrefix(got, "heard  unavailable: upper") {
		t.Errorf("it heard %q", got)
	}
	if got, err := p.Handle(t.Context(), task("echo", `1`), newRecorder()); string(got) != "1" || err != nil {
		t.Errorf("afterwards: %s, %v", got, err)
	}
}
