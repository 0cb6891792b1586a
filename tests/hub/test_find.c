/* The environment's settings, and names resolved in the cache without a network: caches that hearth made and caches as other
 * programs leave them. */
#include "rig.h"

#include "hub/hub_int.h"

static void the_environment_decides_in_its_usual_order(void **state)
{
	struct rig *r = *state;
	struct hth_hub_config c;
	struct hth_err err = {0};
	char path[128];

	clear_environment();
	setenv("HOME", "/home/somebody", 1);
	assert_ok(hth_hub_config_init(&c, &err));
	assert_string_equal(c.endpoint, "https://huggingface.co");
	assert_string_equal(c.cache, "/home/somebody/.cache/huggingface/hub");
	assert_null(c.token);
	assert_false(c.offline);
	hth_hub_config_clear(&c);
	setenv("XDG_CACHE_HOME", "/xdg", 1);
	assert_ok(hth_hub_config_init(&c, &err));
	assert_string_equal(c.cache, "/xdg/huggingface/hub");
	hth_hub_config_clear(&c);
	setenv("HF_HOME", "~/hf", 1);
	assert_ok(hth_hub_config_init(&c, &err));
	assert_string_equal(c.cache, "/home/somebody/hf/hub");
	hth_hub_config_clear(&c);
	setenv("HUGGINGFACE_HUB_CACHE", "/old", 1);
	assert_ok(hth_hub_config_init(&c, &err));
	assert_string_equal(c.cache, "/old");
	hth_hub_config_clear(&c);
	setenv("HF_HUB_CACHE", "/new", 1);
	setenv("HF_ENDPOINT", "https://mirror.example/hf//", 1);
	setenv("HF_HOME", r->dir, 1);
	snprintf(path, sizeof path, "%s/token", r->dir);
	assert_ok(hth_file_write(path, "hf_file\n", 8, &err));
	assert_ok(hth_hub_config_init(&c, &err));
	assert_string_equal(c.cache, "/new");
	assert_string_equal(c.endpoint, "https://mirror.example/hf");
	assert_string_equal(c.token, "hf_file");
	hth_hub_config_clear(&c);
	setenv("HUGGING_FACE_HUB_TOKEN", "hf_old", 1);
	assert_ok(hth_hub_config_init(&c, &err));
	assert_string_equal(c.token, "hf_old");
	hth_hub_config_clear(&c);
	setenv("HF_TOKEN", "hf_new\r\n", 1);
	assert_ok(hth_hub_config_init(&c, &err));
	assert_string_equal(c.token, "hf_new");
	hth_hub_config_clear(&c);
	setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1", 1);
	assert_ok(hth_hub_config_init(&c, &err));
	assert_null(c.token);
	hth_hub_config_clear(&c);
}

static void settings_that_could_do_harm_are_refused(void **state)
{
	static const char *const endpoints[] = {"ftp://x", "file:///etc", "huggingface.co:x", "https://", "https://a b",
						"https://x/?a=b", "https://u:p@x"};
	struct hth_hub_config c;
	struct hth_err err = {0};

	(void)state;
	setenv("HF_TOKEN", "hf_a\r\nX-Evil: 1", 1);
	assert_fails(hth_hub_config_init(&c, &err), HTH_ERR_USAGE, "HF_TOKEN");
	assert_null(strstr(err.text, "Evil")); /* a token is never shown */
	unsetenv("HF_TOKEN");
	for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++) {
		setenv("HF_ENDPOINT", endpoints[i], 1);
		assert_fails(hth_hub_config_init(&c, &err), HTH_ERR_USAGE, "HF_ENDPOINT");
	}
}

static void make_file(const struct rig *r, const char *path, const char *text)
{
	struct hth_err err = {0};
	char *full = in_cache(r, path), *slash = strrchr(full, '/');

	*slash = '\0';
	assert_ok(hth_mkdirs(full, &err));
	*slash = '/';
	assert_ok(hth_file_write(full, text, strlen(text), &err));
}

static void assert_found(const char *name, const char *want)
{
	struct hth_err err = {0};
	char *path;

	assert_ok(hth_hub_find(name, &path, &err));
	assert_string_equal(path, want);
	hth_free(path);
}

static void what_was_pulled_is_found(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	struct hth_hub_pulled p;
	char *path;

	serve_safetensors(r);
	serve_gguf(r);
	assert_fails(hth_hub_find(REPO, &path, &err), HTH_ERR_NOTFOUND, "fetch it with: hearth pull org/model");
	assert_null(path);
	assert_ok(hth_hub_pull(&r->c, REPO ":q4_k_m", NULL, &p, &err));
	assert_found(REPO ":Q4_K_M", p.path);
	assert_found(REPO, p.path); /* the only model there so far */
	assert_found(REPO "@" COMMIT ":model-Q4_K_M.gguf", p.path);
	assert_fails(hth_hub_find(REPO ":q8_0", &path, &err), HTH_ERR_NOTFOUND, "hearth pull org/model:q8_0");
	hth_hub_pulled_clear(&p);
	assert_ok(hth_hub_pull(&r->c, REPO, NULL, &p, &err));
	assert_found(REPO, p.path);
	assert_found(REPO ":q4_k_m", in_cache(r, "snapshots/" COMMIT "/model-Q4_K_M.gguf"));
	hth_hub_pulled_clear(&p);
}

static void an_incomplete_snapshot_is_not_found(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	char *path;

	make_file(r, "refs/main", COMMIT "\n");
	assert_fails(hth_hub_find(REPO, &path, &err), HTH_ERR_NOTFOUND, "hearth pull");
	make_file(r, "snapshots/" COMMIT "/model-00001-of-00002.safetensors", "x");
	assert_fails(hth_hub_find(REPO, &path, &err), HTH_ERR_NOTFOUND, "config.json is missing");
	make_file(r, "snapshots/" COMMIT "/config.json", "{}");
	make_file(r, "snapshots/" COMMIT "/model.safetensors.index.json",
		  "{\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\",\"b\":\"model-00002-of-00002.safetensors\"}}");
	assert_fails(hth_hub_find(REPO, &path, &err), HTH_ERR_NOTFOUND, "model-00002-of-00002.safetensors is missing");
	/* A link whose blob is gone is no file. */
	assert_int_equal(symlink("../../blobs/gone",
				 in_cache(r, "snapshots/" COMMIT "/model-00002-of-00002.safetensors")), 0);
	assert_fails(hth_hub_find(REPO, &path, &err), HTH_ERR_NOTFOUND, "model-00002-of-00002.safetensors is missing");
	make_file(r, "blobs/gone", "y");
	assert_found(REPO, in_cache(r, "snapshots/" COMMIT));
}

static void a_damaged_ref_is_named(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	char *path;

	make_file(r, "refs/main", "../../../../etc");
	assert_fails(hth_hub_find(REPO, &path, &err), HTH_ERR_FORMAT, "holds no commit");
	make_file(r, "refs/main", "");
	assert_fails(hth_hub_find(REPO, &path, &err), HTH_ERR_FORMAT, "holds no commit");
}

static void a_search_without_memory_leaks_nothing(void **state)
{
	struct rig *r = *state;
	struct hth_err err = {0};
	char *path = NULL;
	int fails = 0;

	make_file(r, "refs/main", COMMIT);
	make_file(r, "snapshots/" COMMIT "/config.json", "{}");
	make_file(r, "snapshots/" COMMIT "/sub/x.json", "{}");
	make_file(r, "snapshots/" COMMIT "/model.safetensors", "x");
	for (uint64_t nth = 1; nth < 1000; nth++) {
		hth_mem_fail_at(nth, true);
		enum hth_status s = hth_hub_find(REPO, &path, &err);
		hth_mem_fail_at(0, false);
		if (s == HTH_OK)
			break;
		assert_null(path);
		assert_int_equal(s, HTH_ERR_MEMORY);
		fails++;
	}
	assert_non_null(path);
	assert_true(fails > 10);
	hth_free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, rig_up, rig_down)
		T(the_environment_decides_in_its_usual_order),
		T(settings_that_could_do_harm_are_refused),
		T(what_was_pulled_is_found),
		T(an_incomplete_snapshot_is_not_found),
		T(a_damaged_ref_is_named),
		T(a_search_without_memory_leaks_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
