package sdktest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/process"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

func TestMain(m *testing.M) {
	process.Supervise()
	os.Exit(m.Run())
}

// TestDemo runs the same cases over both carriers.
func TestDemo(t *testing.T) {
	manifests := map[string]string{}
	sdktest.Carriers(t, "github.com/nagatha/nagatha-runtime/plugins/demo", sdktest.Options{Instances: 2, Memory: 512 << 20}, func(t *testing.T, p sdktest.Plugin) {
		sdktest.Conformance(t, p)
		b, err := json.Marshal(p.Info())
		if err != nil {
			t.Fatal(err)
		}
		manifests[p.Name] = string(b)
		t.Run("echo", func(t *testing.T) { testEcho(t, p) })
		t.Run("countdown", func(t *testing.T) { testCountdown(t, p) })
		t.Run("stream", func(t *testing.T) { testStream(t, p) })
		t.Run("fail", func(t *testing.T) { testFail(t, p) })
		t.Run("fetch", func(t *testing.T) { testFetch(t, p) })
		t.Run("publish", func(t *testing.T) { testPublish(t, p) })
		t.Run("durable", func(t *testing.T) { testDurable(t, p) })
		t.Run("cancel", func(t *testing.T) { testCancel(t, p) })
		t.Run("parallel", func(t *testing.T) { testParallel(t, p) })
		t.Run("crash", func(t *testing.T) { testCrash(t, p) })
		t.Run("stuck", func(t *testing.T) { testStuck(t, p) })
	})
	if manifests["process"] != manifests["wasm"] {
		t.Errorf("the manifests differ:\n%s\n%s", manifests["process"], manifests["wasm"])
	}
}

func testEcho(t *testing.T, p sdktest.Plugin) {
	for _, payload := range []string{`{"hello":"world"}`, `[1,2,3]`, `null`, `"` + strings.Repeat("ä", 100_000) + `"`} {
		if got, err := p.Run(t, "demo.echo", payload, sdktest.NewHost()); got != payload || err != nil {
			t.Errorf("echo of %.20s: %.20s, %v", payload, got, err)
		}
	}
}

func testCountdown(t *testing.T, p sdktest.Plugin) {
	host := sdktest.NewHost()
	got, err := p.Run(t, "demo.countdown", `{"steps":3,"interval":"1ms"}`, host)
	if got != `{"steps":3}` || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	var want []string
	for i := 1; i <= 3; i++ {
		want = append(want, fmt.Sprintf("progress %d/3 step %d", i, i), fmt.Sprintf("output stdout step %d of 3\n", i))
	}
	if lines := host.Lines(); !slices.Equal(lines, want) {
		t.Errorf("said %q", lines)
	}
}

func testStream(t *testing.T, p sdktest.Plugin) {
	host := sdktest.NewHost()
	if got, err := p.Run(t, "demo.stream", `{"text":"Grüße, Welt","chunk":4}`, host); got != `{"characters":11}` || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	if want := []string{"output text Grüß", "output text e, W", "output text elt"}; !slices.Equal(host.Lines(), want) {
		t.Errorf("said %q", host.Lines())
	}
}

func testFail(t *testing.T, p sdktest.Plugin) {
	_, err := p.Run(t, "demo.fail", `{"times":1,"message":"no"}`, sdktest.NewHost())
	if e := sdk.AsError(err); e.Code != sdk.CodeHandlerError || e.Message != "no" || !e.Retryable {
		t.Errorf("first attempt: %+v", e)
	}
	second := sdktest.Task("demo.fail", `{"times":1}`)
	second.Attempt = 2
	if got, err := p.Handle(t.Context(), second, sdktest.NewHost()); string(got) != `{"attempts":2}` || err != nil {
		t.Errorf("second attempt: %s, %v", got, err)
	}
	_, err = p.Run(t, "demo.fail", `{"permanent":true}`, sdktest.NewHost())
	if e := sdk.AsError(err); e.Retryable {
		t.Errorf("permanent: %+v", e)
	}
	if _, err = p.Run(t, "demo.fail", `{"tmies":1}`, sdktest.NewHost()); sdk.CodeOf(err) != sdk.CodeInvalidPayload {
		t.Errorf("an unknown field: %v", err)
	}
}

func testFetch(t *testing.T, p sdktest.Plugin) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, strings.Repeat("tea ", 20_000))
	}))
	defer srv.Close()
	got, err := p.Run(t, "demo.fetch", `{"url":"`+srv.URL+`"}`, sdktest.NewHost())
	var r struct {
		Status int
		Body   string
	}
	if err != nil || json.Unmarshal([]byte(got), &r) != nil || r.Status != http.StatusTeapot || len(r.Body) != 80_000 {
		t.Errorf("got %d, %d bytes, %v", r.Status, len(r.Body), err)
	}
	denied := sdktest.NewHost()
	denied.Denied[sdk.OpHTTPStart] = true
	if _, err := p.Run(t, "demo.fetch", `{"url":"`+srv.URL+`"}`, denied); sdk.CodeOf(err) != sdk.CodeCapabilityDenied {
		t.Errorf("without a grant: %v", err)
	}
}

func testPublish(t *testing.T, p sdktest.Plugin) {
	host := sdktest.NewHost()
	if got, err := p.Run(t, "demo.publish", `{"type":"demo.ping","data":{"n":1}}`, host); got != `{"id":"evt_1"}` || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	if len(host.Published) != 1 || host.Published[0].Type != "demo.ping" || string(host.Published[0].Data) != `{"n":1}` {
		t.Errorf("published %+v", host.Published)
	}
	if got, err := p.Run(t, "demo.pong", `{"event":{"id":"1","type":"demo.ping"}}`, host); got != `{"id":"1","type":"demo.ping"}` || err != nil {
		t.Errorf("pong: %s, %v", got, err)
	}
}

func testCancel(t *testing.T, p sdktest.Plugin) {
	start := time.Now()
	_, err := p.RunFor(t, 50*time.Millisecond, 10*time.Second, "demo.countdown", `{"steps":100,"interval":"1s"}`, sdktest.NewHost())
	if e := sdk.AsError(err); e == nil || !strings.Contains(e.Message, sdktest.ErrStopped.Error()) {
		t.Errorf("the handler was not told: %v", err)
	}
	if d := time.Since(start); d > 9*time.Second { // before it was killed
		t.Errorf("it took %v to stop", d)
	}
}

func testParallel(t *testing.T, p sdktest.Plugin) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			payload := fmt.Sprintf(`{"n":%d}`, i)
			if got, err := p.Run(t, "demo.echo", payload, sdktest.NewHost()); got != payload || err != nil {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
	wg.Wait()
}

func testCrash(t *testing.T, p sdktest.Plugin) {
	for how, want := range map[string]sdk.Code{"panic": sdk.CodeHandlerError, "exit": sdk.CodePluginCrashed, "oom": sdk.CodeOutOfMemory} {
		t.Run(how, func(t *testing.T) {
			c := sdktest.Plugin{Carrier: p.Launch(t), Name: p.Name}
			_, err := c.Run(t, "demo.crash", `{"how":"`+how+`"}`, sdktest.NewHost())
			if sdk.CodeOf(err) != want || !sdk.AsError(err).Retryable {
				t.Fatalf("got %v, want %s", err, want)
			}
			if how == "oom" && p.Name == "wasm" && !strings.Contains(err.Error(), "limits.memory allows it") {
				t.Errorf("it does not name the setting: %v", err)
			}
			if p.Name == "process" && how != "panic" {
				<-c.Done() // the process is gone, and the runtime starts another
				return
			}
			if got, err := c.Run(t, "demo.echo", `1`, sdktest.NewHost()); got != "1" || err != nil {
				t.Errorf("the next attempt: %s, %v", got, err)
			}
		})
	}
}

func testStuck(t *testing.T, p sdktest.Plugin) {
	for _, how := range []string{"spin", "deadlock"} {
		t.Run(how, func(t *testing.T) {
			c := sdktest.Plugin{Carrier: p.Launch(t), Name: p.Name}
			start := time.Now()
			_, err := c.RunFor(t, 100*time.Millisecond, 100*time.Millisecond, "demo.crash", `{"how":"`+how+`"}`, sdktest.NewHost())
			if !errors.Is(err, sdktest.ErrStopped) {
				t.Errorf("got %v", err)
			}
			if d := time.Since(start); d > 20*time.Second {
				t.Errorf("it took %v", d)
			}
			if p.Name == "process" {
				<-c.Done()
			} else if got, err := c.Run(t, "demo.echo", `1`, sdktest.NewHost()); got != "1" || err != nil {
				t.Errorf("the next attempt: %s, %v", got, err)
			}
		})
	}
}
