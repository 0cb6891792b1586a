/* What both kinds of source share. */
#include "models/source.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/pages.h"

#include <stdio.h>
#include <string.h>

enum hth_status hth_source_open(const char *path, struct hth_source **out, struct hth_err *err)
{
	struct hth_source *s = hth_calloc(1, sizeof(*s));
	enum hth_status st;

	*out = NULL;
	if (s == NULL)
		return hth_fail_memory(err, "a model's source", sizeof(*s));
	s->path = path;
	s->idle = SIZE_MAX;
	s->kind = hth_path_kind(path) == HTH_PATH_DIR ? &hth_source_hf : &hth_source_gguf;
	st = s->kind->open(s, err);
	if (st == HTH_OK) {
		s->used = hth_calloc(s->n_tensors, sizeof(*s->used));
		if (s->used == NULL)
			st = hth_fail_memory(err, "a model's tensors", s->n_tensors);
	}
	if (st == HTH_OK)
		*out = s;
	else
		hth_source_close(s);
	return st;
}

void hth_source_close(struct hth_source *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; s->repacked != NULL && i < s->n_tensors; i++)
		hth_pages_free(s->repacked[i].data, (size_t)s->repacked[i].bytes);
	hth_free(s->repacked);
	hth_free(s->used);
	s->kind->close(s);
	hth_free(s);
}

static void drop_idle(struct hth_source *s)
{
	if (s->idle == SIZE_MAX)
		return;
	struct hth_repacked *r = &s->repacked[s->idle];
	hth_pages_drop(r->data, (size_t)r->bytes);
	r->filled = false;
	s->idle = SIZE_MAX;
}

static enum hth_status hold(struct hth_source *s, size_t number, struct hth_err *err)
{
	struct hth_repacked *r = &s->repacked[number];
	enum hth_status st = HTH_OK;

	if (!r->filled) {
		drop_idle(s);
		st = hth_pages_take(r->data, (size_t)r->bytes, err);
		if (st == HTH_OK)
			st = r->fill(s, number, r->data, err);
		r->filled = st == HTH_OK;
	}
	if (st == HTH_OK && s->idle == number)
		s->idle = SIZE_MAX;
	r->holders += st == HTH_OK;
	return st;
}

/* The tensor laid out anew that data lies in; n_tensors: none. */
static size_t find_repacked(const struct hth_source *s, const uint8_t *data)
{
	size_t i = 0;

	while (i < s->n_tensors && (s->repacked[i].data == NULL || data < s->repacked[i].data ||
				    data >= s->repacked[i].data + s->repacked[i].bytes))
		i++;
	return i;
}

enum hth_status hth_source_lay_out(struct hth_source *s, size_t number, const struct hth_repacked *how, bool now,
				   struct hth_err *err)
{
	void *data;

	if (s->repacked == NULL && (s->repacked = hth_calloc(s->n_tensors, sizeof(*s->repacked))) == NULL)
		return hth_fail_memory(err, "a model's tensors", s->n_tensors * sizeof(*s->repacked));
	if (s->repacked[number].data != NULL || how->bytes == 0) /* fused ones are asked for by each of their parts */
		return HTH_OK;
	if (how->bytes > SIZE_MAX)
		return hth_fail_memory(err, "a tensor", SIZE_MAX);
	enum hth_status st = hth_pages_reserve((size_t)how->bytes, &data, err);
	if (st != HTH_OK)
		return st;
	s->repacked[number] = *how;
	s->repacked[number].data = data;
	return now || !s->on_demand ? hold(s, number, err) : HTH_OK;
}

enum hth_status hth_source_hold(struct hth_source *s, const uint8_t *data, struct hth_err *err)
{
	size_t i = s->repacked != NULL ? find_repacked(s, data) : s->n_tensors;

	return i < s->n_tensors ? hold(s, i, err) : HTH_OK;
}

void hth_source_release(struct hth_source *s, const uint8_t *data)
{
	size_t i = s->repacked != NULL ? find_repacked(s, data) : s->n_tensors;

	if (i == s->n_tensors || --s->repacked[i].holders > 0)
		return;
	drop_idle(s);
	s->idle = i;
}

enum hth_status hth_source_hold_all(struct hth_source *s, struct hth_err *err)
{
	enum hth_status st = HTH_OK;

	for (size_t i = 0; st == HTH_OK && s->repacked != NULL && i < s->n_tensors; i++)
		if (s->repacked[i].data != NULL)
			st = hold(s, i, err);
	return st;
}

enum hth_status hth_source_take(struct hth_source *s, const char *gguf, const char *hf, const char *suffix,
				struct hth_source_tensor *t, struct hth_err *err)
{
	const char *stem = s->kind->gguf ? gguf : hf;

	*t = (struct hth_source_tensor){.quant = HTH_QUANT_NONE};
	if (stem == NULL)
		return HTH_OK;
	snprintf(t->name, sizeof(t->name), "%s.%s", stem, suffix);
	return s->kind->find(s, t, err);
}

void hth_source_mark(struct hth_source *s, size_t number)
{
	s->n_used += !s->used[number];
	s->used[number] = true;
}

/* Of another part of the checkpoint: by the beginning of its name, or in a layer behind the model's. */
static bool is_aside(const struct hth_source *s, const struct hth_model_config *c, const char *name, size_t bytes)
{
	const char *list = s->keys.family->aside;

	if (c->n_aside > 0 && bytes > 4 && memcmp(name, "blk.", 4) == 0) {
		int64_t l = 0;
		size_t at = 4;
		while (at < bytes && name[at] >= '0' && name[at] <= '9' && l < HTH_MAX_LAYERS)
			l = l * 10 + (name[at++] - '0');
		if (at > 4 && l >= c->n_layers && l < c->n_layers + c->n_aside)
			return true;
	}
	for (; list != NULL && *list != '\0'; list = strchr(list, ' ') + 1) {
		size_t n = strcspn(list, " ");
		if (n <= bytes && memcmp(name, list, n) == 0)
			return true;
	}
	return false;
}

enum hth_status hth_source_check_all_used(const struct hth_source *s, const struct hth_model_config *c,
					  struct hth_err *err)
{
	char shown[80], first[80] = "";
	size_t n_aside = 0;

	for (size_t i = 0; i < s->n_tensors; i++) {
		if (s->used[i])
			continue;
		size_t bytes;
		const char *name = s->kind->tensor_name(s, i, &bytes);
		if (is_aside(s, c, name, bytes)) {
			if (n_aside++ == 0)
				hth_quote(first, sizeof(first), name, bytes);
			continue;
		}
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: \"%s\" has no place in a model of family \"%s\" (%zu such tensors); "
				"without it the answers would be wrong",
				s->path, hth_quote(shown, sizeof(shown), name, bytes), s->keys.family->name,
				s->n_tensors - s->n_used);
	}
	if (n_aside > 0)
		hth_info("%s: %zu tensors of its other parts (pictures, draft heads) are left aside, \"%s\" the first", s->path,
			 n_aside, first);
	return HTH_OK;
}
