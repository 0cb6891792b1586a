/* The loop of an answer: pick, show, step. What is shown is held back while it could still be the beginning of a stop
 * string; half a character never appears, since the detokenizer keeps it. */
#include "infer/generate.h"

#include "base/machine.h"
#include "base/mem.h"

#include <string.h>

#define MAX_TEXT_BYTES ((size_t)1 << 30)

struct answer {
	struct hth_session *session;
	const struct hth_model *model;
	const struct hth_generate_config *cfg;
	bool (*on_text)(void *ctx, const char *text, size_t bytes);
	void *ctx;
	struct hth_generated *out;
	struct hth_sampler *sampler;
	struct hth_detokenizer detok;
	int32_t *history; /* (n_prompt + limit) prompt and answer */
	int64_t limit;    /* tokens that may be sampled */
	size_t shown;     /* bytes of out->text given to on_text */
	bool closed;      /* ended by a stop string or the listener: nothing is to be added */
};

void hth_generated_clear(struct hth_generated *g)
{
	hth_buf_clear(&g->text);
	hth_free(g->ids);
	*g = (struct hth_generated){0};
}

/* Where the first stop string begins at or behind `from`, or the text's length. */
static size_t find_stop(const struct answer *a, size_t from)
{
	const struct hth_buf *t = &a->out->text;
	size_t found = t->bytes;

	for (size_t i = 0; i < a->cfg->n_stop; i++) {
		size_t n = strlen(a->cfg->stop[i]);
		for (size_t at = from; n > 0 && at < found && n <= t->bytes - at; at++)
			if (memcmp(t->data + at, a->cfg->stop[i], n) == 0)
				found = at;
	}
	return found;
}

/* Bytes at the end of the text that could still become a stop string. */
static size_t held_bytes(const struct answer *a)
{
	const struct hth_buf *t = &a->out->text;
	size_t held = 0;

	for (size_t i = 0; i < a->cfg->n_stop; i++) {
		size_t n = strlen(a->cfg->stop[i]), most = t->bytes - a->shown;
		for (size_t k = n > 0 && n - 1 < most ? n - 1 : n > 0 ? most : 0; k > held; k--)
			if (memcmp(t->data + t->bytes - k, a->cfg->stop[i], k) == 0)
				held = k;
	}
	return held;
}

/* Shows the text up to `end`; false when the listener wants no more. */
static bool show(struct answer *a, size_t end)
{
	size_t begin = a->shown;

	if (end <= begin)
		return true;
	a->shown = end;
	return a->on_text == NULL || a->on_text(a->ctx, a->out->text.data + begin, end - begin);
}

/* Text has grown, or ended (flush). True when the answer is over: a stop string was found or the listener left. */
static bool advance(struct answer *a, bool flush)
{
	struct hth_buf *t = &a->out->text;
	size_t stop = find_stop(a, a->shown);

	if (stop < t->bytes) {
		t->bytes = stop;
		t->data[stop] = '\0';
		a->closed = true;
		a->out->finish = show(a, stop) ? HTH_FINISH_STOP : HTH_FINISH_CANCELLED;
		return true;
	}
	if (show(a, t->bytes - (flush ? 0 : held_bytes(a))))
		return false;
	a->closed = true;
	a->out->finish = HTH_FINISH_CANCELLED;
	return true;
}

/* Takes one token into the answer; *over: it was the last. */
static enum hth_status take(struct answer *a, int32_t id, bool *over, struct hth_err *err)
{
	struct hth_generated *out = a->out;
	bool end = !a->cfg->ignore_end && hth_tokenizer_is_end(a->model->tokenizer, id);

	a->history[out->n_prompt + out->n_ids++] = id;
	if (!end || a->cfg->show_special) {
		enum hth_status st = hth_detokenizer_push(&a->detok, a->model->tokenizer, id, &out->text, err);
		if (st == HTH_OK)
			st = hth_buf_status(&out->text, "the answer", err);
		if (st != HTH_OK)
			return st;
	}
	*over = advance(a, false);
	if (!*over && end) {
		out->finish = HTH_FINISH_STOP;
		*over = true;
	} else if (!*over && out->n_ids == a->limit) {
		bool asked = a->cfg->max_tokens > 0 && out->n_ids >= a->cfg->max_tokens;
		out->finish = asked ? HTH_FINISH_LENGTH : HTH_FINISH_CONTEXT;
		*over = true;
	}
	return HTH_OK;
}

static enum hth_status loop(struct answer *a, const int32_t *prompt, struct hth_err *err)
{
	struct hth_generated *out = a->out;
	const float *logits; /* (V) */
	double start = hth_now_s();
	bool over = false;
	enum hth_status st = hth_session_prompt(a->session, prompt, out->n_prompt, &logits, err);

	out->prompt_s = hth_now_s() - start;
	start = hth_now_s();
	while (st == HTH_OK && !over) {
		int32_t id;
		int64_t n = out->n_prompt + out->n_ids;
		st = hth_sampler_pick(a->sampler, logits, a->history, n, (uint64_t)n, &id, err);
		if (st == HTH_OK)
			st = take(a, id, &over, err);
		if (st == HTH_OK && !over)
			st = hth_session_step(a->session, id, &logits, err);
	}
	out->decode_s = hth_now_s() - start;
	if (st != HTH_OK)
		return st;
	if (!a->closed) {
		/* What was held back is certain now. */
		hth_detokenizer_flush(&a->detok, &out->text);
		(void)advance(a, true);
	}
	return hth_buf_status(&out->text, "the answer", err);
}

/* The prompt fills `prompt` rows; the last sampled token needs none. */
static enum hth_status set_limit(struct answer *a, int64_t prompt, struct hth_err *err)
{
	int64_t room = hth_session_capacity(a->session) - prompt + 1;

	if (prompt < 1 || room < 1)
		return hth_fail(err, prompt < 1 ? HTH_ERR_USAGE : HTH_ERR_LIMIT,
				"a prompt of %lld tokens, expected 1..%lld (the context of this session)",
				(long long)prompt, (long long)hth_session_capacity(a->session));
	a->limit = a->cfg->max_tokens > 0 && a->cfg->max_tokens < room ? a->cfg->max_tokens : room;
	return HTH_OK;
}

enum hth_status hth_generate(struct hth_session *s, const struct hth_model *m, const int32_t *prompt, int64_t n,
			     const struct hth_generate_config *cfg,
			     bool (*on_text)(void *ctx, const char *text, size_t bytes), void *ctx,
			     struct hth_generated *out, struct hth_err *err)
{
	struct answer a = {.session = s,
			   .model = m,
			   .cfg = cfg,
			   .on_text = on_text,
			   .ctx = ctx,
			   .out = out,
			   .detok = {.skip_special = !cfg->show_special}};
	enum hth_status st;

	*out = (struct hth_generated){.n_prompt = n};
	hth_buf_init(&out->text, MAX_TEXT_BYTES);
	if ((st = set_limit(&a, n, err)) != HTH_OK ||
	    (st = hth_sampler_new(&cfg->sampler, m->config.n_vocab, &a.sampler, err)) != HTH_OK)
		goto done;
	a.history = hth_calloc((size_t)(n + a.limit), sizeof(*a.history));
	out->ids = hth_calloc((size_t)a.limit, sizeof(*out->ids));
	if (a.history == NULL || out->ids == NULL) {
		st = hth_fail_memory(err, "tokens of an answer", (size_t)(n + a.limit) * sizeof(*a.history));
		goto done;
	}
	memcpy(a.history, prompt, (size_t)n * sizeof(*prompt));
	st = loop(&a, prompt, err);
	memcpy(out->ids, a.history + n, (size_t)out->n_ids * sizeof(*out->ids));
done:
	hth_sampler_free(a.sampler);
	hth_free(a.history);
	if (st != HTH_OK)
		hth_generated_clear(out);
	return st;
}
