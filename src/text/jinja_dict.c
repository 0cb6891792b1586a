/* Dictionaries of the Jinja interpreter: items in order of insertion, an index by hash once there are more than a
 * few. Keys compare as in Python: 1, 1.0 and True are one key. */
#include "text/jinja_int.h"

#define SMALL 8

uint64_t hth_jdict_hash_bytes(const char *text, size_t bytes)
{
	uint64_t h = 0xcbf29ce484222325u; /* FNV-1a, then mixed: a hostile key set costs steps, never memory */
	for (size_t i = 0; i < bytes; i++)
		h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
	return h ^ (h >> 29);
}

static uint64_t hash_int(int64_t i)
{
	uint64_t h = (uint64_t)i * 0x9E3779B97F4A7C15u;
	return h ^ (h >> 32);
}

static bool hash_value(struct hth_jx *x, struct hth_jval v, uint64_t *out)
{
	uint64_t h = v.kind;
	switch (v.kind) {
	case HTH_JV_STR:
		if (!hth_jstr_flat(x, v.s))
			return false;
		*out = hth_jdict_hash_bytes(v.s->data, v.s->bytes);
		return true;
	case HTH_JV_BOOL:
		*out = hash_int(v.b);
		return true;
	case HTH_JV_INT:
		*out = hash_int(v.i);
		return true;
	case HTH_JV_FLOAT:
		*out = v.f >= -9e18 && v.f <= 9e18 ? hash_int((int64_t)v.f) : 7;
		return true;
	case HTH_JV_TUPLE:
		for (size_t i = 0; i < v.l->n; i++) {
			uint64_t e;
			if (++x->value_depth > HTH_JINJA_VALUE_DEPTH)
				return hth_jx_fail(x, HTH_ERR_LIMIT, "a value nested too deeply");
			bool ok = hash_value(x, v.l->items[i], &e);
			x->value_depth--;
			if (!ok)
				return false;
			h = hash_int((int64_t)(h ^ e));
		}
		*out = h;
		return true;
	case HTH_JV_LIST:
	case HTH_JV_DICT:
		return hth_jx_fail(x, HTH_ERR_FORMAT, "unhashable type: '%s'", hth_jv_type(v));
	default:
		*out = hash_int((int64_t)h);
		return true;
	}
}

struct hth_jdict *hth_jdict_new(struct hth_jx *x, size_t cap)
{
	struct hth_jdict *d = hth_jx_alloc(x, sizeof *d);
	if (d == NULL)
		return NULL;
	*d = (struct hth_jdict){0};
	if (cap > 0) {
		d->items = hth_jx_array(x, cap, sizeof *d->items);
		d->cap = cap;
		if (d->items == NULL)
			return NULL;
	}
	return d;
}

static bool reindex(struct hth_jx *x, struct hth_jdict *d)
{
	size_t cap = 32;
	while (cap < 2 * d->cap)
		cap *= 2;
	d->index = hth_jx_array(x, cap, sizeof *d->index);
	if (d->index == NULL)
		return false;
	memset(d->index, 0, cap * sizeof *d->index);
	d->index_cap = cap;
	for (size_t i = 0; i < d->n; i++) {
		size_t at = d->items[i].hash & (cap - 1);
		while (d->index[at] != 0)
			at = (at + 1) & (cap - 1);
		d->index[at] = (uint32_t)(i + 1);
	}
	return true;
}

/* The item with this key, or NULL. */
static bool lookup(struct hth_jx *x, const struct hth_jdict *d, struct hth_jval key, uint64_t hash,
		   struct hth_jpair **out)
{
	bool equal = false;
	*out = NULL;
	if (d->index == NULL) {
		for (size_t i = 0; i < d->n && !equal; i++) {
			if (d->items[i].hash != hash)
				continue;
			if (!hth_jv_equal(x, d->items[i].key, key, &equal))
				return false;
			*out = equal ? &d->items[i] : NULL;
		}
		return true;
	}
	for (size_t at = hash & (d->index_cap - 1); d->index[at] != 0; at = (at + 1) & (d->index_cap - 1)) {
		struct hth_jpair *p = &d->items[d->index[at] - 1];
		if (!hth_jx_charge(x, 1) || (p->hash == hash && !hth_jv_equal(x, p->key, key, &equal)))
			return false;
		if (equal) {
			*out = p;
			return true;
		}
	}
	return true;
}

bool hth_jdict_set(struct hth_jx *x, struct hth_jdict *d, struct hth_jval key, struct hth_jval value)
{
	uint64_t hash;
	struct hth_jpair *p;
	if (!hash_value(x, key, &hash) || !lookup(x, d, key, hash, &p))
		return false;
	if (p != NULL) {
		p->value = value;
		return true;
	}
	if (d->n >= UINT32_MAX / 4)
		return hth_jx_fail(x, HTH_ERR_LIMIT, "a dict with too many keys");
	if (d->n == d->cap) {
		size_t cap = d->cap == 0 ? 4 : 2 * d->cap;
		struct hth_jpair *grown = hth_jx_array(x, cap, sizeof *grown);
		if (grown == NULL)
			return false;
		if (d->n > 0)
			memcpy(grown, d->items, d->n * sizeof *grown);
		d->items = grown;
		d->cap = cap;
		if (cap > SMALL && !reindex(x, d))
			return false;
	} else if (d->cap > SMALL && d->index == NULL && !reindex(x, d)) {
		return false;
	}
	d->items[d->n++] = (struct hth_jpair){.key = key, .value = value, .hash = hash};
	if (d->index != NULL) {
		size_t at = hash & (d->index_cap - 1);
		while (d->index[at] != 0)
			at = (at + 1) & (d->index_cap - 1);
		d->index[at] = (uint32_t)d->n;
	}
	return true;
}

bool hth_jdict_find(struct hth_jx *x, const struct hth_jdict *d, struct hth_jval key, struct hth_jval **out)
{
	uint64_t hash;
	struct hth_jpair *p;
	if (!hash_value(x, key, &hash) || !lookup(x, d, key, hash, &p))
		return false;
	*out = p == NULL ? NULL : &p->value;
	return true;
}

struct hth_jval *hth_jdict_get(const struct hth_jdict *d, const char *name, size_t bytes)
{
	uint64_t hash = hth_jdict_hash_bytes(name, bytes);
	size_t at = d->index == NULL ? 0 : hash & (d->index_cap - 1);
	for (size_t seen = 0; seen < (d->index == NULL ? d->n : d->index_cap); seen++) {
		struct hth_jpair *p = d->index == NULL    ? &d->items[seen]
				      : d->index[at] == 0 ? NULL
							  : &d->items[d->index[at] - 1];
		if (p == NULL)
			return NULL;
		if (p->hash == hash && p->key.kind == HTH_JV_STR && p->key.s->bytes == bytes &&
		    memcmp(p->key.s->data, name, bytes) == 0)
			return &p->value;
		at = d->index == NULL ? 0 : (at + 1) & (d->index_cap - 1);
	}
	return NULL;
}
