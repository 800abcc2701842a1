package main

import (
	"regexp"
	"strings"
)

// clause is a rule of the price data about a name: exactly one of its members is
// given. Everything but a regular expression compares without regard to case.
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
		return name == strings.ToLower(c.Equals)
	case c.StartsWith != "":
		return strings.HasPrefix(name, strings.ToLower(c.StartsWith))
	case c.EndsWith != "":
		return strings.HasSuffix(name, strings.ToLower(c.EndsWith))
	case c.Contains != "":
		return strings.Contains(name, strings.ToLower(c.Contains))
	case c.Regex != "":
		re, err := regexp.Compile(c.Regex)
		return err == nil && re.MatchString(name)
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
