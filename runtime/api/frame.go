package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf8"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// encode is json.Marshal without the escapes for HTML, which only cost.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// appendNotice appends a notice as a JSON-RPC notification.
func appendNotice(dst []byte, sub string, n *runtime.Notice) ([]byte, error) {
	dst = append(dst, `{"jsonrpc":"2.0","method":"`...)
	dst = append(dst, n.Method...)
	dst = append(dst, `","params":{"subscription":"`...)
	dst = append(dst, sub...)
	dst = append(dst, '"')
	var err error
	switch n.Method {
	case "event":
		dst = append(dst, `,"cursor":`...)
		dst = appendString(dst, n.Cursor)
		dst = append(dst, `,"event":`...)
		dst, err = appendEntry(dst, n)
	case "snapshot":
		var task []byte
		task, err = encode(n.Task)
		dst = append(append(dst, `,"task":`...), task...)
	case "gap":
		dst = appendString(append(dst, `,"reason":`...), n.Reason)
	case "lag":
		dst = strconv.AppendInt(append(dst, `,"behind":`...), n.Behind, 10)
	}
	if err != nil {
		return nil, err
	}
	dst = append(dst, "}}"...)
	// The runtime checks what plugins write, but one bad byte here would end
	// the connection of every browser that is shown it.
	if !utf8.Valid(dst) {
		dst = bytes.ToValidUTF8(dst, []byte("\uFFFD"))
	}
	return dst, nil
}

// appendEntry appends the event of a notice: a task's with its kind and queue,
// or a published one as a CloudEvent. It writes the first kind by hand, since a
// busy server does little else.
func appendEntry(dst []byte, n *runtime.Notice) ([]byte, error) {
	switch {
	case n.Entry == nil:
		return nil, errors.New("the notice has no entry")
	case n.Entry.Event != nil:
		b, err := encode(newCloudEvent(n.Entry.Event))
		return append(dst, b...), err
	}
	e := n.Entry.Task
	dst = strconv.AppendInt(append(dst, `{"seq":`...), e.Seq, 10)
	if n.FromSeq != 0 {
		dst = strconv.AppendInt(append(dst, `,"from_seq":`...), n.FromSeq, 10)
	}
	dst = appendString(append(dst, `,"type":`...), e.Type)
	dst = appendString(append(dst, `,"task":`...), e.Task)
	dst = appendString(append(dst, `,"kind":`...), n.Entry.Kind)
	dst = appendString(append(dst, `,"queue":`...), n.Entry.Queue)
	dst = strconv.AppendInt(append(dst, `,"life":`...), int64(e.Life), 10)
	dst = strconv.AppendInt(append(dst, `,"attempt":`...), int64(e.Attempt), 10)
	at, err := e.Time.MarshalJSON()
	if err != nil {
		return nil, err
	}
	dst = append(append(dst, `,"time":`...), at...)
	dst = append(dst, `,"data":`...)
	if len(e.Data) == 0 {
		dst = append(dst, "{}"...)
	} else {
		dst = append(dst, e.Data...)
	}
	dst = strconv.AppendBool(append(dst, `,"end":`...), e.End)
	return append(dst, '}'), nil
}

// appendString appends a JSON string.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			b, _ := encode(s) // a string always encodes
			return append(dst, b...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}

// cloudEvent is an event in the structured JSON form of CloudEvents 1.0.
type cloudEvent struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Subject     string          `json:"subject,omitempty"`
	Time        sdk.Time        `json:"time"`
	ContentType string          `json:"datacontenttype,omitempty"`
	TraceParent string          `json:"traceparent,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
	extensions  map[string]string
}

// MarshalJSON puts the extension attributes beside the others.
func (ce cloudEvent) MarshalJSON() ([]byte, error) {
	type plain cloudEvent
	text, err := encode(plain(ce))
	if err != nil || len(ce.extensions) == 0 {
		return text, err
	}
	more, err := encode(ce.extensions)
	return append(append(text[:len(text)-1], ','), more[1:]...), err
}

func newCloudEvent(e *sdk.Event) cloudEvent {
	ce := cloudEvent{SpecVersion: "1.0", ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject,
		Time: e.Time, TraceParent: e.TraceParent, Data: e.Data, extensions: e.Extensions}
	if len(e.Data) > 0 {
		ce.ContentType = "application/json"
	}
	return ce
}
