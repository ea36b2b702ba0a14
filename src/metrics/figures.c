/* SPDX-License-Identifier: Apache-2.0 */
/* Figures of a category, of all images as one, and the mean over categories. */
#include "metrics/evaluation.h"
#include "util/alloc.h"
#include "util/rng.h"
#include "util/threads.h"

#include <math.h>
#include <string.h>

static void clear_figures(cz_figures *f)
{
    const double none = (double)NAN;
    memset(f, 0, sizeof *f);
    f->struct_size = sizeof *f;
    for (size_t i = 0; i < CZ_METRICS; i++) f->metric[i] = (cz_figure){none, none, none, none};
    f->image_f1_threshold = f->pixel_f1_threshold = none;
}

static void put_value(cz_figures *f, cz_metric metric, double value, double bound)
{
    f->metric[metric].value = value;
    f->metric[metric].bound = bound;
}

static void put_image(cz_figures *f, const cz_ranks *ranks)
{
    cz_sweep_values v;
    cz_ranks_values(ranks, &v);
    put_value(f, CZ_IMAGE_AUROC, v.auroc, v.auroc_bound);
    put_value(f, CZ_IMAGE_AP, v.ap, v.ap_bound);
    put_value(f, CZ_IMAGE_F1, v.f1, v.f1_bound);
    f->image_f1_threshold = v.f1_threshold;
    f->normal = ranks->normal;
    f->anomalous = ranks->anomalous;
}

static void put_pixels(cz_figures *f, const cz_pixels *p, bool simplenet)
{
    cz_sweep_values v;
    cz_pixels_values(p, &v);
    put_value(f, CZ_PIXEL_AUROC, v.auroc, v.auroc_bound);
    put_value(f, CZ_PIXEL_AP, v.ap, v.ap_bound);
    put_value(f, CZ_PIXEL_F1, v.f1, v.f1_bound);
    f->pixel_f1_threshold = v.f1_threshold;
    static const double limits[CZ_SWEEP_LIMITS] = {0.3, 0.05};
    for (int i = 0; i < CZ_SWEEP_LIMITS; i++) {
        if (simplenet) cz_pixels_overlap200(p, limits[i], &v.aupro[i], &v.aupro_bound[i]);
        put_value(f, i == 0 ? CZ_AUPRO_030 : CZ_AUPRO_005, v.aupro[i], v.aupro_bound[i]);
    }
    f->regions = (size_t)p->regions;
    f->pixels = p->normal + p->anomalous;
}

/* All normal images below all anomalous ones: every resample says the same. With k the smaller class, k disjoint pairs
 * are ranked right with probability AUROC^k at the most, so an AUROC below 0.05^(1/k) makes this a 5 % chance. */
static double perfect_half(size_t normal, size_t anomalous)
{
    return 1.0 - pow(0.05, 1.0 / (double)(normal < anomalous ? normal : anomalous));
}

static cz_status resample(const cz_bootstrap *b, size_t threads, cz_figures *f, double half[CZ_METRICS])
{
    double coarse[CZ_METRICS];
    cz_threads_scope scope;
    double *replicates = cz_alloc_array(b->resamples, CZ_METRICS * sizeof *replicates);
    if (replicates == NULL) return CZ_E_MEMORY;
    cz_status status = cz_threads_enter(threads, &scope);
    if (status == CZ_OK) {
        status = cz_bootstrap_run(b, coarse, replicates);
        cz_threads_leave(&scope);
    }
    if (status == CZ_OK) {
        cz_bootstrap_half_widths(replicates, b->resamples, f->normal, f->anomalous, half);
        for (size_t m = 0; m < CZ_METRICS; m++)
            cz_logit_interval(f->metric[m].value, half[m], &f->metric[m].low, &f->metric[m].high);
        cz_figure *auroc = &f->metric[CZ_IMAGE_AUROC];
        if (auroc->value >= 1.0 || auroc->value <= 0.0) { /* false for NaN */
            half[CZ_IMAGE_AUROC] = perfect_half(f->normal, f->anomalous);
            auroc->low = auroc->value >= 1.0 ? 1.0 - half[CZ_IMAGE_AUROC] : 0.0;
            auroc->high = auroc->value >= 1.0 ? 1.0 : half[CZ_IMAGE_AUROC];
        }
    }
    cz_free(replicates);
    return status;
}

static cz_status compute(const cz_evaluation *e, cz_images *c, uint32_t task)
{
    cz_ranks ranks = {0};
    cz_figures *f = &c->figures;
    cz_status status = cz_ranks_open(&ranks, c->score, c->label, c->count);
    if (status != CZ_OK) return status;
    clear_figures(f);
    for (size_t m = 0; m < CZ_METRICS; m++) c->half[m] = (double)NAN;
    put_image(f, &ranks);
    f->masks = c->masks;
    CZ_TRY(cz_pixels_sort(&c->pixels));
    put_pixels(f, &c->pixels, e->options.simplenet != 0);
    if (e->options.resamples > 0) {
        const bool pixels = c->pixels.normal + c->pixels.anomalous > 0;
        const cz_bootstrap b = {&ranks,          pixels ? (const cz_sketch *const *)c->sketch : NULL,
                                &c->pixels.bins, e->options.resamples,
                                e->options.seed, task};
        CZ_TRY(resample(&b, e->options.threads, f, c->half));
    }
    c->computed = true;
out:
    cz_ranks_close(&ranks);
    return status;
}

/* Streams of random numbers: of a category by its name, so that its intervals do not depend on the other ones. */
#define POOLED_TASK ((uint32_t)0xffffff)

static cz_status category(cz_evaluation *e, size_t index)
{
    cz_images *c = &e->categories[index];
    return c->computed ? CZ_OK : compute(e, c, (uint32_t)(cz_name_hash(c->name, 0) >> 41));
}

static cz_status pooled(cz_evaluation *e, cz_figures *out)
{
    cz_images all = {0};
    size_t count = 0, at = 0;
    cz_status status = CZ_OK;
    for (size_t i = 0; i < e->count; i++) count += e->categories[i].count;
    all.score = cz_alloc_array(count, sizeof *all.score);
    all.label = cz_alloc_array(count, sizeof *all.label);
    all.sketch = cz_alloc_array(count, sizeof *all.sketch);
    if (all.score == NULL || all.label == NULL || all.sketch == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    all.count = count;
    for (size_t i = 0; i < e->count; i++) {
        const cz_images *c = &e->categories[i];
        memcpy(all.score + at, c->score, c->count * sizeof *c->score);
        memcpy(all.label + at, c->label, c->count * sizeof *c->label);
        memcpy(all.sketch + at, c->sketch, c->count * sizeof *c->sketch);
        at += c->count;
        all.masks += c->masks;
        CZ_TRY(cz_pixels_merge(&all.pixels, &c->pixels));
    }
    CZ_TRY(compute(e, &all, POOLED_TASK));
    *out = all.figures;
out:
    cz_free(all.score);
    cz_free(all.label);
    cz_free(all.sketch); /* the sketches themselves are the categories' */
    cz_pixels_free(&all.pixels);
    return status;
}

/* One metric: the mean of the categories where it is defined; their resamples are independent, so half widths add up in
 * squares. A category without an interval
 * leaves the mean without one. */
static void mean_metric(const cz_evaluation *e, cz_metric m, cz_figure *out)
{
    double value = 0.0, bound = 0.0, squares = 0.0, n = 0.0;
    for (size_t i = 0; i < e->count; i++) {
        const cz_figure *f = &e->categories[i].figures.metric[m];
        if (isnan(f->value)) continue;
        n += 1.0;
        value += f->value;
        bound += f->bound;
        squares += e->categories[i].half[m] * e->categories[i].half[m];
    }
    if (n <= 0.0) return;
    out->value = value / n;
    out->bound = bound / n;
    cz_logit_interval(out->value, sqrt(squares) / n, &out->low, &out->high);
    if (m != CZ_IMAGE_AUROC || out->value < 1.0 || isnan(squares)) return;
    out->low = 1.0 - sqrt(squares) / n; /* all are perfect, see perfect_half */
    out->high = 1.0;
}

static void mean(const cz_evaluation *e, cz_figures *out)
{
    for (size_t i = 0; i < e->count; i++) {
        const cz_figures *f = &e->categories[i].figures;
        out->normal += f->normal;
        out->anomalous += f->anomalous;
        out->masks += f->masks;
        out->regions += f->regions;
        out->pixels += f->pixels;
    }
    for (size_t m = 0; m < CZ_METRICS; m++) mean_metric(e, (cz_metric)m, &out->metric[m]);
}

cz_status cz_evaluation_figures(cz_evaluation *e, size_t index, cz_figures *out)
{
    cz_error_clear();
    cz_status status = CZ_OK;
    cz_figures figures;
    if (e == NULL || out == NULL) return cz_fail(CZ_E_ARG, "cz_evaluation_figures: a NULL argument");
    clear_figures(&figures);
    if (index == CZ_EVALUATION_POOLED) {
        CZ_TRY(pooled(e, &figures));
    } else if (index == CZ_EVALUATION_MEAN) {
        for (size_t i = 0; i < e->count; i++) CZ_TRY(category(e, i));
        mean(e, &figures);
    } else if (index < e->count) {
        CZ_TRY(category(e, index));
        figures = e->categories[index].figures;
    } else {
        return cz_fail(CZ_E_ARG, "there is no category %zu", index);
    }
    *out = figures;
out:
    return status;
}

cz_status cz_score_figures(const double *scores, const uint8_t *labels, size_t count,
                           const cz_evaluation_options *options, cz_figures *out)
{
    cz_error_clear();
    const cz_evaluation_options defaults = CZ_EVALUATION_OPTIONS_INIT;
    if (options == NULL) options = &defaults;
    if (out == NULL) return cz_fail(CZ_E_ARG, "cz_score_figures: out is NULL");
    if (options->struct_size < sizeof *options)
        return cz_fail(CZ_E_ARG, "cz_evaluation_options: unknown struct_size %zu", options->struct_size);
    cz_ranks ranks;
    double half[CZ_METRICS];
    cz_figures figures;
    cz_status status = cz_ranks_open(&ranks, scores, labels, count);
    if (status != CZ_OK) return status;
    clear_figures(&figures);
    put_image(&figures, &ranks);
    if (options->resamples > 0) {
        const cz_bootstrap b = {&ranks, NULL, NULL, options->resamples, options->seed, 0};
        CZ_TRY(resample(&b, options->threads, &figures, half));
    }
    *out = figures;
out:
    cz_ranks_close(&ranks);
    return status;
}
