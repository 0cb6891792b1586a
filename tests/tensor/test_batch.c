/* hth_batch_finish: what it derives from a batch, and every way a batch can be wrong. */
#include "base/mem.h"
#include "support.h"
#include "tensor/batch.h"
#include "tensor/weight.h"

#include <math.h>

/* The example of tensor/batch.h: two chats with one system prompt, here 3, 2 and 4 tokens, and a chat of its own. */
struct fixture {
	struct hth_arena arena;
	int32_t ids[10], positions[10];
	struct hth_segment segments[4];
	struct hth_out outs[4];
	struct hth_batch b;
};

static void make(struct fixture *f)
{
	static const int32_t positions[10] = {0, 1, 2, 3, 4, 3, 4, 5, 6, 0};

	*f = (struct fixture){
		.segments = {{.start = 0, .len = 3, .parent = -1, .state = -1, .adapter = 1, .example = 4, .causal = true},
	                     {.start = 3, .len = 2, .parent = 0, .state = -1, .adapter = 1, .example = 4, .causal = true},
	                     {.start = 5, .len = 4, .parent = 0, .state = -1, .adapter = 1, .example = 5, .causal = true},
	                     {.start = 9, .len = 1, .parent = -1, .state = -1, .adapter = -1, .example = 6}},
		.outs = {{.row = 8, .target = 7, .weight = 1.0f},
	                 {.row = 2, .target = 3, .weight = 0.5f},
	                 {.row = 2, .target = 4, .weight = 0.5f},
	                 {.row = 9, .target = -1}},
	};
	memcpy(f->positions, positions, sizeof positions);
	f->b = (struct hth_batch){.n_tokens = 10, .ids = f->ids, .positions = f->positions, .n_segments = 4,
	                          .segments = f->segments, .n_outs = 4, .outs = f->outs};
	hth_arena_init(&f->arena, 1 << 20);
}

static void finish(struct fixture *f)
{
	struct hth_err err;

	assert_ok(hth_batch_finish(&f->b, &f->arena, &err));
}

static void assert_span(const struct hth_span *s, int32_t q, int32_t q_len, int32_t k, int32_t k_len, int32_t state,
                        bool causal)
{
	assert_int_equal(s->q_start, q);
	assert_int_equal(s->q_len, q_len);
	assert_int_equal(s->k_start, k);
	assert_int_equal(s->k_len, k_len);
	assert_int_equal(s->state, state);
	assert_int_equal(s->causal, causal);
}

static void spans_are_ancestors_then_own(void **state)
{
	struct fixture f;

	(void)state;
	make(&f);
	finish(&f);
	assert_int_equal(f.b.n_spans, 6);
	assert_int_equal(f.b.span_begin[0], 0);
	assert_int_equal(f.b.span_begin[1], 1);
	assert_int_equal(f.b.span_begin[2], 3);
	assert_int_equal(f.b.span_begin[3], 5);
	assert_int_equal(f.b.span_begin[4], 6);
	assert_span(&f.b.spans[0], 0, 3, 0, 3, -1, true);
	assert_span(&f.b.spans[1], 3, 2, 0, 3, -1, false);
	assert_span(&f.b.spans[2], 3, 2, 3, 2, -1, true);
	assert_span(&f.b.spans[3], 5, 4, 0, 3, -1, false);
	assert_span(&f.b.spans[4], 5, 4, 5, 4, -1, true);
	assert_span(&f.b.spans[5], 9, 1, 9, 1, -1, false);
	hth_arena_clear(&f.arena);
}

static void spans_of_a_continued_state_begin_with_its_past(void **unused)
{
	struct fixture f;
	struct hth_state *states[2] = {NULL, NULL};

	(void)unused;
	make(&f);
	f.b.n_states = 2;
	f.b.states = states;
	f.segments[0].state = 1;
	f.segments[0].past = 20;
	for (int i = 0; i < 9; i++)
		f.positions[i] += 20;
	f.segments[3].state = 0; /* an empty state: nothing to see, but appended to */
	finish(&f);
	assert_int_equal(f.b.n_spans, 9);
	assert_span(&f.b.spans[0], 0, 3, 0, 20, 1, false);
	assert_span(&f.b.spans[1], 0, 3, 0, 3, -1, true);
	assert_span(&f.b.spans[2], 3, 2, 0, 20, 1, false);
	assert_span(&f.b.spans[3], 3, 2, 0, 3, -1, false);
	assert_span(&f.b.spans[4], 3, 2, 3, 2, -1, true);
	assert_span(&f.b.spans[8], 9, 1, 9, 1, -1, false);
	hth_arena_clear(&f.arena);
}

static void wanted_rows_are_distinct_and_ascending(void **state)
{
	struct fixture f;

	(void)state;
	make(&f);
	finish(&f);
	assert_int_equal(f.b.wanted.n, 3);
	assert_int_equal(f.b.wanted.index[0], 2);
	assert_int_equal(f.b.wanted.index[1], 8);
	assert_int_equal(f.b.wanted.index[2], 9);
	assert_int_equal(f.b.out_row[0], 1);
	assert_int_equal(f.b.out_row[1], 0);
	assert_int_equal(f.b.out_row[2], 0);
	assert_int_equal(f.b.out_row[3], 2);
	assert_int_equal(f.b.wanted.positions[1], 6);
	assert_int_equal(f.b.wanted.examples[0], 4);
	assert_int_equal(f.b.wanted.examples[1], 5);
	assert_int_equal(f.b.wanted.n_runs, 2);
	assert_int_equal(f.b.wanted.runs[0].len, 2);
	assert_int_equal(f.b.wanted.runs[0].adapter, 1);
	assert_int_equal(f.b.wanted.runs[1].start, 2);
	assert_int_equal(f.b.wanted.runs[1].adapter, -1);
	hth_arena_clear(&f.arena);
}

static void all_rows_have_runs_of_equal_adapters(void **state)
{
	struct fixture f;

	(void)state;
	make(&f);
	finish(&f);
	assert_null(f.b.all.index);
	assert_int_equal(f.b.all.n, 10);
	assert_int_equal(f.b.all.n_runs, 2);
	assert_int_equal(f.b.all.runs[0].start, 0);
	assert_int_equal(f.b.all.runs[0].len, 9);
	assert_int_equal(f.b.all.runs[1].start, 9);
	assert_int_equal(f.b.all.runs[1].len, 1);
	assert_int_equal(f.b.all.examples[6], 5);
	assert_int_equal(f.b.all.positions[6], 4);
	hth_arena_clear(&f.arena);
}

static void a_batch_may_want_nothing(void **state)
{
	struct fixture f;

	(void)state;
	make(&f);
	f.b.n_outs = 0;
	f.b.outs = NULL;
	finish(&f);
	assert_int_equal(f.b.wanted.n, 0);
	assert_int_equal(f.b.wanted.n_runs, 0);
	assert_non_null(f.b.wanted.index);
	hth_arena_clear(&f.arena);
}

#define REJECTS(change, part)                                                                                          \
	do {                                                                                                           \
		struct fixture f;                                                                                      \
		struct hth_err err;                                                                                    \
		make(&f);                                                                                              \
		change;                                                                                                \
		assert_fails(hth_batch_finish(&f.b, &f.arena, &err), HTH_ERR_SHAPE, part);                             \
		hth_arena_clear(&f.arena);                                                                             \
	} while (0)

static void malformed_batches_are_named(void **state)
{
	(void)state;
	REJECTS(f.b.n_tokens = 0, "found 0 tokens");
	REJECTS(f.b.ids = NULL, "with ids");
	REJECTS(f.b.n_segments = 0, "found 0 segments");
	REJECTS(f.b.n_segments = 11, "found 11 segments, expected 1..10");
	REJECTS(f.b.n_outs = -1, "found -1 outs");
	REJECTS(f.b.outs = NULL, "found 4 outs");
	REJECTS(f.b.n_states = -1, "found -1 states");
	REJECTS(f.segments[1].start = 4, "segment 1: start 4, length 2, expected start 3");
	REJECTS(f.segments[1].len = 0, "segment 1: start 3, length 0");
	REJECTS(f.segments[3].len = 2, "segment 3: start 9, length 2, expected start 9 and length 1..1");
	REJECTS(f.segments[3].len = INT32_MAX, "segment 3");
	REJECTS(f.b.n_segments = 3, "segments cover 9 of 10 tokens");
	REJECTS(f.segments[1].parent = 1, "segment 1: parent 1, expected -1 or an earlier segment");
	REJECTS(f.segments[0].parent = 2, "segment 0: parent 2");
	REJECTS(f.segments[0].parent = -2, "segment 0: parent -2");
	REJECTS(f.segments[2].adapter = -2, "segment 2: adapter -2");
	REJECTS(f.segments[2].example = -1, "example -1");
	REJECTS(f.segments[0].state = 0, "segment 0: state 0 with past 0, expected 0..-1");
	REJECTS(f.segments[0].state = -2, "segment 0: state -2");
	REJECTS(f.segments[0].past = 3, "segment 0: state -1 with past 3");
	REJECTS((f.segments[1].state = 0, f.b.n_states = 1), "segment 1: has parent 0 and state 0");
	REJECTS((f.segments[0].state = 0, f.segments[3].state = 0, f.b.n_states = 1), "appended to by an earlier");
	REJECTS((f.segments[0].state = 0, f.segments[0].past = -1, f.b.n_states = 1), "past -1");
	REJECTS(f.segments[1].beyond = true, "segment 1: one of it and its parent 0 is beyond the original context");
	REJECTS(f.positions[4] = 5, "segment 1, row 4: position 5, expected 4");
	REJECTS(f.positions[5] = 0, "segment 2, row 5: position 0, expected 3");
	REJECTS(f.positions[0] = 1, "segment 0, row 0: position 1, expected 0");
	REJECTS(f.ids[9] = -1, "row 9: token id -1");
	REJECTS(f.outs[1].row = 10, "out 1: row 10, expected 0..9");
	REJECTS(f.outs[1].row = -1, "out 1: row -1");
	REJECTS(f.outs[3].target = -2, "out 3: target -2");
	REJECTS(f.outs[0].weight = NAN, "finite weight");
}

static void failing_memory_is_an_error(void **state)
{
	struct hth_err err;
	struct fixture f;

	(void)state;
	for (size_t limit = 0;; limit += 16) {
		make(&f);
		f.arena.max_bytes = limit;
		enum hth_status status = hth_batch_finish(&f.b, &f.arena, &err);
		hth_arena_clear(&f.arena);
		if (status == HTH_OK)
			break;
		assert_int_equal(status, HTH_ERR_MEMORY);
		assert_true(limit < 1 << 16);
	}
}

static void a_chain_too_deep_for_its_spans_is_a_limit(void **state)
{
	enum { N = 70000 };
	struct hth_segment *segments = hth_calloc(N, sizeof *segments);
	int32_t *ids = hth_calloc(N, sizeof *ids), *positions = hth_calloc(N, sizeof *positions);
	struct hth_batch b = {.n_tokens = N, .ids = ids, .positions = positions, .n_segments = N, .segments = segments};
	struct hth_arena arena;
	struct hth_err err;

	(void)state;
	for (int32_t i = 0; i < N; i++) {
		segments[i] = (struct hth_segment){.start = i, .len = 1, .parent = i - 1, .state = -1, .causal = true};
		positions[i] = i;
	}
	hth_arena_init(&arena, 1 << 26);
	assert_fails(hth_batch_finish(&b, &arena, &err), HTH_ERR_LIMIT, "too deep");
	hth_arena_clear(&arena);
	hth_free(segments);
	hth_free(ids);
	hth_free(positions);
}

/* llama.cpp's conversion stores row h*D + 2i + half where Hugging Face has h*D + half*D/2 + i. */
static void permuted_rows_are_found_in_their_stored_place(void **state)
{
	static const int64_t stored[12] = {0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11};
	struct hth_weight w = {.rows = 12, .cols = 1, .row_bytes = 4, .head_rows = 6};

	(void)state;
	for (int64_t n = 0; n < 12; n++)
		assert_int_equal(hth_weight_stored_row(&w, n), stored[n]);
	w.head_rows = 0;
	assert_int_equal(hth_weight_stored_row(&w, 7), 7);
	assert_int_equal(hth_weight_bytes(&w), 48);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spans_are_ancestors_then_own),
		cmocka_unit_test(spans_of_a_continued_state_begin_with_its_past),
		cmocka_unit_test(wanted_rows_are_distinct_and_ascending),
		cmocka_unit_test(all_rows_have_runs_of_equal_adapters),
		cmocka_unit_test(a_batch_may_want_nothing),
		cmocka_unit_test(malformed_batches_are_named),
		cmocka_unit_test(failing_memory_is_an_error),
		cmocka_unit_test(a_chain_too_deep_for_its_spans_is_a_limit),
		cmocka_unit_test(permuted_rows_are_found_in_their_stored_place),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
