package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/websocket"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// serveWS takes GET /api/v1/ws over and serves it until it ends.
func (s *Server) serveWS(w http.ResponseWriter, r *http.Request) {
	if !websocket.IsWebSocketUpgrade(r) {
		w.Header().Set("Upgrade", "websocket")
		p := newProblem(sdk.Errorf(sdk.CodeInvalidRequest, "this is the WebSocket endpoint: connect with a WebSocket client, subprotocol %s", subprotocol))
		p.Status = http.StatusUpgradeRequired
		s.failAs(w, r, p)
		return
	}
	if r.URL.RawQuery != "" {
		s.fail(w, r, sdk.Errorf(sdk.CodeInvalidRequest, "the WebSocket endpoint takes nothing in the query string; "+
			"a token goes into Authorization: Bearer <token>, the subprotocol %s<token>, or hello", bearerOffered))
		return
	}
	// They may stand in several lines; gorilla reads one.
	if lines := r.Header.Values("Sec-WebSocket-Protocol"); len(lines) > 1 {
		r.Header.Set("Sec-WebSocket-Protocol", strings.Join(lines, ", "))
	}
	offered := websocket.Subprotocols(r)
	if len(offered) > 0 && !slices.Contains(offered, subprotocol) {
		s.fail(w, r, sdk.Errorf(sdk.CodeInvalidRequest, "offer the subprotocol %s, or none", subprotocol))
		return
	}
	who, bad := s.guard.authorizeSocket(r)
	if bad != nil {
		s.metrics.failed(bad.Code)
		s.fail(w, r, bad)
		return
	}
	anonymous := who == nil
	full := s.enter(anonymous)
	if full != nil && (anonymous || full.Code != sdk.CodeLimitExceeded) {
		s.fail(w, r, sdk.Errorf(sdk.CodeUnavailable, "%s", full.Message))
		return
	}
	s.accept(w, r, who, full)
}

// accept upgrades and serves. A client that is known is told in the protocol's
// own words that there is no room.
func (s *Server) accept(w http.ResponseWriter, r *http.Request, who *identity, full *sdk.Error) {
	h := &hijacker{ResponseWriter: w, readTimeout: s.cfg.PongWait, writeTimeout: s.cfg.WriteTimeout}
	ws, err := s.upgrade.Upgrade(h, r, nil)
	if err != nil {
		if full == nil {
			s.leave(who == nil)
		}
		return // answered by upgrade.Error
	}
	c := newConn(s, ws, h.socket, who)
	if full != nil {
		c.close(closeTooMany, "too many connections")
		c.cancel()
		c.part()
		return
	}
	s.mu.Lock()
	late := s.shut
	if !late {
		s.alive.Add(1)
		s.conns[c] = struct{}{}
	}
	s.mu.Unlock()
	if late {
		c.close(closeShutdown, "shutting down")
		c.cancel()
		c.part()
		s.leave(who == nil)
		return
	}
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		s.leave(!c.greeted.Load())
		s.alive.Done()
	}()
	if err := h.socket.flush(); err != nil { // the upgrade's response
		c.close(closeGone, "")
	}
	c.serve()
}
