/* The back half of pretok_pattern.h: from sets of code points to byte symbols, and the calls of PCRE2. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pretok_pattern.h"
#include "base/hash.h"
#include "base/mem.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#define CODE_POINTS 0x110000u
#define BLOCK 128u
#define N_BLOCKS (CODE_POINTS / BLOCK)
#define MAX_SYMBOLS 256
/* Steps of one match before it is called hopeless; the known patterns need a few per byte matched. */
#define MATCH_STEPS 50000000u
#define MATCH_HEAP_KIB (256u << 10)

struct signature {
	uint64_t bits[(HTH_PATTERN_MAX_SETS + 64) / 64]; /* bit i: in set i */
};

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* Where any set begins or ends, sorted, from 0 on. *n of them; caller frees; NULL when memory runs out. */
static uint32_t *find_borders(const struct hth_pattern_source *src, size_t *n)
{
	size_t cap = 1, m = 0, unique = 0;

	for (size_t i = 0; i < src->n_sets; i++)
		cap += 2 * src->sets[i].n;
	uint32_t *borders = hth_calloc(cap, sizeof(*borders));
	if (borders == NULL)
		return NULL;
	borders[m++] = 0;
	for (size_t i = 0; i < src->n_sets; i++) {
		for (size_t k = 0; k < src->sets[i].n; k++) {
			borders[m++] = src->sets[i].ranges[k][0];
			borders[m++] = src->sets[i].ranges[k][1] + 1;
		}
	}
	qsort(borders, m, sizeof(*borders), by_value);
	for (size_t i = 1; i < m; i++) {
		if (borders[i] != borders[unique] && borders[i] < CODE_POINTS)
			borders[++unique] = borders[i];
	}
	*n = unique + 1;
	return borders;
}

/* Numbers the kinds of code points that no set tells apart and writes each code point's number to symbols. */
static size_t number_kinds(const struct hth_pattern_source *src, const uint32_t *borders, size_t n_borders,
			   struct signature kinds[MAX_SYMBOLS], uint8_t *symbols)
{
	size_t at[HTH_PATTERN_MAX_SETS] = {0}, n_kinds = 0;

	for (size_t b = 0; b < n_borders; b++) {
		uint32_t first = borders[b], end = b + 1 < n_borders ? borders[b + 1] : CODE_POINTS;
		struct signature sig = {{0}};
		size_t kind;
		for (size_t i = 0; i < src->n_sets; i++) {
			const struct hth_uset *s = &src->sets[i];
			while (at[i] < s->n && s->ranges[at[i]][1] < first)
				at[i]++;
			if (at[i] < s->n && s->ranges[at[i]][0] <= first)
				sig.bits[i / 64] |= (uint64_t)1 << (i % 64);
		}
		for (kind = 0; kind < n_kinds; kind++) {
			if (memcmp(&kinds[kind], &sig, sizeof(sig)) == 0)
				break;
		}
		if (kind == MAX_SYMBOLS)
			return MAX_SYMBOLS + 1;
		if (kind == n_kinds)
			kinds[n_kinds++] = sig;
		memset(symbols + first, (int)kind, end - first);
	}
	return n_kinds;
}

/* Two-stage table of symbols (CODE_POINTS) in the arena. */
static bool fold_table(struct hth_pattern *p, struct hth_arena *arena, const uint8_t *symbols)
{
	uint16_t *stage1 = hth_arena_calloc(arena, N_BLOCKS, sizeof(*stage1));
	uint32_t *first_of = hth_calloc(N_BLOCKS, sizeof(*first_of)); /* (n) first block with each content */
	size_t n = 0;
	bool ok = false;

	if (stage1 == NULL || first_of == NULL)
		goto done;
	for (uint32_t b = 0; b < N_BLOCKS; b++) {
		const uint8_t *content = symbols + (size_t)b * BLOCK;
		size_t k = 0;
		if (b > 0 && memcmp(content, content - BLOCK, BLOCK) == 0)
			k = stage1[b - 1];
		else
			while (k < n && memcmp(content, symbols + (size_t)first_of[k] * BLOCK, BLOCK) != 0)
				k++;
		if (k == n)
			first_of[n++] = b;
		stage1[b] = (uint16_t)k;
	}
	uint8_t *stage2 = hth_arena_alloc(arena, n * BLOCK);
	if (stage2 == NULL)
		goto done;
	for (size_t k = 0; k < n; k++)
		memcpy(stage2 + k * BLOCK, symbols + (size_t)first_of[k] * BLOCK, BLOCK);
	p->stage1 = stage1;
	p->stage2 = stage2;
	ok = true;
done:
	hth_free(first_of);
	return ok;
}

/* The pattern over bytes: each set becomes a class of the symbols that lie in it. */
static void write_bytes_pattern(const struct hth_pattern_source *src, const struct signature *kinds, size_t n_kinds,
				struct hth_buf *out)
{
	for (size_t at = 0; at < src->text.bytes; at++) {
		if (src->text.data[at] != 1) {
			hth_buf_putc(out, src->text.data[at]);
			continue;
		}
		size_t set = (unsigned char)src->text.data[++at], members = 0;
		for (size_t k = 0; k < n_kinds; k++) {
			if ((kinds[k].bits[set / 64] >> (set % 64) & 1) != 0)
				hth_buf_printf(out, members++ == 0 ? "[\\x%02zx" : "\\x%02zx", k);
		}
		hth_buf_puts(out, members > 0 ? "]" : "(?:(?!))");
	}
}

static void *pcre_alloc(size_t bytes, void *unused)
{
	(void)unused;
	return hth_alloc(bytes);
}

static void pcre_free(void *p, void *unused)
{
	(void)unused;
	hth_free(p);
}

static enum hth_status compile(struct hth_pattern *p, const struct hth_buf *bytes_pattern, const char *where,
			       struct hth_err *err)
{
	int code = 0;
	size_t at = 0;

	p->memory = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
	pcre2_compile_context *context = p->memory == NULL ? NULL : pcre2_compile_context_create(p->memory);
	if (context == NULL)
		return hth_fail_memory(err, "a pattern", 0);
	p->code = pcre2_compile((PCRE2_SPTR)bytes_pattern->data, bytes_pattern->bytes, PCRE2_NEVER_UTF, &code, &at,
				context);
	pcre2_compile_context_free(context);
	if (p->code == NULL) {
		char text[128] = "";
		if (code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED)
			return hth_fail_memory(err, "a pattern", 0);
		pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof(text));
		return hth_fail(err, HTH_ERR_FORMAT, "%s: the pattern does not compile: %s", where, text);
	}
	/* Without JIT (a machine that forbids it) the same matches come from the interpreter. */
	(void)pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE);
	return HTH_OK;
}

enum hth_status hth_pattern_new(struct hth_pattern *p, struct hth_arena *arena, const char *pattern, size_t bytes,
				const char *where, struct hth_err *err)
{
	struct hth_pattern_source src = {0};
	struct hth_buf text;
	struct signature kinds[MAX_SYMBOLS];
	uint32_t *borders = NULL;
	uint8_t *symbols = NULL; /* (CODE_POINTS) */
	size_t n_borders, n_kinds;

	*p = (struct hth_pattern){0};
	hth_buf_init(&text, (size_t)16 << 20);
	enum hth_status st = hth_pattern_parse(pattern, bytes, where, &src, err);
	if (st != HTH_OK)
		goto done;
	borders = find_borders(&src, &n_borders);
	symbols = hth_alloc(CODE_POINTS);
	if (borders == NULL || symbols == NULL) {
		st = hth_fail_memory(err, "a pattern's table", CODE_POINTS);
		goto done;
	}
	n_kinds = number_kinds(&src, borders, n_borders, kinds, symbols);
	if (n_kinds > MAX_SYMBOLS) {
		st = hth_fail(err, HTH_ERR_LIMIT, "%s: the pattern tells more than 256 kinds of code points apart",
			      where);
		goto done;
	}
	if (!fold_table(p, arena, symbols)) {
		st = hth_fail_memory(err, "a pattern's table", N_BLOCKS);
		goto done;
	}
	write_bytes_pattern(&src, kinds, n_kinds, &text);
	if ((st = hth_buf_status(&text, "a pattern", err)) == HTH_OK)
		st = compile(p, &text, where, err);
done:
	hth_free(symbols);
	hth_free(borders);
	hth_buf_clear(&text);
	hth_pattern_source_clear(&src);
	if (st != HTH_OK)
		hth_pattern_clear(p);
	return st;
}

void hth_pattern_clear(struct hth_pattern *p)
{
	pcre2_code_free(p->code);
	pcre2_general_context_free(p->memory);
	*p = (struct hth_pattern){0};
}

void hth_matcher_clear(struct hth_matcher *m)
{
	pcre2_match_data_free(m->data);
	pcre2_match_context_free(m->context);
	*m = (struct hth_matcher){0};
}

static bool matcher_ready(struct hth_matcher *m, const struct hth_pattern *p)
{
	if (m->data == NULL)
		m->data = pcre2_match_data_create(1, p->memory);
	if (m->context == NULL && (m->context = pcre2_match_context_create(p->memory)) != NULL) {
		pcre2_set_match_limit(m->context, MATCH_STEPS);
		pcre2_set_heap_limit(m->context, MATCH_HEAP_KIB);
	}
	return m->data != NULL && m->context != NULL;
}

enum hth_status hth_pattern_next(const struct hth_pattern *p, struct hth_matcher *m, const uint8_t *symbols, size_t n,
				 size_t from, bool *found, size_t *start, size_t *end, struct hth_err *err)
{
	if (!matcher_ready(m, p))
		return hth_fail_memory(err, "a pattern's matches", 0);
	int rc = pcre2_match(p->code, symbols, n, from, 0, m->data, m->context);
	if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
		rc = pcre2_match(p->code, symbols, n, from, PCRE2_NO_JIT, m->data, m->context);
	*found = rc >= 0;
	if (rc == PCRE2_ERROR_NOMATCH)
		return HTH_OK;
	if (rc == PCRE2_ERROR_NOMEMORY)
		return hth_fail_memory(err, "a pattern's matches", 0);
	if (rc < 0) {
		char text[128] = "";
		pcre2_get_error_message(rc, (PCRE2_UCHAR *)text, sizeof(text));
		return hth_fail(err, HTH_ERR_LIMIT, "the tokenizer's pattern gave up on this text: %s", text);
	}
	const size_t *at = pcre2_get_ovector_pointer(m->data);
	*start = at[0];
	*end = at[1];
	return HTH_OK;
}
