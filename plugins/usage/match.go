package main

import (
	"regexp"
	"strings"
	"sync"
)

// clause is a rule of the price data about a name: exactly one of its members is
// given. Names and texts are in lower case.
type clause struct {
	Equals     string   `json:"equals"`
	StartsWith string   `json:"starts_with"`
	EndsWith   string   `json:"ends_with"`
	Contains   string   `json:"contains"`
	Regex      string   `json:"regex"`
	Or         []clause `json:"or"`
	And        []clause `json:"and"`
	Not        *clause  `json:"not"`
}

// fits reports whether the rule holds for a name in lower case.
func (c *clause) fits(name string) bool {
	switch {
	case c == nil:
		return false
	case c.Equals != "":
		return name == c.Equals
	case c.StartsWith != "":
		return strings.HasPrefix(name, c.StartsWith)
	case c.EndsWith != "":
		return strings.HasSuffix(name, c.EndsWith)
	case c.Contains != "":
		return strings.Contains(name, c.Contains)
	case c.Regex != "":
		return expression(c.Regex).MatchString(name)
	case c.Not != nil:
		return !c.Not.fits(name)
	}
	for i := range c.Or {
		if c.Or[i].fits(name) {
			return true
		}
	}
	for i := range c.And {
		if !c.And[i].fits(name) {
			return false
		}
	}
	return len(c.And) > 0
}

var expressions sync.Map // text → *regexp.Regexp

// expression compiles one of the table's regular expressions, which are tested to be
// some.
func expression(text string) *regexp.Regexp {
	if re, ok := expressions.Load(text); ok {
		return re.(*regexp.Regexp)
	}
	re := regexp.MustCompile(text)
	expressions.Store(text, re)
	return re
}
