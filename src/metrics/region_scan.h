/* SPDX-License-Identifier: Apache-2.0 */
/* 8-connected regions of a map above a threshold, one row at a time: runs of pixels joined with those of the row before by
 * union-find; a region that the newest row does not touch is finished. Memory O(width + most), whatever the map's height. */
#ifndef CZ_METRICS_REGION_SCAN_H
#define CZ_METRICS_REGION_SCAN_H

#include "cozad/cozad_eval.h"
#include "util/status.h"

typedef struct cz_region_scan cz_region_scan;

/* width 1 … 2^31; regions of fewer than `min_area` pixels are left out; `most`: how many are kept, those of the highest peaks. */
cz_status cz_region_scan_create(size_t width, double threshold, size_t min_area, size_t most, cz_region_scan **out);
void cz_region_scan_destroy(cz_region_scan *s);
/* The next row: values [width], NaN is not above. */
cz_status cz_region_scan_row(cz_region_scan *s, const float *values);
/* out: room for `most`, the highest peak first, then by the peak's place; *count: how many regions there are. Ends the scan. */
cz_status cz_region_scan_end(cz_region_scan *s, cz_region *out, size_t *count);

#endif
