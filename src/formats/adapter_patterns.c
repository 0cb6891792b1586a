/* PEFT's rank_pattern and alpha_pattern. PEFT matches a module path against `(.*\.)?(KEY)$` from its beginning, KEY
 * being a regular expression, and takes the first key that matches. Most keys are plain paths: those are compared
 * directly (a dot still matches any character); the others go through PCRE2 with bounds on time and memory.
 * Source: PEFT 0.21, utils/other.py get_pattern_key. */
#include "formats/adapter_int.h"

#include "base/json.h"
#include "base/mem.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdio.h>
#include <string.h>

enum { MAX_KEY_BYTES = 4096, MAX_REGEXES = 256, MATCH_LIMIT = 100000, HEAP_LIMIT_KIB = 1024 };

struct pattern {
	char *key;
	size_t key_bytes;
	double value;
	pcre2_code *code; /* NULL: a plain path */
};

struct hth_adapter_patterns {
	size_t n;
	struct pattern *list;
	pcre2_match_context *limits;
	pcre2_match_data *match;
};

static void *pcre_alloc(PCRE2_SIZE bytes, void *ctx)
{
	(void)ctx;
	return hth_alloc(bytes);
}

static void pcre_free(void *p, void *ctx)
{
	(void)ctx;
	hth_free(p);
}

static bool is_plain(const char *key)
{
	return key[strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.")] == '\0';
}

/* The end of `module` matches the plain key, at its beginning or after a dot. */
static bool plain_match(const struct pattern *p, const char *module, size_t bytes)
{
	if (p->key_bytes > bytes)
		return false;
	const char *tail = module + (bytes - p->key_bytes);
	if (tail != module && tail[-1] != '.')
		return false;
	for (size_t i = p->key_bytes; i-- > 0;)
		if (p->key[i] != tail[i] && p->key[i] != '.')
			return false;
	return true;
}

static enum hth_status compile(struct pattern *p, pcre2_general_context *memory, struct hth_err *err)
{
	char regex[MAX_KEY_BYTES + 16];
	PCRE2_UCHAR text[128] = {0};
	int code = 0;
	PCRE2_SIZE at = 0;
	snprintf(regex, sizeof(regex), "(.*\\.)?(%s)$", p->key);
	pcre2_compile_context *limits = pcre2_compile_context_create(memory);
	if (limits == NULL)
		return hth_fail_memory(err, "a pattern", p->key_bytes);
	(void)pcre2_set_parens_nest_limit(limits, 32);
	p->code = pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED,
				PCRE2_ANCHORED | PCRE2_DOLLAR_ENDONLY | PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &code, &at,
				limits);
	pcre2_compile_context_free(limits);
	if (p->code != NULL)
		return HTH_OK;
	if (code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED)
		return hth_fail_memory(err, "a pattern", p->key_bytes);
	(void)pcre2_get_error_message(code, text, sizeof(text));
	return hth_fail(err, HTH_ERR_FORMAT, "is no regular expression: %s", (const char *)text);
}

static enum hth_status add(struct hth_adapter_patterns *p, const char *key, const json_t *value,
			   pcre2_general_context *memory, size_t *n_regexes, struct hth_err *err)
{
	size_t bytes = strlen(key);
	if (!json_is_number(value) || !(json_number_value(value) >= 0 && json_number_value(value) <= 1e9))
		return hth_fail(err, HTH_ERR_FORMAT, "expected a number in 0..1e9");
	if (bytes > MAX_KEY_BYTES)
		return hth_fail(err, HTH_ERR_LIMIT, "%zu bytes, expected at most %d", bytes, MAX_KEY_BYTES);
	struct pattern *one = &p->list[p->n];
	one->key = hth_strdup(key);
	if (one->key == NULL)
		return hth_fail_memory(err, "a pattern", bytes);
	p->n++; /* from here on hth_adapter_patterns_free knows it */
	one->key_bytes = bytes;
	one->value = json_number_value(value);
	if (is_plain(key))
		return HTH_OK;
	if (++*n_regexes > MAX_REGEXES)
		return hth_fail(err, HTH_ERR_LIMIT, "more than %d regular expressions", MAX_REGEXES);
	return compile(one, memory, err);
}

enum hth_status hth_adapter_patterns_new(const json_t *config, const char *key, const char *where,
					 struct hth_adapter_patterns **out, struct hth_err *err)
{
	const char *name;
	json_t *value, *object = json_object_get(config, key);
	size_t n_regexes = 0;
	enum hth_status st = HTH_OK;
	*out = NULL;
	if (object != NULL && !json_is_object(object) && !json_is_null(object))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\": expected an object", where, key);
	pcre2_general_context *memory = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
	struct hth_adapter_patterns *p = hth_calloc(1, sizeof(*p));
	if (p != NULL)
		p->list = hth_calloc(json_object_size(object), sizeof(*p->list));
	if (memory == NULL || p == NULL || p->list == NULL) {
		st = hth_fail_memory(err, "patterns", json_object_size(object) * sizeof(*p->list));
		goto done;
	}
	p->limits = pcre2_match_context_create(memory);
	p->match = pcre2_match_data_create(1, memory);
	if (p->limits == NULL || p->match == NULL) {
		st = hth_fail_memory(err, "patterns", 0);
		goto done;
	}
	(void)pcre2_set_match_limit(p->limits, MATCH_LIMIT);
	(void)pcre2_set_heap_limit(p->limits, HEAP_LIMIT_KIB);
	json_object_foreach(object, name, value)
	{
		st = add(p, name, value, memory, &n_regexes, err);
		if (st != HTH_OK) {
			(void)hth_err_prefix(err, "%s: \"%s\": \"%.128s\"", where, key, name);
			break;
		}
	}
done:
	pcre2_general_context_free(memory);
	if (st != HTH_OK)
		hth_adapter_patterns_free(p);
	else
		*out = p;
	return st;
}

enum hth_status hth_adapter_patterns_get(const struct hth_adapter_patterns *p, const char *module, double def,
					 double *out, struct hth_err *err)
{
	size_t bytes = strlen(module);
	*out = def;
	for (size_t i = 0; i < p->n; i++) {
		const struct pattern *one = &p->list[i];
		bool found = one->code == NULL && plain_match(one, module, bytes);
		if (one->code != NULL) {
			int rc = pcre2_match(one->code, (PCRE2_SPTR)module, bytes, 0, 0, p->match, p->limits);
			if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
				return hth_fail(err, HTH_ERR_LIMIT, "pattern \"%.128s\" takes too long on \"%.128s\"",
						one->key, module);
			found = rc >= 0;
		}
		if (found) {
			*out = one->value;
			return HTH_OK;
		}
	}
	return HTH_OK;
}

void hth_adapter_patterns_free(struct hth_adapter_patterns *p)
{
	if (p == NULL)
		return;
	for (size_t i = 0; i < p->n; i++) {
		pcre2_code_free(p->list[i].code);
		hth_free(p->list[i].key);
	}
	hth_free(p->list);
	pcre2_match_context_free(p->limits);
	pcre2_match_data_free(p->match);
	hth_free(p);
}
