package store

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// What few tasks have is found in an index, however many others there are.
func TestListPlans(t *testing.T) {
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "nagatha.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for index, f := range map[string]runtime.TaskFilter{
		"tasks_parent":  {Parent: "tsk_1"},
		"tasks_of":      {Schedule: "sch_1"},
		"tasks_failed":  {States: []sdk.State{sdk.StateFailed}},
		"tasks_later":   {States: []sdk.State{sdk.StateWaiting}},
		"tasks_running": {States: []sdk.State{sdk.StateRunning}},
		"tasks_kind":    {Kinds: []string{"a.b"}},
	} {
		w, err := s.where(f)
		if err != nil {
			t.Fatal(err)
		}
		if plan := explain(t, s, `SELECT id FROM tasks`+w.text()+` ORDER BY id DESC LIMIT 50`, w.args...); !strings.Contains(plan, " "+index+" ") && !strings.HasSuffix(plan, " "+index) {
			t.Errorf("%+v by %s, and not %s", f, plan, index)
		}
	}
}

func explain(t *testing.T, s *Store, text string, args ...any) string {
	t.Helper()
	var plan []string
	err := s.read(t.Context(), `EXPLAIN QUERY PLAN `+text, func(r Row) error {
		var id, parent, unused int
		var detail string
		err := r.Scan(&id, &parent, &unused, &detail)
		plan = append(plan, detail)
		return err
	}, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(plan, "; ")
}
