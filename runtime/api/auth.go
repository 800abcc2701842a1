package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// guard knows the tokens: the admin's, which is a file, and those that were made with
// it, which are in the database.
type guard struct {
	rt       *runtime.Runtime
	rate     int
	admin    *identity
	adminSum [sha256.Size]byte

	mu     sync.Mutex
	tokens map[string]*identity // by id; nil before the first look
	looked time.Time
}

func newGuard(rt *runtime.Runtime, adminToken string, rate int) *guard {
	return &guard{
		rt: rt, rate: rate,
		admin:    &identity{id: tokenID(adminToken), name: "admin", scopes: []string{scopeAdmin}, limit: newBucket(rate)},
		adminSum: sha256.Sum256([]byte(adminToken)),
	}
}

// who returns the identity of a token. Comparing sums takes the same time however
// much of a guess is right, its length included.
func (g *guard) who(ctx context.Context, token string) (*identity, *sdk.Error) {
	if token == "" {
		return nil, noToken()
	}
	sum := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(sum[:], g.adminSum[:]) == 1 {
		return g.admin, nil
	}
	if !validToken(token) {
		return nil, badToken()
	}
	who, err := g.find(ctx, tokenID(token))
	if err != nil {
		return nil, sdk.Errorf(sdk.CodeUnavailable, "the tokens cannot be read at present; try again")
	}
	if who == nil || subtle.ConstantTimeCompare([]byte(hex.EncodeToString(sum[:])), []byte(who.sum)) != 1 {
		return nil, badToken()
	}
	if who.expired() {
		return nil, sdk.Errorf(sdk.CodeUnauthorized, "this token has expired; ask for another")
	}
	g.used(ctx, who)
	return who, nil
}

func badToken() *sdk.Error {
	return sdk.Errorf(sdk.CodeUnauthorized,
		"this token is not valid; the admin token is in the file %s of the server's data directory", TokenFile)
}

func noToken() *sdk.Error {
	return sdk.Errorf(sdk.CodeUnauthorized,
		"send a token: Authorization: Bearer <token>; the admin token is in the file %s of the server's data directory", TokenFile)
}

// bearer returns the token of the Authorization header; there says whether the
// header is there at all.
func bearer(r *http.Request) (token string, there bool) {
	h := r.Header.Get("Authorization")
	if h == "" {
		return "", false
	}
	scheme, token, _ := strings.Cut(h, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", true
	}
	return strings.TrimSpace(token), true
}

// authorize finds out who sends a plain HTTP request.
func (g *guard) authorize(r *http.Request) (*identity, *sdk.Error) {
	token, there := bearer(r)
	if !there {
		return nil, noToken()
	}
	return g.who(r.Context(), token)
}

// The subprotocols that a WebSocket client may offer.
const (
	subprotocol   = "nagatha.v1"
	bearerOffered = "nagatha.bearer."
)

// authorizeSocket does the same for an upgrade. No identity and no error means
// that the first request must be hello.
func (g *guard) authorizeSocket(r *http.Request) (*identity, *sdk.Error) {
	token, there := bearer(r)
	if !there {
		for _, offered := range websocket.Subprotocols(r) {
			if token, there = strings.CutPrefix(offered, bearerOffered); there {
				break
			}
		}
	}
	if !there {
		return nil, nil
	}
	return g.who(r.Context(), token)
}

// queryToken refuses a token in the query string, where proxies, histories and
// logs would keep it.
func queryToken(r *http.Request) *sdk.Error {
	if r.URL.RawQuery == "" {
		return nil
	}
	for name := range r.URL.Query() {
		switch strings.ToLower(name) {
		case "token", "access_token", "bearer", "authorization", "api_key":
			return sdk.Errorf(sdk.CodeInvalidRequest,
				"a token is not accepted in the query string; send it as Authorization: Bearer <token>, and replace the one that was sent, since it may be in a log")
		}
	}
	return nil
}
