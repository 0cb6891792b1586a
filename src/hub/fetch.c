/* The crew: threads with a connection each that take parts of blobs until none is left. Checksums follow behind:
 * whoever ends a part hashes what is now complete from the start on, so that the check of a large file costs no time of
 * its own. */
#include "base/checked.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/mem.h"
#include "hub/crew.h"

#include <string.h>
#include <unistd.h>

#define MAX_CONNECTIONS 16
#define TELL_BYTES ((uint64_t)1 << 20) /* smaller files end without a line */

/* What a thread took: a job to open (part UINT32_MAX) or a part of one to fetch. */
struct claim {
	struct hth_job *job;
	uint32_t part;
};

static void fail_crew(struct hth_crew *w, enum hth_status s, const struct hth_err *err)
{
	pthread_mutex_lock(&w->lock);
	if (w->status == HTH_OK) {
		w->status = s;
		w->err = *err;
	}
	atomic_store(&w->abort, true);
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

/* The first part that is neither complete nor taken, or UINT32_MAX. */
static uint32_t free_part(const struct hth_job *job)
{
	for (uint32_t i = 0; i < job->partial.n_parts; i++)
		if (!job->busy[i] && job->partial.done[i] < hth_hub_partial_part_bytes(&job->partial, i))
			return i;
	return UINT32_MAX;
}

/* Takes the next piece of work, waiting for some while others may still make it. False when there is none. Lock held.
 */
static bool next_claim(struct hth_crew *w, struct claim *out)
{
	for (;;) {
		bool open = false;
		for (size_t i = 0; i < w->n_jobs && !atomic_load(&w->abort); i++) {
			struct hth_job *job = &w->jobs[i];
			uint32_t part = UINT32_MAX;
			open = open || job->state != HTH_JOB_DONE;
			if (job->state == HTH_JOB_READY || job->state == HTH_JOB_OPEN) {
				part = free_part(job);
				if (part == UINT32_MAX)
					continue;
				job->busy[part] = true;
				if (job->state == HTH_JOB_READY)
					job->state = HTH_JOB_PROBING;
			} else if (job->state == HTH_JOB_WAITING)
				job->state = HTH_JOB_OPENING;
			else
				continue;
			*out = (struct claim){job, part};
			return true;
		}
		if (!open || atomic_load(&w->abort))
			return false;
		pthread_cond_wait(&w->changed, &w->lock);
	}
}

static void end_job(struct hth_crew *w, struct hth_job *job)
{
	pthread_mutex_lock(&w->lock);
	job->state = HTH_JOB_DONE;
	hth_hub_partial_close(&job->partial);
	if (job->lock_fd >= 0)
		close(job->lock_fd);
	job->lock_fd = -1;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

/* Another program may have brought the blob while this one waited for the lock. */
static bool is_here(const char *blob, uint64_t bytes)
{
	size_t found;
	int fd;

	if (hth_file_open_regular(blob, &fd, &found, NULL) != HTH_OK)
		return false;
	close(fd);
	return found == bytes;
}

static enum hth_status make_busy(struct hth_job *job, struct hth_err *err)
{
	hth_free(job->busy);
	job->busy = hth_calloc(job->partial.n_parts, sizeof *job->busy);
	return job->busy != NULL ? HTH_OK : hth_fail_memory(err, job->path, job->partial.n_parts);
}

static enum hth_status open_job(struct hth_crew *w, struct hth_job *job, struct hth_err *err)
{
	char *blob = hth_hub_cache_blob(w->k, job->hash, ""), *path = NULL;
	enum hth_status s = HTH_OK;

	if (blob == NULL)
		return hth_fail_memory(err, "a path of the cache", 0);
	s = hth_hub_cache_lock(w->k, w->c, job->hash, &w->abort, &job->lock_fd, err);
	if (s == HTH_OK && is_here(blob, job->bytes)) {
		end_job(w, job);
		pthread_mutex_lock(&w->lock);
		hth_crew_count(w, (int64_t)(job->bytes - job->counted), false);
		pthread_mutex_unlock(&w->lock);
		hth_free(blob);
		return HTH_OK;
	}
	if (s == HTH_OK) {
		path = hth_hub_cache_blob(w->k, job->hash, HTH_HUB_PARTIAL_SUFFIX);
		s = path == NULL ? hth_fail_memory(err, "a path of the cache", 0)
				 : hth_hub_partial_open(&job->partial, path, job->bytes, w->c->part_bytes, err);
	}
	if (s == HTH_OK)
		s = make_busy(job, err);
	hth_free(blob);
	if (s != HTH_OK)
		return s;
	hth_crew_start_hash(job);
	pthread_mutex_lock(&w->lock);
	hth_crew_count(w, (int64_t)(hth_hub_partial_done(&job->partial) - job->counted), false);
	job->state = HTH_JOB_READY;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	return HTH_OK;
}

/* Bytes that are here without a gap from the start on. Lock held. */
static uint64_t prefix_of(const struct hth_hub_partial *p)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < p->n_parts; i++) {
		n += p->done[i];
		if (p->done[i] < hth_hub_partial_part_bytes(p, i))
			break;
	}
	return n;
}

/* Somebody is still inside the job's partial file, if only to leave it. Lock held. */
static bool any_busy(const struct hth_job *job)
{
	for (uint32_t i = 0; i < job->partial.n_parts; i++)
		if (job->busy[i])
			return true;
	return false;
}

/* Hashes what joins the prefix; one thread at a time. *complete goes to exactly one thread: the last to be done with
 * the job, whether it fetched or hashed. */
static enum hth_status hash_forward(struct hth_crew *w, struct hth_job *job, bool *complete, struct hth_err *err)
{
	enum hth_status s = HTH_OK;

	*complete = false;
	pthread_mutex_lock(&w->lock);
	if (job->hashing || job->state == HTH_JOB_DONE) {
		pthread_mutex_unlock(&w->lock);
		return HTH_OK;
	}
	job->hashing = true;
	for (;;) {
		uint64_t from = job->hashed, to = prefix_of(&job->partial);
		if (s != HTH_OK || to == from || job->rewinding || atomic_load(&w->abort))
			break;
		pthread_mutex_unlock(&w->lock);
		/* In steps, so that a stop is heard. */
		if (to - from > ((uint64_t)64 << 20))
			to = from + ((uint64_t)64 << 20);
		s = hth_hub_partial_hash(&job->partial, from, to, &job->sha, err);
		if (s == HTH_OK && hth_hub_stopped(w->c))
			s = hth_fail(err, HTH_ERR_INTERRUPTED, "%s: stopped", w->repo);
		pthread_mutex_lock(&w->lock);
		job->hashed = to;
	}
	job->hashing = false;
	*complete = s == HTH_OK && job->hashed == job->bytes && !job->finishing && !any_busy(job) && !job->rewinding &&
		    !atomic_load(&w->abort);
	job->finishing = job->finishing || *complete;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	return s;
}

/* A wrong checksum gets one more chance, from the first byte: a resumed part may be another program's, or rotten. */
static enum hth_status begin_again(struct hth_crew *w, struct hth_job *job, const char *found, struct hth_err *err)
{
	if (job->restarted) {
		unlink(job->partial.path);
		return hth_fail(
			err, HTH_ERR_FORMAT,
			"%s: %s: checksum %.16s..., expected %.16s...; the server or something on the way damages "
			"it; nothing of it was kept",
			w->repo, job->path, found, job->hash);
	}
	hth_warn("%s: wrong checksum; fetching it again from the start", job->path);
	job->restarted = true;
	pthread_mutex_lock(&w->lock);
	hth_crew_count(w, -(int64_t)job->bytes, false);
	enum hth_status s = hth_hub_partial_restart(&job->partial, false, err);
	if (s == HTH_OK)
		s = make_busy(job, err);
	hth_crew_start_hash(job);
	job->finishing = false;
	job->state = HTH_JOB_READY;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	return s;
}

static enum hth_status finish(struct hth_crew *w, struct hth_job *job, struct hth_err *err)
{
	char found[HTH_SHA_HEX_BYTES], bytes_text[32];
	struct hth_sha sha = job->sha;

	if (strcmp(hth_sha_hex(&sha, found), job->hash) != 0)
		return begin_again(w, job, found, err);
	char *blob = hth_hub_cache_blob(w->k, job->hash, "");
	enum hth_status s = blob == NULL ? hth_fail_memory(err, "a path of the cache", 0)
					 : hth_hub_partial_commit(&job->partial, blob, err);
	hth_free(blob);
	if (s == HTH_OK && job->bytes >= TELL_BYTES)
		hth_info("%s: %s, checked", job->path, hth_format_bytes(bytes_text, job->bytes));
	if (s == HTH_OK)
		end_job(w, job);
	return s;
}

static enum hth_status work(struct hth_crew *w, struct hth_hub_http *h, const struct claim *claim, struct hth_err *err)
{
	struct hth_job *job = claim->job;
	bool complete;
	enum hth_status s;

	if (claim->part == UINT32_MAX) {
		s = open_job(w, job, err);
	} else {
		s = hth_crew_transfer(w, h, job, claim->part, err);
		pthread_mutex_lock(&w->lock);
		if (claim->part < job->partial.n_parts) /* a server without ranges made it one part */
			job->busy[claim->part] = false;
		if (job->state == HTH_JOB_PROBING)
			job->state = HTH_JOB_OPEN;
		pthread_mutex_unlock(&w->lock);
	}
	if (s == HTH_OK)
		s = hash_forward(w, job, &complete, err);
	if (s == HTH_OK && complete)
		s = finish(w, job, err);
	return s;
}

static void *member(void *ctx)
{
	struct hth_crew *w = ctx;
	struct hth_hub_http *h = NULL;
	struct hth_err err = {0};
	struct claim claim;
	enum hth_status s = hth_hub_http_new(w->c, &h, &err);

	while (s == HTH_OK) {
		pthread_mutex_lock(&w->lock);
		bool more = next_claim(w, &claim);
		pthread_mutex_unlock(&w->lock);
		if (!more)
			break;
		s = work(w, h, &claim, &err);
	}
	if (s != HTH_OK)
		fail_crew(w, s, &err);
	hth_hub_http_free(h);
	return NULL;
}

/* One job for each hash that is not cached; equal contents under two names are one. */
static enum hth_status make_jobs(struct hth_crew *w, const struct hth_hub_file *files, size_t n, struct hth_err *err)
{
	w->jobs = hth_calloc(n + 1, sizeof *w->jobs);
	if (w->jobs == NULL)
		return hth_fail_memory(err, "a list of files", n * sizeof *w->jobs);
	for (size_t i = 0; i < n; i++) {
		bool known = files[i].cached;
		for (size_t k = 0; k < w->n_jobs && !known; k++)
			known = strcmp(w->jobs[k].hash, files[i].hash) == 0;
		if (known)
			continue;
		if (!hth_add_u64(w->total_bytes, files[i].bytes, &w->total_bytes))
			return hth_fail(err, HTH_ERR_LIMIT, "%s: sizes add up to more than 2^64 bytes", w->repo);
		struct hth_job *job = &w->jobs[w->n_jobs++];
		*job = (struct hth_job){.path = files[i].path,
					.hash = files[i].hash,
					.bytes = files[i].bytes,
					.partial.fd = -1,
					.lock_fd = -1};
		char *path = hth_hub_cache_blob(w->k, job->hash, HTH_HUB_PARTIAL_SUFFIX);
		job->counted = path != NULL ? hth_hub_partial_peek(path, job->bytes) : 0;
		w->done_bytes += job->counted;
		hth_free(path);
	}
	return HTH_OK;
}

/* How many threads could have something to do at once. */
static int crew_size(const struct hth_crew *w)
{
	uint64_t parts = 0;

	for (size_t i = 0; i < w->n_jobs && parts < MAX_CONNECTIONS; i++)
		parts += 1 + (w->c->part_bytes > 0 ? w->jobs[i].bytes / w->c->part_bytes : 0);
	uint64_t n = w->c->connections < 1 ? 1 : (uint64_t)w->c->connections;
	n = n < MAX_CONNECTIONS ? n : MAX_CONNECTIONS;
	return (int)(n < parts ? n : parts);
}

static enum hth_status run_crew(struct hth_crew *w, struct hth_err *err)
{
	pthread_t threads[MAX_CONNECTIONS];
	int n = crew_size(w), started = 0;

	w->speed_at_s = hth_now_s();
	hth_progress_start(&w->bar, "pull", w->total_bytes, w->done_bytes);
	while (started < n && pthread_create(&threads[started], NULL, member, w) == 0)
		started++;
	if (started == 0)
		member(w); /* no threads to be had: this one does it all */
	for (int i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	hth_progress_end(&w->bar);
	if (w->status != HTH_OK && err != NULL)
		*err = w->err;
	return w->status;
}

enum hth_status hth_hub_fetch(const struct hth_hub_config *c, const struct hth_hub_cache *k, const char *repo,
			      const char *commit, struct hth_hub_file *files, size_t n, uint64_t *fetched_bytes,
			      struct hth_err *err)
{
	struct hth_crew w = {.c = c, .k = k, .repo = repo, .commit = commit};
	enum hth_status s = make_jobs(&w, files, n, err);

	*fetched_bytes = 0;
	if (s == HTH_OK && w.n_jobs > 0) {
		pthread_mutex_init(&w.lock, NULL);
		pthread_cond_init(&w.changed, NULL);
		s = run_crew(&w, err);
		pthread_cond_destroy(&w.changed);
		pthread_mutex_destroy(&w.lock);
	}
	for (size_t i = 0; i < w.n_jobs; i++) {
		hth_hub_partial_close(&w.jobs[i].partial);
		if (w.jobs[i].lock_fd >= 0)
			close(w.jobs[i].lock_fd);
		hth_free(w.jobs[i].busy);
	}
	hth_free(w.jobs);
	*fetched_bytes = w.fetched_bytes;
	return s;
}
