/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics/regions.h"
#include "util/alloc.h"

/* One set of regions: their areas, and which share a pixel with one of the other set. */
typedef struct matched {
    cz_components components;
    size_t *area;   /* [count] */
    uint8_t *meets; /* [count] */
} matched;

static void matched_free(matched *m)
{
    cz_components_free(&m->components);
    cz_free(m->area);
    cz_free(m->meets);
}

static cz_status measure(matched *m)
{
    m->area = cz_calloc(m->components.count, sizeof *m->area);
    m->meets = cz_calloc(m->components.count, 1);
    if (m->area == NULL || m->meets == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; i < m->components.run_count; i++) {
        const cz_run *run = &m->components.runs[i];
        m->area[run->region] += run->end - run->begin;
    }
    return CZ_OK;
}

/* Both lists of runs are sorted by row and column: one walk finds all pairs that overlap. */
static void match(matched *map, matched *mask, size_t min_area)
{
    for (size_t i = 0, k = 0; i < map->components.run_count && k < mask->components.run_count;) {
        const cz_run *a = &map->components.runs[i], *b = &mask->components.runs[k];
        if (a->y == b->y && a->begin < b->end && b->begin < a->end && map->area[a->region] >= min_area)
            map->meets[a->region] = mask->meets[b->region] = 1;
        if (a->y != b->y ? a->y < b->y : a->end <= b->end) {
            i++;
        } else {
            k++;
        }
    }
}

static size_t class_of(size_t area)
{
    size_t class = 0;
    for (size_t limit = 10; class + 1 < CZ_REGION_CLASSES && area > limit; limit *= 10) class ++;
    return class;
}

cz_status cz_region_figures_add(cz_region_figures *f, const float *map, const uint8_t *mask, size_t width,
                                size_t height, double threshold, size_t min_area)
{
    cz_error_clear();
    if (f == NULL) return cz_fail(CZ_E_ARG, "cz_region_figures_add: no figures");
    matched found = {0}, defects = {0};
    cz_status status = CZ_OK;
    CZ_TRY(cz_components_above(&found.components, map, width, height, threshold));
    if (mask != NULL) CZ_TRY(cz_components_label(&defects.components, mask, width, height));
    CZ_TRY(measure(&found));
    CZ_TRY(measure(&defects));
    match(&found, &defects, min_area);
    f->images++;
    for (size_t i = 0; i < defects.components.count; i++) {
        f->defects[class_of(defects.area[i])]++;
        f->found[class_of(defects.area[i])] += defects.meets[i];
    }
    for (size_t i = 0; i < found.components.count; i++)
        if (found.area[i] >= min_area && found.meets[i] == 0) f->false_alarms[class_of(found.area[i])]++;
out:
    matched_free(&found);
    matched_free(&defects);
    return status;
}
