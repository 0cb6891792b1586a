/* What the files of the folder writer share. */
#ifndef HTH_EXPORT_TO_FOLDER_INT_H
#define HTH_EXPORT_TO_FOLDER_INT_H

#include "base/json.h"
#include "export/to_folder.h"

/* dir/model.safetensors, or its shards and their index (to_folder_weights.c). */
HTH_MUST enum hth_status hth_folder_weights(const struct hth_to_folder_config *cfg, const char *dir,
					    struct hth_to_folder_result *out, struct hth_err *err);
/* config.json, generation_config.json, tokenizer, template (to_folder_texts.c). */
HTH_MUST enum hth_status hth_folder_texts(const struct hth_to_folder_config *cfg, const char *dir, struct hth_err *err);
HTH_MUST enum hth_status hth_folder_json(const char *dir, const char *name, const json_t *doc, struct hth_err *err);
/* Whether the experts stay in mxfp4: all are in it, no adapter changes one, and the layout has a place for them. MLX: where
 * the model's other matrices get 4 bits or more; Hugging Face: gpt-oss (to_folder_weights.c). */
bool hth_folder_keeps_mxfp4(const struct hth_to_folder_config *cfg);
static inline bool hth_folder_keeps(const struct hth_to_folder_config *cfg, const struct hth_model_part *p)
{
	return p->stack != NULL && p->kind == HTH_PART_MATRIX && hth_folder_keeps_mxfp4(cfg);
}
/* Whether a matrix is quantised: its rows are whole groups, and it is no router, whose sums decide. */
static inline bool hth_folder_quantises(const struct hth_to_folder_config *cfg, const struct hth_model_part *p)
{
	return cfg->bits != 0 && p->kind == HTH_PART_MATRIX && !p->f32 && p->cols % cfg->group == 0 &&
	       !hth_folder_keeps(cfg, p);
}
static inline enum hth_layout hth_folder_layout(const struct hth_to_folder_config *cfg)
{
	return cfg->mlx || cfg->bits != 0 ? HTH_LAYOUT_MLX : HTH_LAYOUT_HF;
}
/* An adapter that replaces the embedding or the head of a model that has one tensor for both: then it has two. */
static inline bool hth_folder_unties(const struct hth_to_folder_config *cfg)
{
	const struct hth_replacements *r = cfg->replaced;
	bool apart = false;

	for (size_t i = 0; r != NULL && cfg->model->config.tied && i < r->n; i++)
		apart = apart || r->list[i].head || r->list[i].of == &cfg->model->embed;
	return apart;
}

#endif
