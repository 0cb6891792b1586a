/* What both kinds of source share. */
#include "models/source.h"

#include "base/mem.h"

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
		hth_free(s->repacked[i].data);
	hth_free(s->repacked);
	hth_free(s->used);
	s->kind->close(s);
	hth_free(s);
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

enum hth_status hth_source_check_all_used(const struct hth_source *s, struct hth_err *err)
{
	char shown[80];

	for (size_t i = 0; i < s->n_tensors; i++) {
		if (s->used[i])
			continue;
		size_t bytes;
		const char *name = s->kind->tensor_name(s, i, &bytes);
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: \"%s\" has no place in a model of family \"%s\" (%zu such tensors); "
				"without it the answers would be wrong",
				s->path, hth_quote(shown, sizeof(shown), name, bytes), s->keys.family->name,
				s->n_tensors - s->n_used);
	}
	return HTH_OK;
}
