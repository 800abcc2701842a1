package main

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func plugin() sdk.Plugin {
	p := &reminders{zone: time.UTC, keep: defaultKeep}
	fire := inner("fire", "Makes a reminder due, if it is time. The timer of every reminder is a task of this kind; others need not submit it.",
		`"required":["id","timer"],"properties":{`+id+`,"timer":{"type":"integer","description":"number of the timer; an old one does nothing"}}`,
		object(`"fired":{"type":"boolean"},"reason":{"type":"string"},"event":{"type":["object","null"]}`), `{"id":"rem_none","timer":1}`)
	fire.MaxAttempts, fire.Retry = 10, &sdk.RetryPolicy{Backoff: sdk.Duration(500 * time.Millisecond), MaxBackoff: sdk.Duration(30 * time.Second)}
	deliver := inner("deliver", "Sends a webhook for an occurrence of a reminder, again and again for some hours until it is taken.",
		`"required":["reminder","occurrence","channel","data"],"properties":{"reminder":{"type":"string"},"occurrence":{"type":"integer","minimum":1},
			"channel":{"type":"string"},"data":{"type":"object"}}`, `{"type":"object"}`,
		`{"reminder":"rem_none","occurrence":1,"channel":"phone","data":{}}`)
	deliver.MaxAttempts, deliver.Retry = 16, &sdk.RetryPolicy{Backoff: sdk.Duration(2 * time.Second), MaxBackoff: sdk.Duration(2 * time.Hour)}
	deliver.Concurrency = 2 // a slow receiver leaves instances for timers
	return sdk.New(sdk.Info{
		Name: "reminders", Version: "1.0.0", Description: "Reminds at a time, once or again and again; keeps to-dos and notes.",
		Capabilities: []string{"store", "publish", "submit", "http", "secrets"}, ConfigSchema: json.RawMessage(configSchema),
	},
		sdk.Func(kind("create", "Makes a reminder. Say when with at, in or say.", `"properties":{`+text+`,
				"at":{"type":"string","maxLength":200,"description":`+quote(timeGrammar)+`},
				"in":{"type":"string","maxLength":200,"description":`+quote(spanGrammar)+`},
				"say":{"type":"string","maxLength":1200,"description":"time and text in one: \"in 5 seconds stretch\", \"tomorrow at 9am call Ann\""},
				"recurrence":`+recurrenceSchema+`,`+zone+`,`+channels+`,
				"todo":{"type":"string","description":"id of the to-do that it is for; when and what default to its due time and title"}}`,
			oneReminder, `{"text":"stretch","in":"1 hour"}`), p.create),
		sdk.Func(kind("get", "Shows a reminder with its delivery log.", byID,
			object(`"reminder":`+reminderSchema+`,"deliveries":{"type":"array","items":{"type":"object"}}`), `{"id":"rem_none"}`), p.get),
		sdk.Func(kind("list", "Lists reminders; pending ones by what is due next.", `"properties":{
				"status":{"enum":["pending","due","completed","all"],"default":"pending"},"todo":{"type":"string"},`+paging+`}`,
			listOf("reminders", reminderSchema), `{}`), p.list),
		sdk.Func(kind("update", "Changes a reminder: text, time, recurrence (null: once), zone or channels.", `"required":["id"],"properties":{`+id+`,`+text+`,
				"at":{"type":"string","maxLength":200},"in":{"type":"string","maxLength":200},
				"recurrence":`+nullable(recurrenceSchema)+`,`+zone+`,"channels":`+nullable(namesSchema)+`}`,
			oneReminder, `{"id":"rem_none","text":"stretch, and drink"}`), p.update),
		sdk.Func(kind("snooze", "Makes a reminder due once more after a while from now. A series goes on after that.",
			`"required":["id","for"],"properties":{`+id+`,"for":{"type":"string","maxLength":200,"description":`+quote(spanGrammar)+`}}`,
			oneReminder, `{"id":"rem_none","for":"10 minutes"}`), p.snooze),
		sdk.Func(kind("complete", "Ends a reminder, a series as a whole.", byID, oneReminder, `{"id":"rem_none"}`), p.complete),
		sdk.Func(kind("delete", "Deletes a reminder.", byID, deletedSchema, `{"id":"rem_none"}`), p.delete),
		sdk.Func(inner("process_due", "Makes due what is due and has lost its timer, and tells of to-dos that have become due.", `"properties":{}`,
			object(`"due_tasks":{"type":"integer"},"due_reminders":{"type":"integer"},"processed_tasks":{"type":"array"},"processed_reminders":{"type":"array"},"timestamp":{"type":"string"}`),
			`{}`), p.processDue),
		sdk.Func(fire, p.fire),
		sdk.Func(deliver, p.deliver),

		sdk.Func(kind("todo_add", "Adds a to-do.", `"required":["title"],"properties":{`+title+`,"description":{"type":"string","maxLength":10000},
				"priority":`+prioritySchema+`,"due":{"type":"string","maxLength":200,"description":`+quote(timeGrammar)+`},
				"remind":{"type":"string","maxLength":200,"description":"a reminder so long before it is due: \"30 minutes\"; \"0 minutes\": when it is due"},
				`+zone+`,"tags":`+tagsSchema+`}`, oneTodo, `{"title":"Pay the rent","priority":"high","due":"in 3 days","tags":["home"]}`), p.todoAdd),
		sdk.Func(kind("todo_get", "Shows a to-do.", byID, oneTodo, `{"id":"todo_none"}`), p.todoGet),
		sdk.Func(kind("todo_list", "Lists to-dos as they were made, or finds them by words.", `"properties":{
				"status":{"enum":["open","pending","in_progress","completed","cancelled","all"],"default":"open"},"priority":`+prioritySchema+`,
				"tag":{"type":"string"},"due_before":{"type":"string","maxLength":200},"query":{"type":"string","maxLength":1000},`+paging+`}`,
			listOf("todos", todoSchema), `{}`), p.todoList),
		sdk.Func(kind("todo_update", "Changes a to-do; null clears a field.", `"required":["id"],"properties":{`+id+`,`+title+`,
				"description":{"type":["string","null"],"maxLength":10000},"status":{"enum":["pending","in_progress","completed","cancelled"]},
				"priority":`+nullable(prioritySchema)+`,"due":{"type":["string","null"],"maxLength":200},`+zone+`,"tags":`+nullable(tagsSchema)+`}`,
			oneTodo, `{"id":"todo_none","due":null}`), p.todoUpdate),
		sdk.Func(kind("todo_complete", "Marks a to-do as done, and its reminders with it.", byID, oneTodo, `{"id":"todo_none"}`), p.todoComplete),
		sdk.Func(kind("todo_delete", "Deletes a to-do and its reminders.", byID, deletedSchema, `{"id":"todo_none"}`), p.todoDelete),

		sdk.Func(kind("note_add", "Adds a note.", `"required":["title","content"],"properties":{`+title+`,"content":{"type":"string","maxLength":60000},"tags":`+tagsSchema+`}`,
			oneNote, `{"title":"Wifi","content":"The password is on the router."}`), p.noteAdd),
		sdk.Func(kind("note_get", "Shows a note as a whole.", byID, oneNote, `{"id":"note_none"}`), p.noteGet),
		sdk.Func(kind("note_search", "Finds notes by words in them, best first; without a query lists them.", `"properties":{
				"query":{"type":"string","maxLength":1000},"tag":{"type":"string"},`+paging+`}`, listOf("notes", noteSchema), `{"query":"wifi"}`), p.noteSearch),
		sdk.Func(kind("note_update", "Changes a note; null clears a field.", `"required":["id"],"properties":{`+id+`,`+title+`,
				"content":{"type":["string","null"],"maxLength":60000},"tags":`+nullable(tagsSchema)+`}`, oneNote, `{"id":"note_none","content":"Ask Ann."}`), p.noteUpdate),
		sdk.Func(kind("note_delete", "Deletes a note.", byID, deletedSchema, `{"id":"note_none"}`), p.noteDelete),
	).OnConfigure(p.configure)
}

// The parts that the schemas share.
const (
	id               = `"id":{"type":"string","minLength":1,"maxLength":128}`
	byID             = `"required":["id"],"properties":{` + id + `}`
	text             = `"text":{"type":"string","minLength":1,"maxLength":1000}`
	title            = `"title":{"type":"string","minLength":1,"maxLength":255}`
	zone             = `"zone":{"type":"string","maxLength":64,"description":"IANA name, such as Europe/Berlin"}`
	recurrenceSchema = `{"type":"string","maxLength":256,"description":"daily, weekly, weekdays, monthly, yearly, or a cron line of 5 fields"}`
	namesSchema      = `{"type":"array","maxItems":16,"items":{"type":"string"},"description":"webhooks of config.hcl; the event reminder.due is always published"}`
	channels         = `"channels":` + namesSchema
	tagsSchema       = `{"type":"array","maxItems":32,"items":{"type":"string","minLength":1,"maxLength":64}}`
	prioritySchema   = `{"enum":["low","medium","high","urgent"]}`
	paging           = `"limit":{"type":"integer","minimum":1,"maximum":200},"cursor":{"type":"string","maxLength":1000,"description":"next_cursor of the page before"}`
	reminderSchema   = `{"type":"object","required":["id","text","status","due_at","recurrence","zone","occurrence"],"properties":{
		"id":{"type":"string"},"text":{"type":"string"},"status":{"enum":["pending","due","completed"]},"due_at":{"type":["string","null"]},
		"recurrence":{"type":"string"},"zone":{"type":"string"},"channels":{"type":"array"},"occurrence":{"type":"integer"}}}`
	todoSchema = `{"type":"object","required":["id","title","status","priority","due_at","tags"],"properties":{
		"id":{"type":"string"},"title":{"type":"string"},"description":{"type":"string"},"status":{"enum":["pending","in_progress","completed","cancelled"]},
		"priority":` + prioritySchema + `,"due_at":{"type":["string","null"]},"tags":{"type":"array"},"reminders":{"type":"array"}}}`
	noteSchema = `{"type":"object","required":["id","title","content","truncated","tags"],"properties":{
		"id":{"type":"string"},"title":{"type":"string"},"content":{"type":"string"},"truncated":{"type":"boolean"},"tags":{"type":"array"}}}`
	configSchema = `{"type":"object","additionalProperties":false,"properties":{
		"zone":{"type":"string","description":"IANA name, of reminders that name none; UTC"},
		"keep":{"type":"string","description":"how long what is over is kept, and delivery logs; 720h"},
		"queue":{"type":"string","description":"of timers and webhooks; the default queue"},
		"default_channels":{"type":"array","items":{"type":"string"}},
		"channels":{"type":"object","description":"webhooks by name","additionalProperties":{"type":"object","additionalProperties":false,
			"required":["url","secret"],"properties":{"url":{"type":"string"},"secret":{"type":"string","description":"name of a granted secret, whsec_…"}}}}}}`
)

var (
	oneReminder   = object(`"reminder":` + reminderSchema)
	oneTodo       = object(`"todo":` + todoSchema)
	oneNote       = object(`"note":` + noteSchema)
	deletedSchema = object(`"deleted":{"type":"boolean"}`)
)

// object is the schema of an object whose members are all required.
func object(members string) string {
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte("{"+members+"}"), &m); err != nil {
		panic(err) // of this file
	}
	var names []string
	for name := range m {
		names = append(names, quote(name))
	}
	return `{"type":"object","required":[` + strings.Join(names, ",") + `],"properties":{` + members + `}}`
}

func listOf(name, item string) string {
	return object(quote(name) + `:{"type":"array","items":` + item + `},"next_cursor":{"type":"string"}`)
}

func nullable(schema string) string { return `{"anyOf":[{"type":"null"},` + schema + `]}` }

func quote(s string) string {
	b, _ := json.Marshal(s) // a string: cannot fail
	return string(b)
}

// kind is one that an assistant may use, inner one that it need not.
func kind(name, description, payload, result, example string) sdk.HandlerInfo {
	h := inner(name, description, payload, result, example)
	h.Tool = true
	switch name {
	case "get", "list", "todo_get", "todo_list", "note_get", "note_search":
		h.ReadOnly = true
	case "complete", "delete", "todo_complete", "todo_delete", "note_update", "note_delete":
		h.Idempotent = true
	}
	return h
}

func inner(name, description, payload, result, example string) sdk.HandlerInfo {
	return sdk.HandlerInfo{Kind: "reminders." + name, Description: description,
		PayloadSchema: json.RawMessage(`{"type":"object","additionalProperties":false,` + payload + `}`),
		ResultSchema:  json.RawMessage(result), Example: json.RawMessage(example)}
}
