/* SPDX-License-Identifier: Apache-2.0 */
/* Counter-based random numbers (Philox4x32-10, Salmon et al. 2011): a value depends only on (seed, purpose, step, task,
 * index), never on how many were drawn before or by which thread. */
#ifndef CZ_UTIL_RNG_H
#define CZ_UTIL_RNG_H

#include <stddef.h>
#include <stdint.h>

typedef enum cz_rng_purpose {
    CZ_RNG_INIT = 1,     /* initial parameters */
    CZ_RNG_NOISE = 2,    /* epsilon of Eq. 15 */
    CZ_RNG_SHUFFLE = 3,  /* order of images */
    CZ_RNG_PATCHES = 4,  /* which patches of an image */
    CZ_RNG_BACKBONE = 5, /* random weights */
    CZ_RNG_SYNTH = 6,    /* pictures */
    CZ_RNG_TASK = 7,
    CZ_RNG_TWIN = 8, /* delta of section 5 */
    CZ_RNG_BOOTSTRAP = 9,
    CZ_RNG_CHUNKS = 10, /* order of patches in section 5 */
    CZ_RNG_MUTUAL = 11, /* photos compared with each other: projection, patches */
    CZ_RNG_BANK = 12,   /* a bank's candidates, their projection, the first pick */
    CZ_RNG_SHOTS = 13,  /* photos out of many */
    CZ_RNG_DEFECT = 14, /* defects drawn on photos */
    CZ_RNG_TEST = 99
} cz_rng_purpose;

typedef struct cz_rng {
    uint32_t key[2];     /* the seed */
    uint32_t counter[4]; /* block low, purpose and task, step low, step high and block high */
    uint32_t block[4];
    unsigned used; /* words of `block` already given out; 4: none left */
} cz_rng;

void cz_rng_init(cz_rng *rng, uint64_t seed, cz_rng_purpose purpose, uint64_t step, uint32_t task);
uint32_t cz_rng_u32(cz_rng *rng);
uint64_t cz_rng_u64(cz_rng *rng);
double cz_rng_uniform(cz_rng *rng);             /* [0, 1), 53 bits */
uint64_t cz_rng_below(cz_rng *rng, uint64_t n); /* 0 … n-1, unbiased; n >= 1 */
double cz_rng_normal(cz_rng *rng);              /* N(0, 1), Box-Muller */
/* out: [count] N(0, std^2) in fp32; element i depends on i alone, so the result is the same for any thread count. Uses
 * OpenMP threads. Elements begin at `offset` of the stream (offset a multiple of 4). */
void cz_rng_normal_fill(const cz_rng *rng, uint64_t offset, float *out, size_t count, float std);
/* The same, in the calling thread. */
void cz_rng_normal_run(const cz_rng *rng, uint64_t offset, float *out, size_t count, float std);
/* Fisher-Yates */
void cz_rng_shuffle(cz_rng *rng, size_t *items, size_t count);
/* `count` different values of 0 … n-1, ascending; count <= n. */
void cz_rng_choose(cz_rng *rng, size_t n, size_t count, size_t *out);

/* Random weights for tests and for "random:ARCH": an integer hash of a tensor's name and an element's index, the same in
 * C and in Python (tests/parity/hashweights.py). Uniform in [-1, 1). */
uint64_t cz_name_hash(const char *name, uint64_t seed);    /* FNV-1a 64 over seed's 8 bytes (little-endian) and name */
float cz_hash_uniform(uint64_t name_hash, uint64_t index); /* splitmix64(name_hash + index), top 24 bits */

#endif
