// Command usage is a plugin that counts what models cost: records of calls, reports,
// prices and budgets.
//
// # Why
//
// A record and the totals that it is part of are written in one transaction
// (kv.apply), each only if nobody changed it since it was read. So the totals are the
// sums of the records at every moment, whoever else records at the same time and
// whatever crashes; and since a record is kept under its id, telling of a call twice
// counts it once.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"
	_ "time/tzdata" // a module sees no files of the machine

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/serve"
)

func main() { serve.Main(plugin()) }

// usage is the plugin's configuration.
type usage struct {
	zone        *time.Location // in which a day begins
	keep        time.Duration  // how long records are kept; totals stay
	reservation time.Duration  // how long a reservation holds
	budgets     budgets
	own         own
	pile        pile             // calls that wait to be recorded
	turn        chan struct{}    // one change at a time: they would only undo each other
	whole       atomic.Bool      // the rows of all sessions count everything
	rows        map[string]*item // what the last change left behind; of the one whose turn it is
}

// budgets are those of config.hcl; nil is none.
type budgets struct {
	Day     *usd `json:"day"`
	Session *usd `json:"session"`
}

func newUsage() *usage {
	return &usage{zone: time.UTC, keep: 400 * 24 * time.Hour, reservation: 10 * time.Minute, turn: make(chan struct{}, 1), rows: map[string]*item{}}
}

func plugin() sdk.Plugin {
	u := newUsage()
	return sdk.New(sdk.Info{
		Name: "usage", Version: "1.0.0", Description: "Counts tokens and money, and keeps to budgets.",
		Capabilities:  []string{"store"},
		Subscriptions: []sdk.Subscription{{Type: "usage.recorded", Kind: "usage.record"}},
		ConfigSchema:  json.RawMessage(configSchema),
	}, u.kinds()...).OnConfigure(u.configure)
}

const configSchema = `{"type":"object","additionalProperties":false,"properties":{
	"zone":{"type":"string","description":"IANA name of the time zone in which a day begins; default UTC"},
	"keep":{"type":"string","description":"how long records are kept, such as \"9600h\"; totals stay"},
	"reservation":{"type":"string","description":"how long a reservation holds; default 10m"},
	"budgets":{"type":"object","additionalProperties":false,"properties":{
		"day":{"type":["number","null"],"minimum":0},"session":{"type":["number","null"],"minimum":0}},"description":"US dollars"},
	"prices":{"type":"object","description":"\"provider/model\" to US dollars for a million tokens, before the built-in table"}}}`

func (u *usage) configure(_ context.Context, config json.RawMessage) error {
	var c struct {
		Zone        string                     `json:"zone"`
		Keep        string                     `json:"keep"`
		Reservation string                     `json:"reservation"`
		Budgets     budgets                    `json:"budgets"`
		Prices      map[string]json.RawMessage `json:"prices"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return err
	}
	zone, err := time.LoadLocation(c.Zone)
	if err != nil || c.Zone == "Local" {
		return fmt.Errorf("zone: want an IANA name such as \"Europe/Berlin\", not %q", c.Zone)
	}
	fresh := newUsage()
	u.zone, u.keep, u.reservation, u.budgets = zone, fresh.keep, fresh.reservation, c.Budgets
	for _, f := range []struct {
		name, text string
		to         *time.Duration
		least      time.Duration
	}{{"keep", c.Keep, &u.keep, 24 * time.Hour}, {"reservation", c.Reservation, &u.reservation, time.Second}} {
		if f.text == "" {
			continue
		}
		if *f.to, err = time.ParseDuration(f.text); err != nil || *f.to < f.least {
			return fmt.Errorf("%s: want a duration of at least %s, such as \"48h\", not %q", f.name, f.least, f.text)
		}
	}
	u.own, err = configured(c.Prices)
	return err
}
