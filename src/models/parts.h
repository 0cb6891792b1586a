/* A loaded model as the list of tensors that a GGUF file or a Hugging Face folder of it has. One list for every writer:
 * names come from names.c, so that what can be loaded can be written. */
#ifndef HTH_MODELS_PARTS_H
#define HTH_MODELS_PARTS_H

#include "formats/gguf_made.h"
#include "formats/heads.h"
#include "models/config.h"

struct hth_part_piece {
	const struct hth_weight *w;
	int linear; /* layer * HTH_LINEAR_COUNT + kind, -1: none that an adapter could change */
	int64_t expert; /* of those of that kind */
};

/* BARE: a vector whose name has no suffix in a folder. ROW: a matrix of one row in a folder, a vector in GGUF. Of layers that
 * recur: DECAY: a_log in a folder, -exp of it in GGUF; CONV: (N,1,W) in a folder, (N,W) in GGUF; PLAIN: as it is. */
enum hth_part_kind {
	HTH_PART_MATRIX,
	HTH_PART_NORM,
	HTH_PART_BIAS,
	HTH_PART_BARE,
	HTH_PART_ROW,
	HTH_PART_DECAY,
	HTH_PART_CONV,
	HTH_PART_PLAIN
};

struct hth_model_part {
	char name[112]; /* with ".weight" or ".bias" */
	enum hth_part_kind kind;
	struct hth_part_piece piece[3]; /* (n_pieces) one above the other: a fused tensor has several */
	int n_pieces;
	const struct hth_weight *stack; /* (n_stack) experts' matrices or biases one above the other instead, or NULL */
	const struct hth_weight *up;    /* (n_stack) of as many rows (biases: columns): each expert has these too, or NULL */
	int64_t n_stack;
	bool in_turn; /* up's follow one by one, row by row; else all of the stack's come first */
	bool turned;  /* each expert's matrix is written (cols, rows) */
	int64_t rows, cols; /* of all pieces or of one expert; vectors: rows 1 */
	bool f32;           /* GGUF files have it in f32 whatever the model is in: routers, whose sums decide */
	int64_t head_rows;  /* D where the written rows are permuted within heads of D (weight.h), else 0 */
	struct hth_heads heads, col_heads; /* in the other of two orders than in memory (vectors: elements; CONV: rows) */
	bool tile;          /* the written order is the tiled one */
	int64_t taps;       /* CONV: W */
};

/* MLX's folders differ from Hugging Face's in experts: one tensor of all for each kind ("switch_mlp"). Of gpt-oss and of
 * Gemma 4 Hugging Face's too hold all in one, gate and up together. */
enum hth_layout { HTH_LAYOUT_GGUF, HTH_LAYOUT_HF, HTH_LAYOUT_MLX };
/* Names, fusing, stacking and row order of a layout. *parts: caller frees with hth_free. */
HTH_MUST enum hth_status hth_model_parts(const struct hth_model *m, enum hth_layout layout, struct hth_model_part **parts,
					 size_t *n, struct hth_err *err);
/* Rows of the whole tensor. */
static inline int64_t hth_part_rows(const struct hth_model_part *p)
{
	return p->stack != NULL ? p->rows * p->n_stack : p->rows;
}
/* Places of a part's columns, or of a vector's elements: which of memory's stands at `at` of the written ones. */
static inline int64_t hth_part_place(const struct hth_model_part *p, const struct hth_heads *h, int64_t at)
{
	return p->tile ? hth_heads_grouped(h, at) : hth_heads_tiled(h, at);
}
/* The piece and its row (logical) that stands at row `at` of the written tensor. */
struct hth_part_piece hth_part_row(const struct hth_model_part *p, int64_t at, int64_t *row);

/* Before rows of a part are read, and after: fills the tensors that its weights are laid out anew in
 * (hth_model_open_to_write). Not for several threads. */
HTH_MUST enum hth_status hth_part_hold(const struct hth_model *m, const struct hth_model_part *p, struct hth_err *err);
void hth_part_release(const struct hth_model *m, const struct hth_model_part *p);

/* The family whose folder a model's is: its own, or that of a GGUF architecture's experts (Mixtral is a "llama"). */
const struct hth_family *hth_family_of_folder(const struct hth_model *m);

/* Keys that describe the model: "general.architecture" and "<arch>.*". Tensors of rotation divisors too. */
HTH_MUST enum hth_status hth_config_to_gguf(const struct hth_model *m, struct hth_gguf_made *out, struct hth_err *err);
/* A new config.json (json_decref), without ids of tokens. dtype: "bfloat16", ... */
HTH_MUST enum hth_status hth_config_to_hf(const struct hth_model *m, const char *dtype, json_t **out,
					  struct hth_err *err);
/* HTH_ERR_VALUE naming the first thing in which two models' configs differ: what was written is read again and compared. */
HTH_MUST enum hth_status hth_configs_agree(const struct hth_model *a, const struct hth_model *b, struct hth_err *err);

#endif
