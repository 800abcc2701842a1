package bus

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// The verbs under which the backend writes.
const (
	verbPublish   = "bus.publish"
	verbSubscribe = "bus.subscribe"
	verbClaim     = "bus.claim"
	verbSettle    = "bus.settle"
)

// Row is a row that a statement returned; Scan is as that of sql.Rows.
type Row = interface{ Scan(dest ...any) error }

// Tx is a transaction of the store's, as this room needs it. Over runs a
// statement over rows: they are the relation r with the given columns
// ("id BIGINT, topic TEXT"), and {1}, {2}… are the fixed arguments. Skip is the
// clause by which a claim passes over rows that another node is claiming, Among
// the condition that a column is one of what a query returns.
type Tx = interface {
	Over(columns string, rows [][]any, body string, scan func(Row) error, fixed ...any) error
	Query(body string, scan func(Row) error, args ...any) error
	Exec(body string, args ...any) (int64, error)
	Skip() string
	Among(column, query string) string
}

// Verbs are the backend's writes for the store's transactions. Each takes all
// requests that wait as one set.
func Verbs() map[string]func(tx Tx, set []any) error {
	return map[string]func(tx Tx, set []any) error{
		verbPublish: publish, verbSubscribe: subscribe, verbClaim: claim, verbSettle: settle,
	}
}

// publishing asks for messages to be stored.
type publishing struct {
	topic string
	rows  []row
}

func publish(tx Tx, set []any) error {
	n := 0
	for _, req := range set {
		n += len(req.(*publishing).rows)
	}
	var last int64
	if err := tx.Query(`UPDATE bus_sequence SET last = last + $1 WHERE id = 1 RETURNING last`, func(r Row) error { return r.Scan(&last) }, n); err != nil {
		return err
	}
	id := last - int64(n)
	table := make([][]any, 0, n)
	for _, req := range set {
		p := req.(*publishing)
		for _, r := range p.rows {
			id++
			table = append(table, []any{id, p.topic, r.uuid, r.metadata, r.payload, r.base64})
		}
	}
	// A message that no group wants is not stored.
	const columns = "id BIGINT, topic TEXT, uuid TEXT, metadata TEXT, payload TEXT, base64 INTEGER"
	if err := tx.Over(columns, table, `INSERT INTO bus_messages (id, uuid, metadata, payload, base64)
		SELECT r.id, r.uuid, r.metadata, r.payload, r.base64 FROM r
		WHERE EXISTS (SELECT 1 FROM bus_groups AS g WHERE g.topic = r.topic)`, nil); err != nil {
		return err
	}
	for i, row := range table {
		table[i] = row[:2]
	}
	return tx.Over("id BIGINT, topic TEXT", table, `INSERT INTO bus_deliveries (topic, grp, message)
		SELECT g.topic, g.grp, r.id FROM r JOIN bus_groups AS g ON g.topic = r.topic`, nil)
}

// subscribing makes a group known, so that messages published from now on wait
// for it. Release takes back what an earlier process of the group held.
type subscribing struct {
	topic, group string
	release      bool
}

func subscribe(tx Tx, set []any) error {
	for _, req := range set {
		q := req.(*subscribing)
		if _, err := tx.Exec(`INSERT INTO bus_groups (topic, grp) VALUES ($1, $2) ON CONFLICT DO NOTHING`, q.topic, q.group); err != nil {
			return err
		}
		if !q.release {
			continue
		}
		if _, err := tx.Exec(`UPDATE bus_deliveries SET lease = '', lease_until = 0 WHERE topic = $1 AND grp = $2 AND lease <> ''`,
			q.topic, q.group); err != nil {
			return err
		}
	}
	return nil
}

// claiming asks for up to limit messages that are due, under a lease.
type claiming struct {
	topic, group string
	limit        int
	ordered      bool // only from the head, even if that is not due
	lease        string
	now, until   int64 // ms

	got []claimed
}

type claimed struct {
	row
	id       int64
	attempts int
}

func claim(tx Tx, set []any) error {
	for _, req := range set {
		q := req.(*claiming)
		q.got = nil
		due := `SELECT message FROM bus_deliveries WHERE topic = $3 AND grp = $4 AND not_before <= $5 AND lease_until <= $5 ORDER BY message LIMIT $6` + tx.Skip()
		if q.ordered {
			due = `SELECT message FROM (SELECT message, not_before, lease_until FROM bus_deliveries WHERE topic = $3 AND grp = $4
				ORDER BY message LIMIT 1) AS head WHERE not_before <= $5 AND lease_until <= $5 LIMIT $6`
		}
		attempts := map[int64]int{}
		err := tx.Query(`UPDATE bus_deliveries SET lease = $1, lease_until = $2, attempts = attempts + 1
			WHERE topic = $3 AND grp = $4 AND not_before <= $5 AND lease_until <= $5 AND `+tx.Among(`message`, due)+` RETURNING message, attempts`,
			func(rs Row) error {
				var id int64
				var n int
				err := rs.Scan(&id, &n)
				attempts[id] = n
				return err
			}, q.lease, q.until, q.topic, q.group, q.now, q.limit)
		if err != nil {
			return err
		}
		table := make([][]any, 0, len(attempts))
		for id := range attempts {
			table = append(table, []any{id})
		}
		err = tx.Over("id BIGINT", table, `SELECT m.id, m.uuid, m.metadata, m.payload, m.base64 FROM r JOIN bus_messages AS m ON m.id = r.id`,
			func(rs Row) error {
				var c claimed
				err := rs.Scan(&c.id, &c.uuid, &c.metadata, &c.payload, &c.base64)
				c.attempts = attempts[c.id]
				q.got = append(q.got, c)
				return err
			})
		if err != nil {
			return err
		}
		slices.SortFunc(q.got, func(a, b claimed) int { return cmp.Compare(a.id, b.id) })
	}
	return nil
}

// settling ends or prolongs the hold on a message. A hold that was lost is left
// alone.
type settling struct {
	topic, group string
	message      int64
	lease        string
	what         settlement
	at           int64 // ms: when it comes again, or until when it is held
}

type settlement int

const (
	ack settlement = iota
	nack
	renew
)

func settle(tx Tx, set []any) error {
	var tables [renew + 1][][]any
	for _, req := range set {
		q := req.(*settling)
		tables[q.what] = append(tables[q.what], []any{q.topic, q.group, q.message, q.lease, q.at})
	}
	const mine = `bus_deliveries.topic = r.topic_ AND bus_deliveries.grp = r.grp_ AND bus_deliveries.message = r.message_ AND bus_deliveries.lease = r.lease_`
	for what, table := range tables {
		if len(table) == 0 {
			continue
		}
		const held = "topic_ TEXT, grp_ TEXT, message_ BIGINT, lease_ TEXT, at_ BIGINT"
		var err error
		switch settlement(what) {
		case ack:
			if err = tx.Over(held, table, `DELETE FROM bus_deliveries WHERE (topic, grp, message, lease) IN (SELECT topic_, grp_, message_, lease_ FROM r)
					AND `+tx.Among(`message`, `SELECT message_ FROM r`), nil); err == nil {
				err = tx.Over(held, table, `DELETE FROM bus_messages WHERE `+tx.Among(`id`, `SELECT message_ FROM r`)+`
					AND NOT EXISTS (SELECT 1 FROM bus_deliveries AS d WHERE d.message = bus_messages.id)`, nil)
			}
		case nack:
			err = tx.Over(held, table, `UPDATE bus_deliveries SET lease = '', lease_until = 0, not_before = r.at_ FROM r WHERE `+mine+` AND `+tx.Among(`message`, `SELECT message_ FROM r`), nil)
		case renew:
			err = tx.Over(held, table, `UPDATE bus_deliveries SET lease_until = r.at_ FROM r WHERE `+mine+` AND `+tx.Among(`message`, `SELECT message_ FROM r`), nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// nextDue is when the group's next message is due that nobody may take yet; 0 if
// none waits. An ordered group waits for its head.
func nextDue(ctx context.Context, db *sql.DB, topic, group string, ordered bool) (sdk.Time, error) {
	text := `SELECT min(CASE WHEN not_before > lease_until THEN not_before ELSE lease_until END)
		FROM bus_deliveries WHERE topic = $1 AND grp = $2`
	if ordered {
		text = `SELECT CASE WHEN not_before > lease_until THEN not_before ELSE lease_until END
			FROM bus_deliveries WHERE topic = $1 AND grp = $2 ORDER BY message LIMIT 1`
	}
	var ms sql.NullInt64
	err := db.QueryRowContext(ctx, text, topic, group).Scan(&ms)
	if err != nil || !ms.Valid {
		return 0, ignoreNoRows(err)
	}
	return sdk.Time(ms.Int64), nil
}

func ignoreNoRows(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}
