/* The trie of a unigram vocabulary, and the search through it. See unigram.h. */
#include "text/unigram.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/tokenizer_int.h"

#include <stdlib.h>
#include <string.h>


struct word {
	const char *text;
	uint32_t bytes;
	int32_t id;
};

static int order_words(const void *a, const void *b)
{
	const struct word *x = a, *y = b;
	uint32_t n = x->bytes < y->bytes ? x->bytes : y->bytes;
	int order = memcmp(x->text, y->text, n);

	if (order == 0)
		order = (x->bytes > y->bytes) - (x->bytes < y->bytes);
	return order != 0 ? order : (x->id > y->id) - (x->id < y->id);
}

/* The words that share a node's bytes. */
struct range {
	size_t from, to;
};

/* Words sorted and apart -> nodes, row of bytes by row of bytes. `ranges` has room for as many as there are nodes. */
static void fill_nodes(struct hth_unigram *u, const struct word *words, size_t n, struct range *ranges)
{
	size_t depth = 0;

	u->nodes[0] = (struct hth_unigram_node){.id = -1};
	ranges[0] = (struct range){0, n};
	u->n_nodes = 1;
	for (size_t at = 0, left = 1; at < u->n_nodes; at++, left--) {
		if (left == 0) { /* the next row begins */
			depth++;
			left = u->n_nodes - at;
		}
		struct hth_unigram_node *node = &u->nodes[at];
		struct range r = ranges[at];
		while (r.from < r.to && words[r.from].bytes == depth)
			node->id = words[r.from++].id;
		node->first = (uint32_t)u->n_nodes;
		for (size_t i = r.from; i < r.to;) {
			uint8_t byte = (uint8_t)words[i].text[depth];
			size_t from = i;
			while (i < r.to && (uint8_t)words[i].text[depth] == byte)
				i++;
			u->nodes[u->n_nodes] = (struct hth_unigram_node){.id = -1, .byte = byte};
			ranges[u->n_nodes++] = (struct range){from, i};
			node->children++;
		}
	}
}

/* Nodes that the words need: one more than bytes that no word before shares. */
static size_t count_nodes(const struct word *words, size_t n)
{
	size_t nodes = 1;

	for (size_t i = 0; i < n; i++) {
		size_t same = 0, most = i > 0 ? words[i - 1].bytes : 0;
		most = most < words[i].bytes ? most : words[i].bytes;
		while (same < most && words[i].text[same] == words[i - 1].text[same])
			same++;
		nodes += words[i].bytes - same;
	}
	return nodes;
}

enum hth_status hth_unigram_init(struct hth_unigram *u, struct hth_arena *arena, const struct hth_vocab *v,
				 const double *scores, const bool *wanted, struct hth_err *err)
{
	struct word *words = hth_calloc(v->n + 1, sizeof(*words)); /* (n) */
	struct range *ranges = NULL;
	enum hth_status st = HTH_OK;
	size_t n = 0;

	if (words == NULL)
		return hth_fail_memory(err, "a vocabulary", v->n * sizeof(*words));
	for (size_t id = 0; id < v->n; id++)
		if (wanted[id] && v->tokens[id].bytes > 0)
			words[n++] = (struct word){v->tokens[id].text, v->tokens[id].bytes, (int32_t)id};
	qsort(words, n, sizeof(*words), order_words);
	size_t n_nodes = count_nodes(words, n);
	u->nodes = n_nodes < UINT32_MAX ? hth_arena_calloc(arena, n_nodes, sizeof(*u->nodes)) : NULL;
	ranges = hth_calloc(n_nodes, sizeof(*ranges));
	if (u->nodes == NULL || ranges == NULL) {
		st = hth_fail_memory(err, "a vocabulary's trie", n_nodes * sizeof(*u->nodes));
		goto done;
	}
	fill_nodes(u, words, n, ranges);
	u->scores = scores;
	u->n_scores = v->n;
done:
	hth_free(ranges);
	hth_free(words);
	return st;
}

void hth_unigram_work_clear(struct hth_unigram_work *w)
{
	hth_free(w->best);
	*w = (struct hth_unigram_work){0};
}

/* The child of a node by its byte; NULL: none. */
static const struct hth_unigram_node *child(const struct hth_unigram *u, const struct hth_unigram_node *node, uint8_t byte)
{
	const struct hth_unigram_node *low = u->nodes + node->first;
	size_t n = node->children;

	while (n > 0) {
		size_t half = n / 2;
		if (low[half].byte == byte)
			return &low[half];
		if (low[half].byte < byte) {
			low += half + 1;
			n -= half + 1;
		} else {
			n = half;
		}
	}
	return NULL;
}

static void challenge(struct hth_unigram_step *step, double score, uint32_t start, int32_t id)
{
	if (step->start == UINT32_MAX || score > step->score)
		*step = (struct hth_unigram_step){score, start, id};
}

/* Fills best[1..bytes]: best[i] ends at byte i. Every character's end is reached, by a token or as unknown. */
static void search(const struct hth_unigram *u, const char *text, uint32_t bytes, struct hth_unigram_step *best)
{
	best[0] = (struct hth_unigram_step){0, 0, -1};
	for (uint32_t i = 1; i <= bytes; i++)
		best[i].start = UINT32_MAX;
	for (uint32_t at = 0; at < bytes;) {
		const struct hth_unigram_node *node = u->nodes;
		double here = best[at].score;
		bool single = false;
		size_t used;
		(void)hth_utf8_next(text + at, bytes - at, &used);
		for (uint32_t i = at; i < bytes && (node = child(u, node, (uint8_t)text[i])) != NULL; i++) {
			if (node->id < 0)
				continue;
			challenge(&best[i + 1], here + u->scores[node->id], at, node->id);
			single |= i + 1 - at == used;
		}
		if (!single)
			challenge(&best[at + used], here + u->unknown, at, -1);
		at += (uint32_t)used;
	}
}

enum hth_status hth_unigram_cut(const struct hth_unigram *u, struct hth_unigram_work *w, const char *text, uint32_t start,
				uint32_t end, struct hth_bpe_work *out, struct hth_err *err)
{
	size_t need = (size_t)(end - start) + 1;

	if (need > w->cap) {
		size_t cap = need > 2 * w->cap ? need : 2 * w->cap;
		struct hth_unigram_step *best = hth_realloc(w->best, cap, sizeof(*best));
		if (best == NULL)
			return hth_fail_memory(err, "the tokens of a text", cap * sizeof(*best));
		w->best = best;
		w->cap = cap;
	}
	search(u, text + start, end - start, w->best);
	size_t first = out->n;
	for (uint32_t at = end - start; at > 0; at = w->best[at].start)
		if (!hth_bpe_push(out, w->best[at].id, start + w->best[at].start, start + at))
			return hth_fail_memory(err, "the tokens of a text", out->n * sizeof(*out->symbols));
	for (size_t i = first, k = out->n; i + 1 < k; i++) {
		struct hth_bpe_symbol swap = out->symbols[i];
		out->symbols[i] = out->symbols[--k];
		out->symbols[k] = swap;
	}
	return HTH_OK;
}
