/* What a run depends on, as facts for its checkpoints: contents by checksum, settings by value. */
#include "base/hash.h"
#include "train/run_int.h"

#include <stdio.h>
#include <string.h>

static void hash_weight(void *ctx, struct hth_weight *w)
{
	uint64_t *h = ctx;
	int64_t shape[3] = {w->rows, w->cols, w->quant};

	*h = hth_hash64(w->name, strlen(w->name), *h);
	*h = hth_hash64(shape, sizeof shape, *h);
	*h = hth_hash64(w->data, (size_t)hth_weight_bytes(w), *h);
}

static uint64_t hash_tokenizer(const struct hth_model *m)
{
	uint64_t h = (uint64_t)hth_tokenizer_size(m->tokenizer);

	for (int32_t id = 0; id < hth_tokenizer_size(m->tokenizer); id++) {
		size_t bytes = 0;
		const char *token = hth_tokenizer_token(m->tokenizer, id, &bytes);
		h = hth_hash64(token != NULL ? token : "", token != NULL ? bytes : 0, h + 1);
	}
	const char *source = m->template_source != NULL ? m->template_source : "";
	return hth_hash64(source, strlen(source), h);
}

static uint64_t hash_data(const struct hth_dataset *d)
{
	uint64_t h = d->n;

	for (size_t i = 0; i < d->n; i++) {
		h = hth_hash64(d->items[i].tokens.ids, d->items[i].tokens.n * sizeof(int32_t), h);
		h = hth_hash64(d->items[i].tokens.target, d->items[i].tokens.n, h);
	}
	return h;
}

/* Names, shapes and scales of all that is trained. */
static uint64_t hash_params(const struct hth_params *p)
{
	uint64_t h = (uint64_t)p->n;
	size_t n = p->loras != NULL ? (size_t)p->model->config.n_layers * HTH_LINEAR_COUNT : 0;

	for (int64_t i = 0; i < p->n; i++) {
		int64_t shape[2] = {p->list[i]->rows, p->list[i]->cols};
		h = hth_hash64(p->list[i]->name, strlen(p->list[i]->name), h);
		h = hth_hash64(shape, sizeof shape, h);
	}
	for (size_t i = 0; i < n; i++)
		if (p->loras[i] != NULL)
			h = hth_hash64(&p->loras[i]->scale, sizeof(float), h);
	return h;
}

/* "cpu avx512, 8 threads, f32" without the threads, which change no bit. */
static void without_threads(const char *text, char *out, size_t out_bytes)
{
	const char *word = strstr(text, " thread"), *from = word;

	while (from != NULL && from > text && *from != ',')
		from--;
	if (from == NULL || from == text) {
		snprintf(out, out_bytes, "%s", text);
		return;
	}
	const char *rest = strchr(word, ',');
	snprintf(out, out_bytes, "%.*s%s", (int)(from - text), text, rest != NULL ? rest : "");
}

static void add_settings(struct hth_facts *f, const struct hth_run *r)
{
	static const char *const schedules[] = {"constant", "linear", "cosine"};
	const struct hth_train_config *c = r->cfg;

	hth_facts_real(f, false, "dropout", c->dropout);
	hth_facts_int(f, false, "steps", r->total);
	hth_facts_real(f, false, "learning rate", c->learning_rate);
	hth_facts_text(f, false, "schedule", schedules[c->schedule]);
	hth_facts_int(f, false, "warm-up steps", c->warmup_steps);
	hth_facts_real(f, false, "warm-up ratio", c->warmup_ratio);
	hth_facts_real(f, false, "least learning rate", c->min_lr_ratio);
	hth_facts_real(f, false, "weight decay", c->weight_decay);
	hth_facts_real(f, false, "beta1", c->beta1);
	hth_facts_real(f, false, "beta2", c->beta2);
	hth_facts_real(f, false, "epsilon", c->adam_eps);
	hth_facts_int(f, false, "bias correction", c->bias_correction);
	hth_facts_real(f, false, "gradient norm limit", c->max_grad_norm);
	hth_facts_int(f, false, "prefix sharing", c->share_prefix);
	hth_facts_int(f, false, "token budget", r->fit.token_budget);
	hth_facts_int(f, false, "validation every", c->eval_every);
	hth_facts_int(f, false, "validations an epoch", c->evals_per_epoch);
	hth_facts_int(f, false, "patience", c->patience);
}

void hth_run_facts(struct hth_run *r)
{
	const struct hth_train_config *c = r->cfg;
	struct hth_facts *f = &r->facts;
	char targets[24] = "", device[96];
	uint64_t weights = 0;

	f->n = 0;
	hth_model_each_weight(r->model, hash_weight, &weights);
	/* Letters of linears that a model lacks would change the fact that older checkpoints of it have. */
	int n_kinds = r->model->config.delta.n_key > 0 ? HTH_OWN_LINEARS : HTH_DELTA_QKV, at = 0;
	for (int k = 0; k < n_kinds; k++)
		targets[at++] = c->target[k] ? "qkvogudQZBAO"[k] : '-';
	for (int k = HTH_ROUTER; k < HTH_LINEAR_COUNT; k++)
		if (c->target[k])
			targets[at++] = k == HTH_EXPERTS_UP && c->gate_up ? '+' : "RGUD"[k - HTH_ROUTER];
	without_threads(r->backend->describe(r->device), device, sizeof device);
	hth_facts_hash(f, true, "model", weights);
	hth_facts_hash(f, true, "tokenizer", hash_tokenizer(r->model));
	hth_facts_hash(f, true, "training data", hash_data(&r->train));
	hth_facts_text(f, true, "training type", c->type == HTH_TRAIN_FULL ? "full" : "lora");
	hth_facts_int(f, true, "rank", r->params.rank);
	hth_facts_text(f, true, "targets", targets);
	hth_facts_int(f, true, "layers", c->n_layers);
	hth_facts_hash(f, true, "adapter", hash_params(&r->params));
	hth_facts_int(f, true, "seed", (int64_t)c->seed);
	hth_facts_int(f, true, "shuffle", c->shuffle);
	hth_facts_int(f, true, "examples a step", hth_train_per_step(c));
	hth_facts_hash(f, false, "validation data", hash_data(&r->valid));
	hth_facts_text(f, false, "backend", device);
	add_settings(f, r);
}
