/* SPDX-License-Identifier: Apache-2.0 */
/* The lines that `cozad score` prints. */
#ifndef SCORE_OUTPUT_H
#define SCORE_OUTPUT_H

#include "cozad/cozad_eval.h"

#include <stdbool.h>

typedef struct score_format {
    bool json, csv;
    bool decides;        /* with the model's calibration: p-values and decisions */
    bool regions;        /* of text output: a line for each region */
    bool gate;           /* --gate, with or without a score */
    double threshold;    /* NaN: none, or the decision is not made by one score alone */
    double fdr;          /* 0: each photo by itself */
    double mm_per_pixel; /* 0: not known */
    bool ranged;         /* the model knows what photos of the products that it was learnt from score */
    double low, high;
} score_format;

/* One photo that was scored, or (error not NULL) that was not. */
typedef struct score_record {
    const char *path, *error;
    const char *map, *overlay; /* files written; NULL: none */
    double score, p_value;
    int decision; /* -1 unknown, 0 normal, 1 anomalous */
    size_t width, height;
    int from_cache;
    const cz_region *regions;
    size_t region_count, region_total;
} score_record;

/* It scores what photos of those products do not. */
bool score_is_out_of_range(const score_format *f, double score);

void score_print_header(const score_format *f);
void score_print(const score_format *f, const score_record *r);

/* Records of scored photos whose lines wait for the last one (--fdr); texts and regions are copied. */
typedef struct score_records {
    score_record *items;
    size_t count, room;
} score_records;
cz_status score_keep(score_records *records, const score_record *r);
void score_records_free(score_records *records);
/* Decides all of them together at a false-discovery rate; *anomalies: how many. */
cz_status score_decide(score_records *records, double rate, size_t *anomalies);

#endif
