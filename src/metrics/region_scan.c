/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics/region_scan.h"

#include "util/alloc.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A region that may still grow, or a free place. */
typedef struct growing {
    size_t left, right, top, bottom, area; /* right and bottom: one beyond */
    size_t peak_x, peak_y;
    double peak, sum;
    size_t parent; /* itself: a root; else the region it became part of. Free places: the next free one */
    size_t seen;   /* the last row with a pixel of it, for roots */
    bool used;
} growing;

typedef struct span {
    size_t begin, end, region, root; /* root: of region, once the row is in */
} span;

struct cz_region_scan {
    size_t width, min_area, most, row; /* row: the number of rows so far */
    double threshold;
    growing *places; /* [room]: a row has at most width / 2 + 1 runs, and two rows count */
    size_t room, free;
    span *runs[2]; /* of the row before and of the newest */
    size_t run_count[2];
    cz_region *done; /* [done_room] the best so far, sorted up to `most` now and then */
    size_t done_count, done_room, total;
};

enum { BEFORE = 0, NEWEST = 1 };
#define NO_PLACE SIZE_MAX

cz_status cz_region_scan_create(size_t width, double threshold, size_t min_area, size_t most, cz_region_scan **out)
{
    if (width == 0) return cz_fail(CZ_E_ARG, "no map, or one of 0 pixels");
    if (width > (size_t)1 << 31) return cz_fail(CZ_E_LIMIT, "a map of %zu pixels a row is too large", width);
    if (isnan(threshold)) return cz_fail(CZ_E_ARG, "the threshold is not a number");
    cz_region_scan *s = cz_calloc(1, sizeof *s);
    if (s == NULL) return CZ_E_MEMORY;
    s->width = width;
    s->threshold = threshold;
    s->min_area = min_area;
    s->most = most;
    s->free = NO_PLACE;
    *out = s;
    return CZ_OK;
}

void cz_region_scan_destroy(cz_region_scan *s)
{
    if (s == NULL) return;
    cz_free(s->places);
    cz_free(s->runs[0]);
    cz_free(s->runs[1]);
    cz_free(s->done);
    cz_free(s);
}

/* ---- places -------------------------------------------------------------------------------------------------------- */

static cz_status more_places(cz_region_scan *s)
{
    const size_t room = s->room == 0 ? 64 : 2 * s->room;
    growing *places = cz_grow(s->places, room, sizeof *places);
    if (places == NULL) return CZ_E_MEMORY;
    s->places = places;
    for (size_t i = room; i-- > s->room;) {
        places[i] = (growing){.parent = s->free};
        s->free = i;
    }
    s->room = room;
    return CZ_OK;
}

static void give_back(cz_region_scan *s, size_t place)
{
    s->places[place].used = false;
    s->places[place].parent = s->free;
    s->free = place;
}

static size_t find(growing *places, size_t i)
{
    while (places[i].parent != i) {
        places[i].parent = places[places[i].parent].parent;
        i = places[i].parent;
    }
    return i;
}

/* The earlier of two equal peaks in reading order counts. */
static bool is_higher(const growing *a, const growing *b)
{
    if (a->peak > b->peak || a->peak < b->peak) return a->peak > b->peak;
    return a->peak_y != b->peak_y ? a->peak_y < b->peak_y : a->peak_x < b->peak_x;
}

static size_t join(growing *places, size_t a, size_t b)
{
    a = find(places, a);
    b = find(places, b);
    if (a == b) return a;
    growing *to = &places[a], *from = &places[b];
    if (from->left < to->left) to->left = from->left;
    if (from->right > to->right) to->right = from->right;
    if (from->top < to->top) to->top = from->top;
    if (from->bottom > to->bottom) to->bottom = from->bottom;
    if (is_higher(from, to)) {
        to->peak = from->peak;
        to->peak_x = from->peak_x;
        to->peak_y = from->peak_y;
    }
    to->area += from->area;
    to->sum += from->sum;
    from->parent = a;
    return a;
}

/* ---- finished regions ------------------------------------------------------------------------------------------------ */

static int by_peak(const void *a, const void *b)
{
    const cz_region *x = a, *y = b;
    if (x->peak > y->peak || x->peak < y->peak) return x->peak > y->peak ? -1 : 1;
    if (x->peak_y != y->peak_y) return x->peak_y < y->peak_y ? -1 : 1;
    return x->peak_x < y->peak_x ? -1 : x->peak_x > y->peak_x;
}

/* Only the `most` highest are wanted in the end: the others are dropped whenever twice as many have come together. */
static void drop_low(cz_region_scan *s)
{
    if (s->done_count > 1) qsort(s->done, s->done_count, sizeof *s->done, by_peak);
    if (s->done_count > s->most) s->done_count = s->most;
}

static cz_status finish(cz_region_scan *s, const growing *g)
{
    if (g->area < s->min_area) return CZ_OK;
    s->total++;
    if (s->most == 0) return CZ_OK;
    if (s->done_count >= 2 * s->most) drop_low(s);
    if (s->done_count == s->done_room) {
        const size_t room = s->done_room == 0 ? 16 : 2 * s->done_room;
        cz_region *done = cz_grow(s->done, room, sizeof *done);
        if (done == NULL) return CZ_E_MEMORY;
        s->done = done;
        s->done_room = room;
    }
    s->done[s->done_count++] = (cz_region){.x = g->left,
                                           .y = g->top,
                                           .width = g->right - g->left,
                                           .height = g->bottom - g->top,
                                           .area = g->area,
                                           .peak_x = g->peak_x,
                                           .peak_y = g->peak_y,
                                           .peak = g->peak,
                                           .mean = g->sum / (double)g->area};
    return CZ_OK;
}

/* Regions of the row before that the newest row does not touch end; places of regions that became part of others are free
 * again, since the newest row's runs name roots only. */
static cz_status close_rows(cz_region_scan *s)
{
    for (size_t i = 0; i < s->run_count[NEWEST]; i++) {
        span *run = &s->runs[NEWEST][i];
        run->root = find(s->places, run->region);
        s->places[run->root].seen = s->row;
    }
    /* Only now that all roots are known may what led to them go. */
    for (size_t i = 0; i < s->run_count[NEWEST]; i++) {
        span *run = &s->runs[NEWEST][i];
        if (run->region != run->root) give_back(s, run->region);
        run->region = run->root;
    }
    for (size_t i = 0; i < s->run_count[BEFORE]; i++) {
        const size_t place = s->runs[BEFORE][i].region;
        if (s->places[place].used && s->places[place].parent != place) give_back(s, place);
    }
    for (size_t i = 0; i < s->run_count[BEFORE]; i++) {
        const size_t place = s->runs[BEFORE][i].region;
        const growing *g = &s->places[place];
        if (!g->used || g->seen == s->row) continue;
        const cz_status status = finish(s, g);
        if (status != CZ_OK) return status;
        give_back(s, place);
    }
    return CZ_OK;
}

/* ---- rows ------------------------------------------------------------------------------------------------------------ */

static cz_status add_run(cz_region_scan *s, const float *values, size_t begin, size_t end, size_t *above)
{
    if (s->free == NO_PLACE) {
        const cz_status status = more_places(s);
        if (status != CZ_OK) return status;
    }
    const size_t place = s->free;
    growing *g = &s->places[place];
    s->free = g->parent;
    *g = (growing){.left = begin,
                   .right = end,
                   .top = s->row,
                   .bottom = s->row + 1,
                   .area = end - begin,
                   .peak_x = begin,
                   .peak_y = s->row,
                   .peak = (double)values[begin],
                   .parent = place,
                   .used = true};
    for (size_t x = begin; x < end; x++) {
        g->sum += (double)values[x];
        if ((double)values[x] <= g->peak) continue;
        g->peak = (double)values[x];
        g->peak_x = x;
    }
    s->runs[NEWEST][s->run_count[NEWEST]++] = (span){begin, end, place, place};
    /* Runs of the row before that touch it, corners included; those that end before it touch no later run either. The run joins what is
     * there, so that sums are added in the order of reading as far as possible. */
    const span *before = s->runs[BEFORE];
    while (*above < s->run_count[BEFORE] && before[*above].end < begin) (*above)++;
    size_t root = NO_PLACE;
    for (size_t k = *above; k < s->run_count[BEFORE] && before[k].begin <= end; k++)
        root = join(s->places, root == NO_PLACE ? before[k].region : root, before[k].region);
    if (root != NO_PLACE) (void)join(s->places, root, place);
    return CZ_OK;
}

static cz_status make_runs(cz_region_scan *s)
{
    for (size_t i = 0; i < 2; i++) {
        s->runs[i] = cz_alloc_array(s->width / 2 + 1, sizeof *s->runs[i]);
        if (s->runs[i] == NULL) return CZ_E_MEMORY;
    }
    return CZ_OK;
}

cz_status cz_region_scan_row(cz_region_scan *s, const float *values)
{
    cz_status status = CZ_OK;
    size_t above = 0, x = 0;
    if (s->runs[1] == NULL) CZ_TRY(make_runs(s));
    span *recycled = s->runs[BEFORE];
    s->runs[BEFORE] = s->runs[NEWEST];
    s->run_count[BEFORE] = s->run_count[NEWEST];
    s->runs[NEWEST] = recycled;
    s->run_count[NEWEST] = 0;
    while (x < s->width) {
        while (x < s->width && !((double)values[x] > s->threshold)) x++; /* NaN is not above */
        if (x == s->width) break;
        const size_t begin = x;
        while (x < s->width && (double)values[x] > s->threshold) x++;
        CZ_TRY(add_run(s, values, begin, x, &above));
    }
    CZ_TRY(close_rows(s));
    s->row++;
out:
    return status;
}

cz_status cz_region_scan_end(cz_region_scan *s, cz_region *out, size_t *count)
{
    cz_status status = CZ_OK;
    for (size_t i = 0; i < s->run_count[NEWEST]; i++) {
        const size_t place = s->runs[NEWEST][i].region;
        if (!s->places[place].used) continue;
        CZ_TRY(finish(s, &s->places[place]));
        give_back(s, place);
    }
    s->run_count[NEWEST] = 0;
    drop_low(s);
    if (s->done_count > 0) memcpy(out, s->done, s->done_count * sizeof *out);
    *count = s->total;
out:
    return status;
}
