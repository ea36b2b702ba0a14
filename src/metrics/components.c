/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics/components.h"

#include "util/alloc.h"

#include <string.h>

void cz_components_begin(cz_components *c)
{
    c->run_count = c->above = c->row = c->count = 0;
    c->rows = 0;
}

void cz_components_free(cz_components *c)
{
    cz_free(c->runs);
    cz_free(c->parent);
    memset(c, 0, sizeof *c);
}

static uint32_t find(uint32_t *parent, uint32_t i)
{
    while (parent[i] != i) {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    return i;
}

/* The earlier run becomes the root, so that regions are numbered by their first pixels. */
static void join(uint32_t *parent, uint32_t a, uint32_t b)
{
    a = find(parent, a);
    b = find(parent, b);
    if (a < b) parent[b] = a;
    if (b < a) parent[a] = b;
}

static cz_status add_run(cz_components *c, uint32_t begin, uint32_t end)
{
    if (c->run_count == c->capacity) {
        const size_t capacity = c->capacity == 0 ? 256 : 2 * c->capacity;
        if (capacity > UINT32_MAX) return cz_fail(CZ_E_LIMIT, "more than 2^32 runs of pixels");
        cz_run *runs = cz_grow(c->runs, capacity, sizeof *runs);
        if (runs == NULL) return CZ_E_MEMORY;
        c->runs = runs;
        uint32_t *parent = cz_grow(c->parent, capacity, sizeof *parent);
        if (parent == NULL) return CZ_E_MEMORY;
        c->parent = parent;
        c->capacity = capacity;
    }
    const uint32_t i = (uint32_t)c->run_count++;
    c->runs[i] = (cz_run){c->rows, begin, end, 0};
    c->parent[i] = i;
    /* Runs of the row above that touch it, corners included; those that end before it touch no later run either. */
    while (c->above < c->row && c->runs[c->above].end < begin) c->above++;
    for (size_t k = c->above; k < c->row && c->runs[k].begin <= end; k++) join(c->parent, (uint32_t)k, i);
    return CZ_OK;
}

cz_status cz_components_row(cz_components *c, const uint8_t *row, size_t width)
{
    if (width >= UINT32_MAX || c->rows == UINT32_MAX) return cz_fail(CZ_E_LIMIT, "a picture of 2^32 pixels a side");
    c->above = c->row;
    c->row = c->run_count;
    for (size_t x = 0; x < width;) {
        const uint8_t *next = row + x;
        while (x < width && *next == 0) x++, next++;
        if (x == width) break;
        const size_t begin = x;
        while (x < width && row[x] != 0) x++;
        const cz_status status = add_run(c, (uint32_t)begin, (uint32_t)x);
        if (status != CZ_OK) return status;
    }
    c->rows++;
    return CZ_OK;
}

void cz_components_end(cz_components *c)
{
    for (size_t i = 0; i < c->run_count; i++) {
        const uint32_t root = find(c->parent, (uint32_t)i);
        c->runs[i].region = root == i ? (uint32_t)c->count++ : c->runs[root].region;
    }
}

cz_status cz_components_label(cz_components *c, const uint8_t *picture, size_t width, size_t height)
{
    cz_components_begin(c);
    for (size_t y = 0; y < height; y++) {
        const cz_status status = cz_components_row(c, picture + y * width, width);
        if (status != CZ_OK) return status;
    }
    cz_components_end(c);
    return CZ_OK;
}
