/* Metrics rows. A number that is not finite is written as null; reals have 17 digits, so that equal rows are equal
 * bits. */
#include "train/metrics.h"

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#define MAX_FILE_BYTES ((size_t)4 << 30)
#define MAX_ROWS ((size_t)1 << 26)
#define ROW_BYTES 640

static double real_of(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return json_is_number(v) ? json_number_value(v) : NAN;
}

static int64_t int_of(const json_t *o, const char *key)
{
	return (int64_t)json_integer_value(json_object_get(o, key));
}

static bool parse_row(const char *line, size_t bytes, struct hth_metrics_row *row)
{
	json_t *o = NULL;

	if (hth_json_parse(line, bytes, HTH_JSON_STRICT, "metrics", &o, NULL) != HTH_OK)
		return false;
	bool ok = json_is_integer(json_object_get(o, "step"));
	*row = (struct hth_metrics_row){
		.step = int_of(o, "step"),
		.epoch = real_of(o, "epoch"),
		.is_validation = json_object_get(o, "val_loss") != NULL,
		.loss = real_of(o, "loss"),
		.val_loss = real_of(o, "val_loss"),
		.lr = real_of(o, "lr"),
		.grad_norm = real_of(o, "grad_norm"),
		.tokens = int_of(o, "tokens"),
		.targets = int_of(o, "targets"),
		.tokens_per_s = real_of(o, "tokens_per_s"),
		.mem_bytes = (uint64_t)int_of(o, "mem_bytes"),
		.time_s = real_of(o, "time_s"),
		.skipped = json_is_true(json_object_get(o, "skipped")),
	};
	json_decref(o);
	return ok;
}

/* Calls fn for each whole line of the text. */
static void each_line(const char *text, size_t bytes, void (*fn)(void *ctx, const char *line, size_t n), void *ctx)
{
	while (bytes > 0) {
		const char *end = memchr(text, '\n', bytes);
		if (end == NULL)
			return; /* torn */
		fn(ctx, text, (size_t)(end - text));
		bytes -= (size_t)(end - text) + 1;
		text = end + 1;
	}
}

struct keep {
	struct hth_buf kept;
	int64_t step;
	bool drop_validation;
};

static void keep_line(void *ctx, const char *line, size_t n)
{
	struct keep *k = ctx;
	struct hth_metrics_row row;

	if (!parse_row(line, n, &row) || row.step > k->step ||
	    (k->drop_validation && row.is_validation && row.step == k->step))
		return;
	hth_buf_add(&k->kept, line, n);
	hth_buf_putc(&k->kept, '\n');
}

/* What of an earlier run stays. */
static enum hth_status trim(const char *path, int64_t keep_step, bool drop_validation, struct hth_err *err)
{
	struct keep k = {.step = keep_step, .drop_validation = drop_validation};
	char *text = NULL;
	size_t bytes = 0;

	if (hth_path_kind(path) == HTH_PATH_NONE)
		return HTH_OK;
	enum hth_status status = hth_file_read(path, MAX_FILE_BYTES, &text, &bytes, err);
	if (status != HTH_OK)
		return status;
	hth_buf_init(&k.kept, bytes + 1);
	each_line(text, bytes, keep_line, &k);
	status = hth_buf_status(&k.kept, path, err);
	if (status == HTH_OK && k.kept.bytes != bytes)
		status = hth_file_write(path, hth_buf_str(&k.kept), k.kept.bytes, err);
	hth_buf_clear(&k.kept);
	hth_free(text);
	return status;
}

enum hth_status hth_metrics_open(struct hth_metrics *m, const char *path, int64_t keep_step, bool drop_validation,
				 struct hth_err *err)
{
	*m = (struct hth_metrics){0};
	enum hth_status status = trim(path, keep_step, drop_validation, err);
	if (status != HTH_OK)
		return status;
	m->path = hth_strdup(path);
	if (m->path == NULL)
		return hth_fail_memory(err, "a file's name", strlen(path));
	m->out = fopen(path, "ab");
	if (m->out != NULL)
		return HTH_OK;
	status = hth_fail_errno(err, HTH_ERR_IO, "%s: cannot open", path);
	hth_metrics_close(m);
	return status;
}

/* Appends `,"key":value`. */
static int put_real(char *at, size_t left, const char *key, double v)
{
	return isfinite(v) ? snprintf(at, left, ",\"%s\":%.17g", key, v) : snprintf(at, left, ",\"%s\":null", key);
}

void hth_metrics_add(struct hth_metrics *m, const struct hth_metrics_row *row)
{
	char line[ROW_BYTES];
	size_t n = (size_t)snprintf(line, sizeof line, "{\"step\":%lld", (long long)row->step);

	n += (size_t)put_real(line + n, sizeof line - n, "epoch", row->epoch);
	if (row->is_validation) {
		n += (size_t)put_real(line + n, sizeof line - n, "val_loss", row->val_loss);
	} else {
		n += (size_t)put_real(line + n, sizeof line - n, "loss", row->loss);
		n += (size_t)put_real(line + n, sizeof line - n, "lr", row->lr);
		n += (size_t)put_real(line + n, sizeof line - n, "grad_norm", row->grad_norm);
	}
	n += (size_t)snprintf(line + n, sizeof line - n, ",\"tokens\":%lld,\"targets\":%lld", (long long)row->tokens,
			      (long long)row->targets);
	n += (size_t)put_real(line + n, sizeof line - n, "tokens_per_s", row->tokens_per_s);
	n += (size_t)snprintf(line + n, sizeof line - n, ",\"mem_bytes\":%llu", (unsigned long long)row->mem_bytes);
	n += (size_t)put_real(line + n, sizeof line - n, "time_s", row->time_s);
	n += (size_t)snprintf(line + n, sizeof line - n, "%s}\n", row->skipped ? ",\"skipped\":true" : "");
	if (fwrite(line, 1, n, m->out) == n && fflush(m->out) == 0)
		return;
	if (!m->warned)
		hth_warn("%s: a row was not written: %s; training goes on", m->path, strerror(errno));
	m->warned = true;
	clearerr(m->out);
}

void hth_metrics_sync(struct hth_metrics *m)
{
	if (m->out != NULL && fflush(m->out) == 0)
		fsync(fileno(m->out));
}

void hth_metrics_close(struct hth_metrics *m)
{
	if (m->out != NULL)
		fclose(m->out);
	hth_free(m->path);
	*m = (struct hth_metrics){0};
}

struct rows {
	struct hth_metrics_row *items;
	size_t n, cap;
	bool failed;
};

static void take_line(void *ctx, const char *line, size_t n)
{
	struct rows *r = ctx;
	struct hth_metrics_row row;

	if (r->failed || !parse_row(line, n, &row))
		return;
	void *grown = hth_grow(r->items, r->n, &r->cap, MAX_ROWS, sizeof *r->items);
	if (grown == NULL) {
		r->failed = true;
		return;
	}
	r->items = grown;
	r->items[r->n++] = row;
}

enum hth_status hth_metrics_read(const char *path, struct hth_metrics_row **rows, size_t *n, struct hth_err *err)
{
	struct rows r = {0};
	char *text = NULL;
	size_t bytes = 0;
	enum hth_status status = hth_file_read(path, MAX_FILE_BYTES, &text, &bytes, err);

	*rows = NULL;
	*n = 0;
	if (status != HTH_OK)
		return status;
	each_line(text, bytes, take_line, &r);
	hth_free(text);
	if (r.failed) {
		hth_free(r.items);
		return hth_fail_memory(err, "the rows of a metrics file", r.n * sizeof *r.items);
	}
	*rows = r.items;
	*n = r.n;
	return HTH_OK;
}
