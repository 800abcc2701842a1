package bus

import (
	"context"
	"database/sql"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// DB is the store's database as the bus needs it. Write runs one request under a
// verb of [Verbs], in a transaction with whatever else waits, and returns when
// that is durable.
type DB interface {
	Write(ctx context.Context, verb string, req any) error
	Reader() *sql.DB
}

//go:embed migrations
var migrations embed.FS

// Migrations are the goose migrations of the backend's tables, in a folder for each
// database.
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the directory is embedded
	}
	return sub
}

// SQL is the backend on the store's database: the source of Watermill publishers
// and subscribers. A message is stored with one delivery for each group
// that subscribes, and is gone when the last has been acknowledged. It is safe for
// concurrent use.
type SQL struct {
	db DB

	mu   sync.Mutex
	news chan struct{} // closed and replaced when there may be something new
}

// NewSQL makes the backend. The database must have been opened with [Verbs] and
// [Migrations].
func NewSQL(db DB) *SQL { return &SQL{db: db, news: make(chan struct{})} }

// Wake makes subscribers look. It is called after a commit that published through
// [Outbox], never blocks, and may be called too often.
func (s *SQL) Wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.news)
	s.news = make(chan struct{})
}

// signal returns what the next Wake closes. Take it before looking, so that no
// wake-up falls in between.
func (s *SQL) signal() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.news
}

var errClosed = errors.New("the bus is closed")

// Publisher makes a publisher.
func (s *SQL) Publisher() *Publisher { return &Publisher{bus: s} }

// Publisher publishes on any topic. It implements message.Publisher.
type Publisher struct {
	bus    *SQL
	closed atomic.Bool
}

// Publish implements message.Publisher. All messages are published or none.
func (p *Publisher) Publish(topic string, messages ...*message.Message) error {
	if p.closed.Load() {
		return errClosed
	}
	if len(messages) == 0 {
		return nil
	}
	req := &publishing{topic: topic}
	for _, m := range messages {
		row, err := newRow(m)
		if err != nil {
			return err
		}
		req.rows = append(req.rows, row)
	}
	if err := p.bus.db.Write(context.Background(), verbPublish, req); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	p.bus.Wake()
	return nil
}

// Close implements message.Publisher.
func (p *Publisher) Close() error {
	p.closed.Store(true)
	return nil
}

// row is a message as it is stored.
type row struct {
	uuid, metadata, payload string
	base64                  int
}

func newRow(m *message.Message) (row, error) {
	meta, err := json.Marshal(m.Metadata)
	if err != nil {
		return row{}, fmt.Errorf("metadata of message %s: %w", m.UUID, err)
	}
	r := row{uuid: m.UUID, metadata: string(meta), payload: string(m.Payload)}
	if !plain(m.Payload) {
		r.payload, r.base64 = base64.StdEncoding.EncodeToString(m.Payload), 1
	}
	return r, nil
}

// plain reports whether bytes can be stored as text.
func plain(b []byte) bool { return utf8.Valid(b) && !slices.Contains(b, 0) }

func (r row) message() (*message.Message, error) {
	payload := []byte(r.payload)
	if r.base64 == 1 {
		var err error
		if payload, err = base64.StdEncoding.DecodeString(r.payload); err != nil {
			return nil, fmt.Errorf("payload of message %s: %w", r.uuid, err)
		}
	}
	m := message.NewMessage(r.uuid, payload)
	if err := json.Unmarshal([]byte(r.metadata), &m.Metadata); err != nil {
		return nil, fmt.Errorf("metadata of message %s: %w", r.uuid, err)
	}
	return m, nil
}

// Outbox publishes events within a transaction of the store's: they are on the bus
// if it commits.
func Outbox(tx Tx, events []sdk.Event) error {
	req := &publishing{topic: Topic}
	for _, e := range events {
		row, err := newRow(Marshal(e))
		if err != nil {
			return err
		}
		req.rows = append(req.rows, row)
	}
	return publish(tx, []any{req})
}
