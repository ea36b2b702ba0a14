/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics/pixels.h"

#include "metrics/key.h"
#include "util/alloc.h"

#include <string.h>

void cz_pixel_counter_free(cz_pixel_counter *c)
{
    cz_bins_free(&c->bins);
    cz_components_free(&c->components);
    cz_free(c->area);
    memset(c, 0, sizeof *c);
}

void cz_pixels_free(cz_pixels *p)
{
    cz_bins_free(&p->bins);
    cz_free(p->kept);
    memset(p, 0, sizeof *p);
}

static void empty(cz_bins *b)
{
    for (size_t i = 0; i < CZ_PAGES; i++)
        if (b->page[i] != NULL) memset(b->page[i], 0, CZ_PAGE_BINS * sizeof(cz_bin));
}

/* Regions of the mask and how many inspected pixels each has. */
static cz_status measure_regions(cz_pixel_counter *c, const float *map, const uint8_t *mask, size_t width,
                                 size_t height)
{
    const cz_status status = cz_components_label(&c->components, mask, width, height);
    if (status != CZ_OK) return status;
    if (c->components.count > c->area_capacity) {
        uint32_t *area = cz_grow(c->area, c->components.count, sizeof *area);
        if (area == NULL) return CZ_E_MEMORY;
        c->area = area;
        c->area_capacity = c->components.count;
    }
    for (size_t i = 0; i < c->components.count; i++) c->area[i] = 0;
    for (size_t i = 0; i < c->components.run_count; i++) {
        const cz_run *run = &c->components.runs[i];
        const float *row = map + run->y * width;
        for (size_t x = run->begin; x < run->end; x++) c->area[run->region] += isnan(row[x]) ? 0u : 1u;
    }
    return CZ_OK;
}

static cz_status count_normal(cz_bins *bins, const float *map, const uint8_t *mask, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if ((mask != NULL && mask[i] != 0) || isnan(map[i])) continue;
        const uint32_t key = cz_float_key(map[i]);
        cz_bin *bin = cz_bins_at(bins, key);
        if (bin == NULL) return CZ_E_MEMORY;
        cz_bin_note(bin, key);
        bin->normal++;
    }
    return CZ_OK;
}

static cz_status count_defects(cz_pixel_counter *c, const float *map, size_t width)
{
    for (size_t i = 0; i < c->components.run_count; i++) {
        const cz_run *run = &c->components.runs[i];
        const double share = 1.0 / (double)c->area[run->region];
        const float *row = map + run->y * width;
        for (size_t x = run->begin; x < run->end; x++) {
            if (isnan(row[x])) continue;
            const uint32_t key = cz_float_key(row[x]);
            cz_bin *bin = cz_bins_at(&c->bins, key);
            if (bin == NULL) return CZ_E_MEMORY;
            cz_bin_note(bin, key);
            bin->anomalous++;
            bin->overlap += share;
        }
    }
    return CZ_OK;
}

static cz_status reserve(cz_pixels *p, size_t more)
{
    size_t need;
    if (!cz_add_size(p->kept_count, more, &need)) return cz_fail(CZ_E_LIMIT, "too many pixels");
    if (need <= p->kept_capacity) return CZ_OK;
    const size_t capacity =
        need > p->kept_capacity + p->kept_capacity / 2 ? need : p->kept_capacity + p->kept_capacity / 2;
    uint64_t *kept = cz_grow(p->kept, capacity, sizeof *kept);
    if (kept == NULL) return CZ_E_MEMORY;
    p->kept = kept;
    p->kept_capacity = capacity;
    return CZ_OK;
}

static void keep_pixels(cz_pixels *p, const cz_pixel_counter *c, const float *map, const uint8_t *mask, size_t width,
                        size_t height)
{
    for (size_t i = 0; i < width * height; i++)
        if ((mask == NULL || mask[i] == 0) && !isnan(map[i]))
            p->kept[p->kept_count++] = (uint64_t)cz_float_key(map[i]) << 32;
    for (size_t i = 0; mask != NULL && i < c->components.run_count; i++) {
        const cz_run *run = &c->components.runs[i];
        const float *row = map + run->y * width;
        for (size_t x = run->begin; x < run->end; x++)
            if (!isnan(row[x])) p->kept[p->kept_count++] = (uint64_t)cz_float_key(row[x]) << 32 | c->area[run->region];
    }
    p->sorted = false;
}

static void add_totals(cz_pixels *p, uint64_t normal, uint64_t anomalous, uint64_t regions, float low, float high)
{
    if (normal + anomalous == 0) return;
    const bool first = p->normal + p->anomalous == 0;
    if (first || low < p->low) p->low = low;
    if (first || high > p->high) p->high = high;
    p->normal += normal;
    p->anomalous += anomalous;
    p->regions += regions;
}

static void add_image_totals(cz_pixels *p, const cz_pixel_counter *c, const float *map, size_t count, size_t regions)
{
    float low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        if (map[i] < low) low = map[i];
        if (map[i] > high) high = map[i];
    }
    uint64_t normal = 0, anomalous = 0, seen = 0;
    for (size_t i = 0; i < regions; i++) {
        anomalous += c->area[i];
        seen += c->area[i] > 0;
    }
    for (size_t i = 0; i < count; i++) normal += isnan(map[i]) ? 0u : 1u;
    add_totals(p, normal - anomalous, anomalous, seen, low, high);
}

cz_status cz_pixels_count(cz_pixel_counter *c, const float *map, const uint8_t *mask, size_t width, size_t height)
{
    cz_status status = CZ_OK;
    empty(&c->bins);
    if (mask != NULL) CZ_TRY(measure_regions(c, map, mask, width, height));
    CZ_TRY(count_normal(&c->bins, map, mask, width * height));
    if (mask != NULL) CZ_TRY(count_defects(c, map, width));
out:
    return status;
}

cz_status cz_pixels_add(cz_pixels *p, const cz_pixel_counter *c, const float *map, const uint8_t *mask, size_t width,
                        size_t height, bool keep)
{
    cz_status status = CZ_OK;
    const size_t count = width * height;
    if (keep) CZ_TRY(reserve(p, count));
    for (size_t i = 0; i < CZ_PAGES; i++)
        if (c->bins.page[i] != NULL && cz_bins_make(&p->bins, (uint32_t)i << 22) == NULL) return CZ_E_MEMORY;
    /* From here on nothing fails: an image is in whole or not at all. */
    CZ_TRY(cz_bins_merge(&p->bins, &c->bins));
    if (keep) keep_pixels(p, c, map, mask, width, height);
    add_image_totals(p, c, map, count, mask != NULL ? c->components.count : 0);
out:
    return status;
}

cz_status cz_pixels_merge(cz_pixels *p, const cz_pixels *from)
{
    cz_status status = CZ_OK;
    CZ_TRY(reserve(p, from->kept_count));
    CZ_TRY(cz_bins_merge(&p->bins, &from->bins));
    if (from->kept_count > 0) memcpy(p->kept + p->kept_count, from->kept, from->kept_count * sizeof *p->kept);
    p->kept_count += from->kept_count;
    p->sorted = false;
    add_totals(p, from->normal, from->anomalous, from->regions, from->low, from->high);
out:
    return status;
}

/* Radix sort by the upper 32 bits, 11 at a time. */
cz_status cz_pixels_sort(cz_pixels *p)
{
    if (p->sorted || p->kept_count == 0) return CZ_OK;
    uint64_t *other = cz_alloc_array(p->kept_capacity, sizeof *other);
    if (other == NULL) return CZ_E_MEMORY;
    enum { BITS = 11, SIZE = 1 << BITS };
    for (unsigned shift = 32; shift < 64; shift += BITS) {
        size_t start[SIZE + 1] = {0};
        for (size_t i = 0; i < p->kept_count; i++) start[(p->kept[i] >> shift) % SIZE + 1]++;
        for (size_t i = 0; i < SIZE; i++) start[i + 1] += start[i];
        for (size_t i = 0; i < p->kept_count; i++) other[start[(p->kept[i] >> shift) % SIZE]++] = p->kept[i];
        uint64_t *swap = p->kept;
        p->kept = other;
        other = swap;
    }
    cz_free(other);
    p->sorted = true;
    return CZ_OK;
}

static void visit_kept(const cz_pixels *p, cz_group_fn visit, void *ctx)
{
    for (size_t i = p->kept_count; i > 0;) {
        const uint32_t key = (uint32_t)(p->kept[i - 1] >> 32);
        const double value = (double)cz_key_float(key);
        cz_group group = {.low = value, .high = value};
        for (; i > 0 && (uint32_t)(p->kept[i - 1] >> 32) == key; i--) {
            const uint32_t area = (uint32_t)p->kept[i - 1];
            if (area == 0) {
                group.normal += 1.0;
            } else {
                group.anomalous += 1.0;
                group.overlap += 1.0 / (double)area;
            }
        }
        visit(ctx, &group);
    }
}

void cz_pixels_visit(const cz_pixels *p, cz_group_fn visit, void *ctx)
{
    if (p->kept_count > 0) {
        visit_kept(p, visit, ctx);
        return;
    }
    const cz_bin *bin;
    for (size_t at = (size_t)CZ_PAGES * CZ_PAGE_BINS; (bin = cz_bins_below(&p->bins, &at)) != NULL;) {
        const cz_group group = cz_bin_group(bin);
        visit(ctx, &group);
    }
}

static void sweep_group(void *ctx, const cz_group *g)
{
    cz_sweep_add(ctx, g);
}

void cz_pixels_values(const cz_pixels *p, cz_sweep_values *out)
{
    cz_sweep sweep;
    cz_sweep_begin(&sweep, (double)p->normal, (double)p->anomalous, (double)p->regions);
    cz_pixels_visit(p, sweep_group, &sweep);
    cz_sweep_end(&sweep, out);
}
