package api

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/gorilla/websocket"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// write is the writer: replies first, then one turn of one subscription, round
// and round; when nothing is due it flushes and sleeps.
func (c *conn) write() {
	ping := time.NewTicker(c.srv.cfg.Heartbeat)
	defer ping.Stop()
	for {
		due := c.take()
		err := c.writeDue(due)
		select {
		case <-ping.C: // also while there is always something due: only a pong is a sign of life
			if err == nil {
				err = c.beat()
			}
		default:
		}
		if err == nil && due.none() {
			if err = c.sock.flush(); err == nil {
				if due.done {
					return
				}
				select {
				case <-c.wake:
				case <-ping.C:
					err = c.beat()
				}
			}
		}
		if err != nil {
			c.failed(err)
			return
		}
	}
}

func (c *conn) beat() error {
	return c.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second))
}

// due is what the writer should write next.
type due struct {
	frames  []outFrame
	pong    *string
	retired []*subscription
	sub     *subscription
	done    bool
}

func (d *due) none() bool { return len(d.frames) == 0 && d.pong == nil && d.sub == nil }

// take takes all replies that wait and the subscription whose turn it is. Both
// are taken at one moment: a subscription becomes ready only after its reply
// was queued, so its reply is among these frames or was written before.
func (c *conn) take() (d due) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.frames, c.out, c.outBytes = c.out, nil, 0
	d.pong, c.pong = c.pong, nil
	d.retired, c.retired = c.retired, nil
	if c.end == nil && len(c.ready) > 0 {
		d.sub = c.ready[0]
		d.sub.queued = false
		if c.ready = c.ready[1:]; len(c.ready) == 0 {
			c.ready = nil
		}
	}
	d.done = c.finished && d.none()
	c.space.Broadcast()
	return d
}

func (c *conn) writeDue(d due) error {
	for _, sub := range d.retired {
		sub.watch.Close()
	}
	if d.pong != nil {
		if err := c.ws.WriteControl(websocket.PongMessage, []byte(*d.pong), time.Now().Add(time.Second)); err != nil {
			return err
		}
	}
	for i, f := range d.frames {
		err := c.send(f.text)
		if f.req != nil {
			c.over(f.req)
		}
		d.frames[i] = outFrame{}
		if err != nil {
			return err
		}
	}
	if d.sub != nil {
		return c.turn(d.sub)
	}
	return nil
}

// send writes one message, as far as the socket's buffer.
func (c *conn) send(text []byte) error {
	if err := c.ws.WriteMessage(websocket.TextMessage, text); err != nil {
		return err
	}
	c.srv.metrics.sent.Inc()
	c.srv.metrics.sentBytes.Add(float64(len(text)))
	if c.sock.pending() >= chunk {
		return c.sock.flush()
	}
	return nil
}

// failed ends a connection that cannot be written to, and lets go who waits for
// room in its queue.
func (c *conn) failed(err error) {
	c.mu.Lock()
	c.broken = true
	c.out = nil
	c.space.Broadcast()
	c.mu.Unlock()
	switch {
	case errors.Is(err, errSlow):
		c.close(closeSlow, "too slow: reconnect with the last cursor")
	case errors.Is(err, websocket.ErrCloseSent):
		// The reader is about to say why.
	default:
		c.close(closeGone, "")
	}
}

// push queues a message. It waits while too many bytes are queued, which in the
// end stops the reader, and so the peer.
func (c *conn) push(f outFrame) {
	c.mu.Lock()
	for len(c.out) > 0 && c.outBytes+len(f.text) > maxQueued && !c.broken {
		c.space.Wait()
	}
	queued := !c.broken
	if queued {
		c.out = append(c.out, f)
		c.outBytes += len(f.text)
	}
	c.mu.Unlock()
	if !queued && f.req != nil {
		c.over(f.req)
	}
	c.signal()
}

// announce queues a notification at once, whatever waits.
func (c *conn) announce(text []byte) {
	c.mu.Lock()
	if !c.broken && !c.finished {
		c.out = append(c.out, outFrame{text: text})
	}
	c.mu.Unlock()
	c.signal()
}

func (c *conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// reply answers a request, which is over once that is written.
func (c *conn) reply(req *request, result any, err error) {
	if err != nil {
		shown, known := asError(err)
		if !known {
			c.log.Error("a request failed", "method", req.method, "error", err)
		}
		c.srv.metrics.failed(shown.Code)
		err = shown
	}
	if req.id == nil {
		c.over(req)
		return
	}
	c.push(outFrame{c.replyText(req, result, err), req})
}

func (c *conn) replyText(req *request, result any, err error) []byte {
	var body []byte
	if err == nil {
		if body, err = encode(result); err != nil {
			c.log.Error("a reply cannot be encoded", "method", req.method, "error", err)
			err = sdk.Errorf(sdk.CodeInternal, "the reply cannot be encoded")
		} else if limit := c.srv.cfg.Limits.FrameBytes; len(body)+len(req.id) > limit-1024 {
			err = sdk.Errorf(sdk.CodeLimitExceeded, "the reply would be larger than %sframe_bytes, %d: ask for less", settings, limit)
		}
	}
	name := `,"result":`
	if err != nil {
		name = `,"error":`
		if body, err = encode(newRPCError(sdk.AsError(err))); err != nil {
			body = json.RawMessage(`{"code":-32603,"message":"internal error"}`)
		}
	}
	text := make([]byte, 0, len(req.id)+len(body)+40)
	text = append(text, `{"jsonrpc":"2.0","id":`...)
	text = append(text, req.id...)
	text = append(text, name...)
	text = append(text, body...)
	return append(text, '}')
}
