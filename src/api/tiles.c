/* SPDX-License-Identifier: Apache-2.0 */
#include "api/tiles.h"

#include "util/alloc.h"

#include <math.h>
#include <string.h>

#define MOST_TILES ((size_t)1 << 20)
#define MOST_CELLS ((size_t)65535)
/* A tile's weight at its very edge; 1 at its middle. Positive, so that each patch has a weight. */
#define EDGE_WEIGHT 1e-3

/* ---- where tiles lie ----------------------------------------------------------------------------------------------- */

cz_status cz_tile_axis_make(size_t extent, size_t tile, size_t overlap, size_t grid, cz_tile_axis *out)
{
    if (tile == 0 || overlap >= tile)
        return cz_fail(CZ_E_ARG, "an overlap of %zu pixels does not go with tiles of %zu: it must be smaller", overlap,
                       tile);
    if (extent == 0 || grid == 0) return cz_fail(CZ_E_ARG, "tiles: a side of 0");
    cz_tile_axis a = {.extent = extent, .size = tile, .count = 1, .grid = grid, .cells = grid};
    if (extent <= tile) {
        a.size = extent;
        *out = a;
        return CZ_OK;
    }
    a.count = 1 + (extent - tile + tile - overlap - 1) / (tile - overlap);
    const double cells = round((double)extent * (double)grid / (double)tile);
    if (a.count > MOST_TILES || cells > (double)MOST_CELLS)
        return cz_fail(CZ_E_LIMIT, "tiles of %zu pixels are too small for a side of %zu", tile, extent);
    a.cells = (size_t)cells;
    *out = a;
    return CZ_OK;
}

size_t cz_tile_start(const cz_tile_axis *a, size_t index)
{
    return a->count < 2 ? 0 : index * (a->extent - a->size) / (a->count - 1);
}

/* ---- one axis of the blend ----------------------------------------------------------------------------------------- */

/* What common patch `cell` takes from one tile. */
typedef struct tap {
    uint32_t i0, i1; /* of the tile's patches */
    double w0, w1;   /* of the interpolation; their sum is 1 */
    double weight;   /* of the tile */
} tap;

/* Common patches first … first + count-1 have their centre in the tile. */
typedef struct reach {
    size_t first, count;
    tap *taps; /* [count] */
} reach;

typedef struct blend_axis {
    cz_tile_axis axis;
    reach *tiles;  /* [axis.count] */
    double *total; /* [axis.cells] sum of the tiles' weights */
} blend_axis;

static void axis_free(blend_axis *a)
{
    for (size_t i = 0; a->tiles != NULL && i < a->axis.count; i++) cz_free(a->tiles[i].taps);
    cz_free(a->tiles);
    cz_free(a->total);
}

/* Half a cosine wave from the edge to the middle. depth: 0 at the edge, 1 in the middle. */
static double weight_at(double depth)
{
    const double half = sin(0.5 * 3.14159265358979323846 * (depth < 0.0 ? 0.0 : depth > 1.0 ? 1.0 : depth));
    return EDGE_WEIGHT + (1.0 - EDGE_WEIGHT) * half * half;
}

/* `at`: the common patch's centre, pixels from the tile's start. */
static tap make_tap(const cz_tile_axis *a, double at)
{
    const double size = (double)a->size, most = (double)(a->grid - 1);
    double u = at * (double)a->grid / size - 0.5;
    if (!(u > 0.0)) u = 0.0;
    if (u > most) u = most;
    tap t = {.i0 = (uint32_t)u};
    t.i1 = t.i0 + 1 < a->grid ? t.i0 + 1 : t.i0;
    t.w1 = u - (double)t.i0;
    t.w0 = 1.0 - t.w1;
    t.weight = weight_at(2.0 * fmin(at, size - at) / size);
    return t;
}

static cz_status axis_make(blend_axis *b, const cz_tile_axis *a)
{
    b->axis = *a;
    b->tiles = cz_calloc(a->count, sizeof *b->tiles);
    b->total = cz_calloc(a->cells, sizeof *b->total);
    if (b->tiles == NULL || b->total == NULL) return CZ_E_MEMORY;
    const double step = (double)a->extent / (double)a->cells;
    for (size_t i = 0; i < a->count; i++) {
        reach *r = &b->tiles[i];
        const size_t start = cz_tile_start(a, i);
        /* Centres (cell + 1/2) * step in [start, start + size]. */
        while (r->first < a->cells && ((double)r->first + 0.5) * step < (double)start) r->first++;
        while (r->first + r->count < a->cells &&
               ((double)(r->first + r->count) + 0.5) * step <= (double)(start + a->size))
            r->count++;
        r->taps = cz_alloc_array(r->count, sizeof *r->taps);
        if (r->taps == NULL) return CZ_E_MEMORY;
        for (size_t k = 0; k < r->count; k++) {
            const size_t cell = r->first + k;
            r->taps[k] = make_tap(a, ((double)cell + 0.5) * step - (double)start);
            /* With one tile there is nothing to interpolate or to weigh, not even in the last bit. */
            if (a->count == 1) r->taps[k] = (tap){(uint32_t)cell, (uint32_t)cell, 1.0, 0.0, 1.0};
            b->total[cell] += r->taps[k].weight;
        }
    }
    return CZ_OK;
}

/* ---- blending ------------------------------------------------------------------------------------------------------ */

struct cz_tile_blend {
    blend_axis x, y;
    size_t rows;         /* of the two sums: as many common rows as one tile reaches; row r is kept at r % rows */
    double *sum, *share; /* [rows, x.cells] weight * score and weight of valid patches */
};

void cz_tile_blend_destroy(cz_tile_blend *b)
{
    if (b == NULL) return;
    axis_free(&b->x);
    axis_free(&b->y);
    cz_free(b->sum);
    cz_free(b->share);
    cz_free(b);
}

cz_status cz_tile_blend_create(const cz_tile_axis *x, const cz_tile_axis *y, cz_tile_blend **out)
{
    cz_status status;
    cz_tile_blend *b = cz_calloc(1, sizeof *b);
    if (b == NULL) return CZ_E_MEMORY;
    CZ_TRY(axis_make(&b->x, x));
    CZ_TRY(axis_make(&b->y, y));
    for (size_t i = 0; i < y->count; i++) {
        if (b->y.tiles[i].count > b->rows) b->rows = b->y.tiles[i].count;
    }
    size_t values;
    if (!cz_mul_size(b->rows, x->cells, &values)) {
        status = cz_fail(CZ_E_LIMIT, "tiles: a grid of %zux%zu", x->cells, y->cells);
        goto out;
    }
    b->sum = cz_calloc(values, sizeof *b->sum);
    b->share = cz_calloc(values, sizeof *b->share);
    if (b->sum == NULL || b->share == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    *out = b;
    b = NULL;
out:
    cz_tile_blend_destroy(b);
    return status;
}

/* The tile's row of sums between two of its patch rows. */
static void add_row(const cz_tile_blend *b, const reach *rx, const tap *ty, const float *scores, const uint8_t *valid,
                    double *sum, double *share)
{
    const size_t width = b->x.axis.grid;
    const float *s0 = scores + ty->i0 * width, *s1 = scores + ty->i1 * width;
    const uint8_t *v0 = valid + ty->i0 * width, *v1 = valid + ty->i1 * width;
    for (size_t k = 0; k < rx->count; k++) {
        const tap *tx = &rx->taps[k];
        const uint32_t i0 = tx->i0, i1 = tx->i1;
        /* A patch that is not valid may hold anything: it is not even multiplied by 0. */
        const double a = v0[i0] ? ty->w0 * tx->w0 : 0.0, c = v0[i1] ? ty->w0 * tx->w1 : 0.0;
        const double d = v1[i0] ? ty->w1 * tx->w0 : 0.0, e = v1[i1] ? ty->w1 * tx->w1 : 0.0;
        const double value = (a > 0.0 ? a * (double)s0[i0] : 0.0) + (c > 0.0 ? c * (double)s0[i1] : 0.0) +
                             (d > 0.0 ? d * (double)s1[i0] : 0.0) + (e > 0.0 ? e * (double)s1[i1] : 0.0);
        const double weight = tx->weight * ty->weight;
        sum[rx->first + k] += weight * value;
        share[rx->first + k] += weight * (a + c + d + e);
    }
}

/* Rows that no later tile reaches. Dividing in double and rounding once makes a constant come out as it went in. */
static void finish_rows(cz_tile_blend *b, size_t from, size_t until, float *grid, uint8_t *grid_valid)
{
    const size_t width = b->x.axis.cells;
    for (size_t y = from; y < until; y++) {
        double *sum = b->sum + y % b->rows * width, *share = b->share + y % b->rows * width;
        for (size_t x = 0; x < width; x++) {
            /* the margin: half of the weight must not depend on rounding */
            const bool good = share[x] >= (0.5 - 1e-9) * b->x.total[x] * b->y.total[y] && share[x] > 0.0;
            grid_valid[y * width + x] = good;
            grid[y * width + x] = good ? (float)(sum[x] / share[x]) : 0.0f;
        }
        memset(sum, 0, width * sizeof *sum);
        memset(share, 0, width * sizeof *share);
    }
}

void cz_tile_blend_add(cz_tile_blend *b, size_t column, size_t row, const float *scores, const uint8_t *valid,
                       float *grid, uint8_t *grid_valid)
{
    const reach *rx = &b->x.tiles[column], *ry = &b->y.tiles[row];
    const size_t width = b->x.axis.cells;
    for (size_t k = 0; k < ry->count; k++) {
        const size_t at = (ry->first + k) % b->rows * width;
        add_row(b, rx, &ry->taps[k], scores, valid, b->sum + at, b->share + at);
    }
    if (column + 1 < b->x.axis.count) return;
    const bool last = row + 1 == b->y.axis.count;
    const size_t until = last ? b->y.axis.cells : b->y.tiles[row + 1].first;
    const size_t from = ry->first;
    finish_rows(b, from, until, grid, grid_valid);
}
