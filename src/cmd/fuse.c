/* hearth fuse: adapter into model. */
#include "base/file.h"
#include "base/log.h"
#include "base/machine.h"
#include "cmd/opened.h"
#include "export/fuse.h"

#include <stddef.h>
#include <stdio.h>

struct fuse_options {
	const char *adapter, *save_path;
	int type;
	bool overwrite, json;
	int64_t threads;
};

static const struct hth_option options[] = {
	{"adapter", "adapter-path", NULL, HTH_OPTION_PATH, offsetof(struct fuse_options, adapter), 0, 0, NULL, NULL,
	 "DIR|FILE", "the adapter; without one the base alone is written in the new type"},
	{"output", "save-path o gguf-path", NULL, HTH_OPTION_PATH, offsetof(struct fuse_options, save_path), 0, 0, NULL,
	 NULL, "FILE.gguf", "where the model goes"},
	{"type", "dtype", NULL, HTH_OPTION_CHOICE, offsetof(struct fuse_options, type), 0, 0, "f16|bf16|q8_0|f32",
	 "f16", NULL, "of the matrices; vectors stay f32"},
	{"overwrite", NULL, NULL, HTH_OPTION_SWITCH, offsetof(struct fuse_options, overwrite), 0, 0, NULL, NULL, NULL,
	 "replace the output if it exists"},
	{"threads", NULL, NULL, HTH_OPTION_INT, offsetof(struct fuse_options, threads), 0, 1024, NULL, "0", "N",
	 "threads; 0: as many as this process may use"},
	{"json", NULL, NULL, HTH_OPTION_SWITCH, offsetof(struct fuse_options, json), 0, 0, NULL, NULL, NULL,
	 "machine-readable result"},
	{0},
};

static void show_progress(void *ctx, uint64_t done, uint64_t total)
{
	char a[32], b[32];
	hth_progress_update(ctx, done, "%s of %s read", hth_format_bytes(a, done), hth_format_bytes(b, total));
}

static enum hth_status report(const struct fuse_options *opt, double seconds, struct hth_err *err)
{
	struct hth_map map = {0};
	enum hth_status s = hth_map_open(&map, opt->save_path, err);
	if (s != HTH_OK)
		return s;
	char size[32];
	if (opt->json)
		printf("{\"path\":\"%s\",\"bytes\":%zu,\"seconds\":%.3f}\n", opt->save_path, map.bytes, seconds);
	else
		printf("%s: %s, in %.1f s\n", opt->save_path, hth_format_bytes(size, map.bytes), seconds);
	hth_map_close(&map);
	return HTH_OK;
}

static enum hth_status run(struct hth_cli *cli, struct hth_err *err)
{
	static const enum hth_quant types[] = {HTH_QUANT_F16, HTH_QUANT_BF16, HTH_QUANT_Q8_0, HTH_QUANT_F32};
	const struct fuse_options *opt = cli->config;
	double start = hth_now_s();
	if (opt->save_path == NULL)
		return hth_fail(err, HTH_ERR_USAGE, "hearth fuse: no output; give --output FILE.gguf");
	if (!opt->overwrite && hth_path_kind(opt->save_path) != HTH_PATH_NONE)
		return hth_fail(err, HTH_ERR_EXISTS, "%s: exists; --overwrite replaces it", opt->save_path);
	struct hth_opened o = {0};
	struct hth_open_config open = {.model = cli->args[0],
				       .adapters = &opt->adapter,
				       .n_adapters = opt->adapter != NULL,
				       .threads = opt->threads};
	struct hth_progress bar = {0};
	enum hth_status s = hth_opened_open(&o, &open, err);
	if (s == HTH_OK) {
		struct hth_fuse_config cfg = {.out_path = opt->save_path,
					      .quant = types[opt->type],
					      .pool = o.pool,
					      .progress = show_progress,
					      .ctx = &bar};
		hth_progress_start(&bar, "fuse", o.model->file_bytes, 0);
		s = hth_fuse(o.model, o.loras.n_adapters > 0 ? o.loras.loras[0] : NULL, &cfg, err);
		hth_progress_end(&bar);
	}
	hth_opened_close(&o);
	return s == HTH_OK ? report(opt, hth_now_s() - start, err) : s;
}

const struct hth_command hth_command_fuse = {
	.name = "fuse",
	.usage = "MODEL --adapter A --output FILE.gguf [--type f16|bf16|q8_0]",
	.summary = "adapter into model: one GGUF file that needs no adapter",
	.about = "Tokenizer, chat template and stop tokens travel with the file.\n\n"
		 "  hearth fuse model.gguf --adapter runs/hazmat/adapter --output hazmat-f16.gguf",
	.options = options,
	.config_bytes = sizeof(struct fuse_options),
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
