package bus

import (
	"log/slog"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
)

// NewGoChannel makes the backend in memory, for tests: it forgets what was not
// delivered when the process ends, and keeps no order.
func NewGoChannel(l *slog.Logger) *gochannel.GoChannel {
	if l == nil {
		l = slog.New(slog.DiscardHandler)
	}
	return gochannel.NewGoChannel(gochannel.Config{}, watermill.NewSlogLogger(quiet(l)))
}
