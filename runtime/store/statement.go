package store

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"reflect"
)

// Row is a row that a statement returned. Scan takes what sql.Rows.Scan takes.
type Row = interface{ Scan(dest ...any) error }

// text names a statement: a set-based one has as many texts as sizes.
type text struct {
	columns, body string
	rows          int // 0: body is all
}

func (t *tick) stmt(x text) (statement, error) {
	if st := t.stmts[x]; st != nil {
		return st, nil
	}
	body := x.body
	if x.rows > 0 {
		body = t.dialect.compose(x.columns, x.body, x.rows)
	}
	st, err := t.session.prepare(t.ctx, body)
	if err != nil {
		return nil, fmt.Errorf("prepare %.200q: %w", body, err)
	}
	t.stmts[x] = st
	return st, nil
}

// over runs a statement over rows; see [compose]. scan, which may be nil, is handed
// what it returns; without it the statement may run as late as the commit.
func (t *tick) over(columns string, rows [][]any, body string, scan func(Row) error, fixed ...any) error {
	for len(rows) > 0 {
		n := t.dialect.piece(len(rows))
		var err error
		if t.args, err = t.dialect.rows(t.args[:0], columns, rows[:n]); err != nil {
			return err
		}
		t.args = bind(t.args, fixed)
		x := text{columns, body, n}
		if t.dialect == postgres {
			x.rows = 1 // one text for any number
		}
		rows = rows[n:]
		st, err := t.stmt(x)
		if err != nil {
			return err
		}
		if scan == nil {
			err = st.later(t.ctx, t.args, nil)
		} else {
			err = st.query(t.ctx, t.args, scan)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// exec runs a statement and returns how many rows it changed.
func (t *tick) exec(body string, args ...any) (int64, error) {
	st, err := t.stmt(text{body: body})
	if err != nil {
		return 0, err
	}
	t.args = bind(t.args[:0], args)
	return st.exec(t.ctx, t.args)
}

// query runs a statement and hands each row to scan, which must not run another.
func (t *tick) query(body string, scan func(Row) error, args ...any) error {
	st, err := t.stmt(text{body: body})
	if err != nil {
		return err
	}
	t.args = bind(t.args[:0], args)
	return st.query(t.ctx, t.args, scan)
}

// later is query for what is not needed before the commit, when scan has been called at
// the latest.
func (t *tick) later(body string, scan func(Row) error, args ...any) error {
	st, err := t.stmt(text{body: body})
	if err != nil {
		return err
	}
	t.args = bind(t.args[:0], args)
	return st.later(t.ctx, t.args, scan)
}

// bind appends parameters. The drivers take int64, float64, bool, string, []byte and nil.
func bind(args []driver.NamedValue, values []any) []driver.NamedValue {
	for _, v := range values {
		switch x := v.(type) {
		case int:
			v = int64(x)
		case string, int64, nil, []byte, bool, float64:
		default:
			switch r := reflect.ValueOf(v); r.Kind() {
			case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
				v = r.Int()
			case reflect.String:
				v = r.String()
			}
		}
		args = append(args, driver.NamedValue{Ordinal: len(args) + 1, Value: v})
	}
	return args
}

// values is a Row.
type values struct{ list []driver.Value }

func (r *values) Scan(dest ...any) error {
	if len(dest) != len(r.list) {
		return fmt.Errorf("scan %d columns into %d places", len(r.list), len(dest))
	}
	for i, d := range dest {
		if err := assign(d, r.list[i]); err != nil {
			return fmt.Errorf("scan column %d: %w", i+1, err)
		}
	}
	return nil
}

// assign copies a driver's value to where d points.
func assign(d any, v driver.Value) error {
	if b, ok := v.([]byte); ok {
		v = string(b) // the driver's memory ends with the row
	}
	switch d := d.(type) {
	case *string:
		if s, ok := v.(string); ok {
			*d = s
			return nil
		}
	case *int64:
		if n, ok := v.(int64); ok {
			*d = n
			return nil
		}
	case *int:
		if n, ok := v.(int64); ok {
			*d = int(n)
			return nil
		}
	case *bool:
		switch x := v.(type) {
		case bool:
			*d = x
			return nil
		case int64:
			*d = x != 0
			return nil
		}
	case sql.Scanner:
		return d.Scan(v)
	default: // a type of ours
		to := reflect.ValueOf(d).Elem()
		switch x := v.(type) {
		case string:
			if to.Kind() == reflect.String {
				to.SetString(x)
				return nil
			}
		case int64:
			if to.CanInt() {
				to.SetInt(x)
				return nil
			}
		case float64:
			if to.CanFloat() {
				to.SetFloat(x)
				return nil
			}
		}
	}
	return fmt.Errorf("a %T does not fit a %T", v, d)
}
