/* SPDX-License-Identifier: Apache-2.0 */
/* cozad eval: one model on one data set (eval_run.c), its page (eval_page.c), the tables of the paper (eval_suite.c). */
#ifndef EVAL_H
#define EVAL_H

#include "cozad/cozad_stream.h"
#include "eval_scores.h"
#include "eval_sum.h"
#include "pictures.h"

typedef struct eval_setup {
    const char *model, *backbone, *data, *layout, *normal, *abnormal, *masks, *category, *at_text, *threshold_text;
    const char *report, *overlays, *save_scores, *save_maps, *suite, *root, *visa_model;
    cli_list best_of; /* further models to choose from, by the test labels */
    bool exact, simplenet;
    size_t resamples, threads, workers, min_area, at;
    uint64_t seed;
    double mm_per_pixel, pixel_threshold; /* NaN: not given */
    common_options common;
} eval_setup;

typedef struct eval_run {
    const eval_setup *a;
    cz_model *model;
    cz_dataset *data;
    size_t *chosen; /* [chosen_count] samples of the data set */
    size_t chosen_count;
    bool input_map;       /* the session's maps are at the network's input size */
    const char *category; /* what samples without a category are called */
    char category_room[256];
    eval_sum sum;
    cz_evaluation_options options;
    cz_session_options session;
    size_t told; /* failures */
    /* what is written beside */
    pictures pictures;
    report *page;
    scores_writer scores;
    uint8_t digest[32]; /* sum of the digests of the photos scored so far */
    json_t *known;      /* as eval_known_photos makes it */
    json_t *map_names;  /* relative paths below --save-maps that are taken */
    char map_name[1024];
} eval_run;

/* One photo on its way through the stream of eval_photos.c. */
typedef struct eval_photo {
    cz_picture photo, mask;
    int label;
    uint8_t digest[32];
    bool trained_on;
    eval_pixels pixels; /* for the figures */
    eval_pixels saved;  /* for --save-maps, where that is another size; width 0: the same */
    picture_files files;
    report_thumbs *thumbs; /* for the page */
} eval_photo;

/* Exit codes; what went wrong has been said. */
int eval_open_data(const eval_setup *a, cz_dataset **out);
/* `model` and `data` stay the caller's. */
int eval_run_open(eval_run *r, const eval_setup *a, cz_model *model, cz_dataset *data);
void eval_run_close(eval_run *r);
/* A category's name: the sample's own, or the data set's where it has none. */
const char *eval_category(const eval_run *r, const char *category);
/* The threshold that was asked for, or the model's own. model NULL: none. */
int eval_find_threshold(const char *text, double pixel, const cz_model *model, eval_threshold *out);
bool eval_is_file(const char *path);
/* "mask" or a number of pixels. */
int eval_parse_at(const char *text, size_t *out);

/* eval_known.c: the photos and categories that a model has learnt from. A set of hex digits; NULL: out of memory. */
json_t *eval_known_photos(const cz_model *model);
/* Several threads at once may ask. */
bool eval_known(const json_t *known, const cz_image *photo, uint8_t digest[32]);
/* sum += digest modulo 2^256, so that a set of photos has one digest whatever their order. */
void eval_add_digest(uint8_t sum[32], const uint8_t digest[32]);
/* Learnt under this name, whatever the case; the last part of a path counts. */
bool eval_known_category(const cz_model *model, const char *name);

/* eval_photos.c: an exit code. */
int eval_run_all(eval_run *r);

/* eval_page.c: in two steps, as report_make_thumbs and report_add_made. */
cz_status eval_page_make(const eval_run *r, const cz_sample *sample, eval_photo *photo, const cz_result *result);
cz_status eval_page_add(eval_run *r, const cz_sample *sample, eval_photo *photo, double score);
int eval_page_write(eval_run *r, const eval_rows *rows);

/* eval_suite.c */
int eval_suite(const eval_setup *a);

#endif
