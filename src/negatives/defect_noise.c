/* SPDX-License-Identifier: Apache-2.0 */
/* Spots: the peaks of fractal value noise, which have ragged outlines of every size. */
#include "negatives/defect_shape.h"
#include "util/alloc.h"

#include <math.h>
#include <string.h>

enum {
    OCTAVES = 4,
    TAPS = 4,
    SAMPLES = 96 /* a side of the grid of points that the quantile is taken of */
};

/* Normal values at the corners of square cells, interpolated by Catmull-Rom splines. */
typedef struct octave {
    double cell; /* pixels */
    float amplitude;
    size_t columns;
    float *lattice; /* [rows, columns]; the first of each is one cell outside of the picture */
} octave;

/* `count` points along one side, `step` pixels apart from `first` on. */
typedef struct points {
    double first, step;
    size_t count;
} points;

/* Where the taps of a point begin in the lattice, and their weights. */
typedef struct tap {
    size_t first;
    float weight[TAPS];
} tap;

static tap tap_at(const octave *o, double position)
{
    const double p = position / o->cell, whole = floor(p);
    const float t = (float)(p - whole);
    return (tap){(size_t)whole,
                 {0.5f * t * (t * (2.0f - t) - 1.0f), 0.5f * (t * t * (3.0f * t - 5.0f) + 2.0f),
                  0.5f * t * (t * (4.0f - 3.0f * t) + 1.0f), 0.5f * t * t * (t - 1.0f)}};
}

static size_t lattice_points(double cell, size_t pixels)
{
    return (size_t)floor((double)pixels / cell) + TAPS;
}

static void octaves_free(octave octaves[OCTAVES])
{
    for (int i = 0; i < OCTAVES; i++) cz_free(octaves[i].lattice);
}

/* Cells are never smaller than 2 pixels, whatever the picture's size. */
static cz_status octaves_create(const cz_defect_try *attempt, const cz_soft_mask *mask, double base,
                                octave out[OCTAVES])
{
    cz_rng rng;
    cz_defect_rng(attempt, CZ_DEFECT_STREAM_LATTICE, &rng);
    const double side = cz_soft_mask_side(mask);
    uint64_t drawn = 0;
    for (int i = 0; i < OCTAVES; i++) {
        octave *o = &out[i];
        o->cell = fmax(2.0, side / (base * (double)(1u << i)));
        o->amplitude = powf(0.6f, (float)i);
        o->columns = lattice_points(o->cell, mask->picture_width);
        const size_t count = o->columns * lattice_points(o->cell, mask->picture_height);
        o->lattice = cz_alloc_array(count, sizeof *o->lattice);
        if (o->lattice == NULL) return CZ_E_MEMORY;
        cz_rng_normal_run(&rng, drawn, o->lattice, count, o->amplitude);
        drawn += (count + 3) / 4 * 4;
    }
    return CZ_OK;
}

/* out: [ys.count, xs.count] */
static cz_status evaluate(const octave octaves[OCTAVES], points xs, points ys, float *out)
{
    cz_status status = CZ_OK;
    size_t columns = 0;
    for (int k = 0; k < OCTAVES; k++) columns = octaves[k].columns > columns ? octaves[k].columns : columns;
    tap *taps = cz_alloc_array(xs.count, sizeof *taps);
    float *row = cz_alloc_array(columns, sizeof *row);
    if (taps == NULL || row == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    memset(out, 0, xs.count * ys.count * sizeof *out);
    for (int k = 0; k < OCTAVES; k++) {
        const octave *o = &octaves[k];
        for (size_t x = 0; x < xs.count; x++) taps[x] = tap_at(o, xs.first + xs.step * (double)x);
        for (size_t y = 0; y < ys.count; y++) {
            const tap t = tap_at(o, ys.first + ys.step * (double)y);
            const float *a = o->lattice + t.first * o->columns, *b = a + o->columns, *c = b + o->columns;
            const float *d = c + o->columns;
            for (size_t i = 0; i < o->columns; i++)
                row[i] = t.weight[0] * a[i] + t.weight[1] * b[i] + t.weight[2] * c[i] + t.weight[3] * d[i];
            for (size_t x = 0; x < xs.count; x++) {
                const float *in = row + taps[x].first, *w = taps[x].weight;
                out[y * xs.count + x] += w[0] * in[0] + w[1] * in[1] + w[2] * in[2] + w[3] * in[3];
            }
        }
    }
out:
    cz_free(taps);
    cz_free(row);
    return status;
}

/* The value of rank `rank` (0: the smallest), by Hoare's selection; reorders. */
static float select_rank(float *values, size_t count, size_t rank)
{
    size_t low = 0, high = count - 1;
    while (low < high) {
        const float pivot = values[low + (high - low) / 2];
        size_t i = low, j = high;
        for (;; i++, j--) {
            while (values[i] < pivot) i++;
            while (values[j] > pivot) j--;
            if (i >= j) break;
            const float swap = values[i];
            values[i] = values[j];
            values[j] = swap;
        }
        /* low … j are at most the pivot, the others at least, and j < high. */
        if (rank <= j)
            high = j;
        else
            low = j + 1;
    }
    return values[rank];
}

/* The value that a share q of the noise over the whole picture is below. */
static cz_status quantile(const octave octaves[OCTAVES], const cz_soft_mask *mask, double q, float *out)
{
    const size_t nx = mask->picture_width < SAMPLES ? mask->picture_width : SAMPLES;
    const size_t ny = mask->picture_height < SAMPLES ? mask->picture_height : SAMPLES;
    const double dx = (double)mask->picture_width / (double)nx, dy = (double)mask->picture_height / (double)ny;
    float *values = cz_alloc_array(nx * ny, sizeof *values);
    if (values == NULL) return CZ_E_MEMORY;
    const cz_status status = evaluate(octaves, (points){0.5 * dx, dx, nx}, (points){0.5 * dy, dy, ny}, values);
    if (status == CZ_OK) *out = select_rank(values, nx * ny, (size_t)(q * (double)(nx * ny - 1)));
    cz_free(values);
    return status;
}

cz_status cz_defect_spots(const cz_defect_try *attempt, cz_rng *rng, double margin, cz_soft_mask *mask)
{
    octave octaves[OCTAVES] = {0};
    const double side = cz_soft_mask_side(mask), base = (double)(2u << cz_rng_below(rng, 3));
    const double q = cz_defect_between(rng, 0.9, 0.985);
    const double x0 = cz_defect_between(rng, 0.15, 0.85) * (double)mask->picture_width;
    const double y0 = cz_defect_between(rng, 0.15, 0.85) * (double)mask->picture_height;
    const double radius = cz_defect_between(rng, 0.1, 0.35) * side;
    const double corners[4] = {x0 - radius, y0 - radius, x0 + radius, y0 + radius};
    float threshold = 0.0f;
    cz_status status;
    CZ_TRY(octaves_create(attempt, mask, base, octaves));
    CZ_TRY(quantile(octaves, mask, q, &threshold));
    CZ_TRY(cz_soft_mask_window(mask, corners, margin));
    CZ_TRY(evaluate(octaves, (points){(double)mask->x + 0.5, 1.0, mask->width},
                    (points){(double)mask->y + 0.5, 1.0, mask->height}, mask->value));
    /* Towards the disc's edge less and less reaches the threshold, else arcs of the circle would show. */
    const double fade = 0.7 * radius;
    for (size_t y = 0; y < mask->height; y++) {
        float *row = mask->value + y * mask->width;
        const double dy = (double)(mask->y + y) + 0.5 - y0;
        for (size_t x = 0; x < mask->width; x++) {
            const double dx = (double)(mask->x + x) + 0.5 - x0;
            const double beyond = fmax(0.0, (sqrt(dx * dx + dy * dy) - fade) / (radius - fade));
            row[x] = beyond < 1.0 && row[x] - 3.0f * (float)(beyond * beyond) > threshold ? 1.0f : 0.0f;
        }
    }
out:
    octaves_free(octaves);
    return status;
}
