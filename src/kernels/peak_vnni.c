/* AVX-512's dot products of short numbers: int8 in groups of four (VNNI) and bf16 in pairs (BF16). */
#include "kernels/peak_int.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BF16__)
#include <immintrin.h>

enum { CHAINS = 16 };

double hth_peak_vnni(int64_t n)
{
	__m512i a[CHAINS], x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(-2), all = x;

	for (int i = 0; i < CHAINS; i++)
		a[i] = _mm512_set1_epi32(i);
	for (int64_t j = 0; j < n; j++) {
#pragma GCC unroll 16
		for (int i = 0; i < CHAINS; i++)
			a[i] = _mm512_dpbusd_epi32(a[i], x, y);
	}
	for (int i = 0; i < CHAINS; i++)
		all = _mm512_add_epi32(all, a[i]);
	return (double)_mm512_reduce_or_epi32(all);
}

double hth_peak_avx512_bf16(int64_t n)
{
	__m512 a[CHAINS], all = _mm512_setzero_ps();
	__m512bh x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(-0.5f));
	__m512bh y = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1.0f), _mm512_set1_ps(2.0f));

	for (int i = 0; i < CHAINS; i++)
		a[i] = _mm512_set1_ps((float)i);
	for (int64_t j = 0; j < n; j++) {
#pragma GCC unroll 16
		for (int i = 0; i < CHAINS; i++)
			a[i] = _mm512_dpbf16_ps(a[i], x, y);
	}
	for (int i = 0; i < CHAINS; i++)
		all = _mm512_add_ps(all, a[i]);
	return (double)_mm512_reduce_add_ps(all);
}
#else
typedef int hth_peak_vnni_unused;
#endif
