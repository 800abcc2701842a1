package main

import (
	"context"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// A session belongs to who began it: the owner of the task, which is the name of the
// token that submitted it. Others may call one of theirs the same and do not meet.
//
// # Why
//
// A token with the scope chat is for a person or a program that is to talk to the
// assistant, and not to read what others have said. The name of the owner is a part of
// where things are kept, so that no check can be forgotten. What the administrator and
// the runtime itself begin is kept under the plain name, as before there were owners.

// adminOwner is the name of the token in the file admin.token; no other has it.
const adminOwner = "admin"

// ownerMark stands between a session's name and its owner, and in neither.
const ownerMark = "@"

// place is what a session of an owner is called in the store, and by other plugins.
func place(owner, name string) string {
	if owner == "" || owner == adminOwner {
		return name
	}
	return name + ownerMark + owner
}

// placeFor is that of a session which a task's payload names.
func placeFor(ctx context.Context, name string) string { return place(sdk.TaskFrom(ctx).Owner, name) }

// name is what its owner calls a session.
func (s *session) name() string { return nameOf(s.ID) }

func nameOf(place string) string {
	name, _, _ := strings.Cut(place, ownerMark)
	return name
}

// indexPrefix is that of the index of an owner's sessions.
func indexPrefix(owner string) string {
	if p := place(owner, ""); p != "" {
		return "o/" + p + "/"
	}
	return "n/"
}
