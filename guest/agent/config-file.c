/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/config-file.h"

#include "base/fd.h"
#include "fmt/json.h"
#include "io/tool.h"

#include <fcntl.h>
#include <string.h>

#define PARSE_TIMEOUT_MS 10000

/* A duration is a number of seconds, or what serde makes of one: { secs = 3, nanos = 0 }. */
static const json_t *seconds_of(const json_t *value)
{
	return json_is_object(value) ? json_object_get(value, "secs") : value;
}

static void set(struct agent_options *o, const char *key, const json_t *value,
		agent_options_warn warn, void *ctx)
{
	char text[AGENT_OPTION_MAX];

	value = seconds_of(value);
	if (json_is_string(value))
		(void)snprintf(text, sizeof text, "%s", json_string_value(value));
	else if (json_is_integer(value))
		(void)snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value));
	else if (json_is_boolean(value))
		(void)snprintf(text, sizeof text, "%s", json_is_true(value) ? "true" : "false");
	else
		(void)snprintf(text, sizeof text, "a table or list");
	agent_options_set(o, key, text, warn, ctx);
}

int config_file_read(struct agent_options *o, const char *path, const char *parser,
		     agent_options_warn warn, void *ctx, struct err *e)
{
	static const struct json_limits limits = {
		.bytes = 8 * CONFIG_FILE_MAX, .depth = 16, .values = 4096};
	const char *argv[] = {parser, "toml", NULL};
	_cleanup_buf_ struct buf text = BUF_INIT, json = BUF_INIT;
	json_t *root = NULL;
	json_t *value;
	const char *key;

	int r = file_read(AT_FDCWD, path, CONFIG_FILE_MAX, &text);
	if (r < 0)
		return err_errno(e, r, "read %s", path);
	const struct tool_spec spec = {.argv = argv,
				       .input = text.data,
				       .input_len = text.len,
				       .output_max = limits.bytes,
				       .timeout_ms = PARSE_TIMEOUT_MS};
	r = tool_run(&spec, &json, e);
	if (r == 0)
		r = json_text_parse(json.data ? json.data : "", json.len, &limits, &root, e);
	if (r < 0)
		return err_wrap(e, r, "%s", path);
	json_object_foreach (root, key, value)
		set(o, key, value, warn, ctx);
	json_decref(root);
	return 0;
}
