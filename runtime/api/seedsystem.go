package api

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// seedReport is the answer of system-status.
type seedReport struct {
	Timestamp    sdk.Time       `json:"timestamp"`
	MCPConnected int            `json:"mcp_servers_connected"`
	MCPTools     int            `json:"total_tools_available"`
	Sessions     int            `json:"active_sessions"`
	Health       string         `json:"system_health"`
	CPU          *float64       `json:"cpu_usage"`
	Memory       *float64       `json:"memory_usage"`
	Disk         *float64       `json:"disk_usage"`
	Metrics      map[string]any `json:"additional_metrics"`
}

// seedCache keeps the last report, so that a page that polls costs nothing.
type seedCache struct {
	mu      sync.Mutex
	at      time.Time
	report  seedReport
	machine machine
}

func (s *Server) seedSystem(ctx context.Context, _ http.ResponseWriter, _ *http.Request) (any, error) {
	c := &s.seed
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at.IsZero() && time.Since(c.at) < seedAge {
		return c.report, nil
	}
	c.report = s.seedLook(context.WithoutCancel(ctx)) // it is for others too, who wait longer than this one
	c.at = time.Now()
	return c.report, nil
}

// seedLook takes stock. Health is
//
//	error        the runtime is not ready, or no plugin is
//	degraded     a plugin is not ready, or an MCP server that should be connected is not
//	operational  everything else
func (s *Server) seedLook(ctx context.Context) seedReport {
	r := seedReport{Timestamp: sdk.Now(), Health: "operational", CPU: s.seed.machine.cpuUsage(), Memory: memoryUsage(),
		Disk: s.seed.machine.diskUsage(), Metrics: map[string]any{"version": s.cfg.Version, "connections": s.connections()}}
	var problems []string
	worse := func(health, problem string) {
		if r.Health != "error" {
			r.Health = health
		}
		problems = append(problems, problem)
	}

	ready, out := 0, 0
	for _, p := range s.cfg.Plugins.Plugins() {
		switch p.State {
		case sdk.PluginReady:
			ready++
		case sdk.PluginDisabled:
			out++
		default:
			worse("degraded", "plugin "+p.Name+" is "+p.State)
		}
	}
	if all := len(s.cfg.Plugins.Plugins()); ready == 0 && all > out {
		worse("error", "no plugin is ready")
	}
	r.Metrics["plugins_ready"] = ready

	mcp := s.seedMCP(ctx)
	r.MCPConnected, r.MCPTools = mcp.connected, mcp.tools
	r.Metrics["mcp_checked_at"] = mcp.at
	for _, name := range mcp.failed {
		worse("degraded", "MCP server "+name+" is not connected")
	}
	r.Sessions = s.seedSessions(ctx)

	status, err := s.rt.Status(ctx)
	if err == nil {
		err = s.rt.Ready(ctx)
	}
	if err != nil {
		worse("error", "the runtime is not ready")
	} else {
		r.Metrics["tasks"], r.Metrics["uptime_seconds"], r.Metrics["nodes"] = status.Tasks, int64(status.Uptime.Std().Seconds()), len(status.Nodes)
	}
	if problems == nil {
		problems = []string{}
	}
	r.Metrics["problems"] = problems
	return r
}

// lastResult reads the result of the latest completed task of a kind.
func (s *Server) lastResult(ctx context.Context, kind string, into any) (at sdk.Time) {
	page, err := s.rt.Tasks(ctx, runtime.TaskFilter{Kinds: []string{kind}, States: []sdk.State{sdk.StateCompleted}, Limit: 1})
	if err != nil || len(page.Tasks) == 0 || json.Unmarshal(page.Tasks[0].Result, into) != nil {
		return 0
	}
	return page.Tasks[0].FinishedAt
}

type seedServers struct {
	at               sdk.Time // null: nobody has looked yet
	connected, tools int
	failed           []string
}

const (
	checkKind = "mcp.check_health"
	checkAge  = 10 * time.Minute // the schedule that looks every five has not, or is missing
	checkWait = 2 * time.Second  // an answer waits this long for a check that it asks for
)

// seedMCP reads what the latest health check of the MCP servers found; a schedule
// makes one every five minutes.
func (s *Server) seedMCP(ctx context.Context) seedServers {
	var check struct {
		Status struct {
			Connected int                 `json:"connected"`
			Tools     int                 `json:"total_tools"`
			Failed    [][]json.RawMessage `json:"failed_servers"`
		} `json:"mcp_status"`
	}
	found := seedServers{at: s.lastResult(ctx, checkKind, &check)}
	if _, known := s.rt.Kind(checkKind); known && sdk.Now().Sub(found.at) > checkAge {
		// If it takes longer the next answer has it; that this one could not ask is no news.
		done, err := s.rt.Submit(context.WithoutCancel(ctx), "", []sdk.Submission{{Kind: checkKind, Unique: "system-status " + checkKind}})
		if err == nil && done[0].Err == nil {
			if t, err := s.awaitEnd(ctx, done[0].Task.ID, checkWait); err == nil && t.State == sdk.StateCompleted {
				found.at = s.lastResult(ctx, checkKind, &check)
			}
		}
	}
	found.connected, found.tools = check.Status.Connected, check.Status.Tools
	for _, pair := range check.Status.Failed {
		name := ""
		if len(pair) > 0 && json.Unmarshal(pair[0], &name) == nil {
			found.failed = append(found.failed, name)
		}
	}
	return found
}

// seedSessions counts the conversations in which something was said within an hour,
// by the turns themselves.
func (s *Server) seedSessions(ctx context.Context) int {
	since := sdk.Now().Add(-time.Hour)
	active := map[string]bool{}
	for cursor := ""; ; {
		page, err := s.rt.Tasks(ctx, runtime.TaskFilter{Kinds: []string{chatKind}, Limit: 200, Cursor: cursor})
		if err != nil {
			return len(active)
		}
		for i := range page.Tasks {
			t := &page.Tasks[i]
			if t.CreatedAt < since {
				return len(active)
			}
			var in, out struct{ Session string }
			_ = json.Unmarshal(t.Payload, &in) // a turn without a session has it in its result
			_ = json.Unmarshal(t.Result, &out) // once it has one
			if session := cmp.Or(out.Session, in.Session); session != "" {
				active[session] = true
			}
		}
		if cursor = page.Next; cursor == "" || len(active) >= 1000 {
			return len(active)
		}
	}
}
