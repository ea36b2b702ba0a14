/* SPDX-License-Identifier: Apache-2.0 */
/* 8-connected regions of a binary picture, row by row: runs of set pixels, joined with the runs of the row above by
 * union-find. Memory: one entry a run, never one a pixel. */
#ifndef CZ_METRICS_COMPONENTS_H
#define CZ_METRICS_COMPONENTS_H

#include "util/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct cz_run {
    uint32_t y, begin, end; /* pixels begin … end-1 of row y */
    uint32_t region;        /* after cz_components_end: 0 … count-1, in the order of their first pixels */
} cz_run;

typedef struct cz_components {
    cz_run *runs; /* [run_count] by row, then by column */
    uint32_t *parent;
    size_t run_count, capacity;
    size_t above, row; /* where the runs of the row above begin, and those of the newest row */
    uint32_t rows;
    size_t count; /* regions */
} cz_components;

/* A zeroed cz_components is empty; begin may be called again to reuse its memory. */
void cz_components_begin(cz_components *c);
/* The next row: [width] set where not 0. width below 2^32. */
cz_status cz_components_row(cz_components *c, const uint8_t *row, size_t width);
void cz_components_end(cz_components *c);
void cz_components_free(cz_components *c);
/* All of a picture, [height, width]. */
cz_status cz_components_label(cz_components *c, const uint8_t *picture, size_t width, size_t height);

#endif
