/* Configuration files of hearth train: YAML through the option table. What resolves can be written and read back. */
#include "base/log.h"
#include "base/mem.h"
#include "cmd/train_options.h"
#include "fuzz.h"

static const struct hth_command command = {
	.name = "train",
	.usage = "",
	.options = hth_train_option_table,
	.config_bytes = sizeof(struct hth_train_options),
	.max_args = 1,
};

static enum hth_status resolve(char *path, char **yaml, struct hth_err *err)
{
	char *argv[] = {path};
	struct hth_cli cli;
	struct hth_train_config cfg;
	enum hth_status s = hth_cli_parse(&cli, &command, 1, argv, err);
	if (s == HTH_OK)
		s = hth_train_options_resolve(&cli, &cfg, err);
	if (s == HTH_OK)
		s = hth_train_options_yaml(&cli, yaml, err);
	hth_cli_clear(&cli);
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char path[256], *first = NULL, *second = NULL;
	struct hth_err err;
	hth_log_set_level(HTH_LOG_QUIET);
	fuzz_path(path, "config.yml");
	fuzz_write(path, data, bytes, 0);
	enum hth_status s = resolve(path, &first, &err);
	fuzz_check(s == HTH_OK || (err.status == s && err.text[0] != '\0'));
	if (s == HTH_OK) {
		fuzz_write(path, (const uint8_t *)first, strlen(first), 0);
		if (resolve(path, &second, &err) != HTH_OK)
			fprintf(stderr, "%s\n%s", err.text, first);
		fuzz_check(second != NULL && strcmp(first, second) == 0);
	}
	hth_free(first);
	hth_free(second);
	unlink(path);
	return 0;
}
