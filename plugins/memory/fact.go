package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// fact is one thing that is or was believed. What is believed about a subject is the
// entry facts/session/subject; what was believed before is kept under past/. Nothing
// that was believed is ever changed but for the note of when that ended.
type fact struct {
	Fact json.RawMessage `json:"fact"`
	provenance
	// First is when the first fact on the subject was recorded. Before that nothing
	// was believed, and only what facts say of their valid_from can answer.
	First sdk.Time `json:"first"`
}

// provenance is what is known of a fact.
type provenance struct {
	ID           string   `json:"id"`
	Subject      string   `json:"subject"` // "": told without one
	Source       string   `json:"source"`
	ValidFrom    sdk.Time `json:"valid_from"`
	Stated       bool     `json:"stated"`        // valid_from was told; otherwise it is recorded_at
	ValidTo      sdk.Time `json:"valid_to"`      // null: it still holds
	RecordedAt   sdk.Time `json:"recorded_at"`   // grows within a subject
	SupersededAt sdk.Time `json:"superseded_at"` // null: it is believed
	Key          string   `json:"key"`           // of its entry
}

func toFact(it sdk.Item) (fact, error) {
	var f fact
	if err := json.Unmarshal(it.Value, &f); err == nil && f.ID != "" {
		return f, nil
	}
	// Version 1.0 kept nothing but the value.
	a, err := splitKey(it.Key)
	if err != nil {
		return fact{}, err
	}
	sum := sha256.Sum256([]byte(it.Key))
	return fact{Fact: it.Value, First: it.CreatedAt, provenance: provenance{ID: idPrefix + hex.EncodeToString(sum[:12]),
		Subject: a.Key, Key: a.Key, ValidFrom: it.CreatedAt, RecordedAt: it.CreatedAt}}, nil
}

// text is the fact as a sentence.
func (f fact) text() string {
	var s string
	if json.Unmarshal(f.Fact, &s) == nil {
		return s
	}
	return string(f.Fact)
}

// believedAt reports whether the fact was believed at a time from First on.
func (f fact) believedAt(t sdk.Time) bool {
	return f.RecordedAt <= t && (f.SupersededAt == 0 || t < f.SupersededAt)
}

// pastPrefix is where the superseded facts of a subject are, in the order in which
// they were recorded.
func (a address) pastPrefix() string {
	sum := sha256.Sum256([]byte(a.Key))
	return prefix(past, a.Session) + hex.EncodeToString(sum[:16]) + "/"
}

func (a address) pastItem(f fact) string {
	return a.pastPrefix() + fmt.Sprintf("%013d/", int64(f.RecordedAt)) + f.ID
}

// write is the fact as an item at a key.
func (f fact) write(key string, ttl sdk.Duration, ifVersion int64) (sdk.KVWrite, error) {
	b, err := json.Marshal(f)
	if err != nil {
		return sdk.KVWrite{}, err
	}
	name := f.Subject
	if f.Subject == "" && !strings.HasPrefix(f.Key, idPrefix) {
		name = f.Key
	}
	return sdk.KVWrite{Set: &sdk.KVSet{Key: key, Value: b, Text: words(name, f.Fact) + " " + idWord(f.ID), TTL: ttl, IfVersion: &ifVersion}}, nil
}

// idPrefix begins every id. What follows is one word of letters, so that search can
// find a fact by it.
const idPrefix = "fct_"

func idWord(id string) string { return strings.TrimPrefix(id, idPrefix) }

// newID makes an id that sorts by time: nine letters of it, then thirteen random ones.
func newID(at sdk.Time) string {
	var b [22]byte
	for i, n := 8, int64(at); i >= 0; i, n = i-1, n/26 {
		b[i] = byte('a' + n%26)
	}
	_, _ = rand.Read(b[9:])
	for i := 9; i < len(b); i++ {
		b[i] = 'a' + b[i]%26
	}
	return idPrefix + string(b[:])
}

// ownKey is the key of a fact without a subject: the same sentence has the same.
func ownKey(text string) string {
	sum := sha256.Sum256([]byte(normal(text)))
	return idPrefix + hex.EncodeToString(sum[:12])
}

// normal is a sentence without what makes no difference.
func normal(text string) string {
	return strings.Join(strings.Fields(strings.ToLower(strings.TrimRight(strings.TrimSpace(text), ".!"))), " ")
}

type learnOptions struct {
	ttl       sdk.Duration
	ifVersion *int64
	always    bool // write it even if the very same is believed
}

type learned struct {
	entry      entry
	fact       fact
	created    bool // nothing was believed about the subject
	known      bool // it was believed already: nothing has changed
	superseded string
}

// rivals is how many others may write the same subject before learn gives up.
const rivals = 200

// learn records a fact at an address, and supersedes what was believed there.
func (m *memory) learn(ctx context.Context, host sdk.Host, a address, f fact, o learnOptions) (learned, error) {
	for range rivals {
		l, err := m.tryLearn(ctx, host, a, f, o)
		if errors.Is(err, &sdk.Error{Code: sdk.CodeConflict}) && o.ifVersion == nil {
			continue // somebody else wrote to the subject in between
		}
		return l, err
	}
	return learned{}, sdk.Errorf(sdk.CodeUnavailable, "too many write facts about %q at once; try again", a.Key)
}

func (m *memory) tryLearn(ctx context.Context, host sdk.Host, a address, f fact, o learnOptions) (learned, error) {
	kv := sdk.NewKV(host)
	old, err := kv.Get(ctx, a.item())
	if err != nil {
		return learned{}, err
	}
	version := int64(0)
	if old != nil {
		version = old.Version
	}
	if err := unlike(a, version, o.ifVersion); err != nil {
		return learned{}, err
	}
	f.RecordedAt, err = now(ctx, host)
	if err != nil {
		return learned{}, err
	}
	if f.Stated && f.ValidFrom > f.RecordedAt.Add(clockSkew) {
		return learned{}, sdk.Invalid("valid_from", "%s is still to come: remember the fact when it holds, or make a reminder", f.ValidFrom)
	}
	f.Key = a.Key
	var writes []sdk.KVWrite
	var superseded string
	if old == nil {
		if err := f.follow(ctx, kv, a); err != nil {
			return learned{}, err
		}
	} else {
		was, err := toFact(*old)
		if err != nil {
			return learned{}, err
		}
		same := bytes.Equal(was.Fact, f.Fact) || !o.always && normal(was.text()) == normal(f.text())
		if same && (f.Source == "" || f.Source == was.Source) && (!f.Stated || was.Stated && f.ValidFrom == was.ValidFrom) {
			if !o.always {
				return learned{fact: was, known: true}, nil
			}
			f = was // a version more of the same belief
		} else {
			f.RecordedAt = max(f.RecordedAt, was.RecordedAt+1)
			f.First = was.First
			if f.Stated && was.Stated && f.ValidFrom < was.ValidFrom {
				return m.learnHistory(ctx, kv, a, f, was)
			}
			f.begin()
			w, err := was.end(f.RecordedAt, f.ValidFrom).write(a.pastItem(was), left(*old, f.RecordedAt), 0)
			if err != nil {
				return learned{}, err
			}
			writes, superseded = append(writes, w), was.ID
		}
	}
	w, err := f.write(a.item(), o.ttl, version)
	if err != nil {
		return learned{}, err
	}
	what := "updated"
	if old == nil {
		what = "created"
	}
	done, err := write(ctx, host, change{address: a, version: version + 1}, what, append(writes, w)...)
	if err != nil {
		return learned{}, err
	}
	m.quota.add(true, len(f.Fact))
	it, err := stored(ctx, kv, *w.Set, done.Version, f.RecordedAt)
	if err != nil {
		return learned{}, err
	}
	e, err := toEntry(it)
	return learned{entry: e, fact: f, created: done.Created, superseded: superseded}, err
}

// clockSkew is how far ahead a caller's clock may be.
const clockSkew = time.Minute

// begin fills in what a new belief begins with.
func (f *fact) begin() {
	f.ID = newID(f.RecordedAt)
	if !f.Stated {
		f.ValidFrom = f.RecordedAt
	}
	if f.First == 0 {
		f.First = f.RecordedAt
	}
}

// end is the fact as it is kept when the belief ends, at a time, because another
// holds from some time on.
func (f fact) end(at, from sdk.Time) fact {
	f.SupersededAt = max(at, f.RecordedAt)
	f.ValidTo = from
	if f.ValidTo <= f.ValidFrom { // a correction: it never held, and was believed until now
		f.ValidTo = f.SupersededAt
	}
	return f
}

// left is how long an item has to live; 0: for ever.
func left(it sdk.Item, at sdk.Time) sdk.Duration {
	if it.ExpiresAt == 0 {
		return 0
	}
	return max(sdk.Duration(it.ExpiresAt.Sub(at)), 1)
}

// follow begins a belief about a subject on which nothing is believed now, but may
// have been.
func (f *fact) follow(ctx context.Context, kv sdk.KV, a address) error {
	last, err := kv.List(ctx, sdk.KVList{Prefix: a.pastPrefix(), Limit: 1, Newest: true})
	if err != nil {
		return err
	}
	for _, it := range last.Items {
		was, err := toFact(it)
		if err != nil {
			return err
		}
		f.First = was.First
		f.RecordedAt = max(f.RecordedAt, was.SupersededAt)
	}
	f.begin()
	return nil
}

// learnHistory records what held before the fact that is believed: it is told to
// have held from an earlier time, and both say since when.
func (m *memory) learnHistory(ctx context.Context, kv sdk.KV, a address, f, current fact) (learned, error) {
	f.begin()
	f.SupersededAt, f.ValidTo = f.RecordedAt, current.ValidFrom // it never was the belief
	all, err := versions(ctx, kv, a)
	if err != nil {
		return learned{}, err
	}
	var before *version
	for i, v := range all {
		switch {
		case !v.Stated:
		case v.ValidFrom == f.ValidFrom && normal(v.text()) == normal(f.text()):
			return learned{fact: v.fact, known: true}, nil
		case v.ValidFrom > f.ValidFrom:
			f.ValidTo = min(f.ValidTo, v.ValidFrom)
		case before == nil || v.ValidFrom >= before.ValidFrom:
			before = &all[i]
		}
	}
	w, err := f.write(a.pastItem(f), 0, 0)
	if err != nil {
		return learned{}, err
	}
	writes := []sdk.KVWrite{w}
	if before != nil && before.ValidTo > f.ValidFrom {
		before.ValidTo = f.ValidFrom
		w, err := before.write(before.item.Key, left(before.item, f.RecordedAt), before.item.Version)
		if err != nil {
			return learned{}, err
		}
		writes = append(writes, w)
	}
	_, err = kv.Apply(ctx, writes...)
	m.quota.add(true, len(f.Fact))
	return learned{fact: f}, err
}

// version is a fact with its item.
type version struct {
	fact
	item sdk.Item
}

// versions are all facts on a subject that were recorded, in that order, the one that
// is believed last.
func versions(ctx context.Context, kv sdk.KV, a address) ([]version, error) {
	var out []version
	add := func(items ...sdk.Item) error {
		for _, it := range items {
			f, err := toFact(it)
			if err != nil {
				return err
			}
			out = append(out, version{f, it})
		}
		return nil
	}
	for after := ""; ; {
		p, err := kv.List(ctx, sdk.KVList{Prefix: a.pastPrefix(), After: after, Limit: 1000})
		if err != nil {
			return nil, err
		}
		if err := add(p.Items...); err != nil {
			return nil, err
		}
		if after = p.Next; after == "" {
			break
		}
	}
	it, err := kv.Get(ctx, a.item())
	if err == nil && it != nil {
		err = add(*it)
	}
	slices.SortStableFunc(out, func(v, w version) int { return cmp.Compare(v.RecordedAt, w.RecordedAt) })
	return out, err
}

// retire ends a belief without another in its place; with an id, only if it is that
// one. It reports whether there was one.
func (m *memory) retire(ctx context.Context, host sdk.Host, a address, id string) (bool, error) {
	kv := sdk.NewKV(host)
	for range rivals {
		old, err := kv.Get(ctx, a.item())
		if err != nil || old == nil {
			return false, err
		}
		was, err := toFact(*old)
		if err != nil || id != "" && was.ID != id {
			return false, err
		}
		at, err := now(ctx, host)
		if err != nil {
			return false, err
		}
		w, err := was.end(at, at).write(a.pastItem(was), left(*old, at), 0)
		if err != nil {
			return false, err
		}
		_, err = write(ctx, host, change{address: a}, "deleted", w, sdk.KVWrite{Delete: &sdk.KVDelete{Key: a.item(), IfVersion: &old.Version}})
		if errors.Is(err, &sdk.Error{Code: sdk.CodeConflict}) {
			continue
		}
		return err == nil, err
	}
	return false, sdk.Errorf(sdk.CodeUnavailable, "too many write facts about %q at once; try again", a.Key)
}
