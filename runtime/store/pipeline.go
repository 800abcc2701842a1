package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// pipeline is a session on a PostgreSQL server. Each journey to the server and back
// costs more than most statements, and the last ones of a transaction hold the head of
// the log, for which all nodes wait. So what needs no answer waits for the next
// statement that does and travels with it: BEGIN with the first, COMMIT with the last.
type pipeline struct {
	conn    *pgx.Conn
	waiting []waiting
	ready   bool // to begin and commit
	open    bool // the server has a transaction, or may have one
	names   int  // given to statements
}

// waiting is a statement that has not travelled yet.
type waiting struct {
	name string
	args []any
	scan func(Row) error
}

const (
	nameBegin  = "begin"
	nameCommit = "commit"
)

var errRolledBack = errors.New("the server rolled the transaction back")

func (p *pipeline) begin(ctx context.Context) error {
	p.waiting, p.open = nil, false
	if !p.ready {
		for _, name := range []string{nameBegin, nameCommit} {
			if _, err := p.conn.Prepare(ctx, name, name); err != nil {
				return err
			}
		}
		p.ready = true
	}
	p.waiting = append(p.waiting, waiting{name: nameBegin})
	return nil
}

func (p *pipeline) commit(ctx context.Context) error {
	if !p.open && len(p.waiting) == 1 {
		return nil // nothing was written or asked for
	}
	p.waiting = append(p.waiting, waiting{name: nameCommit})
	tag, err := p.travel(ctx)
	if err == nil && tag.String() != "COMMIT" {
		err = errRolledBack
	}
	return err
}

// rollback leaves nothing of the transaction. A connection on which that fails is
// closed, and the next transaction is told so.
func (p *pipeline) rollback(ctx context.Context) {
	p.waiting = nil
	if !p.open || p.conn.IsClosed() {
		return
	}
	if _, err := p.conn.Exec(ctx, "ROLLBACK", pgx.QueryExecModeSimpleProtocol); err != nil {
		_ = p.conn.Close(ctx)
	}
}

// travel runs what waits, and returns the tag of the last statement.
func (p *pipeline) travel(ctx context.Context) (tag pgconn.CommandTag, err error) {
	all := p.waiting
	p.waiting, p.open = nil, true
	var batch pgx.Batch
	for _, w := range all {
		batch.Queue(w.name, w.args...)
	}
	answers := p.conn.SendBatch(ctx, &batch)
	defer func() {
		if e := answers.Close(); err == nil {
			err = e
		}
	}()
	for _, w := range all {
		rows, err := answers.Query()
		if err != nil {
			return tag, err
		}
		if err := handOver(rows, w.scan); err != nil {
			return tag, err
		}
		tag = rows.CommandTag()
	}
	return tag, nil
}

// handOver hands each row to scan, and reads the answer to its end.
func handOver(rows pgx.Rows, scan func(Row) error) error {
	defer rows.Close()
	row := &values{}
	for rows.Next() {
		if scan == nil {
			continue
		}
		list, err := rows.Values()
		if err != nil {
			return err
		}
		row.list = row.list[:0]
		for _, v := range list {
			switch n := v.(type) {
			case int32:
				v = int64(n)
			case int16:
				v = int64(n)
			case float32:
				v = float64(n)
			}
			row.list = append(row.list, v)
		}
		if err := scan(row); err != nil {
			return err
		}
	}
	rows.Close()
	return rows.Err()
}

func (p *pipeline) prepare(ctx context.Context, body string) (statement, error) {
	p.names++
	name := "s" + strconv.Itoa(p.names)
	if _, err := p.conn.Prepare(ctx, name, body); err != nil {
		return nil, err
	}
	return &pipelined{p, name}, nil
}

// pipelined is a statement of a pipeline.
type pipelined struct {
	p    *pipeline
	name string
}

// Close does nothing: statements go with their connection.
func (*pipelined) Close() error { return nil }

func (s *pipelined) wait(args []driver.NamedValue, scan func(Row) error) {
	list := make([]any, len(args))
	for i := range args {
		list[i] = args[i].Value
	}
	s.p.waiting = append(s.p.waiting, waiting{s.name, list, scan})
}

func (s *pipelined) later(_ context.Context, args []driver.NamedValue, scan func(Row) error) error {
	s.wait(args, scan)
	return nil
}

func (s *pipelined) query(ctx context.Context, args []driver.NamedValue, scan func(Row) error) error {
	s.wait(args, scan)
	_, err := s.p.travel(ctx)
	return err
}

func (s *pipelined) exec(ctx context.Context, args []driver.NamedValue) (int64, error) {
	s.wait(args, nil)
	tag, err := s.p.travel(ctx)
	return tag.RowsAffected(), err
}
