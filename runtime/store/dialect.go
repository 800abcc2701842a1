package store

import (
	"database/sql/driver"
	"fmt"
	"strconv"
	"strings"
)

// dialect is what the two databases do differently. Everything else is one text
// for both.
type dialect struct {
	name string // and the folder of its migrations
	// pieces are how many rows one statement takes, largest first; the last is 1.
	// SQLite compiles a list of values in time that grows with it and gains nothing
	// beyond a few. For PostgreSQL each statement is a journey, so it has none: all
	// rows travel at once, as an array for each column.
	pieces []int
	// lock keeps other nodes off rows that are about to be taken, passing over
	// those that they are taking; hold waits for them.
	lock, hold string
	// lockKeys lets one node at a time decide about concurrency keys, r's; tryKeys
	// does so without waiting, and says which it could lock.
	lockKeys, tryKeys string
	// among is a condition: column is one of those that a query returns. It is
	// looked up in the index whatever the planner believes about the table's size,
	// which in a queue is always out of date.
	among func(column, query string) string
	// kinds says which of r's kinds have tasks in the queue {1} that may be claimed,
	// where that is worth asking first; candidates looks at the head of the stretch of
	// the index that belongs to each of r's kinds: {1} is the queue, {2} the node, {3}
	// how many. Its last column is slotKey.
	kinds, candidates string
	// label is a condition on the labels column: parameters key and value.
	label func(key, value string) string
	// contains is a condition: a column is LIKE parameter pattern, whatever their case.
	contains func(column, pattern string) string
	// search is a full-text query: what it selects from, its condition on
	// parameter q, and the expression of its score.
	search func(q string) (from, match, score string)
	words  func([]string) string // the parameter of search
}

var sqlite = &dialect{
	name: "sqlite", pieces: []int{64, 16, 4, 1},
	among: func(column, query string) string { return column + ` IN (` + query + `)` },
	// A subquery that is joined cannot depend on r here, so this is for one kind.
	kinds: `SELECT kind_ FROM r WHERE EXISTS (SELECT 1 FROM tasks WHERE kind = r.kind_ AND queue = {1} AND ready = 1)`,
	candidates: `SELECT id, kind, line, run_at, ` + slotKey + ` FROM tasks
		WHERE kind = (SELECT kind_ FROM r) AND queue = {1} AND ready = 1 AND node IN ('', {2}) ORDER BY line DESC, run_at, id LIMIT {3}`,
	label: func(key, value string) string {
		return `EXISTS (SELECT 1 FROM json_each(labels) AS l WHERE l.key = ` + key + ` AND l.value = ` + value + `)`
	},
	// LIKE itself ignores the case here; lower, on each row, would take as long again.
	contains: func(column, pattern string) string { return column + ` LIKE ` + pattern + ` ESCAPE '\'` },
	search: func(q string) (string, string, string) {
		// CROSS: the words first. By keys first, the index would be asked for each row.
		return `data_text CROSS JOIN data ON data.id = data_text.rowid`, `data_text MATCH ` + q, `-bm25(data_text)`
	},
	words: func(words []string) string { return `"` + strings.Join(words, `" OR "`) + `"` },
}

var postgres = &dialect{
	name: "postgres",
	lock: ` FOR UPDATE SKIP LOCKED`, hold: ` FOR UPDATE`,
	lockKeys: `SELECT pg_advisory_xact_lock(7415, hashtext(key_)) FROM r`,
	tryKeys:  `SELECT key_, pg_try_advisory_xact_lock(7415, hashtext(key_)) FROM r`,
	among:    func(column, query string) string { return column + ` = ANY(ARRAY(` + query + `))` },
	candidates: `SELECT c.id, c.kind, c.line, c.run_at, ` + slotKey + ` FROM r CROSS JOIN LATERAL (SELECT id, kind, line, run_at, concurrency_key, key_shared FROM tasks
		WHERE kind = r.kind_ AND queue = {1} AND ready = 1 AND node IN ('', {2}) ORDER BY line DESC, run_at, id LIMIT {3} FOR UPDATE SKIP LOCKED) AS c`,
	label: func(key, value string) string {
		return `EXISTS (SELECT 1 FROM json_each_text(CAST(labels AS JSON)) AS l WHERE l.key = ` + key + ` AND l.value = ` + value + `)`
	},
	contains: func(column, pattern string) string {
		return `lower(` + column + `) LIKE lower(` + pattern + `) ESCAPE '\'`
	},
	search: func(q string) (string, string, string) {
		return `data`, `text_search @@ to_tsquery('nagatha', ` + q + `)`, `ts_rank(text_search, to_tsquery('nagatha', ` + q + `))`
	},
	words: func(words []string) string { return `'` + strings.Join(words, `' | '`) + `'` },
}

// piece is how many of n rows the next statement takes.
func (d *dialect) piece(n int) int {
	for _, p := range d.pieces {
		if p <= n {
			return p
		}
	}
	return n
}

// header is the columns of r ("id_ TEXT, n BIGINT") as names and types.
func header(columns string) (names, types []string) {
	for c := range strings.SplitSeq(columns, ",") {
		name, typ, _ := strings.Cut(strings.TrimSpace(c), " ")
		names, types = append(names, name), append(types, typ)
	}
	return names, types
}

// compose makes the text of a set-based statement: the relation "r" with the
// given columns ("id_ TEXT, n BIGINT") over n rows of parameters, then body, in
// which {1}, {2}… are the fixed parameters. They are numbered in the order in
// which they first appear, as go-sqlite3 wants it.
func (d *dialect) compose(columns, body string, n int) string {
	names, types := header(columns)
	var b strings.Builder
	fmt.Fprintf(&b, "WITH r(%s) AS (", strings.Join(names, ", "))
	p := 0
	if d == postgres {
		b.WriteString("SELECT * FROM unnest(")
		for i, typ := range types {
			p++
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "CAST($%d AS %s[])", p, typ)
		}
		b.WriteByte(')')
	} else {
		b.WriteString("VALUES ")
		for i := range n {
			for j := range names {
				p++
				switch {
				case j > 0:
					b.WriteString(", ")
				case i > 0:
					b.WriteString("), (")
				default:
					b.WriteByte('(')
				}
				if i == 0 { // the first row gives the columns their types
					fmt.Fprintf(&b, "CAST($%d AS %s)", p, types[j])
				} else {
					b.WriteByte('$')
					b.WriteString(strconv.Itoa(p))
				}
			}
		}
		b.WriteByte(')')
	}
	b.WriteString(") ")
	for i := 1; strings.Contains(body, "{"+strconv.Itoa(i)+"}"); i++ {
		body = strings.ReplaceAll(body, "{"+strconv.Itoa(i)+"}", "$"+strconv.Itoa(p+i))
	}
	b.WriteString(body)
	return b.String()
}

// rows appends the parameters of r.
func (d *dialect) rows(args []driver.NamedValue, columns string, rows [][]any) ([]driver.NamedValue, error) {
	if d != postgres {
		for _, row := range rows {
			args = bind(args, row)
		}
		return args, nil
	}
	names, types := header(columns)
	for i, typ := range types {
		var list any
		var err error
		switch typ {
		case "TEXT":
			list, err = array[string](rows, i)
		case "BIGINT", "INTEGER":
			list, err = array[int64](rows, i)
		default:
			err = fmt.Errorf("type %s", typ)
		}
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", names[i], err)
		}
		args = append(args, driver.NamedValue{Ordinal: len(args) + 1, Value: list})
	}
	return args, nil
}

// array is column i of rows. Where a value is absent it is one of pointers.
func array[T any](rows [][]any, i int) (any, error) {
	out := make([]T, len(rows))
	var absent []int
	var one [1]driver.NamedValue
	for j, row := range rows {
		switch v := bind(one[:0], row[i:i+1])[0].Value.(type) {
		case T:
			out[j] = v
		case nil:
			absent = append(absent, j)
		default:
			return nil, fmt.Errorf("a %T in row %d", row[i], j)
		}
	}
	if absent == nil {
		return out, nil
	}
	pointers := make([]*T, len(out))
	for j := range out {
		pointers[j] = &out[j]
	}
	for _, j := range absent {
		pointers[j] = nil
	}
	return pointers, nil
}
