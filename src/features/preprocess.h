/* SPDX-License-Identifier: Apache-2.0 */
/* From an image of any size to the network's input (docs/math.md section 1). */
#ifndef CZ_FEATURES_PREPROCESS_H
#define CZ_FEATURES_PREPROCESS_H

#include "util/status.h"

/* Pillow's Image.resize((dw, dh), BILINEAR) for 8-bit samples, bit for bit: antialiased triangle filter, 22-bit fixed
 * point coefficients, horizontal pass first, each pass left out where its size does not change.
 * source: [sh] rows of sw * channels samples, `stride` bytes apart; out: [dh, dw, channels]; channels 1 or 3 (4 works).
 * Sizes 1 … 65535. Memory O(dw * sh) at most in strips; uses OpenMP threads. */
cz_status cz_resize_bilinear(const uint8_t *source, size_t sw, size_t sh, size_t stride, size_t channels, size_t dw,
                             size_t dh, uint8_t *out);

typedef struct cz_prep {
    size_t width, height; /* network input */
    cz_fit fit;
    size_t resize;   /* short side before CZ_FIT_CROP's cut; 0: min(width, height) */
    cz_roi roi;      /* width 0: whole image */
    uint8_t *ignore; /* [ignore_height, ignore_width] 1 = not inspected, relative to the region; NULL: none; owned */
    size_t ignore_width, ignore_height;
} cz_prep;

/* Copies `mask` (GRAY8, >= 128 ignored; NULL: none). */
cz_status cz_prep_init(size_t width, size_t height, cz_fit fit, size_t resize, const cz_roi *roi, const cz_image *mask,
                       cz_prep *out);
void cz_prep_free(cz_prep *prep);

/* The affine relation between image and network input: input pixel centre u maps to image x = origin_x + u * step_x. */
typedef struct cz_geometry {
    size_t image_width, image_height;
    cz_roi region;                                     /* of the image, clipped, never empty */
    size_t content_x, content_y, content_w, content_h; /* part of the network input that shows the region */
    double origin_x, origin_y, step_x, step_y;
} cz_geometry;

/* Checks `image` (format, stride, sizes) and writes [height, width, 3] RGB bytes; padding is the rounded mean. GRAY16 becomes
 * (v * 255 + 32767) / 65535. A region outside the image is CZ_E_ARG. */
cz_status cz_prep_image(const cz_prep *prep, const cz_image *image, const float mean[3], uint8_t *rgb,
                        cz_geometry *geometry);
/* out[i] = (rgb[i] - mean) / std; the same float operations as torchvision's normalise in 0…255 units. Letterbox padding
 * becomes exactly 0. out: [height, width, 3]. */
void cz_prep_normalise(const cz_prep *prep, const cz_geometry *geometry, const uint8_t *rgb, const float mean[3],
                       const float std[3], float *out);
/* valid: [gh, gw] 1 where at least half of the patch's cell is content and not ignored. */
void cz_prep_valid(const cz_prep *prep, const cz_geometry *geometry, size_t gw, size_t gh, uint8_t *valid);

#endif
