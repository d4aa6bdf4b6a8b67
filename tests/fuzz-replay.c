/* SPDX-License-Identifier: Apache-2.0 */
/* Feeds every file of the given corpus directories to a fuzzer's entry, as an ordinary test. */
#include "base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_directory(const char *path)
{
	int seen = 0;
	DIR *d = opendir(path);
	if (!d)
		return -1;
	for (struct dirent *entry; (entry = readdir(d));) {
		_cleanup_buf_ struct buf b = BUF_INIT;
		if (entry->d_name[0] == '.' ||
		    file_read(dirfd(d), entry->d_name, 16 * 1024 * 1024, &b) < 0)
			continue;
		LLVMFuzzerTestOneInput((const uint8_t *)b.data, b.len);
		seen++;
	}
	closedir(d);
	printf("%s: %d inputs\n", path, seen);
	return seen;
}

int main(int argc, char **argv)
{
	int bad = argc < 2;
	for (int i = 1; i < argc; i++)
		bad |= replay_directory(argv[i]) <= 0;
	if (bad)
		fprintf(stderr, "%s: no inputs, or a directory that cannot be read\n", argv[0]);
	return bad;
}
