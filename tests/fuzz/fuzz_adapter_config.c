/* adapter_config.json of a PEFT and of an MLX folder: the weights are sound and tiny, the configuration is hostile. */
#include "formats/adapter.h"
#include "formats/safetensors.h"
#include "fuzz.h"

#include <math.h>
#include <sys/stat.h>

#define R 2
#define C 4
#define N 3

static char peft[256], mlx[256], rich[256];

static void write_weights(const char *dir, const char *file, const char *a_name, const char *b_name, bool transposed)
{
	static float a[R * C], b[N * R];
	for (int i = 0; i < R * C; i++)
		a[i] = 0.25f * (float)i;
	for (int i = 0; i < N * R; i++)
		b[i] = 1.0f - (float)i;
	struct hth_st_tensor t[2] = {
		{.name = a_name, .dtype = HTH_ST_F32, .n_dims = 2, .data = (const void *)a, .bytes = sizeof a},
		{.name = b_name, .dtype = HTH_ST_F32, .n_dims = 2, .data = (const void *)b, .bytes = sizeof b},
	};
	t[0].dim[transposed ? 1 : 0] = R;
	t[0].dim[transposed ? 0 : 1] = C;
	t[1].dim[transposed ? 1 : 0] = N;
	t[1].dim[transposed ? 0 : 1] = R;
	char path[512];
	mkdir(dir, 0700);
	snprintf(path, sizeof path, "%s/%s", dir, file);
	fuzz_check(hth_safetensors_write(path, t, 2, NULL, 0, NULL) == HTH_OK);
}

/* PEFT's with magnitudes and a weight that was trained whole. */
static void write_rich(const char *dir)
{
	static const float a[R * C] = {1}, b[N * R] = {2}, mag[N] = {3}, norm[C] = {4};
#define Q "base_model.model.model.layers.1.self_attn.q_proj."
	struct hth_st_tensor t[] = {
		{Q "lora_A.weight", HTH_ST_F32, 2, {R, C}, (const void *)a, sizeof a},
		{Q "lora_B.weight", HTH_ST_F32, 2, {N, R}, (const void *)b, sizeof b},
		{Q "lora_magnitude_vector", HTH_ST_F32, 1, {N}, (const void *)mag, sizeof mag},
		{"base_model.model.model.norm.weight", HTH_ST_F32, 1, {C}, (const void *)norm, sizeof norm},
	};
	char path[512];
	mkdir(dir, 0700);
	snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
	fuzz_check(hth_safetensors_write(path, t, 4, NULL, 0, NULL) == HTH_OK);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_path(peft, "peft");
	fuzz_path(mlx, "mlx");
	fuzz_path(rich, "rich");
	write_rich(rich);
	write_weights(peft, "adapter_model.safetensors", "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight",
		      "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight", false);
	write_weights(mlx, "adapters.safetensors", "model.layers.1.self_attn.q_proj.lora_a",
		      "model.layers.1.self_attn.q_proj.lora_b", true);
	return 0;
}

static void read_folder(const char *dir, const uint8_t *data, size_t bytes)
{
	char path[512];
	struct hth_adapter a = {0};
	struct hth_err err;
	snprintf(path, sizeof path, "%s/adapter_config.json", dir);
	fuzz_write(path, data, bytes, 0);
	enum hth_status s = hth_adapter_read(dir, NULL, &a, &err);
	fuzz_check(s == HTH_OK || (err.status == s && err.text[0] != '\0'));
	if (s == HTH_OK) {
		fuzz_check(a.n_modules == 1 && a.modules[0].rank == R);
		fuzz_check(a.modules[0].in == C && a.modules[0].out == N && isfinite(a.modules[0].scale));
		fuzz_check(strcmp(a.modules[0].name, "model.layers.1.self_attn.q_proj") == 0);
		fuzz_touch(a.modules[0].a, R * C * sizeof(float));
		fuzz_touch(a.modules[0].b, N * R * sizeof(float));
		fuzz_check((a.modules[0].mag != NULL) == (dir == rich) && a.n_saved == (dir == rich));
		if (dir == rich)
			fuzz_touch(a.saved[0].value, C * sizeof(float));
	}
	hth_adapter_clear(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	read_folder(peft, data, bytes);
	read_folder(mlx, data, bytes);
	read_folder(rich, data, bytes);
	return 0;
}
