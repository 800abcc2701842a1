package main

import (
	"encoding/json"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// The parts that the schemas share.
const (
	sectionSchema = `{"type":"string","pattern":"^[a-z][a-z0-9_-]*$","maxLength":64}`
	sessionSchema = `{"type":"string","maxLength":160,"description":"an entry of one session never touches that of all; empty: that of all"}`
	oneSession    = `{"type":"string","minLength":1,"maxLength":160}` // where to leave it empty would do too much
	place         = `"section":` + sectionSchema + `,"key":{"type":"string","minLength":1,"maxLength":256},"session":` + sessionSchema
	timeSchema    = `{"type":"string","format":"date-time"}`
	ttlSchema     = `{"type":"string","description":"such as 1h; 0s keeps it for ever"}`
	cursorSchema  = `{"type":"string","description":"next_cursor of the page before"}`
	limitSchema   = `{"type":"integer","minimum":1,"maximum":1000,"default":100}`
	entryFields   = `"section":{"type":"string"},"key":{"type":"string"},"value":{},"session":{"type":"string"},"version":{"type":"integer"},
		"created_at":{"type":"string"},"updated_at":{"type":"string"},"expires_at":{"type":["string","null"]},
		"fact":{"type":"object","description":"of the section facts: where it comes from"}`
	entrySchema = `{"type":"object","required":["section","key","value","session","version","created_at","updated_at","expires_at"],"properties":{` + entryFields + `}}`
	pageSchema  = `{"type":"object","required":["entries","next_cursor"],"properties":{"entries":{"type":"array","items":` + entrySchema + `},"next_cursor":{"type":"string"}}}`
	factFields  = `"id":{"type":"string"},"fact":{"type":"string"},"subject":{"type":"string"},"source":{"type":"string"},"session":{"type":"string"},
		"valid_from":{"type":"string"},"valid_to":{"type":["string","null"]},"recorded_at":{"type":"string"}`
	factSchema  = `{"type":"object","required":["id","fact","subject","source","valid_from","valid_to","recorded_at"],"properties":{` + factFields + `}}`
	statsSchema = `{"type":"object","required":["total_entries","total_bytes","sections","superseded_facts","max_entries","max_bytes"],"properties":{
		"total_entries":{"type":"integer"},"total_bytes":{"type":"integer"},"superseded_facts":{"type":"integer"},
		"max_entries":{"type":"integer"},"max_bytes":{"type":"integer"},
		"sections":{"type":"object","additionalProperties":{"type":"object","required":["entries","session_entries","bytes","expiring"],"properties":{
			"entries":{"type":"integer","description":"of all sessions and of single ones"},"session_entries":{"type":"integer","description":"of single sessions"},
			"bytes":{"type":"integer"},"expiring":{"type":"integer","description":"with a ttl"}}}}}}`
	recordSchema = `{"type":"object","required":["section","key","version","created_at","updated_at"],"properties":{` + entryFields + `}}`
)

// what a kind is besides its schemas.
type trait func(*sdk.HandlerInfo)

func tool(h *sdk.HandlerInfo)       { h.Tool = true }
func readOnly(h *sdk.HandlerInfo)   { h.ReadOnly, h.Idempotent = true, true }
func idempotent(h *sdk.HandlerInfo) { h.Idempotent = true }

// long is for what goes through everything page by page.
func long(h *sdk.HandlerInfo) {
	h.Timeout, h.MaxAttempts, h.Concurrency = sdk.Duration(5*time.Minute), 3, 1
}

func kind(name, description, payload, result, example string, traits ...trait) sdk.HandlerInfo {
	h := sdk.HandlerInfo{Kind: "memory." + name, Description: description,
		PayloadSchema: json.RawMessage(`{"type":"object","additionalProperties":false,` + payload + `}`),
		ResultSchema:  json.RawMessage(result), Example: json.RawMessage(example)}
	for _, t := range traits {
		t(&h)
	}
	return h
}

func (m *memory) kinds() []sdk.Registration {
	return append([]sdk.Registration{
		sdk.Func(kind("set", "Stores a value under a section and a key, in place of what was there. In the section facts what was there is kept as superseded.",
			`"required":["section","key","value"],"properties":{`+place+`,
				"value":{"description":"any JSON; null is a value too"},
				"ttl":`+ttlSchema+`,
				"if_version":{"type":"integer","minimum":0,"description":"only if the entry has this version; 0: only if there is none"}}`,
			`{"type":"object","required":["entry","created"],"properties":{"entry":`+entrySchema+`,"created":{"type":"boolean"}}}`,
			`{"section":"notes","key":"example","value":"hello"}`, tool), m.set),
		sdk.Func(kind("get", "Reads the value of a section and a key.",
			`"required":["section","key"],"properties":{`+place+`,
				"fallback":{"type":"boolean","description":"without an entry of the session, read the one of all sessions"}}`,
			`{"type":"object","required":["found","entry"],"properties":{"found":{"type":"boolean"},"entry":{"anyOf":[{"type":"null"},`+entrySchema+`]}}}`,
			`{"section":"notes","key":"example"}`, tool, readOnly), m.get),
		sdk.Func(kind("delete", "Deletes an entry. A fact is no longer believed; it stays as what was believed.",
			`"required":["section","key"],"properties":{`+place+`}`,
			`{"type":"object","required":["deleted"],"properties":{"deleted":{"type":"boolean"}}}`,
			`{"section":"notes","key":"example"}`, tool, idempotent), m.delete),
		sdk.Func(kind("list", "Lists the entries of a section, in the order of their keys.",
			`"required":["section"],"properties":{
				"section":`+sectionSchema+`,"session":`+sessionSchema+`,
				"prefix":{"type":"string","maxLength":256},"limit":`+limitSchema+`,"cursor":`+cursorSchema+`}`,
			pageSchema, `{"section":"facts"}`, tool, readOnly), m.list),
		sdk.Func(kind("search", "Finds entries by words in their keys and values, best first.",
			`"required":["query"],"properties":{
				"query":{"type":"string","maxLength":10000},"section":`+sectionSchema+`,"session":`+sessionSchema+`,
				"limit":{"type":"integer","minimum":1,"maximum":100,"default":10}}`,
			`{"type":"object","required":["results"],"properties":{"results":{"type":"array","items":{"type":"object",
				"required":["entry","score"],"properties":{"entry":`+entrySchema+`,"score":{"type":"number"}}}}}}`,
			`{"query":"where does Bob work?"}`, tool, readOnly), m.search),
		sdk.Func(kind("remember", "Remembers a fact. It supersedes what was believed about the same subject, which is kept: recall with as_of still finds it.",
			`"required":["fact"],"properties":{
				"fact":{"type":"string","minLength":1,"description":"one sentence"},
				"subject":{"type":"string","minLength":1,"maxLength":256,"description":"what it is about, the same text each time, such as \"Bob's job\"; a fact without one supersedes nothing"},
				"source":{"type":"string","maxLength":1000,"description":"who or what said so"},
				"valid_from":`+timeSchema+`,"session":`+sessionSchema+`}`,
			`{"type":"object","required":["fact","created","superseded"],"properties":{"fact":`+factSchema+`,
				"created":{"type":"boolean","description":"false: it was believed already"},
				"superseded":{"type":["string","null"],"description":"id of the fact that was believed before"}}}`,
			`{"fact":"Bob works at Acme","subject":"Bob's job","source":"Bob"}`, tool, idempotent), m.remember),
		sdk.Func(kind("recall", "Finds facts by their words, best first: what is believed now, or with as_of what was believed then.",
			`"properties":{
				"query":{"type":"string","maxLength":10000,"description":"may be left out with a subject"},
				"subject":{"type":"string","minLength":1,"maxLength":256},"as_of":`+timeSchema+`,"session":`+sessionSchema+`,
				"limit":{"type":"integer","minimum":1,"maximum":100,"default":10}}`,
			`{"type":"object","required":["facts"],"properties":{"facts":{"type":"array","items":{"type":"object",
				"required":["id","fact","subject","source","valid_from","valid_to","recorded_at","score"],"properties":{`+factFields+`,"score":{"type":"number"}}}}}}`,
			`{"query":"where does Bob work?"}`, tool, readOnly), m.recall),
		sdk.Func(kind("forget", "Forgets a fact, by its id or its subject: it is no longer believed. With erase it is gone for good, and what was believed before it about the subject too.",
			`"properties":{
				"id":{"type":"string","minLength":1,"maxLength":64},"subject":{"type":"string","minLength":1,"maxLength":256},
				"session":`+sessionSchema+`,"erase":{"type":"boolean","description":"recall with as_of does not find it either"}}`,
			`{"type":"object","required":["forgotten"],"properties":{"forgotten":{"type":"integer"}}}`,
			`{"subject":"Bob's job"}`, tool, idempotent), m.forget),
		sdk.Func(kind("history", "Lists the section command_history, newest first: of one session, or of all.",
			`"properties":{"session":`+sessionSchema+`,"limit":`+limitSchema+`,"cursor":`+cursorSchema+`}`,
			pageSchema, `{"limit":20}`, tool, readOnly), m.history),
		sdk.Func(kind("stats", "Counts what is remembered.", `"properties":{}`, statsSchema, `{}`, tool, readOnly), m.stats),
	}, m.chores()...)
}

// chores are the kinds that schedules and operators use.
func (m *memory) chores() []sdk.Registration {
	return []sdk.Registration{
		sdk.Func(kind("clear", "Deletes everything in a section, of one session or of all; of facts also what was believed before.",
			`"required":["section"],"properties":{"section":`+sectionSchema+`,"session":`+oneSession+`,
				"confirm":{"type":"boolean","description":"must be true: there is no way back"}}`,
			`{"type":"object","required":["cleared"],"properties":{"cleared":{"type":"integer"}}}`,
			`{"section":"examples","confirm":true}`, long, idempotent), m.clear),
		sdk.Func(kind("end_session", "Deletes the session_state of a session that has ended; agent.session.deleted events start it.",
			`"properties":{"event":{"type":"object"},"session":`+oneSession+`}`,
			`{"type":"object","required":["session","cleared"],"properties":{"session":{"type":"string"},"cleared":{"type":"integer"}}}`,
			`{"session":"ses_example"}`, long, idempotent), m.endSession),
		sdk.Func(kind("cleanup", "Deletes what has expired, and says how much that was.",
			`"properties":{}`,
			`{"type":"object","required":["cleaned_entries","memory_stats","timestamp"],"properties":{"cleaned_entries":{"type":"integer"},
				"cleaned_sections":{"type":"object"},"memory_stats":`+statsSchema+`,"timestamp":{"type":"string"}}}`,
			`{}`, long, idempotent), m.cleanup),
		sdk.Func(kind("optimize", "Cleans up, and retires facts without a subject whose sentence another fact says too.",
			`"properties":{}`,
			`{"type":"object","required":["facts_consolidated","cleaned_entries","memory_stats","timestamp"],"properties":{
				"facts_consolidated":{"type":"integer"},"cleaned_entries":{"type":"integer"},"memory_stats":`+statsSchema+`,"timestamp":{"type":"string"}}}`,
			`{}`, long, idempotent), m.optimize),
		sdk.Func(kind("export", "Copies out a page of everything, superseded facts included. Give the pages to memory.import as they are.",
			`"properties":{"section":`+sectionSchema+`,"limit":`+limitSchema+`,"cursor":`+cursorSchema+`}`,
			`{"type":"object","required":["entries","next_cursor"],"properties":{"entries":{"type":"array","items":`+recordSchema+`},"next_cursor":{"type":"string"}}}`,
			`{"limit":100}`, readOnly), m.export),
		sdk.Func(kind("import", "Takes in a page of an export, with versions and times as they were.",
			`"required":["entries"],"properties":{"entries":{"type":"array","maxItems":1000,"items":`+recordSchema+`},
				"next_cursor":{"type":"string","description":"ignored, so that a page can be given as it is"},
				"mode":{"enum":["skip","replace"],"default":"skip","description":"what to do with an entry that is there already"}}`,
			`{"type":"object","required":["imported","skipped"],"properties":{"imported":{"type":"integer"},"skipped":{"type":"integer"}}}`,
			`{"entries":[{"section":"examples","key":"one","value":"hello","session":"","version":1,"created_at":"2026-01-31T08:00:00Z","updated_at":"2026-01-31T08:00:00Z","expires_at":null}]}`,
			long, idempotent), m.imports),
	}
}
