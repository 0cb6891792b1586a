/* Two orders of heads that read other heads in groups: grouped, as Hugging Face has them (all `each` that read group 0, then
 * those of group 1, ...), and tiled, as GGUF has the value heads of Qwen 3.5 (one of each group, then the next of each). */
#ifndef HTH_FORMATS_HEADS_H
#define HTH_FORMATS_HEADS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Rows or columns: `first` of them stay, then groups * each heads of `size`. each <= 1 or groups <= 1: nothing moves. */
struct hth_heads {
	int64_t first, size, groups, each;
};

static inline bool hth_heads_move(const struct hth_heads *h)
{
	return h->groups > 1 && h->each > 1;
}
/* Where the row that is n-th grouped stands tiled. */
static inline int64_t hth_heads_tiled(const struct hth_heads *h, int64_t n)
{
	if (!hth_heads_move(h) || n < h->first)
		return n;
	int64_t head = (n - h->first) / h->size, in = (n - h->first) % h->size;
	return h->first + (head % h->each * h->groups + head / h->each) * h->size + in;
}
/* The other way. */
static inline int64_t hth_heads_grouped(const struct hth_heads *h, int64_t n)
{
	if (!hth_heads_move(h) || n < h->first)
		return n;
	int64_t head = (n - h->first) / h->size, in = (n - h->first) % h->size;
	return h->first + (head % h->groups * h->each + head / h->groups) * h->size + in;
}
/* to (n rows of `width`) = from in the other order. */
static inline void hth_heads_order(const struct hth_heads *h, bool tile, const float *from, float *to, int64_t n,
				   int64_t width)
{
	for (int64_t i = 0; i < n; i++) {
		int64_t at = tile ? hth_heads_tiled(h, i) : hth_heads_grouped(h, i);
		memcpy(to + at * width, from + i * width, (size_t)width * sizeof(*to));
	}
}

#endif
