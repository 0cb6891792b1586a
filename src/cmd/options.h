/* Options: one row of one table says everything about an option: its flag, its other names, its YAML keys, type,
 * range, default and help. Parsing, --help, shell completion, config files and the printed origin of each value all
 * read that row. Flag names follow mlx_lm, YAML keys follow Axolotl; '-' and '_' are the same in both. */
#ifndef HTH_CMD_OPTIONS_H
#define HTH_CMD_OPTIONS_H

#include "base/arena.h"
#include "base/status.h"
#include "base/yaml.h"

#include <stdint.h>

enum hth_option_type {
	HTH_OPTION_SWITCH,  /* bool; --flag or --no-flag; `flag: true` in YAML */
	HTH_OPTION_BOOL,    /* bool with a value: on/off/true/false/auto is not one */
	HTH_OPTION_INT,     /* int64_t in min..max */
	HTH_OPTION_REAL,    /* double in min..max */
	HTH_OPTION_TEXT,    /* const char * */
	HTH_OPTION_PATH,    /* const char *; completed as a path */
	HTH_OPTION_BYTES,   /* uint64_t: "1.5GB" */
	HTH_OPTION_CHOICE,  /* int: index into choices "a|b|c" */
	HTH_OPTION_LIST,    /* struct hth_text_list: may be given several times, or as a YAML list */
	HTH_OPTION_IGNORED, /* a peer's key that needs nothing here; help says why. As a flag it takes a value iff one
			       is named */
};

struct hth_text_list {
	const char **items;
	size_t n;
};

struct hth_option {
	const char *flag;  /* "learning-rate", shown with two dashes */
	const char *names; /* other flag names, space-separated: "lr" */
	const char *yaml;  /* YAML keys, space-separated; the first is what we write. NULL: not in files */
	enum hth_option_type type;
	size_t offset;       /* of the field in the command's struct */
	double min, max;     /* INT and REAL */
	const char *choices; /* CHOICE: "constant|linear|cosine" */
	const char *def;     /* default, as text; NULL: empty */
	const char *value;   /* placeholder in help: "N", "FILE", "tokens" */
	const char *help;    /* one line */
};

enum hth_origin_kind { HTH_FROM_DEFAULT, HTH_FROM_FILE, HTH_FROM_FLAG, HTH_FROM_PLAN };

/* One command: the table, what it takes and what it does. run gets the parsed command line. */
struct hth_cli;
struct hth_command {
	const char *name;
	const char *usage;                /* "MODEL [--adapter A] [options]" */
	const char *summary;              /* one line, for `hearth --help` */
	const char *about;                /* a paragraph and examples, for `hearth NAME --help` */
	const struct hth_option *options; /* ends with flag NULL */
	size_t config_bytes;              /* size of the struct the offsets refer to */
	const char *words; /* first arguments that completion offers: "check prepare"; NULL: paths */
	int min_args, max_args;           /* positional arguments; max -1: any number */
	enum hth_status (*run)(struct hth_cli *cli, struct hth_err *err);
};

struct hth_cli {
	const struct hth_command *command;
	void *config;          /* config_bytes, filled; in arena */
	unsigned char *origin; /* enum hth_origin_kind of each option row */
	const char **args;     /* positional arguments */
	int n_args;
	bool help;
	struct hth_arena arena;
	const char *config_path; /* the YAML file read, or NULL */
};

/* Defaults, then flags (they win over a file read later). argv[0] is the first word after the verb.
 * HTH_ERR_USAGE: `--iter: unknown option of hearth train; did you mean --iters?` */
HTH_MUST enum hth_status hth_cli_parse(struct hth_cli *cli, const struct hth_command *c, int argc, char **argv,
				       struct hth_err *err);
/* Applies a YAML map where no flag spoke. Nested maps are dotted: lora_parameters.rank. Keys listed in `handled`
 * (NULL-terminated) are left to the caller. Unknown keys are errors with file, line and the nearest key. */
HTH_MUST enum hth_status hth_cli_apply_yaml(struct hth_cli *cli, const struct hth_yaml_node *root, const char *path,
					    const char *const *handled, struct hth_err *err);
/* Sets one option by its flag name from text, as `origin`; used for values that another option implies. */
HTH_MUST enum hth_status hth_cli_set(struct hth_cli *cli, const char *flag, const char *text,
				     enum hth_origin_kind origin, struct hth_err *err);
enum hth_origin_kind hth_cli_origin(const struct hth_cli *cli, const char *flag);
void hth_cli_clear(struct hth_cli *cli);

/* The present value of row i as text into out; "" when empty. */
const char *hth_cli_value_text(const struct hth_cli *cli, size_t i, char *out, size_t out_bytes);

const struct hth_command *hth_command_find(const char *name);
const struct hth_command *hth_command_at(size_t i); /* NULL past the end */
void hth_help_command(const struct hth_command *c); /* to stdout */
void hth_help_all(void);

#endif
