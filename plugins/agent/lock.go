package main

import (
	"context"
	"slices"
	"strings"
	"time"

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
	Busy string `json:"busy,omitempty"` // the task that speaks there, or is to speak first
	Base int    `json:"base"`           // 0: not locked
}

// lock waits until the turn is the only one in its session, and keeps the user's
// message there. Turns of one session take turns: who comes second waits for the
// first's end, whatever that is, and costs nothing meanwhile. Of those that wait the
// one that was submitted first is next: ids of tasks are in the order of time.
func (t *turn) lock(ctx context.Context) error {
	for {
		got, err := sdk.Step(ctx, t.host, "session", func(ctx context.Context) (locked, error) { return t.tryLock(ctx, t.ended) })
		if err != nil {
			return err
		}
		if got.Busy == "" {
			t.base = got.Base
			break
		}
		if err := t.await(ctx, got.Busy); err != nil {
			return err
		}
		t.ended[got.Busy] = true
	}
	s, err := findSession(ctx, t.host, t.place())
	t.session = s
	return err
}

// await waits for the end of a task that comes before this one in the session.
func (t *turn) await(ctx context.Context, id string) error {
	busy := sdk.Errorf(sdk.CodeConflict, "task %s speaks in session %s at the moment; wait for it, or cancel it", id, t.sessionID())
	if id == t.task.Parent { // which waits for this one
		return busy
	}
	_, err := sdk.AwaitTask(ctx, t.host, id)
	switch code := sdk.CodeOf(err); {
	case code == sdk.CodeCapabilityDenied:
		return busy
	case err != nil && code != sdk.CodeNotFound:
		return err
	}
	return nil
}

// letPass gives the session back to a turn that was submitted before this one and came
// later: those that are submitted together begin in any order. It is the last moment
// before the model hears of the message. Nobody waits for each other: who counts on
// this turn's end has said so in the session before.
func (t *turn) letPass(ctx context.Context) error {
	for {
		got, err := sdk.Step(ctx, t.host, "order", t.giveWay)
		if err != nil || got.Base > 0 {
			return err
		}
		if err := t.lock(ctx); err != nil {
			return err
		}
	}
}

// giveWay takes the message out of the session again, if another turn should speak first.
func (t *turn) giveWay(ctx context.Context) (locked, error) {
	for try := 1; ; try++ {
		s, err := findSession(ctx, t.host, t.place())
		if sdk.CodeOf(err) == sdk.CodeNotFound { // it was deleted, which ends nothing
			return locked{Base: t.base}, nil
		}
		if err != nil {
			return locked{}, err
		}
		if s.Turn != t.task.ID { // it was done before this step was cut
			return locked{}, nil
		}
		if s.Firm == t.task.ID || s.first(t.task.ID, t.ended) == "" {
			return locked{Base: t.base}, nil
		}
		s.Turn, s.LastTurn, s.Next, s.Messages = "", "", t.base, t.base-1
		s.Waiting = append(s.Waiting, t.task.ID)
		if t.base == 1 {
			s.Title = "" // it is of the first message
		}
		err = s.save(ctx, t.host, sdk.KVWrite{Delete: &sdk.KVDelete{Key: messageKey(s.ID, t.base)}})
		if err == nil || sdk.CodeOf(err) != sdk.CodeConflict || try == maxRaces {
			return locked{}, err
		}
	}
}

// How long one that was submitted earlier looks whether the other gives way, before it
// counts on the other's end.
const (
	lookAgain = 10 * time.Millisecond
	maxLooks  = 50
)

func (t *turn) tryLock(ctx context.Context, ended map[string]bool) (locked, error) {
	for try, looks := 1, 0; ; try++ {
		s, err := getSession(ctx, t.host, t.place())
		if err != nil {
			return locked{}, err
		}
		if s == nil {
			s = &session{ID: t.place(), CreatedAt: sdk.Now(), Next: 1}
		}
		if busy := s.before(t.task.ID, ended); busy != "" {
			// One that was submitted later and came earlier may give way.
			early := busy == s.Turn && busy > t.task.ID && s.Firm != busy && busy != t.task.Parent
			known := slices.Contains(s.Waiting, t.task.ID)
			switch {
			case early && known && looks < maxLooks:
				looks++
				try--
				if err := pause(ctx, lookAgain); err != nil {
					return locked{}, err
				}
				continue
			case early && known:
				s.Firm = busy
			case !known:
				s.Waiting = append(s.Waiting, t.task.ID)
			default:
				return locked{Busy: busy}, nil
			}
			err := s.save(ctx, t.host)
			if err == nil && (!early || s.Firm == busy) {
				return locked{Busy: busy}, nil
			}
			if err != nil && (sdk.CodeOf(err) != sdk.CodeConflict || try == maxRaces) {
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
			if s.Cleared == s.Turn {
				s.Summary, s.SummaryUpTo = "", last
			}
		}
		s.Cleared = ""
		user := t.userMessage(base)
		w, err := user.write(s.ID)
		if err != nil {
			return locked{}, err
		}
		s.Waiting = slices.DeleteFunc(s.Waiting, func(id string) bool { return id == t.task.ID || ended[id] })
		if s.Firm != t.task.ID { // somebody may still count on this one
			s.Firm = ""
		}
		now := sdk.Now()
		s.Turn, s.LastTurn, s.TurnBase, s.Messages, s.UpdatedAt = t.task.ID, t.task.ID, base, base, now
		also := append(s.use(now), w)
		if s.Title == "" {
			s.Title = titleOf(t.in.Message)
		}
		err = s.save(ctx, t.host, also...)
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
	switch {
	case s.Turn == id:
		return "" // it speaks itself; it may give way later
	case s.Turn != "" && !ended[s.Turn]:
		return s.Turn
	}
	return s.first(id, ended)
}

// first is the task that waits, was submitted before another one and before all else.
func (s *session) first(id string, ended map[string]bool) string {
	first := ""
	for _, w := range s.Waiting {
		if w < id && !ended[w] && (first == "" || w < first) {
			first = w
		}
	}
	return first
}
