/* What unpacking and matvec share of the block formats: scales of the blocks of 256, mxfp4's scale, numbers of one
 * element. */

static inline uint32_t load_u32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

/* What twice mxfp4's levels are multiplied by: 2^(e - 128). */
INLINE float mxfp4_scale(uint8_t e)
{
	uint32_t bits = e < 2 ? (uint32_t)0x00200000 << e : (uint32_t)(e - 1) << 23;
	float f;

	memcpy(&f, &bits, sizeof f);
	return f;
}

/* Sixteen bytes made of words: kept in a register, since a load would wait for the stores of its parts. */
typedef uint32_t words __attribute__((vector_size(16)));

/* out (16) = bytes, less `bias`, times `a` (the first 8) or `b` (the others). */
INLINE void scale16(words bytes, int bias, float a, float b, float out[16])
{
#pragma GCC unroll 4
	for (int i = 0; i < 16; i += VL) {
		vf factor = v_select_lt(v_from_i32(vi_iota() + i), v_set1(8), v_set1(a), v_set1(b));
		v_store(out + i, v_from_i32(vi_from_words(bytes, i) - bias) * factor);
	}
}

/* The 16 scales of q3_k, times d. */
INLINE void q3_k_scales(const uint8_t *b, float out[16])
{
	uint32_t x = load_u32(b + 96), y = load_u32(b + 100), z = load_u32(b + 104), low = 0x0F0F0F0Fu, high = 0x30303030u;
	words six = {(x & low) | (z << 4 & high), (y & low) | (z << 2 & high), (x >> 4 & low) | (z & high),
	             (y >> 4 & low) | (z >> 2 & high)};
	float d = f16_to_f32(b + 108);

	scale16(six, 32, d, d, out);
}

/* The 8 scales and 8 minimums of q4_k and q5_k, times d and -dmin: (16) */
INLINE void k4_scales(const uint8_t *b, float out[16])
{
	uint32_t x = load_u32(b + 4), y = load_u32(b + 8), z = load_u32(b + 12), low = 0x0F0F0F0Fu, high = 0x30303030u;
	words six = {x & 0x3F3F3F3Fu, (z & low) | (x >> 2 & high), y & 0x3F3F3F3Fu, (z >> 4 & low) | (y >> 2 & high)};

	scale16(six, 0, f16_to_f32(b), -f16_to_f32(b + 2), out);
}

/* The 16 scales of q6_k, times d. */
INLINE void q6_k_scales(const uint8_t *b, float out[16])
{
	vf d = v_set1(f16_to_f32(b + 208));
#pragma GCC unroll 4
	for (int i = 0; i < 16; i += VL)
		v_store(out + i, v_from_i32(vi_from_i8(b + 192 + i)) * d);
}

typedef vf load_fn(const uint8_t *p);
typedef float one_fn(const uint8_t *p);

INLINE vf v_from_f32(const uint8_t *p)
{
	vf v;
	memcpy(&v, p, sizeof v);
	return v;
}
INLINE float f32_to_f32(const uint8_t *p)
{
	float v;
	memcpy(&v, p, sizeof v);
	return v;
}
INLINE float bf16_to_f32(const uint8_t *p)
{
	uint32_t u = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 24;
	float v;
	memcpy(&v, &u, sizeof v);
	return v;
}
