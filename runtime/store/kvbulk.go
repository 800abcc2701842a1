package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// keptExpired is how long an item that has expired stays for its plugin to clear,
// if it wants to know of it; the runtime prunes it after that.
const keptExpired = 24 * time.Hour

// KVCount implements runtime.Store.
func (s *Store) KVCount(ctx context.Context, ns string, req sdk.KVCount) (sdk.KVCountReply, error) {
	if !clean(req.Prefix) {
		return sdk.KVCountReply{}, sdk.Invalid("prefix", "want UTF-8 without NUL")
	}
	var w where
	w.add(`ns = ` + w.arg(ns))
	w.prefix("key", req.Prefix)
	w.add(`(expires_at = 0 OR expires_at > ` + w.arg(int64(s.cfg.Now())) + `)`)
	var reply sdk.KVCountReply
	err := s.read(ctx, `SELECT COUNT(*), COALESCE(SUM(OCTET_LENGTH(value)), 0), COALESCE(SUM(CASE WHEN expires_at > 0 THEN 1 ELSE 0 END), 0) FROM data`+w.text(),
		func(r Row) error { return r.Scan(&reply.Items, &reply.Bytes, &reply.Expiring) }, w.args...)
	if err != nil {
		return sdk.KVCountReply{}, fmt.Errorf("count plugin data: %w", err)
	}
	return reply, nil
}

type clearArg struct {
	ns    string
	fence runtime.Fence
	req   sdk.KVClear
	limit int

	keys []string
	err  error
}

// KVClear implements runtime.Store.
func (s *Store) KVClear(ctx context.Context, ns string, fence runtime.Fence, req sdk.KVClear) (sdk.KVClearReply, error) {
	limit, err := limitOf(req.Limit, 100)
	if err != nil {
		return sdk.KVClearReply{}, err
	}
	if !clean(req.Prefix) {
		return sdk.KVClearReply{}, sdk.Invalid("prefix", "want UTF-8 without NUL")
	}
	a := &clearArg{ns: ns, fence: fence, req: req, limit: limit}
	if err := s.do(ctx, verbClear, limit, a); err != nil {
		return sdk.KVClearReply{}, err
	}
	return sdk.KVClearReply{Keys: a.keys}, a.err
}

func (t *tick) clearData(a *clearArg) error {
	a.keys, a.err = []string{}, nil
	ok, err := t.passes(a.fence)
	if err != nil || !ok {
		a.err = runtime.ErrFenced
		return err
	}
	// One text whatever the prefix, so that it is prepared once: U+10FFFF is greater
	// than what any key begins with.
	const within = `SELECT id FROM data WHERE ns = $1 AND key >= $2 AND key < $3 AND `
	text := within + `(expires_at = 0 OR expires_at > $4) ORDER BY key LIMIT $5`
	if a.req.Expired {
		text = within + `expires_at > 0 AND expires_at <= $4 ORDER BY expires_at LIMIT $5`
	}
	err = t.query(`DELETE FROM data WHERE `+t.dialect.among(`id`, text+t.dialect.lock)+` RETURNING key`, func(r Row) error {
		var key string
		err := r.Scan(&key)
		a.keys = append(a.keys, key)
		return err
	}, a.ns, a.req.Prefix, a.req.Prefix+"\U0010FFFF", int64(t.now), a.limit)
	if err != nil {
		return fmt.Errorf("clear plugin data: %w", err)
	}
	slices.Sort(a.keys)
	return nil
}
