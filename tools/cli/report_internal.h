/* SPDX-License-Identifier: Apache-2.0 */
/* What report.c and report_items.c gather and report_page.c and its parts write. */
#ifndef REPORT_INTERNAL_H
#define REPORT_INTERNAL_H

#include "report.h"

#include <stdint.h>
#include <stdio.h>

/* A picture that is shown. */
typedef struct report_shown {
    char *path, *note;
    size_t category; /* index */
    double score;
    int label;
    char *photo, *overlay, *truth; /* JPEG bytes, cz_string_free; overlay and truth may be NULL */
    size_t photo_size, overlay_size, truth_size, width, height;
} report_shown;

/* A score, of every picture. */
typedef struct report_score {
    double value;
    uint32_t category;
    int32_t label;
} report_score;

typedef struct report_line {
    char *name, *value;
} report_line;

struct report {
    char *title, *lead, *backbone, *rule;
    bool random, has_scale, has_threshold, has_regions;
    double low, high, threshold;
    report_line *facts, *steps, *warnings, *provenance;
    size_t fact_count, step_count, warning_count, provenance_count;
    report_row *rows; /* the names are owned */
    size_t row_count;
    cz_region_figures regions;
    double region_threshold;
    char **categories;
    size_t category_count;
    report_shown *shown;
    size_t shown_count, max_shown;
    report_score *scores;
    size_t score_count, score_room;
};

/* All pictures, where a category is wanted. */
#define REPORT_ALL ((size_t)-1)

/* Where the line between normal and anomalous is drawn for a category. */
typedef struct report_limit {
    bool known, from_labels;
    double value;
} report_limit;
report_limit report_find_limit(const report *r, size_t category);
/* Called anomalous: above a threshold that was set; at or above one found with the labels, which is one of the scores. */
bool report_is_above(const report_limit *limit, double score);
/* Labelled, and on the wrong side of the line. */
bool report_is_wrong(const report_limit *limit, int label, double score);
/* The row of figures of a category (or of all pictures); NULL: none. */
const report_row *report_find_row(const report *r, size_t category);
bool report_any_label(const report *r);

/* What the threshold of each category does, [label][called anomalous]. */
typedef struct report_confusion {
    size_t count[2][2];
} report_confusion;
report_confusion report_count(const report *r, size_t category);

/* ---- parts of the page; stream errors are the caller's to check ---- */

enum { REPORT_MAX_CHARTS = 60 }; /* categories that are drawn; tables show all */
void report_print_page(const report *r, FILE *f);
void report_print_summary(const report *r, FILE *f);
void report_print_categories(const report *r, FILE *f);
bool report_has_categories(const report *r);
bool report_is_judged(const report *r); /* a threshold is known and something is labelled */
void report_print_confusion(const report *r, FILE *f);
void report_print_details(const report *r, FILE *f);
void report_print_curves(const report *r, FILE *f);
void report_print_distribution(const report *r, FILE *f);
void report_print_mistakes(const report *r, FILE *f);
void report_print_gallery(const report *r, FILE *f);
/* "Pictures" for the category without a name. */
const char *report_category_title(const report *r, size_t category);

/* ---- shared with the other pages ---- */

/* Escaped for text and for attributes in double quotes; stray bytes become U+FFFD. */
void report_put_text(FILE *f, const char *text);
/* A path may break behind its slashes. */
void report_put_path(FILE *f, const char *path);
void report_put_base64(FILE *f, const char *bytes, size_t size);
/* The style sheet of every page; what this page has beyond it; its script. */
const char *report_style(void);
const char *report_own_style(void);
const char *report_script(void);
/* Replaces `path` by what `print` writes: to a temporary file beside it, then renamed, so that an earlier page stays whole on
 * failure. A full disk is CZ_E_NO_SPACE. A failure of `print` is returned as it is. */
cz_status report_replace(const char *path, cz_status (*print)(const void *ctx, FILE *f), const void *ctx);

/* ---- gathering ---- */

cz_status report_no_memory(void);
cz_status report_copy_text(char **to, const char *text);
void report_clear_shown(report_shown *s);

#endif
