/* A model made ready to work: threads, backend, device, weights, adapters. What most commands begin with. */
#ifndef HTH_CMD_OPENED_H
#define HTH_CMD_OPENED_H

#include "cmd/options.h"
#include "infer/generate.h"

struct hth_opened {
	struct hth_pool *pool;
	const struct hth_backend *backend;
	struct hth_device *device;
	struct hth_model *model;
	struct hth_lora_set loras; /* adapters in the order given; empty for the base alone */
	struct hth_arena arena;    /* adapter weights */
	enum hth_state_type kv_type;
};

struct hth_open_config {
	const char *model;
	const char *const *adapters; /* folders or .gguf files */
	size_t n_adapters;
	const char *backend; /* NULL: the first in the list */
	int64_t threads;     /* 0: all usable */
	enum hth_compute compute;
	enum hth_state_type kv_type; /* of its sessions */
	bool to_write; /* the model is written elsewhere and not run: it is not put on the device */
};

/* Opens for inference. On failure everything is closed again. */
HTH_MUST enum hth_status hth_opened_open(struct hth_opened *o, const struct hth_open_config *cfg, struct hth_err *err);
void hth_opened_close(struct hth_opened *o); /* safe on zeroed */
/* A session on adapter index (-1: the base). context 0: the default. */
HTH_MUST enum hth_status hth_opened_session(struct hth_opened *o, int32_t adapter, int64_t context,
					    struct hth_session **out, struct hth_err *err);

/* Options that generate, chat and eval share: rows for a table whose struct starts with struct hth_talk_options. */
struct hth_talk_options {
	struct hth_text_list adapters;
	const char *system, *backend;
	int64_t threads, max_tokens, top_k, seed, context, repetition_window;
	double temp, top_p, min_p, repetition_penalty;
	struct hth_text_list stop;
	int compute; /* enum hth_compute */
	int kv_type; /* enum hth_state_type */
	bool json;
};
void hth_talk_generate_config(const struct hth_talk_options *o, struct hth_generate_config *out);

#define HTH_TALK_AT(field) offsetof(struct hth_talk_options, field)
#define HTH_TALK_OPTIONS(max_tokens_def, temp_def)                                                                      \
	{"adapter",                                                                                                     \
	 "adapter-path",                                                                                                \
	 NULL,                                                                                                          \
	 HTH_OPTION_LIST,                                                                                               \
	 HTH_TALK_AT(adapters),                                                                                         \
	 0,                                                                                                             \
	 0,                                                                                                             \
	 NULL,                                                                                                          \
	 NULL,                                                                                                          \
	 "DIR|FILE",                                                                                                    \
	 "a LoRA adapter: PEFT or MLX folder, or adapter.gguf"},                                                        \
		{"system-prompt",                                                                                       \
		 "system",                                                                                              \
		 NULL,                                                                                                  \
		 HTH_OPTION_TEXT,                                                                                       \
		 HTH_TALK_AT(system),                                                                                   \
		 0,                                                                                                     \
		 0,                                                                                                     \
		 NULL,                                                                                                  \
		 NULL,                                                                                                  \
		 "TEXT",                                                                                                \
		 "system message in front of the conversation"},                                                        \
		{"max-tokens",                                                                                          \
		 "m",                                                                                                   \
		 NULL,                                                                                                  \
		 HTH_OPTION_INT,                                                                                        \
		 HTH_TALK_AT(max_tokens),                                                                               \
		 1,                                                                                                     \
		 1 << 24,                                                                                               \
		 NULL,                                                                                                  \
		 max_tokens_def,                                                                                        \
		 "N",                                                                                                   \
		 "longest answer in tokens"},                                                                           \
		{"temp",                                                                                                \
		 "temperature t",                                                                                       \
		 NULL,                                                                                                  \
		 HTH_OPTION_REAL,                                                                                       \
		 HTH_TALK_AT(temp),                                                                                     \
		 0,                                                                                                     \
		 100,                                                                                                   \
		 NULL,                                                                                                  \
		 temp_def,                                                                                              \
		 "X",                                                                                                   \
		 "temperature; 0 takes the likeliest token"},                                                           \
		{"top-k",                                                                                               \
		 NULL,                                                                                                  \
		 NULL,                                                                                                  \
		 HTH_OPTION_INT,                                                                                        \
		 HTH_TALK_AT(top_k),                                                                                    \
		 0,                                                                                                     \
		 1 << 24,                                                                                               \
		 NULL,                                                                                                  \
		 "0",                                                                                                   \
		 "N",                                                                                                   \
		 "sample among the N likeliest; 0: all"},                                                               \
		{"top-p",                                                                                               \
		 NULL,                                                                                                  \
		 NULL,                                                                                                  \
		 HTH_OPTION_REAL,                                                                                       \
		 HTH_TALK_AT(top_p),                                                                                    \
		 0,                                                                                                     \
		 1,                                                                                                     \
		 NULL,                                                                                                  \
		 "1",                                                                                                   \
		 "P",                                                                                                   \
		 "sample among the likeliest that make up P"},                                                          \
		{"min-p",                                                                                               \
		 NULL,                                                                                                  \
		 NULL,                                                                                                  \
		 HTH_OPTION_REAL,                                                                                       \
		 HTH_TALK_AT(min_p),                                                                                    \
		 0,                                                                                                     \
		 1,                                                                                                     \
		 NULL,                                                                                                  \
		 "0",                                                                                                   \
		 "P",                                                                                                   \
		 "leave out tokens below P times the likeliest"},                                                       \
		{"repetition-penalty",                                                                                  \
		 NULL,                                                                                                  \
		 NULL,                                                                                                  \
		 HTH_OPTION_REAL,                                                                                       \
		 HTH_TALK_AT(repetition_penalty),                                                                       \
		 0.01,                                                                                                  \
		 100,                                                                                                   \
		 NULL,                                                                                                  \
		 "1",                                                                                                   \
		 "X",                                                                                                   \
		 "above 1: tokens already there become less likely"},                                                   \
		{"repetition-context-size",                                                                             \
		 NULL,                                                                                                  \
		 NULL,                                                                                                  \
		 HTH_OPTION_INT,                                                                                        \
		 HTH_TALK_AT(repetition_window),                                                                        \
		 0,                                                                                                     \
		 1 << 24,                                                                                               \
		 NULL,                                                                                                  \
		 "0",                                                                                                   \
		 "N",                                                                                                   \
		 "how far the penalty looks back; 0: all"},                                                             \
		{"seed",                                                                                                \
		 NULL,                                                                                                  \
		 NULL,                                                                                                  \
		 HTH_OPTION_INT,                                                                                        \
		 HTH_TALK_AT(seed),                                                                                     \
		 0,                                                                                                     \
		 9e15,                                                                                                  \
		 NULL,                                                                                                  \
		 "0",                                                                                                   \
		 "N",                                                                                                   \
		 "the same seed gives the same text"},                                                                  \
		{"stop",                                                                                                \
		 NULL,                                                                                                  \
		 NULL,                                                                                                  \
		 HTH_OPTION_LIST,                                                                                       \
		 HTH_TALK_AT(stop),                                                                                     \
		 0,                                                                                                     \
		 0,                                                                                                     \
		 NULL,                                                                                                  \
		 NULL,                                                                                                  \
		 "TEXT",                                                                                                \
		 "end the answer at this text; may be given several times"},                                            \
		{"context",                                                                                             \
		 "max-kv-size",                                                                                         \
		 NULL,                                                                                                  \
		 HTH_OPTION_INT,                                                                                        \
		 HTH_TALK_AT(context),                                                                                  \
		 0,                                                                                                     \
		 1 << 26,                                                                                               \
		 NULL,                                                                                                  \
		 "0",                                                                                                   \
		 "N",                                                                                                   \
		 "tokens remembered; 0: the model's, at most 4096"},                                                    \
		{"threads",                                                                                             \
		 NULL,                                                                                                  \
		 NULL,                                                                                                  \
		 HTH_OPTION_INT,                                                                                        \
		 HTH_TALK_AT(threads),                                                                                  \
		 0,                                                                                                     \
		 1024,                                                                                                  \
		 NULL,                                                                                                  \
		 "0",                                                                                                   \
		 "N",                                                                                                   \
		 "threads; 0: as many as this process may use"},                                                        \
		{"compute", NULL, NULL, HTH_OPTION_CHOICE, HTH_TALK_AT(compute), 0, 0, "auto|f32|bf16", "f32", NULL,    \
		 "type of the products that read a prompt; bf16 is faster where the processor has it"},                 \
		{"kv-type", NULL, NULL, HTH_OPTION_CHOICE, HTH_TALK_AT(kv_type), 0, 0, "f16|f32", "f16", NULL,          \
		 "type of the keys and values kept of earlier tokens (bf16 where --compute is)"},                       \
		{"backend", NULL, NULL, HTH_OPTION_TEXT, HTH_TALK_AT(backend), 0, 0, NULL, NULL, "NAME", "cpu or ref"}, \
	{                                                                                                               \
		"json", NULL, NULL, HTH_OPTION_SWITCH, HTH_TALK_AT(json), 0, 0, NULL, NULL, NULL,                       \
			"machine-readable result"                                                                       \
	}

#endif
