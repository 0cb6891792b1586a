/* The base is opened, its weights are pointed at the trained ones, and the folder writer does the rest. */
#include "export/trained.h"

#include "export/to_folder.h"
#include "formats/safetensors.h"

struct overlay {
	const struct hth_safetensors *trained;
	size_t found;
	const char *wrong; /* a tensor of another shape, or NULL */
};

static void lay_over(void *ctx, struct hth_weight *w)
{
	struct overlay *o = ctx;
	const struct hth_st_tensor *t = hth_safetensors_find(o->trained, w->name);

	if (t == NULL)
		return;
	int64_t rows = t->n_dims == 2 ? t->dim[0] : 1;
	if (t->dtype != HTH_ST_F32 || t->n_dims < 1 || t->n_dims > 2 || rows != w->rows ||
	    t->dim[t->n_dims - 1] != w->cols) {
		o->wrong = t->name;
		return;
	}
	w->quant = HTH_QUANT_F32;
	w->data = t->data;
	w->row_bytes = (uint64_t)w->cols * sizeof(float);
	w->head_rows = 0; /* trained ones stand in logical order */
	o->found++;
}

enum hth_status hth_export_trained(const char *base, const char *weights, const char *out_path, struct hth_err *err)
{
	struct hth_safetensors s = {0};
	struct hth_model *m = NULL;
	struct hth_to_folder_result r;
	enum hth_status st = hth_model_open(base, &m, err);

	if (st != HTH_OK || (st = hth_safetensors_open(&s, weights, err)) != HTH_OK)
		goto done;
	struct hth_to_folder_config cfg = {
		.model = m, .out_path = out_path, .type = hth_plain_type(m), .keep_mxfp4 = true, .overwrite = true};
	struct overlay o = {.trained = &s};
	hth_model_each_weight(m, lay_over, &o);
	if (o.wrong != NULL || o.found != s.n_tensors)
		st = hth_fail(err, HTH_ERR_SHAPE, "%s: %zu of its %zu tensors are weights of %s%s%s", weights, o.found,
			      s.n_tensors, base, o.wrong != NULL ? "; of another shape: " : "",
			      o.wrong != NULL ? o.wrong : "");
	if (st == HTH_OK)
		st = hth_to_folder(&cfg, &r, err);
done:
	hth_safetensors_close(&s);
	hth_model_close(m);
	return st;
}
