package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// admin answers what operators ask.
func (s *server) admin(w http.ResponseWriter, r *http.Request) bool {
	path := strings.TrimPrefix(r.URL.Path, "/api/v1")
	note := func() {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(s.log, "%s %s %s\n", r.Method, path, body)
	}
	fail := func(status int, code, detail string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"code":%q,"detail":%q}`, code, detail)
	}
	switch r.Method + " " + path {
	case "GET /tokens":
		fmt.Fprint(w, `{"tokens":[{"id":"AAAAAAAA","name":"admin","scopes":["admin"],"created_at":null,"expires_at":null,"last_used":null},`+
			`{"id":"BBBBBBBB","name":"web-app","scopes":["chat","tasks:read"],"created_at":"2026-01-01T00:00:00.000Z","expires_at":"2027-01-01T00:00:00.000Z","last_used":null},`+
			`{"id":"DDDDDDDD","name":"bot","scopes":["chat"]},{"id":"EEEEEEEE","name":"bot","scopes":["chat"]}],"next_cursor":""}`)
	case "POST /tokens":
		note()
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"id":"CCCCCCCC","name":"web-app","scopes":["chat"],"token":"ngt_CCCCCCCC_secret"}`)
	case "DELETE /tokens/BBBBBBBB", "DELETE /tokens/CCCCCCCC":
		note()
		w.WriteHeader(http.StatusNoContent)
	case "DELETE /tokens/none", "DELETE /tokens/web-app", "DELETE /tokens/bot":
		fail(http.StatusNotFound, "not_found", fmt.Sprintf("there is no token %q", strings.TrimPrefix(path, "/tokens/")))
	case "POST /backup":
		note()
		switch s.task.Kind {
		case "backup.cut": // less than it promised
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "SQLite format 3, or a part of it")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "backup.refused":
			fail(http.StatusConflict, "conflict", "the store is PostgreSQL, which the runtime does not back up: use pg_dump on its database")
		default:
			fmt.Fprintln(w, "SQLite format 3")
		}
	case "POST /plugins/demo/reload", "POST /plugins/demo/disable":
		note()
		fmt.Fprint(w, `{"name":"demo","version":"1.0.1","carrier":"wasm","state":"ready","kinds":[{"kind":"demo.echo"}]}`)
	case "POST /plugins/none/reload":
		fail(http.StatusNotFound, "not_found", `there is no plugin "none" in config.hcl`)
	default:
		return false
	}
	return true
}
