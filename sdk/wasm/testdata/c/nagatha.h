// The conversation with the runtime, in its JSON form: nagatha.proto says what the
// messages are.
//
// Every pointer that a function here returns is good until the handler returns; nothing
// has to be freed. A handler runs to its end before the next one begins. The runtime
// starts as many instances of the module as it has tasks for (limits.instances), so that
// tasks run side by side all the same.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A JSON value, where it stands in a message; of length 0 where there is none.
struct json {
	const char *at;
	size_t length;
};

struct json json_get(struct json object, const char *name); // a member; none in what is no object
char *json_text(struct json value);                         // NULL: no text, or one with a NUL in it
bool json_whole(struct json value, int64_t *number);        // false: no whole number, or too large a one

char *format(const char *pattern, ...) __attribute__((format(printf, 1, 2)));
char *quote(const char *text); // as JSON
void *allocate(size_t size);

struct task {
	char *id, *kind;
	struct json payload;
	int64_t attempt; // from 1
};

// What fails a task, or a call. With retryable the task is tried again.
struct error {
	const char *code, *message; // code NULL: none
	bool retryable;
};

// One run of a handler.
struct host {
	int64_t run, calls;
	bool cancelled;
	struct error error;
};

// fail sets the error of the run, and returns NULL for the handler to return.
const char *fail(struct host *host, const char *code, const char *message, bool retryable);

void host_progress(struct host *host, int64_t done, int64_t total, const char *message);
void host_log(struct host *host, const char *message, const char *attrs); // level info; attrs is an object

// host_call performs an operation of the runtime, such as kv.get, and waits for its reply.
// host_sleep waits. Both return false with the error set; a cancelled task is one.
bool host_call(struct host *host, const char *op, const char *request, struct json *reply);
bool host_sleep(struct host *host, int64_t milliseconds);

struct plugin {
	const char *info; // the manifest: what info is in docs/plugins.md, as JSON
	// Takes the config block of config.hcl, which fits the manifest's config_schema.
	void (*configure)(struct host *host, struct json config);
	// Returns the result as JSON, or what fail returns.
	const char *(*handle)(struct host *host, const struct task *task);
};

// serve answers the runtime until it wants the plugin to leave.
void serve(const struct plugin *plugin);
