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

/* What every layer of one pass needs. */
struct pass {
	struct hth_exec *x;
	const struct hth_model *m;
	const struct hth_linear *linears; /* (L*7) */
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
		.n_kv = c->n_kv,
		.head = c->head,
		.scale = c->attn_scale,
		.soft_cap = c->attn_soft_cap,
		.window = hth_layer_in(&c->windowed, l) ? c->window : 0,
		.sinks = c->sinks ? &m->layers[l].sinks : NULL,
	};
}

/* in (T,G*D), queries or keys, turned by their positions. */
static struct hth_tensor rotate(const struct pass *p, struct hth_tensor in, int64_t l)
{
	const struct hth_model_config *c = &p->m->config;
	bool local = p->m->rope_freq_local != NULL && hth_layer_in(&c->windowed, l);

	if (hth_layer_in(&c->no_rope, l))
		return in;
	return hth_op_rope(p->x, &p->b->all, in, local ? p->m->rope_freq_local : p->m->rope_freq, c->head, c->rot,
			   local ? 1.0f : c->rope_attn);
}

/* in (T,C) -> (T,H*D), before the output projection. */
static struct hth_tensor attend(const struct pass *p, struct hth_tensor in, int64_t l)
{
	const struct hth_layer *w = &p->m->layers[l];
	const struct hth_linear *qkv[3];
	struct hth_tensor out[3]; /* q (T,H*D), k and v (T,K*D) */

	for (int i = 0; i < 3; i++)
		qkv[i] = &p->linears[l * HTH_LINEAR_COUNT + HTH_Q + i];
	hth_op_linear(p->x, &p->b->all, in, qkv, 3, out);
	struct hth_tensor q = rotate(p, maybe_norm(p, out[HTH_Q], &w->q_norm), l);
	struct hth_tensor k = rotate(p, maybe_norm(p, out[HTH_K], &w->k_norm), l);
	struct hth_attention_shape shape = attention_shape(p->m, l);
	return hth_op_attention(p->x, p->b, (int32_t)l, &shape, q, k, out[HTH_V]);
}

/* in (R,C) -> (R,C): each row through the experts that its router chooses. */
static struct hth_tensor expert_forward(const struct pass *p, const struct hth_rowset *rows, struct hth_tensor in,
					int64_t l)
{
	const struct hth_model_config *c = &p->m->config;
	const struct hth_layer *w = &p->m->layers[l];
	const struct hth_linear *router = &w->router;
	const struct hth_expert_set *gate_up[2] = {&w->experts[HTH_EXPERT_GATE], &w->experts[HTH_EXPERT_UP]};
	struct hth_tensor logits, out[2]; /* (R,E); (R*k,F) */

	hth_op_linear(p->x, rows, hth_keep(p->x, in), &router, 1, &logits);
	struct hth_routing r = hth_op_route(p->x, logits, c->n_chosen, c->route_normalise);
	hth_op_experts_up(p->x, in, hth_routing_keep(p->x, r), gate_up, 2, out);
	return hth_op_experts_down(p->x, hth_op_gated(p->x, c->act, out[0], out[1]), r, &w->experts[HTH_EXPERT_DOWN]);
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
	if (p->m->config.n_shared_ff == 0)
		return expert_forward(p, rows, in, l);
	struct hth_tensor y = expert_forward(p, rows, hth_keep(p->x, in), l);
	hth_op_linear(p->x, rows, hth_keep(p->x, in), &shared_gate, 1, &weight);
	return hth_op_add(p->x, y, hth_op_row_gate(p->x, dense_forward(p, rows, in, l), weight), 1);
}

/* h (T,C) -> (R,C) in the last layer, else (T,C). */
static struct hth_tensor layer(const struct pass *p, struct hth_tensor h, int64_t l)
{
	const struct hth_model_config *c = &p->m->config;
	const struct hth_layer *w = &p->m->layers[l];
	const struct hth_rowset *rows = l + 1 == c->n_layers ? &p->b->wanted : &p->b->all;

	struct hth_tensor y = attend(p, maybe_norm(p, hth_keep(p->x, h), &w->attn_norm), l);
	if (rows->n != p->b->n_tokens) {
		y = hth_op_gather(p->x, y, rows);
		h = hth_op_gather(p->x, h, rows);
	}
	y = maybe_norm(p, linear(p, rows, y, l, HTH_O), &w->attn_post_norm);
	h = hth_op_add(p->x, h, y, c->residual_scale);

	y = feed_forward(p, rows, maybe_norm(p, hth_keep(p->x, h), &w->ffn_norm), l);
	y = maybe_norm(p, y, &w->ffn_post_norm);
	return hth_op_add(p->x, h, y, c->residual_scale);
}

/* A layer as a span: a training step may run it again instead of keeping what is inside. */
struct layer_at {
	struct pass p;
	int64_t l;
};

static void layer_span(struct hth_exec *x, const void *ctx, const struct hth_tensor *in, struct hth_tensor *out)
{
	const struct layer_at *at = ctx;

	(void)x;
	out[0] = layer(&at->p, in[0], at->l);
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
	struct pass p = {.x = x, .m = m, .linears = loras->linears, .b = b};

	if (!pick_replacements(&p, loras))
		return HTH_NO_TENSOR;
	/* Of a tied pair the embedding is the one that is prepared and trained, unless an adapter has its own head. */
	const struct hth_weight *own = now(&p, &m->head, true);
	const struct hth_head head = {.w = c->tied && own == &m->head ? &m->embed : own,
				      .scale = c->logit_scale,
				      .soft_cap = c->logit_soft_cap};

	struct hth_tensor h = hth_op_embed(x, b, now(&p, &m->embed, false), c->embed_scale); /* (T,C) */
	for (int64_t l = 0; l < c->n_layers; l++) {
		struct layer_at at = {.p = p, .l = l};
		hth_op_span(x, layer_span, &at, sizeof at, &h, 1, &h, 1);
	}
	h = norm(&p, h, &m->final_norm); /* (R,C) */
	return what == HTH_FORWARD_LOGITS ? hth_op_logits(x, h, &head) : hth_op_logp(x, b, h, &head);
}
