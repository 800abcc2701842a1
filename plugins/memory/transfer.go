package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// record is an entry on its way out or in. A fact is whole in Fact, Value being a
// convenience for readers; one that was superseded says so in there.
type record struct {
	Section   string          `json:"section"`
	Key       string          `json:"key"`
	Session   string          `json:"session"`
	Value     json.RawMessage `json:"value"`
	Fact      *provenance     `json:"fact,omitempty"`
	First     sdk.Time        `json:"first,omitzero"`
	Version   int64           `json:"version"`
	CreatedAt sdk.Time        `json:"created_at"`
	UpdatedAt sdk.Time        `json:"updated_at"`
	ExpiresAt sdk.Time        `json:"expires_at"`
}

func toRecord(it sdk.Item) (record, error) {
	a, err := splitKey(it.Key)
	if err != nil {
		return record{}, err
	}
	r := record{Section: a.Section, Key: a.Key, Session: a.Session, Value: it.Value,
		Version: it.Version, CreatedAt: it.CreatedAt, UpdatedAt: it.UpdatedAt, ExpiresAt: it.ExpiresAt}
	if a.Section == facts || a.Section == past {
		f, err := toFact(it)
		if err != nil {
			return record{}, err
		}
		r.Section, r.Key, r.Value, r.Fact, r.First = facts, f.Key, f.Fact, &f.provenance, f.First
	}
	return r, nil
}

// write is the record as a write of the store's, not yet with a condition.
func (r record) write() (sdk.KVSet, error) {
	a := address{r.Section, r.Key, r.Session}
	stamp := &sdk.KVStamp{Version: r.Version, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, ExpiresAt: r.ExpiresAt}
	if r.Section != facts {
		return sdk.KVSet{Key: a.item(), Value: r.Value, Text: words(r.Key, r.Value), As: stamp}, nil
	}
	f := fact{Fact: r.Value, provenance: *r.Fact, First: r.First}
	item := a.item()
	if f.SupersededAt != 0 {
		item = a.pastItem(f)
	}
	w, err := f.write(item, 0, 0)
	if err != nil {
		return sdk.KVSet{}, err
	}
	w.Set.IfVersion, w.Set.As = nil, stamp
	return *w.Set, nil
}

var validSection = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)

func (r record) check(maxValue int) error {
	switch {
	case !validSection.MatchString(r.Section):
		return sdk.Invalid("section", "%q is none", r.Section)
	case r.Key == "":
		return sdk.Invalid("key", "is empty")
	case r.Value == nil:
		return sdk.Invalid("value", "is required; null is a value")
	case len(r.Value) > maxValue:
		return sdk.Errorf(sdk.CodeLimitExceeded, "the value has %d bytes, at most %d: max_value of the memory plugin's config", len(r.Value), maxValue)
	case r.Version < 1 || r.CreatedAt == 0 || r.UpdatedAt == 0:
		return sdk.Invalid("version", "want a version from 1, created_at and updated_at")
	}
	if err := (address{r.Section, r.Key, r.Session}).check(); err != nil {
		return err
	}
	if r.Section != facts {
		return nil
	}
	switch f := r.Fact; {
	case f == nil || f.ID == "" || f.RecordedAt == 0 || f.ValidFrom == 0 || r.First == 0:
		return sdk.Invalid("fact", "want id, recorded_at and valid_from of it, and first, as memory.export gives them")
	case f.Key != r.Key:
		return sdk.Invalid("fact", "belongs to another key, %q", f.Key)
	case f.SupersededAt != 0 && f.SupersededAt < f.RecordedAt:
		return sdk.Invalid("fact", "was superseded before it was recorded")
	}
	return nil
}

type exported struct {
	Entries []record `json:"entries"`
	Next    string   `json:"next_cursor"`
}

func (m *memory) export(ctx context.Context, host sdk.Host, in struct {
	Section string `json:"section"`
	Limit   int    `json:"limit"`
	Cursor  string `json:"cursor"`
}) (exported, error) {
	out := exported{Entries: []record{}}
	after, err := decodeCursor(in.Cursor)
	if err != nil {
		return out, err
	}
	within := []string{""}
	switch in.Section {
	case "":
	case facts:
		within = []string{facts + "/", past + "/"}
	default:
		within = []string{in.Section + "/"}
	}
	limit := cmp.Or(in.Limit, 100)
	var full room
	last := ""
	for _, w := range within {
		if after > w+"\U0010FFFF" {
			continue // the pages before had all of it
		}
		for from := after; len(out.Entries) < limit; {
			p, err := sdk.NewKV(host).List(ctx, sdk.KVList{Prefix: w, After: from, Limit: limit - len(out.Entries)})
			if err != nil {
				return out, err
			}
			for _, it := range p.Items {
				r, err := toRecord(it)
				if err != nil {
					return out, err
				}
				if !full.takes(r) {
					out.Next = encodeCursor(last)
					return out, nil
				}
				out.Entries, last = append(out.Entries, r), it.Key
			}
			if from = p.Next; from == "" {
				break
			}
		}
	}
	if len(out.Entries) >= limit { // perhaps there are more; the next page may be empty
		out.Next = encodeCursor(last)
	}
	return out, nil
}

// importBatch is how many records one transaction takes; a fact that another replaces
// is a write more.
const importBatch = 50

func (m *memory) imports(ctx context.Context, host sdk.Host, in struct {
	Entries []record        `json:"entries"`
	Next    json.RawMessage `json:"next_cursor"`
	Mode    string          `json:"mode"`
}) (any, error) {
	at, err := now(ctx, host)
	if err != nil {
		return nil, err
	}
	var total int
	for i, r := range in.Entries {
		if err := r.check(m.maxValue); err != nil {
			e := sdk.AsError(err)
			for j := range e.Fields {
				e.Fields[j].Field = fmt.Sprintf("entries.%d.%s", i, e.Fields[j].Field)
			}
			e.Message = fmt.Sprintf("entry %d: %s; nothing of this page was imported", i, e.Message)
			return nil, e
		}
		total += len(r.Value)
	}
	if err := m.fitsMany(ctx, host, len(in.Entries), total); err != nil {
		return nil, err
	}
	imported, skipped := 0, 0
	for some := range slices.Chunk(in.Entries, importBatch) {
		for tries := 0; ; tries++ {
			n, err := m.importSome(ctx, host, some, in.Mode == "replace", at)
			if errors.Is(err, &sdk.Error{Code: sdk.CodeConflict}) && tries < rivals {
				continue
			}
			if err != nil {
				return nil, err
			}
			imported += n
			skipped += len(some) - n
			break
		}
	}
	m.quota.forget()
	return map[string]int{"imported": imported, "skipped": skipped}, nil
}

// importSome writes what is not there, or with replace all that is not the same,
// unless it has expired.
func (m *memory) importSome(ctx context.Context, host sdk.Host, some []record, replace bool, at sdk.Time) (int, error) {
	kv := sdk.NewKV(host)
	var (
		mu      sync.Mutex
		writes  []sdk.KVWrite
		changes []change
		seen    = map[string]bool{}
	)
	err := each(some, func(r record) error {
		if r.ExpiresAt != 0 && r.ExpiresAt <= at {
			return nil
		}
		set, err := r.write()
		if err != nil {
			return err
		}
		old, err := kv.Get(ctx, set.Key)
		if err != nil || old != nil && !replace {
			return err
		}
		version := int64(0)
		var kept *sdk.KVWrite
		if old != nil {
			version = old.Version
			if kept, err = keep(r, *old, at); err != nil {
				return err
			}
		}
		set.IfVersion = &version
		mu.Lock()
		defer mu.Unlock()
		if seen[set.Key] {
			return sdk.Invalid("entries", "%q of section %q is there twice", r.Key, r.Section)
		}
		seen[set.Key] = true
		writes = append(writes, sdk.KVWrite{Set: &set})
		if kept != nil {
			writes = append(writes, *kept)
		}
		if r.Fact == nil || r.Fact.SupersededAt == 0 {
			changes = append(changes, change{address: address{r.Section, r.Key, r.Session}, version: r.Version, created: old == nil})
		}
		return nil
	})
	if err != nil || len(writes) == 0 {
		return 0, err
	}
	if _, err := kv.Apply(ctx, writes...); err != nil {
		return 0, err
	}
	return len(seen), each(changes, func(c change) error { return tell(ctx, host, c) })
}

// keep is the write that keeps a fact which an import replaces: facts are superseded,
// never overwritten. For anything else, and for the same fact, it is nil.
func keep(r record, old sdk.Item, at sdk.Time) (*sdk.KVWrite, error) {
	if r.Section != facts || r.Fact.SupersededAt != 0 {
		return nil, nil
	}
	was, err := toFact(old)
	if err != nil || was.ID == r.Fact.ID {
		return nil, err
	}
	w, err := was.end(at, r.Fact.ValidFrom).write(address{r.Section, r.Key, r.Session}.pastItem(was), left(old, at), 0)
	return &w, err
}
