/* strftime_now: a time as Python's datetime.strftime shows it in the C locale on Linux (glibc's directives and its
 * '-', '_', '0', '^' flags). The time is civil time without a zone: %z and %Z are empty. */
#include "text/jinja_int.h"

static const char *const days[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char *const months[] = {"January", "February", "March",     "April",   "May",      "June",
				     "July",    "August",   "September", "October", "November", "December"};

struct civil {
	int64_t year, seconds;                /* since 1970 */
	int month, day, hour, minute, second; /* month and day from 1 */
	int weekday, yearday;                 /* from 0; Sunday is 0 */
};

static bool leap(int64_t y)
{
	return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

/* Days to a date, the well known way: years begin in March, in eras of 400. */
static struct civil civil_of(int64_t now)
{
	static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
	int64_t day = now / 86400, rest = now % 86400;
	if (rest < 0) {
		rest += 86400;
		day--;
	}
	int64_t z = day + 719468, era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365,
		doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153;
	struct civil c = {.seconds = now,
			  .hour = (int)(rest / 3600),
			  .minute = (int)(rest / 60 % 60),
			  .second = (int)(rest % 60),
			  .day = (int)(doy - (153 * mp + 2) / 5 + 1),
			  .month = (int)(mp < 10 ? mp + 3 : mp - 9)};
	c.year = yoe + era * 400 + (c.month <= 2);
	c.weekday = (int)((day % 7 + 11) % 7); /* day 0 was a Thursday */
	c.yearday = before[c.month - 1] + c.day - 1 + (c.month > 2 && leap(c.year));
	return c;
}

/* ISO 8601: the week of a date and the year that week belongs to. */
static int iso_week(const struct civil *c, int64_t *year)
{
	int monday = (c->weekday + 6) % 7, week = (c->yearday - monday + 10) / 7;
	int64_t y = c->year;
	if (week < 1) {
		y--;
		int prev_yearday = c->yearday + 365 + leap(y);
		week = (prev_yearday - monday + 10) / 7;
	} else if (week == 53 && c->yearday - monday + 3 >= 365 + leap(y)) {
		y++;
		week = 1;
	}
	*year = y;
	return week;
}

static bool put_number(struct hth_jsb *b, int64_t v, int width, char pad, char flag)
{
	char text[40];
	pad = flag == '_' ? ' ' : flag == '0' ? '0' : pad;
	if (flag == '-')
		width = 0;
	snprintf(text, sizeof text, pad == ' ' ? "%*lld" : "%0*lld", width, (long long)v);
	return hth_jsb_puts(b, text, 0);
}

static bool put_text(struct hth_jsb *b, const char *text, size_t bytes, char flag)
{
	for (size_t i = 0; i < bytes; i++) {
		char c = flag == '^' && text[i] >= 'a' && text[i] <= 'z' ? (char)(text[i] - 32) : text[i];
		if (!hth_jsb_add(b, &c, 1, 0, 0))
			return false;
	}
	return true;
}

static bool put_format(struct hth_jsb *b, const struct civil *c, const char *fmt, size_t bytes);

/* Directives that are a number; false in *done for others. */
static bool put_numeric(struct hth_jsb *b, const struct civil *c, char d, char flag, bool *done)
{
	int64_t iso_year;
	int week = iso_week(c, &iso_year), hour12 = c->hour % 12 == 0 ? 12 : c->hour % 12;
	const struct {
		char d;
		int64_t v;
		int width;
		char pad;
	} table[] = {
		{'d', c->day, 2, '0'},
		{'e', c->day, 2, ' '},
		{'m', c->month, 2, '0'},
		{'y', c->year % 100, 2, '0'},
		{'Y', c->year, 4, '0'},
		{'C', c->year / 100, 2, '0'},
		{'H', c->hour, 2, '0'},
		{'k', c->hour, 2, ' '},
		{'I', hour12, 2, '0'},
		{'l', hour12, 2, ' '},
		{'M', c->minute, 2, '0'},
		{'S', c->second, 2, '0'},
		{'j', c->yearday + 1, 3, '0'},
		{'w', c->weekday, 1, '0'},
		{'s', c->seconds, 1, '0'},
		{'u', c->weekday == 0 ? 7 : c->weekday, 1, '0'},
		{'U', (c->yearday + 7 - c->weekday) / 7, 2, '0'},
		{'W', (c->yearday + 7 - (c->weekday + 6) % 7) / 7, 2, '0'},
		{'V', week, 2, '0'},
		{'G', iso_year, 4, '0'},
		{'g', iso_year % 100, 2, '0'},
		{'f', 0, 6, '0'},
	};
	*done = false;
	for (size_t i = 0; i < sizeof table / sizeof table[0] && !*done; i++) {
		if (table[i].d != d)
			continue;
		*done = true;
		return put_number(b, table[i].v, table[i].width, table[i].pad, flag);
	}
	return true;
}

static bool put_directive(struct hth_jsb *b, const struct civil *c, char d, char flag)
{
	static const struct {
		char d;
		const char *fmt;
	} compound[] = {
		{'c', "%a %b %e %H:%M:%S %Y"},
		{'x', "%m/%d/%y"},
		{'X', "%H:%M:%S"},
		{'D', "%m/%d/%y"},
		{'F', "%Y-%m-%d"},
		{'T', "%H:%M:%S"},
		{'R', "%H:%M"},
		{'r', "%I:%M:%S %p"},
		{'n', "\n"},
		{'t', "\t"},
		{'z', ""},
		{'Z', ""},
	};
	bool done;
	const char *day = days[c->weekday], *month = months[c->month - 1];
	if (!put_numeric(b, c, d, flag, &done) || done)
		return b->x->status == HTH_OK;
	for (size_t i = 0; i < sizeof compound / sizeof compound[0]; i++)
		if (compound[i].d == d)
			return put_format(b, c, compound[i].fmt, strlen(compound[i].fmt));
	switch (d) {
	case 'a':
		return put_text(b, day, 3, flag);
	case 'A':
		return put_text(b, day, strlen(day), flag);
	case 'b':
	case 'h':
		return put_text(b, month, 3, flag);
	case 'B':
		return put_text(b, month, strlen(month), flag);
	case 'p':
	case 'P':
		return put_text(b, c->hour < 12 ? (d == 'p' ? "AM" : "am") : (d == 'p' ? "PM" : "pm"), 2, flag);
	case '%':
		return hth_jsb_puts(b, "%", 0);
	default: /* unknown ones stay as they are */
		return hth_jsb_puts(b, "%", 0) && (flag == 0 || hth_jsb_add(b, &flag, 1, 0, 0)) &&
		       hth_jsb_add(b, &d, 1, 0, 0);
	}
}

/* Compound directives hold only plain ones, so this nests once. */
static bool put_format(struct hth_jsb *b, const struct civil *c, const char *fmt, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		if (fmt[i] != '%' || i + 1 == bytes) {
			if (!hth_jsb_add(b, fmt + i, 1, 0, 0))
				return false;
			continue;
		}
		i++;
		char flag = 0;
		if (strchr("-_0^", fmt[i]) != NULL && fmt[i] != '\0' && i + 1 < bytes)
			flag = fmt[i++];
		if (!put_directive(b, c, fmt[i], flag))
			return false;
	}
	return true;
}

bool hth_jtime_format(struct hth_jsb *b, struct hth_jstr *fmt, int64_t now)
{
	/* the years 1 to 9999, Python's; beyond, the arithmetic above would still hold but nothing prints so */
	now = now < -62135596800 ? -62135596800 : now > 253402300799 ? 253402300799 : now;
	struct civil c = civil_of(now);
	return hth_jstr_flat(b->x, fmt) && put_format(b, &c, fmt->data, fmt->bytes);
}
