/* Encoders on NEON, which every 64-bit ARM has: a group of eight lanes is two registers. */
#if defined(__aarch64__)
#include "kernels/pack_int.h"

typedef float f8 __attribute__((vector_size(32), may_alias));
typedef int32_t i8 __attribute__((vector_size(32), may_alias));
static inline f8 v_pick(i8 mask, f8 yes, f8 no)
{
	return (f8)((mask & (i8)yes) | (~mask & (i8)no));
}
#define V_MAX(a, b) v_pick((a) > (b), (a), (b))
#define V_MIN(a, b) v_pick((a) < (b), (a), (b))

#include "kernels/pack_formats.h"

hth_pack_fn *const hth_pack_arm[HTH_QUANT_COUNT] = HTH_PACK_TABLE;
#else
typedef int pack_arm_needs_arm;
#endif
