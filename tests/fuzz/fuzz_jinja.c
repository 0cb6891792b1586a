/* Templates: parsed and rendered over a fixed conversation under tight limits. Origins must lie inside the text, sorted
 * and apart, and what a run is said to come from must exist. */
#include "text/jinja.h"
#include "fuzz.h"

#define MESSAGES 4

static json_t *context[2];

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const texts[2] = {
		"{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},"
		"{\"role\":\"user\",\"content\":\" What is the IDLH of ammonia? \"},"
		"{\"role\":\"assistant\",\"content\":\"300 ppm\",\"reasoning_content\":\"NIOSH says 300\"},"
		"{\"role\":\"user\",\"content\":\"\\u00e9\\ud83d\\ude00 and chlorine?\"}],"
		"\"add_generation_prompt\":true,\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"tools\":null}",
		"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]},"
		"{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"type\":\"function\",\"id\":\"c1\","
		"\"function\":{\"name\":\"look_up\",\"arguments\":{\"x\":[1,2.5,true,null,\"y\"]}}}]},"
		"{\"role\":\"tool\",\"content\":\"10\",\"name\":\"look_up\",\"tool_call_id\":\"c1\"},"
		"{\"role\":\"assistant\",\"content\":\"</think>ten\"}],"
		"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"look_up\",\"description\":\"d\","
		"\"parameters\":{\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"integer\"}}}}}],"
		"\"documents\":[],\"add_generation_prompt\":false,\"bos_token\":\"\",\"eos_token\":\"<|im_end|>\"}",
	};
	(void)argc;
	(void)argv;
	for (int i = 0; i < 2; i++)
		fuzz_check(hth_template_context_parse(texts[i], strlen(texts[i]), "context", &context[i], NULL) == HTH_OK);
	return 0;
}

static void check_runs(const struct hth_origin *o, size_t n, size_t bytes, bool generated)
{
	for (size_t i = 0; i < n; i++) {
		fuzz_check(o[i].start <= o[i].end && o[i].end <= bytes);
		fuzz_check(i == 0 || o[i - 1].end <= o[i].start);
		fuzz_check(generated ? o[i].message == -1 : o[i].message >= 0 && o[i].message < MESSAGES);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	const struct hth_template_limits limits = {.max_steps = 20000, .max_depth = 60, .max_bytes = 1u << 20};
	struct hth_template *t = NULL;
	struct hth_err err;
	enum hth_status s = hth_template_parse((const char *)data, bytes, "input", &t, &err);
	fuzz_check(s == HTH_OK || (err.status == s && err.text[0] != '\0'));
	for (int i = 0; s == HTH_OK && i < 2; i++) {
		struct hth_rendered r = {0};
		if (hth_template_render(t, context[i], 1768469400, &limits, &r, &err) == HTH_OK) {
			fuzz_check(r.text.bytes <= limits.max_bytes);
			check_runs(r.origins, r.n_origins, r.text.bytes, false);
			check_runs(r.generated, r.n_generated, r.text.bytes, true);
		}
		hth_rendered_clear(&r);
	}
	hth_template_free(t);
	return 0;
}
