/* Requests to a hub: one attempt at a time over a kept connection, what came back, what a failure means, whether
 * another try is worth it. Redirects are followed here, hop by hop, so that the token goes to the endpoint's own host
 * only. */
#ifndef HTH_HUB_HTTP_H
#define HTH_HUB_HTTP_H

#include "base/buf.h"
#include "hub/hub.h"

#include <stdatomic.h>

struct hth_hub_reply {
	long status;
	char commit[65];        /* X-Repo-Commit of the hub's own answer, not of a redirect's target */
	char etag[129];         /* X-Linked-Etag, else ETag, of the hub's own answer; quotes and W/ taken off */
	char error_code[64];    /* X-Error-Code: GatedRepo, RepoNotFound, RevisionNotFound, EntryNotFound */
	char link_next[2048];   /* Link: <...>; rel="next" */
	int64_t retry_after_ms; /* -1: not said */
	uint64_t range_start, range_total; /* of Content-Range, where has_range */
	bool has_range;
	bool has_linked_etag;
	bool at_home; /* the last hop was the hub itself, not a store that it redirects to */
};

/* Takes the body of a 200 or 206; false ends the transfer. Called after `reply` has its headers. */
typedef bool hth_hub_body_fn(void *ctx, const struct hth_hub_reply *reply, const void *data, size_t bytes);

struct hth_hub_request {
	const char *url;
	const char *what;     /* starts messages: "ORG/MODEL: model.gguf" */
	uint64_t first, last; /* bytes wanted, both inclusive; last UINT64_MAX: to the end. 0..UINT64_MAX: no Range */
	hth_hub_body_fn *body;
	void *ctx;
	const atomic_bool *abort; /* may be NULL; another reason to stop, read without a lock */
};

struct hth_hub_http; /* a connection that is kept; one thread at a time */
HTH_MUST enum hth_status hth_hub_http_new(const struct hth_hub_config *c, struct hth_hub_http **out,
					  struct hth_err *err);
void hth_hub_http_free(struct hth_hub_http *h);
/* One attempt, redirects followed. HTH_OK means that a complete answer came, whatever its status: look at
 * reply->status. HTH_ERR_IO: no connection, a drop, a stall (worth another try). HTH_ERR_INTERRUPTED: stopped.
 * HTH_ERR_FORMAT: a redirect that is not allowed. HTH_ERR_VALUE: body said false. */
HTH_MUST enum hth_status hth_hub_http_get(struct hth_hub_http *h, const struct hth_hub_request *r,
					  struct hth_hub_reply *reply, struct hth_err *err);
/* The same with retries, the whole body into out (whose limit holds); a status other than 200 is an error. */
HTH_MUST enum hth_status hth_hub_http_text(struct hth_hub_http *h, const struct hth_hub_config *c,
					   const struct hth_hub_request *r, const char *repo, struct hth_buf *out,
					   struct hth_hub_reply *reply, struct hth_err *err);
/* Is another try worth it, and after how long? attempt counts from 0. *wait_ms is jittered. */
bool hth_hub_http_again(const struct hth_hub_config *c, enum hth_status s, const struct hth_hub_reply *reply,
			int attempt, int64_t *wait_ms);
/* What a status that is no success means and what to do about it. */
enum hth_status hth_hub_http_fail(const struct hth_hub_config *c, const char *what, const char *repo,
				  const struct hth_hub_reply *reply, struct hth_err *err);
/* Sleeps in small steps; HTH_ERR_INTERRUPTED when stopped or when *abort (may be NULL) turns true. */
HTH_MUST enum hth_status hth_hub_sleep(const struct hth_hub_config *c, int64_t ms, const atomic_bool *abort,
				       struct hth_err *err);
bool hth_hub_stopped(const struct hth_hub_config *c);
/* Appends text with everything but unreserved characters (RFC 3986) escaped; keep_slash leaves '/' alone. */
bool hth_hub_url_escape(struct hth_buf *out, const char *text, bool keep_slash);
bool hth_hub_is_loopback(const char *host);

#endif
