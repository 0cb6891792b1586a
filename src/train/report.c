/* The report's page. Curves of long runs are thinned to the width of the picture by averaging neighbours; the loss is
 * smoothed by a running mean, drawn over the raw values. */
#include "train/report.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <math.h>
#include <string.h>

#define MAX_PAGE_BYTES ((size_t)64 << 20)
#define MAX_POINTS 800
#define PLOT_W 820.0
#define PLOT_H 260.0
#define LEFT 64.0
#define RIGHT 12.0
#define TOP 12.0
#define BOTTOM 30.0

static const char style[] =
	":root{color-scheme:light dark;--bg:#fff;--fg:#1c1c1e;--dim:#6b6b70;--line:#d8d8dc;--a:#c2410c;--b:#1d4ed8;"
	"--box:#f6f6f7}\n"
	"@media(prefers-color-scheme:dark){:root{--bg:#161618;--fg:#ececee;--dim:#9a9aa0;--line:#3a3a3e;--a:#fb923c;"
	"--b:#7aa2ff;--box:#202024}}\n"
	"body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;max-width:880px;margin:2rem auto;"
	"padding:0 1rem}\n"
	"h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}\n"
	"svg{width:100%;height:auto}svg text{fill:var(--dim);font:12px system-ui,sans-serif}\n"
	".grid{stroke:var(--line);stroke-width:1}.raw{fill:none;stroke:var(--a);stroke-width:1;opacity:.3}\n"
	".a{fill:none;stroke:var(--a);stroke-width:2}.b{fill:none;stroke:var(--b);stroke-width:2}\n"
	".dot{fill:var(--b)}.key-a{color:var(--a)}.key-b{color:var(--b)}\n"
	"table{border-collapse:collapse;width:100%}td{border-bottom:1px solid var(--line);padding:.25rem .5rem;"
	"vertical-align:top;overflow-wrap:anywhere}td:first-child{color:var(--dim);white-space:nowrap;width:1%}\n"
	".sample{background:var(--box);border-radius:8px;padding:.75rem 1rem;margin:1rem 0}\n"
	".sample pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:.25rem 0 .75rem;font:14px/1.45 ui-monospace,"
	"monospace}.sample b{color:var(--dim);font-weight:600;font-size:.85rem}\n";

/* Escapes for text and for quoted attributes; what is not UTF-8, and controls that HTML forbids, become U+FFFD. */
static void put_text(struct hth_buf *out, const char *text)
{
	size_t bytes = strlen(text);

	for (size_t at = 0; at < bytes;) {
		size_t used;
		uint32_t c = hth_utf8_next(text + at, bytes - at, &used);
		if (c == '&')
			hth_buf_puts(out, "&amp;");
		else if (c == '<')
			hth_buf_puts(out, "&lt;");
		else if (c == '>')
			hth_buf_puts(out, "&gt;");
		else if (c == '"')
			hth_buf_puts(out, "&quot;");
		else if (c == '\'')
			hth_buf_puts(out, "&#39;");
		else if (c == HTH_UTF8_INVALID || (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7F && c < 0xA0))
			hth_buf_put_utf8(out, 0xFFFD);
		else
			hth_buf_add(out, text + at, used);
		at += used;
	}
}

struct point {
	double x, y;
};

struct curve {
	struct point *points; /* (n) */
	size_t n;
};

struct plot {
	double x0, x1, y0, y1; /* ranges of data */
};

typedef double pick_fn(const struct hth_metrics_row *row);

static double pick_loss(const struct hth_metrics_row *row)
{
	return row->is_validation ? NAN : row->loss;
}
static double pick_val(const struct hth_metrics_row *row)
{
	return row->is_validation ? row->val_loss : NAN;
}
static double pick_lr(const struct hth_metrics_row *row)
{
	return row->is_validation ? NAN : row->lr;
}
static double pick_speed(const struct hth_metrics_row *row)
{
	return row->is_validation ? NAN : row->tokens_per_s;
}

/* The finite values of one column, thinned to MAX_POINTS by means over equal runs. points has room for MAX_POINTS. */
static void collect(const struct hth_report *r, pick_fn *pick, struct curve *out)
{
	size_t n = 0, seen = 0;

	for (size_t i = 0; i < r->n_rows; i++)
		n += isfinite(pick(&r->rows[i])) != 0;
	size_t runs = n < MAX_POINTS ? n : MAX_POINTS, in_run = 0;
	double x = 0, y = 0;
	out->n = 0;
	for (size_t i = 0; i < r->n_rows; i++) {
		double v = pick(&r->rows[i]);
		if (!isfinite(v))
			continue;
		x += (double)r->rows[i].step;
		y += v;
		in_run++;
		seen++;
		if (seen * runs / n == out->n)
			continue;
		out->points[out->n++] = (struct point){x / (double)in_run, y / (double)in_run};
		x = y = 0;
		in_run = 0;
	}
}

/* Running mean over a twentieth of the curve. */
static void smooth(const struct curve *in, struct curve *out)
{
	double keep = in->n > 40 ? 1.0 - 20.0 / (double)in->n : 0.5, mean = 0, weight = 0;

	out->n = in->n;
	for (size_t i = 0; i < in->n; i++) {
		mean = keep * mean + (1 - keep) * in->points[i].y;
		weight = keep * weight + (1 - keep);
		out->points[i] = (struct point){in->points[i].x, mean / weight};
	}
}

static void widen(struct plot *p, const struct curve *c)
{
	for (size_t i = 0; i < c->n; i++) {
		p->x1 = fmax(p->x1, c->points[i].x);
		p->y0 = fmin(p->y0, c->points[i].y);
		p->y1 = fmax(p->y1, c->points[i].y);
	}
}

static double to_x(const struct plot *p, double x)
{
	return LEFT + (x - p->x0) / (p->x1 - p->x0) * (PLOT_W - LEFT - RIGHT);
}
static double to_y(const struct plot *p, double y)
{
	return TOP + (p->y1 - y) / (p->y1 - p->y0) * (PLOT_H - TOP - BOTTOM);
}

/* A round step so that a range has about five of them. */
static double nice_step(double range)
{
	double power = pow(10, floor(log10(range / 5)));
	double f = range / 5 / power;

	return power * (f < 1.5 ? 1 : f < 3.5 ? 2 : f < 7.5 ? 5 : 10);
}

static void put_axes(struct hth_buf *out, const struct plot *p)
{
	double step = nice_step(p->y1 - p->y0);

	for (double y = ceil(p->y0 / step) * step; y <= p->y1 + step * 1e-9; y += step) {
		hth_buf_printf(out, "<line class=grid x1=%.1f x2=%.1f y1=%.1f y2=%.1f />", LEFT, PLOT_W - RIGHT,
			       to_y(p, y), to_y(p, y));
		hth_buf_printf(out, "<text x=%.1f y=%.1f text-anchor=end>%.4g</text>", LEFT - 6, to_y(p, y) + 4,
			       fabs(y) < step * 1e-9 ? 0.0 : y);
	}
	step = fmax(1, nice_step(p->x1 - p->x0));
	for (double x = ceil(p->x0 / step) * step; x <= p->x1 + step * 1e-9; x += step)
		hth_buf_printf(out, "<text x=%.1f y=%.1f text-anchor=middle>%.0f</text>", to_x(p, x), PLOT_H - 8, x);
}

static void put_curve(struct hth_buf *out, const struct plot *p, const struct curve *c, const char *class_name,
		      bool dots)
{
	if (c->n == 0)
		return;
	hth_buf_printf(out, "<polyline class=%s points=\"", class_name);
	for (size_t i = 0; i < c->n; i++)
		hth_buf_printf(out, "%s%.1f,%.1f", i > 0 ? " " : "", to_x(p, c->points[i].x), to_y(p, c->points[i].y));
	hth_buf_puts(out, "\"/>");
	for (size_t i = 0; i < c->n && dots; i++)
		hth_buf_printf(out, "<circle class=dot cx=%.1f cy=%.1f r=3 />", to_x(p, c->points[i].x),
			       to_y(p, c->points[i].y));
}

/* Ranges that can be divided by. */
static bool set_range(struct plot *p)
{
	if (!(p->y0 <= p->y1))
		return false;
	double pad = p->y1 > p->y0 ? (p->y1 - p->y0) * 0.05 : fmax(fabs(p->y1) * 0.05, 1e-6);

	p->y0 -= pad;
	p->y1 += pad;
	if (p->x1 <= p->x0)
		p->x1 = p->x0 + 1;
	return true;
}

struct scratch {
	struct point a[MAX_POINTS], b[MAX_POINTS], c[MAX_POINTS];
};

static void begin_plot(struct hth_buf *out, const struct plot *p, const char *label)
{
	hth_buf_printf(out, "<svg viewBox=\"0 0 %.0f %.0f\" role=img aria-label=\"%s\">", PLOT_W, PLOT_H, label);
	put_axes(out, p);
}

static void put_loss(const struct hth_report *r, struct scratch *s, struct hth_buf *out)
{
	struct curve raw = {.points = s->a}, mean = {.points = s->b}, val = {.points = s->c};
	struct plot p = {.y0 = HUGE_VAL, .y1 = -HUGE_VAL};

	collect(r, pick_loss, &raw);
	collect(r, pick_val, &val);
	smooth(&raw, &mean);
	widen(&p, &raw);
	widen(&p, &val);
	if (!set_range(&p))
		return;
	hth_buf_puts(out, "<h2>Loss</h2><p><span class=key-a>&#9644; training, smoothed</span>");
	if (val.n > 0)
		hth_buf_puts(out, " &nbsp; <span class=key-b>&#9679; validation</span>");
	hth_buf_puts(out, "</p>\n");
	begin_plot(out, &p, "Loss over steps");
	if (r->best_step > 0)
		hth_buf_printf(out,
			       "<line class=b stroke-dasharray=4 x1=%.1f x2=%.1f y1=%.1f y2=%.1f><title>best: step "
			       "%lld</title></line>",
			       to_x(&p, (double)r->best_step), to_x(&p, (double)r->best_step), TOP, PLOT_H - BOTTOM,
			       (long long)r->best_step);
	put_curve(out, &p, &raw, "raw", false);
	put_curve(out, &p, &mean, "a", false);
	put_curve(out, &p, &val, "b", true);
	hth_buf_puts(out, "</svg>\n");
}

static void put_single(const struct hth_report *r, const char *title, pick_fn *pick, struct scratch *s,
		       struct hth_buf *out)
{
	struct curve c = {.points = s->a};
	struct plot p = {.y0 = HUGE_VAL, .y1 = -HUGE_VAL};

	collect(r, pick, &c);
	widen(&p, &c);
	if (!set_range(&p))
		return;
	hth_buf_printf(out, "<h2>%s</h2>\n", title);
	begin_plot(out, &p, title);
	put_curve(out, &p, &c, "a", false);
	hth_buf_puts(out, "</svg>\n");
}

static void put_labelled(struct hth_buf *out, const char *label, const char *text)
{
	if (text == NULL)
		return;
	hth_buf_printf(out, "<b>%s</b><pre>", label);
	put_text(out, text);
	hth_buf_puts(out, "</pre>\n");
}

static void put_samples(const struct hth_report *r, struct hth_buf *out)
{
	if (r->n_samples > 0)
		hth_buf_puts(out, "<h2>Answers before and after</h2>\n");
	for (size_t i = 0; i < r->n_samples; i++) {
		hth_buf_puts(out, "<div class=sample>\n");
		put_labelled(out, "Prompt", r->samples[i].prompt);
		put_labelled(out, "Before", r->samples[i].before);
		put_labelled(out, "After", r->samples[i].after);
		put_labelled(out, "In the data", r->samples[i].expected);
		hth_buf_puts(out, "</div>\n");
	}
}

enum hth_status hth_report_render(const struct hth_report *r, struct hth_buf *out, struct hth_err *err)
{
	struct scratch *s = hth_alloc(sizeof *s);

	if (s == NULL)
		return hth_fail_memory(err, "a report's curves", sizeof *s);
	hth_buf_puts(out, "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\n"
			  "<meta name=viewport content=\"width=device-width,initial-scale=1\">\n<title>");
	put_text(out, r->title);
	hth_buf_puts(out, "</title>\n<style>\n");
	hth_buf_puts(out, style);
	hth_buf_puts(out, "</style></head><body>\n<h1>");
	put_text(out, r->title);
	hth_buf_puts(out, "</h1>\n");
	put_loss(r, s, out);
	put_samples(r, out);
	put_single(r, "Learning rate", pick_lr, s, out);
	put_single(r, "Tokens a second", pick_speed, s, out);
	hth_buf_puts(out, "<h2>The run</h2>\n<table>\n");
	for (size_t i = 0; i < r->n_facts; i++) {
		hth_buf_puts(out, "<tr><td>");
		put_text(out, r->facts[i].name);
		hth_buf_puts(out, "</td><td>");
		put_text(out, r->facts[i].value);
		hth_buf_puts(out, "</td></tr>\n");
	}
	hth_buf_puts(out, "</table>\n</body></html>\n");
	hth_free(s);
	return hth_buf_status(out, "a report", err);
}

enum hth_status hth_report_write(const char *path, const struct hth_report *r, struct hth_err *err)
{
	struct hth_buf page;

	hth_buf_init(&page, MAX_PAGE_BYTES);
	enum hth_status status = hth_report_render(r, &page, err);
	if (status == HTH_OK)
		status = hth_file_write(path, hth_buf_str(&page), page.bytes, err);
	hth_buf_clear(&page);
	return status;
}
