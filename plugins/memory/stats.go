package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

type sectionStats struct {
	Entries        int64 `json:"entries"`
	SessionEntries int64 `json:"session_entries"`
	Bytes          int64 `json:"bytes"`
	Expiring       int64 `json:"expiring"`
}

type stats struct {
	TotalEntries    int64                   `json:"total_entries"`
	TotalBytes      int64                   `json:"total_bytes"` // superseded facts included
	Sections        map[string]sectionStats `json:"sections"`
	SupersededFacts int64                   `json:"superseded_facts"`
	MaxEntries      int64                   `json:"max_entries"`
	MaxBytes        int64                   `json:"max_bytes"`
}

// maxSections is how many sections are looked at; nobody has so many.
const maxSections = 1000

// sections are the names of all sections, found by leaping from one to the next.
func sections(ctx context.Context, kv sdk.KV) ([]string, error) {
	var out []string
	for after := ""; len(out) < maxSections; {
		p, err := kv.List(ctx, sdk.KVList{After: after, Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(p.Items) == 0 {
			break
		}
		section, _, _ := strings.Cut(p.Items[0].Key, "/")
		if section >= past {
			break
		}
		out = append(out, section)
		after = section + "0" // what comes after all that begins with section and "/"
	}
	return out, nil
}

func (m *memory) stats(ctx context.Context, host sdk.Host, _ struct{}) (stats, error) {
	kv := sdk.NewKV(host)
	s := stats{Sections: map[string]sectionStats{}, MaxEntries: m.maxEntries, MaxBytes: m.maxBytes}
	names, err := sections(ctx, kv)
	if err != nil {
		return s, err
	}
	for _, name := range names {
		all, err := kv.Count(ctx, name+"/")
		if err != nil {
			return s, err
		}
		global, err := kv.Count(ctx, prefix(name, ""))
		if err != nil {
			return s, err
		}
		s.Sections[name] = sectionStats{all.Items, all.Items - global.Items, all.Bytes, all.Expiring}
		s.TotalEntries += all.Items
		s.TotalBytes += all.Bytes
	}
	old, err := kv.Count(ctx, past+"/")
	s.SupersededFacts = old.Items
	s.TotalBytes += old.Bytes
	return s, err
}

// sweep deletes what has expired, tells of each entry, and counts them by section.
func sweep(ctx context.Context, host sdk.Host) (int, map[string]int, error) {
	n, by := 0, map[string]int{}
	for {
		gone, err := sdk.NewKV(host).Clear(ctx, sdk.KVClear{Expired: true, Limit: batch})
		if err != nil {
			return n, by, err
		}
		for _, item := range gone {
			section, _, _ := strings.Cut(item, "/")
			if section != past {
				by[section]++
				n++
			}
		}
		if err := publishAll(ctx, host, "expired", gone); err != nil {
			return n, by, err
		}
		if len(gone) < batch {
			return n, by, nil
		}
		host.Progress(float64(n), 0, fmt.Sprintf("%d entries have expired", n))
	}
}

type cleaned struct {
	Entries   int            `json:"cleaned_entries"`
	Sections  map[string]int `json:"cleaned_sections"`
	Stats     stats          `json:"memory_stats"`
	Timestamp sdk.Time       `json:"timestamp"`
}

func (m *memory) cleanup(ctx context.Context, host sdk.Host, _ struct{}) (cleaned, error) {
	n, by, err := sweep(ctx, host)
	if err != nil {
		return cleaned{}, err
	}
	m.quota.forget()
	s, err := m.stats(ctx, host, struct{}{})
	if err != nil {
		return cleaned{}, err
	}
	at, err := now(ctx, host)
	return cleaned{n, by, s, at}, err
}

type optimized struct {
	Consolidated int      `json:"facts_consolidated"`
	Cleaned      int      `json:"cleaned_entries"`
	Stats        stats    `json:"memory_stats"`
	Timestamp    sdk.Time `json:"timestamp"`
}

// optimize retires facts without a subject that say what another fact of the same
// session says with one.
func (m *memory) optimize(ctx context.Context, host sdk.Host, _ struct{}) (optimized, error) {
	c, err := m.cleanup(ctx, host, struct{}{})
	if err != nil {
		return optimized{}, err
	}
	type sentence [16]byte
	said := map[sentence]bool{} // bounded by max_entries
	hash := func(session string, f fact) sentence {
		sum := sha256.Sum256([]byte(session + "\x00" + normal(f.text())))
		return sentence(sum[:16])
	}
	n := 0
	for _, pass := range []func(a address, f fact) error{
		func(a address, f fact) error {
			if f.Subject != "" {
				said[hash(a.Session, f)] = true
			}
			return nil
		},
		func(a address, f fact) error {
			if f.Subject != "" || !said[hash(a.Session, f)] {
				return nil
			}
			gone, err := m.retire(ctx, host, a, f.ID)
			if gone {
				n++
			}
			return err
		},
	} {
		if err := walk(ctx, sdk.NewKV(host), facts+"/", func(it sdk.Item) error {
			a, err := splitKey(it.Key)
			if err != nil {
				return err
			}
			f, err := toFact(it)
			if err != nil {
				return err
			}
			return pass(a, f)
		}); err != nil {
			return optimized{}, err
		}
	}
	if n > 0 {
		if c.Stats, err = m.stats(ctx, host, struct{}{}); err != nil {
			return optimized{}, err
		}
	}
	return optimized{n, c.Entries, c.Stats, c.Timestamp}, nil
}

// walk calls f for all items under a prefix, page by page.
func walk(ctx context.Context, kv sdk.KV, within string, f func(sdk.Item) error) error {
	for after := ""; ; {
		p, err := kv.List(ctx, sdk.KVList{Prefix: within, After: after, Limit: 1000})
		if err != nil {
			return err
		}
		for _, it := range p.Items {
			if err := f(it); err != nil {
				return err
			}
		}
		if after = p.Next; after == "" {
			return nil
		}
	}
}
