package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// message is one of a session, as it is stored.
type message struct {
	ID        string     `json:"id"`
	N         int        `json:"n"` // its place in the session, from 1
	Role      string     `json:"role"`
	Text      string     `json:"text"`
	Calls     []toolCall `json:"calls,omitempty"`
	CallID    string     `json:"call_id,omitempty"`
	Tool      string     `json:"tool,omitempty"` // of a result: what was called
	IsError   bool       `json:"is_error,omitempty"`
	Cut       bool       `json:"cut,omitempty"` // an assistant's text that was stopped in the middle
	Task      string     `json:"task"`
	Model     string     `json:"model,omitempty"`
	CreatedAt sdk.Time   `json:"created_at"`

	// quoted, where given, is the text in place of Text: see [Message].
	quoted string
}

type toolCall struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Arguments string `json:"arguments"`       // as the model wrote it
	Valid     bool   `json:"valid,omitempty"` // Arguments is a JSON object
}

// text is what was said.
func (m *message) text() string {
	if m.quoted != "" {
		return unquote(m.quoted)
	}
	return m.Text
}

// size is about how many bytes that has.
func (m *message) size() int { return max(len(m.Text), len(m.quoted)-len(`""`)) }

func messageKey(session string, n int) string { return fmt.Sprintf("m/%s/%010d", session, n) }

func messagePrefix(session string) string { return "m/" + session + "/" }

// messageID is that of the n-th message that a task adds in its life.
func messageID(task *sdk.Task, n int) string {
	id := "msg_" + strings.TrimPrefix(task.ID, "tsk_")
	if task.Life > 1 {
		id += fmt.Sprintf("_life%d", task.Life)
	}
	return fmt.Sprintf("%s_%d", id, n)
}

// maxStored is the most bytes of text of a message, and maxStoredJSON of the same as
// JSON, where a character may be six; the store and a step take 256 KiB.
const (
	maxStored     = 128 << 10
	maxStoredJSON = 192 << 10
)

func (m *message) write(session string) (sdk.KVWrite, error) {
	m.Text = cutJSON(m.Text, maxStored, maxStoredJSON)
	b, err := json.Marshal(m)
	return sdk.KVWrite{Set: &sdk.KVSet{Key: messageKey(session, m.N), Value: b}}, err
}

// bytes is what of a message becomes tokens.
func (m *message) bytes() int {
	n := m.size() + perMessage
	for _, c := range m.Calls {
		n += len(c.Name) + len(c.Arguments) + perMessage
	}
	return n
}

// put stores a message. Storing it again is the same.
func (m *message) put(ctx context.Context, host sdk.Host, session string) error {
	w, err := m.write(session)
	if err != nil {
		return err
	}
	_, err = sdk.NewKV(host).Put(ctx, *w.Set)
	return err
}

// loadMessages reads what was said after a place and before another one (0: the end),
// page by page: of a message all but its id, task, model and time.
func loadMessages(ctx context.Context, host sdk.Host, session string, after, before int) ([]message, error) {
	var out []message
	for from := messageKey(session, after); ; {
		q, err := json.Marshal(sdk.KVList{Prefix: messagePrefix(session), After: from, Limit: 1000})
		if err != nil {
			return nil, err
		}
		page, err := host.Call(ctx, sdk.OpKVList, q)
		if err != nil {
			return nil, err
		}
		p := &scanner{s: string(page)}
		from = ""
		p.object(func(key string) {
			switch key {
			case "items":
				p.array(func() {
					p.object(func(key string) {
						if key != "value" {
							p.raw()
						} else if m := p.message(); before == 0 || m.N < before {
							out = append(out, m)
						}
					})
				})
			case "next":
				from = p.text()
			default:
				p.raw()
			}
		})
		if p.bad {
			return nil, errScan
		}
		if from == "" {
			return out, nil
		}
	}
}

// message reads one.
func (p *scanner) message() (m message) {
	p.object(func(key string) {
		switch key {
		case "n":
			m.N, _ = strconv.Atoi(p.raw())
		case "role":
			m.Role = p.text()
		case "text":
			m.quoted = p.quoted()
		case "calls":
			p.array(func() { m.Calls = append(m.Calls, p.call()) })
		case "call_id":
			m.CallID = p.text()
		case "tool":
			m.Tool = p.text()
		case "is_error":
			m.IsError = p.raw() == "true"
		case "cut":
			m.Cut = p.raw() == "true"
		default:
			p.raw()
		}
	})
	return m
}

func (p *scanner) call() (c toolCall) {
	p.object(func(key string) {
		switch key {
		case "id":
			c.ID = p.text()
		case "name":
			c.Name = p.text()
		case "arguments":
			c.Arguments = p.text()
		case "valid":
			c.Valid = p.raw() == "true"
		default:
			p.raw()
		}
	})
	return c
}

// lastNumber is that of the last message after a place, or the place itself.
func lastNumber(ctx context.Context, host sdk.Host, session string, after int) (int, error) {
	for {
		page, err := sdk.NewKV(host).List(ctx, sdk.KVList{Prefix: messagePrefix(session), After: messageKey(session, after), Limit: 100})
		if err != nil {
			return 0, err
		}
		if len(page.Items) > 0 {
			key := page.Items[len(page.Items)-1].Key
			if after, err = strconv.Atoi(key[strings.LastIndexByte(key, '/')+1:]); err != nil {
				return 0, fmt.Errorf("message %s: %w", key, err)
			}
		}
		if page.Next == "" {
			return after, nil
		}
	}
}

// deleteMessages deletes those after a place and says how many there were.
func deleteMessages(ctx context.Context, host sdk.Host, session string, after int) (int, error) {
	for n := 0; ; {
		page, err := sdk.NewKV(host).List(ctx, sdk.KVList{Prefix: messagePrefix(session), After: messageKey(session, after), Limit: sdk.MaxKVApply})
		if err != nil || len(page.Items) == 0 {
			return n, err
		}
		writes := make([]sdk.KVWrite, len(page.Items))
		for i, item := range page.Items {
			writes[i].Delete = &sdk.KVDelete{Key: item.Key}
		}
		if _, err := sdk.NewKV(host).Apply(ctx, writes...); err != nil {
			return n, err
		}
		n += len(writes)
	}
}

const publicMessage = `{"type":"object","required":["id","n","role","text","task","created_at"],"properties":{
	"id":{"type":"string"},"n":{"type":"integer"},"role":{"enum":["user","assistant","tool"]},"text":{"type":"string"},
	"calls":{"type":"array"},"call_id":{"type":"string"},"tool":{"type":"string"},"is_error":{"type":"boolean"},
	"cut":{"type":"boolean","description":"stopped in the middle"},"task":{"type":"string"},"model":{"type":"string"},"created_at":{"type":"string"}}}`

// maxHistory bounds the bytes of a page, which is a task's result.
const maxHistory = 160 << 10

// history returns a page of messages in the order in which they were said; next_before
// leads to the page before it.
func (a *agent) history(ctx context.Context, host sdk.Host, in struct {
	Session string `json:"session"`
	Limit   int    `json:"limit"`
	Before  int    `json:"before"`
}) (any, error) {
	s, err := findSession(ctx, host, placeFor(ctx, in.Session))
	if err != nil {
		return nil, err
	}
	list, more, err := lastMessages(ctx, host, s, cmp.Or(in.Limit, 50), in.Before)
	if err != nil {
		return nil, err
	}
	next := 0
	if more {
		next = list[0].N
	}
	return map[string]any{"session": s.name(), "title": s.Title, "summary": s.Summary, "summarized": s.SummaryUpTo, "messages": list, "next_before": next}, nil
}

// lastMessages returns at most limit messages before a place (0: the end), as far as
// a page's bytes go, and whether there are earlier ones.
func lastMessages(ctx context.Context, host sdk.Host, s *session, limit, before int) ([]message, bool, error) {
	if before == 0 {
		last, err := lastNumber(ctx, host, s.ID, max(s.Next-1, s.TurnBase-1, 0))
		if err != nil {
			return nil, false, err
		}
		before = last + 1
	}
	from := max(before-limit, 1)
	page, err := sdk.NewKV(host).List(ctx, sdk.KVList{Prefix: messagePrefix(s.ID), After: messageKey(s.ID, from-1), Limit: limit})
	if err != nil {
		return nil, false, err
	}
	size, first := 0, len(page.Items)
	for i := len(page.Items) - 1; i >= 0; i-- {
		if size += len(page.Items[i].Value); size > maxHistory && i < len(page.Items)-1 {
			break
		}
		first = i
	}
	list := []message{}
	for _, item := range page.Items[first:] {
		var m message
		if err := json.Unmarshal(item.Value, &m); err != nil {
			return nil, false, fmt.Errorf("message %s: %w", item.Key, err)
		}
		if m.N < before {
			list = append(list, m)
		}
	}
	return list, len(list) > 0 && list[0].N > 1, nil
}

// clip shortens a text to n bytes, at a character's border, with an ellipsis.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// cut shortens what a tool said, visibly: the model must not take a part for the
// whole.
func cut(s string, n int, where string) string { return cutOf(s, n, len(s), where) }

// cutJSON is cut of a text that must not be longer than n bytes, nor than most as JSON.
func cutJSON(s string, n, most int) string {
	if 6*len(s) > most {
		n = min(n, jsonPrefix(s, most))
	}
	return cut(s, n, "")
}

// jsonPrefix is how many bytes of a text are at most so many in a JSON string.
func jsonPrefix(s string, most int) int {
	for i, r := range s {
		switch {
		case r == '"', r == '\\', r == '\n', r == '\r', r == '\t':
			most -= 2
		case r < ' ', r == '<', r == '>', r == '&', r == '\u2028', r == '\u2029', r == utf8.RuneError:
			most -= 6
		default:
			most -= utf8.RuneLen(r)
		}
		if most < 0 {
			return i
		}
	}
	return len(s)
}

// cutOf is cut of a text that is itself the beginning of one of total bytes.
func cutOf(s string, n, total int, where string) string {
	if total <= n {
		return s
	}
	for n = min(n, len(s)); n > 0 && n < len(s) && !utf8.RuneStart(s[n]); {
		n--
	}
	if where != "" {
		where = "; all of it is the result of task " + where
	}
	return s[:n] + fmt.Sprintf("\n[cut here: these are the first %d of %d bytes%s]", n, total, where)
}
