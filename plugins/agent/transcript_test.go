package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// readsCounted counts what is read from the store.
type readsCounted struct {
	*world
	bytes int
}

func (c *readsCounted) Call(ctx context.Context, op string, request []byte) ([]byte, error) {
	b, err := c.world.Call(ctx, op, request)
	if op == sdk.OpKVList {
		c.bytes += len(b)
	}
	return b, err
}

// TestTurnReadsWhatIsNew: a turn late in a conversation reads no more than one at its
// beginning.
func TestTurnReadsWhatIsNew(t *testing.T) {
	w := setup(t, `{}`)
	w.model.say = func(_ int, _ Request, on func(Delta)) (Reply, error) {
		return text(strings.Repeat("There is this and that. ", 20), on)
	}
	read := func() int {
		c := &readsCounted{world: w}
		w.fresh()
		if _, err := newPlugin(w.agent).Handle(t.Context(), w.task("chat", `{"session":"s","message":"what is new?"}`), c); err != nil {
			t.Fatal(err)
		}
		return c.bytes
	}
	read()
	early := read()
	for range 20 {
		read()
	}
	if late := read(); late > early+100 {
		t.Errorf("turn 2 read %d bytes, turn 23 %d", early, late)
	}
	if n := len(w.model.last().Messages); n != 45 { // a server sees all of it
		t.Errorf("%d messages are sent", n)
	}
}

// TestTranscriptIsTheConversation: what a plugin sends that has spoken in the session
// before is what one sends that reads all of it from the store, whatever became of
// earlier turns.
func TestTranscriptIsTheConversation(t *testing.T) {
	for _, provider := range []string{providerOpenAI, providerAnthropic} {
		t.Run(provider, func(t *testing.T) {
			var body []byte
			var replies []string
			s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				body, _ = io.ReadAll(r.Body)
				stream, err := os.ReadFile("testdata/streams/" + provider + "/" + replies[0] + ".sse")
				if err != nil {
					t.Error(err)
				}
				replies = replies[1:]
				rw.Header().Set("Content-Type", "text/event-stream")
				_, _ = rw.Write(stream)
			}))
			defer s.Close()
			w := setup(t, `{}`)
			w.chatOver(s.URL, provider)
			knows := w.agent
			// said takes a turn, and returns its last request without its head, which tells the time.
			said := func(turn int, script ...string) string {
				replies = script
				w.fresh()
				task := w.task("chat", fmt.Sprintf(`{"session":"s","message":"turn %d \"\u00e9\\n"}`, turn))
				task.Attempt = 2 // so that a call is made once
				_, err := w.handle(t.Context(), task)
				if broken := script[len(script)-1] == "truncated"; broken != (err != nil) {
					t.Fatalf("turn %d: %v", turn, err)
				}
				var m struct{ Messages []json.RawMessage }
				if err := json.Unmarshal(body, &m); err != nil {
					t.Fatalf("%v: %s", err, body)
				}
				if provider == providerOpenAI {
					m.Messages = m.Messages[1:]
				}
				return fmt.Sprintf("%s", m.Messages)
			}
			for turn, script := range [][]string{{"text"}, {"parallel", "text"}, {"truncated"}, {"parallel", "truncated"}, {"text"}, {"max-tokens"}, {"text"}} {
				if script[0] == "max-tokens" && provider == providerOpenAI {
					script[0] = "length"
				}
				before := maps.Clone(w.Items)
				w.agent = &agent{}
				w.chatOver(s.URL, provider)
				want := said(turn, script...)
				w.Items, w.agent = before, knows
				if got := said(turn, script...); got != want {
					t.Errorf("turn %d:\n got %s\nwant %s", turn, got, want)
				}
			}
			if len(knows.transcripts.kept) != 1 {
				t.Errorf("%d transcripts are kept", len(knows.transcripts.kept))
			}
		})
	}
}

// chatOver lets the agent speak with a server.
func (w *world) chatOver(url, provider string) {
	w.Helper()
	if err := w.agent.configure(w.Context(), json.RawMessage(fmt.Sprintf(`{"provider":%q,"model":"m","base_url":%q}`, provider, url+"/v1"))); err != nil {
		w.Fatal(err)
	}
}

// TestTranscriptOfAnotherSession: one that was deleted and made anew under the same name
// does not begin with what was said before.
func TestTranscriptOfAnotherSession(t *testing.T) {
	w := setup(t, `{}`)
	w.model.say = func(_ int, _ Request, on func(Delta)) (Reply, error) { return text("hello", on) }
	w.chat("s", "a secret")
	w.chat("s", "another secret")
	first := w.agent // another copy of the plugin deletes it, and speaks there
	w.agent = &agent{config: first.config, known: &known{}, model: w.model}
	s, err := findSession(t.Context(), w.Host, "s")
	if err != nil {
		t.Fatal(err)
	}
	for sdk.Now() == s.CreatedAt { // no turn is as fast as this one
		runtime.Gosched()
	}
	w.run("delete_session", `{"session":"s"}`)
	w.chat("s", "hello")
	w.chat("s", "hello again")
	w.agent = first
	w.chat("s", "who are you?")
	for _, m := range w.model.last().Messages {
		if strings.Contains(m.Text, "secret") {
			t.Errorf("the model is told %q", m.Text)
		}
	}
	if n := len(w.model.last().Messages); n != 5 {
		t.Errorf("%d messages are sent, want 5", n)
	}
}

// TestTranscriptsAreBounded: few are kept, those that were used last.
func TestTranscriptsAreBounded(t *testing.T) {
	var k transcripts
	for i := range 2 * maxTranscripts {
		p := k.take(&session{ID: fmt.Sprint(i)}, 1)
		p.json = make([]byte, 10)
		k.keep(fmt.Sprint(i), p)
	}
	if len(k.kept) != maxTranscripts || k.kept[fmt.Sprint(2*maxTranscripts-1)] == nil {
		t.Errorf("%d are kept", len(k.kept))
	}
	big := k.take(&session{ID: "big"}, 1)
	big.json = make([]byte, maxTranscriptBytes)
	k.keep("big", big)
	if len(k.kept) != 1 || k.kept["big"] != big {
		t.Errorf("%d are kept beside a large one", len(k.kept)-1)
	}
	big.upTo = 7
	if p := k.take(&session{ID: "big"}, 7); p == big {
		t.Error("it goes beyond the turn's beginning")
	}
	k.keep("big", big)
	if p := k.take(&session{ID: "big"}, 8); p != big || len(k.kept) != 0 {
		t.Errorf("it was not taken, %d are kept", len(k.kept))
	}
}
