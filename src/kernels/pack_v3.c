/* Encoders on AVX2 without fused multiply-adds (x86-64-v3's vectors), so that bytes are those of every other version.
 * Reached on one core of an EPYC with Zen 4 cores: docs/speed.md. */
#if defined(__x86_64__)
#include "kernels/pack_int.h"

#include <immintrin.h>

typedef float f8 __attribute__((vector_size(32), may_alias));
typedef int32_t i8 __attribute__((vector_size(32), may_alias));
#define V_MAX(a, b) ((f8)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define V_MIN(a, b) ((f8)_mm256_min_ps((__m256)(a), (__m256)(b)))

#include "kernels/pack_formats.h"

hth_pack_fn *const hth_pack_v3[HTH_QUANT_COUNT] = HTH_PACK_TABLE;
#else
typedef int pack_v3_needs_x86;
#endif
