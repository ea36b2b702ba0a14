/* SPDX-License-Identifier: Apache-2.0 */
/* 8-connected regions by flood fill: the plain twin of metrics/components. */
#ifndef TESTS_UNIT_FLOOD_H
#define TESTS_UNIT_FLOOD_H

#include <stddef.h>
#include <stdint.h>

static inline void flood_fill(const uint8_t *mask, size_t w, size_t h, size_t at, int label, int *labels)
{
    labels[at] = label;
    const size_t x = at % w, y = at / w;
    for (size_t ny = y > 0 ? y - 1 : 0; ny <= y + 1 && ny < h; ny++)
        for (size_t nx = x > 0 ? x - 1 : 0; nx <= x + 1 && nx < w; nx++)
            if (mask[ny * w + nx] && labels[ny * w + nx] == 0) flood_fill(mask, w, h, ny * w + nx, label, labels);
}

/* labels [h, w]: 0 outside, else 1 … in the order of first pixels. Returns how many. */
static inline int flood_label(const uint8_t *mask, size_t w, size_t h, int *labels)
{
    int count = 0;
    for (size_t i = 0; i < w * h; i++) labels[i] = 0;
    for (size_t i = 0; i < w * h; i++)
        if (mask[i] && labels[i] == 0) flood_fill(mask, w, h, i, ++count, labels);
    return count;
}

#endif
