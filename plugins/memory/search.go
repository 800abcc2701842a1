package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"unicode"

	"github.com/nagatha/nagatha-runtime/sdk"
)

type result struct {
	Entry entry   `json:"entry"`
	Score float64 `json:"score"`
}

// search finds entries of all sessions, and with a session its own beside them; those
// of other sessions it never does.
func (m *memory) search(ctx context.Context, host sdk.Host, in struct {
	Query   string `json:"query"`
	Section string `json:"section"`
	Session string `json:"session"`
	Limit   int    `json:"limit"`
}) (any, error) {
	kv := sdk.NewKV(host)
	limit := cmp.Or(in.Limit, 10)
	within := []string{in.Section}
	if in.Section == "" {
		var err error
		if within, err = sections(ctx, kv); err != nil {
			return nil, err
		}
	}
	var prefixes []string
	for _, section := range within {
		for _, s := range scopes(in.Session) {
			prefixes = append(prefixes, prefix(section, s))
		}
	}
	results := []result{}
	query := divide(in.Query, false)
	for some := range slices.Chunk(prefixes, maxPrefixes) {
		hits, err := kv.Search(ctx, sdk.KVSearch{Query: query, Prefixes: some, Limit: limit})
		if err != nil {
			return nil, err
		}
		for _, h := range hits {
			e, err := toEntry(h.Item)
			if err != nil {
				return nil, err
			}
			results = append(results, result{e, h.Score})
		}
	}
	slices.SortStableFunc(results, func(a, b result) int { return cmp.Compare(b.Score, a.Score) })
	var full room
	for i, r := range results {
		if i == limit || !full.takes(r) {
			results = results[:i]
			break
		}
	}
	return map[string]any{"results": results}, nil
}

// maxPrefixes is the most that one search takes; the others are asked in another.
const maxPrefixes = 100

// words is the text that search looks at: the key, and every text and number in
// the value with the names of its members.
func words(key string, value json.RawMessage) string {
	var b strings.Builder
	b.WriteString(key)
	var v any
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber() // as they are written: 5551234567 is not 5.551234567e+09
	if d.Decode(&v) == nil {
		collect(&b, v)
	}
	return strings.ReplaceAll(strings.ToValidUTF8(divide(b.String(), true), " "), "\x00", " ")
}

// divide makes words of writing that has no spaces between them, which the store would
// take for one long word: each two characters in a row, and in a text that is searched
// also each alone.
func divide(s string, alone bool) string {
	if !strings.ContainsFunc(s, spaceless) {
		return s
	}
	var b strings.Builder
	rest := []rune(s)
	for i, r := range rest {
		before, after := i > 0 && spaceless(rest[i-1]), i+1 < len(rest) && spaceless(rest[i+1])
		switch {
		case !spaceless(r):
			b.WriteRune(r)
			continue
		case alone || !before && !after:
			b.WriteString(" " + string(r))
		}
		if after {
			b.WriteString(" " + string(rest[i:i+2]))
		} else {
			b.WriteString(" ")
		}
	}
	return b.String()
}

func spaceless(r rune) bool {
	return r > unicode.MaxLatin1 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}

func collect(b *strings.Builder, v any) {
	switch v := v.(type) {
	case string:
		b.WriteString(" " + v)
	case json.Number:
		b.WriteString(" " + v.String())
	case []any:
		for _, item := range v {
			collect(b, item)
		}
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			b.WriteString(" " + name)
			collect(b, v[name])
		}
	}
}
