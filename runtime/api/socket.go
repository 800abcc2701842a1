package api

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// socket is the net.Conn under a WebSocket. It collects what gorilla writes,
// one call a frame, until flush hands all of it to the kernel, and it bounds
// reads and writes by progress instead of by message: each read and each chunk
// of a write has its own deadline, so a slow line may carry a large frame.
type socket struct {
	net.Conn
	readTimeout  time.Duration
	writeTimeout time.Duration

	mu          sync.Mutex // reading
	interrupted bool

	wmu sync.Mutex // writing
	buf []byte
}

// chunk is how much is written under one deadline, and collected at most before
// the writer flushes.
const chunk = 64 << 10

var (
	errInterrupted = errors.New("the connection is being closed")
	errSlow        = errors.New("the peer does not read")
)

// Read reads, giving up after readTimeout of silence.
func (s *socket) Read(p []byte) (int, error) {
	s.mu.Lock()
	if s.interrupted {
		s.mu.Unlock()
		return 0, errInterrupted
	}
	err := s.Conn.SetReadDeadline(time.Now().Add(s.readTimeout))
	s.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := s.Conn.Read(p)
	if err != nil && s.isInterrupted() {
		err = errInterrupted
	}
	return n, err
}

func (s *socket) isInterrupted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.interrupted
}

// interrupt ends the present Read and all later ones.
func (s *socket) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interrupted = true
	_ = s.Conn.SetReadDeadline(time.Unix(1, 0)) // a dead socket is as good
}

// Write collects p.
func (s *socket) Write(p []byte) (int, error) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	s.buf = append(s.buf, p...)
	return len(p), nil
}

// SetDeadline and its kin do nothing: the socket sets its own.
func (s *socket) SetDeadline(time.Time) error      { return nil }
func (s *socket) SetReadDeadline(time.Time) error  { return nil }
func (s *socket) SetWriteDeadline(time.Time) error { return nil }

// pending is how many bytes were collected.
func (s *socket) pending() int {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	return len(s.buf)
}

// flush hands what was collected to the kernel. After errSlow the rest is still
// collected, so that whoever waits a little longer can go on at the same byte.
func (s *socket) flush() error {
	return s.flushBy(func() time.Time { return time.Now().Add(s.writeTimeout) })
}

// flushBy does so with a deadline of its own for each chunk.
func (s *socket) flushBy(deadline func() time.Time) error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	rest := s.buf
	for len(rest) > 0 {
		if err := s.Conn.SetWriteDeadline(deadline()); err != nil {
			return err
		}
		n, err := s.Conn.Write(rest[:min(len(rest), chunk)])
		rest = rest[n:]
		if err != nil {
			s.buf = append(s.buf[:0], rest...)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return errSlow
			}
			return err
		}
	}
	s.buf = s.buf[:0]
	if cap(s.buf) > chunk {
		s.buf = nil // an idle connection keeps no large buffer
	}
	return nil
}

// linger reads and drops what the peer still sends until it closes its side, so
// that closing ours does not reset the connection and destroy a close frame
// which is still on its way.
func (s *socket) linger(timeout time.Duration) {
	if w, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		if w.CloseWrite() != nil {
			return
		}
	}
	if s.Conn.SetReadDeadline(time.Now().Add(timeout)) != nil {
		return
	}
	drop := make([]byte, 32<<10)
	for range 64 << 20 / len(drop) {
		if _, err := s.Conn.Read(drop); err != nil {
			return
		}
	}
}

// hijacker puts a socket under whoever hijacks the response.
type hijacker struct {
	http.ResponseWriter
	readTimeout, writeTimeout time.Duration
	socket                    *socket
}

// Hijack takes the connection over from net/http.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if err := nc.SetDeadline(time.Time{}); err != nil {
		return nil, nil, errors.Join(err, nc.Close())
	}
	h.socket = &socket{Conn: nc, readTimeout: h.readTimeout, writeTimeout: h.writeTimeout}
	return h.socket, rw, nil
}
