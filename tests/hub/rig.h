/* An environment of its own for each test of the hub: an empty cache, no token, a server on loopback. */
#ifndef HTH_TESTS_HUB_RIG_H
#define HTH_TESTS_HUB_RIG_H

#include "server.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "hub/hub.h"

#include <sys/stat.h>

#define REPO "org/model"
#define BIG_BYTES 1000003 /* in 64 KiB parts: 16, the last one short */

struct rig {
	struct server s, cdn;
	struct hth_hub_config c;
	char dir[64], home[80];
	char *big;
};

static inline void clear_environment(void)
{
	static const char *const names[] = {
		"HF_TOKEN",   "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HOME",     "HF_HUB_CACHE",
		"HF_ENDPOINT", "HUGGINGFACE_HUB_CACHE",  "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "XDG_CACHE_HOME",
		"http_proxy", "https_proxy",            "all_proxy",     "HTTPS_PROXY", "ALL_PROXY",
		"HF_HUB_DISABLE_IMPLICIT_TOKEN",
	};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		unsetenv(names[i]);
}

static inline void rig_config(struct rig *r)
{
	struct hth_err err = {0};

	hth_hub_config_clear(&r->c);
	assert_ok(hth_hub_config_init(&r->c, &err));
	r->c.part_bytes = 65536;
	r->c.backoff_ms = 4;
	r->c.stall_ms = 1000;
	r->c.connect_ms = 2000;
}

static inline int rig_up(void **state)
{
	struct rig *r = calloc(1, sizeof *r);
	char url[64];

	hth_log_set_level(HTH_LOG_ERROR);
	snprintf(r->dir, sizeof r->dir, "/tmp/hearth-hub-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->home, sizeof r->home, "%s/hub", r->dir);
	server_start(&r->s);
	server_start(&r->cdn);
	clear_environment();
	setenv("HF_HOME", r->dir, 1);
	snprintf(url, sizeof url, "http://127.0.0.1:%d/", r->s.port);
	setenv("HF_ENDPOINT", url, 1);
	rig_config(r);
	/* Content that differs everywhere, so that a part in a wrong place shows. */
	r->big = malloc(BIG_BYTES);
	for (size_t i = 0; i < BIG_BYTES; i++)
		r->big[i] = (char)((i * 2654435761u) >> 13);
	*state = r;
	return 0;
}

static inline int rig_down(void **state)
{
	struct rig *r = *state;

	server_stop(&r->s);
	server_stop(&r->cdn);
	hth_hub_config_clear(&r->c);
	clear_environment();
	if (hth_remove_tree(r->dir, NULL) != HTH_OK)
		return 1;
	free(r->big);
	free(r);
	return 0;
}

static inline char *in_cache(const struct rig *r, const char *path)
{
	static char out[4][512];
	static int at;

	at = (at + 1) % 4;
	snprintf(out[at], sizeof out[at], "%s/models--org--model/%s", r->home, path);
	return out[at];
}

static inline void assert_content(const char *path, const void *data, size_t bytes)
{
	struct hth_err err = {0};
	char *found;
	size_t n;

	assert_ok(hth_file_read(path, (size_t)1 << 30, &found, &n, &err));
	assert_int_equal(n, bytes);
	assert_memory_equal(found, data, bytes);
	hth_free(found);
}

/* A small model in safetensors, in two shards, with what should and should not come along. */
static inline void serve_safetensors(struct rig *r)
{
	server_add(&r->s, "config.json", "hello\n", 6, false);
	server_add(&r->s, "model-00001-of-00002.safetensors", r->big, BIG_BYTES, true);
	server_add(&r->s, "model-00002-of-00002.safetensors", r->big + 7, 100000, true);
	static const char index[] = "{\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\","
				    "\"b\":\"model-00002-of-00002.safetensors\"}}";
	server_add(&r->s, "model.safetensors.index.json", index, sizeof index - 1, false);
	server_add(&r->s, "tokenizer.json", "{}", 2, false);
	server_add(&r->s, "chat_template.jinja", "{{ messages }}", 14, false);
	server_add(&r->s, "additional_chat_templates/rag.jinja", "rag", 3, false);
	server_add(&r->s, "pytorch_model.bin", r->big, 1000, true);
	server_add(&r->s, "onnx/model.onnx", r->big, 1000, true);
	server_add(&r->s, "README.md", "read me", 7, false);
}

static inline struct served *serve_gguf(struct rig *r)
{
	return server_add(&r->s, "model-Q4_K_M.gguf", r->big, BIG_BYTES, true);
}

#endif
