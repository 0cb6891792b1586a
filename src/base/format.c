/* Amounts for people: bytes, durations, counts. Decimal units, a point and no locale. */
#include "base/log.h"

#include <math.h>
#include <stdio.h>

const char *hth_format_bytes(char out[32], uint64_t bytes)
{
	static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB", "EB"};
	double v = (double)bytes;
	int unit = 0;

	if (bytes < 1000) {
		snprintf(out, 32, "%u B", (unsigned)bytes);
		return out;
	}
	/* Three digits: 99.95 is already "100", 999.5 is "1.0" of the next unit. */
	while (v >= 999.5) {
		v /= 1000;
		unit++;
	}
	if (unit == 0) {
		v /= 1000;
		unit = 1;
	}
	snprintf(out, 32, "%.*f %s", v < 99.95 ? 1 : 0, v, units[unit]);
	return out;
}

const char *hth_format_duration(char out[32], double s)
{
	if (!(s >= 0) || s > 1e10) {
		snprintf(out, 32, "?");
		return out;
	}
	if (s < 0.9995) {
		snprintf(out, 32, "%.0fms", s * 1000);
		return out;
	}
	if (s < 9.95) {
		snprintf(out, 32, "%.1fs", s);
		return out;
	}
	unsigned long long t = (unsigned long long)llround(s);
	if (t < 60)
		snprintf(out, 32, "%llus", t);
	else if (t < 3600)
		snprintf(out, 32, "%llum%02llus", t / 60, t % 60);
	else if (t < 86400)
		snprintf(out, 32, "%lluh%02llum", t / 3600, t % 3600 / 60);
	else
		snprintf(out, 32, "%llud%02lluh", t / 86400, t % 86400 / 3600);
	return out;
}

const char *hth_format_count(char out[32], uint64_t n)
{
	char digits[24];
	int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), at = 0;

	for (int i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			out[at++] = ',';
		out[at++] = digits[i];
	}
	out[at] = '\0';
	return out;
}
