/* One page of a hub's listing, and the choice of files from it: whatever is taken has a name that stays below a folder
 * of ours, a size below the limit and a whole checksum. */
#include "base/mem.h"
#include "hub/hub_int.h"
#include "fuzz.h"

static void choose(const struct hth_hub_listing *l, const char *pick)
{
	size_t main_file = SIZE_MAX;
	bool *want = hth_calloc(l->n + 1, sizeof *want);
	struct hth_err err;
	if (want == NULL)
		return;
	enum hth_status s = hth_hub_choose(l->files, l->n, "org/model", pick, want, &main_file, &err);
	fuzz_check(s == HTH_OK || (err.status == s && err.text[0] != '\0'));
	fuzz_check(s != HTH_OK || main_file == SIZE_MAX || (main_file < l->n && want[main_file]));
	fuzz_check(!want[l->n]);
	hth_free(want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static const char *const picks[] = {"", "q4_k_m", "Q8_0", "a.gguf", "sub/b.safetensors"};
	struct hth_hub_listing l = {0};
	struct hth_err err;
	enum hth_status s = hth_hub_list_parse(&l, (const char *)data, bytes, "org/model", &err);
	fuzz_check(s == HTH_OK || (err.status == s && err.text[0] != '\0'));
	for (size_t i = 0; i < l.n; i++) {
		const struct hth_hub_file *f = &l.files[i];
		fuzz_check(hth_hub_path_ok(f->path, strlen(f->path), NULL));
		fuzz_check(f->path[0] != '/' && strstr(f->path, "..") != f->path);
		fuzz_check(hth_hub_hex_ok(f->hash, strlen(f->hash)) && f->bytes <= HTH_HUB_MAX_FILE_BYTES);
		unsigned index, count;
		size_t stem;
		if (hth_hub_split_parse(f->path, &index, &count, &stem))
			fuzz_check(stem < strlen(f->path));
	}
	for (size_t i = 0; s == HTH_OK && i < sizeof picks / sizeof *picks; i++)
		choose(&l, picks[i]);
	hth_hub_listing_clear(&l);
	return 0;
}
