/* Numbers from text and half-float conversion in integer arithmetic. The machine's own conversions (F16C, NEON) are
 * used by src/kernels, which is tested against this. */
#include "base/num.h"
#include "base/checked.h"

#include <ctype.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#ifdef __APPLE__
#include <xlocale.h>
#endif

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool hth_parse_i64(const char *text, int64_t *out)
{
	bool negative = *text == '-';
	int64_t v = 0;

	if (*text == '-' || *text == '+')
		text++;
	if (!is_digit(*text))
		return false;
	for (; *text != '\0'; text++) {
		if (*text == '_' && is_digit(text[-1]) && is_digit(text[1]))
			continue;
		if (!is_digit(*text))
			return false;
		int d = *text - '0';
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, negative ? -d : d, &v))
			return false;
	}
	*out = v;
	return true;
}

static locale_t c_locale;

static void make_c_locale(void)
{
	c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

/* The end of the decimal number that text begins with (no sign of hex, inf or nan), or NULL. */
static const char *scan_decimal(const char *text)
{
	bool digits = false;

	if (*text == '-' || *text == '+')
		text++;
	for (; is_digit(*text); text++)
		digits = true;
	if (*text == '.')
		for (text++; is_digit(*text); text++)
			digits = true;
	if (!digits)
		return NULL;
	if (*text == 'e' || *text == 'E') {
		text++;
		if (*text == '-' || *text == '+')
			text++;
		if (!is_digit(*text))
			return NULL;
		while (is_digit(*text))
			text++;
	}
	return text;
}

/* strtod_l and not strtod: a program that set LC_NUMERIC would read "0.5" as 0. */
static bool decimal_value(const char *text, double *out)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make_c_locale);
	if (c_locale == (locale_t)0)
		return false;
	double v = strtod_l(text, NULL, c_locale);
	if (!isfinite(v))
		return false;
	*out = v;
	return true;
}

bool hth_parse_f64(const char *text, double *out)
{
	const char *end = scan_decimal(text);

	return end != NULL && *end == '\0' && decimal_value(text, out);
}

bool hth_parse_bool(const char *text, bool *out)
{
	static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no", "off", "0"};

	for (int i = 0; i < 4; i++) {
		bool is_yes = strcasecmp(text, yes[i]) == 0;
		if (is_yes || strcasecmp(text, no[i]) == 0) {
			*out = is_yes;
			return true;
		}
	}
	return false;
}

/* The factor of "", "B", "K", "KB", "KiB", ...; 0 when unknown. K is 1000 and Ki is 1024. */
static uint64_t unit_factor(const char *unit)
{
	static const char prefixes[] = "kmgtp";
	uint64_t factor = 1;
	size_t n = strlen(unit);

	if (n == 0 || strcasecmp(unit, "b") == 0)
		return 1;
	const char *at = strchr(prefixes, tolower((unsigned char)unit[0]));
	if (at == NULL || *at == '\0')
		return 0;
	const char *rest = unit + 1;
	bool binary = *rest == 'i' || *rest == 'I';
	rest += binary;
	if (*rest != '\0' && strcasecmp(rest, "b") != 0)
		return 0;
	for (const char *p = prefixes; p <= at; p++)
		factor *= binary ? 1024 : 1000;
	return factor;
}

bool hth_parse_bytes(const char *text, uint64_t *out)
{
	double v;
	uint64_t whole = 0;
	bool exact = true;
	const char *end = text;

	for (; is_digit(*end); end++)
		exact = exact && hth_mul_u64(whole, 10, &whole) && hth_add_u64(whole, (uint64_t)(*end - '0'), &whole);
	if (end == text)
		return false;
	bool fraction = *end == '.';
	if (fraction)
		for (end++; is_digit(*end); end++)
			;
	const char *unit = end;
	while (*unit == ' ')
		unit++;
	uint64_t factor = unit_factor(unit);
	if (factor == 0 || !exact)
		return false;
	if (!fraction)
		return hth_mul_u64(whole, factor, out);
	if (!decimal_value(text, &v) || v * (double)factor >= 0x1p63)
		return false;
	*out = (uint64_t)llround(v * (double)factor);
	return true;
}

#define NEAR_MAX_BYTES 64

/* Edits (insert, delete, replace, swap of neighbours) that turn a into b, letter case ignored. Both shorter than
 * NEAR_MAX_BYTES. */
static size_t edit_distance(const char *a, size_t na, const char *b, size_t nb)
{
	size_t rows[3][NEAR_MAX_BYTES + 1];
	size_t *before = rows[0], *last = rows[1], *now = rows[2];

	for (size_t j = 0; j <= nb; j++)
		last[j] = j;
	for (size_t i = 1; i <= na; i++) {
		now[0] = i;
		for (size_t j = 1; j <= nb; j++) {
			int ca = tolower((unsigned char)a[i - 1]), cb = tolower((unsigned char)b[j - 1]);
			size_t d = last[j - 1] + (ca != cb);
			if (last[j] + 1 < d)
				d = last[j] + 1;
			if (now[j - 1] + 1 < d)
				d = now[j - 1] + 1;
			if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) &&
			    cb == tolower((unsigned char)a[i - 2]) && before[j - 2] + 1 < d)
				d = before[j - 2] + 1;
			now[j] = d;
		}
		size_t *free_row = before;
		before = last;
		last = now;
		now = free_row;
	}
	return last[nb];
}

const char *hth_nearest(const char *word, const char *const *candidates, size_t n)
{
	const char *best = NULL;
	size_t word_bytes = strlen(word), best_distance = word_bytes / 3 + 2;

	if (word_bytes == 0 || word_bytes >= NEAR_MAX_BYTES)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		size_t bytes = strlen(candidates[i]);
		if (bytes >= NEAR_MAX_BYTES)
			continue;
		size_t d = edit_distance(word, word_bytes, candidates[i], bytes);
		/* A "near" word shares at least half of its letters. */
		if (d < best_distance && d * 2 <= (word_bytes > bytes ? word_bytes : bytes)) {
			best = candidates[i];
			best_distance = d;
		}
	}
	return best;
}

union f32_bits {
	float f;
	uint32_t u;
};

float hth_f16_to_f32(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, mant = h & 0x3FF;
	union f32_bits v;

	if (exp == 31)
		v.u = sign | 0x7F800000 | mant << 13;
	else if (exp != 0)
		v.u = sign | (exp + 112) << 23 | mant << 13;
	else {
		/* Zero or subnormal: mant * 2^-24 is exact in f32. */
		v.f = (float)mant * 0x1p-24f;
		v.u |= sign;
	}
	return v.f;
}

uint16_t hth_f32_to_f16(float f)
{
	union f32_bits v = {.f = f};
	uint32_t sign = v.u >> 16 & 0x8000, abs = v.u & 0x7FFFFFFF;

	if (abs > 0x7F800000) /* NaN: keep the top of its payload, and keep it a quiet NaN */
		return (uint16_t)(sign | 0x7E00 | (abs >> 13 & 0x3FF));
	if (abs >= 0x477FF000) /* rounds to 65536 or more */
		return (uint16_t)(sign | 0x7C00);
	if (abs < 0x33000001) /* at most half of the smallest subnormal: ties go to even, which is zero */
		return (uint16_t)sign;
	uint32_t mant, shift;
	if (abs >= 0x38800000) {
		mant = abs - (112u << 23); /* exponent and mantissa together, so that a carry moves the exponent */
		shift = 13;
	} else {
		mant = (abs & 0x7FFFFF) | 0x800000;
		shift = 126 - (abs >> 23);
	}
	uint32_t half = 1u << (shift - 1), rest = mant & ((1u << shift) - 1), q = mant >> shift;
	q += rest > half || (rest == half && (q & 1));
	return (uint16_t)(sign | q);
}

uint16_t hth_f32_to_bf16(float f)
{
	union f32_bits v = {.f = f};

	if ((v.u & 0x7FFFFFFF) > 0x7F800000)
		return (uint16_t)(v.u >> 16 | 0x40);
	return (uint16_t)((v.u + 0x7FFF + (v.u >> 16 & 1)) >> 16);
}
