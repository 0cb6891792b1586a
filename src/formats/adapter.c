/* Adapters as values: memory, order, checks, and which of the three layouts a path holds. The layouts themselves are
 * in adapter_peft.c, adapter_mlx.c, adapter_gguf.c (read) and adapter_write.c, adapter_config.c (write). */
#include "formats/adapter_int.h"

#include "base/checked.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RANK 65536

void hth_adapter_clear(struct hth_adapter *a)
{
	hth_arena_clear(&a->arena);
	memset(a, 0, sizeof(*a));
}

const struct hth_lora_module *hth_adapter_find(const struct hth_adapter *a, const char *name)
{
	for (size_t i = 0; i < a->n_modules; i++)
		if (strcmp(a->modules[i].name, name) == 0)
			return &a->modules[i];
	return NULL;
}

enum hth_status hth_adapter_start(struct hth_adapter *a, size_t n, size_t file_bytes, struct hth_err *err)
{
	size_t limit;
	/* f32 from the densest block format (q2_k) is 12.2 times as large; each tensor brings its entry. */
	if (!hth_mul_size(file_bytes, 24, &limit) || !hth_add_size(limit, 1 << 20, &limit))
		limit = SIZE_MAX;
	hth_arena_init(&a->arena, limit);
	a->modules = hth_arena_calloc(&a->arena, n > 0 ? n : 1, sizeof(*a->modules));
	a->saved = hth_arena_calloc(&a->arena, n > 0 ? n : 1, sizeof(*a->saved));
	return a->modules != NULL && a->saved != NULL ? HTH_OK : hth_fail_memory(err, "adapter modules", n * sizeof(*a->modules));
}

enum hth_status hth_adapter_add(struct hth_adapter *a, size_t cap, const char *name, size_t name_bytes,
				int64_t experts, int64_t rank, int64_t in, int64_t out, struct hth_lora_module **m,
				struct hth_err *err)
{
	size_t a_elems, b_elems, stack = experts > 0 ? (size_t)experts : 1;
	if (rank < 1 || rank > MAX_RANK || in < 1 || out < 1)
		return hth_fail(err, HTH_ERR_SHAPE, "rank %lld, input %lld, output %lld make no LoRA", (long long)rank,
				(long long)in, (long long)out);
	if (a->n_modules == cap || !hth_mul_size((size_t)rank, (size_t)in, &a_elems) ||
	    !hth_mul_size((size_t)rank, (size_t)out, &b_elems) || !hth_mul_size(a_elems, stack, &a_elems) ||
	    !hth_mul_size(b_elems, stack, &b_elems))
		return hth_fail(err, HTH_ERR_LIMIT, "too many or too large modules");
	*m = &a->modules[a->n_modules];
	**m = (struct hth_lora_module){
		.name = hth_arena_strndup(&a->arena, name, name_bytes),
		.experts = experts,
		.in = in,
		.out = out,
		.rank = (int)rank,
		.scale = 1.0f,
		.a = hth_arena_calloc(&a->arena, a_elems, sizeof(float)),
		.b = hth_arena_calloc(&a->arena, b_elems, sizeof(float)),
	};
	if ((*m)->name == NULL || (*m)->a == NULL || (*m)->b == NULL)
		return hth_fail_memory(err, "adapter weights", (a_elems + b_elems) * sizeof(float));
	a->n_modules++;
	return HTH_OK;
}

enum hth_status hth_adapter_add_mag(struct hth_adapter *a, struct hth_lora_module *m, struct hth_err *err)
{
	m->mag = hth_arena_calloc(&a->arena, (size_t)m->out, sizeof(*m->mag));
	return m->mag != NULL ? HTH_OK : hth_fail_memory(err, "adapter magnitudes", (size_t)m->out * sizeof(float));
}

enum hth_status hth_adapter_add_saved(struct hth_adapter *a, const char *name, const struct hth_st_tensor *t,
				      struct hth_saved_weight **out, struct hth_err *err)
{
	bool fits = (t->n_dims == 1 || t->n_dims == 2) && t->dim[0] >= 1 && (t->n_dims == 1 || t->dim[1] >= 1);
	size_t elems = 0;
	struct hth_saved_weight *s = &a->saved[a->n_saved];
	if (!fits)
		return hth_fail(err, HTH_ERR_SHAPE, "tensor \"%.128s\": expected a vector or a matrix", t->name);
	*s = (struct hth_saved_weight){.name = hth_arena_strndup(&a->arena, name, strlen(name)),
				       .rows = t->n_dims == 1 ? 1 : t->dim[0],
				       .cols = t->dim[t->n_dims - 1]};
	if (!hth_mul_size((size_t)s->rows, (size_t)s->cols, &elems))
		return hth_fail(err, HTH_ERR_LIMIT, "tensor \"%.128s\": too large", t->name);
	s->value = hth_arena_calloc(&a->arena, elems, sizeof(float));
	if (s->name == NULL || s->value == NULL)
		return hth_fail_memory(err, "adapter weights", elems * sizeof(float));
	a->n_saved++;
	*out = s;
	return HTH_OK;
}

const char *hth_adapter_mlx_lacks(const struct hth_adapter *a)
{
	return a->n_saved > 0 ? "weights trained whole (modules_to_save)"
	       : hth_adapter_has_experts(a) && a->layout == NULL
		       ? "name for the experts of a model that is not known (--model names it)"
		       : NULL;
}

const char *hth_adapter_gguf_lacks(const struct hth_adapter *a)
{
	for (size_t i = 0; i < a->n_modules; i++)
		if (hth_adapter_is_scaled(a->layout, &a->modules[i]))
			return HTH_ADAPTER_SCALED;
	return a->n_saved > 0 ? "weights trained whole (modules_to_save)"
	       : hth_adapter_is_dora(a) ? "magnitudes (DoRA)"
					: NULL;
}

int64_t hth_adapter_layer(const char *module, const char **after)
{
	for (const char *p = module; *p != '\0'; p++) {
		if (p != module && p[-1] != '.')
			continue;
		int64_t layer = 0;
		const char *q = p;
		while (*q >= '0' && *q <= '9' && q - p < 9)
			layer = layer * 10 + (*q++ - '0');
		if (q > p && *q == '.') {
			*after = q + 1;
			return layer;
		}
	}
	*after = module;
	return -1;
}

/* The order in which a decoder layer uses its projections; other names follow, by bytes. */
static int place_in_layer(const char *rest)
{
	static const char *const order[] = {"q_proj",    "k_proj",  "v_proj",       "qkv_proj", "o_proj",
					    "gate_proj", "up_proj", "gate_up_proj", "down_proj"};
	const char *dot = strrchr(rest, '.');
	const char *last = dot != NULL ? dot + 1 : rest;
	int n = (int)(sizeof(order) / sizeof(order[0]));
	for (int i = 0; i < n; i++)
		if (strcmp(order[i], last) == 0)
			return i;
	return n;
}

static int order_modules(const void *a, const void *b)
{
	const struct hth_lora_module *x = a, *y = b;
	const char *rest_x, *rest_y;
	int64_t lx = hth_adapter_layer(x->name, &rest_x), ly = hth_adapter_layer(y->name, &rest_y);
	if (lx != ly) /* modules outside the layers (lm_head) come last */
		return lx < 0 ? 1 : ly < 0 ? -1 : lx < ly ? -1 : 1;
	int px = place_in_layer(rest_x), py = place_in_layer(rest_y);
	return px != py ? px - py : strcmp(x->name, y->name);
}

static bool all_finite(const float *v, size_t n)
{
	/* x - x is 0 for finite x only; the sum stays 0 and costs no branch. */
	float sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += v[i] - v[i];
	return sum == 0.0f;
}

enum hth_status hth_adapter_check(const struct hth_adapter *a, struct hth_err *err)
{
	if (a->n_modules == 0)
		return hth_fail(err, HTH_ERR_FORMAT, "the adapter has no modules");
	for (size_t i = 0; i < a->n_modules; i++) {
		const struct hth_lora_module *m = &a->modules[i];
		if (!isfinite(m->scale))
			return hth_fail(err, HTH_ERR_VALUE, "module \"%.128s\": scale %g is not finite", m->name,
					(double)m->scale);
		size_t rows = (size_t)hth_module_stack(m) * (size_t)m->rank;
		if (!all_finite(m->a, rows * (size_t)m->in) || !all_finite(m->b, rows * (size_t)m->out) ||
		    (m->mag != NULL && !all_finite(m->mag, (size_t)m->out)))
			return hth_fail(err, HTH_ERR_VALUE,
					"module \"%.128s\": a weight is NaN or infinite; training went wrong before "
					"this adapter was made",
					m->name);
		if ((m->mag != NULL) != (a->modules[0].mag != NULL))
			return hth_fail(err, HTH_ERR_FORMAT,
					"module \"%.128s\": %s magnitudes (DoRA), unlike \"%.128s\"", m->name,
					m->mag != NULL ? "has" : "has no", a->modules[0].name);
	}
	for (size_t i = 0; i < a->n_saved; i++)
		if (!all_finite(a->saved[i].value, (size_t)a->saved[i].rows * (size_t)a->saved[i].cols))
			return hth_fail(err, HTH_ERR_VALUE, "weight \"%.128s\": a value is NaN or infinite",
					a->saved[i].name);
	return HTH_OK;
}

static int order_saved(const void *a, const void *b)
{
	const struct hth_saved_weight *x = a, *y = b;
	return strcmp(x->name, y->name);
}

enum hth_status hth_adapter_finish(struct hth_adapter *a, struct hth_err *err)
{
	qsort(a->saved, a->n_saved, sizeof(*a->saved), order_saved);
	qsort(a->modules, a->n_modules, sizeof(*a->modules), order_modules);
	for (size_t i = 1; i < a->n_modules; i++)
		if (strcmp(a->modules[i - 1].name, a->modules[i].name) == 0)
			return hth_fail(err, HTH_ERR_FORMAT, "module \"%.128s\" stands twice", a->modules[i].name);
	a->rank = 0;
	for (size_t i = 0; i < a->n_modules; i++)
		if (a->modules[i].rank > a->rank)
			a->rank = a->modules[i].rank;
	return hth_adapter_check(a, err);
}

static enum hth_status read_dir(const char *path, const struct hth_adapter_names *names, struct hth_adapter *out,
				struct hth_err *err)
{
	enum hth_status st = HTH_OK;
	struct hth_safetensors s = {0};
	json_t *config = NULL;
	char *peft = hth_path_join(path, HTH_PEFT_WEIGHTS), *mlx = hth_path_join(path, HTH_MLX_WEIGHTS);
	char *config_path = hth_path_join(path, HTH_ADAPTER_CONFIG);
	if (peft == NULL || mlx == NULL || config_path == NULL) {
		st = hth_fail_memory(err, "a path", strlen(path) + 32);
		goto done;
	}
	bool is_peft = hth_path_kind(peft) == HTH_PATH_FILE;
	if (!is_peft && hth_path_kind(mlx) != HTH_PATH_FILE) {
		st = hth_fail(err, HTH_ERR_NOTFOUND, "%s: holds neither %s (PEFT) nor %s (MLX)%s", path,
			      HTH_PEFT_WEIGHTS, HTH_MLX_WEIGHTS,
			      hth_path_kind(config_path) == HTH_PATH_FILE
				      ? "; a .bin of an old PEFT must be saved again as safetensors"
				      : "");
		goto done;
	}
	st = hth_json_read(config_path, HTH_ADAPTER_MAX_CONFIG_BYTES, HTH_JSON_STRICT, &config, err);
	if (st == HTH_OK && !json_is_object(config))
		st = hth_fail(err, HTH_ERR_FORMAT, "%s: no JSON object", config_path);
	if (st == HTH_OK)
		st = hth_safetensors_open(&s, is_peft ? peft : mlx, err);
	if (st == HTH_OK)
		st = is_peft ? hth_adapter_read_peft(&s, config, config_path, names, out, err)
			     : hth_adapter_read_mlx(&s, config, config_path, out, err);
	if (st == HTH_OK) {
		st = hth_adapter_finish(out, err);
		if (st != HTH_OK)
			(void)hth_err_prefix(err, "%s", s.map.path);
	}
done:
	json_decref(config);
	hth_safetensors_close(&s);
	hth_free(peft);
	hth_free(mlx);
	hth_free(config_path);
	return st;
}

enum hth_status hth_adapter_read(const char *path, const struct hth_adapter_names *names, struct hth_adapter *out,
				 struct hth_err *err)
{
	enum hth_status st;
	memset(out, 0, sizeof(*out));
	switch (hth_path_kind(path)) {
	case HTH_PATH_DIR:
		st = read_dir(path, names, out, err);
		break;
	case HTH_PATH_FILE:
		if (names == NULL)
			st = hth_fail(err, HTH_ERR_USAGE, "%s: a GGUF adapter can only be read for a known model",
				      path);
		else
			st = hth_adapter_read_gguf(path, names, out, err);
		break;
	default:
		st = hth_fail(err, HTH_ERR_NOTFOUND, "%s: no such adapter, expected a folder or a .gguf file", path);
	}
	if (st == HTH_OK && out->layout == NULL && names != NULL)
		out->layout = names->layout;
	if (st != HTH_OK)
		hth_adapter_clear(out);
	return st;
}
