// JSON, as much of it as a plugin needs. What the runtime sends is JSON without errors, so
// nothing here looks for them.
#include "nagatha.h"

#include <stdlib.h>
#include <string.h>

static bool space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static size_t skip(struct json j, size_t i) {
	while (i < j.length && space(j.at[i])) i++;
	return i;
}

// end_of returns where the value that begins at i ends.
static size_t end_of(struct json j, size_t i) {
	size_t depth = 0;
	for (; i < j.length; i++) {
		char c = j.at[i];
		if (c == '"') {
			for (i++; i < j.length && j.at[i] != '"'; i++)
				if (j.at[i] == '\\') i++;
		} else if (c == '{' || c == '[') {
			depth++;
		} else if (c == '}' || c == ']') {
			if (depth == 0) return i; // of what it is in
			depth--;
		} else if (depth == 0 && (c == ',' || space(c))) {
			return i;
		} else {
			continue; // of a number or a word, or inside
		}
		if (depth == 0) return i + 1;
	}
	return j.length;
}

struct json json_get(struct json object, const char *name) {
	size_t i = skip(object, 0);
	if (i >= object.length || object.at[i] != '{') return (struct json){0};
	for (i = skip(object, i + 1); i < object.length && object.at[i] == '"'; i = skip(object, i + 1)) {
		size_t end = end_of(object, i);
		struct json key = {object.at + i, end - i};
		i = skip(object, skip(object, end) + 1); // behind the colon
		end = end_of(object, i);
		char *text = json_text(key);
		if (text && strcmp(text, name) == 0) return (struct json){object.at + i, end - i};
		i = skip(object, end); // a comma, or the end
	}
	return (struct json){0};
}

static uint32_t unit(const char *digits) {
	char hex[5] = {0};
	memcpy(hex, digits, 4);
	return strtoul(hex, NULL, 16);
}

static char *utf8(char *out, uint32_t c) {
	if (c < 0x80) {
		*out++ = c;
	} else if (c < 0x800) {
		*out++ = 0xC0 | c >> 6;
		*out++ = 0x80 | (c & 0x3F);
	} else if (c < 0x10000) {
		*out++ = 0xE0 | c >> 12;
		*out++ = 0x80 | (c >> 6 & 0x3F);
		*out++ = 0x80 | (c & 0x3F);
	} else {
		*out++ = 0xF0 | c >> 18;
		*out++ = 0x80 | (c >> 12 & 0x3F);
		*out++ = 0x80 | (c >> 6 & 0x3F);
		*out++ = 0x80 | (c & 0x3F);
	}
	return out;
}

char *json_text(struct json value) {
	if (value.length < 2 || value.at[0] != '"') return NULL;
	char *text = allocate(value.length), *out = text; // decoded it is never longer
	const char *in = value.at + 1, *end = value.at + value.length - 1;
	while (in < end) {
		if (*in != '\\') {
			*out++ = *in++;
			continue;
		}
		char escape = in[1];
		in += 2;
		const char *one = strchr("b\bf\fn\nr\rt\t", escape);
		if (escape != 'u') {
			*out++ = one ? one[1] : escape;
			continue;
		}
		uint32_t c = unit(in);
		in += 4;
		if (c >= 0xD800 && c < 0xDC00 && end - in >= 6 && in[0] == '\\' && in[1] == 'u') {
			c = 0x10000 + ((c - 0xD800) << 10) + (unit(in + 2) - 0xDC00);
			in += 6;
		}
		if (c == 0) return NULL;
		out = utf8(out, c >= 0xD800 && c < 0xE000 ? 0xFFFD : c);
	}
	*out = 0;
	return text;
}

bool json_whole(struct json value, int64_t *number) {
	char digits[24] = {0}, *end;
	if (value.length == 0 || value.length >= sizeof digits) return false;
	memcpy(digits, value.at, value.length);
	*number = strtoll(digits, &end, 10);
	return *end == 0 && end > digits && *number < INT64_MAX && *number > INT64_MIN;
}

char *quote(const char *text) {
	char *out = allocate(6 * strlen(text) + 3), *to = out;
	*to++ = '"';
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20) {
			memcpy(to, "\\u00", 4);
			to[4] = "01"[*text >> 4];
			to[5] = "0123456789abcdef"[*text & 15];
			to += 6;
			continue;
		}
		if (*text == '"' || *text == '\\') *to++ = '\\';
		*to++ = *text;
	}
	*to++ = '"';
	*to = 0;
	return out;
}
