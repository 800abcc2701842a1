package main

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// What must hold after any damage, seen from the outside.

// judge waits until every acknowledged task has ended and checks each one's log.
func (c *chaos) judge() {
	c.report()
	patience := time.Now().Add(3 * time.Minute)
	d := c.nodes[0]
	lost := map[string][]time.Duration{}
	for id, kind := range c.acked {
		for {
			code, m, err := d.try(c.Context(), "GET", "/api/v1/tasks/"+id+"?wait=4s", "")
			if err == nil && code == http.StatusOK && (m["state"] == "completed" || m["state"] == "failed" || m["state"] == "cancelled") {
				if m["state"] != "completed" {
					c.Errorf("%s %s is %v: %v", kind, id, m["state"], m["error"])
				}
				break
			}
			if time.Now().After(patience) {
				c.Fatalf("%s %s was acknowledged and has not ended: %d %v %v", kind, id, code, m, err)
			}
		}
		_, m := d.rest("GET", "/api/v1/tasks/"+id+"/events?limit=1000", "")
		events, _ := m["events"].([]any)
		c.judgeLog(id, kind, events, lost)
		if kind == "demo.fanout" {
			_, m := d.rest("GET", "/api/v1/tasks?parent="+id, "")
			if n := len(m["tasks"].([]any)); n != 3 {
				c.Errorf("%s has %d children: a recorded operation ran again", id, n)
			}
		}
	}
	c.Logf("%d tasks were acknowledged, and ended once each, with dense logs", len(c.acked))
	// What is promised is what make chaos measures, on a machine that has nothing else
	// to do; the short form runs where everything else does.
	slack := time.Duration(1)
	if *chaosFor < time.Minute {
		slack = 5
	}
	c.histogram("a runtime", lost["node_lost"], slack*10*time.Second)
	c.histogram("a plugin, within three restarts a minute", lost["plugin_crashed"], slack*time.Second)
	c.histogram("a plugin that is restarted more often", lost["often"], time.Minute)
	c.slots()
}

// judgeLog checks one task's events and notes how long lost attempts took to run
// again, by what they were lost to.
func (c *chaos) judgeLog(id, kind string, events []any, lost map[string][]time.Duration) {
	attempt, ends, recorded := 0.0, 0, 0.0
	var failedAt time.Time
	var code string
	for i, e := range events {
		e := e.(map[string]any)
		data, _ := e["data"].(map[string]any)
		if e["seq"] != float64(i+1) {
			c.Errorf("%s: event %d has number %v", id, i+1, e["seq"])
		}
		// A signal belongs to no attempt: it says how many had counted when it came, and
		// one that was given back does not count.
		n, told := e["attempt"].(float64), e["type"] == "task.signalled"
		if n < attempt && !told {
			c.Errorf("%s: event %d (%v) of attempt %v after attempt %v began", id, i+1, e["type"], n, attempt)
		} else if !told {
			attempt = n
		}
		at, _ := time.Parse(time.RFC3339, e["time"].(string))
		switch e["type"] {
		case "task.retrying":
			fault, _ := data["error"].(map[string]any)
			if code, _ = fault["code"].(string); code == "node_lost" || code == "plugin_crashed" {
				failedAt = c.struck(at)
			}
			if code == "plugin_crashed" && c.often(failedAt) {
				code = "often"
			}
		case "task.started":
			if !failedAt.IsZero() {
				lost[code] = append(lost[code], at.Sub(failedAt))
				failedAt = time.Time{}
			}
		case "task.progress":
			if kind == "demo.steps" {
				recorded = max(recorded, data["progress"].(float64))
			}
		case "task.log":
			// demo.steps says so when it does a step; its progress says that the
			// step is recorded.
			attrs, _ := data["attrs"].(map[string]any)
			if n, ok := attrs["step"].(float64); ok && kind == "demo.steps" && n <= recorded {
				c.Errorf("%s: step %v was recorded and ran again", id, n)
			}
		}
		if e["end"] == true {
			if ends++; i != len(events)-1 {
				c.Errorf("%s: its end is event %d of %d", id, i+1, len(events))
			}
		}
	}
	if ends != 1 {
		c.Errorf("%s %s: %d ends in %d events", kind, id, ends, len(events))
	}
}

// often reports whether plugins had been killed three times in the minute before.
func (c *chaos) often(at time.Time) bool {
	n := 0
	for _, k := range c.kills {
		if k.at.Before(at) && at.Sub(k.at) < time.Minute {
			n++
		}
	}
	return n >= 3
}

// struck is when the blow fell that an attempt was lost to.
func (c *chaos) struck(noticed time.Time) time.Time {
	last := noticed
	for _, k := range c.kills {
		if k.at.Before(noticed.Add(time.Millisecond)) && (last.Equal(noticed) || k.at.After(last)) {
			last = k.at
		}
	}
	return last
}

func (c *chaos) histogram(to string, lost []time.Duration, limit time.Duration) {
	if len(lost) == 0 {
		return
	}
	slices.Sort(lost)
	bounds := []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, time.Hour}
	line, from := "attempts lost to "+to+" ran again after", time.Duration(0)
	for _, b := range bounds {
		n := 0
		for _, d := range lost {
			if d > from && d <= b {
				n++
			}
		}
		line += fmt.Sprintf("  ≤ %v: %d", b, n)
		from = b
	}
	p99 := lost[len(lost)*99/100]
	c.Logf("%s  (p50 %v, p99 %v)", line, lost[len(lost)/2], p99)
	if p99 > limit {
		c.Errorf("p99 is %v", p99)
	}
}

// slots checks that none has leaked: as many tasks as there are slots run at once.
func (c *chaos) slots() {
	d := c.nodes[0]
	n := 8 * len(c.nodes)
	var ids []string
	for range n {
		ids = append(ids, d.submit(`{"kind":"demo.countdown","payload":{"steps":600,"interval":"100ms"}}`))
	}
	most := 0.0
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end) && most < float64(n); time.Sleep(50 * time.Millisecond) {
		_, m := d.rest("GET", "/api/v1/system", "")
		running, _ := m["tasks"].(map[string]any)["running"].(float64)
		most = max(most, running)
	}
	if most != float64(n) {
		c.Errorf("at most %v of %d slots were in use: some have leaked", most, n)
	}
	for _, id := range ids {
		d.rest("POST", "/api/v1/tasks/"+id+"/cancel", `{}`)
	}
	for _, id := range ids {
		d.await(id)
	}
}
