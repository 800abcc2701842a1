package main

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// told is a fact as a caller sees it.
type told struct {
	ID         string   `json:"id"`
	Fact       string   `json:"fact"`
	Subject    string   `json:"subject"`
	Source     string   `json:"source"`
	Session    string   `json:"session"`
	ValidFrom  sdk.Time `json:"valid_from"`
	ValidTo    sdk.Time `json:"valid_to"`
	RecordedAt sdk.Time `json:"recorded_at"`
}

func (f fact) told(session string) told {
	return told{f.ID, f.text(), f.Subject, f.Source, session, f.ValidFrom, f.ValidTo, f.RecordedAt}
}

func (m *memory) remember(ctx context.Context, host sdk.Host, in struct {
	Fact      string    `json:"fact"`
	Source    string    `json:"source"`
	Subject   string    `json:"subject"`
	Session   string    `json:"session"`
	ValidFrom *sdk.Time `json:"valid_from"`
}) (any, error) {
	text := strings.TrimSpace(in.Fact)
	if text == "" {
		return nil, sdk.Invalid("fact", "is empty: say it in one sentence")
	}
	raw, err := json.Marshal(text)
	if err != nil {
		return nil, err
	}
	f := fact{Fact: raw, provenance: provenance{Subject: strings.TrimSpace(in.Subject), Source: in.Source}}
	if in.ValidFrom != nil && *in.ValidFrom != 0 {
		f.ValidFrom, f.Stated = *in.ValidFrom, true
	}
	a := address{facts, f.Subject, in.Session}
	if f.Subject == "" {
		a.Key = ownKey(text)
	}
	if err := a.check(); err != nil {
		return nil, err
	}
	if err := m.fits(ctx, host, "", len(raw)); err != nil {
		return nil, err
	}
	l, err := m.learn(ctx, host, a, f, learnOptions{})
	if err != nil {
		return nil, err
	}
	var superseded any
	if l.superseded != "" {
		superseded = l.superseded
	}
	return map[string]any{"fact": l.fact.told(in.Session), "created": !l.known, "superseded": superseded}, nil
}

type recalled struct {
	told
	Score float64 `json:"score"`
}

// candidates is how many facts recall looks at where not all of them count.
const candidates = 1000

func (m *memory) recall(ctx context.Context, host sdk.Host, in struct {
	Query   string    `json:"query"`
	Subject string    `json:"subject"`
	Session string    `json:"session"`
	AsOf    *sdk.Time `json:"as_of"`
	Limit   int       `json:"limit"`
}) (any, error) {
	subject := strings.TrimSpace(in.Subject)
	if strings.TrimSpace(in.Query) == "" && subject == "" {
		return nil, sdk.Invalid("query", "is required without a subject")
	}
	kv := sdk.NewKV(host)
	limit := cmp.Or(in.Limit, 10)
	var found []sdk.Hit
	var err error
	if strings.TrimSpace(in.Query) == "" {
		found, err = about(ctx, kv, subject, scopes(in.Session), in.AsOf != nil)
	} else {
		req := sdk.KVSearch{Query: divide(in.Query, false), Limit: limit}
		for _, s := range scopes(in.Session) {
			a := address{facts, subject, s}
			req.Prefixes = append(req.Prefixes, a.item())
			if in.AsOf == nil {
				continue
			}
			if subject == "" {
				req.Prefixes = append(req.Prefixes, prefix(past, s))
			} else {
				req.Prefixes = append(req.Prefixes, a.pastPrefix())
			}
		}
		if subject != "" || in.AsOf != nil {
			req.Limit = candidates
		}
		found, err = kv.Search(ctx, req)
	}
	if err != nil {
		return nil, err
	}
	out := []recalled{}
	earliest, index := map[address]string{}, map[address]int{}
	for _, h := range found {
		f, err := toFact(h.Item)
		if err != nil {
			return nil, err
		}
		a, err := splitKey(h.Key)
		if err != nil {
			return nil, err
		}
		a.Section, a.Key = facts, f.Key
		if subject != "" && a.Key != subject {
			continue // a longer subject that begins alike
		}
		if in.AsOf != nil {
			yes, err := believed(ctx, kv, a, f, *in.AsOf, earliest)
			if err != nil {
				return nil, err
			}
			if !yes {
				continue
			}
		}
		next := recalled{f.told(a.Session), h.Score}
		if i, twice := index[a]; !twice {
			index[a] = len(out)
			out = append(out, next)
		} else if next.RecordedAt > out[i].RecordedAt {
			out[i] = next // an import has brought another past of the subject
		}
	}
	slices.SortStableFunc(out, func(a, b recalled) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(b.RecordedAt, a.RecordedAt))
	})
	var full room
	for i, f := range out {
		if i == limit || !full.takes(f) {
			out = out[:i]
			break
		}
	}
	return map[string]any{"facts": out}, nil
}

// scopes are the sessions in which a session looks: all, and its own.
func scopes(session string) []string {
	if session == "" {
		return []string{""}
	}
	return []string{"", session}
}

// about are the facts on a subject: the current one, and with all those before it.
func about(ctx context.Context, kv sdk.KV, subject string, scopes []string, all bool) ([]sdk.Hit, error) {
	var out []sdk.Hit
	for _, s := range scopes {
		a := address{facts, subject, s}
		if !all {
			it, err := kv.Get(ctx, a.item())
			if err != nil {
				return nil, err
			}
			if it != nil {
				out = append(out, sdk.Hit{Item: *it, Score: 1})
			}
			continue
		}
		vs, err := versions(ctx, kv, a)
		if err != nil {
			return nil, err
		}
		for _, v := range vs {
			out = append(out, sdk.Hit{Item: v.item, Score: 1})
		}
	}
	return out, nil
}

// believed reports whether a fact is what was believed at a time: it had been recorded
// and not been superseded. For the time before anything was recorded on its subject,
// it is the fact that says it holds since the latest moment up to then. earliest
// remembers the ids of those.
func believed(ctx context.Context, kv sdk.KV, a address, f fact, at sdk.Time, earliest map[address]string) (bool, error) {
	if at >= f.First {
		return f.believedAt(at), nil
	}
	if f.ValidFrom > at {
		return false, nil
	}
	id, known := earliest[a]
	if !known {
		all, err := versions(ctx, kv, a)
		if err != nil {
			return false, err
		}
		since := sdk.Time(0)
		for _, v := range all {
			if v.ValidFrom <= at && v.ValidFrom >= since {
				id, since = v.ID, v.ValidFrom
			}
		}
		earliest[a] = id
	}
	return f.ID == id, nil
}

func (m *memory) forget(ctx context.Context, host sdk.Host, in struct {
	ID      string `json:"id"`
	Subject string `json:"subject"`
	Session string `json:"session"`
	Erase   bool   `json:"erase"`
}) (any, error) {
	kv := sdk.NewKV(host)
	a := address{facts, strings.TrimSpace(in.Subject), in.Session}
	if (in.ID == "") == (a.Key == "") {
		return nil, sdk.Invalid("id", "want either id or subject")
	}
	forgotten := 0
	if in.ID != "" {
		hits, err := kv.Search(ctx, sdk.KVSearch{Query: idWord(in.ID), Prefixes: []string{facts + "/", past + "/"}, Limit: candidates})
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(hits, func(h sdk.Hit) bool {
			f, err := toFact(h.Item)
			return err == nil && f.ID == in.ID
		})
		if i < 0 {
			return map[string]int{"forgotten": 0}, nil
		}
		f, _ := toFact(hits[i].Item)
		if a, err = splitKey(hits[i].Key); err != nil {
			return nil, err
		}
		a.Section, a.Key = facts, f.Key
	}
	retired, err := m.retire(ctx, host, a, in.ID)
	if err != nil {
		return nil, err
	}
	if retired {
		forgotten = 1
	}
	if in.Erase {
		erased, err := erase(ctx, kv, a, in.ID)
		if err != nil {
			return nil, err
		}
		forgotten = erased
	}
	return map[string]int{"forgotten": forgotten}, nil
}

// erase deletes what was believed about a subject, or with an id that fact alone.
func erase(ctx context.Context, kv sdk.KV, a address, id string) (int, error) {
	n := 0
	for id == "" {
		gone, err := kv.Clear(ctx, sdk.KVClear{Prefix: a.pastPrefix(), Limit: batch})
		if n += len(gone); err != nil || len(gone) < batch {
			return n, err
		}
	}
	all, err := versions(ctx, kv, a)
	if err != nil {
		return 0, err
	}
	for _, v := range all {
		if v.ID != id || v.SupersededAt == 0 {
			continue
		}
		gone, err := kv.Delete(ctx, v.item.Key)
		if err != nil {
			return n, err
		}
		if gone {
			n++
		}
	}
	return n, nil
}
