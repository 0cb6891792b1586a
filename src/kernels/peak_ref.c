/* The portable peak: what plain C in vectors of four floats reaches, without fused multiply-adds (SSE2 on x86). Six
 * chains of products and six of sums, which run side by side as they do in the reference kernels. */
#include "kernels/peak_int.h"

#include <string.h>

typedef float four __attribute__((vector_size(16)));
typedef uint64_t two __attribute__((vector_size(16)));

enum { CHAINS = 6 };

double hth_peak_ref(int64_t n)
{
	volatile float one = 1; /* unknown to the compiler; chains neither grow nor fall towards denormal numbers */
	float f = one;
	four x = {f, f, f, f}, p[CHAINS], s[CHAINS], all = {0, 0, 0, 0};

	for (int i = 0; i < CHAINS; i++) {
		p[i] = x + (float)i;
		s[i] = -x;
	}
	for (int64_t j = 0; j < n; j++) {
#pragma GCC unroll 6
		for (int i = 0; i < CHAINS; i++) {
			p[i] *= x;
			s[i] += x;
		}
	}
	for (int i = 0; i < CHAINS; i++)
		all += p[i] + s[i];
	return (double)(all[0] + all[1] + all[2] + all[3]);
}

uint64_t hth_peak_read_ref(const void *data, size_t bytes)
{
	const char *p = data;
	two sum[8] = {{0}};

	for (size_t at = 0; at < bytes; at += sizeof sum) {
#pragma GCC unroll 8
		for (int i = 0; i < 8; i++) {
			two v;
			memcpy(&v, p + at + (size_t)i * sizeof v, sizeof v);
			sum[i] += v;
		}
	}
	for (int i = 1; i < 8; i++)
		sum[0] += sum[i];
	return sum[0][0] + sum[0][1];
}
