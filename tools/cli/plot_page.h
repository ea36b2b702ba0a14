/* SPDX-License-Identifier: Apache-2.0 */
/* The page of `cozad plot`: curves, figures, what was trained with which settings. One file that loads nothing. */
#ifndef PLOT_PAGE_H
#define PLOT_PAGE_H

#include "plot_chart.h"

typedef struct plot_set {
    plot_log *logs;
    size_t count;
} plot_set;

/* `set` is a const plot_set *, with at least one log and one step in each; for report_replace. */
cz_status plot_page_print(const void *set, FILE *f);

/* Tables of settings and categories (plot_config.c). */
void plot_print_config(const plot_set *set, FILE *f);
void plot_print_categories(const plot_set *set, FILE *f);
/* Any JSON value as a person would write it; "–" for NULL and null. At most PLOT_MAX_TEXT bytes, then "…". */
enum { PLOT_MAX_TEXT = 200 };
void plot_put_value(const json_t *value, FILE *f);

#endif
