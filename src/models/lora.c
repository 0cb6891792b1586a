/* Adapters on a model: the linears with their LoRAs as the ops want them, and adapters from disk checked against the
 * model. Weights that an adapter brings whole are replaced.c's, training's own adapters train/params.c's. */
#include "models/model_int.h"

#include "base/checked.h"
#include "base/machine.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The linear of a model with adapter a's LoRA list; with magnitudes among them its bias comes late. */
static struct hth_linear make_linear(const struct hth_layer *layer, size_t k, struct hth_lora **list, int n_adapters)
{
	const struct hth_weight *own = k == HTH_ROUTER ? &layer->router_bias : &layer->bias[k];
	const struct hth_weight *bias = own->data != NULL ? own : NULL;
	bool any = false, dora = false;

	for (int a = 0; a < n_adapters; a++) {
		any = any || list[a] != NULL;
		dora = dora || (list[a] != NULL && list[a]->mag.value != NULL);
	}
	return (struct hth_linear){
		.w = k == HTH_ROUTER ? &layer->router_w : &layer->linear[k],
		.bias = dora ? NULL : bias,
		.late_bias = dora ? bias : NULL,
		.dora = dora,
		.lora = any ? list : NULL,
		.n_adapters = any ? n_adapters : 0,
	};
}

/* The same for experts. */
static struct hth_expert_set make_experts(const struct hth_layer *layer, int part, struct hth_lora **list, int n_adapters)
{
	struct hth_expert_set set = layer->experts[part];

	for (int a = 0; a < n_adapters; a++)
		if (list[a] != NULL) {
			set.lora = list;
			set.n_adapters = n_adapters;
		}
	return set;
}

/* Every LoRA with magnitudes. */
static bool list_sites(struct hth_lora_set *s, size_t n)
{
	size_t n_sites = 0;

	for (size_t i = 0; i < n * (size_t)s->n_adapters; i++)
		n_sites += s->flat[i] != NULL && s->flat[i]->mag.value != NULL;
	s->dora = hth_arena_calloc(&s->arena, n_sites, sizeof(*s->dora));
	if (s->dora == NULL)
		return false;
	for (size_t i = 0; i < n * (size_t)s->n_adapters; i++)
		if (s->flat[i] != NULL && s->flat[i]->mag.value != NULL)
			s->dora[s->n_dora++] =
				(struct hth_dora_site){s->linears[i / (size_t)s->n_adapters].w, s->flat[i]};
	return true;
}

static enum hth_status fill_set(struct hth_lora_set *s, const struct hth_model *m, struct hth_lora **const *loras,
				size_t n, struct hth_err *err)
{
	size_t n_flat, n_adapters = (size_t)s->n_adapters;

	if (!hth_mul_size(n, n_adapters, &n_flat))
		return hth_fail(err, HTH_ERR_LIMIT, "%d adapters at once, expected fewer", s->n_adapters);
	s->linears = hth_arena_calloc(&s->arena, n, sizeof(*s->linears));
	s->experts = hth_arena_calloc(&s->arena, n / HTH_LINEAR_COUNT * HTH_EXPERT_PARTS, sizeof(*s->experts));
	s->loras = hth_arena_calloc(&s->arena, n_adapters, sizeof(*s->loras));
	s->replaced = hth_arena_calloc(&s->arena, n_adapters, sizeof(*s->replaced));
	s->flat = hth_arena_calloc(&s->arena, n_flat, sizeof(struct hth_lora *));
	if (s->linears == NULL || s->experts == NULL || s->loras == NULL || s->flat == NULL || s->replaced == NULL)
		return hth_fail_memory(err, "adapters of a model", n * sizeof(*s->linears));
	for (size_t i = 0; i < n; i++) {
		struct hth_lora **list = s->flat + i * n_adapters; /* (n_adapters) */
		for (size_t a = 0; a < n_adapters; a++)
			list[a] = loras[a][i];
		const struct hth_layer *layer = &m->layers[i / HTH_LINEAR_COUNT];
		size_t k = i % HTH_LINEAR_COUNT;
		if (k >= HTH_EXPERTS_GATE) {
			s->experts[i / HTH_LINEAR_COUNT * HTH_EXPERT_PARTS + k - HTH_EXPERTS_GATE] =
				make_experts(layer, (int)(k - HTH_EXPERTS_GATE), list, s->n_adapters);
		} else {
			s->linears[i] = make_linear(layer, k, list, s->n_adapters);
		}
	}
	for (size_t a = 0; a < n_adapters; a++) {
		s->loras[a] = hth_arena_calloc(&s->arena, n, sizeof(struct hth_lora *));
		if (s->loras[a] == NULL)
			return hth_fail_memory(err, "adapters of a model", n * sizeof(struct hth_lora *));
		memcpy(s->loras[a], loras[a], n * sizeof(struct hth_lora *));
	}
	return list_sites(s, n) ? HTH_OK : hth_fail_memory(err, "adapters of a model", n * sizeof(*s->dora));
}

enum hth_status hth_lora_set_init(struct hth_lora_set *s, const struct hth_model *m, struct hth_lora **const *loras,
				  int n_adapters, struct hth_err *err)
{
	*s = (struct hth_lora_set){.n_adapters = n_adapters};
	hth_arena_init(&s->arena, SIZE_MAX / 2);
	if (n_adapters < 0)
		return hth_fail(err, HTH_ERR_LIMIT, "%d adapters at once, expected 0 or more", n_adapters);
	enum hth_status st = fill_set(s, m, loras, (size_t)m->config.n_layers * HTH_LINEAR_COUNT, err);
	if (st == HTH_OK && m->backend != NULL)
		st = hth_lora_set_lengths(s, m, err);
	if (st != HTH_OK)
		hth_lora_set_clear(s);
	return st;
}

void hth_lora_set_clear(struct hth_lora_set *s)
{
	hth_arena_clear(&s->arena);
	*s = (struct hth_lora_set){0};
}

enum hth_status hth_lora_set_lengths(const struct hth_lora_set *s, const struct hth_model *m, struct hth_err *err)
{
	struct hth_exec_config cfg = {.mode = HTH_EXEC_PLAN, .backend = m->backend, .device = m->device};
	struct hth_exec *x = NULL;
	enum hth_status st = HTH_OK;

	if (s->n_dora == 0)
		return HTH_OK;
	cfg.machine.threads = hth_machine_threads();
	if (m->backend->machine != NULL)
		m->backend->machine(m->device, &cfg.machine);
	for (int run = 0; run < 2 && st == HTH_OK; run++) {
		cfg.mode = run ? HTH_EXEC_RUN : HTH_EXEC_PLAN;
		st = hth_exec_new(&cfg, &x, err);
		if (st == HTH_OK)
			st = hth_op_dora_norm(x, s->dora, s->n_dora, err);
		if (st == HTH_OK)
			cfg.arena_bytes = hth_exec_totals(x)->peak_ever_bytes;
		hth_exec_free(x);
		x = NULL;
	}
	return st;
}

/* "self_attn.v_proj is a part of self_attn.qkv_proj" */
static enum hth_status refuse_part(const struct hth_model *m, const char *name, struct hth_err *err)
{
	struct hth_module_part own;
	enum hth_linear_kind k;
	int64_t layer;
	char module[80];

	if (!hth_module_parse(&m->config, name, &layer, &k))
		return HTH_OK;
	hth_module_of_linear(m, layer, k, module, &own);
	return hth_fail(err, HTH_ERR_UNAVAILABLE,
			"adapter: %s is a part of %s in models of family \"%s\", whose adapters are on the whole",
			hth_linear_module(k), strchr(module + strlen("model.layers."), '.') + 1, m->family->name);
}

/* Where a module belongs, or what is wrong with it. */
static enum hth_status check_module(const struct hth_model *m, const struct hth_lora_module *mod,
				    struct hth_module_part part[3], int *n, struct hth_err *err)
{
	int64_t rows = 0, one, cols;
	char shown[128];

	hth_quote(shown, sizeof(shown), mod->name, strlen(mod->name));
	*n = hth_module_parts(m, mod->name, part);
	enum hth_status st = *n == 0 ? refuse_part(m, mod->name, err) : HTH_OK;
	if (st != HTH_OK)
		return st;
	if (*n == 0)
		return hth_fail(err, HTH_ERR_SHAPE,
				"adapter: \"%s\": %s has no such module (%lld layers); was the adapter "
				"trained on another model?",
				shown, m->name, (long long)m->config.n_layers);
	for (int i = 0; i < *n; i++) {
		if (hth_linear_weight(m, part[i].layer, part[i].kind)->data == NULL)
			return hth_fail(err, HTH_ERR_UNAVAILABLE,
					"adapter: \"%s\": layer %lld of %s is a mixture of experts and has no such linear; its "
					"experts are mlp.experts.gate_up_proj and mlp.experts.down_proj",
					shown, (long long)part[i].layer, m->name);
		hth_linear_shape(&m->config, part[i].layer, part[i].kind, &one, &cols);
		rows += one;
	}
	int64_t stack = hth_linear_stack(m, part[0].kind);
	if (mod->experts != (part[0].kind >= HTH_EXPERTS_GATE ? stack : 0))
		return hth_fail(err, HTH_ERR_SHAPE, "adapter: \"%s\": %lld experts, expected %lld as in %s", shown,
				(long long)mod->experts, part[0].kind >= HTH_EXPERTS_GATE ? (long long)stack : 0LL, m->name);
	if (mod->out != rows || mod->in != cols || mod->rank < 1)
		return hth_fail(err, HTH_ERR_SHAPE,
				"adapter: \"%s\": shape (%lld,%lld) of rank %d, expected (%lld,%lld) as in "
				"%s; was the adapter trained on another model?",
				shown, (long long)mod->out, (long long)mod->in, mod->rank, (long long)rows,
				(long long)cols, m->name);
	if (!isfinite(mod->scale))
		return hth_fail(err, HTH_ERR_VALUE, "adapter: \"%s\": scale %g, expected a finite number", shown,
				(double)mod->scale);
	return HTH_OK;
}

/* A parameter of zeros. */
static bool make_param(struct hth_arena *arena, const char *module, const char *part, int64_t rows, int64_t cols,
		       struct hth_param *out)
{
	char name[128];
	int n = snprintf(name, sizeof(name), "%.90s.%s", module, part);
	float *value = hth_arena_calloc(arena, (size_t)(rows * cols), sizeof(*value)); /* (rows, cols) */

	*out = (struct hth_param){
		.name = hth_arena_strndup(arena, name, (size_t)n), .rows = rows, .cols = cols, .value = value};
	return value != NULL && out->name != NULL;
}

static bool copy_param(struct hth_arena *arena, const char *module, const char *part, int64_t rows, int64_t cols,
		       const float *from, struct hth_param *out)
{
	if (!make_param(arena, module, part, rows, cols, out))
		return false;
	memcpy(out->value, from, (size_t)(rows * cols) * sizeof(*from));
	return true;
}

/* B of one part: of each expert, or of the only one, its rows. */
static bool copy_b(const struct hth_model *m, const struct hth_lora_module *mod, const struct hth_module_part *p,
		   const char *name, struct hth_arena *arena, struct hth_param *out)
{
	int64_t stack = hth_linear_stack(m, p->kind), elems = p->rows * mod->rank;
	bool ok = make_param(arena, name, "lora_B.weight", stack * p->rows, mod->rank, out);

	for (int64_t e = 0; ok && e < stack; e++)
		memcpy(out->value + e * elems, mod->b + (e * mod->out + p->first) * mod->rank,
		       (size_t)elems * sizeof(*mod->b));
	return ok;
}

/* The LoRA of one part of a module, whose A is there already in `a`. */
static struct hth_lora *make_lora(const struct hth_model *m, const struct hth_lora_module *mod,
				  const struct hth_module_part *p, uint32_t place, const struct hth_param *a,
				  struct hth_arena *arena)
{
	struct hth_lora *l = hth_arena_calloc(arena, 1, sizeof(*l));
	char own[80];

	if (l == NULL)
		return NULL;
	hth_linear_name(m, p->layer, p->kind, own);
	l->a = *a;
	l->scale = mod->scale;
	l->place = place;
	bool ok = copy_b(m, mod, p, own, arena, &l->b);
	if (ok && mod->mag != NULL) {
		l->norm = hth_arena_calloc(arena, (size_t)p->rows, sizeof(*l->norm));
		ok = l->norm != NULL &&
		     copy_param(arena, own, "lora_magnitude_vector", 1, p->rows, mod->mag + p->first, &l->mag);
	}
	return ok ? l : NULL;
}

/* One parameter's rows or columns in the other order. */
static bool order_param(const struct hth_heads *h, bool tile, bool cols, struct hth_param *p, struct hth_arena *arena)
{
	size_t bytes = (size_t)(p->rows * p->cols) * sizeof(float);
	float *old = hth_arena_calloc(arena, (size_t)(p->rows * p->cols), sizeof(*old)); /* (rows, cols) */

	if (old == NULL)
		return false;
	memcpy(old, p->value, bytes);
	if (!cols)
		hth_heads_order(h, tile, old, p->value, p->rows, p->cols);
	for (int64_t r = 0; cols && r < p->rows; r++)
		hth_heads_order(h, tile, old + r * p->cols, p->value + r * p->cols, p->cols, 1);
	return true;
}

bool hth_lora_order(const struct hth_model *m, enum hth_linear_kind k, bool to_memory, struct hth_lora *l,
		    struct hth_arena *arena)
{
	struct hth_heads rows, cols;

	if (!m->config.delta.tiled || k < HTH_DELTA_QKV || k > HTH_DELTA_OUT)
		return true;
	hth_linear_heads(&m->config, k, &rows, &cols);
	if (hth_heads_move(&cols) && !order_param(&cols, to_memory, true, &l->a, arena))
		return false;
	if (!hth_heads_move(&rows))
		return true;
	return order_param(&rows, to_memory, false, &l->b, arena) &&
	       (l->mag.value == NULL || order_param(&rows, to_memory, true, &l->mag, arena));
}

static enum hth_status add_module(const struct hth_model *m, const struct hth_lora_module *mod, struct hth_arena *arena,
				  struct hth_lora **list, struct hth_err *err)
{
	struct hth_module_part part[3];
	struct hth_param a;
	int n;
	enum hth_status st = check_module(m, mod, part, &n, err);

	if (st != HTH_OK)
		return st;
	int64_t stack = hth_linear_stack(m, part[0].kind);
	bool ok = copy_param(arena, mod->name, "lora_A.weight", stack * mod->rank, mod->in, mod->a, &a);
	/* One dropout mask for all that share an input to A. */
	uint32_t place = (uint32_t)(part[0].layer * 16 + part[0].kind);
	for (int i = 0; i < n && ok; i++) {
		struct hth_lora **slot = &list[part[i].layer * HTH_LINEAR_COUNT + part[i].kind];
		if (*slot != NULL)
			return hth_fail(err, HTH_ERR_FORMAT, "adapter: \"%s\" is there twice", mod->name);
		*slot = make_lora(m, mod, &part[i], place, &a, arena);
		ok = *slot != NULL;
	}
	if (ok && hth_lora_order(m, part[0].kind, true, list[part[0].layer * HTH_LINEAR_COUNT + part[0].kind], arena))
		return HTH_OK;
	return hth_fail_memory(err, "adapter", (size_t)(mod->rank * (mod->in + mod->out)) * sizeof(float));
}

enum hth_status hth_model_loras(const struct hth_model *m, const struct hth_adapter *a, struct hth_arena *arena,
				struct hth_lora ***out, struct hth_err *err)
{
	size_t n = (size_t)m->config.n_layers * HTH_LINEAR_COUNT;
	struct hth_lora **list = hth_arena_calloc(arena, n, sizeof(struct hth_lora *)); /* (linears) */

	*out = NULL;
	if (list == NULL)
		return hth_fail_memory(err, "adapter", n * sizeof(struct hth_lora *));
	for (size_t i = 0; i < a->n_modules; i++) {
		enum hth_status st = add_module(m, &a->modules[i], arena, list, err);
		if (st != HTH_OK)
			return st;
	}
	*out = list;
	return HTH_OK;
}
