package config

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// Schedule submits a task at each of its ticks. One of Cron, Every and At is set.
type Schedule struct {
	Name string

	Cron, Zone string
	Every      time.Duration
	At         time.Time

	Kind        string
	Payload     json.RawMessage // nil: {}
	Queue       string          // "": the kind's own
	Priority    int
	Timeout     time.Duration // 0: the kind's own
	MaxAttempts int           // 0: the kind's own

	Missed, Overlap string // "": the default
	Jitter          time.Duration
	Paused          bool
}

type scheduleBlock struct {
	Name        string         `hcl:"name,label"`
	Cron        hcl.Expression `hcl:"cron,optional"`
	Zone        hcl.Expression `hcl:"zone,optional"`
	Every       hcl.Expression `hcl:"every,optional"`
	At          hcl.Expression `hcl:"at,optional"`
	Kind        hcl.Expression `hcl:"kind,optional"`
	Payload     hcl.Expression `hcl:"payload,optional"`
	Queue       hcl.Expression `hcl:"queue,optional"`
	Priority    hcl.Expression `hcl:"priority,optional"`
	Timeout     hcl.Expression `hcl:"timeout,optional"`
	MaxAttempts hcl.Expression `hcl:"max_attempts,optional"`
	Missed      hcl.Expression `hcl:"missed,optional"`
	Overlap     hcl.Expression `hcl:"overlap,optional"`
	Jitter      hcl.Expression `hcl:"jitter,optional"`
	Paused      hcl.Expression `hcl:"paused,optional"`
	Def         hcl.Range      `hcl:",def_range"`
}

// schedules is checked last: it names queues and plugins.
func (c *checker) schedules(cfg *Config, blocks []scheduleBlock) {
	for i := range blocks {
		b := &blocks[i]
		c.unique(b.Def, "schedule", b.Name)
		if !validName(b.Name) || len(b.Name) > 100 || strings.HasPrefix(b.Name, "sch_") {
			c.bad(b.Def, "bad name", "Want a lower-case name of at most 100 characters, such as schedule \"nightly-report\".")
		}
		const day = 24 * time.Hour
		s := Schedule{
			Name: b.Name, Cron: c.text(b.Cron, ""), Zone: c.text(b.Zone, ""), Every: c.duration(b.Every, 0, time.Second, 3650*day), At: c.moment(b.At),
			Kind: c.text(b.Kind, ""), Payload: c.json(b.Payload), Queue: c.text(b.Queue, ""), Priority: c.num(b.Priority, 0, -100, 100),
			Timeout: c.duration(b.Timeout, 0, time.Millisecond, 30*day), MaxAttempts: c.num(b.MaxAttempts, 0, 1, 1000),
			Jitter: c.duration(b.Jitter, 0, 0, day), Paused: c.boolean(b.Paused, false),
		}
		if given(b.Missed) {
			s.Missed = c.oneOf(b.Missed, "once", "once", "skip", "all")
		}
		if given(b.Overlap) {
			s.Overlap = c.oneOf(b.Overlap, "skip", "skip", "allow", "cancel_previous")
		}
		if s.Missed == "all" && s.Overlap != "" && s.Overlap != "allow" {
			c.bad(b.Overlap.Range(), "does not go with missed = \"all\"", "The tasks of missed ticks come at once: want overlap = \"allow\".")
		}
		c.ticks(b, &s)
		c.target(cfg, b, &s)
		cfg.Schedules = append(cfg.Schedules, s)
	}
}

// ticks checks when a schedule ticks.
func (c *checker) ticks(b *scheduleBlock, s *Schedule) {
	n := 0
	for _, e := range []hcl.Expression{b.Cron, b.Every, b.At} {
		if given(e) {
			n++
		}
	}
	if n != 1 {
		c.bad(b.Def, "cron, every or at", "A schedule needs one of cron = \"30 8 * * *\", every = \"5m\" and at = \"2027-01-31T08:00:00Z\".")
	}
	if given(b.Every) && s.Every%time.Millisecond != 0 {
		c.bad(b.Every.Range(), "too fine", "Want whole milliseconds.")
	}
	if s.Zone != "" {
		if !given(b.Cron) {
			c.bad(b.Zone.Range(), "only for cron", "zone goes with cron; at says its own offset, and every needs none.")
		}
		if _, err := time.LoadLocation(s.Zone); err != nil || s.Zone == "Local" {
			c.bad(b.Zone.Range(), "no such time zone", "Want an IANA name such as \"Europe/Berlin\".")
			return
		}
	}
	if !given(b.Cron) || c.cron == nil {
		return
	}
	if err := c.cron(s.Cron, s.Zone); err != nil {
		c.bad(b.Cron.Range(), "bad cron line", "It is refused: %v. An example: \"30 8 * * MON-FRI\".", err)
	}
}

// target checks what a schedule submits.
func (c *checker) target(cfg *Config, b *scheduleBlock, s *Schedule) {
	var plugins, queues []string
	for _, p := range cfg.Plugins {
		plugins = append(plugins, p.Name)
	}
	for _, q := range cfg.Queues {
		queues = append(queues, q.Name)
	}
	if s.Queue != "" && !slices.Contains(queues, s.Queue) {
		c.bad(b.Queue.Range(), fmt.Sprintf("there is no queue %q", s.Queue), "%s", suggest(s.Queue, queues))
	}
	plugin, rest, dotted := strings.Cut(s.Kind, ".")
	switch known := append(plugins, "system"); {
	case !given(b.Kind):
		c.bad(b.Def, "a schedule needs a kind", "Add the kind of its tasks, such as kind = \"mcp.check_health\".")
	case !dotted || slices.ContainsFunc(strings.Split(s.Kind, "."), func(p string) bool { return !validName(p) }) || rest == "" || len(s.Kind) > 128:
		c.bad(b.Kind.Range(), "not a kind", "Want dotted lower-case names such as \"mcp.check_health\".")
	case !slices.Contains(known, plugin):
		c.bad(b.Kind.Range(), fmt.Sprintf("there is no plugin %q", plugin), "A kind begins with the name of its plugin. %s", suggest(plugin, known))
	case plugin == "system" && c.kinds != nil && !slices.Contains(c.kinds, s.Kind):
		c.bad(b.Kind.Range(), fmt.Sprintf("the runtime has no kind %q", s.Kind), "%s", suggest(s.Kind, c.kinds))
	}
}

// moment reads a time.
func (c *checker) moment(e hcl.Expression) time.Time {
	text := c.text(e, "")
	if text == "" {
		if given(e) {
			c.bad(e.Range(), "not a time", "Want RFC 3339, such as \"2027-01-31T08:00:00+01:00\".")
		}
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Year() < 1971 || t.Year() > 9000 {
		c.bad(e.Range(), "not a time", "Want RFC 3339, such as \"2027-01-31T08:00:00+01:00\".")
		return time.Time{}
	}
	return t
}

// json makes JSON of any value.
func (c *checker) json(e hcl.Expression) json.RawMessage {
	if !given(e) {
		return nil
	}
	v, diags := e.Value(c.ctx)
	c.diags = append(c.diags, diags...)
	if diags.HasErrors() {
		return nil
	}
	b, err := ctyjson.Marshal(v, v.Type())
	if err != nil {
		c.bad(e.Range(), "cannot be JSON", "%v", err)
		return nil
	}
	return b
}
