package api

import (
	"encoding/json"
	"fmt"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// request is one call. A nil id means that nobody wants an answer.
type request struct {
	id     json.RawMessage
	method string
	params *fields
	size   int // of its message
}

// maxID is how long an id may be: it is echoed beside all that fits into a frame.
const maxID = 16 << 10

func idOrNull(id json.RawMessage) json.RawMessage {
	if id == nil {
		return json.RawMessage("null")
	}
	return id
}

// parseRequest reads the envelope. With an error the request still carries the
// id to answer under, null where none could be read.
func parseRequest(text []byte) (*request, *sdk.Error) {
	req := &request{}
	doc, err := scanJSON(text)
	if err != nil {
		req.id = idOrNull(nil)
		return req, sdk.Errorf(sdk.CodeParse, "the message is not JSON: %v", err)
	}
	fault := doc.fault
	fail := func(format string, args ...any) {
		if fault == "" {
			fault = fmt.Sprintf(format, args...)
		}
	}
	if doc.kind == '[' {
		fail("batches are not spoken here: send one request a message, or task.submit_many")
	} else if doc.kind != '{' {
		fail("want a JSON object")
	}
	var params json.RawMessage
	version, ids := "", 0
	for _, m := range doc.members {
		switch m.name {
		case "jsonrpc":
			_ = json.Unmarshal(m.value, &version) // stays wrong
		case "id":
			if ids++; m.value[0] == '{' || m.value[0] == '[' || m.value[0] == 't' || m.value[0] == 'f' {
				fail("id must be a string, a number or null")
			} else if len(m.value) > maxID {
				fail("id has %d bytes, at most %d are possible", len(m.value), maxID)
			} else {
				req.id = m.value
			}
		case "method":
			if json.Unmarshal(m.value, &req.method) != nil {
				fail("method must be a string")
			}
		case "params":
			params = m.value
		default:
			fail("%q is not a known field of a request", clip(m.name))
		}
	}
	if version != "2.0" {
		fail(`jsonrpc must be "2.0"`)
	}
	if req.method == "" {
		fail("method is missing")
	}
	if fault != "" {
		if ids != 1 {
			req.id = nil
		}
		req.id = idOrNull(req.id)
		return req, sdk.Errorf(sdk.CodeInvalidRequest, "the message is no request: %s", fault)
	}
	req.params = newFields(nil)
	if params != nil && string(params) != "null" {
		if params[0] != '{' {
			req.params.fail("params", "must be an object")
		} else if inner, err := scanJSON(params); err == nil { // it was scanned before
			req.params = newFields(inner.members)
		}
	}
	return req, nil
}
