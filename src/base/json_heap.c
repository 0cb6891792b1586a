/* jansson's heap on top of base/mem.h.
 *
 * jansson 2.14 does not survive a failed allocation while it reads a token: it ignores that a byte could not be
 * appended to its token buffer, and then asserts, or goes on with a string that lacks its closing quote. So during a
 * parse the blocks that it holds are kept in a list, and the first allocation that fails leaves jansson by longjmp and
 * frees them all. jansson holds no lock while it allocates. Outside of a parse a failure is an ordinary NULL. */
#include "base/checked.h"
#include "base/json_int.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdalign.h>

struct block {
	alignas(16) struct block *prev; /* both NULL outside of a parse */
	struct block *next;
};

/* The parse that runs on this thread. */
static _Thread_local struct {
	bool active;
	struct block held; /* ring */
	jmp_buf leave;
} parse;

static void *heap_alloc(size_t bytes)
{
	size_t total;
	struct block *b = NULL;

	if (hth_add_size(bytes, sizeof *b, &total))
		b = hth_alloc(total);
	if (b == NULL) {
		if (parse.active)
			_longjmp(parse.leave, 1);
		return NULL;
	}
	b->prev = b->next = NULL;
	if (parse.active) {
		b->prev = &parse.held;
		b->next = parse.held.next;
		b->next->prev = b;
		parse.held.next = b;
	}
	return b + 1;
}

static void heap_free(void *p)
{
	if (p == NULL)
		return;
	struct block *b = (struct block *)p - 1;
	if (b->prev != NULL) {
		b->prev->next = b->next;
		b->next->prev = b->prev;
	}
	hth_free(b);
}

/* Before main, while there is one thread: jansson's allocator is a plain global. */
__attribute__((constructor)) static void set_heap(void)
{
	json_set_alloc_funcs(heap_alloc, heap_free);
}

/* Ends the parse; the blocks still held belong to the document from now on, or are freed. */
static void end_parse(bool free_blocks)
{
	struct block *b = parse.held.next;

	parse.active = false;
	while (b != &parse.held) {
		struct block *next = b->next;
		b->prev = b->next = NULL;
		if (free_blocks)
			hth_free(b);
		b = next;
	}
}

bool hth_json_load(const char *text, size_t bytes, size_t decode_flags, json_t **out, json_error_t *why)
{
	*out = NULL;
	parse.held.prev = parse.held.next = &parse.held;
	parse.active = true;
	if (_setjmp(parse.leave) != 0) {
		end_parse(true);
		return false;
	}
	*out = json_loadb(text, bytes, decode_flags, why);
	end_parse(false);
	return true;
}
