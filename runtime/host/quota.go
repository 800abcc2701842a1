package host

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// quota is how much a plugin may keep in the store. It is safe for concurrent use.
//
// What is there is counted now and then, since that reads it all; in between, what the
// plugin has written since is added. So a limit may be passed by what other nodes write
// meanwhile, at most an eighth of it on each.
type quota struct {
	mu    sync.Mutex
	again time.Time // no count before it; zero: there was none
	there int64     // bytes when they were counted
	since int64     // bytes written since then
}

// rowBytes is what an entry takes besides its value.
const rowBytes = 256

// admit lets a write of n bytes pass, or says why not.
func (q *quota) admit(n, limit int64, count func() (sdk.KVCountReply, error)) error {
	if limit == 0 || n == 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock() // others of the plugin wait for a count that they need, too
	if full := q.there+q.since+n > limit; q.again.IsZero() || q.since > limit/8 || full && time.Now().After(q.again) {
		began := time.Now()
		reply, err := count()
		if err != nil {
			return err
		}
		// A plugin that writes on regardless makes the runtime count a tenth of the time.
		q.again = began.Add(11 * time.Since(began))
		q.there, q.since = reply.Bytes+reply.Items*rowBytes, 0
	}
	if q.there+q.since+n > limit {
		return sdk.Errorf(sdk.CodeLimitExceeded,
			"the plugin keeps %d bytes in the store and may keep %d: let it delete some, or raise limits.store of the plugin in config.hcl", q.there+q.since, limit)
	}
	q.since += n
	return nil
}

// room lets writes to the store pass, or says why not. Deleting is always possible.
func (g *guard) room(ctx context.Context, writes []sdk.KVWrite) error {
	n := int64(0)
	for _, w := range writes {
		if w.Set != nil {
			n += int64(len(w.Set.Key)+len(w.Set.Value)) + rowBytes
		}
	}
	p := g.version.plugin
	return p.quota.admit(n, g.version.cfg.Limits.Store, func() (reply sdk.KVCountReply, err error) {
		text, err := g.Host.Call(ctx, sdk.OpKVCount, []byte(`{}`))
		if err == nil {
			err = json.Unmarshal(text, &reply)
		}
		return reply, err
	})
}

func kvSet(g *guard, ctx context.Context, request []byte) ([]byte, error) {
	q, err := decode[sdk.KVSet](sdk.OpKVSet, request)
	if err == nil {
		err = g.room(ctx, []sdk.KVWrite{{Set: &q}})
	}
	if err != nil {
		return nil, err
	}
	return g.Host.Call(ctx, sdk.OpKVSet, request)
}

func kvApply(g *guard, ctx context.Context, request []byte) ([]byte, error) {
	q, err := decode[sdk.KVApply](sdk.OpKVApply, request)
	if err == nil {
		err = g.room(ctx, q.Writes)
	}
	if err != nil {
		return nil, err
	}
	return g.Host.Call(ctx, sdk.OpKVApply, request)
}
