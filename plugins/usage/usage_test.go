package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// bench is a plugin in this process, with its store.
type bench struct {
	*testing.T
	sdk.Plugin
	host sdk.Host
}

func setup(t *testing.T, config string) *bench {
	t.Helper()
	b := &bench{T: t, Plugin: plugin(), host: sdktest.NewHost()}
	if err := b.Plugin.(sdk.Configurer).Configure(t.Context(), json.RawMessage(config)); err != nil {
		t.Fatal(err)
	}
	return b
}

// doc is a result as JSON.
type doc map[string]any

// at digs a value out: "total.cost_usd", "rows.0.key".
func (d doc) at(path string) any {
	var v any = map[string]any(d)
	for part := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[part]
		case []any:
			i := 0
			if _, err := fmt.Sscan(part, &i); err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func (b *bench) try(kind, payload string) (doc, error) {
	return handle(b.Context(), b.Plugin, b.host, kind, payload)
}

func handle(ctx context.Context, p sdk.Plugin, host sdk.Host, kind, payload string) (doc, error) {
	task := sdktest.Task("usage."+kind, payload)
	got, err := p.Handle(ctx, task, host)
	if err != nil {
		return nil, err
	}
	var d doc
	return d, json.Unmarshal(got, &d)
}

func (b *bench) run(kind, payload string) doc {
	b.Helper()
	d, err := b.try(kind, payload)
	if err != nil {
		b.Fatalf("%s %s: %v", kind, payload, err)
	}
	return d
}

// want compares values of a result: path, value, path, value…
func (b *bench) want(d doc, pairs ...any) {
	b.Helper()
	for i := 0; i < len(pairs); i += 2 {
		want := pairs[i+1]
		if n, ok := want.(int); ok {
			want = float64(n)
		}
		if got := d.at(pairs[i].(string)); got != want {
			b.Errorf("%s is %v, want %v", pairs[i], got, want)
		}
	}
}

func (b *bench) refused(code sdk.Code, kind, payload string) {
	b.Helper()
	if d, err := b.try(kind, payload); sdk.CodeOf(err) != code {
		b.Errorf("%s %s: %v, %v, want %s", kind, payload, d, err, code)
	}
}
