/* A model hub on loopback for tests: the API of listing and resolving, and by request the ways it goes wrong. One thread per
 * connection, "Connection: close", bounded everywhere. A test may answer requests itself through `hook`. */
#ifndef HTH_TESTS_HUB_SERVER_H
#define HTH_TESTS_HUB_SERVER_H

#include "support.h"

#include "base/buf.h"
#include "hub/sha.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define MAX_THREADS 512
#define MAX_SERVED 16

struct served {
	const char *path;
	const char *data;
	size_t bytes;
	bool lfs;
	const char *hash; /* what the listing says; NULL: the true one */
	char true_hash[65];
};

struct asked {
	char method[8], target[1024];
	bool has_range, has_token;
	unsigned long long first, last;
	int fd;
};

struct server {
	int fd, port;
	atomic_bool stop;
	pthread_t accepter, threads[MAX_THREADS];
	atomic_int n_threads, active;
	struct served files[MAX_SERVED];
	size_t n_files;
	const char *tree;          /* NULL: made from files */
	struct server *cdn;        /* large files are redirected there */
	bool no_range;
	atomic_long drop_after;    /* bytes of a body; -1: none. Decides for `drops` more bodies */
	atomic_int drops;
	atomic_int requests, resolves, ranged, with_token; /* counted */
	/* true: it has answered */
	bool (*hook)(struct server *s, struct asked *a);
	atomic_int hook_state;
};

static inline void send_all(int fd, const void *data, size_t bytes)
{
	const char *p = data;

	while (bytes > 0) {
		ssize_t n = send(fd, p, bytes, MSG_NOSIGNAL);
		if (n <= 0)
			return;
		p += n;
		bytes -= (size_t)n;
	}
}

static inline void reply_text(struct asked *a, const char *status, const char *headers, const char *body)
{
	char head[4096];
	int n = snprintf(head, sizeof head, "HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %zu\r\n%s\r\n", status,
			 strlen(body), headers);

	send_all(a->fd, head, (size_t)n);
	send_all(a->fd, body, strlen(body));
}

static inline void reply_file(struct server *s, struct asked *a, const struct served *f, const char *headers)
{
	char head[2048];
	size_t first = 0, end = f->bytes;
	bool ranged = a->has_range && !s->no_range;

	if (ranged) {
		first = (size_t)a->first;
		end = a->last + 1 < f->bytes ? (size_t)a->last + 1 : f->bytes;
		if (first >= f->bytes) {
			reply_text(a, "416 Range Not Satisfiable", "", "");
			return;
		}
		atomic_fetch_add(&s->ranged, 1);
	}
	int n = snprintf(head, sizeof head, "HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %zu\r\n%s",
			 ranged ? "206 Partial Content" : "200 OK", end - first, headers);
	if (ranged)
		n += snprintf(head + n, sizeof head - (size_t)n, "Content-Range: bytes %zu-%zu/%zu\r\n", first, end - 1,
			      f->bytes);
	n += snprintf(head + n, sizeof head - (size_t)n, "\r\n");
	send_all(a->fd, head, (size_t)n);
	size_t count = end - first;
	long drop = atomic_load(&s->drop_after);
	if (drop >= 0 && (size_t)drop < count && atomic_fetch_sub(&s->drops, 1) > 0)
		count = (size_t)drop;
	send_all(a->fd, f->data + first, count);
}

static inline void reply_tree(struct server *s, struct asked *a)
{
	struct hth_buf out;

	if (s->tree != NULL) {
		reply_text(a, "200 OK", "", s->tree);
		return;
	}
	hth_buf_init(&out, 1u << 20);
	(void)hth_buf_puts(&out, "[{\"type\":\"directory\",\"oid\":\"x\",\"size\":0,\"path\":\"sub\"}");
	for (size_t i = 0; i < s->n_files; i++) {
		const struct served *f = &s->files[i];
		const char *hash = f->hash != NULL ? f->hash : f->true_hash;
		(void)hth_buf_printf(&out, ",{\"type\":\"file\",\"path\":\"%s\",\"size\":%zu,\"oid\":\"%s\"", f->path,
				     f->bytes, f->lfs ? "ce013625030ba8dba906f756967f9e9ca394464a" : hash);
		if (f->lfs)
			(void)hth_buf_printf(&out, ",\"lfs\":{\"oid\":\"%s\",\"size\":%zu,\"pointerSize\":134}", hash,
					     f->bytes);
		(void)hth_buf_puts(&out, "}");
	}
	(void)hth_buf_puts(&out, "]");
	reply_text(a, "200 OK", "", hth_buf_str(&out));
	hth_buf_clear(&out);
}

static inline void route(struct server *s, struct asked *a)
{
	char headers[1024];

	atomic_fetch_add(&s->requests, 1);
	if (a->has_token)
		atomic_fetch_add(&s->with_token, 1);
	if (s->hook != NULL && s->hook(s, a))
		return;
	if (strstr(a->target, "/revision/") != NULL) {
		reply_text(a, "200 OK", "", "{\"id\":\"org/model\",\"sha\":\"" COMMIT "\",\"private\":false}");
		return;
	}
	if (strstr(a->target, "/tree/" COMMIT) != NULL) {
		reply_tree(s, a);
		return;
	}
	const char *path = strstr(a->target, "/resolve/" COMMIT "/");
	path = path != NULL ? path + strlen("/resolve/" COMMIT "/") :
	       strncmp(a->target, "/cdn/", 5) == 0 ? a->target + 5 : "";
	for (size_t i = 0; i < s->n_files; i++) {
		const struct served *f = &s->files[i];
		if (strcmp(path, f->path) != 0)
			continue;
		atomic_fetch_add(&s->resolves, 1);
		if (f->lfs && s->cdn != NULL) {
			snprintf(headers, sizeof headers,
				 "Location: http://127.0.0.1:%d/cdn/%s\r\nX-Repo-Commit: " COMMIT
				 "\r\nX-Linked-Etag: \"%s\"\r\nX-Linked-Size: %zu\r\n",
				 s->cdn->port, f->path, f->true_hash, f->bytes);
			reply_text(a, "302 Found", headers, "moved");
			return;
		}
		snprintf(headers, sizeof headers, "ETag: \"%s\"\r\nX-Repo-Commit: " COMMIT "\r\n",
			 f->hash != NULL ? f->hash : f->true_hash);
		reply_file(s, a, f, headers);
		return;
	}
	reply_text(a, "404 Not Found", "X-Error-Code: EntryNotFound\r\n", "{}");
}

struct connection {
	struct server *s;
	int fd;
};

static inline void *serve_one(void *ctx)
{
	struct connection *c = ctx;
	struct asked a = {.fd = c->fd};
	char text[16384];
	size_t n = 0;

	while (n < sizeof text - 1) {
		ssize_t got = recv(c->fd, text + n, sizeof text - 1 - n, 0);
		if (got <= 0)
			break;
		n += (size_t)got;
		text[n] = '\0';
		if (strstr(text, "\r\n\r\n") != NULL)
			break;
	}
	text[n] = '\0';
	if (sscanf(text, "%7s %1023s", a.method, a.target) == 2) {
		const char *range = strstr(text, "\r\nRange: bytes=");
		a.last = UINT64_MAX - 1;
		if (range != NULL)
			a.has_range = sscanf(range + 15, "%llu-%llu", &a.first, &a.last) >= 1;
		a.has_token = strstr(text, "\r\nAuthorization: Bearer ") != NULL;
		route(c->s, &a);
	}
	shutdown(c->fd, SHUT_WR);
	close(c->fd);
	atomic_fetch_sub(&c->s->active, 1);
	free(c);
	return NULL;
}

static inline void *accept_all(void *ctx)
{
	struct server *s = ctx;

	while (!atomic_load(&s->stop)) {
		struct pollfd p = {.fd = s->fd, .events = POLLIN};
		if (poll(&p, 1, 20) <= 0)
			continue;
		int fd = accept(s->fd, NULL, NULL);
		int at = atomic_load(&s->n_threads);
		if (fd < 0 || at >= MAX_THREADS)
			continue;
		struct connection *c = malloc(sizeof *c);
		*c = (struct connection){s, fd};
		atomic_fetch_add(&s->active, 1);
		if (pthread_create(&s->threads[at], NULL, serve_one, c) == 0)
			atomic_store(&s->n_threads, at + 1);
		else
			atomic_fetch_sub(&s->active, 1);
	}
	return NULL;
}

/* Until nobody reads what the test is about to change; five seconds at most. */
static inline void server_settle(struct server *s)
{
	for (int i = 0; i < 5000 && atomic_load(&s->active) > 0; i++)
		poll(NULL, 0, 1);
}

static inline void server_start(struct server *s)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof addr;

	memset(s, 0, sizeof *s);
	atomic_store(&s->drop_after, -1);
	s->fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_true(s->fd >= 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&addr, sizeof addr), 0);
	assert_int_equal(listen(s->fd, 64), 0);
	assert_int_equal(getsockname(s->fd, (struct sockaddr *)&addr, &len), 0);
	s->port = ntohs(addr.sin_port);
	assert_int_equal(pthread_create(&s->accepter, NULL, accept_all, s), 0);
}

static inline void server_stop(struct server *s)
{
	atomic_store(&s->stop, true);
	pthread_join(s->accepter, NULL);
	for (int i = 0; i < atomic_load(&s->n_threads); i++)
		pthread_join(s->threads[i], NULL);
	close(s->fd);
}

static inline struct served *server_add(struct server *s, const char *path, const void *data, size_t bytes, bool lfs)
{
	struct hth_sha sha;
	struct served *f = &s->files[s->n_files++];

	*f = (struct served){.path = path, .data = data, .bytes = bytes, .lfs = lfs};
	if (lfs)
		hth_sha_init(&sha, HTH_SHA_256);
	else
		hth_sha_init_git_blob(&sha, bytes);
	hth_sha_add(&sha, data, bytes);
	hth_sha_hex(&sha, f->true_hash);
	return f;
}

#endif
