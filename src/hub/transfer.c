/* One part of one file: the request, its retries, the checks of what the server says about it. */
#include "base/machine.h"
#include "hub/crew.h"

#include <stdio.h>
#include <string.h>

#define SAVE_EVERY_BYTES ((uint64_t)4 << 20)
#define PROGRESS_BYTES ((uint64_t)1 << 20) /* an attempt that brought this much was not in vain */

struct transfer {
	struct hth_crew *w;
	struct hth_job *job;
	uint32_t part;
	uint64_t asked; /* first byte of the request under way */
	uint64_t saved; /* done[part] when the state was last written */
	bool probing, begun;
	enum hth_status status; /* why the body was not taken */
	struct hth_err err;
};

void hth_crew_start_hash(struct hth_job *job)
{
	job->hashed = 0;
	if (strlen(job->hash) == 40)
		hth_sha_init_git_blob(&job->sha, job->bytes);
	else
		hth_sha_init(&job->sha, HTH_SHA_256);
}

void hth_crew_count(struct hth_crew *w, int64_t bytes, bool from_network)
{
	char done[32], total[32], speed[32];
	double now = hth_now_s();

	w->done_bytes += (uint64_t)bytes; /* wraps to a subtraction */
	if (from_network)
		w->fetched_bytes += (uint64_t)bytes;
	double spent = now - w->speed_at_s;
	if (spent >= 1) {
		double recent = (double)(w->fetched_bytes - w->speed_bytes) / spent;
		w->speed = w->speed > 0 ? 0.7 * w->speed + 0.3 * recent : recent;
		w->speed_at_s = now;
		w->speed_bytes = w->fetched_bytes;
	}
	hth_format_bytes(done, w->done_bytes);
	hth_format_bytes(total, w->total_bytes);
	if (w->speed > 0)
		hth_progress_update(&w->bar, w->done_bytes, "%s of %s, %s/s", done, total,
				    hth_format_bytes(speed, (uint64_t)w->speed));
	else
		hth_progress_update(&w->bar, w->done_bytes, "%s of %s", done, total);
}

static bool no(struct transfer *t, enum hth_status s)
{
	t->status = s;
	return false;
}

/* The server's own word on what it is about to send. An entity tag of another kind than our hash says nothing. */
static bool same_content(struct transfer *t, const struct hth_hub_reply *reply)
{
	const struct hth_job *job = t->job;
	size_t digits = strlen(job->hash);

	if (!hth_hub_hex_ok(reply->etag, digits) || strcmp(reply->etag, job->hash) == 0)
		return true;
	return no(t, hth_fail(&t->err, HTH_ERR_FORMAT,
			      "%s: %s: the server now has other content (ETag %.12s..., its listing said %.12s...); "
			      "pull again",
			      t->w->repo, job->path, reply->etag, job->hash));
}

static bool begin_whole(struct transfer *t)
{
	struct hth_job *job = t->job;

	if (t->asked == 0 && job->partial.n_parts == 1)
		return true;
	if (!t->probing)
		return no(t, hth_fail(&t->err, HTH_ERR_IO, "%s: %s: the server stopped answering to ranges", t->w->repo,
				      job->path));
	pthread_mutex_lock(&t->w->lock);
	job->rewinding = true;
	while (job->hashing)
		pthread_cond_wait(&t->w->changed, &t->w->lock);
	hth_crew_count(t->w, -(int64_t)hth_hub_partial_done(&job->partial), false);
	enum hth_status s = hth_hub_partial_restart(&job->partial, true, &t->err);
	t->part = 0;
	t->asked = t->saved = 0;
	hth_crew_start_hash(job);
	job->rewinding = false;
	pthread_mutex_unlock(&t->w->lock);
	return s == HTH_OK ? true : no(t, s);
}

/* The first bytes of an answer. */
static bool begin(struct transfer *t, const struct hth_hub_reply *reply)
{
	struct hth_job *job = t->job;

	t->begun = true;
	if (!same_content(t, reply))
		return false;
	if (reply->status == 200)
		return begin_whole(t);
	if (!reply->has_range || reply->range_start != t->asked)
		return no(t, hth_fail(&t->err, HTH_ERR_IO, "%s: %s: the server sent another range than byte %llu on",
				      t->w->repo, job->path, (unsigned long long)t->asked));
	if (reply->range_total != job->bytes)
		return no(t, hth_fail(&t->err, HTH_ERR_FORMAT,
				      "%s: %s: the server has %llu bytes, its listing says %llu", t->w->repo, job->path,
				      (unsigned long long)reply->range_total, (unsigned long long)job->bytes));
	if (t->probing) {
		pthread_mutex_lock(&t->w->lock);
		job->state = HTH_JOB_OPEN;
		t->probing = false;
		pthread_cond_broadcast(&t->w->changed);
		pthread_mutex_unlock(&t->w->lock);
	}
	return true;
}

static bool take(void *ctx, const struct hth_hub_reply *reply, const void *data, size_t bytes)
{
	struct transfer *t = ctx;
	struct hth_hub_partial *p = &t->job->partial;

	if (!t->begun && !begin(t, reply))
		return false;
	uint64_t done = p->done[t->part], room = hth_hub_partial_part_bytes(p, t->part) - done;
	if (bytes > room)
		return no(t, hth_fail(&t->err, HTH_ERR_FORMAT, "%s: %s: the server sends more bytes than asked for",
				      t->w->repo, t->job->path));
	enum hth_status s = hth_hub_partial_write(p, p->part_bytes * t->part + done, data, bytes, &t->err);
	if (s != HTH_OK)
		return no(t, s);
	pthread_mutex_lock(&t->w->lock);
	p->done[t->part] = done + bytes;
	hth_crew_count(t->w, (int64_t)bytes, true);
	pthread_mutex_unlock(&t->w->lock);
	if (p->done[t->part] - t->saved >= SAVE_EVERY_BYTES) {
		s = hth_hub_partial_save(p, t->part, &t->err);
		t->saved = p->done[t->part];
	}
	return s == HTH_OK ? true : no(t, s);
}

/* One attempt; *gained is what it brought. */
static enum hth_status attempt(struct transfer *t, struct hth_hub_http *h, const char *url, struct hth_hub_reply *reply,
			       uint64_t *gained, struct hth_err *err)
{
	struct hth_hub_partial *p = &t->job->partial;
	struct hth_buf what;
	uint64_t start = p->part_bytes * t->part, end = start + hth_hub_partial_part_bytes(p, t->part), before;

	hth_buf_init(&what, 4096);
	(void)hth_buf_printf(&what, "%s: %s", t->w->repo, t->job->path);
	t->asked = start + p->done[t->part];
	t->saved = before = p->done[t->part];
	t->begun = false;
	t->status = HTH_OK;
	/* A part that ends the file has no last byte: then a whole file is asked for without a range. */
	struct hth_hub_request r = {
		.url = url,
		.what = hth_buf_str(&what),
		.first = t->asked,
		.last = end == t->job->bytes ? UINT64_MAX : end - 1,
		.body = take,
		.ctx = t,
		.abort = &t->w->abort,
	};
	enum hth_status s = hth_hub_http_get(h, &r, reply, err);
	*gained = p->done[t->part] > before ? p->done[t->part] - before : 0;
	enum hth_status saved = hth_hub_partial_save(p, t->part, err);
	if (t->status != HTH_OK) {
		if (err != NULL)
			*err = t->err;
		s = t->status;
	} else if (s == HTH_OK && saved != HTH_OK)
		s = saved;
	else if (s == HTH_OK && (reply->status == 200 || reply->status == 206) &&
		 p->done[t->part] < hth_hub_partial_part_bytes(p, t->part))
		s = hth_fail(err, HTH_ERR_IO, "%s: the answer ended at byte %llu of %llu", hth_buf_str(&what),
			     (unsigned long long)(start + p->done[t->part]), (unsigned long long)t->job->bytes);
	else if (s == HTH_OK && !reply->at_home && reply->status >= 400 && reply->status < 500 &&
		 reply->status != 416 &&
		 reply->status != 429) /* a redirect that has expired: the hub makes a new one */
		s = hth_fail(err, HTH_ERR_IO, "%s: the store that the hub redirects to refused (status %ld)",
			     hth_buf_str(&what), reply->status);
	hth_buf_clear(&what);
	return s;
}

static enum hth_status retry(struct transfer *t, struct hth_hub_http *h, const char *url, struct hth_err *err)
{
	struct hth_hub_reply reply;
	struct hth_hub_partial *p = &t->job->partial;
	uint64_t gained;
	int64_t wait_ms;
	char what[256];

	for (int vain = 0;;) {
		enum hth_status s = attempt(t, h, url, &reply, &gained, err);
		if (s == HTH_OK && p->done[t->part] == hth_hub_partial_part_bytes(p, t->part))
			return HTH_OK;
		if (gained >= PROGRESS_BYTES)
			vain = 0;
		if (!hth_hub_http_again(t->w->c, s, &reply, vain, &wait_ms)) {
			snprintf(what, sizeof what, "%.100s: %.140s", t->w->repo, t->job->path);
			if (s == HTH_OK && reply.status == 404 && reply.error_code[0] == '\0')
				memcpy(reply.error_code, "EntryNotFound", 14);
			return s == HTH_OK ? hth_hub_http_fail(t->w->c, what, t->w->repo, &reply, err) : s;
		}
		hth_debug("%s: again in %lld ms: %s", t->job->path, (long long)wait_ms,
			  s == HTH_OK ? "the server is busy" : err->text);
		vain++;
		s = hth_hub_sleep(t->w->c, wait_ms, &t->w->abort, err);
		if (s != HTH_OK)
			return s;
	}
}

enum hth_status hth_crew_transfer(struct hth_crew *w, struct hth_hub_http *h, struct hth_job *job, uint32_t part,
				  struct hth_err *err)
{
	struct transfer t = {.w = w, .job = job, .part = part, .probing = job->state == HTH_JOB_PROBING};
	struct hth_buf url;

	hth_buf_init(&url, 16384);
	(void)hth_buf_printf(&url, "%s/%s/resolve/%s/", w->c->endpoint, w->repo, w->commit);
	(void)hth_hub_url_escape(&url, job->path, true);
	enum hth_status s = hth_buf_status(&url, "the hub's address", err);
	if (s == HTH_OK)
		s = retry(&t, h, hth_buf_str(&url), err);
	hth_buf_clear(&url);
	return s;
}
