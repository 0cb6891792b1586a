/* What a repository holds: GET /api/models/REPO/revision/REV names the commit, then the pages of
 * /api/models/REPO/tree/COMMIT?recursive=true name every file with its size and checksum. A listing with one hostile
 * name, one missing checksum or one name twice is refused whole: such a server is not one to take the rest from. */
#include "base/checked.h"
#include "base/json.h"
#include "base/mem.h"
#include "hub/hub_int.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PAGES 200
#define URL_BYTES 4096

void hth_hub_listing_clear(struct hth_hub_listing *l)
{
	for (size_t i = 0; i < l->n; i++)
		hth_free(l->files[i].path);
	hth_free(l->files);
	memset(l, 0, sizeof *l);
}

/* The checksum of one entry: lfs.oid (SHA-256) of a large file, oid (git's SHA-1) of a small one; also its size. */
static enum hth_status take_content(const json_t *entry, const char *where, struct hth_hub_file *f, struct hth_err *err)
{
	const json_t *lfs = json_object_get(entry, "lfs");
	const char *oid = NULL;
	int64_t bytes = -1;
	bool large = json_is_object(lfs);
	enum hth_status s = hth_json_str(large ? lfs : entry, "oid", "", &oid, where, err);

	if (s == HTH_OK)
		s = hth_json_int(large ? lfs : entry, "size", 0, (int64_t)HTH_HUB_MAX_FILE_BYTES, -1, &bytes, where,
				 err);
	if (s != HTH_OK)
		return s;
	if (large && strncmp(oid, "sha256:", 7) == 0)
		oid += 7;
	if (!hth_hub_hex_ok(oid, large ? 64 : 40) || bytes < 0)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: has no %s or no size, without which it cannot be checked",
				where, large ? "SHA-256" : "git hash");
	memcpy(f->hash, oid, strlen(oid) + 1);
	f->bytes = (uint64_t)bytes;
	return HTH_OK;
}

static enum hth_status take_entry(struct hth_hub_listing *l, const json_t *entry, const char *where, size_t at,
				  struct hth_err *err)
{
	const json_t *path = json_object_get(entry, "path");
	const char *type, *why;
	char shown[128], here[256];
	struct hth_hub_file f = {0};
	enum hth_status s = hth_json_str(entry, "type", "file", &type, where, err);

	if (s != HTH_OK || strcmp(type, "directory") == 0)
		return s;
	if (!json_is_string(path))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: entry %zu has no \"path\"", where, at);
	hth_quote(shown, sizeof shown, json_string_value(path), json_string_length(path));
	if (!hth_hub_path_ok(json_string_value(path), json_string_length(path), &why))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: a file name that %s: \"%s\"; nothing was fetched", where, why,
				shown);
	snprintf(here, sizeof here, "%.100s: %s", where, shown);
	s = take_content(entry, here, &f, err);
	if (s != HTH_OK)
		return s;
	struct hth_hub_file *grown = hth_grow(l->files, l->n, &l->cap, HTH_HUB_MAX_FILES, sizeof *grown);
	if (grown == NULL && l->n >= HTH_HUB_MAX_FILES)
		return hth_fail(err, HTH_ERR_LIMIT, "%s: more than %d files", where, HTH_HUB_MAX_FILES);
	if (grown == NULL)
		return hth_fail_memory(err, "a listing", l->n * sizeof *grown);
	l->files = grown;
	f.path = hth_strdup(json_string_value(path));
	if (f.path == NULL)
		return hth_fail_memory(err, "a listing", 0);
	l->files[l->n++] = f;
	return HTH_OK;
}

enum hth_status hth_hub_list_parse(struct hth_hub_listing *l, const char *text, size_t bytes, const char *where,
				   struct hth_err *err)
{
	json_t *doc = NULL;
	enum hth_status s = hth_json_parse(text, bytes, HTH_JSON_STRICT, where, &doc, err);

	if (s == HTH_OK && !json_is_array(doc))
		s = hth_fail(err, HTH_ERR_FORMAT, "%s: expected a list of files", where);
	for (size_t i = 0; s == HTH_OK && i < json_array_size(doc); i++) {
		if (json_is_object(json_array_get(doc, i)))
			s = take_entry(l, json_array_get(doc, i), where, i, err);
		else
			s = hth_fail(err, HTH_ERR_FORMAT, "%s: entry %zu is no object", where, i);
	}
	json_decref(doc);
	return s;
}

static enum hth_status parse_commit(const struct hth_buf *text, const char *where, char commit[65], struct hth_err *err)
{
	json_t *doc = NULL;
	const char *sha;
	enum hth_status s = hth_json_parse(hth_buf_str(text), text->bytes, HTH_JSON_BIG_INT_AS_REAL, where, &doc, err);

	if (s == HTH_OK)
		s = hth_json_str(doc, "sha", "", &sha, where, err);
	if (s == HTH_OK && !hth_hub_hex_ok(sha, 40) && !hth_hub_hex_ok(sha, 64))
		s = hth_fail(err, HTH_ERR_FORMAT, "%s: \"sha\" is no commit; is HF_ENDPOINT a model hub?", where);
	if (s == HTH_OK)
		memcpy(commit, sha, strlen(sha) + 1);
	json_decref(doc);
	return s;
}

static int compare_paths(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum hth_status refuse_doubles(const struct hth_hub_listing *l, const char *where, struct hth_err *err)
{
	const char **paths = hth_calloc(l->n + 1, sizeof *paths);
	enum hth_status s = HTH_OK;
	char shown[128];

	if (paths == NULL)
		return hth_fail_memory(err, "a listing", l->n * sizeof *paths);
	for (size_t i = 0; i < l->n; i++)
		paths[i] = l->files[i].path;
	qsort(paths, l->n, sizeof *paths, compare_paths);
	for (size_t i = 1; i < l->n && s == HTH_OK; i++)
		if (strcmp(paths[i - 1], paths[i]) == 0)
			s = hth_fail(err, HTH_ERR_FORMAT, "%s: lists \"%s\" twice", where,
				     hth_quote(shown, sizeof shown, paths[i], strlen(paths[i])));
	hth_free(paths);
	return s;
}

static enum hth_status url_of(struct hth_buf *url, const struct hth_hub_config *c, const struct hth_hub_name *name,
			      const char *kind, const char *revision, const char *query, struct hth_err *err)
{
	hth_buf_reset(url);
	(void)hth_buf_printf(url, "%s/api/models/%s/%s/", c->endpoint, name->repo, kind);
	(void)hth_hub_url_escape(url, revision, false);
	(void)hth_buf_puts(url, query);
	return hth_buf_status(url, "the hub's address", err);
}

static enum hth_status read_tree(struct hth_hub_http *h, const struct hth_hub_config *c,
				 const struct hth_hub_name *name, struct hth_buf *url, struct hth_buf *text,
				 struct hth_hub_listing *out, struct hth_err *err)
{
	struct hth_hub_request r = {.what = name->repo};
	struct hth_hub_reply reply;
	enum hth_status s = url_of(url, c, name, "tree", out->commit, "?recursive=true", err);

	for (int page = 0; s == HTH_OK; page++) {
		if (page == MAX_PAGES)
			return hth_fail(err, HTH_ERR_LIMIT, "%s: a listing of more than %d pages", name->repo,
					MAX_PAGES);
		r.url = hth_buf_str(url);
		s = hth_hub_http_text(h, c, &r, name->repo, text, &reply, err);
		if (s == HTH_OK)
			s = hth_hub_list_parse(out, hth_buf_str(text), text->bytes, name->repo, err);
		if (s != HTH_OK || reply.link_next[0] == '\0')
			break;
		hth_buf_reset(url);
		(void)hth_buf_puts(url, reply.link_next);
		s = hth_buf_status(url, "the hub's address", err);
	}
	return s;
}

enum hth_status hth_hub_list(struct hth_hub_http *h, const struct hth_hub_config *c, const struct hth_hub_name *name,
			     struct hth_hub_listing *out, struct hth_err *err)
{
	struct hth_buf url, text;
	struct hth_hub_request r = {.what = name->repo};
	struct hth_hub_reply reply;
	size_t max_bytes;

	memset(out, 0, sizeof *out);
	if (!hth_size_from_u64(c->max_listing_bytes, &max_bytes))
		return hth_fail(err, HTH_ERR_LIMIT, "the limit of a listing does not fit this machine");
	hth_buf_init(&url, URL_BYTES);
	hth_buf_init(&text, max_bytes);
	enum hth_status s = url_of(&url, c, name, "revision", name->revision, "", err);
	if (s == HTH_OK) {
		r.url = hth_buf_str(&url);
		s = hth_hub_http_text(h, c, &r, name->repo, &text, &reply, err);
	}
	if (s == HTH_OK)
		s = parse_commit(&text, name->repo, out->commit, err);
	if (s == HTH_OK)
		s = read_tree(h, c, name, &url, &text, out, err);
	if (s == HTH_OK)
		s = refuse_doubles(out, name->repo, err);
	hth_buf_clear(&url);
	hth_buf_clear(&text);
	if (s != HTH_OK)
		hth_hub_listing_clear(out);
	return s;
}
