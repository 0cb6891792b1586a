/* Reads PEFT's layout: adapter_model.safetensors and adapter_config.json. What LoRA on linear layers cannot say is
 * refused by name rather than dropped. Parameters of experts (target_parameters) are modules whose A and B hold all
 * experts. Keys: docs/formats/adapters.md; source: PEFT 0.21, tuners/lora/config.py. */
#include "formats/adapter_int.h"

#include "base/json.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct rules {
	int64_t rank;
	double alpha;
	bool rslora, dora;
	const json_t *saved; /* modules_to_save: an array of names, or NULL */
	const json_t *parameters; /* target_parameters: an array of paths, or NULL */
	struct hth_adapter_patterns *ranks, *alphas;
	size_t n_b, n_mag; /* seen so far */
};

static bool is_empty(const json_t *v)
{
	return v == NULL || json_is_null(v) || json_is_false(v) || (json_is_array(v) && json_array_size(v) == 0) ||
	       (json_is_object(v) && json_object_size(v) == 0);
}

/* Initialisations that leave the base as it is. PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA change the base's weights, so
 * that their adapters mean nothing beside the base that the user has. */
static enum hth_status check_init(const json_t *init, const char *where, struct hth_err *err)
{
	static const char *const harmless[] = {"gaussian", "eva", "orthogonal"};
	const char *name = json_string_value(init);
	if (name == NULL)
		return HTH_OK;
	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		if (strcmp(name, harmless[i]) == 0)
			return HTH_OK;
	return hth_fail(err, HTH_ERR_UNAVAILABLE,
			"%s: \"init_lora_weights\": \"%.64s\" changes the base model's weights; convert the adapter to "
			"plain LoRA with PEFT first",
			where, name);
}

static enum hth_status check_supported(const json_t *config, const char *where, struct hth_err *err)
{
	static const struct {
		const char *key, *what;
	} refused[] = {
		{"lora_bias", "a bias in lora_B"},
		{"layer_replication", "replicated layers"},
		{"trainable_token_indices", "trained tokens"},
		{"alora_invocation_tokens", "activated LoRA"},
		{"use_qalora", "QA-LoRA"},
		{"use_bdlora", "block-diagonal LoRA"},
		{"arrow_config", "Arrow routing"},
		{"velora_config", "VeLoRA"},
		{"monteclora_config", "MonteCLoRA"},
		{"kasa_config", "KaSA"},
		{"ensure_weight_tying", "an embedding and a head that are trained as one"},
	};
	const char *type, *bias;
	enum hth_status st = hth_json_str(config, "peft_type", "LORA", &type, where, err);
	if (st == HTH_OK)
		st = hth_json_str(config, "bias", "none", &bias, where, err);
	if (st != HTH_OK)
		return st;
	if (strcmp(type, "LORA") != 0)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: \"peft_type\": found \"%.64s\", expected \"LORA\"",
				where, type);
	if (strcmp(bias, "none") != 0)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: \"bias\": trained biases (\"%.64s\") are not supported",
				where, bias);
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		if (!is_empty(json_object_get(config, refused[i].key)))
			return hth_fail(err, HTH_ERR_UNAVAILABLE,
					"%s: \"%s\": %s cannot be read as LoRA on linear layers; merge it with PEFT",
					where, refused[i].key, refused[i].what);
	return check_init(json_object_get(config, "init_lora_weights"), where, err);
}

static enum hth_status read_names(const json_t *config, const char *key, const char *where, const json_t **out,
				  struct hth_err *err)
{
	const json_t *list = json_object_get(config, key), *name;
	size_t i;
	if (is_empty(list))
		return HTH_OK;
	if (!json_is_array(list))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\": expected a list of names", where, key);
	json_array_foreach(list, i, name) if (!json_is_string(name)) return hth_fail(
		err, HTH_ERR_FORMAT, "%s: \"%s\": expected a list of names", where, key);
	*out = list;
	return HTH_OK;
}

/* How the experts are stored: as the base says, or as the keys for MLX in a folder for both let know. */
static const struct hth_expert_layout *find_layout(const json_t *config, const struct hth_adapter_names *names)
{
	const json_t *keys = json_object_get(json_object_get(config, "lora_parameters"), "keys"), *key;
	size_t i;
	if (names != NULL)
		return names->layout;
	json_array_foreach(keys, i, key)
	{
		for (int k = 0; json_is_string(key) && k < HTH_EXPERT_LAYOUTS; k++) {
			const struct hth_expert_layout *l = &hth_expert_layouts[k];
			size_t n = strlen(l->mlx);
			if (strncmp(json_string_value(key), l->mlx, n) == 0 && json_string_value(key)[n] == '.')
				return l;
		}
	}
	return NULL;
}

static enum hth_status read_rules(const json_t *config, const char *where, struct rules *r, struct hth_adapter *out,
				  struct hth_err *err)
{
	const char *base = "";
	enum hth_status st = check_supported(config, where, err);
	if (st == HTH_OK)
		st = hth_json_bool(config, "use_dora", false, &r->dora, where, err);
	if (st == HTH_OK)
		st = read_names(config, "modules_to_save", where, &r->saved, err);
	if (st == HTH_OK)
		st = read_names(config, "target_parameters", where, &r->parameters, err);
	if (st == HTH_OK)
		st = hth_json_int(config, "r", 1, 65536, 8, &r->rank, where, err);
	if (st == HTH_OK)
		st = hth_json_real(config, "lora_alpha", 0, 1e9, 8, &r->alpha, where, err);
	if (st == HTH_OK)
		st = hth_json_bool(config, "use_rslora", false, &r->rslora, where, err);
	if (st == HTH_OK)
		st = hth_json_real(config, "lora_dropout", 0, 1, 0, &out->dropout, where, err);
	if (st == HTH_OK)
		st = hth_json_str(config, "base_model_name_or_path", "", &base, where, err);
	if (st == HTH_OK)
		st = hth_adapter_patterns_new(config, "rank_pattern", where, &r->ranks, err);
	if (st == HTH_OK)
		st = hth_adapter_patterns_new(config, "alpha_pattern", where, &r->alphas, err);
	if (st != HTH_OK)
		return st;
	out->alpha = r->alpha;
	out->rslora = r->rslora;
	out->base_model = hth_arena_strndup(&out->arena, base, strlen(base));
	return out->base_model != NULL ? HTH_OK : hth_fail_memory(err, "the base's name", strlen(base));
}

enum part { PART_A, PART_B, PART_MAG, PART_BASE, PART_WHOLE, PART_OTHER };

/* "base_model.model.NAME.lora_A.weight" -> part, NAME. PEFT before 0.3 kept the adapter's name ("default"). */
static enum part split_name(const char *tensor, const char **name, size_t *bytes)
{
	static const struct {
		const char *suffix;
		enum part part;
	} ends[] = {
		{".lora_A.weight", PART_A},         {".lora_B.weight", PART_B},
		{".lora_A.default.weight", PART_A}, {".lora_B.default.weight", PART_B},
		{".lora_magnitude_vector", PART_MAG}, {".lora_magnitude_vector.weight", PART_MAG},
		{".base_layer.weight", PART_BASE},  {".weight", PART_WHOLE},
	};
	size_t prefix = strlen(HTH_PEFT_PREFIX), n = strlen(tensor);
	if (strncmp(tensor, HTH_PEFT_PREFIX, prefix) != 0)
		return PART_OTHER;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		size_t tail = strlen(ends[i].suffix);
		if (n > prefix + tail && strcmp(tensor + n - tail, ends[i].suffix) == 0) {
			*name = tensor + prefix;
			*bytes = n - prefix - tail;
			return ends[i].part;
		}
	}
	return PART_OTHER;
}

/* With LoRA on lm_head, PEFT also saves a copy of the frozen head (save_embedding_layers "auto"). It says nothing new
 * where it belongs to a LoRA module and has its shape; a resized head then fails to fit the base. */
static bool is_frozen_copy(const struct hth_safetensors *s, const struct hth_st_tensor *t, size_t name_end)
{
	bool fits = false;
	size_t n = name_end + sizeof(".lora_B.weight");
	char *name = hth_alloc(n);
	if (name != NULL) {
		memcpy(name, t->name, name_end);
		memcpy(name + name_end, ".lora_B.weight", sizeof(".lora_B.weight"));
		const struct hth_st_tensor *b = hth_safetensors_find(s, name);
		name[name_end + strlen(".lora_")] = 'A';
		const struct hth_st_tensor *a = hth_safetensors_find(s, name);
		fits = a != NULL && b != NULL && t->n_dims == 2 && t->dim[0] == b->dim[0] && t->dim[1] == a->dim[1];
	}
	hth_free(name);
	return fits;
}

static enum hth_status refuse(const struct hth_st_tensor *t, struct hth_err *err)
{
	const char *what = strstr(t->name, "lora_magnitude_vector") != NULL
				   ? "magnitudes (DoRA), which the config denies"
			   : strstr(t->name, "lora_embedding_") != NULL ? "LoRA on embeddings"
			   : strstr(t->name, "lora_B.bias") != NULL     ? "a bias in lora_B"
								: "an unknown part, or a weight that modules_to_save "
								  "does not name";
	return hth_fail(err, HTH_ERR_UNAVAILABLE,
			"tensor \"%.128s\": %s; expected %sNAME.lora_A.weight or .lora_B.weight", t->name, what,
			HTH_PEFT_PREFIX);
}

/* path: what patterns are asked for, the module's or the parameter's. */
static enum hth_status set_scale(struct hth_lora_module *m, const char *path, const struct rules *r, struct hth_err *err)
{
	double rank, alpha;
	enum hth_status st = hth_adapter_patterns_get(r->ranks, path, (double)r->rank, &rank, err);
	if (st == HTH_OK)
		st = hth_adapter_patterns_get(r->alphas, path, r->alpha, &alpha, err);
	if (st != HTH_OK)
		return st;
	if (rank != (double)m->rank)
		return hth_fail(err, HTH_ERR_SHAPE, "module \"%.128s\": weights of rank %d, the config says %g",
				m->name, m->rank, rank);
	m->scale = (float)(r->rslora ? alpha / sqrt((double)m->rank) : alpha / (double)m->rank);
	return HTH_OK;
}

/* What stands beside lora_A of the same module; NULL when nothing does. */
static enum hth_status find_beside(const struct hth_safetensors *s, const char *a_name, size_t module_end,
				   const char *suffix, const struct hth_st_tensor **out, struct hth_err *err)
{
	size_t n = module_end + strlen(suffix) + 1;
	char *full = hth_alloc(n);
	if (full == NULL)
		return hth_fail_memory(err, "a name", n);
	snprintf(full, n, "%.*s%s", (int)module_end, a_name, suffix);
	*out = hth_safetensors_find(s, full);
	hth_free(full);
	return HTH_OK;
}

static enum hth_status read_magnitudes(const struct hth_safetensors *s, const char *a_name, const char *name,
				       size_t bytes, struct hth_lora_module *m, struct hth_adapter *out,
				       struct hth_err *err)
{
	size_t end = (size_t)(name - a_name) + bytes;
	const struct hth_st_tensor *t = NULL;
	enum hth_status st = find_beside(s, a_name, end, ".lora_magnitude_vector", &t, err);
	if (st == HTH_OK && t == NULL)
		st = find_beside(s, a_name, end, ".lora_magnitude_vector.weight", &t, err);
	if (st != HTH_OK)
		return st;
	if (t == NULL)
		return hth_fail(err, HTH_ERR_FORMAT, "module \"%.128s\": its lora_magnitude_vector is missing", m->name);
	if (t->n_dims != 1 || t->dim[0] != m->out)
		return hth_fail(err, HTH_ERR_SHAPE, "tensor \"%.128s\": expected %lld magnitudes", t->name,
				(long long)m->out);
	st = hth_adapter_add_mag(out, m, err);
	return st == HTH_OK ? hth_st_to_f32(t, m->mag, err) : st;
}

/* PEFT wraps a module once for each of its parameters in target_parameters, in the order in which it has them; the names
 * of inner wrappers end with ".base_layer". */
static const char *const parameters[] = {"weight", "gate_up_proj", "down_proj"};
enum { N_PARAMETERS = 3 };

static bool is_parameter(const json_t *target, const char *stem, size_t bytes, const char *parameter)
{
	const char *text = json_string_value(target), *dot = strrchr(text, '.');
	size_t n = dot != NULL ? (size_t)(dot - text) : 0;
	return n > 0 && strcmp(dot + 1, parameter) == 0 && n <= bytes && memcmp(stem + bytes - n, text, n) == 0 &&
	       (n == bytes || stem[bytes - n - 1] == '.');
}

/* The parameter that the wrapper `name` adapts, or NULL for a module of its own; *stem: bytes of the module's path. */
static enum hth_status find_parameter(const struct rules *r, const char *name, size_t bytes, size_t *stem,
				      const char **parameter, struct hth_err *err)
{
	static const char inner[] = ".base_layer";
	const size_t tail = sizeof(inner) - 1;
	const json_t *target;
	int depth = 0;
	size_t i;
	*stem = bytes;
	*parameter = NULL;
	while (*stem > tail && memcmp(name + *stem - tail, inner, tail) == 0) {
		*stem -= tail;
		depth++;
	}
	for (int k = N_PARAMETERS - 1; k >= 0; k--) {
		bool there = false;
		json_array_foreach(r->parameters, i, target) there |= is_parameter(target, name, *stem, parameters[k]);
		if (there && depth-- == 0) {
			*parameter = parameters[k];
			return HTH_OK;
		}
	}
	if (depth <= 0 && *stem == bytes)
		return HTH_OK;
	return hth_fail(err, HTH_ERR_UNAVAILABLE,
			"module \"%.*s\": a wrapper of no parameter in target_parameters (\"weight\", \"gate_up_proj\" and "
			"\"down_proj\" are known)",
			(int)(bytes < 128 ? bytes : 128), name);
}

/* Row n of gate above up in the file, where they may alternate. */
static int64_t paired_row(int64_t n, int64_t rows)
{
	return n < rows / 2 ? 2 * n : 2 * (n - rows / 2) + 1;
}

/* lora_A (E*r,C) is as we have it; column i*E + e of lora_B (N,r*E) is column i of expert e. */
static enum hth_status read_stack(const struct hth_st_tensor *b, bool paired, struct hth_lora_module *m,
				  struct hth_err *err)
{
	int64_t width = m->experts * m->rank;
	float *from = hth_calloc((size_t)(m->out * width), sizeof(*from)); // (N, r*E)
	if (from == NULL)
		return hth_fail_memory(err, "adapter weights", (size_t)(m->out * width) * sizeof(*from));
	enum hth_status st = hth_st_to_f32(b, from, err);
	for (int64_t e = 0; e < m->experts && st == HTH_OK; e++)
		for (int64_t n = 0; n < m->out; n++)
			for (int64_t i = 0; i < m->rank; i++)
				m->b[(e * m->out + n) * m->rank + i] =
					from[(paired ? paired_row(n, m->out) : n) * width + i * m->experts + e];
	hth_free(from);
	return st;
}

/* MODULE.parameter, or NULL. */
static const char *parameter_path(struct hth_arena *arena, const char *name, size_t stem, const char *parameter)
{
	size_t bytes = stem + strlen(parameter) + 2;
	char *full = hth_arena_alloc(arena, bytes);
	if (full != NULL)
		snprintf(full, bytes, "%.*s.%s", (int)stem, name, parameter);
	return full;
}

/* The adapter of a stacked parameter. */
static enum hth_status read_experts(const struct hth_st_tensor *a, const struct hth_st_tensor *b, const char *name,
				    size_t stem, const char *parameter, const struct rules *r, size_t cap,
				    struct hth_adapter *out, struct hth_err *err)
{
	struct hth_lora_module *m;
	const char *full = parameter_path(&out->arena, name, stem, parameter);
	double rank;
	if (full == NULL)
		return hth_fail_memory(err, "a name", stem);
	enum hth_status st = hth_adapter_patterns_get(r->ranks, full, (double)r->rank, &rank, err);
	if (st != HTH_OK)
		return st;
	if (!(rank >= 1 && rank <= 65536) || a->dim[0] < 1 || a->dim[0] % (int64_t)rank != 0)
		return hth_fail(err, HTH_ERR_SHAPE, "tensor \"%.128s\": %lld rows, expected %g for each expert", a->name,
				(long long)a->dim[0], rank);
	bool paired = out->layout != NULL && out->layout->paired && strcmp(parameter, "gate_up_proj") == 0;
	if (paired && b->dim[0] % 2 != 0)
		return hth_fail(err, HTH_ERR_SHAPE, "tensor \"%.128s\": %lld rows, expected pairs of gate and up", b->name,
				(long long)b->dim[0]);
	st = hth_adapter_add(out, cap, full, strlen(full), a->dim[0] / (int64_t)rank, (int64_t)rank, a->dim[1], b->dim[0],
			     &m, err);
	if (st == HTH_OK)
		st = hth_st_to_f32(a, m->a, err);
	if (st == HTH_OK)
		st = read_stack(b, paired, m, err);
	return st == HTH_OK ? set_scale(m, full, r, err) : st;
}

/* A router's name as the value has it; others are copied. NULL: no memory. */
static const char *own_name(struct hth_adapter *out, const char *name, size_t bytes)
{
	const char *rest, *full = hth_arena_strndup(&out->arena, name, bytes);
	if (full == NULL || hth_adapter_layer(full, &rest) < 0 ||
	    (strcmp(rest, "mlp.router") != 0 && strcmp(rest, "block_sparse_moe.gate") != 0))
		return full;
	size_t head = (size_t)(rest - full), room = head + sizeof(HTH_ADAPTER_ROUTER);
	char *own = hth_arena_alloc(&out->arena, room);
	if (own != NULL)
		snprintf(own, room, "%.*s%s", (int)head, full, HTH_ADAPTER_ROUTER);
	return own;
}

/* One lora_A and its lora_B. */
static enum hth_status read_pair(const struct hth_safetensors *s, const struct hth_st_tensor *a, const char *name,
				 size_t bytes, const struct rules *r, struct hth_adapter *out, struct hth_err *err)
{
	struct hth_lora_module *m;
	const char *parameter, *full;
	size_t stem;
	size_t n = strlen(a->name) + 1;
	char *b_name = hth_strdup(a->name);
	if (b_name == NULL)
		return hth_fail_memory(err, "a name", n);
	b_name[(size_t)(name - a->name) + bytes + strlen(".lora_")] = 'B';
	const struct hth_st_tensor *b = hth_safetensors_find(s, b_name);
	hth_free(b_name);
	if (b == NULL)
		return hth_fail(err, HTH_ERR_FORMAT, "tensor \"%.128s\": its lora_B is missing", a->name);
	if (a->n_dims != 2 || b->n_dims != 2 || a->dim[0] != b->dim[1])
		return hth_fail(err, HTH_ERR_SHAPE, "tensor \"%.128s\": expected lora_A (r, in) and lora_B (out, r)",
				a->name);
	enum hth_status st = find_parameter(r, name, bytes, &stem, &parameter, err);
	if (st != HTH_OK)
		return st;
	if (parameter != NULL && strcmp(parameter, "weight") != 0)
		return read_experts(a, b, name, stem, parameter, r, s->n_tensors, out, err);
	full = own_name(out, name, stem);
	if (full == NULL)
		return hth_fail_memory(err, "a name", bytes);
	st = hth_adapter_add(out, s->n_tensors, full, strlen(full), 0, a->dim[0], a->dim[1], b->dim[0], &m, err);
	if (st == HTH_OK)
		st = hth_st_to_f32(a, m->a, err);
	if (st == HTH_OK)
		st = hth_st_to_f32(b, m->b, err);
	if (st == HTH_OK && r->dora)
		st = read_magnitudes(s, a->name, name, bytes, m, out, err);
	if (st == HTH_OK && parameter != NULL)
		full = parameter_path(&out->arena, name, stem, parameter);
	if (st == HTH_OK && full == NULL)
		return hth_fail_memory(err, "a name", bytes);
	return st == HTH_OK ? set_scale(m, full, r, err) : st;
}

/* A tensor of a module in modules_to_save, by PEFT's rule: the module's path ends with the name. */
static bool is_saved(const struct rules *r, const char *name, size_t bytes)
{
	const json_t *v;
	size_t i;
	json_array_foreach(r->saved, i, v)
	{
		size_t n = json_string_length(v);
		if (n > 0 && n <= bytes && memcmp(name + bytes - n, json_string_value(v), n) == 0)
			return true;
	}
	return false;
}

static enum hth_status read_tensor(const struct hth_safetensors *s, const struct hth_st_tensor *t, struct rules *r,
				   struct hth_adapter *out, struct hth_err *err)
{
	const char *name = NULL;
	size_t bytes = 0;
	struct hth_saved_weight *saved;
	enum hth_status st;
	switch (split_name(t->name, &name, &bytes)) {
	case PART_A:
		return read_pair(s, t, name, bytes, r, out, err);
	case PART_B:
		r->n_b++;
		return HTH_OK;
	case PART_MAG:
		r->n_mag++;
		return r->dora ? HTH_OK : refuse(t, err);
	case PART_BASE:
		return is_frozen_copy(s, t, (size_t)(name - t->name) + bytes) ? HTH_OK : refuse(t, err);
	case PART_WHOLE:
		if (!is_saved(r, name, bytes))
			return refuse(t, err);
		st = hth_adapter_add_saved(out, name, t, &saved, err);
		return st == HTH_OK ? hth_st_to_f32(t, saved->value, err) : st;
	default:
		return refuse(t, err);
	}
}

enum hth_status hth_adapter_read_peft(const struct hth_safetensors *s, const json_t *config, const char *where,
				      const struct hth_adapter_names *names, struct hth_adapter *out,
				      struct hth_err *err)
{
	struct rules r = {0};
	enum hth_status st = hth_adapter_start(out, s->n_tensors, s->map.bytes, err);
	out->layout = find_layout(config, names);
	if (st == HTH_OK)
		st = read_rules(config, where, &r, out, err);
	if (st != HTH_OK)
		goto done;
	for (size_t i = 0; i < s->n_tensors && st == HTH_OK; i++)
		st = read_tensor(s, &s->tensors[i], &r, out, err);
	if (st == HTH_OK && r.n_b != out->n_modules)
		st = hth_fail(err, HTH_ERR_FORMAT, "%zu lora_A and %zu lora_B do not pair", out->n_modules, r.n_b);
	if (st == HTH_OK && r.dora && r.n_mag != out->n_modules)
		st = hth_fail(err, HTH_ERR_FORMAT, "%zu modules and %zu lora_magnitude_vector do not pair",
			      out->n_modules, r.n_mag);
	if (st == HTH_OK)
		st = hth_adapter_stack(out, err);
	if (st != HTH_OK)
		(void)hth_err_prefix(err, "%s", s->map.path);
done:
	hth_adapter_patterns_free(r.ranks);
	hth_adapter_patterns_free(r.alphas);
	return st;
}
