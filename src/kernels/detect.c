/* What this processor and its system can run: one function per kernel set. Compiled without instruction-set flags, so
 * that nothing here can fault on an old processor.
 *
 * On x86 a flag of cpuid says that the processor has the instructions; XGETBV says that the system saves the
 * registers at a task switch. Both are needed; for AMX's tiles Linux wants to be asked, too. Sources: Intel SDM volume 1,
 * chapters 14, 15 and 18, and volume 2A (CPUID); Linux Documentation/arch/x86/xstate.rst. */
#include "kernels/detect.h"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdint.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum { XCR0_AVX = 0x06, XCR0_AVX512 = 0xE6, XCR0_TILES = 0x60000 };

static bool system_saves(uint32_t xcr0_bits)
{
	uint32_t a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return false;
	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	return (a & xcr0_bits) == xcr0_bits;
}

bool hth_has_avx2(void)
{
	uint32_t a, b, c, d;

	if (!system_saves(XCR0_AVX) || !__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_FMA) || !(c & bit_F16C))
		return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2);
}

bool hth_has_avx512(void)
{
	uint32_t a, b, c, d, need = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;

	if (!hth_has_avx2() || !system_saves(XCR0_AVX512))
		return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & need) == need;
}

bool hth_has_avx512vnni(void)
{
	uint32_t a, b, c, d;

	return hth_has_avx512() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & bit_AVX512VNNI);
}

bool hth_has_avx512bf16(void)
{
	uint32_t a, b, c, d;

	return hth_has_avx512() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & bit_AVX512BF16);
}

/* A process must ask for the tiles' 8 KB of state before it touches them. */
static bool tiles_granted(void)
{
#if defined(__linux__)
	enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };

	return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
	return false;
#endif
}

bool hth_has_amx(void)
{
	enum { BF16 = 1 << 22, TILE = 1 << 24 };
	uint32_t a, b, c, d;

	return hth_has_avx512bf16() && system_saves(XCR0_TILES) && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & BF16) &&
	       (d & TILE) && tiles_granted();
}

/* AMX does 16 times the work. AMD's cores do as many VDPBF16PS as multiply-adds, of twice the work each; Intel's (Sapphire
 * Rapids, measured) half as many. */
bool hth_bf16_pays(void)
{
	uint32_t a, b, c, d;

	if (hth_has_amx())
		return true;
	return __get_cpuid(0, &a, &b, &c, &d) && b == signature_AMD_ebx && hth_has_avx512bf16();
}
#else
bool hth_bf16_pays(void)
{
	return false;
}
#endif

bool hth_has_ref(void)
{
	return true;
}

#if defined(__aarch64__)
/* Part of every 64-bit Arm processor. */
bool hth_has_neon(void)
{
	return true;
}

bool hth_has_dotprod(void)
{
#if defined(__APPLE__)
	return true; /* M1 and later */
#elif defined(__linux__)
	return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#else
	return false;
#endif
}
#endif
