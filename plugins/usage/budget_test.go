package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

func TestBudgets(t *testing.T) {
	b := setup(t, `{"budgets":{"session":0.01},"prices":{"p/*":{"input":1,"output":1}}}`)
	reserve := func(id, session string, input int) string {
		return fmt.Sprintf(`{"id":%q,"model":"m","provider":"p","session":%q,"input_tokens":%d,"output_tokens":0}`, id, session, input)
	}
	b.want(b.run("reserve", reserve("a", "s", 6000)), "reserved_usd", 0.006)
	b.want(b.run("reserve", reserve("a", "s", 6000)), "reserved_usd", 0.006) // the same one
	b.want(b.run("budget", `{"session":"s"}`), "session.reserved_usd", 0.006, "session.left_usd", 0.004, "day.reserved_usd", 0.006, "day.budget_usd", nil, "every_session_usd", 0.01)
	b.refused(sdk.CodeBudgetExceeded, "reserve", reserve("b", "s", 4001))
	b.want(b.run("reserve", reserve("b", "s", 4000)), "reserved_usd", 0.004) // exactly
	b.want(b.run("reserve", reserve("c", "other", 10000)), "reserved_usd", 0.01)
	b.want(b.run("release", `{"id":"b"}`), "released", true)
	b.want(b.run("release", `{"id":"b"}`), "released", false)
	// Settled: what it really cost counts, and the reservation is gone.
	b.run("record", `{"id":"r1","model":"m","provider":"p","session":"s","input_tokens":7000,"output_tokens":0,"reservation":"a"}`)
	b.want(b.run("budget", `{"session":"s"}`), "session.spent_usd", 0.007, "session.reserved_usd", 0, "session.left_usd", 0.003, "day.spent_usd", 0.007, "day.reserved_usd", 0.01)
	b.refused(sdk.CodeBudgetExceeded, "reserve", reserve("d", "s", 3001))
	// What is set by hand comes before config.hcl, the one session before all.
	b.want(b.run("set_budget", `{"scope":"session","usd":0.008}`), "session", nil, "every_session_usd", 0.008)
	b.refused(sdk.CodeBudgetExceeded, "reserve", reserve("d", "s", 1001))
	b.want(b.run("set_budget", `{"scope":"session","session":"s","usd":5}`), "session.budget_usd", 5)
	b.run("reserve", reserve("d", "s", 100000))
	b.want(b.run("set_budget", `{"scope":"session","session":"s","usd":null}`), "session.budget_usd", 0.008, "session.left_usd", 0)
	b.want(b.run("set_budget", `{"scope":"day","usd":0.12}`), "day.budget_usd", 0.12, "day.spent_usd", 0.007, "day.reserved_usd", 0.11)
	_, err := b.try("reserve", reserve("e", "third", 4000))
	if e := sdk.AsError(err); e.Code != sdk.CodeBudgetExceeded || e.Retryable || !strings.Contains(e.Message, "$0.12") || !strings.Contains(e.Message, "usage.set_budget") {
		t.Errorf("over the day's budget: %+v", e)
	}
	b.run("reserve", reserve("e", "third", 3000))
	// A model without a price cannot be reserved for, and is not refused for its price.
	b.want(b.run("reserve", `{"id":"f","model":"unknown","provider":"local","input_tokens":1,"output_tokens":1}`), "reserved_usd", nil)
	b.run("set_budget", `{"scope":"day","usd":0.001}`)
	b.refused(sdk.CodeBudgetExceeded, "reserve", `{"id":"g","model":"unknown","provider":"local","input_tokens":1,"output_tokens":1}`)
	b.refused(sdk.CodeInvalid, "set_budget", `{"scope":"day","session":"s","usd":1}`)
	b.consistent()
}

func TestReservationsExpire(t *testing.T) {
	b := setup(t, `{"budgets":{"day":0.01},"prices":{"p/*":{"input":1,"output":1}}}`)
	one := `{"id":"a","model":"m","provider":"p","session":"s","input_tokens":10000,"output_tokens":0,"ttl":"1s"}`
	b.run("reserve", one)
	b.refused(sdk.CodeBudgetExceeded, "reserve", strings.Replace(one, `"a"`, `"b"`, 1))
	// A second later, by the stored times.
	h := b.host.(*sdktest.Host)
	for key, it := range h.Items {
		var s spent
		if strings.HasPrefix(key, spentKeys) && json.Unmarshal(it.Value, &s) == nil {
			for id := range s.Holds {
				s.Holds[id] = reserved{s.Holds[id].Cost, sdk.Now()}
			}
			it.Value, _ = json.Marshal(s)
			h.Items[key] = it
		}
	}
	b.want(b.run("budget", `{"session":"s"}`), "day.reserved_usd", 0, "session.reserved_usd", 0)
	b.want(b.run("reserve", strings.Replace(one, `"a"`, `"b"`, 1)), "reserved_usd", 0.01)
}

// TestReservationOfYesterday: a call that is recorded after midnight ends the
// reservation of the day before, and costs its own day.
func TestReservationOfYesterday(t *testing.T) {
	b := setup(t, `{"prices":{"p/*":{"input":1,"output":1}}}`)
	b.run("reserve", `{"id":"a","model":"m","provider":"p","session":"s","input_tokens":1000,"output_tokens":0}`)
	today := time.Now().UTC().Format(time.DateOnly)
	b.run("record", `{"id":"a","time":"2026-01-02T00:00:01Z","model":"m","provider":"p","session":"s","input_tokens":900,"output_tokens":0,"reservation":"a"}`)
	b.want(b.run("budget", `{"session":"s"}`), "date", today, "day.reserved_usd", 0, "day.spent_usd", 0, "session.spent_usd", 0.0009, "session.reserved_usd", 0)
	b.want(b.run("release", `{"id":"a"}`), "released", false)
	b.consistent()
}
