/* Kernel sets: each slot of every set that this processor runs against ref.c, and how sets are picked. */
#include "support.h"

#include "kernel_checks.h"

static struct hth_kernel_pick ref_pick;

/* Runs `check` on every set present; fails with the count of mismatches, which the checks print. */
#define FOR_EACH_SET(check)                                                                                            \
	do {                                                                                                           \
		struct hth_err err;                                                                                    \
		assert_ok(hth_kernels_pick("ref", &ref_pick, &err));                                                   \
		const struct hth_kernels *ref = &ref_pick.k;                                                           \
		(void)ref;                                                                                             \
		for (int i = 0; hth_kernels_info(i).name != NULL; i++) {                                               \
			const char *set = hth_kernels_info(i).name;                                                    \
			struct hth_kernel_pick pick;                                                                   \
			if (!hth_kernels_info(i).present) {                                                            \
				fprintf(stderr, "skipped %s: this processor has no %s\n", __func__, set);              \
				continue;                                                                              \
			}                                                                                              \
			assert_ok(hth_kernels_pick(set, &pick, &err));                                                 \
			const struct hth_kernels *k = &pick.k;                                                         \
			assert_int_equal(check, 0);                                                                    \
		}                                                                                                      \
	} while (0)

static void products_match_at_every_size_of_tile(void **state)
{
	(void)state;
	FOR_EACH_SET(check_tile(set, &k->product));
}
static void tiles_over_f16_have_the_bits_of_tiles_over_f32(void **state)
{
	(void)state;
	FOR_EACH_SET(check_tile_half(set, &k->product, k->halves) + check_halves(set, k->halves));
}
static void bf16_products_match_at_every_size_of_tile(void **state)
{
	(void)state;
	FOR_EACH_SET(check_tile(set, &k->bf16));
}
static void product_element_does_not_depend_on_its_place(void **state)
{
	(void)state;
	FOR_EACH_SET(check_tile_places(set, &k->product) + check_tile_places(set, &k->bf16));
}
static void every_block_format_unpacks(void **state)
{
	(void)state;
	FOR_EACH_SET(check_formats(set, k));
}
static void matvec_errs_by_the_rounding_of_x_alone(void **state)
{
	(void)state;
	FOR_EACH_SET(check_matvecs(set, k));
}
static void sums_match(void **state)
{
	(void)state;
	FOR_EACH_SET(check_sums(set, k, ref));
}
static void elementwise_kernels_match_and_keep_to_their_length(void **state)
{
	(void)state;
	FOR_EACH_SET(check_elementwise(set, k, ref));
}
static void delta_kernels_match_and_cut_anywhere(void **state)
{
	(void)state;
	FOR_EACH_SET(check_delta(set, k, ref));
}
static void exp_is_good_to_3e7(void **state)
{
	(void)state;
	FOR_EACH_SET(check_exp(set, k));
}
static void dropout_has_the_bits_of_ref(void **state)
{
	(void)state;
	FOR_EACH_SET(check_dropout(set, k, ref));
}

static void every_slot_has_a_winner(void **state)
{
	struct hth_kernel_pick pick;
	struct hth_err err;

	(void)state;
	assert_ok(hth_kernels_pick(NULL, &pick, &err));
	for (int s = 0; s < HTH_KERNEL_SLOT_COUNT; s++) {
		assert_non_null(pick.winner[s]);
		assert_non_null(hth_kernel_slot_name((enum hth_kernel_slot)s));
	}
	for (int q = 0; q < HTH_QUANT_COUNT; q++) {
		assert_non_null(pick.unpack_winner[q]);
		assert_non_null(pick.matvec_winner[q]);
	}
}

static bool is_shape(const struct hth_products *p, struct hth_tile_shape s)
{
	return p->mr == s.mr && p->nr == s.nr && p->pair == s.pair && p->unit == s.unit;
}

static void tiles_of_the_list_are_those_of_the_files(void **state)
{
	struct hth_kernel_pick pick;
	struct hth_err err;

	(void)state;
	for (int i = 0; hth_kernels_info(i).name != NULL; i++) {
		struct hth_kernel_info info = hth_kernels_info(i);
		assert_in_range(info.f32.mr, 1, HTH_KERNEL_MAX_MR);
		assert_in_range(info.f32.nr, 1, HTH_KERNEL_MAX_NR);
		assert_in_range(info.bf16.mr, 1, HTH_KERNEL_MAX_MR);
		assert_in_range(info.bf16.nr, 1, HTH_KERNEL_MAX_NR);
		if (!info.present)
			continue;
		assert_ok(hth_kernels_pick(info.name, &pick, &err));
		assert_true(is_shape(&pick.k.product, info.f32));
		assert_true(is_shape(&pick.k.bf16, info.bf16));
	}
	assert_int_equal(hth_kernels_find("neon").f32.mr, 12);
	assert_null(hth_kernels_find("sse9").name);
}

static void ceiling_is_kept_and_checked(void **state)
{
	struct hth_kernel_pick pick;
	struct hth_err err;

	(void)state;
	assert_ok(hth_kernels_pick("ref", &pick, &err));
	assert_string_equal(pick.name, "ref");
	assert_string_equal(pick.product_winner, "ref");
	assert_fails(hth_kernels_pick("avx1024", &pick, &err), HTH_ERR_USAGE, "found \"avx1024\", expected one of ref");
#if defined(__x86_64__)
	assert_fails(hth_kernels_pick("neon", &pick, &err), HTH_ERR_UNAVAILABLE, "no neon");
#endif
	assert_int_equal(setenv("HEARTH_CPU", "ref", 1), 0);
	assert_ok(hth_kernels_pick(NULL, &pick, &err));
	assert_string_equal(pick.name, "ref");
	assert_int_equal(setenv("HEARTH_CPU", "x", 1), 0);
	assert_fails(hth_kernels_pick(NULL, &pick, &err), HTH_ERR_USAGE, "HEARTH_CPU");
	assert_int_equal(unsetenv("HEARTH_CPU"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(products_match_at_every_size_of_tile),
	        cmocka_unit_test(tiles_over_f16_have_the_bits_of_tiles_over_f32),
	        cmocka_unit_test(bf16_products_match_at_every_size_of_tile),
	        cmocka_unit_test(product_element_does_not_depend_on_its_place),
	        cmocka_unit_test(every_block_format_unpacks),
	        cmocka_unit_test(matvec_errs_by_the_rounding_of_x_alone),
	        cmocka_unit_test(sums_match),
	        cmocka_unit_test(elementwise_kernels_match_and_keep_to_their_length),
	        cmocka_unit_test(delta_kernels_match_and_cut_anywhere),
	        cmocka_unit_test(exp_is_good_to_3e7),
	        cmocka_unit_test(dropout_has_the_bits_of_ref),
	        cmocka_unit_test(every_slot_has_a_winner),
	        cmocka_unit_test(tiles_of_the_list_are_those_of_the_files),
	        cmocka_unit_test(ceiling_is_kept_and_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
