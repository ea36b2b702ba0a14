/* SPDX-License-Identifier: Apache-2.0 */
/* All runs that are done, as figures over seeds. */
#include "contaminate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t place(const contaminate *c, const contaminate_run *r)
{
    size_t at = r->target * c->options.seeds + r->seed - 1;
    at = at * c->rate_count + r->rate;
    at = at * c->detector_count + r->detector;
    return at * c->method_count + r->method;
}

static void read_run(contaminate_figures *f, const contaminate_run *run)
{
    char path[JOBS_PATH];
    const size_t at = place(f->c, run);
    json_t *result = contaminate_result(f->c, run);
    f->auroc[at] = result != NULL ? json_number_value(json_object_get(result, "image_auroc")) : (double)NAN;
    json_decref(result);
    contaminate_run_path(f->c, run, "failed.json", path);
    f->failed[at] = isnan(f->auroc[at]) && jobs_exists(path);
}

int contaminate_figures_read(const contaminate *c, contaminate_figures *out)
{
    const size_t count = c->target_count * c->options.seeds * c->rate_count * c->detector_count * c->method_count;
    *out = (contaminate_figures){.c = c, .auroc = calloc(count, sizeof(double)), .failed = calloc(count, 1)};
    if (out->auroc == NULL || out->failed == NULL) {
        cli_error("out of memory");
        return CLI_RESOURCES;
    }
    contaminate_run r;
    for (r.target = 0; r.target < c->target_count; r.target++)
        for (r.seed = 1; r.seed <= c->options.seeds; r.seed++)
            for (r.rate = 0; r.rate < c->rate_count; r.rate++)
                for (r.detector = 0; r.detector < c->detector_count; r.detector++)
                    for (r.method = 0; r.method < c->method_count; r.method++) read_run(out, &r);
    return CLI_OK;
}

void contaminate_figures_free(contaminate_figures *f)
{
    free(f->auroc);
    free(f->failed);
    *f = (contaminate_figures){0};
}

const char *contaminate_scope_name(const contaminate *c, size_t scope)
{
    return scope < c->target_count ? c->targets[scope].name : "mean";
}

/* One seed's; the mean needs every target's. */
static double value_of(const contaminate_figures *f, size_t scope, const contaminate_run *run)
{
    const contaminate *c = f->c;
    contaminate_run r = *run;
    double sum = 0.0;
    const bool mean = scope == c->target_count;
    for (size_t t = mean ? 0 : scope; t < (mean ? c->target_count : scope + 1); t++) {
        r.target = t;
        sum += f->auroc[place(c, &r)];
    }
    return sum / (mean ? (double)c->target_count : 1.0);
}

static size_t failures_of(const contaminate_figures *f, size_t scope, const contaminate_run *run)
{
    const contaminate *c = f->c;
    contaminate_run r = *run;
    size_t sum = 0;
    const bool mean = scope == c->target_count;
    for (r.target = mean ? 0 : scope; r.target < (mean ? c->target_count : scope + 1); r.target++) {
        for (r.seed = 1; r.seed <= c->options.seeds; r.seed++) sum += f->failed[place(c, &r)];
    }
    return sum;
}

contaminate_cell contaminate_cell_of(const contaminate_figures *f, size_t scope, size_t rate, size_t detector,
                                     size_t method)
{
    const contaminate *c = f->c;
    double value[CONTAMINATE_MOST_SEEDS], difference[CONTAMINATE_MOST_SEEDS], loss[CONTAMINATE_MOST_SEEDS],
        saved[CONTAMINATE_MOST_SEEDS];
    const bool clean = rate > 0 && c->rates[0].percent == 0.0; /* ascending */
    contaminate_run r = {.rate = rate, .detector = detector, .method = method};
    for (r.seed = 1; r.seed <= c->options.seeds; r.seed++) {
        const size_t i = r.seed - 1;
        contaminate_run first = r, before = r, first_before = r;
        first.method = first_before.method = 0;
        before.rate = first_before.rate = 0;
        value[i] = value_of(f, scope, &r);
        difference[i] = value[i] - value_of(f, scope, &first);
        loss[i] = clean ? value_of(f, scope, &before) - value[i] : (double)NAN;
        saved[i] = value_of(f, scope, &first_before) - value_of(f, scope, &first) - loss[i];
    }
    const size_t n = c->options.seeds;
    return (contaminate_cell){.auroc = seeds_sum_of(value, n),
                              .difference = seeds_sum_of(difference, n),
                              .loss = seeds_sum_of(loss, n),
                              .saved = seeds_sum_of(saved, n),
                              .failures = failures_of(f, scope, &r)};
}

contaminate_counts contaminate_counts_of(const contaminate *c, size_t scope, size_t rate)
{
    contaminate_counts counts = {0};
    const bool mean = scope == c->target_count;
    for (size_t t = mean ? 0 : scope; t < (mean ? c->target_count : scope + 1); t++) {
        const contaminate_target *target = &c->targets[t];
        const double share = c->rates[rate].percent / 100.0;
        counts.normal += target->train_count;
        counts.injected += target->injected[rate];
        counts.in_test += contaminate_overlap(c, target, rate);
        counts.capped = counts.capped ||
                        target->injected[rate] < (size_t)llround((double)target->train_count * share / (1.0 - share));
    }
    return counts;
}

const char *contaminate_describe(const contaminate *c)
{
    if (strcmp(c->options.from, "other") == 0)
        return "defective photos of other categories, which are in no test set here";
    return contaminate_removes(c)
               ? "defective test photos of the same category; those of the largest rate are left out of "
                 "the test set at every rate"
               : "defective test photos of the same category, which STAY IN the test set: models are tested "
                 "on photos that they were trained on";
}
