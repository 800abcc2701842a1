package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
)

// page is what a person sees who opens the server in a browser: that it runs and
// how to connect. It says nothing that needs a token.
type page struct {
	tmpl   *template.Template
	policy string
}

const pageStyle = `body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem;color-scheme:light dark}
code,pre{font:14px/1.5 ui-monospace,monospace}pre{padding:1rem;border:1px solid #8886;border-radius:6px;overflow-x:auto}
h1{font-size:1.6rem}dt{font-weight:600;margin-top:.6rem}dd{margin:0}`

const pageText = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Nagatha Runtime</title><style>{{.Style}}</style></head>
<body>
<h1>Nagatha Runtime is running</h1>
<p>It runs tasks on plugins and streams what they do. Clients need a token; the first one is in the file
<code>{{.TokenFile}}</code> of the server’s data directory.</p>
<dl>
<dt>WebSocket</dt><dd><code>ws://{{.Host}}{{.WS}}</code>, JSON-RPC 2.0, subprotocol <code>{{.Subprotocol}}</code></dd>
<dt>REST</dt><dd><code>http://{{.Host}}/api/v1</code>, described by <a href="{{.OpenAPI}}">{{.OpenAPI}}</a></dd>
<dt>Health</dt><dd><a href="/healthz">/healthz</a>, <a href="/readyz">/readyz</a></dd>
</dl>
<h2>Run a first task</h2>
<pre>TOKEN=$(cat data/{{.TokenFile}})
curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \
  "http://{{.Host}}/api/v1/tasks?wait=30s" \
  -d '{"kind":"demo.countdown","payload":{"steps":3}}'</pre>
<p>Or with the command line client: <code>nagatha submit demo.countdown --follow</code></p>
</body>
</html>
`

func newPage() (*page, error) {
	tmpl, err := template.New("page").Parse(pageText)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(pageStyle))
	return &page{tmpl, "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}, nil
}

func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var b bytes.Buffer
	err := p.tmpl.Execute(&b, map[string]any{
		"Style": template.CSS(pageStyle), "TokenFile": TokenFile, "Host": r.Host,
		"WS": wsPath, "Subprotocol": subprotocol, "OpenAPI": openAPIPath + ".json",
	})
	if err != nil {
		panic(err) // front answers and logs
	}
	w.Header().Set("Content-Security-Policy", p.policy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // a peer that has gone needs no answer
}
