package config

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
)

type (
	pluginBlock struct {
		Name    string             `hcl:"name,label"`
		Wasm    hcl.Expression     `hcl:"wasm,optional"`
		Command hcl.Expression     `hcl:"command,optional"`
		Env     hcl.Expression     `hcl:"env,optional"`
		Dir     hcl.Expression     `hcl:"dir,optional"`
		SHA256  hcl.Expression     `hcl:"sha256,optional"`
		MTLS    hcl.Expression     `hcl:"mtls,optional"`
		Enabled hcl.Expression     `hcl:"enabled,optional"`
		Grant   *grantBlock        `hcl:"grant,block"`
		Limits  *pluginLimitsBlock `hcl:"limits,block"`
		Config  *configBlock       `hcl:"config,block"`
		Def     hcl.Range          `hcl:",def_range"`
	}
	grantBlock struct {
		Store   hcl.Expression `hcl:"store,optional"`
		Publish hcl.Expression `hcl:"publish,optional"`
		HTTP    hcl.Expression `hcl:"http,optional"`
		Secrets hcl.Expression `hcl:"secrets,optional"`
		Submit  hcl.Expression `hcl:"submit,optional"`
		Queues  hcl.Expression `hcl:"queues,optional"`
		Await   hcl.Expression `hcl:"await,optional"`
		Approve hcl.Expression `hcl:"approve,optional"`
	}
	pluginLimitsBlock struct {
		Memory       hcl.Expression `hcl:"memory,optional"`
		Instances    hcl.Expression `hcl:"instances,optional"`
		Concurrency  hcl.Expression `hcl:"concurrency,optional"`
		StartTimeout hcl.Expression `hcl:"start_timeout,optional"`
		Idle         hcl.Expression `hcl:"idle,optional"`
		Store        hcl.Expression `hcl:"store,optional"`
	}
	configBlock struct {
		Body hcl.Body `hcl:",remain"`
	}
)

// defaultStore is how much a plugin may keep in the store.
const defaultStore = 4 << 30

// defaultIdle is how long a copy of a wasm plugin stays that has nothing to do.
const defaultIdle = 30 * time.Second

func (c *checker) plugins(cfg *Config, blocks []pluginBlock) {
	for i := range blocks {
		cfg.Plugins = append(cfg.Plugins, c.plugin(&blocks[i]))
	}
}

func (c *checker) plugin(b *pluginBlock) Plugin {
	c.unique(b.Def, "plugin", b.Name)
	switch {
	case !validName(b.Name):
		c.bad(b.Def, "bad name", "Want a lower-case name such as plugin \"memory\".")
	case b.Name == "system":
		c.bad(b.Def, "reserved name", "system.* are kinds of the runtime itself; choose another name.")
	}
	before := len(c.diags)
	command := c.list(b.Command)
	wrong := len(c.diags) > before // which has been said
	p := Plugin{
		Name: b.Name, Wasm: c.path(b.Wasm, ""), Command: command, Env: c.strings(b.Env, b.Def), Dir: c.path(b.Dir, ""),
		SHA256: strings.ToLower(c.text(b.SHA256, "")), MTLS: c.boolean(b.MTLS, false), Enabled: c.boolean(b.Enabled, true),
		Config: json.RawMessage("{}"),
	}
	p.Limits.Store = defaultStore
	if p.Wasm != "" {
		p.Limits.Idle = defaultIdle
	}
	if given(b.Wasm) == given(b.Command) {
		c.bad(b.Def, "wasm or command", "A plugin needs either wasm = \"FILE\" or command = [\"PROGRAM\", …], and not both.")
	}
	if given(b.Command) && !wrong && (len(p.Command) == 0 || p.Command[0] == "") {
		c.bad(b.Command.Range(), "empty command", "Want the program and its arguments, such as [\"build/plugins/mcp\"].")
	}
	if len(p.Command) > 0 && strings.Contains(p.Command[0], "/") {
		p.Command[0] = c.abs(p.Command[0])
		if !strings.Contains(p.Command[0], "/") {
			p.Command[0] = "./" + p.Command[0] // a bare name would be looked for in PATH
		}
	}
	if p.Wasm != "" {
		for name, e := range map[string]hcl.Expression{"env": b.Env, "dir": b.Dir, "mtls": b.MTLS} {
			if given(e) {
				c.bad(e.Range(), "not for wasm", "%s is for plugins with a command; a module has neither environment, directory nor socket.", name)
			}
		}
	}
	if p.SHA256 != "" {
		if sum, err := hex.DecodeString(p.SHA256); err != nil || len(sum) != 32 {
			c.bad(b.SHA256.Range(), "not a SHA-256", "Want 64 hexadecimal digits, as sha256sum prints them.")
		}
	}
	if g := b.Grant; g != nil {
		p.Grant = Grant{Store: c.boolean(g.Store, false), Publish: c.list(g.Publish), HTTP: c.list(g.HTTP), Secrets: c.strings(g.Secrets, b.Def),
			Submit: c.list(g.Submit), Queues: c.list(g.Queues), Await: c.boolean(g.Await, false), Approve: c.boolean(g.Approve, false)}
		c.patterns(g.Submit, p.Grant.Submit)
		c.grantQueues = append(c.grantQueues, grantQueues{g.Queues, p.Grant.Queues})
		c.patterns(g.Publish, p.Grant.Publish)
		p.Grant.HTTP = c.hosts(g.HTTP, p.Grant.HTTP)
	}
	if l := b.Limits; l != nil {
		p.Limits = PluginLimits{Memory: c.size(l.Memory, 0, 1<<20, 4<<30), Instances: c.num(l.Instances, 0, 1, 10_000),
			Concurrency: c.num(l.Concurrency, 0, 1, 100_000), StartTimeout: c.duration(l.StartTimeout, 0, time.Millisecond, time.Hour),
			Idle: c.duration(l.Idle, defaultIdle, 0, 365*24*time.Hour), Store: c.size(l.Store, defaultStore, 1<<10, 1<<50)}
		if p.Wasm == "" {
			if given(l.Instances) {
				c.bad(l.Instances.Range(), "not for processes", "instances is for wasm plugins; a process is one. Use concurrency.")
			}
			if given(l.Idle) {
				c.bad(l.Idle.Range(), "not for processes", "idle is for wasm plugins; a process runs as long as the runtime.")
			}
			p.Limits.Idle = 0
		}
	}
	if b.Config != nil {
		p.Config = c.object(b.Config.Body)
	}
	return p
}

// object makes JSON of a block of free attributes.
func (c *checker) object(body hcl.Body) json.RawMessage {
	attrs, diags := body.JustAttributes()
	c.diags = append(c.diags, diags...)
	m := map[string]json.RawMessage{}
	for name, a := range attrs {
		if b := c.json(a.Expr); b != nil {
			m[name] = b
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return json.RawMessage("{}") // of valid parts: cannot happen
	}
	return b
}

// patterns checks dotted patterns; the words are sdk.ValidPattern's, which this
// room may not import.
func (c *checker) patterns(e hcl.Expression, list []string) {
	for _, p := range list {
		parts := strings.Split(p, ".")
		for i, part := range parts {
			last := i == len(parts)-1
			if part == "" || part == ">" && !last || len(part) > 1 && strings.ContainsAny(part, "*> ") {
				c.bad(e.Range(), "not a pattern", "%q: want dotted names, * for one level, > for the rest, such as \"demo.*\".", p)
				break
			}
		}
	}
}

// hosts checks what a plugin may reach. A URL stands for its host, with the port that
// it names: so one setting can be both a server's address and the grant for it.
func (c *checker) hosts(e hcl.Expression, list []string) []string {
	for i, h := range list {
		if u, err := url.Parse(h); err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
			list[i] = u.Host
			h = u.Host
		}
		if h == "" || strings.Contains(h, "://") || strings.ContainsAny(strings.TrimPrefix(h, "*."), "*/@ ") {
			c.bad(e.Range(), "not a host", "%q: want a host such as \"api.example.com\", \"*.example.com\" or \"127.0.0.1:8080\".", h)
		}
	}
	return list
}

// unique refuses a second block with the same label.
func (c *checker) unique(at hcl.Range, what, name string) {
	key := what + " " + name
	if first, ok := c.seen[key]; ok {
		c.bad(at, fmt.Sprintf("duplicate %s %q", what, name), "It stands on line %d already.", first.Start.Line)
		return
	}
	if c.seen == nil {
		c.seen = map[string]hcl.Range{}
	}
	c.seen[key] = at
}
