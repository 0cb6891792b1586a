/* The hub's settings from the environment, with the names and defaults of huggingface_hub (constants.py,
 * utils/_auth.py). Left out: tokens of Colab and OIDC, the refreshing of browser logins. */
#include "base/file.h"
#include "base/mem.h"
#include "hub/http.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_ENDPOINT "https://huggingface.co"
#define MAX_TOKEN_BYTES 4096

/* NULL for a variable that is unset or blank. */
static const char *env(const char *name)
{
	const char *v = getenv(name);

	return v != NULL && v[strspn(v, " \t\r\n")] != '\0' ? v : NULL;
}

static bool env_true(const char *name)
{
	const char *v = env(name);

	return v != NULL && (strcasecmp(v, "1") == 0 || strcasecmp(v, "on") == 0 || strcasecmp(v, "yes") == 0 ||
			     strcasecmp(v, "true") == 0);
}

static enum hth_status no_memory(struct hth_err *err)
{
	return hth_fail_memory(err, "the hub's settings", 0);
}

/* "~" and "~/x" with the home folder. */
static enum hth_status expand_home(const char *path, char **out, struct hth_err *err)
{
	const char *home = env("HOME");

	if (path[0] != '~' || (path[1] != '/' && path[1] != '\0')) {
		*out = hth_strdup(path);
	} else {
		if (home == NULL)
			return hth_fail(err, HTH_ERR_USAGE, "HOME is not set; set it, or HF_HOME to a folder");
		*out = path[1] == '\0' ? hth_strdup(home) : hth_path_join(home, path + 2);
	}
	return *out != NULL ? HTH_OK : no_memory(err);
}

/* `name` of the environment, else dir/leaf. */
static enum hth_status path_of(const char *name, const char *dir, const char *leaf, char **out, struct hth_err *err)
{
	const char *set = env(name);

	if (set != NULL)
		return expand_home(set, out, err);
	*out = hth_path_join(dir, leaf);
	return *out != NULL ? HTH_OK : no_memory(err);
}

static enum hth_status find_home(char **out, struct hth_err *err)
{
	char *cache = NULL;

	if (env("HF_HOME") != NULL)
		return expand_home(env("HF_HOME"), out, err);
	enum hth_status s = env("XDG_CACHE_HOME") != NULL ? path_of("XDG_CACHE_HOME", "", "", &cache, err)
							  : expand_home("~/.cache", &cache, err);
	if (s == HTH_OK) {
		*out = hth_path_join(cache, "huggingface");
		if (*out == NULL)
			s = no_memory(err);
	}
	hth_free(cache);
	return s;
}

/* Takes the white space around it off and checks that it can stand in a header. */
static enum hth_status take_token(const char *text, const char *where, char **out, struct hth_err *err)
{
	text += strspn(text, " \t\r\n");
	size_t n = strlen(text);
	while (n > 0 && strchr(" \t\r\n", text[n - 1]) != NULL)
		n--;
	if (n == 0)
		return HTH_OK;
	if (n > MAX_TOKEN_BYTES)
		return hth_fail(err, HTH_ERR_USAGE, "%s: a token of %zu bytes; expected at most %d", where, n,
				MAX_TOKEN_BYTES);
	for (size_t i = 0; i < n; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return hth_fail(err, HTH_ERR_USAGE,
					"%s: the token holds a space or a control character at byte %zu; copy it again",
					where, i);
	*out = hth_strndup(text, n);
	return *out != NULL ? HTH_OK : no_memory(err);
}

static enum hth_status find_token(const char *home, char **out, struct hth_err *err)
{
	char *path = NULL, *text = NULL;
	size_t bytes;

	if (env_true("HF_HUB_DISABLE_IMPLICIT_TOKEN"))
		return HTH_OK;
	if (env("HF_TOKEN") != NULL)
		return take_token(env("HF_TOKEN"), "HF_TOKEN", out, err);
	if (env("HUGGING_FACE_HUB_TOKEN") != NULL)
		return take_token(env("HUGGING_FACE_HUB_TOKEN"), "HUGGING_FACE_HUB_TOKEN", out, err);
	enum hth_status s = path_of("HF_TOKEN_PATH", home, "token", &path, err);
	if (s == HTH_OK && hth_path_kind(path) == HTH_PATH_FILE) {
		s = hth_file_read(path, MAX_TOKEN_BYTES + 16, &text, &bytes, err);
		if (s == HTH_OK)
			s = take_token(text, path, out, err);
	}
	hth_free(text);
	hth_free(path);
	return s;
}

static enum hth_status find_endpoint(char **out, struct hth_err *err)
{
	const char *set = env("HF_ENDPOINT");
	char *scheme = NULL, *host = NULL, *user = NULL, shown[128];
	enum hth_status s = HTH_OK;

	if (set == NULL)
		set = DEFAULT_ENDPOINT;
	CURLU *u = curl_url();
	if (u == NULL)
		return no_memory(err);
	bool ok = curl_url_set(u, CURLUPART_URL, set, 0) == CURLUE_OK &&
		  curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
		  curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK && host[0] != '\0' &&
		  (strcmp(scheme, "https") == 0 || strcmp(scheme, "http") == 0) && strpbrk(set, "?# \t\r\n") == NULL;
	if (!ok)
		s = hth_fail(err, HTH_ERR_USAGE, "HF_ENDPOINT: found \"%s\", expected a URL such as %s",
			     hth_quote(shown, sizeof shown, set, strlen(set)), DEFAULT_ENDPOINT);
	else if (curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_OK)
		s = hth_fail(err, HTH_ERR_USAGE, "HF_ENDPOINT: holds a user name; give a token in HF_TOKEN instead");
	if (s == HTH_OK) {
		size_t n = strlen(set);
		while (n > 0 && set[n - 1] == '/')
			n--;
		*out = hth_strndup(set, n);
		if (*out == NULL)
			s = no_memory(err);
	}
	curl_free(scheme);
	curl_free(host);
	curl_free(user);
	curl_url_cleanup(u);
	return s;
}

static void set_defaults(struct hth_hub_config *c)
{
	*c = (struct hth_hub_config){
		.connections = 4,
		.tries = 5,
		.part_bytes = (uint64_t)64 << 20,
		.max_listing_bytes = (uint64_t)32 << 20,
		.connect_ms = 20000,
		.stall_ms = 30000,
		.backoff_ms = 1000,
		.max_wait_ms = 120000,
		.lock_wait_ms = 3600000,
	};
}

static enum hth_status find_cache(const char *home, char **out, struct hth_err *err)
{
	const char *name = env("HF_HUB_CACHE") != NULL ? "HF_HUB_CACHE" : "HUGGINGFACE_HUB_CACHE";

	return path_of(name, home, "hub", out, err);
}

enum hth_status hth_hub_config_init(struct hth_hub_config *c, struct hth_err *err)
{
	char *home = NULL;

	set_defaults(c);
	c->offline = env_true("HF_HUB_OFFLINE") || env_true("TRANSFORMERS_OFFLINE");
	enum hth_status s = find_home(&home, err);
	if (s == HTH_OK)
		s = find_cache(home, &c->cache, err);
	if (s == HTH_OK)
		s = find_token(home, &c->token, err);
	if (s == HTH_OK)
		s = find_endpoint(&c->endpoint, err);
	hth_free(home);
	if (s != HTH_OK)
		hth_hub_config_clear(c);
	return s;
}

void hth_hub_config_clear(struct hth_hub_config *c)
{
	hth_free(c->endpoint);
	hth_free(c->token);
	hth_free(c->cache);
	c->endpoint = c->token = c->cache = NULL;
}
