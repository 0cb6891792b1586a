/* The bump allocator: a list of chunks, each twice the last up to a mebibyte, so that a small value costs a small
 * chunk and a large one few calls. A request larger than that gets a chunk of its own size. */
#include "base/arena.h"
#include "base/checked.h"
#include "base/mem.h"

#include <stdalign.h>
#include <string.h>

#define FIRST_CHUNK_BYTES ((size_t)4096)
#define LAST_CHUNK_BYTES ((size_t)1 << 20)
#define ARENA_ALIGN ((size_t)16)

struct hth_arena_chunk {
	alignas(16) struct hth_arena_chunk *next;
	size_t used, cap; /* bytes of data */
	alignas(16) unsigned char data[];
};

void hth_arena_init(struct hth_arena *a, size_t max_bytes)
{
	*a = (struct hth_arena){.max_bytes = max_bytes};
}

void hth_arena_clear(struct hth_arena *a)
{
	while (a->chunks != NULL) {
		struct hth_arena_chunk *next = a->chunks->next;
		hth_free(a->chunks);
		a->chunks = next;
	}
	a->used_bytes = 0;
}

static struct hth_arena_chunk *add_chunk(struct hth_arena *a, size_t bytes)
{
	size_t cap = a->chunks == NULL                        ? FIRST_CHUNK_BYTES
		     : a->chunks->cap >= LAST_CHUNK_BYTES / 2 ? LAST_CHUNK_BYTES
							      : a->chunks->cap * 2;
	size_t total;

	if (cap > a->max_bytes - a->used_bytes)
		cap = a->max_bytes - a->used_bytes;
	if (cap < bytes)
		cap = bytes;
	if (!hth_add_size(cap, sizeof(struct hth_arena_chunk), &total))
		return NULL;
	struct hth_arena_chunk *c = hth_alloc_aligned(total, ARENA_ALIGN);
	if (c == NULL)
		return NULL;
	c->next = a->chunks;
	c->used = 0;
	c->cap = cap;
	a->chunks = c;
	return c;
}

void hth_arena_reset(struct hth_arena *a)
{
	size_t total = 0;

	if (a->chunks != NULL && a->chunks->next == NULL) {
		a->chunks->used = 0;
		a->used_bytes = 0;
		return;
	}
	for (const struct hth_arena_chunk *c = a->chunks; c != NULL; c = c->next)
		total += c->cap;
	hth_arena_clear(a);
	if (total > a->max_bytes)
		total = a->max_bytes;
	if (total > 0)
		add_chunk(a, total); /* without memory now, the next value asks again */
}

void *hth_arena_alloc(struct hth_arena *a, size_t bytes)
{
	size_t padded, total;

	if (bytes == 0)
		bytes = 1;
	if (!hth_add_size(bytes, ARENA_ALIGN - 1, &padded))
		return NULL;
	padded &= ~(ARENA_ALIGN - 1);
	if (!hth_add_size(a->used_bytes, padded, &total) || total > a->max_bytes)
		return NULL;
	struct hth_arena_chunk *c = a->chunks;
	if (c == NULL || c->cap - c->used < padded) {
		c = add_chunk(a, padded);
		if (c == NULL)
			return NULL;
	}
	void *p = c->data + c->used;
	c->used += padded;
	a->used_bytes = total;
	return p;
}

void *hth_arena_calloc(struct hth_arena *a, size_t n, size_t elem_bytes)
{
	size_t bytes;

	if (!hth_mul_size(n, elem_bytes, &bytes))
		return NULL;
	void *p = hth_arena_alloc(a, bytes);
	if (p != NULL)
		memset(p, 0, bytes);
	return p;
}

char *hth_arena_strndup(struct hth_arena *a, const char *s, size_t bytes)
{
	size_t with_nul;

	if (!hth_add_size(bytes, 1, &with_nul))
		return NULL;
	char *copy = hth_arena_alloc(a, with_nul);
	if (copy == NULL)
		return NULL;
	if (bytes > 0)
		memcpy(copy, s, bytes);
	copy[bytes] = '\0';
	return copy;
}
