/* Writes the binary seeds of the fuzz targets: small sound files of every kind, made by our own writers and from the
 * golden models. Text seeds are committed beside this file in seeds/.
 *
 * usage: seeds FOLDER */
#include "base/file.h"
#include "base/mem.h"
#include "export/imatrix.h"
#include "formats/adapter.h"
#include "formats/safetensors.h"
#include "models/model.h"
#include "fuzz.h"

#define must(call)                                                                                                     \
	do {                                                                                                           \
		struct hth_err err = {0};                                                                              \
		if ((call) != HTH_OK) {                                                                                \
			fprintf(stderr, "%s: %s\n", #call, err.text);                                                  \
			exit(1);                                                                                       \
		}                                                                                                      \
	} while (0)

static const char *folder;

static const char *seed_path(char out[512], const char *target, const char *name)
{
	snprintf(out, 512, "%s/%s", folder, target);
	must(hth_mkdirs(out, &err));
	snprintf(out, 512, "%s/%s/%s", folder, target, name);
	return out;
}

/* One key of every type, one tensor of every block format. */
static void gguf_of_everything(void)
{
	char path[512];
	struct hth_gguf_writer *w = NULL;
	static const uint8_t zeros[4096];
	static const char strings[] = "\5\0\0\0\0\0\0\0alpha\0\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0beta";
	must(hth_gguf_writer_new(seed_path(path, "gguf", "everything.gguf"), &w, &err));
	must(hth_gguf_put_string(w, "general.architecture", "llama", 5, &err));
	for (int type = HTH_GGUF_U8; type <= HTH_GGUF_F64; type++) {
		char key[32];
		snprintf(key, sizeof key, "test.key%d", type);
		bool integer = type <= HTH_GGUF_I32 || type == HTH_GGUF_U64 || type == HTH_GGUF_I64;
		if (integer)
			must(hth_gguf_put_int(w, key, (enum hth_gguf_type)type, type, &err));
	}
	must(hth_gguf_put_f32(w, "test.real", 1.5f, &err));
	must(hth_gguf_put_bool(w, "test.yes", true, &err));
	must(hth_gguf_put_array(w, "test.names", HTH_GGUF_STRING, 3, strings, sizeof strings - 1, &err));
	must(hth_gguf_put_array(w, "test.numbers", HTH_GGUF_I32, 16, zeros, 64, &err));
	must(hth_gguf_put_array(w, "test.reals", HTH_GGUF_F64, 4, zeros, 32, &err));
	must(hth_gguf_put_array(w, "test.none", HTH_GGUF_U8, 0, zeros, 0, &err));
	for (int q = 0; q < HTH_QUANT_COUNT; q++) {
		const int64_t ne[2] = {hth_quant_format((enum hth_quant)q)->block_elems, 2};
		if (hth_quant_format((enum hth_quant)q)->ggml_type < 0) /* lives in memory only */
			continue;
		must(hth_gguf_add_tensor(w, hth_quant_format((enum hth_quant)q)->name, 2, ne, (enum hth_quant)q, &err));
	}
	for (int q = 0; q < HTH_QUANT_COUNT; q++)
		if (hth_quant_format((enum hth_quant)q)->ggml_type >= 0)
			must(hth_gguf_write_data(w, zeros, 2 * hth_quant_format((enum hth_quant)q)->block_bytes, &err));
	must(hth_gguf_writer_commit(w, &err));
}

static void safetensors_of_some(void)
{
	char path[512];
	static const float data[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	static const char *const meta[][2] = {{"format", "pt"}, {"made_by", "seeds"}};
	struct hth_st_tensor t[] = {
		{.name = "a.weight", .dtype = HTH_ST_F32, .n_dims = 2, .dim = {2, 3}, .data = (const void *)data, .bytes = 24},
		{.name = "b", .dtype = HTH_ST_BF16, .n_dims = 1, .dim = {4}, .data = (const void *)data, .bytes = 8},
		{.name = "scalar", .dtype = HTH_ST_I64, .n_dims = 0, .data = (const void *)data, .bytes = 8},
	};
	must(hth_safetensors_write(seed_path(path, "safetensors", "three.safetensors"), t, 3, meta, 2, &err));
	must(hth_safetensors_write(seed_path(path, "safetensors", "none.safetensors"), t, 0, NULL, 0, &err));
}

/* A golden model's metadata without its tensors' data, and its golden adapter as GGUF. */
static void from_golden(const char *family, const char *name)
{
	char from[512], path[512], file[64];
	struct hth_model *m = NULL;
	struct hth_adapter a = {0};
	struct hth_adapter_names names;
	snprintf(from, sizeof from, "tests/golden/%s/%s.gguf", family, name);
	must(hth_model_open(from, &m, &err));
	const uint8_t *first = m->gguf->map.data + m->gguf->map.bytes;
	for (size_t i = 0; i < m->gguf->n_tensors; i++)
		first = m->gguf->tensors[i].data < first ? m->gguf->tensors[i].data : first;
	snprintf(file, sizeof file, "%s-%s.bin", family, name);
	must(hth_file_write(seed_path(path, "model", file), m->gguf->map.data, (size_t)(first - m->gguf->map.data), &err));
	hth_model_adapter_names(m, &names);
	snprintf(from, sizeof from, "tests/golden/%s/%s-adapter-start", family, name);
	must(hth_adapter_read(from, &names, &a, &err));
	snprintf(file, sizeof file, "%s-%s.gguf", family, name);
	must(hth_adapter_write_gguf(seed_path(path, "adapter_gguf", file), &a, &names, &err));
	hth_adapter_clear(&a);
	hth_model_close(m);
}

/* A file with one letter before it, as fuzz_hf_folder.c takes it. */
static void folder_file(char letter, const char *family, const char *name)
{
	char path[512], file[128], *data, *with;
	size_t bytes;
	snprintf(path, sizeof path, "tests/golden/%s/tiny/%s", family, name);
	must(hth_file_read(path, 1 << 20, &data, &bytes, &err));
	with = hth_alloc(bytes + 1);
	fuzz_check(with != NULL);
	with[0] = letter;
	memcpy(with + 1, data, bytes);
	snprintf(file, sizeof file, "%s-%s", family, name);
	must(hth_file_write(seed_path(path, "hf_folder", file), with, bytes + 1, &err));
	hth_free(with);
	hth_free(data);
}

static void folder_files(void)
{
	static const char *const families[] = {
		"mistral", "qwen2",   "qwen3",   "gemma",   "gemma2",   "gemma3",   "phi3",       "olmo2",         "olmo3",  "granite",
		"smollm3", "mixtral", "gptoss",  "qwen3moe", "qwen2moe", "gemma4",   "gemma4_moe", "gemma4_nested", "qwen35", "qwen35_nested",
	};
	for (size_t i = 0; i < sizeof families / sizeof *families; i++)
		folder_file('c', families[i], "config.json");
	folder_file('g', "mistral", "generation_config.json");
	folder_file('t', "mistral", "tokenizer_config.json");
	folder_file('i', "mistral", "model.safetensors.index.json");
}

static void imatrices(void)
{
	static const uint8_t old[] = {1, 0, 0, 0, 3, 0, 0, 0, 'a', '.', 'w', 2, 0, 0, 0, 2, 0, 0, 0,
				      0, 0, 0x80, 0x3F, 0, 0, 0, 0x40, 2, 0, 0, 0, 4, 0, 0, 0, 'd', 'a', 't', 'a'};
	struct hth_imatrix im = {.chunks = 1, .chunk_size = 16};
	char path[512];
	must(hth_file_write(seed_path(path, "imatrix", "old.dat"), old, sizeof old, &err));
	struct hth_imatrix_entry *e = hth_imatrix_add(&im, "blk.0.attn_q.weight", 19, 4, 1);
	fuzz_check(e != NULL);
	e->sum[0] = e->count[0] = 2;
	e = hth_imatrix_add(&im, "blk.0.ffn_up_exps.weight", 24, 2, 3);
	fuzz_check(e != NULL);
	e->sum[5] = e->count[2] = 1;
	must(hth_imatrix_sort(&im, "seed", &err));
	must(hth_imatrix_write(seed_path(path, "imatrix", "two.gguf"), &im, &err));
	hth_imatrix_clear(&im);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	folder = argv[1];
	gguf_of_everything();
	safetensors_of_some();
	from_golden("llama", "tied");
	from_golden("llama", "untied");
	from_golden("mixtral", "tiny");
	from_golden("gptoss_mxfp4", "tiny");
	folder_files();
	imatrices();
	return 0;
}
