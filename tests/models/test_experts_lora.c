/* Adapters on experts against PEFT (target_parameters): logits, loss and the gradients of one step, on GGUF files and
 * folders and on both backends. Gradients were saved as an adapter (tools/golden_experts.py). Also what is no adapter for
 * the experts here. Source of the numbers: transformers 5 and PEFT 0.21. */
#include "models/golden.h"

#define TOLERANCE 1e-4

extern const struct hth_backend hth_backend_ref, hth_backend_cpu;

static const struct {
	const char *family, *model; /* the model's path behind the stem */
	int per_layer;              /* LoRAs a layer, parts of gate_up_proj one by one */
} cases[] = {
	{"qwen3moe", ".gguf", 6},         {"qwen3moe", "", 6}, {"qwen3moe", "-stacked", 6}, {"mixtral", ".gguf", 4},
	{"mixtral", "", 4},		  {"qwen2moe", ".gguf", 2}, {"qwen2moe", "", 2},   {"gptoss", ".gguf", 5},
	{"gptoss", "", 5},		  {"gemma4_moe", ".gguf", 4}, {"gemma4_moe", "", 4},
};
#define N_CASES ((int)(sizeof(cases) / sizeof(cases[0])))

static void open_case(struct golden *g, int i, const struct hth_backend *b, int threads)
{
	struct hth_err err;
	char stem[100];

	snprintf(stem, sizeof(stem), "tests/golden/%s/tiny", cases[i].family);
	golden_open_stem(g, stem, cases[i].model, b, true, threads);
	hth_safetensors_close(&g->want);
	snprintf(stem, sizeof(stem), "tests/golden/%s/tiny-experts.safetensors", cases[i].family);
	assert_ok(hth_safetensors_open(&g->want, stem, &err));
}

/* The golden's rows are in the file of the model alone. */
static void batch_of(const struct golden *g, struct hth_arena *arena, enum golden_outs outs, struct hth_batch *b)
{
	struct golden rows = *g;
	struct hth_err err;
	char path[160];

	snprintf(path, sizeof(path), "%s.safetensors", g->stem);
	assert_ok(hth_safetensors_open(&rows.want, path, &err));
	golden_batch(&rows, arena, outs, 0, false, b);
	hth_safetensors_close(&rows.want);
}

static void logits_of(struct golden *g, int i)
{
	struct hth_lora **loras, **const *list = (struct hth_lora * *const *)&loras;
	struct hth_lora_set set;
	struct hth_arena arena;
	struct hth_batch b;
	struct hth_err err;
	int n_loras = 0;

	hth_arena_init(&arena, 1 << 24);
	loras = golden_loras(g, "experts", &arena, false);
	for (int64_t k = 0; k < g->m->config.n_layers * HTH_LINEAR_COUNT; k++)
		n_loras += loras[k] != NULL;
	assert_int_equal(n_loras, cases[i].per_layer * g->m->config.n_layers);
	batch_of(g, &arena, GOLDEN_ALL_ROWS, &b);
	int64_t n = b.n_outs * g->m->config.n_vocab;
	float *want = golden_floats(g, "logits", n), *got = hth_calloc((size_t)n, sizeof(*got));
	assert_ok(hth_lora_set_init(&set, g->m, list, 1, &err));
	golden_run(g, &set, &b, HTH_FORWARD_LOGITS, false, got, n);
	golden_check("logits", g, got, want, n, TOLERANCE);
	hth_lora_set_clear(&set);
	hth_arena_clear(&arena);
	hth_free(want);
	hth_free(got);
}

/* Gate and up share A: its gradient is in both places or, here, in one. */
static void share_gradients(const struct golden *g, struct hth_lora **loras)
{
	for (int64_t l = 0; l < g->m->config.n_layers; l++) {
		struct hth_lora *gate = loras[l * HTH_LINEAR_COUNT + HTH_EXPERTS_GATE];
		struct hth_lora *up = loras[l * HTH_LINEAR_COUNT + HTH_EXPERTS_UP];
		if (gate != NULL && up != NULL && gate->a.value == up->a.value)
			up->a.grad = gate->a.grad;
	}
}

static void gradients_of(struct golden *g, int i)
{
	struct hth_lora **loras, **wanted, **const *list = (struct hth_lora * *const *)&loras;
	struct hth_lora_set set;
	struct hth_arena arena;
	struct hth_batch b;
	struct hth_err err;
	float logp[64], loss = 0, *want = golden_floats(g, "loss", 1);

	(void)i;
	hth_arena_init(&arena, 1 << 24);
	loras = golden_loras(g, "experts", &arena, true);
	wanted = golden_loras(g, "experts-grad", &arena, false);
	share_gradients(g, loras);
	batch_of(g, &arena, GOLDEN_TARGETS, &b);
	assert_ok(hth_lora_set_init(&set, g->m, list, 1, &err));
	golden_run(g, &set, &b, HTH_FORWARD_LOGP, true, logp, b.n_outs);
	for (int32_t o = 0; o < b.n_outs; o++)
		loss -= logp[o] * b.outs[o].weight;
	golden_check("loss", g, &loss, want, 1, TOLERANCE);
	for (int64_t k = 0; k < g->m->config.n_layers * HTH_LINEAR_COUNT; k++) {
		if (loras[k] == NULL)
			continue;
		golden_check(loras[k]->a.name, g, loras[k]->a.grad, wanted[k]->a.value, loras[k]->a.rows * loras[k]->a.cols,
			     TOLERANCE);
		golden_check(loras[k]->b.name, g, loras[k]->b.grad, wanted[k]->b.value, loras[k]->b.rows * loras[k]->b.cols,
			     TOLERANCE);
	}
	hth_lora_set_clear(&set);
	hth_arena_clear(&arena);
	hth_free(want);
}

static void on_all(void (*check)(struct golden *g, int i))
{
	struct golden g;

	for (int i = 0; i < N_CASES; i++)
		for (int b = 0; b < 2; b++) {
			open_case(&g, i, b == 0 ? &hth_backend_ref : &hth_backend_cpu, b == 0 ? 1 : 2);
			check(&g, i);
			golden_close(&g);
		}
}

static void logits_equal_peft(void **state)
{
	(void)state;
	on_all(logits_of);
}

static void loss_and_gradients_equal_peft(void **state)
{
	(void)state;
	on_all(gradients_of);
}

static void an_adapter_of_other_experts_is_refused(void **state)
{
	struct hth_lora_module mod = {.name = "model.layers.1.mlp.experts.down_proj", .rank = 1, .scale = 1};
	struct hth_adapter a = {.n_modules = 1, .modules = &mod};
	struct hth_arena arena;
	struct hth_lora **loras;
	struct hth_err err;
	struct golden g;
	float some[8 * 64] = {0};

	(void)state;
	open_case(&g, 0, &hth_backend_ref, 1);
	hth_arena_init(&arena, 1 << 20);
	mod.a = mod.b = some;
	mod.in = 12;
	mod.out = 16;
	mod.experts = 7;
	assert_fails(hth_model_loras(g.m, &a, &arena, &loras, &err), HTH_ERR_SHAPE, "7 experts, expected 8");
	mod.experts = 0;
	assert_fails(hth_model_loras(g.m, &a, &arena, &loras, &err), HTH_ERR_SHAPE, "0 experts, expected 8");
	mod.experts = 8;
	mod.in = 13;
	assert_fails(hth_model_loras(g.m, &a, &arena, &loras, &err), HTH_ERR_SHAPE, "expected (16,12)");
	mod.in = 12;
	assert_ok(hth_model_loras(g.m, &a, &arena, &loras, &err));
	mod.name = "model.layers.1.mlp.gate";
	mod.out = 8;
	mod.in = 16;
	assert_fails(hth_model_loras(g.m, &a, &arena, &loras, &err), HTH_ERR_SHAPE, "8 experts, expected 0");
	mod.name = "model.layers.1.mlp.down_proj";
	assert_fails(hth_model_loras(g.m, &a, &arena, &loras, &err), HTH_ERR_UNAVAILABLE, "is a mixture of experts");
	hth_arena_clear(&arena);
	golden_close(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(logits_equal_peft),
		cmocka_unit_test(loss_and_gradients_equal_peft),
		cmocka_unit_test(an_adapter_of_other_experts_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
