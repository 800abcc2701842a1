package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// The rows over all sessions are younger than those of each session: in a database of an
// earlier version they are missing, or count only what was recorded since. They are sums,
// so they can be made anew, once, before somebody reads them for the first time.

// complete sees to it that the rows over all sessions count everything.
func (u *usage) complete(ctx context.Context, host sdk.Host) error {
	if u.whole.Load() {
		return nil
	}
	done, _, err := at[bool](fresh(ctx, host), overviewKey)
	if err != nil {
		return err
	}
	for after := ""; !*done; {
		// From one day to the next, by a leap over all cells of the day.
		page, err := sdk.NewKV(host).List(ctx, sdk.KVList{Prefix: cellKeys, After: after, Limit: 1})
		if err != nil {
			return err
		}
		if len(page.Items) == 0 {
			if _, err := sdk.NewKV(host).Set(ctx, overviewKey, true, 0); err != nil {
				return err
			}
			break
		}
		key := page.Items[0].Key
		day := key[:strings.LastIndexByte(key, '/')+1]
		switch err := u.completeDay(ctx, host, day); {
		case unreadable(err): // and so it was before; the other days are well
			host.Log(slog.LevelWarn, "the totals of a day cannot be read", "day", day, "error", err.Error())
		case err != nil:
			return err
		}
		after = day + "~"
	}
	u.whole.Store(true)
	return nil
}

// unreadable reports whether a row holds what nobody of ours has written.
func unreadable(err error) bool {
	var shape *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	return errors.As(err, &shape) || errors.As(err, &syntax)
}

// completeDay makes the rows over all sessions of one day of a period, which is the prefix
// of its cells.
func (u *usage) completeDay(ctx context.Context, host sdk.Host, day string) error {
	sums, err := wholes(ctx, host, day)
	if err != nil {
		return err
	}
	keys := make([]string, 0, len(sums))
	for key := range sums {
		keys = append(keys, key)
	}
	for some := range slices.Chunk(keys, sdk.MaxKVApply) {
		err := u.change(ctx, host, func(c *change) error {
			// Whoever records meanwhile changes one of these rows. They are read before the
			// cells that they sum up, so that a record is in the sum or undoes the change.
			rows := make([]*cell, len(some))
			for i, key := range some {
				var err error
				if rows[i], _, err = at[cell](c, key); err != nil {
					return err
				}
			}
			sums, err := wholes(ctx, host, day)
			if err != nil {
				return err
			}
			for i, key := range some {
				if *rows[i] != sums[key] {
					*rows[i] = sums[key]
					c.put(key, 0)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// wholes sums up the cells of a day over all sessions, by the keys of those sums.
func wholes(ctx context.Context, host sdk.Host, day string) (map[string]cell, error) {
	sums := map[string]cell{}
	into := wholeKeys + strings.TrimPrefix(day, cellKeys)
	err := each(ctx, host, day, "", func(key string, value json.RawMessage) error {
		var a cell
		if err := json.Unmarshal(value, &a); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		whole := into + digest(a.Provider, a.Model, a.Kind)
		s := sums[whole]
		s.Day, s.Provider, s.Model, s.Kind = a.Day, a.Provider, a.Model, a.Kind
		s.merge(a.totals)
		s.LastUsed = max(s.LastUsed, a.LastUsed)
		sums[whole] = s
		return nil
	})
	return sums, err
}
