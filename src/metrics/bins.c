/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics/bins.h"

#include "metrics/key.h"
#include "util/alloc.h"

#include <string.h>

void cz_bins_free(cz_bins *b)
{
    for (size_t i = 0; i < CZ_PAGES; i++) cz_free(b->page[i]);
    memset(b, 0, sizeof *b);
}

cz_bin *cz_bins_make(cz_bins *b, uint32_t key)
{
    cz_bin **page = &b->page[key >> 22];
    if (*page == NULL) *page = cz_calloc(CZ_PAGE_BINS, sizeof **page);
    return *page == NULL ? NULL : &(*page)[(key >> CZ_BIN_SHIFT) % CZ_PAGE_BINS];
}

cz_status cz_bins_merge(cz_bins *b, const cz_bins *from)
{
    for (size_t p = 0; p < CZ_PAGES; p++) {
        if (from->page[p] == NULL) continue;
        if (cz_bins_make(b, (uint32_t)p << 22) == NULL) return CZ_E_MEMORY;
        for (size_t i = 0; i < CZ_PAGE_BINS; i++) {
            const cz_bin *source = &from->page[p][i];
            cz_bin *bin = &b->page[p][i];
            if (source->normal + source->anomalous == 0) continue;
            cz_bin_note(bin, source->key);
            bin->mixed |= source->mixed;
            bin->normal += source->normal;
            bin->anomalous += source->anomalous;
            bin->overlap += source->overlap;
        }
    }
    return CZ_OK;
}

cz_group cz_bin_group(const cz_bin *bin)
{
    const bool mixed = bin->mixed != 0;
    const uint32_t inside = ((uint32_t)1 << CZ_BIN_SHIFT) - 1;
    return (cz_group){.low = (double)cz_key_float(mixed ? bin->key & ~inside : bin->key),
                      .high = (double)cz_key_float(mixed ? bin->key | inside : bin->key),
                      .normal = (double)bin->normal,
                      .anomalous = (double)bin->anomalous,
                      .overlap = bin->overlap,
                      .mixed = mixed};
}

const cz_bin *cz_bins_below(const cz_bins *b, size_t *at)
{
    for (size_t i = *at; i > 0;) {
        const cz_bin *page = b->page[(i - 1) / CZ_PAGE_BINS];
        if (page == NULL) {
            i = (i - 1) / CZ_PAGE_BINS * CZ_PAGE_BINS;
            continue;
        }
        const cz_bin *bin = &page[--i % CZ_PAGE_BINS];
        if (bin->normal + bin->anomalous == 0) continue;
        *at = i;
        return bin;
    }
    *at = 0;
    return NULL;
}

void cz_bins_sweep(const cz_bins *b, cz_sweep *s)
{
    const cz_bin *bin;
    for (size_t at = (size_t)CZ_PAGES * CZ_PAGE_BINS; (bin = cz_bins_below(b, &at)) != NULL;) {
        const cz_group group = cz_bin_group(bin);
        cz_sweep_add(s, &group);
    }
}
