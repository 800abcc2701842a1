package store

import "slices"

// turns makes the kinds of a lane, which is one priority of a queue, take turns, so that a
// flood of one kind does not hold back the others. It is start-time fair queueing
// (Goyal, Vin and Cheng, 1996) with tasks of weight one: each kind has a finish tag, the
// lane has the start tag of what it served last, and who has waited without being
// served is not owed more than its turn. Within a kind, who is due first starts first.
//
// The tags are the writer's and live in memory: each node is fair by itself, and a
// restart forgets only whose turn it was.
type turns struct {
	now    int64
	finish map[string]int64 // by kind
}

func (s *Store) turnsOf(queue string, line int) *turns {
	at := queueLine{queue, line}
	q := s.turns[at]
	if q == nil {
		q = &turns{finish: map[string]int64{}}
		s.turns[at] = q
	}
	return q
}

type queueLine struct {
	queue string
	line  int
}

func (q *turns) start(kind string) int64 { return max(q.now, q.finish[kind]) }

// serve counts a task that was taken.
func (q *turns) serve(kind string) {
	s := q.start(kind)
	q.finish[kind] = s + 1
	q.now = s
}

// arrange puts candidates of a queue, which are in order, into the order of turns.
func (s *Store) arrange(queue string, list []candidate) {
	for len(list) > 0 {
		n := 1 // those of one line
		mixed := false
		for n < len(list) && list[n].line == list[0].line {
			mixed = mixed || list[n].kind != list[0].kind
			n++
		}
		if mixed {
			s.turnsOf(queue, list[0].line).mix(list[:n])
		}
		list = list[n:]
	}
}

func (q *turns) mix(list []candidate) {
	tag := map[string]int64{}
	type tagged struct {
		candidate
		tag int64
	}
	all := make([]tagged, len(list))
	for i, c := range list {
		s, ok := tag[c.kind]
		if !ok {
			s = q.start(c.kind)
		}
		tag[c.kind] = s + 1
		all[i] = tagged{c, s}
	}
	// Stable: with equal tags who is due first starts first.
	slices.SortStableFunc(all, func(a, b tagged) int { return int(min(max(a.tag-b.tag, -1), 1)) })
	for i := range all {
		list[i] = all[i].candidate
	}
}
