package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	gort "runtime"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/runtime/store/storetest"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("TEST_SUBMITTER"); path != "" {
		submitUntilKilled(path)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		storetest.StopPostgres()
		os.Exit(code)
	}))
}

func openIn(t *testing.T, cfg Config) *Store {
	t.Helper()
	if cfg.Path == "" && cfg.URL == "" {
		cfg.Path = filepath.Join(t.TempDir(), "nagatha.db")
	}
	s, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newTask(id string) runtime.NewTask {
	now := sdk.Now()
	return runtime.NewTask{Task: sdk.Task{ID: id, Kind: "demo.echo", Queue: "default", State: sdk.StateQueued,
		Payload: []byte(`"` + strings.Repeat("x", 1000) + `"`), MaxAttempts: 5, Timeout: 60e9, CreatedAt: now, RunAt: now}}
}

// submitOne stores one task and returns its own error or the set's.
func submitOne(ctx context.Context, s *Store, id string) error {
	_, err := s.Submit(ctx, []runtime.NewTask{newTask(id)})
	return err
}

// TestOpenRefuses: what keeps a database from being opened is said in words, and
// the database is as it was.
func TestOpenRefuses(t *testing.T) {
	t.Run("in use", func(t *testing.T) {
		s := openIn(t, Config{})
		if _, err := Open(t.Context(), Config{Path: s.cfg.Path}); err == nil || !strings.Contains(err.Error(), "another runtime is using") {
			t.Errorf("got %v", err)
		}
		if err := submitOne(t.Context(), s, "tsk_1"); err != nil {
			t.Errorf("the first runtime: %v", err)
		}
	})
	t.Run("in use by one that ends", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "nagatha.db")
		f, err := lockFile(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(patience/20, func() { _ = f.Close() })
		next, err := lockFile(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		_ = next.Close()
	})
	t.Run("newer schema", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "nagatha.db")
		newer := fstest.MapFS{}
		for v := 1; v <= 2; v++ {
			newer[fmt.Sprintf("sqlite/%05d_x.sql", v)] = &fstest.MapFile{Data: []byte("-- +goose Up\nSELECT 1;\n")}
			s := openIn(t, Config{Path: path, Migrations: []Migrations{{"other", newer}}})
			_ = s.Close()
		}
		delete(newer, "sqlite/00002_x.sql")
		if _, err := Open(t.Context(), Config{Path: path, Migrations: []Migrations{{"other", newer}}}); err == nil ||
			!strings.Contains(err.Error(), "schema version 2, this program knows up to 1") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no database", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "nagatha.db")
		if err := os.WriteFile(path, []byte(strings.Repeat("this is a letter\n", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), Config{Path: path}); err == nil || !strings.Contains(err.Error(), "not a database") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no directory", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), Config{Path: filepath.Join(file, "nagatha.db")}); err == nil || !strings.Contains(err.Error(), "data_dir") {
			t.Errorf("got %v", err)
		}
	})
}

// TestOwnError: a request that cannot be carried out fails alone, whatever
// waits beside it.
func TestOwnError(t *testing.T) {
	bad := errors.New("a bad request")
	entered, leave := make(chan struct{}), make(chan struct{})
	s := openIn(t, Config{Verbs: map[string]func(Tx, []any) error{
		"hold": func(Tx, []any) error {
			close(entered)
			<-leave
			return nil
		},
		"test": func(_ Tx, set []any) error {
			for _, v := range set {
				if v == "bad" {
					return bad
				}
			}
			return nil
		},
	}})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Write(t.Context(), "hold", nil); err != nil {
			t.Error(err)
		}
	})
	<-entered // the rest waits, and becomes one set
	const n = 40
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			switch i {
			case 7, 23:
				errs[i] = s.Write(t.Context(), "test", "bad")
			case 8:
				errs[i] = s.Write(t.Context(), "test", "good")
			default:
				errs[i] = submitOne(t.Context(), s, fmt.Sprintf("tsk_%d", i))
			}
		})
	}
	for len(s.queue) < n { // every one of them waits
		gort.Gosched()
	}
	close(leave)
	wg.Wait()
	for i, err := range errs {
		if (i == 7 || i == 23) != (err != nil) {
			t.Errorf("request %d: %v", i, err)
		}
	}
	var stored int
	if err := s.Reader().QueryRow(`SELECT count(*) FROM tasks`).Scan(&stored); err != nil || stored != n-3 {
		t.Errorf("%d tasks stored, %v", stored, err)
	}
	if err := s.Write(t.Context(), "nobody", nil); err == nil {
		t.Error("an unknown verb passed")
	}
}

// TestFull: when the disk is full nothing is half written, the error is typed, and
// work goes on once there is room.
func TestFull(t *testing.T) {
	s := openIn(t, Config{})
	if err := submitOne(t.Context(), s, "tsk_before"); err != nil {
		t.Fatal(err)
	}
	limit := func(pages int) {
		t.Helper()
		if _, err := s.conn.ExecContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
			t.Fatal(err)
		}
	}
	limit(1) // no more than there are now
	var err error
	stored := []string{"tsk_before"}
	for i := range 100 {
		id := fmt.Sprintf("tsk_%d", i)
		if err = submitOne(t.Context(), s, id); err != nil {
			break
		}
		stored = append(stored, id)
	}
	if sdk.CodeOf(err) != sdk.CodeUnavailable || !strings.Contains(err.Error(), "disk is full") {
		t.Fatalf("got %v", err)
	}
	limit(1 << 30)
	if err := submitOne(t.Context(), s, "tsk_after"); err != nil {
		t.Error(err)
	}
	var n int
	if err := s.Reader().QueryRow(`SELECT count(*) FROM tasks`).Scan(&n); err != nil || n != len(stored)+1 {
		t.Errorf("%d tasks, want %d, %v", n, len(stored)+1, err)
	}
	var check string
	if err := s.Reader().QueryRow(`PRAGMA integrity_check`).Scan(&check); err != nil || check != "ok" {
		t.Errorf("the database is %s, %v", check, err)
	}
}

func TestBackup(t *testing.T) {
	s := openIn(t, Config{})
	if err := submitOne(t.Context(), s, "tsk_1"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := s.Backup(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), path); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("over an older one: %v", err)
	}
	if err := s.Backup(t.Context(), filepath.Join(t.TempDir(), "no", "such", "dir.db")); err == nil {
		t.Error("into nowhere")
	}
	c := openIn(t, Config{Path: path})
	if task, err := c.Task(t.Context(), "tsk_1"); err != nil || task.Kind != "demo.echo" {
		t.Errorf("%+v, %v", task, err)
	}
}

func TestClosed(t *testing.T) {
	s := openIn(t, Config{})
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := submitOne(t.Context(), s, "tsk_1"); sdk.CodeOf(err) != sdk.CodeUnavailable {
		t.Errorf("got %v", err)
	}
}

// submitUntilKilled submits from many goroutines and says what was acknowledged.
func submitUntilKilled(path string) {
	s, err := Open(context.Background(), Config{Path: path})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	var mu sync.Mutex
	for g := range 16 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("tsk_%d_%d_%d", os.Getpid(), g, i)
				if submitOne(context.Background(), s, id) == nil {
					mu.Lock()
					fmt.Println(id)
					mu.Unlock()
				}
			}
		}()
	}
	select {}
}

// TestKill9 kills a process that submits: what it had acknowledged is there, with
// its first event.
func TestKill9(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nagatha.db")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), "TEST_SUBMITTER="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		head := make([]byte, 20_000)
		if _, err := io.ReadFull(out, head); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Process.Kill()
		rest, _ := io.ReadAll(out)
		_ = cmd.Wait()
		said := string(head) + string(rest)
		acked := strings.Fields(said[:strings.LastIndexByte(said, '\n')+1])

		s := openIn(t, Config{Path: path})
		for _, id := range acked {
			if _, err := s.Task(t.Context(), id); err != nil {
				t.Fatalf("round %d: %s was acknowledged: %v", round, id, err)
			}
			if events, err := s.TaskEvents(t.Context(), id, 0, 10); err != nil || len(events) == 0 || events[0].Task.Seq != 1 {
				t.Fatalf("%s has %d events, %v", id, len(events), err)
			}
		}
		_ = s.Close()
	}
}

func TestPostgresTrouble(t *testing.T) {
	for code, want := range map[string]trouble{
		"40001": tryAgain, "40P01": tryAgain, "23505": tryAgain, "57014": tryAgain, "55P03": tryAgain,
		"53100": noSpace, "53200": noSpace,
		"53300": noServer, "57P01": noServer, "57P03": noServer, "08006": noServer, "25006": noServer, "25P03": noServer, "28P01": noServer, "3D000": noServer,
		"22P05": ownError, "42P01": ownError,
	} {
		if got := postgresTrouble(fmt.Errorf("ask: %w", &pgconn.PgError{Code: code})); got != want {
			t.Errorf("%s: %v, want %v", code, got, want)
		}
	}
}

// TestHeadComesLast: what deletes does not hold the head of the log, which every node
// must have, while the rest of its set waits for rows that another node may hold.
func TestHeadComesLast(t *testing.T) {
	url := storetest.Postgres(t)
	begun, queued := make(chan bool), make(chan bool)
	s := openIn(t, Config{URL: url, Verbs: map[string]func(Tx, []any) error{
		"wait": func(Tx, []any) error { begun <- true; <-queued; return nil },
		"look": func(Tx, []any) error {
			db, err := sql.Open("pgx", url)
			if err != nil {
				return err
			}
			defer db.Close()
			var pos int64
			if err := db.QueryRow(`SELECT pos FROM log_head WHERE id = 1 FOR UPDATE NOWAIT`).Scan(&pos); err != nil {
				t.Error("a set that deletes: ", err)
			}
			return nil
		},
	}})
	task := sdk.Task{ID: "tsk_1", Kind: "a.b", Queue: "default", State: sdk.StateQueued, Payload: []byte(`{}`), MaxAttempts: 1, CreatedAt: 1}
	if out, err := s.Submit(t.Context(), []runtime.NewTask{{Task: task}}); err != nil || out[0].Err != nil {
		t.Fatal(out, err)
	}
	if _, err := s.Cancel(t.Context(), []runtime.CancelRequest{{ID: "tsk_1", Now: 1}}); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		if err := s.Write(context.Background(), "wait", nil); err != nil {
			t.Error(err)
		}
	})
	<-begun // both of these are in the next set
	all.Go(func() {
		if n, err := s.Delete(context.Background(), []string{"tsk_1"}); err != nil || n != 1 {
			t.Error(n, err)
		}
	})
	all.Go(func() {
		if err := s.Write(context.Background(), "look", nil); err != nil {
			t.Error(err)
		}
	})
	for len(s.queue) < 2 {
		gort.Gosched()
	}
	close(queued)
	all.Wait()
	if h, err := s.Head(t.Context()); err != nil || h.Pruned == 0 {
		t.Errorf("%+v, %v", h, err)
	}
}

// TestTasksInOrder: a set that writes its own attempts and cancels a task that another
// node runs holds none of them while it waits for one with a smaller id.
func TestTasksInOrder(t *testing.T) {
	url := storetest.Postgres(t)
	begun, queued := make(chan bool), make(chan bool)
	s := openIn(t, Config{URL: url, Verbs: map[string]func(Tx, []any) error{
		"wait": func(Tx, []any) error { begun <- true; <-queued; return nil },
	}})
	var tasks []runtime.NewTask
	for _, id := range []string{"tsk_1", "tsk_2"} {
		tasks = append(tasks, runtime.NewTask{Task: sdk.Task{ID: id, Kind: "a.b", Queue: "default", State: sdk.StateQueued, Payload: []byte(`{}`), MaxAttempts: 1, CreatedAt: 1, RunAt: 1}})
	}
	if out, err := s.Submit(t.Context(), tasks); err != nil || out[0].Err != nil {
		t.Fatal(out, err)
	}
	got, err := s.Claim(t.Context(), runtime.ClaimRequest{Node: "n", Lanes: []runtime.Lane{{Queue: "default", Limit: 2, Kinds: []runtime.KindSlots{{Kind: "a.b", Limit: 2, Plugin: "p"}}}}})
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	other, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(`SELECT 1 FROM tasks WHERE id = 'tsk_1' FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		if err := s.Write(context.Background(), "wait", nil); err != nil {
			t.Error(err)
		}
	})
	<-begun // both of these are in the next set
	all.Go(func() {
		fence := runtime.Fence{Task: "tsk_2", Token: got[1].Token}
		errs, err := s.Append(context.Background(), []runtime.AppendRequest{{Fence: fence, Events: []runtime.NewEvent{{Type: "task.log", Data: []byte(`{}`)}}}})
		if err != nil || errs[0] != nil {
			t.Error(errs, err)
		}
	})
	all.Go(func() {
		if _, err := s.Cancel(context.Background(), []runtime.CancelRequest{{ID: "tsk_1", Now: 1}}); err != nil {
			t.Error(err)
		}
	})
	for len(s.queue) < 2 {
		gort.Gosched()
	}
	close(queued)
	for waits := 0; waits == 0; {
		if err := db.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waits); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := other.Exec(`SELECT 1 FROM tasks WHERE id = 'tsk_2' FOR UPDATE NOWAIT`); err != nil {
		t.Error("the other node's transaction: ", err)
	}
	if err := other.Rollback(); err != nil {
		t.Error(err)
	}
	all.Wait()
}
