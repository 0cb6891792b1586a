/* Opening a model for inference: see opened.h. */
#include "cmd/opened.h"
#include "cmd/where.h"

#include <string.h>

#define MAX_ADAPTER_BYTES ((size_t)64 << 30)

static enum hth_status open_device(struct hth_opened *o, const struct hth_open_config *cfg, struct hth_err *err)
{
	o->backend = cfg->backend != NULL ? hth_backend_find(cfg->backend) : hth_backend_at(0);
	if (o->backend == NULL)
		return hth_fail(err, HTH_ERR_USAGE,
				"--backend %s: not in this build; hearth --version lists the backends", cfg->backend);
	enum hth_status s = hth_pool_new((int)cfg->threads, &o->pool, err);
	if (s != HTH_OK)
		return s;
	struct hth_device_config dev = {.pool = o->pool, .compute = cfg->compute};
	return o->backend->open(&dev, &o->device, err);
}

static enum hth_status open_adapters(struct hth_opened *o, const struct hth_open_config *cfg, struct hth_err *err)
{
	struct hth_lora ***loras = hth_arena_calloc(&o->arena, cfg->n_adapters + 1, sizeof *loras);
	struct hth_replacements *whole = hth_arena_calloc(&o->arena, cfg->n_adapters + 1, sizeof *whole);
	if (loras == NULL || whole == NULL)
		return hth_fail_memory(err, "adapters", cfg->n_adapters * sizeof *loras);
	struct hth_adapter_names names;
	hth_model_adapter_names(o->model, &names);
	for (size_t i = 0; i < cfg->n_adapters; i++) {
		struct hth_adapter a = {0};
		enum hth_status s = hth_adapter_read(cfg->adapters[i], &names, &a, err);
		if (s == HTH_OK) {
			s = hth_model_loras(o->model, &a, &o->arena, &loras[i], err);
			if (s == HTH_OK)
				s = hth_model_replacements(o->model, &a, &o->arena, &whole[i], err);
			if (s != HTH_OK)
				s = hth_err_prefix(err, "%s", cfg->adapters[i]);
		}
		hth_adapter_clear(&a);
		if (s != HTH_OK)
			return s;
	}
	enum hth_status s = hth_lora_set_init(&o->loras, o->model, loras, (int)cfg->n_adapters, err);
	for (size_t i = 0; i < cfg->n_adapters && s == HTH_OK; i++)
		hth_lora_set_replace(&o->loras, (int)i, &whole[i]);
	return s;
}

enum hth_status hth_opened_open(struct hth_opened *o, const struct hth_open_config *cfg, struct hth_err *err)
{
	memset(o, 0, sizeof *o);
	o->kv_type = cfg->kv_type;
	hth_arena_init(&o->arena, MAX_ADAPTER_BYTES);
	enum hth_status s = open_device(o, cfg, err);
	if (s == HTH_OK)
		s = hth_model_open_named(cfg->model, cfg->to_write, &o->model, err);
	if (s == HTH_OK && !cfg->to_write)
		s = hth_model_prepare(o->model, o->backend, o->device, false, err);
	if (s == HTH_OK)
		s = open_adapters(o, cfg, err);
	if (s != HTH_OK)
		hth_opened_close(o);
	return s;
}

void hth_opened_close(struct hth_opened *o)
{
	hth_lora_set_clear(&o->loras);
	hth_model_close(o->model);
	if (o->device != NULL)
		o->backend->close(o->device);
	hth_pool_free(o->pool);
	hth_arena_clear(&o->arena);
	memset(o, 0, sizeof *o);
}

enum hth_status hth_opened_session(struct hth_opened *o, int32_t adapter, int64_t context, struct hth_session **out,
				   struct hth_err *err)
{
	struct hth_session_config cfg = {
		.capacity = context, .loras = &o->loras, .adapter = adapter, .kv_type = o->kv_type};
	return hth_session_new(o->model, &cfg, out, err);
}

void hth_talk_generate_config(const struct hth_talk_options *o, struct hth_generate_config *out)
{
	*out = (struct hth_generate_config){
		.sampler = {.temperature = (float)o->temp,
			    .top_k = (int32_t)o->top_k,
			    .top_p = (float)o->top_p,
			    .min_p = (float)o->min_p,
			    .repetition_penalty = (float)o->repetition_penalty,
			    .repetition_window = (int32_t)o->repetition_window,
			    .seed = (uint64_t)o->seed},
		.max_tokens = o->max_tokens,
		.stop = o->stop.items,
		.n_stop = o->stop.n,
	};
}
