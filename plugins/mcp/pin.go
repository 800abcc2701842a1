package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// pins are the hashes by which the tools of a server are trusted: a tool is pinned
// as it is when it is first seen. One that says something else later (a new
// description may tell a model to do new things) is disabled until a person has
// confirmed it.
type pins struct {
	Tools map[string]string `json:"tools"` // name → hash

	version int64 // in the store; 0: not there yet
}

// The most tools of a server that are remembered, and their bytes, which are one value
// of the store; beyond it new ones are disabled.
const (
	maxPins     = 2000
	maxPinBytes = 200 << 10
)

// add pins a tool, if there is room.
func (p pins) add(name, hash string) bool {
	size := 0
	for name := range p.Tools {
		size += pinBytes(name)
	}
	if len(p.Tools) >= maxPins || size+pinBytes(name) > maxPinBytes {
		return false
	}
	p.Tools[name] = hash
	return true
}

func pinBytes(name string) int {
	b, _ := json.Marshal(name)
	return len(b) + len(`:"",`) + 2*sha256.Size
}

func pinKey(server string) string { return "pins/" + server }

func readPins(ctx context.Context, host sdk.Host, server string) (pins, error) {
	p := pins{Tools: map[string]string{}}
	item, err := sdk.NewKV(host).Get(ctx, pinKey(server))
	if err != nil || item == nil {
		return p, err
	}
	if err := json.Unmarshal(item.Value, &p); err != nil {
		return p, sdk.Errorf(sdk.CodeInternal, "the pinned tools of MCP server %q cannot be read: %v", server, err)
	}
	if p.Tools == nil {
		p.Tools = map[string]string{}
	}
	p.version = item.Version
	return p, nil
}

// changePins reads the pins of a server, lets f change them, and writes them if it
// did, all over again if somebody else wrote meanwhile.
func changePins(ctx context.Context, host sdk.Host, server string, f func(p pins) (changed bool)) error {
	for {
		p, err := readPins(ctx, host, server)
		if err != nil || !f(p) {
			return err
		}
		b, err := json.Marshal(p)
		if err != nil {
			return err
		}
		_, err = sdk.NewKV(host).Put(ctx, sdk.KVSet{Key: pinKey(server), Value: b, IfVersion: &p.version})
		if !errors.Is(err, &sdk.Error{Code: sdk.CodeConflict}) {
			return err
		}
	}
}

// judge sets whether each tool is enabled, and pins those that are new.
func (p *pool) judge(ctx context.Context, host sdk.Host, tools []tool) error {
	if !p.pinning() {
		return nil
	}
	of := map[string][]*tool{}
	for i := range tools {
		of[tools[i].Server] = append(of[tools[i].Server], &tools[i])
	}
	for server, tools := range of {
		err := changePins(ctx, host, server, func(pinned pins) (changed bool) {
			for _, t := range tools {
				hash, ok := pinned.Tools[t.Name]
				if !ok && pinned.add(t.Name, t.Hash) {
					hash, changed = t.Hash, true
				}
				if t.Pinned = hash; t.large {
					continue
				}
				if t.Enabled, t.Reason = hash == t.Hash, ""; !t.Enabled {
					t.Reason = "it changed since it was confirmed; look at it, then run mcp.confirm_tool with its schema_hash"
					if !ok && hash == "" {
						t.Reason = "the server has had more tools than are remembered; look at it, then run mcp.confirm_tool with its schema_hash"
					}
				}
			}
			return changed
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// usable refuses a tool that is disabled.
func (p *pool) usable(ctx context.Context, host sdk.Host, t tool) error {
	one := []tool{t}
	if err := p.judge(ctx, host, one); err != nil {
		return err
	}
	switch {
	case t.large:
		return sdk.Errorf(sdk.CodeForbidden, "MCP server %q: tool %s is disabled: %s", t.Server, t.Name, t.Reason)
	case !one[0].Enabled:
		return sdk.Errorf(sdk.CodeForbidden, "MCP server %q: tool %s is disabled: %s %s", t.Server, t.Name, one[0].Reason, t.Hash)
	}
	return nil
}

func (p *pool) pinning() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.conf.PinTools == nil || *p.conf.PinTools
}

// confirm is the kind mcp.confirm_tool. The hash says what was looked at, so that a
// change in the last moment is not confirmed with it.
func (p *pool) confirm(ctx context.Context, host sdk.Host, in struct {
	Server string `json:"server"`
	Tool   string `json:"tool"`
	Hash   string `json:"hash"`
}) (any, error) {
	s, err := p.find(in.Server)
	if err != nil {
		return nil, err
	}
	t, err := s.find(ctx, in.Tool)
	if err != nil {
		return nil, err
	}
	if t.Hash != in.Hash {
		return nil, sdk.Errorf(sdk.CodeConflict, "MCP server %q: the schema_hash of tool %s is %s, not %s: look at it again with mcp.list_tools", in.Server, in.Tool, t.Hash, in.Hash)
	}
	var before *string
	err = changePins(ctx, host, in.Server, func(pinned pins) bool {
		before = nil
		if hash, ok := pinned.Tools[in.Tool]; ok {
			before = &hash
		}
		pinned.Tools[in.Tool] = in.Hash
		return before == nil || *before != in.Hash
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{"server": in.Server, "tool": in.Tool, "hash": in.Hash, "previous_hash": before}, nil
}
