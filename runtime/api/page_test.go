package api_test

import (
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// TestPageCommand: the command that the page offers does what it says.
func TestPageCommand(t *testing.T) {
	w := start(t, nil)
	_, page := w.http(http.MethodGet, "/", "", nil)
	_, command, ok := strings.Cut(html.UnescapeString(string(page)), "curl ")
	command, _, _ = strings.Cut(command, "</pre>")
	if !ok {
		t.Fatalf("no command on the page:\n%s", page)
	}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}} // which is curl's own idea
	for _, h := range regexp.MustCompile(`-H "([^:"]+): ([^"]+)"`).FindAllStringSubmatch(command, -1) {
		header.Set(h[1], strings.ReplaceAll(h[2], "$TOKEN", token))
	}
	target := regexp.MustCompile(`"(http://[^"]+)"`).FindStringSubmatch(command)
	body := regexp.MustCompile(`-d '([^']+)'`).FindStringSubmatch(command)
	if target == nil || body == nil {
		t.Fatalf("the command is %s", command)
	}
	resp, text := w.http(http.MethodPost, strings.TrimPrefix(target[1], w.base), strings.ReplaceAll(body[1], "demo.countdown", "bench.echo"), header)
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(text), `"completed"`) {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}
