package runtime

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// accessTokens is where clients' tokens are kept: the database, so that every node
// knows them.
const accessTokens = "system.tokens"

// AccessToken is a client's token as it is kept.
type AccessToken struct {
	sdk.AccessToken
	Sum     string `json:"sum"` // SHA-256 of the token, in hex
	version int64
}

// AccessTokens returns all tokens, in the order of their ids.
func (r *Runtime) AccessTokens(ctx context.Context) ([]AccessToken, error) {
	var out []AccessToken
	for after, more := "", true; more; more = after != "" {
		page, err := r.store.KVList(ctx, accessTokens, sdk.KVList{After: after, Limit: 1000})
		if err != nil {
			return nil, fmt.Errorf("read the tokens: %w", err)
		}
		for _, item := range page.Items {
			var t AccessToken
			if err := json.Unmarshal(item.Value, &t); err != nil {
				return nil, fmt.Errorf("read the token %s: %w", item.Key, err)
			}
			t.version = item.Version
			out = append(out, t)
		}
		after = page.Next
	}
	return out, nil
}

// SetAccessToken keeps a token. One that came from [Runtime.AccessTokens] replaces
// itself, and is CodeConflict once it was changed or deleted meanwhile.
func (r *Runtime) SetAccessToken(ctx context.Context, t *AccessToken) error {
	doc, err := json.Marshal(t)
	if err != nil {
		return err
	}
	done, err := r.store.KVSet(ctx, accessTokens, Fence{}, sdk.KVSet{Key: t.ID, Value: doc, IfVersion: &t.version})
	if err == nil {
		t.version = done.Item.Version
	}
	return err
}

// DeleteAccessToken forgets a token, or returns CodeNotFound.
func (r *Runtime) DeleteAccessToken(ctx context.Context, id string) error {
	if len(id) > 64 || !cleanText(id) || id == "" {
		return noToken(id)
	}
	done, err := r.store.KVDelete(ctx, accessTokens, Fence{}, sdk.KVDelete{Key: id})
	if err == nil && !done.Deleted {
		err = noToken(id)
	}
	return err
}

func noToken(id string) error {
	return sdk.Errorf(sdk.CodeNotFound, "there is no token %.80q", id)
}

// Shared reports whether other runtimes may use the same database.
func (r *Runtime) Shared() bool { return r.store.Shared() }

// Kind describes a kind that some plugin handles, or handled while it was loaded.
func (r *Runtime) Kind(name string) (sdk.HandlerInfo, bool) {
	if _, k := r.registry.lookup(name); k != nil {
		return k.HandlerInfo, true
	}
	return sdk.HandlerInfo{}, false
}
