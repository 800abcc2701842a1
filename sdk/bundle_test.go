package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

type greeting struct {
	Name string `json:"name"`
}

// A plugin is a bundle of functions over Go types.
func ExampleNew() {
	p := sdk.New(sdk.Info{Name: "hello", Version: "1.0.0"},
		sdk.Func(sdk.HandlerInfo{Kind: "hello.greet"},
			func(ctx context.Context, host sdk.Host, in greeting) (string, error) {
				return "Hello, " + in.Name, nil
			}))

	result, err := p.Handle(context.Background(), &sdk.Task{Kind: "hello.greet", Payload: json.RawMessage(`{"name":"Ada"}`)}, nil)
	fmt.Println(string(result), err)
	// Output: "Hello, Ada" <nil>
}

func TestFuncRefusesWhatDoesNotFit(t *testing.T) {
	p := sdk.New(sdk.Info{Name: "hello", Version: "1"},
		sdk.Func(sdk.HandlerInfo{Kind: "hello.greet"}, func(ctx context.Context, _ sdk.Host, in greeting) (string, error) {
			return sdk.TaskFrom(ctx).ID, nil
		}))
	for _, payload := range []string{`{"nmae":"Ada"}`, `{"name":3}`, `[]`} {
		_, err := p.Handle(t.Context(), &sdk.Task{Kind: "hello.greet", Payload: json.RawMessage(payload)}, nil)
		if !errors.Is(err, &sdk.Error{Code: sdk.CodeInvalidPayload}) {
			t.Errorf("%s: %v", payload, err)
		}
	}
	if got, err := p.Handle(t.Context(), &sdk.Task{ID: "tsk_1", Kind: "hello.greet", Payload: json.RawMessage(`{}`)}, nil); string(got) != `"tsk_1"` {
		t.Errorf("TaskFrom: %s, %v", got, err)
	}
	if _, err := p.Handle(t.Context(), &sdk.Task{Kind: "hello.other"}, nil); !errors.Is(err, &sdk.Error{Code: sdk.CodePluginProtocol}) {
		t.Errorf("unknown kind: %v", err)
	}
}

func TestFuncNamesTheField(t *testing.T) {
	p := sdk.New(sdk.Info{Name: "hello", Version: "1"},
		sdk.Func(sdk.HandlerInfo{Kind: "hello.wait"}, func(context.Context, sdk.Host, struct {
			greeting
			For sdk.Duration `json:"for"`
			At  sdk.Time     `json:"at"`
		}) (any, error) {
			return nil, nil
		}))
	for payload, want := range map[string]string{
		`{"name":"Ada","for":"soon"}`: `payload of hello.wait: for: want a duration such as "30s", not "soon"`,
		`{"for":"1s","at":"noon"}`:    `payload of hello.wait: at: want a time such as "2026-01-31T08:00:00Z", not "noon"`,
	} {
		if _, err := p.Handle(t.Context(), &sdk.Task{Kind: "hello.wait", Payload: json.RawMessage(payload)}, nil); sdk.AsError(err).Message != want {
			t.Errorf("%s: %v", payload, err)
		}
	}
}

func TestAborted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	if sdk.Aborted(ctx) != ctx.Done() {
		t.Error("without a grace the end of the context is the end")
	}
	abort := make(chan struct{})
	ctx = sdk.WithAbort(ctx, abort)
	cancel()
	select {
	case <-sdk.Aborted(ctx):
		t.Error("aborted before the grace was over")
	default:
	}
	close(abort)
	<-sdk.Aborted(ctx)
}

// JSON Schema counts 3.0 as an integer, and many a model and program writes it.
func TestFuncReadsWholeNumbers(t *testing.T) {
	p := sdk.New(sdk.Info{Name: "hello", Version: "1"},
		sdk.Func(sdk.HandlerInfo{Kind: "hello.sum"}, func(_ context.Context, _ sdk.Host, in struct {
			Steps  int            `json:"steps"`
			Sizes  []uint8        `json:"sizes"`
			Factor float64        `json:"factor"`
			Note   string         `json:"note"`
			Any    map[string]any `json:"any"`
		}) (any, error) {
			return in, nil
		}))
	for payload, want := range map[string]string{
		`{"steps":3.0,"sizes":[1e2, 2.50e+2,7],"factor":2.5,"note":"\" 3.0","any":{"x":-4.0}}`: `{"steps":3,"sizes":"ZPoH","factor":2.5,"note":"\" 3.0","any":{"x":-4}}`,
		`{"steps":-0.0}`:  `{"steps":0,"sizes":null,"factor":0,"note":"","any":null}`,
		`{"steps":3.5}`:   `invalid_payload: payload of hello.sum: steps: json: cannot unmarshal number 3.5 into Go struct field .steps of type int`,
		`{"steps":1e30}`:  `invalid_payload: payload of hello.sum: steps: json: cannot unmarshal number 1e30 into Go struct field .steps of type int`,
		`{"sizes":[3e2]}`: `invalid_payload: payload of hello.sum: sizes: json: cannot unmarshal number 300 into Go struct field .sizes of type uint8`,
	} {
		got, err := p.Handle(t.Context(), &sdk.Task{Kind: "hello.sum", Payload: json.RawMessage(payload)}, nil)
		text := string(got)
		if err != nil {
			text = err.Error()
		}
		if text != want {
			t.Errorf("%s: %s, want %s", payload, text, want)
		}
	}
}
