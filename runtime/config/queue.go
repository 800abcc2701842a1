package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// Queue is a lane with its own concurrency.
type Queue struct {
	Name           string
	Concurrency    int
	Depth          int // 0: no cap
	KeyConcurrency int
	Rate, KeyRate  Rate
}

// Rate is N starts in a Period; the zero Rate does not limit.
type Rate struct {
	N      int
	Period time.Duration
	Burst  int // 0: the runtime's default
}

func (c *checker) queues(cfg *Config, blocks []queueBlock) {
	for _, b := range blocks {
		c.unique(b.Def, "queue", b.Name)
		if !validName(b.Name) {
			c.bad(b.Def, "bad name", "Want a lower-case name such as queue \"default\".")
		}
		cfg.Queues = append(cfg.Queues, Queue{
			Name: b.Name, Concurrency: c.num(b.Concurrency, 16, 1, 100_000), Depth: c.num(b.Depth, 0, 1, 1_000_000_000),
			KeyConcurrency: c.num(b.KeyConcurrency, 1, 1, 100_000),
			Rate:           c.rate(b.Rate, b.Burst), KeyRate: c.rate(b.KeyRate, b.KeyBurst),
		})
	}
	if !slices.ContainsFunc(cfg.Queues, func(q Queue) bool { return q.Name == "default" }) {
		cfg.Queues = append([]Queue{{Name: "default", Concurrency: 16, KeyConcurrency: 1}}, cfg.Queues...)
	}
}

// grantQueues is a grant's list of queues, which is checked once all are known.
type grantQueues struct {
	at   hcl.Expression
	list []string
}

func (c *checker) checkGrantQueues(cfg *Config) {
	var names []string
	for _, q := range cfg.Queues {
		names = append(names, q.Name)
	}
	for _, g := range c.grantQueues {
		for _, name := range g.list {
			if !slices.Contains(names, name) {
				c.bad(g.at.Range(), fmt.Sprintf("there is no queue %q", name), "%s", suggest(name, names))
			}
		}
	}
}

// rate reads a rate such as "100/s", and how many may start at once.
func (c *checker) rate(e, burst hcl.Expression) Rate {
	text := c.text(e, "")
	r := Rate{Burst: c.num(burst, 0, 1, 1_000_000)}
	if text == "" {
		if given(burst) {
			c.bad(burst.Range(), "burst without a rate", "Give the rate as well, such as \"100/s\".")
		}
		return Rate{}
	}
	n, unit, ok := strings.Cut(text, "/")
	period, known := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[strings.TrimSpace(unit)]
	count, err := strconv.Atoi(strings.TrimSpace(n))
	if !ok || !known || err != nil || count < 1 || count > 1_000_000 {
		c.bad(e.Range(), "not a rate", "Want a number from 1 to 1000000 per second, minute or hour, such as \"100/s\", \"10/m\" or \"5/h\".")
		return Rate{}
	}
	r.N, r.Period = count, period
	return r
}
