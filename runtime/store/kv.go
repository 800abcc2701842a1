package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nagatha/nagatha-runtime/sdk"
)

const maxDataKey = 512

func checkKey(key string) error {
	switch {
	case key == "" || len(key) > maxDataKey:
		return sdk.Invalid("key", "want 1 to %d bytes, not %d", maxDataKey, len(key))
	case !clean(key):
		return sdk.Invalid("key", "want UTF-8 without NUL")
	}
	return nil
}

func clean(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

const itemColumns = `key, value, version, created_at, updated_at, expires_at`

func scanItem(r Row, it *sdk.Item, more ...any) error {
	var value string
	err := r.Scan(append([]any{&it.Key, &value, &it.Version, &it.CreatedAt, &it.UpdatedAt, &it.ExpiresAt}, more...)...)
	it.Value = json.RawMessage(value)
	return err
}

// KVGet implements runtime.Store.
func (s *Store) KVGet(ctx context.Context, ns string, req sdk.KVGet) (sdk.KVGetReply, error) {
	if err := checkKey(req.Key); err != nil {
		return sdk.KVGetReply{}, err
	}
	var reply sdk.KVGetReply
	err := s.read(ctx, `SELECT `+itemColumns+` FROM data WHERE ns = $1 AND key = $2 AND (expires_at = 0 OR expires_at > $3)`,
		func(r Row) error {
			reply.Item = &sdk.Item{}
			return scanItem(r, reply.Item)
		}, ns, req.Key, int64(s.cfg.Now()))
	if err != nil {
		return sdk.KVGetReply{}, fmt.Errorf("read plugin data: %w", err)
	}
	return reply, nil
}

// limitOf checks a page's size.
func limitOf(n, otherwise int) (int, error) {
	if n == 0 {
		return otherwise, nil
	}
	if n < 1 || n > 1000 {
		return 0, sdk.Invalid("limit", "want 1 to 1000, not %d", n)
	}
	return n, nil
}

// KVList implements runtime.Store.
func (s *Store) KVList(ctx context.Context, ns string, req sdk.KVList) (sdk.KVListReply, error) {
	limit, err := limitOf(req.Limit, 100)
	if err != nil {
		return sdk.KVListReply{}, err
	}
	if !clean(req.Prefix) || !clean(req.After) {
		return sdk.KVListReply{}, sdk.Invalid("prefix", "want UTF-8 without NUL")
	}
	reply := sdk.KVListReply{Items: []sdk.Item{}}
	var w where
	w.add(`ns = ` + w.arg(ns))
	order := `key`
	next := func(it sdk.Item) string { return it.Key }
	switch {
	case req.Newest:
		order = `created_at DESC, key`
		next = func(it sdk.Item) string { return fmt.Sprintf("%d/%s", int64(it.CreatedAt), it.Key) }
		if req.After != "" {
			at, key, _ := strings.Cut(req.After, "/")
			ms, err := strconv.ParseInt(at, 10, 64)
			if err != nil {
				return sdk.KVListReply{}, sdk.Invalid("after", "is none of this order: send the next of the page before")
			}
			w.add(`created_at <= ` + w.arg(ms))
			w.add(`(created_at < ` + w.arg(ms) + ` OR key > ` + w.arg(key) + `)`)
		}
	default:
		w.add(`key > ` + w.arg(req.After))
	}
	w.prefix("key", req.Prefix)
	w.add(`(expires_at = 0 OR expires_at > ` + w.arg(int64(s.cfg.Now())) + `)`)
	size := 0
	err = s.read(ctx, `SELECT `+itemColumns+` FROM data`+w.text()+` ORDER BY `+order+` LIMIT `+w.arg(limit+1),
		func(r Row) error {
			if len(reply.Items) == limit || size >= sdk.MaxKVPage { // there are more
				reply.Next = next(reply.Items[len(reply.Items)-1])
				return errFull
			}
			var it sdk.Item
			err := scanItem(r, &it)
			reply.Items = append(reply.Items, it)
			size += len(it.Value)
			return err
		}, w.args...)
	if err != nil && !errors.Is(err, errFull) {
		return sdk.KVListReply{}, fmt.Errorf("list plugin data: %w", err)
	}
	return reply, nil
}

// errFull ends a query whose page is full.
var errFull = errors.New("the page is full")

// prefix restricts a column to what begins with p, as a range that an index can
// serve: up to the least string that is greater than all of them.
func (w *where) prefix(column, p string) {
	if p == "" {
		return
	}
	w.add(column + ` >= ` + w.arg(p))
	w.add(column + ` < ` + w.arg(p+string(utf8.MaxRune)))
}

// anyPrefix restricts a column to what begins with one of ps, if there are any.
func (w *where) anyPrefix(column string, ps []string) {
	var terms []string
	for _, p := range ps {
		terms = append(terms, column+` >= `+w.arg(p)+` AND `+column+` < `+w.arg(p+string(utf8.MaxRune)))
	}
	if len(terms) > 0 {
		w.add(`(` + strings.Join(terms, ` OR `) + `)`)
	}
}

// KVSearch implements runtime.Store.
func (s *Store) KVSearch(ctx context.Context, ns string, req sdk.KVSearch) (sdk.KVSearchReply, error) {
	limit, err := limitOf(req.Limit, 20)
	if err != nil {
		return sdk.KVSearchReply{}, err
	}
	if !clean(req.Query) || !clean(req.Prefix) || !clean(strings.Join(req.Prefixes, "")) {
		return sdk.KVSearchReply{}, sdk.Invalid("query", "want UTF-8 without NUL")
	}
	if len(req.Prefixes) > maxPrefixes {
		return sdk.KVSearchReply{}, sdk.Invalid("prefixes", "want at most %d, not %d", maxPrefixes, len(req.Prefixes))
	}
	reply := sdk.KVSearchReply{Hits: []sdk.Hit{}}
	words := searchWords(req.Query)
	if len(words) == 0 {
		return reply, nil
	}
	var w where
	from, match, score := s.dialect.search(w.arg(s.dialect.words(words)))
	w.add(match)
	w.add(`ns = ` + w.arg(ns))
	w.prefix("key", req.Prefix)
	w.anyPrefix("key", req.Prefixes)
	w.add(`(expires_at = 0 OR expires_at > ` + w.arg(int64(s.cfg.Now())) + `)`)
	size := 0
	err = s.read(ctx, `SELECT `+itemColumns+`, `+score+` AS score FROM `+from+w.text()+` ORDER BY score DESC, key LIMIT `+w.arg(limit),
		func(r Row) error {
			if size >= sdk.MaxKVPage {
				return errFull
			}
			var h sdk.Hit
			err := scanItem(r, &h.Item, &h.Score)
			reply.Hits = append(reply.Hits, h)
			size += len(h.Value)
			return err
		}, w.args...)
	if err != nil && !errors.Is(err, errFull) {
		return sdk.KVSearchReply{}, fmt.Errorf("search plugin data: %w", err)
	}
	return reply, nil
}

// textWords cuts a text into words, letters and digits only. What is stored and what
// is asked for are cut alike: left to itself, PostgreSQL would make one word of an
// address or a path.
func textWords(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) })
}

// searchWords are the words of a person's query, of which one is enough: nothing in
// them is syntax. Words that every sentence has are left out, unless there are no
// others.
func searchWords(query string) []string {
	words := textWords(query)
	if len(words) > maxWords {
		words = words[:maxWords]
	}
	var kept []string
	for _, w := range words {
		if !strings.Contains(stopWords, " "+w+" ") {
			kept = append(kept, w)
		}
	}
	if len(kept) == 0 {
		return words
	}
	return kept
}

const (
	maxPrefixes = 100

	maxWords  = 64
	stopWords = " a an and are as at be but by did do does for from had has have how i in is it its me my of on or our " +
		"she he that the their them they this to was we were what when where which who whom whose why will with you your "
)
