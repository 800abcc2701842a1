package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime/store/storetest"
)

// Damage under load. What was acknowledged is checked from the outside, over the
// public API: see verdict_test.go. make chaos runs it for minutes; by itself it is
// short.
var chaosFor = flag.Duration("chaos", 15*time.Second, "how long TestChaos does damage to each database")

// chaos is runtimes under load while damage is done to them.
type chaos struct {
	*testing.T
	nodes []*daemon
	pg    *storetest.Server // nil: SQLite

	mu    sync.Mutex
	acked map[string]string // kind by id
	down  map[*daemon]bool
	kills []strike
	count map[string]int // what was done, how often
}

// strike is one kill.
type strike struct {
	what string
	at   time.Time
}

func TestChaos(t *testing.T) {
	for _, base := range []string{"sqlite", "postgres"} {
		t.Run(base, func(t *testing.T) {
			c := &chaos{T: t, acked: map[string]string{}, down: map[*daemon]bool{}, count: map[string]int{}}
			config := fmt.Sprintf(chaosConfig, "")
			nodes := 1
			if base == "postgres" {
				var err error
				if c.pg, err = storetest.StartPostgres(); err != nil {
					storetest.Postgres(t) // skips or fails, as the machine wants it
					t.Fatal(err)
				}
				t.Cleanup(c.pg.Close)
				config = fmt.Sprintf(chaosConfig, fmt.Sprintf("store \"postgres\" {\n  url = %q\n}\n", c.pg.Database(t)))
				nodes = 2
			}
			for range nodes {
				d := newDaemon(t, config)
				d.start()
				c.nodes = append(c.nodes, d)
			}
			c.run()
		})
	}
}

const chaosConfig = `%s
queue "default" {
  concurrency = 8
}
plugin "demo" {
  command = ["BIN/demo"]
  grant {
    store  = true
    submit = ["demo.*"]
    await  = true
  }
}
`

func (c *chaos) run() {
	ctx, cancel := context.WithCancel(c.Context())
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { c.load(ctx) })
	}
	blows := []func(){c.killRuntime, c.killPlugin, c.killPlugin}
	if c.pg != nil {
		blows = append(blows, c.freeze, c.stopPostgres)
	}
	for i, end := 0, time.Now().Add(*chaosFor); time.Now().Before(end); i++ {
		time.Sleep(time.Duration(1+rand.IntN(3000)) * time.Millisecond)
		blows[i%len(blows)]()
	}
	cancel()
	wg.Wait()
	c.judge()
}

// kinds are what the load submits; %d is a number.
var chaosKinds = []string{
	`{"kind":"demo.echo","payload":{"n":%d}}`,
	`{"kind":"demo.countdown","payload":{"steps":5,"interval":"30ms"},"labels":{"n":"%d"}}`,
	`{"kind":"demo.fail","payload":{"times":1,"message":"%d"}}`,
	`{"kind":"demo.fanout","payload":{"children":3,"payload":{"n":%d}}}`,
	`{"kind":"demo.steps","payload":{"steps":4},"labels":{"n":"%d"}}`,
	`{"kind":"demo.wait","payload":{"signal":"go"},"labels":{"n":"%d"}}`,
}

// load submits sets of tasks, each until it is acknowledged, and signals those that
// wait.
func (c *chaos) load(ctx context.Context) {
	for ctx.Err() == nil {
		var tasks []string
		for range 6 {
			n := rand.Int64()
			body := fmt.Sprintf(chaosKinds[rand.IntN(len(chaosKinds))], n)
			tasks = append(tasks, strings.TrimSuffix(body, "}")+fmt.Sprintf(`,"max_attempts":100,"idempotency_key":"k%d"}`, n))
		}
		m := c.insist(ctx, "POST", "/api/v1/tasks/batch", `{"tasks":[`+strings.Join(tasks, ",")+`]}`)
		results, _ := m["results"].([]any)
		last := ""
		for _, r := range results {
			task, _ := r.(map[string]any)["task"].(map[string]any)
			if task == nil {
				c.Errorf("refused: %v", r)
				return
			}
			id, kind := task["id"].(string), task["kind"].(string)
			c.mu.Lock()
			c.acked[id] = kind
			c.mu.Unlock()
			last = id
			if kind == "demo.wait" {
				c.insist(context.WithoutCancel(ctx), "POST", "/api/v1/tasks/"+id+"/signal", `{"name":"go","data":1}`)
			}
		}
		if last != "" { // no backlog: what is lost should not have to queue
			c.insist(ctx, "GET", "/api/v1/tasks/"+last+"?wait=4s", "")
		}
	}
}

// insist asks one node after the other until one answers.
func (c *chaos) insist(ctx context.Context, method, path, body string) map[string]any {
	for ctx.Err() == nil {
		d := c.nodes[rand.IntN(len(c.nodes))]
		c.mu.Lock()
		down := c.down[d]
		c.mu.Unlock()
		if !down {
			code, m, err := d.try(ctx, method, path, body)
			if err == nil && code < 300 {
				return m
			}
			if err == nil && code == http.StatusConflict && strings.HasSuffix(path, "/signal") {
				return m // the first try arrived, and its answer did not
			}
			if err == nil && code != http.StatusServiceUnavailable {
				c.Errorf("%s %s: %d %v", method, path, code, m)
				return nil
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// try is rest for a runtime that may be dead.
func (d *daemon) try(ctx context.Context, method, path, body string) (int, map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+d.addr+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+d.token())
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, err
	}
	var m map[string]any
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&m); err != nil {
		return 0, nil, err
	}
	return resp.StatusCode, m, nil
}

func (c *chaos) did(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count[what]++
	c.kills = append(c.kills, strike{what, time.Now()})
}

func (c *chaos) setDown(d *daemon, down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down[d] = down
}

func (c *chaos) anyNode() *daemon { return c.nodes[rand.IntN(len(c.nodes))] }

func (c *chaos) killRuntime() {
	d := c.anyNode()
	c.setDown(d, true)
	c.did("kill -9 of a runtime")
	d.kill()
	if len(c.nodes) > 1 { // let the others find out
		time.Sleep(9 * time.Second)
	}
	d.start()
	c.setDown(d, false)
}

func (c *chaos) killPlugin() {
	d := c.anyNode()
	// The plugin is a child of a supervisor, which is a child of the runtime.
	out, err := exec.Command("pgrep", "-f", d.bin+"/demo$").Output()
	if err != nil {
		return
	}
	c.did("kill -9 of a plugin")
	for pid := range strings.FieldsSeq(string(out)) {
		_ = exec.Command("kill", "-9", pid).Run()
	}
}

// freeze stops a runtime until the others call it dead, and lets it go on.
func (c *chaos) freeze() {
	d := c.anyNode()
	c.setDown(d, true)
	c.did("SIGSTOP of a runtime")
	_ = d.cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(9 * time.Second)
	_ = d.cmd.Process.Signal(syscall.SIGCONT)
	c.setDown(d, false)
}

func (c *chaos) stopPostgres() {
	c.did("crash of PostgreSQL")
	if err := c.pg.Stop(); err != nil {
		c.Fatal(err)
	}
	time.Sleep(time.Second)
	if err := c.pg.Start(); err != nil {
		c.Fatal(err)
	}
}

// report prints what was done.
func (c *chaos) report() {
	for _, what := range slices.Sorted(maps.Keys(c.count)) {
		c.Logf("%3d × %s", c.count[what], what)
	}
}
