/* SPDX-License-Identifier: Apache-2.0 */
/* Patch scores -> map at the network's input size (one banded matrix an axis) -> map at the image's own size, by rows. */
#include "calibrate/score_map.h"

#include "features/simd.h"
#include "util/alloc.h"

#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <string.h>

#define MAX_SIDE   65535
#define MAX_SIGMA  4096.0
#define GRID_BLOCK 256   /* grid columns that are combined over rows at once */
#define SMALL_MAP  16384 /* values that one thread makes */

/* M of one axis, [out, in], nonzero only in a band: kept by outputs and by inputs. */
typedef struct axis_map {
    size_t in, out;
    size_t *low, *high;   /* [out] inputs of each output */
    size_t band;          /* the longest of them */
    float *by_output;     /* [out, band] from low on */
    size_t *from, *until; /* [in] outputs that each input reaches */
    size_t reach;         /* the longest of them */
    float *by_input;      /* [in, reach] from `from` on */
} axis_map;

struct cz_score_map {
    axis_map x, y;
};

/* ---- plan --------------------------------------------------------------------------------------------------------- */

typedef struct lerp {
    size_t i0, i1;
    double w0, w1;
} lerp;

static lerp lerp_from(double at, size_t in)
{
    if (!(at > 0.0)) at = 0.0;
    if (at > (double)(in - 1)) at = (double)(in - 1);
    lerp l;
    l.i0 = (size_t)at;
    l.i1 = l.i0 + 1 < in ? l.i0 + 1 : l.i0;
    l.w1 = at - (double)l.i0;
    l.w0 = 1.0 - l.w1;
    return l;
}

/* Half-sample symmetric: d c b a | a b c d | d c b a, for any distance. */
static size_t reflect(long i, long n)
{
    long r = i % (2 * n);
    if (r < 0) r += 2 * n;
    return (size_t)(r < n ? r : 2 * n - 1 - r);
}

/* What the blur of one axis is made of. */
typedef struct blur {
    double *kernel; /* [2 radius + 1] */
    long radius;
    lerp *pixels;  /* [out] where each pixel is interpolated from */
    double *dense; /* [in] one row of M, zeros between uses */
} blur;

/* Inputs that pixels o - radius … o + radius look at. What lies beyond an end is reflected to within. */
static void row_bounds(const axis_map *a, const blur *b, size_t o, size_t *first, size_t *last)
{
    const size_t radius = (size_t)b->radius, left = o > radius ? o - radius : 0;
    const size_t right = a->out - 1 - o > radius ? o + radius : a->out - 1;
    *first = b->pixels[left].i0;
    *last = b->pixels[right].i1;
}

/* Row o of M: the Gaussian's weights at o spread over the grid cells that the pixels under it are interpolated from. */
static void fill_row(axis_map *a, const blur *b, size_t o)
{
    size_t first, last;
    row_bounds(a, b, o, &first, &last);
    for (long d = -b->radius; d <= b->radius; d++) {
        const lerp l = b->pixels[reflect((long)o + d, (long)a->out)];
        b->dense[l.i0] += b->kernel[d + b->radius] * l.w0;
        b->dense[l.i1] += b->kernel[d + b->radius] * l.w1;
    }
    size_t low = first, high = last + 1;
    while (low + 1 < high && (float)b->dense[low] == 0.0f) low++;
    while (high > low + 1 && (float)b->dense[high - 1] == 0.0f) high--;
    a->low[o] = low;
    a->high[o] = high;
    for (size_t i = low; i < high; i++) a->by_output[o * a->band + i - low] = (float)b->dense[i];
    for (size_t i = first; i <= last; i++) b->dense[i] = 0.0;
}

/* The same matrix by inputs. */
static cz_status turn(axis_map *a)
{
    size_t values;
    for (size_t o = 0; o < a->out; o++)
        for (size_t i = a->low[o]; i < a->high[o]; i++) {
            if (a->until[i] == 0) a->from[i] = o;
            a->until[i] = o + 1;
        }
    for (size_t i = 0; i < a->in; i++)
        if (a->until[i] - a->from[i] > a->reach) a->reach = a->until[i] - a->from[i];
    if (!cz_mul_size(a->in, a->reach, &values)) return cz_fail(CZ_E_LIMIT, "score map: too large");
    a->by_input = cz_calloc(values, sizeof *a->by_input);
    if (!a->by_input) return CZ_E_MEMORY;
    for (size_t o = 0; o < a->out; o++)
        for (size_t i = a->low[o]; i < a->high[o]; i++)
            a->by_input[i * a->reach + o - a->from[i]] = a->by_output[o * a->band + i - a->low[o]];
    return CZ_OK;
}

static void axis_free(axis_map *a)
{
    cz_free(a->low);
    cz_free(a->high);
    cz_free(a->by_output);
    cz_free(a->from);
    cz_free(a->until);
    cz_free(a->by_input);
}

static cz_status blur_make(blur *b, const axis_map *a, double sigma)
{
    const double scale = (double)a->in / (double)a->out;
    double sum = 0.0;
    b->radius = (long)(4.0 * sigma + 0.5);
    b->kernel = cz_alloc_array((size_t)(2 * b->radius + 1), sizeof *b->kernel);
    b->pixels = cz_alloc_array(a->out, sizeof *b->pixels);
    b->dense = cz_calloc(a->in, sizeof *b->dense);
    if (!b->kernel || !b->pixels || !b->dense) return CZ_E_MEMORY;
    for (long d = -b->radius; d <= b->radius; d++) sum += exp(-0.5 * (double)(d * d) / (sigma * sigma));
    for (long d = -b->radius; d <= b->radius; d++)
        b->kernel[d + b->radius] = exp(-0.5 * (double)(d * d) / (sigma * sigma)) / sum;
    for (size_t o = 0; o < a->out; o++) b->pixels[o] = lerp_from(((double)o + 0.5) * scale - 0.5, a->in);
    return CZ_OK;
}

static cz_status axis_make(axis_map *a, size_t in, size_t out, double sigma)
{
    cz_status status;
    blur b = {0};
    size_t values, first, last;
    a->in = in;
    a->out = out;
    CZ_TRY(blur_make(&b, a, sigma));
    for (size_t o = 0; o < out; o++) {
        row_bounds(a, &b, o, &first, &last);
        if (last + 1 - first > a->band) a->band = last + 1 - first;
    }
    if (!cz_mul_size(out, a->band, &values)) CZ_TRY(cz_fail(CZ_E_LIMIT, "score map: too large"));
    a->by_output = cz_calloc(values, sizeof *a->by_output);
    a->low = cz_alloc_array(out, sizeof *a->low);
    a->high = cz_alloc_array(out, sizeof *a->high);
    a->from = cz_calloc(in, sizeof *a->from);
    a->until = cz_calloc(in, sizeof *a->until);
    if (!a->by_output || !a->low || !a->high || !a->from || !a->until) CZ_TRY(CZ_E_MEMORY);
    for (size_t o = 0; o < out; o++) fill_row(a, &b, o);
    status = turn(a);
out:
    cz_free(b.kernel);
    cz_free(b.pixels);
    cz_free(b.dense);
    return status;
}

cz_status cz_score_map_create_shape(const cz_score_map_shape *s, cz_score_map **out)
{
    cz_status status;
    if (s->grid_w == 0 || s->grid_h == 0 || s->width == 0 || s->height == 0)
        return cz_fail(CZ_E_ARG, "score map: a side of 0");
    if (s->grid_w > MAX_SIDE || s->grid_h > MAX_SIDE || s->width > MAX_SIDE || s->height > MAX_SIDE)
        return cz_fail(CZ_E_LIMIT, "score map: larger than %d on a side", MAX_SIDE);
    if (!(s->sigma_x > 0 && s->sigma_x <= MAX_SIGMA) || !(s->sigma_y > 0 && s->sigma_y <= MAX_SIGMA))
        return cz_fail(CZ_E_ARG, "score map: the blur's sigma is not in (0, %d]", (int)MAX_SIGMA);
    cz_score_map *m = cz_calloc(1, sizeof *m);
    if (!m) return CZ_E_MEMORY;
    CZ_TRY(axis_make(&m->x, s->grid_w, s->width, s->sigma_x));
    CZ_TRY(axis_make(&m->y, s->grid_h, s->height, s->sigma_y));
    *out = m;
    m = NULL;
out:
    cz_score_map_destroy(m);
    return status;
}

cz_status cz_score_map_create(size_t grid_w, size_t grid_h, size_t width, size_t height, cz_score_map **out)
{
    const cz_score_map_shape shape = {grid_w,
                                      grid_h,
                                      width,
                                      height,
                                      width > 0 ? 4.0 * (double)width / 256.0 : 1.0,
                                      height > 0 ? 4.0 * (double)height / 256.0 : 1.0};
    return cz_score_map_create_shape(&shape, out);
}

void cz_score_map_destroy(cz_score_map *m)
{
    if (!m) return;
    axis_free(&m->x);
    axis_free(&m->y);
    cz_free(m);
}

/* ---- grid -> input size ------------------------------------------------------------------------------------------- */

/* Row o of the map: first over grid rows (few values), then each combined value is spread over the columns it reaches. */
CZ_INLINE void map_row_body(const cz_score_map *m, const float *restrict scores, size_t o, float *restrict row)
{
    const axis_map *mx = &m->x, *my = &m->y;
    float combined[GRID_BLOCK];
    for (size_t x = 0; x < mx->out; x++) row[x] = 0.0f;
    for (size_t k0 = 0; k0 < mx->in; k0 += GRID_BLOCK) {
        const size_t n = mx->in - k0 < GRID_BLOCK ? mx->in - k0 : GRID_BLOCK;
        for (size_t k = 0; k < n; k++) combined[k] = 0.0f;
        for (size_t g = my->low[o]; g < my->high[o]; g++) {
            const float w = my->by_output[o * my->band + g - my->low[o]];
            const float *s = scores + g * mx->in + k0;
            for (size_t k = 0; k < n; k++) combined[k] += w * s[k];
        }
        for (size_t k = 0; k < n; k++) {
            const float v = combined[k];
            const float *w = mx->by_input + (k0 + k) * mx->reach;
            const size_t from = mx->from[k0 + k], count = mx->until[k0 + k] - from;
            float *to = row + from;
            for (size_t x = 0; x < count; x++) to[x] += v * w[x];
        }
    }
}

CZ_SIMD_KERNEL(map_row, (const cz_score_map *m, const float *restrict scores, size_t o, float *restrict row),
               (m, scores, o, row))

void cz_score_map_rows(const cz_score_map *m, const float *scores, size_t first, size_t rows, float *out)
{
    const size_t width = m->x.out;
#pragma omp parallel for schedule(static) if (width * rows > SMALL_MAP)
    for (size_t y = 0; y < rows; y++) map_row(m, scores, first + y, out + y * width);
}

void cz_score_map_input(const cz_score_map *m, const float *scores, float *map)
{
    cz_score_map_rows(m, scores, 0, m->y.out, map);
}

/* ---- input size -> the image's own --------------------------------------------------------------------------------- */

/* Where the columns (or rows) of the region are read from. */
typedef struct samples {
    uint32_t *i0, *i1; /* of the input map */
    float *w0, *w1;
    uint32_t *mask; /* index into the ignore mask */
    uint8_t *shown; /* 0: a centre cut left it out */
} samples;

static void samples_free(samples *s)
{
    cz_free(s->i0);
    cz_free(s->i1);
    cz_free(s->w0);
    cz_free(s->w1);
    cz_free(s->mask);
    cz_free(s->shown);
}

/* One axis of a region and of the map. */
typedef struct sample_axis {
    size_t at, size; /* of the region in the image */
    double origin, step;
    size_t content, content_size, mask_size;
} sample_axis;

/* Region pixels first … first + n - 1: image pixel at + i looks at input position (at + i - origin) / step. */
static cz_status samples_make(const sample_axis *a, size_t first, size_t n, samples *out)
{
    *out = (samples){cz_alloc_array(n, sizeof *out->i0),   cz_alloc_array(n, sizeof *out->i1),
                     cz_alloc_array(n, sizeof *out->w0),   cz_alloc_array(n, sizeof *out->w1),
                     cz_alloc_array(n, sizeof *out->mask), cz_alloc(n)};
    if (!out->i0 || !out->i1 || !out->w0 || !out->w1 || !out->mask || !out->shown) return CZ_E_MEMORY;
    for (size_t k = 0; k < n; k++) {
        const size_t i = first + k;
        const double u = ((double)(a->at + i) - a->origin) / a->step - (double)a->content;
        const lerp l = lerp_from(u, a->content_size);
        /* an epsilon, because (x - origin) / step is off by rounding where a cut runs through a pixel's centre */
        out->shown[k] = u >= -0.5 - 1e-9 && u < (double)a->content_size - 0.5 + 1e-9;
        out->i0[k] = (uint32_t)(a->content + l.i0);
        out->i1[k] = (uint32_t)(a->content + l.i1);
        out->w0[k] = (float)l.w0;
        out->w1[k] = (float)l.w1;
        out->mask[k] = (uint32_t)((2 * i + 1) * a->mask_size / (2 * a->size));
    }
    return CZ_OK;
}

/* The input map is there, or its rows are made as they are needed. */
typedef struct region_job {
    const float *map; /* [., map_width] or NULL: of `plan` and `scores` */
    size_t map_width;
    const cz_score_map *plan;
    const float *scores;
    const cz_prep *prep;
    const cz_geometry *g;
    samples xs, ys; /* of the region's columns; of the wanted rows of the region */
    float *out;     /* [wanted rows, image_width] */
} region_job;

CZ_INLINE void stretch_body(const samples *s, const float *restrict from, size_t n, float *restrict to)
{
    const int32_t *restrict i0 = (const int32_t *)s->i0, *restrict i1 = (const int32_t *)s->i1;
    const float *restrict w0 = s->w0, *restrict w1 = s->w1;
    for (size_t x = 0; x < n; x++) to[x] = w0[x] * from[i0[x]] + w1[x] * from[i1[x]];
}

CZ_SIMD_KERNEL(stretch, (const samples *s, const float *restrict from, size_t n, float *restrict to), (s, from, n, to))

CZ_INLINE void blend_body(const float *upper, const float *lower, float w0, float w1, size_t n, float *restrict to)
{
    for (size_t x = 0; x < n; x++) to[x] = w0 * upper[x] + w1 * lower[x];
}

CZ_SIMD_KERNEL(blend, (const float *upper, const float *lower, float w0, float w1, size_t n, float *restrict to),
               (upper, lower, w0, w1, n, to))

/* Input row -> the region's columns; line: [map_width] */
static void stretch_row(const region_job *j, size_t row, float *line, float *to)
{
    if (!j->map) map_row(j->plan, j->scores, row, line);
    stretch(&j->xs, j->map ? j->map + row * j->map_width : line, j->g->region.width, to);
}

/* Row y of ys, NaN where nothing was inspected. */
static void blend_rows(const region_job *j, size_t y, const float *upper, const float *lower)
{
    const cz_roi r = j->g->region;
    const samples *s = &j->ys;
    float *line = j->out + y * j->g->image_width, *to = line + r.x;
    for (size_t x = 0; x < r.x; x++) line[x] = NAN;
    for (size_t x = r.x + r.width; x < j->g->image_width; x++) line[x] = NAN;
    blend(upper, lower, s->w0[y], s->w1[y], r.width, to);
    const uint8_t *mask = j->prep->ignore ? j->prep->ignore + s->mask[y] * j->prep->ignore_width : NULL;
    if (!mask && j->prep->fit != CZ_FIT_CROP) return;
    for (size_t x = 0; x < r.width; x++)
        if (!s->shown[y] || !j->xs.shown[x] || (mask && mask[j->xs.mask[x]])) to[x] = NAN;
}

/* Rows [y0, y1) of ys. Neighbouring rows share their stretched rows: two are kept. */
static void fill_band(const region_job *j, size_t y0, size_t y1, float *buffer)
{
    float *row[2] = {buffer, buffer + j->g->region.width}, *line = buffer + 2 * j->g->region.width;
    size_t held[2] = {SIZE_MAX, SIZE_MAX};
    for (size_t y = y0; y < y1; y++) {
        const size_t i0 = j->ys.i0[y], i1 = j->ys.i1[y];
        if (held[0] != i0 && held[1] == i0) { /* what was the lower one becomes the upper one */
            float *swap = row[0];
            row[0] = row[1];
            row[1] = swap;
            held[1] = held[0];
            held[0] = i0;
        }
        if (held[0] != i0) stretch_row(j, i0, line, row[0]);
        held[0] = i0;
        if (i1 != i0 && held[1] != i1) {
            stretch_row(j, i1, line, row[1]);
            held[1] = i1;
        }
        blend_rows(j, y, row[0], i1 == i0 ? row[0] : row[1]);
    }
}

static void fill_nan(float *out, size_t count)
{
    for (size_t i = 0; i < count; i++) out[i] = NAN;
}

/* Rows [first, first + rows) of the image to `out`; of `j` the source, prep and geometry are filled in. */
static cz_status fill_rows(region_job *j, size_t first, size_t rows, float *out)
{
    const cz_geometry *g = j->g;
    const cz_roi r = g->region;
    const size_t end = first + rows, top = r.y < first ? first : r.y < end ? r.y : end;
    const size_t bottom = r.y + r.height > end ? end : r.y + r.height > top ? r.y + r.height : top, n = bottom - top;
    const sample_axis ax = {r.x, r.width, g->origin_x, g->step_x, g->content_x, g->content_w, j->prep->ignore_width};
    const sample_axis ay = {r.y, r.height, g->origin_y, g->step_y, g->content_y, g->content_h, j->prep->ignore_height};
    cz_status status = CZ_OK;
    float *buffers = NULL;
    fill_nan(out, (top - first) * g->image_width);
    fill_nan(out + (bottom - first) * g->image_width, (end - bottom) * g->image_width);
    if (n == 0) return CZ_OK;
    const size_t threads = r.width * n > SMALL_MAP ? (size_t)omp_get_max_threads() : 1;
    const size_t bands = threads < n ? threads : n, room = 2 * r.width + j->map_width;
    j->out = out + (top - first) * g->image_width;
    CZ_TRY(samples_make(&ax, 0, r.width, &j->xs));
    CZ_TRY(samples_make(&ay, top - r.y, n, &j->ys));
    buffers = cz_alloc_array(bands, room * sizeof *buffers);
    if (!buffers) CZ_TRY(CZ_E_MEMORY);
#pragma omp parallel for schedule(static, 1) num_threads((int)bands) if (bands > 1)
    for (size_t b = 0; b < bands; b++) fill_band(j, b * n / bands, (b + 1) * n / bands, buffers + b * room);
out:
    samples_free(&j->xs);
    samples_free(&j->ys);
    cz_free(buffers);
    return status;
}

cz_status cz_score_map_original(const float *map, const cz_prep *prep, const cz_geometry *geometry, float *out)
{
    region_job j = {.map = map, .map_width = prep->width, .prep = prep, .g = geometry};
    return fill_rows(&j, 0, geometry->image_height, out);
}

cz_status cz_score_map_original_rows(const cz_score_map *m, const float *scores, const cz_prep *prep,
                                     const cz_geometry *geometry, size_t first, size_t rows, float *out)
{
    const cz_geometry *g = geometry;
    if (first > g->image_height || rows > g->image_height - first)
        return cz_fail(CZ_E_ARG, "rows %zu to %zu of a map of %zu", first, first + rows, g->image_height);
    if (g->content_x + g->content_w > m->x.out || g->content_y + g->content_h > m->y.out)
        return cz_fail(CZ_E_INTERNAL, "score map: the geometry is that of another map");
    region_job j = {.map_width = m->x.out, .plan = m, .scores = scores, .prep = prep, .g = geometry};
    return fill_rows(&j, first, rows, out);
}
