package api

import (
	"context"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// How the guard keeps up with the database. One runtime alone knows of every change,
// since it makes them all; with others it looks again after a second.

const (
	tokensAge = time.Second
	usedAge   = time.Minute // how exactly the last use of a token is known
)

// find returns the identity of a token's id, or nil.
func (g *guard) find(ctx context.Context, id string) (*identity, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.tokens == nil || g.rt.Shared() && time.Since(g.looked) >= tokensAge {
		if err := g.look(ctx); err != nil {
			return nil, err
		}
	}
	return g.tokens[id], nil
}

// look reads the tokens again and ends what was opened with one that is gone. The
// caller holds mu.
func (g *guard) look(ctx context.Context) error {
	list, err := g.rt.AccessTokens(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	known := g.tokens
	g.tokens, g.looked = make(map[string]*identity, len(list)), time.Now()
	for _, t := range list {
		who := known[t.ID]
		if who == nil {
			who = g.identity(t)
		}
		who.mu.Lock()
		who.kept = t
		who.mu.Unlock()
		g.tokens[t.ID] = who
		delete(known, t.ID)
	}
	for _, who := range known {
		who.revoke()
	}
	return nil
}

func (g *guard) identity(t runtime.AccessToken) *identity {
	return &identity{id: t.ID, name: t.Name, sum: t.Sum, scopes: t.Scopes, expires: t.ExpiresAt, limit: newBucket(g.rate), kept: t}
}

// used notes now and then that a token was used. That it could not be noted is no
// reason to refuse it: the disk may be full, or the token revoked just now.
func (g *guard) used(ctx context.Context, who *identity) {
	who.mu.Lock()
	kept := who.kept
	due := sdk.Now().Sub(kept.LastUsed) >= usedAge
	if due {
		who.kept.LastUsed = sdk.Now()
		kept.LastUsed = who.kept.LastUsed
	}
	who.mu.Unlock()
	if !due {
		return
	}
	if g.rt.SetAccessToken(context.WithoutCancel(ctx), &kept) == nil {
		who.mu.Lock()
		who.kept = kept
		who.mu.Unlock()
	}
}

// add makes a token good at once.
func (g *guard) add(ctx context.Context, t runtime.AccessToken) error {
	if _, err := g.find(ctx, t.ID); err != nil { // it knows the others from now on
		return err
	}
	if err := g.rt.SetAccessToken(ctx, &t); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tokens[t.ID] = g.identity(t)
	return nil
}

// drop revokes a token and ends what was opened with it.
func (g *guard) drop(ctx context.Context, id string) error {
	err := g.rt.DeleteAccessToken(ctx, id)
	if err != nil && sdk.CodeOf(err) != sdk.CodeNotFound {
		return err
	}
	g.mu.Lock()
	who := g.tokens[id]
	delete(g.tokens, id)
	g.mu.Unlock()
	if who != nil {
		who.revoke()
	}
	return err
}

// keepUp notices tokens that another runtime revoked while connections that they
// opened are still there. A runtime alone needs none of it.
func (g *guard) keepUp(ctx context.Context) {
	if !g.rt.Shared() {
		return
	}
	tick := time.NewTicker(tokensAge)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		g.mu.Lock()
		for _, who := range g.tokens {
			if !who.idle() {
				_ = g.look(ctx) // the database is away: the next tick looks again
				break
			}
		}
		g.mu.Unlock()
	}
}
