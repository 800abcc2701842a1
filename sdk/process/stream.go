package process

import (
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec behind go-plugin's own services
	"google.golang.org/grpc/mem"

	"github.com/nagatha/nagatha-runtime/sdk/wire"
)

// The gRPC side of sdk/wire/nagatha.proto, without generated code: the messages
// are encoded by sdk/wire, and gRPC carries the bytes.

const sessionMethod = "/nagatha.v1.Plugin/Session"

// maxMessage leaves room for the envelope of the largest message.
const maxMessage = wire.MaxMessage + 1<<10

// frame is one encoded message.
type frame struct{ b []byte }

// codec passes frames through, and leaves everything else (go-plugin's health,
// stdio and controller services) to protobuf. Its name is protobuf's, so that
// plugins in other languages see nothing unusual.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*frame); ok {
		return mem.BufferSlice{mem.SliceBuffer(f.b)}, nil
	}
	return c.CodecV2.Marshal(v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if f, ok := v.(*frame); ok {
		f.b = data.Materialize()
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}

func (codec) Name() string { return "proto" }

// sessionDesc describes the service to gRPC. serve is called for each stream.
func sessionDesc(serve func(grpc.ServerStream) error) *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: "nagatha.v1.Plugin",
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName: "Session", ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, s grpc.ServerStream) error { return serve(s) },
		}},
		Metadata: "nagatha.proto",
	}
}

// sender lets many goroutines send on a stream, which gRPC allows to one. Sending waits
// for a peer that does not read.
type sender struct {
	mu    sync.Mutex
	out   interface{ SendMsg(m any) error }
	wait  time.Duration // 0: as long as it takes
	stuck func()        // is called when a message has waited for so long
}

func (s *sender) send(m wire.Message) error {
	b, err := wire.Append(nil, m)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wait > 0 {
		defer time.AfterFunc(s.wait, s.stuck).Stop()
	}
	return s.out.SendMsg(&frame{b})
}

// pluginConn is the plugin's end: a wire.Conn.
type pluginConn struct {
	sender
	stream grpc.ServerStream
}

func (c *pluginConn) Recv() (wire.Message, error) {
	var f frame
	if err := c.stream.RecvMsg(&f); err != nil {
		return nil, err
	}
	m, err := wire.DecodeToPlugin(f.b)
	if err != nil {
		return nil, fmt.Errorf("from the runtime: %w", err)
	}
	return m, nil
}

// Send implements wire.Conn.
func (c *pluginConn) Send(m wire.Message) error { return c.send(m) }
