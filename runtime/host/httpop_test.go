package host

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// engineHost is the engine's end: it records what gets through.
type engineHost struct {
	calls []string
	reply string // default {}
}

func (*engineHost) Progress(float64, float64, string) {}
func (*engineHost) Log(slog.Level, string, ...any)    {}
func (*engineHost) Output(string, []byte)             {}
func (e *engineHost) Call(_ context.Context, op string, _ []byte) ([]byte, error) {
	e.calls = append(e.calls, op)
	return []byte(cmp.Or(e.reply, "{}")), nil
}

func newGuard(t *testing.T, grant Grant) (*guard, *engineHost, *[]Audit) {
	t.Helper()
	var audits []Audit
	h := &Host{log: slog.New(slog.DiscardHandler), loaded: make(chan struct{}), cfg: Config{Audit: func(a Audit) { audits = append(audits, a) }}}
	inner := &engineHost{}
	p := newPlugin(h, Plugin{Name: "test", Grant: grant})
	g := &guard{Host: inner, task: &sdk.Task{ID: "tsk_1"},
		version: &version{plugin: p, cfg: p.cfg, client: newHTTPClient(grant), info: sdk.Info{Version: "1"}}}
	t.Cleanup(func() { g.close(); g.version.client.http.CloseIdleConnections() })
	return g, inner, &audits
}

func code(err error) sdk.Code { return sdk.CodeOf(err) }

func TestGuardIsTheOnlyDoor(t *testing.T) {
	g, inner, audits := newGuard(t, Grant{})
	ops := []string{sdk.OpKVGet, sdk.OpKVSet, sdk.OpKVDelete, sdk.OpKVApply, sdk.OpKVList, sdk.OpKVSearch, sdk.OpKVCount, sdk.OpKVClear, sdk.OpPublish,
		sdk.OpHTTPStart, sdk.OpHTTPRead, sdk.OpHTTPClose, sdk.OpSecretGet, sdk.OpSubmit, sdk.OpRun, sdk.OpKindsList, sdk.OpAwait, sdk.OpApprove}
	for _, op := range ops {
		if _, err := g.Call(t.Context(), op, []byte(`{}`)); code(err) != sdk.CodeCapabilityDenied {
			t.Errorf("%s without a grant: %v", op, err)
		}
	}
	if len(*audits) != len(ops) || !(*audits)[0].Denied {
		t.Errorf("audit: %+v", *audits)
	}
	for _, op := range []string{"step", "no.such"} {
		if _, err := g.Call(t.Context(), op, []byte(`{}`)); code(err) != sdk.CodeUnavailable {
			t.Errorf("%s: %v", op, err)
		}
	}
	if len(inner.calls) != 0 {
		t.Errorf("got through: %v", inner.calls)
	}
	for _, op := range []string{sdk.OpTimeNow, sdk.OpRandomRead} {
		if b, err := g.Call(t.Context(), op, []byte(`{"n":8}`)); err != nil || len(b) < 8 {
			t.Errorf("%s: %s, %v", op, b, err)
		}
	}
}

func TestGuardGrants(t *testing.T) {
	g, inner, _ := newGuard(t, Grant{Store: true, Publish: []string{"demo.*"}, Secrets: map[string]string{"KEY": "s3cret"}})
	if _, err := g.Call(t.Context(), sdk.OpKVGet, []byte(`{"key":"a"}`)); err != nil {
		t.Error(err)
	}
	if _, err := g.Call(t.Context(), sdk.OpPublish, []byte(`{"type":"demo.ping"}`)); err != nil {
		t.Error(err)
	}
	if _, err := g.Call(t.Context(), sdk.OpPublish, []byte(`{"type":"other.ping"}`)); code(err) != sdk.CodeCapabilityDenied {
		t.Error(err)
	}
	if strings.Join(inner.calls, " ") != "kv.get publish" {
		t.Errorf("got through: %v", inner.calls)
	}
	if v, err := sdk.Secret(t.Context(), g, "KEY"); v != "s3cret" || err != nil {
		t.Errorf("secret: %q, %v", v, err)
	}
	if _, err := sdk.Secret(t.Context(), g, "OTHER"); code(err) != sdk.CodeCapabilityDenied {
		t.Error(err)
	}
}

// TestKindsAreThoseOfTheGrant: a plugin hears of no kind that it may not submit.
func TestKindsAreThoseOfTheGrant(t *testing.T) {
	g, inner, _ := newGuard(t, Grant{Submit: []string{"memory.*", "demo.echo"}})
	inner.reply = `{"kinds":[{"kind":"demo.echo","plugin":"demo","read_only":true,"available":true},{"kind":"demo.fail"},{"kind":"memory.set"},{"kind":"system.cleanup_old_data"}]}`
	got, err := sdk.Kinds(t.Context(), g)
	if err != nil || len(got) != 2 || got[0].Kind != "demo.echo" || !got[0].ReadOnly || !got[0].Available || got[1].Kind != "memory.set" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, loading := range []bool{true, false} {
		if !loading {
			close(g.version.plugin.host.loaded)
		}
		b, err := g.Call(t.Context(), sdk.OpKindsList, []byte("{}"))
		var r sdk.KindsReply
		if err := errors.Join(err, json.Unmarshal(b, &r)); err != nil || r.Loading != loading {
			t.Errorf("loading %v, want %v: %v", r.Loading, loading, err)
		}
	}
}

func TestHTTPStreams(t *testing.T) {
	next := make(chan string)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Echo", r.Header.Get("X-In"))
		w.WriteHeader(http.StatusAccepted)
		w.(http.Flusher).Flush()
		for s := range next {
			_, _ = io.WriteString(w, s)
			w.(http.Flusher).Flush()
		}
	}))
	defer srv.Close()
	g, _, _ := newGuard(t, Grant{HTTP: []string{srv.Listener.Addr().String()}})
	resp, err := sdk.Fetch(t.Context(), g, sdk.HTTPRequest{URL: srv.URL, Header: map[string][]string{"X-In": {"1"}}})
	if err != nil {
		t.Fatal(err)
	}
	if resp.Status != http.StatusAccepted || resp.Header["X-Echo"][0] != "1" {
		t.Errorf("got %d %v", resp.Status, resp.Header)
	}
	buf := make([]byte, 100)
	for _, s := range []string{"one", "two"} {
		next <- s
		if n, err := resp.Body.Read(buf); string(buf[:n]) != s || err != nil {
			t.Errorf("read %q, %v; want %q", buf[:n], err, s)
		}
	}
	close(next)
	if _, err := resp.Body.Read(buf); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
}

func TestHTTPRefusesWhatIsNotGranted(t *testing.T) {
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the inside was reached") }))
	defer inside.Close()
	_, port, _ := net.SplitHostPort(inside.Listener.Addr().String())
	outside := httptest.NewServer(http.RedirectHandler(inside.URL, http.StatusFound))
	defer outside.Close()

	// The outside is granted literally, the inside by name only.
	g, _, _ := newGuard(t, Grant{HTTP: []string{outside.Listener.Addr().String(), "localhost", "*.localhost", "127.0.0.1"}})
	for _, url := range []string{
		"http://localhost:" + port, "http://127.0.0.1:" + port, outside.URL,
		"http://2130706433:" + port, "http://127.1:" + port, "http://0.0.0.0:" + port, "http://[::ffff:127.0.0.1]:" + port,
		"http://example.invalid/", "http://[::1]:" + port,
	} {
		if _, err := sdk.Fetch(t.Context(), g, sdk.HTTPRequest{URL: url}); code(err) != sdk.CodeCapabilityDenied {
			t.Errorf("%s: %v", url, err)
		}
	}
	for url, req := range map[string]sdk.HTTPRequest{
		"file":     {URL: "file://127.0.0.1/etc/passwd"},
		"user":     {URL: "http://u:p@" + outside.Listener.Addr().String()},
		"relative": {URL: "/x"},
		"host":     {URL: outside.URL, Header: map[string][]string{"hOst": {"evil"}}},
		"method":   {URL: outside.URL, Method: "BAD METHOD"},
	} {
		if _, err := sdk.Fetch(t.Context(), g, req); code(err) != sdk.CodeInvalid && code(err) != sdk.CodeCapabilityDenied {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestHTTPEndsWithTheAttempt(t *testing.T) {
	gone := make(chan struct{})
	once := sync.OnceFunc(func() { close(gone) })
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		once()
	}))
	defer srv.Close()
	g, _, _ := newGuard(t, Grant{HTTP: []string{srv.Listener.Addr().String()}})
	if _, err := sdk.Fetch(t.Context(), g, sdk.HTTPRequest{URL: srv.URL}); err != nil {
		t.Fatal(err)
	}
	g.close()
	<-gone
	if _, err := sdk.Fetch(t.Context(), g, sdk.HTTPRequest{URL: srv.URL}); !errors.Is(err, errAttemptOver) {
		t.Errorf("after the end: %v", err)
	}
}

func TestHTTPHandlesAreBounded(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	g, _, _ := newGuard(t, Grant{HTTP: []string{srv.Listener.Addr().String()}})
	for range maxHandles {
		if _, err := sdk.Fetch(t.Context(), g, sdk.HTTPRequest{URL: srv.URL}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := sdk.Fetch(t.Context(), g, sdk.HTTPRequest{URL: srv.URL}); code(err) != sdk.CodeLimitExceeded {
		t.Errorf("one too many: %v", err)
	}
	if _, err := g.Call(t.Context(), sdk.OpHTTPRead, mustJSON(t, sdk.HTTPRead{Handle: 999})); code(err) != sdk.CodeInvalid {
		t.Errorf("unknown handle: %v", err)
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
