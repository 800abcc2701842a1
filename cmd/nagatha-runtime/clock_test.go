package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime/store/storetest"
)

// jump is how far the clock is set. Ticks of ten minutes that are found then are late.
const jump = 65 * time.Minute

// TestChaosClock sets the clocks of runtimes ahead, back and ahead again, under load:
// nothing is doubled or lost, and schedules do by their policy what they missed. It
// ends ahead, since what was put off to a moment while the clock was ahead waits for
// that moment to come again.
func TestChaosClock(t *testing.T) {
	if *chaosFor < time.Minute {
		t.Skip("part of make chaos: -chaos 1m or more")
	}
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	const program = "nagatha-runtime-clock"
	build := exec.Command("go", "build", "-tags", "sqlite_fts5 nagatha_clock", "-o", filepath.Join(bin, program), ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, base := range []string{"sqlite", "postgres"} {
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			c := &chaos{T: t, acked: map[string]string{}, down: map[*daemon]bool{}, count: map[string]int{}}
			config, nodes := fmt.Sprintf(chaosConfig, ""), 1
			if base == "postgres" {
				config, nodes = fmt.Sprintf(chaosConfig, fmt.Sprintf("store \"postgres\" {\n  url = %q\n}\n", storetest.Postgres(t))), 2
			}
			clock := filepath.Join(t.TempDir(), "clock")
			set := func(ahead time.Duration) {
				// Whole at once, for those who read it meanwhile.
				if err := os.WriteFile(clock+".new", []byte(ahead.String()), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(clock+".new", clock); err != nil {
					t.Fatal(err)
				}
				c.did("clock set to " + ahead.String() + " ahead")
			}
			set(0)
			for range nodes {
				d := newDaemon(t, config)
				d.program, d.env = program, []string{"NAGATHA_CLOCK=" + clock}
				d.start()
				c.nodes = append(c.nodes, d)
			}
			d := c.nodes[0]
			ids := map[string]string{}
			for missed := range missedTicks {
				code, m := d.rest("POST", "/api/v1/schedules", fmt.Sprintf(`{"name":"on-%s","every":"10m","kind":"demo.echo","missed":%q,"overlap":"allow"}`, missed, missed))
				if code != http.StatusCreated {
					t.Fatalf("schedule: %d %v", code, m)
				}
				ids[missed] = m["id"].(string)
			}

			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() { c.load(ctx) })
			}
			publish := func(n int) {
				for i := range 10 {
					c.insist(t.Context(), "POST", "/api/v1/events", fmt.Sprintf(`{"type":"demo.ping","id":"%d-%d","source":"clock"}`, n, i))
				}
			}
			time.Sleep(2 * time.Second) // some load at each time
			publish(1)
			set(jump)
			publish(2)
			c.untilTicked(ids)
			set(0)
			publish(3)
			time.Sleep(3 * time.Second)
			set(jump)
			publish(4)
			time.Sleep(2 * time.Second)
			cancel()
			wg.Wait()
			c.judge()
			c.untilTicked(ids) // nothing fired again
			for end := time.Now().Add(time.Minute); c.total("kind=demo.pong&state=completed") < 40; time.Sleep(50 * time.Millisecond) {
				if time.Now().After(end) {
					break
				}
			}
			if n := c.total("kind=demo.pong"); n != 40 {
				t.Errorf("40 events made %d tasks", n)
			}
		})
	}
}

// missedTicks is how many of the six ticks in a jump each policy makes up for.
var missedTicks = map[string]int{"once": 1, "skip": 0, "all": 6}

// total is how many tasks a query selects, up to 1,000.
func (c *chaos) total(query string) int {
	_, m := c.nodes[0].rest("GET", "/api/v1/tasks?limit=1000&"+query, "")
	list, _ := m["tasks"].([]any)
	return len(list)
}

// untilTicked waits until each schedule has gone past the jump, and checks what it
// made of it.
func (c *chaos) untilTicked(ids map[string]string) {
	c.Helper()
	for missed, id := range ids {
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
			_, m := c.nodes[0].rest("GET", "/api/v1/schedules/"+id, "")
			next, err := time.Parse(time.RFC3339, fmt.Sprint(m["next_at"]))
			if err == nil && time.Until(next) > time.Hour {
				break
			}
			if time.Now().After(end) {
				c.Fatalf("schedule %s does not notice the clock: %v", missed, m)
			}
		}
		if n := c.total("schedule=" + id); n != missedTicks[missed] {
			c.Errorf("missed ticks, policy %s: %d tasks, want %d", missed, n, missedTicks[missed])
		}
	}
}
