/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/cli.h"

#include "base/id.h"

#include <string.h>

const char cli_usage[] = "Usage: containerd-shim-kata-v2 [flags] [start|delete]\n"
			 "\n"
			 "containerd runs this program; without a word it serves one pod.\n"
			 "  start   find or start the pod's shim, print its address\n"
			 "  delete  clean up after a shim that is gone, print a DeleteResponse\n"
			 "\n"
			 "Flags:\n"
			 "  -address string         containerd's socket\n"
			 "  -bundle string          the container's bundle (delete)\n"
			 "  -debug                  log debug messages\n"
			 "  -help                   show this help\n"
			 "  -id string              the container's id\n"
			 "  -info                   print a RuntimeInfo message\n"
			 "  -namespace string       containerd's namespace of the container\n"
			 "  -publish-binary string  containerd's program\n"
			 "  -v, -version            print the version\n";

struct flag {
	const char *name;
	const char **string; /* or: */
	bool *boolean;
};

static const struct flag *find_flag(const struct flag *flags, const char *name, size_t len)
{
	for (; flags->name; flags++)
		if (strlen(flags->name) == len && memcmp(flags->name, name, len) == 0)
			return flags;
	return NULL;
}

static int parse_bool(const char *name, const char *value, bool *ret, struct err *e)
{
	static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
	static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (strcmp(value, yes[i]) == 0 || strcmp(value, no[i]) == 0) {
			*ret = strcmp(value, yes[i]) == 0;
			return 0;
		}
	}
	return err_set(e, -EINVAL, "flag -%s: \"%s\" is no boolean", name, value);
}

/* Returns the number of words used, or a negative errno. */
static int parse_flag(const struct flag *flags, char *const word[], struct err *e)
{
	const char *name = word[0] + (word[0][1] == '-' ? 2 : 1);
	const char *equals = strchr(name, '=');
	size_t len = equals ? (size_t)(equals - name) : strlen(name);
	const struct flag *f = find_flag(flags, name, len);

	if (!f)
		return err_set(e, -EINVAL, "unknown flag -%.*s; -help lists the flags", (int)len,
			       name);
	if (f->boolean) {
		*f->boolean = true;
		int r = equals ? parse_bool(f->name, equals + 1, f->boolean, e) : 0;
		return r < 0 ? r : 1;
	}
	if (equals) {
		*f->string = equals + 1;
		return 1;
	}
	if (!word[1])
		return err_set(e, -EINVAL, "flag -%s needs a value", f->name);
	*f->string = word[1];
	return 2;
}

static int check(const struct cli *c, struct err *e)
{
	int r = id_check("-id", c->id, e);
	if (r < 0)
		return r;
	r = id_check("-namespace", c->namespace, e);
	if (r < 0)
		return r;
	if (!c->publish_binary[0])
		return err_set(e, -EINVAL, "-publish-binary is empty");
	return 0;
}

int cli_parse(int argc, char *const argv[], struct cli *ret, struct err *e)
{
	struct cli c = {
		.address = "", .bundle = "", .id = "", .namespace = "", .publish_binary = ""};
	bool help = false, version = false, info = false;
	const struct flag flags[] = {
		{"address", &c.address, NULL},
		{"bundle", &c.bundle, NULL},
		{"debug", NULL, &c.debug},
		{"h", NULL, &help},
		{"help", NULL, &help},
		{"id", &c.id, NULL},
		{"info", NULL, &info},
		{"namespace", &c.namespace, NULL},
		{"publish-binary", &c.publish_binary, NULL},
		{"v", NULL, &version},
		{"version", NULL, &version},
		{NULL, NULL, NULL},
	};
	int i = 1;

	while (i < argc && argv[i][0] == '-' && argv[i][1] != '\0') {
		if (strcmp(argv[i], "--") == 0) {
			i++;
			break;
		}
		int used = parse_flag(flags, &argv[i], e);
		if (used < 0)
			return used;
		i += used;
	}

	if (help || version || info) {
		c.action = help ? CLI_HELP : version ? CLI_VERSION : CLI_INFO;
		*ret = c;
		return 0;
	}
	if (i < argc && strcmp(argv[i], "start") == 0)
		c.action = CLI_START;
	else if (i < argc && strcmp(argv[i], "delete") == 0)
		c.action = CLI_DELETE;
	else if (i < argc)
		return err_set(e, -EINVAL, "unknown action \"%s\": must be start or delete",
			       argv[i]);
	*ret = c;
	return check(&c, e);
}
