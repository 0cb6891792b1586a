/* Facts about command lines and config files: one table serves both. */
#include "support.h"

#include "base/mem.h"
#include "cmd/train_options.h"

static struct hth_err err;

static enum hth_status nothing(struct hth_cli *cli, struct hth_err *e)
{
	(void)cli;
	(void)e;
	return HTH_OK;
}

static const struct hth_command train_like = {.name = "train",
                                              .usage = "[config.yml]",
                                              .options = hth_train_option_table,
                                              .config_bytes = sizeof(struct hth_train_options),
                                              .max_args = 1,
                                              .run = nothing};

static enum hth_status parse(struct hth_cli *cli, int argc, const char **argv)
{
	err = (struct hth_err){0};
	return hth_cli_parse(cli, &train_like, argc, (char **)(uintptr_t)argv, &err);
}

#define PARSE(cli, ...)                                                                                                \
	parse(cli, (int)(sizeof(const char *[]){__VA_ARGS__} / sizeof(char *)), (const char *[]){__VA_ARGS__})

static const struct hth_train_options *of(const struct hth_cli *cli)
{
	return cli->config;
}

static void defaults_stand_until_a_flag_speaks(void **state)
{
	(void)state;
	struct hth_cli cli;
	assert_ok(PARSE(&cli, "--iters", "7", "--learning-rate=2e-3"));
	assert_int_equal(of(&cli)->iters, 7);
	assert_true(of(&cli)->learning_rate == 2e-3);
	assert_int_equal(of(&cli)->rank, 16);
	assert_int_equal(hth_cli_origin(&cli, "iters"), HTH_FROM_FLAG);
	assert_int_equal(hth_cli_origin(&cli, "rank"), HTH_FROM_DEFAULT);
	hth_cli_clear(&cli);
}

static void mlx_lm_flags_work_as_they_are(void **state)
{
	(void)state;
	struct hth_cli cli;
	assert_ok(PARSE(&cli, "--model", "m.gguf", "--train", "--data", "d", "--iters", "600", "--steps-per-eval", "200",
	                "--val-batches", "25", "--lora-layers", "16", "--batch-size", "4", "--learning-rate", "1e-5",
	                "--save-every", "100", "--adapter-path", "adapters", "--mask-prompt", "--max-seq-length", "1024"));
	assert_int_equal(of(&cli)->n_layers, 16);
	assert_int_equal(of(&cli)->val_batches, 25);
	assert_true(of(&cli)->mask_prompt);
	assert_string_equal(of(&cli)->adapter_path, "adapters");
	hth_cli_clear(&cli);
}

static void an_unknown_flag_names_the_nearest(void **state)
{
	(void)state;
	struct hth_cli cli;
	assert_fails(PARSE(&cli, "--iter", "7"), HTH_ERR_USAGE, "did you mean --iters?");
	hth_cli_clear(&cli);
	assert_fails(PARSE(&cli, "--learning_rat", "7"), HTH_ERR_USAGE, "--learning-rate?");
	hth_cli_clear(&cli);
	assert_fails(PARSE(&cli, "--iters"), HTH_ERR_USAGE, "a value is missing");
	hth_cli_clear(&cli);
}

static void values_are_checked_by_type_and_range(void **state)
{
	(void)state;
	struct hth_cli cli;
	assert_fails(PARSE(&cli, "--iters", "7x"), HTH_ERR_USAGE, "whole number");
	hth_cli_clear(&cli);
	assert_fails(PARSE(&cli, "--rank", "0"), HTH_ERR_USAGE, "1..4096");
	hth_cli_clear(&cli);
	assert_fails(PARSE(&cli, "--lr-schedule", "wavy"), HTH_ERR_USAGE, "constant|linear|cosine");
	hth_cli_clear(&cli);
	assert_fails(PARSE(&cli, "--memory-limit", "many"), HTH_ERR_USAGE, "1.5GB");
	hth_cli_clear(&cli);
	assert_fails(PARSE(&cli, "--dropout", "nan"), HTH_ERR_USAGE, "a number in");
	hth_cli_clear(&cli);
}

static void switches_are_turned_off_with_no(void **state)
{
	(void)state;
	struct hth_cli cli;
	assert_ok(PARSE(&cli, "--no-shuffle", "--prefix-sharing", "off", "--no_bias_correction"));
	assert_false(of(&cli)->shuffle);
	assert_false(of(&cli)->share_prefix);
	assert_false(of(&cli)->bias_correction);
	hth_cli_clear(&cli);
}

static enum hth_status apply(struct hth_cli *cli, const char *yaml)
{
	const struct hth_yaml_node *root = NULL;
	static const char *const handled[] = {"datasets", NULL};
	enum hth_status s = hth_yaml_parse(yaml, strlen(yaml), "c.yml", &cli->arena, &root, &err);
	return s == HTH_OK ? hth_cli_apply_yaml(cli, root, "c.yml", handled, &err) : s;
}

static void flags_win_over_a_file_and_files_over_defaults(void **state)
{
	(void)state;
	struct hth_cli cli;
	assert_ok(PARSE(&cli, "--lora-r", "4"));
	assert_ok(apply(&cli, "lora_r: 32\nlora_alpha: 64\nlearning_rate: 2e-4\nlora_target_modules:\n  - q_proj\n  - v_proj\n"));
	assert_int_equal(of(&cli)->rank, 4);
	assert_true(of(&cli)->alpha == 64);
	assert_int_equal(of(&cli)->targets.n, 2);
	assert_string_equal(of(&cli)->targets.items[1], "v_proj");
	hth_cli_clear(&cli);
}

static void an_unknown_key_is_an_error_with_its_line(void **state)
{
	(void)state;
	struct hth_cli cli;
	assert_ok(PARSE(&cli, "--rank", "4"));
	assert_fails(apply(&cli, "lora_r: 8\nlearning_rte: 1\n"), HTH_ERR_USAGE, "c.yml:2: unknown key \"learning_rte\"; did you mean "
	                                                                         "\"learning_rate\"?");
	hth_cli_clear(&cli);
	assert_ok(PARSE(&cli, "--rank", "4"));
	assert_fails(apply(&cli, "num_epochs: [1, 2]\n"), HTH_ERR_USAGE, "expected one value");
	hth_cli_clear(&cli);
}

static void mlx_lm_files_are_read_with_their_nested_keys(void **state)
{
	(void)state;
	struct hth_cli cli;
	struct hth_train_config c;
	assert_ok(PARSE(&cli, "--model", "tests/golden/llama/tied.gguf", "--data", "dir/hazmat/"));
	assert_ok(apply(&cli, "lora_parameters: {rank: 8, scale: 20.0, dropout: 0.1, keys: [self_attn.q_proj]}\n"
	                      "optimizer_config:\n  adamw: {weight_decay: 0.1}\ngrad_checkpoint: true\n"));
	assert_ok(hth_train_options_resolve(&cli, &c, &err));
	assert_int_equal(c.rank, 8);
	assert_true(c.alpha == 160);
	assert_true(c.target[0] && !c.target[1]);
	assert_true(c.weight_decay == 0.1);
	assert_string_equal(c.output_dir, "runs/hazmat");
	hth_cli_clear(&cli);
}

static void the_written_config_reads_back_the_same(void **state)
{
	(void)state;
	struct hth_cli a, b;
	char *yaml = NULL, x[256], y[256];
	assert_ok(PARSE(&a, "--model", "we\"ird\\.gguf", "--data", "d", "--lr", "3.3e-4", "--target-modules", "q_proj",
	                "--no-shuffle", "--memory-limit", "1.5GB"));
	assert_ok(hth_train_options_yaml(&a, &yaml, &err));
	assert_ok(PARSE(&b, "--output-dir", "x"));
	assert_ok(apply(&b, yaml));
	for (size_t i = 0; hth_train_option_table[i].flag != NULL; i++)
		if (hth_train_option_table[i].yaml != NULL && strcmp(hth_train_option_table[i].flag, "output-dir") != 0)
			assert_string_equal(hth_cli_value_text(&a, i, x, sizeof x), hth_cli_value_text(&b, i, y, sizeof y));
	hth_cli_clear(&a);
	hth_cli_clear(&b);
	hth_free(yaml);
}

static void a_command_without_its_arguments_says_what_is_missing(void **state)
{
	(void)state;
	struct hth_cli cli;
	struct hth_train_config c;
	assert_ok(PARSE(&cli, "--data", "d"));
	assert_fails(hth_train_options_resolve(&cli, &c, &err), HTH_ERR_USAGE, "--model");
	hth_cli_clear(&cli);
	assert_fails(PARSE(&cli, "a.yml", "b.yml"), HTH_ERR_USAGE, "unexpected argument \"b.yml\"");
	hth_cli_clear(&cli);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_stand_until_a_flag_speaks),
		cmocka_unit_test(mlx_lm_flags_work_as_they_are),
		cmocka_unit_test(an_unknown_flag_names_the_nearest),
		cmocka_unit_test(values_are_checked_by_type_and_range),
		cmocka_unit_test(switches_are_turned_off_with_no),
		cmocka_unit_test(flags_win_over_a_file_and_files_over_defaults),
		cmocka_unit_test(an_unknown_key_is_an_error_with_its_line),
		cmocka_unit_test(mlx_lm_files_are_read_with_their_nested_keys),
		cmocka_unit_test(the_written_config_reads_back_the_same),
		cmocka_unit_test(a_command_without_its_arguments_says_what_is_missing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
