package process_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// recorder is a Host that writes down what it is told.
type recorder struct {
	mu    sync.Mutex
	said  []string
	first chan struct{}
	once  sync.Once
}

func newRecorder() *recorder { return &recorder{first: make(chan struct{})} }

func (r *recorder) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, fmt.Sprintf(format, args...))
	r.once.Do(func() { close(r.first) })
}

func (r *recorder) Progress(done, total float64, message string) {
	r.say("progress %v/%v %s", done, total, message)
}
func (r *recorder) Log(level slog.Level, message string, args ...any) {
	r.say("log %v %s %v", level, message, args)
}
func (r *recorder) Output(stream string, data []byte) { r.say("output %s %s", stream, data) }
func (r *recorder) Call(_ context.Context, op string, req []byte) ([]byte, error) {
	if op != "upper" {
		return nil, sdk.Errorf(sdk.CodeUnavailable, "no %s", op)
	}
	return []byte(strings.ToUpper(string(req))), nil
}
