/* SPDX-License-Identifier: Apache-2.0 */
#include "eval_sum.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

cz_status eval_sum_open(const cz_evaluation_options *options, eval_sum *out)
{
    memset(out, 0, sizeof *out);
    out->resamples = options->resamples;
    out->simplenet = options->simplenet != 0;
    return cz_evaluation_open(options, &out->evaluation);
}

void eval_sum_close(eval_sum *s)
{
    for (size_t i = 0; i < s->count; i++) free(s->counts[i].name);
    free(s->counts);
    cz_evaluation_close(s->evaluation);
    memset(s, 0, sizeof *s);
}

eval_count *eval_sum_category(eval_sum *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(s->counts[i].name, name) == 0) return &s->counts[i];
    }
    eval_count *counts = realloc(s->counts, (s->count + 1) * sizeof *counts);
    char *copy = strdup(name);
    if (counts != NULL) s->counts = counts;
    if (counts == NULL || copy == NULL) {
        free(copy);
        (void)cz_source_error(CZ_E_MEMORY, "out of memory");
        return NULL;
    }
    s->counts[s->count] = (eval_count){.name = copy};
    return &s->counts[s->count++];
}

static bool is_empty(const eval_pixels *pixels)
{
    return memchr(pixels->mask, 255, pixels->width * pixels->height) == NULL;
}

cz_status eval_sum_add(eval_sum *s, const char *category, int label, double score, const eval_pixels *pixels)
{
    cz_status status = cz_evaluation_add(s->evaluation, category, label, score, pixels->map, pixels->mask,
                                         pixels->width, pixels->height);
    if (status != CZ_OK) return status;
    eval_count *c = eval_sum_category(s, category);
    if (c == NULL) return CZ_E_MEMORY;
    /* As the library decides: the score rounded to float. */
    const bool above = s->threshold.known && (double)(float)score > s->threshold.image;
    *(label == 1 ? &c->anomalous : &c->normal) += 1;
    *(label == 1 ? &c->hits : &c->alarms) += above;
    if (label == 1 && pixels->mask == NULL) c->without_mask++;
    if (label == 1 && pixels->mask != NULL && is_empty(pixels)) c->empty_masks++;
    if (!s->threshold.known || pixels->map == NULL || (label == 1 && pixels->mask == NULL)) return CZ_OK;
    return cz_region_figures_add(&s->regions, pixels->map, pixels->mask, pixels->width, pixels->height,
                                 s->threshold.pixel, s->min_area);
}

eval_count eval_sum_total(const eval_sum *s)
{
    eval_count total = {.name = NULL};
    for (size_t i = 0; i < s->count; i++) {
        const eval_count *c = &s->counts[i];
        total.normal += c->normal;
        total.anomalous += c->anomalous;
        total.failed += c->failed;
        total.unlabelled += c->unlabelled;
        total.without_mask += c->without_mask;
        total.empty_masks += c->empty_masks;
        total.hits += c->hits;
        total.alarms += c->alarms;
    }
    return total;
}

/* ---- warnings ------------------------------------------------------------------------------------------------------ */

typedef struct teller {
    void (*tell)(void *ctx, const char *line);
    void *ctx;
} teller;

static void __attribute__((format(printf, 2, 3))) warn(const teller *t, const char *format, ...)
{
    char line[600];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    cli_error("%s", line);
    if (t->tell != NULL) t->tell(t->ctx, line);
}

static void warn_category(const eval_count *c, const teller *t)
{
    const char *name = c->name;
    if (c->normal + c->anomalous == 0) {
        warn(t, "warning: %.300s: none of its test photos could be scored", name);
        return;
    }
    if (c->anomalous == 0) {
        warn(t, "warning: %.300s: no anomalous test photo: its figures are undefined", name);
    } else if (c->normal == 0) {
        warn(t, "warning: %.300s: no normal test photo: its image figures are undefined", name);
    }
    if (c->without_mask > 0 && c->without_mask < c->anomalous) {
        warn(t, "warning: %.300s: %zu of %zu anomalous photos have no mask and are left out of the pixel figures", name,
             c->without_mask, c->anomalous);
    }
    if (c->empty_masks > 0) {
        warn(t, "warning: %.300s: %zu masks of anomalous photos are empty: their pixels count as normal", name,
             c->empty_masks);
    }
}

void eval_sum_warn(const eval_sum *s, void (*tell)(void *ctx, const char *line), void *ctx)
{
    const teller t = {tell, ctx};
    const eval_count total = eval_sum_total(s);
    for (size_t i = 0; i < s->count; i++) warn_category(&s->counts[i], &t);
    if (total.unlabelled > 0) warn(&t, "warning: %zu test photos have no label and are left out", total.unlabelled);
    if (s->trained_on > 0) {
        warn(&t, "warning: the model learnt from %zu of the %zu test photos: the figures are too good", s->trained_on,
             total.normal + total.anomalous);
    }
    if (total.failed > 0) {
        warn(&t, "%zu of %zu unreadable", total.failed, total.failed + total.normal + total.anomalous);
    }
}

/* ---- figures ------------------------------------------------------------------------------------------------------- */

static cz_status figures_of(const eval_sum *s, size_t category, cz_figures *out)
{
    memset(out, 0, sizeof *out);
    out->struct_size = sizeof *out;
    return cz_evaluation_figures(s->evaluation, category, out);
}

/* A category of which nothing was scored. */
static void set_undefined(cz_figures *f)
{
    memset(f, 0, sizeof *f);
    for (size_t i = 0; i < CZ_METRICS; i++) f->metric[i] = (cz_figure){NAN, NAN, NAN, 0.0};
    f->image_f1_threshold = f->pixel_f1_threshold = NAN;
}

static size_t index_of(const cz_evaluation *e, const char *name)
{
    const size_t count = cz_evaluation_categories(e);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(cz_evaluation_category(e, i), name) == 0) return i;
    }
    return count;
}

cz_status eval_rows_make(eval_sum *s, eval_rows *out)
{
    cz_status status = CZ_OK;
    out->categories = s->count;
    out->rows = calloc(s->count + 2, sizeof *out->rows);
    if (out->rows == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0; i < s->count && status == CZ_OK; i++) {
        eval_row *row = &out->rows[i];
        const size_t index = index_of(s->evaluation, s->counts[i].name);
        row->name = s->counts[i].name;
        row->count = s->counts[i];
        row->scored = index < cz_evaluation_categories(s->evaluation);
        if (row->scored) {
            status = figures_of(s, index, &row->figures);
        } else {
            set_undefined(&row->figures);
        }
    }
    eval_row *mean = &out->rows[s->count], *pooled = mean + 1;
    *mean = (eval_row){.name = "mean", .count = eval_sum_total(s), .scored = true};
    *pooled = (eval_row){.name = "pooled", .count = mean->count, .scored = true};
    if (status == CZ_OK) status = figures_of(s, CZ_EVALUATION_MEAN, &mean->figures);
    if (status == CZ_OK) status = figures_of(s, CZ_EVALUATION_POOLED, &pooled->figures);
    return status;
}

void eval_rows_free(eval_rows *rows)
{
    free(rows->rows);
    memset(rows, 0, sizeof *rows);
}
