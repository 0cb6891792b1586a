/* What the fuzz targets share: the entry point, the input as a file for readers that take a path, and checks that
 * stay on in every build. A target is one C file with LLVMFuzzerTestOneInput; run.sh builds it with libFuzzer where
 * clang has it, else with driver.c. */
#ifndef HTH_TESTS_FUZZ_H
#define HTH_TESTS_FUZZ_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* A broken promise of the reader is a finding, as a crash is. */
#define fuzz_check(what)                                                                                               \
	do {                                                                                                           \
		if (!(what)) {                                                                                         \
			fprintf(stderr, "%s:%d: promise broken: %s\n", __FILE__, __LINE__, #what);                     \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

static inline void fuzz_path(char out[256], const char *name)
{
	const char *dir = getenv("FUZZ_TMP");
	if (dir == NULL)
		dir = getenv("TMPDIR");
	snprintf(out, 256, "%s/hearth-fuzz-%ld-%s", dir != NULL ? dir : "/tmp", (long)getpid(), name);
}

/* Writes data and then `zeros` zero bytes. */
static inline void fuzz_write(const char *path, const uint8_t *data, size_t bytes, size_t zeros)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	fuzz_check(fd >= 0);
	for (size_t at = 0; at < bytes;) {
		ssize_t n = write(fd, data + at, bytes - at);
		fuzz_check(n > 0);
		at += (size_t)n;
	}
	fuzz_check(zeros == 0 || ftruncate(fd, (off_t)(bytes + zeros)) == 0);
	close(fd);
}

/* Reads every byte, so that memory which only looks readable is found out. */
static inline unsigned fuzz_touch(const void *p, size_t bytes)
{
	const volatile uint8_t *b = p;
	unsigned sum = 0;
	for (size_t i = 0; i < bytes; i++)
		sum += b[i];
	return sum;
}

#endif
