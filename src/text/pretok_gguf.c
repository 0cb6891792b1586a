/* The pre-tokenizer steps behind each name of list.h. A GGUF holds only the name; these are the steps of the
 * families' own tokenizer.json (the fixtures' manifest has most of them), in the same order. */
#include "base/json.h"
#include "text/pretok.h"

#include <stdio.h>
#include <string.h>

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TAIL "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define LEAD "[^\\r\\n\\p{L}\\p{N}]?"

struct recipe_step {
	const char *pattern; /* NULL: ByteLevel without a pattern; "": ByteLevel with its own; otherwise Split */
	enum hth_split split;
};

/* clang-format off */
#define BYTES {NULL, HTH_SPLIT_ISOLATED}
#define BYTES_SPLIT {"", HTH_SPLIT_ISOLATED}
#define SPLIT(pattern) {pattern, HTH_SPLIT_ISOLATED}
/* clang-format on */

static const struct recipe_step gpt2[] = {BYTES_SPLIT};
static const struct recipe_step digits_gpt2[] = {SPLIT("\\p{tok_numeric}"), BYTES_SPLIT};
static const struct recipe_step falcon[] = {
	{"\\p{tok_punctuation}", HTH_SPLIT_CONTIGUOUS},
	BYTES_SPLIT,
	{"\\p{tok_numeric}", HTH_SPLIT_CONTIGUOUS},
	SPLIT("[0-9][0-9][0-9]"),
};
static const struct recipe_step llama3[] = {
	SPLIT(CONTRACTIONS "|" LEAD "\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" TAIL),
	BYTES,
};
static const struct recipe_step qwen2[] = {
	SPLIT(CONTRACTIONS "|" LEAD "\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" TAIL),
	BYTES,
};
static const struct recipe_step qwen35[] = {
	SPLIT(CONTRACTIONS "|" LEAD "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" TAIL),
	BYTES,
};
static const struct recipe_step tekken[] = {
	SPLIT(LEAD UPPER "*" LOWER "+|" LEAD UPPER "+" LOWER "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" TAIL),
	BYTES,
};
static const struct recipe_step gpt4o[] = {
	SPLIT(LEAD UPPER "*" LOWER "+" CONTRACTIONS "?|" LEAD UPPER "+" LOWER "*" CONTRACTIONS
			 "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" TAIL),
	BYTES,
};
static const struct recipe_step deepseek_coder[] = {
	SPLIT("[\\r\\n]"),         SPLIT("\\s?\\p{L}+"),
	SPLIT("\\s?\\p{P}+"),      SPLIT("[\\u4e00-\\u9fa5\\u0800-\\u4e00\\uac00-\\ud7ff]+"),
	SPLIT("\\p{tok_numeric}"), BYTES,
};
static const struct recipe_step deepseek_v3[] = {
	SPLIT("\\p{N}{1,3}"),
	SPLIT("[\\u4e00-\\u9fa5\\u3040-\\u309f\\u30a0-\\u30ff]+"),
	SPLIT("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
	      "| ?[\\p{P}\\p{S}]+[\\r\\n]*" TAIL),
	BYTES,
};

static const struct {
	const char *name;
	const struct recipe_step *steps;
	size_t n;
	struct hth_pretok_traits traits;
} known[] = {
#define PRETOK(name, recipe, nfc, ignore_merges, add_bos)                                                              \
	{name, recipe, sizeof(recipe) / sizeof(*(recipe)), {nfc, ignore_merges, add_bos}},
#include "text/list.h"
#undef PRETOK
};

enum hth_status hth_pretok_from_gguf(const char *name, struct hth_pretok *p, struct hth_arena *arena,
				     struct hth_pretok_traits *traits, struct hth_err *err)
{
	char where[96], quoted[64];
	size_t k;

	for (k = 0; k < sizeof(known) / sizeof(*known); k++) {
		if (strcmp(known[k].name, name) == 0)
			break;
	}
	if (k == sizeof(known) / sizeof(*known))
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"tokenizer.ggml.pre is \"%s\", a pre-tokenizer that is not known here; "
				"use the model's Hugging Face folder, whose tokenizer.json says how it cuts text",
				hth_quote(quoted, sizeof(quoted), name, strlen(name)));
	snprintf(where, sizeof(where), "pre-tokenizer %s", name);
	for (size_t i = 0; i < known[k].n; i++) {
		const struct recipe_step *s = &known[k].steps[i];
		enum hth_status st;
		if (s->pattern == NULL || s->pattern[0] == '\0')
			st = hth_pretok_add_bytes(p, arena, false, s->pattern != NULL, where, err);
		else
			st = hth_pretok_add_split(p, arena, s->pattern, strlen(s->pattern), s->split, false, where,
						  err);
		if (st != HTH_OK)
			return st;
	}
	*traits = known[k].traits;
	return HTH_OK;
}

const char *hth_pretok_gguf_name(size_t i)
{
	return i < sizeof(known) / sizeof(*known) ? known[i].name : NULL;
}

/* Our two classes of characters are step types there. */
static void put_step(const struct recipe_step *s, struct hth_buf *out)
{
	static const char *const behaviors[] = {"Isolated", "Removed", "Contiguous", "MergedWithPrevious",
						"MergedWithNext"};

	if (s->pattern == NULL || s->pattern[0] == '\0') {
		(void)hth_buf_printf(out,
				     "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"
				     "\"use_regex\":%s}",
				     s->pattern != NULL ? "true" : "false");
	} else if (strcmp(s->pattern, "\\p{tok_numeric}") == 0) {
		(void)hth_buf_printf(out, "{\"type\":\"Digits\",\"individual_digits\":%s}",
				     s->split == HTH_SPLIT_ISOLATED ? "true" : "false");
	} else if (strcmp(s->pattern, "\\p{tok_punctuation}") == 0) {
		(void)hth_buf_printf(out, "{\"type\":\"Punctuation\",\"behavior\":\"%s\"}", behaviors[s->split]);
	} else {
		(void)hth_buf_puts(out, "{\"type\":\"Split\",\"pattern\":{\"Regex\":");
		(void)hth_json_put_string(out, s->pattern, strlen(s->pattern));
		(void)hth_buf_printf(out, "},\"behavior\":\"%s\",\"invert\":false}", behaviors[s->split]);
	}
}

void hth_pretok_put_json(const char *name, struct hth_buf *out)
{
	(void)hth_buf_puts(out, "{\"type\":\"Sequence\",\"pretokenizers\":[");
	for (size_t k = 0; k < sizeof(known) / sizeof(*known); k++) {
		if (strcmp(known[k].name, name) != 0)
			continue;
		for (size_t i = 0; i < known[k].n; i++) {
			(void)hth_buf_puts(out, i > 0 ? "," : "");
			put_step(&known[k].steps[i], out);
		}
		break;
	}
	(void)hth_buf_puts(out, "]}");
}
