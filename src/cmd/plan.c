/* hearth plan: does a run fit, how long will it take. The same as hearth train --plan. */
#include "base/buf.h"
#include "cmd/train_options.h"
#include "plan/plan.h"

#include <stdio.h>

#define MAX_PLAN_BYTES (1u << 20)

enum hth_status hth_train_plan_command(const struct hth_cli *cli, const struct hth_train_config *cfg,
				       struct hth_err *err)
{
	const struct hth_train_options *opt = cli->config;
	struct hth_plan p;
	struct hth_buf out;
	hth_buf_init(&out, MAX_PLAN_BYTES);
	enum hth_status s = hth_plan_make(cfg, true, &p, err);
	if (s == HTH_OK)
		s = opt->json ? hth_plan_json(&p, &out, err) : hth_plan_print(&p, &out, err);
	if (s == HTH_OK)
		printf("%s%s", hth_buf_str(&out), opt->json ? "\n" : "");
	if (s == HTH_OK && !p.fits)
		s = hth_fail(err, HTH_ERR_MEMORY, "%s", p.why_not);
	hth_buf_clear(&out);
	return s;
}

static enum hth_status run(struct hth_cli *cli, struct hth_err *err)
{
	struct hth_train_config cfg;
	enum hth_status s = hth_train_options_resolve(cli, &cfg, err);
	return s == HTH_OK ? hth_train_plan_command(cli, &cfg, err) : s;
}

const struct hth_command hth_command_plan = {
	.name = "plan",
	.usage = "[config.yml] [options of hearth train]",
	.summary = "does a run fit, how long does it take",
	.about = "Walks the run's real batches through the real step with costs only; no weight is read.\n\n"
		 "  hearth plan examples/hazmat/config.yml\n"
		 "  hearth plan --model model.gguf --data DIR --batch-size 8 --memory-limit 8GB",
	.options = hth_train_option_table,
	.config_bytes = sizeof(struct hth_train_options),
	.min_args = 0,
	.max_args = 1,
	.run = run,
};
