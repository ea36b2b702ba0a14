/* SPDX-License-Identifier: Apache-2.0 */
/* The table detector x rate x methods as Markdown, JSON and CSV. */
#include "contaminate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Markdown ----------------------------------------------------------------------------------------------------- */

static void put_count(const contaminate *c, const seeds_sum *s, FILE *f)
{
    if (s->count < c->options.seeds) (void)fprintf(f, " (%zu of %zu)", s->count, c->options.seeds);
}

static void put_figure(const contaminate *c, const contaminate_cell *cell, FILE *f)
{
    const seeds_sum *s = &cell->auroc;
    if (s->count == 0) {
        (void)fputs(cell->failures > 0 ? " failed |" : " – |", f);
        return;
    }
    (void)fprintf(f, " %.1f", 100.0 * s->mean);
    if (s->count > 1) (void)fprintf(f, " ± %.1f", 100.0 * s->std);
    put_count(c, s, f);
    (void)fputs(" |", f);
}

static void put_difference(const seeds_sum *s, FILE *f)
{
    if (s->count == 0) {
        (void)fputs(" – |", f);
        return;
    }
    (void)fprintf(f, " %+.1f", 100.0 * s->mean);
    if (s->count > 1) (void)fprintf(f, " [%+.1f, %+.1f]", 100.0 * s->low, 100.0 * s->high);
    (void)fputs(" |", f);
}

static void put_row(const contaminate_figures *t, size_t scope, size_t rate, size_t detector, FILE *f)
{
    const contaminate *c = t->c;
    contaminate_cell cells[CONTAMINATE_NAMES];
    const contaminate_counts n = contaminate_counts_of(c, scope, rate);
    for (size_t m = 0; m < c->method_count; m++) cells[m] = contaminate_cell_of(t, scope, rate, detector, m);
    (void)fprintf(f, "| %s | %s %%", c->detectors[detector], c->rates[rate].name);
    if (n.capped) (void)fprintf(f, " (came out at %.1f)", 100.0 * (double)n.injected / (double)(n.normal + n.injected));
    (void)fprintf(f, " | %zu of %zu | ", n.injected, n.normal + n.injected);
    (void)fprintf(f, n.in_test > 0 ? "%zu: **trained on** |" : "%zu |", n.in_test);
    for (size_t m = 0; m < c->method_count; m++) put_figure(c, &cells[m], f);
    for (size_t m = 1; m < c->method_count; m++) put_difference(&cells[m].difference, f);
    const bool loss = c->rates[0].percent == 0.0;
    for (size_t m = 0; m < c->method_count && loss; m++) put_difference(&cells[m].loss, f);
    for (size_t m = 1; m < c->method_count && loss; m++) put_difference(&cells[m].saved, f);
    (void)fputc('\n', f);
}

static void put_table(const contaminate_figures *t, size_t scope, FILE *f)
{
    const contaminate *c = t->c;
    const bool loss = c->rates[0].percent == 0.0;
    size_t columns = 2 * c->method_count - 1;
    (void)fputs("| Detector | Rate | Injected | Of these tested |", f);
    for (size_t m = 0; m < c->method_count; m++) (void)fprintf(f, " %s |", c->methods[m]);
    for (size_t m = 1; m < c->method_count; m++) (void)fprintf(f, " %s − %s |", c->methods[m], c->methods[0]);
    if (loss) {
        columns *= 2;
        for (size_t m = 0; m < c->method_count; m++) (void)fprintf(f, " loss, %s |", c->methods[m]);
        for (size_t m = 1; m < c->method_count; m++) (void)fprintf(f, " loss saved, %s |", c->methods[m]);
    }
    (void)fputs("\n| --- | --- | --- | --- |", f);
    for (size_t i = 0; i < columns; i++) (void)fputs(" ---: |", f);
    (void)fputc('\n', f);
    for (size_t d = 0; d < c->detector_count; d++) {
        for (size_t r = 0; r < c->rate_count; r++) put_row(t, scope, r, d, f);
    }
    (void)fputc('\n', f);
}

static void put_markdown(const contaminate_figures *t, FILE *f)
{
    const contaminate *c = t->c;
    (void)fprintf(
        f,
        "# Contaminated training photos\n\nImage AUROC in %%, %zu seed%s (mean ± standard deviation of the sample); in "
        "brackets 95 %% intervals of Student's t over\nseeds, paired. Backbone %s; figures of the last epoch.\n"
        "Injected: %s.\n\n",
        c->options.seeds, c->options.seeds == 1 ? "" : "s", c->train.backbone, contaminate_describe(c));
    if (c->rates[0].percent == 0.0)
        (void)fputs("Loss: clean minus contaminated, of the same seed and the same test photos.\n\n", f);
    for (size_t s = 0; s < CONTAMINATE_SCOPES(c); s++) {
        (void)fprintf(f, "## %s\n\n", contaminate_scope_name(c, s));
        if (s < c->target_count) {
            const contaminate_target *target = &c->targets[s];
            (void)fprintf(f,
                          "%zu normal training photos; tested on %zu normal and %zu defective photos, at every rate "
                          "the same.\n\n",
                          target->train_count, target->test_normal, target->test_defective);
        }
        put_table(t, s, f);
    }
}

/* ---- CSV ---------------------------------------------------------------------------------------------------------- */

static void put_number(double value, FILE *f)
{
    if (isfinite(value))
        (void)fprintf(f, ",%.9g", value);
    else
        (void)fputc(',', f);
}

static void put_csv_row(const contaminate_figures *t, size_t scope, size_t rate, size_t detector, size_t method,
                        FILE *f)
{
    const contaminate *c = t->c;
    const contaminate_cell cell = contaminate_cell_of(t, scope, rate, detector, method);
    const contaminate_counts n = contaminate_counts_of(c, scope, rate);
    const seeds_sum *const sums[] = {&cell.difference, &cell.loss, &cell.saved};
    (void)fprintf(f, "%s,%s,%s,%.6g,%zu,%zu,%zu,%s,%zu", contaminate_scope_name(c, scope), c->detectors[detector],
                  c->rates[rate].name, 100.0 * (double)n.injected / (double)(n.normal + n.injected), n.normal,
                  n.injected, n.in_test, c->methods[method], cell.auroc.count);
    put_number(cell.auroc.mean, f);
    put_number(cell.auroc.std, f);
    for (size_t i = 0; i < 3; i++) {
        const seeds_sum none = {.mean = NAN, .low = NAN, .high = NAN};
        const seeds_sum *s = method == 0 && i != 1 ? &none : sums[i];
        put_number(s->mean, f);
        put_number(s->low, f);
        put_number(s->high, f);
    }
    (void)fputc('\n', f);
}

static void put_csv(const contaminate_figures *t, FILE *f)
{
    const contaminate *c = t->c;
    (void)fputs(
        "target,detector,rate_percent,share_percent,normal,injected,in_test,method,seeds,image_auroc,image_auroc_std,"
        "difference,difference_low,difference_high,loss,loss_low,loss_high,saved,saved_low,saved_high\n",
        f);
    for (size_t s = 0; s < CONTAMINATE_SCOPES(c); s++)
        for (size_t d = 0; d < c->detector_count; d++)
            for (size_t r = 0; r < c->rate_count; r++)
                for (size_t m = 0; m < c->method_count; m++) put_csv_row(t, s, r, d, m, f);
}

/* ---- JSON --------------------------------------------------------------------------------------------------------- */

static json_t *sum_json(const seeds_sum *s)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:I}", "mean", common_json_real(s->mean), "std", common_json_real(s->std),
                     "low", common_json_real(s->low), "high", common_json_real(s->high), "seeds", (json_int_t)s->count);
}

static json_t *row_json(const contaminate_figures *t, size_t scope, size_t rate, size_t detector)
{
    const contaminate *c = t->c;
    const contaminate_counts n = contaminate_counts_of(c, scope, rate);
    json_t *methods = json_object();
    for (size_t m = 0; m < c->method_count; m++) {
        const contaminate_cell cell = contaminate_cell_of(t, scope, rate, detector, m);
        json_t *one = json_pack("{s:o}", "image_auroc", sum_json(&cell.auroc));
        if (m > 0) (void)json_object_set_new(one, "difference", sum_json(&cell.difference));
        if (c->rates[0].percent == 0.0) {
            (void)json_object_set_new(one, "loss", sum_json(&cell.loss));
            if (m > 0) (void)json_object_set_new(one, "saved", sum_json(&cell.saved));
        }
        if (cell.failures > 0) (void)json_object_set_new(one, "failures", json_integer((json_int_t)cell.failures));
        (void)json_object_set_new(methods, c->methods[m], one);
    }
    return json_pack("{s:s, s:s, s:f, s:f, s:b, s:I, s:I, s:I, s:o}", "target", contaminate_scope_name(c, scope),
                     "detector", c->detectors[detector], "rate_percent", c->rates[rate].percent, "share_percent",
                     100.0 * (double)n.injected / (double)(n.normal + n.injected), "capped", (int)n.capped, "normal",
                     (json_int_t)n.normal, "injected", (json_int_t)n.injected, "in_test", (json_int_t)n.in_test,
                     "methods", methods);
}

static json_t *names_json(const char (*names)[32], size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) (void)json_array_append_new(list, json_string(names[i]));
    return list;
}

static json_t *targets_json(const contaminate *c)
{
    json_t *list = json_object();
    for (size_t i = 0; i < c->target_count; i++) {
        const contaminate_target *t = &c->targets[i];
        (void)json_object_set_new(list, t->name,
                                  json_pack("{s:s, s:I, s:I, s:I}", "category", t->category, "normal",
                                            (json_int_t)t->train_count, "test_normal", (json_int_t)t->test_normal,
                                            "test_defective", (json_int_t)t->test_defective));
    }
    return list;
}

/* Every run that is done, with its own figures. */
static json_t *runs_json(const contaminate *c)
{
    json_t *list = json_array();
    contaminate_run r;
    for (r.target = 0; r.target < c->target_count; r.target++)
        for (r.seed = 1; r.seed <= c->options.seeds; r.seed++)
            for (r.rate = 0; r.rate < c->rate_count; r.rate++)
                for (r.detector = 0; r.detector < c->detector_count; r.detector++)
                    for (r.method = 0; r.method < c->method_count; r.method++) {
                        json_t *one = contaminate_result(c, &r);
                        if (one == NULL) continue;
                        json_t *line = json_pack("{s:s, s:I, s:f, s:s, s:s}", "target", c->targets[r.target].name,
                                                 "seed", (json_int_t)r.seed, "rate_percent", c->rates[r.rate].percent,
                                                 "detector", c->detectors[r.detector], "method", c->methods[r.method]);
                        (void)json_object_update(line, one);
                        json_decref(one);
                        (void)json_array_append_new(list, line);
                    }
    return list;
}

static json_t *all_json(const contaminate_figures *t)
{
    const contaminate *c = t->c;
    json_t *rows = json_array();
    for (size_t s = 0; s < CONTAMINATE_SCOPES(c); s++)
        for (size_t d = 0; d < c->detector_count; d++)
            for (size_t r = 0; r < c->rate_count; r++) (void)json_array_append_new(rows, row_json(t, s, r, d));
    return json_pack("{s:s, s:s, s:s, s:b, s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:o}", "data", c->data_root, "layout",
                     cz_dataset_layout(c->dataset), "from", c->options.from, "keep_in_test",
                     strcmp(c->options.keep, "yes") == 0, "injected", contaminate_describe(c), "backbone",
                     c->train.backbone, "seeds", (json_int_t)c->options.seeds, "methods",
                     names_json(c->methods, c->method_count), "detectors", names_json(c->detectors, c->detector_count),
                     "targets", targets_json(c), "table", rows, "runs", runs_json(c));
}

/* ---- all ---------------------------------------------------------------------------------------------------------- */

/* RESULTS/NAME as `put` writes it, and *text for printing; free(). */
static int write_text(const contaminate_figures *t, void (*put)(const contaminate_figures *, FILE *), const char *name,
                      char **text, size_t *size)
{
    char path[JOBS_PATH];
    FILE *stream = open_memstream(text, size);
    if (stream != NULL) put(t, stream);
    if (stream == NULL || fclose(stream) != 0) {
        cli_error("out of memory");
        return CLI_RESOURCES;
    }
    (void)snprintf(path, sizeof path, "%s/%s", t->c->jobs.folder, name);
    return jobs_write(path, *text, *size);
}

int contaminate_tables(const contaminate *c, bool print)
{
    contaminate_figures t;
    char *markdown = NULL, *csv = NULL, path[JOBS_PATH];
    size_t markdown_size = 0, csv_size = 0;
    json_t *json = NULL;
    int code = contaminate_figures_read(c, &t);
    if (code == CLI_OK) code = write_text(&t, put_markdown, "tables.md", &markdown, &markdown_size);
    if (code == CLI_OK) code = write_text(&t, put_csv, "tables.csv", &csv, &csv_size);
    (void)snprintf(path, sizeof path, "%s/tables.json", c->jobs.folder);
    if (code == CLI_OK) json = all_json(&t);
    if (code == CLI_OK) code = jobs_write_json(path, json_incref(json));
    if (code == CLI_OK && c->report != NULL) code = contaminate_page(c, &t);
    if (code == CLI_OK && print) {
        if (c->json) common_print_json(json_incref(json));
        if (c->csv) (void)fwrite(csv, 1, csv_size, stdout);
        if (!c->json && !c->csv) (void)fwrite(markdown, 1, markdown_size, stdout);
    }
    json_decref(json);
    free(csv);
    free(markdown);
    contaminate_figures_free(&t);
    return code;
}
