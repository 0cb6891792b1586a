/* What fuse and quantize share: options, and the way from a model to a written and checked file. */
#ifndef HTH_CMD_EXPORTED_H
#define HTH_CMD_EXPORTED_H

#include "cmd/options.h"

#include <stddef.h>

struct hth_export_options {
	const char *adapter, *output, *type, *calibrate, *imatrix, *imatrix_out, *eval, *base;
	bool overwrite, json, check, force, modelfile;
	int64_t threads, calibrate_rows, check_rows, check_answers, group;
	uint64_t shard_bytes;
};

enum hth_export_form { HTH_EXPORT_AUTO, HTH_EXPORT_GGUF, HTH_EXPORT_HF, HTH_EXPORT_MLX };

#define HTH_EXPORT_AT(field) offsetof(struct hth_export_options, field)
/* Rows of both tables. type_def: the type that the command writes unless told otherwise. */
/* clang-format off */
#define HTH_EXPORT_OPTIONS(type_def)                                                                                   \
	{"adapter", "adapter-path", NULL, HTH_OPTION_PATH, HTH_EXPORT_AT(adapter), 0, 0, NULL, NULL, "DIR|FILE",       \
	 "a LoRA adapter that becomes part of the file"},                                                              \
	{"output", "save-path o gguf-path", NULL, HTH_OPTION_PATH, HTH_EXPORT_AT(output), 0, 0, NULL, NULL,            \
	 "PATH", "where the model goes: FILE.gguf, or a folder"},                                                       \
	{"type", "dtype q", NULL, HTH_OPTION_TEXT, HTH_EXPORT_AT(type), 0, 0, NULL, type_def, "TYPE",                  \
	 "f32 f16 bf16; GGUF: q8_0 q6_k q5_k_m q5_k_s q4_k_m q4_k_s q3_k_l q3_k_m q3_k_s q2_k q2_k_s q4_0 q4_1 q5_0 "  \
	 "q5_1; MLX folder: mlx8 mlx6 mlx5 mlx4 mlx3 mlx2"},                                                           \
	{"group-size", "q-group-size", NULL, HTH_OPTION_INT, HTH_EXPORT_AT(group), 32, 128, NULL, "64", "N",           \
	 "mlx types: columns that share a scale: 32, 64 or 128"},                                                      \
	{"shard-size", "max-shard-size", NULL, HTH_OPTION_BYTES, HTH_EXPORT_AT(shard_bytes), 0, 0, NULL, "5GB", "SIZE",            \
	 "folders: weights in one file at most; larger models get several and an index"},                              \
	{"calibrate", NULL, NULL, HTH_OPTION_PATH, HTH_EXPORT_AT(calibrate), 0, 0, NULL, NULL, "FILE|DIR",             \
	 "JSONL rows that the model reads to learn which columns matter; a folder stands for its train.jsonl"},        \
	{"calibrate-rows", NULL, NULL, HTH_OPTION_INT, HTH_EXPORT_AT(calibrate_rows), 0, 1e9, NULL, "512", "N",        \
	 "read the first N rows; 0: all"},                                                                             \
	{"imatrix", NULL, NULL, HTH_OPTION_PATH, HTH_EXPORT_AT(imatrix), 0, 0, NULL, NULL, "FILE",                     \
	 "an importance matrix made earlier, by --imatrix-out or llama-imatrix"},                                      \
	{"imatrix-out", NULL, NULL, HTH_OPTION_PATH, HTH_EXPORT_AT(imatrix_out), 0, 0, NULL, NULL, "FILE.gguf",        \
	 "keep what --calibrate found"},                                                                               \
	{"eval", NULL, NULL, HTH_OPTION_PATH, HTH_EXPORT_AT(eval), 0, 0, NULL, NULL, "FILE|DIR",                       \
	 "rows to check the file with; default: the validation rows of the run that the adapter came from"},           \
	{"base", NULL, NULL, HTH_OPTION_PATH, HTH_EXPORT_AT(base), 0, 0, NULL, NULL, "MODEL",                          \
	 "the model before its fine-tune, where the adapter is fused already: the check then knows what it gained"},   \
	{"check", NULL, NULL, HTH_OPTION_SWITCH, HTH_EXPORT_AT(check), 0, 0, NULL, "true", NULL,                       \
	 "measure whether the fine-tune survived"},                                                                    \
	{"check-rows", NULL, NULL, HTH_OPTION_INT, HTH_EXPORT_AT(check_rows), 0, 1e9, NULL, "200", "N",                \
	 "use the first N examples; 0: all"},                                                                          \
	{"check-answers", NULL, NULL, HTH_OPTION_INT, HTH_EXPORT_AT(check_answers), 0, 1e6, NULL, "32", "N",           \
	 "let both models answer the first N questions; 0: none"},                                                     \
	{"force", NULL, NULL, HTH_OPTION_SWITCH, HTH_EXPORT_AT(force), 0, 0, NULL, NULL, NULL,                         \
	 "keep the file even if the fine-tune was lost"},                                                              \
	{"modelfile", NULL, NULL, HTH_OPTION_SWITCH, HTH_EXPORT_AT(modelfile), 0, 0, NULL, NULL, NULL,                 \
	 "write a Modelfile for Ollama beside a GGUF file"},                                                           \
	{"overwrite", NULL, NULL, HTH_OPTION_SWITCH, HTH_EXPORT_AT(overwrite), 0, 0, NULL, NULL, NULL,                 \
	 "replace the output if it exists"},                                                                           \
	{"threads", NULL, NULL, HTH_OPTION_INT, HTH_EXPORT_AT(threads), 0, 1024, NULL, "0", "N",                       \
	 "threads; 0: as many as this process may use"},                                                               \
	{"json", NULL, NULL, HTH_OPTION_SWITCH, HTH_EXPORT_AT(json), 0, 0, NULL, NULL, NULL,                           \
	 "machine-readable result"}
/* clang-format on */

/* The whole command: cli->config is a struct hth_export_options. */
/* The same for convert: no check, the type as the model is stored unless opt says one. */
HTH_MUST enum hth_status hth_export_model(const struct hth_export_options *opt, const char *verb, const char *model,
					  enum hth_export_form form, struct hth_err *err);
HTH_MUST enum hth_status hth_export_run(struct hth_cli *cli, struct hth_err *err);

#endif
