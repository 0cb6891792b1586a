/* Saving checkpoints: files, manifest, rename, prune. Reading them is checkpoint_load.c's.
 * Order matters: the folder's files are synced and read back before its name appears; the rename is synced before an
 * older checkpoint goes. A crash at any point leaves the old ones, and at most a folder that begins with a dot. */
#include "train/checkpoint_int.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "formats/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void hth_checkpoint_clear(struct hth_checkpoint *c)
{
	hth_free(c->path);
	memset(c, 0, sizeof *c);
}

static enum hth_status json_text(json_t *doc, char **text, size_t *bytes, struct hth_err *err)
{
	struct hth_buf buf;

	if (doc == NULL)
		return hth_fail_memory(err, "a checkpoint's description", 0);
	hth_buf_init(&buf, HTH_STATE_MAX_BYTES);
	enum hth_status status = hth_json_dump(doc, 1, &buf, err);
	if (status == HTH_OK && (*text = hth_buf_take(&buf, bytes)) == NULL)
		status = hth_fail_memory(err, "a checkpoint's description", buf.bytes);
	hth_buf_clear(&buf);
	return status;
}

/* Names: the parameter's, moments with ".m" and ".v" behind. */
enum hth_status hth_checkpoint_tensors(const struct hth_params *p, enum hth_checkpoint_part part,
				       struct hth_arena *arena, struct hth_st_tensor **out, size_t *n,
				       struct hth_err *err)
{
	size_t per = part == HTH_PART_MOMENTS ? 2 : 1;
	struct hth_st_tensor *t = hth_arena_calloc(arena, (size_t)p->n * per, sizeof *t);

	if (t == NULL)
		return hth_fail_memory(err, "a checkpoint's list of tensors", (size_t)p->n * sizeof *t);
	*out = t;
	*n = (size_t)p->n * per;
	for (int64_t i = 0; i < p->n; i++) {
		const struct hth_param *q = p->list[i];
		const float *best = p->best + (q->value - p->values);
		for (size_t j = 0; j < per; j++, t++) {
			char name[200];
			int len = snprintf(name, sizeof name, "%s%s", q->name,
					   part != HTH_PART_MOMENTS ? ""
					   : j == 0                 ? ".m"
								    : ".v");
			const float *data = part == HTH_PART_VALUES ? q->value
					    : part == HTH_PART_BEST ? best
					    : j == 0                ? q->m
								    : q->v;
			*t = (struct hth_st_tensor){.name = hth_arena_strndup(arena, name, (size_t)len),
						    .dtype = HTH_ST_F32,
						    .n_dims = 2,
						    .dim = {q->rows, q->cols},
						    .data = (const uint8_t *)data,
						    .bytes = (uint64_t)(q->rows * q->cols) * sizeof(float)};
			if (t->name == NULL)
				return hth_fail_memory(err, "a tensor's name", (size_t)len);
		}
	}
	return HTH_OK;
}

/* What was written must read back as what is in memory: a disk that lies is found now, not at the resume. */
static enum hth_status read_back(const char *path, const struct hth_st_tensor *want, size_t n, struct hth_err *err)
{
	struct hth_safetensors file = {0};
	enum hth_status status = hth_safetensors_open(&file, path, err);

	for (size_t i = 0; i < n && status == HTH_OK; i++) {
		const struct hth_st_tensor *got = hth_safetensors_find(&file, want[i].name);
		if (got == NULL || got->bytes != want[i].bytes ||
		    memcmp(got->data, want[i].data, (size_t)got->bytes) != 0)
			status = hth_fail(err, HTH_ERR_IO,
					  "%s: \"%s\" does not read back as it was written; is the disk failing?", path,
					  want[i].name);
	}
	hth_safetensors_close(&file);
	return status;
}

static enum hth_status write_tensors(const char *dir, const struct hth_params *p, enum hth_checkpoint_part part,
				     struct hth_err *err)
{
	static const char *const meta[][2] = {{"format", "hearth checkpoint"}};
	struct hth_st_tensor *t = NULL;
	struct hth_arena arena;
	size_t n = 0;
	char *path = hth_path_join(dir, hth_checkpoint_part_file[part]);
	enum hth_status status = HTH_OK;

	hth_arena_init(&arena, SIZE_MAX / 2);
	if (path == NULL)
		status = hth_fail_memory(err, "a checkpoint's file name", strlen(dir));
	if (status == HTH_OK)
		status = hth_checkpoint_tensors(p, part, &arena, &t, &n, err);
	if (status == HTH_OK)
		status = hth_safetensors_write(path, t, n, meta, 1, err);
	if (status == HTH_OK)
		status = read_back(path, t, n, err);
	hth_arena_clear(&arena);
	hth_free(path);
	return status;
}

/* Sets a key; ok turns false for good when memory runs out anywhere: half a state must never be written. */
static void put(json_t *o, const char *key, json_t *v, bool *ok)
{
	*ok = json_object_set_new(o, key, v) == 0 && *ok;
}

static json_t *facts_json(const struct hth_facts *f, bool must, bool *ok)
{
	json_t *o = json_object();

	for (int i = 0; i < f->n; i++)
		if (f->item[i].must == must)
			put(o, f->item[i].name, json_string(f->item[i].value), ok);
	return o;
}

/* Integers as they are, reals with 17 digits as text: a reader of another locale or precision cannot change a bit. */
static void put_real(json_t *o, const char *key, double v, bool *ok)
{
	char text[40];

	snprintf(text, sizeof text, "%.17g", v);
	put(o, key, json_string(text), ok);
}

/* NULL when memory runs out. */
static json_t *state_json(const struct hth_progress_state *s, const struct hth_facts *facts)
{
	json_t *doc = json_object(), *at = json_object();
	bool ok = true;

	for (size_t i = 0; i < hth_state_n_fields; i++)
		put(at, hth_state_fields[i].name,
		    json_integer(*(const int64_t *)((const char *)s + hth_state_fields[i].offset)), &ok);
	put_real(at, "best_loss", s->best_loss, &ok);
	put_real(at, "elapsed_s", s->elapsed_s, &ok);
	put(doc, "format", json_string("hearth checkpoint"), &ok);
	put(doc, "version", json_integer(HTH_CHECKPOINT_VERSION), &ok);
	put(doc, "at", at, &ok);
	put(doc, "must_agree", facts_json(facts, true, &ok), &ok);
	put(doc, "may_differ", facts_json(facts, false, &ok), &ok);
	if (ok)
		return doc;
	json_decref(doc);
	return NULL;
}

static enum hth_status write_json(const char *dir, const char *name, json_t *doc, struct hth_err *err)
{
	char *text = NULL, *path = hth_path_join(dir, name);
	size_t bytes = 0;
	enum hth_status status = json_text(doc, &text, &bytes, err);

	if (status == HTH_OK && path == NULL)
		status = hth_fail_memory(err, "a checkpoint's file name", strlen(dir));
	if (status == HTH_OK)
		status = hth_file_write(path, text, bytes, err);
	hth_free(text);
	hth_free(path);
	json_decref(doc);
	return status;
}

enum hth_status hth_checkpoint_manifest_hash(const json_t *files, int64_t step, uint64_t *hash, struct hth_err *err)
{
	json_t *doc = json_pack("{s:i, s:I, s:O}", "version", HTH_CHECKPOINT_VERSION, "step", (json_int_t)step, "files",
				files);
	char *text = NULL;
	size_t bytes = 0;
	enum hth_status status = json_text(doc, &text, &bytes, err);

	if (status == HTH_OK)
		*hash = hth_hash64(text, bytes, 0);
	hth_free(text);
	json_decref(doc);
	return status;
}

static enum hth_status manifest_entry(const char *dir, const char *name, json_t *files, struct hth_err *err)
{
	char *path = hth_path_join(dir, name), hex[24];
	uint64_t hash = 0;
	size_t bytes = 0;
	int fd = -1;
	enum hth_status status = path != NULL ? hth_hash_file(path, &hash, err)
					      : hth_fail_memory(err, "a checkpoint's file name", strlen(dir));

	if (status == HTH_OK)
		status = hth_file_open_regular(path, &fd, &bytes, err);
	if (status == HTH_OK) {
		close(fd);
		snprintf(hex, sizeof hex, "%016llx", (unsigned long long)hash);
		json_t *entry = json_pack("{s:s, s:I, s:s}", "name", name, "bytes", (json_int_t)bytes, "xxh3", hex);
		if (entry == NULL || json_array_append_new(files, entry) != 0)
			status = hth_fail_memory(err, "a checkpoint's manifest", 0);
	}
	hth_free(path);
	return status;
}

static enum hth_status write_manifest(const char *dir, int64_t step, bool with_best, struct hth_err *err)
{
	json_t *files = json_array();
	uint64_t hash = 0;
	char hex[24];
	enum hth_status status = files != NULL ? HTH_OK : hth_fail_memory(err, "a checkpoint's manifest", 0);

	for (int part = 0; part < HTH_PART_COUNT && status == HTH_OK; part++)
		if (part != HTH_PART_BEST || with_best)
			status = manifest_entry(dir, hth_checkpoint_part_file[part], files, err);
	if (status == HTH_OK)
		status = manifest_entry(dir, "state.json", files, err);
	if (status == HTH_OK)
		status = hth_checkpoint_manifest_hash(files, step, &hash, err);
	if (status == HTH_OK) {
		snprintf(hex, sizeof hex, "%016llx", (unsigned long long)hash);
		status = write_json(dir, "manifest.json",
				    json_pack("{s:s, s:i, s:I, s:O, s:s}", "format", "hearth checkpoint", "version",
					      HTH_CHECKPOINT_VERSION, "step", (json_int_t)step, "files", files, "xxh3",
					      hex),
				    err);
	}
	json_decref(files);
	return status;
}

static enum hth_status write_files(const char *dir, const struct hth_params *p, const struct hth_progress_state *at,
				   const struct hth_facts *facts, struct hth_err *err)
{
	bool with_best = at->best_step > 0;
	enum hth_status status = write_tensors(dir, p, HTH_PART_VALUES, err);

	if (status == HTH_OK)
		status = write_tensors(dir, p, HTH_PART_MOMENTS, err);
	if (status == HTH_OK && with_best)
		status = write_tensors(dir, p, HTH_PART_BEST, err);
	if (status == HTH_OK)
		status = write_json(dir, "state.json", state_json(at, facts), err);
	if (status == HTH_OK)
		status = write_manifest(dir, at->step, with_best, err);
	return status == HTH_OK ? hth_fsync_dir(dir, err) : status;
}

/* Space for the new folder beside the old ones, with something to spare. */
static enum hth_status check_space(const char *dir, const struct hth_params *p, bool with_best, struct hth_err *err)
{
	uint64_t need = p->n_elems * sizeof(float) * (with_best ? 4 : 3) + ((uint64_t)1 << 20), have = 0;
	enum hth_status status = hth_disk_free(dir, &have, err);

	if (status != HTH_OK || have >= need)
		return status;
	return hth_fail(err, HTH_ERR_IO, "%s: a checkpoint needs %llu bytes and the disk has %llu left", dir,
			(unsigned long long)need, (unsigned long long)have);
}

/* A folder of the same step may stand there: from a run that was resumed before it, or damaged. It makes room under a
 * name that no reader takes for a checkpoint. */
static enum hth_status move_in(const char *dir, const char *temp, const char *path, struct hth_err *err)
{
	char *old = NULL;
	enum hth_status status = HTH_OK;

	if (hth_path_kind(path) != HTH_PATH_NONE) {
		char name[64];
		snprintf(name, sizeof name, HTH_CHECKPOINT_OLD "%ld", (long)getpid());
		old = hth_path_join(dir, name);
		status = old != NULL ? hth_remove_tree(old, err) : hth_fail_memory(err, "a folder's name", strlen(dir));
		if (status == HTH_OK)
			status = hth_rename_dir(path, old, err);
	}
	if (status == HTH_OK)
		status = hth_rename_dir(temp, path, err);
	if (status == HTH_OK && old != NULL)
		status = hth_remove_tree(old, err);
	hth_free(old);
	return status;
}

enum hth_status hth_checkpoint_save(const char *dir, const struct hth_params *p, const struct hth_progress_state *at,
				    const struct hth_facts *facts, int64_t keep, struct hth_err *err)
{
	char name[64], temp_name[64], *path = NULL, *temp = NULL;
	const char *bad = hth_params_not_finite(p);
	struct hth_err why;
	enum hth_status status;

	if (bad != NULL)
		return hth_fail(err, HTH_ERR_VALUE,
				"step %lld: \"%s\" holds a value that is not finite; nothing was saved",
				(long long)at->step, bad);
	status = hth_mkdirs(dir, err);
	if (status == HTH_OK)
		status = check_space(dir, p, at->best_step > 0, err);
	if (status != HTH_OK)
		return status;
	snprintf(name, sizeof name, "step-%lld", (long long)at->step);
	snprintf(temp_name, sizeof temp_name, HTH_CHECKPOINT_TEMP "%ld", (long)getpid());
	path = hth_path_join(dir, name);
	temp = hth_path_join(dir, temp_name);
	if (path == NULL || temp == NULL) {
		status = hth_fail_memory(err, "a checkpoint's name", strlen(dir));
		goto done;
	}
	status = hth_remove_tree(temp, err);
	if (status == HTH_OK)
		status = hth_mkdirs(temp, err);
	if (status == HTH_OK)
		status = write_files(temp, p, at, facts, err);
	if (status == HTH_OK)
		status = move_in(dir, temp, path, err);
	if (status != HTH_OK) {
		enum hth_status ignored = hth_remove_tree(temp, NULL); /* the first error is the one to tell */
		(void)ignored;
	} else if (keep > 0 && hth_checkpoint_prune(dir, keep, at->step, &why) != HTH_OK) {
		hth_warn("step %lld is saved, but older checkpoints could not be removed: %s", (long long)at->step,
			 why.text);
	}
done:
	hth_free(path);
	hth_free(temp);
	return status;
}
