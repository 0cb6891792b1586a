/* A pull from beginning to end: list, choose, look at the disk, fetch, link, say where it is. The ref comes last: a
 * name leads to a snapshot only when all that was chosen of it is there. */
#include "base/checked.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "hub/hub_int.h"
#include "hub/partial.h"

#include <curl/curl.h>
#include <string.h>
#include <unistd.h>

#define SPARE_BYTES ((uint64_t)64 << 20) /* what a disk should have left */
#define CHUNK_BYTES ((size_t)1 << 18)

struct pull {
	const struct hth_hub_config *c;
	struct hth_hub_name name;
	struct hth_hub_cache k;
	struct hth_hub_http *http;
	struct hth_hub_listing list;
	bool *want;       /* (list.n) */
	size_t main_file; /* of list, or SIZE_MAX for a folder */
	const struct hth_hub_options *o;
};

void hth_hub_pulled_clear(struct hth_hub_pulled *p)
{
	for (size_t i = 0; i < p->n_files; i++)
		hth_free(p->files[i].path);
	hth_free(p->files);
	hth_free(p->path);
	memset(p, 0, sizeof *p);
}

/* Reads what the cache has and compares; a blob that is damaged counts as missing. */
static enum hth_status verify_blob(const struct hth_hub_config *c, const char *blob, struct hth_hub_file *f,
				   struct hth_err *err)
{
	char *chunk = hth_alloc(CHUNK_BYTES), found[HTH_SHA_HEX_BYTES];
	struct hth_sha sha;
	ssize_t n = 0;
	int fd = -1;
	enum hth_status s =
		chunk == NULL ? hth_fail_memory(err, blob, CHUNK_BYTES) : hth_file_open_regular(blob, &fd, NULL, err);

	if (s != HTH_OK)
		goto done;
	if (strlen(f->hash) == 40)
		hth_sha_init_git_blob(&sha, f->bytes);
	else
		hth_sha_init(&sha, HTH_SHA_256);
	while (s == HTH_OK && (n = read(fd, chunk, CHUNK_BYTES)) > 0) {
		hth_sha_add(&sha, chunk, (size_t)n);
		if (hth_hub_stopped(c))
			s = hth_fail(err, HTH_ERR_INTERRUPTED, "stopped");
	}
	if (n < 0)
		s = hth_fail_errno(err, HTH_ERR_IO, "%s: read failed", blob);
	if (s == HTH_OK && strcmp(hth_sha_hex(&sha, found), f->hash) != 0) {
		hth_warn("%s: damaged in the cache; fetching it again", f->path);
		f->cached = false;
	}
done:
	if (fd >= 0)
		close(fd);
	hth_free(chunk);
	return s;
}

/* Is the blob of this file in the cache? One of another size is none; what is wrong goes away before the fetch. */
static enum hth_status look_in_cache(const struct pull *p, struct hth_hub_file *f, struct hth_err *err)
{
	char *blob = hth_hub_cache_blob(&p->k, f->hash, "");
	enum hth_status s = HTH_OK;
	size_t bytes;
	int fd;

	if (blob == NULL)
		return hth_fail_memory(err, "a path of the cache", 0);
	if (hth_file_open_regular(blob, &fd, &bytes, NULL) == HTH_OK) {
		close(fd);
		f->cached = bytes == f->bytes;
		if (f->cached && p->o->verify)
			s = verify_blob(p->c, blob, f, err);
		if (s == HTH_OK && !f->cached && !p->o->dry_run)
			(void)unlink(blob);
	}
	hth_free(blob);
	return s;
}

/* Moves the chosen files from the listing to the result. */
static enum hth_status take_chosen(struct pull *p, struct hth_hub_pulled *out, struct hth_err *err)
{
	out->files = hth_calloc(p->list.n + 1, sizeof *out->files);
	if (out->files == NULL)
		return hth_fail_memory(err, "a list of files", p->list.n * sizeof *out->files);
	for (size_t i = 0; i < p->list.n; i++) {
		if (!p->want[i])
			continue;
		struct hth_hub_file *f = &out->files[out->n_files];
		*f = p->list.files[i];
		f->path = hth_strdup(p->list.files[i].path);
		if (f->path == NULL)
			return hth_fail_memory(err, "a list of files", 0);
		out->n_files++;
		enum hth_status s = look_in_cache(p, f, err);
		if (s != HTH_OK)
			return s;
		if (!hth_add_u64(out->total_bytes, f->bytes, &out->total_bytes))
			return hth_fail(err, HTH_ERR_LIMIT, "%s: sizes add up to more than 2^64 bytes", p->name.repo);
	}
	return HTH_OK;
}

/* What is still to come must fit the disk. Says how much that is. */
static enum hth_status look_at_disk(const struct pull *p, const struct hth_hub_pulled *out, struct hth_err *err)
{
	uint64_t wanted = 0, free_bytes;
	size_t n = 0;
	char total[32], wanted_text[32], free_text[32];

	for (size_t i = 0; i < out->n_files; i++) {
		if (out->files[i].cached)
			continue;
		char *path = hth_hub_cache_blob(&p->k, out->files[i].hash, HTH_HUB_PARTIAL_SUFFIX);
		if (path == NULL)
			return hth_fail_memory(err, "a path of the cache", 0);
		wanted += out->files[i].bytes - hth_hub_partial_peek(path, out->files[i].bytes);
		n++;
		hth_free(path);
	}
	hth_format_bytes(total, out->total_bytes);
	if (n == 0) {
		hth_info("%s: %zu file%s, %s: all in the cache", p->name.repo, out->n_files,
			 out->n_files == 1 ? "" : "s", total);
		return HTH_OK;
	}
	hth_format_bytes(wanted_text, wanted);
	hth_info("%s: %zu file%s, %s; to fetch: %s", p->name.repo, out->n_files, out->n_files == 1 ? "" : "s", total,
		 wanted_text);
	if (p->o->dry_run)
		return HTH_OK;
	enum hth_status s = hth_disk_free(p->c->cache, &free_bytes, err);
	if (s != HTH_OK)
		return s;
	if (wanted > free_bytes || free_bytes - wanted < SPARE_BYTES)
		return hth_fail(
			err, HTH_ERR_LIMIT,
			"%s: needs %s more, %s are free at %s; make room, or set HF_HUB_CACHE to a folder on another "
			"disk",
			p->name.repo, wanted_text, hth_format_bytes(free_text, free_bytes), p->c->cache);
	return HTH_OK;
}

/* Parts of contents that the repository no longer has, where nobody is at work on them. */
static void tidy(const struct pull *p)
{
	char **names = NULL;
	size_t n = 0;

	if (hth_dir_list(p->k.blobs, &names, &n, NULL) != HTH_OK)
		return;
	for (size_t i = 0; i < n; i++) {
		size_t bytes = strlen(names[i]), suffix = sizeof HTH_HUB_PARTIAL_SUFFIX - 1;
		bool known = bytes <= suffix || strcmp(names[i] + bytes - suffix, HTH_HUB_PARTIAL_SUFFIX) != 0;
		if (!known)
			names[i][bytes - suffix] = '\0';
		for (size_t k = 0; k < p->list.n && !known; k++)
			known = strcmp(p->list.files[k].hash, names[i]) == 0;
		int fd = -1;
		if (known || !hth_hub_cache_try_lock(&p->k, names[i], &fd))
			continue;
		char *path = hth_hub_cache_blob(&p->k, names[i], HTH_HUB_PARTIAL_SUFFIX);
		if (path != NULL)
			(void)unlink(path);
		hth_free(path);
		close(fd);
	}
	hth_names_free(names, n);
}

static enum hth_status result_path(const struct pull *p, struct hth_hub_pulled *out, struct hth_err *err)
{
	const char *file = p->main_file == SIZE_MAX ? "" : p->list.files[p->main_file].path;

	memcpy(out->commit, p->list.commit, sizeof out->commit);
	out->path = hth_hub_cache_snapshot(&p->k, p->list.commit, file);
	return out->path != NULL ? HTH_OK : hth_fail_memory(err, "a path of the cache", 0);
}

static enum hth_status list_and_choose(struct pull *p, struct hth_err *err)
{
	enum hth_status s = hth_hub_http_new(p->c, &p->http, err);

	if (s == HTH_OK)
		s = hth_hub_list(p->http, p->c, &p->name, &p->list, err);
	if (s == HTH_ERR_IO) {
		struct hth_err first = err != NULL ? *err : (struct hth_err){0};
		s = hth_fail(err, HTH_ERR_UNAVAILABLE, "%.700s; models that were pulled before work without a network",
			     first.text);
	}
	if (s != HTH_OK)
		return s;
	p->want = hth_calloc(p->list.n + 1, sizeof *p->want);
	if (p->want == NULL)
		return hth_fail_memory(err, "a choice of files", p->list.n);
	return hth_hub_choose(p->list.files, p->list.n, p->name.repo, p->name.pick, p->want, &p->main_file, err);
}

static enum hth_status bring(struct pull *p, struct hth_hub_pulled *out, struct hth_err *err)
{
	enum hth_status s = hth_hub_cache_make(&p->k, p->c, err);

	if (s == HTH_OK)
		s = hth_hub_fetch(p->c, &p->k, p->name.repo, p->list.commit, out->files, out->n_files,
				  &out->fetched_bytes, err);
	for (size_t i = 0; i < out->n_files && s == HTH_OK; i++)
		s = hth_hub_cache_link(&p->k, p->list.commit, out->files[i].path, out->files[i].hash, err);
	if (s == HTH_OK)
		s = hth_hub_cache_set_ref(&p->k, p->name.revision, p->list.commit, err);
	if (s == HTH_OK)
		tidy(p);
	return s;
}

/* Offline a name that is complete in the cache is as good as pulled. */
static enum hth_status pull_offline(const char *name, struct hth_hub_pulled *out, struct hth_err *err)
{
	enum hth_status s = hth_hub_find(name, &out->path, err);

	if (s == HTH_OK) {
		hth_info("HF_HUB_OFFLINE is set: taking what the cache has of %s", name);
		return HTH_OK;
	}
	struct hth_err first = err != NULL ? *err : (struct hth_err){0};
	return hth_fail(err, HTH_ERR_UNAVAILABLE,
			"HF_HUB_OFFLINE is set, so nothing is fetched; unset it to pull (%.600s)", first.text);
}

static void warn_of_plain_http(const struct hth_hub_config *c)
{
	char host[256];

	if (c->token == NULL || strncmp(c->endpoint, "http://", 7) != 0)
		return;
	snprintf(host, sizeof host, "%.*s", (int)strcspn(c->endpoint + 7, ":/"), c->endpoint + 7);
	if (!hth_hub_is_loopback(host) && strncmp(c->endpoint, "http://[::1]", 12) != 0)
		hth_warn("%s is not encrypted: your token can be read on the way; use https", c->endpoint);
}

enum hth_status hth_hub_pull(const struct hth_hub_config *c, const char *name, const struct hth_hub_options *o,
			     struct hth_hub_pulled *out, struct hth_err *err)
{
	static const struct hth_hub_options none;
	struct pull p = {.c = c, .o = o != NULL ? o : &none};
	enum hth_status s = hth_hub_name_parse(name, &p.name, err);

	memset(out, 0, sizeof *out);
	if (s == HTH_OK && p.o->revision != NULL) {
		s = hth_hub_revision_check(p.o->revision, err);
		if (s == HTH_OK)
			snprintf(p.name.revision, sizeof p.name.revision, "%s", p.o->revision);
	}
	if (s != HTH_OK)
		return s;
	if (c->offline)
		return pull_offline(name, out, err);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "libcurl could not be set up");
	warn_of_plain_http(c);
	s = hth_hub_cache_init(&p.k, c, p.name.repo, err);
	if (s == HTH_OK)
		s = list_and_choose(&p, err);
	if (s == HTH_OK)
		s = take_chosen(&p, out, err);
	if (s == HTH_OK)
		s = look_at_disk(&p, out, err);
	if (s == HTH_OK)
		s = result_path(&p, out, err);
	if (s == HTH_OK && !p.o->dry_run)
		s = bring(&p, out, err);
	hth_hub_http_free(p.http);
	hth_hub_listing_clear(&p.list);
	hth_hub_cache_clear(&p.k);
	hth_free(p.want);
	curl_global_cleanup();
	if (s != HTH_OK)
		hth_hub_pulled_clear(out);
	return s;
}
