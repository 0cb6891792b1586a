/* A little byte builder for hostile files, and temporary paths. */
#ifndef HTH_TESTS_FORMATS_BYTES_H
#define HTH_TESTS_FORMATS_BYTES_H

#include "../support.h"

#include "base/file.h"

struct bytes {
	uint8_t data[8192];
	size_t n;
};

static inline void put_raw(struct bytes *b, const void *data, size_t n)
{
	assert_true(n <= sizeof(b->data) - b->n);
	memcpy(b->data + b->n, data, n);
	b->n += n;
}

static inline void put_le(struct bytes *b, uint64_t value, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t byte = (uint8_t)(value >> 8 * i & 0xFF);
		put_raw(b, &byte, 1);
	}
}

static inline void put_u32(struct bytes *b, uint32_t value)
{
	put_le(b, value, 4);
}

static inline void put_u64(struct bytes *b, uint64_t value)
{
	put_le(b, value, 8);
}

static inline void put_str(struct bytes *b, const char *text)
{
	put_u64(b, strlen(text));
	put_raw(b, text, strlen(text));
}

static inline void put_zeros(struct bytes *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		put_raw(b, "", 1);
}

static inline void pad_to(struct bytes *b, size_t align)
{
	while (b->n % align != 0)
		put_raw(b, "", 1);
}

/* A path that no other test program uses; the caller unlinks. */
static inline const char *temp_path(char out[256], const char *name)
{
	const char *dir = getenv("TMPDIR");
	snprintf(out, 256, "%s/hth-%ld-%s", dir != NULL && dir[0] != '\0' ? dir : "/tmp", (long)getpid(), name);
	return out;
}

static inline void write_plain(const char *path, const void *data, size_t n)
{
	unlink(path); /* file systems flush a file that is truncated and written again: a thousand times slower */
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

#endif
