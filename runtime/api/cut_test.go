package api_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// TestCutWhileBusy: connections that are cut while tasks run do not stop the store,
// whose writer wakes what they are about to close.
func TestCutWhileBusy(t *testing.T) {
	w := start(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*patience) // 30,000 subscriptions take a busy machine long
	defer cancel()
	submit := func() error {
		_, err := w.rt.Submit(ctx, "", []sdk.Submission{{Kind: "bench.emit", Payload: []byte(`{"n":3}`)}})
		return err
	}
	over := make(chan struct{})
	var submits, cuts sync.WaitGroup
	for range 4 {
		submits.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if err := submit(); err != nil {
					t.Errorf("the store stands still: %v", err)
					return
				}
			}
		})
	}
	cut := func() error {
		ws, _, err := w.dialRaw(&websocket.DialOptions{HTTPHeader: bearer()})
		if err != nil {
			return err
		}
		defer func() { _ = ws.CloseNow() }()
		const subscriptions = 100
		for i := range subscriptions {
			text := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"subscribe","params":{"topics":["kind.>"]}}`, i)
			if err := ws.Write(ctx, websocket.MessageText, text); err != nil {
				return err
			}
		}
		for range subscriptions { // as many messages as that: replies, or events
			if _, _, err := ws.Read(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	for range 3 {
		cuts.Go(func() {
			for range 100 {
				if err := cut(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	cuts.Wait()
	close(over)
	submits.Wait()
}
