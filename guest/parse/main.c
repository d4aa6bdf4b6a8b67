/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kata-agent-parse: reads formats that the agent has no parser of its own for, and prints what they
 * hold in a simpler one:
 *
 *	kata-agent-parse gunzip		gzip to what is in it
 *	kata-agent-parse toml		TOML to JSON
 *
 * The agent is the first process of a machine, small, and must not fall for a stranger's file. So
 * such files are read by this program, which can do nothing but read its input and write its
 * output, with bounded memory and time, and is in those images only that need it.
 */
#include "base/buf.h"
#include "base/err.h"
#include "fmt/toml.h"
#include "guest/parse/lock.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define INPUT_MAX (16u << 20)
#define OUTPUT_MAX (16u << 20)

static int complain(const char *sentence)
{
	(void)dprintf(STDERR_FILENO, "%s\n", sentence);
	return 1;
}

/* ---- Input, output ------------------------------------------------------------------------- */

static int read_input(struct buf *text)
{
	static char chunk[65536];

	for (;;) {
		ssize_t n = read(STDIN_FILENO, chunk, sizeof chunk);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return complain("the input cannot be read");
		if (n == 0)
			break;
		if (text->len + (size_t)n > INPUT_MAX)
			return complain("the input is longer than 16 MiB");
		buf_append(text, chunk, (size_t)n);
	}
	return buf_failed(text) ? complain("no memory for the input") : 0;
}

static int write_all(const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, data, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return complain("the output cannot be written");
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* ---- gzip ---------------------------------------------------------------------------------- */

static int inflate_all(z_stream *z)
{
	static unsigned char chunk[65536];
	size_t total = 0;
	int r = Z_OK;

	while (r != Z_STREAM_END) {
		z->next_out = chunk;
		z->avail_out = sizeof chunk;
		r = inflate(z, Z_NO_FLUSH);
		size_t n = sizeof chunk - z->avail_out;
		if (r != Z_OK && r != Z_STREAM_END)
			return complain(r == Z_BUF_ERROR ? "gzip: it is cut off"
							 : "gzip: it is damaged, or no gzip");
		total += n;
		if (total > OUTPUT_MAX)
			return complain("gzip: it holds more than 16 MiB");
		if (write_all((const char *)chunk, n))
			return 1;
	}
	return 0;
}

static int gunzip(const struct buf *in)
{
	z_stream z = {.next_in = (unsigned char *)in->data, .avail_in = (unsigned)in->len};

	if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK) /* 16: with a gzip header */
		return complain("no memory to unpack it");
	int r = inflate_all(&z);
	(void)inflateEnd(&z);
	return r;
}

/* ---- TOML ---------------------------------------------------------------------------------- */

static json_t *to_json(const struct toml_node *n);

static json_t *table_to_json(const struct toml_node *n)
{
	json_t *object = json_object();

	for (const struct toml_node *m = n->first; object && m; m = m->next)
		if (json_object_set_new(object, m->key, to_json(m)) < 0) {
			json_decref(object);
			return NULL;
		}
	return object;
}

static json_t *array_to_json(const struct toml_node *n)
{
	json_t *array = json_array();

	for (const struct toml_node *m = n->first; array && m; m = m->next)
		if (json_array_append_new(array, to_json(m)) < 0) {
			json_decref(array);
			return NULL;
		}
	return array;
}

/* Depth is the TOML reader's: at most TOML_DEPTH_MAX names, and 16 for what is nested in values. */
static json_t *to_json(const struct toml_node *n)
{
	switch (n->type) {
	case TOML_TABLE:
		return table_to_json(n);
	case TOML_ARRAY:
		return array_to_json(n);
	case TOML_STRING:
		return json_string(n->string);
	case TOML_INTEGER:
		return json_integer(n->integer);
	case TOML_FLOAT:
		return json_real(n->number);
	case TOML_BOOL:
		return json_boolean(n->boolean);
	case TOML_DATETIME:
		break;
	}
	return json_null();
}

static int toml_to_json(const struct buf *in)
{
	_cleanup_toml_ struct toml_doc *doc = NULL;
	struct err e = ERR_INIT;

	if (toml_parse(in->data ? in->data : "", in->len, "TOML", &doc, &e) < 0)
		return complain(e.text);
	json_t *root = to_json(toml_root(doc));
	_cleanup_free_ char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	if (!text)
		return complain("it cannot be said in JSON");
	return write_all(text, strlen(text));
}

int main(int argc, char **argv)
{
	_cleanup_buf_ struct buf in = BUF_INIT;

	if (argc != 2 || (strcmp(argv[1], "gunzip") != 0 && strcmp(argv[1], "toml") != 0))
		return complain("usage: kata-agent-parse gunzip|toml"), 2;
	json_object_seed(0); /* reads random bytes, which is forbidden afterwards */
	int r = lock_in();
	if (r < 0)
		return complain(strerror(-r));
	if (read_input(&in))
		return 1;
	return strcmp(argv[1], "toml") == 0 ? toml_to_json(&in) : gunzip(&in);
}
