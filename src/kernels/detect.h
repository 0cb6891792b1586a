/* Between detect.c and pick.c: whether a kernel set may run here. */
#ifndef HTH_KERNELS_DETECT_H
#define HTH_KERNELS_DETECT_H

#include <stdbool.h>

bool hth_has_ref(void);
#if defined(__x86_64__)
bool hth_has_avx2(void);
bool hth_has_avx512(void);
bool hth_has_avx512vnni(void);
bool hth_has_avx512bf16(void);
bool hth_has_amx(void); /* asks the system for the tiles, too */
#endif
#if defined(__aarch64__)
bool hth_has_neon(void);
bool hth_has_dotprod(void);
bool hth_has_i8mm(void);
bool hth_has_neonbf16(void);
#endif
/* Are this processor's bf16 product instructions, where it has any, faster than its f32 ones? */
bool hth_bf16_pays(void);

#endif
