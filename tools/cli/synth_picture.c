/* SPDX-License-Identifier: Apache-2.0 */
/* From a scene to a photograph: the mask by comparison with the flawless twin, then lens, exposure and sensor noise. */
#include "synth.h"

#include <math.h>
#include <stdlib.h>

/* A change of 1/24 of full scale in a channel is about what a person notices beside texture. */
#define NOTICEABLE (1.0 / 24.0)

/* in, out: [size, size, 3]; 1 2 1 in both directions, edges repeated: the softness of a lens */
static void soften(const float *in, float *out, size_t size)
{
    for (size_t y = 0; y < size; y++) {
        const float *rows[3] = {in + (y ? y - 1 : 0) * size * 3, in + y * size * 3,
                                in + (y + 1 < size ? y + 1 : y) * size * 3};
        for (size_t x = 0; x < size; x++) {
            size_t left = 3 * (x ? x - 1 : 0), here = 3 * x, right = 3 * (x + 1 < size ? x + 1 : x);
            for (size_t c = 0; c < 3; c++) {
                float sum = 0;
                for (size_t k = 0; k < 3; k++) {
                    float row = rows[k][left + c] + 4 * rows[k][here + c] + rows[k][right + c];
                    sum += k == 1 ? 4 * row : row;
                }
                out[(y * size + x) * 3 + c] = sum / 36;
            }
        }
    }
}

static void make_mask(const float *flawless, const float *defective, size_t size, uint8_t *mask)
{
    for (size_t i = 0; i < size * size; i++) {
        double most = 0;
        for (size_t c = 0; c < 3; c++) most = fmax(most, fabs((double)(flawless[3 * i + c] - defective[3 * i + c])));
        mask[i] = most > NOTICEABLE ? 255 : 0;
    }
}

/* Exposure and a slightly darker rim that belong to the shot, then noise that grows with brightness, as a sensor's does. */
static void expose(const float *in, size_t size, uint64_t picture_seed, uint8_t *rgb)
{
    synth_rng rng;
    synth_rng_seed(&rng, picture_seed, SYNTH_STREAM_CAMERA);
    double gain = 1.0 + 0.012 * synth_bell(&rng), falloff = synth_between(&rng, 0.05, 0.08);
    uint32_t seed = synth_u32(&rng);
    double half = (double)size / 2;
    for (size_t y = 0; y < size; y++)
        for (size_t x = 0; x < size; x++) {
            double dx = ((double)x + 0.5 - half) / half, dy = ((double)y + 0.5 - half) / half;
            double light = gain * (1.0 - falloff * (dx * dx + dy * dy));
            double shared = 0;
            for (size_t c = 0; c < 4; c++) {
                double n = synth_hash((int64_t)(4 * x + c), (int64_t)y, seed) +
                           synth_hash((int64_t)(4 * x + c), (int64_t)y, seed + 1) - 1.0;
                if (c == 0) {
                    shared = n;
                    continue;
                }
                double v = (double)in[(y * size + x) * 3 + c - 1] * light;
                v += (shared + 0.6 * n) * (0.008 + 0.012 * v);
                rgb[(y * size + x) * 3 + c - 1] = (uint8_t)(synth_clamp(v, 0.0, 1.0) * 255.0 + 0.5);
            }
        }
}

bool synth_picture(const synth_scene *scene, const synth_job *job, size_t size, uint8_t *rgb, uint8_t *mask)
{
    size_t values = size * size * 3;
    float *raw = malloc(values * sizeof *raw), *soft = malloc(values * sizeof *soft);
    float *twin = mask ? malloc(values * sizeof *twin) : NULL;
    bool good = raw && soft && (twin || !mask);
    if (good) {
        synth_canvas canvas = {size, raw};
        synth_job flawless = *job;
        flawless.defect = -1;
        if (mask) {
            good = scene->render(&flawless, &canvas);
            if (good) soften(raw, twin, size);
        }
        good = good && scene->render(job, &canvas);
    }
    if (good) {
        soften(raw, soft, size);
        if (mask) make_mask(twin, soft, size, mask);
        expose(soft, size, job->picture_seed, rgb);
    }
    free(raw);
    free(soft);
    free(twin);
    return good;
}
