package store

import (
	"context"
	"fmt"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func (s *Store) newTick() *tick {
	return &tick{Store: s, changes: map[string]int{}, news: runtime.News{Ready: map[string]bool{}}, keys: map[string]bool{}, fresh: map[string]*newcomer{}}
}

// tick is one transaction.
type tick struct {
	*Store
	ctx      context.Context // of its statements
	now      sdk.Time
	log      []logRow
	fresh    map[string]*newcomer // tasks that this transaction inserted as queued
	put      bool                 // inserts of simple tasks are put off until slots were given
	news     runtime.News         // that may let tasks start
	free     *claimArg            // for slots that were offered
	slots    runtime.Offer        // whose they are
	deferred []*newcomer          // tasks whose insert waits for them
	ended    []ended              // tasks whose end may concern others
	keys     map[string]bool      // concurrency keys whose slots may have changed hands
	heirs    []heir               // tasks that may have held one, and have ended
	pausing  map[string]bool      // the queues that are paused, if that changes
	pruned   int64                // up to where the log has holes now

	out     runtime.Commit
	changes map[string]int // index in out.Tasks by task id
}

// logRow is an event on its way into the log. The transaction's last step gives
// it a position.
type logRow struct {
	task, kind, queue string
	seq               int64
	typ               string
	life, attempt     int
	time              sdk.Time
	data              string
	end               bool
}

func (t *tick) commit(set []*request) error {
	// A transaction must not be cut half way because one caller went. A server that
	// does not answer is another matter; SQLite always does, and for a context that
	// can end go-sqlite3 starts a goroutine each statement.
	ctx, cancel := t.patient(context.Background())
	defer cancel()
	t.ctx = ctx
	if err := t.connect(ctx); err != nil {
		return err
	}
	return t.conn.Raw(func(c any) error {
		t.speak(c)
		err := t.session.begin(ctx)
		if err != nil {
			return err
		}
		if err = t.write(set); err == nil {
			err = t.session.commit(ctx)
		}
		if err != nil {
			t.session.rollback(ctx)
		}
		return err
	})
}

// write does what a set asks for.
func (t *tick) write(set []*request) error {
	t.now = t.cfg.Now()
	var byVerb [verbs][]*request
	for _, r := range set {
		byVerb[r.verb] = append(byVerb[r.verb], r)
	}
	if err := t.lockTasks(byVerb); err != nil {
		return fmt.Errorf("lock tasks: %w", err)
	}
	t.put = len(byVerb[verbClaim]) > 0 || t.offers.Load() != nil
	for v, reqs := range byVerb {
		if verb(v) == verbClaim {
			if err := t.claimAll(args[*claimArg](reqs)); err != nil {
				return err
			}
		} else if len(reqs) > 0 {
			if err := t.verb(verb(v), reqs); err != nil {
				return err
			}
		}
	}
	if err := t.settle(); err != nil {
		return err
	}
	if err := t.announce(); err != nil {
		return err
	}
	if err := t.notePruned(); err != nil {
		return err
	}
	return t.appendLog()
}

// lockTasks locks the tasks that a set names, in the order of their ids, if some of
// them may run elsewhere: a node that writes its own attempts and then cancels
// another's would wait for one that does the reverse, and both for a deadlock's end.
func (t *tick) lockTasks(byVerb [verbs][]*request) error {
	if t.dialect != postgres || len(byVerb[verbCancel])+len(byVerb[verbSignal])+len(byVerb[verbRetry]) == 0 {
		return nil
	}
	ids := map[string]bool{}
	for _, a := range args[*appendArg](byVerb[verbAppend]) {
		for _, q := range a.in {
			ids[q.Task] = true
		}
	}
	for _, a := range args[*finishArg](byVerb[verbFinish]) {
		for _, q := range a.in {
			ids[q.Task] = true
		}
	}
	for _, a := range args[*cancelArg](byVerb[verbCancel]) {
		for _, q := range a.in {
			ids[q.ID] = true
		}
	}
	for _, a := range args[*retryArg](byVerb[verbRetry]) {
		for _, id := range a.ids {
			ids[id] = true
		}
	}
	for _, a := range args[*signalArg](byVerb[verbSignal]) {
		ids[a.req.Task] = true
	}
	if len(ids) < 2 {
		return nil
	}
	table := make([][]any, 0, len(ids))
	for id := range ids {
		table = append(table, []any{id})
	}
	return t.over("id_ TEXT", table, `SELECT id FROM tasks WHERE `+t.dialect.among(`id`, `SELECT id_ FROM r`)+` ORDER BY id`+t.dialect.hold, func(Row) error { return nil })
}

func (t *tick) verb(v verb, reqs []*request) error {
	switch v {
	case verbSubmit:
		return t.submit(args[*submitArg](reqs))
	case verbData:
		return t.data(args[*dataArg](reqs))
	case verbClear:
		return each(reqs, t.clearData)
	case verbPublish:
		return t.publish(args[*publishArg](reqs))
	case verbAppend:
		return t.appendEvents(args[*appendArg](reqs))
	case verbOperate:
		return each(reqs, t.operate)
	case verbFinish:
		return t.finish(args[*finishArg](reqs))
	case verbCancel:
		return t.cancel(args[*cancelArg](reqs))
	case verbRetry:
		return t.retry(args[*retryArg](reqs))
	case verbSignal:
		return each(reqs, t.signal)
	case verbDecide:
		return each(reqs, t.decide)
	case verbEvict:
		return each(reqs, t.evict)
	case verbDelete:
		return each(reqs, t.delete)
	case verbPause:
		return each(reqs, t.pause)
	case verbForeign:
		return t.foreign(reqs)
	case verbSchedule:
		return each(reqs, t.putSchedule)
	case verbTick:
		return each(reqs, t.fire)
	case verbPromote:
		return each(reqs, t.promote)
	case verbRecover:
		return each(reqs, t.recover)
	case verbBeat:
		return each(reqs, t.beat)
	case verbPrune:
		return each(reqs, t.prune)
	}
	return fmt.Errorf("store: there is no verb %d", v)
}

func args[T any](reqs []*request) []T {
	out := make([]T, len(reqs))
	for i, r := range reqs {
		out[i] = r.arg.(T)
	}
	return out
}

func each[T any](reqs []*request, f func(T) error) error {
	for _, a := range args[T](reqs) {
		if err := f(a); err != nil {
			return err
		}
	}
	return nil
}

func (t *tick) foreign(reqs []*request) error {
	sets := map[string][]any{}
	var order []string
	for _, r := range reqs {
		if sets[r.name] == nil {
			order = append(order, r.name)
		}
		sets[r.name] = append(sets[r.name], r.arg)
	}
	for _, name := range order {
		if err := t.cfg.Verbs[name](foreign{t}, sets[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// foreign is the transaction as other rooms see it.
type foreign struct{ t *tick }

func (f foreign) Over(columns string, rows [][]any, body string, scan func(Row) error, fixed ...any) error {
	return f.t.over(columns, rows, body, scan, fixed...)
}

func (f foreign) Query(body string, scan func(Row) error, args ...any) error {
	return f.t.query(body, scan, args...)
}

func (f foreign) Exec(body string, args ...any) (int64, error) { return f.t.exec(body, args...) }

func (f foreign) Skip() string { return f.t.dialect.lock }

func (f foreign) Among(column, query string) string { return f.t.dialect.among(column, query) }
