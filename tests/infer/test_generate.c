/* Generation on a golden model: random weights, so the text is gibberish, but the same for the same seed. Facts about
 * stop strings and streaming are checked against the answer without them. */
#include "base/utf8.h"
#include "infer/generate.h"
#include "models/golden.h"

struct heard {
	struct hth_buf text;
	size_t calls, quit_after; /* 0: never */
};

static bool hear(void *ctx, const char *text, size_t bytes)
{
	struct heard *h = ctx;

	assert_true(bytes > 0);
	assert_true(hth_utf8_valid(text, bytes));
	assert_true(hth_buf_add(&h->text, text, bytes));
	return ++h->calls != h->quit_after;
}

static struct hth_generate_config hot(uint64_t seed, int64_t max_tokens)
{
	return (struct hth_generate_config){
		.sampler = {.temperature = 1.5f, .top_p = 1, .repetition_penalty = 1, .seed = seed},
		.max_tokens = max_tokens};
}

/* One answer to a fixed prompt of three tokens in a session of `capacity`. */
static void answer(struct golden *g, const struct hth_generate_config *cfg, int64_t capacity, struct heard *h,
		   struct hth_generated *out)
{
	const struct hth_session_config scfg = {.capacity = capacity, .adapter = -1};
	const int32_t prompt[3] = {72, 105, 33};
	struct hth_session *s;
	struct hth_err err;

	hth_buf_init(&h->text, 1 << 20);
	h->calls = 0;
	assert_ok(hth_session_new(g->m, &scfg, &s, &err));
	assert_ok(hth_generate(s, g->m, prompt, 3, cfg, hear, h, out, &err));
	hth_session_free(s);
}

static void clear(struct heard *h, struct hth_generated *out)
{
	hth_buf_clear(&h->text);
	hth_generated_clear(out);
}

static int setup(void **state)
{
	static struct golden g;

	golden_open(&g, "tied", hth_backend_at(0), false);
	*state = &g;
	return 0;
}

static int teardown(void **state)
{
	golden_close(*state);
	return 0;
}

static void stream_is_the_whole_text_in_valid_pieces(void **state)
{
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct hth_generate_config cfg = hot(seed, 40);
		struct hth_generated out;
		struct heard h = {0};
		answer(*state, &cfg, 0, &h, &out);
		assert_string_equal(hth_buf_str(&h.text), hth_buf_str(&out.text));
		assert_int_equal(out.n_prompt, 3);
		assert_in_range(out.n_ids, 1, 40);
		clear(&h, &out);
	}
}

static void text_is_the_decoded_ids(void **state)
{
	struct golden *g = *state;
	struct hth_generate_config cfg = hot(3, 40);
	struct hth_generated out;
	struct heard h = {0};
	struct hth_buf text;
	struct hth_err err;

	answer(g, &cfg, 0, &h, &out);
	hth_buf_init(&text, 1 << 20);
	assert_ok(hth_tokenizer_decode(g->m->tokenizer, out.ids, (size_t)out.n_ids, true, &text, &err));
	assert_string_equal(hth_buf_str(&text), hth_buf_str(&out.text));
	hth_buf_clear(&text);
	clear(&h, &out);
}

static void same_seed_gives_the_same_answer(void **state)
{
	struct hth_generate_config cfg = hot(11, 30), other = hot(12, 30);
	struct hth_generated a, b, c;
	struct heard ha = {0}, hb = {0}, hc = {0};

	answer(*state, &cfg, 0, &ha, &a);
	answer(*state, &cfg, 0, &hb, &b);
	answer(*state, &other, 0, &hc, &c);
	assert_int_equal(a.n_ids, b.n_ids);
	assert_memory_equal(a.ids, b.ids, (size_t)a.n_ids * sizeof(*a.ids));
	assert_string_not_equal(hth_buf_str(&a.text), hth_buf_str(&c.text));
	clear(&ha, &a);
	clear(&hb, &b);
	clear(&hc, &c);
}

/* Every place of an answer's text as a stop string of one to six bytes: the text ends where it first begins. */
static void stop_string_ends_the_text_where_it_first_begins(void **state)
{
	struct hth_generate_config cfg = hot(2, 30);
	struct hth_generated whole;
	struct heard h = {0};
	char stop[8];

	cfg.ignore_end = true;
	answer(*state, &cfg, 0, &h, &whole);
	assert_true(whole.text.bytes > 20);
	for (size_t at = 0; at + 6 < whole.text.bytes && at < 24; at++) {
		size_t n = 1 + at % 6;
		memcpy(stop, whole.text.data + at, n);
		stop[n] = '\0';
		const char *stops[2] = {"this is not in it", stop};
		struct hth_generate_config with = cfg;
		struct hth_generated out;
		struct heard hs = {0};
		with.stop = stops;
		with.n_stop = 2;
		if (!hth_utf8_valid(stop, n))
			continue;
		size_t begin = (size_t)(strstr(whole.text.data, stop) - whole.text.data);
		answer(*state, &with, 0, &hs, &out);
		assert_int_equal(out.finish, HTH_FINISH_STOP);
		assert_int_equal(out.text.bytes, begin);
		assert_memory_equal(hth_buf_str(&out.text), whole.text.data, begin);
		assert_string_equal(hth_buf_str(&hs.text), hth_buf_str(&out.text));
		clear(&hs, &out);
	}
	clear(&h, &whole);
}

static void beginning_of_a_stop_string_is_shown_when_it_does_not_complete(void **state)
{
	struct hth_generate_config cfg = hot(2, 30);
	struct hth_generated whole, out;
	struct heard h = {0}, hs = {0};
	char stop[64];

	cfg.ignore_end = true;
	answer(*state, &cfg, 0, &h, &whole);
	/* The last bytes of the text, then what never comes. */
	size_t n = whole.text.bytes < 40 ? whole.text.bytes : 40;
	while (n > 0 && !hth_utf8_valid(whole.text.data + whole.text.bytes - n, n))
		n--;
	snprintf(stop, sizeof(stop), "%sNEVER", whole.text.data + whole.text.bytes - n);
	const char *stops[1] = {stop};
	cfg.stop = stops;
	cfg.n_stop = 1;
	answer(*state, &cfg, 0, &hs, &out);
	assert_int_equal(out.finish, HTH_FINISH_LENGTH);
	assert_string_equal(hth_buf_str(&out.text), hth_buf_str(&whole.text));
	assert_string_equal(hth_buf_str(&hs.text), hth_buf_str(&whole.text));
	clear(&h, &whole);
	clear(&hs, &out);
}

static void empty_stop_string_stops_nothing(void **state)
{
	struct hth_generate_config cfg = hot(2, 10);
	const char *stops[1] = {""};
	struct hth_generated out;
	struct heard h = {0};

	cfg.stop = stops;
	cfg.n_stop = 1;
	cfg.ignore_end = true;
	answer(*state, &cfg, 0, &h, &out);
	assert_int_equal(out.finish, HTH_FINISH_LENGTH);
	assert_int_equal(out.n_ids, 10);
	clear(&h, &out);
}

static void end_of_turn_stops_and_is_not_shown(void **state)
{
	struct golden *g = *state;
	int found = 0;

	for (uint64_t seed = 0; seed < 60 && found < 2; seed++) {
		struct hth_generate_config cfg = hot(seed, 100);
		struct hth_generated out, shown, on;
		struct heard h = {0}, hs = {0}, ho = {0};
		answer(g, &cfg, 0, &h, &out);
		int32_t last = out.ids[out.n_ids - 1];
		if (out.finish != HTH_FINISH_STOP) {
			clear(&h, &out);
			continue;
		}
		found++;
		assert_true(hth_tokenizer_is_end(g->m->tokenizer, last));
		assert_null(strstr(hth_buf_str(&out.text), "<|"));
		cfg.show_special = true;
		answer(g, &cfg, 0, &hs, &shown);
		size_t bytes;
		const char *name = hth_tokenizer_token(g->m->tokenizer, last, &bytes);
		assert_true(shown.text.bytes > out.text.bytes);
		assert_memory_equal(shown.text.data + shown.text.bytes - bytes, name, bytes);
		cfg.ignore_end = true;
		answer(g, &cfg, 0, &ho, &on);
		assert_int_equal(on.n_ids, 100);
		assert_int_equal(on.finish, HTH_FINISH_LENGTH);
		clear(&h, &out);
		clear(&hs, &shown);
		clear(&ho, &on);
	}
	assert_int_equal(found, 2);
}

static void full_context_ends_the_answer(void **state)
{
	struct hth_generate_config cfg = hot(5, 0);
	struct hth_generated out;
	struct heard h = {0};

	cfg.ignore_end = true;
	answer(*state, &cfg, 16, &h, &out);
	assert_int_equal(out.finish, HTH_FINISH_CONTEXT);
	assert_int_equal(out.n_ids, 16 - 3 + 1); /* the last one needs no place */
	clear(&h, &out);
	cfg.max_tokens = 14;
	answer(*state, &cfg, 16, &h, &out);
	assert_int_equal(out.finish, HTH_FINISH_LENGTH);
	clear(&h, &out);
}

static void listener_can_stop_an_answer(void **state)
{
	struct hth_generate_config cfg = hot(2, 50);
	struct hth_generated out;
	struct heard h = {.quit_after = 3};

	cfg.ignore_end = true;
	answer(*state, &cfg, 0, &h, &out);
	assert_int_equal(out.finish, HTH_FINISH_CANCELLED);
	assert_int_equal(h.calls, 3);
	assert_true(out.n_ids < 50);
	clear(&h, &out);
}

static void bad_requests_are_refused_and_leave_nothing(void **state)
{
	struct golden *g = *state;
	const struct hth_session_config scfg = {.capacity = 4, .adapter = -1};
	const int32_t prompt[5] = {1, 2, 3, 4, 5};
	struct hth_generate_config cfg = hot(0, 1);
	struct hth_generated out;
	struct hth_session *s;
	struct hth_err err;

	assert_ok(hth_session_new(g->m, &scfg, &s, &err));
	assert_fails(hth_generate(s, g->m, prompt, 5, &cfg, NULL, NULL, &out, &err), HTH_ERR_LIMIT,
		     "a prompt of 5 tokens");
	assert_fails(hth_generate(s, g->m, prompt, 0, &cfg, NULL, NULL, &out, &err), HTH_ERR_USAGE,
		     "a prompt of 0 tokens");
	cfg.sampler.top_p = 7;
	assert_fails(hth_generate(s, g->m, prompt, 2, &cfg, NULL, NULL, &out, &err), HTH_ERR_USAGE, "top_p 7");
	assert_null(out.ids);
	cfg = hot(0, 1);
	assert_ok(hth_generate(s, g->m, prompt, 4, &cfg, NULL, NULL, &out, &err));
	hth_generated_clear(&out);
	for (uint64_t n = 1; n < 1000; n++) {
		hth_mem_fail_at(n, true);
		enum hth_status st = hth_generate(s, g->m, prompt, 2, &cfg, NULL, NULL, &out, &err);
		hth_mem_fail_at(0, false);
		if (st == HTH_OK)
			break;
		assert_null(out.ids);
	}
	hth_generated_clear(&out);
	hth_session_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stream_is_the_whole_text_in_valid_pieces),
		cmocka_unit_test(text_is_the_decoded_ids),
		cmocka_unit_test(same_seed_gives_the_same_answer),
		cmocka_unit_test(stop_string_ends_the_text_where_it_first_begins),
		cmocka_unit_test(beginning_of_a_stop_string_is_shown_when_it_does_not_complete),
		cmocka_unit_test(empty_stop_string_stops_nothing),
		cmocka_unit_test(end_of_turn_stops_and_is_not_shown),
		cmocka_unit_test(full_context_ends_the_answer),
		cmocka_unit_test(listener_can_stop_an_answer),
		cmocka_unit_test(bad_requests_are_refused_and_leave_nothing),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
