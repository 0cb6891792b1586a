/* Small helpers over the vector primitives of an instruction-set file, which defines them before including this: VL
 * (floats a vector), vf (float), vi (int32_t), vu (uint32_t) and the v_ functions. */

#define INLINE static inline __attribute__((always_inline))

INLINE vf v_add(vf a, vf b)
{
	return a + b;
}
INLINE vf v_mul(vf a, vf b)
{
	return a * b;
}

INLINE vf part_load(const float *p, int64_t left)
{
	return left >= VL ? v_load(p) : v_load_n(p, left);
}
INLINE void part_store(float *p, vf v, int64_t left)
{
	if (left >= VL)
		v_store(p, v);
	else
		v_store_n(p, v, left);
}
