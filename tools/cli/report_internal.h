/* SPDX-License-Identifier: Apache-2.0 */
/* What report.c gathers and report_page.c writes. */
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
    char *photo, *overlay; /* JPEG bytes, cz_string_free; overlay may be NULL */
    size_t photo_size, overlay_size, width, height;
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

typedef struct report_row {
    char *category;
    double image_auroc, pixel_auroc;
    size_t normal, anomalous;
} report_row;

struct report {
    char *title, *lead, *backbone;
    bool random, has_scale, has_threshold;
    double low, high, threshold;
    report_line *facts, *steps;
    size_t fact_count, step_count;
    report_row *rows;
    size_t row_count;
    char **categories;
    size_t category_count;
    report_shown *shown;
    size_t shown_count, max_shown;
    report_score *scores;
    size_t score_count, score_room;
};

/* Where the line between normal and anomalous is drawn for a category. */
typedef struct report_limit {
    bool known, from_labels;
    double value;
} report_limit;
report_limit report_find_limit(const report *r, size_t category);
/* Labelled, and on the wrong side of the line. */
bool report_is_wrong(const report_limit *limit, int label, double score);

/* Stream errors are the caller's to check. */
void report_print_page(const report *r, FILE *f);

/* ---- shared with the other pages ---- */

/* Escaped for text and for attributes in double quotes; stray bytes become U+FFFD. */
void report_put_text(FILE *f, const char *text);
/* The style sheet of every page. */
const char *report_style(void);
/* Replaces `path` by what `print` writes: to a temporary file beside it, then renamed, so that an earlier page stays whole on
 * failure. A full disk is CZ_E_NO_SPACE. A failure of `print` is returned as it is. */
cz_status report_replace(const char *path, cz_status (*print)(const void *ctx, FILE *f), const void *ctx);

#endif
