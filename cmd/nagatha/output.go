package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// show prints one thing: as JSON, or as table prints it.
func (a *app) show(v any, table func(w io.Writer) error) error {
	switch a.output {
	case "json":
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "%s\n", b)
		return err
	case "jsonl":
		return a.line(v)
	}
	return table(a.stdout)
}

// list prints things under a name: one a line as jsonl, or one document, or as table
// prints them.
func list[T any](a *app, name string, things []T, table func(w io.Writer) error) error {
	if a.output == "jsonl" {
		return lines(a, things)
	}
	if things == nil {
		things = []T{}
	}
	return a.show(map[string]any{name: things}, table)
}

// lines prints things as JSON, one a line.
func lines[T any](a *app, things []T) error {
	for _, t := range things {
		if err := a.line(t); err != nil {
			return err
		}
	}
	return nil
}

// every reads all pages of a list.
func every[T any](read func(cursor string) (page []T, next string, err error)) ([]T, error) {
	all, next, err := read("")
	for err == nil && next != "" {
		var page []T
		page, next, err = read(next)
		all = append(all, page...)
	}
	return all, err
}

// line prints one thing as one line of JSON.
func (a *app) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "%s\n", b)
	return err
}

// rows prints a table. Every cell is one clean line.
func rows(w io.Writer, head []string, body [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range append([][]string{head}, body...) {
		cells := make([]string, len(r))
		for i, c := range r {
			cells[i] = clean(c)
		}
		fmt.Fprintln(tw, strings.TrimRight(strings.Join(cells, "\t"), "\t "))
	}
	return tw.Flush()
}

// pairs prints names and values, leaving out what is empty.
func pairs(w io.Writer, list [][2]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, p := range list {
		if p[1] != "" {
			fmt.Fprintf(tw, "%s:\t%s\n", p[0], clean(p[1]))
		}
	}
	return tw.Flush()
}

// taskPairs shows one task.
func taskPairs(w io.Writer, t sdk.Task) error {
	list := [][2]string{
		{"id", t.ID}, {"kind", t.Kind}, {"state", string(t.State)}, {"reason", t.Reason}, {"error", failure(t.Error)},
		{"progress", progressText(t.Progress)}, {"queue", t.Queue}, {"priority", number(t.Priority)},
		{"attempt", fmt.Sprintf("%d of %d, life %d", t.Attempt, t.MaxAttempts, t.Life)},
		{"plugin", strings.TrimSpace(t.Plugin + " " + t.PluginVersion)},
		{"created", moment(t.CreatedAt)}, {"run at", moment(t.RunAt)}, {"started", moment(t.StartedAt)}, {"finished", moment(t.FinishedAt)},
		{"deadline", moment(t.Deadline)}, {"timeout", span(t.Timeout)},
		{"concurrency key", t.ConcurrencyKey}, {"parent", t.Parent}, {"schedule", t.Schedule}, {"owner", t.Owner},
	}
	if len(t.Labels) > 0 {
		b, err := json.Marshal(t.Labels) // sorted
		if err != nil {
			return err
		}
		list = append(list, [2]string{"labels", string(b)})
	}
	list = append(list, [2]string{"payload", string(t.Payload)}, [2]string{"result", value(t.Result)})
	return pairs(w, list)
}

func failure(e *sdk.Error) string {
	if e == nil {
		return ""
	}
	return e.Code + ": " + e.Message
}

func progressText(p *sdk.Progress) string {
	switch {
	case p == nil:
		return ""
	case p.Total > 0:
		return strings.TrimSpace(fmt.Sprintf("%g/%g %s", p.Progress, p.Total, p.Message))
	}
	return strings.TrimSpace(fmt.Sprintf("%g %s", p.Progress, p.Message))
}

func moment(t sdk.Time) string { return t.String() }

func span(d sdk.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// value is JSON, or nothing for null.
func value(raw json.RawMessage) string {
	if string(raw) == "null" {
		return ""
	}
	return string(raw)
}

// age is how long ago something was, for a table.
func age(t sdk.Time) string {
	if t == 0 {
		return ""
	}
	d := max(0, sdk.Now().Sub(t))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
