package sdktest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func (h *Host) publish(e sdk.Event) (sdk.PublishReply, error) {
	if err := checkEvent(e); err != nil {
		return sdk.PublishReply{}, err
	}
	return sdk.PublishReply{ID: h.keep(e)}, nil
}

// keep writes an event down as a runtime publishes it, and returns its id.
func (h *Host) keep(e sdk.Event) string {
	if e.ID == "" {
		e.ID = fmt.Sprintf("evt_%d", len(h.Published)+1)
	}
	if e.Source == "" {
		e.Source = "plugin/test"
	}
	if e.Time == 0 {
		e.Time = h.Now()
	}
	h.Published = append(h.Published, e)
	return e.ID
}

var (
	extension  = regexp.MustCompile(`^[a-z0-9]{1,20}$`)
	attributes = []string{"id", "source", "type", "subject", "time", "data", "specversion", "datacontenttype", "traceparent", "tracestate"}
)

// checkEvent is what a runtime checks of every event.
func checkEvent(e sdk.Event) error {
	root, _, _ := strings.Cut(e.Type, ".")
	switch {
	case e.Type == "" || !sdk.ValidPattern(e.Type) || strings.ContainsAny(e.Type, "*>") || !clean(e.Type):
		return sdk.Invalid("type", "%.80q is malformed: want dotted names such as \"demo.ping\"", e.Type)
	case root == "task" || root == "system":
		return sdk.Invalid("type", "%s.* belongs to the runtime", root)
	case !isText(e.Type) || !isText(e.ID) || !isText(e.Source) || !isText(e.Subject):
		return sdk.Invalid("id", "and type, source and subject: want at most %d bytes of UTF-8 without NUL", maxText)
	case len(e.Data) > maxValue:
		return tooLarge("data", len(e.Data))
	}
	for name, v := range e.Extensions {
		if !extension.MatchString(name) || slices.Contains(attributes, name) || !isText(v) {
			return sdk.Invalid(name, "want 1 to 20 lower-case letters and digits, none of CloudEvents' own names, and a value of at most %d bytes", maxText)
		}
	}
	return nil
}
