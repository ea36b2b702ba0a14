/* SPDX-License-Identifier: Apache-2.0 */
/* Reads one thing out of EXIF: which way up the photo is (TIFF 6.0 tag 274 in the first directory). Everything else
 * that cameras write there is left alone, and a damaged block counts as "upright", since the pixels are whole. */
#include "io/picture.h"

typedef struct exif_block {
    const uint8_t *data;
    size_t size;
    bool big_endian;
} exif_block;

static bool read_u16(const exif_block *b, size_t at, unsigned *out)
{
    if (at > b->size || b->size - at < 2) return false;
    const uint8_t *p = b->data + at;
    *out = b->big_endian ? (unsigned)p[0] << 8 | p[1] : (unsigned)p[1] << 8 | p[0];
    return true;
}

static bool read_u32(const exif_block *b, size_t at, uint32_t *out)
{
    unsigned first, second;
    if (!read_u16(b, at, &first) || !read_u16(b, at + 2, &second)) return false;
    *out = b->big_endian ? (uint32_t)first << 16 | second : (uint32_t)second << 16 | first;
    return true;
}

int cz_exif_orientation(const uint8_t *tiff, size_t size)
{
    enum { TAG_ORIENTATION = 274, TYPE_SHORT = 3, TYPE_LONG = 4 };
    exif_block b = {tiff, size, false};
    unsigned magic, entries;
    uint32_t offset;
    if (size < 8 || tiff[0] != tiff[1] || (tiff[0] != 'I' && tiff[0] != 'M')) return 1;
    b.big_endian = tiff[0] == 'M';
    if (!read_u16(&b, 2, &magic) || magic != 42 || !read_u32(&b, 4, &offset) || !read_u16(&b, offset, &entries))
        return 1;
    for (size_t i = 0; i < entries; i++) {
        size_t at = (size_t)offset + 2 + 12 * i;
        unsigned tag, type, narrow;
        uint32_t count, value;
        if (!read_u16(&b, at, &tag) || !read_u16(&b, at + 2, &type) || !read_u32(&b, at + 4, &count) ||
            !read_u32(&b, at + 8, &value))
            return 1;
        if (tag != TAG_ORIENTATION) continue;
        if (count != 1 || (type != TYPE_SHORT && type != TYPE_LONG) || !read_u16(&b, at + 8, &narrow)) return 1;
        if (type == TYPE_SHORT) value = narrow;
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}
