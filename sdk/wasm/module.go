//go:build !wasip1

package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// module is compiled code and what it is linked to.
type module struct {
	cache   wazero.CompilationCache
	runtime wazero.Runtime
	code    wazero.CompiledModule
}

// compile makes a module of a binary, or finds it in the cache.
func (p *Plugin) compile(ctx context.Context, binary []byte) (*module, error) {
	m := &module{}
	if err := m.compile(ctx, &p.cfg, p.folder(), binary); err != nil {
		_ = m.close(context.WithoutCancel(ctx))
		return nil, err
	}
	return m, nil
}

func (m *module) compile(ctx context.Context, cfg *Config, folder string, binary []byte) error {
	binary, err := meter(binary)
	if errors.Is(err, errNoModule) {
		return errors.New("compile the module: it is no WebAssembly; build it with GOOS=wasip1 GOARCH=wasm go build")
	}
	if err != nil {
		return fmt.Errorf("compile the module: %w", err)
	}
	rc := wazero.NewRuntimeConfigCompiler().
		WithMemoryLimitPages(uint32(min(max(cfg.Memory/pageBytes, 1), 65536)))
	if folder != "" {
		if err := use(folder); err != nil {
			return fmt.Errorf("make the directory for compiled modules: %w", err)
		}
		cache, err := wazero.NewCompilationCacheWithDir(folder)
		if err != nil {
			return fmt.Errorf("open the cache of compiled modules: %w", err)
		}
		m.cache = cache
		rc = rc.WithCompilationCache(cache)
	}
	m.runtime = wazero.NewRuntimeWithConfig(ctx, rc)
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, m.runtime); err != nil {
		return fmt.Errorf("prepare WASI: %w", err)
	}
	if err := exportABI(ctx, m.runtime); err != nil {
		return fmt.Errorf("prepare the ABI: %w", err)
	}
	if m.code, err = validate(ctx, m.runtime, binary); err != nil {
		return fmt.Errorf("compile the module: %w", err)
	}
	return m.check()
}

// validate compiles a binary. wazero 1.12 panics on some that are broken, such as one
// with a function of a type that is not there.
func validate(ctx context.Context, r wazero.Runtime, binary []byte) (code wazero.CompiledModule, err error) {
	defer func() {
		if p := recover(); p != nil {
			code, err = nil, fmt.Errorf("it is broken: %v", p)
		}
	}()
	return r.CompileModule(ctx, binary)
}

// check names what the module wants and this runtime does not have.
func (m *module) check() error {
	for _, f := range m.code.ImportedFunctions() {
		from, name, _ := f.Import()
		switch {
		case from == abiModule && (name == "recv" || name == "send"):
		case from == wasi_snapshot_preview1.ModuleName:
		default:
			return fmt.Errorf("the module imports %s.%s, which this runtime does not have: build it with GOOS=wasip1 and the SDK", from, name)
		}
	}
	if _, ok := m.code.ExportedFunctions()["_start"]; !ok {
		return errors.New("the module exports no _start: build it as a command, without -buildmode")
	}
	return nil
}

// close frees the code and ends what still runs in it. Closing nil does nothing.
func (m *module) close(ctx context.Context) error {
	if m == nil {
		return nil
	}
	var errs []error
	if m.runtime != nil {
		errs = append(errs, m.runtime.Close(ctx))
	}
	if m.cache != nil {
		errs = append(errs, m.cache.Close(ctx))
	}
	return errors.Join(errs...)
}

func digestOf(binary []byte) string {
	sum := sha256.Sum256(binary)
	return hex.EncodeToString(sum[:])
}

// load returns the module, which it first loads if the plugin was resting. The caller
// counts as starting, so that the module stays.
func (p *Plugin) load(ctx context.Context) (*module, error) {
	p.loading.Lock()
	defer p.loading.Unlock()
	p.mu.Lock()
	m, closed := p.module, p.closed
	p.mu.Unlock()
	if closed {
		return nil, errClosed
	}
	if m != nil {
		return m, nil
	}
	binary, err := p.again()
	if err != nil {
		return nil, err
	}
	if m, err = p.compile(ctx, binary); err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.module = m
	p.mu.Unlock()
	return m, nil
}
