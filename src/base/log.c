/* Messages on stderr: one write per message, safe to print whatever foreign bytes they hold, and in harmony with the
 * progress bar. The level and the bar are the mutable globals that src/base allows itself here. */
#include "base/log.h"
#include "base/log_int.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MESSAGE_BYTES 4096

static atomic_int current_level = HTH_LOG_INFO;
pthread_mutex_t hth_log_lock = PTHREAD_MUTEX_INITIALIZER;
struct hth_progress *hth_log_bar;

void hth_log_set_level(enum hth_log_level level)
{
	atomic_store(&current_level, (int)level);
}

enum hth_log_level hth_log_level(void)
{
	return (enum hth_log_level)atomic_load(&current_level);
}

bool hth_stdout_is_tty(void)
{
	return isatty(STDOUT_FILENO) == 1;
}

bool hth_stderr_is_tty(void)
{
	return isatty(STDERR_FILENO) == 1;
}

bool hth_use_colour(bool is_tty)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return is_tty && (no == NULL || no[0] == '\0') && (term == NULL || strcmp(term, "dumb") != 0);
}

/* Appends to out[0..out_bytes) what fits, returns the new length. */
static size_t append(char *out, size_t out_bytes, size_t n, const char *text)
{
	size_t bytes = strlen(text);

	if (bytes > out_bytes - 1 - n)
		bytes = out_bytes - 1 - n;
	memcpy(out + n, text, bytes);
	out[n + bytes] = '\0';
	return n + bytes;
}

/* Line breaks are the caller's; every other control byte is foreign and is shown as \xNN. */
static size_t append_lines(char *out, size_t out_bytes, size_t n, const char *text)
{
	while (n + 16 < out_bytes) {
		size_t line = strcspn(text, "\n");
		hth_quote(out + n, out_bytes - n - 1, text, line);
		n += strlen(out + n);
		if (text[line] == '\0')
			break;
		out[n++] = '\n';
		text += line + 1;
	}
	return n;
}

static void say(enum hth_log_level level, const char *word, const char *colour, const char *fmt, va_list ap)
{
	char raw[MESSAGE_BYTES], out[2 * MESSAGE_BYTES];
	size_t n = 0;

	if (hth_log_level() < level)
		return;
	if (vsnprintf(raw, sizeof raw, fmt, ap) < 0)
		return;
	bool in_colour = word != NULL && hth_use_colour(hth_stderr_is_tty());
	if (in_colour)
		n = append(out, sizeof out, n, colour);
	if (word != NULL)
		n = append(out, sizeof out, n, word);
	if (in_colour)
		n = append(out, sizeof out, n, "\x1b[0m");
	n = append_lines(out, sizeof out - 2, n, raw);
	out[n++] = '\n';
	pthread_mutex_lock(&hth_log_lock);
	if (hth_log_bar != NULL)
		hth_progress_wipe();
	fwrite(out, 1, n, stderr);
	if (hth_log_bar != NULL)
		hth_progress_draw(hth_log_bar);
	pthread_mutex_unlock(&hth_log_lock);
}

void hth_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(HTH_LOG_ERROR, "error: ", "\x1b[1;31m", fmt, ap);
	va_end(ap);
}

void hth_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(HTH_LOG_WARN, "warning: ", "\x1b[1;33m", fmt, ap);
	va_end(ap);
}

void hth_info(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(HTH_LOG_INFO, NULL, NULL, fmt, ap);
	va_end(ap);
}

void hth_debug(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(HTH_LOG_DEBUG, "debug: ", "\x1b[2m", fmt, ap);
	va_end(ap);
}
