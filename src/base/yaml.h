/* YAML through libyaml as a small tree of untyped nodes. Values stay text: the option table types them
 * (`2e-4` is a string in YAML 1.1, `no` is a boolean: neither surprise reaches a config here). Anchors,
 * aliases, tags and several documents in one file are errors; depth and size are bounded. */
#ifndef HTH_BASE_YAML_H
#define HTH_BASE_YAML_H

#include "base/arena.h"
#include "base/status.h"

enum hth_yaml_kind { HTH_YAML_SCALAR, HTH_YAML_SEQ, HTH_YAML_MAP };

struct hth_yaml_node {
	enum hth_yaml_kind kind;
	int line;                          /* 1-based */
	bool quoted;                       /* scalar was quoted: "null" is then text, not absence */
	const char *text;                  /* scalar text, NUL-terminated */
	size_t n;                          /* children of a seq, pairs of a map */
	const char **keys;                 /* map only */
	const int *key_lines;              /* map only */
	const struct hth_yaml_node *items; /* seq items or map values */
};

/* Parses one document; nodes live in `arena`. Duplicate keys are errors with both lines.
 * `where` names the file in messages: "config.yml:12: ...". An empty document is an empty map. */
HTH_MUST enum hth_status hth_yaml_parse(const char *text, size_t bytes, const char *where, struct hth_arena *arena,
                                        const struct hth_yaml_node **root, struct hth_err *err);
/* The value of a key in a map, or NULL. */
const struct hth_yaml_node *hth_yaml_get(const struct hth_yaml_node *map, const char *key);
/* True for an unquoted empty scalar, ~, null, Null or NULL. */
bool hth_yaml_is_null(const struct hth_yaml_node *node);

#endif
