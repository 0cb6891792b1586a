/* LoRA on the experts of a mixture: what the layouts call them, and the two forms of their gate and up.
 *
 * PEFT (target_parameters) adapts transformers 5's stacked parameters: mlp.experts.gate_up_proj, which is gate above up and
 * has one A for both, and down_proj. mlx-lm (LoRASwitchLinear) and llama.cpp (build_lora_mm_id) have gate and up apart. Each
 * form can say the other's: gate and up that share A are two modules with the same A; two that differ are one of both ranks
 * together, whose B has a block for each. Sources: PEFT 0.21 tuners/lora/layer.py (ParamWrapper), tuners_utils.py
 * (_inject_parameters); mlx-lm 0.32 tuner/lora.py, models/switch_layers.py. */
#include "formats/adapter_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct hth_expert_layout hth_expert_layouts[HTH_EXPERT_LAYOUTS] = {
	[HTH_EXPERTS_SWITCH] = {"mlp.experts", "mlp.switch_mlp", "mlp.gate", "mlp.gate", false},
	[HTH_EXPERTS_SPARSE] = {"mlp.experts", "block_sparse_moe.switch_mlp", "mlp.gate", "block_sparse_moe.gate", false},
	[HTH_EXPERTS_PAIRED] = {"mlp.experts", "mlp.experts", "mlp.router", "mlp.router", true},
	[HTH_EXPERTS_BESIDE] = {"experts", "experts.switch_glu", NULL, NULL, false},
};

const char *hth_adapter_projection(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot != NULL ? dot + 1 : name;
}

bool hth_adapter_has_experts(const struct hth_adapter *a)
{
	for (size_t i = 0; i < a->n_modules; i++)
		if (a->modules[i].experts > 0)
			return true;
	return false;
}

/* Versions of llama.cpp multiply by an expert's factor before they add its LoRA, or after. */
bool hth_adapter_is_scaled(const struct hth_expert_layout *layout, const struct hth_lora_module *m)
{
	return layout == &hth_expert_layouts[HTH_EXPERTS_BESIDE] && m->experts > 0 &&
	       strcmp(hth_adapter_projection(m->name), "down_proj") == 0;
}

/* The rest of a path in a layer begins with `block` and a dot; *after: what follows. */
static bool is_in(const char *rest, const char *block, const char **after)
{
	size_t n = block != NULL ? strlen(block) : 0;

	if (n == 0 || strncmp(rest, block, n) != 0 || rest[n] != '.')
		return false;
	*after = rest + n + 1;
	return true;
}

/* NAME up to `rest`, then block and, unless NULL, a dot and last; NULL when memory runs out. */
static const char *renamed(struct hth_arena *arena, const char *name, const char *rest, const char *block,
			   const char *last)
{
	size_t head = (size_t)(rest - name), bytes = head + strlen(block) + (last != NULL ? strlen(last) + 1 : 0) + 1;
	char *out = hth_arena_alloc(arena, bytes);

	if (out != NULL)
		snprintf(out, bytes, "%.*s%s%s%s", (int)head, name, block, last != NULL ? "." : "",
			 last != NULL ? last : "");
	return out;
}

const char *hth_adapter_from_mlx(struct hth_adapter *a, const char *name, bool experts)
{
	const char *rest, *last;

	(void)hth_adapter_layer(name, &rest);
	for (int i = 0; i < HTH_EXPERT_LAYOUTS; i++) {
		const struct hth_expert_layout *l = &hth_expert_layouts[i];
		if (!experts && l->mlx_router != NULL && strcmp(rest, l->mlx_router) == 0)
			return renamed(&a->arena, name, rest, HTH_ADAPTER_ROUTER, NULL);
		if (!experts || !is_in(rest, l->mlx, &last))
			continue;
		a->layout = l;
		return renamed(&a->arena, name, rest, l->peft, last);
	}
	return experts ? NULL : name;
}

const char *hth_adapter_to_mlx(const struct hth_adapter *a, const struct hth_lora_module *m, struct hth_arena *arena)
{
	const char *rest;

	(void)hth_adapter_layer(m->name, &rest);
	if (m->experts > 0)
		return renamed(arena, m->name, rest, a->layout->mlx, hth_adapter_projection(m->name));
	if (a->layout != NULL && a->layout->mlx_router != NULL && hth_adapter_is_router(m->name))
		return renamed(arena, m->name, rest, a->layout->mlx_router, NULL);
	return m->name;
}

bool hth_adapter_is_router(const char *name)
{
	const char *rest;

	return hth_adapter_layer(name, &rest) >= 0 && strcmp(rest, HTH_ADAPTER_ROUTER) == 0;
}

bool hth_adapter_beside(const struct hth_lora_module *x, const struct hth_lora_module *y)
{
	size_t n = (size_t)(hth_adapter_projection(x->name) - x->name);

	return x->experts > 0 && y->experts > 0 && n == (size_t)(hth_adapter_projection(y->name) - y->name) &&
	       memcmp(x->name, y->name, n) == 0;
}

static bool is_called(const struct hth_lora_module *m, const char *projection)
{
	return m->experts > 0 && strcmp(hth_adapter_projection(m->name), projection) == 0;
}

/* The name of m with another projection. */
static const char *sibling(struct hth_arena *arena, const struct hth_lora_module *m, const char *projection)
{
	size_t n = (size_t)(hth_adapter_projection(m->name) - m->name), bytes = n + strlen(projection) + 1;
	char *out = hth_arena_alloc(arena, bytes);

	if (out != NULL)
		snprintf(out, bytes, "%.*s%s", (int)n, m->name, projection);
	return out;
}

/* A copy of a's list with room for two modules where it has one; NULL when memory runs out. */
static struct hth_lora_module *begin_view(const struct hth_adapter *a, struct hth_arena *arena, struct hth_adapter *out)
{
	*out = *a;
	out->n_modules = 0;
	out->rank = 0;
	out->modules = hth_arena_calloc(arena, 2 * a->n_modules, sizeof(*out->modules));
	return out->modules;
}

static void put(struct hth_adapter *out, struct hth_lora_module m)
{
	out->modules[out->n_modules++] = m;
	out->rank = m.rank > out->rank ? m.rank : out->rank;
}

/* Rows `first`.. of each expert's B (E*2F,r) as a module of its own, with the same A. */
static bool take_half(const struct hth_lora_module *m, const char *projection, int64_t first, struct hth_arena *arena,
		      struct hth_lora_module *out)
{
	int64_t rows = m->out / 2, elems = rows * m->rank;

	*out = *m;
	out->name = sibling(arena, m, projection);
	out->out = rows;
	out->b = hth_arena_calloc(arena, (size_t)(m->experts * elems), sizeof(*out->b));
	if (out->name == NULL || out->b == NULL)
		return false;
	for (int64_t e = 0; e < m->experts; e++)
		memcpy(out->b + e * elems, m->b + (e * m->out + first) * m->rank, (size_t)elems * sizeof(*m->b));
	return true;
}

enum hth_status hth_adapter_split(const struct hth_adapter *a, struct hth_arena *arena, struct hth_adapter *out,
				  struct hth_err *err)
{
	if (begin_view(a, arena, out) == NULL)
		return hth_fail_memory(err, "adapter modules", a->n_modules * sizeof(*a->modules));
	for (size_t i = 0; i < a->n_modules; i++) {
		const struct hth_lora_module *m = &a->modules[i];
		struct hth_lora_module half[2];
		if (!is_called(m, "gate_up_proj")) {
			put(out, *m);
			continue;
		}
		if (m->out % 2 != 0)
			return hth_fail(err, HTH_ERR_SHAPE, "module \"%.128s\": %lld rows, expected gate and up, an even number",
					m->name, (long long)m->out);
		if (!take_half(m, "gate_proj", 0, arena, &half[0]) ||
		    !take_half(m, "up_proj", m->out / 2, arena, &half[1]))
			return hth_fail_memory(err, "adapter weights", (size_t)(m->experts * m->out * m->rank) * sizeof(float));
		put(out, half[0]);
		put(out, half[1]);
	}
	return HTH_OK;
}

/* One of the two that make `both`: its rows of A from `rank` on, its block of B. */
static void place_half(const struct hth_lora_module *m, int64_t first, int rank, float factor,
		       struct hth_lora_module *both)
{
	for (int64_t e = 0; e < m->experts; e++) {
		memcpy(both->a + (e * both->rank + rank) * m->in, m->a + e * m->rank * m->in,
		       (size_t)(m->rank * m->in) * sizeof(*m->a));
		for (int64_t n = 0; n < m->out; n++)
			for (int i = 0; i < m->rank; i++)
				both->b[(e * both->out + first + n) * both->rank + rank + i] =
					m->b[(e * m->out + n) * m->rank + i] * factor;
	}
}

/* Do gate and up have one A, as what comes of gate_up_proj has? */
static bool share_a(const struct hth_lora_module *gate, const struct hth_lora_module *up)
{
	return gate != NULL && up != NULL && gate->scale == up->scale && gate->rank == up->rank &&
	       memcmp(gate->a, up->a, (size_t)(gate->experts * gate->rank * gate->in) * sizeof(*gate->a)) == 0;
}

/* Gate and up, or one of them (the other NULL), as gate_up_proj. */
static enum hth_status join(const struct hth_lora_module *gate, const struct hth_lora_module *up, struct hth_arena *arena,
			    struct hth_lora_module *both, struct hth_err *err)
{
	const struct hth_lora_module *any = gate != NULL ? gate : up;
	bool same = gate == NULL || up == NULL || gate->scale == up->scale;

	if (gate != NULL && up != NULL && (gate->in != up->in || gate->out != up->out || gate->experts != up->experts))
		return hth_fail(err, HTH_ERR_SHAPE, "module \"%.128s\": its shape is not that of gate_proj beside it", up->name);
	bool shared = share_a(gate, up);
	*both = *any;
	both->name = sibling(arena, any, "gate_up_proj");
	both->rank = shared ? any->rank : (gate != NULL ? gate->rank : 0) + (up != NULL ? up->rank : 0);
	both->out = 2 * any->out;
	both->scale = same ? any->scale : 1;
	size_t n_a = (size_t)(any->experts * both->rank * any->in), n_b = (size_t)(any->experts * both->out * both->rank);
	both->a = hth_arena_calloc(arena, n_a, sizeof(*both->a)); /* (E*r,C) */
	both->b = hth_arena_calloc(arena, n_b, sizeof(*both->b)); /* (E*2F,r) */
	if (both->name == NULL || both->a == NULL || both->b == NULL)
		return hth_fail_memory(err, "adapter weights", (n_a + n_b) * sizeof(float));
	if (gate != NULL)
		place_half(gate, 0, 0, same ? 1 : gate->scale, both);
	if (up != NULL)
		place_half(up, any->out, gate != NULL && !shared ? gate->rank : 0, same ? 1 : up->scale, both);
	return HTH_OK;
}

/* The matrix of m's experts that has this projection, or NULL. */
static const struct hth_lora_module *find_sibling(const struct hth_adapter *a, const struct hth_lora_module *m,
						  const char *projection)
{
	for (size_t i = 0; i < a->n_modules; i++)
		if (is_called(&a->modules[i], projection) && hth_adapter_beside(m, &a->modules[i]))
			return &a->modules[i];
	return NULL;
}

enum hth_status hth_adapter_join(const struct hth_adapter *a, struct hth_arena *arena, struct hth_adapter *out,
				 struct hth_err *err)
{
	enum hth_status st = HTH_OK;

	if (begin_view(a, arena, out) == NULL)
		return hth_fail_memory(err, "adapter modules", a->n_modules * sizeof(*a->modules));
	for (size_t i = 0; i < a->n_modules && st == HTH_OK; i++) {
		const struct hth_lora_module *m = &a->modules[i];
		struct hth_lora_module both = *m;
		if (is_called(m, "up_proj") && find_sibling(a, m, "gate_proj") != NULL)
			continue;
		if (is_called(m, "gate_proj"))
			st = join(m, find_sibling(a, m, "up_proj"), arena, &both, err);
		else if (is_called(m, "up_proj"))
			st = join(NULL, m, arena, &both, err);
		put(out, both);
	}
	return st;
}

/* --- experts that are modules one by one (PEFT with transformers 4) ------------------------------------------------- */

/* "model.layers.3.block_sparse_moe" .experts. 7 .w1 */
struct single {
	size_t stem;      /* bytes of the name before ".experts." */
	int64_t expert;   /* -1: no such module */
	const char *proj; /* as the value has it */
};

static struct single parse_single(const char *name)
{
	static const char *const names[][2] = {{"gate_proj", "gate_proj"}, {"w1", "gate_proj"},	    {"up_proj", "up_proj"},
					       {"w3", "up_proj"},	   {"down_proj", "down_proj"}, {"w2", "down_proj"}};
	struct single s = {.expert = -1};
	const char *at = strstr(name, ".experts."), *p = at != NULL ? at + strlen(".experts.") : NULL;
	int64_t n = 0, digits = 0;

	for (; p != NULL && *p >= '0' && *p <= '9' && digits < 6; digits++)
		n = n * 10 + (*p++ - '0');
	for (size_t i = 0; digits > 0 && *p == '.' && i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(p + 1, names[i][0]) == 0) {
			s.stem = (size_t)(at - name);
			s.expert = n;
			s.proj = names[i][1];
		}
	return s;
}

static int order_singles(const void *a, const void *b)
{
	const struct hth_lora_module *x = a, *y = b;
	struct single one = parse_single(x->name), two = parse_single(y->name);

	if (one.expert < 0 || two.expert < 0)
		return one.expert < 0 && two.expert < 0 ? strcmp(x->name, y->name) : one.expert < 0 ? -1 : 1;
	if (one.stem != two.stem)
		return one.stem < two.stem ? -1 : 1;
	int by_stem = memcmp(x->name, y->name, one.stem), by_proj = strcmp(one.proj, two.proj);
	if (by_stem != 0 || by_proj != 0)
		return by_stem != 0 ? by_stem : by_proj;
	return one.expert < two.expert ? -1 : one.expert > two.expert;
}

/* The name of all experts' matrix; sets a->layout where nobody has said it. NULL: no memory. */
static const char *stacked_name(struct hth_adapter *a, const char *name, struct single s)
{
	static const char old[] = "block_sparse_moe";
	bool sparse = s.stem >= sizeof(old) - 1 && memcmp(name + s.stem - (sizeof(old) - 1), old, sizeof(old) - 1) == 0;
	size_t head = sparse ? s.stem - (sizeof(old) - 1) : s.stem, bytes = s.stem + sizeof("mlp.experts.") + strlen(s.proj);
	char *out = hth_arena_alloc(&a->arena, bytes);

	if (out != NULL)
		snprintf(out, bytes, "%.*s%s.experts.%s", (int)head, name, sparse ? "mlp" : "", s.proj);
	if (a->layout == NULL)
		a->layout = &hth_expert_layouts[sparse ? HTH_EXPERTS_SPARSE : HTH_EXPERTS_SWITCH];
	return out;
}

/* Experts 0..n-1 at m, as one module into *out. */
static enum hth_status stack(struct hth_adapter *a, const struct hth_lora_module *m, size_t n, struct hth_lora_module *out,
			     struct hth_err *err)
{
	struct hth_lora_module all = *m;
	size_t n_a = (size_t)(m->rank * m->in), n_b = (size_t)(m->rank * m->out);

	for (size_t e = 0; e < n; e++)
		if (parse_single(m[e].name).expert != (int64_t)e || m[e].rank != m->rank || m[e].in != m->in ||
		    m[e].out != m->out || m[e].scale != m->scale || m[e].mag != NULL)
			return hth_fail(err, HTH_ERR_UNAVAILABLE,
					"module \"%.128s\": one of %zu experts' that are not alike; expected experts from 0 on "
					"without gaps, of one rank and scale, without magnitudes",
					m[e].name, n);
	all.experts = (int64_t)n;
	all.name = stacked_name(a, m->name, parse_single(m->name));
	all.a = hth_arena_calloc(&a->arena, n * n_a, sizeof(*all.a)); /* (E*r,C) */
	all.b = hth_arena_calloc(&a->arena, n * n_b, sizeof(*all.b)); /* (E*N,r) */
	if (all.name == NULL || all.a == NULL || all.b == NULL)
		return hth_fail_memory(err, "adapter weights", n * (n_a + n_b) * sizeof(float));
	for (size_t e = 0; e < n; e++) {
		memcpy(all.a + e * n_a, m[e].a, n_a * sizeof(*all.a));
		memcpy(all.b + e * n_b, m[e].b, n_b * sizeof(*all.b));
	}
	*out = all;
	return HTH_OK;
}

enum hth_status hth_adapter_stack(struct hth_adapter *a, struct hth_err *err)
{
	struct hth_lora_module *m = a->modules;
	size_t kept = 0, n = a->n_modules, end;
	enum hth_status st = HTH_OK;

	qsort(m, n, sizeof(*m), order_singles);
	for (size_t i = 0; i < n && st == HTH_OK; i = end) {
		struct single one = parse_single(m[i].name);
		end = i + 1;
		if (one.expert < 0) {
			m[kept++] = m[i];
			continue;
		}
		for (; end < n; end++) {
			struct single next = parse_single(m[end].name);
			if (next.stem != one.stem || strcmp(next.proj, one.proj) != 0 ||
			    memcmp(m[end].name, m[i].name, one.stem) != 0)
				break;
		}
		st = stack(a, &m[i], end - i, &m[kept++], err);
	}
	a->n_modules = kept;
	return st;
}
