/* hearth inspect: what is in a model, an adapter, a checkpoint or a data file. */
#include "base/log.h"
#include "base/mem.h"
#include "cmd/where.h"
#include "cmd/json_out.h"
#include "cmd/options.h"
#include "formats/adapter.h"
#include "formats/safetensors.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct inspect_options {
	bool tensors, metadata, json;
};

static const struct hth_option options[] = {
	{"tensors", NULL, NULL, HTH_OPTION_SWITCH, offsetof(struct inspect_options, tensors), 0, 0, NULL, NULL, NULL,
	 "list every tensor with type, shape and size"},
	{"metadata", NULL, NULL, HTH_OPTION_SWITCH, offsetof(struct inspect_options, metadata), 0, 0, NULL, NULL, NULL,
	 "list every metadata key (long values are cut)"},
	{"json", NULL, NULL, HTH_OPTION_SWITCH, offsetof(struct inspect_options, json), 0, 0, NULL, NULL, NULL,
	 "machine-readable result"},
	{0},
};

static void print_value(const struct hth_gguf_kv *kv)
{
	char shown[128];
	if (kv->type == HTH_GGUF_STRING) {
		struct hth_gguf_str s = {(const char *)kv->data + 8, kv->data_bytes - 8};
		printf("\"%s\"", hth_quote(shown, sizeof shown, s.data, s.bytes));
	} else if (kv->type == HTH_GGUF_ARRAY) {
		printf("[%llu values]", (unsigned long long)kv->n);
	} else if (kv->type == HTH_GGUF_F32 || kv->type == HTH_GGUF_F64) {
		printf("%g", hth_gguf_array_real(kv, 0));
	} else {
		printf("%lld", (long long)hth_gguf_array_int(kv, 0));
	}
}

/* Tensors and bytes per block format. */
static void print_formats(const struct hth_gguf *g)
{
	for (int q = 0; q < HTH_QUANT_COUNT; q++) {
		uint64_t bytes = 0;
		size_t n = 0;
		for (size_t i = 0; i < g->n_tensors; i++) {
			if (g->tensors[i].quant == (enum hth_quant)q) {
				bytes += g->tensors[i].bytes;
				n++;
			}
		}
		char size[32];
		if (n > 0)
			printf("  %-6s %5zu tensors  %s\n", hth_quant_format((enum hth_quant)q)->name, n,
			       hth_format_bytes(size, bytes));
	}
}

static void print_gguf_details(const struct hth_gguf *g, const struct inspect_options *opt)
{
	char shown[160], size[32];
	for (size_t i = 0; opt->metadata && i < g->n_kv; i++) {
		printf("  %s = ", hth_quote(shown, sizeof shown, g->kv[i].key.data, g->kv[i].key.bytes));
		print_value(&g->kv[i]);
		printf("\n");
	}
	for (size_t i = 0; opt->tensors && i < g->n_tensors; i++) {
		const struct hth_gguf_tensor *t = &g->tensors[i];
		printf("  %-40s %-5s (", hth_quote(shown, sizeof shown, t->name.data, t->name.bytes),
		       hth_quant_format(t->quant)->name);
		for (int d = t->n_dims - 1; d >= 0; d--)
			printf("%lld%s", (long long)t->ne[d], d > 0 ? "," : "");
		printf(")  %s\n", hth_format_bytes(size, t->bytes));
	}
}

/* What changes beyond the original context. */
static void print_beyond(const struct hth_model_config *c)
{
	if (hth_rope_switch(c) > 0 && c->rope_original < c->context)
		printf("  beyond      %lld tokens a text rotates otherwise (LongRoPE)\n", (long long)c->rope_original);
	else if (c->query_growth > 0 && c->rope_original < c->context)
		printf("  beyond      %lld tokens queries grow with their position\n", (long long)c->rope_original);
}

static enum hth_status inspect_model(const char *path, const struct inspect_options *opt, struct hth_err *err)
{
	struct hth_model *m = NULL;
	enum hth_status s = hth_model_open(path, &m, err);
	if (s != HTH_OK)
		return s;
	const struct hth_model_config *c = &m->config;
	char size[32], params[32], active[32], freq[32];
	snprintf(freq, sizeof freq, "%g", c->rope_theta);
	if (opt->json) {
		printf("{\"kind\":\"model\",\"family\":\"%s\",\"params\":%llu,\"file_bytes\":%llu,\"layers\":%lld,"
		       "\"width\":%lld,"
		       "\"heads\":%lld,\"kv_heads\":%lld,\"head_size\":%lld,\"ffn\":%lld,\"vocabulary\":%lld,"
		       "\"context\":%lld,"
		       "\"experts\":%lld,\"experts_a_token\":%lld,\"expert_ffn\":%lld,\"active_params\":%llu,"
		       "\"tied\":%s,\"chat_template\":%s}\n",
		       m->family->name, (unsigned long long)m->n_params, (unsigned long long)m->file_bytes,
		       (long long)c->n_layers, (long long)c->width, (long long)c->n_head, (long long)c->n_kv,
		       (long long)c->head, (long long)c->n_ff, (long long)c->n_vocab, (long long)c->context,
		       (long long)c->n_experts, (long long)c->n_chosen, (long long)c->n_expert_ff,
		       (unsigned long long)hth_model_active_params(m), c->tied ? "true" : "false", m->tmpl ? "true" : "false");
	} else {
		printf("%s\n", m->name);
		printf("  family      %s, %s parameters, %s on disk\n", m->family->name,
		       hth_format_count(params, m->n_params), hth_format_bytes(size, m->file_bytes));
		printf("  shape       %lld layers, width %lld, ffn %lld, %lld heads of %lld (%lld kv), context %lld\n",
		       (long long)c->n_layers, (long long)c->width, (long long)c->n_ff, (long long)c->n_head,
		       (long long)c->head, (long long)c->n_kv, (long long)c->context);
		if (c->n_experts > 0)
			printf("  experts     %lld, %lld a token, ffn %lld: %s parameters a token\n",
			       (long long)c->n_experts, (long long)c->n_chosen, (long long)c->n_expert_ff,
			       hth_format_count(active, hth_model_active_params(m)));
		if (c->delta.n_key > 0)
			printf("  recurrent   %lld of the layers: %lld value heads of %lld, %lld key heads of %lld, %lld taps\n",
			       (long long)hth_model_state_shape(m, 1).recurrent.n_layers, (long long)c->delta.n_value,
			       (long long)c->delta.value, (long long)c->delta.n_key, (long long)c->delta.key,
			       (long long)c->conv_taps);
		printf("  rotation    theta %s%s; head %s\n", freq,
		       c->rope_scaling == HTH_ROPE_LLAMA3 ? ", scaled as Llama 3.1" : "",
		       c->tied ? "tied to the embedding" : "of its own");
		print_beyond(c);
		printf("  tokenizer   %s\n", hth_tokenizer_describe(m->tokenizer));
		printf("  template    %s\n", m->tmpl != NULL ? "yes" : "none: hearth chat needs one");
		if (m->gguf != NULL) {
			print_formats(m->gguf);
			print_gguf_details(m->gguf, opt);
		}
	}
	hth_model_close(m);
	return HTH_OK;
}

/* A GGUF without a model in it: a vocabulary or an adapter. */
static enum hth_status inspect_gguf(const char *path, const struct inspect_options *opt, struct hth_err *err)
{
	struct hth_gguf g = {0};
	enum hth_status s = hth_gguf_open_split(&g, path, err);
	if (s != HTH_OK)
		return s;
	struct hth_gguf_str type = {0};
	s = hth_gguf_string(&g, "general.type", &type, err);
	bool is_model = s == HTH_OK && g.n_tensors > 0 && !hth_gguf_str_equal(type, "adapter");
	if (s == HTH_OK && !is_model) {
		char shown[64];
		printf("%s: GGUF version %u, %zu keys, %zu tensors, type %s\n", path, g.version, g.n_kv, g.n_tensors,
		       type.bytes > 0 ? hth_quote(shown, sizeof shown, type.data, type.bytes) : "vocabulary");
		print_formats(&g);
		print_gguf_details(&g, opt);
	}
	hth_gguf_close(&g);
	return is_model ? inspect_model(path, opt, err) : s;
}

static enum hth_status inspect_safetensors(const char *path, const struct inspect_options *opt, struct hth_err *err)
{
	struct hth_safetensors st = {0};
	enum hth_status s = hth_safetensors_open(&st, path, err);
	if (s != HTH_OK)
		return s;
	uint64_t bytes = 0;
	for (size_t i = 0; i < st.n_tensors; i++)
		bytes += st.tensors[i].bytes;
	char size[32];
	if (opt->json) {
		putchar('{');
		hth_json_out_text("path", path);
		printf("\"kind\":\"safetensors\",\"tensors\":%zu,\"bytes\":%llu}\n", st.n_tensors,
		       (unsigned long long)bytes);
		hth_safetensors_close(&st);
		return HTH_OK;
	}
	printf("%s: safetensors, %zu tensors, %s\n", path, st.n_tensors, hth_format_bytes(size, bytes));
	for (size_t i = 0; opt->metadata && i < st.n_meta; i++)
		printf("  %s = %s\n", st.meta_keys[i], st.meta_values[i]);
	for (size_t i = 0; opt->tensors && i < st.n_tensors; i++) {
		const struct hth_st_tensor *t = &st.tensors[i];
		printf("  %-60s %-4s (", t->name, hth_st_dtype_name(t->dtype));
		for (int d = 0; d < t->n_dims; d++)
			printf("%s%lld", d > 0 ? "," : "", (long long)t->dim[d]);
		printf(")\n");
	}
	hth_safetensors_close(&st);
	return HTH_OK;
}

static void print_adapter_json(const char *path, const struct hth_adapter *a, uint64_t params)
{
	putchar('{');
	hth_json_out_text("path", path);
	hth_json_out_text("base_model", a->base_model);
	printf("\"kind\":\"adapter\",\"rank\":%d,\"alpha\":%g,\"rslora\":%s,\"dropout\":%g,\"params\":%llu,\"modules\":"
	       "[",
	       a->rank, a->alpha, a->rslora ? "true" : "false", a->dropout, (unsigned long long)params);
	for (size_t i = 0; i < a->n_modules; i++) {
		printf("%s{", i > 0 ? "," : "");
		hth_json_out_text("name", a->modules[i].name);
		printf("\"rank\":%d,\"scale\":%g,\"out\":%lld,\"in\":%lld", a->modules[i].rank,
		       (double)a->modules[i].scale, (long long)a->modules[i].out, (long long)a->modules[i].in);
		if (a->modules[i].experts > 0)
			printf(",\"experts\":%lld", (long long)a->modules[i].experts);
		putchar('}');
	}
	printf("],\"dora\":%s,\"whole\":[", a->modules[0].mag != NULL ? "true" : "false");
	for (size_t i = 0; i < a->n_saved; i++) {
		printf("%s{", i > 0 ? "," : "");
		hth_json_out_text("name", a->saved[i].name);
		printf("\"rows\":%lld,\"columns\":%lld}", (long long)a->saved[i].rows, (long long)a->saved[i].cols);
	}
	printf("]}\n");
}

static enum hth_status inspect_adapter(const char *path, const struct inspect_options *opt, struct hth_err *err)
{
	struct hth_adapter a = {0};
	enum hth_status s = hth_adapter_read(path, NULL, &a, err);
	if (s != HTH_OK)
		return s;
	uint64_t params = 0;
	for (size_t i = 0; i < a.n_modules; i++)
		params += (uint64_t)a.modules[i].rank * (uint64_t)(a.modules[i].in + a.modules[i].out) *
				  (uint64_t)(a.modules[i].experts > 0 ? a.modules[i].experts : 1) +
			  (a.modules[i].mag != NULL ? (uint64_t)a.modules[i].out : 0);
	for (size_t i = 0; i < a.n_saved; i++)
		params += (uint64_t)a.saved[i].rows * (uint64_t)a.saved[i].cols;
	if (opt->json) {
		print_adapter_json(path, &a, params);
		hth_adapter_clear(&a);
		return HTH_OK;
	}
	char count[32];
	bool dora = a.modules[0].mag != NULL;
	printf("%s: %s adapter, rank %d, alpha %g%s, dropout %g, %zu modules, %s parameters\n", path,
	       dora ? "DoRA" : "LoRA", a.rank, a.alpha, a.rslora ? " (rsLoRA)" : "", a.dropout, a.n_modules,
	       hth_format_count(count, params));
	if (a.base_model != NULL && a.base_model[0] != '\0')
		printf("  base model  %s\n", a.base_model);
	for (size_t i = 0; i < a.n_modules; i++) {
		char experts[32] = "";
		if (a.modules[i].experts > 0)
			snprintf(experts, sizeof experts, "%lld experts of ", (long long)a.modules[i].experts);
		printf("  %-44s rank %d, scale %g, %s(%lld,%lld)\n", a.modules[i].name, a.modules[i].rank,
		       (double)a.modules[i].scale, experts, (long long)a.modules[i].out, (long long)a.modules[i].in);
	}
	for (size_t i = 0; i < a.n_saved; i++)
		printf("  %-44s trained whole, (%lld,%lld)\n", a.saved[i].name, (long long)a.saved[i].rows,
		       (long long)a.saved[i].cols);
	hth_adapter_clear(&a);
	return HTH_OK;
}

/* A folder with a config.json is a model, one without an adapter. */
static bool has_config(const char *dir)
{
	char *path = hth_path_join(dir, "config.json");
	bool has = path != NULL && hth_path_kind(path) == HTH_PATH_FILE;
	hth_free(path);
	return has;
}

static enum hth_status inspect_path(const char *path, const struct inspect_options *opt, struct hth_err *err)
{
	switch (hth_path_kind(path)) {
	case HTH_PATH_DIR:
		return has_config(path) ? inspect_model(path, opt, err) : inspect_adapter(path, opt, err);
	case HTH_PATH_FILE:
		if (hth_path_has_suffix(path, ".safetensors"))
			return inspect_safetensors(path, opt, err);
		return inspect_gguf(path, opt, err);
	case HTH_PATH_NONE:
	case HTH_PATH_OTHER:
		break;
	}
	return hth_fail(err, HTH_ERR_FORMAT, "%s: neither a regular file nor a folder", path);
}

static enum hth_status run(struct hth_cli *cli, struct hth_err *err)
{
	char *path = NULL;
	enum hth_status s = hth_model_where(cli->args[0], &path, err);
	if (s == HTH_OK)
		s = inspect_path(path, cli->config, err);
	hth_free(path);
	return s;
}

const struct hth_command hth_command_inspect = {
	.name = "inspect",
	.usage = "FILE|DIR [--tensors] [--metadata] [--json]",
	.summary = "what is in a model, an adapter or a tensor file",
	.about = "  hearth inspect model.gguf --tensors\n  hearth inspect runs/hazmat/adapter",
	.options = options,
	.config_bytes = sizeof(struct inspect_options),
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
