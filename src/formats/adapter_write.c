/* Writes the folder that PEFT and mlx-lm both load. The files are made in a temporary folder beside the target, which
 * is then swapped in by renames: the old adapter stays complete until the new one is. */
#include "formats/adapter_int.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct folder {
	char *target, *temp, *old; /* owned paths; old: where the former folder waits */
};

/* The scale that stands in MLX's config: the modules' where they agree. */
static float common_scale(const struct hth_adapter *a)
{
	float first = a->modules[0].scale;
	bool same = true;
	for (size_t i = 1; i < a->n_modules && same; i++)
		same = a->modules[i].scale == first;
	return same ? first : 1.0f;
}

/* PREFIX NAME SUFFIX in arena, or NULL. */
static char *full_name(struct hth_arena *arena, const char *prefix, const char *name, const char *suffix)
{
	size_t bytes = strlen(prefix) + strlen(name) + strlen(suffix) + 1;
	char *out = hth_arena_alloc(arena, bytes);
	if (out != NULL)
		snprintf(out, bytes, "%s%s%s", prefix, name, suffix);
	return out;
}

/* NAME SUFFIX as MLX has it, or NULL. */
static char *mlx_name(struct hth_arena *arena, const char *name, const char *suffix)
{
	size_t n = strlen(HTH_NESTED_PREFIX);
	bool nested = strncmp(name, HTH_NESTED_PREFIX, n) == 0;

	return full_name(arena, nested ? "language_model.model." : "", nested ? name + n : name, suffix);
}

/* (rows, cols), or a vector of cols where rows is 0; false when the name is missing. */
static bool set_tensor(struct hth_st_tensor *t, const char *name, int64_t rows, int64_t cols, const float *data)
{
	*t = (struct hth_st_tensor){.name = name,
				    .dtype = HTH_ST_F32,
				    .n_dims = rows > 0 ? 2 : 1,
				    .dim = {rows > 0 ? rows : cols, cols},
				    .data = (const uint8_t *)data,
				    .bytes = (uint64_t)(rows > 0 ? rows : 1) * (uint64_t)cols * sizeof(float)};
	return name != NULL;
}

/* The wrapper that PEFT makes for m: inside another one where the experts' down_proj is adapted, too. */
static char *peft_name(struct hth_arena *arena, const struct hth_adapter *a, const struct hth_lora_module *m,
		       const char *suffix)
{
	const char *rest, *name = m->name, *router = a->layout != NULL ? a->layout->peft_router : NULL;
	bool inner = false;
	(void)hth_adapter_layer(name, &rest);
	if (m->experts > 0) {
		bool gate_up = strcmp(hth_adapter_projection(name), "gate_up_proj") == 0;
		for (size_t i = 0; i < a->n_modules && gate_up; i++)
			inner |= &a->modules[i] != m && hth_adapter_beside(m, &a->modules[i]);
		name = hth_arena_strndup(arena, name, (size_t)(hth_adapter_projection(name) - name) - 1);
	} else if (router != NULL && hth_adapter_is_router(name)) {
		char *head = hth_arena_strndup(arena, name, (size_t)(rest - name));
		name = head != NULL ? full_name(arena, head, router, "") : NULL;
	}
	char *full = name != NULL && inner ? full_name(arena, "", name, ".base_layer") : NULL;
	if (name == NULL || (inner && full == NULL))
		return NULL;
	return full_name(arena, HTH_PEFT_PREFIX, inner ? full : name, suffix);
}

/* B of a module as PEFT has it: of experts (N, r*E), column i*E + e being column i of expert e, the rows of gate and up
 * alternating where the base's do. NULL: no memory. */
static const float *peft_b(struct hth_arena *arena, const struct hth_adapter *a, const struct hth_lora_module *m)
{
	bool paired = m->experts > 0 && a->layout != NULL && a->layout->paired &&
		      strcmp(hth_adapter_projection(m->name), "gate_up_proj") == 0;
	int64_t width = m->experts * m->rank;
	if (m->experts == 0)
		return m->b;
	float *out = hth_arena_calloc(arena, (size_t)(m->out * width), sizeof(*out)); // (N, r*E)
	for (int64_t e = 0; e < m->experts && out != NULL; e++)
		for (int64_t n = 0; n < m->out; n++) {
			int64_t half = m->out / 2, row = !paired ? n : n < half ? 2 * n : 2 * (n - half) + 1;
			for (int64_t i = 0; i < m->rank; i++)
				out[row * width + i * m->experts + e] = m->b[(e * m->out + n) * m->rank + i];
		}
	return out;
}

static enum hth_status write_peft(const struct hth_adapter *a, const char *path, struct hth_err *err)
{
	static const char *const meta[][2] = {{"format", "pt"}};
	struct hth_arena names;
	size_t n = 0, max = 3 * a->n_modules + a->n_saved;
	hth_arena_init(&names, SIZE_MAX);
	struct hth_st_tensor *t = hth_arena_calloc(&names, max, sizeof(*t));
	bool ok = t != NULL;
	for (size_t i = 0; i < a->n_modules && ok; i++) {
		const struct hth_lora_module *m = &a->modules[i];
		const float *b = peft_b(&names, a, m);
		int64_t width = hth_module_stack(m) * m->rank;
		ok = b != NULL && set_tensor(&t[n++], peft_name(&names, a, m, ".lora_A.weight"), width, m->in, m->a) &&
		     set_tensor(&t[n++], peft_name(&names, a, m, ".lora_B.weight"), m->out, width, b);
		if (ok && m->mag != NULL)
			ok = set_tensor(&t[n++], full_name(&names, HTH_PEFT_PREFIX, m->name, ".lora_magnitude_vector"),
					0, m->out, m->mag);
	}
	for (size_t i = 0; i < a->n_saved && ok; i++) {
		const struct hth_saved_weight *w = &a->saved[i];
		ok = set_tensor(&t[n++], full_name(&names, HTH_PEFT_PREFIX, w->name, ""), w->rows > 1 ? w->rows : 0,
				w->cols, w->value);
	}
	enum hth_status st = ok ? hth_safetensors_write(path, t, n, meta, 1, err)
				: hth_fail_memory(err, "adapter tensors", max * sizeof(*t));
	hth_arena_clear(&names);
	return st;
}

/* The same of experts, (E, R, in) and (E, out, R): not transposed. */
static enum hth_status mlx_experts(struct hth_arena *arena, const struct hth_lora_module *m, int rank, float scale,
				   struct hth_st_tensor t[3], struct hth_err *err)
{
	size_t E = (size_t)m->experts, R = (size_t)rank, r = (size_t)m->rank, in = (size_t)m->in, out = (size_t)m->out;
	const char *a_name = mlx_name(arena, m->name, ".lora_a"), *b_name = mlx_name(arena, m->name, ".lora_b");
	float *a = hth_arena_calloc(arena, E * R * in, sizeof(*a));  // (E, R, in)
	float *b = hth_arena_calloc(arena, E * out * R, sizeof(*b)); // (E, out, R)
	float fold = m->scale == scale ? 1.0f : m->scale / scale;
	if (a_name == NULL || b_name == NULL || a == NULL || b == NULL)
		return hth_fail_memory(err, "adapter tensors", E * (in + out) * R * sizeof(*a));
	for (size_t e = 0; e < E; e++)
		memcpy(a + e * R * in, m->a + e * r * in, r * in * sizeof(*a));
	for (size_t n = 0; n < E * out; n++)
		for (size_t k = 0; k < r; k++)
			b[n * R + k] = m->b[n * r + k] * fold;
	(void)set_tensor(&t[0], a_name, rank, m->in, a);
	(void)set_tensor(&t[1], b_name, m->out, rank, b);
	for (int i = 0; i < 2; i++) {
		t[i].n_dims = 3;
		t[i].dim[2] = t[i].dim[1];
		t[i].dim[1] = t[i].dim[0];
		t[i].dim[0] = m->experts;
		t[i].bytes *= E;
	}
	return HTH_OK;
}

/* One module's MLX tensors: transposed, padded with zeros to rank R, B scaled by m->scale / scale; the magnitudes where
 * it has them. */
static enum hth_status mlx_pair(struct hth_arena *arena, const struct hth_lora_module *m, int rank, float scale,
				struct hth_st_tensor t[3], struct hth_err *err)
{
	size_t R = (size_t)rank, r = (size_t)m->rank, in = (size_t)m->in, out = (size_t)m->out;
	const char *a_name = mlx_name(arena, m->name, ".lora_a"), *b_name = mlx_name(arena, m->name, ".lora_b");
	float *a = hth_arena_calloc(arena, in * R, sizeof(*a));  // (in, R)
	float *b = hth_arena_calloc(arena, R * out, sizeof(*b)); // (R, out)
	if (a_name == NULL || b_name == NULL || a == NULL || b == NULL)
		return hth_fail_memory(err, "adapter tensors", (in + out) * R * sizeof(*a));
	float fold = m->scale == scale ? 1.0f : m->scale / scale;
	for (size_t k = 0; k < r; k++) {
		for (size_t i = 0; i < in; i++)
			a[i * R + k] = m->a[k * in + i];
		for (size_t j = 0; j < out; j++)
			b[k * out + j] = m->b[j * r + k] * fold;
	}
	bool ok = set_tensor(&t[0], a_name, m->in, rank, a) && set_tensor(&t[1], b_name, rank, m->out, b);
	if (ok && m->mag != NULL)
		ok = set_tensor(&t[2], mlx_name(arena, m->name, ".m"), 0, m->out, m->mag);
	if (!ok)
		return hth_fail_memory(err, "adapter tensors", strlen(m->name));
	return HTH_OK;
}

static enum hth_status write_mlx(const struct hth_adapter *a, const char *path, float scale, struct hth_err *err)
{
	static const char *const meta[][2] = {{"format", "mlx"}};
	struct hth_arena arena;
	enum hth_status st = HTH_OK;
	hth_arena_init(&arena, SIZE_MAX);
	size_t each = hth_adapter_is_dora(a) ? 3 : 2, n = each * a->n_modules;
	struct hth_st_tensor *t = hth_arena_calloc(&arena, n, sizeof(*t));
	if (t == NULL)
		st = hth_fail_memory(err, "adapter tensors", n * sizeof(*t));
	for (size_t i = 0; i < a->n_modules && st == HTH_OK; i++)
		st = (a->modules[i].experts > 0 ? mlx_experts : mlx_pair)(&arena, &a->modules[i], a->rank, scale,
									  &t[each * i], err);
	if (st == HTH_OK)
		st = hth_safetensors_write(path, t, n, meta, 1, err);
	hth_arena_clear(&arena);
	return st;
}

static enum hth_status write_config(const struct hth_adapter *peft, const struct hth_adapter *mlx, float scale,
				    const char *path, struct hth_err *err)
{
	json_t *config = NULL;
	struct hth_buf text;
	hth_buf_init(&text, HTH_ADAPTER_MAX_CONFIG_BYTES);
	enum hth_status st = hth_adapter_config(peft, mlx, scale, &config, err);
	if (st == HTH_OK)
		st = hth_json_dump(config, 2, &text, err);
	if (st == HTH_OK) {
		(void)hth_buf_putc(&text, '\n');
		st = hth_buf_status(&text, HTH_ADAPTER_CONFIG, err);
	}
	if (st == HTH_OK)
		st = hth_file_write(path, text.data, text.bytes, err);
	json_decref(config);
	hth_buf_clear(&text);
	return st;
}

/* a in the form and under the names that MLX has. */
static enum hth_status mlx_view(const struct hth_adapter *a, struct hth_arena *arena, struct hth_adapter *out,
				struct hth_err *err)
{
	enum hth_status st = hth_adapter_split(a, arena, out, err);
	for (size_t i = 0; st == HTH_OK && i < out->n_modules; i++) {
		out->modules[i].name = hth_adapter_to_mlx(a, &out->modules[i], arena);
		if (out->modules[i].name == NULL)
			st = hth_fail_memory(err, "a name", 0);
	}
	return st;
}

static enum hth_status write_files(const struct hth_adapter *a, bool plain_peft, const char *dir, struct hth_err *err)
{
	struct hth_adapter as_peft, as_mlx;
	struct hth_arena arena;
	float scale = common_scale(a);
	plain_peft = plain_peft || hth_adapter_mlx_lacks(a) != NULL;
	hth_arena_init(&arena, SIZE_MAX / 2);
	enum hth_status st = hth_adapter_join(a, &arena, &as_peft, err);
	if (st == HTH_OK && !plain_peft)
		st = mlx_view(a, &arena, &as_mlx, err);
	char *peft = hth_path_join(dir, HTH_PEFT_WEIGHTS), *mlx = hth_path_join(dir, HTH_MLX_WEIGHTS);
	char *config = hth_path_join(dir, HTH_ADAPTER_CONFIG);
	if (st == HTH_OK && (peft == NULL || mlx == NULL || config == NULL))
		st = hth_fail_memory(err, "a path", strlen(dir) + 32);
	if (st == HTH_OK)
		st = write_peft(&as_peft, peft, err);
	if (st == HTH_OK && !plain_peft)
		st = write_mlx(&as_mlx, mlx, scale, err);
	if (st == HTH_OK)
		st = write_config(&as_peft, plain_peft ? NULL : &as_mlx, scale, config, err);
	hth_arena_clear(&arena);
	hth_free(peft);
	hth_free(mlx);
	hth_free(config);
	return st;
}

static bool is_adapter_file(const char *name)
{
	return strcmp(name, HTH_PEFT_WEIGHTS) == 0 || strcmp(name, HTH_ADAPTER_CONFIG) == 0 ||
	       strcmp(name, "README.md") == 0 ||
	       hth_path_has_suffix(name, HTH_MLX_WEIGHTS); /* and 0000100_adapters... */
}

/* Replacing a folder removes what is in it, so it must be nothing but an adapter. */
static enum hth_status check_target(const char *path, struct hth_err *err)
{
	char **names = NULL;
	size_t n = 0;
	enum hth_path_kind kind = hth_path_kind(path);
	if (kind == HTH_PATH_NONE)
		return HTH_OK;
	if (kind != HTH_PATH_DIR)
		return hth_fail(err, HTH_ERR_EXISTS, "%s: is a file, expected a folder or nothing", path);
	enum hth_status st = hth_dir_list(path, &names, &n, err);
	for (size_t i = 0; i < n && st == HTH_OK; i++)
		if (!is_adapter_file(names[i]))
			st = hth_fail(err, HTH_ERR_EXISTS,
				      "%s: holds \"%.128s\", which belongs to no adapter and would be lost; choose "
				      "another folder",
				      path, names[i]);
	hth_names_free(names, n);
	return st;
}

/* The target without trailing slashes, and the two names beside it. */
static enum hth_status name_folder(struct folder *f, const char *path, struct hth_err *err)
{
	size_t n = strlen(path);
	while (n > 1 && path[n - 1] == '/')
		n--;
	f->target = hth_strndup(path, n);
	if (f->target == NULL)
		return hth_fail_memory(err, "a path", n);
	const char *base = hth_path_base(f->target);
	if (base[0] == '\0' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
		return hth_fail(err, HTH_ERR_USAGE, "\"%s\": cannot be replaced by an adapter; name a folder in it",
				path);
	size_t dir = (size_t)(base - f->target), bytes = n + 64;
	f->temp = hth_alloc(bytes);
	f->old = hth_alloc(bytes);
	if (f->temp == NULL || f->old == NULL)
		return hth_fail_memory(err, "a path", bytes);
	snprintf(f->temp, bytes, "%.*s.%s.hearth-%ld.tmp", (int)dir, f->target, base, (long)getpid());
	snprintf(f->old, bytes, "%.*s.%s.hearth-%ld.old", (int)dir, f->target, base, (long)getpid());
	return HTH_OK;
}

static enum hth_status swap_in(const struct folder *f, struct hth_err *err)
{
	bool had_old = hth_path_kind(f->target) == HTH_PATH_DIR;
	enum hth_status st = hth_fsync_dir(f->temp, err);
	if (st == HTH_OK && had_old)
		st = hth_remove_tree(f->old, err);
	if (st == HTH_OK && had_old)
		st = hth_rename_dir(f->target, f->old, err);
	if (st == HTH_OK)
		st = hth_rename_dir(f->temp, f->target, err);
	/* A rename may have happened although its sync failed, so look at what is there. */
	if (st != HTH_OK && had_old && hth_path_kind(f->target) == HTH_PATH_NONE)
		(void)!hth_rename_dir(f->old, f->target, NULL);
	return st == HTH_OK && had_old ? hth_remove_tree(f->old, err) : st;
}

enum hth_status hth_adapter_write_dir(const char *path, const struct hth_adapter *a, bool plain_peft,
				      struct hth_err *err)
{
	struct folder f = {0};
	enum hth_status st = hth_adapter_check(a, err);
	if (st != HTH_OK) {
		(void)hth_err_prefix(err, "%s", path);
		return st;
	}
	st = name_folder(&f, path, err);
	if (st == HTH_OK)
		st = check_target(f.target, err);
	if (st != HTH_OK)
		goto done;
	st = hth_remove_tree(f.temp, err);
	if (st == HTH_OK)
		st = hth_mkdirs(f.temp, err);
	if (st == HTH_OK)
		st = write_files(a, plain_peft, f.temp, err);
	if (st == HTH_OK)
		st = swap_in(&f, err);
	if (st != HTH_OK)
		(void)!hth_remove_tree(f.temp, NULL);
done:
	hth_free(f.target);
	hth_free(f.temp);
	hth_free(f.old);
	return st;
}
