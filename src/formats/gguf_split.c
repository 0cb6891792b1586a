/* Models in several GGUF files, "x-00001-of-00003.gguf" to "x-00003-of-00003.gguf": the first part has the keys, each
 * has some of the tensors and three keys of its own. Each part is opened, and so validated, as a file alone; then its
 * tensors join the first part's table. Nothing ties the other parts to the first but counts and names, so all are
 * checked: every part says its number and the same two counts, no tensor is there twice, none is missing, and a part
 * that does say what model it is of says the same.
 * Source: llama.cpp's gguf-split (tools/gguf-split) and llama_split_path. */
#include "formats/gguf_int.h"

#include "base/checked.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

enum { MAX_PARTS = 99999, SUFFIX = sizeof("-00001-of-00003.gguf") - 1 };

struct split {
	const char *path; /* the one given */
	char *stem;       /* "dir/x" of "dir/x-00001-of-00003.gguf"; owned */
	int64_t number;   /* of the part given, from 0 */
	int64_t count, tensors;
};

static bool read_digits(const char *p, int64_t *out)
{
	*out = 0;
	for (int i = 0; i < 5; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		*out = *out * 10 + (p[i] - '0');
	}
	return true;
}

/* The three keys of a part; count 0: the file is whole. */
static enum hth_status read_keys(const struct hth_gguf *g, struct split *s, struct hth_err *err)
{
	enum hth_status st;

	if ((st = hth_gguf_int(g, "split.count", 0, MAX_PARTS, 0, &s->count, err)) != HTH_OK || s->count < 2)
		return st;
	if ((st = hth_gguf_need_int(g, "split.no", 0, s->count - 1, &s->number, err)) != HTH_OK)
		return st;
	return hth_gguf_need_int(g, "split.tensors.count", 1, INT32_MAX, &s->tensors, err);
}

/* The common beginning of the parts' names; what the name says must be what the keys say. */
static enum hth_status read_name(struct split *s, struct hth_err *err)
{
	size_t n = strlen(s->path);
	const char *tail = s->path + n - SUFFIX;
	int64_t number = 0, count = 0;
	bool named = n > SUFFIX && tail[0] == '-' && read_digits(tail + 1, &number) &&
		     memcmp(tail + 6, "-of-", 4) == 0 && read_digits(tail + 10, &count) &&
		     strcmp(tail + 15, ".gguf") == 0;

	if (!named || number != s->number + 1 || count != s->count)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: is part %lld of %lld of a model; the others can be found only when its name ends "
				"in \"-%05lld-of-%05lld.gguf\"",
				s->path, (long long)s->number + 1, (long long)s->count, (long long)s->number + 1,
				(long long)s->count);
	s->stem = hth_strndup(s->path, n - SUFFIX);
	return s->stem != NULL ? HTH_OK : hth_fail_memory(err, "a path", n);
}

static enum hth_status part_path(const struct split *s, int64_t number, char **out, struct hth_err *err)
{
	size_t n = strlen(s->stem) + SUFFIX + 1;

	*out = hth_alloc(n);
	if (*out == NULL)
		return hth_fail_memory(err, "a path", n);
	snprintf(*out, n, "%s-%05lld-of-%05lld.gguf", s->stem, (long long)number + 1, (long long)s->count);
	if (hth_path_kind(*out) == HTH_PATH_FILE)
		return HTH_OK;
	return hth_fail(err, HTH_ERR_NOTFOUND, "%s: no such file; it is part %lld of the %lld parts of %s", *out,
			(long long)number + 1, (long long)s->count, s->path);
}

/* A part that names its architecture or model must name the first one's. */
static enum hth_status check_same(const struct hth_gguf *first, const struct hth_gguf *part, struct hth_err *err)
{
	static const char *const keys[] = {"general.architecture", "general.name"};
	char one[64], two[64];

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		struct hth_gguf_str a, b;
		enum hth_status st = hth_gguf_string(first, keys[i], &a, err);
		if (st == HTH_OK)
			st = hth_gguf_string(part, keys[i], &b, err);
		if (st != HTH_OK)
			return st;
		if (b.data != NULL && (a.data == NULL || hth_gguf_str_order(a, b) != 0))
			return hth_fail(err, HTH_ERR_FORMAT,
					"%s: \"%s\" is \"%s\", the first part's is \"%s\"; are they parts of one model?",
					part->map.path, keys[i], hth_quote(one, sizeof(one), b.data, b.bytes),
					a.data == NULL ? "absent" : hth_quote(two, sizeof(two), a.data, a.bytes));
	}
	return HTH_OK;
}

static enum hth_status check_part(const struct split *s, const struct hth_gguf *first, const struct hth_gguf *part,
				  int64_t number, struct hth_err *err)
{
	struct split own = {.path = part->map.path};
	enum hth_status st = read_keys(part, &own, err);

	if (st != HTH_OK)
		return st;
	if (own.count != s->count || own.number != number || own.tensors != s->tensors)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: says it is part %lld of %lld with %lld tensors in all, expected part %lld of "
				"%lld with %lld; are they parts of one model?",
				own.path, own.count < 2 ? 1LL : (long long)own.number + 1,
				own.count < 2 ? 1LL : (long long)own.count,
				own.count < 2 ? (long long)part->n_tensors : (long long)own.tensors,
				(long long)number + 1, (long long)s->count, (long long)s->tensors);
	return first != part ? check_same(first, part, err) : HTH_OK;
}

/* Moves a part's map and tensors to the end of g's; the index is made anew when all are there. */
static enum hth_status join(struct hth_gguf *g, struct hth_gguf *part, struct hth_err *err)
{
	size_t n;

	if (!hth_add_size(g->n_tensors, part->n_tensors, &n))
		return hth_fail(err, HTH_ERR_LIMIT, "%s: too many tensors", part->map.path);
	struct hth_gguf_tensor *tensors = hth_realloc(g->tensors, n > 0 ? n : 1, sizeof(*tensors));
	if (tensors == NULL)
		return hth_fail_memory(err, "GGUF tables", n * sizeof(*tensors));
	g->tensors = tensors;
	if (part->n_tensors > 0)
		memcpy(tensors + g->n_tensors, part->tensors, part->n_tensors * sizeof(*tensors));
	g->n_tensors = n;
	g->bytes += part->map.bytes;
	g->parts[g->n_parts++] = part->map;
	part->map = (struct hth_map){0};
	return HTH_OK;
}

static enum hth_status open_part(struct hth_gguf *g, const struct split *s, int64_t number, struct hth_err *err)
{
	struct hth_gguf part = {0};
	char *path;
	enum hth_status st = part_path(s, number, &path, err);

	if (st == HTH_OK)
		st = hth_gguf_open(&part, path, err);
	if (st == HTH_OK)
		st = check_part(s, g, &part, number, err);
	if (st == HTH_OK)
		st = join(g, &part, err);
	hth_gguf_close(&part);
	hth_free(path);
	return st;
}

static enum hth_status index_all(struct hth_gguf *g, const struct split *s, struct hth_err *err)
{
	struct hth_gguf_index *index = g->index;
	enum hth_status st;

	if (g->n_tensors != (size_t)s->tensors)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: its %lld parts have %zu tensors, expected %lld", s->path,
				(long long)s->count, g->n_tensors, (long long)s->tensors);
	void *grown = hth_realloc(index->tensors, g->n_tensors, sizeof(*index->tensors));
	if (grown == NULL)
		return hth_fail_memory(err, "GGUF tables", g->n_tensors * sizeof(*index->tensors));
	index->tensors = grown;
	st = hth_gguf_index_names(g, index, err);
	return st == HTH_OK || err == NULL ? st : hth_err_prefix(err, "%s and its other parts", s->path);
}

/* g is the first part and stays valid, if useless, when this fails. */
static enum hth_status join_all(struct hth_gguf *g, const struct split *s, struct hth_err *err)
{
	enum hth_status st = check_part(s, g, g, 0, err);

	if (st != HTH_OK)
		return st;
	g->parts = hth_calloc((size_t)s->count - 1, sizeof(*g->parts));
	if (g->parts == NULL)
		return hth_fail_memory(err, "parts of a model", (size_t)s->count * sizeof(*g->parts));
	for (int64_t i = 1; st == HTH_OK && i < s->count; i++)
		st = open_part(g, s, i, err);
	return st == HTH_OK ? index_all(g, s, err) : st;
}

enum hth_status hth_gguf_open_split(struct hth_gguf *g, const char *path, struct hth_err *err)
{
	struct split s = {.path = path};
	char *first = NULL;
	enum hth_status st = hth_gguf_open(g, path, err);

	if (st != HTH_OK)
		return st;
	if ((st = read_keys(g, &s, err)) != HTH_OK || s.count < 2)
		goto done;
	if ((st = read_name(&s, err)) != HTH_OK)
		goto done;
	if (s.number != 0) {
		hth_gguf_close(g);
		if ((st = part_path(&s, 0, &first, err)) != HTH_OK || (st = hth_gguf_open(g, first, err)) != HTH_OK)
			goto done;
	}
	st = join_all(g, &s, err);
done:
	hth_free(first);
	hth_free(s.stem);
	if (st != HTH_OK)
		hth_gguf_close(g);
	return st;
}
