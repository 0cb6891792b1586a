/* What the files of hearth bench share: bench.c has the command, bench_model.c what is measured, bench_train.c and
 * bench_infer.c how, bench_measure.c the repetitions and what follows from them, bench_print.c the words. */
#ifndef HTH_CMD_BENCH_H
#define HTH_CMD_BENCH_H

#include "kernels/peak.h"
#include "models/model.h"

enum bench_what { BENCH_TRAIN, BENCH_CHAT, BENCH_PROMPT, BENCH_DECODE, BENCH_WHAT_COUNT };
enum {
	BENCH_MAX_ROWS = 32,
	BENCH_PROMPT_TOKENS = 512, /* read at once; what decoding begins behind, too */
	BENCH_DECODE_TOKENS = 128,
	BENCH_RANK = 8,
};

/* What all measuring needs; borrowed. */
struct bench {
	struct hth_pool *pool;
	const struct hth_backend *backend;
	struct hth_device *device;
	struct hth_machine machine;
	struct hth_peaks peaks;
	const struct hth_peak *peak; /* of the numbers that products here are made of */
	double seconds;              /* wanted for each row */
	int64_t token_budget;        /* computed tokens of a micro-batch; 0: what memory allows, at most 4096 */
	uint64_t l3_bytes, available_bytes;
};

/* A model to measure. One too large to hold has the weights of `distinct` layers alone, of which its other layers are
 * copies; it is run with few and with many layers, and the difference is a layer's cost. */
struct bench_model {
	struct hth_model *m; /* owned */
	char name[64], type[16];
	int64_t n_layers; /* of the whole */
	int64_t distinct; /* layers with weights of their own; n_layers: the whole is there */
};
/* A standard shape by index; NULL past the end. */
const char *bench_shape_name(int i);
/* type NULL: the shape's usual one. HTH_ERR_MEMORY where even a few layers and the head do not fit. */
HTH_MUST enum hth_status bench_model_make(const struct bench *b, int shape, const char *type, bool train,
					  struct bench_model *out, struct hth_err *err);
HTH_MUST enum hth_status bench_model_open(const struct bench *b, const char *path, bool train, struct bench_model *out,
					  struct hth_err *err);
void bench_model_close(struct bench_model *s); /* safe on zeroed */
/* How many layers the next pass goes through. */
void bench_model_set_layers(struct bench_model *s, int64_t n);
/* Bytes of the weights that one token's pass reads: linears of all layers, and the head. */
double bench_model_weight_bytes(const struct bench_model *s);

/* Repetitions of one piece of work. */
struct bench_sample {
	double best_s, median_s;
	int repeats;
	double op_s[HTH_OP_COUNT]; /* of one repetition, on average */
	uint64_t anon_bytes;       /* of the process, after them */
};

struct bench_row {
	char model[64], type[16];
	enum bench_what what;
	int64_t rows, row_tokens;         /* examples and their length; 1 and the tokens of a prompt or an answer */
	int64_t token_budget;             /* training */
	int64_t n_layers, few, many;      /* few 0: the whole model ran */
	double tokens, computed, targets; /* of one repetition */
	double flops, bytes;              /* of one repetition; bytes: weights and state read, decoding only */
	struct bench_sample sample;       /* of the whole model, measured or worked out */
	uint64_t arena_bytes, params_bytes, state_bytes; /* planned for the whole model */
	char why_not[256];                               /* not measured */
};

/* One row: fills all but model and type. An error that concerns this row alone goes into why_not. */
HTH_MUST enum hth_status bench_row_measure(const struct bench *b, struct bench_model *s, enum bench_what what,
					   struct bench_row *row, struct hth_err *err);

/* A piece of work, ready to be repeated, at the layers that the model is set to. */
struct bench_work {
	enum hth_status (*repeat)(void *ctx, struct hth_err *err);
	struct hth_exec *(*exec)(void *ctx);
	void *ctx;
};
HTH_MUST enum hth_status bench_repeat(const struct bench_work *w, double seconds, struct bench_sample *out,
				      struct hth_err *err);

/* Training: row says how many rows of what length. plan: costs of the whole model into row (no weight is read). run:
 * repetitions at the present number of layers. */
HTH_MUST enum hth_status bench_train_plan(const struct bench *b, struct bench_model *s, struct bench_row *row,
					  struct hth_err *err);
HTH_MUST enum hth_status bench_train_run(const struct bench *b, struct bench_model *s, struct bench_row *row,
					 double seconds, struct bench_sample *out, struct hth_err *err);
/* The same of reading a prompt and of decoding. */
HTH_MUST enum hth_status bench_infer_plan(const struct bench *b, struct bench_model *s, struct bench_row *row,
					  struct hth_err *err);
HTH_MUST enum hth_status bench_infer_run(const struct bench *b, struct bench_model *s, struct bench_row *row,
					 double seconds, struct bench_sample *out, struct hth_err *err);

const char *bench_what_name(enum bench_what w);
void bench_print_peaks(const struct bench *b);
void bench_print_row(const struct bench *b, const struct bench_row *r, bool first_of_model, bool profile);
HTH_MUST enum hth_status bench_print_json(const struct bench *b, const struct bench_row *rows, int n, bool peaks,
					  struct hth_err *err);

#endif
