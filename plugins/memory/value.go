package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// temporaryTTL is how long entries of the section temporary live by default.
const temporaryTTL = time.Hour

func (m *memory) set(ctx context.Context, host sdk.Host, in struct {
	address
	Value     json.RawMessage `json:"value"`
	TTL       *sdk.Duration   `json:"ttl"`
	IfVersion *int64          `json:"if_version"`
}) (any, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	if in.Value == nil {
		return nil, sdk.Invalid("value", "is required; null is a value")
	}
	if in.TTL != nil && *in.TTL < 0 {
		return nil, sdk.Invalid("ttl", "must not be negative; 0s keeps the entry")
	}
	if err := m.fits(ctx, host, in.item(), len(in.Value)); err != nil {
		return nil, err
	}
	ttl := m.ttl(in.Section, in.TTL)
	if in.Section == facts {
		l, err := m.learn(ctx, host, in.address, fact{Fact: in.Value, provenance: provenance{Subject: in.Key}}, learnOptions{ttl: ttl, ifVersion: in.IfVersion, always: true})
		if err != nil {
			return nil, err
		}
		return map[string]any{"entry": l.entry, "created": l.created}, nil
	}
	for range rivals {
		e, created, err := m.trySet(ctx, host, in.address, sdk.KVSet{Key: in.item(), Value: in.Value, Text: words(in.Key, in.Value), TTL: ttl}, in.IfVersion)
		if errors.Is(err, &sdk.Error{Code: sdk.CodeConflict}) && in.IfVersion == nil {
			continue // somebody else wrote it in between
		}
		return map[string]any{"entry": e, "created": created}, err
	}
	return nil, sdk.Errorf(sdk.CodeUnavailable, "too many write %q at once; try again", in.Key)
}

func (m *memory) trySet(ctx context.Context, host sdk.Host, a address, set sdk.KVSet, ifVersion *int64) (e entry, created bool, err error) {
	kv := sdk.NewKV(host)
	old, err := kv.Get(ctx, set.Key)
	if err != nil {
		return e, false, err
	}
	version, what := int64(0), "created"
	if old != nil {
		version, what = old.Version, "updated"
	}
	if err := unlike(a, version, ifVersion); err != nil {
		return e, false, err
	}
	set.IfVersion = &version
	done, err := write(ctx, host, change{address: a, version: version + 1}, what, sdk.KVWrite{Set: &set})
	if errors.Is(err, &sdk.Error{Code: sdk.CodeConflict}) && ifVersion != nil {
		if now, fault := kv.Get(ctx, set.Key); fault == nil && now != nil {
			err = cmp.Or(unlike(a, now.Version, ifVersion), err)
		}
	}
	if err != nil {
		return e, false, err
	}
	m.quota.add(done.Created, len(set.Value))
	at, err := now(ctx, host)
	if err != nil {
		return e, false, err
	}
	it, err := stored(ctx, kv, set, done.Version, at)
	if err != nil {
		return e, false, err
	}
	e, err = toEntry(it)
	return e, done.Created, err
}

// unlike is the error of a set whose condition is not met.
func unlike(a address, version int64, want *int64) error {
	if want == nil || *want == version {
		return nil
	}
	return sdk.Errorf(sdk.CodeConflict, "key %q has version %d, not %d; read it again", a.Key, version, *want)
}

// ttl is how long an entry lives: as long as it says, and otherwise as long as its
// section lets it.
func (m *memory) ttl(section string, asked *sdk.Duration) sdk.Duration {
	switch {
	case asked != nil:
		return *asked
	case section == "user_preferences", section == facts, section == history:
		return 0
	case section == temporary:
		return sdk.Duration(temporaryTTL)
	}
	return sdk.Duration(m.defaultTTL)
}

func (m *memory) get(ctx context.Context, host sdk.Host, in struct {
	address
	Fallback bool `json:"fallback"`
}) (any, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	it, err := sdk.NewKV(host).Get(ctx, in.item())
	if err == nil && it == nil && in.Fallback && in.Session != "" {
		it, err = sdk.NewKV(host).Get(ctx, itemKey(in.Section, "", in.Key))
	}
	if err != nil || it == nil {
		return map[string]any{"found": false, "entry": nil}, err
	}
	e, err := toEntry(*it)
	return map[string]any{"found": true, "entry": e}, err
}

func (m *memory) delete(ctx context.Context, host sdk.Host, in address) (any, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	if in.Section == facts {
		deleted, err := m.retire(ctx, host, in, "")
		return map[string]bool{"deleted": deleted}, err
	}
	kv := sdk.NewKV(host)
	for range rivals {
		old, err := kv.Get(ctx, in.item())
		if err != nil {
			return nil, err
		}
		version, deleted := int64(0), false
		if old != nil {
			version, deleted = old.Version, true
			_, err = write(ctx, host, change{address: in}, "deleted", sdk.KVWrite{Delete: &sdk.KVDelete{Key: in.item(), IfVersion: &version}})
		} else { // perhaps there is one that has expired, which goes with this
			var r []sdk.KVResult
			r, err = kv.Apply(ctx, sdk.KVWrite{Delete: &sdk.KVDelete{Key: in.item(), IfVersion: &version}})
			if err == nil && r[0].Expired {
				err = publish(ctx, host, "expired", in, 0)
			}
		}
		if errors.Is(err, &sdk.Error{Code: sdk.CodeConflict}) {
			continue // somebody else wrote it in between
		}
		return map[string]bool{"deleted": deleted}, err
	}
	return nil, sdk.Errorf(sdk.CodeUnavailable, "too many write %q at once; try again", in.Key)
}

type page struct {
	Entries []entry `json:"entries"`
	Next    string  `json:"next_cursor"`
}

func (m *memory) list(ctx context.Context, host sdk.Host, in struct {
	Section string `json:"section"`
	Session string `json:"session"`
	Prefix  string `json:"prefix"`
	Limit   int    `json:"limit"`
	Cursor  string `json:"cursor"`
}) (any, error) {
	if err := (address{Section: in.Section, Session: in.Session}).check(); err != nil {
		return nil, err
	}
	within := prefix(in.Section, in.Session)
	after, err := decodeCursor(in.Cursor)
	if err != nil || in.Cursor != "" && !strings.HasPrefix(after, within) {
		return nil, sdk.Invalid("cursor", "is none of this section: send the next_cursor of the page before")
	}
	return entries(ctx, host, sdk.KVList{Prefix: within + in.Prefix, After: after, Limit: in.Limit}, func(it sdk.Item) string { return it.Key })
}

// history is newest first, whatever the keys are.
func (m *memory) history(ctx context.Context, host sdk.Host, in struct {
	Session string `json:"session"`
	Limit   int    `json:"limit"`
	Cursor  string `json:"cursor"`
}) (any, error) {
	after, err := decodeCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	return entries(ctx, host, sdk.KVList{Prefix: scopeOf(history, in.Session), After: after, Limit: in.Limit, Newest: true}, nil)
}

// entries is a page of the store's as a page of entries, or as much of it as a result
// can hold. position is where the next page begins after an item; where only the
// store can tell, it is nil, and a page that is too large is asked for again, smaller.
func entries(ctx context.Context, host sdk.Host, req sdk.KVList, position func(sdk.Item) string) (page, error) {
	for {
		got, err := sdk.NewKV(host).List(ctx, req)
		if err != nil {
			return page{}, err
		}
		p := page{Entries: make([]entry, 0, len(got.Items)), Next: got.Next}
		var full room
		for i, it := range got.Items {
			e, err := toEntry(it)
			if err != nil {
				return page{}, err
			}
			if !full.takes(e) {
				if position != nil {
					p.Next = position(got.Items[i-1])
				} else {
					p.Next = ""
				}
				break
			}
			p.Entries = append(p.Entries, e)
		}
		if len(p.Entries) < len(got.Items) && position == nil {
			req.Limit = len(p.Entries)
			continue
		}
		p.Next = encodeCursor(p.Next)
		return p, nil
	}
}
