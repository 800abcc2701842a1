package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// The close codes of our own. Up to 4499 a client reconnects with its cursor,
// from 4500 on it does not.
const (
	closeShutdown  = 4000
	closeExpired   = 4005
	closeSlow      = 4008
	closeNoPong    = 4012
	closeBadToken  = 4500
	closeProtocol  = 4501
	closeNoHello   = 4502
	closeTooMany   = 4504
	closeBadClient = 4509
	closeGone      = 0 // nobody is there to be told
)

const (
	maxQueued   = 4 << 20  // bytes of replies that wait for the writer
	maxHello    = 16 << 10 // bytes of a message before hello
	maxLists    = 8        // requests with a large answer that run at once
	maxCalls    = 64       // requests with a small answer that run at once
	maxFrames   = 4        // requests of the largest size in flight
	maxBadFrame = 100      // malformed requests in a row
)

// conn is one WebSocket connection. serve is its life: the goroutine that calls
// it reads, a second one writes, and requests that take time run in others; all
// have ended when serve returns.
type conn struct {
	srv  *Server
	ws   *websocket.Conn
	sock *socket
	log  *slog.Logger

	// ctx ends what only this connection wants; a change of state that was
	// received is carried out even so. reading ends the reader's waits.
	ctx, reading       context.Context
	cancel, stopReader context.CancelFunc

	who     *identity // the reader's; nil before hello, and then the same for good
	detach  func()    // the reader's; from who
	greeted atomic.Bool
	frame   bytes.Buffer // the reader's
	bad     int          // the reader's: malformed requests in a row

	lists     chan struct{}
	calls     chan struct{}
	requests  sync.WaitGroup
	submits   lane[submitJob]
	publishes lane[publishJob]

	wake chan struct{} // tells the writer to look
	text []byte        // the writer's

	mu       sync.Mutex
	slot     sync.Cond // a request is done, or the end begins
	inFlight int       // requests
	inBytes  int       // of their messages
	space    sync.Cond // there is room in out
	out      []outFrame
	outBytes int
	pong     *string // to answer the last ping with
	subs     map[string]*subscription
	subCount int // with those that are being opened
	lastSub  int
	ready    []*subscription // have something new, in the order of their turns
	retired  []*subscription // to be closed by the writer
	end      *ending
	broken   bool // nothing can be written any more
	finished bool // nothing will be queued any more
}

// ending is how a connection ends; the first reason counts.
type ending struct {
	code   int
	reason string
}

type outFrame struct {
	text []byte
	req  *request // that it answers, and that is over once it is written
}

func newConn(s *Server, ws *websocket.Conn, sock *socket, who *identity) *conn {
	c := &conn{
		srv: s, ws: ws, sock: sock, who: who, log: s.log.With("peer", ws.RemoteAddr().String()),
		lists: make(chan struct{}, maxLists), calls: make(chan struct{}, maxCalls),
		wake: make(chan struct{}, 1), subs: map[string]*subscription{},
	}
	c.space.L, c.slot.L = &c.mu, &c.mu
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	c.reading, c.stopReader = context.WithCancel(c.ctx)
	c.greeted.Store(who != nil)
	ws.SetPingHandler(func(data string) error {
		c.mu.Lock()
		c.pong = &data // only the last one needs an answer
		c.mu.Unlock()
		c.signal()
		return nil
	})
	ws.SetCloseHandler(func(int, string) error { return nil }) // the writer answers
	return c
}

// serve runs the connection until it has ended.
func (c *conn) serve() {
	defer c.cancel()
	c.detach = func() {}
	if c.who != nil {
		c.detach = c.who.attach(c.close)
	}
	defer func() { c.detach() }()
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.write()
	}()
	hello := time.AfterFunc(c.srv.cfg.HelloTimeout, func() {
		if !c.greeted.Load() {
			c.close(closeNoHello, "no hello in time")
		}
	})
	c.read()
	hello.Stop()
	c.stopReader()

	// What was received is carried out. Reads are worth their while only where
	// somebody is still there to be answered.
	if c.ending().code != closeShutdown {
		c.cancel()
	}
	late := time.AfterFunc(c.srv.cfg.CloseTimeout/2, c.cancel)
	c.requests.Wait()
	late.Stop()

	c.mu.Lock()
	c.finished = true
	c.mu.Unlock()
	c.signal()
	<-written
	c.cancel()
	c.closeSubscriptions()
	c.part()
}

// close begins to end the connection; any goroutine may call it. A reason has
// room for 123 bytes.
func (c *conn) close(code int, reason string) {
	c.mu.Lock()
	if c.end == nil {
		c.end = &ending{code, reason}
	}
	c.slot.Broadcast()
	c.mu.Unlock()
	c.stopReader()
	c.sock.interrupt()
	c.signal()
}

func (c *conn) ending() ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end == nil {
		return ending{closeGone, ""}
	}
	return *c.end
}

// part says why and closes the socket.
func (c *conn) part() {
	defer c.sock.Close()
	end := c.ending()
	c.srv.metrics.closed(end.code)
	if end.code == closeGone {
		return
	}
	grace := time.Now().Add(c.srv.cfg.CloseTimeout)
	// A close that was sent already, by gorilla after a broken frame, stays
	// the only one: this then fails, and what it queued is flushed.
	_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(end.code, end.reason), grace)
	if c.sock.flushBy(func() time.Time { return grace }) == nil {
		c.sock.linger(time.Until(grace))
	}
}

// read reads requests until the connection ends.
func (c *conn) read() {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("a request panicked", "panic", p, "stack", string(debug.Stack()))
			c.close(websocket.CloseInternalServerErr, "internal error")
		}
	}()
	for {
		text, err := c.next()
		if err != nil {
			c.lost(err)
			return
		}
		if !c.receive(text) {
			return
		}
	}
}

var errRefused = errors.New("the message was refused")

// next reads one message.
func (c *conn) next() ([]byte, error) {
	kind, r, err := c.ws.NextReader()
	if err != nil {
		return nil, err
	}
	if kind != websocket.TextMessage {
		c.close(websocket.CloseUnsupportedData, "binary messages are not spoken here")
		return nil, errRefused
	}
	limit := c.srv.cfg.Limits.FrameBytes
	if c.who == nil {
		limit = min(limit, maxHello)
	}
	c.frame.Reset()
	n, err := c.frame.ReadFrom(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if n > int64(limit) {
		reason := fmt.Sprintf("the message is larger than %sframe_bytes, %d", settings, limit)
		if c.who == nil {
			reason = fmt.Sprintf("a message before hello is larger than %d bytes", limit)
		}
		c.close(websocket.CloseMessageTooBig, reason)
		return nil, errRefused
	}
	text := bytes.Clone(c.frame.Bytes())
	if c.frame.Cap() > chunk {
		c.frame = bytes.Buffer{} // an idle connection keeps no large buffer
	}
	if !utf8.Valid(text) {
		c.close(websocket.CloseInvalidFramePayloadData, "the message is not UTF-8")
		return nil, errRefused
	}
	return text, nil
}

// lost turns the reader's error into an ending, where there is none yet.
func (c *conn) lost(err error) {
	var closed *websocket.CloseError
	var broken net.Error
	isNet := errors.As(err, &broken)
	switch {
	case errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure:
		c.close(closed.Code, "") // the peer's own code is the answer
	case isNet && broken.Timeout():
		c.close(closeNoPong, "no pong")
	case closed != nil, isNet, errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, errInterrupted):
		c.close(closeGone, "")
	default:
		c.close(websocket.CloseProtocolError, "") // gorilla has said what is wrong
	}
}

// begin waits until one more request may be in flight; false means that the
// connection ends. Requests are counted and weighed, so that neither many small
// nor a few large ones fill the memory.
func (c *conn) begin(size int) bool {
	limits := c.srv.cfg.Limits
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.end == nil && c.inFlight > 0 && (c.inFlight >= limits.InFlight || c.inBytes+size > maxFrames*limits.FrameBytes) {
		c.slot.Wait()
	}
	if c.end != nil {
		return false
	}
	c.inFlight++
	c.inBytes += size
	return true
}

// over ends what begin began.
func (c *conn) over(req *request) {
	c.mu.Lock()
	c.inFlight--
	c.inBytes -= req.size
	c.slot.Signal()
	c.mu.Unlock()
}

// receive starts one request. It returns false once the connection ends.
func (c *conn) receive(text []byte) bool {
	if c.who != nil && c.who.limit.wait(c.reading) != nil {
		return false
	}
	if !c.begin(len(text)) {
		return false
	}
	req, err := parseRequest(text)
	req.size = len(text)
	if err != nil {
		c.refuse(req, err)
		return c.reading.Err() == nil
	}
	c.bad = 0
	if c.who == nil && req.method != "hello" {
		req.id = idOrNull(req.id)
		c.reply(req, nil, sdk.Errorf(sdk.CodeUnauthorized, "the first request must be hello, with a token"))
		c.close(closeBadToken, "the first request must be hello")
		return false
	}
	c.srv.methods.call(c, req)
	return c.reading.Err() == nil
}

// refuse answers what is no request. Who sends nothing else is shown out.
func (c *conn) refuse(req *request, err *sdk.Error) {
	c.bad++
	c.reply(req, nil, err)
	switch {
	case c.who == nil:
		c.close(closeProtocol, "the first message is no request")
	case c.bad >= maxBadFrame:
		c.close(closeBadClient, "too many malformed requests")
	}
}
