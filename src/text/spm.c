/* Merges out of SentencePiece scores, as the converters of the transformers library list them: for every token every
 * cut into two tokens, by falling score. Equal scores keep the order of the ids; how cuts of one token are ordered
 * decides texts like "aaa", and differs between the families' published files (fixtures, trap 3). */
#include "text/spm.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/tokenizer_int.h"

#include <stdlib.h>
#include <string.h>

struct cut {
	int32_t left, right, id;
	uint32_t left_chars, right_chars;
};

struct cuts {
	struct cut *items; /* (n) owned */
	size_t n, cap;
};

struct scored {
	float score;
	int32_t id;
};

/* qsort is not stable, so the id is part of the order. */
static int by_score(const void *a, const void *b)
{
	const struct scored *x = a, *y = b;
	if (x->score != y->score)
		return x->score < y->score ? 1 : -1;
	return (x->id > y->id) - (x->id < y->id);
}

/* Cuts of equal score: the ids' order of the tokens, then of the halves. */
static int by_ids(const void *a, const void *b)
{
	const struct cut *x = a, *y = b;
	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	if (x->left != y->left)
		return x->left < y->left ? -1 : 1;
	return (x->right > y->right) - (x->right < y->right);
}

static int by_lengths(const void *a, const void *b)
{
	const struct cut *x = a, *y = b;
	if (x->left_chars != y->left_chars)
		return x->left_chars > y->left_chars ? -1 : 1;
	if (x->right_chars != y->right_chars)
		return x->right_chars > y->right_chars ? -1 : 1;
	return by_ids(a, b);
}

static bool add_cuts(const struct hth_tokenizer *t, int32_t id, size_t max, struct cuts *c)
{
	const struct hth_token *x = &t->vocab.tokens[id];
	size_t first = c->n, used;
	uint32_t chars = 0;

	for (size_t at = 0; at < x->bytes; at += used) {
		(void)hth_utf8_next(x->text + at, x->bytes - at, &used);
		chars++;
		size_t k = at + used;
		int32_t left = k >= x->bytes ? -1 : hth_tokenizer_model_id(t, x->text, k);
		int32_t right = left < 0 ? -1 : hth_tokenizer_model_id(t, x->text + k, x->bytes - k);
		if (right < 0)
			continue;
		void *p = hth_grow(c->items, c->n, &c->cap, max, sizeof(*c->items));
		if (p == NULL)
			return false;
		c->items = p;
		c->items[c->n++] = (struct cut){left, right, id, chars, 0};
	}
	for (size_t i = first; i < c->n; i++)
		c->items[i].right_chars = chars - c->items[i].left_chars;
	return true;
}

enum hth_status hth_spm_merges(struct hth_tokenizer *t, const float *scores, bool by_length, struct hth_err *err)
{
	size_t n = t->vocab.n, total = 0;
	struct cuts cuts = {0};
	enum hth_status st = HTH_OK;

	for (size_t id = 0; id < n; id++)
		total += t->vocab.tokens[id].bytes; /* a token has fewer cuts than bytes */
	struct scored *order = hth_calloc(n, sizeof(*order));
	if (order == NULL) {
		st = hth_fail_memory(err, "merges", n * sizeof(*order));
		goto done;
	}
	for (size_t id = 0; id < n; id++)
		order[id] = (struct scored){scores[id], (int32_t)id};
	qsort(order, n, sizeof(*order), by_score);
	for (size_t i = 0, first = 0; i < n; i++) {
		if (!add_cuts(t, order[i].id, total, &cuts)) {
			st = hth_fail_memory(err, "merges", cuts.n * sizeof(*cuts.items));
			goto done;
		}
		if (i + 1 < n && order[i + 1].score == order[i].score)
			continue;
		if (cuts.n - first > 1)
			qsort(cuts.items + first, cuts.n - first, sizeof(*cuts.items), by_length ? by_lengths : by_ids);
		first = cuts.n;
	}
	if ((st = hth_bpe_init(&t->bpe, &t->arena, cuts.n, err)) != HTH_OK)
		goto done;
	for (size_t k = 0; k < cuts.n; k++)
		hth_bpe_add(&t->bpe, cuts.items[k].left, cuts.items[k].right, (uint32_t)k, cuts.items[k].id);
done:
	hth_free(order);
	hth_free(cuts.items);
	return st;
}
