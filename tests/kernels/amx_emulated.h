/* AMX's tile instructions in C, in the place of the intrinsics of the same names, so that x86_product_amx.c is checked on
 * processors without them (amx.sh compiles it with -include of this file). Sums run in the order of TDPBF16PS: the even
 * product of a word is added, then the odd one. Source: Intel SDM volume 2. */
#ifndef HTH_TESTS_AMX_EMULATED_H
#define HTH_TESTS_AMX_EMULATED_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

static struct {
	int configured;
	uint8_t bytes[16][64];
} emulated_tiles[8];

static inline void emulated_config(const void *config)
{
	const uint8_t *c = config;

	for (int t = 0; t < 8; t++) {
		uint16_t row_bytes;
		memcpy(&row_bytes, c + 16 + 2 * t, sizeof row_bytes);
		emulated_tiles[t].configured = c[0] == 1 && row_bytes == 64 && c[48 + t] == 16;
	}
}
static inline void emulated_load(int t, const void *from, int64_t stride)
{
	for (int r = 0; r < 16 && emulated_tiles[t].configured; r++)
		memcpy(emulated_tiles[t].bytes[r], (const uint8_t *)from + r * stride, 64);
}
static inline void emulated_store(int t, void *to, int64_t stride)
{
	for (int r = 0; r < 16 && emulated_tiles[t].configured; r++)
		memcpy((uint8_t *)to + r * stride, emulated_tiles[t].bytes[r], 64);
}
static inline float emulated_half(const uint8_t *row, int i)
{
	uint16_t half;
	float f;

	memcpy(&half, row + 2 * i, sizeof half);
	uint32_t bits = (uint32_t)half << 16;
	memcpy(&f, &bits, sizeof f);
	return f;
}
static inline void emulated_product(int d, int a, int b)
{
	for (int m = 0; m < 16; m++)
		for (int n = 0; n < 16; n++) {
			float s;
			memcpy(&s, emulated_tiles[d].bytes[m] + 4 * n, sizeof s);
			for (int k = 0; k < 16; k++)
				for (int half = 0; half < 2; half++)
					s += emulated_half(emulated_tiles[a].bytes[m], 2 * k + half) *
					     emulated_half(emulated_tiles[b].bytes[k], 2 * n + half);
			memcpy(emulated_tiles[d].bytes[m] + 4 * n, &s, sizeof s);
		}
}

#undef _tile_loadconfig
#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#define _tile_loadconfig(config) emulated_config(config)
#define _tile_loadd(tile, from, stride) emulated_load(tile, from, stride)
#define _tile_stored(tile, to, stride) emulated_store(tile, to, stride)
#define _tile_zero(tile) memset(emulated_tiles[tile].bytes, 0, sizeof emulated_tiles[tile].bytes)
#define _tile_dpbf16ps(to, a, b) emulated_product(to, a, b)

#endif
