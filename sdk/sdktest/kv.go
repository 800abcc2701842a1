package sdktest

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// live returns an item that has not expired.
func (h *Host) live(key string) (StoredItem, bool) {
	it, ok := h.Items[key]
	if !ok || h.expired(it) {
		return StoredItem{}, false
	}
	return it, true
}

func (h *Host) expired(it StoredItem) bool { return it.ExpiresAt != 0 && it.ExpiresAt <= h.Now() }

func checkKey(key string) error {
	switch {
	case key == "" || len(key) > 512:
		return sdk.Invalid("key", "want 1 to 512 bytes, not %d", len(key))
	case !clean(key):
		return sdk.Invalid("key", "want UTF-8 without NUL")
	}
	return nil
}

// checkSet is what a runtime checks of a set whatever is stored.
func checkSet(q sdk.KVSet) error {
	switch {
	case len(q.Value)+len(q.Text) > maxValue:
		return tooLarge(fmt.Sprintf("value and text of %.80q", q.Key), len(q.Value)+len(q.Text))
	case len(q.Value) == 0:
		return sdk.Invalid("value", "is not JSON in UTF-8")
	case !clean(q.Text):
		return sdk.Invalid("text", "want UTF-8 without NUL")
	case q.TTL < 0:
		return sdk.Invalid("ttl", "must not be negative")
	case q.As != nil && (q.As.Version < 1 || q.As.CreatedAt < 1 || q.As.UpdatedAt < 1 || q.As.ExpiresAt < 0):
		return sdk.Invalid("as", "want a version from 1 and the times of creation and change")
	}
	return checkKey(q.Key)
}

// limitOf checks a page's size, and where it is looked for.
func limitOf(n, otherwise int, texts ...string) (int, error) {
	if !clean(strings.Join(texts, "")) {
		return 0, sdk.Invalid("prefix", "want UTF-8 without NUL")
	}
	if n < 0 || n > 1000 {
		return 0, sdk.Invalid("limit", "want 1 to 1000, not %d", n)
	}
	return cmp.Or(n, otherwise), nil
}

func (h *Host) get(q sdk.KVGet) (sdk.KVGetReply, error) {
	if err := checkKey(q.Key); err != nil {
		return sdk.KVGetReply{}, err
	}
	if it, ok := h.live(q.Key); ok {
		return sdk.KVGetReply{Item: &it.Item}, nil
	}
	return sdk.KVGetReply{}, nil
}

func (h *Host) set(q sdk.KVSet) (sdk.KVSetReply, error) {
	if err := checkSet(q); err != nil {
		return sdk.KVSetReply{}, err
	}
	old, ok := h.live(q.Key)
	if err := wantVersion(q.Key, q.IfVersion, old.Version); err != nil {
		return sdk.KVSetReply{}, err
	}
	gone, late := h.Items[q.Key]
	late = late && h.expired(gone)
	it := StoredItem{Text: q.Text, Item: sdk.Item{Key: q.Key, Value: q.Value, Version: old.Version + 1, CreatedAt: old.CreatedAt, UpdatedAt: h.Now()}}
	if !ok {
		it.CreatedAt = it.UpdatedAt
	}
	if q.TTL > 0 {
		it.ExpiresAt = it.UpdatedAt.Add(q.TTL.Std())
	}
	if as := q.As; as != nil {
		it.Version, it.CreatedAt, it.UpdatedAt, it.ExpiresAt = as.Version, as.CreatedAt, as.UpdatedAt, as.ExpiresAt
	}
	h.Items[q.Key] = it
	return sdk.KVSetReply{Item: it.Item, Created: !ok, Expired: late}, nil
}

func wantVersion(key string, want *int64, have int64) error {
	if want != nil && *want != have {
		return sdk.Errorf(sdk.CodeConflict, "key %q has version %d, not %d", key, have, *want)
	}
	return nil
}

func (h *Host) remove(q sdk.KVDelete) (sdk.KVDeleteReply, error) {
	if err := checkKey(q.Key); err != nil {
		return sdk.KVDeleteReply{}, err
	}
	old, ok := h.live(q.Key)
	if err := wantVersion(q.Key, q.IfVersion, old.Version); err != nil {
		return sdk.KVDeleteReply{}, err
	}
	delete(h.Items, q.Key)
	return sdk.KVDeleteReply{Deleted: ok}, nil
}

// apply checks every condition before it writes anything.
func (h *Host) apply(q sdk.KVApply) (sdk.KVApplyReply, error) {
	if err := q.Check(); err != nil {
		return sdk.KVApplyReply{}, err
	}
	for _, w := range q.Writes {
		key, want := w.Key()
		old, _ := h.live(key)
		if err := wantVersion(key, want, old.Version); err != nil {
			return sdk.KVApplyReply{}, err
		}
		err := checkKey(key)
		if w.Set != nil {
			err = checkSet(*w.Set)
		}
		if err != nil {
			return sdk.KVApplyReply{}, err
		}
	}
	var r sdk.KVApplyReply
	for _, w := range q.Writes {
		if w.Delete != nil {
			it, late := h.Items[w.Delete.Key]
			late = late && h.expired(it)
			d, _ := h.remove(*w.Delete)
			r.Results = append(r.Results, sdk.KVResult{Key: w.Delete.Key, Deleted: d.Deleted, Expired: late})
			continue
		}
		s, _ := h.set(*w.Set)
		r.Results = append(r.Results, sdk.KVResult{Key: w.Set.Key, Version: s.Item.Version, Created: s.Created, Expired: s.Expired})
	}
	return r, nil
}

func (h *Host) list(q sdk.KVList) (sdk.KVListReply, error) {
	r := sdk.KVListReply{Items: []sdk.Item{}}
	limit, err := limitOf(q.Limit, 100, q.Prefix, q.After)
	if err == nil && q.Newest && q.After != "" && !strings.Contains(q.After, "/") {
		err = sdk.Invalid("after", "is none of this order: send the next of the page before")
	}
	if err != nil {
		return r, err
	}
	size := 0
	keys := h.keys(q.Prefix)
	next := func(it sdk.Item) string { return it.Key }
	if q.Newest {
		slices.SortStableFunc(keys, func(a, b string) int { return cmp.Compare(h.Items[b].CreatedAt, h.Items[a].CreatedAt) })
		next = func(it sdk.Item) string { return fmt.Sprintf("%020d/%s", math.MaxInt64-int64(it.CreatedAt), it.Key) }
	}
	for _, key := range keys {
		it := h.Items[key].Item
		if q.After != "" && next(it) <= q.After {
			continue
		}
		if len(r.Items) == limit || size >= sdk.MaxKVPage {
			r.Next = next(r.Items[len(r.Items)-1])
			break
		}
		r.Items = append(r.Items, it)
		size += len(it.Value)
	}
	return r, nil
}

func (h *Host) keys(prefix string) []string {
	var out []string
	for key := range h.Items {
		if _, ok := h.live(key); ok && strings.HasPrefix(key, prefix) {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

func (h *Host) count(q sdk.KVCount) (sdk.KVCountReply, error) {
	var r sdk.KVCountReply
	if _, err := limitOf(0, 0, q.Prefix); err != nil {
		return r, err
	}
	for _, key := range h.keys(q.Prefix) {
		it := h.Items[key]
		r.Items++
		r.Bytes += int64(len(it.Value))
		if it.ExpiresAt > 0 {
			r.Expiring++
		}
	}
	return r, nil
}

func (h *Host) clear(q sdk.KVClear) (sdk.KVClearReply, error) {
	r := sdk.KVClearReply{Keys: []string{}}
	limit, err := limitOf(q.Limit, 100, q.Prefix)
	if err != nil {
		return r, err
	}
	for key, it := range h.Items {
		if strings.HasPrefix(key, q.Prefix) && h.expired(it) == q.Expired {
			r.Keys = append(r.Keys, key)
		}
	}
	slices.Sort(r.Keys)
	r.Keys = r.Keys[:min(len(r.Keys), limit)]
	for _, key := range r.Keys {
		delete(h.Items, key)
	}
	return r, nil
}

// search counts the words of the query that a text has, a word being there if one
// is it, or from three letters on begins so; the runtime's own ranking is finer.
func (h *Host) search(q sdk.KVSearch) (sdk.KVSearchReply, error) {
	r := sdk.KVSearchReply{Hits: []sdk.Hit{}}
	limit, err := limitOf(q.Limit, 20, slices.Concat(q.Prefixes, []string{q.Query, q.Prefix})...)
	if err == nil && len(q.Prefixes) > 100 {
		err = sdk.Invalid("prefixes", "want at most 100, not %d", len(q.Prefixes))
	}
	if err != nil {
		return r, err
	}
	words := textWords(q.Query)
	if rest := slices.DeleteFunc(slices.Clone(words), func(w string) bool { return strings.Contains(stopWords, " "+w+" ") }); len(rest) > 0 {
		words = rest
	}
	for _, key := range h.keys(q.Prefix) {
		if len(q.Prefixes) > 0 && !slices.ContainsFunc(q.Prefixes, func(p string) bool { return strings.HasPrefix(key, p) }) {
			continue
		}
		text, score := textWords(h.Items[key].Text), 0.0
		for _, w := range words {
			if slices.ContainsFunc(text, func(have string) bool { return have == w || len(w) > 2 && strings.HasPrefix(have, w) }) {
				score++
			}
		}
		if score > 0 {
			r.Hits = append(r.Hits, sdk.Hit{Item: h.Items[key].Item, Score: score})
		}
	}
	slices.SortStableFunc(r.Hits, func(a, b sdk.Hit) int { return cmp.Compare(b.Score, a.Score) })
	r.Hits = r.Hits[:min(len(r.Hits), limit)]
	return r, nil
}

const stopWords = " a an and are as at be but by did do does for from had has have how i in is it its me my of on or our " +
	"she he that the their them they this to was we were what when where which who whom whose why will with you your "

func textWords(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) })
}
