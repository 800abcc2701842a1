package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// event takes the attributes and the data of an event, in the structured JSON
// form of CloudEvents. What the runtime could not keep is refused rather than
// lost on the way.
func (f *fields) event() sdk.Event {
	e := sdk.Event{
		Type: f.required("type"), ID: f.text("id"), Source: f.text("source"), Subject: f.text("subject"),
		Time: f.time("time"), TraceParent: f.text("traceparent"),
	}
	f.text("tracestate") // may be dropped at any hop, says its specification
	if v := f.text("specversion"); v != "" && v != "1.0" {
		f.fail("specversion", "want \"1.0\"")
	}
	if v := f.text("datacontenttype"); v != "" && !isJSON(v) {
		f.fail("datacontenttype", "only JSON data is carried, such as \"application/json\"")
	}
	if _, ok := f.raw("data_base64"); ok {
		f.fail("data_base64", "only JSON data is carried: send it in data")
	}
	if data, ok := f.raw("data"); ok {
		e.Data = data
	}
	f.extensions(&e)
	return e
}

// extensions takes what is left: attributes that others have added. Their values
// travel as text.
func (f *fields) extensions(e *sdk.Event) {
	for i, m := range f.members {
		if f.taken[i] {
			continue
		}
		f.taken[i] = true
		var v any
		dec := json.NewDecoder(bytes.NewReader(m.value))
		dec.UseNumber()
		_ = dec.Decode(&v) // it is JSON: the body was scanned
		switch text := fmt.Sprint(v); v.(type) {
		case nil:
			continue // null is absent
		case string, bool, json.Number:
			if e.Extensions == nil {
				e.Extensions = map[string]string{}
			}
			e.Extensions[m.name] = text
		default:
			f.fail(clip(m.name), "is no attribute of CloudEvents: want a string, a number, or true or false")
		}
	}
}

func isJSON(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && (t == "application/json" || t == "text/json" || strings.HasSuffix(t, "+json"))
}

const (
	structuredType = "application/cloudevents+json"
	batchType      = "application/cloudevents-batch+json"
	formType       = "application/x-www-form-urlencoded"
)

// readEvents reads the events of a request in one of the three modes of the
// CloudEvents HTTP binding. Plain JSON (or what curl calls a form) with no
// attribute in a header can only be an event or a list of them, from somebody who
// does not know the media types.
func readEvents(h http.Header, body []byte) ([]sdk.Event, error) {
	mediaType, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	switch {
	case mediaType == structuredType:
		return one(readFields(body))
	case mediaType == batchType:
		return readBatch(body)
	case h.Get("Ce-Type") == "" && h.Get("Ce-Specversion") == "" && h.Get("Ce-Id") == "" && (isJSON(mediaType) || mediaType == formType):
		if bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
			return readBatch(body)
		}
		return one(readFields(body))
	case h.Get("Ce-Type") == "" && h.Get("Ce-Specversion") == "" && h.Get("Ce-Id") == "":
		return nil, wrongType("%s (one event), %s (a list of them), or the attributes in ce- headers with the data as JSON body", structuredType, batchType)
	}
	return one(readBinary(h, body))
}

func one(f *fields, err error) ([]sdk.Event, error) {
	if err != nil {
		return nil, err
	}
	e := f.event()
	return []sdk.Event{e}, f.err()
}

func readBatch(body []byte) ([]sdk.Event, error) {
	doc, err := scanJSON(body)
	switch {
	case err != nil:
		return nil, sdk.Errorf(sdk.CodeParse, "the body is not JSON: %v", err)
	case doc.fault != "":
		return nil, sdk.Errorf(sdk.CodeInvalidRequest, "the body is refused: %s", doc.fault)
	}
	var raws []json.RawMessage
	if doc.kind != '[' || json.Unmarshal(body, &raws) != nil {
		return nil, sdk.Errorf(sdk.CodeInvalid, "want a JSON list of events")
	}
	if len(raws) == 0 || len(raws) > maxSubmissions {
		return nil, sdk.Errorf(sdk.CodeInvalid, "want 1 to %d events, not %d", maxSubmissions, len(raws))
	}
	list := make([]sdk.Event, len(raws))
	for i, raw := range raws {
		f, err := readFields(raw)
		if err != nil {
			return nil, sdk.Invalid(strconv.Itoa(i), "want an event, which is a JSON object")
		}
		f.path = strconv.Itoa(i) + "."
		list[i] = f.event()
		if err := f.err(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// readBinary makes fields of the ce- headers, so that both modes are checked by
// the same code.
func readBinary(h http.Header, body []byte) (*fields, error) {
	if t := h.Get("Content-Type"); len(body) > 0 && !isJSON(t) {
		return nil, wrongType("application/json: no other data is carried")
	}
	var members []member
	for name, values := range h {
		attribute, ok := strings.CutPrefix(strings.ToLower(name), "ce-")
		if !ok {
			continue
		}
		if len(values) != 1 {
			return nil, sdk.Invalid(name, "stands more than once")
		}
		text, err := url.PathUnescape(unquote(values[0]))
		if err != nil || !utf8.ValidString(text) {
			return nil, sdk.Invalid(name, "is not UTF-8, percent-encoded where it must be")
		}
		members = append(members, member{attribute, appendString(nil, text)})
	}
	for _, m := range members {
		if m.name == "data" || m.name == "datacontenttype" {
			return nil, sdk.Invalid("ce-"+m.name, "is not an attribute in this mode: the data is the body, its type the Content-Type")
		}
	}
	if len(body) > 0 {
		doc, err := scanJSON(body)
		switch {
		case err != nil:
			return nil, sdk.Errorf(sdk.CodeParse, "the body is not JSON: %v", err)
		case doc.fault != "":
			return nil, sdk.Errorf(sdk.CodeInvalidRequest, "the body is refused: %s", doc.fault)
		}
		members = append(members, member{"data", body})
	}
	return newFields(members), nil
}

// unquote takes a header's value out of double quotes, which the binding allows.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	s = s[1 : len(s)-1]
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		out.WriteByte(s[i])
	}
	return out.String()
}
