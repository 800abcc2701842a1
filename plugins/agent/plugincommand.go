package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// The commands that another plugin answers.

// answer runs another plugin's kind for a person and returns its result.
func (t *turn) answer(ctx context.Context, kind string, payload map[string]any) (json.RawMessage, error) {
	if !t.start.has(kind) {
		plugin, _, _ := strings.Cut(kind, ".")
		for _, k := range t.kinds {
			if k.Kind == kind {
				return nil, sdk.Permanent(sdk.Errorf(sdk.CodeUnavailable, "plugin %q is not running at the moment: nagatha plugins list says why", plugin))
			}
		}
		return nil, sdk.Permanent(sdk.Errorf(sdk.CodeUnavailable, "%s is not there: load plugin %q, and grant submit %q to plugin \"agent\", in config.hcl", kind, plugin, plugin+".*"))
	}
	out, err := sdk.RunAll(ctx, t.host, "", []sdk.Submission{t.child(kind, payload, patience)})
	if err != nil {
		return nil, err
	}
	return out[0].Result, out[0].Err()
}

func (t *turn) showUsage(ctx context.Context, by string) (string, error) {
	by = cmp.Or(by, "day")
	if !slices.Contains([]string{"day", "model", "session", "kind"}, by) {
		return "", sdk.Invalid("message", "want /usage, or /usage with day, model, session or kind")
	}
	result, err := t.answer(ctx, "usage.report", map[string]any{"group_by": by})
	if err != nil {
		return "", err
	}
	type sum struct {
		Key      string   `json:"key"`
		Requests int      `json:"requests"`
		Input    int      `json:"input_tokens"`
		Output   int      `json:"output_tokens"`
		CostUSD  *float64 `json:"cost_usd"`
		Unpriced int      `json:"unpriced_requests"`
	}
	var report struct {
		Rows  []sum `json:"rows"`
		Total sum   `json:"total"`
	}
	if err := json.Unmarshal(result, &report); err != nil {
		return "", err
	}
	report.Total.Key = "all"
	var b strings.Builder
	for _, r := range append(report.Rows, report.Total) {
		fmt.Fprintf(&b, "%s: %d requests, %d tokens in, %d out", cmp.Or(r.Key, "none"), r.Requests, r.Input, r.Output)
		if r.CostUSD != nil {
			fmt.Fprintf(&b, ", $%.6f", *r.CostUSD)
		}
		if r.Unpriced > 0 {
			fmt.Fprintf(&b, ", %d of them without a known price", r.Unpriced)
		}
		b.WriteByte('\n')
	}
	return strings.TrimRight(b.String(), "\n"), nil
}

type reminder struct {
	ID         string   `json:"id"`
	Text       string   `json:"text"`
	DueAt      sdk.Time `json:"due_at"`
	Recurrence string   `json:"recurrence"`
}

// reminders shows what is to come, the next one first.
func (t *turn) reminders(ctx context.Context) (string, error) {
	result, err := t.answer(ctx, "reminders.list", map[string]any{})
	if err != nil {
		return "", err
	}
	var list struct {
		Reminders []reminder `json:"reminders"`
		Next      string     `json:"next_cursor"`
	}
	if err := json.Unmarshal(result, &list); err != nil {
		return "", err
	}
	if len(list.Reminders) == 0 {
		return "There is nothing to remind you of.", nil
	}
	var b strings.Builder
	for _, r := range list.Reminders {
		fmt.Fprintf(&b, "%s  %s", r.DueAt, r.Text)
		if r.Recurrence != "" {
			fmt.Fprintf(&b, " [%s]", r.Recurrence)
		}
		fmt.Fprintf(&b, " %s\n", r.ID)
	}
	if list.Next != "" {
		b.WriteString("There are more: ask for reminders.list.\n")
	}
	return strings.TrimRight(b.String(), "\n"), nil
}

func (t *turn) remindCommand(ctx context.Context, rest string) (string, error) {
	switch rest {
	case "", "help":
		return "", sdk.Invalid("message", "want /remind WHEN TEXT, such as: /remind in 10 minutes stretch")
	case "list":
		return t.reminders(ctx)
	}
	result, err := t.answer(ctx, "reminders.create", map[string]any{"say": rest})
	if err != nil {
		return "", err
	}
	var made struct {
		Reminder *reminder `json:"reminder"`
	}
	if err := json.Unmarshal(result, &made); err != nil {
		return "", err
	}
	if made.Reminder == nil {
		return string(result), nil
	}
	return fmt.Sprintf("I will remind you of %q at %s (%s).", made.Reminder.Text, made.Reminder.DueAt, made.Reminder.ID), nil
}
