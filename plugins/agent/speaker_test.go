package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSpeaker: the first piece at once, none late by more than the pace, few for many.
func TestSpeaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		s := speaker{pass: func(text string) { got = append(got, text) }}
		// The timer passes pieces on as well: what there is is read as it is written.
		said := func() []string {
			s.mu.Lock()
			defer s.mu.Unlock()
			return slices.Clone(got)
		}
		s.say("a")
		if len(said()) != 1 {
			t.Fatal("the first piece waits")
		}
		s.say("b")
		s.say("c")
		if got := said(); len(got) != 1 {
			t.Errorf("%q at once", got)
		}
		time.Sleep(pace)
		synctest.Wait()
		if got := said(); strings.Join(got, "|") != "a|bc" {
			t.Errorf("%q after the pace", got)
		}
		s.mu.Lock()
		got = nil
		s.mu.Unlock()
		want := ""
		for i := range 1000 {
			time.Sleep(time.Millisecond)
			s.say(fmt.Sprint(i, " "))
			want += fmt.Sprint(i, " ")
		}
		s.end()
		if got := said(); strings.Join(got, "") != want || len(got) > 50 {
			t.Errorf("%d pieces, or another text", len(got))
		}
		s.end()
		time.Sleep(time.Second)
		synctest.Wait()
		if len(said()) > 50 {
			t.Error("something was said after the end")
		}
	})
}
