/* SPDX-License-Identifier: Apache-2.0 */
#include "api/mutual_batch.h"

#include "tensor/bf16.h"
#include "util/alloc.h"

#include <math.h>
#include <string.h>

static size_t cells_along(size_t grid)
{
    return (grid + CZ_MUTUAL_CELL - 1) / CZ_MUTUAL_CELL;
}

bool cz_mutual_batch_bytes(size_t grid_w, size_t grid_h, size_t width, size_t *out)
{
    size_t patches, cells, values, bytes, of_cells;
    /* 2 bytes a value; a patch's norm and score are floats, as are the values and the norm of a cell */
    if (!cz_mul_size(grid_w, grid_h, &patches) || !cz_mul_size(patches, width, &values) ||
        !cz_mul_size(values, 2, &bytes) || !cz_mul_size(cells_along(grid_w), cells_along(grid_h), &cells) ||
        !cz_mul_size(cells, width + 1, &of_cells) || !cz_mul_size(of_cells, sizeof(float), &of_cells))
        return false;
    return cz_add_size(bytes, of_cells, &bytes) && cz_add_size(bytes, 2 * sizeof(float) * patches, out);
}

cz_status cz_mutual_batch_create(size_t photos, size_t grid_w, size_t grid_h, size_t width, cz_mutual_batch *out)
{
    size_t each, all;
    *out = (cz_mutual_batch){.photos = photos, .grid_w = grid_w, .grid_h = grid_h, .width = width};
    if (!cz_mutual_batch_bytes(grid_w, grid_h, width, &each) || !cz_mul_size(each, photos, &all))
        return cz_fail(CZ_E_MEMORY, "%zu photos of %zux%zu patches are too many", photos, grid_w, grid_h);
    const size_t patches = grid_w * grid_h; /* smaller than `all`, as are the products below */
    out->cells = cells_along(grid_w) * cells_along(grid_h);
    out->values = cz_alloc_array(photos * patches * width, sizeof *out->values);
    out->norms = cz_alloc_array(photos * patches, sizeof *out->norms);
    out->cell = cz_alloc_array(photos * out->cells * width, sizeof *out->cell);
    out->cell_norms = cz_alloc_array(photos * out->cells, sizeof *out->cell_norms);
    out->room = cz_alloc_array(patches, sizeof *out->room);
    out->sums = cz_alloc_array(patches, sizeof *out->sums);
    if (out->values != NULL && out->norms != NULL && out->cell != NULL && out->cell_norms != NULL &&
        out->room != NULL && out->sums != NULL)
        return CZ_OK;
    cz_mutual_batch_free(out);
    return CZ_E_MEMORY;
}

void cz_mutual_batch_free(cz_mutual_batch *b)
{
    cz_free(b->values);
    cz_free(b->norms);
    cz_free(b->cell);
    cz_free(b->cell_norms);
    cz_free(b->room);
    cz_free(b->sums);
    *b = (cz_mutual_batch){.photos = 0};
}

/* Means over the inspected patches of each cell. */
static void set_cells(cz_mutual_batch *b, size_t photo, const float *x, const uint8_t *valid)
{
    const size_t across = cells_along(b->grid_w), d = b->width;
    float *norms = b->cell_norms + photo * b->cells;
    for (size_t c = 0; c < b->cells; c++) {
        const size_t x0 = c % across * CZ_MUTUAL_CELL, y0 = c / across * CZ_MUTUAL_CELL;
        float *cell = b->cell + (photo * b->cells + c) * d;
        size_t count = 0;
        memset(cell, 0, d * sizeof *cell);
        for (size_t gy = y0; gy < y0 + CZ_MUTUAL_CELL && gy < b->grid_h; gy++) {
            for (size_t gx = x0; gx < x0 + CZ_MUTUAL_CELL && gx < b->grid_w; gx++) {
                const size_t p = gy * b->grid_w + gx;
                if (valid != NULL && !valid[p]) continue;
                for (size_t k = 0; k < d; k++) cell[k] += x[p * d + k];
                count++;
            }
        }
        double sum = 0.0;
        for (size_t k = 0; k < d && count > 0; k++) {
            cell[k] /= (float)count;
            sum += (double)cell[k] * (double)cell[k];
        }
        norms[c] = count > 0 ? (float)sum : INFINITY;
    }
}

/* Norms are those of the rounded values, so that a patch is at distance 0 from itself. */
cz_status cz_mutual_batch_set(cz_mutual_batch *b, size_t photo, const float *x, const uint8_t *valid)
{
    const size_t patches = b->grid_w * b->grid_h, d = b->width;
    uint16_t *values = b->values + photo * patches * d;
    float *norms = b->norms + photo * patches;
    cz_bf16_turn_run(x, d, patches, d, values, patches);
    memset(b->sums, 0, patches * sizeof *b->sums);
    for (size_t k = 0; k < d; k++) {
        cz_bf16_widen_run(values + k * patches, patches, b->room);
        for (size_t p = 0; p < patches; p++) b->sums[p] += (double)b->room[p] * (double)b->room[p];
    }
    size_t inspected = 0;
    for (size_t p = 0; p < patches; p++) {
        const bool skip = valid != NULL && !valid[p];
        norms[p] = skip ? INFINITY : (float)b->sums[p];
        if (!skip && !isfinite(norms[p])) return cz_fail(CZ_E_DIVERGED, "features that are not finite");
        inspected += !skip;
        for (size_t k = 0; k < d && skip; k++) values[k * patches + p] = 0;
    }
    if (inspected == 0) return cz_fail(CZ_E_ARG, "a photo of which nothing is inspected");
    set_cells(b, photo, x, valid);
    return CZ_OK;
}
