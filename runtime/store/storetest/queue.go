package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func ids(claimed []runtime.Claimed) []string {
	var out []string
	for _, c := range claimed {
		out = append(out, c.Task.ID)
	}
	return out
}

func testOrder(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	base := sdk.Now()
	var want []string
	// Priorities across two kinds; within a priority, who is due first, then who
	// came first.
	for i, prio := range []int{0, 5, -5, 5, 0, 100} {
		n := f.newTask([]string{"a.a", "a.b"}[i%2])
		n.Task.Priority, n.Task.RunAt = prio, base
		f.submit(n)
	}
	early := f.newTask("a.b")
	early.Task.RunAt = base - 1000
	f.submit(early)
	for _, i := range []int{6, 2, 4, 7, 1, 5, 3} {
		want = append(want, fmt.Sprintf("tsk_%06d", i))
	}
	var got []string
	for range 4 { // two at a time: strict order must hold across claims
		got = append(got, ids(f.claim(2, "a.a", "a.b"))...)
	}
	if !slices.Equal(got, want) {
		t.Errorf("claimed %v\n   want %v", got, want)
	}
}

// testTurns: a flood of one kind does not hold back the others of its priority, even
// where one task runs at a time.
func testTurns(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	submit := func(kind string, n int) {
		for range n {
			f.submit(f.newTask(kind))
		}
	}
	claim := func(n int) string {
		var got []byte
		for range n {
			c := f.claim(1, "a.a", "a.b", "a.c")
			if len(c) != 1 {
				t.Fatalf("claimed %d", len(c))
			}
			got = append(got, c[0].Task.Kind[2])
		}
		return string(got)
	}
	submit("a.a", 20)
	submit("a.b", 2)
	if got := claim(6); got != "ababaa" {
		t.Errorf("claimed %s", got)
	}
	// Who comes late is not owed what the others had meanwhile.
	submit("a.c", 10)
	submit("a.b", 10)
	if got := claim(9); strings.Count(got, "a") != 3 || strings.Count(got, "b") != 3 || strings.Count(got, "c") != 3 {
		t.Errorf("claimed %s", got)
	}
	first := f.newTask("a.a")
	first.Task.Priority = 1
	f.submit(first)
	if got := f.claim(1, "a.a", "a.b", "a.c"); ids(got)[0] != first.Task.ID {
		t.Errorf("claimed %v before a higher priority", ids(got))
	}
	if got := f.claim(12, "a.a", "a.b", "a.c"); len(got) != 12 || got[0].Task.Kind == got[1].Task.Kind {
		t.Errorf("claimed %v", ids(got))
	}
}

func testLimits(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	for range 10 {
		for _, kind := range []string{"a.a", "a.b", "x.x", "not.named"} {
			f.submit(f.newTask(kind))
		}
		n := f.newTask("a.a")
		n.Task.Queue = "slow"
		f.submit(n)
	}
	req := runtime.ClaimRequest{Node: "n1", Plugins: map[string]int{"p": 5}, Lanes: []runtime.Lane{
		{Queue: "default", Limit: 8, Kinds: []runtime.KindSlots{
			{Kind: "a.a", Limit: 2, Plugin: "p"}, {Kind: "a.b", Limit: 100, Plugin: "p"}, {Kind: "x.x", Limit: 4, Plugin: "q"}}},
		{Queue: "slow", Limit: 3, Kinds: []runtime.KindSlots{{Kind: "a.a", Limit: 2, Plugin: "p"}}},
	}}
	got, err := f.Store.Claim(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, c := range got {
		count[c.Task.Kind]++
		count[c.Task.Queue]++
		count[c.Task.Plugin]++
	}
	if count["a.a"] != 2 || count["p"] > 5 || count["x.x"] > 4 || count["default"] != 8 || count["not.named"] != 0 || count["slow"] > 3 {
		t.Errorf("claimed %v", count)
	}
	if got := f.claim(100, "no.such"); len(got) != 0 {
		t.Errorf("claimed %d of a kind that there is none of", len(got))
	}
}

func testIdempotency(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	keyed := func(owner, key, hash string) runtime.NewTask {
		n := f.newTask("a.b")
		n.Task.Owner, n.IdempotencyKey, n.BodyHash = owner, key, hash
		return n
	}
	out := f.submit(keyed("o", "k", "h"), keyed("o", "k", "h"), keyed("o", "k", "other"), keyed("o2", "k", "h"), keyed("o", "k2", "h"))
	first := out[0].Task.ID
	if out[0].Duplicate || !out[1].Duplicate || out[1].Task.ID != first || out[2].Err == nil || out[2].Err.Code != sdk.CodeConflict ||
		out[3].Duplicate || out[3].Task.ID == first || out[4].Duplicate {
		t.Errorf("in one set: %+v", out)
	}
	if out[2].Err.Fields[0].Field != "idempotency_key" {
		t.Errorf("the conflict names %+v", out[2].Err.Fields)
	}
	f.mustFinish(end(f.claimOne("a.b"), sdk.StateCompleted))
	again := f.submit(keyed("o", "k", "h"), keyed("o", "k", "other"), f.newTask("a.b"))
	if !again[0].Duplicate || again[0].Task.ID != first || again[0].Task.State != sdk.StateCompleted ||
		again[1].Err == nil || again[1].Err.Code != sdk.CodeConflict || again[2].Err != nil {
		t.Errorf("later: %+v", again)
	}
	// What is wrong with one is not wrong with the next: its key is another's, or nobody's.
	refused := keyed("o", "free", "h")
	refused.After = []string{"tsk_none"}
	mixed := f.submit(keyed("o", "k", "other"), keyed("o", "k", "h"), refused, refused, keyed("o", "free", "other"), keyed("o", "free", "third"))
	if mixed[0].Err == nil || mixed[0].Err.Code != sdk.CodeConflict || mixed[1].Err != nil || mixed[1].Task.ID != first || !mixed[1].Duplicate {
		t.Errorf("after one with another body: %+v", mixed[:2])
	}
	for i, want := range []string{sdk.CodeInvalid, sdk.CodeInvalid, "", sdk.CodeConflict} {
		if err := mixed[i+2].Err; want == "" && (err != nil || mixed[i+2].Duplicate) || want != "" && (err == nil || err.Code != want) {
			t.Errorf("after one that was refused, %d: %+v", i, mixed[i+2])
		}
	}
	page, err := f.Store.Tasks(t.Context(), runtime.TaskFilter{Limit: 100})
	if err != nil || len(page.Tasks) != 5 {
		t.Errorf("%d tasks, %v", len(page.Tasks), err)
	}
}

func testDelivery(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	marked := func(mark string) runtime.NewTask {
		n := f.newTask("a.b")
		n.Delivery, n.Hops, n.TraceParent = mark, 3, "00-trace"
		return n
	}
	out := f.submit(marked("m"), marked("m"), marked("n"))
	if out[0].Duplicate || !out[1].Duplicate || out[2].Duplicate {
		t.Errorf("in one set: %+v", out)
	}
	if again := f.submit(marked("m")); !again[0].Duplicate || again[0].Task.ID != out[0].Task.ID {
		t.Errorf("later: %+v", again)
	}
	got := f.claim(10, "a.b")
	if len(got) != 2 || got[0].Hops != 3 || got[0].TraceParent != "00-trace" {
		t.Errorf("claimed %+v", got)
	}
}

func testList(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	for i := range 25 {
		n := f.newTask([]string{"mcp.a", "mcp.b", "demo.x"}[i%3])
		n.Task.Labels = map[string]string{"i": fmt.Sprint(i % 5), "odd_100%": "x"}
		if i == 7 {
			n.Task.Labels["said"] = `ÄRGER "<1>"`
		}
		if i%2 == 0 {
			n.Task.Queue = "slow"
		}
		f.submit(n)
	}
	count := func(filter runtime.TaskFilter) int {
		t.Helper()
		filter.Limit = 7
		seen := map[string]bool{}
		for {
			page, err := f.Store.Tasks(t.Context(), filter)
			if err != nil {
				t.Fatal(err)
			}
			last := ""
			for _, k := range page.Tasks {
				if seen[k.ID] || last != "" && k.ID >= last {
					t.Fatalf("%s comes twice, or out of order", k.ID)
				}
				seen[k.ID], last = true, k.ID
			}
			if filter.Cursor = page.Next; page.Next == "" {
				return len(seen)
			}
		}
	}
	for name, c := range map[string]struct {
		filter runtime.TaskFilter
		want   int
	}{
		"all":         {runtime.TaskFilter{}, 25},
		"kind":        {runtime.TaskFilter{Kinds: []string{"mcp.a"}}, 9},
		"kinds":       {runtime.TaskFilter{Kinds: []string{"mcp.*"}}, 17},
		"two kinds":   {runtime.TaskFilter{Kinds: []string{"mcp.a", "demo.*"}}, 17},
		"queue":       {runtime.TaskFilter{Queue: "slow"}, 13},
		"label":       {runtime.TaskFilter{Labels: []string{"i=0"}}, 5},
		"labels":      {runtime.TaskFilter{Labels: []string{"i=0", "odd_100%=x"}}, 5},
		"other label": {runtime.TaskFilter{Labels: []string{"i=9"}}, 0},
		"state":       {runtime.TaskFilter{States: []sdk.State{sdk.StateQueued, sdk.StateFailed}}, 25},
		"no state":    {runtime.TaskFilter{States: []sdk.State{sdk.StateFailed}}, 0},
		"query":       {runtime.TaskFilter{Query: "mcp.b"}, 8},
		"query id":    {runtime.TaskFilter{Query: "000007"}, 1},
		"query label": {runtime.TaskFilter{Query: `ÄRGER "<1>"`}, 1},
		"query case":  {runtime.TaskFilter{Query: `rger "<1>"`}, 1},
		"wildcard":    {runtime.TaskFilter{Query: "%mcp%"}, 0},
		"wildcard _":  {runtime.TaskFilter{Query: "mcp_b"}, 0},
		"wild kind":   {runtime.TaskFilter{Kinds: []string{"%*"}}, 0},
		"injection":   {runtime.TaskFilter{Queue: "' OR 1=1 --"}, 0},
		"combination": {runtime.TaskFilter{Kinds: []string{"mcp.*"}, Queue: "slow", Labels: []string{"i=0"}}, 2},
	} {
		if got := count(c.filter); got != c.want {
			t.Errorf("%s: %d tasks, want %d", name, got, c.want)
		}
	}
	if _, err := f.Store.Tasks(t.Context(), runtime.TaskFilter{Limit: 1, Cursor: "nonsense"}); sdk.CodeOf(err) != sdk.CodeBadCursor {
		t.Errorf("a bad cursor: %v", err)
	}
	counts, err := f.Store.Counts(t.Context())
	if err != nil || counts[sdk.StateQueued] != 25 {
		t.Errorf("counts %v, %v", counts, err)
	}
}
