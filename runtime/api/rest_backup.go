package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/nagatha/nagatha-runtime/sdk"
)

const backupType = "application/vnd.sqlite3"

func (s *Server) routeBackup(api huma.API) {
	op := huma.Operation{OperationID: "backup", Method: http.MethodPost, Path: "/backup", Tags: []string{"system"},
		Summary: "Back the database up",
		Description: "Streams a consistent copy of the SQLite database as of now, while work goes on. It needs room for the copy in data_dir for as long as it is " +
			"sent. With PostgreSQL it is refused: use pg_dump.",
		Responses: map[string]*huma.Response{"200": {Description: "The copy, an SQLite file", Content: map[string]*huma.MediaType{
			backupType: {Schema: &huma.Schema{Type: "string", Format: "binary"}}}}}}
	withBody[struct{}](s, api, &op, false, "application/json")
	handle(s, api, op, s.postBackup)
}

type backupInput struct{ body }

// backupOutput writes itself: a copy may be larger than the memory.
type backupOutput struct {
	Body func(huma.Context)
}

func (s *Server) postBackup(ctx context.Context, in *backupInput) (*backupOutput, error) {
	f, err := in.fields(true)
	if err == nil {
		err = f.err()
	}
	if err != nil {
		return nil, err
	}
	// One at a time: each takes as much room as the database.
	select {
	case s.backups <- struct{}{}:
	default:
		return nil, sdk.Errorf(sdk.CodeConflict, "another backup is being made; try again when it is done")
	}
	path := filepath.Join(s.cfg.DataDir, copyPrefix+newRequestID()+".db")
	done := func() {
		_ = os.Remove(path) // it may not be there
		<-s.backups
	}
	if err := s.rt.Backup(ctx, path); err != nil {
		done()
		return nil, err
	}
	copied, err := os.Open(path)
	if err != nil {
		done()
		return nil, err
	}
	_ = os.Remove(path) // it stays readable, and whatever happens nothing is left behind
	return &backupOutput{func(hc huma.Context) {
		defer done()
		defer copied.Close()
		_, w := humago.Unwrap(hc)
		if err := sendFile(w, copied); err != nil {
			s.log.Warn("a backup was not received", "error", err)
			// The response has begun: only a broken one says that it is not whole.
			panic(http.ErrAbortHandler)
		}
	}}, nil
}

// copyPrefix begins the names of copies that are being made, which nobody else uses.
const copyPrefix = ".sending-"

// sweepCopies removes what a crash has left of copies: each is as large as the database.
func (s *Server) sweepCopies() {
	files, err := os.ReadDir(s.cfg.DataDir)
	for _, f := range files {
		if strings.HasPrefix(f.Name(), copyPrefix) {
			err = errors.Join(err, os.Remove(filepath.Join(s.cfg.DataDir, f.Name())))
		}
	}
	if err != nil {
		s.log.Warn("cannot look for what is left of backups that were cut off", "error", err)
	}
}

// sendFile sends a file. The recorder gives up when nobody reads.
func sendFile(w http.ResponseWriter, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if rec, ok := w.(*recorder); ok {
		rec.stream = true
	}
	w.Header().Set("Content-Type", backupType)
	w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	w.Header().Set("Content-Disposition", `attachment; filename="nagatha-`+time.Now().UTC().Format("20060102-150405")+`.db"`)
	_, err = io.Copy(w, f)
	return err
}
