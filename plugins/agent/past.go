package main

import (
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// transcript is what was said in a session before a turn, as the model's server is
// told it. It only grows, and each message is encoded once.
//
// # Why
//
// A conversation is sent whole at every call of the model, but of its bytes only the
// last turn's are new. Those before stay as JSON in the plugin's memory, so that a turn
// reads from the store what the turn before it added, and no more. The store stays the
// truth: a transcript that another copy of the plugin holds, or nobody does, is read
// again. What was said before a turn that has begun does not change any more, until the
// session is deleted: a turn that is taken again begins where it began.
type transcript struct {
	of    sdk.Time // when the session was made
	after int      // the summary's last message: the transcript begins behind it
	upTo  int      // number of the last message
	used  time.Time

	fresh []Message // not encoded yet
	said
	messages int
	size     int // of what becomes tokens
}

// add adds messages that do not change any more.
func (p *transcript) add(list []Message) {
	for i := range list {
		p.size += messageBytes(&list[i])
	}
	p.messages += len(list)
	p.fresh = append(p.fresh, list...)
}

// encode encodes what is new. A plugin has one format.
func (p *transcript) encode(f wireFormat) error {
	for i := range p.fresh {
		if err := f.add(&p.said, &p.fresh[i]); err != nil {
			return err
		}
	}
	p.fresh = nil
	return nil
}
