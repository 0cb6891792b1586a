/* What prepare_x (simd_matvec.h, which says why) makes of vectors: where a prepared row keeps its parts. */

/* One prepared row of k elements, padded with zeros to whole groups of 128. Counts are in floats from the start. */
enum { GROUP = 128 };

struct at_x {
	const uint8_t *bytes; /* a group: 64 hi of first halves, 64 hi of last halves, 64 lo, 64 lo */
	const int16_t *words; /* hi and lo together, in order */
	const float *scale32, *sum32, *scale16, *sum16; /* of 32 or 16 elements: scale, sum of the numbers */
	int64_t ld; /* floats between rows */
};

INLINE struct at_x x_layout(const float *p, int64_t k, int64_t ld)
{
	int64_t g = (k + GROUP - 1) / GROUP;
	const float *s = p + 128 * g;
	return (struct at_x){(const uint8_t *)p, (const int16_t *)(const void *)(p + 64 * g), s, s + 4 * g, s + 8 * g,
	                     s + 16 * g, ld};
}
/* Moved on by n elements, a multiple of GROUP. */
INLINE void x_skip(struct at_x *x, int64_t n)
{
	x->bytes += 2 * n;
	x->words += n;
	x->scale32 += n / 32;
	x->sum32 += n / 32;
	x->scale16 += n / 16;
	x->sum16 += n / 16;
}
/* Row r's place of something in a row. */
#define ROW(p, r) ((p) + (r) * x->ld * (int64_t)(sizeof(float) / sizeof *(p)))
#define EACH_X _Pragma("GCC unroll 4") for (int r = 0; r < m; r++)
