package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// tool is something that a model can call.
type tool struct {
	name        string // as the model calls it
	target      string // as policies call it: a kind, or mcp.SERVER.TOOL
	description string
	schema      json.RawMessage
	destructive bool
	repeatable  bool // read-only or idempotent: a call whose outcome is unknown may be made again

	// One of the two is set.
	kind        string
	server, mcp string

	session sessionUse
	source  bool // its payload has a field source, which says who says so
	policy  string
}

// sessionUse says whether the tool is told the session, which the model never is.
type sessionUse int

const (
	sessionNone   sessionUse = iota
	sessionAlways            // its payload has a field session
	sessionState             // only with the section session_state: see hideSession
)

// mcpTool is a tool as mcp.list_tools tells of it.
type mcpTool struct {
	Server      string          `json:"server"`
	Name        string          `json:"name"`
	Description string          `json:"description"`
	InputSchema json.RawMessage `json:"input_schema"`
	Enabled     *bool           `json:"enabled"`
	Annotations struct {
		ReadOnly    bool `json:"read_only"`
		Idempotent  bool `json:"idempotent"`
		Destructive bool `json:"destructive"`
	} `json:"annotations"`
}

// toolset is what a turn's model may call. Turns share it: it does not change.
type toolset struct {
	list    []*tool // in the order of their names
	byName  map[string]*tool
	offered []Tool // the same as the model sees it
	leftOut int    // tools beyond what a model takes
}

// maxTools is how many tools model servers take.
const maxTools = 128

// toolset joins the kinds that are marked as tools with the tools of MCP servers.
func (t *turn) toolset(kinds []sdk.KindInfo, mcp []mcpTool) *toolset {
	var list []*tool
	for _, k := range kinds {
		// One that was there when the turn began may be loading again at the moment.
		if !k.Tool || k.Plugin == "agent" || !k.Available && !t.start.has(k.Kind) {
			continue
		}
		one := &tool{target: k.Kind, kind: k.Kind, description: k.Description, schema: k.PayloadSchema, repeatable: k.ReadOnly || k.Idempotent}
		one.schema, one.session = hideSession(k.Plugin, one.schema)
		one.source = k.Kind == "memory.remember"
		list = append(list, one)
	}
	for _, m := range mcp {
		if m.Enabled != nil && !*m.Enabled {
			continue
		}
		list = append(list, &tool{target: "mcp." + m.Server + "." + m.Name, server: m.Server, mcp: m.Name, description: m.Description,
			schema: m.InputSchema, destructive: m.Annotations.Destructive && !m.Annotations.ReadOnly,
			repeatable: m.Annotations.ReadOnly || m.Annotations.Idempotent})
	}
	for _, one := range list {
		one.policy = t.policy(one)
	}
	list = slices.DeleteFunc(list, func(one *tool) bool { return one.policy == policyDeny })
	leftOut := max(0, len(list)-maxTools)
	s := newToolset(list[:len(list)-leftOut])
	s.leftOut = leftOut
	return s
}

func newToolset(list []*tool) *toolset {
	nameTools(list)
	slices.SortFunc(list, func(a, b *tool) int { return strings.Compare(a.name, b.name) })
	s := &toolset{list: list, byName: make(map[string]*tool, len(list))}
	for _, one := range list {
		s.byName[one.name] = one
		s.offered = append(s.offered, Tool{Name: one.name, Description: clip(one.description, 1000), Schema: one.schema})
	}
	return s
}

// find takes the model's name for a tool, or the dotted one that people use.
func (s *toolset) find(name string) *tool {
	if one := s.byName[name]; one != nil {
		return one
	}
	for _, one := range s.list {
		if one.target == name {
			return one
		}
	}
	return nil
}

// maxToolName is how long a name may be for every model server.
const maxToolName = 64

// nameTools names tools for a model: letters, digits, _ and -. A name that had to be
// shortened or changed, and each of those that would be the same, ends in a hash of
// the full one. So a name depends on nothing but the tool and its namesakes.
func nameTools(list []*tool) {
	count := map[string]int{}
	for _, one := range list {
		one.name = plainName(one)
		count[one.name]++
	}
	for _, one := range list {
		plain := strings.TrimPrefix(one.target, "mcp.")
		if one.server == "" {
			plain = one.target
		}
		if count[one.name] == 1 && len(one.name) <= maxToolName && strings.ReplaceAll(plain, ".", "_") == one.name {
			continue
		}
		sum := sha256.Sum256([]byte(one.target))
		hash := "_" + hex.EncodeToString(sum[:4])
		one.name = one.name[:min(len(one.name), maxToolName-len(hash))] + hash
	}
}

func plainName(one *tool) string {
	full := one.target
	if one.server != "" {
		full = strings.TrimPrefix(full, "mcp.")
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		}
		return '_'
	}, full)
}

// hideSession takes the field session out of a payload's schema: the turn fills it
// in, so that no model invents one. A memory of all sessions stays one of all
// sessions: there only session_state belongs to a session.
func hideSession(plugin string, schema json.RawMessage) (json.RawMessage, sessionUse) {
	var doc, properties map[string]json.RawMessage
	if json.Unmarshal(schema, &doc) != nil || json.Unmarshal(doc["properties"], &properties) != nil || properties["session"] == nil {
		return schema, sessionNone
	}
	use := sessionAlways
	if plugin == "memory" {
		use = sessionState
	}
	delete(properties, "session")
	var required []string
	if json.Unmarshal(doc["required"], &required) == nil && len(required) > 0 {
		doc["required"], _ = json.Marshal(slices.DeleteFunc(required, func(s string) bool { return s == "session" }))
	}
	doc["properties"], _ = json.Marshal(properties)
	out, err := json.Marshal(doc)
	if err != nil {
		return schema, sessionNone
	}
	return out, use
}

// payload is the payload of the task that makes a call.
func (one *tool) payload(arguments json.RawMessage, session string) (json.RawMessage, error) {
	if one.server != "" {
		return json.Marshal(map[string]any{"server": one.server, "tool": one.mcp, "arguments": arguments, "cut": true})
	}
	if one.session == sessionNone && !one.source {
		return arguments, nil
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(arguments, &m); err != nil {
		return nil, err
	}
	if one.source && m["source"] == nil { // a fact without a source cannot be judged later
		m["source"], _ = json.Marshal("session " + session)
	}
	if one.session != sessionNone {
		delete(m, "session") // it is not the model's to say
	}
	if one.session == sessionAlways || string(m["section"]) == `"session_state"` {
		m["session"], _ = json.Marshal(session)
	}
	return json.Marshal(m)
}

func (one *tool) taskKind() string { return cmp.Or(one.kind, "mcp.call_tool") }
