/* SPDX-License-Identifier: Apache-2.0 */
/* From patch scores to a map (docs/math.md section 3, "Map"). */
#ifndef CZ_CALIBRATE_SCORE_MAP_H
#define CZ_CALIBRATE_SCORE_MAP_H

#include "features/preprocess.h"

/* Plan for one (grid, input size): upsampling (bilinear, align_corners=False) and Gaussian blur (sigma 4 * input/256 per axis,
 * radius int(4 sigma + 0.5), half-sample symmetric borders, SciPy's "reflect") folded into one banded matrix an axis: M s M^T.
 * Immutable; memory O(grid side + map side) for a blur whose reach does not grow with them. */
typedef struct cz_score_map cz_score_map;
cz_status cz_score_map_create(size_t grid_w, size_t grid_h, size_t width, size_t height, cz_score_map **out);
/* The same with the blur's own sigmas in map pixels, > 0: a map put together from tiles is blurred as one tile is
 * (4 * network input/256), whatever its size. Sides up to 65535. */
typedef struct cz_score_map_shape {
    size_t grid_w, grid_h, width, height;
    double sigma_x, sigma_y;
} cz_score_map_shape;
cz_status cz_score_map_create_shape(const cz_score_map_shape *shape, cz_score_map **out);
void cz_score_map_destroy(cz_score_map *m);
/* patch scores [grid_h, grid_w] (no NaN: give ignored patches the smallest valid score) -> map [height, width]. OpenMP. */
void cz_score_map_input(const cz_score_map *m, const float *scores, float *map);
/* Rows [first, first + rows) of that map, the same bits. out: [rows, width]. OpenMP. */
void cz_score_map_rows(const cz_score_map *m, const float *scores, size_t first, size_t rows, float *out);
/* Input-size map -> the image's own size, [image_height, image_width]: bilinear align_corners=False within the region
 * (through the geometry for letterbox and crop), NaN outside the region, outside what a centre cut shows, and where the prep's
 * ignore mask says so. OpenMP. */
cz_status cz_score_map_original(const float *map, const cz_prep *prep, const cz_geometry *geometry, float *out);
/* Both steps in one pass, without the input-size map: rows [first, first + rows) of the map at the image's own size, the same bits
 * as cz_score_map_input and cz_score_map_original give. Of `prep` only the fit and the ignore mask are read; the plan's
 * width and height stand for the network input's, so `geometry` may describe any map that the plan was made for (a
 * mosaic of tiles: content = the whole map, step = image pixels a map pixel). out: [rows, image_width]. OpenMP. */
cz_status cz_score_map_original_rows(const cz_score_map *m, const float *scores, const cz_prep *prep,
                                     const cz_geometry *geometry, size_t first, size_t rows, float *out);

#endif
