/* One getter per type over both sources of keys. */
#include "models/config.h"

#include <stdio.h>
#include <string.h>

enum { KEY_BYTES = 96 };

static const char *gguf_key(const struct hth_keys *k, const char *name, char out[KEY_BYTES])
{
	snprintf(out, KEY_BYTES, "%s.%s", k->family->gguf_arch, name);
	return out;
}

bool hth_keys_has(const struct hth_keys *k, const char *gguf, const char *hf)
{
	char key[KEY_BYTES];

	if (k->gguf != NULL)
		return gguf != NULL && hth_gguf_find(k->gguf, gguf_key(k, gguf, key)) != NULL;
	const json_t *v = hf != NULL ? json_object_get(k->json, hf) : NULL;
	return v != NULL && !json_is_null(v);
}

/* The first of a list in a GGUF file; false: it is none. */
static bool first_of_list(const struct hth_keys *k, struct hth_int_key key, int64_t *out)
{
	char name[KEY_BYTES];
	const struct hth_gguf_kv *kv =
		k->gguf != NULL && key.gguf != NULL ? hth_gguf_find(k->gguf, gguf_key(k, key.gguf, name)) : NULL;

	if (kv == NULL || kv->type != HTH_GGUF_ARRAY || kv->n == 0 || kv->elem_type == HTH_GGUF_STRING ||
	    kv->elem_type == HTH_GGUF_F32 || kv->elem_type == HTH_GGUF_F64)
		return false;
	*out = hth_gguf_array_int(kv, 0);
	return *out >= key.min && *out <= key.max;
}

enum hth_status hth_keys_int(const struct hth_keys *k, struct hth_int_key key, int64_t *out, struct hth_err *err)
{
	char name[KEY_BYTES];

	if (k->first_of_lists && first_of_list(k, key, out))
		return HTH_OK;
	if (k->gguf != NULL && key.def == HTH_KEY_NEEDED)
		return hth_gguf_need_int(k->gguf, gguf_key(k, key.gguf, name), key.min, key.max, out, err);
	*out = key.def;
	if (!hth_keys_has(k, key.gguf, key.hf)) {
		if (key.def == HTH_KEY_NEEDED)
			return hth_fail(err, HTH_ERR_NOTFOUND, "%s: no key \"%s\", expected an integer in %lld..%lld",
					k->where, key.hf, (long long)key.min, (long long)key.max);
		return HTH_OK;
	}
	if (k->gguf != NULL)
		return hth_gguf_int(k->gguf, gguf_key(k, key.gguf, name), key.min, key.max, key.def, out, err);
	return hth_json_int(k->json, key.hf, key.min, key.max, key.def, out, k->where, err);
}

enum hth_status hth_keys_real(const struct hth_keys *k, struct hth_real_key key, double *out, struct hth_err *err)
{
	char name[KEY_BYTES] = "";
	enum hth_status st;

	*out = key.def;
	if (!hth_keys_has(k, key.gguf, key.hf))
		return HTH_OK;
	if (k->gguf != NULL)
		st = hth_gguf_real(k->gguf, gguf_key(k, key.gguf, name), key.def, out, err);
	else
		st = hth_json_real(k->json, key.hf, -1e300, 1e300, key.def, out, k->where, err);
	if (st != HTH_OK || (*out > key.above && *out <= key.max))
		return st;
	return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\" is %g, expected more than %g and at most %g", k->where,
			k->gguf != NULL ? name : key.hf, *out, key.above, key.max);
}

enum hth_status hth_keys_float(const struct hth_keys *k, struct hth_real_key key, float *out, struct hth_err *err)
{
	double v = 0;
	enum hth_status st = hth_keys_real(k, key, &v, err);

	*out = (float)v;
	return st;
}

enum hth_status hth_keys_text(const struct hth_keys *k, const char *gguf, const char *hf, char out[64],
			      struct hth_err *err)
{
	char name[KEY_BYTES];
	const char *text = NULL;
	struct hth_gguf_str s = {0};
	enum hth_status st = HTH_OK;

	out[0] = '\0';
	if (!hth_keys_has(k, gguf, hf))
		return HTH_OK;
	if (k->gguf != NULL)
		st = hth_gguf_string(k->gguf, gguf_key(k, gguf, name), &s, err);
	else if ((st = hth_json_str(k->json, hf, NULL, &text, k->where, err)) == HTH_OK)
		s = (struct hth_gguf_str){.data = text, .bytes = strlen(text)};
	if (st == HTH_OK)
		hth_quote(out, 64, s.data, s.bytes);
	return st;
}
