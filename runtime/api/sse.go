package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// streamEvents answers with a task's events as server-sent events: the same
// cursor as a WebSocket subscription, for clients and proxies that speak
// nothing else.
func (s *Server) streamEvents(ctx context.Context, in *eventsInput) (*eventsOutput, error) {
	if full := s.enter(false); full != nil {
		return nil, sdk.Errorf(sdk.CodeUnavailable, "%s", full.Message)
	}
	wake := make(chan struct{}, 1)
	watch, err := s.rt.Watch(ctx, runtime.WatchRequest{Task: in.ID, From: in.LastEventID}, func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	if err != nil {
		s.leave(false)
		return nil, err
	}
	// A browser reconnects after every end, also after the task's. It is told
	// to stop by 204, once there is nothing after its cursor any more.
	first, err := watch.Next(ctx, turnNotices)
	over := errors.Is(err, io.EOF)
	if err != nil && !over {
		watch.Close()
		s.leave(false)
		return nil, err
	}
	return &eventsOutput{func(hc huma.Context) {
		defer s.leave(false)
		defer watch.Close()
		r, w := humago.Unwrap(hc)
		if rec, ok := w.(*recorder); ok {
			rec.stream = true
		}
		if over && in.LastEventID != "" && !anyEvent(first) {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Accel-Buffering", "no")
		if r.Method == http.MethodHead {
			return // who reads no body need not wait for its end
		}
		st := stream{s: s, w: w, rc: http.NewResponseController(w), after: in.After}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer sender(ctx).attach(func(int, string) { cancel() })()
		st.run(ctx, watch, wake, first, over)
	}}, nil
}

func anyEvent(notices []runtime.Notice) bool {
	for i := range notices {
		if notices[i].Method == "event" {
			return true
		}
	}
	return false
}

// stream writes server-sent events.
type stream struct {
	s     *Server
	w     http.ResponseWriter
	rc    *http.ResponseController
	after int64
	text  []byte
}

func (st *stream) run(ctx context.Context, watch *runtime.Watch, wake <-chan struct{}, notices []runtime.Notice, over bool) {
	beat := time.NewTicker(st.s.cfg.Heartbeat)
	defer beat.Stop()
	for {
		if err := st.write(notices); err != nil || over {
			return
		}
		if len(notices) == 0 && !watch.More() {
			select {
			case <-wake:
			case <-beat.C:
				if st.put([]byte(": still here\n\n")) != nil {
					return
				}
			case <-ctx.Done():
				return
			case <-st.s.serving.Done():
				return
			}
		}
		var err error
		notices, err = watch.Next(ctx, turnNotices)
		over = errors.Is(err, io.EOF)
		if err != nil && !over {
			if ctx.Err() == nil {
				st.s.log.Error("read the log for an event stream", "error", err)
			}
			return
		}
	}
}

func (st *stream) write(notices []runtime.Notice) error {
	st.text = st.text[:0]
	for i := range notices {
		n := &notices[i]
		if n.Method == "event" && n.Entry.Task != nil && n.Entry.Task.Seq <= st.after {
			continue
		}
		if n.Method == "event" {
			st.text = append(append(append(st.text, "id: "...), n.Cursor...), "\ndata: "...)
			var err error
			if st.text, err = appendEntry(st.text, n); err != nil {
				return err
			}
		} else {
			data, err := encode(noticeData(n))
			if err != nil {
				return err
			}
			st.text = append(append(append(st.text, "event: "...), n.Method...), "\ndata: "...)
			st.text = append(st.text, data...)
		}
		st.text = append(st.text, "\n\n"...)
	}
	return st.put(st.text)
}

func noticeData(n *runtime.Notice) any {
	switch n.Method {
	case "snapshot":
		return taskResult{*n.Task}
	case "gap":
		return map[string]string{"reason": n.Reason}
	case "lag":
		return map[string]int64{"behind": n.Behind}
	}
	return struct{}{}
}

func (st *stream) put(text []byte) error {
	if _, err := st.w.Write(text); err != nil {
		return err
	}
	return st.rc.Flush()
}
