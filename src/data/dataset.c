/* A data set in memory: reading a file row by row, the rules for over-long rows, duplicates, and the list of issues.
 * What a row means is rows.c's business, lines are jsonl.c's, splitting split.c's. */
#include "data/data_int.h"
#include "data/jsonl.h"
#include "data/rows.h"

#include "base/checked.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static enum hth_status add_issue(struct hth_dataset *d, uint32_t line, enum hth_status what, const char *text,
				 struct hth_err *err)
{
	if (d->n_issues == HTH_DATA_MAX_ISSUES)
		return HTH_OK;
	void *grown = hth_grow(d->issues, d->n_issues, &d->issues_cap, HTH_DATA_MAX_ISSUES, sizeof *d->issues);
	if (grown == NULL)
		return hth_fail_memory(err, "the issues of a data set", d->n_issues * sizeof *d->issues);
	d->issues = grown;
	struct hth_data_issue *issue = &d->issues[d->n_issues++];
	*issue = (struct hth_data_issue){.line = line, .status = what};
	snprintf(issue->text, sizeof issue->text, "%s", text);
	size_t n = strlen(issue->text);
	issue->text[n - hth_utf8_partial_tail(issue->text, n)] = '\0';
	return HTH_OK;
}

struct reader {
	const struct hth_chat *chat;
	const struct hth_data_config *cfg;
	bool collect;
	struct hth_dataset *out;
	struct hth_row_table seen;
};

/* Cuts an example to the first `max` tokens. */
static void cut_example(struct hth_example *e, size_t max)
{
	e->n = max;
	e->n_targets = 0;
	for (size_t i = 0; i < max; i++)
		e->n_targets += e->target[i] != 0;
}

enum length_verdict { LENGTH_FITS, LENGTH_CUT, LENGTH_DROP };

/* Applies the rule for over-long rows; a row is dropped whole when one of its examples is too long. */
static enum hth_status apply_length(const struct reader *r, struct hth_examples *row, const char *where,
				    enum length_verdict *verdict, struct hth_err *err)
{
	size_t longest = 0, max = r->cfg->max_tokens > 0 ? (size_t)r->cfg->max_tokens : UINT32_MAX / 2;

	*verdict = LENGTH_FITS;
	for (size_t i = 0; i < row->n; i++)
		longest = row->items[i].n > longest ? row->items[i].n : longest;
	if (longest <= max)
		return HTH_OK;
	hth_fail(err, HTH_ERR_LIMIT, "%s: %zu tokens, more than max_seq_length %zu", where, longest, max);
	if (r->cfg->overlong == HTH_OVERLONG_ERROR)
		return HTH_ERR_LIMIT;
	if (r->cfg->overlong == HTH_OVERLONG_DROP) {
		*verdict = LENGTH_DROP;
		return HTH_OK;
	}
	*verdict = LENGTH_CUT;
	for (size_t i = 0; i < row->n; i++)
		if (row->items[i].n > max)
			cut_example(&row->items[i], max);
	return HTH_OK;
}

static enum hth_status need_targets(const struct hth_examples *row, const char *where, bool was_cut,
				    struct hth_err *err)
{
	for (size_t i = 0; i < row->n; i++)
		if (row->items[i].n_targets == 0)
			return hth_fail(err, HTH_ERR_VALUE, "%s: no token of this row%s would be trained on%s", where,
					row->n > 1 ? "'s turn" : "",
					was_cut ? ": its targets lie beyond max_seq_length"
						: "; has it an assistant's answer?");
	return row->n > 0 ? HTH_OK : hth_fail(err, HTH_ERR_VALUE, "%s: the row gives no tokens", where);
}

static enum hth_status take_row(struct reader *r, struct hth_examples *row, uint32_t line, struct hth_err *err)
{
	size_t first = r->out->n, kept = row->n;
	bool repeated = false;
	enum hth_status status = HTH_OK;

	for (size_t i = 0; i < row->n && status == HTH_OK; i++) {
		struct hth_data_example e = {.tokens = row->items[i], .line = line, .turn = (uint32_t)i};
		status = hth_dataset_push(r->out, &e, err);
		if (status == HTH_OK)
			memset(&row->items[i], 0, sizeof row->items[i]); /* the data set owns it now */
	}
	if (status == HTH_OK)
		status = hth_row_table_add(&r->seen, r->out, first, kept, &repeated, err);
	r->out->n_duplicates += repeated;
	return status;
}

/* One line. Problems of the row itself come back as a status that the caller collects or fails with. */
static enum hth_status read_row(struct reader *r, const struct hth_jsonl *in, const char *where, struct hth_err *err)
{
	struct hth_examples row = {0};
	enum length_verdict verdict = LENGTH_FITS;
	enum hth_status status =
		hth_row_examples(hth_buf_str(&in->text), in->text.bytes, where, r->chat, r->cfg->targets, &row, err);

	if (status == HTH_OK)
		status = apply_length(r, &row, where, &verdict, err);
	if (status == HTH_OK && verdict == LENGTH_DROP) {
		r->out->n_dropped++;
		status = add_issue(r->out, in->line, HTH_ERR_LIMIT, err->text, err);
		goto done;
	}
	if (status == HTH_OK && verdict == LENGTH_CUT) {
		r->out->n_cut++;
		status = add_issue(r->out, in->line, HTH_OK, err->text, err);
	}
	if (status == HTH_OK)
		status = need_targets(&row, where, verdict == LENGTH_CUT, err);
	if (status == HTH_OK)
		status = take_row(r, &row, in->line, err);
done:
	hth_examples_clear(&row);
	return status;
}

static bool is_row_problem(enum hth_status s)
{
	return s == HTH_ERR_FORMAT || s == HTH_ERR_VALUE || s == HTH_ERR_LIMIT || s == HTH_ERR_UNAVAILABLE;
}

static enum hth_status read_rows(struct reader *r, struct hth_jsonl *in, char *where, size_t where_bytes,
				 struct hth_err *err)
{
	size_t n_rows = 0;

	while (r->cfg->max_rows <= 0 || n_rows < (size_t)r->cfg->max_rows) {
		bool more = false;
		enum hth_status status = hth_jsonl_next(in, &more, err);
		if (status == HTH_OK && !more)
			break;
		if (status == HTH_OK) {
			n_rows++;
			snprintf(where, where_bytes, "%s:%u", in->path, in->line);
			status = read_row(r, in, where, err);
		} else if (status != HTH_ERR_LIMIT) {
			return status; /* nothing can be read behind it */
		}
		if (status == HTH_OK)
			continue;
		if (!r->collect || !is_row_problem(status))
			return status;
		r->out->n_bad++;
		status = add_issue(r->out, in->line, status, err->text, err);
		if (status != HTH_OK)
			return status;
	}
	hth_dataset_count(r->out);
	r->out->n_rows = n_rows;
	if (r->out->n == 0 && !r->collect)
		return hth_fail(err, HTH_ERR_VALUE, "%s: %s", in->path,
				n_rows == 0 ? "has no rows" : "no row is left: all are longer than max_seq_length");
	return HTH_OK;
}

enum hth_status hth_dataset_read(const char *path, const struct hth_chat *chat, const struct hth_data_config *cfg,
				 bool collect, struct hth_dataset *out, struct hth_err *err)
{
	struct hth_err own; /* messages pass through err on their way into the list, so there must be one */
	struct reader r = {.chat = chat, .cfg = cfg, .collect = collect, .out = out};
	struct hth_jsonl in;
	char *where = NULL;
	size_t where_bytes = strlen(path) + 16;

	if (err == NULL)
		err = &own;
	memset(out, 0, sizeof *out);
	enum hth_status status = hth_jsonl_open(&in, path, err);
	if (status != HTH_OK)
		return status;
	out->path = hth_strdup(path);
	where = hth_alloc(where_bytes);
	if (out->path == NULL || where == NULL)
		status = hth_fail_memory(err, "a data set's name", where_bytes);
	else
		status = read_rows(&r, &in, where, where_bytes, err);
	hth_row_table_clear(&r.seen);
	hth_free(where);
	hth_jsonl_close(&in);
	if (status != HTH_OK)
		hth_dataset_clear(out);
	return status;
}
