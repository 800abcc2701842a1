package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// export reads the records themselves, page by page, in the order of their ids.
func (u *usage) export(ctx context.Context, host sdk.Host, in struct {
	Limit  int    `json:"limit"`
	Cursor string `json:"cursor"`
	Format string `json:"format"`
}) (any, error) {
	after := ""
	if in.Cursor != "" {
		id, err := base64.RawURLEncoding.DecodeString(in.Cursor)
		if err != nil {
			return nil, sdk.Invalid("cursor", "want the next_cursor of the page before")
		}
		after = recordKeys + string(id)
	}
	page, err := sdk.NewKV(host).List(ctx, sdk.KVList{Prefix: recordKeys, After: after, Limit: cmp.Or(in.Limit, 100)})
	if err != nil {
		return nil, err
	}
	records := make([]record, len(page.Items))
	for i, it := range page.Items {
		if err := json.Unmarshal(it.Value, &records[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", it.Key, err)
		}
		records[i].price(records[i].Cost, records[i].Price)
	}
	next := base64.RawURLEncoding.EncodeToString([]byte(strings.TrimPrefix(page.Next, recordKeys)))
	if in.Format != "csv" {
		return map[string]any{"records": records, "next_cursor": next}, nil
	}
	text, err := recordsCSV(records)
	return map[string]any{"csv": text, "next_cursor": next}, err
}

func recordsCSV(records []record) (string, error) {
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write([]string{"id", "time", "provider", "model", "session", "task", "kind", "input_tokens", "output_tokens", "cached_tokens",
		"cost_usd", "price_version"})
	for _, r := range records {
		version := ""
		if r.Price != nil {
			version = r.Price.Version
		}
		_ = w.Write([]string{plain(r.ID), r.Time.String(), plain(r.Provider), plain(r.Model), plain(r.Session), plain(r.Task), plain(r.Kind),
			fmt.Sprint(r.Input), fmt.Sprint(r.Output), fmt.Sprint(r.Cached), dollars(r.Cost), version})
	}
	w.Flush()
	return b.String(), w.Error()
}
