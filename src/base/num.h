/* Numbers from text, whole text or error: what strtol and atof get wrong (empty text, trailing junk, locale,
 * overflow) is an error here. */
#ifndef HTH_BASE_NUM_H
#define HTH_BASE_NUM_H

#include "base/status.h"

#include <stdint.h>

/* Decimal integer with optional sign and underscores between digits (1_000). False on anything else. */
bool hth_parse_i64(const char *text, int64_t *out);
/* Decimal or scientific number ("2e-4"), finite, always with '.' whatever the locale. */
bool hth_parse_f64(const char *text, double *out);
/* true/false/yes/no/on/off/1/0, any case. */
bool hth_parse_bool(const char *text, bool *out);
/* "1.5GB", "512M", "800 MiB", plain bytes. */
bool hth_parse_bytes(const char *text, uint64_t *out);
/* The candidate nearest to `word` by edit distance, or NULL if none is near: for "did you mean". */
const char *hth_nearest(const char *word, const char *const *candidates, size_t n);

/* Half floats, round to nearest even; NaN and infinity kept. */
float hth_f16_to_f32(uint16_t h);
uint16_t hth_f32_to_f16(float f);
static inline float hth_bf16_to_f32(uint16_t h)
{
	union { uint32_t u; float f; } v = { .u = (uint32_t)h << 16 };
	return v.f;
}
uint16_t hth_f32_to_bf16(float f);

#endif
