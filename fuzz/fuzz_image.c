/* SPDX-License-Identifier: Apache-2.0 */
/* Every decoder of io/, by content. Small limits, so that a run finds mistakes and not large pictures. */
#include "fuzz.h"

#include "cozad/cozad_io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cz_read_options options = CZ_READ_OPTIONS_INIT;
    options.max_pixels = 1 << 18;
    options.max_bytes = 1 << 20;
    cz_picture picture = {0};
    if (cz_picture_decode(data, size, &options, &picture) != CZ_OK) {
        if (picture.pixels || !*cz_last_error()) __builtin_trap(); /* a failure says why, and leaves nothing behind */
        return 0;
    }
    /* every pixel is there */
    static const size_t sizes[] = {1, 2, 3};
    volatile uint8_t sum = 0;
    for (size_t y = 0; y < picture.image.height; y++)
        for (size_t i = 0; i < picture.image.width * sizes[picture.image.format]; i++)
            sum ^= ((const uint8_t *)picture.image.data)[y * picture.image.stride + i];
    cz_picture_free(&picture);
    return 0;
}
