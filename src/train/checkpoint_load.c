/* Finding, checking and reading checkpoints. Everything in a folder is taken for hostile or half written until the
 * manifest's checksums say otherwise; then still nothing is believed about shapes. */
#include "train/checkpoint_int.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

const char *const hth_checkpoint_part_file[HTH_PART_COUNT] = {"weights.safetensors", "moments.safetensors",
							      "best.safetensors"};

#define FIELD(f, low)                                                                                                  \
	{                                                                                                              \
#f, offsetof(struct hth_progress_state, f), low                                                        \
	}
const struct hth_state_field hth_state_fields[] = {
	FIELD(step, 0),         FIELD(updates, 0),        FIELD(skipped, 0),         FIELD(skipped_in_row, 0),
	FIELD(epoch, 0),        FIELD(cursor, 0),         FIELD(best_step, 0),       FIELD(bad_evals, 0),
	FIELD(now, INT64_MIN),  FIELD(trained_tokens, 0), FIELD(trained_targets, 0), FIELD(token_budget, 0),
	FIELD(eval_pending, 0),
};
const size_t hth_state_n_fields = sizeof hth_state_fields / sizeof hth_state_fields[0];

/* "step-12" -> 12; -1 for any other name. */
static int64_t step_of(const char *name)
{
	int64_t step;

	if (strncmp(name, "step-", 5) != 0 || name[5] < '0' || name[5] > '9' || strchr(name, '_') != NULL ||
	    !hth_parse_i64(name + 5, &step))
		return -1;
	return step;
}

static int newest_first(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? 1 : x > y ? -1 : 0;
}

/* Steps of the folders in dir, newest first; caller frees. A dir that is not there has none. */
static enum hth_status list_steps(const char *dir, int64_t **steps, size_t *n, struct hth_err *err)
{
	char **names = NULL;
	size_t n_names = 0;

	*steps = NULL;
	*n = 0;
	if (hth_path_kind(dir) == HTH_PATH_NONE)
		return HTH_OK;
	enum hth_status status = hth_dir_list(dir, &names, &n_names, err);
	if (status != HTH_OK)
		return status;
	*steps = hth_calloc(n_names + 1, sizeof **steps);
	if (*steps == NULL)
		status = hth_fail_memory(err, "a list of checkpoints", n_names);
	for (size_t i = 0; i < n_names && status == HTH_OK; i++)
		if (step_of(names[i]) >= 0)
			(*steps)[(*n)++] = step_of(names[i]);
	hth_names_free(names, n_names);
	if (*n > 1)
		qsort(*steps, *n, sizeof **steps, newest_first);
	return status;
}

static char *step_path(const char *dir, int64_t step)
{
	char name[64];

	snprintf(name, sizeof name, "step-%lld", (long long)step);
	return hth_path_join(dir, name);
}

static enum hth_status remove_named(const char *dir, const char *name, struct hth_err *err)
{
	char *path = hth_path_join(dir, name);
	enum hth_status status =
		path != NULL ? hth_remove_tree(path, err) : hth_fail_memory(err, "a folder's name", strlen(dir));

	hth_free(path);
	return status;
}

enum hth_status hth_checkpoint_prune(const char *dir, int64_t keep, int64_t newest, struct hth_err *err)
{
	char **names = NULL;
	size_t n_names = 0, n = 0;
	int64_t *steps = NULL, kept = 0;
	enum hth_status status = hth_dir_list(dir, &names, &n_names, err);

	for (size_t i = 0; i < n_names && status == HTH_OK; i++)
		if (strncmp(names[i], HTH_CHECKPOINT_TEMP, strlen(HTH_CHECKPOINT_TEMP)) == 0 ||
		    strncmp(names[i], HTH_CHECKPOINT_OLD, strlen(HTH_CHECKPOINT_OLD)) == 0)
			status = remove_named(dir, names[i], err);
	hth_names_free(names, n_names);
	if (status == HTH_OK)
		status = list_steps(dir, &steps, &n, err);
	for (size_t i = 0; i < n && status == HTH_OK; i++) {
		char name[64];
		if (steps[i] <= newest && kept++ < keep)
			continue;
		snprintf(name, sizeof name, "step-%lld", (long long)steps[i]);
		status = remove_named(dir, name, err);
	}
	hth_free(steps);
	return status;
}

/* One file of the manifest: name without a path, size, checksum. */
static enum hth_status check_file(const char *dir, const json_t *entry, struct hth_err *err)
{
	const char *name = json_string_value(json_object_get(entry, "name"));
	const char *hex = json_string_value(json_object_get(entry, "xxh3"));
	uint64_t hash = 0;
	char got[24], *path = NULL;
	bool known = name != NULL && strcmp(name, "state.json") == 0;
	enum hth_status status;

	for (int i = 0; i < HTH_PART_COUNT && name != NULL; i++)
		known = known || strcmp(name, hth_checkpoint_part_file[i]) == 0;
	if (!known || hex == NULL)
		return hth_fail(err, HTH_ERR_FORMAT, "%s/manifest.json: an entry names no file of a checkpoint", dir);
	path = hth_path_join(dir, name);
	status = path != NULL ? hth_hash_file(path, &hash, err) : hth_fail_memory(err, "a file's name", strlen(dir));
	snprintf(got, sizeof got, "%016llx", (unsigned long long)hash);
	if (status == HTH_OK && strcmp(got, hex) != 0)
		status = hth_fail(err, HTH_ERR_FORMAT,
				  "%s: its checksum is %s, expected %s: the file was cut or changed", path, got, hex);
	hth_free(path);
	return status;
}

static bool lists(const json_t *files, const char *name)
{
	for (size_t i = 0; i < json_array_size(files); i++) {
		const char *have = json_string_value(json_object_get(json_array_get(files, i), "name"));
		if (have != NULL && strcmp(have, name) == 0)
			return true;
	}
	return false;
}

static enum hth_status check_manifest(const char *dir, const json_t *doc, int64_t step, struct hth_err *err)
{
	const json_t *files = json_object_get(doc, "files");
	const char *hex = json_string_value(json_object_get(doc, "xxh3"));
	uint64_t hash = 0;
	char got[24];

	if (json_integer_value(json_object_get(doc, "version")) != HTH_CHECKPOINT_VERSION)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "%s/manifest.json: version %lld, expected %d", dir,
				(long long)json_integer_value(json_object_get(doc, "version")), HTH_CHECKPOINT_VERSION);
	if (!json_is_array(files) || hex == NULL || json_integer_value(json_object_get(doc, "step")) != step)
		return hth_fail(err, HTH_ERR_FORMAT, "%s/manifest.json: is not the manifest of step %lld", dir,
				(long long)step);
	enum hth_status status = hth_checkpoint_manifest_hash(files, step, &hash, err);
	if (status != HTH_OK)
		return status;
	snprintf(got, sizeof got, "%016llx", (unsigned long long)hash);
	if (strcmp(got, hex) != 0)
		return hth_fail(err, HTH_ERR_FORMAT, "%s/manifest.json: its checksum is %s, expected %s", dir, got,
				hex);
	if (!lists(files, "state.json") || !lists(files, hth_checkpoint_part_file[HTH_PART_VALUES]) ||
	    !lists(files, hth_checkpoint_part_file[HTH_PART_MOMENTS]))
		return hth_fail(err, HTH_ERR_FORMAT, "%s/manifest.json: lists no state, weights and moments", dir);
	for (size_t i = 0; i < json_array_size(files) && status == HTH_OK; i++)
		status = check_file(dir, json_array_get(files, i), err);
	return status;
}

static enum hth_status read_real(const json_t *o, const char *key, double *out, const char *where, struct hth_err *err)
{
	const char *text = json_string_value(json_object_get(o, key));

	if (text == NULL || !hth_parse_f64(text, out))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\": expected a finite number as text", where, key);
	return HTH_OK;
}

static void read_facts(const json_t *o, bool must, struct hth_facts *out)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)o, key, v)
	{
		if (json_is_string(v))
			hth_facts_text(out, must, key, json_string_value(v));
	}
}

static enum hth_status read_state(const char *dir, int64_t step, struct hth_checkpoint *out, struct hth_err *err)
{
	char *path = hth_path_join(dir, "state.json");
	json_t *doc = NULL;
	enum hth_status status = path != NULL ? hth_json_read(path, HTH_STATE_MAX_BYTES, HTH_JSON_STRICT, &doc, err)
					      : hth_fail_memory(err, "a file's name", strlen(dir));

	if (status != HTH_OK)
		goto done;
	const json_t *at = json_object_get(doc, "at");
	for (size_t i = 0; i < hth_state_n_fields && status == HTH_OK; i++) {
		const struct hth_state_field *f = &hth_state_fields[i];
		if (!json_is_integer(json_object_get(at, f->name)))
			status = hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\" is missing", path, f->name);
		else
			status = hth_json_int(at, f->name, f->min, INT64_MAX, 0,
					      (int64_t *)((char *)&out->at + f->offset), path, err);
	}
	if (status == HTH_OK)
		status = read_real(at, "best_loss", &out->at.best_loss, path, err);
	if (status == HTH_OK)
		status = read_real(at, "elapsed_s", &out->at.elapsed_s, path, err);
	if (status == HTH_OK && out->at.step != step)
		status = hth_fail(err, HTH_ERR_FORMAT, "%s: is of step %lld, its folder says %lld", path,
				  (long long)out->at.step, (long long)step);
	read_facts(json_object_get(doc, "must_agree"), true, &out->facts);
	read_facts(json_object_get(doc, "may_differ"), false, &out->facts);
done:
	json_decref(doc);
	hth_free(path);
	return status;
}

/* Checks every byte of one folder, then reads its state. */
static enum hth_status open_one(const char *dir, int64_t step, struct hth_checkpoint *out, struct hth_err *err)
{
	char *path = hth_path_join(dir, "manifest.json");
	json_t *doc = NULL;
	enum hth_status status = path != NULL ? hth_json_read(path, HTH_STATE_MAX_BYTES, HTH_JSON_STRICT, &doc, err)
					      : hth_fail_memory(err, "a file's name", strlen(dir));

	if (status == HTH_OK)
		status = check_manifest(dir, doc, step, err);
	if (status == HTH_OK)
		status = read_state(dir, step, out, err);
	json_decref(doc);
	hth_free(path);
	return status;
}

enum hth_status hth_checkpoint_newest(const char *dir, struct hth_checkpoint *out, struct hth_err *err)
{
	int64_t *steps = NULL;
	size_t n = 0;
	struct hth_err why;

	memset(out, 0, sizeof *out);
	enum hth_status status = list_steps(dir, &steps, &n, err);
	for (size_t i = 0; i < n && status == HTH_OK && out->path == NULL; i++) {
		char *path = step_path(dir, steps[i]);
		if (path == NULL) {
			status = hth_fail_memory(err, "a checkpoint's name", strlen(dir));
			break;
		}
		enum hth_status one = open_one(path, steps[i], out, &why);
		if (one == HTH_OK) {
			out->path = path;
			break;
		}
		hth_free(path);
		hth_checkpoint_clear(out);
		if (one == HTH_ERR_MEMORY)
			status = hth_fail(err, one, "%s", why.text);
		else
			hth_warn("damaged checkpoint, looking for an older one: %s", why.text);
	}
	if (status == HTH_OK && out->path == NULL && n > 0)
		status = hth_fail(
			err, HTH_ERR_FORMAT,
			"%s: all %zu checkpoints are damaged, the newest one so: %s; remove them to start anew", dir, n,
			why.text);
	hth_free(steps);
	return status;
}

static enum hth_status load_part(const struct hth_checkpoint *c, const struct hth_params *p,
				 enum hth_checkpoint_part part, struct hth_err *err)
{
	char *path = hth_path_join(c->path, hth_checkpoint_part_file[part]);
	struct hth_safetensors file = {0};
	struct hth_st_tensor *want = NULL;
	struct hth_arena arena;
	size_t n = 0;
	enum hth_status status = path != NULL ? hth_safetensors_open(&file, path, err)
					      : hth_fail_memory(err, "a file's name", strlen(c->path));

	hth_arena_init(&arena, SIZE_MAX / 2);
	if (status == HTH_OK)
		status = hth_checkpoint_tensors(p, part, &arena, &want, &n, err);
	if (status == HTH_OK && file.n_tensors != n)
		status = hth_fail(err, HTH_ERR_SHAPE, "%s: %zu tensors, expected %zu", path, file.n_tensors, n);
	for (size_t i = 0; i < n && status == HTH_OK; i++) {
		const struct hth_st_tensor *got = hth_safetensors_find(&file, want[i].name);
		if (got == NULL || got->dtype != HTH_ST_F32 || got->n_dims != 2 || got->dim[0] != want[i].dim[0] ||
		    got->dim[1] != want[i].dim[1])
			status = hth_fail(err, HTH_ERR_SHAPE, "%s: \"%s\": %s, expected (%lld,%lld) f32", path,
					  want[i].name, got == NULL ? "is not there" : "has another shape or type",
					  (long long)want[i].dim[0], (long long)want[i].dim[1]);
		else
			memcpy((uint8_t *)(uintptr_t)want[i].data, got->data, (size_t)got->bytes);
	}
	hth_arena_clear(&arena);
	hth_safetensors_close(&file);
	hth_free(path);
	return status;
}

enum hth_status hth_checkpoint_load(const struct hth_checkpoint *c, struct hth_params *p, struct hth_err *err)
{
	enum hth_status status = load_part(c, p, HTH_PART_VALUES, err);

	if (status == HTH_OK)
		status = load_part(c, p, HTH_PART_MOMENTS, err);
	if (status == HTH_OK && c->at.best_step > 0)
		status = load_part(c, p, HTH_PART_BEST, err);
	const char *bad = status == HTH_OK ? hth_params_not_finite(p) : NULL;
	return bad == NULL ? status
			   : hth_fail(err, HTH_ERR_VALUE, "%s: \"%s\" holds a value that is not finite", c->path, bad);
}
