/* The past of sequences: how it is made, checked and written. state.h draws its layout; attention.c reads it. */
#include "backend/cpu/state.h"
#include "base/checked.h"
#include "base/mem.h"
#include "base/num.h"

#include <string.h>

/* Bytes of the block of one kv head. */
static bool block_size(const struct hth_state_shape *s, int64_t head, uint64_t *bytes)
{
	return head >= 0 && hth_pad_u64((uint64_t)head, CPU_STATE_PAD, bytes) &&
	       hth_mul_u64(*bytes, 2 * CPU_ATTN_KEYS * (s->type == HTH_STATE_F32 ? 4 : 2), bytes) && *bytes < INT64_MAX;
}

/* Bytes of CPU_ATTN_KEYS tokens of one layer, for all its heads. */
static bool layer_size(const struct hth_state_shape *s, int64_t layer, uint64_t *bytes)
{
	int64_t n_kv = hth_state_kv(s, layer);

	return n_kv >= 0 && block_size(s, hth_state_head(s, layer), bytes) && hth_mul_u64(*bytes, (uint64_t)n_kv, bytes);
}

/* Bytes of all layers, heads and blocks, padded, and *stride, those of CPU_ATTN_KEYS tokens; false when they pass 60 bits
 * or a size is out of range. */
static bool state_size(const struct hth_state_shape *s, uint64_t *stride, uint64_t *bytes)
{
	uint64_t capacity, layer;

	*stride = 0;
	if (s->n_layers < 0 || s->n_layers > HTH_STATE_LAYERS || s->capacity < 0 ||
	    !hth_pad_u64((uint64_t)s->capacity, CPU_ATTN_KEYS, &capacity))
		return false;
	for (int64_t l = 0; l < s->n_layers; l++)
		if (!layer_size(s, l, &layer) || !hth_add_u64(*stride, layer, stride))
			return false;
	return hth_mul_u64(*stride, capacity / CPU_ATTN_KEYS, bytes) && *bytes <= UINT64_MAX / 16 &&
	       *stride <= UINT64_MAX / 16;
}

/* state_size has said that all of it fits. */
static void lay_out(struct cpu_state *state, const struct hth_state_shape *s)
{
	uint64_t bytes = 0;
	int64_t at = 0;

	state->shape = *s;
	for (int64_t l = 0; l < s->n_layers; l++) {
		(void)block_size(s, hth_state_head(s, l), &bytes);
		state->block_bytes[hth_state_is_local(s, l)] = (int64_t)bytes;
		state->layer_at[l] = at;
		at += (int64_t)bytes * hth_state_kv(s, l);
	}
	state->stride = at;
}

/* UINT64_MAX when out of range. */
uint64_t cpu_state_bytes(const struct hth_state_shape *s)
{
	uint64_t bytes, stride;

	return state_size(s, &stride, &bytes) && hth_add_u64(bytes, hth_recurrent_bytes(&s->recurrent), &bytes) ? bytes
														: UINT64_MAX;
}

void cpu_state_free(struct hth_device *dev, struct hth_state *s)
{
	struct cpu_state *state = (struct cpu_state *)s;

	(void)dev;
	if (state == NULL)
		return;
	hth_recurrent_free(state->recurrent);
	hth_free(state->data);
	hth_free(state);
}

enum hth_status cpu_state_new(struct hth_device *dev, const struct hth_state_shape *s, struct hth_state **out,
			      struct hth_err *err)
{
	struct cpu_state *state = NULL;
	enum hth_status st = HTH_OK;
	uint64_t bytes = 0, stride;

	*out = NULL;
	if (state_size(s, &stride, &bytes) && bytes <= SIZE_MAX / 16)
		state = hth_calloc(1, sizeof *state + (size_t)s->n_layers * sizeof state->layer_at[0]);
	if (state != NULL) {
		lay_out(state, s);
		/* Pages become resident as they are written: a large capacity costs what is used. */
		state->data = hth_alloc_large((size_t)bytes);
	}
	if (state == NULL || state->data == NULL)
		st = hth_fail_memory(err, "a state's keys and values", (size_t)cpu_state_bytes(s));
	else
		st = hth_recurrent_new(&s->recurrent, &state->recurrent, err);
	if (st != HTH_OK) {
		cpu_state_free(dev, (struct hth_state *)state);
		return st;
	}
	*out = (struct hth_state *)state;
	return HTH_OK;
}

int64_t cpu_state_reach(const struct hth_state *s, int64_t n)
{
	return hth_recurrent_reach(((const struct cpu_state *)s)->recurrent, n);
}

enum hth_status cpu_find_moves(const struct hth_batch *b, int32_t layer, enum hth_recurrent_part part, int64_t elems,
                               struct cpu_move *moves, struct hth_err *err)
{
	enum hth_status st = HTH_OK;

	for (int32_t i = 0; i < b->n_segments && st == HTH_OK; i++) {
		const struct hth_segment *g = &b->segments[i];
		moves[i] = (struct cpu_move){NULL, NULL};
		if (g->state < 0)
			continue;
		struct cpu_state *state = (struct cpu_state *)b->states[g->state];
		st = hth_recurrent_move(state != NULL ? state->recurrent : NULL, layer, part, elems, g->past, g->len,
		                        &moves[i].from, &moves[i].to, err);
	}
	return st;
}

enum hth_status cpu_state_check(const struct hth_attention_args *a, const struct hth_segment *g, struct hth_err *err)
{
	const struct cpu_state *state = (const struct cpu_state *)a->batch->states[g->state];

	if (state == NULL || a->layer < 0 || a->layer >= state->shape.n_layers ||
	    hth_state_kv(&state->shape, a->layer) < a->shape.n_kv ||
	    hth_state_head(&state->shape, a->layer) < a->shape.head)
		return hth_fail(err, HTH_ERR_SHAPE, "attention: layer %d of %lld heads of %lld is not in the state",
				a->layer, (long long)a->shape.n_kv, (long long)a->shape.head);
	if (g->past < 0 || g->past + (int64_t)g->len > state->shape.capacity)
		return hth_fail(err, HTH_ERR_LIMIT, "attention: %lld tokens, the state's capacity is %lld",
				(long long)g->past + g->len, (long long)state->shape.capacity);
	return HTH_OK;
}

/* How the numbers of a state are stored on this device. */
struct numbers {
	const struct hth_kernels *k;
	int64_t bytes, pair; /* of a number; numbers a word */
};

/* x (n) as numbers of the state. */
static void to_numbers(struct numbers n, const float *x, void *out, int64_t count)
{
	uint16_t *half = out;

	if (n.bytes == sizeof *x)
		memcpy(out, x, (size_t)count * sizeof *x);
	else if (n.pair == 1)
		n.k->halves(x, half, count);
	else
		for (int64_t i = 0; i < count; i++)
			half[i] = hth_f32_to_bf16(x[i]);
}

static void put(struct numbers n, uint8_t *panels, int64_t word, int64_t part, const void *number)
{
	uint8_t *at = panels + (word * n.pair + part) * n.bytes;

	if (n.bytes == 4)
		memcpy(at, number, 4);
	else
		memcpy(at, number, 2);
}

enum { CHUNK = 64 };

/* x (D): the key (as_keys) or value of token `at` of its block, into the block's panels of keys or of values. */
static void put_row(struct numbers n, struct cpu_tile tile, bool as_keys, const float *x, int64_t head, int64_t at,
		    uint8_t *panels)
{
	static const uint16_t zero;
	int64_t nr = tile.nr, words = cpu_words(tile, head);
	float numbers[CHUNK]; /* or as many of two bytes */

	for (int64_t c = 0; c < head; c += CHUNK) {
		int64_t count = cpu_min(CHUNK, head - c);
		to_numbers(n, x + c, numbers, count);
		for (int64_t d = c; d < c + count; d++) {
			const uint8_t *number = (const uint8_t *)numbers + (d - c) * n.bytes;
			if (as_keys) {
				put(n, panels, at / nr * nr * words + d / n.pair * nr + at % nr, d % n.pair, number);
				continue;
			}
			int64_t word = d / nr * nr * (CPU_ATTN_KEYS / n.pair) + at / n.pair * nr + d % nr;
			put(n, panels, word, at % n.pair, number);
			if (n.pair == 2 && at % 2 == 0)
				put(n, panels, word, 1, &zero); /* beside the last of an odd number of keys */
		}
	}
}

void cpu_state_append(const struct hth_kernels *k, const struct hth_attention_args *a, const struct hth_segment *g,
		      int64_t kv)
{
	const struct cpu_state *state = (const struct cpu_state *)a->batch->states[g->state];
	const struct cpu_tile tile = cpu_tile_of_kernels(k);
	struct numbers n = {k, cpu_state_number(state, tile), tile.pair};
	int64_t head = a->shape.head;

	for (int64_t i = 0; i < g->len; i++) {
		int64_t at = g->past + i;
		uint8_t *block = cpu_state_block(state, a->layer, kv, at);
		put_row(n, tile, true, cpu_row(a->k, g->start + i) + kv * head, head, at % CPU_ATTN_KEYS, block);
		put_row(n, tile, false, cpu_row(a->v, g->start + i) + kv * head, head, at % CPU_ATTN_KEYS,
			cpu_state_values(state, a->layer, block));
	}
}
