package store

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// A run is what one transaction says of one task: consecutive events, which are one row
// of the log at the place of the last of them. Most lives are two or three runs, and a
// row costs much more than what it holds. A row of a run has an empty type and an array as
// its data; an event that stands alone is a row of its own columns.
//
// A run is no longer than runEvents and runBytes, so that a reader who wants one event
// is not given megabytes, unless its first event alone is.
const (
	runEvents = 32
	runBytes  = 16 << 10
)

// run is the first and the last of its events in a transaction's part of the log.
type run struct{ first, last, n, bytes int }

// runs divides a transaction's part of the log. Runs are in the order of their first
// events; next[i] is the event that follows i in its run, or -1.
func runs(log []logRow) (all []run, next []int) {
	next = make([]int, len(log))
	all = make([]run, 0, len(log))
	open := make(map[string]int, len(log)) // index in all by task
	for i := range log {
		e := &log[i]
		next[i] = -1
		if j, ok := open[e.task]; ok && e.task != "" {
			if r := &all[j]; r.n < runEvents && r.bytes+len(e.data) <= runBytes {
				next[r.last] = i
				r.last, r.n, r.bytes = i, r.n+1, r.bytes+len(e.data)
				continue
			}
		}
		open[e.task] = len(all)
		all = append(all, run{first: i, last: i, n: 1, bytes: len(e.data)})
	}
	return all, next
}

// appendRun appends the data of a run's row.
func appendRun(b []byte, log []logRow, next []int, first int) []byte {
	b = append(b, '[')
	for i := first; i >= 0; i = next[i] {
		e := &log[i]
		if i != first {
			b = append(b, ',')
		}
		b = append(b, `{"type":"`...) // types are plain words
		b = append(b, e.typ...)
		b = append(b, `","life":`...)
		b = strconv.AppendInt(b, int64(e.life), 10)
		b = append(b, `,"attempt":`...)
		b = strconv.AppendInt(b, int64(e.attempt), 10)
		b = append(b, `,"time":`...)
		b = strconv.AppendInt(b, int64(e.time), 10)
		b = append(b, `,"data":`...)
		if e.data == "" {
			b = append(b, "null"...)
		}
		b = append(b, e.data...)
		b = append(b, '}')
	}
	return append(b, ']')
}

// unpack appends a run's events, of which last is the last without its data.
func unpack(out []runtime.LogEntry, last runtime.LogEntry, data string) ([]runtime.LogEntry, error) {
	var events []struct {
		Type          string
		Life, Attempt int
		Time          int64
		Data          json.RawMessage
	}
	if err := json.Unmarshal([]byte(data), &events); err != nil {
		return out, fmt.Errorf("the log's row %d: %w", last.Pos, err)
	}
	for i, v := range events {
		back := int64(len(events) - 1 - i)
		e := runtime.LogEntry{Pos: last.Pos - back, Kind: last.Kind, Queue: last.Queue}
		e.Task = &sdk.TaskEvent{Task: last.Task.Task, Seq: last.Task.Seq - back, Type: v.Type, Life: v.Life, Attempt: v.Attempt,
			Time: sdk.Time(v.Time), Data: v.Data, End: ends(v.Type)}
		out = append(out, e)
	}
	return out, nil
}

// ends reports whether an event of this type ends its task's life.
func ends(typ string) bool {
	return typ == sdk.EventCompleted || typ == sdk.EventFailed || typ == sdk.EventCancelled
}
