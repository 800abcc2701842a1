package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// link is one WebSocket, from its handshake to its end. Its fields below ws are
// guarded by Conn.mu.
type link struct {
	ws *websocket.Conn

	queue      []*call
	wake       chan struct{} // has room for one: the queue may have something
	subs       map[string]*Subscription
	restoring  int           // replies that are missing before the link counts as working
	proven     bool          // it works
	retryAfter time.Duration // from the server's closing
	fault      error         // why this side gave it up
}

const (
	writeTimeout = 10 * time.Second
	hangUpWithin = 200 * time.Millisecond
	frameBytes   = 64 << 20 // the most a server's frame may have
)

// dial opens a WebSocket.
func (c *Client) dial(ctx context.Context) (*link, error) {
	u := *c.base
	u.Scheme = map[string]string{"http": "ws", "https": "wss"}[u.Scheme]
	u.Path += "/api/v1/ws"
	d := *c.cfg.Dialer
	d.Subprotocols = []string{"nagatha.v1"}
	// Once there is a line, gorilla heeds deadlines, but not that ctx is cancelled.
	stop := func() bool { return true }
	plain := d.NetDialContext
	switch {
	case plain == nil && d.NetDial != nil:
		plain = func(_ context.Context, network, addr string) (net.Conn, error) { return d.NetDial(network, addr) }
	case plain == nil:
		plain = new(net.Dialer).DialContext
	}
	d.NetDialContext = func(dialCtx context.Context, network, addr string) (net.Conn, error) {
		line, err := plain(dialCtx, network, addr)
		if err == nil {
			stop = context.AfterFunc(ctx, func() { _ = line.Close() })
		}
		return line, err
	}
	ws, res, err := d.DialContext(ctx, u.String(), c.header())
	if !stop() {
		if err == nil {
			_ = ws.Close()
		}
		return nil, ctx.Err()
	}
	if err != nil {
		if res == nil {
			return nil, unwrapURL(err)
		}
		body, readErr := io.ReadAll(io.LimitReader(res.Body, 64<<10))
		_ = errors.Join(readErr, res.Body.Close()) // gorilla keeps it in memory
		if errors.Is(err, websocket.ErrBadHandshake) {
			return nil, problem(res, body)
		}
		return nil, err
	}
	ws.SetReadLimit(frameBytes)
	return &link{ws: ws, wake: make(chan struct{}, 1), subs: make(map[string]*Subscription)}, nil
}

// unwrapURL drops "Get \"http://…\":", which only repeats what the message says.
func unwrapURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// send queues a call. Conn.mu is held.
func (l *link) send(k *call) {
	l.queue = append(l.queue, k)
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// abandon ends the link because of err. Conn.mu is held.
func (l *link) abandon(err error) {
	if l.fault == nil {
		l.fault = err
	}
	l.proven = false
	_ = l.ws.Close() // the reader says why it ended
}

// hangUp ends the link politely, but does not wait for the other side.
func (l *link) hangUp() {
	_ = l.ws.WriteControl(websocket.CloseMessage,
		websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(hangUpWithin))
	_ = l.ws.Close()
}

// serve runs a link until it ends, and says why it did.
func (c *Conn) serve(l *link) error {
	c.mu.Lock()
	c.link = l
	c.restore(l)
	c.mu.Unlock()

	hungUp := make(chan struct{})
	stop := context.AfterFunc(c.ctx, func() {
		defer close(hungUp)
		l.hangUp()
	})
	over := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() { c.write(l, over) })
	err := c.read(l)
	close(over)
	_ = l.ws.Close() // whatever it says, the link is over
	writer.Wait()
	if !stop() {
		<-hungUp
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if l.fault != nil {
		err = l.fault
	}
	var closed *websocket.CloseError
	if errors.As(err, &closed) && closed.Code == websocket.CloseMessageTooBig {
		c.tooLarge(closed.Text)
	}
	c.link = nil
	c.broken(err)
	for s := range c.subs {
		s.detach()
	}
	return err
}

// read hands every frame to the Conn until the link ends.
func (c *Conn) read(l *link) error {
	silence := 2*c.cfg.Heartbeat + 5*time.Second
	alive := func() error { return l.ws.SetReadDeadline(time.Now().Add(silence)) }
	l.ws.SetPongHandler(func(string) error { return alive() })
	l.ws.SetPingHandler(func(data string) error {
		if err := alive(); err != nil {
			return err
		}
		err := l.ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(writeTimeout))
		if errors.Is(err, websocket.ErrCloseSent) {
			return nil
		}
		return err
	})
	for {
		if err := alive(); err != nil {
			return err
		}
		kind, frame, err := l.ws.ReadMessage()
		switch {
		case isTimeout(err):
			return fmt.Errorf("nothing was heard for %s", silence)
		case err != nil:
			return err
		case kind != websocket.TextMessage:
			return errors.New("the server sent a binary frame")
		}
		if err := c.handle(l, frame); err != nil {
			return err
		}
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// write sends what is queued, and pings, until the link is over.
func (c *Conn) write(l *link, over <-chan struct{}) {
	ping := time.NewTicker(c.cfg.Heartbeat)
	defer ping.Stop()
	for {
		select {
		case <-over:
			return
		case <-ping.C:
			if l.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeTimeout)) != nil {
				_ = l.ws.Close() // the reader ends with the reason
				return
			}
			continue
		case <-l.wake:
		}
		c.mu.Lock()
		batch := l.queue
		l.queue = nil
		frames := make([][]byte, 0, len(batch))
		for _, k := range batch {
			if !k.gone {
				k.sent++
				frames = append(frames, k.frame)
			}
		}
		c.mu.Unlock()
		for _, f := range frames {
			// A message is either written whole or the link is dead.
			if l.ws.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil || l.ws.WriteMessage(websocket.TextMessage, f) != nil {
				_ = l.ws.Close()
				return
			}
		}
	}
}
