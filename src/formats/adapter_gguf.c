/* Reads and writes llama.cpp's adapter layout: A and B as PEFT has them, named after the base's tensors, the rows of B
 * permuted where the base's rows are. Keys: docs/formats/adapters.md; source: llama.cpp's llama-adapter.cpp and
 * convert_lora_to_gguf.py. */
#include "formats/adapter_int.h"

#include "base/mem.h"
#include "formats/gguf.h"

#include <stdio.h>
#include <string.h>

#define A_SUFFIX ".weight.lora_a"
#define B_SUFFIX ".weight.lora_b"

/* Hugging Face's rotary layers pair element i with i + D/2, GGUF's Llama family 2i with 2i + 1: row h*D + half*(D/2) +
 * i of Hugging Face is row h*D + 2*i + half of the file. src, dst: (n_rows, row_elems). */
static void permute_rows(const float *src, float *dst, int64_t n_rows, int64_t row_elems, int64_t head_rows,
			 bool to_file)
{
	for (int64_t row = 0; row < n_rows; row++) {
		int64_t in_head = row % head_rows, half = in_head / (head_rows / 2), i = in_head % (head_rows / 2);
		int64_t file_row = row - in_head + 2 * i + half;
		int64_t from = to_file ? row : file_row, to = to_file ? file_row : row;
		memcpy(dst + to * row_elems, src + from * row_elems, (size_t)row_elems * sizeof(float));
	}
}

static enum hth_status head_rows_of(const struct hth_adapter_names *names, const struct hth_lora_module *m,
				    int64_t *head_rows, struct hth_err *err)
{
	*head_rows = names->permuted_head_rows != NULL ? names->permuted_head_rows(names->ctx, m->name) : 0;
	if (*head_rows < 0 || *head_rows % 2 != 0 || (*head_rows > 0 && m->out % *head_rows != 0))
		return hth_fail(err, HTH_ERR_SHAPE, "module \"%.128s\": %lld rows are no whole heads of %lld", m->name,
				(long long)m->out, (long long)*head_rows);
	return HTH_OK;
}

/* B (N,r) and A (r,C) with their heads tiled for the file, or back. */
static enum hth_status move_heads(const struct hth_adapter_names *names, const struct hth_lora_module *m, bool to_file,
				  float *a, float *b, struct hth_err *err)
{
	struct hth_heads rows = {0}, cols = {0};
	int64_t most = m->out * m->rank > m->in ? m->out * m->rank : m->in;

	if (names->tiled != NULL)
		names->tiled(names->ctx, m->name, &rows, &cols);
	if (!hth_heads_move(&rows) && !hth_heads_move(&cols))
		return HTH_OK;
	float *old = hth_calloc((size_t)most, sizeof(*old)); /* (N,r), or a row of A */
	if (old == NULL)
		return hth_fail_memory(err, "adapter weights", (size_t)most * sizeof(*old));
	memcpy(old, b, (size_t)(m->out * m->rank) * sizeof(*b));
	hth_heads_order(&rows, to_file, old, b, m->out, m->rank);
	for (int64_t r = 0; r < m->rank; r++) {
		memcpy(old, a + r * m->in, (size_t)m->in * sizeof(*a));
		hth_heads_order(&cols, to_file, old, a + r * m->in, m->in, 1);
	}
	hth_free(old);
	return HTH_OK;
}

static enum hth_status check_keys(const struct hth_gguf *g, const struct hth_adapter_names *names,
				  struct hth_adapter *out, struct hth_err *err)
{
	char shown[64];
	struct hth_gguf_str type, kind, arch, base;
	enum hth_status st = hth_gguf_string(g, "general.type", &type, err);
	if (st == HTH_OK)
		st = hth_gguf_string(g, "adapter.type", &kind, err);
	if (st == HTH_OK)
		st = hth_gguf_string(g, "general.architecture", &arch, err);
	if (st == HTH_OK)
		st = hth_gguf_string(g, "general.base_model.0.name", &base, err);
	if (st == HTH_OK && hth_gguf_find(g, "adapter.lora.alpha") == NULL)
		st = hth_fail(err, HTH_ERR_NOTFOUND, "%s: key \"adapter.lora.alpha\" is missing", g->map.path);
	if (st == HTH_OK)
		st = hth_gguf_real(g, "adapter.lora.alpha", 0, &out->alpha, err);
	if (st != HTH_OK)
		return st;
	if (!hth_gguf_str_equal(type, "adapter") || !hth_gguf_str_equal(kind, "lora"))
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: is no LoRA adapter, expected general.type \"adapter\" and "
				"adapter.type \"lora\"",
				g->map.path);
	if (!hth_gguf_str_equal(arch, names->gguf_arch))
		return hth_fail(err, HTH_ERR_SHAPE, "%s: an adapter for \"%s\", the base is \"%s\"", g->map.path,
				hth_quote(shown, sizeof(shown), arch.data, arch.bytes), names->gguf_arch);
	if (hth_gguf_find(g, "adapter.alora.invocation_tokens") != NULL)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: activated LoRA is not supported", g->map.path);
	out->base_model = hth_arena_strndup(&out->arena, base.bytes > 0 ? base.data : "", base.bytes);
	return out->base_model != NULL ? HTH_OK : hth_fail_memory(err, "the base's name", base.bytes);
}

/* Finds the module and B of a lora_a tensor. */
static enum hth_status resolve(const struct hth_gguf *g, const struct hth_gguf_tensor *a,
			       const struct hth_adapter_names *names, char module[128],
			       const struct hth_gguf_tensor **b, struct hth_err *err)
{
	char base[64] = {0}, b_name[96];
	size_t bytes = a->name.bytes - strlen(A_SUFFIX); /* tensor names have at most 63 bytes */
	memcpy(base, a->name.data, bytes);
	if (strcmp(base, "token_embd") == 0)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "LoRA on embeddings is not supported");
	if (!names->from_gguf(names->ctx, base, module))
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "the base (\"%s\") has no such linear layer",
				names->gguf_arch);
	snprintf(b_name, sizeof(b_name), "%s%s", base, B_SUFFIX);
	*b = hth_gguf_tensor(g, b_name);
	if (*b == NULL)
		return hth_fail(err, HTH_ERR_FORMAT, "its lora_b is missing");
	if (a->n_dims > 3 || (*b)->n_dims > 3 || a->ne[1] != (*b)->ne[0] || a->ne[2] != (*b)->ne[2])
		return hth_fail(err, HTH_ERR_SHAPE,
				"(%lld, %lld, %lld), its lora_b (%lld, %lld, %lld); expected (in, r) and (r, out), of "
				"experts (in, r, E) and (r, out, E)",
				(long long)a->ne[0], (long long)a->ne[1], (long long)a->ne[2], (long long)(*b)->ne[0],
				(long long)(*b)->ne[1], (long long)(*b)->ne[2]);
	return HTH_OK;
}

static enum hth_status read_pair(const struct hth_gguf *g, const struct hth_gguf_tensor *a,
				 const struct hth_adapter_names *names, struct hth_adapter *out, struct hth_err *err)
{
	char module[128] = {0};
	const struct hth_gguf_tensor *b = NULL;
	struct hth_lora_module *m;
	int64_t head_rows;
	enum hth_status st = resolve(g, a, names, module, &b, err);
	bool experts = strstr(module, "experts.") != NULL; /* a layer may have one alone, in two dimensions */
	if (st == HTH_OK && !experts && a->ne[2] != 1)
		st = hth_fail(err, HTH_ERR_SHAPE, "%lld matrices, expected one", (long long)a->ne[2]);
	if (st == HTH_OK)
		st = hth_adapter_add(out, g->n_tensors, module, strlen(module), experts ? a->ne[2] : 0, a->ne[1], a->ne[0],
				     b->ne[1], &m, err);
	if (st == HTH_OK && hth_adapter_is_scaled(names->layout, m))
		st = hth_fail(err, HTH_ERR_UNAVAILABLE, "%s", HTH_ADAPTER_SCALED);
	if (st == HTH_OK)
		st = head_rows_of(names, m, &head_rows, err);
	if (st != HTH_OK)
		return st;
	/* alpha 0 means "no alpha": the user's scale alone. */
	m->scale = out->alpha != 0 ? (float)out->alpha / (float)m->rank : 1.0f;
	hth_quant_format(a->quant)->unpack(a->data, m->a, a->ne[0] * a->ne[1] * a->ne[2]);
	if (head_rows == 0) {
		hth_quant_format(b->quant)->unpack(b->data, m->b, b->ne[0] * b->ne[1] * b->ne[2]);
		return m->experts > 0 ? HTH_OK : move_heads(names, m, false, m->a, m->b, err);
	}
	float *rows = hth_calloc((size_t)(m->out * m->rank), sizeof(*rows)); // (N, r) in the file's order
	if (rows == NULL)
		return hth_fail_memory(err, "adapter weights", (size_t)(m->out * m->rank) * sizeof(*rows));
	hth_quant_format(b->quant)->unpack(b->data, rows, b->ne[0] * b->ne[1]);
	permute_rows(rows, m->b, m->out, m->rank, head_rows, false);
	hth_free(rows);
	return HTH_OK;
}

static bool has_suffix(struct hth_gguf_str s, const char *suffix)
{
	size_t k = strlen(suffix);
	return s.bytes > k && memcmp(s.data + s.bytes - k, suffix, k) == 0;
}

static enum hth_status read_tensors(const struct hth_gguf *g, const struct hth_adapter_names *names,
				    struct hth_adapter *out, struct hth_err *err)
{
	char shown[96];
	size_t n_b = 0;
	for (size_t i = 0; i < g->n_tensors; i++) {
		const struct hth_gguf_tensor *t = &g->tensors[i];
		enum hth_status st = HTH_OK;
		if (has_suffix(t->name, A_SUFFIX))
			st = read_pair(g, t, names, out, err);
		else if (has_suffix(t->name, B_SUFFIX))
			n_b++;
		else
			st = hth_fail(err, HTH_ERR_UNAVAILABLE, "expected only NAME%s and NAME%s", A_SUFFIX, B_SUFFIX);
		if (st != HTH_OK) {
			(void)hth_err_prefix(err, "%s: tensor \"%s\"", g->map.path,
					     hth_quote(shown, sizeof(shown), t->name.data, t->name.bytes));
			return st;
		}
	}
	if (n_b != out->n_modules)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: %zu lora_a and %zu lora_b do not pair", g->map.path,
				out->n_modules, n_b);
	return HTH_OK;
}

enum hth_status hth_adapter_read_gguf(const char *path, const struct hth_adapter_names *names, struct hth_adapter *out,
				      struct hth_err *err)
{
	struct hth_gguf g = {0};
	enum hth_status st = hth_gguf_open(&g, path, err);
	if (st == HTH_OK)
		st = hth_adapter_start(out, g.n_tensors, g.map.bytes, err);
	if (st == HTH_OK)
		st = check_keys(&g, names, out, err);
	if (st == HTH_OK)
		st = read_tensors(&g, names, out, err);
	if (st == HTH_OK) {
		st = hth_adapter_finish(out, err);
		if (st != HTH_OK)
			(void)hth_err_prefix(err, "%s", path);
	}
	hth_gguf_close(&g);
	return st;
}

/* The one alpha of the file: that of the modules where they agree, else the adapter's own; never 0, which would mean
 * "no alpha" to the reader. */
static float common_alpha(const struct hth_adapter *a)
{
	float first = a->modules[0].scale * (float)a->modules[0].rank;
	bool same = first != 0;
	for (size_t i = 1; i < a->n_modules && same; i++)
		same = a->modules[i].scale * (float)a->modules[i].rank == first;
	if (same)
		return first;
	return a->alpha > 0 && !a->rslora ? (float)a->alpha : (float)(a->rank > 0 ? a->rank : 1);
}

static enum hth_status put_keys(struct hth_gguf_writer *w, const struct hth_adapter *a, const char *arch, float alpha,
				struct hth_err *err)
{
	enum hth_status st = hth_gguf_put_string(w, "general.type", "adapter", 7, err);
	if (st == HTH_OK)
		st = hth_gguf_put_string(w, "general.architecture", arch, strlen(arch), err);
	if (st == HTH_OK && a->base_model != NULL && a->base_model[0] != '\0') {
		st = hth_gguf_put_int(w, "general.base_model.count", HTH_GGUF_U32, 1, err);
		if (st == HTH_OK)
			st = hth_gguf_put_string(w, "general.base_model.0.name", a->base_model, strlen(a->base_model),
						 err);
	}
	if (st == HTH_OK)
		st = hth_gguf_put_string(w, "adapter.type", "lora", 4, err);
	if (st == HTH_OK)
		st = hth_gguf_put_f32(w, "adapter.lora.alpha", alpha, err);
	return st;
}

static enum hth_status announce(struct hth_gguf_writer *w, const struct hth_lora_module *m,
				const struct hth_adapter_names *names, struct hth_err *err)
{
	char base[128], name[160];
	if (!names->to_gguf(names->ctx, m->name, base))
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "module \"%.128s\" has no name in GGUF files of \"%s\"",
				m->name, names->gguf_arch);
	const int64_t a_ne[3] = {m->in, m->rank, m->experts}, b_ne[3] = {m->rank, m->out, m->experts};
	int n_dims = m->experts > 0 ? 3 : 2;
	snprintf(name, sizeof(name), "%.127s%s", base, A_SUFFIX);
	enum hth_status st = hth_gguf_add_tensor(w, name, n_dims, a_ne, HTH_QUANT_F32, err);
	if (st != HTH_OK)
		return st;
	snprintf(name, sizeof(name), "%.127s%s", base, B_SUFFIX);
	return hth_gguf_add_tensor(w, name, n_dims, b_ne, HTH_QUANT_F32, err);
}

static enum hth_status write_pair(struct hth_gguf_writer *w, const struct hth_lora_module *m, float alpha,
				  const struct hth_adapter_names *names, struct hth_err *err)
{
	int64_t head_rows;
	int64_t rank_rows = hth_module_stack(m) * m->rank;
	size_t n_a = (size_t)(m->in * rank_rows), n = (size_t)(m->out * rank_rows);
	enum hth_status st = head_rows_of(names, m, &head_rows, err);
	if (st != HTH_OK)
		return st;
	float *rows = hth_calloc(n + n_a, sizeof(*rows)); // (N, r) in the file's order, then (r, C)
	if (rows == NULL)
		return hth_fail_memory(err, "adapter weights", (n + n_a) * sizeof(*rows));
	float *a = rows + n;
	memcpy(a, m->a, n_a * sizeof(*a));
	if (head_rows > 0)
		permute_rows(m->b, rows, m->out, m->rank, head_rows, true);
	else
		memcpy(rows, m->b, n * sizeof(*rows));
	if (m->experts == 0)
		st = move_heads(names, m, true, a, rows, err);
	float fold = alpha / (float)m->rank == m->scale ? 1.0f : m->scale / (alpha / (float)m->rank);
	for (size_t i = 0; i < n && fold != 1.0f; i++)
		rows[i] *= fold;
	if (st == HTH_OK)
		st = hth_gguf_write_data(w, a, n_a * sizeof(*a), err);
	if (st == HTH_OK)
		st = hth_gguf_write_data(w, rows, n * sizeof(*rows), err);
	hth_free(rows);
	return st;
}

enum hth_status hth_adapter_write_gguf(const char *path, const struct hth_adapter *given,
				       const struct hth_adapter_names *names, struct hth_err *err)
{
	struct hth_gguf_writer *w = NULL;
	struct hth_adapter view;
	const struct hth_adapter *a = &view;
	struct hth_arena arena;
	enum hth_status st = hth_adapter_check(given, err);
	const char *lacks = hth_adapter_gguf_lacks(given);
	hth_arena_init(&arena, SIZE_MAX / 2);
	/* Gate and up of experts as the base's file has them. */
	if (st == HTH_OK && names->gguf_joined)
		st = hth_adapter_join(given, &arena, &view, err);
	else if (st == HTH_OK)
		st = hth_adapter_split(given, &arena, &view, err);
	if (st == HTH_OK && lacks != NULL)
		st = hth_fail(err, HTH_ERR_UNAVAILABLE,
			      "GGUF adapters have no %s; hearth fuse makes a GGUF file of model and adapter", lacks);
	if (st != HTH_OK) {
		hth_arena_clear(&arena);
		(void)hth_err_prefix(err, "%s", path);
		return st;
	}
	float alpha = common_alpha(a);
	st = hth_gguf_writer_new(path, &w, err);
	if (st == HTH_OK)
		st = put_keys(w, a, names->gguf_arch, alpha, err);
	for (size_t i = 0; i < a->n_modules && st == HTH_OK; i++)
		st = announce(w, &a->modules[i], names, err);
	for (size_t i = 0; i < a->n_modules && st == HTH_OK; i++)
		st = write_pair(w, &a->modules[i], alpha, names, err);
	if (st != HTH_OK)
		hth_gguf_writer_abort(w);
	else
		st = hth_gguf_writer_commit(w, err);
	hth_arena_clear(&arena);
	return st;
}
