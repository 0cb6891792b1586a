/* Counter-based random numbers (Philox 4x32-10, Salmon et al., SC11): a value is a pure function of a key and a
 * counter, so neither the thread count, nor a cut into micro-batches, nor a resume changes it. */
#ifndef HTH_BASE_RNG_H
#define HTH_BASE_RNG_H

#include <stdint.h>

/* What a stream of numbers is for; part of the key, so that no two uses share numbers. */
enum hth_rng_use {
	HTH_RNG_SHUFFLE = 1,
	HTH_RNG_SPLIT,
	HTH_RNG_INIT,    /* adapter initialisation */
	HTH_RNG_DROPOUT, /* counter: step, example, position, and layer/place in the key */
	HTH_RNG_SAMPLE,  /* sampling a token: counter = position */
	HTH_RNG_TEST,
};

struct hth_rng_key {
	uint32_t k[2];
};

/* A key for (seed, use, a, b): mixes all four. a, b: layer and place, epoch, ... */
struct hth_rng_key hth_rng_key(uint64_t seed, enum hth_rng_use use, uint32_t a, uint32_t b);
/* Four 32-bit numbers for the counter (c0, c1). */
void hth_rng_block(struct hth_rng_key key, uint64_t c0, uint64_t c1, uint32_t out[4]);
uint32_t hth_rng_u32(struct hth_rng_key key, uint64_t c0, uint64_t c1);
float hth_rng_uniform(struct hth_rng_key key, uint64_t c0, uint64_t c1);   /* [0, 1), 24 bits */
double hth_rng_uniform53(struct hth_rng_key key, uint64_t c0, uint64_t c1); /* [0, 1), 53 bits */
float hth_rng_normal(struct hth_rng_key key, uint64_t c0, uint64_t c1);    /* N(0, 1), Box-Muller */
/* Uniform in 0..n-1 without modulo bias worth naming (64-bit multiply-shift); n >= 1. */
uint64_t hth_rng_below(struct hth_rng_key key, uint64_t c0, uint64_t c1, uint64_t n);
/* Fisher-Yates of order[0..n-1], which holds 0..n-1 afterwards. */
void hth_rng_shuffle(struct hth_rng_key key, uint32_t *order, uint32_t n);

#endif
