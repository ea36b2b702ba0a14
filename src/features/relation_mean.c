/* SPDX-License-Identifier: Apache-2.0 */
/* The mean over 3 x 3 cells before anything is measured: a cell of the border becomes like others of the border and of nothing else. */
#include "features/relation_internal.h"
#include "features/simd.h"
#include "tensor/dtype.h"

/* Channels at a time, so that their sums stay in registers. */
enum { BLOCK = 64 };

CZ_INLINE void mean_cell(const cz_relation_cells *c, const uint16_t *map, size_t y, size_t x, uint16_t *restrict out)
{
    const size_t w = c->shape.width, h = c->shape.height, channels = c->shape.channels;
    const size_t top = y > 0 ? y - 1 : 0, left = x > 0 ? x - 1 : 0;
    for (size_t first = 0; first < channels; first += BLOCK) {
        const size_t n = channels - first < BLOCK ? channels - first : BLOCK;
        float sum[BLOCK] = {0};
        for (size_t v = top; v <= y + 1 && v < h; v++) {
            for (size_t u = left; u <= x + 1 && u < w; u++) {
                const uint16_t *restrict from = map + (v * w + u) * channels + first;
                if (c->index[v * w + u] == CZ_RELATION_NONE) continue;
                for (size_t k = 0; k < n; k++) sum[k] += cz_bf16_to_f32(from[k]);
            }
        }
        for (size_t k = 0; k < n; k++) out[first + k] = cz_f32_to_bf16(sum[k] / 9.0f);
    }
}

CZ_INLINE void mean_row_body(const cz_relation_cells *c, const uint16_t *map, size_t y, uint16_t *out)
{
    const size_t w = c->shape.width;
    for (size_t x = 0; x < w; x++) {
        const size_t cell = y * w + x;
        if (c->index[cell] != CZ_RELATION_NONE) mean_cell(c, map, y, x, out + cell * c->shape.channels);
    }
}

CZ_SIMD_KERNEL(mean_row, (const cz_relation_cells *c, const uint16_t *map, size_t y, uint16_t *out), (c, map, y, out))

void cz_relation_mean(cz_relation_cells *c)
{
    const uint16_t *map = c->map;
#pragma omp parallel for schedule(static)
    for (size_t y = 0; y < c->shape.height; y++) mean_row(c, map, y, c->pooled);
    c->map = c->pooled;
}
