package sdk

import "slices"

// Transition is a change of state that a task can make, the event that tells of
// it, and what brings it about. From "" is the submit.
type Transition struct {
	From, To State
	Event    string
	Why      string
}

// Transitions are all of them. The store makes no others: its test drives random
// operations against this table, and docs/states.md is made from it.
var Transitions = []Transition{
	{"", StateQueued, EventQueued, "submitted"},
	{"", StateScheduled, EventScheduled, "submitted for later, or held back by after"},
	{"", StateFailed, EventFailed, "submitted after a task that has failed"},
	{StateScheduled, StateQueued, EventQueued, "due, and nothing holds it back"},
	{StateScheduled, StateFailed, EventFailed, "a task of after failed, or it expired"},
	{StateScheduled, StateCancelled, EventCancelled, "cancelled"},
	{StateQueued, StateRunning, EventStarted, "claimed"},
	{StateQueued, StateFailed, EventFailed, "expired"},
	{StateQueued, StateCancelled, EventCancelled, "cancelled"},
	{StateRunning, StateWaiting, EventWaiting, "waits for children, a signal or an approval"},
	{StateRunning, StateRetrying, EventRetrying, "the attempt failed"},
	{StateRunning, StateQueued, EventQueued, "given back, or retried at once"},
	{StateRunning, StateCompleted, EventCompleted, "the attempt returned a result"},
	{StateRunning, StateFailed, EventFailed, "the last attempt failed, or for good"},
	{StateRunning, StateCancelled, EventCancelled, "cancelled"},
	{StateWaiting, StateRunning, EventResumed, "answered; the parked attempt goes on"},
	{StateWaiting, StateQueued, EventResumed, "answered; the evicted attempt begins again"},
	{StateWaiting, StateCompleted, EventCompleted, "the attempt returned without waiting"},
	{StateWaiting, StateRetrying, EventRetrying, "the attempt failed without waiting"},
	{StateWaiting, StateFailed, EventFailed, "its deadline passed, or the attempt failed for good"},
	{StateWaiting, StateCancelled, EventCancelled, "cancelled"},
	{StateRetrying, StateQueued, EventQueued, "the backoff is over"},
	{StateRetrying, StateFailed, EventFailed, "its deadline passed"},
	{StateRetrying, StateCancelled, EventCancelled, "cancelled"},
	{StateFailed, StateQueued, EventQueued, "retried by hand: another life"},
	{StateCancelled, StateQueued, EventQueued, "retried by hand: another life"},
}

// CanMove reports whether a task can go from one state to another in one step.
func CanMove(from, to State) bool {
	return slices.ContainsFunc(Transitions, func(t Transition) bool { return t.From == from && t.To == to })
}
