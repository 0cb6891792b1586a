#include "base/arena.h"
#include "base/checked.h"
#include "base/mem.h"
#include "support.h"

static int no_injection(void **state)
{
	(void)state;
	hth_mem_fail_at(0, false);
	return 0;
}

static void sizes_that_overflow_give_null(void **state)
{
	(void)state;
	assert_null(hth_calloc(SIZE_MAX / 2, 3));
	char *p = hth_alloc(4);
	assert_null(hth_realloc(p, SIZE_MAX / 4, 8));
	p[3] = 'x'; /* still valid */
	hth_free(p);
	assert_null(hth_strndup("x", SIZE_MAX));
}

static void zero_bytes_give_a_pointer(void **state)
{
	(void)state;
	void *a = hth_alloc(0), *b = hth_calloc(0, 8), *c = hth_realloc(NULL, 0, 8), *d = hth_alloc_aligned(0, 64);
	assert_true(a != NULL && b != NULL && c != NULL && d != NULL && a != b);
	hth_free(a);
	hth_free(b);
	hth_free(c);
	hth_free(d);
	hth_free(NULL);
}

static void calloc_clears_and_aligned_aligns(void **state)
{
	(void)state;
	unsigned char *p = hth_calloc(100, 10);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(p[i], 0);
	hth_free(p);
	for (size_t align = 8; align <= 4096; align *= 2) {
		p = hth_alloc_aligned(100, align);
		assert_int_equal((uintptr_t)p % align, 0);
		hth_free(p);
	}
}

static void strndup_keeps_nuls_and_adds_one(void **state)
{
	(void)state;
	char *s = hth_strndup("a\0b", 3);
	assert_memory_equal(s, "a\0b", 4);
	hth_free(s);
	s = hth_strdup("");
	assert_string_equal(s, "");
	hth_free(s);
}

static void the_nth_allocation_fails_once(void **state)
{
	(void)state;
	hth_mem_fail_at(2, false);
	void *a = hth_alloc(1), *b = hth_calloc(1, 1), *c = hth_alloc(1);
	assert_non_null(a);
	assert_null(b);
	assert_non_null(c);
	hth_free(a);
	hth_free(c);
}

static void sticky_failure_lasts_until_turned_off(void **state)
{
	(void)state;
	hth_mem_fail_at(1, true);
	assert_null(hth_alloc(1));
	assert_null(hth_realloc(NULL, 1, 1));
	assert_null(hth_alloc_aligned(8, 8));
	assert_null(hth_strdup("x"));
	hth_mem_fail_at(0, false);
	void *p = hth_alloc(1);
	assert_non_null(p);
	hth_free(p);
}

static void calls_are_counted(void **state)
{
	(void)state;
	uint64_t before = hth_mem_allocs();
	void *p = hth_alloc(1);
	p = hth_realloc(p, 2, 1);
	hth_free(p);
	assert_int_equal(hth_mem_allocs() - before, 2);
}

static void grow_doubles_up_to_the_limit(void **state)
{
	(void)state;
	size_t cap = 0;
	int *p = hth_grow(NULL, 0, &cap, 20, sizeof *p);
	assert_int_equal(cap, 8);
	assert_ptr_equal(hth_grow(p, 7, &cap, 20, sizeof *p), p);
	p = hth_grow(p, 8, &cap, 20, sizeof *p);
	assert_int_equal(cap, 16);
	p = hth_grow(p, 16, &cap, 20, sizeof *p);
	assert_int_equal(cap, 20);
	assert_null(hth_grow(p, 20, &cap, 20, sizeof *p));
	assert_int_equal(cap, 20);
	p[19] = 1;
	hth_free(p);
	cap = 0;
	assert_null(hth_grow(NULL, 0, &cap, 0, 4));
	char *one = hth_grow(NULL, 0, &cap, 1, 4);
	assert_int_equal(cap, 1);
	hth_mem_fail_at(1, false);
	assert_null(hth_grow(one, 1, &cap, 100, 4));
	assert_int_equal(cap, 1);
	hth_free(one);
}

static void arena_aligns_and_stays_within_its_limit(void **state)
{
	(void)state;
	struct hth_arena a;
	hth_arena_init(&a, 100);
	char *p = hth_arena_alloc(&a, 1), *q = hth_arena_alloc(&a, 17);
	assert_int_equal((uintptr_t)p % 16, 0);
	assert_int_equal((uintptr_t)q % 16, 0);
	assert_int_equal(a.used_bytes, 48);
	assert_null(hth_arena_alloc(&a, 64)); /* 112 > 100 */
	assert_non_null(hth_arena_alloc(&a, 48));
	assert_null(hth_arena_alloc(&a, 1));
	hth_arena_clear(&a);
	assert_int_equal(a.used_bytes, 0);
	assert_non_null(hth_arena_alloc(&a, 96)); /* usable again */
	hth_arena_clear(&a);
	hth_arena_clear(&a);
}

static void arena_blocks_do_not_overlap(void **state)
{
	(void)state;
	struct hth_arena a;
	unsigned char *p[300];
	hth_arena_init(&a, 64 << 20);
	for (size_t i = 0; i < 300; i++) {
		p[i] = hth_arena_alloc(&a, i * i + 1);
		assert_non_null(p[i]);
		memset(p[i], (int)i & 255, i * i + 1);
	}
	for (size_t i = 0; i < 300; i++)
		for (size_t j = 0; j < i * i + 1; j++)
			assert_int_equal(p[i][j], i & 255);
	hth_arena_clear(&a);
}

static void arena_refuses_overflow_and_survives_failure(void **state)
{
	(void)state;
	struct hth_arena a;
	hth_arena_init(&a, SIZE_MAX);
	assert_null(hth_arena_alloc(&a, SIZE_MAX));
	assert_null(hth_arena_alloc(&a, SIZE_MAX - 40));
	assert_null(hth_arena_calloc(&a, SIZE_MAX / 2, 4));
	assert_null(hth_arena_strndup(&a, "x", SIZE_MAX));
	hth_mem_fail_at(1, false);
	assert_null(hth_arena_alloc(&a, 8));
	assert_int_equal(a.used_bytes, 0);
	unsigned char *p = hth_arena_calloc(&a, 3, 5);
	for (int i = 0; i < 15; i++)
		assert_int_equal(p[i], 0);
	assert_string_equal(hth_arena_strndup(&a, "hello", 4), "hell");
	hth_arena_clear(&a);
}

static void a_reset_arena_serves_the_same_again_without_the_heap(void **state)
{
	(void)state;
	struct hth_arena a;
	hth_arena_init(&a, 1 << 20);
	hth_arena_reset(&a); /* of nothing */
	for (int i = 0; i < 100; i++)
		assert_non_null(hth_arena_alloc(&a, 1000));
	hth_arena_reset(&a);
	assert_int_equal(a.used_bytes, 0);
	uint64_t before = hth_mem_allocs();
	for (int i = 0; i < 100; i++)
		assert_non_null(hth_arena_alloc(&a, 1000));
	hth_arena_reset(&a);
	assert_int_equal(hth_mem_allocs(), before);
	hth_arena_alloc(&a, 200000); /* a second chunk, which the reset cannot join */
	hth_mem_fail_at(1, false);
	hth_arena_reset(&a);
	assert_non_null(hth_arena_alloc(&a, 10));
	hth_arena_clear(&a);
}

static void checked_arithmetic_leaves_out_alone_on_overflow(void **state)
{
	(void)state;
	size_t s = 7;
	uint64_t u = 7;
	assert_false(hth_add_size(SIZE_MAX, 1, &s));
	assert_false(hth_mul_size(SIZE_MAX / 2 + 1, 2, &s));
	assert_false(hth_add_u64(UINT64_MAX, 1, &u));
	assert_false(hth_mul_u64((uint64_t)1 << 32, (uint64_t)1 << 32, &u));
	assert_false(hth_pad_u64(UINT64_MAX - 3, 8, &u));
	assert_false(hth_pad_u64(5, 0, &u));
	assert_false(hth_pad_u64(5, 6, &u));
	assert_true(s == 7 && u == 7);
	assert_true(hth_pad_u64(33, 32, &u));
	assert_int_equal(u, 64);
	assert_true(hth_pad_u64(0, 32, &u));
	assert_int_equal(u, 0);
	assert_true(hth_range_inside(10, 0, 10));
	assert_false(hth_range_inside(11, 0, 10));
	assert_false(hth_range_inside(5, UINT64_MAX, 10));
	assert_true(hth_range_inside(0, 10, 10));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(sizes_that_overflow_give_null, no_injection),
		cmocka_unit_test_teardown(zero_bytes_give_a_pointer, no_injection),
		cmocka_unit_test_teardown(calloc_clears_and_aligned_aligns, no_injection),
		cmocka_unit_test_teardown(strndup_keeps_nuls_and_adds_one, no_injection),
		cmocka_unit_test_teardown(the_nth_allocation_fails_once, no_injection),
		cmocka_unit_test_teardown(sticky_failure_lasts_until_turned_off, no_injection),
		cmocka_unit_test_teardown(calls_are_counted, no_injection),
		cmocka_unit_test_teardown(grow_doubles_up_to_the_limit, no_injection),
		cmocka_unit_test_teardown(arena_aligns_and_stays_within_its_limit, no_injection),
		cmocka_unit_test_teardown(arena_blocks_do_not_overlap, no_injection),
		cmocka_unit_test_teardown(arena_refuses_overflow_and_survives_failure, no_injection),
		cmocka_unit_test_teardown(a_reset_arena_serves_the_same_again_without_the_heap, no_injection),
		cmocka_unit_test_teardown(checked_arithmetic_leaves_out_alone_on_overflow, no_injection),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
