package client

import (
	"encoding/json"
	"errors"
	"io"
	"slices"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// recentKeys is how many events of a topic subscription are remembered in order
// to drop one that comes twice.
const recentKeys = 1024

// receive takes one notification from the link. Conn.mu is held, as in all that
// follows.
func (s *Subscription) receive(n Notification) {
	switch n.Method {
	case MethodSnapshot:
		s.life = n.Task.Life
		s.endSeen = n.Task.State.Terminal()
		if !s.snapshot {
			s.snapshot = true
			s.push(n)
		}
		return
	case MethodLive:
		if !s.live {
			s.live = true
			s.push(n)
		}
		// All of an ended task's history was replayed before this.
		if s.endSeen {
			s.check()
		}
		return
	case MethodGap:
		// Another history may number its events anew.
		s.snapshot, s.live, s.lastSeq = false, false, 0
		clear(s.recent)
		s.recentKey = nil
		s.push(n)
		return
	case MethodLag:
		if i := len(s.queue) - 1; i >= 0 && s.queue[i].Method == MethodLag {
			s.queue[i] = n
			return
		}
		s.push(n)
		return
	}
	if s.seen(&n) {
		s.conn.cfg.Logger.Debug("event came twice", "cursor", n.Cursor)
		return
	}
	s.cursor = n.Cursor
	if s.wants(&n) {
		s.push(n)
	}
	switch {
	case s.req.Task != "" && n.Event != nil && n.Event.End && n.Event.Life >= s.life:
		s.life, s.endSeen = n.Event.Life, true
		if s.live {
			s.check()
		}
	case len(s.queue) >= s.conn.cfg.Buffer && !s.checking:
		s.unsubscribe()
		s.state = paused
	}
}

// wants is false for an end event that only attach asked for.
func (s *Subscription) wants(n *Notification) bool {
	return s.req.Task == "" || len(s.req.Types) == 0 || n.Event == nil || slices.Contains(s.req.Types, n.Event.Type)
}

// seen reports whether an event was received before, and remembers it.
func (s *Subscription) seen(n *Notification) bool {
	if s.req.Task != "" && n.Event != nil {
		if n.Event.Seq <= s.lastSeq {
			return true
		}
		s.lastSeq = n.Event.Seq
		return false
	}
	key := n.key()
	if s.recent[key] {
		return true
	}
	s.recent[key] = true
	s.recentKey = append(s.recentKey, key)
	if len(s.recentKey) > recentKeys {
		delete(s.recent, s.recentKey[0])
		s.recentKey = s.recentKey[1:]
	}
	return false
}

// check asks whether the life whose end was seen is still the task's latest. The
// server ends a subscription without saying so, and a retry may have come before
// or after it did.
func (s *Subscription) check() {
	if s.checking || s.state != attached {
		return
	}
	s.checking = true
	l := s.conn.link
	s.conn.bound("task.get", map[string]string{"id": s.req.Task}, func(result json.RawMessage, err error) {
		if s.state == finished || !s.checking {
			return
		}
		s.checking = false
		var r struct {
			Task sdk.Task `json:"task"`
		}
		if err == nil {
			err = json.Unmarshal(result, &r)
		}
		coded := sdk.AsError(err)
		switch {
		case err != nil && coded.Retryable && !errors.Is(err, &sdk.Error{Code: sdk.CodeNotFound}):
			l.abandon(err)
		case err == nil && r.Task.Life > s.life:
			// It goes on. Whether the server had ended the subscription before
			// the retry cannot be known, so it is opened again.
			s.life, s.endSeen = r.Task.Life, false
			s.unsubscribe()
			s.attach()
		default:
			s.unsubscribe()
			s.finish(io.EOF)
		}
	})
}
