/* The items of a data set as an owned array: append, count, free. */
#include "base/mem.h"
#include "data/data_int.h"

#include <string.h>

#define MAX_EXAMPLES ((size_t)1 << 31)

void hth_dataset_clear(struct hth_dataset *d)
{
	for (size_t i = 0; i < d->n; i++) {
		hth_free(d->items[i].tokens.ids);
		hth_free(d->items[i].tokens.target);
	}
	hth_free(d->items);
	hth_free(d->issues);
	hth_free(d->path);
	memset(d, 0, sizeof *d);
}

enum hth_status hth_dataset_push(struct hth_dataset *d, const struct hth_data_example *e, struct hth_err *err)
{
	void *grown = hth_grow(d->items, d->n, &d->cap, MAX_EXAMPLES, sizeof *d->items);

	if (grown == NULL)
		return hth_fail_memory(err, "the examples of a data set", d->n * sizeof *d->items);
	d->items = grown;
	d->items[d->n++] = *e;
	return HTH_OK;
}

void hth_dataset_count(struct hth_dataset *d)
{
	d->n_tokens = d->n_targets = 0;
	d->longest = 0;
	d->n_rows = 0;
	for (size_t i = 0; i < d->n; i++) {
		const struct hth_example *e = &d->items[i].tokens;
		d->n_tokens += e->n;
		d->n_targets += e->n_targets;
		if (e->n > d->longest)
			d->longest = (uint32_t)e->n;
		d->n_rows += i == 0 || d->items[i].line != d->items[i - 1].line;
	}
}
