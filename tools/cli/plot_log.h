/* SPDX-License-Identifier: Apache-2.0 */
/* Training logs in JSON Lines, as `cozad train --log` writes them, read into memory. A log comes from outside: a line that
 * cannot be used is left out and counted, never half used. */
#ifndef PLOT_LOG_H
#define PLOT_LOG_H

#include "cozad/cozad.h"

#include <jansson.h>
#include <stdbool.h>

enum { PLOT_MAX_LOGS = 8, PLOT_MAX_LINE = 1 << 20 /* bytes */, PLOT_MAX_STEPS = 2000000 /* of one log */ };

/* The fields of cz_train_step, by its names. */
typedef enum plot_field {
    PLOT_EPOCH,
    PLOT_STEP,
    PLOT_STEPS,
    PLOT_LOSS,
    PLOT_LOSS_AD,
    PLOT_LOSS_WEIGHTED,
    PLOT_LOSS_CONTRAST,
    PLOT_LOSS_DECAY,
    PLOT_SUPPORT_AD,
    PLOT_MEAN_WEIGHT,
    PLOT_SHARE_BELOW_ONE,
    PLOT_DET_SIGMA,
    PLOT_LAMBDA_RATIO,
    PLOT_INNER_SHIFT,
    PLOT_SUPPORT_DROP,
    PLOT_META_COSINE,
    PLOT_GRADIENT_ADAPTOR,
    PLOT_GRADIENT_DISCRIMINATOR,
    PLOT_IMAGES_PER_SECOND,
    PLOT_SECONDS,
    PLOT_SECONDS_LEFT,
    PLOT_FIELDS
} plot_field;
const char *plot_field_name(plot_field field);

typedef struct plot_row {
    double value[PLOT_FIELDS]; /* NaN: not measured; epoch and step always are */
} plot_row;

typedef struct plot_log {
    const char *path, *name; /* as given; what it is called on the page: its end, where that tells it apart */
    plot_row *rows;          /* [count], steps ascending */
    size_t count, room;
    json_t *start, *end; /* the latest events, NULL: none. `end` is NULL once steps follow it */
    size_t restarts;     /* start events after the first step: a resumed training appends to its log */
    size_t replaced;     /* steps left out because a resumed training did them again */
    bool restarted;      /* by the latest start event; no step has followed yet */
    size_t bad_lines, first_bad;
    char first_problem[96];
    bool partial; /* the last line has no end and is no JSON: it is being written */
} plot_log;

/* `path` is kept, not copied. CZ_E_IO: not readable or not a file; CZ_E_FORMAT: no step in it; CZ_E_LIMIT: more than
 * PLOT_MAX_STEPS; CZ_E_CANCELLED after ^C. The message begins with the path. Close in any case. */
cz_status plot_log_read(const char *path, plot_log *log);
void plot_log_close(plot_log *log);

/* ---- series: the measured values of one field ----------------------------------------------------------------------- */

typedef struct plot_series {
    size_t count;
    double *x, *y; /* [count] */
    size_t smooth_count;
    double *smooth_x, *smooth_y; /* [smooth_count]: running median over a fortieth of the run; none for few points */
    size_t not_positive;         /* left out, on a logarithmic axis */
} plot_series;

/* y is the field times `scale`; its log10 where `logarithmic`. */
cz_status plot_series_make(const plot_log *log, plot_field field, double scale, bool logarithmic, plot_series *out);
void plot_series_free(plot_series *series);
/* The k-th smallest, k < count; reorders. */
double plot_select(double *values, size_t count, size_t k);
/* Over the measured values among the last `share` of the rows (at least one row); NaN: none. `scratch`: [log->count]. */
double plot_median(const plot_log *log, plot_field field, double share, double *scratch);
/* The last measured value; NaN: none. */
double plot_last(const plot_log *log, plot_field field);

#endif
