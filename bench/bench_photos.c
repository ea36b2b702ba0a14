/* SPDX-License-Identifier: Apache-2.0 */
/* bench_photos FOLDER COUNT [SIDE [QUALITY [DISTINCT]]]: writes JPEGs 0000.jpg … of SIDE x SIDE (1024), quality 95, that look enough like
 * photos of a surface for decoding to cost what it does with real ones: soft shading, blobs, lines and a little sensor noise. Only DISTINCT
 * of them (50) differ; the others are further names (hard links) of these. */
#include "cozad/cozad_io.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static uint32_t next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static uint8_t clamp(double value)
{
    return (uint8_t)(value < 0.0 ? 0.0 : value > 255.0 ? 255.0 : value);
}

static void paint(uint8_t *pixels, size_t side, uint32_t seed)
{
    enum { BLOBS = 24 };
    uint32_t state = seed * 2654435761u + 12345;
    double x[BLOBS], y[BLOBS], radius[BLOBS], height[BLOBS];
    for (size_t i = 0; i < BLOBS; i++) {
        x[i] = (double)(next(&state) % side);
        y[i] = (double)(next(&state) % side);
        radius[i] = (double)side * (0.01 + (double)(next(&state) % 100) / 1000.0);
        height[i] = (double)(next(&state) % 120) - 60.0;
    }
    for (size_t v = 0; v < side; v++) {
        for (size_t u = 0; u < side; u++) {
            double value = 90.0 + 60.0 * (double)u / (double)side + 12.0 * sin((double)(u + 2 * v) * 0.09);
            for (size_t i = 0; i < BLOBS; i++) {
                const double dx = (double)u - x[i], dy = (double)v - y[i];
                const double far = (dx * dx + dy * dy) / (radius[i] * radius[i]);
                if (far < 1.0) value += height[i] * (1.0 - far);
            }
            for (size_t c = 0; c < 3; c++) {
                const double grain = (double)(next(&state) % 7) - 3.0;
                pixels[(v * side + u) * 3 + c] = clamp(value + grain + (double)c * 8.0);
            }
        }
    }
}

static int write_photo(const char *path, const cz_image *image, int quality)
{
    char *bytes = NULL;
    size_t size = 0;
    if (cz_picture_encode_jpeg(image, quality, &bytes, &size) != CZ_OK) return 0;
    FILE *file = fopen(path, "wb");
    int good = file != NULL && fwrite(bytes, 1, size, file) == size;
    if (file != NULL && fclose(file) != 0) good = 0;
    cz_string_free(bytes);
    return good;
}

int main(int argc, char **argv)
{
    const size_t count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0, side = argc > 3 ? strtoul(argv[3], NULL, 10) : 1024;
    const int quality = argc > 4 ? atoi(argv[4]) : 95;
    const size_t distinct = argc > 5 ? strtoul(argv[5], NULL, 10) : 50;
    if (count == 0 || count > 100000 || side == 0 || side > 16384 || quality < 1 || quality > 100 || distinct == 0) {
        (void)fputs("Usage: bench_photos FOLDER COUNT [SIDE [QUALITY [DISTINCT]]]\n", stderr);
        return 2;
    }
    uint8_t *pixels = malloc(side * side * 3);
    if (pixels == NULL) return 1;
    const cz_image image = {pixels, side, side, side * 3, CZ_RGB8};
    int good = 1;
    for (size_t i = 0; i < count && good; i++) {
        char path[4096], first[4096];
        (void)snprintf(path, sizeof path, "%s/%05zu.jpg", argv[1], i);
        (void)snprintf(first, sizeof first, "%s/%05zu.jpg", argv[1], i % distinct);
        if (i < distinct) {
            paint(pixels, side, (uint32_t)i);
            good = write_photo(path, &image, quality);
        } else {
            good = link(first, path) == 0;
        }
        if (!good) (void)fprintf(stderr, "bench_photos: %s: cannot be written\n", path);
    }
    free(pixels);
    return good ? 0 : 1;
}
