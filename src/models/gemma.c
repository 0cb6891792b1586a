/* Gemma: embeddings scaled by sqrt(C), norms that multiply by 1 + w, a GELU gate, heads of 256, head tied. GGUF files
 * hold 1 + w. Gemma 2 and 3 begin with the same.
 * Sources: transformers modeling_gemma.py; llama.cpp conversion/gemma.py. */
#include "models/config.h"

#include <math.h>

enum hth_status hth_config_gemma(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	c->act = HTH_ACT_GELU_TANH;
	c->head = 256;
	c->tied = true;
	c->norm_offset = k->gguf != NULL ? 0 : 1;
	c->norm_stored = k->gguf != NULL ? 1 : 0;
	enum hth_status st = hth_config_read(k, c, err);
	c->embed_scale = (float)sqrt((double)c->width);
	return st;
}

enum hth_status hth_config_gemma_scale(const struct hth_keys *k, int64_t largest_layers, struct hth_model_config *c,
				       struct hth_err *err)
{
	/* GGUF has no key for it; only the largest of these models divides by another number than the head size. */
	bool other = k->gguf != NULL && c->n_layers == largest_layers;
	double by = k->gguf == NULL ? 256 : (double)(other ? c->width / c->n_head : c->head);
	enum hth_status st =
		hth_keys_real(k, (struct hth_real_key){NULL, "query_pre_attn_scalar", 0, 1e6, by}, &by, err);

	c->attn_scale = (float)(1 / sqrt(by));
	return st;
}

void hth_config_gemma_to_hf(const struct hth_model_config *c, json_t *out)
{
	double scale = (double)c->attn_scale, by = 1 / (scale * scale);
	json_t *attn = c->attn_soft_cap > 0 ? json_real((double)c->attn_soft_cap) : json_null();
	json_t *final = c->logit_soft_cap > 0 ? json_real((double)c->logit_soft_cap) : json_null();

	/* A whole number in every such model; the square root and the float between leave a rest. */
	(void)json_object_set_new(out, "query_pre_attn_scalar",
				  fabs(by - round(by)) < by * 1e-5 ? json_integer((json_int_t)round(by))
								   : json_real(by));
	(void)json_object_set_new(out, "attn_logit_softcapping", attn);
	(void)json_object_set_new(out, "final_logit_softcapping", final);
}

const struct hth_family hth_family_gemma = {
	.name = "gemma",
	.gguf_arch = "gemma",
	.hf_types = "gemma ",
	.hf_classes = "GemmaForCausalLM ",
	.config = hth_config_gemma,
};
