/* hearth pull: a model from a hub into the hub's own cache. The path that other commands take goes to stdout. */
#include "base/json.h"
#include "base/log.h"
#include "cmd/options.h"
#include "hub/hub.h"
#include "train/stop.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct pull_options {
	const char *revision;
	int64_t connections;
	bool verify, dry_run, json;
};

#define AT(field) offsetof(struct pull_options, field)
static const struct hth_option options[] = {
	{"revision", NULL, NULL, HTH_OPTION_TEXT, AT(revision), 0, 0, NULL, NULL, "REV",
	 "branch, tag or commit; main is usual"},
	{"connections", NULL, NULL, HTH_OPTION_INT, AT(connections), 1, 16, NULL, "4", "N",
	 "downloads at a time; large files are fetched in parts side by side"},
	{"verify", NULL, NULL, HTH_OPTION_SWITCH, AT(verify), 0, 0, NULL, NULL, NULL,
	 "read what the cache has of it again and check it too"},
	{"dry-run", NULL, NULL, HTH_OPTION_SWITCH, AT(dry_run), 0, 0, NULL, NULL, NULL,
	 "list the files and their sizes; fetch nothing"},
	{"json", NULL, NULL, HTH_OPTION_SWITCH, AT(json), 0, 0, NULL, NULL, NULL, "results as one JSON object"},
	{0},
};

static void print_files(const struct hth_hub_pulled *p)
{
	char bytes[32], path[1024];

	for (size_t i = 0; i < p->n_files; i++)
		printf("%10s  %s%s\n", hth_format_bytes(bytes, p->files[i].bytes),
		       hth_quote(path, sizeof path, p->files[i].path, strlen(p->files[i].path)),
		       p->files[i].cached ? "  (in the cache)" : "");
}

static enum hth_status print_json(const struct hth_hub_pulled *p, struct hth_err *err)
{
	struct hth_buf out;

	hth_buf_init(&out, (size_t)256 << 20);
	(void)hth_buf_puts(&out, "{\"path\":");
	(void)hth_json_put_string(&out, p->path, strlen(p->path));
	(void)hth_buf_printf(&out, ",\"commit\":\"%s\",\"total_bytes\":%llu,\"fetched_bytes\":%llu,\"files\":[",
			     p->commit, (unsigned long long)p->total_bytes, (unsigned long long)p->fetched_bytes);
	for (size_t i = 0; i < p->n_files; i++) {
		(void)hth_buf_puts(&out, i > 0 ? ",{\"path\":" : "{\"path\":");
		(void)hth_json_put_string(&out, p->files[i].path, strlen(p->files[i].path));
		(void)hth_buf_printf(&out, ",\"bytes\":%llu,\"hash\":\"%s\",\"cached\":%s}",
				     (unsigned long long)p->files[i].bytes, p->files[i].hash,
				     p->files[i].cached ? "true" : "false");
	}
	(void)hth_buf_puts(&out, "]}");
	enum hth_status s = hth_buf_status(&out, "the result", err);
	if (s == HTH_OK)
		puts(hth_buf_str(&out));
	hth_buf_clear(&out);
	return s;
}

static enum hth_status run(struct hth_cli *cli, struct hth_err *err)
{
	const struct pull_options *opt = cli->config;
	struct hth_hub_options o = {.revision = opt->revision, .verify = opt->verify, .dry_run = opt->dry_run};
	struct hth_hub_pulled pulled = {0};
	struct hth_hub_config c = {0};
	enum hth_status s = hth_hub_config_init(&c, err);

	if (s != HTH_OK)
		return s;
	c.connections = (int)opt->connections;
	c.stopped = hth_stop_requested;
	hth_stop_install();
	s = hth_hub_pull(&c, cli->args[0], &o, &pulled, err);
	hth_stop_restore();
	if (s == HTH_ERR_INTERRUPTED)
		s = hth_fail(err, s, "stopped; what is here stays: the same command goes on from it");
	if (s == HTH_OK && opt->json)
		s = print_json(&pulled, err);
	else if (s == HTH_OK && opt->dry_run)
		print_files(&pulled);
	else if (s == HTH_OK)
		puts(pulled.path);
	hth_hub_pulled_clear(&pulled);
	hth_hub_config_clear(&c);
	return s;
}

const struct hth_command hth_command_pull = {
	.name = "pull",
	.usage = "ORG/MODEL[:QUANT|:FILE] [options]",
	.summary = "a model from a model hub: resumable, checked, in the cache that other programs share",
	.about = "  hearth pull HuggingFaceTB/SmolLM2-135M-Instruct      safetensors, config, tokenizer, template\n"
		 "  hearth pull bartowski/SmolLM2-135M-Instruct-GGUF:q4_k_m      the one GGUF file of that name\n\n"
		 "Afterwards ORG/MODEL[:QUANT] stands for the model wherever MODEL is asked for, without a network.\n"
		 "Checksums are always checked. Ctrl-C keeps what is here; the same command goes on from it.\n"
		 "Environment: HF_TOKEN (gated or private models), HF_ENDPOINT (another hub or a mirror), HF_HOME or\n"
		 "HF_HUB_CACHE (where models are kept), HF_HUB_OFFLINE=1 (never touch the network), https_proxy.",
	.options = options,
	.config_bytes = sizeof(struct pull_options),
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
