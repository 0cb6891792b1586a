/* AVX2 and FMA: twelve chains; two pipes of four or five cycles need ten. */
#include "kernels/peak_int.h"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>

enum { CHAINS = 12 };

double hth_peak_avx2(int64_t n)
{
	__m256 a[CHAINS], x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f), all = x;

	for (int i = 0; i < CHAINS; i++)
		a[i] = _mm256_set1_ps((float)i);
	for (int64_t j = 0; j < n; j++) {
#pragma GCC unroll 12
		for (int i = 0; i < CHAINS; i++)
			a[i] = _mm256_fmadd_ps(a[i], x, y);
	}
	for (int i = 0; i < CHAINS; i++)
		all = _mm256_add_ps(all, a[i]);
	return (double)_mm256_cvtss_f32(all);
}

uint64_t hth_peak_read_avx2(const void *data, size_t bytes)
{
	const char *p = data;
	__m256i sum[8];

	for (int i = 0; i < 8; i++)
		sum[i] = _mm256_setzero_si256();
	for (size_t at = 0; at < bytes; at += 256) {
#pragma GCC unroll 8
		for (int i = 0; i < 8; i++) {
			const void *from = p + at + 32 * (size_t)i;
			sum[i] = _mm256_add_epi64(sum[i], _mm256_load_si256(from));
		}
	}
	for (int i = 1; i < 8; i++)
		sum[0] = _mm256_add_epi64(sum[0], sum[i]);
	return (uint64_t)_mm256_extract_epi64(sum[0], 0) + (uint64_t)_mm256_extract_epi64(sum[0], 2);
}
#else
typedef int hth_peak_avx2_unused;
#endif
