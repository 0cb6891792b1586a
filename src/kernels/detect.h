/* Between detect.c and pick.c: whether a kernel set may run here. */
#ifndef HTH_KERNELS_DETECT_H
#define HTH_KERNELS_DETECT_H

#include <stdbool.h>

bool hth_has_ref(void);
#if defined(__x86_64__)
bool hth_has_avx2(void);
bool hth_has_avx512(void);
bool hth_has_avx512vl(void);
#endif
#if defined(__aarch64__)
bool hth_has_neon(void);
#endif

#endif
