package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/client"
)

// The exit codes.
const (
	exitOK           = 0
	exitError        = 1
	exitUsage        = 2
	exitNotFound     = 3
	exitUnauthorized = 4
	exitUnreachable  = 6
	exitFailed       = 10  // the task failed
	exitCancelled    = 11  // the task was cancelled
	exitTimeout      = 12  // the task failed with timeout or expired
	exitCut          = 13  // the stream was cut and did not come back
	exitDetached     = 130 // Ctrl-C while following: the task goes on
)

const exitHelp = `Exit codes:
  0  ok                     6  server unreachable
  1  error                 10  the task failed
  2  wrong usage           11  the task was cancelled
  3  not found             12  the task failed with timeout or expired
  4  unauthorised          13  the stream was cut and did not come back
                          130  detached with Ctrl-C; the task goes on`

// usageError is about the command line itself.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// hintError adds what to do next.
type hintError struct {
	error
	hint string
}

func (e *hintError) Unwrap() error { return e.error }

// quietExit ends the program with a code when all has been said.
type quietExit int

func (e quietExit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// exit says what is wrong, and what to do next, and returns the exit code.
func (a *app) exit(err error) int {
	code := exitCode(err, a.started)
	var quiet quietExit
	if code == exitOK || errors.As(err, &quiet) {
		return code
	}
	text := strings.TrimPrefix(clean(message(err)), "nagatha ") // with which a command's path begins
	fmt.Fprintf(a.stderr, "nagatha: %s\n", text)
	if hint := a.hint(err, code); hint != "" {
		fmt.Fprintf(a.stderr, "  %s\n", clean(hint)) // a server's cursor may stand in it
	}
	return code
}

// exitCode maps an error. Before a command has started, cobra has found
// something wrong with the command line.
func exitCode(err error, started bool) int {
	var (
		quiet quietExit
		usage *usageError
		lost  *client.LostError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &quiet):
		return int(quiet)
	case errors.As(err, &usage), !started:
		return exitUsage
	case errors.Is(err, context.Canceled):
		return exitDetached
	}
	switch sdk.CodeOf(err) {
	case sdk.CodeUnauthorized, sdk.CodeForbidden:
		return exitUnauthorized
	}
	if errors.As(err, &lost) {
		if lost.Never {
			return exitUnreachable
		}
		return exitCut
	}
	if sdk.CodeOf(err) == sdk.CodeNotFound {
		return exitNotFound
	}
	return exitError
}

// taskExit is the exit code of a task that has ended.
func taskExit(state sdk.State, failure *sdk.Error) int {
	switch state {
	case sdk.StateCompleted:
		return exitOK
	case sdk.StateCancelled:
		return exitCancelled
	case sdk.StateFailed:
		if failure != nil && (failure.Code == sdk.CodeTimeout || failure.Code == sdk.CodeExpired) {
			return exitTimeout
		}
		return exitFailed
	}
	return exitError
}

// message is an error for people: the code of a refusal adds nothing to its text
// but is what one looks up, so it stands behind.
func message(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	var lost *client.LostError
	if errors.As(err, &lost) {
		return lost.Error()
	}
	var coded *sdk.Error
	if errors.As(err, &coded) && err.Error() == coded.Error() {
		return fmt.Sprintf("%s (%s)", coded.Message, coded.Code)
	}
	return err.Error()
}

func (a *app) hint(err error, code int) string {
	var h *hintError
	if errors.As(err, &h) {
		return h.hint
	}
	switch code {
	case exitUsage:
		return `see "nagatha --help"`
	case exitNotFound:
		for _, thing := range []string{"task", "token", "plugin", "queue", "schedule", "approval"} {
			if strings.Contains(err.Error(), "there is no "+thing+" ") {
				return fmt.Sprintf(`"nagatha %ss list" shows what there is`, thing)
			}
		}
		return ""
	case exitUnauthorized:
		if a.tokenFrom != "" {
			return "the token came from " + a.tokenFrom + "; set NAGATHA_TOKEN or NAGATHA_TOKEN_FILE to another one"
		}
		return "no token was found: set NAGATHA_TOKEN or NAGATHA_TOKEN_FILE, or give --data-dir with the runtime's data directory"
	case exitUnreachable:
		return `is nagatha-runtime running? Start it with "make run", or set --server or NAGATHA_SERVER`
	}
	if errors.Is(err, client.ErrNoReply) {
		return `see what became of it with "nagatha tasks get ID" before you try again`
	}
	return ""
}

// clean makes one line of a text, without what would move a terminal's cursor.
func clean(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\r', r == '\t':
			return ' '
		case control(r):
			return -1
		}
		return r
	}, s))
}

// control reports whether r can change a terminal or the order of what is shown.
func control(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}
