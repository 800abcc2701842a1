package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// fileServer is a server of an mcp.json, with the names that the hosts of MCP
// servers commonly use.
type fileServer struct {
	Command        string            `json:"command"`
	Args           []string          `json:"args"`
	Env            map[string]string `json:"env"`
	Cwd            string            `json:"cwd"`
	URL            string            `json:"url"`
	Headers        map[string]string `json:"headers"`
	Type           string            `json:"type"`
	Transport      string            `json:"transport"` // another name of type
	Enabled        *bool             `json:"enabled"`
	Disabled       bool              `json:"disabled"`
	Allow          []string          `json:"allow"`
	Deny           []string          `json:"deny"`
	Protocol       string            `json:"protocol"`
	ConnectTimeout sdk.Duration      `json:"connect_timeout"`
	ListTimeout    sdk.Duration      `json:"list_timeout"`
	CallTimeout    sdk.Duration      `json:"call_timeout"`

	Description string `json:"description"` // for people
}

// readFile reads {"mcpServers": {name: server}}. A name that begins with "_" is a
// comment. ${VAR} and ${VAR:-default} stand for variables of the plugin's
// environment in every text of a server; one that is not set is an error.
func readFile(name string) (map[string]serverConfig, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the servers: %w", err)
	}
	b = bytes.TrimPrefix(b, []byte("\uFEFF")) // some editors begin a file with it
	var doc struct {
		Servers map[string]json.RawMessage `json:"mcpServers"`
	}
	err = json.Unmarshal(b, &doc)
	if err == nil {
		err = single(json.NewDecoder(bytes.NewReader(b)))
	}
	if err != nil {
		return nil, fmt.Errorf("%s%s: %w", name, line(b, err), plain(err))
	}
	if doc.Servers == nil {
		return nil, fmt.Errorf(`%s: want {"mcpServers": {…}}`, name)
	}
	all := map[string]serverConfig{}
	for server, raw := range doc.Servers {
		if strings.HasPrefix(server, "_") {
			continue
		}
		var f fileServer
		if raw, err = expand(raw, os.LookupEnv); err == nil {
			err = strict(raw, &f)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: mcpServers.%s: %w", name, server, err)
		}
		sc, err := f.config()
		if err != nil {
			return nil, fmt.Errorf("%s: mcpServers.%s: %w", name, server, err)
		}
		all[server] = sc
	}
	return all, nil
}

// line says where a syntax error is.
func line(b []byte, err error) string {
	var s *json.SyntaxError
	if errors.As(err, &s) {
		return fmt.Sprintf(":%d", 1+strings.Count(string(b[:min(int(s.Offset), len(b))]), "\n"))
	}
	return ""
}

// single reads one JSON value and refuses an object with the same member twice, of
// which the last would count unseen.
func single(dec *json.Decoder) error {
	t, err := dec.Token()
	if err != nil || t != json.Delim('{') && t != json.Delim('[') {
		return err
	}
	seen := map[json.Token]bool{}
	for dec.More() {
		if t == json.Delim('{') {
			name, err := dec.Token()
			if err != nil {
				return err
			}
			if seen[name] {
				return fmt.Errorf("%q is there twice", name)
			}
			seen[name] = true
		}
		if err := single(dec); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}

func (f fileServer) config() (serverConfig, error) {
	sc := serverConfig{Env: f.Env, Cwd: f.Cwd, URL: f.URL, Headers: f.Headers, Enabled: f.Enabled, Allow: f.Allow, Deny: f.Deny, Protocol: f.Protocol,
		ConnectTimeout: f.ConnectTimeout, ListTimeout: f.ListTimeout, CallTimeout: f.CallTimeout}
	if f.Command != "" {
		sc.Command = append([]string{f.Command}, f.Args...)
	}
	if f.Disabled {
		off := false
		sc.Enabled = &off
	}
	for _, t := range []string{f.Type, f.Transport} {
		switch t {
		case "", "stdio", "http", "streamable-http", "streamableHttp":
		case "sse":
			return sc, fmt.Errorf("the SSE transport is not supported; use the server's streamable HTTP address, often /mcp in place of /sse")
		default:
			return sc, fmt.Errorf("type %q: want stdio or http", t)
		}
		if t == "stdio" && f.URL != "" || t != "" && t != "stdio" && f.URL == "" {
			return sc, fmt.Errorf("type %q: stdio has a command, http has a url", t)
		}
	}
	return sc, nil
}

var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}`)

// expand puts the values of variables into the texts of a JSON document, and not
// into its syntax: a value may hold quotes.
func expand(raw json.RawMessage, lookup func(string) (string, bool)) (json.RawMessage, error) {
	var doc any
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	var err error
	text := func(s string) string {
		return variable.ReplaceAllStringFunc(s, func(ref string) string {
			m := variable.FindStringSubmatch(ref)
			if v, ok := lookup(m[1]); ok && (v != "" || m[2] == "") {
				return v
			}
			if m[2] == "" {
				err = fmt.Errorf("%s is not set: add it to the env of plugin \"mcp\" in config.hcl", ref)
			}
			return m[3]
		})
	}
	var walk func(v any) any
	walk = func(v any) any {
		switch v := v.(type) {
		case string:
			return text(v)
		case []any:
			for i := range v {
				v[i] = walk(v[i])
			}
		case map[string]any:
			for k := range v {
				v[k] = walk(v[k])
			}
		}
		return v
	}
	doc = walk(doc)
	if err != nil {
		return nil, err
	}
	return json.Marshal(doc)
}
