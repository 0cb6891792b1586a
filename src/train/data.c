/* The data sets of a run: training part, and validation from its own file or split off. */
#include "base/log.h"
#include "train/fit.h"

static void tell_issues(const struct hth_dataset *d)
{
	if (d->n_dropped > 0)
		hth_warn("%s: %zu of %zu rows are longer than max_seq_length and were left out, the first one: %s",
			 d->path, d->n_dropped, d->n_rows, d->issues[0].text);
	if (d->n_cut > 0)
		hth_warn("%s: %zu of %zu rows were cut to max_seq_length", d->path, d->n_cut, d->n_rows);
	if (d->n_duplicates > 0)
		hth_warn("%s: %zu of %zu rows repeat an earlier one", d->path, d->n_duplicates, d->n_rows);
}

enum hth_status hth_train_data_read(const struct hth_train_config *cfg, const struct hth_model *m, int64_t now,
				    struct hth_dataset *train, struct hth_dataset *valid, struct hth_err *err)
{
	struct hth_chat chat = {.tmpl = m->tmpl, .tok = m->tokenizer, .now = now};
	struct hth_data_config data_cfg = cfg->data_cfg;
	struct hth_data_paths paths;
	enum hth_status status = hth_data_find(cfg->data, &paths, err);

	if (status != HTH_OK)
		return status;
	if (data_cfg.max_tokens <= 0 || data_cfg.max_tokens > m->config.context)
		data_cfg.max_tokens = m->config.context;
	status = hth_dataset_read(paths.train, &chat, &data_cfg, false, train, err);
	if (status == HTH_OK)
		tell_issues(train);
	if (status == HTH_OK && paths.valid != NULL) {
		status = hth_dataset_read(paths.valid, &chat, &data_cfg, false, valid, err);
		if (status == HTH_OK)
			tell_issues(valid);
	} else if (status == HTH_OK) {
		status = hth_dataset_split(train, cfg->val_fraction, cfg->seed, valid, err);
	}
	hth_data_paths_clear(&paths);
	return status;
}
