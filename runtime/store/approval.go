package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

type decideArg struct {
	req   runtime.DecideRequest
	out   sdk.Approval
	fault *sdk.Error // why it was refused
}

// Decide implements runtime.Store.
func (s *Store) Decide(ctx context.Context, req runtime.DecideRequest) (sdk.Approval, error) {
	a := &decideArg{req: req}
	if err := s.do(ctx, verbDecide, 1, a); err != nil {
		return sdk.Approval{}, err
	}
	if a.fault != nil {
		return sdk.Approval{}, a.fault
	}
	return a.out, nil
}

const approvalColumns = `approvals.id, approvals.task, question, detail, digest, requested_at, expires_at, approvals.state, decided_by, comment`

func scanApproval(r Row, a *sdk.Approval, more ...any) error {
	var detail string
	err := r.Scan(append([]any{&a.ID, &a.Task, &a.Question, &detail, &a.Digest, &a.RequestedAt, &a.ExpiresAt, &a.State, &a.DecidedBy, &a.Comment}, more...)...)
	a.Detail = json.RawMessage(detail)
	return err
}

// askApproval stores the question of a new operation.
func (t *tick) askApproval(o *operator, op *runtime.Operation) error {
	q := op.Approval
	_, err := t.exec(`INSERT INTO approvals (id, task, life, name, occurrence, question, detail, digest, requested_at, expires_at, state)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'pending')`,
		q.ID, o.ID, o.Life, op.Name, op.Occurrence, q.Question, string(q.Detail), q.Digest, int64(q.RequestedAt), int64(q.ExpiresAt))
	if err != nil {
		return fmt.Errorf("ask for an approval: %w", err)
	}
	return nil
}

func (t *tick) decide(a *decideArg) error {
	a.out = sdk.Approval{}
	q := a.req
	var life, occurrence, taskLife int
	var name string
	var ended sdk.Time
	err := t.query(`SELECT `+approvalColumns+`, approvals.life, name, occurrence, tasks.life, finished_at
		FROM approvals JOIN tasks ON tasks.id = approvals.task WHERE approvals.id = $1`+t.dialect.hold,
		func(r Row) error { return scanApproval(r, &a.out, &life, &name, &occurrence, &taskLife, &ended) }, q.ID)
	if err != nil {
		return fmt.Errorf("find an approval: %w", err)
	}
	a.fault = refuseDecision(q, a.out, ended > 0 || life != taskLife)
	if a.fault == nil {
		err = t.decided(a, life, name, occurrence)
	}
	return err
}

// decided stores a decision and answers the operation that waits for it.
func (t *tick) decided(a *decideArg, life int, name string, occurrence int) error {
	q := a.req
	a.out.State, a.out.DecidedBy, a.out.Comment = sdk.ApprovalRejected, q.By, q.Comment
	if q.Approve {
		a.out.State = sdk.ApprovalApproved
	}
	if _, err := t.exec(`UPDATE approvals SET state = $1, decided_by = $2, comment = $3 WHERE id = $4`, string(a.out.State), q.By, q.Comment, q.ID); err != nil {
		return fmt.Errorf("decide an approval: %w", err)
	}
	b, err := json.Marshal(sdk.Decision{Approved: q.Approve, By: q.By, Comment: q.Comment})
	if err != nil {
		return err
	}
	return t.answer(a.out.Task, life, name, occurrence, b)
}

// refuseDecision says what speaks against a decision, or nil.
func refuseDecision(q runtime.DecideRequest, a sdk.Approval, over bool) *sdk.Error {
	switch {
	case a.ID == "":
		return sdk.Errorf(sdk.CodeNotFound, "there is no approval %.80q", q.ID)
	case a.State != sdk.ApprovalPending:
		return sdk.Errorf(sdk.CodeConflict, "approval %s is %s already; each is decided once", q.ID, a.State)
	case over:
		return sdk.Errorf(sdk.CodeConflict, "task %s, which asked for approval %s, has ended", a.Task, q.ID)
	case q.Now >= a.ExpiresAt:
		return sdk.Errorf(sdk.CodeConflict, "approval %s expired at %s", q.ID, a.ExpiresAt)
	case q.Digest != a.Digest:
		return &sdk.Error{Code: sdk.CodeConflict, Message: "the digest is that of another question; read the approval and decide about what it says",
			Fields: []sdk.Field{{Field: "digest", Message: "is not that of the approval"}}}
	}
	return nil
}

// expireApproval leaves that of an ended life alone: it was withdrawn before.
func (t *tick) expireApproval(task string, life int, name string, occurrence int) error {
	_, err := t.exec(`UPDATE approvals SET state = 'expired' WHERE task = $1 AND life = $2 AND name = $3 AND occurrence = $4 AND state = 'pending'
		AND EXISTS (SELECT 1 FROM tasks WHERE id = $1 AND life = $2 AND finished_at = 0)`,
		task, life, name, occurrence)
	if err != nil {
		return fmt.Errorf("expire an approval: %w", err)
	}
	return nil
}

// Approvals implements runtime.Store. One that is stored as pending although its task has
// ended, or its time is over, is not shown as such: nobody can decide it any more.
func (s *Store) Approvals(ctx context.Context, f runtime.ApprovalFilter) ([]sdk.Approval, error) {
	var w where
	if f.After != "" {
		w.add(`approvals.id > ` + w.arg(f.After))
	}
	if f.ID != "" {
		w.add(`approvals.id = ` + w.arg(f.ID))
	}
	if f.Task != "" {
		w.add(`approvals.task = ` + w.arg(f.Task))
	}
	const lives = `approvals.state = 'pending' AND tasks.finished_at = 0 AND tasks.life = approvals.life`
	switch f.State {
	case "":
	case sdk.ApprovalPending:
		w.add(lives + ` AND expires_at > ` + w.arg(int64(f.Now)))
	case sdk.ApprovalExpired:
		w.add(`(approvals.state = 'expired' OR ` + lives + ` AND expires_at <= ` + w.arg(int64(f.Now)) + `)`)
	case sdk.ApprovalWithdrawn:
		w.add(`approvals.state = 'pending' AND (tasks.finished_at > 0 OR tasks.life <> approvals.life)`)
	default:
		w.add(`approvals.state = ` + w.arg(string(f.State)))
	}
	out := []sdk.Approval{}
	err := s.read(ctx, `SELECT `+approvalColumns+`, tasks.finished_at = 0 AND tasks.life = approvals.life FROM approvals JOIN tasks ON tasks.id = approvals.task`+w.text()+` ORDER BY approvals.id LIMIT `+w.arg(f.Limit),
		func(r Row) error {
			var a sdk.Approval
			var lives bool
			err := scanApproval(r, &a, &lives)
			switch {
			case a.State != sdk.ApprovalPending:
			case !lives:
				a.State = sdk.ApprovalWithdrawn
			case a.ExpiresAt <= f.Now:
				a.State = sdk.ApprovalExpired
			}
			out = append(out, a)
			return err
		}, w.args...)
	if err != nil {
		return nil, fmt.Errorf("list approvals: %w", err)
	}
	return out, nil
}
