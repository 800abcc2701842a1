// Package carriers tests the usage plugin on both carriers. It is apart because the
// race detector makes wazero's compiler too slow.
package carriers

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/process"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

func TestMain(m *testing.M) {
	process.Supervise()
	os.Exit(m.Run())
}

func TestBothCarriers(t *testing.T) {
	sdktest.Carriers(t, "github.com/nagatha/nagatha-runtime/plugins/usage", sdktest.Options{Config: json.RawMessage(`{"zone":"Europe/Berlin","budgets":{"day":1}}`), Instances: 3},
		func(t *testing.T, p sdktest.Plugin) {
			sdktest.Conformance(t, p)
			host := sdktest.NewHost()
			for _, h := range p.Info().Handlers { // every example works
				if _, err := p.Run(t, h.Kind, string(h.Example), host); err != nil {
					t.Errorf("%s %s: %v", h.Kind, h.Example, err)
				}
			}
			// Twenty calls, told of twice by callers that all change the same totals.
			var wg sync.WaitGroup
			for i := range 40 {
				wg.Go(func() {
					task := sdktest.Task("usage.record", fmt.Sprintf(`{"id":"c%d","time":"2026-09-01T22:30:00Z","model":"gpt-5","input_tokens":1000,"output_tokens":0}`, i%20))
					task.ID = fmt.Sprint("tsk_", i)
					if _, err := p.Handle(t.Context(), task, host); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			got, err := p.Run(t, "usage.report", `{"from":"2026-09-01","to":"2026-09-02"}`, host)
			if err != nil || !strings.Contains(got, `"total":{"cached_tokens":0,"cost_micro_usd":25000,"cost_usd":0.025,"input_tokens":20000,"output_tokens":0,"requests":20,`) ||
				!strings.Contains(got, `"day":"2026-09-02"`) { // in Berlin
				t.Errorf("report: %s, %v", got, err)
			}
			_, err = p.Run(t, "usage.reserve", `{"id":"x","model":"gpt-5","input_tokens":700000,"output_tokens":1}`, host)
			if err != nil {
				t.Errorf("within the budget: %v", err)
			}
			_, err = p.Run(t, "usage.reserve", `{"id":"y","model":"gpt-5","input_tokens":200000,"output_tokens":1}`, host)
			if e := sdk.AsError(err); e == nil || e.Code != sdk.CodeBudgetExceeded || e.Retryable {
				t.Errorf("over the budget: %v", err)
			}
		})
}
