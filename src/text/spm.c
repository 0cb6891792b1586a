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
	int32_t left, right;
	uint32_t left_chars;
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

static int by_ids(const void *a, const void *b)
{
	const struct cut *x = a, *y = b;
	if (x->left != y->left)
		return x->left < y->left ? -1 : 1;
	return (x->right > y->right) - (x->right < y->right);
}

static int by_left_length(const void *a, const void *b)
{
	const struct cut *x = a, *y = b;
	if (x->left_chars != y->left_chars)
		return x->left_chars > y->left_chars ? -1 : 1;
	return by_ids(a, b);
}

/* All cuts of a token; returns how many (at most bytes - 1). */
static size_t find_cuts(const struct hth_tokenizer *t, const char *text, size_t bytes, struct cut *cuts)
{
	size_t n = 0, used;
	uint32_t chars = 0;

	for (size_t at = 0; at < bytes; at += used) {
		(void)hth_utf8_next(text + at, bytes - at, &used);
		chars++;
		size_t k = at + used;
		if (k >= bytes)
			break;
		int32_t left = hth_tokenizer_model_id(t, text, k);
		int32_t right = left < 0 ? -1 : hth_tokenizer_model_id(t, text + k, bytes - k);
		if (right >= 0)
			cuts[n++] = (struct cut){left, right, chars};
	}
	return n;
}

enum hth_status hth_spm_merges(struct hth_tokenizer *t, const float *scores, bool by_length, const char *where,
                               struct hth_err *err)
{
	size_t n = t->vocab.n, longest = 0, total = 0, rank = 0;
	enum hth_status st = HTH_OK;

	for (size_t id = 0; id < n; id++) {
		if (t->vocab.tokens[id].bytes > longest)
			longest = t->vocab.tokens[id].bytes;
		total += t->vocab.tokens[id].bytes;
	}
	struct scored *order = hth_calloc(n, sizeof(*order));
	struct cut *cuts = hth_calloc(longest + 1, sizeof(*cuts));
	if (order == NULL || cuts == NULL) {
		st = hth_fail_memory(err, "merges", n * sizeof(*order));
		goto done;
	}
	for (size_t id = 0; id < n; id++)
		order[id] = (struct scored){scores[id], (int32_t)id};
	qsort(order, n, sizeof(*order), by_score);
	size_t count = 0;
	for (size_t id = 0; id < n; id++)
		count += find_cuts(t, t->vocab.tokens[id].text, t->vocab.tokens[id].bytes, cuts);
	if (count >= UINT32_MAX || count > total) {
		st = hth_fail(err, HTH_ERR_LIMIT, "%s: %zu merges", where, count);
		goto done;
	}
	if ((st = hth_bpe_init(&t->bpe, &t->arena, count, err)) != HTH_OK)
		goto done;
	for (size_t i = 0; i < n; i++) {
		int32_t id = order[i].id;
		const struct hth_token *x = &t->vocab.tokens[id];
		size_t m = find_cuts(t, x->text, x->bytes, cuts);
		qsort(cuts, m, sizeof(*cuts), by_length ? by_left_length : by_ids);
		for (size_t k = 0; k < m; k++)
			hth_bpe_add(&t->bpe, cuts[k].left, cuts[k].right, (uint32_t)rank++, id);
	}
done:
	hth_free(order);
	hth_free(cuts);
	return st;
}
