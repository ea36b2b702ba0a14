/* SPDX-License-Identifier: Apache-2.0 */
/* Patch scores -> map at the network's input size (one banded matrix an axis) -> map at the image's own size. */
#include "calibrate/score_map.h"

#include "util/alloc.h"

#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <string.h>

#define MAX_SIDE   65535
#define GRID_BLOCK 256 /* grid columns that are combined over rows at once */

/* M of one axis, [out, in], nonzero only in a band. */
typedef struct axis_map {
    size_t in, out;
    double *dense;        /* [out, in], only while planning */
    size_t *low, *high;   /* [out] inputs of each output */
    float *by_output;     /* [out, in] */
    size_t *from, *until; /* [in] outputs that each input reaches */
    float *by_input;      /* [in, out] */
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

/* Row o of M: the Gaussian's weights at o spread over the grid cells that the pixels under it are interpolated from. */
static void fill_row(axis_map *a, size_t o, const double *kernel, long radius)
{
    double *row = a->dense + o * a->in;
    const double scale = (double)a->in / (double)a->out;
    for (long d = -radius; d <= radius; d++) {
        const size_t pixel = reflect((long)o + d, (long)a->out);
        const lerp l = lerp_from(((double)pixel + 0.5) * scale - 0.5, a->in);
        row[l.i0] += kernel[d + radius] * l.w0;
        row[l.i1] += kernel[d + radius] * l.w1;
    }
}

static void find_bands(axis_map *a)
{
    for (size_t i = 0; i < a->in; i++) {
        a->from[i] = a->out;
        a->until[i] = 0;
    }
    for (size_t o = 0; o < a->out; o++) {
        a->low[o] = a->in;
        a->high[o] = 0;
        for (size_t i = 0; i < a->in; i++) {
            const float v = (float)a->dense[o * a->in + i];
            a->by_output[o * a->in + i] = v;
            a->by_input[i * a->out + o] = v;
            if (v == 0.0f) continue;
            if (i < a->low[o]) a->low[o] = i;
            a->high[o] = i + 1;
            if (o < a->from[i]) a->from[i] = o;
            a->until[i] = o + 1;
        }
    }
}

static void axis_free(axis_map *a)
{
    cz_free(a->dense);
    cz_free(a->low);
    cz_free(a->high);
    cz_free(a->by_output);
    cz_free(a->from);
    cz_free(a->until);
    cz_free(a->by_input);
}

static cz_status axis_make(axis_map *a, size_t in, size_t out)
{
    const double sigma = 4.0 * (double)out / 256.0;
    const long radius = (long)(4.0 * sigma + 0.5);
    size_t values;
    if (!cz_mul_size(in, out, &values)) return cz_fail(CZ_E_LIMIT, "score map: too large");
    a->in = in;
    a->out = out;
    a->dense = cz_calloc(values, sizeof *a->dense);
    a->by_output = cz_alloc_array(values, sizeof *a->by_output);
    a->by_input = cz_alloc_array(values, sizeof *a->by_input);
    a->low = cz_alloc_array(out, sizeof *a->low);
    a->high = cz_alloc_array(out, sizeof *a->high);
    a->from = cz_alloc_array(in, sizeof *a->from);
    a->until = cz_alloc_array(in, sizeof *a->until);
    double *kernel = cz_alloc_array((size_t)(2 * radius + 1), sizeof *kernel);
    if (!a->dense || !a->by_output || !a->by_input || !a->low || !a->high || !a->from || !a->until || !kernel) {
        cz_free(kernel);
        return CZ_E_MEMORY;
    }
    double sum = 0.0;
    for (long d = -radius; d <= radius; d++) sum += exp(-0.5 * (double)(d * d) / (sigma * sigma));
    for (long d = -radius; d <= radius; d++) kernel[d + radius] = exp(-0.5 * (double)(d * d) / (sigma * sigma)) / sum;
    for (size_t o = 0; o < out; o++) fill_row(a, o, kernel, radius);
    find_bands(a);
    cz_free(kernel);
    cz_free(a->dense);
    a->dense = NULL;
    return CZ_OK;
}

cz_status cz_score_map_create(size_t grid_w, size_t grid_h, size_t width, size_t height, cz_score_map **out)
{
    cz_status status;
    if (grid_w == 0 || grid_h == 0 || width == 0 || height == 0) return cz_fail(CZ_E_ARG, "score map: a side of 0");
    if (grid_w > MAX_SIDE || grid_h > MAX_SIDE || width > MAX_SIDE || height > MAX_SIDE)
        return cz_fail(CZ_E_LIMIT, "score map: larger than %d on a side", MAX_SIDE);
    cz_score_map *m = cz_calloc(1, sizeof *m);
    if (!m) return CZ_E_MEMORY;
    CZ_TRY(axis_make(&m->x, grid_w, width));
    CZ_TRY(axis_make(&m->y, grid_h, height));
    *out = m;
    m = NULL;
out:
    cz_score_map_destroy(m);
    return status;
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
static void map_row(const cz_score_map *m, const float *scores, size_t o, float *row)
{
    const axis_map *mx = &m->x, *my = &m->y;
    float combined[GRID_BLOCK];
    for (size_t x = 0; x < mx->out; x++) row[x] = 0.0f;
    for (size_t k0 = 0; k0 < mx->in; k0 += GRID_BLOCK) {
        const size_t n = mx->in - k0 < GRID_BLOCK ? mx->in - k0 : GRID_BLOCK;
        for (size_t k = 0; k < n; k++) combined[k] = 0.0f;
        for (size_t g = my->low[o]; g < my->high[o]; g++) {
            const float w = my->by_output[o * my->in + g];
            const float *s = scores + g * mx->in + k0;
            for (size_t k = 0; k < n; k++) combined[k] += w * s[k];
        }
        for (size_t k = 0; k < n; k++) {
            const float v = combined[k];
            const float *w = mx->by_input + (k0 + k) * mx->out;
            for (size_t x = mx->from[k0 + k]; x < mx->until[k0 + k]; x++) row[x] += v * w[x];
        }
    }
}

void cz_score_map_input(const cz_score_map *m, const float *scores, float *map)
{
    const size_t width = m->x.out, height = m->y.out;
#pragma omp parallel for schedule(static) if (width * height > 16384)
    for (size_t y = 0; y < height; y++) map_row(m, scores, y, map + y * width);
}

/* ---- input size -> the image's own --------------------------------------------------------------------------------- */

/* Where a column (or row) of the region is read from. */
typedef struct sample {
    uint32_t i0, i1; /* of the input map */
    float w0, w1;
    uint32_t mask;  /* index into the ignore mask */
    uint32_t shown; /* 0: a centre cut left it out */
} sample;

/* One axis of the region: image pixel at + i looks at input position (at + i - origin) / step. */
static void sample_axis(size_t at, size_t n, double origin, double step, size_t content, size_t content_size,
                        size_t mask_size, sample *out)
{
    for (size_t i = 0; i < n; i++) {
        const double u = ((double)(at + i) - origin) / step - (double)content;
        const lerp l = lerp_from(u, content_size);
        /* an epsilon, because (x - origin) / step is off by rounding where a cut runs through a pixel's centre */
        out[i].shown = u >= -0.5 - 1e-9 && u < (double)content_size - 0.5 + 1e-9;
        out[i].i0 = (uint32_t)(content + l.i0);
        out[i].i1 = (uint32_t)(content + l.i1);
        out[i].w0 = (float)l.w0;
        out[i].w1 = (float)l.w1;
        const size_t mask = (2 * i + 1) * mask_size / (2 * n);
        out[i].mask = (uint32_t)mask;
    }
}

typedef struct region_job {
    const float *map;
    const cz_prep *prep;
    const cz_geometry *g;
    const sample *xs, *ys;
    float *out;
} region_job;

/* Input row -> the region's columns. */
static void stretch_row(const region_job *j, size_t row, float *to)
{
    const float *from = j->map + row * j->prep->width;
    for (size_t x = 0; x < j->g->region.width; x++) {
        const sample s = j->xs[x];
        to[x] = s.w0 * from[s.i0] + s.w1 * from[s.i1];
    }
}

static void blend_rows(const region_job *j, size_t y, const float *upper, const float *lower)
{
    const cz_roi r = j->g->region;
    const sample s = j->ys[y];
    float *to = j->out + (r.y + y) * j->g->image_width + r.x;
    for (size_t x = 0; x < r.width; x++) to[x] = s.w0 * upper[x] + s.w1 * lower[x];
    const uint8_t *mask = j->prep->ignore ? j->prep->ignore + s.mask * j->prep->ignore_width : NULL;
    if (!mask && j->prep->fit != CZ_FIT_CROP) return;
    for (size_t x = 0; x < r.width; x++)
        if (!s.shown || !j->xs[x].shown || (mask && mask[j->xs[x].mask])) to[x] = NAN;
}

/* Rows [y0, y1) of the region. Neighbouring rows share their stretched rows: two are kept. */
static void fill_band(const region_job *j, size_t y0, size_t y1, float *buffer)
{
    float *row[2] = {buffer, buffer + j->g->region.width};
    size_t held[2] = {SIZE_MAX, SIZE_MAX};
    for (size_t y = y0; y < y1; y++) {
        const sample s = j->ys[y];
        if (held[0] != s.i0 && held[1] == s.i0) { /* what was the lower one becomes the upper one */
            float *swap = row[0];
            row[0] = row[1];
            row[1] = swap;
            held[1] = held[0];
            held[0] = s.i0;
        }
        if (held[0] != s.i0) stretch_row(j, s.i0, row[0]);
        held[0] = s.i0;
        if (s.i1 != s.i0 && held[1] != s.i1) {
            stretch_row(j, s.i1, row[1]);
            held[1] = s.i1;
        }
        blend_rows(j, y, row[0], s.i1 == s.i0 ? row[0] : row[1]);
    }
}

static void fill_nan(const cz_geometry *g, float *out)
{
    const cz_roi r = g->region;
    if (r.width == g->image_width && r.height == g->image_height) return;
    for (size_t i = 0; i < g->image_width * g->image_height; i++) out[i] = NAN;
}

cz_status cz_score_map_original(const float *map, const cz_prep *prep, const cz_geometry *geometry, float *out)
{
    const cz_roi r = geometry->region;
    const size_t threads = r.width * r.height > 16384 ? (size_t)omp_get_max_threads() : 1;
    const size_t bands = threads < r.height ? threads : r.height;
    cz_status status = CZ_OK;
    sample *xs = cz_alloc_array(r.width, sizeof *xs), *ys = cz_alloc_array(r.height, sizeof *ys);
    float *buffers = cz_alloc_array(bands, 2 * r.width * sizeof *buffers);
    if (!xs || !ys || !buffers) {
        status = CZ_E_MEMORY;
        goto out;
    }
    sample_axis(r.x, r.width, geometry->origin_x, geometry->step_x, geometry->content_x, geometry->content_w,
                prep->ignore_width, xs);
    sample_axis(r.y, r.height, geometry->origin_y, geometry->step_y, geometry->content_y, geometry->content_h,
                prep->ignore_height, ys);
    fill_nan(geometry, out);
    const region_job j = {map, prep, geometry, xs, ys, out};
#pragma omp parallel for schedule(static, 1) num_threads((int)bands) if (bands > 1)
    for (size_t b = 0; b < bands; b++)
        fill_band(&j, b * r.height / bands, (b + 1) * r.height / bands, buffers + b * 2 * r.width);
out:
    cz_free(xs);
    cz_free(ys);
    cz_free(buffers);
    return status;
}
