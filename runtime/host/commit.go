package host

import (
	"context"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// commit needs the grants of all that it does, and nothing happens if one is missing.
func commit(g *guard, ctx context.Context, request []byte) ([]byte, error) {
	q, err := decode[sdk.Transaction](sdk.OpCommit, request)
	if err != nil {
		return nil, err
	}
	grant := g.version.cfg.Grant
	if len(q.Writes) > 0 && !grant.Store {
		return nil, g.deny(sdk.OpCommit, "", "store")
	}
	for _, e := range q.Events {
		if !grant.publishes(e.Type) {
			return nil, g.deny(sdk.OpCommit, e.Type, "publish")
		}
	}
	for _, t := range q.Tasks {
		if !grant.submits(t.Kind) {
			return nil, g.deny(sdk.OpCommit, t.Kind, "submit")
		}
		if !grant.queues(t.Queue) {
			return nil, g.deny(sdk.OpCommit, t.Kind+" in queue "+t.Queue, "queues")
		}
	}
	if err := g.room(ctx, q.Writes); err != nil {
		return nil, err
	}
	reply, err := g.Host.Call(ctx, sdk.OpCommit, request)
	if err != nil && len(q.Events)+len(q.Tasks) == 0 {
		g.audit(sdk.OpCommit, "", false, err)
	}
	for _, e := range q.Events {
		g.audit(sdk.OpCommit, e.Type, false, err)
	}
	for _, t := range q.Tasks {
		g.audit(sdk.OpCommit, t.Kind, false, err)
	}
	return reply, err
}
