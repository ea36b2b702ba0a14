/* SPDX-License-Identifier: Apache-2.0 */
#include "data_check.h"

#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

const char *data_finding_name(data_finding finding)
{
    static const char *const names[DATA_FINDINGS] = {"unreadable",      "extension", "mask_missing", "mask_stray",
                                                     "mask_unreadable", "mask_size", "mask_values",  "mask_empty",
                                                     "mask_of_normal",  "duplicate", "leak",         "labels"};
    return names[finding];
}

static void tell(data_check *c, data_finding finding, const char *path, const char *detail)
{
    c->findings[finding]++;
    c->tell(c->ctx, finding, path, detail);
}

/* ---- names that lie ----------------------------------------------------------------------------------------------- */

/* The format that the first bytes show; NULL: none known here. */
static const char *format_of_bytes(const uint8_t *b, size_t size)
{
    static const struct {
        const char *format, *bytes;
        size_t at, length;
    } magics[] = {{"JPEG", "\xff\xd8\xff", 0, 3},
                  {"PNG", "\x89PNG", 0, 4},
                  {"BMP", "BM", 0, 2},
                  {"TIFF", "II*\0", 0, 4},
                  {"TIFF", "MM\0*", 0, 4},
                  {"GIF", "GIF8", 0, 4},
                  {"WebP", "WEBP", 8, 4},
                  {"HEIF", "ftyphei", 4, 7},
                  {"HEIF", "ftypmif", 4, 7},
                  {"AVIF", "ftypavif", 4, 8},
                  {"JPEG XL", "\xff\x0a", 0, 2},
                  {"JPEG XL", "\0\0\0\x0cJXL ", 0, 8},
                  {"JPEG 2000", "\0\0\0\x0cjP  ", 0, 8}};
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        if (magics[i].at + magics[i].length <= size &&
            memcmp(b + magics[i].at, magics[i].bytes, magics[i].length) == 0) {
            return magics[i].format;
        }
    }
    return size >= 2 && b[0] == 'P' && b[1] >= '1' && b[1] <= '6' ? "PNM" : NULL;
}

static const char *format_of_name(const char *path)
{
    static const char *const names[][2] = {
        {"jpg", "JPEG"},  {"jpeg", "JPEG"}, {"jpe", "JPEG"},  {"jfif", "JPEG"},   {"png", "PNG"},
        {"tif", "TIFF"},  {"tiff", "TIFF"}, {"bmp", "BMP"},   {"dib", "BMP"},     {"pgm", "PNM"},
        {"ppm", "PNM"},   {"pnm", "PNM"},   {"pbm", "PNM"},   {"webp", "WebP"},   {"gif", "GIF"},
        {"heic", "HEIF"}, {"heif", "HEIF"}, {"avif", "AVIF"}, {"jxl", "JPEG XL"}, {"jp2", "JPEG 2000"}};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot != NULL && i < sizeof names / sizeof *names; i++) {
        if (strcasecmp(dot + 1, names[i][0]) == 0) return names[i][1];
    }
    return NULL;
}

static void check_name(data_check *c, const char *path)
{
    uint8_t bytes[16] = {0};
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode)) return; /* a pipe would keep us waiting */
    FILE *file = fopen(path, "rbe");
    if (file == NULL) return;
    const size_t size = fread(bytes, 1, sizeof bytes, file);
    (void)fclose(file);
    const char *real = format_of_bytes(bytes, size), *named = format_of_name(path);
    if (real != NULL && named != NULL && strcmp(real, named) != 0) {
        char detail[64];
        (void)snprintf(detail, sizeof detail, "the name says %s, the bytes are %s", named, real);
        tell(c, DATA_EXTENSION, path, detail);
    }
}

/* ---- masks -------------------------------------------------------------------------------------------------------- */

/* The largest channel; 16-bit values as they are. */
static unsigned value_at(const cz_image *image, size_t x, size_t y)
{
    const uint8_t *row = (const uint8_t *)image->data + y * image->stride;
    if (image->format == CZ_GRAY8) return row[x];
    if (image->format == CZ_GRAY16) {
        uint16_t v;
        memcpy(&v, row + 2 * x, 2);
        return v;
    }
    const uint8_t *p = row + 3 * x;
    const unsigned most = p[0] > p[1] ? p[0] : p[1];
    return p[2] > most ? p[2] : most;
}

/* How many pixels lie between 0 and the largest value. */
static uint64_t count_odd(data_check *c, const cz_image *image, unsigned largest)
{
    const int shift = image->format == CZ_GRAY16 ? 8 : 0;
    uint64_t odd = 0;
    for (size_t y = 0; y < image->height; y++) {
        for (size_t x = 0; x < image->width; x++) {
            const unsigned v = value_at(image, x, y);
            if (v == 0 || v == largest) continue;
            odd++;
            c->odd_values[v >> shift]++;
        }
    }
    return odd;
}

/* *set: a pixel is marked. An unreadable mask leaves it. */
static void check_mask(data_check *c, const cz_sample *s, const char *path, const cz_image *photo, bool *set)
{
    cz_picture mask = {0};
    char detail[160];
    unsigned largest = 0;
    if (cz_picture_read(path, c->read, &mask) != CZ_OK) {
        tell(c, DATA_MASK_UNREADABLE, path, cz_last_error());
        return;
    }
    for (size_t y = 0; y < mask.image.height; y++) {
        for (size_t x = 0; x < mask.image.width; x++) {
            const unsigned v = value_at(&mask.image, x, y);
            if (v > largest) largest = v;
        }
    }
    *set = *set || largest > 0; /* under either rule */
    if (photo != NULL && (photo->width != mask.image.width || photo->height != mask.image.height)) {
        (void)snprintf(detail, sizeof detail, "%zux%zu, the picture is %zux%zu", mask.image.width, mask.image.height,
                       photo->width, photo->height);
        tell(c, DATA_MASK_SIZE, path, detail);
    }
    const uint64_t odd = s->mask_rule == CZ_MASK_HALF ? count_odd(c, &mask.image, largest) : 0;
    if (odd > 0) {
        (void)snprintf(detail, sizeof detail, "%llu pixels between 0 and %u", (unsigned long long)odd, largest);
        tell(c, DATA_MASK_VALUES, path, detail);
    }
    cz_picture_free(&mask);
}

static int check_masks(data_check *c, const cz_sample *s, size_t category, const cz_image *photo)
{
    bool set = false;
    const size_t unread = c->findings[DATA_MASK_UNREADABLE];
    for (size_t i = 0; i < s->mask_count; i++) check_mask(c, s, s->masks[i], photo, &set);
    if (s->mask_count == 0) {
        if (s->label == 1 && c->masked[category]) tell(c, DATA_MASK_MISSING, s->path, "is anomalous and has no mask");
        return s->label;
    }
    if (c->findings[DATA_MASK_UNREADABLE] != unread) return s->label;
    if (s->label == 1 && !set) tell(c, DATA_MASK_EMPTY, s->path, "is anomalous, its mask is empty");
    if (s->label == 0 && set) tell(c, DATA_MASK_OF_NORMAL, s->path, "is normal, its mask is not empty");
    return s->label >= 0 ? s->label : set;
}

/* ---- pictures ----------------------------------------------------------------------------------------------------- */

static void check_sample(data_check *c, size_t index, size_t category)
{
    const cz_sample *s = cz_dataset_at(c->data, index);
    cz_picture photo = {0};
    char hex[65];
    const bool good = cz_picture_read(s->path, c->read, &photo) == CZ_OK;
    if (!good) tell(c, DATA_UNREADABLE, s->path, cz_last_error());
    check_name(c, s->path);
    const int label = check_masks(c, s, category, good ? &photo.image : NULL);
    cz_picture_free(&photo);
    data_row *row = &c->rows[category][s->split];
    row->labels[label + 1]++;
    row->masked += s->mask_count > 0;
    if (cz_file_sha256(s->path, hex) != CZ_OK) return; /* told above */
    data_photo *p = &c->photos[c->photo_count++];
    *p = (data_photo){.index = index, .label = label};
    for (size_t i = 0; i < 32; i++) {
        const char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        p->digest[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
}

static int compare_photos(const void *a, const void *b)
{
    const data_photo *x = a, *y = b;
    const int order = memcmp(x->digest, y->digest, sizeof x->digest);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

/* Each copy is told once, with the first picture of its bytes: as a leak where any picture of them is in another split. */
static void check_copies(data_check *c)
{
    if (c->photo_count > 1) qsort(c->photos, c->photo_count, sizeof *c->photos, compare_photos);
    for (size_t i = 1, first = 0; i < c->photo_count; i++) {
        char detail[1200];
        const data_photo *p = &c->photos[i], *q = &c->photos[first];
        if (memcmp(p->digest, q->digest, sizeof p->digest) != 0) {
            first = i;
            continue;
        }
        const cz_sample *s = cz_dataset_at(c->data, p->index), *t = cz_dataset_at(c->data, q->index);
        const bool leak = s->split != t->split && s->split != CZ_SPLIT_ANY && t->split != CZ_SPLIT_ANY;
        (void)snprintf(detail, sizeof detail, "the same bytes as %.1000s%s", t->path, leak ? ", in another split" : "");
        tell(c, leak ? DATA_LEAK : DATA_DUPLICATE, s->path, detail);
        if (p->label >= 0 && q->label >= 0 && p->label != q->label) {
            (void)snprintf(detail, sizeof detail, "is %s, %.1000s has the same bytes and is not",
                           p->label == 1 ? "anomalous" : "normal", t->path);
            tell(c, DATA_LABELS, s->path, detail);
        }
    }
}

static bool prepare(data_check *c)
{
    const size_t categories = cz_dataset_categories(c->data), count = cz_dataset_count(c->data);
    c->rows = calloc(categories + 1, sizeof *c->rows);
    c->masked = calloc(categories + 1, sizeof *c->masked);
    c->photos = calloc(count + 1, sizeof *c->photos);
    if (c->rows == NULL || c->masked == NULL || c->photos == NULL) return false;
    for (size_t i = 0, k = 0; i < count; i++) {
        const cz_sample *s = cz_dataset_at(c->data, i);
        while (strcmp(cz_dataset_category(c->data, k), s->category) != 0) k++; /* both are sorted */
        if (s->mask_count > 0) c->masked[k] = true;
    }
    return true;
}

cz_status data_check_run(data_check *c)
{
    const size_t count = cz_dataset_count(c->data);
    if (!prepare(c)) return cz_source_error(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0, k = 0; i < count; i++) {
        const cz_sample *s = cz_dataset_at(c->data, i);
        if (cli_progress(NULL, "checking", i, count, "") != 0) return cz_source_error(CZ_E_CANCELLED, "interrupted");
        while (strcmp(cz_dataset_category(c->data, k), s->category) != 0) k++;
        check_sample(c, i, k);
    }
    cli_progress_end();
    for (size_t i = 0; i < cz_dataset_stray_masks(c->data); i++) {
        tell(c, DATA_MASK_STRAY, cz_dataset_stray_mask(c->data, i), "is a mask without a picture");
    }
    check_copies(c);
    return CZ_OK;
}

void data_check_free(data_check *c)
{
    free(c->rows);
    free(c->masked);
    free(c->photos);
}
