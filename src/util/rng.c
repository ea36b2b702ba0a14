/* SPDX-License-Identifier: Apache-2.0 */
#include "util/rng.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* One Philox4x32-10 block: 10 rounds of multiply, xor, swap with Weyl-sequence keys. */
static inline void philox(const uint32_t key_in[2], const uint32_t counter[4], uint32_t out[4])
{
    uint32_t k0 = key_in[0], k1 = key_in[1];
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        const uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void cz_rng_init(cz_rng *rng, uint64_t seed, cz_rng_purpose purpose, uint64_t step, uint32_t task)
{
    assert(task < (1u << 24) && step < ((uint64_t)1 << 48));
    rng->key[0] = (uint32_t)seed;
    rng->key[1] = (uint32_t)(seed >> 32);
    rng->counter[0] = 0;
    rng->counter[1] = ((uint32_t)purpose << 24) | task;
    rng->counter[2] = (uint32_t)step;
    rng->counter[3] = (uint32_t)(step >> 32) << 16;
    rng->used = 4;
}

/* The block number takes word 0 and the low half of word 3: 2^48 blocks a stream. */
static inline void set_block(uint32_t counter[4], uint64_t block)
{
    counter[0] = (uint32_t)block;
    counter[3] = (counter[3] & 0xffff0000u) | (uint32_t)((block >> 32) & 0xffffu);
}

static inline uint64_t get_block(const uint32_t counter[4])
{
    return counter[0] | ((uint64_t)(counter[3] & 0xffffu) << 32);
}

uint32_t cz_rng_u32(cz_rng *rng)
{
    if (rng->used == 4) {
        philox(rng->key, rng->counter, rng->block);
        set_block(rng->counter, get_block(rng->counter) + 1);
        rng->used = 0;
    }
    return rng->block[rng->used++];
}

uint64_t cz_rng_u64(cz_rng *rng)
{
    const uint64_t low = cz_rng_u32(rng);
    return low | ((uint64_t)cz_rng_u32(rng) << 32);
}

double cz_rng_uniform(cz_rng *rng)
{
    return (double)(cz_rng_u64(rng) >> 11) * 0x1p-53;
}

uint64_t cz_rng_below(cz_rng *rng, uint64_t n)
{
    assert(n > 0);
    const uint64_t limit = UINT64_MAX - (UINT64_MAX % n + 1) % n;
    uint64_t value;
    do {
        value = cz_rng_u64(rng);
    } while (value > limit);
    return value % n;
}

double cz_rng_normal(cz_rng *rng)
{
    const double u = 1.0 - cz_rng_uniform(rng); /* (0, 1] */
    const double v = cz_rng_uniform(rng);
    return sqrt(-2.0 * log(u)) * cos(2.0 * M_PI * v);
}

/* ln(x) for x in (0, 1], relative error about 1e-7: exponent plus a polynomial for the mantissa in [sqrt(1/2), sqrt(2)).
 * Plain arithmetic, so that compilers vectorise it and every processor gives the same bits. */
static inline float fast_log(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t shifted = bits - 0x3f3504f3u;
    const int32_t exponent = (int32_t)shifted >> 23;
    bits = (shifted & 0x007fffffu) + 0x3f3504f3u;
    float m;
    memcpy(&m, &bits, sizeof m);
    const float f = m - 1.0f;
    const float s = f / (2.0f + f); /* ln(m) = 2 atanh(s) */
    const float z = s * s;
    const float r = z * (0.66666668f + z * (0.40000972f + z * (0.28498787f + z * 0.24279080f)));
    return (float)exponent * 0.69314718f + (2.0f * s + s * r);
}

/* sin and cos of 2 pi t, t in [0, 1): the quadrant picks swaps and signs, the rest is Taylor's series on [-pi/4, pi/4]. */
static inline void fast_sincos(float t, float *sine, float *cosine)
{
    const float q = t * 4.0f;
    const int32_t quadrant = (int32_t)(q + 0.5f);
    const float a = (q - (float)quadrant) * 1.57079633f;
    const float z = a * a;
    const float s = a * (1.0f + z * (-0.16666667f + z * (8.3333310e-3f + z * (-1.9840874e-4f + z * 2.7525562e-6f))));
    const float c = 1.0f + z * (-0.5f + z * (4.1666667e-2f + z * (-1.3888889e-3f + z * 2.4801587e-5f)));
    const float ss = (quadrant & 1) != 0 ? c : s;
    const float cc = (quadrant & 1) != 0 ? s : c;
    *sine = (quadrant & 2) != 0 ? -ss : ss;
    *cosine = ((quadrant + 1) & 2) != 0 ? -cc : cc;
}

enum { LANES = 16 };

/* 4 * LANES normals from LANES consecutive blocks; element 4 b + w belongs to word w of block b. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
static void
normal_blocks(const uint32_t *key, const uint32_t *counter, uint64_t first, float std, float *out)
{
    uint32_t c0[LANES], c1[LANES], c2[LANES], c3[LANES];
    for (uint32_t i = 0; i < LANES; i++) {
        const uint64_t block = first + i;
        c0[i] = (uint32_t)block;
        c1[i] = counter[1];
        c2[i] = counter[2];
        c3[i] = (counter[3] & 0xffff0000u) | (uint32_t)((block >> 32) & 0xffffu);
    }
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < LANES; i++) {
            const uint64_t p0 = (uint64_t)0xD2511F53u * c0[i];
            const uint64_t p1 = (uint64_t)0xCD9E8D57u * c2[i];
            c0[i] = (uint32_t)(p1 >> 32) ^ c1[i] ^ k0;
            c1[i] = (uint32_t)p1;
            c2[i] = (uint32_t)(p0 >> 32) ^ c3[i] ^ k1;
            c3[i] = (uint32_t)p0;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    float n0[LANES], n1[LANES], n2[LANES], n3[LANES];
    for (int i = 0; i < LANES; i++) {
        /* (0, 1] for the logarithm, [0, 1) for the angle; 24 bits each */
        const float u0 = (float)((int32_t)(c0[i] >> 8) + 1) * 0x1p-24f, v0 = (float)(int32_t)(c1[i] >> 8) * 0x1p-24f;
        const float u1 = (float)((int32_t)(c2[i] >> 8) + 1) * 0x1p-24f, v1 = (float)(int32_t)(c3[i] >> 8) * 0x1p-24f;
        const float r0 = std * sqrtf(-2.0f * fast_log(u0)), r1 = std * sqrtf(-2.0f * fast_log(u1));
        float s0, k, s1, l;
        fast_sincos(v0, &s0, &k);
        fast_sincos(v1, &s1, &l);
        n0[i] = r0 * k;
        n1[i] = r0 * s0;
        n2[i] = r1 * l;
        n3[i] = r1 * s1;
    }
    for (int i = 0; i < LANES; i++) {
        out[4 * i] = n0[i];
        out[4 * i + 1] = n1[i];
        out[4 * i + 2] = n2[i];
        out[4 * i + 3] = n3[i];
    }
}

void cz_rng_normal_run(const cz_rng *rng, uint64_t offset, float *out, size_t count, float std)
{
    assert(offset % 4 == 0);
    enum { GROUP = 4 * LANES };
    size_t i = 0;
    for (; i + GROUP <= count; i += GROUP) normal_blocks(rng->key, rng->counter, (offset + i) / 4, std, out + i);
    if (i == count) return;
    float values[GROUP];
    normal_blocks(rng->key, rng->counter, (offset + i) / 4, std, values);
    memcpy(out + i, values, (count - i) * sizeof *out);
}

void cz_rng_normal_fill(const cz_rng *rng, uint64_t offset, float *out, size_t count, float std)
{
    enum { RUN = 8192 };
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i += RUN)
        cz_rng_normal_run(rng, offset + i, out + i, count - i < RUN ? count - i : RUN, std);
}

void cz_rng_shuffle(cz_rng *rng, size_t *items, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        const size_t j = (size_t)cz_rng_below(rng, i);
        const size_t swap = items[i - 1];
        items[i - 1] = items[j];
        items[j] = swap;
    }
}

void cz_rng_choose(cz_rng *rng, size_t n, size_t count, size_t *out)
{
    assert(count <= n);
    /* Selection sampling (Knuth 3.4.2 S): one pass, ascending, no memory. */
    size_t taken = 0;
    for (size_t i = 0; i < n && taken < count; i++) {
        if (cz_rng_below(rng, n - i) < count - taken) out[taken++] = i;
    }
}

uint64_t cz_name_hash(const char *name, uint64_t seed)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (int i = 0; i < 8; i++) hash = (hash ^ ((seed >> (8 * i)) & 0xff)) * 0x100000001b3u;
    for (; *name != '\0'; name++) hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return hash;
}

float cz_hash_uniform(uint64_t name_hash, uint64_t index)
{
    uint64_t z = name_hash + index + 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (float)(int64_t)(z >> 40) * 0x1p-23f - 1.0f;
}
