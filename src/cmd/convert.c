/* hearth convert: an adapter from one layout into another. */
#include "base/file.h"
#include "cmd/options.h"
#include "cmd/where.h"
#include "models/model.h"

#include <stddef.h>
#include <stdio.h>

struct convert_options {
	const char *model, *output;
	int to;
	bool overwrite;
};

enum { TO_BOTH, TO_PEFT, TO_GGUF };

static const struct hth_option options[] = {
	{"to", NULL, NULL, HTH_OPTION_CHOICE, offsetof(struct convert_options, to), 0, 0, "peft+mlx|peft|gguf",
	 "peft+mlx", NULL, "layout: one folder for PEFT and mlx-lm, a plain one for PEFT before 0.14, or a GGUF file"},
	{"model", NULL, NULL, HTH_OPTION_PATH, offsetof(struct convert_options, model), 0, 0, NULL, NULL, "MODEL",
	 "the base it belongs to: names and row order of GGUF come from it"},
	{"output", "o", NULL, HTH_OPTION_PATH, offsetof(struct convert_options, output), 0, 0, NULL, NULL, "DIR|FILE",
	 "where the result goes"},
	{"overwrite", NULL, NULL, HTH_OPTION_SWITCH, offsetof(struct convert_options, overwrite), 0, 0, NULL, NULL,
	 NULL, "replace the output if it exists"},
	{0},
};

static enum hth_status run(struct hth_cli *cli, struct hth_err *err)
{
	const struct convert_options *opt = cli->config;
	const char *from = cli->args[0];
	bool needs_model = opt->to == TO_GGUF || hth_path_has_suffix(from, ".gguf");
	if (opt->output == NULL)
		return hth_fail(err, HTH_ERR_USAGE, "hearth convert: no output; give --output PATH");
	if (needs_model && opt->model == NULL)
		return hth_fail(err, HTH_ERR_USAGE,
				"hearth convert: a GGUF adapter needs its base: give --model FILE.gguf");
	if (!opt->overwrite && hth_path_kind(opt->output) != HTH_PATH_NONE)
		return hth_fail(err, HTH_ERR_EXISTS, "%s: exists; --overwrite replaces it", opt->output);
	struct hth_model *m = NULL;
	struct hth_adapter a = {0};
	struct hth_adapter_names names;
	enum hth_status s = opt->model != NULL ? hth_model_open_named(opt->model, &m, err) : HTH_OK;
	if (s == HTH_OK && m != NULL)
		hth_model_adapter_names(m, &names);
	if (s == HTH_OK)
		s = hth_adapter_read(from, m != NULL ? &names : NULL, &a, err);
	if (s == HTH_OK && m != NULL)
		a.n_layers = (int)m->config.n_layers;
	const char *lacks = s == HTH_OK && opt->to == TO_BOTH ? hth_adapter_mlx_lacks(&a) : NULL;
	if (lacks != NULL)
		s = hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: mlx-lm's adapters have no %s; --to peft keeps all", from,
			     lacks);
	if (s == HTH_OK && opt->to == TO_GGUF)
		s = hth_adapter_write_gguf(opt->output, &a, &names, err);
	else if (s == HTH_OK)
		s = hth_adapter_write_dir(opt->output, &a, opt->to == TO_PEFT, err);
	if (s == HTH_OK)
		printf("%s: %zu modules, rank %d\n", opt->output, a.n_modules, a.rank);
	hth_adapter_clear(&a);
	hth_model_close(m);
	return s;
}

const struct hth_command hth_command_convert = {
	.name = "convert",
	.usage = "ADAPTER --to peft+mlx|peft|gguf --output PATH [--model MODEL]",
	.summary = "an adapter from one layout into another",
	.about = "  hearth convert runs/hazmat/adapter --to gguf --model model.gguf --output hazmat-lora.gguf",
	.options = options,
	.config_bytes = sizeof(struct convert_options),
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
