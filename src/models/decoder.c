/* The forward pass of every decoder here, said once. What differs between families is data: flags of
 * struct hth_model_config, and weights that are there or not.
 *
 *	h = embed(ids)                                        (T,C)
 *	each layer: h = h + attention(norm(h));  h = h + feed_forward(norm(h))
 *	head(norm(h)) on the rows whose prediction is wanted  (R,C)
 *
 * The last layer computes keys and values of all T rows, since the wanted rows look at them, but everything behind
 * its attention only for the R wanted rows: for a chat that is one row of a prompt, in training the targets.
 *
 * Ops consume their inputs (ops/exec.h); hth_keep stands where a value is used again. Gradients follow from the tape.
 */
#include "models/model.h"

#include <math.h>

/* What every layer of one pass needs. */
struct pass {
	struct hth_exec *x;
	const struct hth_model *m;
	const struct hth_linear *linears; /* (linears) */
	const struct hth_expert_set *experts; /* (layers * HTH_EXPERT_PARTS), or NULL */
	const struct hth_replacements *replaced; /* of this batch's adapter, or NULL */
	const struct hth_batch *b;
};

/* The weight that this pass uses in place of the base's w. A tied head has the embedding's data. */
static const struct hth_weight *now(const struct pass *p, const struct hth_weight *w, bool head)
{
	for (size_t i = 0; p->replaced != NULL && i < p->replaced->n; i++)
		if (p->replaced->list[i].head == head && p->replaced->list[i].of->data == w->data)
			return &p->replaced->list[i].with;
	return w;
}

static struct hth_tensor norm(const struct pass *p, struct hth_tensor in, const struct hth_weight *w)
{
	const struct hth_model_config *c = &p->m->config;
	struct hth_norm n = {
		.kind = c->norm, .eps = c->norm_eps, .offset = c->norm_offset, .w = now(p, w, false)};

	/* A norm narrower than its input repeats over the heads. */
	return hth_op_norm(p->x, in, &n, w->cols);
}

static struct hth_tensor maybe_norm(const struct pass *p, struct hth_tensor in, const struct hth_weight *w)
{
	return w->data != NULL ? norm(p, in, w) : in;
}

static struct hth_tensor linear(const struct pass *p, const struct hth_rowset *rows, struct hth_tensor in, int64_t l,
				enum hth_linear_kind k)
{
	const struct hth_linear *member = &p->linears[l * HTH_LINEAR_COUNT + k];
	struct hth_tensor out;

	hth_op_linear(p->x, rows, in, &member, 1, &out);
	return out;
}

static struct hth_attention_shape attention_shape(const struct hth_model *m, int64_t l)
{
	const struct hth_model_config *c = &m->config;

	return (struct hth_attention_shape){
		.n_head = c->n_head,
		.n_kv = hth_layer_kv(c, l),
		.head = hth_layer_head(c, l),
		.scale = c->attn_scale,
		.soft_cap = c->attn_soft_cap,
		.window = hth_layer_in(&c->windowed, l) ? c->window : 0,
		.sinks = c->sinks ? &m->layers[l].sinks : NULL,
	};
}

/* in (T,G*D), keys, or queries of the growth given, turned by their positions. */
static struct hth_tensor rotate(const struct pass *p, struct hth_tensor in, int64_t l, float growth)
{
	const struct hth_model_config *c = &p->m->config;
	bool local = p->m->rope_freq_local != NULL && hth_layer_in(&c->windowed, l);
	const struct hth_rotation how = {.freq = local ? p->m->rope_freq_local : p->m->rope_freq,
					 .head = hth_layer_head(c, l),
					 .rot = hth_rope_columns(c, local),
					 .attn_scale = local ? 1.0f : c->rope_attn,
					 .freq_beyond = local ? NULL : p->m->rope_freq_beyond,
					 .growth = growth,
					 .original = c->rope_original};

	return hth_layer_in(&c->no_rope, l) ? in : hth_op_rope(p->x, &p->b->all, in, &how);
}

static struct hth_tensor rotate_queries(const struct pass *p, struct hth_tensor q, int64_t l)
{
	return rotate(p, maybe_norm(p, q, &p->m->layers[l].q_norm), l, p->m->config.query_growth);
}

/* Keys and values of a layer, (T,K*D). */
struct keys {
	struct hth_tensor k, v;
};

/* q (T,H*D), k and v (T,K*D) of a layer that has all of them: raw, as the linears give them. */
static void project(const struct pass *p, struct hth_tensor in, int64_t l, struct hth_tensor out[3])
{
	const struct hth_linear *qkv[3];
	int n = hth_layer_has_v(&p->m->config, l) ? 3 : 2;

	for (int i = 0; i < n; i++)
		qkv[i] = &p->linears[l * HTH_LINEAR_COUNT + HTH_Q + i];
	hth_op_linear(p->x, &p->b->all, in, qkv, n, out);
	if (n == 2)
		out[HTH_V] = hth_keep(p->x, out[HTH_K]);
}

static struct hth_tensor value_norm(const struct pass *p, struct hth_tensor v, int64_t l)
{
	const struct hth_model_config *c = &p->m->config;
	struct hth_norm n = {.kind = c->norm, .eps = c->norm_eps};

	return c->values_normed ? hth_op_norm(p->x, v, &n, hth_layer_head(c, l)) : v;
}

/* in (T,C) -> (T,H*D), before the output projection. given: what a layer without keys of its own attends to, consumed.
 * made: filled with a layer's own where somebody else wants them, else NULL. */
static struct hth_tensor attend(const struct pass *p, struct hth_tensor in, int64_t l, const struct keys *given,
				struct keys *made)
{
	struct hth_attention_shape shape = attention_shape(p->m, l);
	int32_t state_layer = p->m->layers[hth_layer_of_keys(&p->m->config, l)].slot;
	struct hth_tensor out[3], gate = HTH_NO_TENSOR; /* q (T,H*D), k and v (T,K*D); (T,H*D) */

	if (given != NULL) {
		shape.shared = true;
		struct hth_tensor q = rotate_queries(p, linear(p, &p->b->all, in, l, HTH_Q), l);
		return hth_op_attention(p->x, p->b, state_layer, &shape, q, given->k, given->v);
	}
	project(p, in, l, out);
	if (p->m->config.attn_gate) {
		gate = hth_op_slice(p->x, hth_keep(p->x, out[HTH_Q]), 2 * shape.head, shape.head, shape.head);
		out[HTH_Q] = hth_op_slice(p->x, out[HTH_Q], 2 * shape.head, 0, shape.head);
	}
	struct hth_tensor q = rotate_queries(p, out[HTH_Q], l);
	struct hth_tensor k = rotate(p, maybe_norm(p, out[HTH_K], &p->m->layers[l].k_norm), l, 0);
	struct hth_tensor v = value_norm(p, out[HTH_V], l);
	if (made != NULL)
		*made = (struct keys){hth_keep(p->x, k), hth_keep(p->x, v)};
	struct hth_tensor y = hth_op_attention(p->x, p->b, state_layer, &shape, q, k, v);
	return hth_tensor_is(gate) ? hth_op_gated(p->x, HTH_ACT_SIGMOID, gate, y) : y;
}

/* The same of a layer that recurs: in (T,C) -> (T,Vh*Dv). */
static struct hth_tensor recur(const struct pass *p, struct hth_tensor in, int64_t l)
{
	static const enum hth_linear_kind kinds[4] = {HTH_DELTA_QKV, HTH_DELTA_Z, HTH_DELTA_B, HTH_DELTA_A};
	const struct hth_model_config *c = &p->m->config;
	const struct hth_layer *w = &p->m->layers[l];
	const struct hth_delta delta = {.shape = c->delta, .a_log = &w->a_log, .dt = &w->dt};
	const struct hth_norm n = {.kind = HTH_NORM_RMS, .eps = c->norm_eps, .w = now(p, &w->delta_norm, false)};
	const struct hth_linear *member[4];
	struct hth_tensor out[4]; /* (T,2*Kh*Dk+Vh*Dv), (T,Vh*Dv), (T,Vh), (T,Vh) */

	for (int i = 0; i < 4; i++)
		member[i] = &p->linears[l * HTH_LINEAR_COUNT + kinds[i]];
	hth_op_linear(p->x, &p->b->all, in, member, 4, out);
	struct hth_tensor qkv = hth_op_conv(p->x, p->b, w->slot, out[0], &w->conv, c->conv_taps);
	struct hth_tensor y = hth_op_delta(p->x, p->b, w->slot, &delta, qkv, out[3], out[2]); /* (T,Vh*Dv) */
	return hth_op_gated(p->x, HTH_ACT_SILU, out[1], hth_op_norm(p->x, y, &n, c->delta.value));
}

/* in (R,C) -> (R,E) */
static struct hth_tensor router_logits(const struct pass *p, const struct hth_rowset *rows, struct hth_tensor in, int64_t l)
{
	const struct hth_linear *router = &p->linears[l * HTH_LINEAR_COUNT + HTH_ROUTER];
	struct hth_tensor logits;

	hth_op_linear(p->x, rows, in, &router, 1, &logits);
	return logits;
}

/* in (R,C) -> (R,C): each row through the experts of its largest logits (R,E). */
static struct hth_tensor expert_forward(const struct pass *p, const struct hth_rowset *rows, struct hth_tensor in,
					struct hth_tensor logits, int64_t l)
{
	const struct hth_model_config *c = &p->m->config;
	const struct hth_layer *w = &p->m->layers[l];
	const struct hth_expert_set *set = &p->experts[l * HTH_EXPERT_PARTS];
	const struct hth_expert_set *gate_up[2] = {&set[HTH_EXPERT_GATE], &set[HTH_EXPERT_UP]};
	const struct hth_weight *scale = w->expert_scale.data != NULL ? &w->expert_scale : NULL;
	struct hth_tensor out[2]; /* (R*k,F) */

	struct hth_routing r = hth_op_route(p->x, logits, c->n_chosen, c->route_normalise, scale);
	hth_op_experts_up(p->x, rows, in, hth_routing_keep(p->x, r), gate_up, 2, out);
	return hth_op_experts_down(p->x, rows, hth_op_gated(p->x, c->act, out[0], out[1]), r, &set[HTH_EXPERT_DOWN]);
}

/* in (R,C) -> (R,C) through gate, up and down. */
static struct hth_tensor dense_forward(const struct pass *p, const struct hth_rowset *rows, struct hth_tensor in,
				       int64_t l)
{
	const struct hth_linear *gate_up[2] = {&p->linears[l * HTH_LINEAR_COUNT + HTH_GATE],
					       &p->linears[l * HTH_LINEAR_COUNT + HTH_UP]};
	struct hth_tensor out[2]; /* (R,F) */

	hth_op_linear(p->x, rows, in, gate_up, 2, out);
	return linear(p, rows, hth_op_gated(p->x, p->m->config.act, out[0], out[1]), l, HTH_DOWN);
}

/* in (R,C) -> (R,C) */
static struct hth_tensor feed_forward(const struct pass *p, const struct hth_rowset *rows, struct hth_tensor in,
				      int64_t l)
{
	const struct hth_linear *shared_gate = &p->m->layers[l].shared_gate;
	struct hth_tensor weight; /* (R,1) */

	if (!hth_layer_in(&p->m->config.sparse, l))
		return dense_forward(p, rows, in, l);
	struct hth_tensor y = expert_forward(p, rows, hth_keep(p->x, in), router_logits(p, rows, hth_keep(p->x, in), l), l);
	if (p->m->config.n_shared_ff == 0) {
		hth_drop(p->x, in);
		return y;
	}
	hth_op_linear(p->x, rows, hth_keep(p->x, in), &shared_gate, 1, &weight);
	return hth_op_add(p->x, y, hth_op_row_gate(p->x, dense_forward(p, rows, in, l), weight), 1);
}

/* h (R,C) -> (R,C): the dense block and the experts side by side, each between norms of its own; the router has a third
 * one, and its logits are divided by sqrt(C). */
static struct hth_tensor both_forward(const struct pass *p, const struct hth_rowset *rows, struct hth_tensor h, int64_t l)
{
	const struct hth_layer *w = &p->m->layers[l];
	struct hth_tensor dense = norm(p, hth_keep(p->x, h), &w->ffn_norm);

	dense = norm(p, dense_forward(p, rows, dense, l), &w->dense_post_norm);
	struct hth_tensor logits = router_logits(p, rows, norm(p, hth_keep(p->x, h), &w->router_norm), l);
	logits = hth_op_scale(p->x, logits, 1 / sqrtf((float)p->m->config.width));
	struct hth_tensor y = expert_forward(p, rows, norm(p, h, &w->expert_norm), logits, l);
	return hth_op_add(p->x, dense, norm(p, y, &w->expert_post_norm), 1);
}

/* The input that layer l has of its own, (R,P): its columns of a second embedding and a map of the first one, text
 * (T,C), which is consumed. The map's result stands for one divided by sqrt(C): its norm has that in its epsilon. */
static struct hth_tensor own_input(const struct pass *p, const struct hth_rowset *rows, struct hth_tensor text, int64_t l)
{
	const struct hth_model_config *c = &p->m->config;
	const struct hth_own_input *own = &p->m->layers[l].own;
	const struct hth_linear *project = &own->linear[HTH_OWN_PROJECT];
	struct hth_norm n = {.kind = c->norm,
			     .eps = c->norm_eps * (float)c->width,
			     .offset = c->norm_offset,
			     .w = now(p, &p->m->own_norm, false)};
	struct hth_tensor e, mapped; /* (R,P) */

	e = hth_op_embed(p->x, p->b, &own->embed, sqrtf((float)c->n_own / 2));
	if (rows->n != p->b->n_tokens) {
		e = hth_op_gather(p->x, e, rows);
		text = hth_op_gather(p->x, text, rows);
	}
	hth_op_linear(p->x, rows, text, &project, 1, &mapped);
	return hth_op_add(p->x, e, hth_op_norm(p->x, mapped, &n, c->n_own), sqrtf(0.5f));
}

/* h (R,C) -> (R,C), text consumed */
static struct hth_tensor add_own_input(const struct pass *p, const struct hth_rowset *rows, struct hth_tensor h,
				       struct hth_tensor text, int64_t l)
{
	const struct hth_own_input *own = &p->m->layers[l].own;
	const struct hth_linear *gate = &own->linear[HTH_OWN_GATE], *back = &own->linear[HTH_OWN_OUT];
	struct hth_tensor y; /* (R,P), then (R,C) */

	hth_op_linear(p->x, rows, hth_keep(p->x, h), &gate, 1, &y);
	y = hth_op_gated(p->x, p->m->config.act, y, own_input(p, rows, text, l));
	hth_op_linear(p->x, rows, y, &back, 1, &y);
	return hth_op_add(p->x, h, norm(p, y, &own->norm), 1);
}

/* A layer as a span: a training step may run it again instead of keeping what is inside. */
struct layer_at {
	struct pass p;
	int64_t l;
	bool makes; /* its keys and values are wanted by later layers */
};

/* in: h (T,C); the text's embedding (T,C) where layers have inputs of their own; keys and values where the layer has none.
 * out: h, (R,C) in the last layer, else (T,C); keys and values if it makes some. */
static void layer(struct hth_exec *x, const void *ctx, const struct hth_tensor *in, struct hth_tensor *out)
{
	const struct layer_at *at = ctx;
	const struct pass *p = &at->p;
	const struct hth_model_config *c = &p->m->config;
	const struct hth_layer *w = &p->m->layers[at->l];
	const struct hth_rowset *rows = at->l + 1 == c->n_layers ? &p->b->wanted : &p->b->all;
	struct hth_tensor h = *in++, text = c->n_own > 0 ? *in++ : HTH_NO_TENSOR, y;
	struct keys given = {HTH_NO_TENSOR, HTH_NO_TENSOR}, made;
	bool shares = hth_layer_shares(c, at->l), recurrent = hth_layer_in(&c->recurrent, at->l);

	if (shares)
		given = (struct keys){in[0], in[1]};
	y = maybe_norm(p, hth_keep(x, h), &w->attn_norm);
	y = recurrent ? recur(p, y, at->l)
		      : attend(p, y, at->l, shares ? &given : NULL, at->makes ? &made : NULL);
	if (rows->n != p->b->n_tokens) {
		y = hth_op_gather(x, y, rows);
		h = hth_op_gather(x, h, rows);
	}
	y = maybe_norm(p, linear(p, rows, y, at->l, recurrent ? HTH_DELTA_OUT : HTH_O), &w->attn_post_norm);
	h = hth_op_add(x, h, y, c->residual_scale);

	y = c->experts_beside ? both_forward(p, rows, hth_keep(x, h), at->l)
			      : feed_forward(p, rows, maybe_norm(p, hth_keep(x, h), &w->ffn_norm), at->l);
	y = maybe_norm(p, y, &w->ffn_post_norm);
	h = hth_op_add(x, h, y, c->residual_scale);
	if (c->n_own > 0)
		h = add_own_input(p, rows, h, text, at->l);
	if (w->out_scale.data != NULL)
		h = hth_op_scale(x, h, *(const float *)(const void *)w->out_scale.data);
	out[0] = h;
	if (at->makes) {
		out[1] = made.k;
		out[2] = made.v;
	}
}

/* h (T,C) -> (R,C): all layers. */
static struct hth_tensor layers(const struct pass *p, struct hth_tensor h)
{
	const struct hth_model_config *c = &p->m->config;
	struct hth_tensor text = c->n_own > 0 ? hth_keep(p->x, h) : HTH_NO_TENSOR;
	/* Of the last layer that has keys, with the window and without: for those that have none. */
	struct keys keys[2] = {{HTH_NO_TENSOR, HTH_NO_TENSOR}, {HTH_NO_TENSOR, HTH_NO_TENSOR}};

	for (int64_t l = 0; l < c->n_layers; l++) {
		struct keys *of = &keys[hth_layer_in(&c->windowed, l)];
		struct layer_at at = {.p = *p, .l = l, .makes = hth_layer_is_shared(c, l)};
		struct hth_tensor t[HTH_SPAN_TENSORS] = {h}, out[3] = {HTH_NO_TENSOR, HTH_NO_TENSOR, HTH_NO_TENSOR};
		int n = 1;
		if (c->n_own > 0)
			t[n++] = hth_keep(p->x, text);
		if (hth_layer_shares(c, l)) {
			t[n++] = hth_keep(p->x, of->k);
			t[n++] = hth_keep(p->x, of->v);
		}
		hth_op_span(p->x, layer, &at, sizeof at, t, n, out, at.makes ? 3 : 1);
		h = out[0];
		if (at.makes)
			*of = (struct keys){out[1], out[2]};
	}
	hth_drop(p->x, text);
	for (int i = 0; i < 2; i++) {
		hth_drop(p->x, keys[i].k);
		hth_drop(p->x, keys[i].v);
	}
	return h;
}

/* One set of weights serves a batch: adapters that bring their own do not mix with others. */
static bool pick_replacements(struct pass *p, const struct hth_lora_set *loras)
{
	const struct hth_batch *b = p->b;

	for (int32_t i = 0; i < b->n_segments; i++) {
		int32_t a = b->segments[i].adapter;
		const struct hth_replacements *r = a >= 0 && a < loras->n_adapters ? loras->replaced[a] : NULL;
		if (i > 0 && r != p->replaced) {
			hth_exec_fail(p->x, HTH_ERR_UNAVAILABLE,
				      "a batch mixes an adapter that replaces weights (modules_to_save) with others");
			return false;
		}
		p->replaced = r;
	}
	return true;
}

struct hth_tensor hth_decoder_forward(struct hth_exec *x, const struct hth_model *m, const struct hth_lora_set *loras,
				      const struct hth_batch *b, enum hth_forward what)
{
	const struct hth_model_config *c = &m->config;
	struct pass p = {.x = x, .m = m, .linears = loras->linears, .experts = loras->experts, .b = b};

	if (!pick_replacements(&p, loras))
		return HTH_NO_TENSOR;
	/* Of a tied pair the embedding is the one that is prepared and trained, unless an adapter has its own head. */
	const struct hth_weight *own = now(&p, &m->head, true);
	const struct hth_head head = {.w = c->tied && own == &m->head ? &m->embed : own,
				      .scale = c->logit_scale,
				      .soft_cap = c->logit_soft_cap};

	struct hth_tensor h = hth_op_embed(x, b, now(&p, &m->embed, false), c->embed_scale); /* (T,C) */
	h = layers(&p, h);
	h = norm(&p, h, &m->final_norm); /* (R,C) */
	return what == HTH_FORWARD_LOGITS ? hth_op_logits(x, h, &head) : hth_op_logp(x, b, h, &head);
}
