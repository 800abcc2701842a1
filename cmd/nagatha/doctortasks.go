package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/client"
)

func checkMessage(ctx context.Context, d *doctor) (string, error) {
	if err := d.want(chatKind); err != nil {
		return "", err
	}
	result, err := d.task(ctx, chatKind, `{"message":"/help"}`)
	if err != nil {
		return "", err
	}
	var r chatResult
	if err := json.Unmarshal(result, &r); err != nil || strings.TrimSpace(r.Response) == "" {
		return "", fmt.Errorf("agent.chat answered nothing to /help: %s", shorten(string(result), 200))
	}
	return "agent.chat answers /help", nil
}

func checkMCP(ctx context.Context, d *doctor) (string, error) {
	if err := d.want("mcp.check_health"); err != nil {
		return "", err
	}
	result, err := d.task(ctx, "mcp.check_health", `{}`)
	if err != nil {
		return "", err
	}
	var r struct {
		Status struct {
			Configured int                 `json:"total_configured"`
			Connected  int                 `json:"connected"`
			Tools      int                 `json:"total_tools"`
			Failed     [][]json.RawMessage `json:"failed_servers"`
		} `json:"mcp_status"`
	}
	if err := json.Unmarshal(result, &r); err != nil {
		return "", fmt.Errorf("mcp.check_health: %w", err)
	}
	var bad []string
	for _, pair := range r.Status.Failed {
		if len(pair) == 0 {
			continue
		}
		name, why := text(pair[0]), text(pair[len(pair)-1])
		if !strings.Contains(why, name) {
			why = fmt.Sprintf("MCP server %q: %s", name, why)
		}
		bad = append(bad, why)
	}
	if len(bad) > 0 {
		return "", fmt.Errorf("%s; correct it in config.hcl or its mcp.json; \"nagatha submit mcp.test_connection --set server=NAME --wait\" tries it again", strings.Join(bad, "; "))
	}
	if r.Status.Configured == 0 {
		return "no MCP servers are configured", nil
	}
	return fmt.Sprintf("%d servers connected, %d tools", r.Status.Connected, r.Status.Tools), nil
}

func checkMemory(ctx context.Context, d *doctor) (string, error) {
	kinds := []string{"memory.set", "memory.get", "memory.search", "memory.delete", "memory.cleanup"}
	if err := d.want(kinds...); err != nil {
		return "", err
	}
	id := strings.ToLower(sdk.Now().String())
	word := "doctor" + fmt.Sprint(int64(sdk.Now()))
	entry := fmt.Sprintf(`{"section":"temporary","key":"doctor %s"`, id)
	if _, err := d.task(ctx, "memory.set", entry+fmt.Sprintf(`,"value":"the word of the day is %s","ttl":"5m"}`, word)); err != nil {
		return "", err
	}
	got, err := d.task(ctx, "memory.get", entry+`}`)
	if err == nil && !strings.Contains(string(got), word) {
		err = fmt.Errorf("memory.get does not return what memory.set stored: %s", shorten(string(got), 200))
	}
	if err != nil {
		return "", err
	}
	found, err := d.task(ctx, "memory.search", fmt.Sprintf(`{"query":"what is %s?","section":"temporary"}`, word))
	if err == nil && !strings.Contains(string(found), word) {
		err = fmt.Errorf("memory.search does not find what memory.set stored: %s", shorten(string(found), 200))
	}
	if err != nil {
		return "", err
	}
	if _, err := d.task(ctx, "memory.delete", entry+`}`); err != nil {
		return "", err
	}
	if got, err = d.task(ctx, "memory.get", entry+`}`); err == nil && strings.Contains(string(got), word) {
		err = fmt.Errorf("memory.delete left the entry where it was")
	}
	if err == nil {
		_, err = d.task(ctx, "memory.cleanup", `{}`)
	}
	return "an entry was set, found and deleted; cleanup ran", err
}

func checkUsage(ctx context.Context, d *doctor) (string, error) {
	if err := d.want("usage.track", "usage.report"); err != nil {
		return "", err
	}
	result, err := d.task(ctx, "usage.track", `{}`)
	if err != nil {
		return "", err
	}
	var r struct {
		Requests *int     `json:"total_requests"`
		Cost     *float64 `json:"total_cost"`
	}
	if err := json.Unmarshal(result, &r); err != nil || r.Requests == nil {
		return "", fmt.Errorf("usage.track does not say how many requests there were: %s", shorten(string(result), 200))
	}
	text := fmt.Sprintf("%d requests", *r.Requests)
	if r.Cost != nil {
		text += fmt.Sprintf(", $%.4f", *r.Cost)
	}
	return text, checkBudget(ctx, d)
}

// checkBudget looks whether there is money left for today: otherwise the agent is well
// and answers nobody.
func checkBudget(ctx context.Context, d *doctor) error {
	if !d.has("usage.budget") { // of a usage plugin that knows none
		return nil
	}
	result, err := d.task(ctx, "usage.budget", `{}`)
	if err != nil {
		return err
	}
	var r struct {
		Date string `json:"date"`
		Day  struct {
			Budget *float64 `json:"budget_usd"`
			Left   *float64 `json:"left_usd"`
		} `json:"day"`
	}
	if err := json.Unmarshal(result, &r); err != nil {
		return fmt.Errorf("usage.budget does not say what is left: %s", shorten(string(result), 200))
	}
	if r.Day.Budget != nil && r.Day.Left != nil && *r.Day.Left <= 0 {
		return fmt.Errorf("the budget of %s, $%g, is used up, so calls of models that cost something are refused until the day is over: raise it with \"nagatha submit usage.set_budget --set scope=day --set usd=AMOUNT\"",
			r.Date, *r.Day.Budget)
	}
	return nil
}

// reminderLate is how late a reminder may come: it should be a second, on a busy
// machine it is more.
const reminderLate = 10 * time.Second

func checkScheduled(ctx context.Context, d *doctor) (string, error) {
	if err := d.want("reminders.create", "reminders.process_due", "reminders.delete"); err != nil {
		return "", err
	}
	if _, err := d.task(ctx, "reminders.process_due", `{}`); err != nil {
		return "", err
	}
	due, cancel := context.WithTimeout(ctx, time.Second+d.patient)
	defer cancel()
	sub, err := d.conn.Subscribe(due, client.SubscribeRequest{Topics: []string{"event.reminder.due"}})
	if err != nil {
		return "", err
	}
	defer func() { _ = sub.Close() }() // never fails
	text := "nagatha doctor " + sdk.Now().String()
	payload, err := json.Marshal(map[string]string{"text": text, "in": "1 second"})
	if err != nil {
		return "", err
	}
	made, err := d.task(ctx, "reminders.create", string(payload))
	if err != nil {
		return "", err
	}
	wanted := sdk.Now().Add(time.Second)
	for {
		n, err := sub.Next(due)
		switch {
		case err != nil && ctx.Err() == nil && due.Err() != nil:
			d.forget(ctx, made)
			return "", fmt.Errorf("a reminder that was due in a second has not fired within %s%s", d.patient, d.jams(ctx, ""))
		case err != nil:
			return "", err
		case n.Message == nil || !strings.Contains(string(n.Message.Data), text):
			continue
		}
		d.forget(ctx, made)
		if late := sdk.Now().Sub(wanted); late > reminderLate {
			return "", fmt.Errorf("a reminder fired %s too late", late.Round(time.Second))
		}
		return "a reminder fired when it was due", nil
	}
}

// forget deletes the reminder of the check.
func (d *doctor) forget(ctx context.Context, made json.RawMessage) {
	var r struct {
		ID       string `json:"id"`
		Reminder struct {
			ID string `json:"id"`
		} `json:"reminder"`
	}
	_ = json.Unmarshal(made, &r) // without an id there is nothing to delete
	if id := r.ID + r.Reminder.ID; id != "" {
		_, _ = d.task(ctx, "reminders.delete", fmt.Sprintf(`{"id":%q}`, id)) // it has fired and does no harm
	}
}

func checkReload(ctx context.Context, d *doctor) (string, error) {
	if err := d.want("mcp.reload"); err != nil {
		return "", err
	}
	result, err := d.task(ctx, "mcp.reload", `{}`)
	if err != nil {
		return "", err
	}
	var r struct{ Added, Removed, Changed, Unchanged []string }
	if err := json.Unmarshal(result, &r); err != nil {
		return "", fmt.Errorf("mcp.reload: %w", err)
	}
	return fmt.Sprintf("%d servers added, %d removed, %d changed, %d unchanged", len(r.Added), len(r.Removed), len(r.Changed), len(r.Unchanged)), nil
}

// harmless are kinds that say that they change something, and whose example does not
// matter to anybody.
var harmless = map[string]bool{"demo.echo": true, "demo.stream": true, "demo.steps": true, "demo.fanout": true}

// madeToFail are kinds whose example cannot work everywhere: one fails on purpose, one
// needs a server.
var madeToFail = map[string]bool{"demo.fail": true, "demo.fetch": true}

// checkExamples runs the example of every kind that does no harm. An example may name
// what is not there; that it says so is as good an answer as any.
func checkExamples(ctx context.Context, d *doctor) (string, error) {
	ran, nothing, denied := 0, 0, 0
	var bad []string
	for _, p := range d.plugins {
		if p.State != sdk.PluginReady {
			continue
		}
		for _, k := range p.Kinds {
			if !k.ReadOnly && !harmless[k.Kind] || madeToFail[k.Kind] || len(k.Example) == 0 || string(k.Example) == "null" {
				continue
			}
			ran++
			_, err := d.task(ctx, k.Kind, string(k.Example))
			switch {
			case err == nil:
			case sdk.CodeOf(err) == sdk.CodeNotFound:
				nothing++
			case sdk.CodeOf(err) == sdk.CodeCapabilityDenied: // the operator's decision
				denied++
			case ctx.Err() != nil:
				return "", ctx.Err()
			default:
				bad = append(bad, message(err))
			}
		}
	}
	if len(bad) > 0 {
		return "", errors.New(strings.Join(bad, "; "))
	}
	text := fmt.Sprintf("%d ran", ran)
	if nothing > 0 {
		text += fmt.Sprintf(", %d of them about what is not there", nothing)
	}
	if denied > 0 {
		text += fmt.Sprintf(", %d of them lack a grant", denied)
	}
	return text, nil
}
