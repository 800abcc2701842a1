#include "nagatha.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

__attribute__((import_module("nagatha_v1"), import_name("recv"))) int32_t abi_recv(void *buffer, size_t capacity, int32_t timeout_ms);
__attribute__((import_module("nagatha_v1"), import_name("send"))) void abi_send(const void *message, size_t length);

// What was allocated for the run; it is freed when the run has ended.
struct block {
	struct block *next;
	max_align_t bytes[];
};
static struct block *blocks;

void *allocate(size_t size) {
	struct block *b = malloc(sizeof *b + size);
	if (!b) {
		fputs("out of memory\n", stderr); // so that the attempt's error is out_of_memory
		abort();
	}
	b->next = blocks;
	blocks = b;
	return b->bytes;
}

static void free_all(void) {
	while (blocks) {
		struct block *next = blocks->next;
		free(blocks);
		blocks = next;
	}
}

char *format(const char *pattern, ...) {
	va_list args, again;
	va_start(args, pattern);
	va_copy(again, args);
	size_t size = vsnprintf(NULL, 0, pattern, args) + 1;
	char *out = allocate(size);
	vsnprintf(out, size, pattern, again);
	va_end(again);
	va_end(args);
	return out;
}

static void say(const char *message) { abi_send(message, strlen(message)); }

// A task that came while a handler ran; there are some with limits.concurrency > 1.
struct waiting {
	struct waiting *next;
	bool cancelled;
	int64_t run;
	struct json message;
};
static struct waiting *queue;

enum next { MESSAGE, NOTHING, LEAVE };

// next waits for a message, without limit where timeout_ms is −1. The message is good
// until the run has ended.
static enum next next(int32_t timeout_ms, struct json *message) {
	char *buffer = NULL;
	int32_t capacity = 0, length;
	// The first time there is no room, and nothing is copied.
	while ((length = abi_recv(buffer, capacity, timeout_ms)) > capacity) buffer = allocate(capacity = length);
	*message = (struct json){buffer, length < 0 ? 0 : length};
	return length < 0 ? LEAVE : length == 0 ? NOTHING : MESSAGE;
}

static void enqueue(struct json message, int64_t run) {
	struct waiting *w = calloc(1, sizeof *w), **last = &queue;
	char *copy = malloc(message.length);
	if (!w || !copy) abort();
	memcpy(copy, message.at, message.length);
	*w = (struct waiting){.run = run, .message = {copy, message.length}};
	while (*last) last = &(*last)->next;
	*last = w;
}

const char *fail(struct host *host, const char *code, const char *message, bool retryable) {
	host->error = (struct error){code, message, retryable};
	return NULL;
}

void host_progress(struct host *host, int64_t done, int64_t total, const char *message) {
	say(format("{\"progress\":{\"run\":%lld,\"progress\":%lld,\"total\":%lld,\"message\":%s}}", host->run, done, total, quote(message)));
}

void host_log(struct host *host, const char *message, const char *attrs) {
	say(format("{\"log\":{\"run\":%lld,\"level\":0,\"message\":%s,\"attrs\":%s}}", host->run, quote(message), attrs));
}

// listen takes one message while a handler waits. The message is empty when the time was
// over, or it was for others.
static bool listen(struct host *host, int32_t timeout_ms, struct json *message) {
	int64_t run;
	if (!host->cancelled) {
		if (next(timeout_ms, message) == LEAVE) {
			fail(host, "unavailable", "the plugin is being shut down", true);
			return false;
		}
		if (json_whole(json_get(json_get(*message, "task"), "run"), &run)) {
			enqueue(*message, run);
			message->length = 0;
		} else if (json_whole(json_get(json_get(*message, "cancel"), "run"), &run)) {
			host->cancelled |= run == host->run;
			for (struct waiting *w = queue; w; w = w->next) w->cancelled |= run == w->run;
			message->length = 0;
		}
	}
	if (host->cancelled) fail(host, "cancelled", "the task was cancelled", false);
	return !host->cancelled;
}

// base64 decodes standard base64 with padding.
static struct json base64(const char *text) {
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *out = allocate(strlen(text) + 1);
	size_t length = 0, bits = 0, n = 0;
	for (; *text && *text != '='; text++) {
		bits = bits << 6 | (strchr(digits, *text) - digits);
		if ((n += 6) >= 8) out[length++] = bits >> (n -= 8);
	}
	return (struct json){out, length};
}

bool host_call(struct host *host, const char *op, const char *request, struct json *out) {
	int64_t call = ++host->calls, run, answered;
	say(format("{\"call\":{\"run\":%lld,\"call\":%lld,\"op\":%s,\"payload\":%s}}", host->run, call, quote(op), request));
	for (;;) {
		struct json message;
		if (!listen(host, -1, &message)) return false;
		struct json reply = json_get(message, "reply");
		if (!json_whole(json_get(reply, "run"), &run) || run != host->run) continue;
		if (!json_whole(json_get(reply, "call"), &answered) || answered != call) continue;
		struct json error = json_get(reply, "error");
		char *code = json_text(json_get(error, "code")), *text = json_text(json_get(error, "message"));
		if (code) {
			fail(host, code, text ? text : "", json_get(error, "retryable").length == strlen("true"));
			return false;
		}
		// The only JSON that is wrapped: a reply may be of any bytes.
		char *payload = json_text(json_get(reply, "payload"));
		*out = base64(payload ? payload : "");
		return true;
	}
}

static int64_t now_ms(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

bool host_sleep(struct host *host, int64_t milliseconds) {
	int64_t end = now_ms() + milliseconds;
	for (int64_t left = milliseconds; left > 0; left = end - now_ms()) {
		struct json message;
		if (!listen(host, left < INT32_MAX ? left : INT32_MAX, &message)) return false;
	}
	return true;
}

static void answer(struct host *host, const char *payload) {
	struct error *e = &host->error;
	if (!payload && !e->code) fail(host, "handler_error", "the handler returned nothing", true);
	if (payload) {
		say(format("{\"result\":{\"run\":%lld,\"payload\":%s}}", host->run, payload));
	} else {
		say(format("{\"result\":{\"run\":%lld,\"error\":{\"code\":%s,\"message\":%s,\"retryable\":%s}}}", host->run, quote(e->code),
			quote(e->message), e->retryable ? "true" : "false"));
	}
}

static void dispatch(const struct plugin *plugin, struct json message, bool cancelled) {
	struct host host = {.cancelled = cancelled};
	struct json configure = json_get(message, "configure"), task = json_get(message, "task");
	if (configure.length) {
		plugin->configure(&host, json_get(configure, "config"));
		answer(&host, host.error.code ? NULL : "null");
	} else if (json_whole(json_get(task, "run"), &host.run)) {
		struct task t = {.id = json_text(json_get(task, "id")), .kind = json_text(json_get(task, "kind")), .payload = json_get(task, "payload")};
		json_whole(json_get(task, "attempt"), &t.attempt);
		answer(&host, plugin->handle(&host, &t));
	}
}

void serve(const struct plugin *plugin) {
	say(format("{\"manifest\":{\"version\":1,\"info\":%s}}", plugin->info));
	for (;;) {
		free_all();
		struct waiting *w = queue;
		if (w) {
			queue = w->next;
			dispatch(plugin, w->message, w->cancelled);
			free((void *)w->message.at);
			free(w);
			continue;
		}
		struct json message;
		if (next(-1, &message) == LEAVE) return;
		dispatch(plugin, message, false);
	}
}
