/* Parsing of command lines and YAML maps into a command's struct, by its option table. Leaves out what options mean
 * together: that is each command's business. */
#include "cmd/options.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/num.h"
#include "cmd/commands.h"

#include <stdio.h>
#include <string.h>

#define MAX_CLI_BYTES (16u << 20)

static const struct hth_command *const commands[] = {
#define HTH_COMMAND(name) &hth_command_##name,
#include "cmd/list.h"
#undef HTH_COMMAND
};

const struct hth_command *hth_command_at(size_t i)
{
	return i < sizeof commands / sizeof *commands ? commands[i] : NULL;
}

const struct hth_command *hth_command_find(const char *name)
{
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

/* Equal with '-' and '_' taken as the same; b_bytes of b. */
static bool same_name(const char *a, const char *b, size_t b_bytes)
{
	for (size_t i = 0; i < b_bytes; i++) {
		char x = a[i] == '_' ? '-' : a[i], y = b[i] == '_' ? '-' : b[i];
		if (x != y || x == '\0')
			return false;
	}
	return a[b_bytes] == '\0';
}

/* Is `name` one of the space-separated words of `list`? */
static bool in_list(const char *list, const char *name)
{
	if (list == NULL)
		return false;
	for (const char *p = list; *p != '\0';) {
		size_t n = strcspn(p, " ");
		if (same_name(name, p, n))
			return true;
		p += n + (p[n] == ' ');
	}
	return false;
}

static const struct hth_option *find_flag(const struct hth_command *c, const char *name)
{
	for (const struct hth_option *o = c->options; o->flag != NULL; o++)
		if (same_name(name, o->flag, strlen(o->flag)) || in_list(o->names, name))
			return o;
	return NULL;
}

static const struct hth_option *find_yaml(const struct hth_command *c, const char *key)
{
	for (const struct hth_option *o = c->options; o->flag != NULL; o++)
		if (in_list(o->yaml, key))
			return o;
	return NULL;
}

static size_t row_of(const struct hth_cli *cli, const struct hth_option *o)
{
	return (size_t)(o - cli->command->options);
}

static int choice_index(const char *choices, const char *text)
{
	int i = 0;
	for (const char *p = choices; *p != '\0'; i++) {
		size_t n = strcspn(p, "|");
		if (same_name(text, p, n))
			return i;
		p += n + (p[n] == '|');
	}
	return -1;
}

static enum hth_status add_item(struct hth_cli *cli, struct hth_text_list *list, const char *text, struct hth_err *err)
{
	const char **items = hth_arena_calloc(&cli->arena, list->n + 1, sizeof *items);
	if (items == NULL)
		return hth_fail_memory(err, "option list", (list->n + 1) * sizeof *items);
	if (list->n > 0)
		memcpy(items, list->items, list->n * sizeof *items);
	items[list->n] = text;
	list->items = items;
	list->n++;
	return HTH_OK;
}

static enum hth_status bad_value(const struct hth_option *o, const char *where, const char *text, struct hth_err *err)
{
	char shown[64];
	hth_quote(shown, sizeof shown, text, strlen(text));
	switch (o->type) {
	case HTH_OPTION_INT:
		return hth_fail(err, HTH_ERR_USAGE, "%s: found \"%s\", expected a whole number in %.0f..%.0f", where,
				shown, o->min, o->max);
	case HTH_OPTION_REAL:
		return hth_fail(err, HTH_ERR_USAGE, "%s: found \"%s\", expected a number in %g..%g", where, shown,
				o->min, o->max);
	case HTH_OPTION_BYTES:
		return hth_fail(err, HTH_ERR_USAGE, "%s: found \"%s\", expected a size such as 1.5GB or 800MB", where,
				shown);
	case HTH_OPTION_CHOICE:
		return hth_fail(err, HTH_ERR_USAGE, "%s: found \"%s\", expected one of %s", where, shown, o->choices);
	default:
		return hth_fail(err, HTH_ERR_USAGE, "%s: found \"%s\", expected true or false", where, shown);
	}
}

/* Converts text into the row's field. where: "--iters" or "config.yml:3: iters". */
static enum hth_status set_field(struct hth_cli *cli, const struct hth_option *o, const char *text, const char *where,
				 struct hth_err *err)
{
	char *field = (char *)cli->config + o->offset;
	int64_t i = 0;
	double r = 0;
	bool b = false;
	uint64_t bytes = 0;
	switch (o->type) {
	case HTH_OPTION_SWITCH:
	case HTH_OPTION_BOOL:
		if (!hth_parse_bool(text, &b))
			return bad_value(o, where, text, err);
		memcpy(field, &b, sizeof b);
		return HTH_OK;
	case HTH_OPTION_INT:
		if (!hth_parse_i64(text, &i) || (double)i < o->min || (double)i > o->max)
			return bad_value(o, where, text, err);
		memcpy(field, &i, sizeof i);
		return HTH_OK;
	case HTH_OPTION_REAL:
		if (!hth_parse_f64(text, &r) || !(r >= o->min && r <= o->max))
			return bad_value(o, where, text, err);
		memcpy(field, &r, sizeof r);
		return HTH_OK;
	case HTH_OPTION_BYTES:
		if (!hth_parse_bytes(text, &bytes))
			return bad_value(o, where, text, err);
		memcpy(field, &bytes, sizeof bytes);
		return HTH_OK;
	case HTH_OPTION_CHOICE: {
		int index = choice_index(o->choices, text);
		if (index < 0)
			return bad_value(o, where, text, err);
		memcpy(field, &index, sizeof index);
		return HTH_OK;
	}
	case HTH_OPTION_TEXT:
	case HTH_OPTION_PATH:
	case HTH_OPTION_LIST: {
		const char *copy = hth_arena_strndup(&cli->arena, text, strlen(text));
		if (copy == NULL)
			return hth_fail_memory(err, where, strlen(text));
		if (o->type == HTH_OPTION_LIST)
			return add_item(cli, (struct hth_text_list *)(void *)field, copy, err);
		memcpy(field, &copy, sizeof copy);
		return HTH_OK;
	}
	case HTH_OPTION_IGNORED:
		break;
	}
	return HTH_OK;
}

static enum hth_status set_defaults(struct hth_cli *cli, struct hth_err *err)
{
	for (const struct hth_option *o = cli->command->options; o->flag != NULL; o++) {
		if (o->def == NULL || o->type == HTH_OPTION_IGNORED)
			continue;
		enum hth_status s = set_field(cli, o, o->def, o->flag, err);
		if (s != HTH_OK)
			return hth_err_prefix(err, "default of --%s", o->flag);
	}
	return HTH_OK;
}

static enum hth_status unknown_flag(const struct hth_command *c, const char *arg, const char *name, struct hth_err *err)
{
	const char *known[128];
	size_t n = 0;
	for (const struct hth_option *o = c->options; o->flag != NULL && n < 128; o++)
		if (o->type != HTH_OPTION_IGNORED)
			known[n++] = o->flag;
	const char *near = hth_nearest(name, known, n);
	char shown[64];
	hth_quote(shown, sizeof shown, arg, strlen(arg));
	if (near != NULL)
		return hth_fail(err, HTH_ERR_USAGE, "%s: unknown option of hearth %s; did you mean --%s?", shown,
				c->name, near);
	return hth_fail(err, HTH_ERR_USAGE, "%s: unknown option; see hearth %s --help", shown, c->name);
}

/* One option at argv[*at]; moves *at past its value. */
static enum hth_status parse_flag(struct hth_cli *cli, int argc, char **argv, int *at, struct hth_err *err)
{
	const char *arg = argv[*at];
	const char *name = arg + (arg[1] == '-' ? 2 : 1);
	const char *equals = strchr(name, '=');
	char bare[64];
	size_t bytes = equals != NULL ? (size_t)(equals - name) : strlen(name);
	if (bytes >= sizeof bare)
		return unknown_flag(cli->command, arg, name, err);
	memcpy(bare, name, bytes);
	bare[bytes] = '\0';

	const struct hth_option *o = find_flag(cli->command, bare);
	bool negated = false;
	if (o == NULL && (strncmp(bare, "no-", 3) == 0 || strncmp(bare, "no_", 3) == 0)) {
		o = find_flag(cli->command, bare + 3);
		negated = o != NULL && (o->type == HTH_OPTION_SWITCH || o->type == HTH_OPTION_BOOL);
		if (!negated)
			o = NULL;
	}
	if (o == NULL)
		return unknown_flag(cli->command, arg, bare, err);
	cli->origin[row_of(cli, o)] = HTH_FROM_FLAG;
	char where[80];
	snprintf(where, sizeof where, "--%s", o->flag);
	if (o->type == HTH_OPTION_SWITCH || negated)
		return set_field(cli, o, equals != NULL ? equals + 1 : negated ? "false" : "true", where, err);
	if (o->type == HTH_OPTION_IGNORED && o->value == NULL) {
		hth_info("note: --%s has no effect here: %s", o->flag, o->help);
		return HTH_OK;
	}
	if (equals == NULL && *at + 1 >= argc)
		return hth_fail(err, HTH_ERR_USAGE, "%s: a value is missing (%s)", where,
				o->value != NULL ? o->value : "VALUE");
	const char *text = equals != NULL ? equals + 1 : argv[++*at];
	if (o->type == HTH_OPTION_IGNORED)
		hth_info("note: --%s has no effect here: %s", o->flag, o->help);
	return set_field(cli, o, text, where, err);
}

enum hth_status hth_cli_parse(struct hth_cli *cli, const struct hth_command *c, int argc, char **argv,
			      struct hth_err *err)
{
	memset(cli, 0, sizeof *cli);
	cli->command = c;
	hth_arena_init(&cli->arena, MAX_CLI_BYTES);
	size_t rows = 0;
	while (c->options[rows].flag != NULL)
		rows++;
	cli->config = hth_arena_calloc(&cli->arena, 1, c->config_bytes + 1);
	cli->origin = hth_arena_calloc(&cli->arena, rows + 1, 1);
	cli->args = hth_arena_calloc(&cli->arena, (size_t)argc + 1, sizeof *cli->args);
	if (cli->config == NULL || cli->origin == NULL || cli->args == NULL)
		return hth_fail_memory(err, "command line", c->config_bytes);
	enum hth_status s = set_defaults(cli, err);
	bool only_args = false;
	for (int i = 0; i < argc && s == HTH_OK; i++) {
		const char *arg = argv[i];
		if (!only_args && strcmp(arg, "--") == 0)
			only_args = true;
		else if (!only_args && (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0))
			cli->help = true;
		else if (!only_args && arg[0] == '-' && arg[1] != '\0')
			s = parse_flag(cli, argc, argv, &i, err);
		else
			cli->args[cli->n_args++] = arg;
	}
	if (s != HTH_OK || cli->help)
		return s;
	if (cli->n_args < c->min_args)
		return hth_fail(err, HTH_ERR_USAGE, "hearth %s: an argument is missing; usage: hearth %s %s", c->name,
				c->name, c->usage);
	if (c->max_args >= 0 && cli->n_args > c->max_args)
		return hth_fail(err, HTH_ERR_USAGE, "hearth %s: unexpected argument \"%s\"; usage: hearth %s %s",
				c->name, cli->args[c->max_args], c->name, c->usage);
	return HTH_OK;
}

static enum hth_status unknown_key(const struct hth_command *c, const char *path, int line, const char *key,
				   struct hth_err *err)
{
	/* Candidates: the first YAML name of each row. */
	char names[128][48];
	const char *known[128];
	size_t n = 0;
	for (const struct hth_option *o = c->options; o->flag != NULL && n < 128; o++) {
		if (o->yaml == NULL)
			continue;
		size_t bytes = strcspn(o->yaml, " ");
		if (bytes >= sizeof names[0])
			continue;
		memcpy(names[n], o->yaml, bytes);
		names[n][bytes] = '\0';
		known[n] = names[n];
		n++;
	}
	const char *near = hth_nearest(key, known, n);
	if (near != NULL)
		return hth_fail(err, HTH_ERR_USAGE, "%s:%d: unknown key \"%s\"; did you mean \"%s\"?", path, line, key,
				near);
	return hth_fail(err, HTH_ERR_USAGE, "%s:%d: unknown key \"%s\"; hearth %s --help lists the keys", path, line,
			key, c->name);
}

static enum hth_status apply_value(struct hth_cli *cli, const struct hth_option *o, const struct hth_yaml_node *node,
				   const char *path, const char *key, struct hth_err *err)
{
	char where[256];
	snprintf(where, sizeof where, "%s:%d: %s", path, node->line, key);
	size_t row = row_of(cli, o);
	if (o->type == HTH_OPTION_IGNORED) {
		hth_info("note: %s has no effect here: %s", where, o->help);
		return HTH_OK;
	}
	if (cli->origin[row] == HTH_FROM_FLAG || hth_yaml_is_null(node))
		return HTH_OK;
	cli->origin[row] = HTH_FROM_FILE;
	if (o->type == HTH_OPTION_LIST && node->kind == HTH_YAML_SEQ) {
		memset((char *)cli->config + o->offset, 0, sizeof(struct hth_text_list));
		for (size_t i = 0; i < node->n; i++) {
			if (node->items[i].kind != HTH_YAML_SCALAR)
				return hth_fail(err, HTH_ERR_USAGE, "%s: item %zu is no plain value", where, i + 1);
			enum hth_status s = set_field(cli, o, node->items[i].text, where, err);
			if (s != HTH_OK)
				return s;
		}
		return HTH_OK;
	}
	if (node->kind != HTH_YAML_SCALAR)
		return hth_fail(err, HTH_ERR_USAGE, "%s: found a %s, expected one value", where,
				node->kind == HTH_YAML_MAP ? "map" : "list");
	if (o->type == HTH_OPTION_LIST)
		memset((char *)cli->config + o->offset, 0, sizeof(struct hth_text_list));
	return set_field(cli, o, node->text, where, err);
}

static enum hth_status apply_map(struct hth_cli *cli, const struct hth_yaml_node *map, const char *prefix,
				 const char *path, const char *const *handled, int depth, struct hth_err *err)
{
	for (size_t i = 0; i < map->n; i++) {
		char key[128];
		snprintf(key, sizeof key, "%s%s", prefix, map->keys[i]);
		bool skip = false;
		for (size_t h = 0; handled != NULL && handled[h] != NULL; h++)
			skip = skip || strcmp(handled[h], key) == 0;
		if (skip)
			continue;
		const struct hth_option *o = find_yaml(cli->command, key);
		enum hth_status s;
		if (o != NULL) {
			s = apply_value(cli, o, &map->items[i], path, key, err);
		} else if (map->items[i].kind == HTH_YAML_MAP && depth < 2) {
			char inner[132];
			snprintf(inner, sizeof inner, "%s.", key);
			s = apply_map(cli, &map->items[i], inner, path, handled, depth + 1, err);
		} else {
			s = unknown_key(cli->command, path, map->key_lines[i], key, err);
		}
		if (s != HTH_OK)
			return s;
	}
	return HTH_OK;
}

enum hth_status hth_cli_apply_yaml(struct hth_cli *cli, const struct hth_yaml_node *root, const char *path,
				   const char *const *handled, struct hth_err *err)
{
	if (root->kind != HTH_YAML_MAP)
		return hth_fail(err, HTH_ERR_USAGE, "%s:%d: expected `key: value` lines at the top level", path,
				root->line);
	cli->config_path = path;
	return apply_map(cli, root, "", path, handled, 0, err);
}

enum hth_status hth_cli_set(struct hth_cli *cli, const char *flag, const char *text, enum hth_origin_kind origin,
			    struct hth_err *err)
{
	const struct hth_option *o = find_flag(cli->command, flag);
	if (o == NULL)
		return hth_fail(err, HTH_ERR_USAGE, "--%s: unknown option of hearth %s", flag, cli->command->name);
	cli->origin[row_of(cli, o)] = (unsigned char)origin;
	char where[80];
	snprintf(where, sizeof where, "--%s", o->flag);
	return set_field(cli, o, text, where, err);
}

enum hth_origin_kind hth_cli_origin(const struct hth_cli *cli, const char *flag)
{
	const struct hth_option *o = find_flag(cli->command, flag);
	return o != NULL ? (enum hth_origin_kind)cli->origin[row_of(cli, o)] : HTH_FROM_DEFAULT;
}

const char *hth_cli_value_text(const struct hth_cli *cli, size_t row, char *out, size_t out_bytes)
{
	const struct hth_option *o = &cli->command->options[row];
	const char *field = (const char *)cli->config + o->offset;
	out[0] = '\0';
	switch (o->type) {
	case HTH_OPTION_SWITCH:
	case HTH_OPTION_BOOL: {
		bool b;
		memcpy(&b, field, sizeof b);
		snprintf(out, out_bytes, "%s", b ? "true" : "false");
		break;
	}
	case HTH_OPTION_INT: {
		int64_t i;
		memcpy(&i, field, sizeof i);
		snprintf(out, out_bytes, "%lld", (long long)i);
		break;
	}
	case HTH_OPTION_REAL: {
		double r;
		memcpy(&r, field, sizeof r);
		snprintf(out, out_bytes, "%.17g", r);
		for (int digits = 1; digits < 17; digits++) { /* the shortest text that reads back the same */
			char shorter[40];
			double back;
			snprintf(shorter, sizeof shorter, "%.*g", digits, r);
			if (hth_parse_f64(shorter, &back) && back == r) {
				snprintf(out, out_bytes, "%s", shorter);
				break;
			}
		}
		break;
	}
	case HTH_OPTION_BYTES: {
		uint64_t n;
		memcpy(&n, field, sizeof n);
		snprintf(out, out_bytes, "%llu", (unsigned long long)n);
		break;
	}
	case HTH_OPTION_CHOICE: {
		int want;
		memcpy(&want, field, sizeof want);
		const char *p = o->choices;
		for (int i = 0; i < want && *p != '\0'; i++)
			p += strcspn(p, "|") + 1;
		snprintf(out, out_bytes, "%.*s", (int)strcspn(p, "|"), p);
		break;
	}
	case HTH_OPTION_TEXT:
	case HTH_OPTION_PATH: {
		const char *s;
		memcpy(&s, field, sizeof s);
		snprintf(out, out_bytes, "%s", s != NULL ? s : "");
		break;
	}
	case HTH_OPTION_LIST: {
		struct hth_text_list list;
		memcpy(&list, field, sizeof list);
		size_t used = 0;
		for (size_t i = 0; i < list.n && used + 1 < out_bytes; i++)
			used += (size_t)snprintf(out + used, out_bytes - used, "%s%s", i > 0 ? ", " : "",
						 list.items[i]);
		break;
	}
	case HTH_OPTION_IGNORED:
		break;
	}
	return out;
}

void hth_cli_clear(struct hth_cli *cli)
{
	hth_arena_clear(&cli->arena);
}
