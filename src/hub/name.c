/* Names: what a person writes, and what a server calls its files. Repository ids follow huggingface_hub's
 * utils/_validators.py; its rule against "--" matters, since the cache writes "/" so. */
#include "base/utf8.h"
#include "hub/hub_int.h"

#include <string.h>

#define MAX_COMPONENT_BYTES 255
#define MAX_COMPONENTS 32

static bool alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* One of ORG and MODEL. */
static bool id_ok(const char *p, size_t n)
{
	if (n == 0 || n >= HTH_HUB_NAME_BYTES || !(alnum(p[0]) || p[0] == '_') || !(alnum(p[n - 1]) || p[n - 1] == '_'))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!alnum(p[i]) && p[i] != '-' && p[i] != '_' && p[i] != '.')
			return false;
		if (i > 0 && p[i] == p[i - 1] && (p[i] == '-' || p[i] == '.'))
			return false;
	}
	return n < 4 || memcmp(p + n - 4, ".git", 4) != 0;
}

static bool repo_ok(const char *p, size_t n)
{
	const char *slash = memchr(p, '/', n);

	if (slash == NULL)
		return id_ok(p, n);
	size_t org = (size_t)(slash - p);
	return id_ok(p, org) && id_ok(slash + 1, n - org - 1);
}

bool hth_hub_path_ok(const char *path, size_t bytes, const char **why)
{
	const char *reason = NULL;
	size_t component = 0, components = 1;

	if (bytes == 0)
		reason = "is empty";
	else if (bytes >= HTH_HUB_PATH_BYTES)
		reason = "is too long";
	else if (path[0] == '/')
		reason = "is absolute";
	else if (!hth_utf8_valid(path, bytes))
		reason = "is not UTF-8";
	for (size_t i = 0; reason == NULL && i <= bytes; i++) {
		if (i < bytes && path[i] != '/') {
			if ((unsigned char)path[i] < ' ' || path[i] == 0x7f)
				reason = "holds a control character";
			else if (path[i] == '\\')
				reason = "holds a backslash";
			component++;
			continue;
		}
		const char *p = path + i - component;
		if (component == 0)
			reason = "has an empty part";
		else if ((component == 1 && p[0] == '.') || (component == 2 && p[0] == '.' && p[1] == '.'))
			reason = "has \".\" or \"..\" as a part";
		else if (component > MAX_COMPONENT_BYTES || components++ > MAX_COMPONENTS)
			reason = "is too long";
		component = 0;
	}
	if (why != NULL)
		*why = reason;
	return reason == NULL;
}

bool hth_hub_hex_ok(const char *text, size_t digits)
{
	return strlen(text) == digits && strspn(text, "0123456789abcdef") == digits;
}

/* Branches, tags and commits; refs/ in the cache makes paths of them. */
enum hth_status hth_hub_revision_check(const char *revision, struct hth_err *err)
{
	const char *why = NULL;
	char shown[96];
	size_t n = strlen(revision);

	if (n >= HTH_HUB_REVISION_BYTES)
		why = "is too long";
	else if (hth_hub_path_ok(revision, n, &why) && strpbrk(revision, " ~^:?*[") != NULL)
		why = "holds a character that git does not allow";
	if (why == NULL)
		return HTH_OK;
	return hth_fail(err, HTH_ERR_USAGE, "revision \"%s\" %s; expected a branch, a tag or a commit",
			hth_quote(shown, sizeof shown, revision, n), why);
}

enum hth_status hth_hub_name_parse(const char *text, struct hth_hub_name *out, struct hth_err *err)
{
	size_t repo = strcspn(text, "@:"), revision = 0;
	const char *rest = text + repo, *why = "is not a hub name";
	char shown[96];

	memset(out, 0, sizeof *out);
	if (!repo_ok(text, repo))
		goto bad;
	memcpy(out->repo, text, repo);
	memcpy(out->revision, "main", 5);
	if (*rest == '@') {
		revision = strcspn(++rest, ":");
		if (revision >= sizeof out->revision) {
			why = "has too long a revision";
			goto bad;
		}
		memcpy(out->revision, rest, revision);
		out->revision[revision] = '\0';
		enum hth_status s = hth_hub_revision_check(out->revision, err);
		if (s != HTH_OK)
			return s;
		rest += revision;
	}
	if (*rest == ':') {
		size_t n = strlen(++rest);
		if (!hth_hub_path_ok(rest, n, NULL)) {
			why = "has no usable file or quantisation after its colon";
			goto bad;
		}
		memcpy(out->pick, rest, n);
	}
	return HTH_OK;
bad:
	return hth_fail(err, HTH_ERR_USAGE, "\"%s\" %s; expected ORG/MODEL, ORG/MODEL:QUANT or ORG/MODEL:FILE",
			hth_quote(shown, sizeof shown, text, strlen(text)), why);
}

bool hth_hub_is_name(const char *text)
{
	struct hth_hub_name name;

	return hth_hub_name_parse(text, &name, NULL) == HTH_OK;
}
