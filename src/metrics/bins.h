/* SPDX-License-Identifier: Apache-2.0 */
/* Counts of pixels in 2^20 bins: the top 20 bits of a score's key (sign, exponent, 11 bits of mantissa). Kept in pages
 * that exist only where scores fall, so that a usual detector's scores take one megabyte and the worst ones 32. */
#ifndef CZ_METRICS_BINS_H
#define CZ_METRICS_BINS_H

#include "metrics/sweep.h"
#include "util/status.h"

#include <stddef.h>
#include <stdint.h>

enum { CZ_BIN_SHIFT = 12, CZ_PAGE_BINS = 1024, CZ_PAGES = 1024 };

typedef struct cz_bin {
    uint64_t normal, anomalous;
    double overlap; /* of per-region overlap: sum of 1 / area of the region */
    uint32_t key;   /* of the first sample */
    uint32_t mixed; /* not 0: other keys came later */
} cz_bin;

typedef struct cz_bins {
    cz_bin *page[CZ_PAGES]; /* NULL: empty */
} cz_bins;

void cz_bins_free(cz_bins *b);
/* The bin of a key, its page made when it must be; NULL: out of memory. */
cz_bin *cz_bins_make(cz_bins *b, uint32_t key);
static inline cz_bin *cz_bins_at(cz_bins *b, uint32_t key)
{
    cz_bin *page = b->page[key >> 22];
    return page != NULL ? &page[(key >> CZ_BIN_SHIFT) % CZ_PAGE_BINS] : cz_bins_make(b, key);
}
static inline void cz_bin_note(cz_bin *bin, uint32_t key)
{
    if (bin->normal + bin->anomalous == 0) {
        bin->key = key;
    } else {
        bin->mixed |= bin->key ^ key;
    }
}
/* Adds all of `from`. */
cz_status cz_bins_merge(cz_bins *b, const cz_bins *from);
/* What a bin holds, as a group; its range ends at what the bin can hold. */
cz_group cz_bin_group(const cz_bin *bin);
/* Feeds all bins from the highest. */
void cz_bins_sweep(const cz_bins *b, cz_sweep *s);

/* for (size_t i = CZ_PAGES * CZ_PAGE_BINS; (bin = cz_bins_below(b, &i)) != NULL;): the bins that are not empty, the
 * highest first; *at is then the bin's number (its key >> CZ_BIN_SHIFT). */
const cz_bin *cz_bins_below(const cz_bins *b, size_t *at);

#endif
