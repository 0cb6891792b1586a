/* Splitting off a validation part, and finding the files of a data set. Which rows go is decided by a number drawn from
 * each row's content, so that neither the order of the file nor rows added later decide it, and equal rows stay on one
 * side: a validation row that is also a training row measures memory. */
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/data_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct row {
	uint64_t rank;
	size_t first, n;
};

/* By rank; rows of one content have one rank and then stand in file order. */
static int by_rank(const void *pa, const void *pb)
{
	const struct row *a = pa, *b = pb;

	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return a->first < b->first ? -1 : a->first > b->first;
}

static size_t list_rows(const struct hth_dataset *d, uint64_t seed, struct row *rows)
{
	struct hth_rng_key key = hth_rng_key(seed, HTH_RNG_SPLIT, 0, 0);
	size_t n_rows = 0;

	for (size_t i = 0; i < d->n;) {
		size_t end = i + 1;
		while (end < d->n && d->items[end].line == d->items[i].line)
			end++;
		uint32_t r[4];
		hth_rng_block(key, hth_row_hash(d, i, end - i), 0, r);
		rows[n_rows++] = (struct row){.rank = (uint64_t)r[0] << 32 | r[1], .first = i, .n = end - i};
		i = end;
	}
	return n_rows;
}

/* How many of the ranked rows go: `want`, rounded up to whole groups of one content, or down where that would take
 * all. */
static size_t whole_groups(const struct row *rows, size_t n_rows, size_t want)
{
	size_t up = want, down = want;

	while (up < n_rows && up > 0 && rows[up].rank == rows[up - 1].rank)
		up++;
	if (up < n_rows)
		return up;
	while (down > 0 && rows[down].rank == rows[down - 1].rank)
		down--;
	return down;
}

static enum hth_status move_rows(struct hth_dataset *train, const bool *goes, struct hth_dataset *valid,
				 struct hth_err *err)
{
	size_t kept = 0, n_go = 0;

	for (size_t i = 0; i < train->n; i++)
		n_go += goes[i];
	valid->items = hth_calloc(n_go, sizeof *valid->items);
	valid->path = hth_strdup(train->path != NULL ? train->path : "");
	if (valid->items == NULL || valid->path == NULL) {
		hth_dataset_clear(valid);
		return hth_fail_memory(err, "the validation part of a data set", n_go);
	}
	valid->cap = n_go;
	for (size_t i = 0; i < train->n; i++) {
		if (goes[i])
			valid->items[valid->n++] = train->items[i];
		else
			train->items[kept++] = train->items[i];
	}
	train->n = kept;
	hth_dataset_count(train);
	hth_dataset_count(valid);
	return HTH_OK;
}

enum hth_status hth_dataset_split(struct hth_dataset *train, double fraction, uint64_t seed, struct hth_dataset *valid,
				  struct hth_err *err)
{
	struct row *rows = NULL;
	bool *goes = NULL;
	enum hth_status status = HTH_OK;

	memset(valid, 0, sizeof *valid);
	if (!(fraction >= 0 && fraction < 1))
		return hth_fail(err, HTH_ERR_USAGE, "validation fraction %g: expected 0 <= fraction < 1", fraction);
	if (fraction == 0 || train->n < 2)
		return HTH_OK;
	rows = hth_calloc(train->n, sizeof *rows);
	goes = hth_calloc(train->n, sizeof *goes);
	if (rows == NULL || goes == NULL) {
		status = hth_fail_memory(err, "the split of a data set", train->n * sizeof *rows);
		goto done;
	}
	size_t n_rows = list_rows(train, seed, rows), want = (size_t)llround(fraction * (double)n_rows);
	if (n_rows < 2)
		goto done;
	qsort(rows, n_rows, sizeof *rows, by_rank);
	want = whole_groups(rows, n_rows, want < 1 ? 1 : want > n_rows - 1 ? n_rows - 1 : want);
	for (size_t i = 0; i < want; i++)
		memset(goes + rows[i].first, 1, rows[i].n * sizeof *goes);
	if (want > 0)
		status = move_rows(train, goes, valid, err);
done:
	hth_free(rows);
	hth_free(goes);
	return status;
}

void hth_data_paths_clear(struct hth_data_paths *p)
{
	hth_free(p->train);
	hth_free(p->valid);
	hth_free(p->test);
	*p = (struct hth_data_paths){0};
}

static enum hth_status find_part(const char *dir, const char *name, char **out, struct hth_err *err)
{
	char *path = hth_path_join(dir, name);

	if (path == NULL)
		return hth_fail_memory(err, "a file's name", strlen(dir) + strlen(name));
	if (hth_path_kind(path) == HTH_PATH_FILE)
		*out = path;
	else
		hth_free(path);
	return HTH_OK;
}

enum hth_status hth_data_find(const char *path, struct hth_data_paths *out, struct hth_err *err)
{
	enum hth_status status = HTH_OK;

	*out = (struct hth_data_paths){0};
	switch (hth_path_kind(path)) {
	case HTH_PATH_FILE:
		out->train = hth_strdup(path);
		return out->train != NULL ? HTH_OK : hth_fail_memory(err, "a file's name", strlen(path));
	case HTH_PATH_DIR:
		break;
	case HTH_PATH_NONE:
		return hth_fail(err, HTH_ERR_NOTFOUND,
				"%s: there is no such file or folder; expected a .jsonl file, or a folder "
				"with train.jsonl",
				path);
	default:
		return hth_fail(err, HTH_ERR_IO, "%s: is neither a regular file nor a folder", path);
	}
	status = find_part(path, "train.jsonl", &out->train, err);
	if (status == HTH_OK)
		status = find_part(path, "valid.jsonl", &out->valid, err);
	if (status == HTH_OK)
		status = find_part(path, "test.jsonl", &out->test, err);
	if (status == HTH_OK && out->train == NULL)
		status = hth_fail(err, HTH_ERR_NOTFOUND, "%s: has no train.jsonl", path);
	if (status != HTH_OK)
		hth_data_paths_clear(out);
	return status;
}
