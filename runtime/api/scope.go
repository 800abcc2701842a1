package api

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// The scopes of tokens. Beside these there are, for each plugin, NAME:write, which
// submits its kinds, and NAME:read, which submits those that change nothing. Whoever
// may submit sees and cancels what it submitted.
const (
	scopeAdmin   = "admin"         // everything, tokens and backups included
	scopeRead    = "tasks:read"    // tasks, events, queues, schedules, approvals, plugins, the system
	scopeSubmit  = "tasks:submit"  // tasks of any kind, and events
	scopeCancel  = "tasks:cancel"  // cancel, retry and signal anybody's tasks
	scopeManage  = "tasks:admin"   // many tasks at once, queues and schedules
	scopeApprove = "approve"       // decide approvals
	scopeChat    = "chat"          // talk to the agent
	scopePlugins = "plugins:admin" // reload, enable and disable
)

// roles are names for what often goes together.
var roles = map[string][]string{
	"viewer":   {scopeRead},
	"operator": {scopeRead, scopeSubmit, scopeCancel, scopeManage},
	"approver": {scopeRead, scopeApprove},
}

var (
	anybody   = []string{} // with a token; what more is needed is decided where it is known
	readers   = []string{scopeRead}
	managers  = []string{scopeManage}
	approvers = []string{scopeRead, scopeApprove}
	admins    = []string{scopeAdmin}
)

// needs says which scopes, of which one is enough, an operation needs: REST by its
// operation id, JSON-RPC by its method. What is not here cannot be registered.
var needs = map[string][]string{
	"submit-task": anybody, "submit-tasks": anybody, "task.submit": anybody, "task.submit_many": anybody, // see forSubmit
	"get-task": anybody, "task-events": anybody, "task.get": anybody, "subscribe": anybody, // see forTask
	"cancel-task": anybody, "retry-task": anybody, "signal-task": anybody,
	"task.cancel": anybody, "task.retry": anybody, "task.signal": anybody,
	"list-tasks": readers, "task.list": readers, "bulk-tasks": managers,
	"publish-events": {scopeSubmit}, "event.publish": {scopeSubmit},
	"list-queues": readers, "get-queue": readers, "pause-queue": managers, "resume-queue": managers,
	"list-schedules": readers, "get-schedule": readers, "create-schedule": managers, "replace-schedule": managers,
	"delete-schedule": managers, "pause-schedule": managers, "resume-schedule": managers, "trigger-schedule": managers,
	"list-approvals": approvers, "get-approval": approvers, "decide-approval": {scopeApprove}, "approval.decide": {scopeApprove},
	"list-plugins": {scopeRead, scopePlugins}, "get-plugin": {scopeRead, scopePlugins},
	"reload-plugin": {scopePlugins}, "enable-plugin": {scopePlugins}, "disable-plugin": {scopePlugins},
	"list-tokens": admins, "create-token": admins, "revoke-token": admins, "backup": admins,
	"get-system": readers, "metrics": readers,
	"hello": anybody, "ping": anybody, "unsubscribe": anybody,
}

// permit refuses an operation that no scope of who allows.
func permit(who *identity, operation string) error {
	if wanted := needs[operation]; len(wanted) > 0 && !who.may(wanted...) {
		return forbidden(who, wanted...)
	}
	return nil
}

func forbidden(who *identity, wanted ...string) error {
	return sdk.Errorf(sdk.CodeForbidden, "the token of %q may not do this: it needs the scope %s", who.name, strings.Join(wanted, " or "))
}

// forSubmit refuses a task of a kind that who may not submit.
func (s *Server) forSubmit(who *identity, kind string) *sdk.Error {
	info, _ := s.rt.Kind(kind)
	if who.maySubmit(kind, info.ReadOnly) {
		return nil
	}
	plugin, _, _ := strings.Cut(kind, ".")
	return sdk.AsError(forbidden(who, scopeSubmit, plugin+":write"))
}

// submit submits tasks in the name of who. A task that is there already because of its
// unique may be somebody else's, whom it then shows nothing of.
func (s *Server) submit(ctx context.Context, who *identity, subs []sdk.Submission) ([]runtime.Submitted, error) {
	done, err := s.rt.Submit(ctx, who.name, subs)
	for i, d := range done {
		if d.Duplicate && d.Err == nil && d.Task.Owner != who.name && !who.may(scopeRead) {
			done[i] = runtime.Submitted{Err: sdk.Errorf(sdk.CodeForbidden,
				"a task of somebody else has the unique %q, which the token of %q may not see: it needs the scope %s", subs[i].Unique, who.name, scopeRead)}
		}
	}
	return done, err
}

// forTask refuses what needs scope, unless the task is who's own. Somebody else's that
// who may not see either is refused like one that is not there.
func (s *Server) forTask(ctx context.Context, who *identity, id, scope string) error {
	if who.may(scope) {
		return nil
	}
	task, err := s.rt.Task(ctx, id)
	switch {
	case err != nil || task.Owner == who.name:
	case who.may(scopeRead):
		err = forbidden(who, scope)
	default:
		err = sdk.Errorf(sdk.CodeNotFound, "there is no task %.80q", id)
	}
	return err
}

var pluginScope = regexp.MustCompile(`^([a-z][a-z0-9_-]*):(read|write)$`)

// checkScopes spells out roles and says what is no scope.
func checkScopes(list, plugins []string) ([]string, error) {
	known := []string{scopeAdmin, scopeRead, scopeSubmit, scopeCancel, scopeManage, scopeApprove, scopeChat, scopePlugins}
	var out []string
	for _, s := range list {
		m := pluginScope.FindStringSubmatch(s)
		switch {
		case roles[s] != nil:
			out = append(out, roles[s]...)
		case slices.Contains(known, s), m != nil && slices.Contains(plugins, m[1]):
			out = append(out, s)
		default:
			return nil, sdk.Invalid("scopes", "there is no scope %.80q; want some of %s, PLUGIN:read and PLUGIN:write, or a role: viewer, operator, approver",
				s, strings.Join(known, ", "))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
