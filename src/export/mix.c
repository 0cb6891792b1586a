/* Mixes as tables: a kind of tensor, the mixes it is about, which layers, and the format they then get. The first row
 * that fits decides. "More bits" are the first and last eighths of the layers and every third one between. */
#include "export/mix.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum mix_id {
	F32,
	F16,
	BF16,
	Q8_0,
	Q4_0,
	Q4_1,
	Q5_0,
	Q5_1,
	Q2_K,
	Q2_K_S,
	Q3_K_S,
	Q3_K_M,
	Q3_K_L,
	Q4_K_S,
	Q4_K_M,
	Q5_K_S,
	Q5_K_M,
	Q6_K,
	MIX_COUNT
};

static const struct hth_mix mixes[MIX_COUNT] = {
	[F32] = {"f32", NULL, HTH_QUANT_F32, 0},           [F16] = {"f16", NULL, HTH_QUANT_F16, 1},
	[BF16] = {"bf16", NULL, HTH_QUANT_BF16, 32},       [Q8_0] = {"q8_0", NULL, HTH_QUANT_Q8_0, 7},
	[Q4_0] = {"q4_0", NULL, HTH_QUANT_Q4_0, 2},        [Q4_1] = {"q4_1", NULL, HTH_QUANT_Q4_1, 3},
	[Q5_0] = {"q5_0", NULL, HTH_QUANT_Q5_0, 8},        [Q5_1] = {"q5_1", NULL, HTH_QUANT_Q5_1, 9},
	[Q2_K] = {"q2_k", NULL, HTH_QUANT_Q2_K, 10},       [Q2_K_S] = {"q2_k_s", NULL, HTH_QUANT_Q2_K, 21},
	[Q3_K_S] = {"q3_k_s", NULL, HTH_QUANT_Q3_K, 11},   [Q3_K_M] = {"q3_k_m", "q3_k", HTH_QUANT_Q3_K, 12},
	[Q3_K_L] = {"q3_k_l", NULL, HTH_QUANT_Q3_K, 13},   [Q4_K_S] = {"q4_k_s", NULL, HTH_QUANT_Q4_K, 14},
	[Q4_K_M] = {"q4_k_m", "q4_k", HTH_QUANT_Q4_K, 15}, [Q5_K_S] = {"q5_k_s", NULL, HTH_QUANT_Q5_K, 16},
	[Q5_K_M] = {"q5_k_m", "q5_k", HTH_QUANT_Q5_K, 17}, [Q6_K] = {"q6_k", NULL, HTH_QUANT_Q6_K, 18},
};

const struct hth_mix *hth_mix_at(int i)
{
	return i >= 0 && i < MIX_COUNT ? &mixes[i] : NULL;
}

const struct hth_mix *hth_mix_find(const char *name)
{
	for (int i = 0; i < MIX_COUNT; i++)
		if (strcasecmp(mixes[i].name, name) == 0 ||
		    (mixes[i].also != NULL && strcasecmp(mixes[i].also, name) == 0))
			return &mixes[i];
	return NULL;
}

/* ---- what a tensor is ---- */

enum kind { OTHER, OUTPUT, EMBED, VALUE, KEY, ATTN_OUT, DOWN };

static bool has(struct hth_gguf_str s, const char *part)
{
	size_t n = strlen(part);
	for (size_t i = 0; i + n <= s.bytes; i++)
		if (memcmp(s.data + i, part, n) == 0)
			return true;
	return false;
}

static bool ends(struct hth_gguf_str s, const char *part)
{
	size_t n = strlen(part);
	return s.bytes >= n && memcmp(s.data + s.bytes - n, part, n) == 0;
}

static enum kind kind_of(struct hth_gguf_str name)
{
	static const struct {
		const char *part;
		enum kind kind;
	} parts[] = {{"attn_qkv.weight", VALUE}, {"attn_kv_b.weight", VALUE},      {"attn_v.weight", VALUE},
		     {"attn_k.weight", KEY},     {"attn_output.weight", ATTN_OUT}, {"ffn_down", DOWN}};

	if (hth_gguf_str_equal(name, "output.weight"))
		return OUTPUT;
	if (hth_gguf_str_equal(name, "token_embd.weight") || hth_gguf_str_equal(name, "per_layer_token_embd.weight"))
		return EMBED;
	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
		if (has(name, parts[i].part))
			return parts[i].kind;
	return OTHER;
}

/* Small or sensitive matrices that no file of the ecosystem quantises. */
static bool may_quantise(const struct hth_gguf_tensor *t)
{
	static const char *const never[] = {"_norm.weight",
					    "ffn_gate_inp.weight",
					    "ffn_gate_tid2eid.weight",
					    "altup",
					    "laurel",
					    "per_layer_model_proj",
					    "ssm_conv1d",
					    "shortconv.conv.weight",
					    "indexer.k_proj.weight",
					    "indexer.q_proj.weight",
					    "time_mix_first.weight",
					    "time_mix_w0.weight",
					    "time_mix_w1.weight",
					    "time_mix_w2.weight",
					    "time_mix_v0.weight",
					    "time_mix_v1.weight",
					    "time_mix_v2.weight",
					    "time_mix_a0.weight",
					    "time_mix_a1.weight",
					    "time_mix_a2.weight",
					    "time_mix_g1.weight",
					    "time_mix_g2.weight",
					    "time_mix_decay_w1.weight",
					    "time_mix_decay_w2.weight",
					    "time_mix_lerp_fused.weight",
					    "attn_rel_b.weight",
					    ".position_embd",
					    "sam.pos_embd",
					    "sam.neck.",
					    "sam.net_",
					    ".rel_pos",
					    ".patch_embd",
					    ".patch_merger",
					    "a.rvq.codebook",
					    "mm.a.code_embd"};

	if (t->n_dims < 2 || !ends(t->name, "weight") || hth_gguf_str_equal(t->name, "position_embd.weight") ||
	    hth_gguf_str_equal(t->name, "token_types.weight"))
		return false;
	for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
		if (has(t->name, never[i]))
			return false;
	return true;
}

/* ---- which layers get what ---- */

enum layers { ALL, MORE_BITS, FIRST_2, FIRST_4, EIGHTH, SIXTEENTH };

struct facts {
	enum mix_id mix;
	bool importance, tied;
	int64_t n_layers, experts, group; /* group: query heads a kv head */
	bool big_llama;                   /* 80 layers with grouped queries: values are cheap there */
	int64_t n_value;                  /* tensors of kind VALUE */
};

static bool fits(enum layers which, int64_t i, int64_t n)
{
	switch (which) {
	case ALL:
		return true;
	case MORE_BITS:
		return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
	case FIRST_2:
		return i < 2;
	case FIRST_4:
		return i < 4;
	case EIGHTH:
		return i < n / 8;
	default:
		return i < n / 16;
	}
}

#define BIT(m) (1u << (m))

struct rule {
	enum kind kind;
	unsigned in; /* BIT of every mix it is about */
	enum layers layers;
	bool grouped;    /* only with four or more query heads a kv head */
	bool importance; /* only with an importance matrix */
	enum hth_quant quant;
};

static const struct rule rules[] = {
	{VALUE, BIT(Q2_K) | BIT(Q2_K_S), ALL, true, false, HTH_QUANT_Q4_K},
	{VALUE, BIT(Q2_K), ALL, false, false, HTH_QUANT_Q3_K},
	{VALUE, BIT(Q3_K_M), FIRST_2, false, false, HTH_QUANT_Q5_K},
	{VALUE, BIT(Q3_K_M), ALL, false, false, HTH_QUANT_Q4_K},
	{VALUE, BIT(Q3_K_L), ALL, false, false, HTH_QUANT_Q5_K},
	{VALUE, BIT(Q4_K_M) | BIT(Q5_K_M), MORE_BITS, false, false, HTH_QUANT_Q6_K},
	{VALUE, BIT(Q4_K_S), FIRST_4, false, false, HTH_QUANT_Q5_K},
	{DOWN, BIT(Q2_K), ALL, false, false, HTH_QUANT_Q3_K},
	{DOWN, BIT(Q2_K_S), EIGHTH, false, false, HTH_QUANT_Q4_K},
	{DOWN, BIT(Q3_K_M), SIXTEENTH, false, false, HTH_QUANT_Q5_K},
	{DOWN, BIT(Q3_K_M), ALL, false, false, HTH_QUANT_Q4_K},
	{DOWN, BIT(Q3_K_L), ALL, false, false, HTH_QUANT_Q5_K},
	{DOWN, BIT(Q4_K_M) | BIT(Q5_K_M), MORE_BITS, false, false, HTH_QUANT_Q6_K},
	{DOWN, BIT(Q4_K_S), EIGHTH, false, false, HTH_QUANT_Q5_K},
	{DOWN, BIT(Q4_0), EIGHTH, false, true, HTH_QUANT_Q4_1},
	{DOWN, BIT(Q5_0), EIGHTH, false, true, HTH_QUANT_Q5_1},
	{ATTN_OUT, BIT(Q2_K), ALL, false, false, HTH_QUANT_Q3_K},
	{ATTN_OUT, BIT(Q3_K_M), ALL, false, false, HTH_QUANT_Q4_K},
	{ATTN_OUT, BIT(Q3_K_L), ALL, false, false, HTH_QUANT_Q5_K},
};

/* Eight experts share these, so they weigh little. */
static enum hth_quant with_eight_experts(enum mix_id mix, enum kind kind, enum hth_quant q)
{
	static const unsigned low = BIT(Q2_K) | BIT(Q3_K_S) | BIT(Q3_K_M) | BIT(Q4_K_S) | BIT(Q4_K_M);

	if (kind == VALUE || kind == KEY)
		return HTH_QUANT_Q8_0;
	if (kind == ATTN_OUT)
		return low & BIT(mix) ? HTH_QUANT_Q5_K : mixes[mix].quant;
	return q;
}

/* i: the tensor's number among those of its kind. */
static enum hth_quant wanted(const struct facts *f, enum kind kind, int64_t i)
{
	enum hth_quant q = mixes[f->mix].quant;
	int64_t n = kind == VALUE ? f->n_value : f->n_layers;

	for (size_t r = 0; r < sizeof rules / sizeof rules[0]; r++) {
		const struct rule *rule = &rules[r];
		if (rule->kind != kind || !(rule->in & BIT(f->mix)) || (rule->grouped && f->group < 4) ||
		    (rule->importance && !f->importance) || !fits(rule->layers, i, n))
			continue;
		q = rule->quant;
		break;
	}
	if (kind == VALUE && f->big_llama && (q == HTH_QUANT_Q3_K || q == HTH_QUANT_Q4_K))
		q = HTH_QUANT_Q5_K;
	return f->experts == 8 ? with_eight_experts(f->mix, kind, q) : q;
}

/* The head, and the embedding where it is the head too: rows that are no whole blocks get q8_0 at once. */
static enum hth_quant wanted_head(enum hth_quant q, int64_t cols)
{
	if (cols % hth_quant_format(q)->block_elems != 0 || q == HTH_QUANT_Q8_0)
		return HTH_QUANT_Q8_0;
	return HTH_QUANT_Q6_K;
}

/* Rows of other lengths: the next format of blocks of 32, then f16. */
static enum hth_quant fallback(enum hth_quant q, int64_t cols)
{
	static const enum hth_quant next[HTH_QUANT_COUNT] = {[HTH_QUANT_Q2_K] = HTH_QUANT_Q4_0,
							     [HTH_QUANT_Q3_K] = HTH_QUANT_Q4_0,
							     [HTH_QUANT_Q4_K] = HTH_QUANT_Q5_0,
							     [HTH_QUANT_Q5_K] = HTH_QUANT_Q5_1,
							     [HTH_QUANT_Q6_K] = HTH_QUANT_Q8_0};

	if (cols % hth_quant_format(q)->block_elems == 0)
		return q;
	q = hth_quant_format(q)->block_elems == 256 ? next[q] : HTH_QUANT_F16;
	return cols % hth_quant_format(q)->block_elems == 0 ? q : HTH_QUANT_F16;
}

/* ---- the model's numbers ---- */

/* "<arch>.<key>", the first element of a list, or def; wrong types are the business of the model's reader. */
static int64_t arch_int(const struct hth_gguf *g, struct hth_gguf_str arch, const char *key, int64_t def)
{
	char name[192];
	int64_t v = def;

	snprintf(name, sizeof name, "%.*s.%s", (int)(arch.bytes < 64 ? arch.bytes : 64), arch.data, key);
	const struct hth_gguf_kv *kv = hth_gguf_find(g, name);
	if (kv == NULL)
		return def;
	if (kv->type == HTH_GGUF_ARRAY)
		return kv->n > 0 && kv->elem_type != HTH_GGUF_STRING && kv->elem_type != HTH_GGUF_F32 &&
				       kv->elem_type != HTH_GGUF_F64
			       ? hth_gguf_array_int(kv, 0)
			       : def;
	return hth_gguf_int(g, name, 0, INT32_MAX, def, &v, NULL) == HTH_OK ? v : def;
}

static struct facts read_facts(const struct hth_mix *mix, const struct hth_gguf *g, bool importance)
{
	struct facts f = {.mix = (enum mix_id)(mix - mixes), .importance = importance, .tied = true};
	struct hth_gguf_str arch = {"", 0};

	if (hth_gguf_string(g, "general.architecture", &arch, NULL) != HTH_OK || arch.data == NULL)
		arch = (struct hth_gguf_str){"", 0};
	f.n_layers = arch_int(g, arch, "block_count", 0);
	f.experts = arch_int(g, arch, "expert_count", 0);
	int64_t heads = arch_int(g, arch, "attention.head_count", 0);
	int64_t kv = arch_int(g, arch, "attention.head_count_kv", heads);
	f.group = kv > 0 ? heads / kv : 0;
	f.big_llama = f.n_layers == 80 && f.group > 1 &&
		      (hth_gguf_str_equal(arch, "llama") || hth_gguf_str_equal(arch, "qwen2"));
	for (size_t i = 0; i < g->n_tensors; i++) {
		enum kind kind = kind_of(g->tensors[i].name);
		f.n_value += kind == VALUE;
		f.tied = f.tied && kind != OUTPUT;
	}
	return f;
}

/* Tensors are numbered in order of layer, then name, wherever they stand in the file. */
struct place {
	int64_t layer; /* -1: outside of layers */
	struct hth_gguf_str name;
	size_t at;
};

static int64_t layer_of(struct hth_gguf_str name)
{
	int64_t layer = 0;
	size_t i = 4;

	if (name.bytes < 6 || memcmp(name.data, "blk.", 4) != 0)
		return -1;
	for (; i < name.bytes && name.data[i] >= '0' && name.data[i] <= '9' && layer < 1000000; i++)
		layer = layer * 10 + (name.data[i] - '0');
	return i > 4 && i < name.bytes && name.data[i] == '.' ? layer : -1;
}

static int by_place(const void *pa, const void *pb)
{
	const struct place *a = pa, *b = pb;
	size_t n = a->name.bytes < b->name.bytes ? a->name.bytes : b->name.bytes;

	if (a->layer != b->layer)
		return a->layer < b->layer ? -1 : 1;
	int c = memcmp(a->name.data, b->name.data, n);
	return c != 0 ? c : a->name.bytes < b->name.bytes ? -1 : a->name.bytes > b->name.bytes;
}

/* The number that rules count layers by: with experts the layer itself, since each has several such tensors. */
static int64_t number(const struct facts *f, enum kind kind, const struct place *p, int64_t seen)
{
	return kind == DOWN && f->experts > 1 ? p->layer : seen;
}

static void choose(const struct facts *f, const struct hth_gguf *g, const struct place *order, enum hth_quant *type,
		   struct hth_mix_counts *counts)
{
	int64_t seen[DOWN + 1] = {0};
	bool blocks = hth_quant_format(mixes[f->mix].quant)->block_elems > 1;

	for (size_t i = 0; i < g->n_tensors; i++) {
		const struct hth_gguf_tensor *t = &g->tensors[order[i].at];
		enum kind kind = kind_of(t->name);
		enum hth_quant *out = &type[order[i].at];
		if (t->n_dims < 2) {
			*out = HTH_QUANT_F32;
		} else if (!may_quantise(t)) {
			*out = hth_quant_format(t->quant)->ggml_type >= 0 ? t->quant : HTH_QUANT_F32;
			counts->kept++;
		} else if (!blocks) {
			*out = mixes[f->mix].quant;
		} else {
			bool head = kind == OUTPUT || (kind == EMBED && f->tied);
			enum hth_quant q = head ? wanted_head(mixes[f->mix].quant, t->ne[0])
						: wanted(f, kind, number(f, kind, &order[i], seen[kind]));
			seen[kind]++;
			*out = fallback(q, t->ne[0]);
			counts->fallback += *out != q || (head && t->ne[0] % 256 != 0 && q == HTH_QUANT_Q8_0 &&
							  mixes[f->mix].quant != q);
		}
	}
}

enum hth_status hth_mix_choose(const struct hth_mix *mix, const struct hth_gguf *g, bool importance,
			       enum hth_quant *type, struct hth_mix_counts *counts, struct hth_err *err)
{
	struct facts f = read_facts(mix, g, importance);
	struct place *order = hth_calloc(g->n_tensors + 1, sizeof *order);

	*counts = (struct hth_mix_counts){0};
	if (order == NULL)
		return hth_fail_memory(err, "a list of tensors", g->n_tensors * sizeof *order);
	for (size_t i = 0; i < g->n_tensors; i++)
		order[i] = (struct place){layer_of(g->tensors[i].name), g->tensors[i].name, i};
	qsort(order, g->n_tensors, sizeof *order, by_place);
	choose(&f, g, order, type, counts);
	hth_free(order);
	return HTH_OK;
}
