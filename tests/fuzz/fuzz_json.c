/* The JSON front end: what parses is written and parsed again as the same value. */
#include "base/json.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	for (int flags = 0; flags < 4; flags++) {
		json_t *doc = NULL, *again = NULL;
		struct hth_err err;
		enum hth_status s = hth_json_parse((const char *)data, bytes, flags, "input", &doc, &err);
		fuzz_check(s == HTH_OK || (err.status == s && err.text[0] != '\0'));
		if (s != HTH_OK)
			continue;
		struct hth_buf out;
		hth_buf_init(&out, 64 * bytes + (1u << 20));
		fuzz_check(hth_json_dump(doc, 0, &out, &err) == HTH_OK);
		fuzz_check(hth_json_parse(hth_buf_str(&out), out.bytes, flags, "again", &again, &err) == HTH_OK);
		fuzz_check(json_equal(doc, again));
		json_decref(doc);
		json_decref(again);
		hth_buf_clear(&out);
	}
	struct hth_buf quoted;
	hth_buf_init(&quoted, 8 * bytes + 64);
	json_t *text = NULL;
	fuzz_check(hth_json_put_string(&quoted, (const char *)data, bytes));
	fuzz_check(hth_json_parse(hth_buf_str(&quoted), quoted.bytes, HTH_JSON_ALLOW_SCALAR, "q", &text, NULL) == HTH_OK);
	json_decref(text);
	hth_buf_clear(&quoted);
	return 0;
}
