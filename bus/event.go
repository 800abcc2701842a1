package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// The metadata of a message: CloudEvents 1.0 in binary mode, the W3C trace
// context, and how far the event is from its origin.
const (
	metaPrefix  = "ce-"
	metaSpec    = "ce-specversion"
	metaID      = "ce-id"
	metaSource  = "ce-source"
	metaType    = "ce-type"
	metaSubject = "ce-subject"
	metaTime    = "ce-time"
	metaTrace   = "traceparent"
	metaHops    = "nagatha-hops"
)

// Marshal makes a message of an event. Its UUID is the event's id.
func Marshal(e sdk.Event) *message.Message {
	m := message.NewMessage(e.ID, message.Payload(e.Data))
	for k, v := range map[string]string{
		metaSpec: "1.0", metaID: e.ID, metaSource: e.Source, metaType: e.Type, metaSubject: e.Subject,
		metaTime: e.Time.String(), metaTrace: e.TraceParent,
	} {
		if v != "" {
			m.Metadata.Set(k, v)
		}
	}
	for name, v := range e.Extensions {
		m.Metadata.Set(metaPrefix+name, v)
	}
	if e.Hops > 0 {
		m.Metadata.Set(metaHops, strconv.Itoa(e.Hops))
	}
	return m
}

// Unmarshal reads the event of a message, which may come from another system.
func Unmarshal(m *message.Message) (sdk.Event, error) {
	e := sdk.Event{
		ID: m.Metadata.Get(metaID), Source: m.Metadata.Get(metaSource), Type: m.Metadata.Get(metaType),
		Subject: m.Metadata.Get(metaSubject), TraceParent: m.Metadata.Get(metaTrace), Data: []byte(m.Payload),
	}
	if e.ID == "" || e.Source == "" || e.Type == "" {
		return e, errors.New("ce-id, ce-source and ce-type are required")
	}
	if len(e.Data) > 0 && !json.Valid(e.Data) {
		return e, errors.New("the data is not JSON")
	}
	if s := m.Metadata.Get(metaTime); s != "" {
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return e, fmt.Errorf("ce-time: %w", err)
		}
		e.Time = sdk.TimeOf(t)
	}
	if s := m.Metadata.Get(metaHops); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return e, fmt.Errorf("%s: %q is no count", metaHops, s)
		}
		e.Hops = n
	}
	for k, v := range m.Metadata {
		name, ok := strings.CutPrefix(k, metaPrefix)
		switch {
		case !ok, k == metaSpec, k == metaID, k == metaSource, k == metaType, k == metaSubject, k == metaTime:
			continue
		case e.Extensions == nil:
			e.Extensions = map[string]string{}
		}
		e.Extensions[name] = v
	}
	return e, nil
}
