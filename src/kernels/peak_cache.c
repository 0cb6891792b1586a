/* Peaks in the user's cache folder:
 *
 *	{"version": 1, "machines": {"AMD EPYC, avx512, 8 threads": {
 *		"compute": {"f32 ref": [one, all], ...}, "read": [one, all], "round_trip_s": s, "spread": x,
 *		"train_flops_per_s": f}, ...}}
 *
 * A home folder may be shared by machines, so there is an entry for each. A file that cannot be understood counts as
 * empty and is replaced: everything in it can be measured again. */
#include "kernels/peak.h"

#include "base/file.h"
#include "base/json.h"
#include "base/machine.h"
#include "base/mem.h"
#include "kernels/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE_BYTES = 1 << 20, MAX_MACHINES = 64, VERSION = 1 };
#define MAX_RATE 1e18 /* operations or bytes a second; far above any machine */

/* $XDG_CACHE_HOME/hearth, absolute as the specification wants it, or ~/.cache/hearth; caller frees. NULL: no place. */
static char *cache_dir(void)
{
	const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	char *base = NULL, *dir = NULL;

	if (xdg != NULL && xdg[0] == '/')
		base = hth_strdup(xdg);
	else if (home != NULL && home[0] == '/')
		base = hth_path_join(home, ".cache");
	if (base != NULL)
		dir = hth_path_join(base, "hearth");
	hth_free(base);
	return dir;
}

static void key_of(const struct hth_peaks *p, char out[192])
{
	snprintf(out, 192, "%s, %s, %d thread%s", p->cpu, p->kernels, p->threads, p->threads == 1 ? "" : "s");
}

/* [one, all], both in 0..MAX_RATE. */
static bool read_pair(const json_t *pair, double *one, double *all)
{
	if (!json_is_array(pair) || json_array_size(pair) != 2 || !json_is_number(json_array_get(pair, 0)) ||
	    !json_is_number(json_array_get(pair, 1)))
		return false;
	*one = json_number_value(json_array_get(pair, 0));
	*all = json_number_value(json_array_get(pair, 1));
	return *one > 0 && *one <= MAX_RATE && *all > 0 && *all <= MAX_RATE;
}

static bool read_entry(const json_t *entry, struct hth_peaks *out)
{
	const json_t *compute = json_object_get(entry, "compute");
	const char *name;
	json_t *pair;

	if (!json_is_object(compute) || json_object_size(compute) > HTH_PEAK_MAX)
		return false;
	json_object_foreach((json_t *)compute, name, pair)
	{
		struct hth_peak *p = &out->compute[out->n_compute];
		if (strlen(name) >= sizeof p->name || !read_pair(pair, &p->one, &p->all))
			return false;
		snprintf(p->name, sizeof p->name, "%s", name);
		out->n_compute++;
	}
	return out->n_compute > 0 && read_pair(json_object_get(entry, "read"), &out->read_one, &out->read_all) &&
	       hth_json_real(entry, "round_trip_s", 0, 1e3, 0, &out->round_trip_s, "", NULL) == HTH_OK &&
	       hth_json_real(entry, "spread", 0, 1e6, 0, &out->spread, "", NULL) == HTH_OK &&
	       hth_json_real(entry, "train_flops_per_s", 0, MAX_RATE, 0, &out->train_flops_per_s, "", NULL) == HTH_OK;
}

/* The file's document, or NULL. */
static json_t *read_file(const char *path)
{
	json_t *doc = NULL;
	int64_t version = 0;

	if (hth_json_read(path, MAX_FILE_BYTES, HTH_JSON_STRICT, &doc, NULL) != HTH_OK)
		return NULL;
	if (hth_json_int(doc, "version", 0, 1 << 20, 0, &version, path, NULL) == HTH_OK && version == VERSION &&
	    json_is_object(json_object_get(doc, "machines")))
		return doc;
	json_decref(doc);
	return NULL;
}

bool hth_peaks_load(int threads, struct hth_peaks *out)
{
	struct hth_machine_info m;
	struct hth_kernel_pick pick;
	char key[192];
	bool found = false;

	*out = (struct hth_peaks){.threads = threads > 0 ? threads : hth_machine_threads()};
	if (hth_kernels_pick(NULL, &pick, NULL) != HTH_OK)
		return false;
	hth_machine_info(&m);
	snprintf(out->cpu, sizeof out->cpu, "%s", m.cpu);
	snprintf(out->kernels, sizeof out->kernels, "%s", pick.name);
	key_of(out, key);
	char *dir = cache_dir(), *path = dir != NULL ? hth_path_join(dir, "machine.json") : NULL;
	json_t *doc = path != NULL && hth_path_kind(path) == HTH_PATH_FILE ? read_file(path) : NULL;
	const json_t *entry = doc != NULL ? json_object_get(json_object_get(doc, "machines"), key) : NULL;
	found = json_is_object(entry) && read_entry(entry, out);
	json_decref(doc);
	hth_free(path);
	hth_free(dir);
	return found;
}

static json_t *make_entry(const struct hth_peaks *p)
{
	json_t *compute = json_object();

	for (int i = 0; i < p->n_compute; i++)
		json_object_set_new(compute, p->compute[i].name,
				    json_pack("[ff]", p->compute[i].one, p->compute[i].all));
	return json_pack("{so s[ff] sf sf sf}", "compute", compute, "read", p->read_one, p->read_all, "round_trip_s",
			 p->round_trip_s, "spread", p->spread, "train_flops_per_s", p->train_flops_per_s);
}

/* The old document with this machine's entry put last; the oldest entries give way. */
static enum hth_status update_document(const struct hth_peaks *p, json_t *doc, struct hth_err *err)
{
	json_t *machines = json_object_get(doc, "machines");
	char key[192];

	key_of(p, key);
	json_object_del(machines, key);
	while (json_object_size(machines) >= MAX_MACHINES)
		json_object_del(machines, json_object_iter_key(json_object_iter(machines)));
	if (json_object_set_new(machines, key, make_entry(p)) != 0)
		return hth_fail(err, HTH_ERR_VALUE, "the peaks of \"%s\" are no numbers that a file can hold", key);
	return HTH_OK;
}

enum hth_status hth_peaks_save(const struct hth_peaks *p, struct hth_err *err)
{
	char *dir = cache_dir(), *path = dir != NULL ? hth_path_join(dir, "machine.json") : NULL;
	enum hth_status status = HTH_OK;
	struct hth_buf text;
	json_t *doc = NULL;

	hth_buf_init(&text, MAX_FILE_BYTES);
	if (path == NULL) {
		status = hth_fail(err, HTH_ERR_NOTFOUND,
				  "no folder for the peaks of this machine: set HOME or XDG_CACHE_HOME");
		goto done;
	}
	if (hth_path_kind(path) == HTH_PATH_FILE)
		doc = read_file(path);
	if (doc == NULL)
		doc = json_pack("{si s{}}", "version", VERSION, "machines");
	status = doc == NULL ? hth_fail_memory(err, "the peaks of this machine", 0) : update_document(p, doc, err);
	if (status == HTH_OK)
		status = hth_json_dump(doc, 1, &text, err);
	if (status == HTH_OK)
		status = hth_mkdirs(dir, err);
	if (status == HTH_OK)
		status = hth_file_write(path, hth_buf_str(&text), text.bytes, err);
done:
	json_decref(doc);
	hth_buf_clear(&text);
	hth_free(path);
	hth_free(dir);
	return status;
}
