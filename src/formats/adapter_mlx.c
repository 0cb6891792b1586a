/* Reads mlx-lm's layout: adapters.safetensors with lora_a (in, r) and lora_b (r, out), of experts (E, r, in) and (E, out, r),
 * and adapter_config.json.
 * Keys: docs/formats/adapters.md; source: mlx-lm 0.32, tuner/utils.py load_adapters, tuner/lora.py. */
#include "formats/adapter_int.h"

#include "base/json.h"
#include "base/mem.h"

#include <string.h>

#define VLM_PREFIX "language_model."

static bool has_suffix(const char *name, const char *suffix)
{
	size_t n = strlen(name), k = strlen(suffix);
	return n > k && strcmp(name + n - k, suffix) == 0;
}

struct mlx_rules {
	int64_t rank;
	double scale;
	bool dora;
	size_t n_b, n_mag; /* seen so far */
};

static enum hth_status read_rules(const json_t *config, const char *where, struct mlx_rules *r, struct hth_adapter *out,
				  struct hth_err *err)
{
	const char *type = "lora", *base = "";
	const json_t *lora = json_object_get(config, "lora_parameters");
	enum hth_status st = hth_json_str(config, "fine_tune_type", "lora", &type, where, err);
	if (st != HTH_OK)
		return st;
	r->dora = strcmp(type, "dora") == 0;
	if (strcmp(type, "lora") != 0 && !r->dora)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: \"fine_tune_type\": \"%.64s\" cannot be read as LoRA; fuse it with mlx_lm.fuse",
				where, type);
	if (!json_is_object(lora) || !json_is_number(json_object_get(lora, "scale")))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"lora_parameters\": expected an object with rank and scale",
				where);
	st = hth_json_int(lora, "rank", 1, 65536, 8, &r->rank, where, err);
	if (st == HTH_OK)
		st = hth_json_real(lora, "scale", -1e9, 1e9, 0, &r->scale, where, err);
	if (st == HTH_OK)
		st = hth_json_real(lora, "dropout", 0, 1, 0, &out->dropout, where, err);
	if (st == HTH_OK)
		st = hth_json_str(config, "model", "", &base, where, err);
	if (st != HTH_OK)
		return st;
	out->alpha = (double)(float)r->scale * (double)r->rank;
	out->base_model = hth_arena_strndup(&out->arena, base, strlen(base));
	return out->base_model != NULL ? HTH_OK : hth_fail_memory(err, "the base's name", strlen(base));
}

/* t (rows, cols) -> out (cols, rows) */
static enum hth_status read_transposed(const struct hth_st_tensor *t, float *out, struct hth_err *err)
{
	int64_t rows = t->dim[0], cols = t->dim[1];
	float *plain = hth_calloc((size_t)(rows * cols), sizeof(*plain)); // (rows, cols)
	if (plain == NULL)
		return hth_fail_memory(err, "adapter weights", (size_t)(rows * cols) * sizeof(*plain));
	enum hth_status st = hth_st_to_f32(t, plain, err);
	if (st == HTH_OK)
		for (int64_t i = 0; i < rows; i++)
			for (int64_t j = 0; j < cols; j++)
				out[j * rows + i] = plain[i * cols + j];
	hth_free(plain);
	return st;
}

static enum hth_status refuse(const struct hth_st_tensor *t, struct hth_err *err)
{
	const char *what = has_suffix(t->name, ".m") ? "magnitudes (DoRA), which the config denies"
						     : "a fully trained module or an unknown part";
	return hth_fail(err, HTH_ERR_UNAVAILABLE, "tensor \"%.128s\": %s; expected NAME.lora_a or NAME.lora_b", t->name,
			what);
}

/* MLX's embedding LoRA has the shapes of a linear one but is applied as a lookup. */
static bool is_embedding(const char *name, size_t bytes)
{
	static const char *const tables[] = {"embed_tokens",    "wte",      "tok_embeddings",
					     "word_embeddings", "embed_in", "embedding"};
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		size_t k = strlen(tables[i]);
		if (bytes >= k && memcmp(name + bytes - k, tables[i], k) == 0 &&
		    (bytes == k || name[bytes - k - 1] == '.'))
			return true;
	}
	return false;
}

static enum hth_status read_magnitudes(const struct hth_safetensors *s, const struct hth_st_tensor *a,
				       struct hth_lora_module *m, struct hth_adapter *out, struct hth_err *err)
{
	char *name = hth_strdup(a->name);
	if (name == NULL)
		return hth_fail_memory(err, "a name", strlen(a->name));
	memcpy(name + strlen(name) - strlen("lora_a"), "m", sizeof("m"));
	const struct hth_st_tensor *t = hth_safetensors_find(s, name);
	hth_free(name);
	if (t == NULL)
		return hth_fail(err, HTH_ERR_FORMAT, "tensor \"%.128s\": its magnitudes (.m) are missing", a->name);
	if (t->n_dims != 1 || t->dim[0] != m->out)
		return hth_fail(err, HTH_ERR_SHAPE, "tensor \"%.128s\": expected %lld magnitudes", t->name,
				(long long)m->out);
	enum hth_status st = hth_adapter_add_mag(out, m, err);
	return st == HTH_OK ? hth_st_to_f32(t, m->mag, err) : st;
}

/* A module's name as the value has it, in out's arena; NULL: no memory, or of experts that no family has. */
static const char *own_name(struct hth_adapter *out, const char *name, size_t bytes, bool experts)
{
	if (strncmp(name, VLM_PREFIX, strlen(VLM_PREFIX)) == 0 && bytes > strlen(VLM_PREFIX)) {
		name += strlen(VLM_PREFIX);
		bytes -= strlen(VLM_PREFIX);
	}
	name = hth_arena_strndup(&out->arena, name, bytes);
	return name != NULL ? hth_adapter_from_mlx(out, name, experts) : NULL;
}

/* lora_a (E, r, in) and lora_b (E, out, r), which is the value's own order. bytes: of the module's name. */
static enum hth_status read_experts(const struct hth_st_tensor *a, const struct hth_st_tensor *b, size_t bytes,
				    const struct mlx_rules *r, size_t cap, struct hth_adapter *out, struct hth_err *err)
{
	struct hth_lora_module *m;
	const char *name = own_name(out, a->name, bytes, true);

	if (name == NULL)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"tensor \"%.128s\": LoRA on experts of an unknown name, expected NAME.switch_mlp.gate_proj or "
				"the like",
				a->name);
	if (r->dora)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "tensor \"%.128s\": experts with magnitudes (DoRA)", a->name);
	if (b->n_dims != 3 || a->dim[0] != b->dim[0] || a->dim[1] != b->dim[2] || a->dim[0] < 1)
		return hth_fail(err, HTH_ERR_SHAPE, "tensor \"%.128s\": expected lora_a (E, r, in) and lora_b (E, out, r)",
				a->name);
	if (a->dim[1] != r->rank)
		return hth_fail(err, HTH_ERR_SHAPE, "tensor \"%.128s\": rank %lld, the config says %lld", a->name,
				(long long)a->dim[1], (long long)r->rank);
	enum hth_status st =
		hth_adapter_add(out, cap, name, strlen(name), a->dim[0], a->dim[1], a->dim[2], b->dim[1], &m, err);
	if (st == HTH_OK)
		st = hth_st_to_f32(a, m->a, err);
	if (st == HTH_OK)
		st = hth_st_to_f32(b, m->b, err);
	if (st == HTH_OK)
		m->scale = (float)r->scale;
	return st;
}

static enum hth_status read_pair(const struct hth_safetensors *s, const struct hth_st_tensor *a,
				 const struct mlx_rules *r, struct hth_adapter *out, struct hth_err *err)
{
	struct hth_lora_module *m;
	size_t bytes = strlen(a->name);
	char *b_name = hth_strdup(a->name);
	if (b_name == NULL)
		return hth_fail_memory(err, "a name", bytes);
	b_name[bytes - 1] = 'b';
	const struct hth_st_tensor *b = hth_safetensors_find(s, b_name);
	hth_free(b_name);
	bytes -= strlen(".lora_a");
	const char *name = a->name;
	if (is_embedding(name, bytes))
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "tensor \"%.128s\": LoRA on embeddings is not supported",
				a->name);
	if (b == NULL)
		return hth_fail(err, HTH_ERR_FORMAT, "tensor \"%.128s\": its lora_b is missing", a->name);
	if (a->n_dims == 3)
		return read_experts(a, b, bytes, r, s->n_tensors, out, err);
	if (a->n_dims != 2 || b->n_dims != 2 || a->dim[1] != b->dim[0])
		return hth_fail(err, HTH_ERR_SHAPE, "tensor \"%.128s\": expected lora_a (in, r) and lora_b (r, out)",
				a->name);
	if (a->dim[1] != r->rank)
		return hth_fail(err, HTH_ERR_SHAPE, "tensor \"%.128s\": rank %lld, the config says %lld", a->name,
				(long long)a->dim[1], (long long)r->rank);
	name = own_name(out, name, bytes, false);
	if (name == NULL)
		return hth_fail_memory(err, "a name", bytes);
	enum hth_status st =
		hth_adapter_add(out, s->n_tensors, name, strlen(name), 0, a->dim[1], a->dim[0], b->dim[1], &m, err);
	if (st == HTH_OK)
		st = read_transposed(a, m->a, err);
	if (st == HTH_OK)
		st = read_transposed(b, m->b, err);
	if (st == HTH_OK && r->dora)
		st = read_magnitudes(s, a, m, out, err);
	if (st == HTH_OK)
		m->scale = (float)r->scale;
	return st;
}

enum hth_status hth_adapter_read_mlx(const struct hth_safetensors *s, const json_t *config, const char *where,
				     struct hth_adapter *out, struct hth_err *err)
{
	struct mlx_rules r = {0};
	enum hth_status st = hth_adapter_start(out, s->n_tensors, s->map.bytes, err);
	if (st == HTH_OK)
		st = read_rules(config, where, &r, out, err);
	if (st != HTH_OK)
		return st;
	for (size_t i = 0; i < s->n_tensors && st == HTH_OK; i++) {
		const struct hth_st_tensor *t = &s->tensors[i];
		if (has_suffix(t->name, ".lora_a"))
			st = read_pair(s, t, &r, out, err);
		else if (has_suffix(t->name, ".lora_b"))
			r.n_b++;
		else if (has_suffix(t->name, ".m") && r.dora)
			r.n_mag++;
		else
			st = refuse(t, err);
	}
	if (st == HTH_OK && r.n_b != out->n_modules)
		st = hth_fail(err, HTH_ERR_FORMAT, "%zu lora_a and %zu lora_b do not pair", out->n_modules, r.n_b);
	if (st == HTH_OK && r.dora && r.n_mag != out->n_modules)
		st = hth_fail(err, HTH_ERR_FORMAT, "%zu modules and %zu magnitudes do not pair", out->n_modules,
			      r.n_mag);
	if (st != HTH_OK)
		(void)hth_err_prefix(err, "%s", s->map.path);
	return st;
}
