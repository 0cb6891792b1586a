/* f16 numbers: the tile whose B is of them, and f32 ones rounded to them; after simd_product.h with PAIR 1. An instruction
 * set's file defines v_from_f16 and v_to_f16. */

static void tile_half(int64_t m, int64_t n, int64_t k, const float *a, const uint16_t *b, float *c, int64_t ldc,
		      bool add)
{
	TILE_CASES(2)
}

static void halves(const float *x, uint16_t *out, int64_t n)
{
	for (; n >= VL; n -= VL, x += VL, out += VL)
		v_to_f16(v_load(x), out);
	if (n > 0) {
		uint16_t last[VL];
		v_to_f16(v_load_n(x, n), last);
		memcpy(out, last, (size_t)n * sizeof *out);
	}
}
