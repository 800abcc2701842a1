package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/process"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
	"github.com/nagatha/nagatha-runtime/sdk/wasm"
)

func (a *app) pluginsCheckCommand() *cobra.Command {
	var config string
	var env []string
	c := &cobra.Command{
		Use:   "check FILE",
		Short: "Run a plugin's file here and check what every plugin must do",
		Long: `Run a plugin's file here, as the runtime would: a module in its sandbox, a program
as a process. Its manifest is judged by the runtime's own rules, it must pass the
SDK's conformance tests, and the examples of kinds that change nothing must work
against a host that keeps everything in memory. No runtime is needed.

What a plugin does not tell its callers (a kind without description, schemas or
example) is advice: a runtime runs it all the same.`,
		Example: `  nagatha plugins check hello.wasm
  nagatha plugins check ./hello --config '{"greeting":"Hi"}'`,
		Args: exactly("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			doc, err := a.document("--config", config)
			if err != nil {
				return err
			}
			if doc == nil {
				doc = json.RawMessage("{}")
			}
			if doc[0] != '{' {
				return usagef("--config: want a JSON object")
			}
			return a.checkPlugin(c.Context(), args[0], doc, env)
		},
	}
	c.Flags().StringVar(&config, "config", "", "its config block as `JSON`, @file, or - for standard input")
	c.Flags().StringArrayVar(&env, "env", nil, "`NAME=value` that a program sees; repeatable")
	return c
}

// checked is what was found out about a plugin.
type checked struct {
	Plugin   string   `json:"plugin"`
	Version  string   `json:"version"`
	Carrier  string   `json:"carrier"`
	Digest   string   `json:"digest"`
	Kinds    []string `json:"kinds"`
	Wants    []string `json:"capabilities"`
	Examples int      `json:"examples"` // that were run
	Problems []string `json:"problems"`
	Advice   []string `json:"advice"` // what is well without, and better with
}

const checkTimeout = 30 * time.Second // of one example

func (a *app) checkPlugin(ctx context.Context, path string, config json.RawMessage, env []string) error {
	// A socket's path may have about a hundred bytes, and some TMPDIRs are deep.
	parent := os.TempDir()
	if len(parent) > 40 {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "nagatha")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	carrier, name, err := a.launch(ctx, path, dir, env)
	if err != nil {
		return &hintError{fmt.Errorf("%s is no plugin that runs: %w", path, err),
			"build it with: GOOS=wasip1 GOARCH=wasm go build -o hello.wasm, or: go build -o hello"}
	}
	defer func() { _ = carrier.Close(context.WithoutCancel(ctx)) }() // it has been judged

	info := carrier.Info()
	r := checked{Plugin: info.Name, Version: info.Version, Carrier: name, Wants: append([]string{}, info.Capabilities...), Problems: []string{}, Kinds: []string{},
		Advice: append([]string{}, sdktest.Undescribed(info)...)}
	if d, ok := carrier.(interface{ Digest() string }); ok {
		r.Digest = d.Digest()
	}
	for _, h := range info.Handlers {
		r.Kinds = append(r.Kinds, h.Kind)
	}
	problem := func(err error) {
		if err != nil {
			r.Problems = append(r.Problems, strings.Split(err.Error(), "\n")...)
		}
	}
	problem(runtime.CheckManifest(info))
	bad := runtime.CheckConfig(info, config)
	if bad == nil {
		bad = carrier.Configure(ctx, config)
	}
	if bad != nil {
		problem(fmt.Errorf("config: %w; give another with --config", bad))
	} else {
		problem(sdktest.Verify(ctx, carrier))
		for _, h := range info.Handlers {
			if h.ReadOnly && len(h.Example) > 0 {
				r.Examples++
				problem(runExample(ctx, carrier, h))
			}
		}
	}
	if err := a.show(r, func(w io.Writer) error { return r.table(w, path) }); err != nil {
		return err
	}
	if len(r.Problems) > 0 {
		return quietExit(exitError)
	}
	return nil
}

// launch runs a file on the carrier that it is built for.
func (a *app) launch(ctx context.Context, path, dir string, env []string) (sdktest.Carrier, string, error) {
	head := make([]byte, 4)
	f, err := os.Open(path)
	if err != nil {
		return nil, "", err
	}
	n, err := io.ReadFull(f, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("the file has only %d bytes", n)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, "", err
	}
	name := filepath.Base(path)
	log := func(_ slog.Level, line string) { a.say("%s: %s", name, line) }
	if bytes.Equal(head, []byte("\x00asm")) {
		c, err := wasm.Load(ctx, wasm.Config{Name: name, Path: path, Instances: 1, Log: log})
		return c, "wasm", err
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, "", err
	}
	c, err := process.Launch(ctx, process.Config{Name: name, Command: []string{path}, Env: env, RunDir: dir, Log: log})
	return c, "process", err
}

// runExample runs the example of a kind. That what it names is not there is an answer.
func runExample(ctx context.Context, p sdk.Plugin, h sdk.HandlerInfo) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	result, err := p.Handle(ctx, sdktest.Task(h.Kind, string(h.Example)), sdktest.NewHost())
	switch {
	case sdk.CodeOf(err) == sdk.CodeNotFound || madeToFail[h.Kind]:
		return nil
	case err != nil:
		return fmt.Errorf("%s: its example fails: %w", h.Kind, err)
	}
	if err := runtime.CheckResult(h, result); err != nil {
		return fmt.Errorf("%s: the result of its example is not what its result_schema says: %w", h.Kind, err)
	}
	return nil
}

func (r *checked) table(w io.Writer, path string) error {
	err := pairs(w, [][2]string{{"plugin", r.Plugin}, {"version", r.Version}, {"carrier", r.Carrier}, {"digest", r.Digest},
		{"kinds", strings.Join(r.Kinds, " ")}, {"wants", strings.Join(r.Wants, " ")}, {"examples run", number(r.Examples)}})
	for _, p := range r.Problems {
		if err == nil {
			_, err = fmt.Fprintf(w, "problem: %s\n", clean(p))
		}
	}
	for _, p := range r.Advice {
		if err == nil {
			_, err = fmt.Fprintf(w, "advice: %s\n", clean(p))
		}
	}
	if err != nil || len(r.Problems) > 0 {
		return err
	}
	if !strings.Contains(path, "/") {
		path = "./" + path // a bare command would be looked for in PATH
	}
	how := "command = [" + fmt.Sprintf("%q", path) + "]"
	if r.Carrier == "wasm" {
		how = "wasm = " + fmt.Sprintf("%q", path)
	}
	_, err = fmt.Fprintf(w, "It is well. In config.hcl:\n\nplugin %q {\n  %s\n}\n", r.Plugin, how)
	return err
}
