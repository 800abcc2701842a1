package runtime_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func TestManifestsOutliveARestart(t *testing.T) {
	typed := sdk.Registration{HandlerInfo: sdk.HandlerInfo{Kind: "t.typed", PayloadSchema: json.RawMessage(`{"type":"object"}`)}, Handler: echo.Handler}
	e := setup(t, runtime.Config{}, typed)
	e.stop()
	e = open(t, e.path, runtime.Config{})
	for end := time.Now().Add(time.Minute); ; { // until Run has read them
		out, err := e.Submit(t.Context(), "", []sdk.Submission{{Kind: "t.typed", Payload: json.RawMessage(`1`)}})
		if err == nil && out[0].Err != nil && out[0].Err.Code == sdk.CodeInvalid {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the schema is forgotten: %+v, %v", out, err)
		}
	}
}

// TestKindsList: a plugin hears of the kinds of all, and which are there.
func TestKindsList(t *testing.T) {
	lists := handler("t.lists", func(ctx context.Context, _ *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		list, err := sdk.Kinds(ctx, h)
		if err != nil {
			return nil, err
		}
		return json.Marshal(list)
	})
	read := echo
	read.Kind, read.ReadOnly, read.PayloadSchema = "t.read", true, json.RawMessage(`{"type":"object"}`)
	e := setup(t, runtime.Config{}, lists, read)
	other := echo
	other.Kind = "other.echo"
	if err := e.SetPlugin(t.Context(), runtime.Plugin{Name: "other", Plugin: sdk.New(sdk.Info{Name: "other", Version: "1"}, other)}); err != nil {
		t.Fatal(err)
	}
	e.RemovePlugin("other")
	var got []sdk.KindInfo
	task := e.wait(e.submit(sdk.Submission{Kind: "t.lists"}).ID)
	if err := json.Unmarshal(task.Result, &got); err != nil {
		t.Fatalf("%v: %s %v", err, task.State, task.Error)
	}
	seen := map[string]sdk.KindInfo{}
	for _, k := range got {
		seen[k.Kind] = k
	}
	if k := seen["t.read"]; !k.Available || !k.ReadOnly || k.Plugin != "t" || string(k.PayloadSchema) != `{"type":"object"}` {
		t.Errorf("t.read: %+v", k)
	}
	if k, known := seen["other.echo"]; !known || k.Available {
		t.Errorf("of a plugin that is gone: %+v, %v", k, known)
	}
	if !slices.IsSortedFunc(got, func(a, b sdk.KindInfo) int { return strings.Compare(a.Kind, b.Kind) }) || len(seen) < 5 {
		t.Errorf("kinds %v", got)
	}
}

// A plugin's default is as bounded as what a client asks for.
func TestManifestWithTooManyAttempts(t *testing.T) {
	info := sdk.Info{Name: "t", Version: "1", Handlers: []sdk.HandlerInfo{{Kind: "t.a", MaxAttempts: 1 << 40}}}
	if err := runtime.CheckManifest(info); err == nil || !strings.Contains(err.Error(), "max_attempts") {
		t.Error(err)
	}
}
