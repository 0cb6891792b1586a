#include "base/rng.h"
#include "support.h"

#include <math.h>

/* From the authors' Random123 distribution (kat_vectors): philox4x32, 10 rounds. */
static void philox_has_its_known_answers(void **state)
{
	static const struct {
		uint32_t c[4], k[2], want[4];
	} cases[] = {
		{{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
		 {0xffffffff, 0xffffffff},
		 {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
		 {0xa4093822, 0x299f31d0},
		 {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	};
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		uint32_t out[4];
		struct hth_rng_key key = {{cases[i].k[0], cases[i].k[1]}};
		hth_rng_block(key, (uint64_t)cases[i].c[1] << 32 | cases[i].c[0],
			      (uint64_t)cases[i].c[3] << 32 | cases[i].c[2], out);
		assert_memory_equal(out, cases[i].want, sizeof out);
	}
}

static void keys_differ_in_each_of_their_parts(void **state)
{
	struct hth_rng_key keys[8] = {
		hth_rng_key(1, HTH_RNG_TEST, 2, 3),    hth_rng_key(2, HTH_RNG_TEST, 2, 3),
		hth_rng_key(1, HTH_RNG_INIT, 2, 3),    hth_rng_key(1, HTH_RNG_TEST, 3, 2),
		hth_rng_key(1, HTH_RNG_TEST, 2, 4),    hth_rng_key(1 + ((uint64_t)1 << 32), HTH_RNG_TEST, 2, 3),
		hth_rng_key(0, HTH_RNG_SHUFFLE, 0, 0), hth_rng_key(0, HTH_RNG_SPLIT, 0, 0),
	};
	(void)state;
	for (int i = 0; i < 8; i++)
		for (int j = 0; j < i; j++)
			assert_memory_not_equal(&keys[i], &keys[j], sizeof keys[0]);
}

/* The moments of n uniform or normal numbers lie within five standard errors, with a fixed seed: always or never. */
static void numbers_have_the_moments_of_their_law(void **state)
{
	struct hth_rng_key key = hth_rng_key(42, HTH_RNG_TEST, 0, 0);
	double u = 0, u2 = 0, z = 0, z2 = 0, z4 = 0, w = 0, w2 = 0;
	const int n = 200000;
	(void)state;
	for (int i = 0; i < n; i++) {
		float a = hth_rng_uniform(key, (uint64_t)i, 7);
		double c = hth_rng_uniform53(key, (uint64_t)i, 9);
		double b = (double)hth_rng_normal(key, (uint64_t)i, 8);
		assert_true(a >= 0 && a < 1 && c >= 0 && c < 1 && isfinite(b));
		u += (double)a;
		u2 += (double)a * (double)a;
		w += c;
		w2 += c * c;
		z += b;
		z2 += b * b;
		z4 += b * b * b * b;
	}
	double se = 1 / sqrt((double)n);
	assert_true(fabs(u / n - 1.0 / 2) < 5 * 0.289 * se && fabs(u2 / n - 1.0 / 3) < 5 * 0.298 * se);
	assert_true(fabs(w / n - 1.0 / 2) < 5 * 0.289 * se && fabs(w2 / n - 1.0 / 3) < 5 * 0.298 * se);
	assert_true(fabs(z / n) < 5 * se && fabs(z2 / n - 1) < 5 * 1.414 * se && fabs(z4 / n - 3) < 5 * 9.8 * se);
}

static void below_reaches_every_value_evenly(void **state)
{
	struct hth_rng_key key = hth_rng_key(42, HTH_RNG_TEST, 1, 0);
	int count[7] = {0};
	(void)state;
	for (uint64_t i = 0; i < 70000; i++) {
		uint64_t v = hth_rng_below(key, i, 0, 7);
		assert_true(v < 7);
		count[v]++;
	}
	for (int v = 0; v < 7; v++)
		assert_in_range(count[v], 10000 - 465, 10000 + 465); /* five standard errors */
	assert_int_equal(hth_rng_below(key, 5, 5, 1), 0);
	bool high = false;
	for (uint64_t i = 0; i < 64; i++)
		high = high || hth_rng_below(key, i, 0, UINT64_MAX) > (uint64_t)1 << 63;
	assert_true(high);
}

static void a_shuffle_is_a_permutation_of_its_own(void **state)
{
	uint32_t a[1000], b[1000], seen[1000] = {0};
	int fixed = 0;
	(void)state;
	hth_rng_shuffle(hth_rng_key(1, HTH_RNG_SHUFFLE, 0, 0), a, 1000);
	hth_rng_shuffle(hth_rng_key(1, HTH_RNG_SHUFFLE, 1, 0), b, 1000);
	for (uint32_t i = 0; i < 1000; i++) {
		assert_true(a[i] < 1000 && seen[a[i]]++ == 0);
		fixed += a[i] == i;
	}
	assert_true(fixed < 10); /* one is expected */
	assert_memory_not_equal(a, b, sizeof a);
	hth_rng_shuffle(hth_rng_key(1, HTH_RNG_SHUFFLE, 0, 0), b, 1000);
	assert_memory_equal(a, b, sizeof a);
	hth_rng_shuffle(hth_rng_key(1, HTH_RNG_SHUFFLE, 0, 0), b, 1);
	assert_int_equal(b[0], 0);
	hth_rng_shuffle(hth_rng_key(1, HTH_RNG_SHUFFLE, 0, 0), b, 0);
}

static void every_order_of_three_is_equally_likely(void **state)
{
	int count[27] = {0};
	(void)state;
	for (uint32_t e = 0; e < 6000; e++) {
		uint32_t o[3];
		hth_rng_shuffle(hth_rng_key(9, HTH_RNG_SHUFFLE, e, 0), o, 3);
		count[o[0] * 9 + o[1] * 3 + o[2]]++;
	}
	static const int orders[] = {5, 7, 11, 15, 19, 21}; /* 012 021 102 120 201 210 in base 3 */
	for (int i = 0; i < 6; i++)
		assert_in_range(count[orders[i]], 1000 - 145, 1000 + 145);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(philox_has_its_known_answers),
		cmocka_unit_test(keys_differ_in_each_of_their_parts),
		cmocka_unit_test(numbers_have_the_moments_of_their_law),
		cmocka_unit_test(below_reaches_every_value_evenly),
		cmocka_unit_test(a_shuffle_is_a_permutation_of_its_own),
		cmocka_unit_test(every_order_of_three_is_equally_likely),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
