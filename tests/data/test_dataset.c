/* Reading data sets: kinds of rows, line ends, what is wrong with a row and where, over-long rows, splits, views. The
 * tokenizer and template are the golden model's: byte-level with ChatML. */
#include "base/file.h"
#include "base/mem.h"
#include "data/jsonl.h"
#include "data/show.h"
#include "models/model.h"
#include "support.h"

static struct hth_err err;
static struct hth_model *model;
static char dir[64], path[128];

static int open_model(void **state)
{
	(void)state;
	snprintf(dir, sizeof dir, "%s/hearth-test-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/train.jsonl", dir);
	return hth_model_open("tests/golden/llama/tied.gguf", &model, &err) == HTH_OK ? 0 : -1;
}

static int close_model(void **state)
{
	(void)state;
	hth_model_close(model);
	return hth_remove_tree(dir, &err) == HTH_OK ? 0 : -1;
}

static void write_bytes(const char *text, size_t bytes)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, bytes, f), bytes);
	assert_int_equal(fclose(f), 0);
}

static enum hth_status read_with(const struct hth_data_config *cfg, bool collect, struct hth_dataset *d)
{
	struct hth_chat chat = {.tmpl = model->tmpl, .tok = model->tokenizer};

	return hth_dataset_read(path, &chat, cfg, collect, d, &err);
}

static enum hth_status read_text(const char *text, const struct hth_data_config *cfg, bool collect,
				 struct hth_dataset *d)
{
	write_bytes(text, strlen(text));
	return read_with(cfg, collect, d);
}

static const struct hth_data_config plain;

#define CHAT(user, answer)                                                                                             \
	"{\"messages\":[{\"role\":\"user\",\"content\":\"" user "\"},{\"role\":\"assistant\",\"content\":\"" answer    \
	"\"}]}"

static void shown_is(const struct hth_data_example *e, const char *want)
{
	struct hth_buf b;

	hth_buf_init(&b, 1 << 16);
	assert_ok(hth_data_show(model->tokenizer, e, HTH_SHOW_BRACKETS, &b, &err));
	assert_string_equal(hth_buf_str(&b), want);
	hth_buf_clear(&b);
}

static void each_kind_of_row_says_by_its_keys_what_it_is(void **state)
{
	(void)state;
	struct hth_dataset d;

	assert_ok(read_text(CHAT("a", "bc") "\n"
					    "{\"prompt\":\"p:\",\"completion\":\" q\"}\n"
					    "{\"text\":\"raw\",\"other\":1}\n"
					    "{\"prompt\":[{\"role\":\"user\",\"content\":\"u\"}],\"completion\":[{"
					    "\"role\":\"assistant\","
					    "\"content\":\"v\"}]}\n",
			    &plain, false, &d));
	assert_int_equal(d.n, 4);
	assert_int_equal(d.n_rows, 4);
	shown_is(&d.items[0], "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n⟦bc<|im_end|>⟧\n");
	shown_is(&d.items[1], "p:⟦ q<|im_end|>⟧");
	shown_is(&d.items[3], "<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\n⟦v<|im_end|>⟧\n");
	assert_int_equal(d.items[2].tokens.n_targets, d.items[2].tokens.n - 1); /* the first is never predicted */
	assert_int_equal(d.items[2].line, 3);
	uint64_t tokens = 0, targets = 0;
	for (size_t i = 0; i < d.n; i++) {
		tokens += d.items[i].tokens.n;
		targets += d.items[i].tokens.n_targets;
	}
	assert_int_equal(d.n_tokens, tokens);
	assert_int_equal(d.n_targets, targets);
	hth_dataset_clear(&d);
}

static void prompts_with_answers_of_their_own_train_the_completion_alone(void **state)
{
	(void)state;
	struct hth_dataset d;

	assert_ok(read_text(
		"{\"prompt\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"no\"},"
		"{\"role\":\"user\",\"content\":\"w\"}],\"completion\":[{\"role\":\"assistant\","
		"\"content\":\"yes\"}]}\n",
		&plain, false, &d));
	shown_is(&d.items[0], "<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\nno<|im_end|>\n<|im_start|>user\nw"
			      "<|im_end|>\n<|im_start|>assistant\n⟦yes<|im_end|>⟧\n");
	hth_dataset_clear(&d);
}

static void line_ends_blank_lines_and_a_byte_order_mark_change_nothing(void **state)
{
	(void)state;
	struct hth_dataset a, b;

	assert_ok(read_text(CHAT("a", "b") "\n" CHAT("c", "d") "\n", &plain, false, &a));
	assert_ok(read_text("\xEF\xBB\xBF\r\n" CHAT("a", "b") "\r\n\n  \t\r\n" CHAT("c", "d"), &plain, false, &b));
	assert_int_equal(b.n, 2);
	assert_int_equal(b.items[0].line, 2);
	assert_int_equal(b.items[1].line, 5);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(a.items[i].tokens.n, b.items[i].tokens.n);
		assert_memory_equal(a.items[i].tokens.ids, b.items[i].tokens.ids, a.items[i].tokens.n * 4);
	}
	hth_dataset_clear(&a);
	hth_dataset_clear(&b);
}

static void a_bad_row_is_named_by_file_and_line(void **state)
{
	(void)state;
	static const struct {
		const char *row;
		enum hth_status status;
		const char *part;
	} bad[] = {
		{"{\"messages\":", HTH_ERR_FORMAT, "train.jsonl:2"},
		{"[1]", HTH_ERR_FORMAT, "found an array, expected one JSON object on each line"},
		{"{\"messages\":[]}", HTH_ERR_FORMAT, "\"messages\" is empty"},
		{"{\"messages\":\"hi\"}", HTH_ERR_FORMAT, "found a string, expected an array of messages"},
		{"{\"messages\":[3]}", HTH_ERR_FORMAT, "\"messages\"[0]: found a number"},
		{"{\"messages\":[{\"content\":\"x\"}]}", HTH_ERR_FORMAT, "\"role\" is missing"},
		{"{\"messages\":[{\"from\":\"human\",\"value\":\"x\"}]}", HTH_ERR_FORMAT, "from/value must become"},
		{"{\"conversations\":[]}", HTH_ERR_FORMAT, "found keys [conversations]"},
		{"{\"prompt\":\"x\"}", HTH_ERR_FORMAT, "expected messages, prompt and completion, or text"},
		{"{\"prompt\":\"x\",\"completion\":[]}", HTH_ERR_FORMAT, "two strings or two arrays"},
		{"{\"text\":5}", HTH_ERR_FORMAT, "\"text\": found a number"},
		{"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":\"t\"}", HTH_ERR_FORMAT, "\"tools\""},
		{"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", HTH_ERR_VALUE, "no token of this row"},
		{"{\"text\":\"a\",\"text\":\"b\"}", HTH_ERR_FORMAT, "train.jsonl:2"},
		{"{\"text\":\"\xff\"}", HTH_ERR_FORMAT, "train.jsonl:2"},
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char text[512];
		struct hth_dataset d;
		snprintf(text, sizeof text, "%s\n%s\n%s\n", CHAT("a", "b"), bad[i].row, CHAT("c", "d"));
		assert_fails(read_text(text, &plain, false, &d), bad[i].status, bad[i].part);
		assert_non_null(strstr(err.text, "train.jsonl:2"));
		assert_int_equal(d.n, 0);
		assert_ok(read_text(text, &plain, true, &d)); /* collected: the others are read */
		assert_int_equal(d.n, 2);
		assert_int_equal(d.n_bad, 1);
		assert_int_equal(d.n_issues, 1);
		assert_int_equal(d.issues[0].line, 2);
		assert_int_equal(d.issues[0].status, bad[i].status);
		assert_int_equal(d.n_rows, 3);
		hth_dataset_clear(&d);
	}
}

static void long_rows_are_dropped_cut_or_refused_as_asked_and_told(void **state)
{
	(void)state;
	const char *text = CHAT("a", "b") "\n" CHAT("a", "0123456789012345678901234567890123456789") "\n" CHAT(
		"0123456789012345678901234567890123456789", "b") "\n";
	struct hth_data_config cfg = {.max_tokens = 30, .overlong = HTH_OVERLONG_DROP};
	struct hth_dataset d;

	assert_ok(read_text(text, &cfg, false, &d));
	assert_int_equal(d.n, 1);
	assert_int_equal(d.n_dropped, 2);
	assert_int_equal(d.n_issues, 2);
	assert_int_equal(d.issues[1].line, 3);
	assert_int_equal(d.issues[1].status, HTH_ERR_LIMIT);
	assert_int_equal(d.n_rows, 3);
	hth_dataset_clear(&d);
	cfg.overlong = HTH_OVERLONG_ERROR;
	assert_fails(read_text(text, &cfg, false, &d), HTH_ERR_LIMIT, "train.jsonl:2");
	cfg.overlong = HTH_OVERLONG_CUT;
	/* Of the third row nothing to train on would be left: never silently. */
	assert_fails(read_text(text, &cfg, false, &d), HTH_ERR_VALUE, "beyond max_seq_length");
	assert_non_null(strstr(err.text, "train.jsonl:3"));
	assert_ok(read_text(text, &cfg, true, &d));
	assert_int_equal(d.n, 2);
	assert_int_equal(d.items[1].tokens.n, 30);
	assert_int_equal(d.longest, 30);
	size_t targets = 0;
	for (size_t i = 0; i < 30; i++)
		targets += d.items[1].tokens.target[i];
	assert_int_equal(d.items[1].tokens.n_targets, targets);
	assert_true(targets > 0);
	assert_int_equal(d.n_cut, 2);
	hth_dataset_clear(&d);
	cfg.overlong = HTH_OVERLONG_DROP;
	cfg.max_tokens = 3;
	assert_fails(read_text(text, &cfg, false, &d), HTH_ERR_VALUE, "no row is left");
	assert_fails(read_text("\n \n", &plain, false, &d), HTH_ERR_VALUE, "has no rows");
}

static void repeated_rows_are_counted_and_kept(void **state)
{
	(void)state;
	struct hth_dataset d;

	assert_ok(read_text(CHAT("a", "b") "\n" CHAT("a", "c") "\n" CHAT("a", "b") "\n" CHAT("a", "b") "\n", &plain,
			    false, &d));
	assert_int_equal(d.n, 4);
	assert_int_equal(d.n_duplicates, 2);
	hth_dataset_clear(&d);
}

static void max_rows_stops_reading(void **state)
{
	(void)state;
	struct hth_data_config cfg = {.max_rows = 2};
	struct hth_dataset d;

	assert_ok(read_text(CHAT("a", "b") "\n" CHAT("a", "c") "\nnot json\n", &cfg, false, &d));
	assert_int_equal(d.n, 2);
	hth_dataset_clear(&d);
}

static void a_line_over_the_limit_is_named_and_reading_goes_on(void **state)
{
	(void)state;
	FILE *f = fopen(path, "wb");
	struct hth_dataset d;
	static char block[1 << 20];

	assert_non_null(f);
	memset(block, 'x', sizeof block);
	fputs(CHAT("a", "b") "\n{\"text\":\"", f);
	for (int i = 0; i < 64; i++)
		assert_int_equal(fwrite(block, 1, sizeof block, f), sizeof block);
	fputs("\"}\n" CHAT("c", "d") "\n", f);
	fclose(f);
	assert_fails(read_with(&plain, false, &d), HTH_ERR_LIMIT,
		     "train.jsonl:2: the line is longer than 67108864 bytes");
	assert_ok(read_with(&plain, true, &d));
	assert_int_equal(d.n, 2);
	assert_int_equal(d.items[1].line, 3);
	assert_int_equal(d.n_bad, 1);
	hth_dataset_clear(&d);
}

static void other_encodings_and_missing_files_are_named(void **state)
{
	(void)state;
	struct hth_dataset d;

	write_bytes("\xFF\xFE{\0}\0", 6);
	assert_fails(read_with(&plain, true, &d), HTH_ERR_FORMAT, "UTF-16");
	assert_int_equal(unlink(path), 0);
	assert_fails(read_with(&plain, false, &d), HTH_ERR_NOTFOUND, "train.jsonl");
}

/* Cut at every byte: an error or fewer rows, and every row that is there is whole. */
static void truncation_at_every_byte_is_survived(void **state)
{
	(void)state;
	const char *text = CHAT("a", "b") "\r\n{\"prompt\":\"p\",\"completion\":\"q\"}\n" CHAT("c", "d");

	for (size_t n = 0; n < strlen(text); n++) {
		struct hth_dataset d;
		write_bytes(text, n);
		assert_ok(read_with(&plain, true, &d));
		assert_true(d.n + d.n_bad <= 3);
		assert_true(d.n_bad <= 1);
		hth_dataset_clear(&d);
	}
}

static void running_out_of_memory_is_an_error_and_leaks_nothing(void **state)
{
	(void)state;
	const char *text = CHAT("a", "b") "\n{\"text\":\"t\"}\n{\"x\":1}\n";
	struct hth_dataset d, valid;

	write_bytes(text, strlen(text));
	for (uint64_t n = 1;; n++) {
		hth_mem_fail_at(n, false);
		enum hth_status status = read_with(&plain, true, &d);
		if (status == HTH_OK)
			status = hth_dataset_split(&d, 0.5, 1, &valid, &err);
		hth_mem_fail_at(0, false);
		if (status == HTH_OK)
			break;
		assert_int_equal(status, HTH_ERR_MEMORY);
		hth_dataset_clear(&d);
		assert_true(n < 100000);
	}
	hth_dataset_clear(&d);
	hth_dataset_clear(&valid);
}

static void read_many(struct hth_dataset *d, int n, int repeat_every)
{
	static char text[1 << 16];
	size_t at = 0;

	for (int i = 0; i < n; i++)
		at += (size_t)snprintf(text + at, sizeof text - at, CHAT("q%d", "a%d") "\n", i % repeat_every,
				       i % repeat_every);
	assert_ok(read_text(text, &plain, false, d));
}

static void a_split_is_a_function_of_seed_and_content(void **state)
{
	(void)state;
	struct hth_dataset a, b, va, vb;

	read_many(&a, 100, 100);
	read_many(&b, 100, 100);
	assert_ok(hth_dataset_split(&a, 0.1, 3, &va, &err));
	assert_ok(hth_dataset_split(&b, 0.1, 3, &vb, &err));
	assert_int_equal(va.n, 10);
	assert_int_equal(a.n, 90);
	assert_int_equal(a.n_rows, 90);
	assert_int_equal(va.n_tokens + a.n_tokens, vb.n_tokens + b.n_tokens);
	for (size_t i = 0; i < 10; i++) {
		assert_int_equal(va.items[i].line, vb.items[i].line);
		assert_true(i == 0 || va.items[i].line > va.items[i - 1].line); /* file order */
	}
	hth_dataset_clear(&b);
	hth_dataset_clear(&vb);
	read_many(&b, 110, 110); /* ten rows more: who was on a side stays, but for few at the border */
	assert_ok(hth_dataset_split(&b, 0.1, 3, &vb, &err));
	size_t same = 0;
	for (size_t i = 0; i < va.n; i++)
		for (size_t j = 0; j < vb.n; j++)
			same += va.items[i].line == vb.items[j].line;
	assert_true(same >= 8);
	hth_dataset_clear(&b);
	hth_dataset_clear(&vb);
	read_many(&b, 100, 100);
	assert_ok(hth_dataset_split(&b, 0.1, 4, &vb, &err));
	same = 0;
	for (size_t i = 0; i < 10; i++)
		same += va.items[i].line == vb.items[i].line;
	assert_true(same < 10);
	hth_dataset_clear(&a);
	hth_dataset_clear(&va);
	hth_dataset_clear(&b);
	hth_dataset_clear(&vb);
}

static void equal_rows_stay_on_one_side(void **state)
{
	(void)state;
	struct hth_dataset a, v;

	read_many(&a, 90, 9); /* nine contents, ten times each */
	assert_ok(hth_dataset_split(&a, 0.2, 1, &v, &err));
	assert_int_equal(v.n % 10, 0);
	assert_true(v.n > 0 && a.n > 0);
	for (size_t i = 0; i < a.n; i++)
		for (size_t j = 0; j < v.n; j++)
			assert_int_not_equal((a.items[i].line - 1) % 9, (v.items[j].line - 1) % 9);
	hth_dataset_clear(&a);
	hth_dataset_clear(&v);
	read_many(&a, 10, 1);
	assert_ok(hth_dataset_split(&a, 0.5, 1, &v, &err)); /* all equal: nothing can be held out */
	assert_int_equal(a.n, 10);
	assert_int_equal(v.n, 0);
	hth_dataset_clear(&a);
	read_many(&a, 2, 2);
	assert_fails(hth_dataset_split(&a, 1.0, 1, &v, &err), HTH_ERR_USAGE, "fraction");
	assert_ok(hth_dataset_split(&a, 0.01, 1, &v, &err));
	assert_int_equal(v.n, 1);
	hth_dataset_clear(&a);
	hth_dataset_clear(&v);
}

static void a_folder_has_train_valid_and_test(void **state)
{
	(void)state;
	struct hth_data_paths p;
	char other[160];

	write_bytes("x", 1);
	assert_ok(hth_data_find(dir, &p, &err));
	assert_string_equal(p.train, path);
	assert_null(p.valid);
	assert_null(p.test);
	hth_data_paths_clear(&p);
	snprintf(other, sizeof other, "%s/valid.jsonl", dir);
	assert_ok(hth_file_write(other, "x", 1, &err));
	assert_ok(hth_data_find(dir, &p, &err));
	assert_string_equal(p.valid, other);
	hth_data_paths_clear(&p);
	assert_ok(hth_data_find(path, &p, &err));
	assert_string_equal(p.train, path);
	assert_null(p.valid);
	hth_data_paths_clear(&p);
	assert_int_equal(unlink(other), 0);
	assert_int_equal(unlink(path), 0);
	assert_fails(hth_data_find(dir, &p, &err), HTH_ERR_NOTFOUND, "has no train.jsonl");
	assert_fails(hth_data_find(path, &p, &err), HTH_ERR_NOTFOUND, "no such file");
}

static void views_cannot_steer_a_terminal(void **state)
{
	(void)state;
	struct hth_dataset d;
	struct hth_buf b;

	assert_ok(read_text(CHAT("a\\u001b[31m", "b\\u0007\\u00e9") "\n", &plain, false, &d));
	shown_is(&d.items[0], "<|im_start|>user\na\\x1B[31m<|im_end|>\n<|im_start|>assistant\n⟦b\\x07é<|im_end|>⟧\n");
	hth_buf_init(&b, 1 << 16);
	assert_ok(hth_data_show(model->tokenizer, &d.items[0], HTH_SHOW_COLOUR, &b, &err));
	const char *green = strstr(hth_buf_str(&b), "\033[0;32m");
	assert_non_null(green);
	assert_non_null(strstr(green, "<|im_end|>\033[0;2m"));
	assert_string_equal(hth_buf_str(&b) + b.bytes - 4, "\033[0m");
	hth_buf_reset(&b);
	assert_ok(hth_data_show_json(model->tokenizer, &d.items[0], &b, &err));
	json_t *doc = NULL;
	assert_ok(hth_json_parse(hth_buf_str(&b), b.bytes, HTH_JSON_STRICT, "view", &doc, &err));
	assert_int_equal(json_array_size(json_object_get(doc, "tokens")), d.items[0].tokens.n);
	assert_int_equal(json_integer_value(json_object_get(doc, "line")), 1);
	json_decref(doc);
	hth_buf_clear(&b);
	hth_dataset_clear(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_of_row_says_by_its_keys_what_it_is),
		cmocka_unit_test(prompts_with_answers_of_their_own_train_the_completion_alone),
		cmocka_unit_test(line_ends_blank_lines_and_a_byte_order_mark_change_nothing),
		cmocka_unit_test(a_bad_row_is_named_by_file_and_line),
		cmocka_unit_test(long_rows_are_dropped_cut_or_refused_as_asked_and_told),
		cmocka_unit_test(repeated_rows_are_counted_and_kept),
		cmocka_unit_test(max_rows_stops_reading),
		cmocka_unit_test(a_line_over_the_limit_is_named_and_reading_goes_on),
		cmocka_unit_test(other_encodings_and_missing_files_are_named),
		cmocka_unit_test(truncation_at_every_byte_is_survived),
		cmocka_unit_test(running_out_of_memory_is_an_error_and_leaks_nothing),
		cmocka_unit_test(a_split_is_a_function_of_seed_and_content),
		cmocka_unit_test(equal_rows_stay_on_one_side),
		cmocka_unit_test(a_folder_has_train_valid_and_test),
		cmocka_unit_test(views_cannot_steer_a_terminal),
	};
	return cmocka_run_group_tests(tests, open_model, close_model);
}
