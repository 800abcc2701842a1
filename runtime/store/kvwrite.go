package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// dataArg is one caller's writes of plugin data, which happen all or not at all.
type dataArg struct {
	ns     string
	fence  runtime.Fence
	writes []sdk.KVWrite
	events []sdk.Event
	tasks  []runtime.NewTask

	done     []written // one for each write, unless err says why there is none
	children []sdk.Task
	err      error
}

type written struct {
	item sdk.Item // after a set
	hit  bool     // created, or deleted
	late bool     // in place of what had expired
}

// KVSet implements runtime.Store.
func (s *Store) KVSet(ctx context.Context, ns string, fence runtime.Fence, req sdk.KVSet) (sdk.KVSetReply, error) {
	done, err := s.writeData(ctx, ns, fence, sdk.KVWrite{Set: &req})
	if err != nil {
		return sdk.KVSetReply{}, err
	}
	return sdk.KVSetReply{Item: done[0].item, Created: done[0].hit, Expired: done[0].late}, nil
}

// KVDelete implements runtime.Store.
func (s *Store) KVDelete(ctx context.Context, ns string, fence runtime.Fence, req sdk.KVDelete) (sdk.KVDeleteReply, error) {
	done, err := s.writeData(ctx, ns, fence, sdk.KVWrite{Delete: &req})
	if err != nil {
		return sdk.KVDeleteReply{}, err
	}
	return sdk.KVDeleteReply{Deleted: done[0].hit}, nil
}

// KVApply implements runtime.Store.
func (s *Store) KVApply(ctx context.Context, ns string, fence runtime.Fence, req sdk.KVApply) (sdk.KVApplyReply, error) {
	if err := req.Check(); err != nil {
		return sdk.KVApplyReply{}, err
	}
	a := &dataArg{ns: ns, fence: fence, writes: req.Writes}
	if err := s.change(ctx, a); err != nil {
		return sdk.KVApplyReply{}, err
	}
	return sdk.KVApplyReply{Results: a.results()}, nil
}

// Commit implements runtime.Store.
func (s *Store) Commit(ctx context.Context, t runtime.Transaction) ([]sdk.KVResult, []sdk.Task, error) {
	a := &dataArg{ns: t.Namespace, fence: t.Fence, writes: t.Writes, events: t.Events, tasks: t.Tasks}
	if err := s.change(ctx, a); err != nil {
		return nil, nil, err
	}
	return a.results(), a.children, nil
}

func (a *dataArg) results() []sdk.KVResult {
	out := make([]sdk.KVResult, len(a.done))
	for i, d := range a.done {
		key, _ := a.writes[i].Key()
		out[i] = sdk.KVResult{Key: key, Version: d.item.Version, Expired: d.late}
		if a.writes[i].Set != nil {
			out[i].Created = d.hit
		} else {
			out[i].Deleted = d.hit
		}
	}
	return out
}

func (s *Store) writeData(ctx context.Context, ns string, fence runtime.Fence, write sdk.KVWrite) ([]written, error) {
	a := &dataArg{ns: ns, fence: fence, writes: []sdk.KVWrite{write}}
	if err := s.change(ctx, a); err != nil {
		return nil, err
	}
	return a.done, nil
}

func (s *Store) change(ctx context.Context, a *dataArg) error {
	for _, w := range a.writes {
		key, _ := w.Key()
		if err := checkKey(key); err != nil {
			return err
		}
		if err := checkSet(w.Set); err != nil {
			return err
		}
	}
	if err := s.do(ctx, verbData, len(a.writes)+len(a.events)+len(a.tasks), a); err != nil {
		return err
	}
	return a.err
}

func checkSet(set *sdk.KVSet) error {
	switch {
	case set == nil:
	case !json.Valid(set.Value) || !utf8.Valid(set.Value):
		return sdk.Invalid("value", "is not JSON in UTF-8")
	case !clean(set.Text):
		return sdk.Invalid("text", "want UTF-8 without NUL")
	case set.TTL < 0:
		return sdk.Invalid("ttl", "must not be negative")
	case set.As != nil && (set.As.Version < 1 || set.As.CreatedAt < 1 || set.As.UpdatedAt < 1 || set.As.ExpiresAt < 0):
		return sdk.Invalid("as", "want a version from 1 and the times of creation and change")
	}
	return nil
}

// place names a row of plugin data.
type place struct{ ns, key string }

// datum is a row as the set's requests so far have left it. It is not there while
// its version is 0.
type datum struct {
	id    int64 // 0: no such row when the set began
	item  sdk.Item
	text  string
	dirty bool
	late  bool // it had expired
}

// data reads the rows that a set names, plays the requests one after the other in
// memory, since two of them may name the same key, and writes what came of it. A
// request whose conditions are not met changes nothing for the others.
func (t *tick) data(args []*dataArg) error {
	rows, err := t.readData(args)
	if err != nil {
		return fmt.Errorf("read plugin data: %w", err)
	}
	pass, err := t.passing(args)
	if err != nil {
		return err
	}
	for _, a := range args {
		a.done, a.children, a.err = nil, nil, runtime.ErrFenced
		if pass[a.fence] {
			a.err = a.play(t.now, rows)
		}
	}
	if err := t.storeData(rows); err != nil {
		return fmt.Errorf("write plugin data: %w", err)
	}
	return t.follow(args)
}

// follow does what goes with the writes that were made: events and tasks. A task that
// is refused, as by a queue that is full, is an error of the whole set, which is then
// run again without what brought it about.
func (t *tick) follow(args []*dataArg) error {
	var events []sdk.Event
	for _, a := range args {
		if a.err != nil {
			continue
		}
		events = append(events, a.events...)
		if len(a.tasks) == 0 {
			continue
		}
		o, err := t.operator(a.fence)
		if err != nil {
			return err
		}
		sub := &submitArg{in: o.adopt(a.tasks), out: make([]runtime.Submitted, len(a.tasks))}
		if err := t.submit([]*submitArg{sub}); err != nil {
			return err
		}
		for _, s := range sub.out {
			if s.Err != nil {
				return s.Err
			}
			a.children = append(a.children, s.Task)
		}
	}
	if len(events) == 0 {
		return nil
	}
	return t.publish([]*publishArg{{events: events}})
}

// play makes a request's writes, or says what keeps it from that.
func (a *dataArg) play(now sdk.Time, rows map[place]*datum) error {
	for _, w := range a.writes {
		key, want := w.Key()
		if have := rows[place{a.ns, key}].item.Version; want != nil && *want != have {
			return sdk.Errorf(sdk.CodeConflict, "key %q has version %d, not %d; read it again", key, have, *want)
		}
	}
	for _, w := range a.writes {
		key, _ := w.Key()
		d := rows[place{a.ns, key}]
		if w.Delete != nil {
			a.done = append(a.done, written{hit: d.item.Version > 0, late: d.late})
			d.item, d.text, d.dirty, d.late = sdk.Item{}, "", true, false
			continue
		}
		created := d.item.Version == 0
		it := sdk.Item{Key: key, Value: w.Set.Value, Version: d.item.Version + 1, CreatedAt: d.item.CreatedAt, UpdatedAt: now}
		if created {
			it.CreatedAt = now
		}
		if w.Set.TTL > 0 {
			it.ExpiresAt = now.Add(max(w.Set.TTL.Std(), 1e6))
		}
		if as := w.Set.As; as != nil {
			it.Version, it.CreatedAt, it.UpdatedAt, it.ExpiresAt = as.Version, as.CreatedAt, as.UpdatedAt, as.ExpiresAt
		}
		a.done = append(a.done, written{item: it, hit: created, late: d.late})
		d.item, d.text, d.dirty, d.late = it, strings.Join(textWords(w.Set.Text), " "), true, false
	}
	return nil
}

// places are the map's keys in one order, so that nodes lock in the same one.
func places(rows map[place]*datum) []place {
	return slices.SortedFunc(maps.Keys(rows), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.ns, b.ns), cmp.Compare(a.key, b.key))
	})
}

// readData locks and reads the rows that args name. One that has expired is not
// there any more.
func (t *tick) readData(args []*dataArg) (map[place]*datum, error) {
	rows := map[place]*datum{}
	for _, a := range args {
		for _, w := range a.writes {
			key, _ := w.Key()
			rows[place{a.ns, key}] = &datum{}
		}
	}
	var table [][]any
	for _, p := range places(rows) {
		table = append(table, []any{p.ns, p.key})
	}
	err := t.over("ns_ TEXT, key_ TEXT", table, `SELECT data.id, data.ns, data.key, data.version, data.created_at, data.expires_at
		FROM r CROSS JOIN data WHERE data.ns = r.ns_ AND data.key = r.key_ ORDER BY data.ns, data.key`+t.dialect.hold, func(r Row) error {
		var d datum
		var p place
		if err := r.Scan(&d.id, &p.ns, &p.key, &d.item.Version, &d.item.CreatedAt, &d.item.ExpiresAt); err != nil {
			return err
		}
		if d.item.ExpiresAt > 0 && d.item.ExpiresAt <= t.now {
			d.item, d.late = sdk.Item{}, true
		}
		rows[p] = &d
		return nil
	})
	return rows, err
}

// storeData writes the rows that a set has changed.
func (t *tick) storeData(rows map[place]*datum) error {
	var fresh, changed, gone [][]any
	for _, p := range places(rows) {
		d := rows[p]
		values := []any{string(d.item.Value), d.text, d.item.Version, int64(d.item.CreatedAt), int64(d.item.UpdatedAt), int64(d.item.ExpiresAt)}
		switch there := d.item.Version > 0; {
		case !d.dirty:
		case d.id != 0 && there:
			changed = append(changed, append(values, d.id))
		case d.id != 0:
			gone = append(gone, []any{d.id})
		case there:
			fresh = append(fresh, append(values, p.ns, p.key))
		}
	}
	const columns = "value_ TEXT, text_ TEXT, version_ BIGINT, created_ BIGINT, updated_ BIGINT, expires_ BIGINT"
	n := 0
	err := t.over(columns+", ns_ TEXT, key_ TEXT", fresh, `INSERT INTO data (value, text, version, created_at, updated_at, expires_at, ns, key)
		SELECT value_, text_, version_, created_, updated_, expires_, ns_, key_ FROM r WHERE true ON CONFLICT (ns, key) DO NOTHING RETURNING 1`,
		func(Row) error { n++; return nil })
	if err != nil {
		return err
	}
	if n < len(fresh) {
		return errAgain // another node inserted one of them since they were read
	}
	err = t.over(columns+", id_ BIGINT", changed, `UPDATE data SET value = r.value_, text = r.text_, version = r.version_,
		created_at = r.created_, updated_at = r.updated_, expires_at = r.expires_ FROM r WHERE `+`data.id = r.id_`, nil)
	if err != nil {
		return err
	}
	return t.over("id_ BIGINT", gone, `DELETE FROM data WHERE `+t.dialect.among(`id`, `SELECT id_ FROM r`), nil)
}

// passing reports which of the attempts behind args still count.
func (t *tick) passing(args []*dataArg) (map[runtime.Fence]bool, error) {
	pass := map[runtime.Fence]bool{}
	var table [][]any
	for _, a := range args {
		if _, known := pass[a.fence]; known {
			continue
		}
		pass[a.fence] = a.fence == runtime.Fence{}
		if !pass[a.fence] {
			table = append(table, []any{a.fence.Task, a.fence.Token})
		}
	}
	err := t.over("id_ TEXT, token_ BIGINT", table, `SELECT tasks.id, tasks.token FROM r CROSS JOIN tasks
		WHERE tasks.id = r.id_ AND tasks.token = r.token_ AND tasks.node || '' <> ''`, func(r Row) error {
		var f runtime.Fence
		err := r.Scan(&f.Task, &f.Token)
		pass[f] = true
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("check the attempts: %w", err)
	}
	return pass, nil
}
