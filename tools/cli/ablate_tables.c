/* SPDX-License-Identifier: Apache-2.0 */
/* Everything in the results folder as the paper's tables, the paper's figures beside ours: tables.md, tables.json. */
#include "ablate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const figure_names[] = {"image_auroc", "pixel_auroc"};
static const char *const data_names[] = {"MVTec-AD", "VisA"};
enum { IMAGE, PIXEL, FIGURES };

/* One figure over the seeds that have it. */
typedef struct cell {
    double mean, std; /* std of the sample, NaN for one seed */
    size_t count;     /* seeds with the figure */
    size_t runs;      /* seeds that are done, with or without it (no masks) */
} cell;

/* What one row has come to so far. */
typedef struct outcome {
    size_t runs, failures;
    int exit, signal;  /* of a failure */
    size_t unreadable; /* test photos left out, over seeds and targets */
    cell *cells;       /* [FIGURES, targets + 1], the mean over targets last */
} outcome;

typedef struct tables {
    const ablate *a;
    outcome rows[ABLATE_MOST_ROWS];
    size_t columns; /* targets, and the mean where there are several */
} tables;

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static double target_figure(const ablate *a, const ablate_row *row, size_t seed, size_t target, const char *figure)
{
    char path[JOBS_PATH], name[128];
    (void)snprintf(name, sizeof name, "%s.json", a->targets[target].name);
    json_t *value = jobs_read_json(ablate_path(a, row->key, seed, name, path), false);
    const json_t *mean = json_object_get(json_object_get(value, "mean"), figure);
    const double result = json_is_number(mean) ? json_number_value(mean) : (double)NAN;
    json_decref(value);
    return result;
}

static void add_to(cell *c, double value)
{
    c->runs++;
    if (!isfinite(value)) return;
    /* Welford: mean and sum of squared differences (kept in std until `finish`). */
    const double difference = value - c->mean;
    c->count++;
    c->mean += difference / (double)c->count;
    c->std += difference * (value - c->mean);
}

static size_t unreadable_photos(const ablate *a, const ablate_row *row, size_t seed, size_t target)
{
    char path[JOBS_PATH], name[128];
    const char *category;
    json_t *figures;
    json_int_t sum = 0;
    (void)snprintf(name, sizeof name, "%s.json", a->targets[target].name);
    json_t *value = jobs_read_json(ablate_path(a, row->key, seed, name, path), false);
    json_object_foreach(json_object_get(value, "categories"), category, figures)
    {
        sum += json_integer_value(json_object_get(figures, "failed"));
    }
    json_decref(value);
    return sum > 0 ? (size_t)sum : 0;
}

static void read_seed(const ablate *a, const ablate_row *row, size_t seed, outcome *o)
{
    for (size_t t = 0; t < a->target_count; t++) o->unreadable += unreadable_photos(a, row, seed, t);
    for (size_t f = 0; f < FIGURES; f++) {
        cell *cells = o->cells + f * (a->target_count + 1);
        double sum = 0.0;
        size_t count = 0;
        for (size_t t = 0; t < a->target_count; t++) {
            const double value = target_figure(a, row, seed, t, figure_names[f]);
            add_to(&cells[t], value);
            if (isfinite(value)) sum += value;
            if (isfinite(value)) count++;
        }
        add_to(&cells[a->target_count], count > 0 ? sum / (double)count : (double)NAN);
    }
}

static bool read_row(const ablate *a, const ablate_row *row, outcome *o)
{
    const size_t cells = FIGURES * (a->target_count + 1);
    o->cells = calloc(cells, sizeof *o->cells);
    if (o->cells == NULL) return false;
    for (size_t seed = 1; seed <= a->seeds; seed++) {
        char path[JOBS_PATH];
        if (ablate_job_done(a, row, seed, NULL)) {
            o->runs++;
            read_seed(a, row, seed, o);
            continue;
        }
        json_t *failed = jobs_read_json(ablate_path(a, row->key, seed, "failed.json", path), false);
        if (failed == NULL) continue;
        o->failures++;
        o->exit = (int)json_integer_value(json_object_get(failed, "exit"));
        o->signal = (int)json_integer_value(json_object_get(failed, "signal"));
        json_decref(failed);
    }
    for (size_t i = 0; i < cells; i++) {
        cell *c = &o->cells[i];
        c->std = c->count > 1 ? sqrt(c->std / (double)(c->count - 1)) : (double)NAN;
    }
    return true;
}

/* ---- Markdown ---------------------------------------------------------------------------------------------------- */

static void print_cell(const tables *t, const ablate_row *row, const outcome *o, const cell *c, FILE *f)
{
    if (o->runs == 0 && row->missing_taps) {
        (void)fputs(" not in the weights |", f);
    } else if (o->runs == 0 && o->failures > 0) {
        (void)(o->signal != 0 ? fprintf(f, " failed (signal %d) |", o->signal)
                              : fprintf(f, " failed (exit %d) |", o->exit));
    } else if (o->runs == 0) {
        (void)fputs(" – |", f);
    } else if (c->count == 0) {
        (void)fputs(" no masks |", f);
    } else {
        (void)fprintf(f, " %.1f", 100.0 * c->mean);
        if (c->count > 1) (void)fprintf(f, " ± %.1f", 100.0 * c->std);
        if (o->runs < t->a->seeds) (void)fprintf(f, " (%zu of %zu)", o->runs, t->a->seeds);
        (void)fputs(" |", f);
    }
}

static const char *const *paper_figures(const ablate_line *line, size_t figure)
{
    return figure == IMAGE ? line->image : line->pixel;
}

/* Which of the paper's columns the table has. */
static size_t paper_columns(int table, size_t figure)
{
    for (size_t i = 0; i < ablate_line_count; i++) {
        const char *const *paper = paper_figures(&ablate_lines[i], figure);
        if (ablate_lines[i].table == table) return (size_t)(paper[0] != NULL) + (size_t)(paper[1] != NULL);
    }
    return 0;
}

static void print_block(const tables *t, int table, size_t figure, FILE *f)
{
    const size_t paper = paper_columns(table, figure);
    const bool grouped = table == 5;
    (void)fprintf(f, "%s\n\n|%s |", figure == IMAGE ? "I-AUROC (%)" : "P-AUROC (%)",
                  grouped      ? " Parameter | Value"
                  : table == 6 ? " Layer Combination"
                               : " Method");
    for (size_t i = 0; i < paper; i++) (void)fprintf(f, " %s (paper) |", data_names[i]);
    for (size_t i = 0; i < t->columns; i++) {
        (void)fprintf(f, " %s |", i < t->a->target_count ? t->a->targets[i].name : "mean");
    }
    (void)fprintf(f, "\n|%s --- |", grouped ? " --- |" : "");
    for (size_t i = 0; i < paper + t->columns; i++) (void)fputs(" ---: |", f);
    (void)fputc('\n', f);
    for (size_t i = 0; i < ablate_line_count; i++) {
        const ablate_line *line = &ablate_lines[i];
        if (line->table != table) continue;
        const size_t at = t->a->plan.row_of[i];
        (void)fputc('|', f);
        if (grouped) (void)fprintf(f, " %s |", line->group);
        (void)fprintf(f, " %s |", line->label);
        for (size_t k = 0; k < paper; k++) (void)fprintf(f, " %s |", paper_figures(line, figure)[k]);
        const cell *cells = t->rows[at].cells + figure * (t->a->target_count + 1);
        for (size_t k = 0; k < t->columns; k++) print_cell(t, &t->a->plan.rows[at], &t->rows[at], &cells[k], f);
        (void)fputc('\n', f);
    }
    (void)fputc('\n', f);
}

static const char *const same_run_note =
    "Table 4's \"w/o Confident Learning\" and Table 7's \"Meta + Contrastive\" are one and the same configuration, but "
    "the "
    "paper prints different figures for it on VisA: 81.2 and 83.4. Ours come from one training.";

/* What is to be known about a table; NULL: nothing. `which` counts from 0. */
static const char *table_note(const tables *t, int table, size_t which)
{
    static char text[512];
    const char *notes[4] = {NULL, NULL, NULL, NULL};
    size_t count = 0, unreadable = 0;
    for (size_t i = 0; i < ablate_line_count; i++) {
        if (ablate_lines[i].table == table) unreadable += t->rows[t->a->plan.row_of[i]].unreadable;
    }
    if (unreadable > 0)
        notes[count++] = "Some test photos could not be read and were left out (\"failed\" in TARGET.json).";
    if (table == 4 || table == 7) notes[count++] = same_run_note;
    if (paper_columns(table, PIXEL) == 0) notes[count++] = "The paper prints no pixel figures in this table.";
    for (size_t i = 0; i < t->a->plan.count && table == 6; i++) {
        if (!t->a->plan.rows[i].missing_taps) continue;
        (void)snprintf(text, sizeof text, "The weights %s end before layer4: rows that need it cannot be run.",
                       t->a->backbone_name);
        notes[count++] = text;
        break;
    }
    return which < count ? notes[which] : NULL;
}

static void print_tables(const tables *t, FILE *f)
{
    const ablate *a = t->a;
    (void)fprintf(f,
                  "# Ablation\n\n"
                  "Columns marked \"paper\" are quoted from the CoZAD paper: its own source and target data, with "
                  "WideResNet-50.\n"
                  "Ours: backbone %s, %zu seed%s, base.json with SHA-256 "
                  "%.16s…, last epoch, no choice by test labels.\n"
                  "\"–\" is not run yet.\n\nTargets:\n\n",
                  a->backbone_name, a->seeds, a->seeds == 1 ? "" : "s (mean ± standard deviation of the sample)",
                  a->base_sha256);
    for (size_t i = 0; i < a->target_count; i++) {
        const size_t places = json_array_size(a->targets[i].places);
        (void)fprintf(f, "* %s: %s, %zu categor%s\n", a->targets[i].name,
                      json_string_value(json_object_get(a->targets[i].spec, "root")), places,
                      places == 1 ? "y" : "ies (their mean)");
    }
    for (int table = ABLATE_FIRST_TABLE; table < ABLATE_FIRST_TABLE + ABLATE_TABLES; table++) {
        if (!a->plan.shown[table - ABLATE_FIRST_TABLE]) continue;
        (void)fprintf(f, "\n## %s\n\n", ablate_caption(table));
        for (size_t figure = 0; figure < FIGURES; figure++) print_block(t, table, figure, f);
        for (size_t i = 0; table_note(t, table, i) != NULL; i++) {
            (void)fprintf(f, "%s%s\n", i > 0 ? "\n" : "", table_note(t, table, i));
        }
    }
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static json_t *cell_json(const cell *c)
{
    if (c->count == 0) return json_null();
    return json_pack("{s:f, s:o, s:I}", "mean", c->mean, "std", common_json_real(c->std), "seeds",
                     (json_int_t)c->count);
}

/* {TARGET: {"image_auroc": …, "pixel_auroc": …}, …}, fractions of 1 */
static json_t *targets_json(const tables *t, const outcome *o, size_t begin, size_t end)
{
    json_t *all = json_object();
    for (size_t i = begin; i < end; i++) {
        const cell *c = &o->cells[i];
        json_t *one = json_pack("{s:o, s:o}", figure_names[IMAGE], cell_json(c), figure_names[PIXEL],
                                cell_json(c + t->a->target_count + 1));
        (void)json_object_set_new(all, i < t->a->target_count ? t->a->targets[i].name : "mean", one);
    }
    return all;
}

static json_t *rows_json(const tables *t)
{
    json_t *all = json_object();
    for (size_t i = 0; i < t->a->plan.count; i++) {
        const ablate_row *row = &t->a->plan.rows[i];
        const outcome *o = &t->rows[i];
        const size_t count = t->a->target_count;
        json_t *one = json_pack("{s:O, s:I, s:I}", "switches", row->switches, "runs", (json_int_t)o->runs, "failures",
                                (json_int_t)o->failures);
        if (o->failures > 0) {
            (void)json_object_set_new(one, "failed_exit", json_integer(o->exit));
            (void)json_object_set_new(one, "failed_signal", json_integer(o->signal));
        }
        if (row->missing_taps) (void)json_object_set_new(one, "missing_taps", json_true());
        if (o->runs > 0) {
            (void)json_object_set_new(one, "targets", targets_json(t, o, 0, count));
            (void)json_object_update_new(one, targets_json(t, o, count, count + 1));
        }
        (void)json_object_set_new(all, row->key, one);
    }
    return all;
}

/* The paper's figures in percent, as printed: {"MVTec-AD": {"image_auroc": 92.9}} */
static json_t *paper_json(const ablate_line *line)
{
    json_t *all = json_object();
    for (size_t d = 0; d < 2; d++) {
        json_t *one = json_object();
        if (line->image[d] != NULL) {
            (void)json_object_set_new(one, figure_names[IMAGE], json_real(strtod(line->image[d], NULL)));
        }
        if (line->pixel[d] != NULL) {
            (void)json_object_set_new(one, figure_names[PIXEL], json_real(strtod(line->pixel[d], NULL)));
        }
        if (json_object_size(one) > 0) (void)json_object_set(all, data_names[d], one);
        json_decref(one);
    }
    return all;
}

static json_t *table_json(const tables *t, int table)
{
    json_t *lines = json_array(), *notes = json_array();
    for (size_t i = 0; i < ablate_line_count; i++) {
        const ablate_line *line = &ablate_lines[i];
        if (line->table != table) continue;
        const char *group = "";
        for (size_t k = 0; k <= i; k++) { /* the paper prints a parameter's name once */
            if (ablate_lines[k].table == table && ablate_lines[k].group[0] != '\0') group = ablate_lines[k].group;
        }
        json_t *one = json_pack("{s:s, s:s, s:s, s:o}", "name", line->name, "label", line->label, "row",
                                t->a->plan.rows[t->a->plan.row_of[i]].key, "paper_percent", paper_json(line));
        if (group[0] != '\0') (void)json_object_set_new(one, "parameter", json_string(group));
        (void)json_array_append_new(lines, one);
    }
    for (size_t i = 0; table_note(t, table, i) != NULL; i++) {
        (void)json_array_append_new(notes, json_string(table_note(t, table, i)));
    }
    return json_pack("{s:s, s:o, s:o}", "caption", ablate_caption(table), "lines", lines, "notes", notes);
}

static json_t *tables_json(const tables *t)
{
    json_t *all = json_object(), *targets = json_array();
    for (int table = ABLATE_FIRST_TABLE; table < ABLATE_FIRST_TABLE + ABLATE_TABLES; table++) {
        char name[24];
        if (!t->a->plan.shown[table - ABLATE_FIRST_TABLE]) continue;
        (void)snprintf(name, sizeof name, "table%d", table);
        (void)json_object_set_new(all, name, table_json(t, table));
    }
    for (size_t i = 0; i < t->a->target_count; i++) (void)json_array_append(targets, t->a->targets[i].spec);
    return json_pack("{s:o, s:o, s:o, s:s, s:s, s:I}", "tables", all, "rows", rows_json(t), "targets", targets,
                     "backbone", t->a->backbone_name, "base_sha256", t->a->base_sha256, "seeds",
                     (json_int_t)t->a->seeds);
}

/* ---- both -------------------------------------------------------------------------------------------------------- */

static int write_and_print(const tables *t, bool print)
{
    char path[JOBS_PATH], *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    json_t *all = tables_json(t);
    int code = CLI_RESOURCES;
    if (stream == NULL || all == NULL) {
        cli_error("out of memory");
        if (stream != NULL) (void)fclose(stream);
        goto out;
    }
    print_tables(t, stream);
    if (fclose(stream) != 0) {
        cli_error("out of memory");
        goto out;
    }
    code = jobs_write(ablate_path(t->a, NULL, 0, "tables.md", path), text, size);
    if (code == CLI_OK) code = jobs_write_json(ablate_path(t->a, NULL, 0, "tables.json", path), json_incref(all));
    if (code != CLI_OK || !print) goto out;
    if (t->a->common.json) {
        common_print_json(json_incref(all));
    } else {
        (void)fwrite(text, 1, size, stdout);
    }
out:
    free(text);
    json_decref(all);
    return code;
}

int ablate_tables(const ablate *a, bool print)
{
    tables t = {.a = a, .columns = a->target_count > 1 ? a->target_count + 1 : a->target_count};
    int code = CLI_OK;
    for (size_t i = 0; i < a->plan.count && code == CLI_OK; i++) {
        if (read_row(a, &a->plan.rows[i], &t.rows[i])) continue;
        cli_error("out of memory");
        code = CLI_RESOURCES;
    }
    if (code == CLI_OK) code = write_and_print(&t, print);
    for (size_t i = 0; i < a->plan.count; i++) free(t.rows[i].cells);
    return code;
}
