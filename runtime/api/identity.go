package api

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// identity is who a token belongs to. Its name scopes idempotency keys and is the
// owner of its tasks.
type identity struct {
	id, name string
	sum      string // of the token, as it is stored; empty for the admin's
	scopes   []string
	expires  sdk.Time // 0: never
	limit    *bucket

	mu   sync.Mutex
	kept runtime.AccessToken // as it is stored; empty for the admin's
	live map[int]func(code int, reason string)
	last int
	over *ending // why it is good no more
}

// may reports whether one of the identity's scopes is among those that are wanted;
// the scope admin is all of them.
func (who *identity) may(wanted ...string) bool {
	return slices.ContainsFunc(who.scopes, func(s string) bool { return s == scopeAdmin || slices.Contains(wanted, s) })
}

// maySubmit reports whether it may submit tasks of a kind.
func (who *identity) maySubmit(kind string, readOnly bool) bool {
	plugin, _, _ := strings.Cut(kind, ".")
	wanted := []string{scopeSubmit, plugin + ":write"}
	if readOnly {
		wanted = append(wanted, plugin+":read")
	}
	if plugin == "agent" {
		wanted = append(wanted, scopeChat)
	}
	return who.may(wanted...)
}

// attach has end called when the token is revoked or expires, while something lives
// that it opened; detach ends that.
func (who *identity) attach(end func(code int, reason string)) (detach func()) {
	who.mu.Lock()
	defer who.mu.Unlock()
	if who.over != nil {
		go end(who.over.code, who.over.reason)
		return func() {}
	}
	if who.live == nil {
		who.live = map[int]func(int, string){}
	}
	who.last++
	n := who.last
	who.live[n] = end
	stop := func() bool { return true }
	if who.expires != 0 {
		stop = time.AfterFunc(time.Until(who.expires.Time()), func() { end(closeExpired, "the token has expired") }).Stop
	}
	return func() {
		stop()
		who.mu.Lock()
		defer who.mu.Unlock()
		delete(who.live, n)
	}
}

// revoke ends everything that the token opened.
func (who *identity) revoke() {
	who.mu.Lock()
	who.over = &ending{closeBadToken, "the token was revoked"}
	live := who.live
	who.live = nil
	who.mu.Unlock()
	for _, end := range live {
		end(closeBadToken, "the token was revoked")
	}
}

func (who *identity) idle() bool {
	who.mu.Lock()
	defer who.mu.Unlock()
	return len(who.live) == 0
}

// expired reports whether the token's time is over.
func (who *identity) expired() bool { return who.expires != 0 && sdk.Now() >= who.expires }
