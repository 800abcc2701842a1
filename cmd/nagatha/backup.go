package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/nagatha/nagatha-runtime/sdk/client"
)

func (a *app) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a consistent copy of the runtime's database to a file",
		Long: `Write a consistent copy of the runtime's SQLite database to a new file, while work
goes on; - is standard output. The file has its name only once the copy is whole.
A runtime on PostgreSQL refuses: use pg_dump.`,
		Example: `  nagatha backup nagatha-$(date +%F).db`,
		Args:    exactly("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			n, err := a.backup(c.Context(), cl, args[0])
			if err != nil {
				return err
			}
			if args[0] != "-" {
				return a.show(map[string]any{"file": args[0], "bytes": n}, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "%s, %d bytes\n", clean(args[0]), n)
					return err
				})
			}
			return nil
		},
	}
}

func (a *app) backup(ctx context.Context, cl *client.Client, path string) (int64, error) {
	if path == "-" {
		if terminal(a.stdout) {
			return 0, usagef("a database is nothing for a terminal: name a FILE, or send standard output somewhere")
		}
		return cl.Backup(ctx, a.stdout)
	}
	if _, err := os.Lstat(path); err == nil {
		return 0, fmt.Errorf("%s is there already; name another file, or move it away", path)
	}
	// Beside the file, so that it can get its name in one step; for its owner alone,
	// since everything is in it.
	part, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return 0, fmt.Errorf("write the copy: %w", err)
	}
	defer os.Remove(part.Name()) // nothing is left of it when all went well
	n, err := cl.Backup(ctx, part)
	if err == nil {
		err = part.Sync()
	}
	if err = errors.Join(err, part.Close()); err != nil {
		return 0, err
	}
	if err := name(part.Name(), path, os.Link); err != nil {
		return 0, fmt.Errorf("name the copy: %w", err)
	}
	return n, nil
}

// name gives a file its name. A link does not replace a file that has appeared meanwhile,
// but shares and sticks, where backups often go, may know none: there it is looked for.
func name(part, path string, link func(from, to string) error) error {
	err := link(part, path)
	if err == nil || errors.Is(err, os.ErrExist) {
		return err
	}
	if _, there := os.Lstat(path); !errors.Is(there, os.ErrNotExist) {
		return err
	}
	return os.Rename(part, path)
}
