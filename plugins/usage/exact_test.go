package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// consistent checks that every total is the sum of the records.
func (b *bench) consistent() {
	b.Helper()
	consistent(b.T, b.host)
}

func consistent(t *testing.T, host sdk.Host) (records int) {
	t.Helper()
	want, got := map[string]totals{}, map[string]totals{}
	money := map[string]int64{}
	u := newUsage()
	err := each(t.Context(), host, recordKeys, "", func(_ string, value json.RawMessage) error {
		var r record
		if err := json.Unmarshal(value, &r); err != nil {
			return err
		}
		records++
		for _, key := range r.cells() {
			sum := want[key]
			sum.add(r)
			want[key] = sum
		}
		if r.Cost != nil {
			for _, s := range u.scopes(r.Day, r.Session) {
				money[s.key()] += *r.Cost
			}
		}
		return nil
	})
	cell := func(key string, value json.RawMessage) error {
		var a cell
		err := json.Unmarshal(value, &a)
		got[key] = a.totals
		return err
	}
	err = errors.Join(err, each(t.Context(), host, cellKeys, "", cell), each(t.Context(), host, wholeKeys, "", cell), each(t.Context(), host, spentKeys, "", func(key string, value json.RawMessage) error {
		var s spent
		if err := json.Unmarshal(value, &s); err != nil {
			return err
		}
		if s.Cost != money[key] {
			t.Errorf("%s has spent %d, its records %d", key, s.Cost, money[key])
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	for key := range want {
		if want[key] != got[key] {
			t.Errorf("%s is %+v, its records %+v", key, got[key], want[key])
		}
	}
	if len(want) != len(got) {
		t.Errorf("%d cells, the records have %d", len(got), len(want))
	}
	return records
}

// faulty is a host whose operations now and then fail: before they are done, or after,
// when the caller cannot know.
type faulty struct {
	sdk.Host
	mu   sync.Mutex
	rng  *rand.Rand
	rate int // one in so many
}

var errFault = sdk.Errorf(sdk.CodeUnavailable, "injected")

func (f *faulty) Call(ctx context.Context, op string, request []byte) ([]byte, error) {
	f.mu.Lock()
	dice := f.rng.IntN(2 * f.rate)
	f.mu.Unlock()
	if dice == 0 {
		return nil, errFault
	}
	reply, err := f.Host.Call(ctx, op, request)
	if dice == 1 {
		return nil, errFault
	}
	return reply, err
}

// TestTotalsAreTheSumsOfTheRecords has several instances record at once, the same
// calls more than once, reserving, resetting and pricing meanwhile, on a store that fails.
func TestTotalsAreTheSumsOfTheRecords(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			const instances, callers, calls = 3, 6, 25
			store := sdktest.NewHost()
			host := &faulty{Host: store, rng: rand.New(rand.NewPCG(seed, 1)), rate: 40}
			var wg sync.WaitGroup
			for i := range instances {
				p := plugin()
				config := `{"prices":{"local/*":{"input":0.3,"output":0.7}}}`
				if i == 0 { // knows prices that the others do not, and can add them later
					config = `{"prices":{"local/*":{"input":0.3,"output":0.7},"*/unknown":{"input":0.1,"output":0.9}}}`
				}
				if err := p.(sdk.Configurer).Configure(t.Context(), json.RawMessage(config)); err != nil {
					t.Fatal(err)
				}
				for c := range callers {
					wg.Go(func() {
						rng := rand.New(rand.NewPCG(seed, uint64(100+i*callers+c)))
						again := func(kind, payload string) {
							for range 1000 { // as the runtime does
								if _, err := handle(t.Context(), p, host, kind, payload); err == nil {
									return
								} else if !sdk.AsError(err).Retryable {
									t.Errorf("%s %s: %v", kind, payload, err)
									return
								}
							}
							t.Errorf("%s %s: never", kind, payload)
						}
						for n := range calls {
							id := fmt.Sprintf("call-%d-%d", c, n) // each instance records the same ones
							shared := rand.New(rand.NewPCG(seed, uint64(c*1000+n)))
							body := fmt.Sprintf(`"model":%q,"provider":%q,"session":%q,"input_tokens":%d,"output_tokens":%d`,
								[]string{"gpt-5", "m", "unknown"}[shared.IntN(3)], []string{"openai", "local", "none"}[shared.IntN(3)],
								[]string{"", "s1", "s2"}[shared.IntN(3)], shared.IntN(5000), shared.IntN(500))
							reserved := rng.IntN(2) == 0
							if reserved {
								again("reserve", `{"id":"`+id+`",`+body+`}`)
							}
							if rng.IntN(4) == 0 {
								again("release", `{"id":"`+id+`"}`)
							}
							again("record", fmt.Sprintf(`{"id":%q,"time":"2026-09-0%dT12:00:00Z","kind":"agent.chat","reservation":%q,%s}`, id, 1+n%3, id, body))
							if rng.IntN(30) == 0 { // once, as far as it comes
								_, err := handle(t.Context(), p, host, "recompute", `{}`)
								if err != nil && !errors.Is(err, errFault) {
									t.Error(err)
								}
							}
							if rng.IntN(60) == 0 {
								again("reset", `{}`)
							}
						}
					})
				}
			}
			wg.Wait()
			if n := consistent(t, store); n != callers*calls {
				t.Errorf("%d records, want %d", n, callers*calls)
			}
		})
	}
}

// Nothing is lost where the old tracker, which read, changed and
// wrote a whole file, lost updates; and no attempt fails because of the others.
func TestUpstreamLostUpdates(t *testing.T) {
	store := sdktest.NewHost()
	instances := []sdk.Plugin{plugin(), plugin(), plugin(), plugin()}
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			payload := fmt.Sprintf(`{"id":"r%d","time":"2026-09-01T12:00:00Z","model":"gpt-5","provider":"openai","session":"s","input_tokens":%d,"output_tokens":1}`, i, i)
			if _, err := handle(t.Context(), instances[i%4], store, "record", payload); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b := &bench{T: t, Plugin: instances[0], host: store}
	want := int64(0) // each costs i·1.25 + 10, rounded up from the half
	for i := range int64(1000) {
		want += (i*125 + 1000 + 50) / 100
	}
	b.want(b.run("report", `{}`), "total.requests", 1000, "total.cost_micro_usd", int(want), "total.input_tokens", 499500)
	if n := consistent(t, store); n != 1000 {
		t.Errorf("%d records", n)
	}
}
