/* Added tokens: a trie over bytes, walked from each place where a token may begin. A token has at most 1,024 bytes, so
 * the walk is linear in the text whatever the tokens are. */
#include "text/tokenizer_int.h"

#include <string.h>

#define MAX_ADDED_BYTES 1024

enum hth_status hth_added_init(struct hth_added *x, struct hth_arena *a, size_t n, size_t bytes, struct hth_err *err)
{
	size_t slots = 16;

	if (bytes >= ((size_t)1 << 24))
		return hth_fail(err, HTH_ERR_LIMIT, "added tokens of %zu bytes in all, at most 16 MiB", bytes);
	while (slots / 2 < bytes)
		slots *= 2;
	x->tokens = hth_arena_calloc(a, n, sizeof(*x->tokens));
	x->edges = hth_arena_calloc(a, slots, sizeof(*x->edges));
	x->ends = hth_arena_calloc(a, bytes + 1, sizeof(*x->ends));
	if (x->tokens == NULL || x->edges == NULL || x->ends == NULL)
		return hth_fail_memory(err, "added tokens", slots * sizeof(*x->edges));
	x->cap = n;
	x->mask = (uint32_t)(slots - 1);
	x->n_nodes = 1;
	x->max_nodes = bytes + 1;
	return HTH_OK;
}

/* The edge from a node by a byte, or the empty slot where it would stand. */
static inline uint64_t *edge_of(const struct hth_added *x, uint32_t node, unsigned char byte)
{
	uint32_t key = node << 8 | byte, i = (key * 0x9E3779B1u >> 7) & x->mask;

	while (x->edges[i] != 0 && (uint32_t)(x->edges[i] >> 32) != key)
		i = (i + 1) & x->mask;
	return &x->edges[i];
}

enum hth_status hth_added_put(struct hth_added *x, const struct hth_added_token *token, const char *text, size_t bytes,
			      const char *where, struct hth_err *err)
{
	uint32_t node = 0;

	if (bytes == 0)
		return HTH_OK;
	if (bytes > MAX_ADDED_BYTES)
		return hth_fail(err, HTH_ERR_LIMIT, "%s: added token %d has %zu bytes, at most %d", where, token->id,
				bytes, MAX_ADDED_BYTES);
	if (x->n == x->cap || bytes > x->max_nodes - x->n_nodes)
		return hth_fail(err, HTH_ERR_LIMIT, "%s: the added tokens grow too much when normalized", where);
	for (size_t i = 0; i < bytes; i++) {
		uint64_t *edge = edge_of(x, node, (unsigned char)text[i]);
		if (*edge == 0)
			*edge = (uint64_t)(node << 8 | (unsigned char)text[i]) << 32 | x->n_nodes++;
		node = (uint32_t)*edge;
	}
	x->first[(unsigned char)text[0]] = true;
	if (x->ends[node] == 0) {
		x->tokens[x->n++] = *token;
		x->ends[node] = (uint32_t)x->n;
	}
	return HTH_OK;
}

const struct hth_added_token *hth_added_next(const struct hth_added *x, const char *text, size_t bytes, size_t from,
					     size_t *start, size_t *end)
{
	const unsigned char *t = (const unsigned char *)text;

	if (x->n == 0)
		return NULL;
	for (size_t at = from; at < bytes; at++) {
		uint32_t node = 0, found = 0;
		if (!x->first[t[at]])
			continue;
		for (size_t i = at; i < bytes; i++) {
			uint64_t edge = *edge_of(x, node, t[i]);
			if (edge == 0)
				break;
			node = (uint32_t)edge;
			if (x->ends[node] != 0) {
				found = x->ends[node];
				*end = i + 1;
			}
		}
		if (found != 0) {
			*start = at;
			return &x->tokens[found - 1];
		}
	}
	return NULL;
}
