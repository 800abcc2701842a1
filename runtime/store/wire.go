package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// wire tells the runtimes on one PostgreSQL database of each other's commits. It
// says where to look, never what there is: a lost message costs time and nothing
// else, since every runtime looks by itself now and then.
//
// Messages are sent after the commit and on a connection of their own, at once and
// then at most every 10 ms: a NOTIFY inside a transaction would make all commits
// of the database wait for each other.
type wire struct {
	cfg     *pgx.ConnConfig
	self    string // tells our own messages from others'
	channel string

	mu      sync.Mutex
	pending *word
	news    chan struct{} // capacity 1

	stop context.CancelFunc
	all  sync.WaitGroup
}

const (
	wirePause   = 10 * time.Millisecond
	wirePoll    = 5 * time.Second // covers a lost message
	wireRetry   = time.Second
	maxWord     = 7900 // bytes; PostgreSQL takes 7,999
	maxWordTask = 100
	maxChannel  = 63 // bytes of a name
)

// word is one message.
type word struct {
	From    string          `json:"f"`
	Head    int64           `json:"h"`
	Tasks   []wordTask      `json:"t,omitempty"`
	Types   []string        `json:"p,omitempty"`
	All     bool            `json:"a,omitempty"` // more than fit here
	Queued  bool            `json:"q,omitempty"`
	NextDue sdk.Time        `json:"d,omitempty"`
	Queues  bool            `json:"u,omitempty"`
	Cancels []runtime.Told  `json:"c,omitempty"`
	Answers []runtime.Fence `json:"w,omitempty"`
	seen    map[string]bool // tasks that stand in Tasks
}

type wordTask struct {
	ID    string    `json:"i"`
	Kind  string    `json:"k"`
	Queue string    `json:"u"`
	State sdk.State `json:"s"`
}

// openWire starts listening and sending.
func (s *Store) openWire(ctx context.Context, cfg *pgx.ConnConfig, schema string) error {
	channel := "nagatha_" + schema
	if len(channel) > maxChannel {
		channel = fmt.Sprintf("nagatha_%x", sha256.Sum224([]byte(schema)))[:maxChannel]
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	life, stop := context.WithCancel(context.Background())
	s.wire = &wire{cfg: cfg, self: hex.EncodeToString(id[:]), channel: channel, news: make(chan struct{}, 1), stop: stop}
	ready := make(chan struct{})
	s.wire.all.Go(func() { s.listen(life, sync.OnceFunc(func() { close(ready) })) })
	s.wire.all.Go(func() { s.tell(life) })
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *wire) close() {
	w.stop()
	w.all.Wait()
}

// say adds a commit to the next message.
func (w *wire) say(c runtime.Commit) {
	w.mu.Lock()
	if w.pending == nil {
		w.pending = &word{From: w.self, seen: map[string]bool{}}
	}
	w.pending.add(c)
	w.mu.Unlock()
	select {
	case w.news <- struct{}{}:
	default:
	}
}

func (m *word) add(c runtime.Commit) {
	m.Head = max(m.Head, c.Head)
	m.Queued = m.Queued || c.Queued
	m.Queues = m.Queues || c.Queues
	if c.NextDue != 0 && (m.NextDue == 0 || c.NextDue < m.NextDue) {
		m.NextDue = c.NextDue
	}
	m.Cancels = append(m.Cancels, c.Cancels...)
	m.Answers = append(m.Answers, c.Answered...)
	if m.All {
		return
	}
	for _, t := range c.Tasks {
		if !m.seen[t.ID] {
			m.seen[t.ID] = true
			m.Tasks = append(m.Tasks, wordTask{ID: t.ID, Kind: t.Kind, Queue: t.Queue, State: t.State})
		}
	}
	m.Types = append(m.Types, c.Published...)
	if len(m.Tasks) > maxWordTask || len(m.Types) > maxWordTask {
		m.All, m.Tasks, m.Types = true, nil, nil
	}
}

// encode makes the message fit.
func (m *word) encode() string {
	b, _ := json.Marshal(m) // of plain types: cannot fail
	if len(b) > maxWord {
		m.All, m.Tasks, m.Types = true, nil, nil
		b, _ = json.Marshal(m)
	}
	if len(b) > maxWord {
		m.Cancels = nil // they are found with the next beat
		m.Answers = nil // All makes everybody look
		b, _ = json.Marshal(m)
	}
	return string(b)
}

func (m *word) commit() runtime.Commit {
	c := runtime.Commit{Remote: true, Head: m.Head, Published: m.Types, All: m.All, Queued: m.Queued, Queues: m.Queues, NextDue: m.NextDue, Cancels: m.Cancels, Answered: m.Answers}
	for _, t := range m.Tasks {
		c.Tasks = append(c.Tasks, runtime.Change{ID: t.ID, Kind: t.Kind, Queue: t.Queue, State: t.State})
	}
	return c
}

// tell sends what there is to say.
func (s *Store) tell(ctx context.Context) {
	w := s.wire
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.news:
		}
		w.mu.Lock()
		m := w.pending
		w.pending = nil
		w.mu.Unlock()
		if m == nil {
			continue
		}
		// A message that cannot be sent is lost: the others look by themselves.
		if err := s.notify(ctx, m.encode()); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("cannot tell the other runtimes of a change; they will see it a little later", "error", err)
		}
		pause(ctx, wirePause)
	}
}

func (s *Store) notify(ctx context.Context, message string) error {
	ctx, cancel := s.patient(ctx)
	defer cancel()
	_, err := s.r.ExecContext(ctx, `SELECT pg_notify($1, $2)`, s.wire.channel, message)
	return err
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// listen hears of the others' commits, for as long as the store is open.
func (s *Store) listen(ctx context.Context, ready func()) {
	defer ready()
	for ctx.Err() == nil {
		if err := s.listenOnce(ctx, ready); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("the connection that hears of other runtimes is gone; connecting again", "error", err)
			pause(ctx, wireRetry)
		}
	}
}

func (s *Store) listenOnce(ctx context.Context, ready func()) error {
	conn, err := pgx.ConnectConfig(ctx, s.wire.cfg)
	if err != nil {
		return err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), wireRetry)
		defer cancel()
		_ = conn.Close(last)
	}()
	if err := order(ctx, conn, settings+`; LISTEN `+pgx.Identifier{s.wire.channel}.Sanitize()); err != nil {
		return err
	}
	ready()
	// What was said while nobody listened is looked up.
	known := int64(-1)
	for {
		// Asking over this connection shows whether it still hears.
		var pos int64
		patient, cancel := s.patient(ctx)
		err := conn.QueryRow(patient, `SELECT pos FROM log_head WHERE id = 1`, pgx.QueryExecModeSimpleProtocol).Scan(&pos)
		cancel()
		if err != nil {
			return err
		}
		if err := s.loadPaused(ctx); err != nil {
			return err
		}
		if pos > known {
			known = pos
			s.cfg.OnCommit(runtime.Commit{Remote: true, All: true, Queued: true, Head: pos})
		}
		for until := time.Now().Add(wirePoll); time.Now().Before(until); {
			wait, cancel := context.WithDeadline(ctx, until)
			n, err := conn.WaitForNotification(wait)
			cancel()
			if err != nil {
				if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
					break
				}
				return err
			}
			var m word
			if err := json.NewDecoder(strings.NewReader(n.Payload)).Decode(&m); err != nil || m.From == s.wire.self {
				known = max(known, m.Head)
				continue
			}
			known = max(known, m.Head)
			if m.Queues {
				if err := s.loadPaused(ctx); err != nil {
					return err
				}
			}
			s.cfg.OnCommit(m.commit())
		}
	}
}
