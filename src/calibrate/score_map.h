/* SPDX-License-Identifier: Apache-2.0 */
/* From patch scores to a map (docs/math.md section 3, "Map"). */
#ifndef CZ_CALIBRATE_SCORE_MAP_H
#define CZ_CALIBRATE_SCORE_MAP_H

#include "features/preprocess.h"

/* Plan for one (grid, input size): upsampling (bilinear, align_corners=False) and Gaussian blur (sigma 4 * input/256 per axis,
 * radius int(4 sigma + 0.5), half-sample symmetric borders, SciPy's "reflect") folded into one matrix an axis: M s M^T. */
typedef struct cz_score_map cz_score_map;
cz_status cz_score_map_create(size_t grid_w, size_t grid_h, size_t width, size_t height, cz_score_map **out);
void cz_score_map_destroy(cz_score_map *m);
/* patch scores [grid_h, grid_w] (no NaN: give ignored patches the smallest valid score) -> map [height, width]. OpenMP. */
void cz_score_map_input(const cz_score_map *m, const float *scores, float *map);
/* Input-size map -> the image's own size, [image_height, image_width]: bilinear align_corners=False within the region
 * (through the geometry for letterbox and crop), NaN outside the region, outside what a centre cut shows, and where the prep's
 * ignore mask says so. OpenMP. */
cz_status cz_score_map_original(const float *map, const cz_prep *prep, const cz_geometry *geometry, float *out);

#endif
