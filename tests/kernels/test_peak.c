/* Peaks: what is measured is possible, and the cache gives back what was put in. No timing is asserted. */
#include "kernels/peak.h"
#include "kernels/kernels.h"

#include "base/file.h"
#include "base/mem.h"
#include "support.h"

#include <math.h>

static char dir[] = "/tmp/hearth-peak-XXXXXX";
static struct hth_peaks measured; /* once, for all tests */

/* Without the fsync of hth_file_write. */
static void put(const char *path, const char *text, size_t bytes)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, bytes, f), bytes);
	assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
	struct hth_pool *pool = NULL;
	struct hth_err err = {0};

	(void)state;
	if (mkdtemp(dir) == NULL || setenv("XDG_CACHE_HOME", dir, 1) != 0 || hth_pool_new(2, &pool, &err) != HTH_OK)
		return 1;
	enum hth_status status = hth_peaks_measure(pool, &measured, &err);
	if (status != HTH_OK)
		fprintf(stderr, "%s\n", err.text);
	hth_pool_free(pool);
	return status != HTH_OK;
}

static int tear_down(void **state)
{
	(void)state;
	return hth_remove_tree(dir, NULL) != HTH_OK;
}

static void peaks_are_positive_and_below_what_any_machine_does(void **state)
{
	(void)state;
	assert_in_range(measured.n_compute, 1, HTH_PEAK_MAX);
	for (int i = 0; i < measured.n_compute; i++) {
		const struct hth_peak *p = &measured.compute[i];
		assert_true(p->one > 1e8 && p->one < 1e14);
		assert_true(p->all > 1e8 && p->all < 1e15);
	}
	assert_true(measured.read_one > 1e8 && measured.read_one < 1e13);
	assert_true(measured.read_all > 1e8 && measured.read_all < 1e14);
	assert_true(measured.round_trip_s > 0 && measured.round_trip_s < 1);
	assert_true(measured.spread >= 0 && isfinite(measured.spread));
	assert_int_equal(measured.threads, 2);
	assert_true(measured.cpu[0] != '\0');
}

static void every_present_kernel_set_has_its_f32_peak(void **state)
{
	struct hth_kernel_info info;
	char name[32];

	(void)state;
	for (int i = 0; (info = hth_kernels_info(i)).name != NULL; i++) {
		bool other = strcmp(info.name, "ref") != 0 && strcmp(info.name, "avx2") != 0 &&
			     strcmp(info.name, "avx512") != 0 && strcmp(info.name, "neon") != 0;
		snprintf(name, sizeof name, "f32 %s", info.name);
		if (!other)
			assert_int_equal(hth_peaks_find(&measured, name) != NULL, info.present);
	}
	assert_null(hth_peaks_find(&measured, "f32 abacus"));
}

static void f32_peak_is_that_of_the_kernel_set_in_force(void **state)
{
	struct hth_peaks p = {.kernels = "avx2",
			      .n_compute = 3,
			      .compute = {{"f32 ref", 1, 2}, {"f32 avx2", 3, 4}, {"f32 avx512", 5, 6}}};

	(void)state;
	assert_string_equal(hth_peaks_f32(&p)->name, "f32 avx2");
	snprintf(p.kernels, sizeof p.kernels, "avx512vnni"); /* a finer set */
	assert_string_equal(hth_peaks_f32(&p)->name, "f32 avx512");
	snprintf(p.kernels, sizeof p.kernels, "amx"); /* no f32 of its own */
	assert_string_equal(hth_peaks_f32(&p)->name, "f32 avx512");
	p.n_compute = 0;
	assert_null(hth_peaks_f32(&p));
}

static void saved_peaks_are_loaded_on_the_same_machine_only(void **state)
{
	struct hth_peaks p, other = measured;
	struct hth_err err = {0};

	(void)state;
	measured.train_flops_per_s = 1.25e11;
	assert_ok(hth_peaks_save(&measured, &err));
	snprintf(other.cpu, sizeof other.cpu, "Another Processor");
	other.read_all = 7;
	assert_ok(hth_peaks_save(&other, &err));
	assert_true(hth_peaks_load(2, &p));
	assert_int_equal(p.n_compute, measured.n_compute);
	for (int i = 0; i < p.n_compute; i++) {
		assert_string_equal(p.compute[i].name, measured.compute[i].name);
		assert_true(p.compute[i].one == measured.compute[i].one && p.compute[i].all == measured.compute[i].all);
	}
	assert_true(p.read_one == measured.read_one && p.read_all == measured.read_all);
	assert_true(p.round_trip_s == measured.round_trip_s && p.train_flops_per_s == 1.25e11);
	assert_false(hth_peaks_load(3, &p));
}

static void a_cache_that_cannot_be_read_is_replaced(void **state)
{
	static const char *const bad[] = {
		"", "{", "[]", "{\"version\":1}", "{\"version\":2,\"machines\":{}}", "{\"version\":1,\"machines\":[]}",
	};
	struct hth_peaks p;
	struct hth_err err = {0};
	char *path = hth_path_join(dir, "hearth/machine.json");

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		put(path, bad[i], strlen(bad[i]));
		assert_false(hth_peaks_load(2, &p));
		assert_ok(hth_peaks_save(&measured, &err));
		assert_true(hth_peaks_load(2, &p));
	}
	hth_free(path);
}

/* Every prefix of the file, and entries with values of the wrong kind. */
static void a_damaged_cache_is_never_half_loaded(void **state)
{
	struct hth_peaks p;
	struct hth_err err = {0};
	char *path = hth_path_join(dir, "hearth/machine.json"), *text = NULL;
	size_t bytes = 0;

	(void)state;
	assert_ok(hth_peaks_save(&measured, &err));
	assert_ok(hth_file_read(path, 1 << 20, &text, &bytes, &err));
	size_t end = bytes;
	while (end > 0 && text[end - 1] != '}')
		end--;
	for (size_t n = 0; n < end; n += n < 200 ? 1 : 13) {
		put(path, text, n);
		assert_false(hth_peaks_load(2, &p));
	}
	static const char *const keys[] = {"\"read\": [", "\"f32 ref\": [", "\"round_trip_s\": ", "\"spread\": "};
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		char *copy = hth_strndup(text, bytes), *at = strstr(copy, keys[i]);
		assert_non_null(at);
		at[strlen(keys[i])] = '-';
		put(path, copy, bytes);
		assert_false(hth_peaks_load(2, &p));
		hth_free(copy);
	}
	hth_free(text);
	hth_free(path);
}

static void without_a_home_nothing_is_loaded_and_saving_says_why(void **state)
{
	struct hth_peaks p;
	struct hth_err err = {0};
	char *home = getenv("HOME") != NULL ? hth_strdup(getenv("HOME")) : NULL;

	(void)state;
	unsetenv("XDG_CACHE_HOME");
	unsetenv("HOME");
	assert_false(hth_peaks_load(2, &p));
	assert_fails(hth_peaks_save(&measured, &err), HTH_ERR_NOTFOUND, "XDG_CACHE_HOME");
	setenv("XDG_CACHE_HOME", dir, 1);
	if (home != NULL)
		setenv("HOME", home, 1);
	hth_free(home);
}

/* Each allocation of saving fails once. */
static void saving_survives_a_lack_of_memory(void **state)
{
	struct hth_peaks p;
	struct hth_err err = {0};
	enum hth_status status = HTH_ERR_MEMORY;

	(void)state;
	assert_ok(hth_peaks_save(&measured, &err));
	for (uint64_t n = 1; n < 500 && status != HTH_OK; n++) {
		hth_mem_fail_at(n, true);
		status = hth_peaks_save(&measured, &err);
		hth_mem_fail_at(0, false);
		assert_true(hth_peaks_load(2, &p));
	}
	assert_int_equal(status, HTH_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peaks_are_positive_and_below_what_any_machine_does),
		cmocka_unit_test(every_present_kernel_set_has_its_f32_peak),
		cmocka_unit_test(f32_peak_is_that_of_the_kernel_set_in_force),
		cmocka_unit_test(saved_peaks_are_loaded_on_the_same_machine_only),
		cmocka_unit_test(a_cache_that_cannot_be_read_is_replaced),
		cmocka_unit_test(a_damaged_cache_is_never_half_loaded),
		cmocka_unit_test(without_a_home_nothing_is_loaded_and_saving_says_why),
		cmocka_unit_test(saving_survives_a_lack_of_memory),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
