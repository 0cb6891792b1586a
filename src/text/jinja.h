/* A Jinja interpreter for chat templates: the subset that ../shared's templates use (docs/formats/jinja.md lists
 * it), rendered as transformers' render_jinja_template does (trim_blocks, lstrip_blocks, loop controls, generation
 * tag, its tojson, raise_exception, strftime_now). Nothing is ever executed; unsupported syntax is an error that
 * names it, with line and column. Bounded in steps, depth and memory.
 *
 * Strings carry where they came from: every run of the output that stems from a string of `messages` is known by
 * message and field, also after concatenation, slicing, trimming, replacing and splitting. */
#ifndef HTH_TEXT_JINJA_H
#define HTH_TEXT_JINJA_H

#include "base/buf.h"
#include "base/json.h"

struct hth_template; /* parsed, read-only, shared between threads */

HTH_MUST enum hth_status hth_template_parse(const char *source, size_t bytes, const char *where,
                                            struct hth_template **out, struct hth_err *err);
void hth_template_free(struct hth_template *t);

struct hth_template_limits {
	uint64_t max_steps;     /* evaluated nodes and loop turns; 0: 20 million */
	uint32_t max_depth;     /* nested evaluation; 0: 200 */
	size_t max_bytes;       /* memory of values and output together; 0: 256 MiB */
};

/* What part of a message a run of output came from. */
enum hth_field {
	HTH_FIELD_CONTENT,   /* content, also text parts of a content list */
	HTH_FIELD_REASONING, /* reasoning_content, thinking, reasoning */
	HTH_FIELD_TOOL,      /* tool_calls and everything below */
	HTH_FIELD_OTHER,     /* role, name, ... */
};

struct hth_origin {
	size_t start, end; /* bytes of the output */
	int32_t message;   /* index into messages */
	enum hth_field field;
};

struct hth_rendered {
	struct hth_buf text;
	struct hth_origin *origins; /* sorted by start, not overlapping; neighbours of one origin are joined */
	size_t n_origins;
	/* Output of {% generation %} blocks, when the template has them. */
	struct hth_origin *generated; /* message = -1 */
	size_t n_generated;
};
void hth_rendered_clear(struct hth_rendered *r); /* safe on zeroed */

/* Parses JSON (strict, as hth_json_parse) for use as a context. Integers beyond 64 bits, which a json_t cannot hold,
 * are kept exactly: as objects with the one key "\001int", which rendering turns back into integers. */
HTH_MUST enum hth_status hth_template_context_parse(const char *text, size_t bytes, const char *where, json_t **out,
                                                    struct hth_err *err);

/* context: an object with messages, tools, documents, add_generation_prompt, bos_token, eos_token and any other
 * argument; borrowed. now: seconds since 1970 shown by strftime_now, as local civil time without a zone.
 * A template's own raise_exception gives HTH_ERR_VALUE with exactly its message as text. */
HTH_MUST enum hth_status hth_template_render(const struct hth_template *t, const json_t *context, int64_t now,
                                             const struct hth_template_limits *limits, struct hth_rendered *out,
                                             struct hth_err *err);

#endif
