/* SPDX-License-Identifier: Apache-2.0 */
/* Relational descriptors: the object, forms, and the way from the taps' grids to the first one's. */
#include "features/relation_internal.h"
#include "util/alloc.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#define MAX_TAPS  ((size_t)64)
#define MAX_CELLS ((size_t)1 << 20)
#define NUMBERS   (CZ_RELATION_KINDS * CZ_RELATION_FORMS)
/* With the share of the weights that lie on valid cells. */
#define WEIGHTED (NUMBERS + 1)

struct cz_relation {
    cz_tap_shape taps[MAX_TAPS];
    size_t count;
    cz_relation_cells cells;
    cz_gemm *gemm;
    cz_pooler *upsampler; /* NULL with one tap */
    float *low;           /* [cells of the largest map, 28] */
    float *high;          /* [P, 28] */
};

/* ---- forms ------------------------------------------------------------------------------------------------------------ */

/* Sorts by the upper half, equal ones stay in order; both: [count]. Returns the one of the two that holds the result. */
static uint64_t *radix_sort(uint64_t *values, uint64_t *other, size_t count)
{
    for (int shift = 32; shift < 64; shift += 8) {
        size_t start[257] = {0};
        for (size_t i = 0; i < count; i++) start[(values[i] >> shift & 255) + 1]++;
        for (size_t b = 0; b < 256; b++) start[b + 1] += start[b];
        for (size_t i = 0; i < count; i++) other[start[values[i] >> shift & 255]++] = values[i];
        uint64_t *swap = values;
        values = other;
        other = swap;
    }
    return values;
}

/* Bits in the order of the numbers. */
static uint32_t order_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits & 0x80000000u) ? ~bits : bits | 0x80000000u;
}

static void form_kind(cz_relation_cells *c, size_t kind)
{
    const size_t n = c->count;
    float *value = c->kinds + kind * c->room;
    uint64_t *keys = c->sorting + kind * 2 * c->room;
    for (size_t i = 0; i < n; i++) {
        value[i] = logf(fmaxf(value[i], CZ_RELATION_FLOOR));
        keys[i] = (uint64_t)order_of(value[i]) << 32 | i;
    }
    const uint64_t *sorted = radix_sort(keys, keys + c->room, n);
    const float median = value[sorted[(n - 1) / 2] & UINT32_MAX];
    float *out = c->forms + kind;
    for (size_t i = 0; i < n; i++) {
        out[i * NUMBERS] = value[i];
        out[i * NUMBERS + CZ_RELATION_KINDS] = value[i] - median;
    }
    for (size_t rank = 0; rank < n; rank++) {
        const size_t i = sorted[rank] & UINT32_MAX;
        out[i * NUMBERS + 2 * CZ_RELATION_KINDS] = n > 1 ? (float)rank / (float)(n - 1) - 0.5f : 0.0f;
    }
}

void cz_relation_forms(cz_relation_cells *c)
{
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t kind = 0; kind < CZ_RELATION_KINDS; kind++) form_kind(c, kind);
}

/* ---- the object ------------------------------------------------------------------------------------------------------- */

static cz_status check(const cz_tap_shape *taps, size_t count)
{
    if (!taps || count == 0 || count > MAX_TAPS) return cz_fail(CZ_E_ARG, "relational descriptors: 1 to 64 taps");
    for (size_t t = 0; t < count; t++) {
        const cz_tap_shape s = taps[t];
        size_t cells, values;
        if (s.channels == 0 || s.height == 0 || s.width == 0)
            return cz_fail(CZ_E_ARG, "relational descriptors: tap %zu is %zux%zux%zu", t, s.channels, s.height,
                           s.width);
        if (!cz_mul_size(s.height, s.width, &cells) || cells > MAX_CELLS || s.channels > MAX_CELLS ||
            !cz_mul_size(cells + CZ_RELATION_ROUND, s.channels, &values) || values > SIZE_MAX / 64)
            return cz_fail(CZ_E_LIMIT, "relational descriptors: tap %zu is too large", t);
    }
    return CZ_OK;
}

static size_t padded(size_t cells)
{
    return (cells + CZ_RELATION_ROUND - 1) / CZ_RELATION_ROUND * CZ_RELATION_ROUND;
}

static cz_status make_buffers(cz_relation *r)
{
    cz_relation_cells *c = &r->cells;
    size_t room = 0, channels = 0, values = 0;
    for (size_t t = 0; t < r->count; t++) {
        const size_t here = padded(r->taps[t].height * r->taps[t].width), n = r->taps[t].channels;
        if (here > room) room = here;
        if (n > channels) channels = n;
        if (here * n > values) values = here * n;
    }
    c->index = cz_alloc_array(room, sizeof *c->index);
    c->place = cz_alloc_array(room, sizeof *c->place);
    c->rows = cz_alloc_array(values, sizeof *c->rows);
    c->turned = cz_alloc_array(values, sizeof *c->turned);
    c->median = cz_alloc_array(channels, sizeof *c->median);
    c->scale = cz_alloc_array(channels, sizeof *c->scale);
    c->square = cz_alloc_array(room, sizeof *c->square);
    c->inverse = cz_alloc_array(room, sizeof *c->inverse);
    c->products = cz_alloc_array(room, CZ_RELATION_STRIP * sizeof *c->products);
    c->kinds = cz_alloc_array(room, CZ_RELATION_KINDS * sizeof *c->kinds);
    c->sorting = cz_alloc_array(room, 2 * CZ_RELATION_KINDS * sizeof *c->sorting);
    c->forms = cz_alloc_array(room, NUMBERS * sizeof *c->forms);
    if (!c->index || !c->place || !c->rows || !c->turned || !c->median || !c->scale || !c->square || !c->inverse ||
        !c->products || !c->kinds || !c->sorting || !c->forms)
        return CZ_E_MEMORY;
    if (r->count == 1) return CZ_OK;
    r->low = cz_alloc_array(room, WEIGHTED * sizeof *r->low);
    r->high = cz_alloc_array(r->taps[0].height * r->taps[0].width, WEIGHTED * sizeof *r->high);
    return r->low && r->high ? CZ_OK : CZ_E_MEMORY;
}

/* Upsampling takes a pooler's grids and nothing else of it: one channel a tap keeps its tables small. */
static cz_status make_upsampler(cz_relation *r)
{
    cz_tap_shape shapes[MAX_TAPS];
    if (r->count == 1) return CZ_OK;
    for (size_t t = 0; t < r->count; t++) shapes[t] = (cz_tap_shape){1, r->taps[t].height, r->taps[t].width};
    return cz_pooler_create(shapes, r->count, r->count, 1, &r->upsampler);
}

cz_status cz_relation_create(const cz_tap_shape *taps, size_t count, cz_relation **out)
{
    cz_status status = check(taps, count);
    if (status != CZ_OK) return status;
    cz_relation *r = cz_calloc(1, sizeof *r);
    if (!r) return CZ_E_MEMORY;
    memcpy(r->taps, taps, count * sizeof *taps);
    r->count = count;
    CZ_TRY(make_buffers(r));
    CZ_TRY(make_upsampler(r));
    CZ_TRY(cz_engine_gemm_create(&r->gemm));
    *out = r;
    r = NULL;
out:
    cz_relation_destroy(r);
    return status;
}

void cz_relation_destroy(cz_relation *r)
{
    if (!r) return;
    const cz_relation_cells *c = &r->cells;
    cz_free(c->index);
    cz_free(c->place);
    cz_free(c->rows);
    cz_free(c->turned);
    cz_free(c->median);
    cz_free(c->scale);
    cz_free(c->square);
    cz_free(c->inverse);
    cz_free(c->products);
    cz_free(c->kinds);
    cz_free(c->sorting);
    cz_free(c->forms);
    cz_free(r->low);
    cz_free(r->high);
    cz_pooler_destroy(r->upsampler);
    cz_engine_gemm_destroy(r->gemm);
    cz_free(r);
}

size_t cz_relation_width(const cz_relation *r)
{
    return r->count * NUMBERS;
}

size_t cz_relation_grid_w(const cz_relation *r)
{
    return r->taps[0].width;
}

size_t cz_relation_grid_h(const cz_relation *r)
{
    return r->taps[0].height;
}

/* ---- running ---------------------------------------------------------------------------------------------------------- */

/* Does part i of `parts` share area with a valid cell of the first tap? Both grids cover the same image. */
static bool cell_valid(const cz_tap_shape *s, const cz_tap_shape *first, const uint8_t *valid, size_t y, size_t x)
{
    const size_t top = y * first->height / s->height, left = x * first->width / s->width;
    const size_t bottom = ((y + 1) * first->height + s->height - 1) / s->height;
    const size_t right = ((x + 1) * first->width + s->width - 1) / s->width;
    if (!valid) return true;
    for (size_t v = top; v < bottom; v++)
        for (size_t u = left; u < right; u++)
            if (valid[v * first->width + u]) return true;
    return false;
}

static void number_cells(cz_relation *r, size_t tap, const uint16_t *map, const uint8_t *valid)
{
    cz_relation_cells *c = &r->cells;
    const cz_tap_shape s = r->taps[tap];
    const size_t w0 = r->taps[0].width, guard = (3 * s.width + w0 - 1) / w0;
    c->shape = s;
    c->map = map;
    c->guard = guard > 2 ? guard : 2;
    c->count = 0;
    for (size_t i = 0; i < s.height * s.width; i++) {
        const bool in = cell_valid(&s, &r->taps[0], valid, i / s.width, i % s.width);
        c->index[i] = in ? (uint32_t)c->count : CZ_RELATION_NONE;
        if (in) c->place[c->count++] = (uint32_t)i;
    }
    c->room = padded(c->count);
}

static void store_first(const cz_relation *r, float *out)
{
    const cz_relation_cells *c = &r->cells;
    const size_t width = cz_relation_width(r);
    for (size_t i = 0; i < c->count; i++)
        memcpy(out + c->place[i] * width, c->forms + i * NUMBERS, NUMBERS * sizeof *out);
}

/* A valid patch lies in a valid cell, which has a quarter of the weight at least. */
static void store_upsampled(cz_relation *r, size_t tap, const uint8_t *valid, float *out)
{
    const cz_relation_cells *c = &r->cells;
    const size_t cells = c->shape.height * c->shape.width, width = cz_relation_width(r);
    const bool all = c->count == cells;
    memset(r->low, 0, cells * WEIGHTED * sizeof *r->low);
    for (size_t i = 0; i < c->count; i++) {
        float *to = r->low + c->place[i] * WEIGHTED;
        memcpy(to, c->forms + i * NUMBERS, NUMBERS * sizeof *to);
        to[NUMBERS] = 1.0f;
    }
    cz_pooler_upsample(r->upsampler, tap, r->low, WEIGHTED, r->high, WEIGHTED, false);
    for (size_t p = 0; p < r->taps[0].height * r->taps[0].width; p++) {
        const float *from = r->high + p * WEIGHTED;
        float *to = out + p * width + tap * NUMBERS;
        if (valid && !valid[p]) continue;
        for (size_t k = 0; k < NUMBERS; k++) to[k] = all ? from[k] : from[k] / from[NUMBERS];
    }
}

cz_status cz_relation_run(cz_relation *r, const uint16_t *const *maps, const uint8_t *valid, float *out)
{
    cz_status status = CZ_OK;
    if (!maps || !out) return cz_fail(CZ_E_ARG, "relational descriptors: no maps or no room for the result");
    for (size_t t = 0; t < r->count; t++)
        if (!maps[t]) return cz_fail(CZ_E_ARG, "relational descriptors: no map of tap %zu", t);
    if (omp_in_parallel()) return cz_fail(CZ_E_ARG, "relational descriptors inside an OpenMP parallel region");
    memset(out, 0, r->taps[0].height * r->taps[0].width * cz_relation_width(r) * sizeof *out);
    for (size_t t = 0; t < r->count; t++) {
        number_cells(r, t, maps[t], valid);
        if (r->cells.count == 0) return CZ_OK;
        CZ_TRY(cz_relation_kinds(&r->cells, r->gemm));
        cz_relation_forms(&r->cells);
        if (t == 0)
            store_first(r, out);
        else
            store_upsampled(r, t, valid, out);
    }
out:
    return status;
}
