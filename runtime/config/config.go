// Package config turns config.hcl into one checked struct.
//
//	cfg, err := config.Loader{Cron: runtime.CheckCron, Kinds: runtime.SystemKinds()}.Load("config.hcl")
//
// The error of a file that is not good lists everything that is wrong with it,
// each with file, line, the source line and what to do.
//
// # Why
//
// Everything is checked here, before anything starts, so that no other room has
// to report a setting. Values are decoded one by one (value.go) rather than into
// tagged structs: that keeps the place of each in the file for the error, and
// gives a default only where nothing was written. No value is ever printed, since
// any of them may be a secret.
package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclparse"
)

// Config is a checked configuration. Paths are absolute or relative to the
// working directory, defaults are filled in.
type Config struct {
	DataDir string
	Log     Log
	Server  Server
	// MetricsPublic serves /metrics without a token.
	MetricsPublic bool
	// SeedAPI serves the endpoints of the old web app.
	SeedAPI bool

	Store    string // sqlite, postgres
	StoreURL string // of postgres
	Bus      string // sql, gochannel

	Queues    []Queue
	Plugins   []Plugin
	Schedules []Schedule
	Limits    Limits
	Retention Retention
	Retry     Retry
}

// Log says how the runtime logs, on stderr.
type Log struct {
	Level  string // debug, info, warn, error
	Format string // text, json
}

// Server is what clients connect to.
type Server struct {
	Listen         string
	AllowedHosts   []string
	AllowedOrigins []string
	Limits         ServerLimits
}

// ServerLimits bound what clients may ask for. 0 means the server's default.
type ServerLimits struct {
	FrameBytes, BodyBytes   int
	Subscriptions, InFlight int
	RequestsPerSecond       int
	Connections, Anonymous  int
	Heartbeat               time.Duration
}

// Plugin says what to load and what it may do.
type Plugin struct {
	Name    string
	Wasm    string
	Command []string
	Env     map[string]string
	Dir     string
	SHA256  string
	MTLS    bool
	Enabled bool

	Grant  Grant
	Limits PluginLimits
	Config json.RawMessage // an object
}

// Grant is what a plugin may do.
type Grant struct {
	Store   bool
	Publish []string
	HTTP    []string
	Secrets map[string]string
	Submit  []string // kinds, as patterns
	Queues  []string // that Submit may name; empty: any
	Await   bool
	Approve bool
}

// PluginLimits bound a plugin; 0 means the carrier's default.
type PluginLimits struct {
	Memory       int64
	Instances    int
	Concurrency  int
	StartTimeout time.Duration
	Idle         time.Duration // 0: never
	Store        int64
}

// Limits are the caps on tasks.
type Limits struct {
	Payload, Result, LogLine, OutputChunk int
	EventsPerTask, BytesPerTask           int64
	Drain                                 time.Duration
}

// Retention is how long ended tasks and published events are kept.
type Retention struct{ Completed, Failed, Events time.Duration }

// Retry holds for kinds that declare nothing.
type Retry struct {
	Timeout     time.Duration
	MaxAttempts int
	Backoff     time.Duration
	MaxBackoff  time.Duration
}

// Loader reads files. Its zero value checks everything except what only other
// rooms can.
type Loader struct {
	// Cron says what is wrong with a cron line in a time zone, which is there.
	Cron func(line, zone string) error
	// Kinds are those of the runtime itself, which begin with "system."; nil: any.
	Kinds []string
	// URL says what is wrong with the address of a PostgreSQL, without telling what may
	// be a password.
	URL func(string) error
}

// maxFile bounds a configuration: of what else was named by mistake, such as a
// database, HCL would list what is wrong for hours.
const maxFile = 1 << 20

// Load reads and checks a file.
func Load(path string) (*Config, error) { return Loader{}.Load(path) }

// Parse checks the text of a file; see [Loader.Parse].
func Parse(path string, src []byte) (*Config, error) { return Loader{}.Parse(path, src) }

// Load reads and checks a file.
func (l Loader) Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no configuration file %q: name one with -config FILE", path)
	}
	var src []byte
	if err == nil {
		defer f.Close()
		src, err = io.ReadAll(io.LimitReader(f, maxFile+1)) // a device has no end
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return l.Parse(path, src)
}

// Parse checks the text of a file; path gives it a name, and is where relative
// paths in it begin.
func (l Loader) Parse(path string, src []byte) (*Config, error) {
	if len(src) > maxFile {
		return nil, fmt.Errorf("%s is no configuration: it has more than %s; name one with -config FILE", path, formatSize(maxFile))
	}
	if line := notText(src); line > 0 {
		return nil, fmt.Errorf("%s is no configuration: line %d is not text in UTF-8; mend it, or name another file with -config FILE", path, line)
	}
	p := hclparse.NewParser()
	file, diags := p.ParseHCL(src, path)
	c := &checker{dir: filepath.Dir(path), cron: l.Cron, kinds: l.Kinds, url: l.URL}
	c.misshapen(diags)
	cfg := &Config{}
	if !diags.HasErrors() {
		c.ctx = functions(c.dir)
		var f fileBlock
		c.misshapen(gohcl.DecodeBody(file.Body, c.ctx, &f))
		c.file(cfg, &f)
	}
	if c.diags.HasErrors() {
		return nil, c.err(p.Files())
	}
	return cfg, nil
}

// notText returns the first line that no text has, or 0.
func notText(src []byte) int {
	n := 0
	for line := range bytes.Lines(src) {
		if n++; !utf8.Valid(line) || bytes.IndexByte(line, 0) >= 0 {
			return n
		}
	}
	return 0
}

// err writes diagnostics without any value: those that HCL attaches are cut off.
func (c *checker) err(files map[string]*hcl.File) error {
	var b bytes.Buffer
	w := hcl.NewDiagnosticTextWriter(&b, files, 0, false)
	masked := map[string]*hcl.File{}
	for name, f := range files {
		masked[name] = hide(f, name)
	}
	hidden := hcl.NewDiagnosticTextWriter(&b, masked, 0, false)
	slices.SortStableFunc(c.diags, func(x, y *hcl.Diagnostic) int {
		if x.Subject == nil || y.Subject == nil {
			return 0
		}
		return x.Subject.Start.Byte - y.Subject.Start.Byte
	})
	for _, d := range c.diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		d.Expression, d.EvalContext = nil, nil
		to := w
		if _, ok := d.Extra.(shape); ok {
			to = hidden
		}
		if err := to.WriteDiagnostic(d); err != nil {
			return err
		}
	}
	return errors.New(strings.TrimSpace(b.String()))
}

func (c *checker) file(cfg *Config, f *fileBlock) {
	cfg.DataDir = c.path(f.DataDir, "data")
	cfg.Log = Log{Level: "info", Format: "text"}
	if b := f.Log; b != nil {
		cfg.Log.Level = c.level(b.Level)
		cfg.Log.Format = c.oneOf(b.Format, "text", "text", "json")
	}
	if f.Server == nil {
		f.Server = &serverBlock{}
	}
	c.server(&cfg.Server, f.Server)
	if f.Metrics != nil {
		cfg.MetricsPublic = c.boolean(f.Metrics.Public, false)
	}
	if f.Compat != nil {
		cfg.SeedAPI = c.boolean(f.Compat.SeedAPI, false)
	}
	c.store(cfg, f.Store)
	cfg.Bus = c.kind(f.Bus, "bus", "sql", map[string]string{
		"nats":  "NATS comes with a later version; use bus \"sql\" {}.",
		"redis": "Redis comes with a later version; use bus \"sql\" {}.",
	}, "sql", "gochannel")
	c.queues(cfg, f.Queues)
	c.plugins(cfg, f.Plugins)
	c.checkGrantQueues(cfg)
	c.schedules(cfg, f.Schedules)
	c.limits(cfg, f)
}

func (c *checker) server(s *Server, b *serverBlock) {
	s.Listen = c.listen(b)
	s.AllowedHosts = c.list(b.AllowedHosts)
	s.AllowedOrigins = c.list(b.AllowedOrigins)
	// What no request can have would be served to nobody.
	for _, h := range s.AllowedHosts {
		if h == "" || strings.ContainsAny(h, "/*@ ") {
			c.bad(b.AllowedHosts.Range(), "not a host", "Want names that clients call the server by, such as \"nagatha.example.com\" or \"nagatha.example.com:8443\".")
		}
	}
	for _, o := range s.AllowedOrigins {
		if u, err := url.Parse(o); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Contains(o, "*") || strings.Trim(u.Path, "/") != "" {
			c.bad(b.AllowedOrigins.Range(), "not an origin", "Want scheme and host alone, such as \"https://app.example.com\".")
		}
	}
	if l := b.Limits; l != nil {
		s.Limits = ServerLimits{
			FrameBytes: int(c.size(l.FrameBytes, 0, 64<<10, 64<<20)), BodyBytes: int(c.size(l.BodyBytes, 0, 64<<10, 64<<20)),
			Subscriptions: c.num(l.Subscriptions, 0, 1, 1_000_000), InFlight: c.num(l.InFlight, 0, 1, 1_000_000),
			RequestsPerSecond: c.num(l.RequestsPerSecond, 0, 1, 100_000_000),
			Connections:       c.num(l.Connections, 0, 1, 10_000_000), Anonymous: c.num(l.Anonymous, 0, 1, 10_000_000),
			Heartbeat: c.duration(l.Heartbeat, 0, time.Second, time.Hour),
		}
	}
}

// kind checks the label of a block such as store "sqlite" {}.
func (c *checker) kind(b *kindBlock, what, otherwise string, later map[string]string, known ...string) string {
	if b == nil {
		return otherwise
	}
	switch {
	case slices.Contains(known, b.Kind):
		if attrs, diags := b.Body.JustAttributes(); diags.HasErrors() {
			c.diags = append(c.diags, diags...)
		} else {
			for _, a := range attrs {
				c.bad(a.NameRange, "unsupported argument", "The block %s %q takes no arguments in this version.", what, b.Kind)
			}
		}
	case later[b.Kind] != "":
		c.bad(b.Def, fmt.Sprintf("%s %q is not available", what, b.Kind), "%s", later[b.Kind])
	default:
		c.bad(b.Def, fmt.Sprintf("there is no %s %q", what, b.Kind), "%s", suggest(b.Kind, known))
	}
	return b.Kind
}

func (c *checker) store(cfg *Config, b *kindBlock) {
	if b == nil || b.Kind != "postgres" {
		cfg.Store = c.kind(b, "store", "sqlite", nil, "sqlite", "postgres")
		return
	}
	cfg.Store = b.Kind
	var p postgresBlock
	c.misshapen(gohcl.DecodeBody(b.Body, c.ctx, &p))
	before := len(c.diags)
	cfg.StoreURL = c.text(p.URL, "")
	if len(c.diags) > before {
		return // what is wrong with it has been said
	}
	if cfg.StoreURL == "" {
		c.bad(b.Def, "store \"postgres\" needs a url", "Add url = env(\"DATABASE_URL\"), such as postgres://user:password@host:5432/database.")
	} else if !strings.HasPrefix(cfg.StoreURL, "postgres://") && !strings.HasPrefix(cfg.StoreURL, "postgresql://") {
		c.bad(b.Def, "not a URL of PostgreSQL", "Want postgres://user:password@host:5432/database.")
	} else if c.url != nil {
		if err := c.url(cfg.StoreURL); err != nil {
			c.bad(b.Def, "not a URL of PostgreSQL", "It is refused: %v.", err)
		}
	}
}

func (c *checker) limits(cfg *Config, f *fileBlock) {
	l := f.Limits
	if l == nil {
		l = &limitsBlock{}
	}
	cfg.Limits = Limits{
		Payload: int(c.size(l.Payload, 256<<10, 1<<10, 8<<20)), Result: int(c.size(l.Result, 256<<10, 1<<10, 8<<20)),
		LogLine: int(c.size(l.LogLine, 16<<10, 256, 1<<20)), OutputChunk: int(c.size(l.OutputChunk, 64<<10, 64<<10, 1<<20)),
		EventsPerTask: int64(c.num(l.EventsPerTask, 100_000, 10, 10_000_000)), BytesPerTask: c.size(l.BytesPerTask, 64<<20, 64<<10, 16<<30),
		Drain: c.duration(l.Drain, 30*time.Second, 0, time.Hour),
	}
	r := f.Retention
	if r == nil {
		r = &retentionBlock{}
	}
	const day, century = 24 * time.Hour, 100 * 366 * 24 * time.Hour
	cfg.Retention = Retention{
		Completed: c.duration(r.Completed, 7*day, time.Second, century),
		Failed:    c.duration(r.Failed, 30*day, time.Second, century),
		Events:    c.duration(r.Events, 7*day, time.Second, century),
	}
	t := f.Retry
	if t == nil {
		t = &retryBlock{}
	}
	cfg.Retry = Retry{
		Timeout:     c.duration(t.Timeout, time.Minute, time.Millisecond, 30*day),
		MaxAttempts: c.num(t.MaxAttempts, 5, 1, 1000),
		Backoff:     c.duration(t.Backoff, time.Second, time.Millisecond, 30*day),
		MaxBackoff:  c.duration(t.MaxBackoff, 5*time.Minute, time.Millisecond, 30*day),
	}
	if longest := cfg.Retry.MaxBackoff; cfg.Retry.Backoff > longest {
		at, which := t.Backoff, longest.String()
		if !given(at) {
			at = t.MaxBackoff
		}
		if !given(t.MaxBackoff) {
			which += " unless it is set"
		}
		c.bad(at.Range(), "backoff is longer than max_backoff", "No wait is longer than max_backoff, which is %s, so the backoff of %s would never be reached. Lower the one or raise the other.", which, cfg.Retry.Backoff)
	}
}
