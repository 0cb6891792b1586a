/* YAML to a tree of untyped nodes, from libyaml's events, with a stack of its own instead of recursion. Leaves out
 * what a config does not need and an attacker likes: anchors, aliases, tags, several documents, keys that are
 * not scalars. */
#include "base/yaml.h"
#include "base/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define MAX_DEPTH 64
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define MAX_BYTES ((size_t)16 << 20)
#define MAX_CHILDREN ((size_t)1 << 20)

/* A collection that is being read; the arrays move to the arena when it ends. */
struct frame {
	enum hth_yaml_kind kind;
	int line;
	size_t n, cap_items, cap_keys, cap_lines; /* n children; a key may stand one ahead */
	struct hth_yaml_node *items;
	const char **keys;
	int *key_lines;
	bool have_key;
};

struct reader {
	struct frame stack[MAX_DEPTH];
	int depth;
	struct hth_arena *arena;
	const char *where, *text;
	size_t bytes;
	struct hth_yaml_node root;
	bool have_root;
	struct hth_err *err;
};

static enum hth_status fail_at(const struct reader *r, int line, enum hth_status status, const char *what)
{
	return hth_fail(r->err, status, "%s:%d: %s", r->where, line, what);
}

static enum hth_status fail_room(const struct reader *r)
{
	return hth_fail(r->err, HTH_ERR_MEMORY, "%s: out of memory, or the text is too large for its limit", r->where);
}

/* Hands a finished value to the collection on top, or makes it the root. */
static enum hth_status add_value(struct reader *r, const struct hth_yaml_node *node)
{
	if (r->depth == 0) {
		r->root = *node;
		r->have_root = true;
		return HTH_OK;
	}
	struct frame *f = &r->stack[r->depth - 1];
	struct hth_yaml_node *items = hth_grow(f->items, f->n, &f->cap_items, MAX_CHILDREN, sizeof *items);
	if (items == NULL)
		return fail_room(r);
	f->items = items;
	items[f->n++] = *node;
	f->have_key = false;
	return HTH_OK;
}

static enum hth_status add_key(struct reader *r, struct frame *f, const char *key, int line)
{
	const char **keys = hth_grow((void *)f->keys, f->n, &f->cap_keys, MAX_CHILDREN, sizeof *keys);
	if (keys == NULL)
		return fail_room(r);
	f->keys = keys;
	int *lines = hth_grow(f->key_lines, f->n, &f->cap_lines, MAX_CHILDREN, sizeof *lines);
	if (lines == NULL)
		return fail_room(r);
	f->key_lines = lines;
	keys[f->n] = key;
	lines[f->n] = line;
	f->have_key = true;
	return HTH_OK;
}

/* The map on top waits for a key. */
static bool wants_key(const struct reader *r)
{
	return r->depth > 0 && r->stack[r->depth - 1].kind == HTH_YAML_MAP && !r->stack[r->depth - 1].have_key;
}

static enum hth_status on_scalar(struct reader *r, const yaml_event_t *ev, int line)
{
	const char *value = (const char *)ev->data.scalar.value;
	size_t bytes = ev->data.scalar.length;

	if (memchr(value, '\0', bytes) != NULL)
		return fail_at(r, line, HTH_ERR_FORMAT, "found \\0 in a string, which a config cannot hold");
	const char *text = hth_arena_strndup(r->arena, value, bytes);
	if (text == NULL)
		return fail_room(r);
	if (wants_key(r)) {
		if (bytes == 0)
			return fail_at(r, line, HTH_ERR_FORMAT, "found an empty key");
		return add_key(r, &r->stack[r->depth - 1], text, line);
	}
	struct hth_yaml_node node = {
		.kind = HTH_YAML_SCALAR,
		.line = line,
		.quoted = ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE,
		.text = text,
	};
	return add_value(r, &node);
}

static enum hth_status on_open(struct reader *r, enum hth_yaml_kind kind, int line)
{
	if (wants_key(r))
		return fail_at(r, line, HTH_ERR_FORMAT, "found a list or map as a key, expected a word");
	if (r->depth == MAX_DEPTH)
		return fail_at(r, line, HTH_ERR_LIMIT, "nested more than " TEXT(MAX_DEPTH) " deep");
	r->stack[r->depth++] = (struct frame){.kind = kind, .line = line};
	return HTH_OK;
}

struct named_line {
	const char *key;
	int line;
};

static int compare_keys(const void *a, const void *b)
{
	const struct named_line *x = a, *y = b;
	int c = strcmp(x->key, y->key);

	return c != 0 ? c : (x->line > y->line) - (x->line < y->line);
}

/* Sorted rather than pairwise: a hostile map of a million keys must not take a day. */
static enum hth_status check_duplicates(const struct reader *r, const struct frame *f)
{
	enum hth_status status = HTH_OK;

	if (f->n < 2)
		return HTH_OK;
	struct named_line *sorted = hth_calloc(f->n, sizeof *sorted);
	if (sorted == NULL)
		return fail_room(r);
	for (size_t i = 0; i < f->n; i++)
		sorted[i] = (struct named_line){f->keys[i], f->key_lines[i]};
	qsort(sorted, f->n, sizeof *sorted, compare_keys);
	for (size_t i = 1; status == HTH_OK && i < f->n; i++)
		if (strcmp(sorted[i - 1].key, sorted[i].key) == 0)
			status = hth_fail(r->err, HTH_ERR_FORMAT,
					  "%s:%d: \"%s\" is there already, in line %d; remove one", r->where,
					  sorted[i].line, sorted[i].key, sorted[i - 1].line);
	hth_free(sorted);
	return status;
}

/* An array of the frame in the arena; *ok turns false when there is no room. */
static const void *moved(struct reader *r, const void *from, size_t n, size_t elem_bytes, bool *ok)
{
	if (n == 0)
		return NULL;
	void *to = hth_arena_calloc(r->arena, n, elem_bytes);
	if (to == NULL)
		*ok = false;
	else
		memcpy(to, from, n * elem_bytes);
	return to;
}

static void clear_frame(struct frame *f)
{
	hth_free(f->items);
	hth_free((void *)f->keys);
	hth_free(f->key_lines);
	memset(f, 0, sizeof *f);
}

static enum hth_status on_close(struct reader *r)
{
	struct frame *f = &r->stack[r->depth - 1];
	struct hth_yaml_node node = {.kind = f->kind, .line = f->line, .n = f->n};
	bool ok = true;

	if (f->kind == HTH_YAML_MAP) {
		enum hth_status status = check_duplicates(r, f);
		if (status != HTH_OK)
			return status;
		node.keys = (const char **)(uintptr_t)moved(r, f->keys, f->n, sizeof *f->keys, &ok);
		node.key_lines = moved(r, f->key_lines, f->n, sizeof *f->key_lines, &ok);
	}
	node.items = moved(r, f->items, f->n, sizeof *f->items, &ok);
	if (!ok)
		return fail_room(r);
	clear_frame(f);
	r->depth--;
	return add_value(r, &node);
}

/* Anchors, aliases and tags are refused with the reason. */
static enum hth_status refuse(const struct reader *r, const yaml_event_t *ev, int line)
{
	const yaml_char_t *anchor = NULL, *tag = NULL;

	switch (ev->type) {
	case YAML_ALIAS_EVENT:
		return fail_at(r, line, HTH_ERR_FORMAT, "found an alias (*name); write the value out, or quote it");
	case YAML_SCALAR_EVENT:
		anchor = ev->data.scalar.anchor;
		tag = ev->data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = ev->data.sequence_start.anchor;
		tag = ev->data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = ev->data.mapping_start.anchor;
		tag = ev->data.mapping_start.tag;
		break;
	case YAML_DOCUMENT_START_EVENT:
		if (r->have_root)
			return fail_at(r, line, HTH_ERR_FORMAT, "found a second document (---), expected one");
		break;
	default:
		break;
	}
	if (anchor != NULL)
		return fail_at(r, line, HTH_ERR_FORMAT, "found an anchor (&name); quote the value if it is text");
	if (tag != NULL)
		return fail_at(r, line, HTH_ERR_FORMAT, "found a tag (!name); quote the value if it is text");
	return HTH_OK;
}

static enum hth_status on_event(struct reader *r, const yaml_event_t *ev)
{
	int line = (int)(ev->start_mark.line + 1);
	enum hth_status status = refuse(r, ev, line);

	if (status != HTH_OK)
		return status;
	switch (ev->type) {
	case YAML_SCALAR_EVENT:
		return on_scalar(r, ev, line);
	case YAML_SEQUENCE_START_EVENT:
		return on_open(r, HTH_YAML_SEQ, line);
	case YAML_MAPPING_START_EVENT:
		return on_open(r, HTH_YAML_MAP, line);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		return on_close(r);
	default:
		return HTH_OK;
	}
}

static enum hth_status fail_parser(const struct reader *r, const yaml_parser_t *p)
{
	size_t line = p->problem_mark.line + 1;

	if (p->error == YAML_MEMORY_ERROR)
		return fail_room(r);
	if (p->error == YAML_READER_ERROR) {
		/* The reader counts bytes, not lines. */
		line = 1;
		for (size_t i = 0; i < p->problem_offset && i < r->bytes; i++)
			line += r->text[i] == '\n';
	}
	const char *problem = p->problem == NULL ? "not YAML" : p->problem;
	if (p->context == NULL)
		return hth_fail(r->err, HTH_ERR_FORMAT, "%s:%zu: %s", r->where, line, problem);
	return hth_fail(r->err, HTH_ERR_FORMAT, "%s:%zu: %s %s that began in line %zu", r->where, line, problem,
			p->context, p->context_mark.line + 1);
}

static enum hth_status read_events(struct reader *r)
{
	yaml_parser_t parser;
	enum hth_status status = HTH_OK;
	bool end = false;

	if (!yaml_parser_initialize(&parser))
		return fail_room(r);
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)r->text, r->bytes);
	while (status == HTH_OK && !end) {
		yaml_event_t ev;
		if (!yaml_parser_parse(&parser, &ev)) {
			status = fail_parser(r, &parser);
			break;
		}
		end = ev.type == YAML_STREAM_END_EVENT;
		status = on_event(r, &ev);
		yaml_event_delete(&ev);
	}
	yaml_parser_delete(&parser);
	return status;
}

enum hth_status hth_yaml_parse(const char *text, size_t bytes, const char *where, struct hth_arena *arena,
			       const struct hth_yaml_node **root, struct hth_err *err)
{
	*root = NULL;
	if (bytes > MAX_BYTES)
		return hth_fail(err, HTH_ERR_LIMIT, "%s: %zu bytes, expected a config of at most %zu", where, bytes,
				MAX_BYTES);
	if (bytes >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
		text += 3;
		bytes -= 3;
	}
	struct reader *r = hth_calloc(1, sizeof *r);
	if (r == NULL)
		return hth_fail_memory(err, where, sizeof *r);
	*r = (struct reader){.arena = arena, .where = where, .text = text, .bytes = bytes, .err = err};
	r->root = (struct hth_yaml_node){.kind = HTH_YAML_MAP, .line = 1};
	enum hth_status status = read_events(r);
	if (status == HTH_OK && hth_yaml_is_null(&r->root))
		r->root = (struct hth_yaml_node){.kind = HTH_YAML_MAP, .line = r->root.line}; /* "---" and nothing */
	if (status == HTH_OK) {
		struct hth_yaml_node *copy = hth_arena_alloc(arena, sizeof *copy);
		if (copy == NULL)
			status = fail_room(r);
		else {
			*copy = r->root;
			*root = copy;
		}
	}
	for (int i = 0; i < r->depth; i++)
		clear_frame(&r->stack[i]);
	hth_free(r);
	return status;
}

const struct hth_yaml_node *hth_yaml_get(const struct hth_yaml_node *map, const char *key)
{
	if (map == NULL || map->kind != HTH_YAML_MAP)
		return NULL;
	for (size_t i = 0; i < map->n; i++)
		if (strcmp(map->keys[i], key) == 0)
			return &map->items[i];
	return NULL;
}

bool hth_yaml_is_null(const struct hth_yaml_node *node)
{
	static const char *const names[] = {"", "~", "null", "Null", "NULL"};

	if (node->kind != HTH_YAML_SCALAR || node->quoted)
		return false;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(node->text, names[i]) == 0)
			return true;
	return false;
}
