/* AMX: products of bf16 tiles, 16 x 32 by 32 x 16 into four accumulators. The tiles must have been granted
 * (hth_has_amx), and stay configured as x86_product_amx.c has them. Source: Intel SDM volume 1, chapter 18. */
#include "kernels/peak_int.h"

#if defined(__x86_64__) /* with the flags of the Makefile; compilers name the features differently */
#include <immintrin.h>

/* What LDTILECFG reads. */
struct tile_config {
	uint8_t palette, start_row, reserved[14];
	uint16_t row_bytes[16];
	uint8_t rows[16];
};

double hth_peak_amx(int64_t n)
{
	struct tile_config cfg = {.palette = 1};
	static const uint16_t zeros[16 * 32];
	float out[16 * 16];

	for (int i = 0; i < 8; i++) {
		cfg.row_bytes[i] = 64;
		cfg.rows[i] = 16;
	}
	_tile_loadconfig(&cfg);
	_tile_loadd(0, zeros, 64);
	_tile_loadd(1, zeros, 64);
	_tile_loadd(2, zeros, 64);
	_tile_loadd(3, zeros, 64);
	_tile_zero(4);
	_tile_zero(5);
	_tile_zero(6);
	_tile_zero(7);
	for (int64_t j = 0; j < n; j++) {
		_tile_dpbf16ps(4, 0, 2);
		_tile_dpbf16ps(5, 0, 3);
		_tile_dpbf16ps(6, 1, 2);
		_tile_dpbf16ps(7, 1, 3);
	}
	_tile_stored(4, out, 64);
	return (double)out[0];
}
#else
typedef int hth_peak_amx_unused;
#endif
