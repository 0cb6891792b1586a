/* Philox 4x32 with ten rounds (J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3",
 * SC11), written from the paper; tests/base/test_rng.c holds its known answers. */
#include "base/rng.h"

#include <math.h>

#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u /* golden ratio */
#define PHILOX_W1 0xBB67AE85u /* sqrt(3) - 1 */

void hth_rng_block(struct hth_rng_key key, uint64_t c0, uint64_t c1, uint32_t out[4])
{
	uint32_t x0 = (uint32_t)c0, x1 = (uint32_t)(c0 >> 32), x2 = (uint32_t)c1, x3 = (uint32_t)(c1 >> 32);
	uint32_t k0 = key.k[0], k1 = key.k[1];

	for (int round = 0; round < 10; round++) {
		uint64_t p0 = (uint64_t)PHILOX_M0 * x0, p1 = (uint64_t)PHILOX_M1 * x2;
		x0 = (uint32_t)(p1 >> 32) ^ x1 ^ k0;
		x1 = (uint32_t)p1;
		x2 = (uint32_t)(p0 >> 32) ^ x3 ^ k1;
		x3 = (uint32_t)p0;
		k0 += PHILOX_W0;
		k1 += PHILOX_W1;
	}
	out[0] = x0;
	out[1] = x1;
	out[2] = x2;
	out[3] = x3;
}

/* The seed is the key and the rest the counter of one block: Philox itself is the mixer. */
struct hth_rng_key hth_rng_key(uint64_t seed, enum hth_rng_use use, uint32_t a, uint32_t b)
{
	struct hth_rng_key from_seed = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
	uint32_t out[4];

	hth_rng_block(from_seed, (uint64_t)b << 32 | a, (uint64_t)use, out);
	return (struct hth_rng_key){{out[0], out[1]}};
}

uint32_t hth_rng_u32(struct hth_rng_key key, uint64_t c0, uint64_t c1)
{
	uint32_t out[4];

	hth_rng_block(key, c0, c1, out);
	return out[0];
}

float hth_rng_uniform(struct hth_rng_key key, uint64_t c0, uint64_t c1)
{
	return (float)(hth_rng_u32(key, c0, c1) >> 8) * 0x1p-24f;
}

static double uniform53(const uint32_t x[2])
{
	return (double)(((uint64_t)x[1] << 32 | x[0]) >> 11) * 0x1p-53;
}

double hth_rng_uniform53(struct hth_rng_key key, uint64_t c0, uint64_t c1)
{
	uint32_t out[4];

	hth_rng_block(key, c0, c1, out);
	return uniform53(out);
}

float hth_rng_normal(struct hth_rng_key key, uint64_t c0, uint64_t c1)
{
	uint32_t out[4];

	hth_rng_block(key, c0, c1, out);
	/* 1 - u is in (0, 1]: its logarithm is finite. */
	double radius = sqrt(-2.0 * log(1.0 - uniform53(out)));
	return (float)(radius * cos(6.283185307179586 * uniform53(out + 2)));
}

uint64_t hth_rng_below(struct hth_rng_key key, uint64_t c0, uint64_t c1, uint64_t n)
{
	uint32_t out[4];

	hth_rng_block(key, c0, c1, out);
	uint64_t x = (uint64_t)out[1] << 32 | out[0];
	return (uint64_t)((__extension__(unsigned __int128) x * n) >> 64);
}

void hth_rng_shuffle(struct hth_rng_key key, uint32_t *order, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		order[i] = i;
	for (uint32_t i = n; i > 1; i--) {
		uint32_t j = (uint32_t)hth_rng_below(key, i, 0, i);
		uint32_t t = order[i - 1];
		order[i - 1] = order[j];
		order[j] = t;
	}
}
