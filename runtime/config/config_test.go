package config

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/nagatha/nagatha-runtime/runtime"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden parses the file config.hcl of each archive and compares the error
// with its part "error"; an archive without one must be good.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 20 {
		t.Fatalf("found %d archives, %v", len(files), err)
	}
	t.Setenv("TEST_SECRET", "very-secret")
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var src, want string
			for _, f := range a.Files {
				switch f.Name {
				case "config.hcl":
					src = string(f.Data)
				case "error":
					want = strings.TrimSpace(string(f.Data))
				}
			}
			got := ""
			if _, err := (Loader{Cron: runtime.CheckCron, Kinds: runtime.SystemKinds()}).Parse("config.hcl", []byte(src)); err != nil {
				got = err.Error()
			}
			if strings.Contains(got, "very-secret") {
				t.Errorf("the error tells a secret:\n%s", got)
			}
			if got == want {
				return
			}
			if !*update {
				t.Fatalf("got:\n%s\nwant:\n%s", got, want)
			}
			a.Files = []txtar.File{{Name: "config.hcl", Data: []byte(src)}}
			if got != "" {
				a.Files = append(a.Files, txtar.File{Name: "error", Data: []byte(got + "\n")})
			}
			if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// The file that ships needs nothing from the environment.
func TestShippedFile(t *testing.T) {
	for _, e := range os.Environ() {
		name, value, _ := strings.Cut(e, "=")
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Setenv(name, value) })
	}
	cfg, err := Loader{Cron: runtime.CheckCron, Kinds: runtime.SystemKinds()}.Load("../../config.hcl")
	if err != nil {
		t.Fatal(err)
	}
	var schedules []string
	for _, s := range cfg.Schedules {
		schedules = append(schedules, s.Name+" "+s.Kind+" "+s.Every.String())
	}
	if got := strings.Join(schedules, ", "); got != "refresh-system-status system.refresh_status 2m0s, cleanup-old-data system.cleanup_old_data 6h0m0s, process-scheduled-tasks reminders.process_due 1m0s, cleanup-memory-and-maintenance memory.cleanup 1h0m0s, check-mcp-servers-health mcp.check_health 5m0s, track-usage-metrics usage.track 15m0s" {
		t.Errorf("schedules %s", got)
	}
	if cfg.Server.Listen != "127.0.0.1:8765" || !cfg.SeedAPI || len(cfg.Plugins) < 4 || cfg.Plugins[0].Wasm != "../../build/plugins/demo.wasm" {
		t.Errorf("got %+v", cfg)
	}
}

func TestDefaults(t *testing.T) {
	cfg, err := Parse("config.hcl", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		DataDir: "data", Log: Log{"info", "text"}, Server: Server{Listen: "127.0.0.1:8765"}, Store: "sqlite", Bus: "sql",
		Queues:    []Queue{{Name: "default", Concurrency: 16, KeyConcurrency: 1}},
		Limits:    Limits{256 << 10, 256 << 10, 16 << 10, 64 << 10, 100_000, 64 << 20, 30 * time.Second},
		Retention: Retention{168 * time.Hour, 720 * time.Hour, 168 * time.Hour},
		Retry:     Retry{time.Minute, 5, time.Second, 5 * time.Minute},
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got %+v\nwant %+v", cfg, want)
	}
}

func TestEverything(t *testing.T) {
	t.Setenv("TEST_SECRET", "s")
	cfg, err := Parse("/etc/nagatha/config.hcl", []byte(`
data_dir = "/var/lib/nagatha"
log {
  level  = "debug"
  format = "json"
}
server {
  listen          = "0.0.0.0:80"
  insecure_listen = true
  allowed_hosts   = ["a.example"]
  limits {
    frame_bytes = "1MiB"
    heartbeat   = "10s"
  }
}
metrics {
  public = true
}
bus "gochannel" {}
queue "slow" {
  concurrency = 2
}
plugin "x" {
  command = ["bin/x", "-v"]
  env     = { A = env("NOT_SET", "b") }
  sha256  = "`+strings.Repeat("AB", 32)+`"
  mtls    = true
  enabled = false
  grant {
    store   = true
    publish = ["x.*", ">"]
    http    = ["*.example.com", "127.0.0.1:80"]
    secrets = { KEY = env("TEST_SECRET") }
  }
  limits {
    memory      = "64MiB"
    concurrency = 3
    store       = "1GiB"
  }
  config {
    n    = 1.5
    list = [true, "a", null]
    deep = { a = { b = [] } }
  }
}
limits {
  drain = "0s"
}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Plugin{Name: "x", Command: []string{"/etc/nagatha/bin/x", "-v"}, Env: map[string]string{"A": "b"},
		SHA256: strings.Repeat("ab", 32), MTLS: true,
		Grant:  Grant{Store: true, Publish: []string{"x.*", ">"}, HTTP: []string{"*.example.com", "127.0.0.1:80"}, Secrets: map[string]string{"KEY": "s"}},
		Limits: PluginLimits{Memory: 64 << 20, Concurrency: 3, Store: 1 << 30},
		Config: []byte(`{"deep":{"a":{"b":[]}},"list":[true,"a",null],"n":1.5}`)}
	if !reflect.DeepEqual(cfg.Plugins[0], want) {
		t.Errorf("plugin:\n got %+v %s\nwant %+v", cfg.Plugins[0], cfg.Plugins[0].Config, want)
	}
	if cfg.DataDir != "/var/lib/nagatha" || cfg.Bus != "gochannel" || !cfg.MetricsPublic || cfg.Server.Limits.FrameBytes != 1<<20 ||
		len(cfg.Queues) != 2 || cfg.Queues[0].Name != "default" || cfg.Limits.Drain != 0 {
		t.Errorf("got %+v", cfg)
	}
}

// A URL grants its host, and its port where it names one: the address of a server is
// written once.
func TestGrantByURL(t *testing.T) {
	cfg, err := Parse("c.hcl", []byte(`
plugin "x" {
  wasm = "x.wasm"
  grant {
    http = [env("NOT_SET", "https://api.example.com/v1"), "http://127.0.0.1:11434/v1", "http://[::1]:8080", "plain.example.com"]
  }
}
`))
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Plugins[0].Grant.HTTP; !reflect.DeepEqual(got, []string{"api.example.com", "127.0.0.1:11434", "[::1]:8080", "plain.example.com"}) {
		t.Errorf("%q", got)
	}
	for _, bad := range []string{"ftp://a.example/", "https://", "https://*/x", ""} {
		if _, err := Parse("c.hcl", []byte("plugin \"x\" {\n  wasm = \"x\"\n  grant {\n    http = [\""+bad+"\"]\n  }\n}\n")); err == nil || !strings.Contains(err.Error(), "not a host") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A program beside the file is that one, not one of its name in PATH.
func TestCommandBesideTheFile(t *testing.T) {
	for dir, want := range map[string]string{"": "./x", "conf/": "conf/x", "/etc/": "/etc/x"} {
		cfg, err := Parse(dir+"config.hcl", []byte("plugin \"x\" {\n  command = [\"./x\"]\n}\n"))
		if err != nil || cfg.Plugins[0].Command[0] != want {
			t.Errorf("%sconfig.hcl: %+v, %v", dir, cfg, err)
		}
	}
}

func TestSchedules(t *testing.T) {
	a, err := txtar.ParseFile("testdata/good_schedules.txtar")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := Parse("config.hcl", a.Files[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	want := []Schedule{
		{Name: "morning", Cron: "30 8 * * MON-FRI", Zone: "Europe/Berlin", Kind: "demo.echo", Payload: []byte(`{"list":[1,true,null],"text":"hello"}`),
			Queue: "slow", Priority: -5, Timeout: 10 * time.Second, MaxAttempts: 2, Missed: "all", Overlap: "allow", Jitter: 30 * time.Second, Paused: true},
		{Name: "poll", Every: 90 * time.Second, Kind: "system.refresh_status"},
		{Name: "once", At: cfg.Schedules[2].At, Kind: "demo.echo"},
	}
	if !reflect.DeepEqual(cfg.Schedules, want) || cfg.Schedules[2].At.Unix() != 1801378800 {
		t.Errorf("got  %+v\nwant %+v", cfg.Schedules, want)
	}
}

func TestMissingFile(t *testing.T) {
	if _, err := Load("no/such.hcl"); err == nil || !strings.Contains(err.Error(), "-config") {
		t.Errorf("got %v", err)
	}
}

// What is no configuration is said at once: HCL would list for hours what is wrong with
// a program that was named by mistake.
func TestNotAConfiguration(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ text, want string }{
		"program":  {"data_dir = \"a\"\n\x7fELF\x02\x01\x00" + strings.Repeat("\x00\xff{", 100_000), "line 2 is not text"},
		"latin-1":  {"# Stra\xdfe\n", "line 1 is not text"},
		"database": {strings.Repeat("SQLite format 3\n", 100_000), "more than 1MiB"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) || len(err.Error()) > 500 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Load("/dev/zero"); err == nil || !strings.Contains(err.Error(), "more than 1MiB") {
		t.Errorf("a device: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	src, err := os.ReadFile("../../config.hcl")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(src)
	f.Add([]byte(`plugin "x" { wasm = env("HOME") }`))
	f.Add([]byte(`schedule "x" { cron = "0 0 * * *", payload = { a = 1/0 } }`))
	f.Fuzz(func(t *testing.T, src []byte) {
		if cfg, err := Parse("config.hcl", src); (cfg == nil) == (err == nil) {
			t.Fatal("neither a configuration nor an error, or both")
		}
	})
}
