/* Rows by content: a hash table that compares the tokens themselves where hashes agree. */
#include "base/checked.h"
#include "base/hash.h"
#include "base/mem.h"
#include "data/data_int.h"

#include <string.h>

uint64_t hth_row_hash(const struct hth_dataset *d, size_t first, size_t n)
{
	uint64_t h = n;

	for (size_t i = first; i < first + n; i++) {
		const struct hth_example *e = &d->items[i].tokens;
		h = hth_hash64(e->ids, e->n * sizeof *e->ids, h);
		h = hth_hash64(e->target, e->n, h);
	}
	return h;
}

bool hth_row_equal(const struct hth_dataset *d, size_t a, size_t na, size_t b, size_t nb)
{
	if (na != nb)
		return false;
	for (size_t i = 0; i < na; i++) {
		const struct hth_example *x = &d->items[a + i].tokens, *y = &d->items[b + i].tokens;
		if (x->n != y->n || memcmp(x->ids, y->ids, x->n * sizeof *x->ids) != 0 ||
		    memcmp(x->target, y->target, x->n) != 0)
			return false;
	}
	return true;
}

/* The slot of an equal row, or the empty one where it belongs. */
static struct hth_row_ref *find(const struct hth_row_table *t, const struct hth_dataset *d, uint64_t hash, size_t first,
				size_t n)
{
	for (size_t i = (size_t)hash & (t->cap - 1);; i = (i + 1) & (t->cap - 1)) {
		struct hth_row_ref *s = &t->slots[i];
		if (s->n == 0 || (s->hash == hash && hth_row_equal(d, s->first, s->n, first, n)))
			return s;
	}
}

static enum hth_status grow(struct hth_row_table *t, struct hth_err *err)
{
	size_t cap = t->cap == 0 ? 256 : t->cap * 2;
	struct hth_row_ref *slots = cap > t->cap ? hth_calloc(cap, sizeof *slots) : NULL;

	if (slots == NULL)
		return hth_fail_memory(err, "a table of rows", cap);
	for (size_t i = 0; i < t->cap; i++) {
		if (t->slots[i].n == 0)
			continue;
		size_t at = (size_t)t->slots[i].hash & (cap - 1);
		while (slots[at].n != 0)
			at = (at + 1) & (cap - 1);
		slots[at] = t->slots[i];
	}
	hth_free(t->slots);
	t->slots = slots;
	t->cap = cap;
	return HTH_OK;
}

enum hth_status hth_row_table_add(struct hth_row_table *t, const struct hth_dataset *d, size_t first, size_t n,
				  bool *repeated, struct hth_err *err)
{
	*repeated = false;
	if (n == 0)
		return HTH_OK;
	if (t->n >= t->cap / 2) {
		enum hth_status status = grow(t, err);
		if (status != HTH_OK)
			return status;
	}
	uint64_t hash = hth_row_hash(d, first, n);
	struct hth_row_ref *s = find(t, d, hash, first, n);
	*repeated = s->n != 0;
	if (!*repeated) {
		*s = (struct hth_row_ref){.hash = hash, .first = first, .n = n};
		t->n++;
	}
	return HTH_OK;
}

void hth_row_table_clear(struct hth_row_table *t)
{
	hth_free(t->slots);
	*t = (struct hth_row_table){0};
}
