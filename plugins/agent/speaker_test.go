package main

import (
	"fmt"
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
		s.say("a")
		if len(got) != 1 {
			t.Fatal("the first piece waits")
		}
		s.say("b")
		s.say("c")
		if len(got) != 1 {
			t.Errorf("%q at once", got)
		}
		time.Sleep(pace)
		synctest.Wait()
		if strings.Join(got, "|") != "a|bc" {
			t.Errorf("%q after the pace", got)
		}
		got = nil
		want := ""
		for i := range 1000 {
			time.Sleep(time.Millisecond)
			s.say(fmt.Sprint(i, " "))
			want += fmt.Sprint(i, " ")
		}
		s.end()
		if strings.Join(got, "") != want || len(got) > 50 {
			t.Errorf("%d pieces, or another text", len(got))
		}
		s.end()
		time.Sleep(time.Second)
		synctest.Wait()
		if len(got) > 50 {
			t.Error("something was said after the end")
		}
	})
}
