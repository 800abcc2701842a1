package process_test

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// TestNode: the plugin in Node that docs/plugins.md speaks of.
func TestNode(t *testing.T) {
	install := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	install.Dir = "testdata/node"
	if out, err := install.CombinedOutput(); err != nil {
		if os.Getenv("NAGATHA_NO_SKIP") != "" {
			t.Fatalf("needs Node and npm: %v\n%s", err, out)
		}
		t.Skipf("SKIPPED: needs Node and npm: %v", err)
	}
	cfg := config(t, "")
	cfg.Command = []string{"node", "testdata/node/greet.js", "../wire/nagatha.proto"}
	p := launch(t, cfg)
	if err := p.Configure(t.Context(), []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	if h := p.Info().Handlers; p.Info().Name != "node" || len(h) != 1 || h[0].Kind != "node.greet" {
		t.Errorf("manifest %+v", p.Info())
	}
	greet := func(payload string) (string, error) {
		host := sdktest.NewHost()
		host.Now = func() sdk.Time { return sdk.TimeOf(time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)) }
		got, err := p.Handle(t.Context(), &sdk.Task{ID: "tsk_1", Kind: "node.greet", Payload: []byte(payload), Life: 1, Attempt: 1, MaxAttempts: 5}, host)
		return string(got), err
	}
	if got, err := greet(`{"name":"Ann"}`); got != `{"text":"Hello, Ann","year":2026}` || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := greet(`null`); sdk.CodeOf(err) != sdk.CodeHandlerError || !sdk.AsError(err).Retryable {
		t.Errorf("got %v", err)
	}
}
