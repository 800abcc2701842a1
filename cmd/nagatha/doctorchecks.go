package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// builtin are kinds without which a built-in plugin is not what it should be.
var builtin = []string{
	"agent.chat", "agent.sessions", "agent.history",
	"mcp.servers", "mcp.list_tools", "mcp.call_tool", "mcp.check_health", "mcp.reload",
	"memory.set", "memory.get", "memory.delete", "memory.search", "memory.stats", "memory.cleanup",
	"usage.record", "usage.report", "usage.track",
	"reminders.create", "reminders.list", "reminders.delete", "reminders.process_due",
	"system.refresh_status", "system.cleanup_old_data",
}

func checkPlugins(_ context.Context, d *doctor) (string, error) {
	var ready, off []string
	var bad []string
	for _, p := range d.plugins {
		switch p.State {
		case sdk.PluginReady:
			ready = append(ready, p.Name)
		case sdk.PluginDisabled:
			off = append(off, p.Name)
		default:
			bad = append(bad, ailing(p).Error())
		}
	}
	if len(bad) > 0 {
		return "", errors.New(strings.Join(bad, "; "))
	}
	text := strings.Join(ready, ", ")
	if len(off) > 0 {
		text += "; disabled: " + strings.Join(off, ", ")
	}
	return text, nil
}

// ailing says why a plugin is not ready, and what to do.
func ailing(p sdk.PluginStatus) error {
	switch p.State {
	case sdk.PluginDisabled:
		return fmt.Errorf("plugin %q is disabled: \"nagatha plugins enable %s\" enables it", p.Name, p.Name)
	case sdk.PluginFailed:
		return fmt.Errorf("plugin %q is failed: %s; mend it, then \"nagatha plugins reload %s\"", p.Name, orNone(p.Error), p.Name)
	}
	return fmt.Errorf("plugin %q is %s; see the runtime's log", p.Name, p.State)
}

func checkKinds(_ context.Context, d *doctor) (string, error) {
	var missing []string
	for _, kind := range builtin {
		if d.want(kind) != nil {
			missing = append(missing, kind)
		}
	}
	if len(missing) > 0 {
		return "", fmt.Errorf("nobody handles %s; see \"nagatha plugins list\"", strings.Join(missing, ", "))
	}
	n := 0
	for _, p := range d.plugins {
		n += len(p.Kinds)
	}
	return fmt.Sprintf("%d kinds of %d plugins", n, len(d.plugins)), nil
}

// checkQueues lets a paused queue pass, like a paused schedule: somebody wanted it. What
// it holds back is named by what waits for it.
func checkQueues(ctx context.Context, d *doctor) (string, error) {
	all, err := d.cl.Queues(ctx)
	if err != nil {
		return "", err
	}
	var full, nearly, paused []string
	queued, scheduled := 0, 0
	for _, q := range all {
		queued += q.Queued
		scheduled += q.Scheduled
		switch {
		case isFull(q):
			full = append(full, jam(q))
		case q.DepthLimit > 0 && 10*depth(q) >= 9*q.DepthLimit:
			nearly = append(nearly, fmt.Sprintf("%s (%d of %d)", q.Name, depth(q), q.DepthLimit))
		}
		if q.Paused {
			paused = append(paused, q.Name)
		}
	}
	if len(full) > 0 {
		return "", errors.New(strings.Join(full, "; "))
	}
	text := fmt.Sprintf("%d, %d tasks wait", len(all), queued)
	if scheduled > 0 {
		text += fmt.Sprintf(", %d are scheduled", scheduled)
	}
	if len(nearly) > 0 {
		text += "; nearly full: " + strings.Join(nearly, ", ")
	}
	if len(paused) > 0 {
		text += "; paused: " + strings.Join(paused, ", ")
	}
	return text, nil
}

// depth is what depth_limit bounds. Timers that are due in a year fill a queue, too.
func depth(q sdk.QueueStatus) int { return q.Queued + q.Scheduled }

func isFull(q sdk.QueueStatus) bool { return q.DepthLimit > 0 && depth(q) >= q.DepthLimit }

// jam says why a queue lets nothing through, and what to do; "" if it does.
func jam(q sdk.QueueStatus) string {
	var text []string
	if isFull(q) {
		states := "queued"
		if q.Scheduled > 0 {
			states = "queued,scheduled,retrying"
		}
		text = append(text, fmt.Sprintf("queue %q is full, %d tasks wait and %d are scheduled, of at most %d: raise its depth in config.hcl, or \"nagatha tasks cancel --state %s --queue %s\"",
			q.Name, q.Queued, q.Scheduled, q.DepthLimit, states, q.Name))
	}
	if q.Paused {
		text = append(text, fmt.Sprintf("queue %q is paused: \"nagatha queues resume %s\" resumes it", q.Name, q.Name))
	}
	return strings.Join(text, "; ")
}

// jams is what to add to the error of a task that was refused or has not run. Where it
// waits in a queue that is the only one that matters; "": any may be.
func (d *doctor) jams(ctx context.Context, queue string) string {
	all, err := d.cl.Queues(ctx)
	if err != nil {
		return "" // the task's own error has to do
	}
	text := ""
	for _, q := range all {
		if queue != "" && q.Name != queue {
			continue
		}
		why := jam(q)
		if why == "" && queue != "" && q.Queued > 1 {
			why = fmt.Sprintf("%d tasks wait in queue %q, of which at most %d run at once", q.Queued, q.Name, q.Concurrency)
		}
		if why != "" {
			text += "; " + why
		}
	}
	return text
}

func checkSchedules(ctx context.Context, d *doctor) (string, error) {
	all, err := every(func(cursor string) ([]sdk.Schedule, string, error) { return d.cl.Schedules(ctx, cursor) })
	if err != nil {
		return "", err
	}
	var bad []string
	paused := 0
	for _, s := range all {
		switch {
		case s.Error != "":
			bad = append(bad, fmt.Sprintf("schedule %q cannot submit its task: %s", s.Name, s.Error))
		case s.Paused:
			paused++
		case d.want(s.Kind) != nil:
			bad = append(bad, fmt.Sprintf("schedule %q: %v", s.Name, d.want(s.Kind)))
		}
	}
	if len(bad) > 0 {
		return "", errors.New(strings.Join(bad, "; "))
	}
	return fmt.Sprintf("%d, %d of them paused", len(all), paused), nil
}
