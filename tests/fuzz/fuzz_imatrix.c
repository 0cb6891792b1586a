/* Importance matrices, llama.cpp's old form and the GGUF one. What is read is finite, and is the same when it was
 * written and read again. */
#include "export/imatrix.h"
#include "fuzz.h"

#include <math.h>

static void check(const struct hth_imatrix *im)
{
	for (size_t i = 0; i < im->n; i++) {
		const struct hth_imatrix_entry *e = &im->entries[i];
		fuzz_check(e->cols > 0 && e->matrices > 0 && e->name[0] != '\0');
		fuzz_check(i == 0 || strcmp(im->entries[i - 1].name, e->name) < 0);
		for (int64_t k = 0; k < e->cols * e->matrices; k++)
			fuzz_check(e->sum[k] >= 0 && isfinite(e->sum[k]) && e->mean[k] >= 0);
		struct hth_gguf_str name = {e->name, strlen(e->name)};
		fuzz_check(hth_imatrix_find(im, name) == e);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char path[256];
	struct hth_imatrix im, back;
	struct hth_err err;
	fuzz_path(path, "imatrix");
	fuzz_write(path, data, bytes, 0);
	enum hth_status s = hth_imatrix_read(path, &im, &err);
	fuzz_check(s == HTH_OK || (err.status == s && err.text[0] != '\0'));
	if (s == HTH_OK) {
		check(&im);
		/* Names of the old form may be longer than GGUF's are allowed to be. */
		if (hth_imatrix_write(path, &im, &err) == HTH_OK) {
			s = hth_imatrix_read(path, &back, &err);
			if (s != HTH_OK)
				fprintf(stderr, "%s\n", err.text);
			fuzz_check(s == HTH_OK && back.n == im.n);
			for (size_t i = 0; i < im.n; i++)
				fuzz_check(strcmp(back.entries[i].name, im.entries[i].name) == 0 &&
					   back.entries[i].cols == im.entries[i].cols);
			hth_imatrix_clear(&back);
		}
		hth_imatrix_clear(&im);
	}
	unlink(path);
	return 0;
}
