/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/fake/script.h"

#include <string.h>

/* An hour: longer than any test. */
#define NUMBER_MAX 3600000

static bool parse_number(const char *s, uint32_t *ret)
{
	char *end;
	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	unsigned long n = strtoul(s, &end, 10);
	if (errno || *end || n > NUMBER_MAX)
		return false;
	*ret = (uint32_t)n;
	return true;
}

/* If @value is "fail:TEXT", takes the text. */
static bool parse_fail(const char *value, const char **ret)
{
	if (strncmp(value, "fail:", 5) != 0 || !value[5])
		return false;
	*ret = value + 5;
	return true;
}

static bool parse_prefixed(const char *value, const char *prefix, uint32_t *ret)
{
	size_t n = strlen(prefix);
	return strncmp(value, prefix, n) == 0 && parse_number(value + n, ret);
}

static bool parse_start(struct fake_script *s, const char *value)
{
	uint32_t code;

	if (strcmp(value, "hang") == 0)
		s->start_hang = true;
	else if (parse_prefixed(value, "exit:", &code) && code < 256)
		s->start_exit = (int)code;
	else
		return parse_fail(value, &s->start_fail) ||
		       parse_prefixed(value, "delay:", &s->start_delay_ms);
	return true;
}

static bool parse_exit_after(struct fake_script *s, char *value)
{
	uint32_t ms, code = 0;
	char *colon = strchr(value, ':');

	if (colon) {
		*colon = '\0';
		if (!parse_number(colon + 1, &code) || code > 255)
			return false;
	}
	if (!parse_number(value, &ms))
		return false;
	s->exit_after_ms = ms;
	s->exit_code = (int)code;
	return true;
}

static bool parse_item(struct fake_script *s, const char *key, char *value)
{
	if (strcmp(key, "create") == 0)
		return parse_fail(value, &s->create_fail);
	if (strcmp(key, "add-device") == 0)
		return parse_fail(value, &s->add_device_fail);
	if (strcmp(key, "start") == 0)
		return parse_start(s, value);
	if (strcmp(key, "exit-after") == 0)
		return parse_exit_after(s, value);
	if (strcmp(key, "stop") == 0)
		return parse_fail(value, &s->stop_fail) ||
		       parse_prefixed(value, "delay:", &s->stop_delay_ms);
	if (strcmp(key, "power-off") == 0) {
		s->never_power_off = strcmp(value, "never") == 0;
		return s->never_power_off || parse_number(value, &s->power_off_ms);
	}
	if (strcmp(key, "agent") == 0) {
		s->agent_hybrid = strcmp(value, "hybrid") == 0;
		return s->agent_hybrid || parse_fail(value, &s->agent_fail);
	}
	if (strcmp(key, "console") == 0) {
		s->console = value;
		return true;
	}
	return false;
}

int fake_script_parse(const char *text, struct fake_script *ret, struct err *e)
{
	struct fake_script s = {.start_exit = -1, .exit_after_ms = -1};
	char *save = NULL;

	s.text = strdup(text);
	if (!s.text)
		return err_errno(e, -ENOMEM, "read fake_script");
	for (char *item = strtok_r(s.text, ";", &save); item; item = strtok_r(NULL, ";", &save)) {
		item += strspn(item, " ");
		char *value = strchr(item, '=');
		if (!*item)
			continue;
		if (value)
			*value++ = '\0';
		if (!value || !parse_item(&s, item, value)) {
			int r = err_set(e, -EINVAL, "fake_script: \"%s%s%s\" is not understood",
					item, value ? "=" : "", value ? value : "");
			fake_script_free(&s);
			return r;
		}
	}
	*ret = s;
	return 0;
}

void fake_script_free(struct fake_script *s)
{
	free(s->text);
	*s = (struct fake_script){.text = NULL};
}
