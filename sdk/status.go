package sdk

import "encoding/json"

// PluginStatus is the plugin object that clients see.
type PluginStatus struct {
	Name          string            `json:"name"`
	Version       string            `json:"version"`
	Carrier       string            `json:"carrier"` // wasm, process or linked
	State         string            `json:"state"`   // loading, ready, failed, disabled, draining
	Error         string            `json:"error"`
	Kinds         []KindStatus      `json:"kinds"`
	Subscriptions []Subscription    `json:"subscriptions"`
	Grants        map[string]any    `json:"grants"`
	Limits        map[string]string `json:"limits"`
	Instances     int               `json:"instances"`
	Restarts      int               `json:"restarts"`
	Digest        string            `json:"digest"` // sha256:… of the module or binary
}

// The states of a plugin.
const (
	PluginLoading  = "loading"
	PluginReady    = "ready"
	PluginFailed   = "failed"
	PluginDisabled = "disabled"
	PluginDraining = "draining"
)

// CarrierLinked is the carrier of the plugin that is a part of the runtime.
const CarrierLinked = "linked"

// KindStatus describes one kind of a plugin.
type KindStatus struct {
	Kind          string          `json:"kind"`
	Description   string          `json:"description"`
	PayloadSchema json.RawMessage `json:"payload_schema"`
	ResultSchema  json.RawMessage `json:"result_schema"`
	Example       json.RawMessage `json:"example"`
	Tool          bool            `json:"tool"`
	ReadOnly      bool            `json:"read_only"`  // changes nothing
	Idempotent    bool            `json:"idempotent"` // twice is the same as once
}

// SystemStatus is the system object that clients see.
type SystemStatus struct {
	Version     string           `json:"version"`
	StartedAt   Time             `json:"started_at"`
	Uptime      Duration         `json:"uptime"`
	Store       string           `json:"store"`
	Bus         string           `json:"bus"`
	Tasks       map[State]int64  `json:"tasks"`
	Plugins     PluginCounts     `json:"plugins"`
	Nodes       []NodeStatus     `json:"nodes"`
	Connections int              `json:"connections"`
	Lag         map[string]int64 `json:"lag,omitempty"`
}

// PluginCounts counts plugins by how loading them went.
type PluginCounts struct {
	Ready  int `json:"ready"`
	Failed int `json:"failed"`
}

// NodeStatus is one running runtime.
type NodeStatus struct {
	ID      string   `json:"id"`
	BeatAge Duration `json:"beat_age"`
	Running int      `json:"running"`
}
