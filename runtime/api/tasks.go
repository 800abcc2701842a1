package api

import (
	"context"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// taskList is a page of tasks, on both wires.
type taskList struct {
	Tasks      []sdk.Task `json:"tasks" doc:"Newest first."`
	NextCursor string     `json:"next_cursor" doc:"Where the next page begins; empty on the last."`
}

// listPage is how many tasks are read at once, so that a page of large ones is
// cut before it fills the memory.
const listPage = 64

// list reads a page. It may be shorter than asked for, with a cursor to go on
// at, where more would not fit into a frame.
func (s *Server) list(ctx context.Context, f runtime.TaskFilter) (taskList, error) {
	if f.Limit == 0 {
		f.Limit = 50
	}
	if f.Limit < 1 || f.Limit > 1000 {
		return taskList{}, sdk.Invalid("limit", "want 1 to 1000, not %d", f.Limit)
	}
	out := taskList{Tasks: []sdk.Task{}}
	room := s.cfg.Limits.FrameBytes - 64<<10
	for want := f.Limit; ; {
		f.Limit = min(want, listPage)
		page, err := s.rt.Tasks(ctx, f)
		if err != nil {
			return taskList{}, err
		}
		fit := 0
		for fit < len(page.Tasks) && room-sizeOf(&page.Tasks[fit]) >= 0 {
			room -= sizeOf(&page.Tasks[fit])
			fit++
		}
		if fit < len(page.Tasks) {
			if fit == 0 && len(out.Tasks) > 0 {
				return out, nil // its cursor is the last page's
			}
			// Ask again for as many as fit: only the store makes cursors.
			f.Limit = max(1, fit)
			if page, err = s.rt.Tasks(ctx, f); err != nil {
				return taskList{}, err
			}
			out.Tasks = append(out.Tasks, page.Tasks...)
			out.NextCursor = page.Next
			return out, nil
		}
		out.Tasks = append(out.Tasks, page.Tasks...)
		out.NextCursor, f.Cursor = page.Next, page.Next
		if want -= len(page.Tasks); want <= 0 || page.Next == "" {
			return out, nil
		}
	}
}

// sizeOf is about how many bytes a task takes as JSON, rather more than less.
func sizeOf(t *sdk.Task) int {
	n := 1024 + len(t.Payload) + len(t.Result) + 6*len(t.Reason)
	for k, v := range t.Labels {
		n += 6*len(k) + 6*len(v) + 8
	}
	if t.Error != nil {
		n += 6 * len(t.Error.Message)
	}
	if t.Progress != nil {
		n += 6 * len(t.Progress.Message)
	}
	return n
}
