package host

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// TestGuardQuota: a plugin that has filled what it may keep can only delete, by whichever
// operation it writes, until there is room again.
func TestGuardQuota(t *testing.T) {
	g, inner, _ := newGuard(t, Grant{Store: true})
	g.version.cfg.Limits.Store = 10_000
	holds := func(bytes int) { // as if time had passed
		inner.reply = fmt.Sprintf(`{"items":2,"bytes":%d}`, bytes)
		g.version.plugin.quota = quota{}
	}
	set := sdk.KVWrite{Set: &sdk.KVSet{Key: "k", Value: json.RawMessage(`"` + strings.Repeat("x", 1000) + `"`)}}
	del := sdk.KVWrite{Delete: &sdk.KVDelete{Key: "k"}}
	request := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		op      string
		request []byte
		writes  bool
	}{
		{sdk.OpKVSet, request(set.Set), true},
		{sdk.OpKVApply, request(sdk.KVApply{Writes: []sdk.KVWrite{del, set}}), true},
		{sdk.OpCommit, request(sdk.Transaction{Writes: []sdk.KVWrite{set}}), true},
		{sdk.OpKVApply, request(sdk.KVApply{Writes: []sdk.KVWrite{del}}), false},
		{sdk.OpCommit, request(sdk.Transaction{Writes: []sdk.KVWrite{del}}), false},
		{sdk.OpKVDelete, request(del.Delete), false},
		{sdk.OpKVClear, []byte(`{}`), false},
	} {
		for _, bytes := range []int{8_000, 9_000} {
			holds(bytes)
			inner.calls = nil
			_, err := g.Call(t.Context(), c.op, c.request)
			through := slices.Contains(inner.calls, c.op)
			if full := bytes == 9_000; full && c.writes {
				if code(err) != sdk.CodeLimitExceeded || !strings.Contains(err.Error(), "limits.store") || through {
					t.Errorf("%s: %v, got through: %v", c.op, err, through)
				}
			} else if err != nil || !through {
				t.Errorf("%s with %d bytes: %v, got through: %v", c.op, bytes, err, through)
			}
		}
	}
}

// TestQuotaCounts: what is there is counted at first, after an eighth of the limit and
// when it seems full, and then no more than a tenth of the time.
func TestQuotaCounts(t *testing.T) {
	var q quota
	counts, there := 0, int64(0)
	admit := func(n int64) error {
		return q.admit(n, 8000, func() (sdk.KVCountReply, error) {
			counts++
			return sdk.KVCountReply{Bytes: there}, nil
		})
	}
	for range 16 { // the same entry again and again
		if err := admit(250); err != nil {
			t.Fatal(err)
		}
	}
	if counts != 4 {
		t.Errorf("counted %d times", counts)
	}
	there = 7900
	q = quota{}
	counts = 0
	if err := admit(200); code(err) != sdk.CodeLimitExceeded || counts != 1 {
		t.Errorf("%v, counted %d times", err, counts)
	}
	q.again = time.Now().Add(time.Hour)
	there = 0
	if err := admit(200); code(err) != sdk.CodeLimitExceeded || counts != 1 {
		t.Errorf("%v, counted %d times", err, counts)
	}
	q.again = time.Now().Add(-time.Hour)
	if err := admit(200); err != nil || counts != 2 {
		t.Errorf("%v, counted %d times", err, counts)
	}
	if err := q.admit(1<<40, 0, nil); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}
