/* SPDX-License-Identifier: Apache-2.0 */
#include "score_output.h"
#include "common.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Columns are only ever added at the end. */
void score_print_header(const score_format *f)
{
    if (f->csv) printf("path,score,width,height,error,p_value,decision,threshold,regions,out_of_range\n");
}

bool score_is_out_of_range(const score_format *f, double score)
{
    return f->ranged && (score < f->low || score > f->high);
}

static const char *decision_name(int decision)
{
    return decision < 0 ? "" : decision > 0 ? "anomalous" : "normal";
}

static double square_mm(const score_format *f, const cz_region *region)
{
    return (double)region->area * f->mm_per_pixel * f->mm_per_pixel;
}

/* ---- JSON Lines --------------------------------------------------------------------------------------------------- */

static json_t *json_regions(const score_format *f, const score_record *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->region_count; i++) {
        const cz_region *g = &r->regions[i];
        json_t *one = json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:f}", "x", (json_int_t)g->x, "y",
                                (json_int_t)g->y, "width", (json_int_t)g->width, "height", (json_int_t)g->height,
                                "area", (json_int_t)g->area, "peak", g->peak, "peak_x", (json_int_t)g->peak_x, "peak_y",
                                (json_int_t)g->peak_y, "mean", g->mean);
        if (f->mm_per_pixel > 0.0) (void)json_object_set_new(one, "area_mm2", json_real(square_mm(f, g)));
        (void)json_array_append_new(list, one);
    }
    return list;
}

static void print_json(const score_format *f, const score_record *r)
{
    if (r->error != NULL) {
        common_print_json(json_pack("{s:s, s:s}", "path", r->path, "error", r->error));
        return;
    }
    json_t *line = json_pack("{s:s, s:o, s:I, s:I, s:b}", "path", r->path, "score", common_json_real(r->score), "width",
                             (json_int_t)r->width, "height", (json_int_t)r->height, "from_cache", r->from_cache);
    if (f->ranged) (void)json_object_set_new(line, "out_of_range", json_boolean(score_is_out_of_range(f, r->score)));
    if (f->decides) (void)json_object_set_new(line, "p_value", common_json_real(r->p_value));
    if (f->decides || f->gate) {
        (void)json_object_set_new(line, "decision",
                                  r->decision < 0 ? json_null() : json_string(decision_name(r->decision)));
        (void)json_object_set_new(line, "threshold", common_json_real(f->threshold));
    }
    if (f->fdr > 0.0) (void)json_object_set_new(line, "fdr", json_real(f->fdr));
    if (f->gate) (void)json_object_set_new(line, "anomaly", json_boolean(r->decision > 0));
    if (r->regions != NULL) {
        (void)json_object_set_new(line, "regions", json_regions(f, r));
        if (r->region_total > r->region_count)
            (void)json_object_set_new(line, "regions_total", json_integer((json_int_t)r->region_total));
    }
    if (r->map != NULL) (void)json_object_set_new(line, "map", json_string(r->map));
    if (r->overlay != NULL) (void)json_object_set_new(line, "overlay", json_string(r->overlay));
    common_print_json(line);
}

/* ---- CSV and text ------------------------------------------------------------------------------------------------- */

/* A region is "x y width height area peak mean" and, where known, its square millimetres; regions are parted by ';'. */
static void print_csv(const score_format *f, const score_record *r)
{
    common_print_csv_field(r->path);
    if (r->error != NULL) {
        printf(",,,,");
        common_print_csv_field(r->error);
        printf(",,,,,\n");
        return;
    }
    printf(",%.9g,%zu,%zu,,", r->score, r->width, r->height);
    if (isfinite(r->p_value)) printf("%.9g", r->p_value);
    printf(",%s,", decision_name(r->decision));
    if (isfinite(f->threshold)) printf("%.9g", f->threshold);
    printf(",");
    for (size_t i = 0; i < r->region_count; i++) {
        const cz_region *g = &r->regions[i];
        printf("%s%zu %zu %zu %zu %zu %.9g %.9g", i > 0 ? ";" : "", g->x, g->y, g->width, g->height, g->area, g->peak,
               g->mean);
        if (f->mm_per_pixel > 0.0) printf(" %.6g", square_mm(f, g));
    }
    printf(",%s\n", !f->ranged ? "" : score_is_out_of_range(f, r->score) ? "yes" : "no");
}

static void print_text(const score_format *f, const score_record *r)
{
    if (r->error != NULL) return; /* told on stderr */
    const bool anomaly = r->decision > 0, colour = anomaly && cli_colour(stdout);
    if (f->decides) {
        printf("%s%9.4f  %-9s  p %-8.3g  %s%s\n", colour ? "\033[31m" : "", r->score, decision_name(r->decision),
               r->p_value, r->path, colour ? "\033[0m" : "");
    } else {
        printf("%s%9.4f  %s%s%s\n", colour ? "\033[31m" : "", r->score, r->path, anomaly ? "  ANOMALY" : "",
               colour ? "\033[0m" : "");
    }
    for (size_t i = 0; f->regions && i < r->region_count; i++) {
        const cz_region *g = &r->regions[i];
        printf("           %zux%zu at %zu,%zu: %zu pixel%s", g->width, g->height, g->x, g->y, g->area,
               g->area == 1 ? "" : "s");
        if (f->mm_per_pixel > 0.0) printf(", %.3g mm2", square_mm(f, g));
        printf(", peak %.4f, mean %.4f\n", g->peak, g->mean);
    }
    if (f->regions && r->region_total > r->region_count)
        printf("           and %zu more\n", r->region_total - r->region_count);
}

void score_print(const score_format *f, const score_record *r)
{
    if (f->json) {
        print_json(f, r);
    } else if (f->csv) {
        print_csv(f, r);
    } else {
        print_text(f, r);
    }
    (void)fflush(stdout);
}

/* ---- lines that wait ---------------------------------------------------------------------------------------------- */

/* NULL stays NULL. */
static bool copy_text(const char **text)
{
    if (*text == NULL) return true;
    *text = strdup(*text);
    return *text != NULL;
}

static void free_record(const score_record *r)
{
    free((char *)(uintptr_t)r->path);
    free((char *)(uintptr_t)r->map);
    free((char *)(uintptr_t)r->overlay);
    free((cz_region *)(uintptr_t)r->regions);
}

cz_status score_keep(score_records *records, const score_record *r)
{
    if (records->count == records->room) {
        const size_t room = records->room == 0 ? 64 : 2 * records->room;
        score_record *items = realloc(records->items, room * sizeof *items);
        if (items == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
        records->items = items;
        records->room = room;
    }
    score_record copy = *r;
    cz_region *regions = NULL;
    if (r->regions != NULL && (regions = malloc((r->region_count + 1) * sizeof *regions)) != NULL)
        memcpy(regions, r->regions, r->region_count * sizeof *regions);
    copy.regions = regions;
    /* All three are tried, so that each is its own or NULL. */
    const bool path = copy_text(&copy.path), map = copy_text(&copy.map), overlay = copy_text(&copy.overlay);
    if (!path || !map || !overlay || (r->regions != NULL && regions == NULL)) {
        free_record(&copy);
        return cz_source_error(CZ_E_MEMORY, "out of memory");
    }
    records->items[records->count++] = copy;
    return CZ_OK;
}

void score_records_free(score_records *records)
{
    for (size_t i = 0; i < records->count; i++) free_record(&records->items[i]);
    free(records->items);
    memset(records, 0, sizeof *records);
}

cz_status score_decide(score_records *records, double rate, size_t *anomalies)
{
    double *p = calloc(records->count + 1, sizeof *p);
    uint8_t *found = calloc(records->count + 1, 1);
    const size_t count = records->count;
    cz_status status = CZ_OK;
    if (p == NULL || found == NULL) status = cz_source_error(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0; status == CZ_OK && i < count; i++) p[i] = records->items[i].p_value;
    if (status == CZ_OK) status = cz_false_discovery(p, count, rate, found, anomalies);
    for (size_t i = 0; status == CZ_OK && i < count; i++) records->items[i].decision = found[i];
    free(p);
    free(found);
    return status;
}
