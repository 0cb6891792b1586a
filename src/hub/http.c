/* One request over a kept libcurl handle. libcurl's own following of redirects is off: each hop is checked here, and
 * the token goes only where scheme, host and port are the endpoint's (a presigned URL of a CDN is refused with one, and
 * a stranger must not see it). What a failure means is in http_fail.c. */
#include "hub/http.h"
#include "base/mem.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_REDIRECTS 5
#define MAX_URL_BYTES 16384 /* presigned URLs are long */
#define MAX_HEADER_BYTES ((size_t)256 << 10)
#define MAX_IGNORED_BYTES ((size_t)64 << 10) /* of a body that nobody wants: an error's page */
#define LOW_SPEED_BYTES 1000L

struct origin {
	char *scheme, *host, *port; /* of libcurl */
};

struct hth_hub_http {
	CURL *curl;
	const struct hth_hub_config *c;
	struct origin home; /* the endpoint's */
	char why[CURL_ERROR_SIZE];
	/* of the attempt under way */
	const struct hth_hub_request *r;
	struct hth_hub_reply *reply;
	size_t header_bytes, ignored_bytes;
	bool at_home, said_no, enough;
};

static void origin_clear(struct origin *o)
{
	curl_free(o->scheme);
	curl_free(o->host);
	curl_free(o->port);
	memset(o, 0, sizeof *o);
}

static bool origin_of(const char *url, struct origin *o)
{
	CURLU *u = strlen(url) < MAX_URL_BYTES ? curl_url() : NULL;

	memset(o, 0, sizeof *o);
	bool ok = u != NULL && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
		  curl_url_get(u, CURLUPART_SCHEME, &o->scheme, 0) == CURLUE_OK &&
		  curl_url_get(u, CURLUPART_HOST, &o->host, 0) == CURLUE_OK &&
		  curl_url_get(u, CURLUPART_PORT, &o->port, CURLU_DEFAULT_PORT) == CURLUE_OK;
	curl_url_cleanup(u);
	if (!ok)
		origin_clear(o);
	return ok;
}

static bool same_origin(const struct origin *a, const struct origin *b)
{
	return strcmp(a->scheme, b->scheme) == 0 && strcasecmp(a->host, b->host) == 0 && strcmp(a->port, b->port) == 0;
}

bool hth_hub_is_loopback(const char *host)
{
	return strcasecmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 || strcmp(host, "[::1]") == 0;
}

bool hth_hub_stopped(const struct hth_hub_config *c)
{
	return c->stopped != NULL && c->stopped();
}

/* The value of a header line when its name is `name`. */
static bool header_is(const char *line, size_t bytes, const char *name, char *out, size_t out_bytes)
{
	size_t n = strlen(name), len;

	if (bytes <= n || line[n] != ':' || strncasecmp(line, name, n) != 0)
		return false;
	const char *v = line + n + 1, *end = line + bytes;
	while (v < end && (*v == ' ' || *v == '\t'))
		v++;
	while (end > v && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' ' || end[-1] == '\t'))
		end--;
	len = (size_t)(end - v);
	if (len >= out_bytes)
		len = 0; /* cut values mislead: an absent one does not */
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)v[i] < ' ' && v[i] != '\t')
			len = 0;
	memcpy(out, v, len);
	out[len] = '\0';
	return true;
}

/* Takes W/ and the quotes off an entity tag, in place. */
static void bare_etag(char *tag)
{
	char *p = strncmp(tag, "W/", 2) == 0 ? tag + 2 : tag;
	size_t n = strlen(p);

	if (n >= 2 && p[0] == '"' && p[n - 1] == '"') {
		p++;
		n -= 2;
	}
	memmove(tag, p, n);
	tag[n] = '\0';
}

static void take_range(struct hth_hub_reply *reply, const char *v)
{
	unsigned long long first, last, total;

	if (sscanf(v, "bytes %llu-%llu/%llu", &first, &last, &total) != 3 || first > last || last >= total)
		return;
	reply->has_range = true;
	reply->range_start = first;
	reply->range_total = total;
}

/* Retry-After in seconds (a date is rare, and then our own backoff does), or RateLimit: "api";r=0;t=55. */
static void take_wait(struct hth_hub_reply *reply, const char *v)
{
	char *end;
	long long s = strtoll(v, &end, 10);

	if (end != v && *end == '\0' && s >= 0 && s < 1000000)
		reply->retry_after_ms = (int64_t)s * 1000;
}

static void take_next_link(struct hth_hub_reply *reply, const char *v)
{
	const char *open = strchr(v, '<'), *close = open != NULL ? strchr(open, '>') : NULL;

	if (close == NULL || strstr(close, "rel=\"next\"") == NULL)
		return;
	size_t n = (size_t)(close - open - 1);
	if (n >= sizeof reply->link_next)
		return;
	memcpy(reply->link_next, open + 1, n);
	reply->link_next[n] = '\0';
}

static void take_header(struct hth_hub_http *h, const char *line, size_t n)
{
	struct hth_hub_reply *reply = h->reply;
	char v[sizeof reply->link_next + 64];

	if (header_is(line, n, "Content-Range", v, sizeof v))
		take_range(reply, v);
	else if (header_is(line, n, "Retry-After", v, sizeof v))
		take_wait(reply, v);
	else if (header_is(line, n, "RateLimit", v, sizeof v)) {
		const char *t = strstr(v, ";t=");
		if (t != NULL && reply->retry_after_ms < 0)
			take_wait(reply, t + 3);
	}
	if (!h->at_home)
		return;
	if (header_is(line, n, "X-Linked-Etag", reply->etag, sizeof reply->etag)) {
		bare_etag(reply->etag);
		reply->has_linked_etag = true;
	} else if (!reply->has_linked_etag && header_is(line, n, "ETag", reply->etag, sizeof reply->etag))
		bare_etag(reply->etag);
	else if (header_is(line, n, "Link", v, sizeof v))
		take_next_link(reply, v);
	else if (!header_is(line, n, "X-Repo-Commit", reply->commit, sizeof reply->commit))
		(void)header_is(line, n, "X-Error-Code", reply->error_code, sizeof reply->error_code);
}

static size_t on_header(char *data, size_t size, size_t n, void *ctx)
{
	struct hth_hub_http *h = ctx;

	n *= size;
	h->header_bytes += n;
	if (h->header_bytes > MAX_HEADER_BYTES)
		return 0;
	if (n >= 5 && memcmp(data, "HTTP/", 5) == 0) { /* another answer begins: an interim one went before */
		h->reply->has_range = false;
		h->reply->retry_after_ms = -1;
		h->reply->link_next[0] = '\0';
		h->reply->error_code[0] = '\0';
	} else
		take_header(h, data, n);
	return n;
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
	struct hth_hub_http *h = ctx;

	n *= size;
	(void)curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &h->reply->status);
	if (h->reply->status != 200 && h->reply->status != 206) {
		h->ignored_bytes += n;
		h->enough = h->ignored_bytes > MAX_IGNORED_BYTES;
		return h->enough ? 0 : n;
	}
	if (h->r->body(h->r->ctx, h->reply, data, n))
		return n;
	h->said_no = true;
	return 0;
}

static bool must_stop(const struct hth_hub_http *h)
{
	return hth_hub_stopped(h->c) || (h->r->abort != NULL && atomic_load(h->r->abort));
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t d, curl_off_t e)
{
	(void)a, (void)b, (void)d, (void)e;
	return must_stop(ctx);
}

static bool set_up(struct hth_hub_http *h)
{
	CURL *c = h->curl;
	long stall_s = (long)((h->c->stall_ms + 999) / 1000);
	bool ok = curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;

	ok = ok && curl_easy_setopt(c, CURLOPT_ERRORBUFFER, h->why) == CURLE_OK;
	ok = ok && curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK;
	ok = ok && curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) == CURLE_OK;
	ok = ok && curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)h->c->connect_ms) == CURLE_OK;
	ok = ok && curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, LOW_SPEED_BYTES) == CURLE_OK;
	ok = ok && curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, stall_s) == CURLE_OK;
	ok = ok && curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 256L * 1024) == CURLE_OK;
	ok = ok && curl_easy_setopt(c, CURLOPT_USERAGENT, "hearth/" HTH_VERSION) == CURLE_OK;
	ok = ok && curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK;
	ok = ok && curl_easy_setopt(c, CURLOPT_HEADERDATA, h) == CURLE_OK;
	ok = ok && curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK;
	ok = ok && curl_easy_setopt(c, CURLOPT_WRITEDATA, h) == CURLE_OK;
	ok = ok && curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress) == CURLE_OK;
	ok = ok && curl_easy_setopt(c, CURLOPT_XFERINFODATA, h) == CURLE_OK;
	return ok && curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L) == CURLE_OK;
}

enum hth_status hth_hub_http_new(const struct hth_hub_config *c, struct hth_hub_http **out, struct hth_err *err)
{
	struct hth_hub_http *h = hth_calloc(1, sizeof *h);

	*out = NULL;
	if (h == NULL)
		return hth_fail_memory(err, "a connection", sizeof *h);
	h->c = c;
	h->curl = curl_easy_init();
	if (h->curl == NULL || !set_up(h) || !origin_of(c->endpoint, &h->home)) {
		hth_hub_http_free(h);
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "libcurl could not be set up");
	}
	*out = h;
	return HTH_OK;
}

void hth_hub_http_free(struct hth_hub_http *h)
{
	if (h == NULL)
		return;
	curl_easy_cleanup(h->curl);
	origin_clear(&h->home);
	hth_free(h);
}

/* The headers of one hop; NULL when memory runs out. */
static struct curl_slist *headers_for(const struct hth_hub_http *h)
{
	struct curl_slist *list = curl_slist_append(NULL, "Accept-Encoding: identity"), *more;
	struct hth_buf line;

	if (list == NULL || !h->at_home || h->c->token == NULL)
		return list;
	hth_buf_init(&line, 8192);
	more = hth_buf_printf(&line, "Authorization: Bearer %s", h->c->token)
		       ? curl_slist_append(list, hth_buf_str(&line))
		       : NULL;
	hth_buf_clear(&line);
	if (more == NULL)
		curl_slist_free_all(list);
	return more;
}

/* Plain http is for endpoints that were given as such: a redirect cannot step down to it. */
static enum hth_status aim(struct hth_hub_http *h, const char *url, struct hth_err *err)
{
	struct origin o;
	char shown[160], range[64];
	const char *what = h->r->what;

	if (!origin_of(url, &o))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: redirected to \"%s\", expected a http or https URL", what,
				hth_quote(shown, sizeof shown, url, strlen(url)));
	bool https = strcmp(o.scheme, "https") == 0;
	bool http = strcmp(o.scheme, "http") == 0 && strcmp(h->home.scheme, "http") == 0;
	bool local = hth_hub_is_loopback(o.host);
	h->at_home = h->reply->at_home = same_origin(&o, &h->home);
	origin_clear(&o);
	if (!https && !http)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: redirected to \"%s\", expected a https URL", what,
				hth_quote(shown, sizeof shown, url, strlen(url)));
	snprintf(range, sizeof range, "%llu-", (unsigned long long)h->r->first);
	if (h->r->last != UINT64_MAX)
		snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)h->r->first,
			 (unsigned long long)h->r->last);
	bool ranged = h->r->first != 0 || h->r->last != UINT64_MAX;
	if (curl_easy_setopt(h->curl, CURLOPT_URL, url) != CURLE_OK ||
	    curl_easy_setopt(h->curl, CURLOPT_PROXY, local ? "" : NULL) != CURLE_OK ||
	    curl_easy_setopt(h->curl, CURLOPT_RANGE, ranged ? range : NULL) != CURLE_OK)
		return hth_fail_memory(err, what, 0);
	return HTH_OK;
}

static enum hth_status hop_failed(const struct hth_hub_http *h, CURLcode rc, struct hth_err *err)
{
	char shown[256];
	const char *why = h->why[0] != '\0' ? h->why : curl_easy_strerror(rc);

	hth_quote(shown, sizeof shown, why, strlen(why));
	switch (rc) {
	case CURLE_OUT_OF_MEMORY:
		return hth_fail_memory(err, h->r->what, 0);
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: no connection to %s: %s", h->r->what, h->c->endpoint,
				shown);
	default:
		return hth_fail(err, HTH_ERR_IO, "%s: no connection to %s: %s", h->r->what, h->c->endpoint, shown);
	}
}

static enum hth_status one_hop(struct hth_hub_http *h, const char *url, struct hth_err *err)
{
	enum hth_status s = aim(h, url, err);

	if (s != HTH_OK)
		return s;
	struct curl_slist *headers = headers_for(h);
	if (headers == NULL)
		return hth_fail_memory(err, h->r->what, 0);
	h->header_bytes = h->ignored_bytes = 0;
	h->said_no = h->enough = false;
	h->why[0] = '\0';
	CURLcode rc = curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, headers);
	if (rc == CURLE_OK)
		rc = curl_easy_perform(h->curl);
	(void)curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, NULL);
	curl_slist_free_all(headers);
	(void)curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &h->reply->status);
	if (h->said_no)
		return hth_fail(err, HTH_ERR_VALUE, "%s: the answer was not taken", h->r->what);
	if (rc == CURLE_OK || h->enough)
		return HTH_OK;
	if (must_stop(h))
		return hth_fail(err, HTH_ERR_INTERRUPTED, "%s: stopped", h->r->what);
	return hop_failed(h, rc, err);
}

static bool is_redirect(long status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

enum hth_status hth_hub_http_get(struct hth_hub_http *h, const struct hth_hub_request *r, struct hth_hub_reply *reply,
				 struct hth_err *err)
{
	char *url = NULL, *next;
	enum hth_status s = HTH_OK;

	memset(reply, 0, sizeof *reply);
	reply->retry_after_ms = -1;
	h->r = r;
	h->reply = reply;
	for (int hop = 0; s == HTH_OK; hop++) {
		s = one_hop(h, url != NULL ? url : r->url, err);
		if (s != HTH_OK || !is_redirect(reply->status))
			break;
		if (hop == MAX_REDIRECTS) {
			s = hth_fail(err, HTH_ERR_FORMAT, "%s: more than %d redirects", r->what, MAX_REDIRECTS);
			break;
		}
		next = NULL;
		if (curl_easy_getinfo(h->curl, CURLINFO_REDIRECT_URL, &next) != CURLE_OK || next == NULL) {
			s = hth_fail(err, HTH_ERR_FORMAT, "%s: a redirect (status %ld) to nowhere", r->what,
				     reply->status);
			break;
		}
		next = hth_strdup(next);
		hth_free(url);
		url = next;
		if (url == NULL)
			s = hth_fail_memory(err, r->what, 0);
	}
	hth_free(url);
	return s;
}
