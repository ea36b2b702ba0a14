/* SPDX-License-Identifier: Apache-2.0 */
/* Pixels of maps against masks: counted in bins, or kept. */
#ifndef CZ_METRICS_PIXELS_H
#define CZ_METRICS_PIXELS_H

#include "metrics/bins.h"
#include "metrics/components.h"

#include <stddef.h>

/* Work space for one image, reused. */
typedef struct cz_pixel_counter {
    cz_bins bins;
    cz_components components;
    uint32_t *area; /* [area_capacity] inspected pixels of each region */
    size_t area_capacity;
} cz_pixel_counter;
void cz_pixel_counter_free(cz_pixel_counter *c);

/* Pixels of many images. */
typedef struct cz_pixels {
    cz_bins bins;
    uint64_t normal, anomalous;
    uint64_t regions; /* with at least one inspected pixel */
    float low, high;  /* of all maps; only when normal + anomalous > 0 */
    uint64_t *kept;   /* [kept_count] key << 32 | inspected area of the region, 0: a normal pixel; exact mode */
    size_t kept_count, kept_capacity;
    bool sorted;
} cz_pixels;
void cz_pixels_free(cz_pixels *p);

/* Counts one image into c->bins (emptied before); mask NULL: all normal. NaN pixels are left out. */
cz_status cz_pixels_count(cz_pixel_counter *c, const float *map, const uint8_t *mask, size_t width, size_t height);
/* Adds the image that was counted, whole or, on failure, not at all. */
cz_status cz_pixels_add(cz_pixels *p, const cz_pixel_counter *c, const float *map, const uint8_t *mask, size_t width,
                        size_t height, bool keep);
/* Adds all of `from`. */
cz_status cz_pixels_merge(cz_pixels *p, const cz_pixels *from);
/* Sorts what is kept. */
cz_status cz_pixels_sort(cz_pixels *p);

/* Calls visit for each group from the highest scores: of kept pixels (sorted before) when there are any, else of bins. */
typedef void (*cz_group_fn)(void *ctx, const cz_group *g);
void cz_pixels_visit(const cz_pixels *p, cz_group_fn visit, void *ctx);
/* AUROC, AP, F1, area under the overlap curve. */
void cz_pixels_values(const cz_pixels *p, cz_sweep_values *out);
/* Instead: SimpleNet's per-region overlap with 200 equally spaced thresholds (docs/metrics.md section 6). */
void cz_pixels_overlap200(const cz_pixels *p, double limit, double *value, double *bound);

#endif
