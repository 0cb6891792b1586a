/* Opening a Hugging Face folder. config.json first (small, says what this is), then the weights: model.safetensors, or
 * the shards that model.safetensors.index.json names. An index comes from outside like everything else: it may name
 * only plain files of this folder, every tensor it lists must be in the shard it says, and every tensor of a shard
 * must be listed for that shard, so that no tensor is there twice or comes from a forgotten file.
 * Leaves out: PyTorch's pickles (.bin), which run code when loaded.
 * Source: transformers modeling_utils.py (names of files), huggingface_hub's index layout. */
#include "formats/hf.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CONFIG_BYTES ((size_t)16 << 20)
#define MAX_INDEX_BYTES ((size_t)64 << 20)
#define MAX_TEMPLATE_BYTES ((size_t)4 << 20)
enum { MAX_SHARDS = 4096, MAX_NAME = 200 };

static enum hth_status join(const char *dir, const char *name, char **out, struct hth_err *err)
{
	*out = hth_path_join(dir, name);
	return *out != NULL ? HTH_OK : hth_fail_memory(err, "a path", strlen(dir) + strlen(name));
}

/* Takes no memory, so that a lack of it never looks like a lack of the file. */
static bool has_file(const struct hth_hf *h, const char *name)
{
	char full[4096];
	int n = snprintf(full, sizeof(full), "%s/%s", h->path, name);

	return n > 0 && (size_t)n < sizeof(full) && hth_path_kind(full) == HTH_PATH_FILE;
}

static enum hth_status read_config(struct hth_hf *h, struct hth_err *err)
{
	enum hth_status st = join(h->path, "config.json", &h->config_path, err);

	if (st != HTH_OK)
		return st;
	if (hth_path_kind(h->config_path) != HTH_PATH_FILE) {
		if (has_file(h, "adapter_config.json"))
			return hth_fail(err, HTH_ERR_UNAVAILABLE,
					"%s: this folder is a LoRA adapter, expected a model; name its base as the "
					"model and this folder with --adapter",
					h->path);
		return hth_fail(err, HTH_ERR_NOTFOUND, "%s: no config.json, expected in every model folder", h->path);
	}
	st = hth_json_read(h->config_path, MAX_CONFIG_BYTES, HTH_JSON_BIG_INT_AS_REAL, &h->config, err);
	if (st == HTH_OK && !json_is_object(h->config))
		st = hth_fail(err, HTH_ERR_FORMAT, "%s: expected an object", h->config_path);
	return st;
}

/* A file of this folder and nothing else: no slash, no "..", nothing hidden. */
static bool is_plain_name(const char *name, size_t bytes)
{
	return bytes > 0 && bytes <= MAX_NAME && strlen(name) == bytes && name[0] != '.' &&
	       strpbrk(name, "/\\:") == NULL && hth_path_has_suffix(name, ".safetensors");
}

static int order_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Distinct shard names of an index, sorted, borrowed from it; *names by hth_free. */
static enum hth_status shard_names(const json_t *map, const char *where, const char ***names, size_t *n,
				   struct hth_err *err)
{
	const char *tensor;
	json_t *v;
	size_t total = json_object_size(map), count = 0;
	char shown[80];

	*n = 0;
	*names = hth_calloc(total + 1, sizeof(**names));
	if (*names == NULL)
		return hth_fail_memory(err, "an index of shards", total * sizeof(**names));
	json_object_foreach((json_t *)(uintptr_t)map, tensor, v)
	{
		if (!json_is_string(v) || !is_plain_name(json_string_value(v), json_string_length(v)))
			return hth_fail(err, HTH_ERR_FORMAT,
					"%s: \"weight_map\": \"%s\": expected the name of a .safetensors file in this "
					"folder",
					where, hth_quote(shown, sizeof(shown), tensor, strlen(tensor)));
		(*names)[count++] = json_string_value(v);
	}
	qsort(*names, count, sizeof(**names), order_names);
	for (size_t i = 0; i < count; i++)
		if (*n == 0 || strcmp((*names)[*n - 1], (*names)[i]) != 0)
			(*names)[(*n)++] = (*names)[i];
	if (*n == 0 || *n > MAX_SHARDS)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"weight_map\" names %zu files, expected 1..%d", where, *n,
				MAX_SHARDS);
	return HTH_OK;
}

static enum hth_status open_shards(struct hth_hf *h, const char *const *names, size_t n, struct hth_err *err)
{
	enum hth_status st = HTH_OK;

	h->shards = hth_calloc(n, sizeof(*h->shards));
	h->first = hth_calloc(n, sizeof(*h->first));
	if (h->shards == NULL || h->first == NULL)
		return hth_fail_memory(err, "shards of a model", n * sizeof(*h->shards));
	for (size_t i = 0; i < n && st == HTH_OK; i++) {
		char *full;
		if ((st = join(h->path, names[i], &full, err)) != HTH_OK)
			return st;
		st = hth_safetensors_open(&h->shards[i], full, err);
		hth_free(full);
		if (st != HTH_OK)
			return st;
		h->n_shards = i + 1;
		h->first[i] = h->n_tensors;
		h->n_tensors += h->shards[i].n_tensors;
		h->bytes += h->shards[i].map.bytes;
	}
	return st;
}

/* Index and shards say the same. Keys of the index are unique, so agreement both ways leaves no tensor twice. */
static enum hth_status check_index(const struct hth_hf *h, const json_t *map, const char *const *names,
				   const char *where, struct hth_err *err)
{
	char shown[80];

	for (size_t s = 0; s < h->n_shards; s++)
		for (size_t i = 0; i < h->shards[s].n_tensors; i++) {
			const char *name = h->shards[s].tensors[i].name;
			const char *file = json_string_value(json_object_get(map, name));
			if (file == NULL || strcmp(file, names[s]) != 0)
				return hth_fail(err, HTH_ERR_FORMAT,
						"%s: \"%s\" is in %s, the index says %s; are the files of one model?",
						where, hth_quote(shown, sizeof(shown), name, strlen(name)), names[s],
						file != NULL ? file : "nothing of it");
		}
	if (h->n_tensors == json_object_size(map))
		return HTH_OK;
	return hth_fail(err, HTH_ERR_FORMAT,
			"%s: lists %zu tensors, the files have %zu of them; are the files of one model?", where,
			json_object_size(map), h->n_tensors);
}

static enum hth_status open_indexed(struct hth_hf *h, const char *index_path, struct hth_err *err)
{
	json_t *index = NULL;
	const char **names = NULL;
	size_t n = 0;
	enum hth_status st = hth_json_read(index_path, MAX_INDEX_BYTES, HTH_JSON_BIG_INT_AS_REAL, &index, err);

	if (st != HTH_OK)
		return st;
	const json_t *map = json_object_get(index, "weight_map");
	if (!json_is_object(map))
		st = hth_fail(err, HTH_ERR_FORMAT, "%s: \"weight_map\" is missing or no object", index_path);
	if (st == HTH_OK)
		st = shard_names(map, index_path, &names, &n, err);
	if (st == HTH_OK)
		st = open_shards(h, names, n, err);
	if (st == HTH_OK)
		st = check_index(h, map, names, index_path, err);
	hth_free(names);
	json_decref(index);
	return st;
}

static enum hth_status open_weights(struct hth_hf *h, struct hth_err *err)
{
	static const char *const one[] = {"model.safetensors"};
	char *index_path = NULL;

	if (has_file(h, one[0]))
		return open_shards(h, one, 1, err);
	enum hth_status st = join(h->path, "model.safetensors.index.json", &index_path, err);
	if (st == HTH_OK && hth_path_kind(index_path) == HTH_PATH_FILE)
		st = open_indexed(h, index_path, err);
	else if (st == HTH_OK)
		st = hth_fail(err, HTH_ERR_NOTFOUND, "%s: no model.safetensors and no model.safetensors.index.json%s",
			      h->path,
			      has_file(h, "pytorch_model.bin") || has_file(h, "pytorch_model.bin.index.json")
				      ? "; its .bin files are not read, convert them to safetensors"
				      : "; was it downloaded whole?");
	hth_free(index_path);
	return st;
}

enum hth_status hth_hf_open(struct hth_hf *h, const char *path, struct hth_err *err)
{
	*h = (struct hth_hf){.path = hth_strdup(path)};
	if (h->path == NULL)
		return hth_fail_memory(err, "a model folder", strlen(path));
	enum hth_status st = read_config(h, err);
	if (st == HTH_OK)
		st = open_weights(h, err);
	if (st != HTH_OK)
		hth_hf_close(h);
	return st;
}

void hth_hf_close(struct hth_hf *h)
{
	for (size_t i = 0; i < h->n_shards; i++)
		hth_safetensors_close(&h->shards[i]);
	hth_free(h->shards);
	hth_free(h->first);
	json_decref(h->config);
	hth_free(h->config_path);
	hth_free(h->path);
	*h = (struct hth_hf){0};
}

const struct hth_st_tensor *hth_hf_find(const struct hth_hf *h, const char *name, size_t *number)
{
	for (size_t s = 0; s < h->n_shards; s++) {
		const struct hth_st_tensor *t = hth_safetensors_find(&h->shards[s], name);
		if (t == NULL)
			continue;
		if (number != NULL)
			*number = h->first[s] + (size_t)(t - h->shards[s].tensors);
		return t;
	}
	return NULL;
}

const struct hth_st_tensor *hth_hf_tensor(const struct hth_hf *h, size_t number)
{
	size_t s = h->n_shards - 1;

	while (h->first[s] > number)
		s--;
	return &h->shards[s].tensors[number - h->first[s]];
}

/* chat_template of tokenizer_config.json; NULL: none. */
static const json_t *configured_template(const json_t *config)
{
	const json_t *all = json_object_get(config, "chat_template"), *v, *first = NULL;
	size_t i;

	if (!json_is_array(all))
		return json_is_string(all) ? all : NULL;
	json_array_foreach(all, i, v)
	{
		const char *name = json_string_value(json_object_get(v, "name"));
		const json_t *text = json_object_get(v, "template");
		if (!json_is_string(text))
			continue;
		if (name != NULL && strcmp(name, "default") == 0)
			return text;
		first = first != NULL ? first : text;
	}
	return first;
}

enum hth_status hth_hf_template(const struct hth_hf *h, char **out, size_t *bytes, struct hth_err *err)
{
	bool own = has_file(h, "chat_template.jinja");
	json_t *config = NULL;
	char *path;

	*out = NULL;
	*bytes = 0;
	if (!own && !has_file(h, "tokenizer_config.json"))
		return HTH_OK;
	enum hth_status st = join(h->path, own ? "chat_template.jinja" : "tokenizer_config.json", &path, err);
	if (st != HTH_OK)
		return st;
	if (own)
		st = hth_file_read(path, MAX_TEMPLATE_BYTES, out, bytes, err);
	else
		st = hth_json_read(path, MAX_CONFIG_BYTES, HTH_JSON_BIG_INT_AS_REAL, &config, err);
	const json_t *text = configured_template(config), *said = json_object_get(config, "chat_template");
	if (st == HTH_OK && text == NULL && said != NULL && !json_is_null(said))
		st = hth_fail(err, HTH_ERR_FORMAT,
			      "%s: \"chat_template\": expected a text, or a list of {\"name\": .., \"template\": ..}", path);
	hth_free(path);
	if (st == HTH_OK && text != NULL) {
		*bytes = json_string_length(text);
		*out = hth_strndup(json_string_value(text), *bytes);
		if (*out == NULL)
			st = hth_fail_memory(err, "chat template", *bytes);
	}
	json_decref(config);
	return st;
}
