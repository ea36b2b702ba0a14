/* SPDX-License-Identifier: Apache-2.0 */
/* Curves as inline SVG. The drawing stretches to any width while lines and text keep their size: numbers are HTML beside it. */
#ifndef PLOT_CHART_H
#define PLOT_CHART_H

#include "plot_log.h"

#include <stdio.h>

/* One small multiple: one quantity, or two that share an axis. */
typedef struct plot_chart {
    const char *title, *symbol; /* the symbol may be "" */
    const char *unit;           /* at the vertical axis */
    const char *how;            /* one sentence: how to read it */
    plot_field fields[2];
    const char *labels[2]; /* NULL: one quantity, fields[0] */
    double scale;          /* values are shown times this */
    bool logarithmic;
} plot_chart;

enum { PLOT_EPOCH_MARKS = 16 };

/* What all charts of a page share. */
typedef struct plot_axis {
    double low, high;        /* steps at both ends */
    const plot_log *longest; /* its epochs are marked */
    struct {
        double epoch, step; /* the first step of the epoch */
    } epochs[PLOT_EPOCH_MARKS];
    size_t epoch_count;
} plot_axis;
plot_axis plot_axis_make(const plot_log *logs, size_t count);

/* True where any log has measured it. */
bool plot_chart_has_values(const plot_chart *chart, const plot_log *logs, size_t count);
/* A <figure>. Stream errors are the caller's to check. */
cz_status plot_chart_print(const plot_chart *chart, const plot_axis *axis, const plot_log *logs, size_t count, FILE *f);
/* Whether single steps are drawn, thinly, behind the smoothed lines: not with many logs on top of each other. */
bool plot_chart_shows_steps(size_t log_count);

#endif
