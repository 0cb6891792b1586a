/* What the sampler promises, on a vocabulary of eight. */
#include "base/mem.h"
#include "infer/sampler.h"
#include "support.h"

#include <math.h>

#define V 8
static const float logits[V] = {0.0f, 2.0f, 1.0f, 3.0f, -1.0f, 2.5f, -2.0f, 0.5f};
/* Counts of 20,000 draws: five standard deviations are below 0.018. */
#define DRAWS 20000
#define DRAW_TOLERANCE 0.018

static struct hth_sampler_config plain(float temperature)
{
	return (struct hth_sampler_config){.temperature = temperature, .top_p = 1, .repetition_penalty = 1, .seed = 7};
}

static int32_t pick(struct hth_sampler *s, const float *z, const int32_t *history, int64_t n, uint64_t position)
{
	struct hth_err err;
	int32_t id;

	assert_ok(hth_sampler_pick(s, z, history, n, position, &id, &err));
	return id;
}

static int32_t pick_once(const struct hth_sampler_config *cfg, const float *z, const int32_t *history, int64_t n)
{
	struct hth_sampler *s;
	struct hth_err err;

	assert_ok(hth_sampler_new(cfg, V, &s, &err));
	int32_t id = pick(s, z, history, n, 0);
	hth_sampler_free(s);
	return id;
}

/* Draws many times; share (V) of each token. */
static void shares(const struct hth_sampler_config *cfg, const float *z, double share[V])
{
	struct hth_sampler *s;
	struct hth_err err;

	assert_ok(hth_sampler_new(cfg, V, &s, &err));
	for (int i = 0; i < V; i++)
		share[i] = 0;
	for (uint64_t i = 0; i < DRAWS; i++)
		share[pick(s, z, NULL, 0, i)] += 1.0 / DRAWS;
	hth_sampler_free(s);
}

static void assert_shares(const double got[V], const double want[V])
{
	for (int i = 0; i < V; i++)
		if (fabs(got[i] - want[i]) > DRAW_TOLERANCE || (want[i] == 0 && got[i] != 0))
			fail_msg("token %d: share %g, expected %g", i, got[i], want[i]);
}

static void temperature_zero_takes_the_largest_and_the_lowest_id_of_equals(void **state)
{
	struct hth_sampler_config cfg = plain(0);
	const float equal[V] = {0, 1, 5, 5, 5, 1, 1, 1};

	(void)state;
	assert_int_equal(pick_once(&cfg, logits, NULL, 0), 3);
	assert_int_equal(pick_once(&cfg, equal, NULL, 0), 2);
}

static void temperature_one_draws_by_softmax(void **state)
{
	struct hth_sampler_config cfg = plain(1);
	double got[V];
	/* exp(z) / 45.5273 */
	const double want[V] = {0.02196, 0.16230, 0.05971, 0.44118, 0.00808, 0.26759, 0.00297, 0.03621};

	(void)state;
	shares(&cfg, logits, got);
	assert_shares(got, want);
}

static void low_temperature_sharpens(void **state)
{
	struct hth_sampler_config cfg = plain(0.1f);
	double got[V];
	/* exp(-5) against 1: 0.00669 of token 5 */
	const double want[V] = {0, 0.00005, 0, 0.99326, 0, 0.00669, 0, 0};

	(void)state;
	shares(&cfg, logits, got);
	for (int i = 0; i < V; i++)
		assert_true(fabs(got[i] - want[i]) < 0.005);
}

static void top_k_keeps_the_k_largest(void **state)
{
	struct hth_sampler_config cfg = plain(1);
	double got[V];
	/* 3 and 2.5: 1 / (1 + exp(-0.5)) */
	const double two[V] = {0, 0, 0, 0.62246, 0, 0.37754, 0, 0};
	const double one[V] = {0, 0, 0, 1, 0, 0, 0, 0};

	(void)state;
	cfg.top_k = 2;
	shares(&cfg, logits, got);
	assert_shares(got, two);
	cfg.top_k = 1;
	shares(&cfg, logits, got);
	assert_shares(got, one);
	cfg.top_k = 100;
	assert_in_range(pick_once(&cfg, logits, NULL, 0), 0, V - 1);
}

static void top_p_keeps_the_smallest_set_that_reaches_p(void **state)
{
	struct hth_sampler_config cfg = plain(1);
	double got[V];
	/* Shares of 3, 5 and 1 are 0.44, 0.27, 0.16: 0.5 needs two of them, 0.75 three. */
	const double two[V] = {0, 0, 0, 0.62246, 0, 0.37754, 0, 0};
	const double three[V] = {0, 0.18632, 0, 0.50648, 0, 0.30720, 0, 0};

	(void)state;
	cfg.top_p = 0.5f;
	shares(&cfg, logits, got);
	assert_shares(got, two);
	cfg.top_p = 0.75f;
	shares(&cfg, logits, got);
	assert_shares(got, three);
	cfg.top_p = 1e-6f;
	assert_int_equal(pick_once(&cfg, logits, NULL, 0), 3);
}

static void top_p_counts_what_top_k_left(void **state)
{
	struct hth_sampler_config cfg = plain(1);
	double got[V];
	/* Of all eight the best has 0.44 and p = 0.6 would need two; of the two that top-k leaves it has 0.62. */
	const double one[V] = {0, 0, 0, 1, 0, 0, 0, 0};

	(void)state;
	cfg.top_k = 2;
	cfg.top_p = 0.6f;
	shares(&cfg, logits, got);
	assert_shares(got, one);
}

static void min_p_drops_what_is_far_below_the_best(void **state)
{
	struct hth_sampler_config cfg = plain(1);
	double got[V];
	const double two[V] = {0, 0, 0, 0.62246, 0, 0.37754, 0, 0};

	(void)state;
	cfg.min_p = 0.5f; /* exp(-0.5) = 0.61 stays, exp(-1) = 0.37 goes */
	shares(&cfg, logits, got);
	assert_shares(got, two);
}

static void penalty_divides_positive_and_multiplies_negative_logits_once(void **state)
{
	struct hth_sampler_config cfg = plain(0);
	const int32_t history[] = {3, 3, 3, 5, -1, 1000};
	const float negative[V] = {-1.0f, -1.5f, -9, -9, -9, -9, -9, -9};
	const int32_t zero[] = {0};

	(void)state;
	cfg.repetition_penalty = 1.4f; /* 3 -> 2.14, 2.5 -> 1.79: token 1 with 2.0 lies between */
	assert_int_equal(pick_once(&cfg, logits, history, 6), 3);
	cfg.repetition_penalty = 1.6f; /* 3 -> 1.88 */
	assert_int_equal(pick_once(&cfg, logits, history, 6), 1);
	assert_int_equal(pick_once(&cfg, negative, zero, 1), 1); /* -1 -> -1.6 */
}

static void penalty_window_forgets_older_tokens(void **state)
{
	struct hth_sampler_config cfg = plain(0);
	const int32_t history[] = {3, 0, 0};

	(void)state;
	cfg.repetition_penalty = 2;
	assert_int_equal(pick_once(&cfg, logits, history, 3), 5);
	cfg.repetition_window = 2;
	assert_int_equal(pick_once(&cfg, logits, history, 3), 3);
}

static void same_seed_and_position_give_the_same_token(void **state)
{
	struct hth_sampler_config cfg = plain(1.5f), other = plain(1.5f);
	struct hth_sampler *a, *b, *c;
	struct hth_err err;
	int differ = 0;

	(void)state;
	other.seed = 8;
	assert_ok(hth_sampler_new(&cfg, V, &a, &err));
	assert_ok(hth_sampler_new(&cfg, V, &b, &err));
	assert_ok(hth_sampler_new(&other, V, &c, &err));
	for (uint64_t i = 0; i < 100; i++) {
		int32_t first = pick(a, logits, NULL, 0, i);
		assert_int_equal(first, pick(b, logits, NULL, 0, i));
		differ += first != pick(c, logits, NULL, 0, i);
	}
	assert_in_range(differ, 20, 95);
	hth_sampler_free(a);
	hth_sampler_free(b);
	hth_sampler_free(c);
}

static void bad_logits_are_skipped_or_an_error(void **state)
{
	struct hth_sampler_config cfg = plain(1);
	float z[V];
	struct hth_sampler *s;
	struct hth_err err;
	int32_t id;

	(void)state;
	for (int i = 0; i < V; i++)
		z[i] = i % 2 != 0 ? NAN : -INFINITY;
	assert_ok(hth_sampler_new(&cfg, V, &s, &err));
	assert_fails(hth_sampler_pick(s, z, NULL, 0, 0, &id, &err), HTH_ERR_VALUE, "NaN");
	z[6] = -3;
	assert_int_equal(pick(s, z, NULL, 0, 0), 6);
	z[2] = INFINITY;
	assert_int_equal(pick(s, z, NULL, 0, 0), 2);
	hth_sampler_free(s);
}

static void settings_out_of_range_are_refused(void **state)
{
	const struct {
		struct hth_sampler_config cfg;
		const char *part;
	} bad[] = {
		{{.temperature = -1, .top_p = 1, .repetition_penalty = 1}, "temperature -1"},
		{{.temperature = NAN, .top_p = 1, .repetition_penalty = 1}, "temperature"},
		{{.temperature = 1, .top_p = 0, .repetition_penalty = 1}, "top_p 0"},
		{{.temperature = 1, .top_p = 1.5f, .repetition_penalty = 1}, "top_p 1.5"},
		{{.temperature = 1, .top_p = 1, .min_p = 2, .repetition_penalty = 1}, "min_p 2"},
		{{.temperature = 1, .top_p = 1, .top_k = -1, .repetition_penalty = 1}, "top_k -1"},
		{{.temperature = 1, .top_p = 1, .repetition_penalty = 0}, "repetition_penalty 0"},
		{{.temperature = 1, .top_p = 1, .repetition_penalty = 1, .repetition_window = -2},
		 "repetition_window -2"},
	};
	struct hth_sampler *s;
	struct hth_err err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_fails(hth_sampler_new(&bad[i].cfg, V, &s, &err), HTH_ERR_USAGE, bad[i].part);
	struct hth_sampler_config cfg = plain(1);
	assert_fails(hth_sampler_new(&cfg, 0, &s, &err), HTH_ERR_USAGE, "vocabulary");
}

static void failed_allocations_leak_nothing(void **state)
{
	struct hth_sampler_config cfg = plain(1);
	struct hth_sampler *s;
	struct hth_err err;

	(void)state;
	for (uint64_t n = 1; n <= 4; n++) {
		hth_mem_fail_at(n, false);
		enum hth_status st = hth_sampler_new(&cfg, V, &s, &err);
		hth_mem_fail_at(0, false);
		assert_int_equal(st, HTH_ERR_MEMORY);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(temperature_zero_takes_the_largest_and_the_lowest_id_of_equals),
		cmocka_unit_test(temperature_one_draws_by_softmax),
		cmocka_unit_test(low_temperature_sharpens),
		cmocka_unit_test(top_k_keeps_the_k_largest),
		cmocka_unit_test(top_p_keeps_the_smallest_set_that_reaches_p),
		cmocka_unit_test(top_p_counts_what_top_k_left),
		cmocka_unit_test(min_p_drops_what_is_far_below_the_best),
		cmocka_unit_test(penalty_divides_positive_and_multiplies_negative_logits_once),
		cmocka_unit_test(penalty_window_forgets_older_tokens),
		cmocka_unit_test(same_seed_and_position_give_the_same_token),
		cmocka_unit_test(bad_logits_are_skipped_or_an_error),
		cmocka_unit_test(settings_out_of_range_are_refused),
		cmocka_unit_test(failed_allocations_leak_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
