package runtime

import (
	"cmp"
	"context"
	"encoding/json"
	goruntime "runtime"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// systemPlugin is the plugin that is linked in: kinds of the runtime itself, which
// schedules submit.
const systemPlugin = "system"

// systemStatus is where the last status is kept.
const systemStatus = "system.status"

// linkSystem makes the kinds known before anything can submit one. It does without
// SetPlugin, which keeps manifests for the time in which a plugin loads.
func (r *Runtime) linkSystem() error {
	p := r.system()
	e, err := newEntry(p.Info())
	if err != nil {
		return err
	}
	e.plugin = p
	r.registry.set(e)
	return nil
}

// System describes the plugin that is linked in, as if it had been loaded.
func (r *Runtime) System() sdk.PluginStatus {
	r.registry.mu.RLock()
	info := r.registry.plugins[systemPlugin].info
	r.registry.mu.RUnlock()
	s := sdk.PluginStatus{Name: info.Name, Version: info.Version, Carrier: sdk.CarrierLinked, State: sdk.PluginReady, Instances: 1,
		Kinds: []sdk.KindStatus{}, Subscriptions: []sdk.Subscription{}, Grants: map[string]any{}, Limits: map[string]string{}}
	for _, h := range info.Handlers {
		s.Kinds = append(s.Kinds, sdk.KindStatus{Kind: h.Kind, Description: h.Description, PayloadSchema: h.PayloadSchema,
			ResultSchema: h.ResultSchema, Example: h.Example, Tool: h.Tool, ReadOnly: h.ReadOnly, Idempotent: h.Idempotent})
	}
	return s
}

// SystemKinds are the kinds of the runtime itself.
func SystemKinds() []string {
	var kinds []string
	for _, h := range new(Runtime).system().Info().Handlers {
		kinds = append(kinds, h.Kind)
	}
	return kinds
}

func (r *Runtime) system() sdk.Plugin {
	nothing := json.RawMessage(`{"type":"object","additionalProperties":false}`)
	version := cmp.Or(r.cfg.Version, "dev")
	return sdk.New(sdk.Info{Name: systemPlugin, Version: version, Description: "Kinds of the runtime itself"},
		sdk.Func(sdk.HandlerInfo{
			Kind: "system.refresh_status", Description: "Take stock of tasks, nodes and memory, and keep it as the latest status.",
			PayloadSchema: nothing, ResultSchema: json.RawMessage(`{"type":"object","required":["timestamp","tasks","nodes"]}`),
			Example: json.RawMessage(`{}`), MaxAttempts: 1, Idempotent: true,
		}, r.refreshStatus),
		sdk.Func(sdk.HandlerInfo{
			Kind: "system.cleanup_old_data", Description: "Delete ended tasks, events and data that are past their retention.",
			PayloadSchema: nothing, ResultSchema: json.RawMessage(`{"type":"object","required":["deleted"],"properties":{"deleted":{"type":"integer","minimum":0}}}`),
			Example: json.RawMessage(`{}`), Timeout: sdk.Duration(cleanupTimeout), MaxAttempts: 3, Concurrency: 1, Idempotent: true,
		}, r.cleanupOldData))
}

const cleanupTimeout = 5 * time.Minute

// statusReport is the result of system.refresh_status.
type statusReport struct {
	Timestamp   sdk.Time            `json:"timestamp"`
	Version     string              `json:"version"`
	Uptime      sdk.Duration        `json:"uptime"`
	Tasks       map[sdk.State]int64 `json:"tasks"`
	Nodes       []sdk.NodeStatus    `json:"nodes"`
	MemoryBytes uint64              `json:"memory_bytes"` // of this runtime, from the system
	Goroutines  int                 `json:"goroutines"`
}

func (r *Runtime) refreshStatus(ctx context.Context, _ sdk.Host, _ struct{}) (statusReport, error) {
	status, err := r.Status(ctx)
	if err != nil {
		return statusReport{}, err
	}
	var mem goruntime.MemStats
	goruntime.ReadMemStats(&mem)
	report := statusReport{sdk.Now(), status.Version, status.Uptime, status.Tasks, status.Nodes, mem.Sys, goruntime.NumGoroutine()}
	doc, err := json.Marshal(report)
	if err != nil {
		return statusReport{}, err
	}
	if _, err = r.store.KVSet(ctx, systemStatus, Fence{}, sdk.KVSet{Key: "latest", Value: doc}); err != nil {
		return statusReport{}, err
	}
	r.Tell(factStatus, r.cfg.Node, report)
	return report, nil
}

type cleanup struct {
	Deleted int `json:"deleted"`
}

func (r *Runtime) cleanupOldData(ctx context.Context, _ sdk.Host, _ struct{}) (cleanup, error) {
	n, err := r.Prune(ctx)
	return cleanup{n}, err
}
