package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" // the one of the specification

// receiver takes webhooks, answering with status; it keeps what it got.
type receiver struct {
	*httptest.Server
	status []int // of the next answers; then 204
	got    []hook
}

type hook struct {
	Header map[string]string `json:"header"`
	Body   string            `json:"body"`
}

func newReceiver(t *testing.T, status ...int) *receiver {
	r := &receiver{status: status}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		h := hook{map[string]string{}, string(b)}
		for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature", "content-type"} {
			h.Header[name] = q.Header.Get(name)
		}
		r.got = append(r.got, h)
		code := http.StatusNoContent
		if len(r.status) > 0 {
			code, r.status = r.status[0], r.status[1:]
		}
		w.WriteHeader(code)
		if code >= 300 {
			_, _ = io.WriteString(w, "not today")
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func withReceiver(t *testing.T, r *receiver) *world {
	w := newWorld(t, `{"default_channels":["phone"],"channels":{"phone":{"url":"`+r.URL+`/hook","secret":"PHONE"}}}`)
	w.host.Secrets["PHONE"] = testSecret
	return w
}

func (w *world) deliveries(id string) (out []delivery) {
	w.Helper()
	b, _ := json.Marshal(w.run("get", `{"id":"`+id+`"}`)["deliveries"])
	if err := json.Unmarshal(b, &out); err != nil {
		w.Fatal(err)
	}
	return out
}

func TestWebhook(t *testing.T) {
	r := newReceiver(t, 500, 429)
	w := withReceiver(t, r)
	id := w.one("create", `{"say":"in 5 seconds stretch"}`)["id"].(string)
	w.advance(time.Minute)
	w.wantDue("stretch@28T09:00:05#1")
	if len(r.got) != 3 {
		t.Fatalf("%d requests, want one and two more", len(r.got))
	}
	for i, h := range r.got {
		mac := hmac.New(sha256.New, must(base64.StdEncoding.DecodeString(strings.TrimPrefix(testSecret, "whsec_"))))
		mac.Write([]byte(h.Header["webhook-id"] + "." + h.Header["webhook-timestamp"] + "." + h.Body))
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); h.Header["webhook-signature"] != want {
			t.Errorf("request %d: signature %s, want %s", i, h.Header["webhook-signature"], want)
		}
		if h.Header["webhook-id"] != id+"_1" || h.Body != r.got[0].Body || h.Header["content-type"] != "application/json" {
			t.Errorf("request %d: %+v", i, h)
		}
	}
	var body struct {
		Type, Timestamp string
		Data            dueEvent
	}
	if err := json.Unmarshal([]byte(r.got[0].Body), &body); err != nil || body.Type != "reminder.due" || body.Timestamp == "" || body.Data.Text != "stretch" || body.Data.ID != id {
		t.Errorf("body %s, %v", r.got[0].Body, err)
	}
	log := w.deliveries(id)
	if len(log) != 2 || log[1].Channel != "phone" || log[1].Status != delivered || log[1].Attempts != 3 || log[1].Error != "" {
		t.Errorf("delivery log %+v", log)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// The signature of the specification's own example.
func TestSignature(t *testing.T) {
	key := must(base64.StdEncoding.DecodeString(strings.TrimPrefix(testSecret, "whsec_")))
	got := sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Standard Webhooks' own JavaScript library takes what we send.
func TestStandardWebhooksLibrary(t *testing.T) {
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not installed")
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "verify.mjs"} {
		b := must(os.ReadFile(filepath.Join("testdata", "verify", name)))
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	install := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=5", "--prefer-offline")
	install.Dir = dir
	if b, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, b)
	}
	r := newReceiver(t)
	w := withReceiver(t, r)
	w.now = sdk.Now() // the library refuses what is older than five minutes
	w.one("create", `{"say":"in 5 seconds Grüße aus Köln"}`)
	w.advance(5 * time.Second)
	if len(r.got) != 1 {
		t.Fatalf("%d requests", len(r.got))
	}
	verify := func(h hook) string {
		cmd := exec.Command("node", "verify.mjs", testSecret)
		cmd.Dir = dir
		cmd.Stdin = strings.NewReader(string(must(json.Marshal(h))))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("verify: %v\n%s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if got := verify(r.got[0]); got != "reminder.due Grüße aus Köln" {
		t.Errorf("the library says %s", got)
	}
	forged := r.got[0]
	forged.Body = strings.Replace(forged.Body, "Köln", "Bonn", 1)
	if got := verify(forged); !strings.HasPrefix(got, "refused") {
		t.Errorf("of a forged one the library says %s", got)
	}
}

func TestWebhookGivenUp(t *testing.T) {
	r := newReceiver(t, 410)
	w := withReceiver(t, r)
	gone := w.one("create", `{"say":"in 5 seconds a"}`)["id"].(string)
	w.advance(10 * time.Second)
	r.status = make([]int, 100)
	for i := range r.status {
		r.status[i] = 503
	}
	down := w.one("create", `{"say":"in 5 seconds b"}`)["id"].(string)
	w.advance(time.Hour)
	for id, want := range map[string]struct {
		attempts int
		text     string
	}{gone: {1, "410 not today"}, down: {16, "503 not today"}} {
		log := w.deliveries(id)
		if len(log) != 2 || log[1].Status != failed || log[1].Attempts != want.attempts || !strings.Contains(log[1].Error, want.text) {
			t.Errorf("delivery log %+v", log)
		}
	}
	if n := w.count("reminder.delivery_failed"); n != 2 {
		t.Errorf("%d events of failed deliveries", n)
	}
	w.wantDue("a@28T09:00:05#1 b@28T09:00:15#1") // the event went out all the same
}

func TestRetryAfter(t *testing.T) {
	now := sdk.TimeOf(time.Date(2026, 1, 28, 9, 0, 0, 0, time.UTC))
	for value, want := range map[string]time.Duration{"30": 30 * time.Second, "Wed, 28 Jan 2026 09:02:00 GMT": 2 * time.Minute,
		"0": 0, "soon": 0, "": 0, "99999999999": 1e6 * time.Second} {
		if got := retryAfter(map[string][]string{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// Whoever may submit tasks cannot have a webhook signed, or a failure told, of what
// never became due.
func TestDeliveryOfNothing(t *testing.T) {
	r := newReceiver(t)
	w := withReceiver(t, r)
	id := w.one("create", `{"say":"in 5 seconds a","channels":[]}`)["id"].(string)
	w.advance(10 * time.Second)
	for _, one := range []string{`"rem_none","occurrence":1,"channel":"phone"`, `"` + id + `","occurrence":2,"channel":"phone"`,
		`"` + id + `","occurrence":1,"channel":"phone"`, `"` + id + `","occurrence":1,"channel":"fax"`} {
		if _, err := w.try("deliver", `{"reminder":`+one+`,"data":{"text":"forged"}}`); sdk.CodeOf(err) != sdk.CodeNotFound {
			t.Errorf("%s: %v", one, err)
		}
	}
	if log := w.deliveries(id); len(log) != 1 || len(r.got) != 0 || w.count("reminder.delivery_failed") != 0 {
		t.Errorf("%d requests, delivery log %+v", len(r.got), log)
	}
}

func TestChannelsAreChecked(t *testing.T) {
	r := newReceiver(t)
	w := withReceiver(t, r)
	for secret, want := range map[string]string{"": "not granted", "hush": "whsec_", "whsec_c2hvcnQ=": "24 to 64 bytes", "whsec_%%%": "base64"} {
		if w.host.Secrets["PHONE"] = secret; secret == "" {
			delete(w.host.Secrets, "PHONE")
		}
		if _, err := w.try("create", `{"say":"in 5 seconds a"}`); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("secret %q: %v, want %q", secret, err, want)
		}
	}
	if _, err := w.try("create", `{"say":"in 5 seconds a","channels":[]}`); err != nil {
		t.Errorf("without channels: %v", err)
	}
	for _, config := range []string{`{"zone":"Mars"}`, `{"keep":"soon"}`, `{"keep":"-1h"}`, `{"channels":{"a":{"url":"ftp://x","secret":"S"}}}`,
		`{"channels":{"a":{"url":"https://user:pw@x/","secret":"S"}}}`, `{"channels":{"a":{"url":"https://x/","secret":""}}}`, `{"default_channels":["a"]}`} {
		if err := plugin().(sdk.Configurer).Configure(t.Context(), json.RawMessage(config)); err == nil {
			t.Errorf("%s passed", config)
		}
	}
}
