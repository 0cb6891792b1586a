/* Sessions: the state of every layer after a list of tokens, and how it moves on. A prompt is read in chunks; a token
 * is a chunk of one. The arena is planned when the session is made, for a full chunk and for one token at the far end
 * of the context; a rest of another length is planned when it comes.
 *
 * Rows of the state past `n` are leftovers of earlier prompts: no attention looks at them, and they are written over.
 * A model may rotate sequences beyond its original context otherwise (LongRoPE). Keys of both kinds do not mix, so a
 * session that grows past that length, or comes back below it, reads all of its tokens again.
 * Layers that recur cannot look at less than all they have seen: a prompt that begins like the last one goes back to where
 * the state remembers them (backend/recurrent.h), and what lies between is computed again. */
#include "infer/session.h"

#include "base/log.h"
#include "base/mem.h"
#include "infer/pass.h"

enum { DEFAULT_CAPACITY = 4096, DEFAULT_CHUNK = 512, LAST_TOKENS = 16 };
/* Rows of a state are counted in int32, and so are positions. */
#define MAX_CAPACITY ((int64_t)1 << 28)

struct hth_session {
	struct hth_model *model; /* borrowed */
	struct hth_pass pass;
	struct hth_state *state;
	struct hth_arena arena; /* of one batch */
	int32_t *ids;           /* (capacity) what the state has seen: n of them */
	int64_t n, capacity, chunk;
	int32_t adapter;
	bool recurs; /* some layers do */
	bool beyond; /* the state holds keys of a sequence beyond the original context */
};

/* One segment of n tokens that continues the state at `past`; its last row is wanted. */
static enum hth_status make_batch(struct hth_session *s, const int32_t *ids, int64_t n, int64_t past,
				  struct hth_batch *b, struct hth_err *err)
{
	hth_arena_reset(&s->arena);
	int32_t *copy = hth_arena_calloc(&s->arena, (size_t)n, sizeof(*copy));           /* (T) */
	int32_t *positions = hth_arena_calloc(&s->arena, (size_t)n, sizeof(*positions)); /* (T) */
	struct hth_segment *segment = hth_arena_calloc(&s->arena, 1, sizeof(*segment));
	struct hth_out *wanted = hth_arena_calloc(&s->arena, 1, sizeof(*wanted));

	if (copy == NULL || positions == NULL || segment == NULL || wanted == NULL)
		return hth_fail_memory(err, "a batch of a session", (size_t)n * 2 * sizeof(*copy));
	for (int64_t i = 0; i < n; i++) {
		copy[i] = ids != NULL ? ids[i] : 0;
		positions[i] = (int32_t)(past + i);
	}
	*segment = (struct hth_segment){.start = 0,
					.len = (int32_t)n,
					.parent = -1,
					.state = 0,
					.past = (int32_t)past,
					.adapter = s->adapter,
					.causal = true,
					.beyond = s->beyond};
	*wanted = (struct hth_out){.row = (int32_t)(n - 1), .target = -1};
	*b = (struct hth_batch){.n_tokens = (int32_t)n,
				.ids = copy,
				.positions = positions,
				.n_segments = 1,
				.segments = segment,
				.n_outs = 1,
				.outs = wanted,
				.n_states = 1,
				.states = &s->state};
	return hth_batch_finish(b, &s->arena, err);
}

static enum hth_status reserve(struct hth_session *s, int64_t n, int64_t past, struct hth_err *err)
{
	struct hth_batch b;
	enum hth_status st = make_batch(s, NULL, n, past, &b, err);

	return st == HTH_OK ? hth_pass_reserve(&s->pass, &b, HTH_FORWARD_LOGITS, err) : st;
}

static enum hth_status new_state(struct hth_session *s, enum hth_state_type type, struct hth_err *err)
{
	struct hth_state_shape shape = hth_model_state_shape(s->model, s->capacity);

	s->recurs = shape.recurrent.n_layers > 0;
	shape.type = type;
	return s->model->backend->state_new(s->model->device, &shape, &s->state, err);
}

static enum hth_status check_config(const struct hth_model *m, const struct hth_session_config *cfg,
				    struct hth_err *err)
{
	int n_adapters = cfg->loras != NULL ? cfg->loras->n_adapters : 0;

	if (m->backend == NULL)
		return hth_fail(err, HTH_ERR_USAGE, "%s: the model is not on a device yet", m->path);
	if (cfg->adapter < -1 || cfg->adapter >= n_adapters)
		return hth_fail(err, HTH_ERR_USAGE, "session: adapter %d, expected -1..%d", cfg->adapter,
				n_adapters - 1);
	if (cfg->capacity < 0 || cfg->capacity > MAX_CAPACITY)
		return hth_fail(err, HTH_ERR_USAGE, "session: context of %lld tokens, expected 1..%lld",
				(long long)cfg->capacity, (long long)MAX_CAPACITY);
	if (cfg->prompt_chunk < 0)
		return hth_fail(err, HTH_ERR_USAGE, "session: prompt chunk of %lld rows, expected 1 or more",
				(long long)cfg->prompt_chunk);
	if (cfg->capacity > m->config.context)
		hth_warn("a context of %lld tokens is more than the %lld that %s was trained on",
			 (long long)cfg->capacity, (long long)m->config.context, m->name);
	return HTH_OK;
}

enum hth_status hth_session_new(struct hth_model *model, const struct hth_session_config *cfg, struct hth_session **out,
				struct hth_err *err)
{
	struct hth_session *s = NULL;
	enum hth_status st = check_config(model, cfg, err);

	*out = NULL;
	if (st != HTH_OK)
		return st;
	s = hth_calloc(1, sizeof(*s));
	if (s == NULL)
		return hth_fail_memory(err, "a session", sizeof(*s));
	s->model = model;
	s->adapter = cfg->adapter;
	s->capacity = cfg->capacity > 0                          ? cfg->capacity
		      : model->config.context < DEFAULT_CAPACITY ? model->config.context
								 : DEFAULT_CAPACITY;
	s->chunk = cfg->prompt_chunk > 0 ? cfg->prompt_chunk : DEFAULT_CHUNK;
	if (s->chunk > s->capacity)
		s->chunk = s->capacity;
	hth_arena_init(&s->arena, SIZE_MAX / 2);
	s->ids = hth_calloc((size_t)s->capacity, sizeof(*s->ids));
	if (s->ids == NULL) {
		st = hth_fail_memory(err, "a session", (size_t)s->capacity * sizeof(*s->ids));
		goto done;
	}
	if ((st = hth_pass_init(&s->pass, model, cfg->loras, err)) != HTH_OK || (st = new_state(s, cfg->kv_type, err)) != HTH_OK ||
	    (st = reserve(s, s->chunk, s->capacity - s->chunk, err)) != HTH_OK ||
	    (st = reserve(s, 1, s->capacity - 1, err)) != HTH_OK)
		goto done;
	*out = s;
	s = NULL;
done:
	hth_session_free(s);
	return st;
}

void hth_session_free(struct hth_session *s)
{
	if (s == NULL)
		return;
	if (s->state != NULL)
		s->model->backend->state_free(s->model->device, s->state);
	hth_pass_clear(&s->pass);
	hth_arena_clear(&s->arena);
	hth_free(s->ids);
	hth_free(s);
}

/* Appends n <= chunk tokens. After a failure the state stands where it stood before them. */
static enum hth_status append(struct hth_session *s, const int32_t *ids, int64_t n, const float **logits,
			      struct hth_err *err)
{
	struct hth_batch b;
	enum hth_status st = make_batch(s, ids, n, s->n, &b, err);

	if (st == HTH_OK && n != 1 && n != s->chunk)
		st = hth_pass_reserve(&s->pass, &b, HTH_FORWARD_LOGITS, err);
	if (st == HTH_OK)
		st = hth_pass_run(&s->pass, &b, HTH_FORWARD_LOGITS, logits, err);
	if (st == HTH_ERR_LIMIT) {
		/* A backend whose scratch is not largest at the far end. What a pass writes it may write again. */
		st = hth_pass_reserve(&s->pass, &b, HTH_FORWARD_LOGITS, err);
		if (st == HTH_OK)
			st = hth_pass_run(&s->pass, &b, HTH_FORWARD_LOGITS, logits, err);
	}
	if (st != HTH_OK)
		return st;
	for (int64_t i = 0; i < n; i++)
		s->ids[s->n + i] = ids[i];
	s->n += n;
	return HTH_OK;
}

/* How many of the prompt's last `left` tokens to read next. Where layers recur a chunk ends a little before the prompt:
 * the next prompt of a chat often differs from there on, when its template writes an answer's beginning otherwise once the
 * answer is past. */
static int64_t next_chunk(const struct hth_session *s, int64_t left)
{
	int64_t n = left < s->chunk ? left : s->chunk;

	return n == left && n > LAST_TOKENS && s->recurs ? n - LAST_TOKENS : n;
}

enum hth_status hth_session_prompt(struct hth_session *s, const int32_t *ids, int64_t n, const float **logits,
				   struct hth_err *err)
{
	enum hth_status st = HTH_OK;
	int64_t same = 0;

	*logits = NULL;
	if (n < 1)
		return hth_fail(err, HTH_ERR_USAGE, "an empty prompt, expected at least one token");
	if (n > s->capacity)
		return hth_fail(err, HTH_ERR_LIMIT,
				"a prompt of %lld tokens, expected at most %lld (the context of this session)",
				(long long)n, (long long)s->capacity);
	bool beyond = hth_rope_beyond(&s->model->config, n);
	/* The last token is always computed: its row gives the logits. */
	while (beyond == s->beyond && same < s->n && same < n - 1 && s->ids[same] == ids[same])
		same++;
	s->n = s->model->backend->state_reach(s->state, same);
	s->beyond = beyond;
	while (st == HTH_OK && s->n < n)
		st = append(s, ids + s->n, next_chunk(s, n - s->n), logits, err);
	return st;
}

enum hth_status hth_session_step(struct hth_session *s, int32_t id, const float **logits, struct hth_err *err)
{
	*logits = NULL;
	if (s->n >= s->capacity)
		return hth_fail(err, HTH_ERR_LIMIT, "token %lld does not fit a context of %lld tokens",
				(long long)s->n + 1, (long long)s->capacity);
	if (hth_rope_beyond(&s->model->config, s->n + 1) != s->beyond) {
		hth_info("beyond %lld tokens %s rotates positions otherwise (LongRoPE): the text is read again",
			 (long long)s->n, s->model->name);
		s->ids[s->n] = id;
		return hth_session_prompt(s, s->ids, s->n + 1, logits, err);
	}
	return append(s, &id, 1, logits, err);
}

int64_t hth_session_length(const struct hth_session *s)
{
	return s->n;
}

int64_t hth_session_capacity(const struct hth_session *s)
{
	return s->capacity;
}
