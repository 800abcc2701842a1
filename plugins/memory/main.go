// Command memory is a plugin that remembers: values by section and key, with
// sessions, time to live, versions and full-text search, and facts that are
// superseded but never overwritten. docs/memory.md describes it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/serve"
)

func main() { serve.Main(plugin()) }

// memory is the plugin's configuration. Instances share nothing but the store.
type memory struct {
	defaultTTL time.Duration // of entries that name none; 0 keeps them
	maxEntries int64
	maxBytes   int64 // of all values
	maxValue   int   // bytes of one
	quota      quota
}

// largest is the most that max_value may be: an entry must fit a task's result, and
// with its search text a request to the store.
const largest = 100 << 10

func plugin() sdk.Plugin {
	m := &memory{maxEntries: 100_000, maxBytes: 256 << 20, maxValue: 64 << 10}
	return sdk.New(sdk.Info{
		Name: "memory", Version: "1.1.0", Description: "Remembers values and facts, and finds them again.",
		Capabilities: []string{"store", "publish"},
		ConfigSchema: json.RawMessage(`{"type":"object","additionalProperties":false,"properties":{
			"default_ttl":{"type":"string","description":"for entries without a ttl; 0s keeps them"},
			"max_entries":{"type":"integer","minimum":1,"description":"default 100000, superseded facts included"},
			"max_bytes":{"type":"string","description":"of all values; default 256MiB"},
			"max_value":{"type":"string","description":"of one value; default 64KiB, at most 100KiB"}}}`),
		Subscriptions: []sdk.Subscription{{Type: "agent.session.deleted", Kind: "memory.end_session"}},
	}, m.kinds()...).OnConfigure(m.configure)
}

func (m *memory) configure(_ context.Context, config json.RawMessage) error {
	var c struct {
		DefaultTTL string `json:"default_ttl"`
		MaxEntries int64  `json:"max_entries"`
		MaxBytes   string `json:"max_bytes"`
		MaxValue   string `json:"max_value"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return err
	}
	if c.DefaultTTL != "" {
		ttl, err := time.ParseDuration(c.DefaultTTL)
		if err != nil || ttl < 0 {
			return fmt.Errorf("default_ttl: want a duration such as \"24h\", or \"0s\" to keep entries, not %q", c.DefaultTTL)
		}
		m.defaultTTL = ttl
	}
	if c.MaxEntries > 0 {
		m.maxEntries = c.MaxEntries
	}
	if c.MaxBytes != "" {
		n, err := size(c.MaxBytes)
		if err != nil {
			return fmt.Errorf("max_bytes: %w", err)
		}
		m.maxBytes = n
	}
	if c.MaxValue != "" {
		n, err := size(c.MaxValue)
		if err == nil && n > largest {
			err = fmt.Errorf("%s is more than 100KiB, the most that one entry can have", c.MaxValue)
		}
		if err != nil {
			return fmt.Errorf("max_value: %w", err)
		}
		m.maxValue = int(n)
	}
	return nil
}

// size reads a number of bytes such as "64KiB".
func size(s string) (int64, error) {
	number, unit := s, int64(1)
	for i, name := range []string{"KiB", "MiB", "GiB"} {
		if n, ok := strings.CutSuffix(s, name); ok {
			number, unit = n, 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 32)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("want a size such as \"64KiB\" or \"256MiB\", not %q", s)
	}
	return n * unit, nil
}

// now is the host's time, so that it is one clock with the store's.
func now(ctx context.Context, host sdk.Host) (sdk.Time, error) {
	b, err := host.Call(ctx, sdk.OpTimeNow, []byte("{}"))
	if err != nil {
		return 0, err
	}
	var r sdk.TimeNow
	err = json.Unmarshal(b, &r)
	return r.Time, err
}
