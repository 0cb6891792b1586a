/* Everything of a model's folder but its weights. From a folder the files are copied, config.json with the new type and
 * quantisation; from GGUF they are made: config.json of the config (config_hf.c), tokenizer.json of the tokenizer, or the
 * one that the file holds whole. */
#include "export/to_folder_int.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "formats/hf.h"
#include "models/source.h"
#include "text/tokenizer_convert.h"

#include <string.h>

#define MAX_COPY_BYTES ((size_t)256 << 20)
#define MAX_JSON_BYTES ((size_t)1 << 30)

/* Files that travel from folder to folder as they are. */
static const char *const copied[] = {
	"tokenizer.json",  "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
	"tokenizer.model", "vocab.json",            "merges.txt",              "generation_config.json",
	"chat_template.jinja", "chat_template.json", "LICENSE",
};

struct texts {
	const struct hth_to_folder_config *cfg;
	const struct hth_model *m;
	const char *dir;
	struct hth_err *err;
};

static enum hth_status write_in(const struct texts *t, const char *name, const void *data, size_t bytes)
{
	char *path = hth_path_join(t->dir, name);

	if (path == NULL)
		return hth_fail_memory(t->err, "a path", strlen(t->dir));
	enum hth_status st = hth_file_write(path, data, bytes, t->err);
	hth_free(path);
	return st;
}

enum hth_status hth_folder_json(const char *dir, const char *name, const json_t *doc, struct hth_err *err)
{
	const struct texts t = {.dir = dir, .err = err};
	struct hth_buf text;

	hth_buf_init(&text, MAX_JSON_BYTES);
	enum hth_status st = hth_json_dump(doc, 2, &text, err);
	if (st == HTH_OK) {
		hth_buf_putc(&text, '\n');
		st = hth_buf_status(&text, name, err);
	}
	if (st == HTH_OK)
		st = write_in(&t, name, text.data, text.bytes);
	hth_buf_clear(&text);
	return st;
}

static enum hth_status write_json(const struct texts *t, const char *name, const json_t *doc)
{
	return hth_folder_json(t->dir, name, doc, t->err);
}

static const char *dtype_name(enum hth_quant q)
{
	return q == HTH_QUANT_F32 ? "float32" : q == HTH_QUANT_BF16 ? "bfloat16" : "float16";
}

static json_t *mlx_settings(int group, int bits, const char *mode)
{
	json_t *q = json_object();

	(void)json_object_set_new(q, "group_size", json_integer(group));
	(void)json_object_set_new(q, "bits", json_integer(bits));
	(void)json_object_set_new(q, "mode", json_string(mode));
	return q;
}

/* As gpt-oss was published: what is not in mxfp4. A folder's own words stay. */
static void put_mxfp4(json_t *config, const json_t *own)
{
	json_t *q = json_pack("{s:s,s:[s,s,s,s]}", "quant_method", "mxfp4", "modules_to_not_convert",
			      "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head");
	const char *method = json_string_value(json_object_get(own, "quant_method"));

	if (method != NULL && strcmp(method, "mxfp4") == 0) {
		json_decref(q);
		q = json_deep_copy(own);
	}
	(void)json_object_set_new(config, "quantization_config", q);
}

/* MLX's settings; a matrix that stays plain is named, since absence of scales is only mlx-lm's rule. */
static enum hth_status put_quantization(const struct texts *t, json_t *config)
{
	struct hth_model_part *parts;
	size_t n;
	bool affine = t->cfg->bits != 0;
	json_t *q = affine ? mlx_settings(t->cfg->group, t->cfg->bits, "affine") : mlx_settings(32, 4, "mxfp4");
	enum hth_status st = hth_model_parts(t->m, hth_folder_layout(t->cfg), &parts, &n, t->err);

	for (size_t i = 0; st == HTH_OK && i < n; i++) {
		size_t stem = strlen(parts[i].name) - strlen(".weight");
		bool kept = hth_folder_keeps(t->cfg, &parts[i]);
		if (parts[i].kind != HTH_PART_MATRIX || hth_folder_quantises(t->cfg, &parts[i]) || (kept && !affine))
			continue;
		parts[i].name[stem] = '\0';
		(void)json_object_set_new(q, parts[i].name, kept ? mlx_settings(32, 4, "mxfp4") : json_false());
	}
	(void)json_object_set(config, "quantization", q);
	(void)json_object_set_new(config, "quantization_config", q);
	hth_free(parts);
	return st;
}

/* Tokens that end a turn, EOS first: a number, or a list where there are several. */
static json_t *end_ids(const struct hth_model *m)
{
	int32_t eos = hth_tokenizer_eos(m->tokenizer);
	json_t *list = json_array();

	if (eos >= 0)
		(void)json_array_append_new(list, json_integer(eos));
	for (int32_t id = 0; id < m->config.n_vocab; id++)
		if (id != eos && hth_tokenizer_is_end(m->tokenizer, id))
			(void)json_array_append_new(list, json_integer(id));
	if (json_array_size(list) == 1) {
		json_t *one = json_incref(json_array_get(list, 0));
		json_decref(list);
		return one;
	}
	return list;
}

/* An id that the GGUF names by its key; -1: none. */
static int32_t key_id(const struct hth_model *m, const char *key)
{
	int64_t id = -1;

	if (m->gguf == NULL || hth_gguf_int(m->gguf, key, 0, m->config.n_vocab - 1, -1, &id, NULL) != HTH_OK)
		return -1;
	return (int32_t)id;
}

static void put_ids(const struct hth_model *m, json_t *doc)
{
	const struct {
		const char *key;
		int32_t id;
	} ids[] = {{"bos_token_id", hth_tokenizer_bos(m->tokenizer)},
		   {"pad_token_id", key_id(m, "tokenizer.ggml.padding_token_id")}};

	for (size_t i = 0; i < 2; i++)
		/* Absence is not null there: some families' defaults lie beyond a small vocabulary. */
		(void)json_object_set_new(doc, ids[i].key, ids[i].id >= 0 ? json_integer(ids[i].id) : json_null());
	json_t *ends = end_ids(m);
	if (!json_is_array(ends) || json_array_size(ends) > 0)
		(void)json_object_set(doc, "eos_token_id", ends);
	json_decref(ends);
}

/* mlx-lm wants some keys as transformers 4 writes them; a folder may have them as 5 does. */
static enum hth_status put_old_keys(const struct texts *t, json_t *config)
{
	static const char *const keys[] = {"rope_theta", "rope_scaling", "rope_local_base_freq",
					   "partial_rotary_factor", "num_experts", "full_attention_interval",
					   "global_head_dim", "num_global_key_value_heads"};
	json_t *made = NULL;
	enum hth_status st = hth_config_to_hf(t->m, dtype_name(t->cfg->type), &made, t->err);

	for (size_t i = 0; st == HTH_OK && i < sizeof(keys) / sizeof(*keys); i++)
		if (json_object_get(config, keys[i]) == NULL && json_object_get(made, keys[i]) != NULL)
			(void)json_object_set(config, keys[i], json_object_get(made, keys[i]));
	json_decref(made);
	return st;
}

/* A folder of MLX's may call the text model by the name of one with eyes. */
static enum hth_status put_own_names(const struct texts *t, json_t *config)
{
	static const char *const keys[] = {"architectures", "model_type", "tie_word_embeddings"};
	json_t *made = NULL;
	enum hth_status st = hth_config_to_hf(t->m, dtype_name(t->cfg->type), &made, t->err);

	for (size_t i = 0; st == HTH_OK && i < sizeof(keys) / sizeof(*keys); i++)
		(void)json_object_set(config, keys[i], json_object_get(made, keys[i]));
	json_decref(made);
	return st;
}

static enum hth_status write_config(const struct texts *t)
{
	const struct hth_hf *hf = t->m->source->hf;
	json_t *config = NULL;
	enum hth_status st = HTH_OK;

	/* Of a model with eyes only the text part is written, with a config of its own. */
	if (hf != NULL && t->m->source->keys.json == hf->config) {
		config = json_deep_copy(hf->config);
		if (config == NULL)
			return hth_fail_memory(t->err, "a config", 256);
		(void)json_object_del(config, "quantization");
		(void)json_object_del(config, "quantization_config");
		(void)json_object_set_new(config, json_object_get(config, "dtype") != NULL ? "dtype" : "torch_dtype",
					  json_string(dtype_name(t->cfg->type)));
		if (t->m->family->nested)
			st = put_own_names(t, config);
		if (st == HTH_OK && t->cfg->mlx)
			st = put_old_keys(t, config);
	} else if ((st = hth_config_to_hf(t->m, dtype_name(t->cfg->type), &config, t->err)) == HTH_OK) {
		put_ids(t->m, config);
	}
	if (st == HTH_OK && t->cfg->mlx && t->m->family->mlx_type != NULL)
		(void)json_object_set_new(config, "model_type", json_string(t->m->family->mlx_type));
	if (st == HTH_OK && hth_folder_unties(t->cfg))
		(void)json_object_set_new(config, "tie_word_embeddings", json_false());
	bool keeps = hth_folder_keeps_mxfp4(t->cfg);
	if (st == HTH_OK && keeps && hth_folder_layout(t->cfg) == HTH_LAYOUT_HF)
		put_mxfp4(config, hf != NULL ? json_object_get(hf->config, "quantization_config") : NULL);
	else if (st == HTH_OK && (keeps || t->cfg->bits != 0))
		st = put_quantization(t, config);
	if (st == HTH_OK)
		st = write_json(t, "config.json", config);
	json_decref(config);
	return st;
}

static enum hth_status copy_files(const struct texts *t)
{
	enum hth_status st = HTH_OK;

	for (size_t i = 0; st == HTH_OK && i < sizeof(copied) / sizeof(*copied); i++) {
		char *from = hth_path_join(t->m->path, copied[i]), *data = NULL;
		size_t bytes;
		if (from == NULL)
			return hth_fail_memory(t->err, "a path", strlen(t->m->path));
		if (hth_path_kind(from) == HTH_PATH_FILE) {
			st = hth_file_read(from, MAX_COPY_BYTES, &data, &bytes, t->err);
			if (st == HTH_OK)
				st = write_in(t, copied[i], data, bytes);
		}
		hth_free(data);
		hth_free(from);
	}
	return st;
}

static void put_token(const struct hth_model *m, json_t *doc, const char *key, int32_t id)
{
	const char *text = hth_tokenizer_token(m->tokenizer, id, NULL);

	if (text != NULL)
		(void)json_object_set_new(doc, key, json_string(text));
}

static enum hth_status write_tokenizer_config(const struct texts *t)
{
	const struct hth_model *m = t->m;
	json_t *doc = json_object();

	if (doc == NULL)
		return hth_fail_memory(t->err, "a config", 256);
	(void)json_object_set_new(doc, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
	put_token(m, doc, "bos_token", hth_tokenizer_bos(m->tokenizer));
	put_token(m, doc, "eos_token", hth_tokenizer_eos(m->tokenizer));
	put_token(m, doc, "pad_token", key_id(m, "tokenizer.ggml.padding_token_id"));
	put_token(m, doc, "unk_token", key_id(m, "tokenizer.ggml.unknown_token_id"));
	(void)json_object_set_new(doc, "clean_up_tokenization_spaces", json_false());
	(void)json_object_set_new(doc, "model_max_length", json_integer(m->config.context));
	if (m->template_source != NULL)
		(void)json_object_set_new(doc, "chat_template", json_string(m->template_source));
	enum hth_status st = write_json(t, "tokenizer_config.json", doc);
	json_decref(doc);
	return st;
}

/* The file's own tokenizer.json if it has one, else one that says what its keys say. */
static enum hth_status write_tokenizer(const struct texts *t)
{
	struct hth_gguf_str whole;
	struct hth_buf text;
	enum hth_status st = hth_gguf_string(t->m->gguf, "tokenizer.huggingface.json", &whole, t->err);

	if (st != HTH_OK)
		return st;
	if (whole.data != NULL)
		return write_in(t, "tokenizer.json", whole.data, whole.bytes);
	hth_buf_init(&text, MAX_JSON_BYTES);
	st = hth_tokenizer_to_json(t->m->tokenizer, t->m->gguf, &text, t->err);
	if (st == HTH_OK)
		st = write_in(t, "tokenizer.json", text.data, text.bytes);
	else if (t->err != NULL)
		(void)hth_err_prefix(t->err, "%s", t->m->path);
	hth_buf_clear(&text);
	return st;
}

static enum hth_status write_generation_config(const struct texts *t)
{
	json_t *doc = json_object();

	if (doc == NULL)
		return hth_fail_memory(t->err, "a config", 256);
	put_ids(t->m, doc);
	enum hth_status st = write_json(t, "generation_config.json", doc);
	json_decref(doc);
	return st;
}

enum hth_status hth_folder_texts(const struct hth_to_folder_config *cfg, const char *dir, struct hth_err *err)
{
	struct texts t = {.cfg = cfg, .m = cfg->model, .dir = dir, .err = err};
	enum hth_status st = write_config(&t);

	if (st != HTH_OK)
		return st;
	if (t.m->source->hf != NULL)
		return copy_files(&t);
	if ((st = write_tokenizer(&t)) != HTH_OK || (st = write_tokenizer_config(&t)) != HTH_OK ||
	    (st = write_generation_config(&t)) != HTH_OK || t.m->template_source == NULL)
		return st;
	return write_in(&t, "chat_template.jinja", t.m->template_source, strlen(t.m->template_source));
}
