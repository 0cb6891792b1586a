/* Files damaged at random: open or fail, never crash, never promise bytes that are not there. A few thousand cases
 * here on every run; the same loop runs as long as HTH_DAMAGE_CASES says. */
#include "bytes.h"

#include "base/mem.h"
#include "base/rng.h"
#include "formats/adapter.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"

static char path[256], dir[256];
static volatile unsigned sink;

static unsigned cases(void)
{
	const char *text = getenv("HTH_DAMAGE_CASES");
	return text != NULL ? (unsigned)strtoul(text, NULL, 10) : 2000;
}

/* One to six changes of data[0..*n): a bit, an extreme byte, a copied run, a cut, an inserted number. */
static void damage(uint8_t *data, size_t *n, size_t cap, unsigned number)
{
	struct hth_rng_key key = hth_rng_key(7, HTH_RNG_TEST, number, 0);
	static const uint8_t extremes[] = {0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF};
	unsigned changes = 1 + (unsigned)hth_rng_below(key, 0, 0, 6);
	for (unsigned c = 1; c <= changes && *n > 9; c++) {
		size_t at = (size_t)hth_rng_below(key, c, 0, *n), from = (size_t)hth_rng_below(key, c, 1, *n);
		size_t run = 1 + (size_t)hth_rng_below(key, c, 2, 8);
		switch (hth_rng_below(key, c, 3, 5)) {
		case 0:
			data[at] ^= (uint8_t)(1 << hth_rng_below(key, c, 4, 8));
			break;
		case 1:
			for (size_t i = 0; i < run && at + i < *n; i++)
				data[at + i] = extremes[hth_rng_below(key, c, 5 + i, sizeof(extremes))];
			break;
		case 2:
			for (size_t i = 0; i < run && at + i < *n && from + i < *n; i++)
				data[at + i] = data[from + i];
			break;
		case 3:
			*n -= run < *n ? run : 0;
			break;
		default:
			if (*n + 8 <= cap) {
				memmove(data + at + 8, data + at, *n - at);
				for (size_t i = 0; i < 8; i++)
					data[at + i] = (uint8_t)(i < run ? hth_rng_below(key, c, 20 + i, 256) : 0);
				*n += 8;
			}
		}
	}
}

static unsigned add_all(const uint8_t *data, uint64_t bytes)
{
	unsigned sum = 0;
	for (uint64_t i = 0; i < bytes; i++)
		sum += data[i];
	return sum;
}

static bool to_gguf(const void *ctx, const char *module, char out[128])
{
	(void)ctx;
	snprintf(out, 128, "%.100s", module);
	return true;
}

static int64_t no_heads(const void *ctx, const char *module)
{
	(void)ctx;
	return strstr(module, "q") != NULL ? 2 : 0;
}

static const struct hth_adapter_names names = {
	.gguf_arch = "llama", .to_gguf = to_gguf, .from_gguf = to_gguf, .permuted_head_rows = no_heads};

static struct hth_adapter example(void)
{
	static float a[6] = {1, 2, 3, 4, 5, 6}, b[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	static struct hth_lora_module modules[2] = {
		{.name = "model.layers.0.q", .in = 3, .out = 4, .rank = 2, .scale = 2, .a = a, .b = b},
		{.name = "model.layers.1.v", .in = 6, .out = 8, .rank = 1, .scale = 1, .a = a, .b = b},
	};
	struct hth_adapter e = {.n_modules = 2, .modules = modules, .rank = 2, .alpha = 4};
	return e;
}

/* Reads a file whole into a buffer with room to grow. */
static size_t slurp(const char *file, uint8_t *out, size_t cap)
{
	FILE *f = fopen(file, "rb");
	assert_non_null(f);
	size_t n = fread(out, 1, cap, f);
	assert_true(n > 0 && n < cap);
	fclose(f);
	return n;
}

static void gguf_files_and_adapters_survive(void **state)
{
	(void)state;
	static uint8_t whole[8192], data[8192];
	struct hth_adapter a = example(), read;
	struct hth_err err;
	struct hth_gguf g;
	unsigned opened = 0;
	assert_ok(hth_adapter_write_gguf(temp_path(path, "damaged.gguf"), &a, &names, &err));
	size_t full = slurp(path, whole, sizeof(whole));
	for (unsigned i = 0; i < cases(); i++) {
		size_t n = full;
		memcpy(data, whole, full);
		damage(data, &n, sizeof(data), i);
		write_plain(path, data, n);
		if (hth_gguf_open(&g, path, &err) == HTH_OK) {
			opened++;
			for (size_t k = 0; k < g.n_tensors; k++)
				sink += add_all(g.tensors[k].data, g.tensors[k].bytes);
			for (size_t k = 0; k < g.n_kv; k++)
				sink += add_all(g.kv[k].data, g.kv[k].data_bytes);
			hth_gguf_close(&g);
		}
		if (hth_adapter_read(path, &names, &read, &err) == HTH_OK)
			hth_adapter_clear(&read);
	}
	assert_true(opened > cases() / 50 && opened < cases());
	unlink(path);
}

static void safetensors_files_survive(void **state)
{
	(void)state;
	static uint8_t whole[8192], data[8192];
	struct hth_adapter a = example();
	struct hth_err err;
	struct hth_safetensors s;
	unsigned opened = 0;
	assert_ok(hth_adapter_write_dir(temp_path(dir, "damaged"), &a, false, &err));
	char *file = hth_path_join(dir, "adapters.safetensors");
	size_t full = slurp(file, whole, sizeof(whole));
	for (unsigned i = 0; i < cases(); i++) {
		size_t n = full;
		memcpy(data, whole, full);
		damage(data, &n, sizeof(data), i);
		write_plain(file, data, n);
		if (hth_safetensors_open(&s, file, &err) == HTH_OK) {
			opened++;
			for (size_t k = 0; k < s.n_tensors; k++)
				sink += add_all(s.tensors[k].data, s.tensors[k].bytes);
			hth_safetensors_close(&s);
		}
	}
	assert_true(opened > cases() / 100 && opened < cases());
	hth_free(file);
	assert_ok(hth_remove_tree(dir, &err));
}

static void adapter_configs_survive(void **state)
{
	(void)state;
	static uint8_t whole[8192], data[8192];
	struct hth_adapter a = example(), read;
	struct hth_err err;
	unsigned opened = 0;
	assert_ok(hth_adapter_write_dir(temp_path(dir, "damaged"), &a, false, &err));
	char *file = hth_path_join(dir, "adapter_config.json");
	size_t full = slurp(file, whole, sizeof(whole));
	for (unsigned i = 0; i < cases(); i++) {
		size_t n = full;
		memcpy(data, whole, full);
		damage(data, &n, sizeof(data), i);
		write_plain(file, data, n);
		if (hth_adapter_read(dir, NULL, &read, &err) == HTH_OK) {
			opened++;
			hth_adapter_clear(&read);
		}
	}
	assert_true(opened > 0 && opened < cases());
	hth_free(file);
	assert_ok(hth_remove_tree(dir, &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gguf_files_and_adapters_survive),
		cmocka_unit_test(safetensors_files_survive),
		cmocka_unit_test(adapter_configs_survive),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
