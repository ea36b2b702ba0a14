/* SPDX-License-Identifier: Apache-2.0 */
/* Randomness and arithmetic of the picture generator; drawing is in synth_draw.c. */
#include "synth.h"

#include <math.h>

uint64_t synth_mix(uint64_t a, uint64_t b)
{
    /* splitmix64's finaliser (Steele et al. 2014) */
    uint64_t z = a + 0x9e3779b97f4a7c15U * (b + 1);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

void synth_rng_seed(synth_rng *rng, uint64_t seed, uint64_t stream)
{
    rng->increment = synth_mix(stream, 77) | 1U;
    rng->state = synth_mix(seed, stream);
    (void)synth_u32(rng);
}

uint32_t synth_u32(synth_rng *rng)
{
    uint64_t old = rng->state;
    rng->state = old * 6364136223846793005U + rng->increment;
    uint32_t shifted = (uint32_t)(((old >> 18) ^ old) >> 27);
    uint32_t turn = (uint32_t)(old >> 59);
    return (shifted >> turn) | (shifted << ((32U - turn) & 31U));
}

double synth_between(synth_rng *rng, double low, double high)
{
    return low + (high - low) * ((double)synth_u32(rng) * (1.0 / 4294967296.0));
}

double synth_bell(synth_rng *rng)
{
    double sum = -2.0;
    for (int i = 0; i < 4; i++) sum += synth_between(rng, 0.0, 1.0);
    return sum * 1.7320508075688772; /* variance of the sum: 4 / 12 */
}

size_t synth_below(synth_rng *rng, size_t n)
{
    return (size_t)(((uint64_t)synth_u32(rng) * n) >> 32);
}

double synth_noise(double x, double y, uint32_t seed)
{
    double fx = synth_floor(x), fy = synth_floor(y);
    int64_t ix = (int64_t)fx, iy = (int64_t)fy;
    double tx = x - fx, ty = y - fy;
    tx = tx * tx * tx * (tx * (tx * 6.0 - 15.0) + 10.0);
    ty = ty * ty * ty * (ty * (ty * 6.0 - 15.0) + 10.0);
    double top = synth_mixed(synth_hash(ix, iy, seed), synth_hash(ix + 1, iy, seed), tx);
    double bottom = synth_mixed(synth_hash(ix, iy + 1, seed), synth_hash(ix + 1, iy + 1, seed), tx);
    return synth_mixed(top, bottom, ty) * 2.0 - 1.0;
}

double synth_fbm(double x, double y, int octaves, uint32_t seed)
{
    double sum = 0.0, weight = 0.5;
    for (int i = 0; i < octaves; i++) {
        sum += weight * synth_noise(x, y, seed + (uint32_t)i * 101U);
        x *= 2.03;
        y *= 2.03;
        weight *= 0.5;
    }
    return sum * 1.3;
}

double synth_sin(double x)
{
    double turns = x / (2.0 * SYNTH_PI);
    double t = (turns - synth_floor(turns + 0.5)) * (2.0 * SYNTH_PI); /* -pi … pi */
    if (t > SYNTH_PI / 2) t = SYNTH_PI - t;
    if (t < -SYNTH_PI / 2) t = -SYNTH_PI - t;
    double s = t * t; /* Taylor to the 11th power: below 6e-8 */
    return t * (1 - s / 6 * (1 - s / 20 * (1 - s / 42 * (1 - s / 72 * (1 - s / 110)))));
}

double synth_cos(double x)
{
    return synth_sin(x + SYNTH_PI / 2);
}

double synth_exp(double x)
{
    if (x < -40.0) return 0.0;
    if (x > 0.0) x = 0.0;
    double t = x / 64.0; /* -0.625 … 0: six terms, then six squarings */
    double e = 1 + t * (1 + t / 2 * (1 + t / 3 * (1 + t / 4 * (1 + t / 5 * (1 + t / 6)))));
    for (int i = 0; i < 6; i++) e *= e;
    return e;
}

double synth_atan2(double y, double x)
{
    double ax = fabs(x), ay = fabs(y);
    double big = ax > ay ? ax : ay, small = ax > ay ? ay : ax;
    if (big == 0.0) return 0.0;
    double a = small / big, s = a * a;
    /* Abramowitz and Stegun 4.4.49 */
    double r =
        a *
        (1 + s * (-0.3333314528 +
                  s * (0.1999355085 +
                       s * (-0.1420889944 +
                            s * (0.1065626393 +
                                 s * (-0.0752896400 + s * (0.0429096138 + s * (-0.0161657367 + s * 0.0028662257))))))));
    if (ay > ax) r = SYNTH_PI / 2 - r;
    if (x < 0) r = SYNTH_PI - r;
    return y < 0 ? -r : r;
}
