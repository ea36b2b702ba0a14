/* SPDX-License-Identifier: Apache-2.0 */
/* The map of a result, kept whole or made row by row by the session. */
#ifndef MAP_ROWS_H
#define MAP_ROWS_H

#include "cozad/cozad_io.h"

/* Must outlive the source made of it, as must the result and its session's last call. */
typedef struct map_rows {
    const cz_result *result;
    cz_session *session; /* needed when result->map is NULL; the result is that of its last call's first image */
} map_rows;
cz_map_source map_rows_source(const map_rows *rows);
/* Smallest and largest value, a pass over all rows; 0 and 1 where there is none, and `high` above `low` in any case. */
cz_status map_rows_range(const map_rows *rows, double *low, double *high);

#endif
