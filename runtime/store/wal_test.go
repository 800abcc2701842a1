package store

import (
	"database/sql"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/runtime"
)

// A reader of the past, such as a backup, makes the WAL long; it does not stay so.
func TestWALGivesRoomBack(t *testing.T) {
	s := openIn(t, Config{})
	n := 0
	write := func(count, size int) {
		t.Helper()
		var set []runtime.NewTask
		for range count {
			n++
			task := newTask(fmt.Sprintf("tsk_%d", n))
			task.Task.Payload = []byte(`"` + strings.Repeat("x", size) + `"`)
			set = append(set, task)
		}
		if _, err := s.Submit(t.Context(), set); err != nil {
			t.Fatal(err)
		}
	}
	length := func() int64 {
		info, err := os.Stat(s.cfg.Path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	write(1, 10)
	db, err := sql.Open("sqlite3", dsn(s.cfg.Path, "mode=ro"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	past, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var count int
	if err := past.QueryRow(`SELECT count(*) FROM tasks`).Scan(&count); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		write(32, 256<<10)
	}
	if got := length(); got <= maxWAL {
		t.Fatalf("the WAL has %d bytes while somebody reads; the test writes too little", got)
	}
	if err := past.Rollback(); err != nil {
		t.Fatal(err)
	}
	write(1, 10) // a checkpoint of everything
	write(1, 10) // the WAL begins again
	if got := length(); got > maxWAL {
		t.Errorf("the WAL keeps %d bytes", got)
	}
}
