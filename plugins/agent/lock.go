package main

import (
	"context"
	"slices"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// sessionID is the one that was asked for, or one that follows from the task.
func (t *turn) sessionID() string {
	if t.in.Session != "" {
		return t.in.Session
	}
	return "ses_" + strings.TrimPrefix(t.task.ID, "tsk_")
}

// place is where that session is kept.
func (t *turn) place() string { return place(t.task.Owner, t.sessionID()) }

// locked is how a try to speak in a session ends.
type locked struct {
	Busy string `json:"busy,omitempty"` // the task that speaks there
	Base int    `json:"base"`
}

// lock waits until the turn is the only one in its session, and keeps the user's
// message there. Turns of one session take turns: who comes second waits for the
// first's end, whatever that is, and costs nothing meanwhile. Of those that wait the
// one that was submitted first is next: ids of tasks are in the order of time.
func (t *turn) lock(ctx context.Context) error {
	ended := map[string]bool{}
	for {
		got, err := sdk.Step(ctx, t.host, "session", func(ctx context.Context) (locked, error) { return t.tryLock(ctx, ended) })
		if err != nil {
			return err
		}
		if got.Busy == "" {
			t.base = got.Base
			break
		}
		busy := sdk.Errorf(sdk.CodeConflict, "task %s speaks in session %s at the moment; wait for it, or cancel it", got.Busy, t.sessionID())
		if got.Busy == t.task.Parent { // which waits for this one
			return busy
		}
		_, err = sdk.AwaitTask(ctx, t.host, got.Busy)
		switch code := sdk.CodeOf(err); {
		case code == sdk.CodeCapabilityDenied:
			return busy
		case err != nil && code != sdk.CodeNotFound:
			return err
		}
		ended[got.Busy] = true
	}
	s, err := findSession(ctx, t.host, t.place())
	t.session = s
	return err
}

func (t *turn) tryLock(ctx context.Context, ended map[string]bool) (locked, error) {
	for try := 1; ; try++ {
		s, err := getSession(ctx, t.host, t.place())
		if err != nil {
			return locked{}, err
		}
		if s == nil {
			s = &session{ID: t.place(), CreatedAt: sdk.Now(), Next: 1}
		}
		if busy := s.before(t.task.ID, ended); busy != "" {
			if slices.Contains(s.Waiting, t.task.ID) {
				return locked{Busy: busy}, nil
			}
			s.Waiting = append(s.Waiting, t.task.ID)
			err := s.save(ctx, t.host)
			if err == nil {
				return locked{Busy: busy}, nil
			}
			if sdk.CodeOf(err) != sdk.CodeConflict || try == maxRaces {
				return locked{}, err
			}
			continue
		}
		base := s.Next
		switch {
		case s.LastTurn == t.task.ID: // a life of this task before, or this step when it was cut
			base = s.TurnBase
			if _, err := deleteMessages(ctx, t.host, s.ID, base); err != nil {
				return locked{}, err
			}
		case s.Turn != "": // it was cut off: its messages stay
			last, err := lastNumber(ctx, t.host, s.ID, s.TurnBase-1)
			if err != nil {
				return locked{}, err
			}
			base = last + 1
		}
		user := t.userMessage(base)
		w, err := user.write(s.ID)
		if err != nil {
			return locked{}, err
		}
		s.Waiting = slices.DeleteFunc(s.Waiting, func(id string) bool { return id == t.task.ID || ended[id] })
		s.Turn, s.LastTurn, s.TurnBase, s.Messages, s.UpdatedAt = t.task.ID, t.task.ID, base, base, sdk.Now()
		if s.Title == "" {
			s.Title = titleOf(t.in.Message)
		}
		err = s.save(ctx, t.host, w)
		if err == nil {
			return locked{Base: base}, nil
		}
		if sdk.CodeOf(err) != sdk.CodeConflict || try == maxRaces {
			return locked{}, err
		}
	}
}

// before is the task that comes before another one in the session: that which speaks,
// or else the first of those that wait; "": none.
func (s *session) before(id string, ended map[string]bool) string {
	if s.Turn != "" && s.Turn != id && !ended[s.Turn] {
		return s.Turn
	}
	first := ""
	for _, w := range s.Waiting {
		if w < id && !ended[w] && (first == "" || w < first) {
			first = w
		}
	}
	return first
}
