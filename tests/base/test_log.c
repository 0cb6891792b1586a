#include "base/log.h"
#include "base/log_int.h"
#include "base/machine.h"
#include "base/mem.h"
#include "support.h"

#include <fcntl.h>
#include <math.h>
#include <sys/ioctl.h>
#include <time.h>

static char out[32];

static void bytes_have_three_digits_and_decimal_units(void **state)
{
	(void)state;
	assert_string_equal(hth_format_bytes(out, 0), "0 B");
	assert_string_equal(hth_format_bytes(out, 999), "999 B");
	assert_string_equal(hth_format_bytes(out, 1000), "1.0 KB");
	assert_string_equal(hth_format_bytes(out, 1234567890), "1.2 GB");
	assert_string_equal(hth_format_bytes(out, 98300000), "98.3 MB");
	assert_string_equal(hth_format_bytes(out, 99949999), "99.9 MB");
	assert_string_equal(hth_format_bytes(out, 99950001), "100 MB");
	assert_string_equal(hth_format_bytes(out, 999499999), "999 MB");
	assert_string_equal(hth_format_bytes(out, 999500000), "1.0 GB");
	assert_string_equal(hth_format_bytes(out, UINT64_MAX), "18.4 EB");
}

static void durations_read_like_a_clock(void **state)
{
	(void)state;
	assert_string_equal(hth_format_duration(out, 0), "0ms");
	assert_string_equal(hth_format_duration(out, 0.34), "340ms");
	assert_string_equal(hth_format_duration(out, 0.9996), "1.0s");
	assert_string_equal(hth_format_duration(out, 3.44), "3.4s");
	assert_string_equal(hth_format_duration(out, 9.96), "10s");
	assert_string_equal(hth_format_duration(out, 59.7), "1m00s");
	assert_string_equal(hth_format_duration(out, 192), "3m12s");
	assert_string_equal(hth_format_duration(out, 7500), "2h05m");
	assert_string_equal(hth_format_duration(out, 273600), "3d04h");
	assert_string_equal(hth_format_duration(out, -1), "?");
	assert_string_equal(hth_format_duration(out, NAN), "?");
	assert_string_equal(hth_format_duration(out, INFINITY), "?");
}

static void counts_have_commas(void **state)
{
	(void)state;
	assert_string_equal(hth_format_count(out, 0), "0");
	assert_string_equal(hth_format_count(out, 999), "999");
	assert_string_equal(hth_format_count(out, 12345), "12,345");
	assert_string_equal(hth_format_count(out, 1000000), "1,000,000");
	assert_string_equal(hth_format_count(out, UINT64_MAX), "18,446,744,073,709,551,615");
}

/* stderr goes to `fd` between these two. */
static int saved_stderr;

static void capture(int fd)
{
	fflush(stderr);
	saved_stderr = dup(STDERR_FILENO);
	dup2(fd, STDERR_FILENO);
}

static void release(void)
{
	fflush(stderr);
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
}

/* What `say` writes to a stderr that is a file. */
static const char *said(void (*say)(void))
{
	static char text[20000];
	FILE *f = tmpfile();

	assert_non_null(f);
	capture(fileno(f));
	say();
	release();
	rewind(f);
	size_t n = fread(text, 1, sizeof text - 1, f);
	text[n] = '\0';
	fclose(f);
	return text;
}

static void say_all(void)
{
	hth_error("cannot %s", "x");
	hth_warn("old");
	hth_info("two\nlines");
	hth_debug("detail");
}

static void the_level_decides_what_is_said(void **state)
{
	(void)state;
	hth_log_set_level(HTH_LOG_QUIET);
	assert_string_equal(said(say_all), "");
	hth_log_set_level(HTH_LOG_ERROR);
	assert_string_equal(said(say_all), "error: cannot x\n");
	hth_log_set_level(HTH_LOG_WARN);
	assert_string_equal(said(say_all), "error: cannot x\nwarning: old\n");
	hth_log_set_level(HTH_LOG_DEBUG);
	assert_string_equal(said(say_all), "error: cannot x\nwarning: old\ntwo\nlines\ndebug: detail\n");
	hth_log_set_level(HTH_LOG_INFO);
	assert_int_equal(hth_log_level(), HTH_LOG_INFO);
	assert_string_equal(said(say_all), "error: cannot x\nwarning: old\ntwo\nlines\n");
}

static void say_foreign(void)
{
	hth_info("name \x1b[2J\r\xff \xc3\xa9");
}

static void say_long(void)
{
	char text[9000];
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	hth_info("%s", text);
	memset(text, 1, sizeof text - 1);
	hth_error("%s", text);
}

static void foreign_bytes_are_escaped_and_long_text_is_cut(void **state)
{
	(void)state;
	assert_string_equal(said(say_foreign), "name \\x1b[2J\\x0d\\xff \xc3\xa9\n");
	const char *text = said(say_long);
	size_t n = strlen(text);
	assert_true(n > 4000 && n < 17000 && text[n - 1] == '\n');
	assert_null(strchr(text, 1));
}

static struct hth_progress bar;

static void run_bar(void)
{
	hth_progress_start(&bar, "train", 10, 0);
	for (uint64_t i = 1; i <= 10; i++)
		hth_progress_update(&bar, i, "step %d", (int)i);
	hth_progress_end(&bar);
}

static void nothing_is_drawn_where_there_is_no_terminal(void **state)
{
	(void)state;
	assert_string_equal(said(run_bar), "");
	assert_int_equal(bar.done, 10);
	assert_string_equal(bar.note, "step 10");
}

static void a_line_fits_its_columns(void **state)
{
	struct hth_progress p = {.label = "train", .total = 200, .done = 124, .note = "step 124/200  loss 1.234"};
	char line[512];
	(void)state;
	hth_progress_line(&p, 99, 192, 0, line, sizeof line);
	assert_string_equal(line, "train  [==================>           ]  62%  step 124/200  loss 1.234  ETA 3m12s");
	hth_progress_line(&p, 70, 192, 0, line, sizeof line);
	assert_string_equal(line, "train  [===========>       ]  62%  step 124/200  loss 1.234  ETA 3m12s");
	hth_progress_line(&p, 60, 192, 0, line, sizeof line); /* no room for a bar */
	assert_string_equal(line, "train   62%  step 124/200  loss 1.234  ETA 3m12s");
	for (int columns = 0; columns < 120; columns++) {
		hth_progress_line(&p, columns, 192, 0, line, sizeof line);
		assert_true((int)strlen(line) <= columns);
	}
	p.note[0] = '\0';
	p.done = 200;
	hth_progress_line(&p, 99, -1, 3.4, line, sizeof line);
	assert_string_equal(line, "train  [==============================] 100%  200/200  3.4s");
	p.total = 0;
	p.done = 12345;
	hth_progress_line(&p, 99, -1, 3.4, line, sizeof line);
	assert_string_equal(line, "train    12,345  3.4s");
	snprintf(p.note, sizeof p.note, "\xc3\xa9\xc3\xa9\xc3\xa9");
	hth_progress_line(&p, 11, -1, 3.4, line, sizeof line);
	assert_string_equal(line, "train    \xc3\xa9\xc3\xa9"); /* columns, not bytes */
}

static void the_eta_counts_only_new_work(void **state)
{
	struct hth_progress p = {.total = 100, .done = 50, .start_done = 50};
	(void)state;
	p.start_s = hth_now_s() - 10;
	assert_true(hth_progress_eta_s(&p) < 0);
	p.done = 60; /* ten in ten seconds, forty to go */
	assert_true(fabs(hth_progress_eta_s(&p) - 40) < 1);
	p.done = 100;
	assert_true(hth_progress_eta_s(&p) == 0);
	p.total = 0;
	assert_true(hth_progress_eta_s(&p) < 0);
}

/* A pseudo-terminal 100 columns wide; -1 where there is none. */
static int open_terminal(int *terminal)
{
	struct winsize size = {.ws_row = 24, .ws_col = 100};
	int master = posix_openpt(O_RDWR | O_NOCTTY);

	if (master < 0)
		return -1;
	if (grantpt(master) != 0 || unlockpt(master) != 0 ||
	    (*terminal = open(ptsname(master), O_RDWR | O_NOCTTY)) < 0) {
		close(master);
		return -1;
	}
	ioctl(*terminal, TIOCSWINSZ, &size);
	return master;
}

static void a_terminal_shows_a_bar_that_messages_do_not_break(void **state)
{
	static char text[20000];
	int terminal = -1, master = open_terminal(&terminal);
	struct hth_progress second;
	(void)state;
	if (master < 0)
		skip_because("no pseudo-terminal here");
	setenv("TERM", "xterm", 1);
	unsetenv("NO_COLOR");
	capture(terminal);
	bool tty = hth_stderr_is_tty(), colour = hth_use_colour(tty);
	setenv("NO_COLOR", "1", 1);
	bool colour_with_no = hth_use_colour(tty);
	uint64_t before = hth_mem_allocs();
	hth_progress_start(&bar, "train", 1000, 0);
	hth_progress_start(&second, "inner", 10, 0); /* stays invisible */
	double start = hth_now_s();
	for (uint64_t i = 1; i <= 500; i++) {
		hth_progress_update(&bar, i, "step %d", (int)i);
		hth_progress_update(&second, 1, "hidden");
		nanosleep(&(struct timespec){.tv_nsec = 400000}, NULL);
	}
	double spent = hth_now_s() - start;
	hth_warn("loss is high");
	hth_progress_end(&second);
	hth_progress_update(&bar, 1000, "step %d", 1000);
	hth_progress_end(&bar);
	uint64_t allocated = hth_mem_allocs() - before;
	release();
	close(terminal);
	size_t n = 0;
	for (ssize_t got; n < sizeof text - 1 && (got = read(master, text + n, sizeof text - 1 - n)) > 0;)
		n += (size_t)got;
	close(master);
	assert_true(n > 0);
	text[n] = '\0';
	assert_true(tty && colour && !colour_with_no);
	assert_int_equal(allocated, 0);
	assert_int_equal(strncmp(text, "\rtrain  [", 9), 0);
	assert_non_null(strstr(text, "\r\x1b[Kwarning: loss is high\r\n\rtrain  ["));
	assert_null(strstr(text, "hidden"));
	const char *last = strstr(text, "] 100%  step 1000  ");
	assert_non_null(last);
	assert_non_null(strstr(last, "\x1b[K\r\n"));
	int drawn = 0;
	for (const char *p = text; (p = strstr(p, "train")) != NULL; p++)
		drawn++;
	/* Ten a second, and one each for start, message and end. */
	assert_in_range(drawn, 4, (int)(spent * 10) + 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_have_three_digits_and_decimal_units),
		cmocka_unit_test(durations_read_like_a_clock),
		cmocka_unit_test(counts_have_commas),
		cmocka_unit_test(the_level_decides_what_is_said),
		cmocka_unit_test(foreign_bytes_are_escaped_and_long_text_is_cut),
		cmocka_unit_test(nothing_is_drawn_where_there_is_no_terminal),
		cmocka_unit_test(a_line_fits_its_columns),
		cmocka_unit_test(the_eta_counts_only_new_work),
		cmocka_unit_test(a_terminal_shows_a_bar_that_messages_do_not_break),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
