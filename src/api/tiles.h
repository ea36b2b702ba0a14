/* SPDX-License-Identifier: Apache-2.0 */
/* Tiles of a large image and how their patch scores become one grid (docs/tiles.md). Nothing here knows of networks. */
#ifndef CZ_API_TILES_H
#define CZ_API_TILES_H

#include "util/status.h"

#include <stdint.h>

/* What was asked for, pixels of the image. */
typedef struct cz_tiling {
    size_t width, height, overlap;
} cz_tiling;

/* One axis: `count` tiles of `size` pixels over `extent`, and the common grid of `cells` patches. */
typedef struct cz_tile_axis {
    size_t extent, size, count;
    size_t grid;  /* patches of one tile */
    size_t cells; /* of the whole extent: extent / (size / grid), rounded; with one tile `grid` */
} cz_tile_axis;

/* CZ_E_ARG for a tile or overlap that makes no tiling, CZ_E_LIMIT for more than 2^20 tiles or 65535 patches on a side. A tile larger than
 * the extent is as large as it. */
cz_status cz_tile_axis_make(size_t extent, size_t tile, size_t overlap, size_t grid, cz_tile_axis *out);
/* First pixel of tile `index`: evenly spaced, the last one ends where the extent ends. */
size_t cz_tile_start(const cz_tile_axis *axis, size_t index);

/* Blends tiles, given in reading order, into the common grid. Each common patch takes from every tile that covers its centre the
 * bilinear interpolation between that tile's patches, weighted by how far inside the tile the centre lies. */
typedef struct cz_tile_blend cz_tile_blend;
cz_status cz_tile_blend_create(const cz_tile_axis *x, const cz_tile_axis *y, cz_tile_blend **out);
void cz_tile_blend_destroy(cz_tile_blend *b);
/* scores, valid: [y->grid, x->grid] of tile (column, row); patches that are not valid are left out. grid, grid_valid: [y->cells,
 * x->cells], whose finished rows are written: all are with the last tile. A common patch is valid where valid patches have at least half of
 * the weight; the others become 0. */
void cz_tile_blend_add(cz_tile_blend *b, size_t column, size_t row, const float *scores, const uint8_t *valid,
                       float *grid, uint8_t *grid_valid);

#endif
