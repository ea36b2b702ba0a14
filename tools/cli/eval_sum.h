/* SPDX-License-Identifier: Apache-2.0 */
/* What eval and metrics add up, and how both print it. */
#ifndef EVAL_SUM_H
#define EVAL_SUM_H

#include "common.h"
#include "eval_pixels.h"

/* Counts that the figures do not have. */
typedef struct eval_count {
    char *name;
    size_t normal, anomalous; /* scored */
    size_t failed;            /* could not be read or scored */
    size_t unlabelled;        /* left out */
    size_t without_mask;      /* anomalous */
    size_t empty_masks;       /* anomalous, and no pixel of the mask is set */
    size_t hits, alarms;      /* anomalous and normal photos above the threshold */
} eval_count;

typedef struct eval_threshold {
    bool known;
    double image, pixel;
    char rule[300]; /* where it comes from, "as given" */
} eval_threshold;

typedef struct eval_sum {
    cz_evaluation *evaluation;
    eval_count *counts; /* [count] in the order of their first photo */
    size_t count;
    eval_threshold threshold;
    cz_region_figures regions; /* of all categories, with a threshold */
    double mm_per_pixel;       /* 0: not known */
    size_t min_area;
    size_t at;
    size_t resamples;
    bool simplenet;
    size_t trained_on; /* test photos that the model had learnt from */
} eval_sum;

cz_status eval_sum_open(const cz_evaluation_options *options, eval_sum *out);
void eval_sum_close(eval_sum *s);
/* Added when new; NULL: out of memory (the error line is set). Valid until the next call. */
eval_count *eval_sum_category(eval_sum *s, const char *name);
/* One scored photo; pixels->map NULL: none. */
cz_status eval_sum_add(eval_sum *s, const char *category, int label, double score, const eval_pixels *pixels);
eval_count eval_sum_total(const eval_sum *s);
/* Classes that are absent, masks that are missing, photos that were left out: one note a kind, to stderr. `tell` (may be NULL)
 * gets each line. */
void eval_sum_warn(const eval_sum *s, void (*tell)(void *ctx, const char *line), void *ctx);

/* All figures, computed once: the bootstrap takes its time. */
typedef struct eval_row {
    const char *name; /* belongs to the sum; "mean", "pooled" */
    cz_figures figures;
    eval_count count;
    bool scored; /* false: every photo of the category failed */
} eval_row;
typedef struct eval_rows {
    eval_row *rows; /* [categories + 2], then the mean and pooled */
    size_t categories;
} eval_rows;
cz_status eval_rows_make(eval_sum *s, eval_rows *out);
void eval_rows_free(eval_rows *rows);

/* {"categories": …, "mean": …, "pooled": …}; the caller adds further keys. NULL: out of memory. */
json_t *eval_json(const eval_sum *s, const eval_rows *rows);
void eval_print_csv(const eval_rows *rows);
void eval_print_table(const eval_sum *s, const eval_rows *rows);

#endif
