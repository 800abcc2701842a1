package runtime

import (
	"encoding/json"
	"slices"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// coalesce merges what waits for a watcher that asked for it: progress of a task
// keeps the latest, consecutive text of one stream is joined. A merged event has
// the number and cursor of its last part, and FromSeq of its first.
func coalesce(in []Notice) []Notice {
	out := in[:0:0]
	last := map[string]int{} // by task: index in out of its last event
	for _, n := range in {
		if n.Method == "event" && n.Entry.Task != nil {
			id := n.Entry.Task.Task
			if i, ok := last[id]; ok {
				if merged, ok := merge(out[i], n); ok {
					// It stands where its last part stood: cursors only grow.
					out[i].Method = ""
					n = merged
				}
			}
			last[id] = len(out)
		}
		out = append(out, n)
	}
	return slices.DeleteFunc(out, func(n Notice) bool { return n.Method == "" })
}

// merge joins b, the next event of the same task, to a.
func merge(a, b Notice) (Notice, bool) {
	ea, eb := a.Entry.Task, b.Entry.Task
	if ea.Type != eb.Type || ea.Attempt != eb.Attempt || ea.Life != eb.Life {
		return a, false
	}
	first := a.FromSeq
	if first == 0 {
		first = ea.Seq
	}
	entry, event := *b.Entry, *eb
	switch ea.Type {
	case sdk.EventProgress:
	case sdk.EventOutput:
		var da, db outputData
		if json.Unmarshal(ea.Data, &da) != nil || json.Unmarshal(eb.Data, &db) != nil ||
			da.Stream != db.Stream || da.Text == nil || db.Text == nil || len(*da.Text) > maxMerged {
			return a, false
		}
		text := *da.Text + *db.Text
		da.Text = &text
		data, err := json.Marshal(da)
		if err != nil {
			return a, false
		}
		event.Data = data
	default:
		return a, false
	}
	entry.Task = &event
	return Notice{Method: "event", Cursor: b.Cursor, Entry: &entry, FromSeq: first}, true
}

// maxMerged is where joined text is cut into another event.
const maxMerged = 64 << 10
