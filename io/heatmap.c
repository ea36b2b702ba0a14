/* SPDX-License-Identifier: Apache-2.0 */
/* Heat maps as 16-bit gray PNG: any viewer shows them, and the range in the text chunks gives the numbers back. */
#include "io/decode.h"
#include "io/encode.h"
#include "util/alloc.h"
#include "util/file.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BAND_ROWS = 32 }; /* asked for at once */

static const char LOW[] = "cozad:low", HIGH[] = "cozad:high";

/* %.9g with a decimal point, whatever the program's locale. */
static void print_number(char text[32], double value)
{
    snprintf(text, 32, "%.9g", value);
    char *comma = strchr(text, ',');
    if (comma) *comma = '.';
}

static bool parse_number(const uint8_t *text, size_t length, double *out)
{
    char copy[64], *end;
    if (!length || length >= sizeof(copy)) return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!plain) return false;
    *out = strtod_l(copy, &end, plain);
    freelocale(plain);
    return *end == '\0' && isfinite(*out);
}

static uint16_t quantise(float value, double low, double high)
{
    if (isnan(value) || !(high > low)) return 0;
    double t = ((double)value - low) / (high - low) * 65535;
    return t <= 0 ? 0 : t >= 65535 ? 65535 : (uint16_t)(t + 0.5);
}

/* Rows of a map on their way into the file. */
typedef struct map_rows {
    const cz_map_source *map;
    double low, high;
    float *band; /* [BAND, width] rows first … first + count-1 */
    size_t first, count;
} map_rows;

static cz_status gray_row(void *ctx, size_t y, uint8_t *out)
{
    map_rows *r = ctx;
    const size_t width = r->map->width;
    if (y < r->first || y >= r->first + r->count) {
        const size_t left = r->map->height - y;
        r->first = y;
        r->count = left < BAND_ROWS ? left : BAND_ROWS;
        const cz_status status = r->map->rows(r->map->ctx, r->first, r->count, r->band);
        if (status != CZ_OK) return status;
    }
    const float *from = r->band + (y - r->first) * width;
    for (size_t x = 0; x < width; x++) {
        const uint16_t v = quantise(from[x], r->low, r->high);
        memcpy(out + 2 * x, &v, sizeof v);
    }
    return CZ_OK;
}

cz_status cz_heatmap_write_rows(const char *path, const cz_map_source *map, double low, double high)
{
    cz_error_clear();
    if (!path || !map || !map->rows) return cz_fail(CZ_E_ARG, "a heat map without path or values");
    if (!isfinite(low) || !isfinite(high) || low > high)
        return cz_fail(CZ_E_ARG, "%s: a heat map cannot range from %g to %g", path, low, high);
    if (!map->width || !map->height) return cz_fail(CZ_E_ARG, "%s: an empty heat map", path);
    char low_text[32], high_text[32];
    map_rows rows = {.map = map, .low = low, .high = high};
    rows.band = cz_alloc_array(map->width, BAND_ROWS * sizeof(float));
    if (!rows.band) return CZ_E_MEMORY;
    print_number(low_text, low);
    print_number(high_text, high);
    const cz_png_text texts[] = {{LOW, low_text}, {HIGH, high_text}};
    const cz_png_rows png = {map->width, map->height, CZ_GRAY16, gray_row, &rows};
    cz_status status = cz_png_write_rows(path, &png, texts, 2);
    cz_free(rows.band);
    return status;
}

cz_status cz_whole_map_rows(void *ctx, size_t first, size_t count, float *out)
{
    const cz_whole_map *w = ctx;
    memcpy(out, w->map + first * w->width, count * w->width * sizeof(*out));
    return CZ_OK;
}

cz_status cz_heatmap_write(const char *path, const float *map, size_t width, size_t height, double low, double high)
{
    cz_whole_map whole = {map, width};
    const cz_map_source source = {width, height, cz_whole_map_rows, &whole};
    cz_error_clear();
    if (!map) return cz_fail(CZ_E_ARG, "a heat map without path or values");
    return cz_heatmap_write_rows(path, &source, low, high);
}

/* The text chunk of a PNG that has been decoded already, so that its chunks are known to be whole. */
static bool find_number(const uint8_t *png, size_t size, const char *keyword, double *out)
{
    size_t at = 8, key = strlen(keyword) + 1;
    while (size - at >= 12) {
        const uint8_t *p = png + at;
        size_t length = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        if (length > size - at - 12) return false;
        if (memcmp(p + 4, "tEXt", 4) == 0 && length > key && memcmp(p + 8, keyword, key) == 0)
            return parse_number(p + 8 + key, length - key, out);
        at += length + 12;
    }
    return false;
}

static cz_status read_map(const uint8_t *bytes, size_t size, float **map, size_t *width, size_t *height)
{
    static const char signature[] = "\x89PNG\r\n\x1A\n";
    cz_encoded in = {bytes, size, CZ_DEFAULT_MAX_PIXELS, NULL};
    cz_picture gray = {0};
    int orientation = 1;
    double low = 0, high = 0;
    cz_status status;
    if (size < 8 || memcmp(bytes, signature, 8) != 0) return cz_fail(CZ_E_FORMAT, "not a heat map: no PNG file");
    CZ_TRY(cz_png_decode(&in, &gray, &orientation));
    if (gray.image.format != CZ_GRAY16 || !find_number(bytes, size, LOW, &low) ||
        !find_number(bytes, size, HIGH, &high) || low > high)
        CZ_TRY(cz_fail(CZ_E_FORMAT, "not a heat map: no 16-bit gray PNG with %s and %s", LOW, HIGH));
    size_t count = gray.image.width * gray.image.height;
    float *values = cz_alloc_array(count, sizeof(float));
    if (!values) CZ_TRY(CZ_E_MEMORY);
    const uint16_t *from = gray.pixels;
    for (size_t i = 0; i < count; i++) values[i] = (float)(low + from[i] / 65535.0 * (high - low));
    *map = values;
    *width = gray.image.width;
    *height = gray.image.height;
out:
    cz_picture_free(&gray);
    return status;
}

cz_status cz_heatmap_read(const char *path, float **map, size_t *width, size_t *height)
{
    cz_error_clear();
    if (!path || !map || !width || !height) return cz_fail(CZ_E_ARG, "nowhere to put the heat map");
    uint8_t *bytes = NULL;
    size_t size = 0;
    cz_status status = cz_file_read(path, (size_t)CZ_DEFAULT_MAX_BYTES, &bytes, &size);
    if (status != CZ_OK) return status;
    status = read_map(bytes, size, map, width, height);
    if (status != CZ_OK) cz_fail_prefix(status, path);
    cz_free(bytes);
    return status;
}
