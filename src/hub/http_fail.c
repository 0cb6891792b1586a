/* What a failed request means: worth another try or not, and what a person can do. The cases are those of the hub's
 * X-Error-Code header (huggingface_hub's utils/_http.py); a repository that does not exist is 401 to a stranger there.
 */
#include "base/hash.h"
#include "base/log.h"
#include "base/machine.h"
#include "hub/http.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_BACKOFF_MS 30000
#define TEXT_TRIES 3 /* for the first requests: someone without a network should not wait long to hear it */
#define SLEEP_STEP_MS 50

static bool may_pass(long status)
{
	return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

bool hth_hub_http_again(const struct hth_hub_config *c, enum hth_status s, const struct hth_hub_reply *reply,
			int attempt, int64_t *wait_ms)
{
	bool worth = s == HTH_ERR_IO || (s == HTH_OK && may_pass(reply->status));

	*wait_ms = 0;
	if (!worth || attempt + 1 >= c->tries)
		return false;
	int64_t wait = attempt < 20 ? c->backoff_ms << attempt : MAX_BACKOFF_MS;
	if (wait > MAX_BACKOFF_MS)
		wait = MAX_BACKOFF_MS;
	/* Between half and all of it, so that many clients do not come back at once. */
	double now = hth_now_s();
	wait -= (int64_t)(hth_hash64(&now, sizeof now, (uint64_t)getpid()) % ((uint64_t)wait / 2 + 1));
	if (s == HTH_OK && reply->retry_after_ms > c->max_wait_ms)
		return false;
	if (s == HTH_OK && reply->retry_after_ms > wait)
		wait = reply->retry_after_ms;
	*wait_ms = wait;
	return true;
}

enum hth_status hth_hub_sleep(const struct hth_hub_config *c, int64_t ms, const atomic_bool *abort, struct hth_err *err)
{
	double end = hth_now_s() + (double)ms / 1000;

	for (;;) {
		if (hth_hub_stopped(c) || (abort != NULL && atomic_load(abort)))
			return hth_fail(err, HTH_ERR_INTERRUPTED, "stopped");
		double left_ms = (end - hth_now_s()) * 1000;
		if (left_ms <= 0)
			return HTH_OK;
		if (left_ms > SLEEP_STEP_MS)
			left_ms = SLEEP_STEP_MS;
		struct timespec t = {.tv_nsec = (long)(left_ms * 1e6)};
		(void)nanosleep(&t, NULL);
	}
}

static enum hth_status refused(const struct hth_hub_config *c, const char *what, const char *repo,
			       const struct hth_hub_reply *reply, struct hth_err *err)
{
	long n = reply->status;

	if (strcmp(reply->error_code, "GatedRepo") == 0)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: gated (status %ld): accept its terms at %s/%s, %s, then pull again", what, n,
				c->endpoint, repo,
				c->token == NULL ? "put a token of that account into HF_TOKEN"
						 : "with the account that the token in use belongs to");
	if (n == 403)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: forbidden (status 403): %s; see %s/%s in a browser",
				what,
				c->token == NULL ? "it wants a token, in HF_TOKEN"
						 : "the token in use lacks the right to read it",
				c->endpoint, repo);
	if (c->token == NULL)
		return hth_fail(err, HTH_ERR_NOTFOUND,
				"%s: not there, or private (status 401): check the name; a private model needs a token "
				"in HF_TOKEN",
				what);
	return hth_fail(
		err, HTH_ERR_UNAVAILABLE,
		"%s: the token in use was not accepted (status 401), or the model does not exist: check the name "
		"and HF_TOKEN",
		what);
}

enum hth_status hth_hub_http_fail(const struct hth_hub_config *c, const char *what, const char *repo,
				  const struct hth_hub_reply *reply, struct hth_err *err)
{
	char wait[32];
	long n = reply->status;

	if (n == 401 || n == 403)
		return refused(c, what, repo, reply, err);
	if (n == 404 && strcmp(reply->error_code, "EntryNotFound") == 0)
		return hth_fail(err, HTH_ERR_NOTFOUND, "%s: no such file there (status 404)", what);
	if (n == 404 && strcmp(reply->error_code, "RevisionNotFound") == 0)
		return hth_fail(err, HTH_ERR_NOTFOUND, "%s: no such branch, tag or commit (status 404)", what);
	if (n == 404)
		return hth_fail(err, HTH_ERR_NOTFOUND, "%s: no such model at %s (status 404); check the name", what,
				c->endpoint);
	if (n == 429 && reply->retry_after_ms >= 0)
		return hth_fail(err, HTH_ERR_LIMIT, "%s: too many requests (status 429); try again in %s%s", what,
				hth_format_duration(wait, (double)reply->retry_after_ms / 1000),
				c->token == NULL ? ", or set HF_TOKEN: the limit is higher with one" : "");
	if (n == 429)
		return hth_fail(err, HTH_ERR_LIMIT, "%s: too many requests (status 429); try again later", what);
	if (n == 416)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: the server has fewer bytes than its listing says (status 416)", what);
	if (n >= 500)
		return hth_fail(err, HTH_ERR_IO, "%s: the server has trouble (status %ld); try again later", what, n);
	return hth_fail(err, HTH_ERR_FORMAT, "%s: status %ld, expected 200; is HF_ENDPOINT (%s) a model hub?", what, n,
			c->endpoint);
}

struct text_sink {
	struct hth_buf *out;
};

static bool take_text(void *ctx, const struct hth_hub_reply *reply, const void *data, size_t bytes)
{
	struct text_sink *sink = ctx;

	return reply->status == 200 && hth_buf_add(sink->out, data, bytes);
}

enum hth_status hth_hub_http_text(struct hth_hub_http *h, const struct hth_hub_config *c,
				  const struct hth_hub_request *r, const char *repo, struct hth_buf *out,
				  struct hth_hub_reply *reply, struct hth_err *err)
{
	struct text_sink sink = {.out = out};
	struct hth_hub_request mine = *r;
	enum hth_status s;
	int64_t wait_ms;

	mine.first = 0;
	mine.last = UINT64_MAX;
	mine.body = take_text;
	mine.ctx = &sink;
	for (int attempt = 0;; attempt++) {
		hth_buf_reset(out);
		s = hth_hub_http_get(h, &mine, reply, err);
		if (s == HTH_OK && reply->status == 200)
			return HTH_OK;
		if (attempt + 1 >= TEXT_TRIES || !hth_hub_http_again(c, s, reply, attempt, &wait_ms))
			break;
		hth_debug("%s: again in %lld ms", r->what, (long long)wait_ms);
		enum hth_status slept = hth_hub_sleep(c, wait_ms, r->abort, err);
		if (slept != HTH_OK)
			return slept;
	}
	if (s == HTH_OK)
		return hth_hub_http_fail(c, r->what, repo, reply, err);
	if (s == HTH_ERR_VALUE)
		return hth_buf_status(out, r->what, err) != HTH_OK
			       ? hth_err_prefix(err, "the server's answer is too large")
			       : hth_fail(err, HTH_ERR_FORMAT, "%s: a partial answer to a whole question", r->what);
	return s;
}

bool hth_hub_url_escape(struct hth_buf *out, const char *text, bool keep_slash)
{
	bool ok = true;

	for (; *text != '\0' && ok; text++) {
		unsigned char c = (unsigned char)*text;
		bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
			     c == '.' || c == '_' || c == '~' || (c == '/' && keep_slash);
		ok = plain ? hth_buf_putc(out, (char)c) : hth_buf_printf(out, "%%%02X", c);
	}
	return ok;
}
