/* SPDX-License-Identifier: Apache-2.0 */
/* A map and its truth, brought to one size. */
#ifndef EVAL_PIXELS_H
#define EVAL_PIXELS_H

#include "cozad/cozad_eval.h"
#include "cozad/cozad_io.h"

#include <stdbool.h>

/* What cz_evaluation_add is given. Buffers are kept from one photo to the next. */
typedef struct eval_pixels {
    const float *map;    /* [height, width], here or the caller's; NULL: none */
    const uint8_t *mask; /* [height, width] 0 or 255; NULL: none */
    size_t width, height;
    float *map_room;
    uint8_t *mask_room;
    size_t map_count, mask_count;
} eval_pixels;
void eval_pixels_free(eval_pixels *p);

/* The union of mask files, all of one size: GRAY8 with 0 and 255. */
cz_status eval_read_masks(const char *const *paths, size_t count, cz_mask_rule rule, const cz_read_options *options,
                          cz_picture *out);
/* CZ_E_FORMAT when no scale makes one of the other: their sides may be off by half a pixel, as rounding leaves them. */
cz_status eval_check_aspect(const cz_image *mask, size_t width, size_t height);
/* at 0: the mask's own resolution, without a mask the map's. Otherwise [at, at], the mask by its nearest pixels. Maps of another
 * size are interpolated (bilinear, align_corners=False); a value next to a NaN is NaN. `mask` may be NULL. */
cz_status eval_pixels_make(eval_pixels *p, const float *map, size_t width, size_t height, const cz_image *mask,
                           size_t at);
/* The same interpolation alone. to: [to_height, to_width] */
void eval_resample(const float *map, size_t width, size_t height, float *to, size_t to_width, size_t to_height);

#endif
