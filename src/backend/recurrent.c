/* See recurrent.h. */
#include "backend/recurrent.h"

#include "base/checked.h"
#include "base/mem.h"

struct mark {
	int64_t at; /* tokens; -1: empty */
	bool kept;  /* the end of a segment of several tokens: others are written over first */
};

struct hth_recurrent {
	struct hth_recurrent_shape shape;
	float *data;        /* for each layer: (MARKS,elems[0]), (MARKS,elems[1]) */
	struct mark *marks; /* (L,PARTS,MARKS) */
};

/* Numbers of one layer; false when they do not fit. */
static bool layer_elems(const struct hth_recurrent_shape *s, uint64_t *n)
{
	uint64_t all;

	return s->n_layers >= 0 && s->elems[0] >= 0 && s->elems[1] >= 0 &&
	       hth_add_u64((uint64_t)s->elems[0], (uint64_t)s->elems[1], &all) &&
	       hth_mul_u64(all, HTH_RECURRENT_MARKS, n) && *n <= UINT64_MAX / 16;
}

uint64_t hth_recurrent_bytes(const struct hth_recurrent_shape *s)
{
	uint64_t n;

	return layer_elems(s, &n) && hth_mul_u64(n, (uint64_t)s->n_layers, &n) && n <= UINT64_MAX / 16
	               ? n * sizeof(float)
	               : UINT64_MAX;
}

static struct mark *marks_of(const struct hth_recurrent *r, int32_t layer, int part)
{
	return r->marks + (layer * HTH_RECURRENT_PARTS + part) * HTH_RECURRENT_MARKS;
}

enum hth_status hth_recurrent_new(const struct hth_recurrent_shape *s, struct hth_recurrent **out, struct hth_err *err)
{
	uint64_t bytes = hth_recurrent_bytes(s);
	struct hth_recurrent *r = NULL;

	*out = NULL;
	if (bytes <= SIZE_MAX / 2)
		r = hth_calloc(1, sizeof *r);
	if (r != NULL) {
		size_t n_marks = (size_t)s->n_layers * HTH_RECURRENT_PARTS * HTH_RECURRENT_MARKS;
		r->shape = *s;
		r->data = hth_calloc((size_t)(bytes / sizeof(float)), sizeof(float));
		r->marks = hth_calloc(n_marks, sizeof *r->marks);
		for (size_t i = 0; r->marks != NULL && i < n_marks; i++)
			r->marks[i].at = -1;
	}
	if (r == NULL || r->data == NULL || r->marks == NULL) {
		hth_recurrent_free(r);
		return hth_fail_memory(err, "a state's layers that recur", bytes > SIZE_MAX ? SIZE_MAX : (size_t)bytes);
	}
	*out = r;
	return HTH_OK;
}

void hth_recurrent_free(struct hth_recurrent *r)
{
	if (r == NULL)
		return;
	hth_free(r->data);
	hth_free(r->marks);
	hth_free(r);
}

/* Which mark to write over: an empty one, else one that is not kept, else the oldest; never `source`. */
static int victim(const struct mark *m, int source)
{
	int best = -1;

	for (int i = 0; i < HTH_RECURRENT_MARKS; i++) {
		if (i == source)
			continue;
		if (m[i].at < 0)
			return i;
		if (best < 0 || m[i].kept < m[best].kept || (m[i].kept == m[best].kept && m[i].at < m[best].at))
			best = i;
	}
	return best;
}

static enum hth_status check(const struct hth_recurrent *r, int32_t layer, enum hth_recurrent_part part, int64_t elems,
                             struct hth_err *err)
{
	if (r == NULL || layer < 0 || layer >= r->shape.n_layers || r->shape.elems[part] != elems)
		return hth_fail(err, HTH_ERR_SHAPE, "layer %d of %lld numbers that recur is not in the state", layer,
		                (long long)elems);
	return HTH_OK;
}

enum hth_status hth_recurrent_move(struct hth_recurrent *r, int32_t layer, enum hth_recurrent_part part, int64_t elems,
                                   int64_t past, int64_t len, const float **from, float **to, struct hth_err *err)
{
	enum hth_status st = check(r, layer, part, elems, err);
	int source = -1;

	*from = NULL;
	*to = NULL;
	if (st != HTH_OK)
		return st;
	struct mark *m = marks_of(r, layer, part);
	float *data = r->data + layer * HTH_RECURRENT_MARKS * (r->shape.elems[0] + r->shape.elems[1]);
	if (part == HTH_RECURRENT_DELTA)
		data += HTH_RECURRENT_MARKS * r->shape.elems[0];
	for (int i = 0; i < HTH_RECURRENT_MARKS && past > 0; i++)
		if (m[i].at == past)
			source = i;
	if (source < 0 && past > 0)
		return hth_fail(err, HTH_ERR_USAGE,
		                "a layer that recurs cannot go on from token %lld, of which it remembers nothing",
		                (long long)past);
	/* What was said after `past` is another text's now. */
	for (int i = 0; i < HTH_RECURRENT_MARKS; i++)
		if (m[i].at > past)
			m[i].at = -1;
	int target = victim(m, source);
	m[target] = (struct mark){.at = past + len, .kept = len > 1};
	*from = source >= 0 ? data + source * elems : NULL;
	*to = data + target * elems;
	return HTH_OK;
}

static bool has_mark(const struct mark *m, int64_t at)
{
	for (int i = 0; i < HTH_RECURRENT_MARKS; i++)
		if (m[i].at == at)
			return true;
	return false;
}

int64_t hth_recurrent_reach(const struct hth_recurrent *r, int64_t n)
{
	int64_t best = 0;

	if (r == NULL || r->shape.n_layers == 0)
		return n;
	for (int i = 0; i < HTH_RECURRENT_MARKS; i++) {
		int64_t at = marks_of(r, 0, 0)[i].at;
		bool all = at > best && at <= n;
		for (int32_t l = 0; all && l < r->shape.n_layers; l++)
			all = has_mark(marks_of(r, l, HTH_RECURRENT_CONV), at) &&
			      has_mark(marks_of(r, l, HTH_RECURRENT_DELTA), at);
		best = all ? at : best;
	}
	return best;
}
