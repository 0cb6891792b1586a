/* A name as a path of the cache, without the network. A snapshot may hold a part of a repository only, since other
 * programs fetch file by file: what is not complete is not found. */
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "hub/hub_int.h"

#include <string.h>
#include <sys/stat.h>

#define MAX_DEPTH 8
#define MAX_INDEX_BYTES ((size_t)64 << 20)

struct walk {
	const char *root;
	struct hth_hub_file *files;
	size_t n, cap;
};

static enum hth_status walk_dir(struct walk *w, const char *under, int depth, struct hth_err *err);

/* `path` is below the root. Links that lead nowhere are files that are not here. */
static enum hth_status walk_entry(struct walk *w, const char *path, int depth, struct hth_err *err)
{
	char *full = hth_path_join(w->root, path);
	enum hth_status s = HTH_OK;
	struct stat st;

	if (full == NULL)
		return hth_fail_memory(err, "a path of the cache", 0);
	bool there = stat(full, &st) == 0;
	hth_free(full);
	if (there && S_ISDIR(st.st_mode))
		return depth < MAX_DEPTH ? walk_dir(w, path, depth + 1, err) : HTH_OK;
	if (!there || !S_ISREG(st.st_mode))
		return HTH_OK;
	struct hth_hub_file *grown = hth_grow(w->files, w->n, &w->cap, HTH_HUB_MAX_FILES, sizeof *grown);
	if (grown == NULL)
		return hth_fail_memory(err, "files of the cache", w->n * sizeof *grown);
	w->files = grown;
	grown[w->n] = (struct hth_hub_file){.path = hth_strdup(path), .bytes = (uint64_t)st.st_size};
	if (grown[w->n].path == NULL)
		s = hth_fail_memory(err, "files of the cache", 0);
	else
		w->n++;
	return s;
}

static enum hth_status walk_dir(struct walk *w, const char *under, int depth, struct hth_err *err)
{
	char *full = hth_path_join(w->root, under), **names = NULL, *path;
	size_t n = 0;
	enum hth_status s =
		full == NULL ? hth_fail_memory(err, "a path of the cache", 0) : hth_dir_list(full, &names, &n, err);

	for (size_t i = 0; i < n && s == HTH_OK; i++) {
		path = under[0] == '\0' ? hth_strdup(names[i]) : hth_path_join(under, names[i]);
		s = path == NULL ? hth_fail_memory(err, "a path of the cache", 0) : walk_entry(w, path, depth, err);
		hth_free(path);
	}
	hth_names_free(names, n);
	hth_free(full);
	return s;
}

static bool has(const struct walk *w, const char *path)
{
	for (size_t i = 0; i < w->n; i++)
		if (strcmp(w->files[i].path, path) == 0)
			return true;
	return false;
}

/* The index names every shard that a tensor is in. */
static enum hth_status check_shards(const struct walk *w, const char *index_path, struct hth_err *err)
{
	json_t *doc = NULL;
	const char *key;
	json_t *value;
	char shown[128];
	enum hth_status s = hth_json_read(index_path, MAX_INDEX_BYTES, HTH_JSON_BIG_INT_AS_REAL, &doc, err);

	if (s != HTH_OK)
		return s;
	json_t *map = json_object_get(doc, "weight_map");
	const char *last = "";
	json_object_foreach(map, key, value)
	{
		const char *shard = json_is_string(value) ? json_string_value(value) : "?";
		if (strcmp(shard, last) == 0)
			continue;
		last = shard;
		if (!has(w, shard)) {
			s = hth_fail(err, HTH_ERR_NOTFOUND, "%s is missing",
				     hth_quote(shown, sizeof shown, shard, strlen(shard)));
			break;
		}
	}
	json_decref(doc);
	return s;
}

static enum hth_status check_folder(const struct walk *w, struct hth_err *err)
{
	if (!has(w, "config.json") && !has(w, "adapter_config.json"))
		return hth_fail(err, HTH_ERR_NOTFOUND, "config.json is missing");
	if (!has(w, "model.safetensors.index.json"))
		return HTH_OK;
	char *index = hth_path_join(w->root, "model.safetensors.index.json");
	if (index == NULL)
		return hth_fail_memory(err, "a path of the cache", 0);
	enum hth_status s = check_shards(w, index, err);
	hth_free(index);
	return s;
}

static enum hth_status find_in(const char *snapshot, const struct hth_hub_name *name, char **path, struct hth_err *err)
{
	struct walk w = {.root = snapshot};
	size_t main_file = SIZE_MAX;
	bool *want = NULL;
	enum hth_status s = walk_dir(&w, "", 0, err);

	if (s == HTH_OK) {
		want = hth_calloc(w.n + 1, sizeof *want);
		s = want == NULL ? hth_fail_memory(err, "files of the cache", w.n)
				 : hth_hub_choose(w.files, w.n, name->repo, name->pick, want, &main_file, err);
	}
	if (s == HTH_OK && main_file == SIZE_MAX)
		s = check_folder(&w, err);
	if (s == HTH_OK) {
		*path = main_file == SIZE_MAX ? hth_strdup(snapshot) : hth_path_join(snapshot, w.files[main_file].path);
		if (*path == NULL)
			s = hth_fail_memory(err, "a path of the cache", 0);
	}
	for (size_t i = 0; i < w.n; i++)
		hth_free(w.files[i].path);
	hth_free(w.files);
	hth_free(want);
	return s;
}

/* Not here, or not all of it: the command that helps. */
static enum hth_status not_here(const char *text, const char *cache, const char *why, struct hth_err *err)
{
	return hth_fail(err, HTH_ERR_NOTFOUND,
			"%s: no such file, and not in the cache at %s%s%.500s; fetch it with: hearth pull %s", text,
			cache, why[0] != '\0' ? ": " : "", why, text);
}

enum hth_status hth_hub_find(const char *text, char **path, struct hth_err *err)
{
	struct hth_hub_config c = {0};
	struct hth_hub_cache k = {0};
	struct hth_hub_name name;
	struct hth_err why = {0};
	char commit[65], *snapshot = NULL;
	enum hth_status s = hth_hub_name_parse(text, &name, err);

	*path = NULL;
	if (s == HTH_OK)
		s = hth_hub_config_init(&c, err);
	if (s == HTH_OK)
		s = hth_hub_cache_init(&k, &c, name.repo, err);
	if (s != HTH_OK)
		goto done;
	s = hth_hub_cache_ref(&k, name.revision, commit, &why);
	if (s == HTH_ERR_NOTFOUND) {
		s = not_here(text, c.cache, "", err);
		goto done;
	}
	if (s == HTH_OK) {
		snapshot = hth_hub_cache_snapshot(&k, commit, "");
		s = snapshot == NULL ? hth_fail_memory(&why, "a path of the cache", 0)
				     : find_in(snapshot, &name, path, &why);
	}
	if (s == HTH_ERR_NOTFOUND)
		s = not_here(text, c.cache, why.text, err);
	else if (s != HTH_OK)
		s = hth_fail(err, s, "%s", why.text);
done:
	hth_free(snapshot);
	hth_hub_cache_clear(&k);
	hth_hub_config_clear(&c);
	return s;
}
