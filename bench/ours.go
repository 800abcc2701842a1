package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nagatha/nagatha-runtime/bus"
	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/runtime/host"
	"github.com/nagatha/nagatha-runtime/runtime/store"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// carrier is how demo.echo is reached.
type carrier string

const (
	linked         carrier = "linked in" // a handler in this process: the engine alone
	carriedProcess carrier = "process"
	carriedWasm    carrier = "wasm"
)

// ourConfig is how our engine is set up; what it does not say is the default of
// the program.
type ourConfig struct {
	carrier     carrier
	nodes       int
	postgres    bool
	concurrency int
	root        string
}

// ours is one or more engines on one database.
type ours struct {
	cfg    ourConfig
	server func() error // stops the database's, if it has one
	nodes  []*node
	next   atomic.Int64 // whose turn it is to take a submit
}

// node is one engine, wired as cmd/nagatha-runtime does.
type node struct {
	store   *store.Store
	runtime *runtime.Runtime
	hook    runtime.Hook
	host    *host.Host
	cancel  context.CancelFunc
	hosted  sync.WaitGroup
	ended   chan error // nil until it runs
}

func ourOpener(cfg ourConfig) opener {
	return func(b *bed, p *probe) (_ system, err error) {
		tune()
		o := &ours{cfg: cfg, server: func() error { return nil }}
		defer func() {
			if err != nil {
				err = errors.Join(err, o.stop())
			}
		}()
		dir, err := b.fresh()
		if err != nil {
			return nil, err
		}
		sc := store.Config{Path: filepath.Join(dir, "nagatha.db")}
		if cfg.postgres {
			server, err := startPostgres(b)
			if err != nil {
				return nil, err
			}
			o.server = server.stop
			sc = store.Config{URL: server.url}
		}
		for range cfg.nodes {
			n, err := openNode(b, cfg, sc, p, dir)
			if n != nil {
				o.nodes = append(o.nodes, n)
			}
			if err != nil {
				return nil, err
			}
		}
		return o, nil
	}
}

// tune sets the garbage collector as the program does.
func tune() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}

func openNode(b *bed, cfg ourConfig, sc store.Config, p *probe, dir string) (*node, error) {
	n := &node{}
	sc.OnCommit = func(c runtime.Commit) {
		n.hook.Committed(c)
		if c.Remote {
			return // its own node counts it
		}
		var done int64
		for _, t := range c.Tasks {
			if t.State == sdk.StateCompleted {
				done++
			}
		}
		p.done.add(done)
	}
	sc.Verbs, sc.Outbox = bus.Verbs(), bus.Outbox
	sc.Migrations = []store.Migrations{{Name: "bus", FS: bus.Migrations()}}
	var err error
	if n.store, err = store.Open(b.ctx, sc); err != nil {
		return nil, err
	}
	n.runtime, err = runtime.New(runtime.Config{Store: n.store, Queues: []runtime.Queue{{Name: runtime.DefaultQueue, Concurrency: cfg.concurrency}}})
	if err != nil {
		return n, err
	}
	n.hook.To(n.runtime.Committed)
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.ctx))
	n.cancel = cancel
	if cfg.carrier == linked {
		echo := sdk.HandlerFunc(func(_ context.Context, t *sdk.Task, _ sdk.Host) (json.RawMessage, error) {
			if p.started != nil {
				p.started()
			}
			return t.Payload, nil
		})
		plugin := sdk.New(sdk.Info{Name: "demo", Version: "1"}, sdk.Registration{HandlerInfo: sdk.HandlerInfo{Kind: "demo.echo"}, Handler: echo})
		return n, n.runtime.SetPlugin(ctx, runtime.Plugin{Name: "demo", Plugin: plugin})
	}
	return n, n.load(ctx, cfg, dir)
}

// load loads the demo plugin as it was built.
func (n *node) load(ctx context.Context, cfg ourConfig, dir string) (err error) {
	p := host.Plugin{Name: "demo"}
	switch cfg.carrier {
	case carriedProcess:
		path, err := filepath.Abs(filepath.Join(cfg.root, "build/plugins/demo"))
		if err != nil {
			return err
		}
		p.Command = []string{path}
	case carriedWasm:
		p.Wasm = filepath.Join(cfg.root, "build/plugins/demo.wasm")
		p.Limits = host.Limits{Instances: 2, Concurrency: cfg.concurrency / 2}
	}
	n.host, err = host.New(host.Config{
		Plugins: []host.Plugin{p}, RunDir: filepath.Join(dir, "run"), CacheDir: filepath.Join(cfg.root, "build/cache"),
		Ready: func(ctx context.Context, r host.Ready) error {
			return n.runtime.SetPlugin(ctx, runtime.Plugin{Name: r.Name, Plugin: r.Plugin, Capacity: r.Capacity})
		},
		Gone: n.runtime.RemovePlugin,
	})
	if err != nil {
		return err
	}
	n.hosted.Go(func() { _ = n.host.Run(ctx) }) // never fails
	<-n.host.Loaded()
	if s := n.host.Plugins()[0]; s.State != sdk.PluginReady {
		return fmt.Errorf("the demo plugin is %s: %s (make build)", s.State, s.Error)
	}
	return nil
}

func (o *ours) submit(k int) error {
	n := o.nodes[int(o.next.Add(1))%len(o.nodes)]
	subs := make([]sdk.Submission, k)
	for i := range subs {
		subs[i] = sdk.Submission{Kind: "demo.echo", Payload: payload}
	}
	out, err := n.runtime.Submit(context.Background(), "", subs)
	if err != nil {
		return err
	}
	for i := range out {
		if out[i].Err != nil {
			return out[i].Err
		}
	}
	return nil
}

func (o *ours) start() error {
	for _, n := range o.nodes {
		ctx, cancel := context.WithCancel(context.Background())
		stopHost := n.cancel
		n.ended = make(chan error, 1)
		drained := make(chan struct{})
		n.cancel = func() { cancel(); <-drained; stopHost() }
		go func() {
			err := n.runtime.Run(ctx)
			close(drained)
			n.ended <- err
		}()
	}
	return nil
}

func (o *ours) stop() error {
	var errs []error
	for _, n := range o.nodes {
		if n.cancel != nil {
			n.cancel()
		}
		n.hosted.Wait()
		if n.ended != nil {
			select {
			case err := <-n.ended:
				errs = append(errs, err)
			case <-time.After(time.Minute):
				errs = append(errs, errors.New("the engine does not end"))
			}
		}
		errs = append(errs, n.store.Close())
	}
	errs = append(errs, o.server())
	return errors.Join(errs...)
}
