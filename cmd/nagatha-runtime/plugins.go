package main

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"sync"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/runtime/config"
	"github.com/nagatha/nagatha-runtime/runtime/host"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func (r *rooms) wireHost() (err error) {
	hc := host.Config{
		RunDir: runDir(r.cfg.DataDir), CacheDir: filepath.Join(r.cfg.DataDir, "cache"), Logger: r.log,
		Check: func(info sdk.Info, cfg json.RawMessage) error {
			if err := runtime.CheckManifest(info); err != nil {
				return err
			}
			return runtime.CheckConfig(info, cfg)
		},
		Ready: func(ctx context.Context, p host.Ready) error {
			return r.runtime.SetPlugin(ctx, runtime.Plugin{Name: p.Name, Plugin: p.Plugin, Capacity: p.Capacity})
		},
		Gone: r.runtime.RemovePlugin, Forget: r.runtime.ForgetPlugin,
		Plugins: plugins(r.cfg), Read: r.readPlugins,
		Publish: func(ctx context.Context, e sdk.Event) (string, error) {
			ids, err := r.runtime.Publish(ctx, []sdk.Event{e})
			if err != nil {
				return "", err
			}
			return ids[0], nil
		},
		Changed: func(c host.Changed) { r.runtime.Tell("system.plugin."+c.What, c.Plugin, c) },
		Audit: func(a host.Audit) {
			level := slog.LevelDebug
			if a.Denied {
				level = slog.LevelWarn
			}
			r.log.Log(context.Background(), level, "host call", "plugin", a.Plugin, "version", a.Version, "task", a.Task,
				"op", a.Op, "target", a.Target, "denied", a.Denied, "code", a.Code)
		},
	}
	r.host, err = host.New(hc)
	return err
}

func plugins(cfg *config.Config) (list []host.Plugin) {
	for _, p := range cfg.Plugins {
		list = append(list, host.Plugin{
			Name: p.Name, Wasm: p.Wasm, Command: p.Command, Env: p.Env, Dir: p.Dir, SHA256: p.SHA256, MTLS: p.MTLS, Off: !p.Enabled,
			Grant: host.Grant{Store: p.Grant.Store, Publish: p.Grant.Publish, HTTP: p.Grant.HTTP, Secrets: p.Grant.Secrets,
				Submit: p.Grant.Submit, Queues: p.Grant.Queues, Await: p.Grant.Await, Approve: p.Grant.Approve},
			Limits: host.Limits(p.Limits), Config: p.Config,
		})
	}
	return list
}

// readPlugins reads the plugins' blocks again. What else has changed in the file counts
// at the next start, and is not silently different from what somebody reads there.
func (r *rooms) readPlugins() ([]host.Plugin, error) {
	now, err := r.load()
	if err != nil {
		r.log.Error("the configuration has errors: the plugins stay as they are", "error", err)
		return nil, sdk.Errorf(sdk.CodeConflict, "the configuration has errors, which the log and nagatha-runtime -check tell; the plugins stay as they are")
	}
	was, is := *r.cfg, *now
	was.Plugins, is.Plugins = nil, nil
	if !reflect.DeepEqual(was, is) {
		r.log.Warn("the configuration has changed beside its plugins: that counts when the runtime is started again")
	}
	return plugins(now), nil
}

// runDir is where plugins' sockets are while they start. A socket's path may have
// about a hundred bytes, so a deep data directory gets one elsewhere, of its own: who
// starts removes what is there.
func runDir(dataDir string) string {
	dir, err := filepath.Abs(filepath.Join(dataDir, "run"))
	if err == nil && len(dir) < 60 {
		return dir
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("nagatha-%d-%08x", os.Getuid(), crc32.ChecksumIEEE([]byte(dir))))
}

// reloadOnHangup makes the plugins what config.hcl says on SIGHUP.
func (r *rooms) reloadOnHangup(ctx context.Context, hangup <-chan os.Signal) (stop func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
			}
			if err := r.host.ReloadAll(ctx); err != nil && ctx.Err() == nil {
				r.log.Error("cannot reload all plugins; what does not load stays as it was", "error", err)
			}
		}
	})
	return wg.Wait
}
