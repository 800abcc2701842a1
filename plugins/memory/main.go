// Command memory is a plugin that remembers: values by section and key, with
// sessions, time to live, versions and full-text search.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/serve"
)

func main() { serve.Main(plugin()) }

// memory is the plugin's configuration.
type memory struct {
	defaultTTL time.Duration // of entries that name none; 0 keeps them
}

func plugin() sdk.Plugin {
	m := &memory{}
	return sdk.New(sdk.Info{
		Name: "memory", Version: "1.0.0", Description: "Remembers values, and finds them again.",
		Capabilities: []string{"store", "publish"},
		ConfigSchema: json.RawMessage(`{"type":"object","additionalProperties":false,"properties":{
			"default_ttl":{"type":"string","description":"for entries without a ttl; 0s keeps them"}}}`),
	},
		sdk.Func(kind("set", "Stores a value under a section and a key, in place of what was there.",
			`"required":["section","key","value"],"properties":{`+place+`,
				"value":{"description":"any JSON; null is a value too"},
				"ttl":{"type":"string","description":"such as 1h; 0s keeps it for ever"},
				"if_version":{"type":"integer","minimum":0,"description":"only if the entry has this version; 0: only if there is none"}}`,
			`{"type":"object","required":["entry","created"],"properties":{"entry":`+entrySchema+`,"created":{"type":"boolean"}}}`,
			`{"section":"facts","key":"job","value":"Bob works at Acme"}`), m.set),
		sdk.Func(kind("get", "Reads the value of a section and a key.",
			`"required":["section","key"],"properties":{`+place+`,
				"fallback":{"type":"boolean","description":"without an entry of the session, read the one of all sessions"}}`,
			`{"type":"object","required":["found","entry"],"properties":{"found":{"type":"boolean"},"entry":{"anyOf":[{"type":"null"},`+entrySchema+`]}}}`,
			`{"section":"facts","key":"job"}`), m.get),
		sdk.Func(kind("delete", "Deletes an entry.",
			`"required":["section","key"],"properties":{`+place+`}`,
			`{"type":"object","required":["deleted"],"properties":{"deleted":{"type":"boolean"}}}`,
			`{"section":"facts","key":"job"}`), m.delete),
		sdk.Func(kind("list", "Lists the entries of a section, in the order of their keys.",
			`"required":["section"],"properties":{
				"section":`+sectionSchema+`,"session":`+sessionSchema+`,
				"prefix":{"type":"string"},
				"limit":{"type":"integer","minimum":1,"maximum":1000,"default":100},
				"cursor":{"type":"string","description":"next_cursor of the page before"}}`,
			`{"type":"object","required":["entries","next_cursor"],"properties":{"entries":{"type":"array","items":`+entrySchema+`},"next_cursor":{"type":"string"}}}`,
			`{"section":"facts"}`), m.list),
		sdk.Func(kind("search", "Finds entries by words in their keys and values, best first.",
			`"required":["query"],"properties":{
				"query":{"type":"string"},"section":`+sectionSchema+`,"session":`+sessionSchema+`,
				"limit":{"type":"integer","minimum":1,"maximum":100,"default":10}}`,
			`{"type":"object","required":["results"],"properties":{"results":{"type":"array","items":{"type":"object",
				"required":["entry","score"],"properties":{"entry":`+entrySchema+`,"score":{"type":"number"}}}}}}`,
			`{"query":"where does Bob work?"}`), m.search),
	).OnConfigure(m.configure)
}

// The parts that the schemas share.
const (
	sectionSchema = `{"type":"string","pattern":"^[a-z][a-z0-9_-]*$","maxLength":64}`
	sessionSchema = `{"type":"string","minLength":1,"maxLength":64,"description":"an entry of one session never touches that of all"}`
	place         = `"section":` + sectionSchema + `,"key":{"type":"string","minLength":1,"maxLength":256},"session":` + sessionSchema
	entrySchema   = `{"type":"object","required":["section","key","value","session","version","created_at","updated_at","expires_at"],"properties":{
		"section":{"type":"string"},"key":{"type":"string"},"value":{},"session":{"type":"string"},"version":{"type":"integer"},
		"created_at":{"type":"string"},"updated_at":{"type":"string"},"expires_at":{"type":["string","null"]}}}`
)

func kind(name, description, payload, result, example string) sdk.HandlerInfo {
	return sdk.HandlerInfo{Kind: "memory." + name, Description: description, Tool: true,
		PayloadSchema: json.RawMessage(`{"type":"object","additionalProperties":false,` + payload + `}`),
		ResultSchema:  json.RawMessage(result), Example: json.RawMessage(example)}
}

func (m *memory) configure(_ context.Context, config json.RawMessage) error {
	var c struct {
		DefaultTTL string `json:"default_ttl"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return err
	}
	if c.DefaultTTL == "" {
		return nil
	}
	ttl, err := time.ParseDuration(c.DefaultTTL)
	if err != nil || ttl < 0 {
		return fmt.Errorf("default_ttl: want a duration such as \"24h\", or \"0s\" to keep entries, not %q", c.DefaultTTL)
	}
	m.defaultTTL = ttl
	return nil
}
