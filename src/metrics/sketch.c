/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of one image for resampling. */
#include "metrics/bootstrap.h"
#include "util/alloc.h"

#include <math.h>
#include <string.h>

/* A cluster ends where it holds 5 % of the normal pixels from the top on, but at most 1/64 of all: finest where
 * thresholds are of use. Pixels of defects: 1/128 of them, or of the regions. */
enum { MOST_NORMAL = 1024, MOST_DEFECT = 512 };

typedef struct building {
    cz_cluster normal[MOST_NORMAL], defect[MOST_DEFECT];
    float overlap[MOST_DEFECT];
    size_t normal_count, defect_count;
} building;

typedef struct pending {
    double weight, moment, overlap;
} pending;

static cz_cluster close_cluster(pending *p)
{
    const cz_cluster cluster = {(uint32_t)(p->moment / p->weight + 0.5), (float)p->weight};
    *p = (pending){0};
    return cluster;
}

static void build(const cz_bins *image, double normal, double anomalous, double regions, building *out)
{
    pending n = {0}, d = {0};
    double above = 0.0;
    const cz_bin *bin;
    for (size_t at = (size_t)CZ_PAGES * CZ_PAGE_BINS; (bin = cz_bins_below(image, &at)) != NULL;) {
        n.weight += (double)bin->normal;
        n.moment += (double)bin->normal * (double)at;
        above += (double)bin->normal;
        d.weight += (double)bin->anomalous;
        d.moment += (double)bin->anomalous * (double)at;
        d.overlap += bin->overlap;
        if (n.weight > fmin(0.05 * above, normal / 64.0) && out->normal_count + 1 < MOST_NORMAL)
            out->normal[out->normal_count++] = close_cluster(&n);
        if ((d.weight * 128.0 > anomalous || d.overlap * 128.0 > regions) && d.weight > 0.0 &&
            out->defect_count + 1 < MOST_DEFECT) {
            out->overlap[out->defect_count] = (float)d.overlap;
            out->defect[out->defect_count++] = close_cluster(&d);
        }
    }
    if (n.weight > 0.0) out->normal[out->normal_count++] = close_cluster(&n);
    if (d.weight > 0.0) {
        out->overlap[out->defect_count] = (float)d.overlap;
        out->defect[out->defect_count++] = close_cluster(&d);
    }
}

cz_status cz_sketch_make(const cz_bins *image, cz_sketch **out)
{
    double normal = 0.0, anomalous = 0.0, regions = 0.0;
    const cz_bin *bin;
    for (size_t at = (size_t)CZ_PAGES * CZ_PAGE_BINS; (bin = cz_bins_below(image, &at)) != NULL;) {
        normal += (double)bin->normal;
        anomalous += (double)bin->anomalous;
        regions += bin->overlap;
    }
    building *b = cz_calloc(1, sizeof *b);
    if (b == NULL) return CZ_E_MEMORY;
    build(image, normal, anomalous, regions, b);
    const size_t clusters = b->normal_count + b->defect_count;
    cz_sketch *s = cz_alloc(sizeof *s + clusters * sizeof(cz_cluster) + b->defect_count * sizeof(float));
    if (s != NULL) {
        s->normal_count = (uint32_t)b->normal_count;
        s->defect_count = (uint32_t)b->defect_count;
        s->normal = (cz_cluster *)(void *)(s + 1);
        s->defect = s->normal + b->normal_count;
        s->overlap = (float *)(void *)(s->defect + b->defect_count);
        memcpy(s->normal, b->normal, b->normal_count * sizeof *b->normal);
        memcpy(s->defect, b->defect, b->defect_count * sizeof *b->defect);
        memcpy(s->overlap, b->overlap, b->defect_count * sizeof *b->overlap);
        *out = s;
    }
    cz_free(b);
    return s == NULL ? CZ_E_MEMORY : CZ_OK;
}
