/* YAML: a tree whose nodes are all there and whose lines are lines of the input. */
#include "base/yaml.h"
#include "fuzz.h"

static void walk(const struct hth_yaml_node *node, int lines, int depth)
{
	fuzz_check(depth < 256 && node->line >= 1 && node->line <= lines + 1);
	if (node->kind == HTH_YAML_SCALAR) {
		fuzz_touch(node->text, strlen(node->text) + 1);
		(void)hth_yaml_is_null(node);
		return;
	}
	for (size_t i = 0; i < node->n; i++) {
		if (node->kind == HTH_YAML_MAP) {
			fuzz_check(hth_yaml_get(node, node->keys[i]) == &node->items[i]);
			fuzz_check(node->key_lines[i] >= 1 && node->key_lines[i] <= lines + 1);
		}
		walk(&node->items[i], lines, depth + 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct hth_arena arena;
	struct hth_err err;
	const struct hth_yaml_node *root = NULL;
	int lines = 1;
	for (size_t i = 0; i < bytes; i++) /* every byte that may begin a line: YAML 1.1 has five of them */
		lines += data[i] == '\n' || data[i] == '\r' || data[i] == 0xC2 || data[i] == 0xE2 || data[i] == 0;
	hth_arena_init(&arena, 64 * bytes + (1u << 20));
	enum hth_status s = hth_yaml_parse((const char *)data, bytes, "input.yml", &arena, &root, &err);
	fuzz_check(s == HTH_OK || (err.status == s && err.text[0] != '\0'));
	if (s == HTH_OK)
		walk(root, lines, 0);
	hth_arena_clear(&arena);
	return 0;
}
