/* SPDX-License-Identifier: Apache-2.0 */
/* Built-in picture material: small scenes drawn from a seed, with and without defects, and the truth about where.
 *
 * The same seed gives the same bytes on every machine: randomness is an integer hash, and the arithmetic is +, -, *, /, sqrt
 * and floor in double (exact by IEEE 754, no contraction under -std=c17); sine, exponential and arctangent are our own.
 * Lengths are in units of 1/256 of the picture's side, so that a scene looks the same at every size. */
#ifndef SYNTH_H
#define SYNTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __clang__ /* gcc keeps products and sums apart under -std=c17 by itself */
#pragma STDC FP_CONTRACT OFF
#endif

enum { SYNTH_UNITS = 256, SYNTH_MIN_SIZE = 64, SYNTH_MAX_SIZE = 2048 };
#define SYNTH_PI 3.14159265358979323846

/* ---- random numbers: PCG32 (O'Neill 2014) for sequences, a hash for lattices -------------------------------------- */

typedef struct synth_rng {
    uint64_t state, increment;
} synth_rng;
uint64_t synth_mix(uint64_t a, uint64_t b);
void synth_rng_seed(synth_rng *rng, uint64_t seed, uint64_t stream);
uint32_t synth_u32(synth_rng *rng);
double synth_between(synth_rng *rng, double low, double high);
/* Bell-shaped, standard deviation 1, never beyond ±3.5 (a sum of four uniforms). */
double synth_bell(synth_rng *rng);
size_t synth_below(synth_rng *rng, size_t n);
/* [0, 1), depends on (x, y, seed) alone */
static inline double synth_hash(int64_t x, int64_t y, uint32_t seed)
{
    uint32_t h = (uint32_t)x * 0x8da6b343U ^ (uint32_t)y * 0xd8163841U ^ seed * 0xcb1ab31fU;
    h = (h ^ (h >> 16)) * 0x7feb352dU;
    h = (h ^ (h >> 15)) * 0x846ca68bU;
    h ^= h >> 16;
    return (double)h * (1.0 / 4294967296.0);
}
/* Smooth value noise on the unit lattice, [-1, 1]. */
double synth_noise(double x, double y, uint32_t seed);
/* Octaves of the above, each twice as fine and half as strong; about [-1, 1]. */
double synth_fbm(double x, double y, int octaves, uint32_t seed);

/* ---- arithmetic ------------------------------------------------------------------------------------------------- */

/* |x| below 2^62; the C library's is a call on processors without an instruction for it */
static inline double synth_floor(double x)
{
    double whole = (double)(int64_t)x;
    return whole > x ? whole - 1.0 : whole;
}
double synth_sin(double x);
double synth_cos(double x);
double synth_exp(double x); /* x <= 0 */
double synth_atan2(double y, double x);
static inline double synth_clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}
/* 0 below `low`, 1 above `high`, smooth between; low > high falls instead. */
static inline double synth_step(double low, double high, double x)
{
    double t = synth_clamp((x - low) / (high - low), 0.0, 1.0);
    return t * t * (3.0 - 2.0 * t);
}
static inline double synth_mixed(double a, double b, double t)
{
    return a + (b - a) * t;
}

/* ---- layers: coverage, one value a pixel, drawn with soft edges of one pixel --------------------------------------- */

typedef struct synth_layer {
    size_t size;  /* pixels a side */
    float *value; /* [size, size], 0…1 */
} synth_layer;
bool synth_layer_open(synth_layer *layer, size_t size); /* cleared; false: out of memory */
void synth_layer_close(synth_layer *layer);

/* Where shapes go: picture = origin + rotation(angle) * scale * shape, in units. */
typedef struct synth_pose {
    double x, y, angle, scale;
} synth_pose;
void synth_place(const synth_pose *pose, double x, double y, double *px, double *py);
/* A pose inside a pose. */
synth_pose synth_pose_in(const synth_pose *outer, const synth_pose *inner);

/* `value` is reached where a pixel is wholly covered; a negative `value` takes coverage away. */
void synth_draw_disc(synth_layer *l, const synth_pose *pose, double x, double y, double radius, double value);
void synth_draw_box(synth_layer *l, const synth_pose *pose, double x, double y, double half_width, double half_height,
                    double corner, double value);
/* points: [count, 2]; `width` in units of the shape */
void synth_draw_line(synth_layer *l, const synth_pose *pose, const double *points, size_t count, double width,
                     double value);
/* A stroke whose width swells from 0 to `width` and back. */
void synth_draw_taper(synth_layer *l, const synth_pose *pose, const double *points, size_t count, double width,
                      double value);
/* Stroke letters, digits, '-', '*' and ' ': `height` units high, centred on (x, y). */
void synth_draw_text(synth_layer *l, const synth_pose *pose, double x, double y, double height, double width,
                     const char *text, double value);
/* A cubic Bezier curve as `count` points; control: [4, 2], points: [count, 2] */
void synth_curve(const double *control, double *points, size_t count);
/* A box blur of `radius` units, twice. */
bool synth_layer_blur(synth_layer *l, double radius);

/* ---- scenes ----------------------------------------------------------------------------------------------------- */

typedef struct synth_canvas {
    size_t size;
    float *rgb; /* [size, size, 3], 0…1, as displayed */
} synth_canvas;

/* What one picture is made from. The same `picture_seed` with and without a defect differs by the defect alone. */
typedef struct synth_job {
    uint64_t picture_seed, defect_seed;
    int defect;      /* index into the scene's list; -1: none */
    double severity; /* 0 subtle … 1 plain */
} synth_job;

typedef struct synth_scene {
    const char *name;
    const char *summary;
    const char *const *defects;
    size_t defect_count;
    bool (*render)(const synth_job *job, synth_canvas *canvas); /* false: out of memory */
} synth_scene;

extern const synth_scene synth_cloth, synth_metal, synth_pcb, synth_caps;

/* Streams of a picture's own randomness, so that one aspect does not shift another. */
enum { SYNTH_STREAM_POSE = 1, SYNTH_STREAM_LIGHT, SYNTH_STREAM_TEXTURE, SYNTH_STREAM_DEFECT, SYNTH_STREAM_CAMERA };

/* Renders, finds the mask (pixels that the defect changes by more than a person overlooks), adds the camera: blur,
 * vignette, exposure, noise. rgb: [size, size, 3]; mask: [size, size] 0 or 255, NULL for a normal picture. False: out of
 * memory. */
bool synth_picture(const synth_scene *scene, const synth_job *job, size_t size, uint8_t *rgb, uint8_t *mask);

#endif
