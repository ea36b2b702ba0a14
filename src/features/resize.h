/* SPDX-License-Identifier: Apache-2.0 */
/* The resampling behind cz_resize_bilinear, able to compute only a window of the result (for a centre cut). */
#ifndef CZ_FEATURES_RESIZE_H
#define CZ_FEATURES_RESIZE_H

#include "util/status.h"

#include <stdbool.h>

#define CZ_RESIZE_MAX_SIDE 65535

typedef struct cz_resize_spec {
    const uint8_t *source; /* [sh] rows of sw * channels bytes, `stride` bytes apart */
    size_t sw, sh, stride, channels;
    size_t dw, dh;              /* size of the whole result */
    size_t x, y, width, height; /* the window of it that is computed */
    bool plain;                 /* the plain C twin, whatever the processor can do (tests) */
} cz_resize_spec;

/* out: [height, width, channels], the same bytes as that window of the whole result. Source sides and the window's are
 * 1 … CZ_RESIZE_MAX_SIDE; dw and dh may be larger, up to 2^31 - 1. */
cz_status cz_resize_window(const cz_resize_spec *spec, uint8_t *out);

#endif
