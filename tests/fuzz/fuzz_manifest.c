/* Checkpoints: the first byte of the input says what the rest is: a hostile manifest.json beside sound files (even), or a
 * hostile state.json under a manifest whose checksums are right (odd). */
#include "base/hash.h"
#include "base/log.h"
#include "train/checkpoint_int.h"
#include "fuzz.h"

#include <sys/stat.h>

static char run_dir[256], step_dir[300];
static const char *const files[] = {"weights.safetensors", "moments.safetensors", "state.json"};
static const char state[] =
	"{\"format\":\"hearth checkpoint\",\"version\":1,\"at\":{\"step\":3,\"updates\":3,\"skipped\":0,"
	"\"skipped_in_row\":0,\"epoch\":0,\"cursor\":3,\"best_step\":0,\"bad_evals\":0,\"now\":0,\"trained_tokens\":9,"
	"\"trained_targets\":4,\"token_budget\":4096,\"eval_pending\":0,\"best_loss\":\"0\",\"elapsed_s\":\"1.5\"},"
	"\"must_agree\":{\"rank\":\"8\"},\"may_differ\":{\"backend\":\"cpu\"}}";

static void write_in(const char *name, const void *data, size_t bytes)
{
	char path[400];
	snprintf(path, sizeof path, "%s/%s", step_dir, name);
	fuzz_write(path, data, bytes, 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const uint8_t empty[16] = "\10\0\0\0\0\0\0\0{}      ";
	(void)argc;
	(void)argv;
	fuzz_path(run_dir, "run");
	snprintf(step_dir, sizeof step_dir, "%s/step-3", run_dir);
	mkdir(run_dir, 0700);
	mkdir(step_dir, 0700);
	write_in(files[0], empty, sizeof empty);
	write_in(files[1], empty, sizeof empty);
	hth_log_set_level(HTH_LOG_QUIET);
	return 0;
}

static void write_manifest(void)
{
	json_t *list = json_array();
	uint64_t hash = 0;
	char path[400], hex[24];
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "%s/%s", step_dir, files[i]);
		fuzz_check(hth_hash_file(path, &hash, NULL) == HTH_OK);
		snprintf(hex, sizeof hex, "%016llx", (unsigned long long)hash);
		json_array_append_new(list, json_pack("{s:s, s:s}", "name", files[i], "xxh3", hex));
	}
	fuzz_check(hth_checkpoint_manifest_hash(list, 3, &hash, NULL) == HTH_OK);
	snprintf(hex, sizeof hex, "%016llx", (unsigned long long)hash);
	json_t *doc = json_pack("{s:i, s:i, s:o, s:s}", "version", HTH_CHECKPOINT_VERSION, "step", 3, "files", list, "xxh3", hex);
	struct hth_buf out;
	hth_buf_init(&out, 1u << 16);
	fuzz_check(hth_json_dump(doc, 0, &out, NULL) == HTH_OK);
	write_in("manifest.json", hth_buf_str(&out), out.bytes);
	hth_buf_clear(&out);
	json_decref(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct hth_checkpoint c = {0};
	struct hth_err err;
	if (bytes == 0)
		return 0;
	if (data[0] % 2 == 1) {
		write_in("state.json", data + 1, bytes - 1);
		write_manifest();
	} else {
		write_in("state.json", state, sizeof state - 1);
		write_in("manifest.json", data + 1, bytes - 1);
	}
	enum hth_status s = hth_checkpoint_newest(run_dir, &c, &err);
	fuzz_check(s == HTH_OK || (err.status == s && err.text[0] != '\0'));
	fuzz_check(s != HTH_OK || c.path == NULL || (c.at.step == 3 && c.facts.n <= HTH_MAX_FACTS));
	hth_checkpoint_clear(&c);
	return 0;
}
