/* Reading a prompt and decoding greedily behind it, in the very passes that a session makes (infer/session.c). */
#include "base/rng.h"
#include "cmd/bench.h"
#include "infer/pass.h"

struct rig {
	struct bench_model *s;
	struct hth_pass pass;
	struct hth_state *state;
	struct hth_arena arena; /* of one batch */
	int32_t ids[BENCH_PROMPT_TOKENS];
	int64_t n_decode; /* tokens of a repetition; 0: the prompt is the repetition */
};

/* n tokens that continue the state at `past`; the last one's prediction is wanted. */
static enum hth_status make_batch(struct rig *r, const int32_t *ids, int64_t n, int64_t past, struct hth_batch *b,
				  struct hth_err *err)
{
	hth_arena_reset(&r->arena);
	int32_t *copy = hth_arena_calloc(&r->arena, (size_t)n, sizeof *copy);           /* (T) */
	int32_t *positions = hth_arena_calloc(&r->arena, (size_t)n, sizeof *positions); /* (T) */
	struct hth_segment *segment = hth_arena_calloc(&r->arena, 1, sizeof *segment);
	struct hth_out *wanted = hth_arena_calloc(&r->arena, 1, sizeof *wanted);

	if (copy == NULL || positions == NULL || segment == NULL || wanted == NULL)
		return hth_fail_memory(err, "a batch", (size_t)n * 2 * sizeof *copy);
	for (int64_t i = 0; i < n; i++) {
		copy[i] = ids[i];
		positions[i] = (int32_t)(past + i);
	}
	*segment = (struct hth_segment){
		.len = (int32_t)n, .parent = -1, .past = (int32_t)past, .adapter = -1, .causal = true};
	*wanted = (struct hth_out){.row = (int32_t)(n - 1), .target = -1};
	*b = (struct hth_batch){.n_tokens = (int32_t)n,
				.ids = copy,
				.positions = positions,
				.n_segments = 1,
				.segments = segment,
				.n_outs = 1,
				.outs = wanted,
				.n_states = 1,
				.states = &r->state};
	return hth_batch_finish(b, &r->arena, err);
}

static int64_t capacity(void)
{
	return BENCH_PROMPT_TOKENS + BENCH_DECODE_TOKENS;
}

static enum hth_status run_pass(struct rig *r, const int32_t *ids, int64_t n, int64_t past, const float **logits,
				struct hth_err *err)
{
	struct hth_batch b;
	enum hth_status status = make_batch(r, ids, n, past, &b, err);

	return status == HTH_OK ? hth_pass_run(&r->pass, &b, HTH_FORWARD_LOGITS, logits, err) : status;
}

static void close_rig(struct rig *r)
{
	const struct hth_model *m = r->s->m;

	if (r->state != NULL)
		m->backend->state_free(m->device, r->state);
	hth_pass_clear(&r->pass);
	hth_arena_clear(&r->arena);
}

static enum hth_status open_rig(struct bench_model *s, struct rig *r, struct hth_err *err)
{
	const struct hth_model *m = s->m;
	struct hth_state_shape shape = hth_model_state_shape(m, capacity());
	struct hth_batch b;

	*r = (struct rig){.s = s};
	hth_arena_init(&r->arena, (size_t)1 << 30);
	for (uint64_t i = 0; i < BENCH_PROMPT_TOKENS; i++)
		r->ids[i] =
			(int32_t)hth_rng_below(hth_rng_key(7, HTH_RNG_INIT, 0, 1), i, 0, (uint64_t)m->config.n_vocab);
	enum hth_status status = hth_pass_init(&r->pass, m, NULL, err);
	if (status == HTH_OK)
		status = m->backend->state_new(m->device, &shape, &r->state, err);
	if (status == HTH_OK)
		status = make_batch(r, r->ids, BENCH_PROMPT_TOKENS, 0, &b, err);
	if (status == HTH_OK)
		status = hth_pass_reserve(&r->pass, &b, HTH_FORWARD_LOGITS, err);
	if (status == HTH_OK)
		status = make_batch(r, r->ids, 1, capacity() - 1, &b, err);
	if (status == HTH_OK)
		status = hth_pass_reserve(&r->pass, &b, HTH_FORWARD_LOGITS, err);
	if (status != HTH_OK)
		close_rig(r);
	return status;
}

static int32_t likeliest(const float *logits, int64_t n)
{
	int64_t best = 0;

	for (int64_t i = 1; i < n; i++)
		if (logits[i] > logits[best])
			best = i;
	return (int32_t)best;
}

static enum hth_status repeat(void *ctx, struct hth_err *err)
{
	struct rig *r = ctx;
	const float *logits; /* (1,V) */
	enum hth_status status = HTH_OK;
	int32_t id = r->ids[0];

	if (r->n_decode == 0)
		return run_pass(r, r->ids, BENCH_PROMPT_TOKENS, 0, &logits, err);
	for (int64_t i = 0; i < r->n_decode && status == HTH_OK; i++) {
		status = run_pass(r, &id, 1, BENCH_PROMPT_TOKENS + i, &logits, err);
		if (status == HTH_OK)
			id = likeliest(logits, r->s->m->config.n_vocab);
	}
	return status;
}

static struct hth_exec *exec_of(void *ctx)
{
	return ((struct rig *)ctx)->pass.run;
}

/* Keys and values of so many tokens. */
static double state_bytes(const struct hth_model *m, int64_t tokens)
{
	struct hth_state_shape shape = hth_model_state_shape(m, tokens);

	return (double)m->backend->state_bytes(&shape);
}

enum hth_status bench_infer_plan(const struct bench *b, struct bench_model *s, struct bench_row *row,
				 struct hth_err *err)
{
	const struct hth_model *m = s->m;
	struct hth_exec_config cfg = {.mode = HTH_EXEC_PLAN, .backend = b->backend, .machine = b->machine};
	bool decode = row->what == BENCH_DECODE;
	struct hth_lora_set base = {0};
	struct hth_exec *x = NULL;
	struct rig r = {.s = s};
	struct hth_batch batch;

	hth_arena_init(&r.arena, (size_t)1 << 30);
	enum hth_status status = hth_exec_new(&cfg, &x, err);
	if (status == HTH_OK)
		status = hth_lora_set_init(&base, m, NULL, 0, err);
	for (int64_t i = 0; i < (decode ? row->row_tokens : 1) && status == HTH_OK; i++) {
		status = make_batch(&r, r.ids, decode ? 1 : BENCH_PROMPT_TOKENS, decode ? BENCH_PROMPT_TOKENS + i : 0,
				    &batch, err);
		if (status != HTH_OK)
			break;
		hth_exec_begin(x, false, (struct hth_dropout){0});
		(void)hth_decoder_forward(x, m, &base, &batch, HTH_FORWARD_LOGITS);
		status = hth_exec_end(x, err);
		row->flops += hth_exec_totals(x)->flops;
		if (decode)
			row->bytes += bench_model_weight_bytes(s) + state_bytes(m, BENCH_PROMPT_TOKENS + i + 1);
	}
	if (status == HTH_OK) {
		row->tokens = row->computed = (double)row->row_tokens;
		row->arena_bytes = hth_exec_totals(x)->peak_ever_bytes;
		row->state_bytes = (uint64_t)state_bytes(m, capacity());
	}
	hth_lora_set_clear(&base);
	hth_exec_free(x);
	hth_arena_clear(&r.arena);
	return status;
}

enum hth_status bench_infer_run(const struct bench *b, struct bench_model *s, struct bench_row *row, double seconds,
				struct bench_sample *out, struct hth_err *err)
{
	struct rig r;
	const float *logits;
	enum hth_status status = open_rig(s, &r, err);

	(void)b;
	if (status != HTH_OK)
		return status;
	if (row->what == BENCH_DECODE) { /* decoding begins behind a prompt */
		status = run_pass(&r, r.ids, BENCH_PROMPT_TOKENS, 0, &logits, err);
		r.n_decode = row->row_tokens;
	}
	if (status == HTH_OK)
		status = bench_repeat(&(struct bench_work){repeat, exec_of, &r}, seconds, out, err);
	close_rig(&r);
	return status;
}
