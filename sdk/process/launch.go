package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/wire"
)

func (p *Plugin) start(ctx context.Context) error {
	forget := func() bool { return true }
	defer func() { forget() }()
	lines := func(level slog.Level) io.Writer { return &lineWriter{level: level, log: p.cfg.Log} }
	p.client = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  handshake,
		Plugins:          goplugin.PluginSet{pluginName: &bridge{}},
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		SkipHostEnv:      true,
		AutoMTLS:         p.cfg.MTLS,
		StartTimeout:     p.cfg.StartTimeout,
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: p.cfg.RunDir},
		Logger:           hclog.NewNullLogger(),
		Stderr:           lines(slog.LevelWarn), // before the handshake, and what is fatal
		SyncStdout:       lines(slog.LevelInfo),
		SyncStderr:       lines(slog.LevelWarn),
		GRPCDialOptions: []grpc.DialOption{grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage))},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, _ string) (runner.Runner, error) {
			for _, v := range cmd.Env {
				if dir, ok := strings.CutPrefix(v, goplugin.EnvUnixSocketDir+"="); ok {
					p.sockets = dir
				}
			}
			var err error
			if p.proc, err = newSupervised(&p.cfg, cmd.Env); err == nil {
				// From now on: it may hang in its handshake, and nobody waits for it.
				forget = context.AfterFunc(ctx, p.kill)
			}
			return p.proc, err
		},
	})
	proto, err := p.client.Client()
	if err != nil {
		return p.startError(err)
	}
	conn, err := proto.Dispense(pluginName)
	if err != nil {
		return p.startError(err)
	}
	life, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	stream, err := conn.(*grpc.ClientConn).NewStream(life, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		sessionMethod, grpc.ForceCodecV2(newCodec()))
	if err != nil {
		return p.startError(err)
	}
	p.sender.out = stream
	return p.greet(ctx, stream)
}

// greet waits for the manifest, and then reads on.
func (p *Plugin) greet(ctx context.Context, stream grpc.ClientStream) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.StartTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, p.cancel)
	m, err := recv(stream)
	inTime := stop()
	if err != nil && !inTime {
		return sdk.Errorf(sdk.CodeTimeout, "no manifest within %s, its limits.start_timeout", p.cfg.StartTimeout)
	}
	if err != nil {
		return p.startError(err)
	}
	manifest, ok := m.(*wire.Manifest)
	if !ok {
		return fmt.Errorf("its first message is %T, not its manifest", m)
	}
	if manifest.Version != wire.Version {
		return fmt.Errorf("it speaks version %d of the conversation, this runtime version %d: build it with the runtime's SDK", manifest.Version, wire.Version)
	}
	if err := json.Unmarshal(manifest.Info, &p.info); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	if err := p.info.Validate(); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	// Connected: the socket's name has served its purpose. Only the directory that was
	// made for it goes: a plugin may have put its socket among things of others.
	if p.sockets != "" {
		_ = os.RemoveAll(p.sockets)
	}
	p.reader.Go(func() { p.read(stream) })
	return nil
}

// startError adds what the process itself says of why it did not start.
func (p *Plugin) startError(err error) error {
	if p.proc == nil || p.proc.cmd.Process == nil {
		return err
	}
	text := err.Error()
	if line, ok := strings.CutPrefix(text, "Unrecognized remote plugin message: "); ok {
		line, _, _ = strings.Cut(line, "\n")
		if line == "" {
			text = "it ended before its manifest"
		} else {
			text = fmt.Sprintf("it printed %.80q instead of a plugin's handshake: is it built with the SDK's serve.Main?", line)
		}
	} else if strings.Contains(text, "plugin exited before we could connect") {
		text = "it ended before its manifest"
	} else if p.cfg.MTLS && strings.Contains(text, "authentication handshake failed") {
		text = "it does not speak the mutual TLS that mtls = true asks for; only plugins in Go can"
	} else if strings.Contains(text, "timeout while waiting for plugin") {
		return sdk.Errorf(sdk.CodeTimeout, "no handshake within %s, its limits.start_timeout", p.cfg.StartTimeout)
	}
	select {
	case <-p.proc.done:
		text += "; it " + p.proc.status()
	case <-time.After(settle):
	}
	if t := p.proc.tail.String(); t != "" {
		text += "; the end of its stderr:\n" + t
	}
	return errors.New(text)
}
