package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

const configSchema = `{"type":"object","additionalProperties":false,"properties":{
	"file":{"type":"string","description":"an mcp.json with more servers, relative to the plugin's directory"},
	"pin_tools":{"type":"boolean","default":true,"description":"disable a tool that changed until mcp.confirm_tool; needs the grant store"},
	"servers":{"type":"object","propertyNames":{"pattern":"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
	"additionalProperties":{"type":"object","additionalProperties":false,"properties":{
		"command":{"type":"array","minItems":1,"items":{"type":"string"},"description":"program and arguments"},
		"env":{"type":"object","additionalProperties":{"type":"string"},"description":"what it sees besides PATH and HOME"},
		"cwd":{"type":"string"},
		"url":{"type":"string","description":"of a streamable HTTP server, in place of command"},
		"headers":{"type":"object","additionalProperties":{"type":"string"}},
		"enabled":{"type":"boolean","default":true},
		"allow":{"type":"array","items":{"type":"string"},"description":"only these tools; * stands for any characters"},
		"deny":{"type":"array","items":{"type":"string"},"description":"not these tools"},
		"protocol":{"enum":["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"],"description":"the newest to offer"},
		"connect_timeout":{"type":"string","default":"15s"},
		"list_timeout":{"type":"string","default":"10s"},
		"call_timeout":{"type":"string","default":"1m"}}}}}}`

// config is the plugin's config block.
type config struct {
	File     string                  `json:"file"`
	PinTools *bool                   `json:"pin_tools"`
	Servers  map[string]serverConfig `json:"servers"`
}

// serverConfig says how to reach a server and how long to wait for it. It has
// either a Command or a URL.
type serverConfig struct {
	Command        []string          `json:"command"`
	Env            map[string]string `json:"env"`
	Cwd            string            `json:"cwd"`
	URL            string            `json:"url"`
	Headers        map[string]string `json:"headers"`
	Enabled        *bool             `json:"enabled"`
	Allow          []string          `json:"allow"`
	Deny           []string          `json:"deny"`
	Protocol       string            `json:"protocol"`
	ConnectTimeout sdk.Duration      `json:"connect_timeout"`
	ListTimeout    sdk.Duration      `json:"list_timeout"`
	CallTimeout    sdk.Duration      `json:"call_timeout"`
}

// maxCall bounds a call, whatever timeout it names.
const maxCall = time.Hour

func parseConfig(raw json.RawMessage) (config, error) {
	var c config
	if err := strict(raw, &c); err != nil {
		return c, fmt.Errorf("config: %w", err)
	}
	return c, nil
}

// strict decodes a JSON object and refuses unknown fields. Its error names the field.
func strict(raw []byte, v any) error {
	decode := func(raw []byte, v any) error {
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		return plain(dec.Decode(v))
	}
	all := decode(raw, v)
	var members map[string]json.RawMessage
	if all == nil || json.Unmarshal(raw, &members) != nil {
		return all
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		one, err := json.Marshal(map[string]json.RawMessage{name: members[name]})
		if err == nil {
			err = decode(one, reflect.New(reflect.TypeOf(v).Elem()).Interface())
		}
		if err != nil && !strings.Contains(err.Error(), name) {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return all
}

// plain says of an error of JSON's what is wrong, without the names of Go's types.
func plain(err error) error {
	var e *json.UnmarshalTypeError
	if !errors.As(err, &e) {
		if err != nil && strings.HasPrefix(err.Error(), "json: ") {
			return errors.New(strings.TrimPrefix(err.Error(), "json: "))
		}
		return err
	}
	want := map[reflect.Kind]string{reflect.String: "a text", reflect.Slice: "a list", reflect.Bool: "true or false"}[e.Type.Kind()]
	if want == "" {
		want = "an object"
	}
	if e.Field == "" {
		return fmt.Errorf("want %s, not %s", want, e.Value)
	}
	return fmt.Errorf("%s: want %s, not %s", e.Field, want, e.Value)
}

// load reads the file, if there is one, and returns every enabled server with its
// defaults filled in. It changes nothing, so that a configuration is either whole
// or not taken at all.
func (c config) load() (map[string]serverConfig, error) {
	all := map[string]serverConfig{}
	var errs []error
	add := func(where, name string, sc serverConfig) {
		if _, ok := all[name]; ok {
			errs = append(errs, fmt.Errorf("%s: server %q is in the config block too: rename one", where, name))
			return
		}
		if err := sc.validate(name); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
		}
		all[name] = sc.withDefaults()
	}
	for _, name := range slices.Sorted(maps.Keys(c.Servers)) {
		add("config", name, c.Servers[name])
	}
	if c.File != "" {
		more, err := readFile(c.File)
		if err != nil {
			return nil, err
		}
		for _, name := range slices.Sorted(maps.Keys(more)) {
			add(c.File, name, more[name])
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	maps.DeleteFunc(all, func(_ string, sc serverConfig) bool { return sc.Enabled != nil && !*sc.Enabled })
	return all, nil
}

var (
	serverName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	protocols  = []string{"", "2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"}
)

func (sc serverConfig) validate(name string) error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("servers.%s%s: %s", name, field, fmt.Sprintf(format, args...)))
	}
	if !serverName.MatchString(name) {
		bad("", "a name has at most 64 letters, digits and any of . _ -")
	}
	switch {
	case len(sc.Command) > 0 && sc.URL != "":
		bad("", "command or url, not both")
	case sc.URL != "":
		if u, err := url.Parse(sc.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			bad(".url", "want http://… or https://…")
		}
		if len(sc.Env) > 0 || sc.Cwd != "" {
			bad("", "env and cwd are for servers with a command; a url takes headers")
		}
	case len(sc.Command) == 0 || sc.Command[0] == "":
		bad(".command", "want a program and its arguments, or a url")
	case len(sc.Headers) > 0:
		bad(".headers", "are for servers with a url; a command takes env")
	}
	for _, pattern := range slices.Concat(sc.Allow, sc.Deny) {
		if _, err := path.Match(pattern, ""); err != nil {
			bad("", "allow and deny: %q is no pattern", pattern)
		}
	}
	if !slices.Contains(protocols, sc.Protocol) {
		bad(".protocol", "want one of %v", protocols[1:])
	}
	if sc.ConnectTimeout < 0 || sc.ListTimeout < 0 || sc.CallTimeout < 0 {
		bad("", "timeouts must be more than 0s")
	}
	return errors.Join(errs...)
}

func (sc serverConfig) withDefaults() serverConfig {
	sc.ConnectTimeout = cmp.Or(sc.ConnectTimeout, sdk.Duration(15*time.Second))
	sc.ListTimeout = cmp.Or(sc.ListTimeout, sdk.Duration(10*time.Second))
	sc.CallTimeout = cmp.Or(sc.CallTimeout, sdk.Duration(time.Minute))
	return sc
}

// allows reports whether the configuration lets a tool be used.
func (sc serverConfig) allows(tool string) bool {
	match := func(pattern string) bool {
		ok, err := path.Match(pattern, tool)
		return ok && err == nil
	}
	return (len(sc.Allow) == 0 || slices.ContainsFunc(sc.Allow, match)) && !slices.ContainsFunc(sc.Deny, match)
}
