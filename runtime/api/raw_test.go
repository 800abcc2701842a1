package api_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// rawConn writes WebSocket frames by hand, so that they can be wrong.
type rawConn struct {
	t     *testing.T
	nc    net.Conn
	r     *bufio.Reader
	pings int
	pongs []string
	texts []string
}

func (w *world) rawDial(header http.Header) *rawConn {
	w.t.Helper()
	nc, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { nc.Close() })
	if err := nc.(*net.TCPConn).SetReadBuffer(16 << 10); err != nil {
		w.t.Fatal(err)
	}
	var extra strings.Builder
	if err := header.Write(&extra); err != nil {
		w.t.Fatal(err)
	}
	fmt.Fprintf(nc, "GET /api/v1/ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", w.addr, extra.String())
	r := bufio.NewReader(nc)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		w.t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	return &rawConn{t: w.t, nc: nc, r: r}
}

const (
	fin  = 0x80
	rsv1 = 0x40
)

// frame writes a frame whose header says what it is told to say.
func (c *rawConn) frame(first byte, masked bool, payload string) {
	c.t.Helper()
	b := []byte{first, byte(len(payload))}
	switch n := len(payload); {
	case n > 65535:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	case n > 125:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	}
	body := []byte(payload)
	if masked {
		b[1] |= 0x80
		key := [4]byte{1, 2, 3, 4}
		b = append(b, key[:]...)
		for i := range body {
			body[i] ^= key[i%4]
		}
	}
	_, _ = c.nc.Write(append(b, body...)) // who reads next hears of the end
}

func (c *rawConn) text(s string) { c.frame(fin|1, true, s) }

// closeCode reads up to the close frame and returns its code: 1005 for none in
// it, 0 for an end without one.
func (c *rawConn) closeCode() int {
	c.t.Helper()
	for {
		op, payload, err := c.readFrame()
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "reset") {
				return 0
			}
			c.t.Fatal(err)
		}
		switch op {
		case 8:
			if len(payload) < 2 {
				return 1005
			}
			return int(binary.BigEndian.Uint16(payload))
		case 9:
			c.pings++
		case 10:
			c.pongs = append(c.pongs, string(payload))
		case 1:
			c.texts = append(c.texts, string(payload))
		}
	}
}

func (c *rawConn) readFrame() (op byte, payload []byte, err error) {
	c.t.Helper()
	if err := c.nc.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, nil, err
	}
	var h [2]byte
	if _, err := io.ReadFull(c.r, h[:]); err != nil {
		return 0, nil, err
	}
	if h[1]&0x80 != 0 || h[0]&0x70 != 0 || h[0]&fin == 0 {
		c.t.Fatalf("the server sent a frame %x", h)
	}
	n := uint64(h[1])
	switch n {
	case 126:
		var b [2]byte
		_, err = io.ReadFull(c.r, b[:])
		n = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		_, err = io.ReadFull(c.r, b[:])
		n = binary.BigEndian.Uint64(b[:])
	}
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(c.r, payload)
	return h[0] & 0x0f, payload, err
}

func closePayload(code int, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(code))) + reason
}

func TestBrokenFrames(t *testing.T) {
	w := start(t, nil)
	const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	for _, tt := range []struct {
		name string
		do   func(c *rawConn)
		code int
	}{
		{"unmasked", func(c *rawConn) { c.frame(fin|1, false, ping) }, 1002},
		{"RSV1", func(c *rawConn) { c.frame(fin|rsv1|1, true, ping) }, 1002},
		{"RSV3", func(c *rawConn) { c.frame(fin|0x10|1, true, ping) }, 1002},
		{"reserved opcode", func(c *rawConn) { c.frame(fin|3, true, ping) }, 1002},
		{"reserved control", func(c *rawConn) { c.frame(fin|0xb, true, "") }, 1002},
		{"fragmented control", func(c *rawConn) { c.frame(9, true, "") }, 1002},
		{"long control", func(c *rawConn) { c.frame(fin|9, true, strings.Repeat("x", 126)) }, 1002},
		{"continuation of nothing", func(c *rawConn) { c.frame(fin, true, ping) }, 1002},
		{"text inside a fragmented text", func(c *rawConn) { c.frame(1, true, ping[:5]); c.frame(fin|1, true, ping) }, 1002},
		{"negative length", func(c *rawConn) {
			_, _ = c.nc.Write([]byte{fin | 1, 0x80 | 127, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4})
		}, 1002},
		{"close code 1005", func(c *rawConn) { c.frame(fin|8, true, closePayload(1005, "")) }, 1002},
		{"close code 999", func(c *rawConn) { c.frame(fin|8, true, closePayload(999, "")) }, 1002},
		{"close reason not UTF-8", func(c *rawConn) { c.frame(fin|8, true, closePayload(1000, "\xff")) }, 1002},

		{"close", func(c *rawConn) { c.frame(fin|8, true, closePayload(1000, "bye")) }, 1000},
		{"close with our own range", func(c *rawConn) { c.frame(fin|8, true, closePayload(4321, "")) }, 4321},
		{"close without a code", func(c *rawConn) { c.frame(fin|8, true, "") }, 1005},
		{"half close", func(c *rawConn) { _ = c.nc.(*net.TCPConn).CloseWrite() }, 0},
		{"cut inside a frame", func(c *rawConn) {
			_, _ = c.nc.Write([]byte{fin | 1, 0x80 | 100, 1, 2, 3, 4, 'x'})
			_ = c.nc.(*net.TCPConn).CloseWrite()
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := w.rawDial(bearer())
			c.t = t
			tt.do(c)
			if code := c.closeCode(); code != tt.code {
				t.Errorf("closed %d, want %d", code, tt.code)
			}
		})
	}
}

// Subprotocols may stand in several lines of the header (RFC 6455, 11.3.4).
func TestSubprotocolLines(t *testing.T) {
	w := start(t, nil)
	c := w.rawDial(http.Header{"Sec-Websocket-Protocol": {"nagatha.v1", "nagatha.bearer." + token}})
	c.frame(fin|1, true, `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	c.frame(fin|8, true, closePayload(1000, ""))
	if code := c.closeCode(); code != 1000 || len(c.texts) != 1 || c.texts[0] != `{"jsonrpc":"2.0","id":1,"result":{}}` {
		t.Errorf("closed %d after %q", code, c.texts)
	}
}

// Legal but unusual: fragments, a ping between them, a character cut in two.
func TestFragments(t *testing.T) {
	w := start(t, nil)
	c := w.rawDial(bearer())
	whole := `{"jsonrpc":"2.0","id":"é","method":"ping"}`
	cut := strings.Index(whole, "é") + 1
	c.frame(1, true, whole[:cut])
	c.frame(fin|9, true, "between")
	c.frame(0, true, whole[cut:cut+3])
	c.frame(0, true, "")
	c.frame(fin, true, whole[cut+3:])
	c.frame(fin|8, true, closePayload(1000, ""))
	if code := c.closeCode(); code != 1000 {
		t.Errorf("closed %d", code)
	}
	if len(c.pongs) != 1 || c.pongs[0] != "between" {
		t.Errorf("pongs %q", c.pongs)
	}
	if len(c.texts) != 1 || c.texts[0] != `{"jsonrpc":"2.0","id":"é","result":{}}` {
		t.Errorf("replies %q", c.texts)
	}
}
