/* hearth convert: a model or an adapter from one layout into another. Models take the way of fuse and quantize
 * (exported.c), without a check. */
#include "base/file.h"
#include "base/mem.h"
#include "cmd/exported.h"
#include "cmd/options.h"
#include "cmd/where.h"
#include "models/model.h"

#include <stddef.h>
#include <stdio.h>

struct convert_options {
	struct hth_export_options export; /* output, type, overwrite, threads, json, group */
	const char *model;
	int to;
};

enum { TO_AUTO, TO_BOTH, TO_PEFT, TO_MLX, TO_GGUF, TO_HF };

#define AT(field) offsetof(struct convert_options, field)

static const struct hth_option options[] = {
	{"to", NULL, NULL, HTH_OPTION_CHOICE, AT(to), 0, 0, "auto|peft+mlx|peft|mlx|gguf|hf", "auto", NULL,
	 "layout. Models: gguf, hf, mlx; auto: as --output is named. Adapters: one folder for PEFT and mlx-lm (also mlx, "
	 "and auto), a plain one for PEFT before 0.14 (peft), or a GGUF file (also auto, by name)"},
	{"model", NULL, NULL, HTH_OPTION_PATH, AT(model), 0, 0, NULL, NULL, "MODEL",
	 "of an adapter: the base it belongs to; names and row order of GGUF come from it"},
	{"output", "o mlx-path", NULL, HTH_OPTION_PATH, AT(export.output), 0, 0, NULL, NULL, "DIR|FILE",
	 "where the result goes"},
	{"type", "dtype", NULL, HTH_OPTION_TEXT, AT(export.type), 0, 0, NULL, NULL, "TYPE",
	 "of a model: f32 f16 bf16, or a type of hearth quantize; default: as stored, f16 where it is quantised (but "
	 "mixtures of experts in mxfp4, which stay so)"},
	{"group-size", "q-group-size", NULL, HTH_OPTION_INT, AT(export.group), 32, 128, NULL, "64", "N",
	 "mlx types: columns that share a scale: 32, 64 or 128"},
	{"shard-size", "max-shard-size", NULL, HTH_OPTION_BYTES, AT(export.shard_bytes), 0, 0, NULL, "5GB", "SIZE",
	 "folders: weights in one file at most; larger models get several and an index"},
	{"modelfile", NULL, NULL, HTH_OPTION_SWITCH, AT(export.modelfile), 0, 0, NULL, NULL, NULL,
	 "of a model: write a Modelfile for Ollama beside a GGUF file"},
	{"overwrite", NULL, NULL, HTH_OPTION_SWITCH, AT(export.overwrite), 0, 0, NULL, NULL, NULL,
	 "replace the output if it exists"},
	{"threads", NULL, NULL, HTH_OPTION_INT, AT(export.threads), 0, 1024, NULL, "0", "N",
	 "threads; 0: as many as this process may use"},
	{"json", NULL, NULL, HTH_OPTION_SWITCH, AT(export.json), 0, 0, NULL, NULL, NULL,
	 "of a model: machine-readable result"},
	{0},
};

static bool has(const char *dir, const char *name)
{
	char *path = hth_path_join(dir, name);
	bool there = path != NULL && hth_path_kind(path) == HTH_PATH_FILE;

	hth_free(path);
	return there;
}

/* What cannot be opened is taken for a model: the way of models says what is wrong with it. */
static bool is_adapter(const char *path)
{
	struct hth_gguf g = {0};
	struct hth_gguf_str type = {0};

	if (hth_path_kind(path) == HTH_PATH_DIR)
		return has(path, "adapter_config.json") && !has(path, "config.json");
	if (!hth_path_has_suffix(path, ".gguf") || hth_gguf_open(&g, path, NULL) != HTH_OK)
		return false;
	bool adapter = hth_gguf_string(&g, "general.type", &type, NULL) == HTH_OK && type.data != NULL &&
		       hth_gguf_str_equal(type, "adapter");
	hth_gguf_close(&g);
	return adapter;
}

static enum hth_status convert_adapter(const struct convert_options *opt, const char *from, struct hth_err *err)
{
	const char *output = opt->export.output;
	bool gguf = opt->to == TO_GGUF || (opt->to == TO_AUTO && hth_path_has_suffix(output, ".gguf"));
	bool needs_model = gguf || hth_path_has_suffix(from, ".gguf");
	if (opt->to == TO_HF || opt->export.type != NULL)
		return hth_fail(err, HTH_ERR_USAGE, "hearth convert: %s is an adapter; --to hf and --type are for models",
				from);
	if (needs_model && opt->model == NULL)
		return hth_fail(err, HTH_ERR_USAGE,
				"hearth convert: a GGUF adapter needs its base: give --model FILE.gguf");
	if (!opt->export.overwrite && hth_path_kind(output) != HTH_PATH_NONE)
		return hth_fail(err, HTH_ERR_EXISTS, "%s: exists; --overwrite replaces it", output);
	struct hth_model *m = NULL;
	struct hth_adapter a = {0};
	struct hth_adapter_names names;
	enum hth_status s = opt->model != NULL ? hth_model_open_named(opt->model, true, &m, err) : HTH_OK;
	if (s == HTH_OK && m != NULL)
		hth_model_adapter_names(m, &names);
	if (s == HTH_OK)
		s = hth_adapter_read(from, m != NULL ? &names : NULL, &a, err);
	if (s == HTH_OK && m != NULL)
		a.n_layers = (int)m->config.n_layers;
	const char *lacks = s == HTH_OK && !gguf && opt->to != TO_PEFT ? hth_adapter_mlx_lacks(&a) : NULL;
	if (lacks != NULL)
		s = hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: mlx-lm's adapters have no %s; --to peft keeps all", from,
			     lacks);
	if (s == HTH_OK && gguf)
		s = hth_adapter_write_gguf(output, &a, &names, err);
	else if (s == HTH_OK)
		s = hth_adapter_write_dir(output, &a, opt->to == TO_PEFT, err);
	if (s == HTH_OK)
		printf("%s: %zu modules, rank %d\n", output, a.n_modules, a.rank);
	hth_adapter_clear(&a);
	hth_model_close(m);
	return s;
}

static enum hth_status run(struct hth_cli *cli, struct hth_err *err)
{
	const struct convert_options *opt = cli->config;
	const char *from = cli->args[0];
	enum hth_export_form form = opt->to == TO_GGUF  ? HTH_EXPORT_GGUF
				    : opt->to == TO_MLX ? HTH_EXPORT_MLX
							: HTH_EXPORT_HF;

	if (opt->export.output == NULL)
		return hth_fail(err, HTH_ERR_USAGE, "hearth convert: no output; give --output PATH");
	if (is_adapter(from))
		return convert_adapter(opt, from, err);
	if (opt->to == TO_BOTH || opt->to == TO_PEFT || opt->model != NULL)
		return hth_fail(err, HTH_ERR_USAGE,
				"hearth convert: %s is no adapter; a model goes --to gguf, hf or mlx, without --model",
				from);
	if (opt->to == TO_AUTO && hth_path_has_suffix(opt->export.output, ".gguf"))
		form = HTH_EXPORT_GGUF;
	return hth_export_model(&opt->export, "convert", from, form, err);
}

const struct hth_command hth_command_convert = {
	.name = "convert",
	.usage = "MODEL|ADAPTER --output PATH [--to gguf|hf|mlx|peft+mlx|peft] [--type TYPE] [--model MODEL]",
	.summary = "a model or an adapter from one layout into another",
	.about = "Models: a GGUF file (or the parts of one), a Hugging Face folder, an MLX folder, each into each. "
		 "Tokenizer, chat\n"
		 "template and stop tokens travel with it; what was written is opened and compared before it takes its "
		 "name.\n\n"
		 "  hearth convert SmolLM2-135M-Instruct --output smollm2-bf16.gguf\n"
		 "  hearth convert model-q4_k_m.gguf --to hf --type bf16 --output model-hf\n"
		 "  hearth convert runs/hazmat/adapter --to gguf --model model.gguf --output hazmat-lora.gguf",
	.options = options,
	.config_bytes = sizeof(struct convert_options),
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
