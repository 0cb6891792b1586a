/* Pulls from a hub on loopback: what arrives, what the cache then looks like, what is fetched again and what is not. */
#include "rig.h"

static void a_pull_brings_the_model_in_safetensors(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;
	char *link, target[256];

	serve_safetensors(r);
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	assert_string_equal(p.path, in_cache(r, "snapshots/" COMMIT));
	assert_string_equal(p.commit, COMMIT);
	assert_int_equal(p.n_files, 7);
	assert_int_equal(p.fetched_bytes, p.total_bytes);
	assert_content(in_cache(r, "snapshots/" COMMIT "/config.json"), "hello\n", 6);
	assert_content(in_cache(r, "snapshots/" COMMIT "/model-00001-of-00002.safetensors"), r->big, BIG_BYTES);
	assert_content(in_cache(r, "snapshots/" COMMIT "/additional_chat_templates/rag.jinja"), "rag", 3);
	assert_content(in_cache(r, "refs/main"), COMMIT, 40);
	assert_content(in_cache(r, "blobs/ce013625030ba8dba906f756967f9e9ca394464a"), "hello\n", 6);
	assert_int_equal(hth_path_kind(in_cache(r, "snapshots/" COMMIT "/pytorch_model.bin")), HTH_PATH_NONE);
	link = in_cache(r, "snapshots/" COMMIT "/config.json");
	ssize_t n = readlink(link, target, sizeof target - 1);
	assert_int_equal(n, 52);
	assert_memory_equal(target, "../../blobs/ce013625030ba8dba906f756967f9e9ca394464a", 52);
	hth_hub_pulled_clear(&p);
}

static void a_second_pull_fetches_nothing(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;

	serve_safetensors(r);
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	hth_hub_pulled_clear(&p);
	int before = atomic_load(&r->s.resolves);
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	assert_int_equal(p.fetched_bytes, 0);
	assert_int_equal(atomic_load(&r->s.resolves), before);
	for (size_t i = 0; i < p.n_files; i++)
		assert_true(p.files[i].cached);
	hth_hub_pulled_clear(&p);
}

static void a_large_file_comes_in_parts_and_leaves_no_rest(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;
	char **names;
	size_t n;

	serve_gguf(r);
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	assert_string_equal(p.path, in_cache(r, "snapshots/" COMMIT "/model-Q4_K_M.gguf"));
	assert_content(p.path, r->big, BIG_BYTES);
	assert_int_equal(atomic_load(&r->s.ranged), 16);
	hth_hub_pulled_clear(&p);
	assert_ok(hth_dir_list(in_cache(r, "blobs"), &names, &n, &err));
	assert_int_equal(n, 1);
	assert_string_equal(names[0], r->s.files[0].true_hash);
	hth_names_free(names, n);
}

static void drops_in_mid_file_are_resumed(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;

	serve_gguf(r);
	atomic_store(&r->s.drop_after, 30000);
	atomic_store(&r->s.drops, 12);
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	assert_content(p.path, r->big, BIG_BYTES);
	assert_int_equal(p.fetched_bytes, BIG_BYTES); /* no byte twice */
	hth_hub_pulled_clear(&p);
}

static void an_interrupted_pull_goes_on_where_it_was(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;

	serve_gguf(r);
	r->c.tries = 1;
	r->c.connections = 1;
	atomic_store(&r->s.drop_after, 40000);
	atomic_store(&r->s.drops, 1);
	assert_fails(hth_hub_pull(&r->c, REPO, NULL, &p, &err), HTH_ERR_IO, "model-Q4_K_M.gguf");
	assert_int_equal(hth_path_kind(in_cache(r, "refs/main")), HTH_PATH_NONE);
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	assert_content(p.path, r->big, BIG_BYTES);
	assert_int_equal(p.fetched_bytes, BIG_BYTES - 40000);
	hth_hub_pulled_clear(&p);
}

static void a_server_without_ranges_is_read_from_the_start(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;

	serve_gguf(r);
	r->s.no_range = true;
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	assert_content(p.path, r->big, BIG_BYTES);
	assert_int_equal(atomic_load(&r->s.resolves), 1);
	hth_hub_pulled_clear(&p);
}

static void a_resume_without_ranges_starts_over(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;

	serve_gguf(r);
	r->c.tries = 1;
	atomic_store(&r->s.drop_after, 300000);
	atomic_store(&r->s.drops, 1);
	r->s.no_range = true;
	assert_fails(hth_hub_pull(&r->c, REPO, NULL, &p, &err), HTH_ERR_IO, "");
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	assert_content(p.path, r->big, BIG_BYTES);
	assert_int_equal(p.fetched_bytes, BIG_BYTES);
	hth_hub_pulled_clear(&p);
}

static void the_token_stays_with_the_endpoint(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;

	setenv("HF_TOKEN", " hf_secret\n", 1);
	rig_config(r);
	serve_gguf(r);
	r->s.cdn = &r->cdn;
	server_add(&r->cdn, "model-Q4_K_M.gguf", r->big, BIG_BYTES, false);
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	assert_content(p.path, r->big, BIG_BYTES);
	assert_int_equal(atomic_load(&r->s.with_token), atomic_load(&r->s.requests));
	assert_true(atomic_load(&r->cdn.requests) >= 16);
	assert_int_equal(atomic_load(&r->cdn.with_token), 0);
	hth_hub_pulled_clear(&p);
}

static bool refuse_first(struct server *s, struct asked *a)
{
	if (s->hook_state-- <= 0)
		return false;
	reply_text(a, "403 Forbidden", "", "<Error><Code>AccessDenied</Code></Error>");
	return true;
}

static void a_redirect_that_expired_is_asked_for_again(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;

	serve_gguf(r);
	r->s.cdn = &r->cdn;
	server_add(&r->cdn, "model-Q4_K_M.gguf", r->big, BIG_BYTES, false);
	r->cdn.hook_state = 2;
	r->cdn.hook = refuse_first;
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	assert_content(p.path, r->big, BIG_BYTES);
	hth_hub_pulled_clear(&p);
	server_settle(&r->cdn);
}

static void a_wrong_checksum_is_tried_twice_and_not_kept(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;
	char **names;
	size_t n;

	struct served *f = serve_gguf(r);
	f->hash = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e746f6be03";
	assert_fails(hth_hub_pull(&r->c, REPO, NULL, &p, &err), HTH_ERR_FORMAT, "checksum");
	assert_int_equal(atomic_load(&r->s.resolves), 32);
	assert_ok(hth_dir_list(in_cache(r, "blobs"), &names, &n, &err));
	assert_int_equal(n, 0);
	hth_names_free(names, n);
	assert_int_equal(hth_path_kind(in_cache(r, "refs/main")), HTH_PATH_NONE);
}

static void a_small_file_is_checked_by_its_git_hash(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;

	serve_safetensors(r);
	r->s.files[0].data = "jello\n";
	assert_fails(hth_hub_pull(&r->c, REPO, NULL, &p, &err), HTH_ERR_FORMAT, "config.json: checksum");
}

static void content_that_changes_between_attempts_is_noticed(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;
	struct served *f = serve_gguf(r);
	char old[65], rest[160];

	r->c.tries = 1;
	atomic_store(&r->s.drop_after, 40000);
	atomic_store(&r->s.drops, 4);
	assert_fails(hth_hub_pull(&r->c, REPO, NULL, &p, &err), HTH_ERR_IO, "");
	snprintf(rest, sizeof rest, "blobs/%s.hearth.incomplete", f->true_hash);
	assert_int_equal(hth_path_kind(in_cache(r, rest)), HTH_PATH_FILE);
	atomic_store(&r->s.drop_after, -1);
	/* The listing still says the old hash, the file's own answer another one. */
	memcpy(old, f->true_hash, sizeof old);
	f->hash = old;
	memset(f->true_hash, 'b', 64);
	r->s.cdn = &r->cdn;
	server_add(&r->cdn, "model-Q4_K_M.gguf", r->big, BIG_BYTES, false);
	assert_fails(hth_hub_pull(&r->c, REPO, NULL, &p, &err), HTH_ERR_FORMAT, "other content");
	/* A new listing with a new content: what is left of the old one goes. */
	r->s.n_files = 0;
	r->s.cdn = NULL;
	server_add(&r->s, "model-Q4_K_M.gguf", r->big + 1, BIG_BYTES - 1, true);
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	assert_content(p.path, r->big + 1, BIG_BYTES - 1);
	snprintf(rest, sizeof rest, "blobs/%s.hearth.incomplete", old);
	assert_int_equal(hth_path_kind(in_cache(r, rest)), HTH_PATH_NONE);
	hth_hub_pulled_clear(&p);
}

static void a_damaged_blob_is_found_by_verify(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;
	struct hth_hub_options verify = {.verify = true};

	serve_gguf(r);
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	FILE *f = fopen(p.path, "r+b");
	assert_non_null(f);
	fseek(f, 1234, SEEK_SET);
	fputc(r->big[1234] ^ 1, f);
	fclose(f);
	hth_hub_pulled_clear(&p);
	assert_ok(hth_hub_pull(&r->c, REPO, &verify, &p, &err));
	assert_int_equal(p.fetched_bytes, BIG_BYTES);
	assert_content(p.path, r->big, BIG_BYTES);
	hth_hub_pulled_clear(&p);
	assert_ok(hth_hub_pull(&r->c, REPO, &verify, &p, &err));
	assert_int_equal(p.fetched_bytes, 0);
	hth_hub_pulled_clear(&p);
}

static void a_blob_of_the_wrong_size_is_fetched_again(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;

	serve_gguf(r);
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	assert_int_equal(truncate(p.path, 99), 0);
	hth_hub_pulled_clear(&p);
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	assert_content(p.path, r->big, BIG_BYTES);
	hth_hub_pulled_clear(&p);
}

static void a_dry_run_lists_and_writes_nothing(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;
	struct hth_hub_options dry = {.dry_run = true};

	serve_gguf(r);
	assert_ok(hth_hub_pull(&r->c, REPO ":q4_k_m", &dry, &p, &err));
	assert_int_equal(p.n_files, 1);
	assert_int_equal(p.total_bytes, BIG_BYTES);
	assert_int_equal(hth_path_kind(r->home), HTH_PATH_NONE);
	hth_hub_pulled_clear(&p);
}

static void equal_contents_are_fetched_once(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;

	server_add(&r->s, "config.json", "hello\n", 6, false);
	server_add(&r->s, "tokenizer.json", "hello\n", 6, false);
	server_add(&r->s, "merges.txt", "", 0, false);
	server_add(&r->s, "model.safetensors", r->big, 5, true);
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	assert_int_equal(p.n_files, 4);
	assert_int_equal(p.fetched_bytes, 11);
	assert_content(in_cache(r, "snapshots/" COMMIT "/tokenizer.json"), "hello\n", 6);
	assert_content(in_cache(r, "snapshots/" COMMIT "/merges.txt"), "", 0);
	hth_hub_pulled_clear(&p);
}

static void a_split_gguf_comes_whole_and_its_first_piece_is_the_path(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;

	server_add(&r->s, "q8/x-Q8_0-00002-of-00002.gguf", r->big + 100, 2000, true);
	server_add(&r->s, "q8/x-Q8_0-00001-of-00002.gguf", r->big, 1000, true);
	server_add(&r->s, "x-Q2_K.gguf", r->big, 10, true);
	assert_ok(hth_hub_pull(&r->c, REPO ":Q8_0", NULL, &p, &err));
	assert_int_equal(p.n_files, 2);
	assert_string_equal(p.path, in_cache(r, "snapshots/" COMMIT "/q8/x-Q8_0-00001-of-00002.gguf"));
	assert_content(in_cache(r, "snapshots/" COMMIT "/q8/x-Q8_0-00002-of-00002.gguf"), r->big + 100, 2000);
	hth_hub_pulled_clear(&p);
}

static void another_revision_gets_a_ref_of_its_own(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;

	serve_gguf(r);
	assert_ok(hth_hub_pull(&r->c, REPO "@refs/pr/1", NULL, &p, &err));
	assert_content(in_cache(r, "refs/refs/pr/1"), COMMIT, 40);
	assert_int_equal(hth_path_kind(in_cache(r, "refs/main")), HTH_PATH_NONE);
	hth_hub_pulled_clear(&p);
}

struct other {
	struct rig *r;
	enum hth_status status;
	uint64_t fetched;
};

static void *pull_beside(void *ctx)
{
	struct other *o = ctx;
	struct hth_hub_pulled p;
	struct hth_err err = {0};

	o->status = hth_hub_pull(&o->r->c, REPO, NULL, &p, &err);
	o->fetched = p.fetched_bytes;
	hth_hub_pulled_clear(&p);
	return NULL;
}

static void two_pulls_at_once_share_the_work(void **state)
{
	struct rig *r = *state;
	struct other o[2] = {{.r = r}, {.r = r}};
	pthread_t threads[2];

	serve_gguf(r);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, pull_beside, &o[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(o[0].status, HTH_OK);
	assert_int_equal(o[1].status, HTH_OK);
	assert_int_equal(o[0].fetched + o[1].fetched, BIG_BYTES);
	assert_content(in_cache(r, "snapshots/" COMMIT "/model-Q4_K_M.gguf"), r->big, BIG_BYTES);
}

static atomic_int stop_after;

static bool stop_soon(void)
{
	return atomic_fetch_sub(&stop_after, 1) <= 0;
}

static void a_stop_keeps_what_is_here(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;
	int stopped = 0;

	serve_gguf(r);
	/* Stopped earlier and earlier or later and later, the pull never ends in anything but a stop or a good file. */
	r->c.stopped = stop_soon;
	for (int n = 1; n < 400; n += 23) {
		atomic_store(&stop_after, n);
		enum hth_status s = hth_hub_pull(&r->c, REPO, NULL, &p, &err);
		if (s == HTH_OK) {
			hth_hub_pulled_clear(&p);
			break;
		}
		assert_int_equal(s, HTH_ERR_INTERRUPTED);
		stopped++;
	}
	assert_true(stopped > 0);
	r->c.stopped = NULL;
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	assert_content(p.path, r->big, BIG_BYTES);
	hth_hub_pulled_clear(&p);
}

/* The server's own buffers fail too now and then; that only makes it another bad server. */
static void a_pull_short_of_memory_leaves_a_sound_cache(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;
	struct hth_hub_options verify = {.verify = true};
	int failed = 0;

	server_add(&r->s, "config.json", "hello\n", 6, false);
	server_add(&r->s, "model.safetensors", r->big, 100, true);
	r->c.tries = 1;
	for (uint64_t nth = 1; nth <= 100; nth++) {
		hth_mem_fail_at(nth, false);
		enum hth_status s = hth_hub_pull(&r->c, REPO, NULL, &p, &err);
		hth_mem_fail_at(0, false);
		server_settle(&r->s);
		if (s != HTH_OK) {
			failed++;
			assert_null(p.path);
			continue;
		}
		assert_content(in_cache(r, "snapshots/" COMMIT "/model.safetensors"), r->big, 100);
		hth_hub_pulled_clear(&p);
		assert_ok(hth_remove_tree(r->home, &err));
	}
	assert_true(failed > 30);
	assert_ok(hth_hub_pull(&r->c, REPO, &verify, &p, &err));
	assert_content(in_cache(r, "snapshots/" COMMIT "/model.safetensors"), r->big, 100);
	hth_hub_pulled_clear(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, rig_up, rig_down)
		T(a_pull_brings_the_model_in_safetensors),
		T(a_second_pull_fetches_nothing),
		T(a_large_file_comes_in_parts_and_leaves_no_rest),
		T(drops_in_mid_file_are_resumed),
		T(an_interrupted_pull_goes_on_where_it_was),
		T(a_server_without_ranges_is_read_from_the_start),
		T(a_resume_without_ranges_starts_over),
		T(the_token_stays_with_the_endpoint),
		T(a_redirect_that_expired_is_asked_for_again),
		T(a_wrong_checksum_is_tried_twice_and_not_kept),
		T(a_small_file_is_checked_by_its_git_hash),
		T(content_that_changes_between_attempts_is_noticed),
		T(a_damaged_blob_is_found_by_verify),
		T(a_blob_of_the_wrong_size_is_fetched_again),
		T(a_dry_run_lists_and_writes_nothing),
		T(equal_contents_are_fetched_once),
		T(a_split_gguf_comes_whole_and_its_first_piece_is_the_path),
		T(another_revision_gets_a_ref_of_its_own),
		T(two_pulls_at_once_share_the_work),
		T(a_stop_keeps_what_is_here),
		T(a_pull_short_of_memory_leaves_a_sound_cache),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
