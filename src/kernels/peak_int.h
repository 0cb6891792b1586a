/* Between peak.c and the loops, one file for each instruction set (peak_<isa>.c, compiled with its flags). */
#ifndef HTH_KERNELS_PEAK_INT_H
#define HTH_KERNELS_PEAK_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* n rounds of independent multiply-adds in registers. The result only keeps the compiler from leaving them out. */
typedef double hth_peak_fn(int64_t n);
/* Reads every byte; bytes is a multiple of 1024, data aligned to 64. */
typedef uint64_t hth_peak_read_fn(const void *data, size_t bytes);

/* Operations of one round. */
enum {
	HTH_PEAK_REF_OPS = 2 * 6 * 4,
	HTH_PEAK_NEON_OPS = 2 * 16 * 4,
	HTH_PEAK_AVX2_OPS = 2 * 12 * 8,
	HTH_PEAK_AVX512_OPS = 2 * 16 * 16,
	HTH_PEAK_BF16_OPS = 2 * 16 * 32,
	HTH_PEAK_NEON_BF16_OPS = 2 * 16 * 16,
	HTH_PEAK_VNNI_OPS = 2 * 16 * 64,
	HTH_PEAK_AMX_OPS = 2 * 4 * 16 * 16 * 32,
};

double hth_peak_ref(int64_t n);
uint64_t hth_peak_read_ref(const void *data, size_t bytes);
#if defined(__aarch64__)
double hth_peak_neon(int64_t n);
uint64_t hth_peak_read_neon(const void *data, size_t bytes);
double hth_peak_neon_bf16(int64_t n);
#endif
#if defined(__x86_64__)
double hth_peak_avx2(int64_t n);
uint64_t hth_peak_read_avx2(const void *data, size_t bytes);
double hth_peak_avx512(int64_t n);
uint64_t hth_peak_read_avx512(const void *data, size_t bytes);
double hth_peak_avx512_bf16(int64_t n);
double hth_peak_vnni(int64_t n);
double hth_peak_amx(int64_t n);
#endif

#endif
