package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const patience = time.Second

// lockFile takes the lock that keeps a second runtime off the same database. The
// kernel lets go of it when the process ends, however it ends; since a process
// that was killed takes a moment to be gone, a taken lock is asked for again for
// [patience].
func lockFile(ctx context.Context, db string) (*os.File, error) {
	dir := filepath.Dir(db)
	f, err := os.OpenFile(db+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot write in %s: %w; set data_dir to a directory that this user may write", dir, err)
	}
	for end := time.Now().Add(patience); ; {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || ctx.Err() != nil || time.Now().After(end) {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(patience / 50):
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		_ = f.Close()
		return nil, fmt.Errorf("another runtime is using %s; stop it, or set another data_dir", dir)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return f, nil
}
