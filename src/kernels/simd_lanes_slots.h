/* Rows side by side, behind the row functions of an instruction set (simd_lanes.h, simd_lanes_arm.h): a function for each format
 * that takes sixteens of rows one after the other, the number of x's rows being a constant in each, and their slots. */

#define LANES_CASE(n_x, ROW_FN, ...)                                                                                   \
	case n_x:                                                                                                      \
		for (; n_rows > 0; n_rows -= HTH_LANES, w += bytes, y += HTH_LANES)                                    \
			ROW_FN(__VA_ARGS__ w, k, n_x, in, y, ldy);                                                     \
		break;
#define MATVEC16(ID, name, ...)                                                                                        \
	static void matvec16_##name(const uint8_t *w, int64_t n_rows, int64_t k, const struct hth_matvec_in *in,       \
	                            float *y, int64_t ldy)                                                             \
	{                                                                                                              \
		uint64_t bytes = hth_interleaved_bytes(HTH_QUANT_##ID, k);                                             \
		switch (in->m) {                                                                                       \
			LANES_CASE(1, __VA_ARGS__)                                                                     \
			LANES_CASE(2, __VA_ARGS__)                                                                     \
			LANES_CASE(3, __VA_ARGS__)                                                                     \
			LANES_CASE(4, __VA_ARGS__)                                                                     \
		default:                                                                                               \
			break;                                                                                         \
		}                                                                                                      \
	}

#define MATVEC16_SLOT(ID, name) .matvec16[HTH_QUANT_##ID] = matvec16_##name
#define SIMD_MATVEC16_SLOTS                                                                                            \
	MATVEC16_SLOT(Q4_0, q4_0), MATVEC16_SLOT(Q4_1, q4_1), MATVEC16_SLOT(Q5_0, q5_0), MATVEC16_SLOT(Q5_1, q5_1),    \
	MATVEC16_SLOT(Q8_0, q8_0), MATVEC16_SLOT(Q4_K, q4_k), MATVEC16_SLOT(Q6_K, q6_k)
