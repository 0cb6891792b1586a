/* Which files of a repository are meant. The same rules choose from a server's listing and from a snapshot on disk.
 *   a file's name        that file; all pieces if it is a piece of a split GGUF
 *   a quantisation       the one GGUF whose name holds it as a word, whatever its case
 *   nothing              the model in safetensors with config, tokenizer and template; else the only GGUF
 * Never weights as Python pickles (.bin, .pt): reading those runs code. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "hub/hub_int.h"

#include <string.h>
#include <strings.h>

#define MAX_NAMED_BYTES 700 /* of a message */

static bool digits5(const char *p, unsigned *out)
{
	*out = 0;
	for (int i = 0; i < 5; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		*out = *out * 10 + (unsigned)(p[i] - '0');
	}
	return true;
}

/* "-00001-of-00003" ending at p + n. */
static bool split_tail(const char *p, size_t n, unsigned *index, unsigned *count)
{
	if (n < 15)
		return false;
	p += n - 15;
	return p[0] == '-' && digits5(p + 1, index) && memcmp(p + 6, "-of-", 4) == 0 && digits5(p + 10, count) &&
	       *index >= 1 && *index <= *count;
}

bool hth_hub_split_parse(const char *path, unsigned *index, unsigned *count, size_t *stem_bytes)
{
	size_t n = strlen(path);

	if (!hth_path_has_suffix(path, ".gguf") || !split_tail(path, n - 5, index, count))
		return false;
	*stem_bytes = n - 5 - 15;
	return true;
}

/* A GGUF that stands for itself: whole, or the first piece. Projectors and importance matrices are not models. */
static bool is_gguf_head(const char *path)
{
	unsigned index, count;
	size_t stem;

	if (!hth_path_has_suffix(path, ".gguf"))
		return false;
	return !hth_hub_split_parse(path, &index, &count, &stem) || index == 1;
}

static bool is_model_gguf(const char *path)
{
	const char *base = hth_path_base(path);

	return is_gguf_head(path) && strncasecmp(base, "mmproj", 6) != 0 && strcasestr(base, "imatrix") == NULL;
}

/* Pieces of the split file whose first piece is files[head]; 1 for a whole file. Sums their bytes. */
static size_t pieces_of(const struct hth_hub_file *files, size_t n, size_t head, bool *want, uint64_t *bytes,
			unsigned *expected)
{
	unsigned index, count, other;
	size_t stem, other_stem, found = 0;

	*bytes = 0;
	*expected = 1;
	if (!hth_hub_split_parse(files[head].path, &index, &count, &stem)) {
		*bytes = files[head].bytes;
		if (want != NULL)
			want[head] = true;
		return 1;
	}
	*expected = count;
	for (size_t i = 0; i < n; i++) {
		if (!hth_hub_split_parse(files[i].path, &index, &other, &other_stem) || other != count ||
		    other_stem != stem || memcmp(files[i].path, files[head].path, stem) != 0)
			continue;
		found++;
		*bytes += files[i].bytes;
		if (want != NULL)
			want[i] = true;
	}
	return found;
}

static bool word_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* "q4_k" is no word of "x-Q4_K_M.gguf", since more of the quantisation's name follows. */
static bool holds_word(const char *path, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = path; (p = strcasestr(p, word)) != NULL; p++)
		if ((p == path || !word_char(p[-1])) && !word_char(p[n]) && p[n] != '_')
			return true;
	return false;
}

/* "a.gguf (1.2 GB), b.gguf (3.4 GB) and 3 more". */
static void name_ggufs(const struct hth_hub_file *files, size_t n, const char *pick, struct hth_buf *out)
{
	size_t left = 0;

	for (size_t i = 0; i < n; i++) {
		char bytes_text[32], shown[160];
		uint64_t bytes;
		unsigned expected;
		if (!is_model_gguf(files[i].path) || (pick != NULL && !holds_word(files[i].path, pick)))
			continue;
		if (out->bytes > MAX_NAMED_BYTES) {
			left++;
			continue;
		}
		(void)pieces_of(files, n, i, NULL, &bytes, &expected);
		(void)hth_buf_printf(out, "%s%s (%s)", out->bytes > 0 ? ", " : "",
				     hth_quote(shown, sizeof shown, files[i].path, strlen(files[i].path)),
				     hth_format_bytes(bytes_text, bytes));
	}
	if (left > 0)
		(void)hth_buf_printf(out, " and %zu more", left);
}

static enum hth_status which_gguf(const struct hth_hub_file *files, size_t n, const char *repo, const char *pick,
				  struct hth_err *err)
{
	struct hth_buf names;

	hth_buf_init(&names, 4096);
	name_ggufs(files, n, pick, &names);
	enum hth_status s =
		hth_fail(err, HTH_ERR_USAGE, "%s:%s: which one? Give a quantisation or a file after a colon: %s", repo,
			 pick != NULL ? pick : "", hth_buf_str(&names));
	hth_buf_clear(&names);
	return s;
}

static enum hth_status no_match(const struct hth_hub_file *files, size_t n, const char *repo, const char *pick,
				struct hth_err *err)
{
	const char **paths = hth_calloc(n + 1, sizeof *paths), *near;
	struct hth_buf names;
	char shown[128], near_shown[128];

	if (paths == NULL)
		return hth_fail_memory(err, "names of files", n * sizeof *paths);
	hth_buf_init(&names, 4096);
	for (size_t i = 0; i < n; i++)
		paths[i] = files[i].path;
	near = hth_nearest(pick, paths, n);
	name_ggufs(files, n, NULL, &names);
	hth_quote(shown, sizeof shown, pick, strlen(pick));
	if (near != NULL)
		(void)hth_fail(err, HTH_ERR_NOTFOUND, "%s: no file or quantisation \"%s\"; did you mean %s?", repo,
			       shown, hth_quote(near_shown, sizeof near_shown, near, strlen(near)));
	else
		(void)hth_fail(err, HTH_ERR_NOTFOUND, "%s: no file or quantisation \"%s\"; %s%s", repo, shown,
			       names.bytes > 0 ? "there are " : "there is no GGUF file at all", hth_buf_str(&names));
	hth_buf_clear(&names);
	hth_free(paths);
	return HTH_ERR_NOTFOUND;
}

static enum hth_status take_gguf(const struct hth_hub_file *files, size_t n, const char *repo, size_t head, bool *want,
				 struct hth_err *err)
{
	uint64_t bytes;
	unsigned expected;
	char shown[160];
	size_t found = pieces_of(files, n, head, want, &bytes, &expected);

	if (found == expected)
		return HTH_OK;
	return hth_fail(err, HTH_ERR_NOTFOUND, "%s: %s: %zu of %u pieces are there; the rest is missing", repo,
			hth_quote(shown, sizeof shown, files[head].path, strlen(files[head].path)), found, expected);
}

/* The first piece of the split file that files[i] is a piece of; i itself for any other. */
static size_t head_of(const struct hth_hub_file *files, size_t n, size_t i)
{
	unsigned index, count, other_index, other;
	size_t stem, other_stem;

	if (!hth_hub_split_parse(files[i].path, &index, &count, &stem))
		return i;
	for (size_t k = 0; k < n; k++)
		if (hth_hub_split_parse(files[k].path, &other_index, &other, &other_stem) && other_index == 1 &&
		    other == count && other_stem == stem && memcmp(files[k].path, files[i].path, stem) == 0)
			return k;
	return i;
}

static enum hth_status choose_picked(const struct hth_hub_file *files, size_t n, const char *repo, const char *pick,
				     bool *want, size_t *main_file, struct hth_err *err)
{
	size_t hits = 0;

	for (size_t i = 0; i < n; i++) {
		if (strcmp(files[i].path, pick) != 0)
			continue;
		*main_file = head_of(files, n, i);
		want[i] = true;
		return take_gguf(files, n, repo, *main_file, want, err);
	}
	for (size_t i = 0; i < n; i++)
		if (is_model_gguf(files[i].path) && holds_word(files[i].path, pick)) {
			*main_file = i;
			hits++;
		}
	if (hits == 0)
		return no_match(files, n, repo, pick, err);
	if (hits > 1)
		return which_gguf(files, n, repo, pick, err);
	return take_gguf(files, n, repo, *main_file, want, err);
}

/* Configs, tokenizers, templates, and the licence that goes with every copy. */
static bool is_side_file(const char *path)
{
	static const char *const names[] = {
		"config.json",
		"generation_config.json",
		"adapter_config.json",
		"tokenizer.json",
		"tokenizer_config.json",
		"special_tokens_map.json",
		"added_tokens.json",
		"vocab.json",
		"vocab.txt",
		"merges.txt",
		"tokenizer.model",
		"tekken.json",
		"chat_template.jinja",
		"chat_template.json",
		"model.safetensors.index.json",
	};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(path, names[i]) == 0)
			return true;
	if (strncmp(path, "additional_chat_templates/", 26) == 0)
		return hth_path_has_suffix(path, ".jinja");
	return strchr(path, '/') == NULL && (hth_path_has_suffix(path, ".tiktoken") ||
					     strncmp(path, "LICENSE", 7) == 0 || strncmp(path, "NOTICE", 6) == 0);
}

/* model.safetensors or model-00001-of-00004.safetensors: not a variant such as model.fp16.safetensors. */
static bool is_main_weight(const char *path)
{
	unsigned index, count;
	size_t n = strlen(path);

	if (strcmp(path, "model.safetensors") == 0)
		return true;
	return n == 5 + 15 + 12 && strncmp(path, "model-", 6) == 0 && strcmp(path + n - 12, ".safetensors") == 0 &&
	       split_tail(path, n - 12, &index, &count);
}

static bool is_weight(const char *path)
{
	return strchr(path, '/') == NULL && hth_path_has_suffix(path, ".safetensors");
}

static enum hth_status choose_usual(const struct hth_hub_file *files, size_t n, const char *repo, bool *want,
				    size_t *main_file, struct hth_err *err)
{
	size_t usual = 0, other = 0, ggufs = 0, pickles = 0;

	for (size_t i = 0; i < n; i++) {
		usual += is_main_weight(files[i].path);
		other += is_weight(files[i].path);
		pickles += hth_path_has_suffix(files[i].path, ".bin") || hth_path_has_suffix(files[i].path, ".pt") ||
			   hth_path_has_suffix(files[i].path, ".pth");
		if (is_model_gguf(files[i].path)) {
			ggufs++;
			*main_file = i;
		}
	}
	if (other > 0) {
		*main_file = SIZE_MAX;
		for (size_t i = 0; i < n; i++)
			want[i] = is_side_file(files[i].path) ||
				  (usual > 0 ? is_main_weight(files[i].path) : is_weight(files[i].path));
		return HTH_OK;
	}
	if (ggufs == 1)
		return take_gguf(files, n, repo, *main_file, want, err);
	if (ggufs > 1)
		return which_gguf(files, n, repo, NULL, err);
	return hth_fail(err, HTH_ERR_NOTFOUND, "%s: has no safetensors and no GGUF file%s", repo,
			pickles > 0
				? "; its weights are Python pickles, which can run code and are not read here: look "
				  "for a converted copy of it"
				: "; is it a model?");
}

enum hth_status hth_hub_choose(const struct hth_hub_file *files, size_t n, const char *repo, const char *pick,
			       bool *want, size_t *main_file, struct hth_err *err)
{
	*main_file = SIZE_MAX;
	for (size_t i = 0; i < n; i++)
		want[i] = false;
	if (pick[0] != '\0')
		return choose_picked(files, n, repo, pick, want, main_file, err);
	return choose_usual(files, n, repo, want, main_file, err);
}
