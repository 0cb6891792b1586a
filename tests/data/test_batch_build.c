/* Cutting steps into micro-batches and sharing prefixes: what the model reads and is asked for must be the same with
 * sharing on and off. Batches are read back by walking each out's path to its root, without the builder's help. */
#include "base/mem.h"
#include "base/rng.h"
#include "data/batch_build.h"
#include "support.h"

static struct hth_err err;

/* A data set from strings: one token a letter; upper case letters are targets. */
static struct hth_dataset letters(const char *const *rows, size_t n)
{
	struct hth_dataset d = {0};

	d.items = hth_calloc(n, sizeof *d.items);
	assert_non_null(d.items);
	d.n = d.cap = n;
	for (size_t i = 0; i < n; i++) {
		struct hth_example *e = &d.items[i].tokens;
		e->n = strlen(rows[i]);
		e->ids = hth_calloc(e->n, sizeof *e->ids);
		e->target = hth_calloc(e->n, 1);
		assert_non_null(e->ids);
		assert_non_null(e->target);
		d.items[i].line = (uint32_t)i + 1;
		for (size_t t = 0; t < e->n; t++) {
			bool upper = rows[i][t] >= 'A' && rows[i][t] <= 'Z';
			e->ids[t] = upper ? rows[i][t] - 'A' : rows[i][t] - 'a';
			e->target[t] = upper;
			e->n_targets += upper;
		}
	}
	return d;
}

/* "row i of the step, context abc, predicts d" for every out, sorted: one line each. */
static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

struct lines {
	char *text[4096];
	size_t n;
};

static void read_outs(const struct hth_batch *b, struct lines *out)
{
	for (int32_t o = 0; o < b->n_outs; o++) {
		char context[512];
		size_t at = sizeof context - 1;
		int32_t s = 0, row = b->outs[o].row;
		context[at] = '\0';
		while (row >= b->segments[s].start + b->segments[s].len)
			s++;
		int32_t places = b->positions[row] + 1;
		while (row >= 0) {
			context[--at] = (char)('a' + b->ids[row]);
			if (row > b->segments[s].start) {
				row--;
			} else {
				s = b->segments[s].parent;
				row = s < 0 ? -1 : b->segments[s].start + b->segments[s].len - 1;
			}
		}
		assert_int_equal(strlen(context + at), places);
		char line[600];
		snprintf(line, sizeof line, "%04d %s>%c", b->outs[o].sequence, context + at, 'a' + b->outs[o].target);
		assert_true(out->n < 4096);
		out->text[out->n++] = hth_strdup(line);
	}
}

static void clear_lines(struct lines *l)
{
	for (size_t i = 0; i < l->n; i++)
		hth_free(l->text[i]);
	l->n = 0;
}

/* Every out of the step through the cut, sorted. Also checks the books of the cut. */
static void collect(const struct hth_dataset *d, const uint32_t *order, int32_t n, const struct hth_cut_config *cfg,
		    struct lines *out, struct hth_cut *cut)
{
	struct hth_arena arena;
	int64_t computed = 0;

	hth_arena_init(&arena, (size_t)64 << 20);
	assert_ok(hth_cut_step(d, order, n, cfg, &arena, cut, &err));
	assert_int_equal(cut->begin[0], 0);
	assert_int_equal(cut->begin[cut->n_micro], n);
	out->n = 0;
	for (int32_t m = 0; m < cut->n_micro; m++) {
		struct hth_batch b;
		assert_true(cut->begin[m] < cut->begin[m + 1]);
		assert_ok(hth_cut_batch(d, order, cut, m, cfg, &arena, &b, &err));
		if (cfg->token_budget > 0 && cut->begin[m + 1] - cut->begin[m] > 1)
			assert_true(b.n_tokens <= cfg->token_budget);
		for (int32_t o = 0; o < b.n_outs; o++) {
			assert_true(b.outs[o].sequence >= cut->begin[m] && b.outs[o].sequence < cut->begin[m + 1]);
			assert_true(b.outs[o].weight == (float)(1.0 / (double)cut->n_targets));
		}
		for (int32_t s = 0; s < b.n_segments; s++)
			assert_int_equal(b.segments[s].adapter, cfg->adapter);
		computed += b.n_tokens;
		read_outs(&b, out);
	}
	assert_int_equal(computed, cut->n_computed);
	assert_int_equal(out->n, cut->n_targets);
	cut->begin = NULL;
	qsort(out->text, out->n, sizeof out->text[0], by_text);
	hth_arena_clear(&arena);
}

static struct hth_batch one_batch(const struct hth_dataset *d, int32_t min_shared, struct hth_arena *arena)
{
	struct hth_cut_config cfg = {.share_prefix = true, .min_shared = min_shared};
	uint32_t order[64];
	struct hth_cut cut;
	struct hth_batch b;

	for (uint32_t i = 0; i < d->n; i++)
		order[i] = i;
	hth_arena_init(arena, (size_t)16 << 20);
	assert_ok(hth_cut_step(d, order, (int32_t)d->n, &cfg, arena, &cut, &err));
	assert_int_equal(cut.n_micro, 1);
	assert_ok(hth_cut_batch(d, order, &cut, 0, &cfg, arena, &b, &err));
	return b;
}

static void check_segment(const struct hth_batch *b, int32_t s, int32_t start, int32_t len, int32_t parent,
			  int32_t example)
{
	assert_true(s < b->n_segments);
	assert_int_equal(b->segments[s].start, start);
	assert_int_equal(b->segments[s].len, len);
	assert_int_equal(b->segments[s].parent, parent);
	assert_int_equal(b->segments[s].example, example);
	assert_int_equal(b->segments[s].state, -1);
	assert_true(b->segments[s].causal);
}

static void a_shared_prompt_becomes_one_segment_with_two_targets_at_its_last_row(void **state)
{
	(void)state;
	const char *rows[] = {"sysXyz", "sysQ"};
	struct hth_dataset d = letters(rows, 2);
	struct hth_arena arena;
	struct hth_batch b = one_batch(&d, 2, &arena);

	assert_int_equal(b.n_tokens, 7);
	assert_int_equal(b.n_segments, 3);
	check_segment(&b, 0, 0, 3, -1, 0);
	check_segment(&b, 1, 3, 1, 0, 1); /* q before x */
	check_segment(&b, 2, 4, 3, 0, 0);
	static const int32_t positions[] = {0, 1, 2, 3, 3, 4, 5};
	assert_memory_equal(b.positions, positions, sizeof positions);
	assert_int_equal(b.n_outs, 2);
	assert_int_equal(b.outs[0].row, 2);
	assert_int_equal(b.outs[0].target, 'X' - 'A');
	assert_int_equal(b.outs[0].sequence, 0);
	assert_int_equal(b.outs[1].row, 2);
	assert_int_equal(b.outs[1].target, 'Q' - 'A');
	assert_int_equal(b.outs[1].sequence, 1);
	assert_int_equal(b.wanted.n, 1);
	hth_arena_clear(&arena);
	hth_dataset_clear(&d);
}

static void trees_are_deeper_than_one_level(void **state)
{
	(void)state;
	const char *rows[] = {"aabbccD", "aabbccE", "aabbdD", "aaF", "zzZ"};
	struct hth_dataset d = letters(rows, 5);
	struct hth_arena arena;
	struct hth_batch b = one_batch(&d, 2, &arena);

	/* aa: [bb: [cc: d e] dd] f | zzz */
	check_segment(&b, 0, 0, 2, -1, 0);
	check_segment(&b, 1, 2, 2, 0, 0);
	check_segment(&b, 2, 4, 2, 1, 0);
	check_segment(&b, 3, 6, 1, 2, 0);
	check_segment(&b, 4, 7, 1, 2, 1);
	check_segment(&b, 5, 8, 2, 1, 2);
	check_segment(&b, 6, 10, 1, 0, 3);
	check_segment(&b, 7, 11, 3, -1, 4);
	assert_int_equal(b.n_segments, 8);
	assert_int_equal(b.n_tokens, 14);
	hth_arena_clear(&arena);
	hth_dataset_clear(&d);
}

static void an_example_that_begins_another_has_no_segment_of_its_own(void **state)
{
	(void)state;
	const char *rows[] = {"abCDefG", "abCD"};
	struct hth_dataset d = letters(rows, 2);
	struct hth_arena arena;
	struct hth_batch b = one_batch(&d, 2, &arena);

	assert_int_equal(b.n_segments, 2);
	check_segment(&b, 0, 0, 4, -1, 0);
	check_segment(&b, 1, 4, 3, 0, 0);
	assert_int_equal(b.n_outs, 5);
	assert_int_equal(b.wanted.n, 3); /* rows 1, 2 twice each, row 5 */
	hth_arena_clear(&arena);
	hth_dataset_clear(&d);
}

static void identical_examples_are_computed_once_and_asked_for_each(void **state)
{
	(void)state;
	const char *rows[] = {"abC", "abC", "abC"};
	struct hth_dataset d = letters(rows, 3);
	struct hth_arena arena;
	struct hth_batch b = one_batch(&d, 2, &arena);

	assert_int_equal(b.n_tokens, 3);
	assert_int_equal(b.n_segments, 1);
	assert_int_equal(b.n_outs, 3);
	for (int32_t i = 0; i < 3; i++) {
		assert_int_equal(b.outs[i].row, 1);
		assert_int_equal(b.outs[i].sequence, i);
	}
	hth_arena_clear(&arena);
	hth_dataset_clear(&d);
}

static void prefixes_shorter_than_min_shared_stay_apart(void **state)
{
	(void)state;
	const char *rows[] = {"abcX", "abcY"};
	struct hth_dataset d = letters(rows, 2);
	struct hth_arena arena;
	struct hth_batch b = one_batch(&d, 4, &arena);

	assert_int_equal(b.n_tokens, 8);
	assert_int_equal(b.segments[0].parent, -1);
	assert_int_equal(b.segments[1].parent, -1);
	hth_arena_clear(&arena);
	b = one_batch(&d, 3, &arena);
	assert_int_equal(b.n_tokens, 5);
	hth_arena_clear(&arena);
	hth_dataset_clear(&d);
}

/* Longer examples than the switch rotate otherwise: what they share with shorter ones is computed for each kind. */
static void prefixes_are_not_shared_across_the_rope_switch(void **state)
{
	(void)state;
	const char *rows[] = {"sysabcdefX", "sysabcdY", "sysabcdefZ", "sysabcd"};
	struct hth_dataset d = letters(rows, 4);
	struct hth_cut_config cfg = {.share_prefix = true, .min_shared = 3, .rope_switch = 8};
	uint32_t order[] = {0, 1, 2, 3};
	struct hth_arena arena;
	struct hth_cut cut;
	struct hth_batch b;

	hth_arena_init(&arena, 1 << 20);
	assert_ok(hth_cut_step(&d, order, 4, &cfg, &arena, &cut, &err));
	assert_int_equal(cut.n_computed, 8 + 11); /* sysabcd, Y; sysabcdef, X, Z */
	assert_ok(hth_cut_batch(&d, order, &cut, 0, &cfg, &arena, &b, &err));
	assert_int_equal(b.n_segments, 5);
	check_segment(&b, 0, 0, 7, -1, 1);
	check_segment(&b, 1, 7, 1, 0, 1);
	check_segment(&b, 2, 8, 9, -1, 0);
	check_segment(&b, 3, 17, 1, 2, 0);
	check_segment(&b, 4, 18, 1, 2, 2);
	for (int32_t s = 0; s < 5; s++)
		assert_int_equal(b.segments[s].beyond, s > 1);
	assert_int_equal(b.all.beyond[7], 0);
	assert_int_equal(b.all.beyond[8], 1);
	hth_arena_reset(&arena);
	cfg.rope_switch = 0;
	assert_ok(hth_cut_step(&d, order, 4, &cfg, &arena, &cut, &err));
	assert_int_equal(cut.n_computed, 7 + 1 + 3 + 3);
	hth_arena_clear(&arena);
	hth_dataset_clear(&d);
}

static void a_child_group_may_share_what_its_parent_could_not(void **state)
{
	(void)state;
	const char *rows[] = {"abcdeX", "abcdeY", "aQ"}; /* all share 1 token, two share 5 */
	struct hth_dataset d = letters(rows, 3);
	struct hth_arena arena;
	struct hth_batch b = one_batch(&d, 4, &arena);

	assert_int_equal(b.n_segments, 4);
	check_segment(&b, 0, 0, 5, -1, 0);
	assert_int_equal(b.n_tokens, 5 + 1 + 1 + 2);
	hth_arena_clear(&arena);
	hth_dataset_clear(&d);
}

/* 60 random steps over a two-letter alphabet, where long common prefixes, repeats and prefixes of others abound. */
static void sharing_and_cutting_never_change_what_is_asked(void **state)
{
	(void)state;
	struct hth_rng_key key = hth_rng_key(7, HTH_RNG_TEST, 1, 0);
	static char text[24][40];
	uint64_t c = 0;
	static struct lines plain, other;

	for (int round = 0; round < 60; round++) {
		const char *rows[24];
		uint32_t order[24];
		uint32_t n = 1 + (uint32_t)hth_rng_below(key, c++, 0, 24);
		for (uint32_t i = 0; i < n; i++) {
			uint32_t len = 2 + (uint32_t)hth_rng_below(key, c++, 0, 30);
			memset(text[i], 0, sizeof text[i]);
			for (uint32_t t = 0; t < len; t++)
				text[i][t] = "abB"[hth_rng_below(key, c++, 0, t > 8 ? 3 : 2)];
			text[i][len - 1] = 'A';
			text[i][0] = 'a';
			rows[i] = text[i];
			order[i] = i;
		}
		struct hth_dataset d = letters(rows, n);
		struct hth_cut_config off = {0}, on = {.share_prefix = true};
		struct hth_cut a, b;
		hth_rng_shuffle(hth_rng_key(7, HTH_RNG_TEST, 2, (uint32_t)round), order, n);
		collect(&d, order, (int32_t)n, &off, &plain, &a);
		assert_int_equal(a.n_micro, 1);
		assert_int_equal(a.n_computed, a.n_tokens);
		for (int32_t min_shared = 1; min_shared <= 9; min_shared += 4) {
			for (int64_t budget = 0; budget <= 120; budget += 40) {
				on.min_shared = min_shared;
				on.token_budget = budget;
				collect(&d, order, (int32_t)n, &on, &other, &b);
				assert_true(b.n_computed <= a.n_computed);
				assert_int_equal(other.n, plain.n);
				for (size_t i = 0; i < plain.n; i++)
					assert_string_equal(plain.text[i], other.text[i]);
				clear_lines(&other);
			}
		}
		clear_lines(&plain);
		hth_dataset_clear(&d);
	}
}

static void one_example_alone_may_exceed_the_budget(void **state)
{
	(void)state;
	const char *rows[] = {"abcdefgH", "abC", "xyZ"};
	struct hth_dataset d = letters(rows, 3);
	struct hth_cut_config cfg = {.token_budget = 6};
	uint32_t order[] = {1, 0, 2};
	struct hth_arena arena;
	struct hth_cut cut;

	hth_arena_init(&arena, 1 << 20);
	assert_ok(hth_cut_step(&d, order, 3, &cfg, &arena, &cut, &err));
	assert_int_equal(cut.n_micro, 3);
	assert_int_equal(cut.n_targets, 3);
	hth_arena_clear(&arena);
	hth_dataset_clear(&d);
}

static void shared_prefixes_make_room_in_the_budget(void **state)
{
	(void)state;
	const char *rows[] = {"systemmmA", "systemmmB", "systemmmC", "systemmmD"};
	struct hth_dataset d = letters(rows, 4);
	struct hth_cut_config cfg = {.token_budget = 12, .share_prefix = true};
	uint32_t order[] = {0, 1, 2, 3};
	struct hth_arena arena;
	struct hth_cut cut;

	hth_arena_init(&arena, 1 << 20);
	assert_ok(hth_cut_step(&d, order, 4, &cfg, &arena, &cut, &err));
	assert_int_equal(cut.n_micro, 1);
	assert_int_equal(cut.n_tokens, 36);
	assert_int_equal(cut.n_computed, 12);
	cfg.share_prefix = false;
	assert_ok(hth_cut_step(&d, order, 4, &cfg, &arena, &cut, &err));
	assert_int_equal(cut.n_micro, 4);
	assert_int_equal(cut.n_computed, 36);
	hth_arena_clear(&arena);
	hth_dataset_clear(&d);
}

static void a_target_at_the_first_place_is_never_asked_for(void **state)
{
	(void)state;
	const char *rows[] = {"ABc"};
	struct hth_dataset d = letters(rows, 1);
	struct hth_arena arena;
	struct hth_batch b = one_batch(&d, 2, &arena);

	assert_int_equal(b.n_outs, 1);
	assert_int_equal(b.outs[0].row, 0);
	hth_arena_clear(&arena);
	hth_dataset_clear(&d);
}

static void bad_steps_are_refused(void **state)
{
	(void)state;
	const char *rows[] = {"abC"};
	struct hth_dataset d = letters(rows, 1);
	struct hth_cut_config cfg = {0};
	uint32_t order[] = {0, 1};
	struct hth_arena arena;
	struct hth_cut cut;

	hth_arena_init(&arena, 1 << 20);
	assert_fails(hth_cut_step(&d, order, 0, &cfg, &arena, &cut, &err), HTH_ERR_SHAPE, "expected at least 1");
	assert_fails(hth_cut_step(&d, order, 2, &cfg, &arena, &cut, &err), HTH_ERR_SHAPE, "example 1");
	hth_arena_clear(&arena);
	hth_arena_init(&arena, 64);
	assert_fails(hth_cut_step(&d, order, 1, &cfg, &arena, &cut, &err), HTH_ERR_MEMORY, "out of memory");
	hth_arena_clear(&arena);
	hth_dataset_clear(&d);
}

static void a_second_build_in_a_reset_arena_allocates_nothing(void **state)
{
	(void)state;
	const char *rows[] = {"sysabcdefX", "sysabcdefY", "Az"};
	struct hth_dataset d = letters(rows, 3);
	struct hth_cut_config cfg = {.share_prefix = true};
	uint32_t order[] = {0, 1, 2};
	struct hth_arena arena;
	struct hth_cut cut;
	struct hth_batch b;
	uint64_t before = 0;

	hth_arena_init(&arena, 1 << 20);
	for (int i = 0; i < 4; i++) {
		if (i == 2)
			before = hth_mem_allocs();
		hth_arena_reset(&arena);
		assert_ok(hth_cut_step(&d, order, 3, &cfg, &arena, &cut, &err));
		assert_ok(hth_cut_batch(&d, order, &cut, 0, &cfg, &arena, &b, &err));
	}
	assert_int_equal(hth_mem_allocs() - before, 0);
	hth_arena_clear(&arena);
	hth_dataset_clear(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_shared_prompt_becomes_one_segment_with_two_targets_at_its_last_row),
		cmocka_unit_test(trees_are_deeper_than_one_level),
		cmocka_unit_test(an_example_that_begins_another_has_no_segment_of_its_own),
		cmocka_unit_test(identical_examples_are_computed_once_and_asked_for_each),
		cmocka_unit_test(prefixes_shorter_than_min_shared_stay_apart),
		cmocka_unit_test(prefixes_are_not_shared_across_the_rope_switch),
		cmocka_unit_test(a_child_group_may_share_what_its_parent_could_not),
		cmocka_unit_test(sharing_and_cutting_never_change_what_is_asked),
		cmocka_unit_test(one_example_alone_may_exceed_the_budget),
		cmocka_unit_test(shared_prefixes_make_room_in_the_budget),
		cmocka_unit_test(a_target_at_the_first_place_is_never_asked_for),
		cmocka_unit_test(bad_steps_are_refused),
		cmocka_unit_test(a_second_build_in_a_reset_arena_allocates_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
