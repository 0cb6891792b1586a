/* Rows of blocks times vectors over vector primitives: decoding's inner loops.
 *
 * The bound is reading the blocks; what stands in the way is turning small integers into floats. So:
 * - 16 bytes are broadcast to all 128-bit lanes; 32-bit lane l then shifts its byte 8 * (l / 4) into place. Lanes stand
 *   for elements in the order 0 4 8 12, 1 5 9 13, ...: the caller's x is permuted alike, once (prepare_x).
 * - v_field makes of n bits the float FIELD_ONE + q * 2^-(n * FIELD_ONE), without a conversion where FIELD_ONE is 1.
 * - Scales multiply sums of a sub-block, not weights; what is constant in a sub-block (minimum, offset, FIELD_ONE)
 *   multiplies the sums of x, 16 or 32 elements each, which prepare_x also makes.
 * One row at a time, since memory is read fastest as one stream; two running sums hide the latency of
 * multiply-adds. Layouts are drawn in src/quant/<format>.c. */

/* One prepared row: (k) permuted x, (k/16) sums, (k/32) sums, as hth_prepared_elems. */
static void prepare_x(const float *x, int64_t k, float *out)
{
	float *s16 = out + k, *s32 = s16 + k / 16;

	for (int64_t b = 0; b + 16 <= k; b += 16) {
		float s = 0;
		for (int64_t i = 0; i < 16; i++) {
			out[b + i % 4 * 4 + i / 4] = x[b + i];
			s += x[b + i];
		}
		s16[b / 16] = s;
	}
	for (int64_t b = 0; b + 32 <= k; b += 32)
		s32[b / 32] = s16[b / 16] + s16[b / 16 + 1];
}

/* m prepared rows of x at one place of k. */
struct at_x {
	const float *x, *s16, *s32;
	int64_t ld;
	int m;
};
INLINE struct at_x x_at(const struct hth_matvec_in *in, int m, int64_t k, int64_t at)
{
	return (struct at_x){in->prepared + at, in->prepared + k + at / 16, in->prepared + k + k / 16 + at / 32,
	                     in->prepared_ld, m};
}

/* Running sums of one row of w against each row of x. */
struct sums {
	vf acc[2][HTH_MATVEC_MAX_ROWS];  /* scaled products, in two chains */
	vf fixed[HTH_MATVEC_MAX_ROWS];   /* what is constant in sub-blocks */
};

#define EACH_X _Pragma("GCC unroll 4") for (int r = 0; r < m; r++)

INLINE void begin(struct sums *t, int m)
{
	EACH_X t->acc[0][r] = t->acc[1][r] = t->fixed[r] = v_set1(0);
}

/* 8 G for each lane: G the byte of its dword that lane l of vector v stands for. */
INLINE vu byte_shift(int v)
{
	return (vu)((vi_iota() + v * VL) >> 2 << 3);
}
/* The element of 16 that a lane stands for. */
INLINE vu element(int v)
{
	vi lane = vi_iota() + v * VL;
	return (vu)((lane & 3) * 4 + (lane >> 2));
}

/* s (m) = or += w times the vectors of x at `at`. */
INLINE void product(vf *s, bool first, vf w, const struct at_x *x, int at)
{
#pragma GCC unroll 4
	for (int r = 0; r < x->m; r++) {
		vf xv = v_load(x->x + r * x->ld + at);
		s[r] = first ? v_mul(w, xv) : v_fma(w, xv, s[r]);
	}
}
INLINE void add_scaled(vf *acc, const vf *s, float scale, int m)
{
#pragma GCC unroll 4
	for (int r = 0; r < m; r++)
		acc[r] = v_fma(s[r], v_set1(scale), acc[r]);
}
/* fixed += c (n) * sums of x (n) */
INLINE void add_fixed(vf *fixed, const float *c, const float *sums, int64_t ld, int64_t n, int m)
{
#pragma GCC unroll 4
	for (int64_t i = 0; i < n; i += VL)
#pragma GCC unroll 4
		for (int r = 0; r < m; r++)
			fixed[r] = v_fma(part_load(c + i, n - i), part_load(sums + r * ld + i, n - i), fixed[r]);
}

INLINE void finish(const struct sums *t, float scale, float fixed, int m, float *y, int64_t ldy)
{
	EACH_X y[r * ldy] = v_sum(v_fma(v_set1(scale), t->acc[0][r] + t->acc[1][r], v_set1(fixed) * t->fixed[r]));
}

/* --- blocks of 32 ------------------------------------------------------------------------------------------------- */

enum { CHUNK = 16 }; /* blocks whose scales are converted together */

/* d (CHUNK) half floats `bytes` apart; beyond n zero. */
INLINE void load_halves(const uint8_t *p, int bytes, int64_t n, float d[CHUNK])
{
	if (n >= CHUNK) {
		v_gather_halves(p, bytes, d);
		return;
	}
	for (int64_t i = 0; i < CHUNK; i++)
		d[i] = i < n ? f16_to_f32(p + i * bytes) : 0;
}

/* One block: nibbles at qs and, with five, fifth bits in the four bytes before. */
INLINE void block32(const uint8_t *qs, bool five, float scale, vf *acc, const struct at_x *x, int at)
{
	vu b = v_bytes16(qs), h = (vu){0} + (five ? load_u32(qs - 4) : 0);
	vf s[HTH_MATVEC_MAX_ROWS];

#pragma GCC unroll 4
	for (int v = 0; v < 16 / VL; v++) {
		vu low = byte_shift(v), high = low + 4, e = element(v);
		product(s, v == 0, five ? v_field2(b, low, 4, h, e, 1) : v_field(b, low, 4), x, at + v * VL);
		product(s, false, five ? v_field2(b, high, 4, h, e + 16, 1) : v_field(b, high, 4), x,
		        at + 16 + v * VL);
	}
	add_scaled(acc, s, scale, x->m);
}

/* A row of q4_0, q4_1, q5_0 or q5_1: bytes a block, minimum after the scale or not, fifth bits or not. */
INLINE void row32(int bytes, bool minimum, bool five, const uint8_t *w, int64_t k, int m,
                   const struct hth_matvec_in *in, float *y, int64_t ldy)
{
	struct sums t;
	float d[CHUNK], c[CHUNK];
	int skip = (minimum ? 4 : 2) + (five ? 4 : 0);
	float unit = field_unit(five ? 5 : 4), shift = (float)FIELD_ONE * unit;

	begin(&t, m);
	for (int64_t at = 0; at < k; at += 32 * CHUNK, w += CHUNK * bytes) {
		int64_t n = (k - at) / 32 < CHUNK ? (k - at) / 32 : CHUNK;
		struct at_x x = x_at(in, m, k, at);
		load_halves(w, bytes, n, d);
		if (minimum)
			load_halves(w + 2, bytes, n, c);
		/* What multiplies the sums of x: minimum - shift * d, or -(shift + offset) * d. */
#pragma GCC unroll 4
		for (int i = 0; i < CHUNK; i += VL)
			v_store(c + i, v_fma(v_set1(minimum ? -shift : -(shift + (five ? 16 : 8))), v_load(d + i),
			                     minimum ? v_load(c + i) : v_set1(0)));
		add_fixed(t.fixed, c, x.s32, x.ld, n, m);
		const uint8_t *block = w + skip;
		int64_t i = 0;
		for (; i + 2 <= n; i += 2, block += 2 * bytes, x.x += 64) {
			block32(block, five, d[i], t.acc[0], &x, 0);
			block32(block + bytes, five, d[i + 1], t.acc[1], &x, 32);
		}
		if (i < n)
			block32(block, five, d[i], t.acc[0], &x, 0);
	}
	finish(&t, unit, 1, m, y, ldy);
}

INLINE void block_q8_0(const uint8_t *qs, float scale, vf *acc, const struct at_x *x, int at)
{
	vf s[HTH_MATVEC_MAX_ROWS];

#pragma GCC unroll 8
	for (int v = 0; v < 32; v += VL)
		product(s, v == 0, v_from_i32(vi_from_i8(qs + v)), x, at + v);
	add_scaled(acc, s, scale, x->m);
}

INLINE void row_q8_0(const uint8_t *w, int64_t k, int m, const struct hth_matvec_in *in, float *y, int64_t ldy)
{
	struct sums t;
	float d[CHUNK];

	begin(&t, m);
	for (int64_t at = 0; at < k; at += 32 * CHUNK, w += CHUNK * 34) {
		int64_t n = (k - at) / 32 < CHUNK ? (k - at) / 32 : CHUNK;
		struct at_x x = {.x = in->x + at, .ld = in->ldx, .m = m};
		load_halves(w, 34, n, d);
		const uint8_t *block = w + 2;
		int64_t i = 0;
		for (; i + 2 <= n; i += 2, block += 68, x.x += 64) {
			block_q8_0(block, d[i], t.acc[0], &x, 0);
			block_q8_0(block + 34, d[i + 1], t.acc[1], &x, 32);
		}
		if (i < n)
			block_q8_0(block, d[i], t.acc[0], &x, 0);
	}
	finish(&t, 1, 0, m, y, ldy);
}

/* --- blocks of 256 ------------------------------------------------------------------------------------------------ */

/* The 16 scales of q2_k times d, and what multiplies the sums of x. */
INLINE void q2_k_scales(const uint8_t *w, float scale[16], float c[16])
{
	vf d = v_set1(f16_to_f32(w + 80)), dmin = v_set1(f16_to_f32(w + 82)), one = v_set1((float)FIELD_ONE * field_unit(2));
#pragma GCC unroll 4
	for (int i = 0; i < 16; i += VL) {
		vi both = vi_from_u8(w + i);
		vf sc = v_from_i32(both & 15) * d;
		v_store(scale + i, sc);
		v_store(c + i, v_set1(0) - v_from_i32(both >> 4) * dmin - sc * one);
	}
}

INLINE void row_q2_k(const uint8_t *w, int64_t k, int m, const struct hth_matvec_in *in, float *y, int64_t ldy)
{
	struct sums t;
	float scale[16], c[16];

	begin(&t, m);
	for (int64_t at = 0; at < k; at += 256, w += 84) {
		struct at_x x = x_at(in, m, k, at);
		q2_k_scales(w, scale, c);
		add_fixed(t.fixed, c, x.s16, x.ld, 16, m);
#pragma GCC unroll 4
		for (int g = 0; g < 4; g++) {
			vu b = v_bytes16(w + 16 + 16 * g);
#pragma GCC unroll 4
			for (int i = 0; i < 4; i++) {
				vf s[HTH_MATVEC_MAX_ROWS];
#pragma GCC unroll 4
				for (int v = 0; v < 16 / VL; v++)
					product(s, v == 0, v_field(b, byte_shift(v) + 2 * (uint32_t)i, 2), &x,
					        128 * (g / 2) + 32 * i + 16 * (g % 2) + v * VL);
				add_scaled(t.acc[i % 2], s, scale[8 * (g / 2) + 2 * i + g % 2], m);
			}
		}
	}
	finish(&t, field_unit(2), 1, m, y, ldy);
}

INLINE void row_q3_k(const uint8_t *w, int64_t k, int m, const struct hth_matvec_in *in, float *y, int64_t ldy)
{
	struct sums t;
	float scale[16];

	begin(&t, m);
	for (int64_t at = 0; at < k; at += 256, w += 110) {
		struct at_x x = x_at(in, m, k, at);
		q3_k_scales(w, scale);
		add_fixed(t.fixed, scale, x.s16, x.ld, 16, m);
#pragma GCC unroll 4
		for (int g = 0; g < 4; g++) {
			vu b = v_bytes16(w + 32 + 16 * g), top = v_bytes16(w + 16 * (g % 2));
#pragma GCC unroll 4
			for (int i = 0; i < 4; i++) {
				vf s[HTH_MATVEC_MAX_ROWS];
#pragma GCC unroll 4
				for (int v = 0; v < 16 / VL; v++) {
					vu low = byte_shift(v) + 2 * (uint32_t)i;
					vu high = byte_shift(v) + 4 * (uint32_t)(g / 2) + (uint32_t)i;
					product(s, v == 0, v_field2(b, low, 2, top, high, 1), &x,
					        128 * (g / 2) + 32 * i + 16 * (g % 2) + v * VL);
				}
				add_scaled(t.acc[i % 2], s, scale[8 * (g / 2) + 2 * i + g % 2], m);
			}
		}
	}
	finish(&t, field_unit(3), -(4 + (float)FIELD_ONE * field_unit(3)), m, y, ldy);
}

/* 16 bytes of q4_k or q5_k: s[0] += low nibbles, s[1] += high ones, which stand 32 elements further; with five, bits
 * `bit` and bit + 1 of the bytes at fifth. */
INLINE void k45_bytes(const uint8_t *qs, bool five, const uint8_t *fifth, uint32_t bit, bool first,
                      vf s[2][HTH_MATVEC_MAX_ROWS], const struct at_x *x, int at)
{
	vu b = v_bytes16(qs), h = five ? v_bytes16(fifth) : b;

#pragma GCC unroll 4
	for (int v = 0; v < 16 / VL; v++) {
		vu low = byte_shift(v), high = low + 4;
		product(s[0], first && v == 0, five ? v_field2(b, low, 4, h, low + bit, 1) : v_field(b, low, 4), x,
		        at + v * VL);
		product(s[1], first && v == 0, five ? v_field2(b, high, 4, h, low + bit + 1, 1) : v_field(b, high, 4), x,
		        at + 32 + v * VL);
	}
}

INLINE void row_k45(bool five, const uint8_t *w, int64_t k, int m, const struct hth_matvec_in *in,
                     float *y, int64_t ldy)
{
	struct sums t;
	float s8[16], c[8], one = (float)FIELD_ONE * field_unit(five ? 5 : 4); /* 8 scales, 8 minimums */

	begin(&t, m);
	for (int64_t at = 0; at < k; at += 256, w += five ? 176 : 144) {
		struct at_x x = x_at(in, m, k, at);
		k4_scales(w, s8);
#pragma GCC unroll 4
		for (int i = 0; i < 8; i += VL)
			part_store(c + i, v_fma(v_set1(-one), part_load(s8 + i, 8 - i), part_load(s8 + 8 + i, 8 - i)),
			           8 - i);
		add_fixed(t.fixed, c, x.s32, x.ld, 8, m);
#pragma GCC unroll 4
		for (int p = 0; p < 4; p++) {
			const uint8_t *qs = w + (five ? 48 : 16) + 32 * p;
			vf s[2][HTH_MATVEC_MAX_ROWS];
			k45_bytes(qs, five, w + 16, 2 * (uint32_t)p, true, s, &x, 64 * p);
			k45_bytes(qs + 16, five, w + 32, 2 * (uint32_t)p, false, s, &x, 64 * p + 16);
			add_scaled(t.acc[0], s[0], s8[2 * p], m);
			add_scaled(t.acc[1], s[1], s8[2 * p + 1], m);
		}
	}
	finish(&t, field_unit(five ? 5 : 4), 1, m, y, ldy);
}

/* 16 bytes of ql (group g of 8) with their upper bits. */
INLINE void q6_k_bytes(const uint8_t *block, int g, const float *scale, struct sums *t, const struct at_x *x)
{
	int h = g / 4, i = g / 2 % 2, half = g % 2, at = 128 * h + 32 * i + 16 * half;
	vu b = v_bytes16(block + 16 * g), top = v_bytes16(block + 128 + 32 * h + 16 * half);
	vf s[2][HTH_MATVEC_MAX_ROWS];

#pragma GCC unroll 4
	for (int v = 0; v < 16 / VL; v++) {
		vu byte = byte_shift(v), up = byte + 2 * (uint32_t)i;
		product(s[0], v == 0, v_field2(b, byte, 4, top, up, 2), x, at + v * VL);
		product(s[1], v == 0, v_field2(b, byte + 4, 4, top, up + 4, 2), x, at + 64 + v * VL);
	}
	add_scaled(t->acc[0], s[0], scale[8 * h + 2 * i + half], x->m);
	add_scaled(t->acc[1], s[1], scale[8 * h + 2 * i + half + 4], x->m);
}

INLINE void row_q6_k(const uint8_t *w, int64_t k, int m, const struct hth_matvec_in *in, float *y, int64_t ldy)
{
	struct sums t;
	float scale[16];

	begin(&t, m);
	for (int64_t at = 0; at < k; at += 256, w += 210) {
		struct at_x x = x_at(in, m, k, at);
		q6_k_scales(w, scale);
		add_fixed(t.fixed, scale, x.s16, x.ld, 16, m);
#pragma GCC unroll 8
		for (int g = 0; g < 8; g++)
			q6_k_bytes(w, g, scale, &t, &x);
	}
	finish(&t, field_unit(6), -(32 + (float)FIELD_ONE * field_unit(6)), m, y, ldy);
}

/* --- formats of single elements ----------------------------------------------------------------------------------- */

INLINE void row_plain(load_fn *load, one_fn *one, int bytes, const uint8_t *w, int64_t k, int m,
                   const struct hth_matvec_in *in, float *y, int64_t ldy)
{
	struct sums t;
	int64_t at = 0;

	begin(&t, m);
	for (; at + 2 * VL <= k; at += 2 * VL) {
		vf u = load(w + at * bytes), v = load(w + (at + VL) * bytes);
#pragma GCC unroll 4
		for (int r = 0; r < m; r++) {
			const float *x = in->x + r * in->ldx + at;
			t.acc[0][r] = v_fma(u, v_load(x), t.acc[0][r]);
			t.acc[1][r] = v_fma(v, v_load(x + VL), t.acc[1][r]);
		}
	}
	EACH_X {
		float s = v_sum(t.acc[0][r] + t.acc[1][r]);
		for (int64_t i = at; i < k; i++)
			s += one(w + i * bytes) * in->x[r * in->ldx + i];
		y[r * ldy] = s;
	}
}

/* ROW(...) is a call of a row function up to w. */
#define MATVEC_CASE(n_x, ROW, ...)                                                                                     \
	case n_x:                                                                                                      \
		for (; n_rows > 0; n_rows--, w += row_bytes, y++)                                                      \
			ROW(__VA_ARGS__ w, k, n_x, in, y, ldy);                                                        \
		break;
#define MATVEC(name, ...)                                                                                              \
	static void matvec_##name(const uint8_t *w, uint64_t row_bytes, int64_t n_rows, int64_t k,                     \
	                          const struct hth_matvec_in *in, float *y, int64_t ldy)                               \
	{                                                                                                              \
		_Static_assert(HTH_MATVEC_MAX_ROWS == 4, "the cases below cover m");                                   \
		switch (in->m) {                                                                                       \
			MATVEC_CASE(1, __VA_ARGS__)                                                                    \
			MATVEC_CASE(2, __VA_ARGS__)                                                                    \
			MATVEC_CASE(3, __VA_ARGS__)                                                                    \
			MATVEC_CASE(4, __VA_ARGS__)                                                                    \
		default:                                                                                               \
			break;                                                                                         \
		}                                                                                                      \
	}

MATVEC(f32, row_plain, v_from_f32, f32_to_f32, 4, )
MATVEC(f16, row_plain, v_from_f16, f16_to_f32, 2, )
MATVEC(bf16, row_plain, v_from_bf16, bf16_to_f32, 2, )
MATVEC(q4_0, row32, 18, false, false, )
MATVEC(q4_1, row32, 20, true, false, )
MATVEC(q5_0, row32, 22, false, true, )
MATVEC(q5_1, row32, 24, true, true, )
MATVEC(q8_0, row_q8_0, )
MATVEC(q2_k, row_q2_k, )
MATVEC(q3_k, row_q3_k, )
MATVEC(q4_k, row_k45, false, )
MATVEC(q5_k, row_k45, true, )
MATVEC(q6_k, row_q6_k, )

#define MATVEC_SLOT(ID, name) .matvec[HTH_QUANT_##ID] = matvec_##name
#define SIMD_MATVEC_SLOTS                                                                                              \
	.prepare_x = prepare_x, MATVEC_SLOT(F32, f32), MATVEC_SLOT(F16, f16), MATVEC_SLOT(BF16, bf16),                 \
	MATVEC_SLOT(Q4_0, q4_0), MATVEC_SLOT(Q4_1, q4_1), MATVEC_SLOT(Q5_0, q5_0), MATVEC_SLOT(Q5_1, q5_1),            \
	MATVEC_SLOT(Q8_0, q8_0), MATVEC_SLOT(Q2_K, q2_k), MATVEC_SLOT(Q3_K, q3_k), MATVEC_SLOT(Q4_K, q4_k),            \
	MATVEC_SLOT(Q5_K, q5_k), MATVEC_SLOT(Q6_K, q6_k)
