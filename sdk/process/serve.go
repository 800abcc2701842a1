package process

import (
	"context"
	"os"
	"sync"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/nagatha/nagatha-runtime/sdk/wire"
)

// handshake is go-plugin's: the cookie tells a plugin that it was started by a
// runtime and not by a person.
var handshake = goplugin.HandshakeConfig{
	ProtocolVersion:  wire.Version,
	MagicCookieKey:   "NAGATHA_PLUGIN",
	MagicCookieValue: "nagatha.v1",
}

// pluginName is the one entry of go-plugin's plugin map.
const pluginName = "nagatha"

// Launched reports whether this process was started by a runtime.
func Launched() bool { return os.Getenv(handshake.MagicCookieKey) == handshake.MagicCookieValue }

// Serve is the plugin's end: it answers go-plugin's handshake and calls f with
// the conversation. It returns when f has, or when the runtime has gone.
func Serve(f func(wire.Conn) error) {
	stderr := os.Stderr
	over := make(chan struct{})
	end := sync.OnceFunc(func() { close(over) })
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		goplugin.Serve(&goplugin.ServeConfig{
			HandshakeConfig: handshake,
			Plugins:         goplugin.PluginSet{pluginName: &bridge{serve: f, end: end, stderr: stderr}},
			GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
				return grpc.NewServer(append(opts, grpc.ForceServerCodecV2(newCodec()),
					grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage))...)
			},
			Logger: hclog.NewNullLogger(),
		})
	}()
	select {
	case <-over:
	case <-stopped:
	}
}

// bridge is go-plugin's view of a plugin, at both ends.
type bridge struct {
	goplugin.NetRPCUnsupportedPlugin
	serve  func(wire.Conn) error
	end    func()
	stderr *os.File
}

// GRPCServer implements goplugin.GRPCPlugin.
func (b *bridge) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	s.RegisterService(sessionDesc(func(stream grpc.ServerStream) error {
		// go-plugin has put a pipe in its place, whose last words are lost when
		// the program exits. The runtime reads the real one all along.
		os.Stderr = b.stderr
		// The end of the stream is the end of the runtime, and so of the plugin.
		defer b.end()
		return b.serve(&pluginConn{sender{out: stream}, stream})
	}), nil)
	return nil
}

// GRPCClient implements goplugin.GRPCPlugin.
func (b *bridge) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, cc *grpc.ClientConn) (any, error) {
	return cc, nil
}
