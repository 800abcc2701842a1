//go:build !wasip1

package wasm

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The cache has a folder for each module, named by its digest, with what wazero has
// compiled and a copy of the binary. Whoever develops a plugin makes a new one with each
// build, so only those stay that were loaded last. One that is gone although it is in
// use is compiled again.
const maxCached = 64

// folder is the module's; "" where there is no cache.
func (p *Plugin) folder() string {
	if p.cfg.CacheDir == "" {
		return ""
	}
	return filepath.Join(p.cfg.CacheDir, p.digest)
}

// use makes a folder, or notes that it is used.
func use(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	now := time.Now()
	return os.Chtimes(folder, now, now)
}

// sweep removes what was not used for the longest time.
func (p *Plugin) sweep() {
	if p.cfg.CacheDir == "" {
		return
	}
	entries, err := os.ReadDir(p.cfg.CacheDir)
	type cached struct {
		path string
		used time.Time
	}
	var folders []cached
	for _, e := range entries {
		path := filepath.Join(p.cfg.CacheDir, e.Name())
		switch info, fault := e.Info(); {
		case fault != nil: // removed just now
		case len(e.Name()) == len(p.digest) && e.IsDir():
			folders = append(folders, cached{path, info.ModTime()})
		case strings.HasPrefix(e.Name(), "wazero-"), len(e.Name()) == len(p.digest+".wasm"): // of earlier versions, which had no folders
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	slices.SortFunc(folders, func(a, b cached) int { return b.used.Compare(a.used) })
	for _, f := range folders[min(maxCached, len(folders)):] {
		err = errors.Join(err, os.RemoveAll(f.path))
	}
	if err != nil {
		p.cfg.Log(slog.LevelWarn, "clean the cache of compiled modules: "+err.Error())
	}
}

// kept is where the plugin's binary is, for when it is loaded again. It is a copy: by
// then the file that it came from may be another one.
func (p *Plugin) kept() string { return filepath.Join(p.folder(), "module.wasm") }

// keep makes that copy and reports whether there is one.
func (p *Plugin) keep(binary []byte) bool {
	if p.cfg.CacheDir == "" {
		return false
	}
	if i, err := os.Stat(p.kept()); err == nil && i.Size() == int64(len(binary)) {
		return true
	}
	f, err := os.CreateTemp(p.folder(), "*.tmp")
	if err == nil {
		_, err = f.Write(binary)
		err = errors.Join(err, f.Close())
		if err == nil {
			err = os.Rename(f.Name(), p.kept())
		}
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}
	if err != nil {
		p.cfg.Log(slog.LevelWarn, fmt.Sprintf("the module stays in memory while it has nothing to do, since no copy of it can be kept: %v", err))
	}
	return err == nil
}

// again reads the binary that was loaded first: the copy, or where somebody has removed
// that, the file, if it is still the same.
func (p *Plugin) again() ([]byte, error) {
	var errs []error
	for _, path := range []string{p.kept(), p.cfg.Path} {
		if path == "" {
			continue
		}
		binary, err := os.ReadFile(path)
		if err == nil && digestOf(binary) == p.digest {
			return binary, nil
		}
		if err == nil {
			err = fmt.Errorf("%s is another module by now", path)
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("load the module again: %w; nagatha plugins reload takes what is there now", errors.Join(errs...))
}
