package api

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// fields reads the members of one JSON object by name and remembers what is
// wrong: a missing or mistyped member, and, in the end, every member that nobody
// asked for. null counts as absent.
type fields struct {
	path    string // of the object within the request: "", "tasks.3."
	members []member
	taken   []bool
	bad     *[]sdk.Field // shared with the objects inside it
}

// readFields begins to read an object. The error is an *sdk.Error about a text
// that is no acceptable object.
func readFields(text []byte) (*fields, error) {
	doc, err := scanJSON(text)
	switch {
	case err != nil:
		return nil, sdk.Errorf(sdk.CodeParse, "the request is not JSON: %v", err)
	case doc.fault != "":
		return nil, sdk.Errorf(sdk.CodeInvalidRequest, "the request is refused: %s", doc.fault)
	case doc.kind != '{':
		return nil, sdk.Errorf(sdk.CodeInvalid, "want a JSON object")
	}
	return newFields(doc.members), nil
}

func newFields(members []member) *fields {
	return &fields{members: members, taken: make([]bool, len(members)), bad: new([]sdk.Field)}
}

// fail notes what is wrong with a member.
func (f *fields) fail(name, format string, args ...any) {
	*f.bad = append(*f.bad, sdk.Field{Field: f.path + name, Message: fmt.Sprintf(format, args...)})
}

// err returns everything that is wrong as one *sdk.Error, or nil.
func (f *fields) err() error {
	f.unknown()
	if len(*f.bad) == 0 {
		return nil
	}
	bad := (*f.bad)[:min(len(*f.bad), maxFaults)]
	texts := make([]string, len(bad), len(bad)+1)
	for i, b := range bad {
		texts[i] = strings.TrimPrefix(b.Field+": "+b.Message, ": ")
	}
	if more := len(*f.bad) - len(bad); more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return &sdk.Error{Code: sdk.CodeInvalid, Message: strings.Join(texts, "; "), Fields: bad}
}

// maxFaults is how many faults an error names: an answer is not larger than its request.
const maxFaults = 20

// unknown fails every member that was not taken.
func (f *fields) unknown() {
	for i, m := range f.members {
		if !f.taken[i] {
			f.taken[i] = true
			f.fail(clip(m.name), "is not a known field")
		}
	}
}

func clip(name string) string {
	if len(name) > 80 {
		return strings.ToValidUTF8(name[:80], "") + "…"
	}
	return name
}

// raw takes a member's value.
func (f *fields) raw(name string) (json.RawMessage, bool) {
	for i, m := range f.members {
		if m.name == name {
			f.taken[i] = true
			return m.value, string(m.value) != "null"
		}
	}
	return nil, false
}

// read unmarshals a member that want describes.
func read[T any](f *fields, name, want string) (v T) {
	raw, ok := f.raw(name)
	if !ok {
		return v
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		f.fail(name, "want %s", want)
		var none T
		return none
	}
	return v
}

// text takes a string. None has the character NUL, which PostgreSQL does not store.
func (f *fields) text(name string) string {
	v := read[string](f, name, "a string")
	if strings.Contains(v, "\x00") {
		f.fail(name, "must not have the character NUL")
		return ""
	}
	return v
}

func (f *fields) flag(name string) bool { return read[bool](f, name, "true or false") }

// number takes an integer. JSON has one kind of number: 3.0 and 3e0 are 3.
func (f *fields) number(name string) int {
	raw, ok := f.raw(name)
	if !ok {
		return 0
	}
	if n, err := strconv.Atoi(string(raw)); err == nil {
		return n
	}
	x, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || x != math.Trunc(x) || math.Abs(x) >= 1<<53 {
		f.fail(name, "want an integer")
		return 0
	}
	return int(x)
}

// atLeastOne is an integer of which 0 is the default in Go. Left out, it is the default;
// somebody who writes 0 means it, and is told that it cannot be had.
func (f *fields) atLeastOne(name string) int {
	before, n := len(*f.bad), f.number(name)
	if _, ok := f.raw(name); ok && n == 0 && len(*f.bad) == before {
		f.fail(name, "want at least 1")
	}
	return n
}

// required is a text that must be there.
func (f *fields) required(name string) string {
	before := len(*f.bad)
	v := f.text(name)
	if v == "" && len(*f.bad) == before {
		f.fail(name, "is required")
	}
	return v
}

func (f *fields) time(name string) sdk.Time         { return own[sdk.Time](f, name) }
func (f *fields) duration(name string) sdk.Duration { return own[sdk.Duration](f, name) }

// timeout is a duration as atLeastOne is an integer.
func (f *fields) timeout(name string) sdk.Duration {
	before, d := len(*f.bad), f.duration(name)
	if _, ok := f.raw(name); ok && d == 0 && len(*f.bad) == before {
		f.fail(name, "want more than 0s")
	}
	return d
}

// own unmarshals a type whose own error already says what it wants.
func own[T any](f *fields, name string) (v T) {
	raw, ok := f.raw(name)
	if !ok {
		return v
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		f.fail(name, "%v", err)
	}
	return v
}

// texts takes a list of strings; with alone, a single string too.
func (f *fields) texts(name string, alone bool) []string {
	raw, ok := f.raw(name)
	if !ok {
		return nil
	}
	if alone && raw[0] == '"' {
		return []string{f.text(name)}
	}
	// A null in a list would become an empty string.
	var list []*string
	if err := json.Unmarshal(raw, &list); err != nil {
		f.fail(name, "want a list of strings")
		return nil
	}
	out := make([]string, len(list))
	for i, s := range list {
		if s == nil || strings.Contains(*s, "\x00") {
			f.fail(name, "want a list of strings without the character NUL")
			return nil
		}
		out[i] = *s
	}
	return out
}

// labels takes an object of strings.
func (f *fields) labels(name string) map[string]string {
	sub := f.object(name)
	if sub == nil {
		return nil
	}
	out := make(map[string]string, len(sub.members))
	for i, m := range sub.members { // by index: asking for each by its name takes a square of time
		sub.taken[i] = true
		var text *string
		if json.Unmarshal(m.value, &text) != nil || text == nil {
			sub.fail(clip(m.name), "want a string")
			continue
		}
		out[m.name] = *text
	}
	return out
}

// object takes an object to be read in its turn, or returns nil.
func (f *fields) object(name string) *fields {
	raw, ok := f.raw(name)
	if !ok {
		return nil
	}
	doc, err := scanJSON(raw)
	if err != nil || doc.kind != '{' {
		f.fail(name, "want an object")
		return nil
	}
	return &fields{path: f.path + name + ".", members: doc.members, taken: make([]bool, len(doc.members)), bad: f.bad}
}

// list takes the elements of a list.
func (f *fields) list(name string) []json.RawMessage {
	return read[[]json.RawMessage](f, name, "a list")
}

// submission takes the submit options.
func (f *fields) submission() sdk.Submission {
	s := sdk.Submission{
		Kind:           f.required("kind"),
		Queue:          f.text("queue"),
		Priority:       f.number("priority"),
		RunAt:          f.time("run_at"),
		Delay:          f.duration("delay"),
		Timeout:        f.timeout("timeout"),
		Deadline:       f.time("deadline"),
		Expires:        f.time("expires"),
		MaxAttempts:    f.atLeastOne("max_attempts"),
		IdempotencyKey: f.text("idempotency_key"),
		Unique:         f.text("unique"),
		ConcurrencyKey: f.text("concurrency_key"),
		Labels:         f.labels("labels"),
		After:          f.texts("after", false),
	}
	if payload, ok := f.raw("payload"); ok {
		s.Payload = payload
	}
	return s
}

// submissions takes the list "tasks", of as many as can be answered in room. What is
// wrong with one element is that element's own error, at its own index.
func (f *fields) submissions(room int) ([]sdk.Submission, []*sdk.Error) {
	raws := f.list("tasks")
	if _, ok := f.raw("tasks"); !ok {
		f.fail("tasks", "is required")
	}
	if most := min(maxSubmissions, (room-maxID)/cutResult); len(raws) > most {
		f.fail("tasks", "at most %d in one request, not %d", most, len(raws))
		return nil, nil
	}
	subs, bad := make([]sdk.Submission, len(raws)), make([]*sdk.Error, len(raws))
	for i, raw := range raws {
		one, err := readFields(raw)
		if err == nil {
			subs[i] = one.submission()
			err = one.err()
		}
		if err != nil {
			bad[i] = sdk.AsError(err)
		}
	}
	return subs, bad
}

// maxSubmissions is how many tasks one request may submit.
const maxSubmissions = 1000
