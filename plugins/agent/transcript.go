package main

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// extend adds what was said between the transcript's end and the message base.
func (p *transcript) extend(ctx context.Context, host sdk.Host, session string, base int) error {
	list, err := loadMessages(ctx, host, session, p.upTo, base)
	if err != nil {
		return err
	}
	p.add(dialogue(list)) // it begins with a turn: calls are together with their results
	p.upTo = base - 1
	return nil
}

// transcripts are those of the sessions that were spoken in lately. It is safe for
// concurrent use.
type transcripts struct {
	mu   sync.Mutex
	kept map[string]*transcript // by session
}

// What is kept at most.
const (
	maxTranscripts     = 16
	maxTranscriptBytes = 4 << 20 // together
	transcriptAge      = 10 * time.Minute
)

// take returns the transcript of a session up to a message, or an empty one. Nobody
// else has it until it is kept again.
func (k *transcripts) take(s *session, base int) *transcript {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.kept[s.ID]
	delete(k.kept, s.ID)
	if p == nil || p.of != s.CreatedAt || p.after != s.SummaryUpTo || p.upTo >= base {
		p = &transcript{of: s.CreatedAt, after: s.SummaryUpTo, upTo: s.SummaryUpTo}
	}
	return p
}

// keep takes one back. The ones that were not used for the longest time go.
func (k *transcripts) keep(session string, p *transcript) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kept == nil {
		k.kept = map[string]*transcript{}
	}
	p.used = time.Now()
	k.kept[session] = p
	ids := slices.SortedFunc(maps.Keys(k.kept), func(a, b string) int { return k.kept[b].used.Compare(k.kept[a].used) })
	bytes := 0
	for i, id := range ids {
		if bytes += cap(k.kept[id].json); i >= maxTranscripts || bytes > maxTranscriptBytes || p.used.Sub(k.kept[id].used) > transcriptAge {
			delete(k.kept, id)
		}
	}
}

// forget drops that of a session, or all.
func (k *transcripts) forget(session string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.kept, session)
	if session == "" {
		k.kept = nil
	}
}
