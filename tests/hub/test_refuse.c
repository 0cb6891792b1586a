/* What a pull refuses and how it says so: answers of the hub, hostile servers, missing networks, full disks. */
#include "rig.h"

#include <sys/file.h>

static const char *hook_status, *hook_headers, *hook_where;

/* Answers the first hook_state requests to hook_where with a status of the test's. */
static bool answer_with(struct server *s, struct asked *a)
{
	if (strstr(a->target, hook_where) == NULL || s->hook_state == 0)
		return false;
	if (s->hook_state > 0)
		s->hook_state--;
	reply_text(a, hook_status, hook_headers, "{\"error\":\"no\"}");
	return true;
}

static void answer(struct rig *r, const char *where, const char *status, const char *headers, int times)
{
	hook_where = where;
	hook_status = status;
	hook_headers = headers;
	r->s.hook_state = times;
	r->s.hook = answer_with;
}

#define assert_pull_fails(status, part)                                                                                \
	do {                                                                                                           \
		struct hth_hub_pulled p_;                                                                              \
		assert_fails(hth_hub_pull(&r->c, REPO, NULL, &p_, &err), status, part);                                \
		server_settle(&r->s);                                                                                  \
		assert_null(p_.path);                                                                                  \
	} while (0)

static void a_gated_model_says_what_to_do(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};

	serve_gguf(r);
	answer(r, "/resolve/", "403 Forbidden", "X-Error-Code: GatedRepo\r\n", -1);
	assert_pull_fails(HTH_ERR_UNAVAILABLE, "gated (status 403): accept its terms at http://127.0.0.1:");
	assert_non_null(strstr(err.text, "HF_TOKEN"));
	answer(r, "/revision/", "401 Unauthorized", "X-Error-Code: GatedRepo\r\n", -1);
	assert_pull_fails(HTH_ERR_UNAVAILABLE, "gated (status 401)");
}

static void a_stranger_and_a_bad_token_hear_different_things(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};

	answer(r, "/api/", "401 Unauthorized", "X-Error-Code: RepoNotFound\r\n", -1);
	assert_pull_fails(HTH_ERR_NOTFOUND, "not there, or private (status 401)");
	setenv("HUGGING_FACE_HUB_TOKEN", "hf_x", 1);
	rig_config(r);
	assert_pull_fails(HTH_ERR_UNAVAILABLE, "token in use was not accepted");
	answer(r, "/api/", "403 Forbidden", "", -1);
	assert_pull_fails(HTH_ERR_UNAVAILABLE, "lacks the right");
}

static void what_is_not_there_is_named(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;

	answer(r, "/revision/", "404 Not Found", "X-Error-Code: RepoNotFound\r\n", -1);
	assert_pull_fails(HTH_ERR_NOTFOUND, "no such model at");
	answer(r, "/revision/", "404 Not Found", "X-Error-Code: RevisionNotFound\r\n", -1);
	assert_pull_fails(HTH_ERR_NOTFOUND, "no such branch, tag or commit");
	r->s.hook = NULL;
	serve_gguf(r);
	assert_fails(hth_hub_pull(&r->c, REPO ":model-Q4_K_N.gguf", NULL, &p, &err), HTH_ERR_NOTFOUND,
		     "did you mean model-Q4_K_M.gguf?");
	answer(r, "/resolve/", "404 Not Found", "", -1);
	assert_pull_fails(HTH_ERR_NOTFOUND, "model-Q4_K_M.gguf: no such file there");
}

static void a_busy_hub_is_asked_again(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;

	serve_gguf(r);
	answer(r, "/revision/", "503 Service Unavailable", "", 2);
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	hth_hub_pulled_clear(&p);
	answer(r, "/revision/", "429 Too Many Requests", "Retry-After: 0\r\n", 1);
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	hth_hub_pulled_clear(&p);
	answer(r, "/revision/", "500 Oops", "", -1);
	assert_pull_fails(HTH_ERR_UNAVAILABLE, "status 500");
}

static void a_wait_that_is_too_long_is_told_not_waited(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};

	answer(r, "/revision/", "429 Too Many Requests", "Retry-After: 3600\r\n", -1);
	assert_pull_fails(HTH_ERR_LIMIT, "try again in 1h00m, or set HF_TOKEN");
	answer(r, "/revision/", "429 Too Many Requests", "RateLimit: \"api\";r=0;t=300\r\n", -1);
	assert_pull_fails(HTH_ERR_LIMIT, "try again in 5m00s");
}

static void a_file_that_stays_busy_gives_up(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};

	serve_gguf(r);
	r->c.connections = 1;
	answer(r, "/resolve/", "502 Bad Gateway", "", -1);
	assert_pull_fails(HTH_ERR_IO, "status 502");
	assert_int_equal(atomic_load(&r->s.requests), 2 + 5);
}

static void redirects_end_somewhere(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};

	answer(r, "/api/", "302 Found", "Location: /api/models/again/revision/main\r\n", -1);
	assert_pull_fails(HTH_ERR_FORMAT, "more than 5 redirects");
	assert_int_equal(atomic_load(&r->s.requests), 6);
	answer(r, "/api/", "302 Found", "Location: file:///etc/passwd\r\n", -1);
	assert_pull_fails(HTH_ERR_FORMAT, "redirected to \"file:///etc/passwd\"");
	answer(r, "/api/", "302 Found", "Location: gopher://127.0.0.1/\r\n", -1);
	assert_pull_fails(HTH_ERR_FORMAT, "expected a");
	answer(r, "/api/", "302 Found", "", -1);
	assert_pull_fails(HTH_ERR_FORMAT, "to nowhere");
}

static void hostile_names_refuse_the_whole_listing(void **state)
{
	static const char *const names[] = {
		"../../../etc/cron.d/x", "/etc/passwd", "a/../../b", "a//b", "a/./b", "..", ".", "", "a\\\\..\\\\b",
		"a\\u0000b", "a\\nb", "a\\u001b[2Jb", "a/", "~\\u007f",
	};
	struct rig *r = *state;
	struct hth_err err = {0};
	char tree[512];

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(tree, sizeof tree,
			 "[{\"type\":\"file\",\"path\":\"%s\",\"size\":3,"
			 "\"oid\":\"ce013625030ba8dba906f756967f9e9ca394464a\"}]",
			 names[i]);
		r->s.tree = tree;
		assert_pull_fails(HTH_ERR_FORMAT, "a file name that");
	}
	assert_int_equal(hth_path_kind(r->home), HTH_PATH_NONE);
}

static void a_listing_without_checksums_is_refused(void **state)
{
	static const char *const entries[] = {
		"{\"type\":\"file\",\"path\":\"config.json\",\"size\":3}",
		"{\"type\":\"file\",\"path\":\"config.json\",\"size\":3,\"oid\":\"../../../../../../../../../../../../tmp/x\"}",
		"{\"type\":\"file\",\"path\":\"config.json\",\"oid\":\"ce013625030ba8dba906f756967f9e9ca394464a\"}",
		"{\"type\":\"file\",\"path\":\"x\",\"size\":-1,\"oid\":\"ce013625030ba8dba906f756967f9e9ca394464a\"}",
		"{\"type\":\"file\",\"path\":\"x\",\"size\":1e30,\"oid\":\"ce013625030ba8dba906f756967f9e9ca394464a\"}",
		"{\"type\":\"file\",\"path\":\"x\",\"size\":3,\"oid\":\"x\",\"lfs\":{\"oid\":\"abc\",\"size\":3}}",
		"{\"type\":\"file\",\"size\":3}",
		"3",
	};
	struct rig *r = *state;
	struct hth_err err = {0};
	char tree[512];

	for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
		snprintf(tree, sizeof tree, "[%s]", entries[i]);
		r->s.tree = tree;
		assert_pull_fails(HTH_ERR_FORMAT, REPO);
	}
	r->s.tree = "{\"error\":\"x\"}";
	assert_pull_fails(HTH_ERR_FORMAT, "expected a list of files");
	r->s.tree = "<html>";
	assert_pull_fails(HTH_ERR_FORMAT, REPO);
}

static void an_oversize_listing_is_cut_off(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};

	serve_safetensors(r);
	r->c.max_listing_bytes = 200;
	assert_pull_fails(HTH_ERR_LIMIT, "the server's answer is too large");
}

static bool answer_pages(struct server *s, struct asked *a)
{
	char link[256];

	if (strstr(a->target, "/tree/") == NULL)
		return false;
	snprintf(link, sizeof link, "Link: <http://127.0.0.1:%d/api/models/org/model/tree/x?cursor=%d>; rel=\"next\"\r\n",
		 s->port, s->hook_state++);
	reply_text(a, "200 OK", link, "[]");
	return true;
}

static void pages_without_an_end_are_cut_off(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};

	r->s.hook = answer_pages;
	assert_pull_fails(HTH_ERR_LIMIT, "more than 200 pages");
	assert_int_equal(r->s.hook_state, 200);
}

static bool answer_two_pages(struct server *s, struct asked *a)
{
	char text[512];

	if (strstr(a->target, "/tree/") == NULL)
		return false;
	if (strstr(a->target, "cursor") == NULL) {
		snprintf(text, sizeof text,
			 "Link: <http://127.0.0.1:%d/api/models/org/model/tree/" COMMIT "?cursor=2>; rel=\"next\"\r\n",
			 s->port);
		reply_text(a, "200 OK", text, "[]");
		return true;
	}
	return false;
}

static void a_listing_on_two_pages_is_read_whole(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;

	serve_gguf(r);
	r->s.hook = answer_two_pages;
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	assert_int_equal(p.n_files, 1);
	hth_hub_pulled_clear(&p);
}

static void a_file_longer_than_listed_is_cut_off(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};

	serve_gguf(r);
	r->s.tree = "[{\"type\":\"file\",\"path\":\"model-Q4_K_M.gguf\",\"size\":1000,\"oid\":\"x\",\"lfs\":{\"size\":1000,"
		    "\"oid\":\"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e746f6be03\"}}]";
	memcpy(r->s.files[0].true_hash, "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e746f6be03", 65);
	assert_pull_fails(HTH_ERR_FORMAT, "more bytes than asked for");
	r->s.tree = "[{\"type\":\"file\",\"path\":\"model-Q4_K_M.gguf\",\"size\":100000,\"oid\":\"x\",\"lfs\":{\"size\":100000,"
		    "\"oid\":\"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e746f6be03\"}}]";
	assert_pull_fails(HTH_ERR_FORMAT, "the server has 1000003 bytes, its listing says 100000");
}

static void a_disk_that_is_too_small_is_seen_before(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};

	r->s.tree = "[{\"type\":\"file\",\"path\":\"x.gguf\",\"size\":9000000000000,\"oid\":\"x\",\"lfs\":{\"size\":9000000000000,"
		    "\"oid\":\"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e746f6be03\"}}]";
	assert_pull_fails(HTH_ERR_LIMIT, "needs 9.0 TB more");
	assert_int_equal(atomic_load(&r->s.requests), 2);
}

static bool answer_and_stall(struct server *s, struct asked *a)
{
	if (strstr(a->target, "/resolve/") == NULL)
		return false;
	static const char head[] = "HTTP/1.1 206 Partial Content\r\nContent-Length: 65536\r\n"
				   "Content-Range: bytes 0-65535/1000003\r\n\r\nabc";
	send_all(a->fd, head, sizeof head - 1);
	for (int i = 0; i < 300 && !atomic_load(&s->stop) && s->hook_state == 0; i++)
		poll(NULL, 0, 20);
	return true;
}

static void a_stalled_transfer_is_dropped(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};

	serve_gguf(r);
	r->s.hook = answer_and_stall;
	struct hth_hub_pulled p;
	r->c.tries = r->c.connections = 1;
	assert_fails(hth_hub_pull(&r->c, REPO, NULL, &p, &err), HTH_ERR_IO, "model-Q4_K_M.gguf: no connection to");
	r->s.hook_state = 1; /* lets the server's thread go */
}

static void no_network_is_told_in_those_words(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};

	setenv("HF_ENDPOINT", "http://127.0.0.1:1", 1); /* nobody listens there */
	rig_config(r);
	assert_pull_fails(HTH_ERR_UNAVAILABLE, "no connection to http://127.0.0.1:1");
	assert_non_null(strstr(err.text, "work without a network"));
}

static void offline_asks_nobody(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;

	serve_gguf(r);
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	hth_hub_pulled_clear(&p);
	int before = atomic_load(&r->s.requests);
	setenv("HF_HUB_OFFLINE", "1", 1);
	rig_config(r);
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	assert_string_equal(p.path, in_cache(r, "snapshots/" COMMIT "/model-Q4_K_M.gguf"));
	hth_hub_pulled_clear(&p);
	assert_fails(hth_hub_pull(&r->c, "org/other", NULL, &p, &err), HTH_ERR_UNAVAILABLE, "HF_HUB_OFFLINE is set");
	assert_int_equal(atomic_load(&r->s.requests), before);
}

static void a_lock_that_is_held_is_waited_for_only_so_long(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;
	char path[512];

	serve_gguf(r);
	snprintf(path, sizeof path, "%s/.locks/models--org--model", r->home);
	assert_ok(hth_mkdirs(path, &err));
	snprintf(path, sizeof path, "%s/.locks/models--org--model/%s.lock", r->home, r->s.files[0].true_hash);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(flock(fileno(f), LOCK_EX), 0);
	r->c.lock_wait_ms = 100;
	assert_pull_fails(HTH_ERR_UNAVAILABLE, "held by another program");
	fclose(f);
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	hth_hub_pulled_clear(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, rig_up, rig_down)
		T(a_gated_model_says_what_to_do),
		T(a_stranger_and_a_bad_token_hear_different_things),
		T(what_is_not_there_is_named),
		T(a_busy_hub_is_asked_again),
		T(a_wait_that_is_too_long_is_told_not_waited),
		T(a_file_that_stays_busy_gives_up),
		T(redirects_end_somewhere),
		T(hostile_names_refuse_the_whole_listing),
		T(a_listing_without_checksums_is_refused),
		T(an_oversize_listing_is_cut_off),
		T(pages_without_an_end_are_cut_off),
		T(a_listing_on_two_pages_is_read_whole),
		T(a_file_longer_than_listed_is_cut_off),
		T(a_disk_that_is_too_small_is_seen_before),
		T(a_stalled_transfer_is_dropped),
		T(no_network_is_told_in_those_words),
		T(offline_asks_nobody),
		T(a_lock_that_is_held_is_waited_for_only_so_long),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
