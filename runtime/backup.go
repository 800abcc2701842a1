package runtime

import (
	"context"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Backup writes a consistent copy of the database to a new file. Only an embedded
// database can be copied so; others have tools of their own.
func (r *Runtime) Backup(ctx context.Context, path string) error {
	if r.store.Shared() {
		return sdk.Errorf(sdk.CodeConflict, "the store is PostgreSQL, which the runtime does not back up: use pg_dump on its database")
	}
	return r.store.Backup(ctx, path)
}
