/* The progress bar. Drawn with ASCII, a carriage return and "erase to end of line", which every terminal knows; the
 * line is kept shorter than the terminal is wide, since a wrapped line cannot be redrawn. One bar at a time: a
 * second one that starts while one is drawn stays invisible. */
#include "base/log.h"
#include "base/log_int.h"
#include "base/machine.h"
#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REDRAW_S 0.1
#define LINE_BYTES 512
#define BAR_COLUMNS_MAX 30
#define BAR_COLUMNS_MIN 10

static int terminal_columns(void)
{
	struct winsize size;
	const char *env = getenv("COLUMNS");
	int n = 0;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0)
		n = size.ws_col;
	if (n == 0 && env != NULL)
		n = (int)strtol(env, NULL, 10);
	return n < 1 || n > 10000 ? 80 : n;
}

static bool can_draw(void)
{
	const char *term = getenv("TERM");

	return hth_stderr_is_tty() && hth_log_level() >= HTH_LOG_INFO && (term == NULL || strcmp(term, "dumb") != 0);
}

double hth_progress_eta_s(const struct hth_progress *p)
{
	double spent = hth_now_s() - p->start_s;

	if (p->total == 0 || p->done <= p->start_done || spent <= 0)
		return -1;
	if (p->done >= p->total)
		return 0;
	return spent * (double)(p->total - p->done) / (double)(p->done - p->start_done);
}

/* Columns of text, one per code point: labels and notes are ours and hold no wide characters. */
static int columns_of(const char *text)
{
	int n = 0;

	for (; *text != '\0'; text++)
		n += ((unsigned char)*text & 0xC0) != 0x80;
	return n;
}

/* Cuts text to at most `columns` columns. */
static void cut(char *text, int columns)
{
	for (; *text != '\0'; text++)
		if (((unsigned char)*text & 0xC0) != 0x80 && columns-- <= 0) {
			*text = '\0';
			return;
		}
}

static void put_bar(char *out, int columns, double part)
{
	int full = (int)(part * columns);

	*out++ = '[';
	for (int i = 0; i < columns; i++)
		*out++ = i < full ? '=' : i == full && full > 0 ? '>' : ' ';
	*out++ = ']';
	*out = '\0';
}

void hth_progress_line(const struct hth_progress *p, int columns, double eta_s, double spent_s, char *out,
		       size_t out_bytes)
{
	char tail[320], time[32], done[32], total[32], bar[BAR_COLUMNS_MAX + 3] = "", percent[16] = "";
	const char *note = p->note;
	char counts[72];

	if (note[0] == '\0') {
		if (p->total > 0)
			snprintf(counts, sizeof counts, "%s/%s", hth_format_count(done, p->done),
				 hth_format_count(total, p->total));
		else
			snprintf(counts, sizeof counts, "%s", hth_format_count(done, p->done));
		note = counts;
	}
	if (eta_s >= 0)
		snprintf(tail, sizeof tail, "  %s  ETA %s", note, hth_format_duration(time, eta_s));
	else
		snprintf(tail, sizeof tail, "  %s  %s", note, hth_format_duration(time, spent_s));
	if (p->total > 0) {
		double part = p->done >= p->total ? 1 : (double)p->done / (double)p->total;
		/* The bar takes what label, percent and note leave. */
		int room = columns - columns_of(p->label) - columns_of(tail) - 9;
		if (room > BAR_COLUMNS_MAX)
			room = BAR_COLUMNS_MAX;
		if (room >= BAR_COLUMNS_MIN)
			put_bar(bar, room, part);
		snprintf(percent, sizeof percent, "%s%3d%%", bar[0] == '\0' ? "" : " ", (int)(part * 100));
	}
	snprintf(out, out_bytes, "%s%s%s%s%s", p->label, p->label[0] == '\0' ? "" : "  ", bar, percent, tail);
	cut(out, columns);
}

void hth_progress_wipe(void)
{
	fputs("\r\x1b[K", stderr);
}

/* eta < 0 shows the time spent. */
static void draw(struct hth_progress *p, double eta_s, bool last)
{
	char line[LINE_BYTES], out[LINE_BYTES + 16];
	double now = hth_now_s();

	hth_progress_line(p, terminal_columns() - 1, eta_s, now - p->start_s, line, sizeof line);
	int n = snprintf(out, sizeof out, "\r%s\x1b[K%s", line, last ? "\n" : "");
	fwrite(out, 1, (size_t)n, stderr);
	p->drawn_s = now;
}

void hth_progress_draw(struct hth_progress *p)
{
	draw(p, hth_progress_eta_s(p), false);
}

void hth_progress_start(struct hth_progress *p, const char *label, uint64_t total, uint64_t done)
{
	memset(p, 0, sizeof *p);
	hth_quote(p->label, sizeof p->label, label, strlen(label));
	p->total = total;
	p->done = p->start_done = done;
	p->start_s = hth_now_s();
	pthread_mutex_lock(&hth_log_lock);
	if (hth_log_bar == NULL && can_draw()) {
		p->active = true;
		hth_log_bar = p;
		hth_progress_draw(p);
	}
	pthread_mutex_unlock(&hth_log_lock);
}

void hth_progress_update(struct hth_progress *p, uint64_t done, const char *note_fmt, ...)
{
	char raw[sizeof p->note];
	va_list ap;

	va_start(ap, note_fmt);
	if (vsnprintf(raw, sizeof raw, note_fmt, ap) < 0)
		raw[0] = '\0';
	va_end(ap);
	pthread_mutex_lock(&hth_log_lock);
	p->done = done;
	size_t bytes = strlen(raw);
	hth_quote(p->note, sizeof p->note, raw, bytes - hth_utf8_partial_tail(raw, bytes));
	if (p->active && hth_now_s() - p->drawn_s >= REDRAW_S)
		hth_progress_draw(p);
	pthread_mutex_unlock(&hth_log_lock);
}

void hth_progress_end(struct hth_progress *p)
{
	pthread_mutex_lock(&hth_log_lock);
	if (p->active) {
		draw(p, -1, true);
		hth_log_bar = NULL;
		p->active = false;
	}
	pthread_mutex_unlock(&hth_log_lock);
}
