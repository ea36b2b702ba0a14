/* SPDX-License-Identifier: Apache-2.0 */
/* The figures as JSON, CSV and tables. */
#include "eval_sum.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- JSON ---------------------------------------------------------------------------------------------------------- */

static void set(json_t *to, const char *name, const char *ending, json_t *value)
{
    char key[96];
    (void)snprintf(key, sizeof key, "%s%s", name, ending);
    (void)json_object_set_new(to, key, value);
}

static void set_count(json_t *to, const char *name, size_t value)
{
    (void)json_object_set_new(to, name, json_integer((json_int_t)value));
}

static json_t *figures_json(const eval_row *row, bool intervals)
{
    json_t *out = json_object();
    const cz_figures *f = &row->figures;
    for (int i = 0; i < CZ_METRICS; i++) {
        const cz_figure *m = &f->metric[i];
        const char *name = cz_metric_name((cz_metric)i);
        set(out, name, "", common_json_real(m->value));
        if (intervals) {
            set(out, name, "_low", common_json_real(m->low));
            set(out, name, "_high", common_json_real(m->high));
        }
        if (i >= CZ_PIXEL_AUROC) {
            set(out, name, "_error_bound", common_json_real(isnan(m->value) ? (double)NAN : m->bound));
        }
    }
    return out;
}

static json_t *category_json(const eval_row *row, bool intervals)
{
    json_t *out = figures_json(row, intervals);
    const cz_figures *f = &row->figures;
    (void)json_object_set_new(out, "image_f1_threshold", common_json_real(f->image_f1_threshold));
    (void)json_object_set_new(out, "pixel_f1_threshold", common_json_real(f->pixel_f1_threshold));
    set_count(out, "normal", row->count.normal);
    set_count(out, "anomalous", row->count.anomalous);
    set_count(out, "masks", row->count.anomalous - row->count.without_mask);
    set_count(out, "without_mask", row->count.without_mask);
    set_count(out, "failed", row->count.failed);
    set_count(out, "regions", f->regions);
    (void)json_object_set_new(out, "pixels", json_integer((json_int_t)f->pixels));
    return out;
}

static json_t *class_json(const size_t counts[CZ_REGION_CLASSES])
{
    json_t *out = json_array();
    for (size_t i = 0; i < CZ_REGION_CLASSES; i++)
        (void)json_array_append_new(out, json_integer((json_int_t)counts[i]));
    return out;
}

static json_t *threshold_json(const eval_sum *s)
{
    const eval_count t = eval_sum_total(s);
    json_t *regions = json_pack("{s:I, s:[i,i,i,i], s:o, s:o, s:o}", "images", (json_int_t)s->regions.images,
                                "area_up_to", 10, 100, 1000, 10000, "defects", class_json(s->regions.defects), "found",
                                class_json(s->regions.found), "false_alarms", class_json(s->regions.false_alarms));
    if (regions != NULL && s->mm_per_pixel > 0.0) {
        (void)json_object_set_new(regions, "mm_per_pixel", json_real(s->mm_per_pixel));
    }
    return json_pack("{s:f, s:o, s:s, s:I, s:I, s:I, s:I, s:o}", "threshold", s->threshold.image, "pixel_threshold",
                     common_json_real(s->threshold.pixel), "rule", s->threshold.rule, "true_positives",
                     (json_int_t)t.hits, "false_positives", (json_int_t)t.alarms, "true_negatives",
                     (json_int_t)(t.normal - t.alarms), "false_negatives", (json_int_t)(t.anomalous - t.hits),
                     "regions", regions);
}

json_t *eval_json(const eval_sum *s, const eval_rows *rows)
{
    const bool intervals = s->resamples > 0;
    json_t *categories = json_object();
    for (size_t i = 0; i < rows->categories; i++) {
        (void)json_object_set_new(categories, rows->rows[i].name, category_json(&rows->rows[i], intervals));
    }
    const eval_row *mean = &rows->rows[rows->categories];
    json_t *out = json_pack("{s:o, s:o, s:o}", "categories", categories, "mean", figures_json(mean, intervals),
                            "pooled", figures_json(mean + 1, intervals));
    if (out == NULL) return NULL;
    if (s->threshold.known) (void)json_object_set_new(out, "at_threshold", threshold_json(s));
    if (s->simplenet) (void)json_object_set_new(out, "protocol", json_string("simplenet-compat (oracle)"));
    (void)json_object_set_new(out, "at", s->at > 0 ? json_integer((json_int_t)s->at) : json_string("mask"));
    set_count(out, "trained_on", s->trained_on);
    set_count(out, "failed", eval_sum_total(s).failed);
    return out;
}

/* ---- CSV ----------------------------------------------------------------------------------------------------------- */

static void print_real(double value)
{
    if (isfinite(value))
        printf(",%.9g", value);
    else
        printf(",");
}

void eval_print_csv(const eval_rows *rows)
{
    printf("scope,category");
    for (int i = 0; i < CZ_METRICS; i++) {
        const char *name = cz_metric_name((cz_metric)i);
        printf(",%s,%s_low,%s_high", name, name, name);
    }
    printf(",normal,anomalous,without_mask,failed\n");
    for (size_t i = 0; i < rows->categories + 2; i++) {
        const eval_row *row = &rows->rows[i];
        printf("%s,", i < rows->categories ? "category" : row->name);
        if (i < rows->categories) common_print_csv_field(row->name);
        for (int m = 0; m < CZ_METRICS; m++) {
            print_real(row->figures.metric[m].value);
            print_real(row->figures.metric[m].low);
            print_real(row->figures.metric[m].high);
        }
        printf(",%zu,%zu,%zu,%zu\n", row->count.normal, row->count.anomalous, row->count.without_mask,
               row->count.failed);
    }
}

/* ---- tables -------------------------------------------------------------------------------------------------------- */

enum { TABLE_WIDTH = 100, MAX_COLUMNS = 5, CELL = 40 };

typedef struct column {
    const char *title;
    cz_metric metric;
} column;

/* F1-max has a star: its threshold is chosen with the labels. */
static const column image_columns[] = {
    {"image AUROC", CZ_IMAGE_AUROC}, {"image AP", CZ_IMAGE_AP}, {"image F1-max*", CZ_IMAGE_F1}};
static const column pixel_columns[] = {{"pixel AUROC", CZ_PIXEL_AUROC},
                                       {"pixel AP", CZ_PIXEL_AP},
                                       {"pixel F1-max*", CZ_PIXEL_F1},
                                       {"AUPRO 0.3", CZ_AUPRO_030},
                                       {"AUPRO 0.05", CZ_AUPRO_005}};

static void cell(const eval_row *row, cz_metric metric, char out[CELL])
{
    const cz_figure *m = &row->figures.metric[metric];
    if (isnan(m->value)) {
        const bool no_masks =
            metric >= CZ_PIXEL_AUROC && row->count.anomalous > 0 && row->count.without_mask == row->count.anomalous;
        (void)snprintf(out, CELL, "%s", no_masks ? "no masks" : "undefined");
    } else if (isnan(m->low)) {
        (void)snprintf(out, CELL, "%.1f", 100.0 * m->value);
    } else {
        (void)snprintf(out, CELL, "%.1f %.1f-%.1f", 100.0 * m->value, 100.0 * m->low, 100.0 * m->high);
    }
}

/* Rows shown: with one category mean and pooled say nothing new. */
static size_t shown_rows(const eval_rows *rows)
{
    return rows->categories > 1 ? rows->categories + 2 : rows->categories;
}

/* Letters as a terminal counts them: bytes of UTF-8 but the continuing ones. */
static int letters(const char *text)
{
    int n = 0;
    for (; *text != '\0'; text++) n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static int name_width(const eval_rows *rows)
{
    int width = 8;
    for (size_t i = 0; i < shown_rows(rows); i++) {
        if (letters(rows->rows[i].name) > width) width = letters(rows->rows[i].name);
    }
    return width;
}

static int measure(const eval_rows *rows, const column *columns, size_t count, int widths[MAX_COLUMNS])
{
    int all = name_width(rows);
    char text[CELL];
    for (size_t c = 0; c < count; c++) {
        widths[c] = (int)strlen(columns[c].title);
        for (size_t i = 0; i < shown_rows(rows); i++) {
            cell(&rows->rows[i], columns[c].metric, text);
            if ((int)strlen(text) > widths[c]) widths[c] = (int)strlen(text);
        }
        all += widths[c] + 2;
    }
    return all;
}

static void print_name(const char *name, int width)
{
    /* A name from a folder may hold anything. */
    for (const char *p = name; *p != '\0'; p++) (void)putchar((unsigned char)*p < 0x20 || *p == 0x7f ? '?' : *p);
    printf("%*s", width - letters(name), "");
}

static void print_block(const eval_rows *rows, const column *columns, size_t count, bool counts)
{
    int widths[MAX_COLUMNS];
    const int name = name_width(rows);
    (void)measure(rows, columns, count, widths);
    printf("%-*s", name, "category");
    for (size_t c = 0; c < count; c++) printf("  %-*s", c + 1 < count || counts ? widths[c] : 0, columns[c].title);
    printf(counts ? "  normal  anomalous  failed\n" : "\n");
    for (size_t i = 0; i < shown_rows(rows); i++) {
        const eval_row *row = &rows->rows[i];
        char text[CELL];
        print_name(row->name, name);
        for (size_t c = 0; c < count; c++) {
            cell(row, columns[c].metric, text);
            printf("  %-*s", c + 1 < count || counts ? widths[c] : 0, text);
        }
        if (counts) printf("  %6zu  %9zu  %6zu", row->count.normal, row->count.anomalous, row->count.failed);
        printf("\n");
    }
    printf("\n");
}

static void print_regions(const eval_sum *s)
{
    static const char *const sizes[CZ_REGION_CLASSES] = {"1-10", "11-100", "101-1000", "1001-10000", "more"};
    static const double ends[CZ_REGION_CLASSES] = {10, 100, 1000, 10000, 0};
    const cz_region_figures *f = &s->regions;
    size_t defects = 0, found = 0, alarms = 0;
    printf("Regions above %.6g, by area in pixels, of %zu photos:\n", s->threshold.pixel, f->images);
    printf("%-12s%s  %15s  %22s\n", "area", s->mm_per_pixel > 0 ? "   up to mm2" : "", "defects found",
           "false regions an image");
    const double images = f->images > 0 ? (double)f->images : 1.0;
    for (size_t i = 0; i < CZ_REGION_CLASSES; i++) {
        char share[48], area[32] = "";
        if (s->mm_per_pixel > 0 && ends[i] > 0)
            (void)snprintf(area, sizeof area, "%.4g", ends[i] * s->mm_per_pixel * s->mm_per_pixel);
        (void)snprintf(share, sizeof share, "%zu of %zu", f->found[i], f->defects[i]);
        printf("%-12s", sizes[i]);
        if (s->mm_per_pixel > 0) printf("%12s", area);
        printf("  %15s  %22.3f\n", share, (double)f->false_alarms[i] / images);
        defects += f->defects[i];
        found += f->found[i];
        alarms += f->false_alarms[i];
    }
    char share[48];
    (void)snprintf(share, sizeof share, "%zu of %zu", found, defects);
    printf("%-12s%*s  %15s  %22.3f\n\n", "all", s->mm_per_pixel > 0 ? 12 : 0, "", share, (double)alarms / images);
}

static void print_threshold(const eval_sum *s)
{
    const eval_count t = eval_sum_total(s);
    printf("Photos above the threshold %.6g (%s): ", s->threshold.image, s->threshold.rule);
    printf("%zu of %zu anomalous, %zu of %zu normal\n\n", t.hits, t.anomalous, t.alarms, t.normal);
    if (s->regions.images > 0) print_regions(s);
}

static void print_notes(const eval_sum *s, const eval_rows *rows)
{
    double bound = 0.0;
    for (size_t i = 0; i < shown_rows(rows); i++) {
        for (int m = CZ_PIXEL_AUROC; m < CZ_METRICS; m++) {
            const cz_figure *f = &rows->rows[i].figures.metric[m];
            if (!isnan(f->value) && f->bound > bound) bound = f->bound;
        }
    }
    if (s->resamples > 0) {
        printf("In percent, with the 95 %% interval of a bootstrap over photos (%zu resamples).\n", s->resamples);
    } else {
        printf("In percent.\n");
    }
    printf("* at the threshold that is best with these very labels: an upper limit, not what to expect.\n");
    if (bound > 0.0) printf("Pixel figures are within %.2g percent points of the exact ones.\n", 100.0 * bound);
    if (s->at > 0) printf("Maps and masks compared at %zux%zu.\n", s->at, s->at);
    if (s->simplenet) {
        printf("SimpleNet's own per-region overlap (oracle: 200 thresholds between the lowest and the highest value of "
               "the test maps);\nnot the MVTec definition.\n");
    }
}

void eval_print_table(const eval_sum *s, const eval_rows *rows)
{
    int widths[MAX_COLUMNS];
    print_block(rows, image_columns, 3, true);
    if (measure(rows, pixel_columns, 5, widths) <= TABLE_WIDTH) {
        print_block(rows, pixel_columns, 5, false);
    } else {
        print_block(rows, pixel_columns, 3, false);
        print_block(rows, pixel_columns + 3, 2, false);
    }
    if (s->threshold.known) print_threshold(s);
    print_notes(s, rows);
}
