/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/dns.h"

#include "base/testing.h"

#include <string.h>

static void parse(struct dns *d, const char *text)
{
	*d = DNS_INIT;
	buf_puts(&d->text, text);
	dns_parse(d);
}

static void every_kind_of_line_is_kept_and_comments_are_not(void **state)
{
	struct dns d;
	parse(&d, "# by hand\nnameserver 10.0.0.10\n\n  search a.example b.example \t\r\n"
		  "; old\noptions ndots:5");
	assert_int_equal(d.n, 3);
	assert_string_equal(d.lines[0], "nameserver 10.0.0.10");
	assert_string_equal(d.lines[1], "search a.example b.example");
	assert_string_equal(d.lines[2], "options ndots:5");
	dns_deinit(&d);
	parse(&d, "");
	assert_int_equal(d.n, 0);
	dns_deinit(&d);
}

static void too_many_lines_are_cut(void **state)
{
	struct dns d = DNS_INIT;
	for (int i = 0; i < DNS_LINES_MAX + 10; i++)
		buf_printf(&d.text, "nameserver 10.0.0.%d\n", i);
	dns_parse(&d);
	assert_int_equal(d.n, DNS_LINES_MAX);
	assert_string_equal(d.lines[DNS_LINES_MAX - 1], "nameserver 10.0.0.63");
	dns_deinit(&d);
}

static void load(struct dns *d, char *destination, char *source)
{
	struct oci_mount mount = {.destination = destination, .source = source};
	const struct oci_spec spec = {.mounts = &mount, .n_mounts = 1};
	*d = DNS_INIT;
	dns_load(&spec, d);
}

static void the_file_is_the_source_of_the_mount(void **state)
{
	struct dns d;
	char path[] = "/tmp/test-dns.XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "nameserver ::1\n", 15), 15);
	close(fd);
	load(&d, "/etc/resolv.conf", path);
	assert_int_equal(d.n, 1);
	assert_string_equal(d.lines[0], "nameserver ::1");
	dns_deinit(&d);
	load(&d, "/etc/hosts", path);
	assert_int_equal(d.n, 0);
	dns_deinit(&d);
	unlink(path);
	load(&d, "/etc/resolv.conf", path);
	assert_int_equal(d.n, 0);
	dns_deinit(&d);
	load(&d, "/etc/resolv.conf", NULL);
	assert_int_equal(d.n, 0);
	dns_deinit(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_line_is_kept_and_comments_are_not),
		cmocka_unit_test(too_many_lines_are_cut),
		cmocka_unit_test(the_file_is_the_source_of_the_mount),
	};
	return RUN_TESTS();
}
