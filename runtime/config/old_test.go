package config

import (
	"encoding/json"
	"testing"

	"github.com/nagatha/nagatha-runtime/runtime"
)

// The environment variables that the system before this one documented, it did not read,
// or not where they mattered. The file that ships reads these.
func TestOldEnvironmentWasIgnored(t *testing.T) {
	load := func() (cfg *Config, agent map[string]any, grant Grant) {
		t.Helper()
		cfg, err := Loader{Cron: runtime.CheckCron, Kinds: runtime.SystemKinds()}.Load("../../config.hcl")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range cfg.Plugins {
			if p.Name == "agent" {
				grant = p.Grant
				if err := json.Unmarshal(p.Config, &agent); err != nil {
					t.Fatal(err)
				}
			}
		}
		return cfg, agent, grant
	}
	for name, value := range map[string]string{"OPENAI_API_KEY": "sk-1", "OPENAI_MODEL": "small", "OPENAI_BASE_URL": "http://127.0.0.1:9999/v1"} {
		t.Setenv(name, value)
	}
	_, agent, grant := load()
	if agent["model"] != "small" || agent["base_url"] != "http://127.0.0.1:9999/v1" || grant.Secrets["OPENAI_API_KEY"] != "sk-1" || len(grant.HTTP) == 0 || grant.HTTP[0] != "127.0.0.1:9999" {
		t.Errorf("agent %v, grant %+v", agent, grant)
	}
	t.Setenv("OPENAI_MODEL", "")
	if _, agent, _ := load(); agent["model"] != "gpt-4o-mini" {
		t.Errorf("with a key alone the model is %v", agent["model"])
	}
	for value, want := range map[string]string{"debug": "debug", "INFO": "info", "WARNING": "warn", "CRITICAL": "error", "": "info"} {
		t.Setenv("LOG_LEVEL", value)
		if cfg, _, _ := load(); cfg.Log.Level != want {
			t.Errorf("LOG_LEVEL=%q: level %q", value, cfg.Log.Level)
		}
	}
	// Compose files set what is not there to nothing.
	for _, name := range []string{"OPENAI_API_KEY", "OPENAI_MODEL", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "PATH", "HOME"} {
		t.Setenv(name, "")
	}
	if _, agent, grant := load(); agent["model"] != "" || grant.HTTP[0] != "api.openai.com" {
		t.Errorf("agent %v, grant %+v", agent, grant)
	}
}
