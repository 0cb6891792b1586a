/* First fit over the offsets of one arena. The same calls give the same offsets whether or not there is memory behind
 * them, and a larger limit changes nothing but the end of the last hole: that is why a plan's peak is the size of the
 * arena that the real execution needs. Blocks are multiples of 64 bytes, so every one is aligned. */
#include "base/checked.h"
#include "base/mem.h"
#include "ops/exec_int.h"

#include <string.h>

#define BLOCK_ALIGN 64

bool hth_space_reserve(struct hth_space *s, size_t n)
{
	/* Holes lie between blocks: one more than there are blocks, and one while a hole is being split. */
	if (n + 2 <= s->cap)
		return true;
	struct hth_space_hole *grown = hth_realloc(s->holes, n + 2, sizeof *grown);
	if (grown == NULL)
		return false;
	s->holes = grown;
	s->cap = n + 2;
	return true;
}

void hth_space_reset(struct hth_space *s)
{
	s->holes[0] = (struct hth_space_hole){0, s->limit};
	s->n = s->limit > 0;
	s->peak = 0;
}

static uint64_t padded(uint64_t bytes)
{
	uint64_t size;

	if (!hth_pad_u64(bytes > 0 ? bytes : 1, BLOCK_ALIGN, &size))
		return UINT64_MAX;
	return size;
}

bool hth_space_take(struct hth_space *s, uint64_t bytes, uint64_t *offset)
{
	uint64_t size = padded(bytes);

	for (size_t i = 0; i < s->n; i++) {
		struct hth_space_hole *h = &s->holes[i];
		if (h->bytes < size)
			continue;
		*offset = h->offset;
		h->offset += size;
		h->bytes -= size;
		if (h->bytes == 0) {
			memmove(h, h + 1, (s->n - i - 1) * sizeof *h);
			s->n--;
		}
		if (*offset + size > s->peak)
			s->peak = *offset + size;
		return true;
	}
	return false;
}

uint64_t hth_space_need(const struct hth_space *s, uint64_t bytes)
{
	uint64_t end = s->limit, need;

	if (s->n > 0 && s->holes[s->n - 1].offset + s->holes[s->n - 1].bytes == s->limit)
		end = s->holes[s->n - 1].offset;
	return hth_add_u64(end, padded(bytes), &need) ? need : UINT64_MAX;
}

void hth_space_give(struct hth_space *s, uint64_t offset, uint64_t bytes)
{
	uint64_t size = padded(bytes);
	size_t i = 0;

	while (i < s->n && s->holes[i].offset < offset)
		i++;
	bool joins_left = i > 0 && s->holes[i - 1].offset + s->holes[i - 1].bytes == offset;
	bool joins_right = i < s->n && offset + size == s->holes[i].offset;
	if (joins_left && joins_right) {
		s->holes[i - 1].bytes += size + s->holes[i].bytes;
		memmove(&s->holes[i], &s->holes[i + 1], (s->n - i - 1) * sizeof *s->holes);
		s->n--;
	} else if (joins_left) {
		s->holes[i - 1].bytes += size;
	} else if (joins_right) {
		s->holes[i].offset = offset;
		s->holes[i].bytes += size;
	} else {
		memmove(&s->holes[i + 1], &s->holes[i], (s->n - i) * sizeof *s->holes);
		s->holes[i] = (struct hth_space_hole){offset, size};
		s->n++;
	}
}
