/* The steps of a tokenizer.json: normalizer, pre_tokenizer, decoder, post_processor. Types and fields are those of the
 * tokenizers library 0.23; whatever is not known here is refused by name, since a step left out changes ids. */
#include "text/tokenizer_json_int.h"

#include <string.h>

#define MAX_DEPTH 8

static enum hth_status not_supported(struct hth_json_loader *l, const char *key, const char *type)
{
	char quoted[64];
	return hth_fail(l->err, HTH_ERR_UNAVAILABLE, "%s: \"%s\" is not supported", hth_json_at(l, key),
			hth_quote(quoted, sizeof(quoted), type, strlen(type)));
}

static enum hth_status need_type(struct hth_json_loader *l, const json_t *spec, const char *key, int depth,
				 const char **type)
{
	*type = "";
	if (depth > MAX_DEPTH)
		return hth_fail(l->err, HTH_ERR_LIMIT, "%s: sequences nested more than %d deep", hth_json_at(l, key),
				MAX_DEPTH);
	return hth_json_need_string(l, spec, "type", hth_json_at(l, key), type, NULL);
}

typedef enum hth_status (*each_fn)(struct hth_json_loader *l, const json_t *spec, int depth);

static enum hth_status each(struct hth_json_loader *l, const json_t *spec, const char *list, const char *key, int depth,
			    each_fn fn)
{
	const json_t *items = json_object_get(spec, list), *item;
	size_t i;

	if (!json_is_array(items))
		return hth_fail(l->err, HTH_ERR_FORMAT, "%s: Sequence without \"%s\"", hth_json_at(l, key), list);
	json_array_foreach((json_t *)items, i, item)
	{
		enum hth_status st = fn(l, item, depth + 1);
		if (st != HTH_OK)
			return st;
	}
	return HTH_OK;
}

/* A literal text as a pattern. */
static enum hth_status escape(struct hth_json_loader *l, const char *text, size_t bytes, struct hth_buf *out)
{
	hth_buf_init(out, (size_t)1 << 16);
	for (size_t i = 0; i < bytes; i++) {
		char c = text[i];
		if ((c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
		    (c >= '{' && c <= '~'))
			hth_buf_putc(out, '\\');
		hth_buf_putc(out, c);
	}
	return hth_buf_status(out, "a pattern", l->err);
}

/* "pattern": {"String": s} or {"Regex": s}. */
static enum hth_status need_pattern(struct hth_json_loader *l, const json_t *spec, const char *key, bool *regex,
				    const char **text, size_t *bytes)
{
	const json_t *pattern = json_object_get(spec, "pattern");

	*regex = json_object_get(pattern, "Regex") != NULL;
	enum hth_status st =
		hth_json_need_string(l, pattern, *regex ? "Regex" : "String", hth_json_at(l, key), text, bytes);
	if (st == HTH_OK && *bytes == 0)
		st = not_supported(l, key, "an empty pattern");
	return st;
}

static enum hth_status new_norm(struct hth_json_loader *l, enum hth_norm_kind kind, struct hth_norm **out)
{
	if (l->t->n_norms == HTH_MAX_NORMS)
		return hth_fail(l->err, HTH_ERR_LIMIT, "%s: more than %d steps", hth_json_at(l, "normalizer"),
				HTH_MAX_NORMS);
	*out = &l->t->norms[l->t->n_norms++];
	(*out)->kind = kind;
	return HTH_OK;
}

static enum hth_status copy_text(struct hth_json_loader *l, const char *text, size_t bytes, const char **out,
				 uint32_t *out_bytes)
{
	if (bytes > HTH_MAX_TOKEN_BYTES)
		return hth_fail(l->err, HTH_ERR_LIMIT, "%s: a text of %zu bytes", hth_json_at(l, "normalizer"), bytes);
	*out = hth_arena_strndup(&l->t->arena, text, bytes);
	*out_bytes = (uint32_t)bytes;
	return *out == NULL ? hth_fail_memory(l->err, "a normalizer", bytes) : HTH_OK;
}

static enum hth_status read_replace(struct hth_json_loader *l, const json_t *spec)
{
	struct hth_norm *s = NULL;
	const char *what, *with;
	size_t what_bytes, with_bytes;
	bool regex;
	enum hth_status st = need_pattern(l, spec, "normalizer", &regex, &what, &what_bytes);

	if (st != HTH_OK ||
	    (st = hth_json_need_string(l, spec, "content", hth_json_at(l, "normalizer"), &with, &with_bytes)) !=
		    HTH_OK ||
	    (st = new_norm(l, regex ? HTH_NORM_PATTERN : HTH_NORM_REPLACE, &s)) != HTH_OK ||
	    (st = copy_text(l, what, what_bytes, &s->what, &s->what_bytes)) != HTH_OK ||
	    (st = copy_text(l, with, with_bytes, &s->with, &s->with_bytes)) != HTH_OK)
		return st;
	if (!regex)
		return HTH_OK;
	return hth_pattern_new(&s->pattern, &l->t->arena, what, what_bytes, hth_json_at(l, "normalizer"), l->err);
}

/* Types without fields: one or two steps each. */
static enum hth_status read_form(struct hth_json_loader *l, const char *type, bool *found)
{
	static const struct {
		const char *type;
		int form; /* -1: none */
		int then; /* -1: none */
	} forms[] = {
		{"NFC", -1, HTH_NORM_NFC},
		{"NFD", -1, HTH_NORM_NFD},
		{"NFKC", HTH_FORM_COMPAT, HTH_NORM_NFC},
		{"NFKD", HTH_FORM_COMPAT, HTH_NORM_NFD},
		{"Lowercase", HTH_FORM_LOWER, -1},
		{"Nmt", HTH_FORM_NMT, -1},
		{"StripAccents", HTH_FORM_UNACCENTED, -1},
	};
	struct hth_norm *s = NULL;
	enum hth_status st = HTH_OK;

	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		if (strcmp(type, forms[i].type) != 0)
			continue;
		*found = true;
		if (forms[i].form >= 0 && (st = new_norm(l, HTH_NORM_FORM, &s)) == HTH_OK)
			s->form = (enum hth_form)forms[i].form;
		if (st == HTH_OK && forms[i].then >= 0)
			st = new_norm(l, (enum hth_norm_kind)forms[i].then, &s);
	}
	return st;
}

enum hth_status hth_json_read_normalizer(struct hth_json_loader *l, const json_t *spec, int depth)
{
	const char *type, *text;
	struct hth_norm *s = NULL;
	size_t bytes;
	enum hth_status st;

	if (spec == NULL || json_is_null(spec))
		return HTH_OK;
	if ((st = need_type(l, spec, "normalizer", depth, &type)) != HTH_OK)
		return st;
	if (strcmp(type, "Sequence") == 0)
		return each(l, spec, "normalizers", "normalizer", depth, hth_json_read_normalizer);
	bool found = false;
	if ((st = read_form(l, type, &found)) != HTH_OK || found)
		return st;
	if (strcmp(type, "Replace") == 0)
		return read_replace(l, spec);
	if (strcmp(type, "Prepend") == 0) {
		st = hth_json_need_string(l, spec, "prepend", hth_json_at(l, "normalizer"), &text, &bytes);
		if (st == HTH_OK && (st = new_norm(l, HTH_NORM_PREPEND, &s)) == HTH_OK)
			st = copy_text(l, text, bytes, &s->what, &s->what_bytes);
		return st;
	}
	if (strcmp(type, "Strip") == 0) {
		if ((st = new_norm(l, HTH_NORM_STRIP, &s)) != HTH_OK ||
		    (st = hth_json_bool(spec, "strip_left", true, &s->left, hth_json_at(l, "normalizer"), l->err)) !=
			    HTH_OK)
			return st;
		return hth_json_bool(spec, "strip_right", true, &s->right, hth_json_at(l, "normalizer"), l->err);
	}
	if (strcmp(type, "Precompiled") == 0)
		return (st = new_norm(l, HTH_NORM_CHARSMAP, &s)) != HTH_OK ? st : hth_json_read_charsmap(l, spec, &s->map);
	return not_supported(l, "normalizer", type);
}

static enum hth_status read_behavior(struct hth_json_loader *l, const json_t *spec, enum hth_split *out)
{
	static const char *const names[] = {"Isolated", "Removed", "Contiguous", "MergedWithPrevious",
					    "MergedWithNext"};
	const char *name;
	enum hth_status st = hth_json_str(spec, "behavior", "Isolated", &name, hth_json_at(l, "pre_tokenizer"), l->err);

	for (size_t i = 0; st == HTH_OK && i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(name, names[i]) == 0) {
			*out = (enum hth_split)i;
			return HTH_OK;
		}
	}
	return st != HTH_OK ? st : not_supported(l, "pre_tokenizer", name);
}

static enum hth_status add_split(struct hth_json_loader *l, const char *pattern, enum hth_split split, bool invert)
{
	return hth_pretok_add_split(&l->t->pretok, &l->t->arena, pattern, strlen(pattern), split, invert,
				    hth_json_at(l, "pre_tokenizer"), l->err);
}

static enum hth_status add_literal(struct hth_json_loader *l, const char *text, size_t bytes, enum hth_split split,
				   bool invert)
{
	struct hth_buf pattern;
	enum hth_status st = escape(l, text, bytes, &pattern);

	if (st == HTH_OK)
		st = hth_pretok_add_split(&l->t->pretok, &l->t->arena, hth_buf_str(&pattern), pattern.bytes, split,
					  invert, hth_json_at(l, "pre_tokenizer"), l->err);
	hth_buf_clear(&pattern);
	return st;
}

static enum hth_status read_split(struct hth_json_loader *l, const json_t *spec)
{
	enum hth_split split;
	const char *text;
	size_t bytes;
	bool regex, invert;
	enum hth_status st = need_pattern(l, spec, "pre_tokenizer", &regex, &text, &bytes);

	if (st != HTH_OK || (st = read_behavior(l, spec, &split)) != HTH_OK ||
	    (st = hth_json_bool(spec, "invert", false, &invert, hth_json_at(l, "pre_tokenizer"), l->err)) != HTH_OK)
		return st;
	if (!regex)
		return add_literal(l, text, bytes, split, invert);
	return hth_pretok_add_split(&l->t->pretok, &l->t->arena, text, bytes, split, invert,
				    hth_json_at(l, "pre_tokenizer"), l->err);
}

static enum hth_status read_byte_level(struct hth_json_loader *l, const json_t *spec)
{
	bool space, regex;
	const char *where = hth_json_at(l, "pre_tokenizer");
	enum hth_status st = hth_json_bool(spec, "add_prefix_space", true, &space, where, l->err);

	if (st != HTH_OK || (st = hth_json_bool(spec, "use_regex", true, &regex, where, l->err)) != HTH_OK)
		return st;
	return hth_pretok_add_bytes(&l->t->pretok, &l->t->arena, space, regex, where, l->err);
}

static enum hth_status read_scheme(struct hth_json_loader *l, const json_t *spec, const char *key,
				   enum hth_prepend *out)
{
	static const char *const names[] = {"never", "first", "always"};
	const char *scheme, *sign;
	bool prefix;
	enum hth_status st;

	if ((st = hth_json_str(spec, "replacement", HTH_WORD_SIGN, &sign, hth_json_at(l, key), l->err)) != HTH_OK ||
	    (st = hth_json_bool(spec, "add_prefix_space", true, &prefix, hth_json_at(l, key), l->err)) != HTH_OK ||
	    (st = hth_json_str(spec, "prepend_scheme", prefix ? "always" : "never", &scheme, hth_json_at(l, key),
			       l->err)) != HTH_OK)
		return st;
	if (strcmp(sign, HTH_WORD_SIGN) != 0)
		return not_supported(l, key, "Metaspace with another sign");
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(scheme, names[i]) == 0) {
			*out = (enum hth_prepend)i;
			return HTH_OK;
		}
	}
	return not_supported(l, key, scheme);
}

static enum hth_status read_metaspace(struct hth_json_loader *l, const json_t *spec)
{
	enum hth_prepend prepend;
	bool split;
	enum hth_status st = read_scheme(l, spec, "pre_tokenizer", &prepend);

	if (st != HTH_OK ||
	    (st = hth_json_bool(spec, "split", true, &split, hth_json_at(l, "pre_tokenizer"), l->err)) != HTH_OK)
		return st;
	return hth_pretok_add_metaspace(&l->t->pretok, &l->t->arena, prepend, split, hth_json_at(l, "pre_tokenizer"),
					l->err);
}

/* \w of the engine of "Whitespace": as in a class of the other one, and two joiners (hth_unicode_is_word). */
#define WORDS "[\\w\\x{200C}\\x{200D}]+|[^\\w\\x{200C}\\x{200D}\\s]+"

/* Types that are a pattern and nothing else. */
static enum hth_status read_fixed(struct hth_json_loader *l, const json_t *spec, const char *type)
{
	const char *where = hth_json_at(l, "pre_tokenizer"), *text;
	enum hth_split split;
	enum hth_status st;
	size_t bytes;
	bool each_digit;

	if (strcmp(type, "Digits") == 0) {
		if ((st = hth_json_bool(spec, "individual_digits", false, &each_digit, where, l->err)) != HTH_OK)
			return st;
		return add_split(l, "\\p{tok_numeric}", each_digit ? HTH_SPLIT_ISOLATED : HTH_SPLIT_CONTIGUOUS, false);
	}
	if (strcmp(type, "Punctuation") == 0) {
		st = read_behavior(l, spec, &split);
		return st != HTH_OK ? st : add_split(l, "\\p{tok_punctuation}", split, false);
	}
	if (strcmp(type, "Whitespace") == 0)
		return add_split(l, WORDS, HTH_SPLIT_REMOVED, true);
	if (strcmp(type, "WhitespaceSplit") == 0)
		return add_split(l, "\\s", HTH_SPLIT_REMOVED, false);
	if (strcmp(type, "CharDelimiterSplit") == 0) {
		st = hth_json_need_string(l, spec, "delimiter", where, &text, &bytes);
		return st != HTH_OK ? st : add_literal(l, text, bytes, HTH_SPLIT_REMOVED, false);
	}
	return not_supported(l, "pre_tokenizer", type);
}

enum hth_status hth_json_read_pretok(struct hth_json_loader *l, const json_t *spec, int depth)
{
	const char *type;
	enum hth_status st;

	if (spec == NULL || json_is_null(spec))
		return HTH_OK;
	if ((st = need_type(l, spec, "pre_tokenizer", depth, &type)) != HTH_OK)
		return st;
	if (strcmp(type, "Sequence") == 0)
		return each(l, spec, "pretokenizers", "pre_tokenizer", depth, hth_json_read_pretok);
	if (strcmp(type, "Split") == 0)
		return read_split(l, spec);
	if (strcmp(type, "ByteLevel") == 0)
		return read_byte_level(l, spec);
	if (strcmp(type, "Metaspace") == 0)
		return read_metaspace(l, spec);
	return read_fixed(l, spec, type);
}

static enum hth_status read_decoder_replace(struct hth_json_loader *l, const json_t *spec)
{
	const char *what, *with;
	size_t what_bytes, with_bytes;
	uint32_t unused;
	bool regex;
	enum hth_status st = need_pattern(l, spec, "decoder", &regex, &what, &what_bytes);

	if (st != HTH_OK ||
	    (st = hth_json_need_string(l, spec, "content", hth_json_at(l, "decoder"), &with, &with_bytes)) != HTH_OK)
		return st;
	if (regex || l->n_replace == HTH_MAX_REPLACES)
		return not_supported(l, "decoder", regex ? "Replace by a pattern" : "more than 8 Replace steps");
	struct hth_replace *r = &l->replace[l->n_replace++];
	if ((st = copy_text(l, what, what_bytes, &r->what, &unused)) != HTH_OK)
		return st;
	return copy_text(l, with, with_bytes, &r->with, &unused);
}

/* Strip is understood as the Llama family has it: one space at the start of the whole. */
static enum hth_status read_decoder_strip(struct hth_json_loader *l, const json_t *spec, bool fused)
{
	int64_t start, stop;
	const char *content, *where = hth_json_at(l, "decoder");
	enum hth_status st;

	if ((st = hth_json_int(spec, "start", 0, INT32_MAX, 0, &start, where, l->err)) != HTH_OK ||
	    (st = hth_json_int(spec, "stop", 0, INT32_MAX, 0, &stop, where, l->err)) != HTH_OK ||
	    (st = hth_json_str(spec, "content", " ", &content, where, l->err)) != HTH_OK)
		return st;
	if (start == 0 && stop == 0)
		return HTH_OK;
	if (start != 1 || stop != 0 || !fused || strcmp(content, " ") != 0)
		return not_supported(l, "decoder", "Strip other than of one space after Fuse");
	l->t->decoder.strip_start = true;
	return HTH_OK;
}

static enum hth_status read_decoder_metaspace(struct hth_json_loader *l, const json_t *spec)
{
	struct hth_decoder *d = &l->t->decoder;
	enum hth_prepend prepend;
	enum hth_status st = read_scheme(l, spec, "decoder", &prepend);

	if (st != HTH_OK)
		return st;
	if (d->byte_fallback || d->signs)
		return not_supported(l, "decoder", "Metaspace behind another step");
	d->signs = true;
	d->first_signs = prepend != HTH_PREPEND_NEVER;
	return HTH_OK;
}

static enum hth_status read_decoder_step(struct hth_json_loader *l, const json_t *spec, bool *fused)
{
	struct hth_decoder *d = &l->t->decoder;
	const char *type;
	enum hth_status st = need_type(l, spec, "decoder", 0, &type);

	if (st != HTH_OK)
		return st;
	if (strcmp(type, "Replace") == 0) {
		/* The order matters: a rule is applied to tokens, so nothing may have joined or changed them before. */
		if (*fused || d->byte_fallback || d->byte_level || d->signs)
			return not_supported(l, "decoder", "Replace behind another step");
		return read_decoder_replace(l, spec);
	}
	if (strcmp(type, "Fuse") == 0) {
		*fused = true;
		return HTH_OK;
	}
	if (strcmp(type, "ByteFallback") == 0 && !*fused)
		d->byte_fallback = true;
	else if (strcmp(type, "Strip") == 0)
		return read_decoder_strip(l, spec, *fused);
	else if (strcmp(type, "Metaspace") == 0 && !*fused)
		return read_decoder_metaspace(l, spec);
	else if (strcmp(type, "ByteLevel") == 0 && !*fused && !d->byte_fallback && !d->signs && l->n_replace == 0)
		d->byte_level = true;
	else
		return not_supported(l, "decoder", type);
	return HTH_OK;
}

enum hth_status hth_json_read_decoder(struct hth_json_loader *l, const json_t *spec)
{
	const json_t *items, *item;
	const char *type;
	bool fused = false;
	size_t i;
	enum hth_status st;

	if (spec == NULL || json_is_null(spec)) {
		l->t->decoder.join_spaces = true;
		return HTH_OK;
	}
	if ((st = need_type(l, spec, "decoder", 0, &type)) != HTH_OK)
		return st;
	if (strcmp(type, "Sequence") != 0)
		return read_decoder_step(l, spec, &fused);
	items = json_object_get(spec, "decoders");
	if (!json_is_array(items))
		return hth_fail(l->err, HTH_ERR_FORMAT, "%s: Sequence without \"decoders\"", hth_json_at(l, "decoder"));
	json_array_foreach((json_t *)items, i, item)
	{
		if ((st = read_decoder_step(l, item, &fused)) != HTH_OK)
			return st;
	}
	return HTH_OK;
}

static enum hth_status push_affix(struct hth_json_loader *l, int32_t *ids, size_t *n, bool front, const json_t *value)
{
	json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;

	if (id < 0 || (uint64_t)id >= l->t->vocab.n || l->t->vocab.tokens[id].text == NULL)
		return hth_fail(l->err, HTH_ERR_FORMAT, "%s: an id that is no token", hth_json_at(l, "post_processor"));
	if (*n == HTH_MAX_AFFIX)
		return hth_fail(l->err, HTH_ERR_LIMIT, "%s: more than %d tokens on one side",
				hth_json_at(l, "post_processor"), HTH_MAX_AFFIX);
	if (front)
		memmove(ids + 1, ids, *n * sizeof(*ids));
	ids[front ? 0 : *n] = (int32_t)id;
	(*n)++;
	return HTH_OK;
}

/* One special token of a template, before or after the text. */
static enum hth_status read_template_token(struct hth_json_loader *l, const json_t *spec, const json_t *token,
					   bool after)
{
	struct hth_tokenizer *t = l->t;
	const char *name;
	size_t i;
	enum hth_status st = hth_json_need_string(l, token, "id", hth_json_at(l, "post_processor"), &name, NULL);

	if (st != HTH_OK)
		return st;
	const json_t *ids = json_object_get(json_object_get(json_object_get(spec, "special_tokens"), name), "ids");
	if (!json_is_array(ids))
		return hth_fail(l->err, HTH_ERR_FORMAT, "%s: no ids for a special token",
				hth_json_at(l, "post_processor"));
	for (size_t k = 0, n = json_array_size(ids); st == HTH_OK && k < n; k++) {
		i = after ? k : n - 1 - k;
		st = after ? push_affix(l, t->suffix, &t->n_suffix, false, json_array_get(ids, i))
			   : push_affix(l, t->prefix, &t->n_prefix, true, json_array_get(ids, i));
	}
	return st;
}

/* What "single" puts around the text; a later template goes around an earlier one. */
static enum hth_status read_template(struct hth_json_loader *l, const json_t *spec)
{
	const json_t *single = json_object_get(spec, "single");
	size_t n = json_array_size(single), at = n;
	enum hth_status st = HTH_OK;

	for (size_t i = 0; i < n; i++) {
		if (json_object_get(json_array_get(single, i), "Sequence") != NULL)
			at = at == n ? i : n + 1;
	}
	if (at >= n)
		return hth_fail(l->err, HTH_ERR_FORMAT, "%s: \"single\" must hold the text once",
				hth_json_at(l, "post_processor"));
	for (size_t i = at; st == HTH_OK && i-- > 0;)
		st = read_template_token(l, spec, json_object_get(json_array_get(single, i), "SpecialToken"), false);
	for (size_t i = at + 1; st == HTH_OK && i < n; i++)
		st = read_template_token(l, spec, json_object_get(json_array_get(single, i), "SpecialToken"), true);
	return st;
}

enum hth_status hth_json_read_post(struct hth_json_loader *l, const json_t *spec, int depth)
{
	struct hth_tokenizer *t = l->t;
	const char *type;
	enum hth_status st;

	if (spec == NULL || json_is_null(spec))
		return HTH_OK;
	if ((st = need_type(l, spec, "post_processor", depth, &type)) != HTH_OK)
		return st;
	if (strcmp(type, "Sequence") == 0)
		return each(l, spec, "processors", "post_processor", depth, hth_json_read_post);
	if (strcmp(type, "ByteLevel") == 0) /* trims offsets, which here point at all of a token's bytes */
		return HTH_OK;
	if (strcmp(type, "TemplateProcessing") == 0)
		return read_template(l, spec);
	if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) {
		st = push_affix(l, t->prefix, &t->n_prefix, true, json_array_get(json_object_get(spec, "cls"), 1));
		if (st == HTH_OK)
			st = push_affix(l, t->suffix, &t->n_suffix, false,
					json_array_get(json_object_get(spec, "sep"), 1));
		return st;
	}
	return not_supported(l, "post_processor", type);
}
