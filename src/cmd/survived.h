/* The survival check of a written file, for fuse and quantize: which rows, running it, its table. */
#ifndef HTH_CMD_SURVIVED_H
#define HTH_CMD_SURVIVED_H

#include "base/buf.h"
#include "cmd/exported.h"
#include "cmd/opened.h"
#include "eval/survival.h"

/* Where rows to check with come from: --eval, or a run's config. */
struct hth_check_rows {
	const char *file; /* --eval; borrowed */
	char *config;     /* config.yml of the run that the adapter or the model lies in; owned */
};

/* Neither file nor config is set when there are no rows at hand. */
HTH_MUST enum hth_status hth_check_rows_find(const struct hth_export_options *opt, const char *model,
					     struct hth_check_rows *out, struct hth_err *err);
void hth_check_rows_clear(struct hth_check_rows *r); /* safe on zeroed */
/* Reads them with the model's tokenizer and template. A run's rows that cannot be had any more give an empty data set
 * and a note; those of --eval must be there. */
HTH_MUST enum hth_status hth_check_rows_read(const struct hth_check_rows *r, const struct hth_model *m,
					     struct hth_dataset *out, struct hth_err *err);

/* o: the reference, with its adapter if it has one. written: the file. */
HTH_MUST enum hth_status hth_survived_check(const struct hth_export_options *opt, struct hth_opened *o,
					    const struct hth_dataset *data, const char *written,
					    struct hth_survival *out, struct hth_err *err);
void hth_survived_print(const struct hth_survival *v, bool adapter);
bool hth_survived_json(const struct hth_survival *v, struct hth_buf *out);

#endif
