/* AVX-512: sixteen chains; two pipes of four cycles need eight. */
#include "kernels/peak_int.h"

#if defined(__AVX512F__)
#include <immintrin.h>

enum { CHAINS = 16 };

double hth_peak_avx512(int64_t n)
{
	__m512 a[CHAINS], x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f), all = x;

	for (int i = 0; i < CHAINS; i++)
		a[i] = _mm512_set1_ps((float)i);
	for (int64_t j = 0; j < n; j++) {
#pragma GCC unroll 16
		for (int i = 0; i < CHAINS; i++)
			a[i] = _mm512_fmadd_ps(a[i], x, y);
	}
	for (int i = 0; i < CHAINS; i++)
		all = _mm512_add_ps(all, a[i]);
	return (double)_mm512_reduce_add_ps(all);
}

uint64_t hth_peak_read_avx512(const void *data, size_t bytes)
{
	const char *p = data;
	__m512i sum[8];

	for (int i = 0; i < 8; i++)
		sum[i] = _mm512_setzero_si512();
	for (size_t at = 0; at < bytes; at += 512) {
#pragma GCC unroll 8
		for (int i = 0; i < 8; i++)
			sum[i] = _mm512_add_epi64(sum[i], _mm512_load_si512(p + at + 64 * (size_t)i));
	}
	for (int i = 1; i < 8; i++)
		sum[0] = _mm512_add_epi64(sum[0], sum[i]);
	return (uint64_t)_mm512_reduce_or_epi64(sum[0]);
}
#else
typedef int hth_peak_avx512_unused;
#endif
