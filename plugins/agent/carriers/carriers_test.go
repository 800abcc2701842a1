// Package carriers tests the agent's model client on both carriers: a plugin of it
// alone (testdata/main.go) calls a server here. It is apart because the race detector
// makes wazero's compiler too slow.
package carriers

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk/process"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

func TestMain(m *testing.M) {
	process.Supervise()
	os.Exit(m.Run())
}

// probe makes the package of the plugin, which exists only for the builds of this
// test: the client's files are those of the agent, which is no library.
func probe(t *testing.T) string {
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{}
	for _, pattern := range []string{"model*.go", "openai.go", "anthropic.go", "sse.go", "body.go", "past.go", "piece.go", "scan.go", "carriers/testdata/main.go"} {
		files, err := filepath.Glob(filepath.Join("..", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				replace[filepath.Join(dir, "probe", filepath.Base(file))] = filepath.Join(dir, file)
			}
		}
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(overlay, b, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOFLAGS", os.Getenv("GOFLAGS")+" -overlay="+overlay)
	return "github.com/nagatha/nagatha-runtime/plugins/agent/carriers/probe"
}

// server says half a text, and then what comes after.
func server(t *testing.T, after func(w io.Writer, r *http.Request)) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, `data: {"choices":[{"index":0,"delta":{"content":"Half a"}}]}`+"\n\n")
		w.(http.Flusher).Flush()
		after(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func stall(_ io.Writer, r *http.Request) { <-r.Context().Done() }

type answer struct{ Text, Stop, Error string }

func ask(t *testing.T, p sdktest.Plugin, host *sdktest.Host, config map[string]string, d time.Duration) answer {
	t.Helper()
	payload, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.RunFor(t, d, time.Minute, "probe.ask", string(payload), host)
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// A module has one thread. While its call waits for the server, the text that has
// come must get out, the idle timer fire, and a cancel arrive.
func TestModelClient(t *testing.T) {
	sdktest.Carriers(t, probe(t), sdktest.Options{}, func(t *testing.T, p sdktest.Plugin) {
		got := ask(t, p, sdktest.NewHost(), map[string]string{"idle": "300ms", "url": server(t, stall)}, time.Minute)
		if got.Text != "Half a" || !strings.Contains(got.Error, "idle_timeout") {
			t.Errorf("a stall: %+v", got)
		}
		got = ask(t, p, sdktest.NewHost(), map[string]string{"url": server(t, stall)}, time.Second)
		if got.Text != "Half a" || !strings.Contains(got.Error, sdktest.ErrStopped.Error()) {
			t.Errorf("cancelled: %+v", got)
		}

		// The server waits until the first piece has been heard; this would hang if the
		// client waited for more. How long that takes is worth knowing.
		var took []time.Duration
		for range 20 {
			host := sdktest.NewHost()
			heard := make(chan time.Duration, 1)
			url := server(t, func(w io.Writer, _ *http.Request) {
				sent := time.Now()
				<-host.Heard()
				heard <- time.Since(sent)
				_, _ = io.WriteString(w, "data: [DONE]\n\n")
			})
			got := ask(t, p, host, map[string]string{"url": url}, time.Minute)
			if got != (answer{Text: "Half a", Stop: "end"}) || !slices.Contains(host.Lines(), "output response Half a") {
				t.Fatalf("%+v, said %q", got, host.Lines())
			}
			took = append(took, <-heard)
		}
		slices.Sort(took)
		t.Logf("from the server's flush to the plugin's output: %v (median of %d)", took[len(took)/2], len(took))
	})
}
