// A whole plugin in C. Build it with clang and wasi-libc (Debian's packages clang, lld,
// wasi-libc and libclang-rt-dev-wasm32):
//
//	clang --target=wasm32-wasi -O2 -s greet.c nagatha.c json.c -o greet.wasm
//
// check it with `nagatha plugins check greet.wasm`, and let the runtime have it with
//
//	plugin "c" {
//	  wasm = "greet.wasm"
//	  config { greeting = "Hello" }
//	  grant { store = true }
//	}
#include "nagatha.h"

#include <stdlib.h>
#include <string.h>

static char *greeting; // of the config block, kept for all tasks

static void configure(struct host *host, struct json config) {
	char *text = json_text(json_get(config, "greeting"));
	free(greeting);
	greeting = strdup(text ? text : "Hello");
	if (!greeting) fail(host, "out_of_memory", "no room for the greeting", true);
}

// A task that takes a while: it tells how far it is, can be cancelled in each wait and
// each call, and keeps a number in the plugin's store.
static const char *visit(struct host *host, const struct task *task, const char *name) {
	int64_t rooms = 1, visits = 0, version = 0;
	json_whole(json_get(task->payload, "rooms"), &rooms);
	host_log(host, "a visit", format("{\"name\":%s,\"attempt\":%lld}", quote(name), task->attempt));
	for (int64_t room = 1; room <= rooms; room++) {
		if (!host_sleep(host, 100)) return NULL;
		host_progress(host, room, rooms, format("room %lld", room));
	}
	const char *key = quote(format("visits/%s", name));
	struct json reply;
	if (!host_call(host, "kv.get", format("{\"key\":%s}", key), &reply)) return NULL;
	struct json item = json_get(reply, "item");
	json_whole(json_get(item, "value"), &visits);
	json_whole(json_get(item, "version"), &version);
	visits++;
	// if_version: two visits at the same time are two. The second one's error is a conflict,
	// and it is tried again.
	if (!host_call(host, "kv.set", format("{\"key\":%s,\"value\":%lld,\"if_version\":%lld}", key, visits, version), &reply)) {
		host->error.retryable |= strcmp(host->error.code, "conflict") == 0;
		return NULL;
	}
	return format("{\"visits\":%lld}", visits);
}

static const char *handle(struct host *host, const struct task *task) {
	bool greets = strcmp(task->kind, "c.greet") == 0, visits = strcmp(task->kind, "c.visit") == 0;
	if (!greets && !visits) return fail(host, "plugin_protocol", format("this plugin has no kind %s", task->kind), false);
	char *name = json_text(json_get(task->payload, "name"));
	// Not retryable: the payload will be the same the next time.
	if (!name || !*name) return fail(host, "no_name", "want a name", false);
	if (visits) return visit(host, task, name);
	return format("{\"text\":%s}", quote(format("%s, %s", greeting, name)));
}

static const char info[] =
	"{\"name\":\"c\",\"version\":\"1\",\"description\":\"Greets people, and counts their visits.\",\"capabilities\":[\"store\"],"
	"\"config_schema\":{\"type\":\"object\",\"properties\":{\"greeting\":{\"type\":\"string\"}},\"additionalProperties\":false},"
	"\"handlers\":[{"
	"\"kind\":\"c.greet\",\"description\":\"Greets somebody.\",\"read_only\":true,\"example\":{\"name\":\"Ann\"},"
	"\"payload_schema\":{\"type\":\"object\",\"required\":[\"name\"],\"properties\":{\"name\":{\"type\":\"string\"}}},"
	"\"result_schema\":{\"type\":\"object\",\"required\":[\"text\"],\"properties\":{\"text\":{\"type\":\"string\"}}}"
	"},{"
	"\"kind\":\"c.visit\",\"description\":\"Shows somebody around, and counts the visit.\",\"timeout\":\"10m\","
	"\"example\":{\"name\":\"Ann\",\"rooms\":3},"
	"\"payload_schema\":{\"type\":\"object\",\"required\":[\"name\"],\"properties\":{"
	"\"name\":{\"type\":\"string\"},\"rooms\":{\"type\":\"integer\",\"minimum\":0}}},"
	"\"result_schema\":{\"type\":\"object\",\"required\":[\"visits\"],\"properties\":{\"visits\":{\"type\":\"integer\"}}}"
	"}]}";

int main(void) {
	serve(&(struct plugin){info, configure, handle});
	return 0;
}
