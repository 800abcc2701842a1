package runtime_test

import (
	"encoding/json"
	"testing"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func TestSystemKinds(t *testing.T) {
	e := setup(t, runtime.Config{Plugins: []string{}, Version: "1.2"})
	k := e.wait(e.submit(sdk.Submission{Kind: "system.refresh_status"}).ID)
	var status struct {
		Version string
		Tasks   map[string]int
	}
	if err := json.Unmarshal(k.Result, &status); err != nil || status.Version != "1.2" || status.Tasks["running"] != 1 || k.Plugin != "system" {
		t.Errorf("status %s, %v", k.Result, err)
	}
	if k := e.wait(e.submit(sdk.Submission{Kind: "system.cleanup_old_data"}).ID); string(k.Result) != `{"deleted":0}` {
		t.Errorf("cleanup %s %v", k.Result, k.Error)
	}
	for _, s := range []sdk.Submission{{Kind: "system.none"}, {Kind: "system.refresh_status", Payload: json.RawMessage(`{"x":1}`)}} {
		if out, err := e.Submit(t.Context(), "", []sdk.Submission{s}); err != nil || out[0].Err == nil {
			t.Errorf("%s %s was taken", s.Kind, s.Payload)
		}
	}
}
