package runtime

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// cursor is a place in the log: after position pos of an epoch. Where it came
// from a task's event, seq is that event's number, which saves a search.
type cursor struct {
	epoch string
	pos   int64
	seq   int64
}

// String is the opaque form that clients keep.
func (c cursor) String() string {
	b := make([]byte, 0, 48)
	b = append(b, c.epoch...)
	b = append(b, ':')
	b = strconv.AppendInt(b, c.pos, 36)
	b = append(b, ':')
	b = strconv.AppendInt(b, c.seq, 36)
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(s string) (cursor, error) {
	bad := sdk.Errorf(sdk.CodeBadCursor, "%.80q is no cursor: send one that came with an event, or \"start\" or \"now\"", s)
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return cursor{}, bad
	}
	parts := strings.Split(string(b), ":")
	if len(parts) != 3 || parts[0] == "" {
		return cursor{}, bad
	}
	pos, err1 := strconv.ParseInt(parts[1], 36, 64)
	seq, err2 := strconv.ParseInt(parts[2], 36, 64)
	if err1 != nil || err2 != nil || pos < 0 || seq < 0 {
		return cursor{}, bad
	}
	return cursor{parts[0], pos, seq}, nil
}
