/* SPDX-License-Identifier: Apache-2.0 */
#include "inspect.h"
#include "report_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const cli_verb verb = {
    "inspect", "-m MODEL [--photos DIR]... [options]",
    "Lists the photos a model was trained on, those that it trusts least first.",
    "Trust is between 0 and 1: how far a training that weighs its photos believes the oddest spots of one. It is kept "
    "in the model, "
    "which is all that is needed; --report also wants the photos (under the names that they had, or with the same "
    "pixels below --photos) and the network's weights, and shows them with their heat maps. Photos that stand apart "
    "from the bulk "
    "are marked as suspects, and their share is the estimated contamination.\n\n"
    "The way to a clean set of photos: look at the page, decide, train again without the defective ones. --csv writes "
    "a "
    "table with a decision for each photo (suspects: exclude) that can be changed with any editor and that cozad "
    "train --exclude takes. A person decides: a rare but good part is a suspect as well.",
    "  cozad inspect -m part.cozad\n"
    "  cozad inspect -m part.cozad --report look.html\n"
    "  cozad inspect -m part.cozad --photos photos --report look.html --top 100\n"
    "  cozad inspect -m part.cozad --csv >decisions.csv       (look, change, then:)\n"
    "  cozad train --normal photos --exclude decisions.csv -o part2.cozad\n"
    "  cozad inspect -m part.cozad --export-clean clean.txt --export-suspects suspects.csv"};

enum { TABLE_ROWS = 20, PAGE_ROWS = 60 };

typedef struct arguments {
    const char *model, *backbone, *report, *clean, *suspects;
    cli_list photos;
    size_t top, threads;
    double distrust;
    common_options common;
} arguments;

/* ---- lists and tables --------------------------------------------------------------------------------------------- */

static void put_csv_field(FILE *f, const char *text)
{
    if (strpbrk(text, ",\"\r\n") == NULL) {
        (void)fputs(text, f);
        return;
    }
    (void)putc('"', f);
    for (; *text != '\0'; text++) {
        if (*text == '"') (void)putc('"', f);
        (void)putc(*text, f);
    }
    (void)putc('"', f);
}

static const char *decision_of(const inspect_row *row)
{
    return row->photo.excluded || row->suspect ? "exclude" : "keep";
}

static void print_csv_header(FILE *f)
{
    (void)fputs("path,decision,weight,score,share_below_one,sha256\n", f);
}

static void print_csv(FILE *f, const inspect_row *row)
{
    put_csv_field(f, row->photo.name != NULL ? row->photo.name : "");
    (void)fprintf(f, ",%s,", decision_of(row));
    if (row->photo.excluded) {
        (void)fputs(",,", f);
    } else {
        (void)fprintf(f, "%.6g,%.9g,%.6g", row->photo.weight, row->photo.score, row->photo.share_below_one);
    }
    (void)fprintf(f, ",%s\n", row->photo.sha256);
}

static void print_json(const inspect_row *row)
{
    const cz_training_photo *p = &row->photo;
    json_t *line = json_pack("{s:s?, s:s, s:s, s:o, s:o, s:o, s:b, s:b}", "path", p->name, "pixels_sha256", p->sha256,
                             "decision", decision_of(row), "weight", common_json_real(p->weight), "share_below_one",
                             common_json_real(p->share_below_one), "score", common_json_real(p->score), "suspect",
                             (int)row->suspect, "excluded", (int)p->excluded);
    if (p->grid_width > 0 && p->grid_height > 0) {
        (void)json_object_set_new(line, "place",
                                  json_pack("[f, f]", ((double)p->place_x + 0.5) / (double)p->grid_width,
                                            ((double)p->place_y + 0.5) / (double)p->grid_height));
    }
    common_print_json(line);
}

static void print_summary(const inspect *in)
{
    printf("%zu photo%s", in->trained, in->trained == 1 ? "" : "s");
    if (in->excluded > 0) printf(", %zu left out by earlier decisions", in->excluded);
    if (in->estimated) {
        printf("; about %.3g %% stand apart from the others", 100.0 * in->contamination);
    } else {
        printf("; too few to tell how many do not belong");
    }
    printf("; %zu suspect%s\n", in->suspects, in->suspects == 1 ? "" : "s");
}

static void print_table(const inspect *in, size_t rows)
{
    char name[512];
    print_summary(in);
    if (rows > 0) printf("%6s  %9s  %7s  %s\n", "trust", "score", "", "photo");
    for (size_t i = 0; i < rows; i++) {
        const inspect_row *row = &in->rows[i];
        printf("%6.3f  %9.4f  %7s  %s\n", row->photo.weight, row->photo.score, row->suspect ? "suspect" : "",
               inspect_name(&row->photo, name));
    }
    if (rows < in->trained) printf("and %zu more (--top %zu)\n", in->trained - rows, in->trained);
}

static void print(const arguments *a, const inspect *in)
{
    const bool all = a->common.csv || a->common.json;
    size_t rows = a->top > 0 ? a->top : all ? in->trained : TABLE_ROWS;
    if (rows > in->trained) rows = in->trained;
    if (!all) {
        print_table(in, rows);
        return;
    }
    if (a->common.csv) print_csv_header(stdout);
    /* Earlier decisions come along, so that the table is whole. */
    for (size_t i = 0; i < in->trained + in->excluded; i++) {
        if (i >= rows && i < in->trained) continue;
        if (a->common.csv) {
            print_csv(stdout, &in->rows[i]);
        } else {
            print_json(&in->rows[i]);
        }
    }
    (void)fflush(stdout);
}

/* ---- exports ------------------------------------------------------------------------------------------------------ */

typedef struct export_job {
    const inspect *in;
    const char *path;
    bool suspects; /* else those that are trusted */
} export_job;

static bool is_table(const char *path)
{
    const size_t length = strlen(path);
    return length > 4 && strcmp(path + length - 4, ".csv") == 0;
}

/* A table where the name ends so; else a path a line, or the hash of the pixels where no path can stand. */
static cz_status print_export(const void *ctx, FILE *f)
{
    const export_job *job = ctx;
    const bool table = is_table(job->path);
    if (table) print_csv_header(f);
    for (size_t i = 0; i < job->in->trained; i++) {
        const inspect_row *row = &job->in->rows[i];
        const char *name = row->photo.name;
        if (row->suspect != job->suspects) continue;
        if (table) {
            print_csv(f, row);
        } else {
            (void)fprintf(f, "%s\n", name != NULL && strpbrk(name, "\r\n") == NULL ? name : row->photo.sha256);
        }
    }
    return CZ_OK;
}

static int export_list(const inspect *in, const char *path, bool suspects)
{
    if (path == NULL) return CLI_OK;
    const export_job job = {in, path, suspects};
    const cz_status status = report_replace(path, print_export, &job);
    if (status != CZ_OK) return cli_fail(status);
    const size_t count = suspects ? in->suspects : in->trained - in->suspects;
    cli_note("%s: %zu photo%s written", path, count, count == 1 ? "" : "s");
    return CLI_OK;
}

/* ---- the verb ----------------------------------------------------------------------------------------------------- */

static int write_page(const arguments *a, inspect *in)
{
    cz_session_options session = CZ_SESSION_OPTIONS_INIT;
    session.threads = a->threads;
    session.map = CZ_MAP_ROWS;
    session.no_decision = 1;
    session.cache = a->common.cache;
    session.log = cli_log;
    in->shown = a->top > 0 ? a->top : PAGE_ROWS;
    if (in->shown > in->trained) in->shown = in->trained;
    cz_status status = inspect_pictures(in, &a->photos, &a->common.read, &session);
    if (status == CZ_OK) status = inspect_write_page(in, a->report);
    if (status != CZ_OK) return cli_fail(status);
    size_t missing = 0;
    for (size_t i = 0; i < in->shown; i++) missing += in->rows[i].thumbs == NULL;
    if (missing > 0) {
        cli_note("%zu of %zu photos are not where they were; --photos DIR looks for them by their pixels", missing,
                 in->shown);
    }
    cli_note("%s: written", a->report);
    return CLI_OK;
}

static int open_model(const arguments *a, cz_model **out)
{
    if (a->report != NULL) return common_open_model(a->model, a->backbone, out);
    const cz_status status = cz_model_inspect(a->model, out);
    return status == CZ_OK ? CLI_OK : cli_fail_model(status);
}

static int look(const arguments *a)
{
    inspect in = {.model_path = a->model, .distrust = a->distrust};
    const char *const written[] = {a->report, a->clean, a->suspects};
    int code = CLI_OK;
    for (size_t i = 0; code == CLI_OK && i < 3; i++) {
        if (written[i] != NULL) code = common_check_writable(written[i]);
    }
    if (code == CLI_OK) code = open_model(a, &in.model);
    if (code == CLI_OK) {
        const cz_status status = inspect_open(&in);
        if (status != CZ_OK) code = cli_fail_model(status);
    }
    if (code == CLI_OK) print(a, &in);
    if (code == CLI_OK && in.estimated && in.contamination > 0.25) {
        cli_error("about %.0f %% of the photos stand apart: with so many the model may have learnt from defects, and "
                  "the trusted ones may be the wrong ones",
                  100.0 * in.contamination);
    }
    if (code == CLI_OK) code = export_list(&in, a->clean, false);
    if (code == CLI_OK) code = export_list(&in, a->suspects, true);
    if (code == CLI_OK && a->report != NULL) code = write_page(a, &in);
    inspect_close(&in);
    return code;
}

static int check(const arguments *a, const cli_list *args)
{
    if (a->model == NULL || args->count > 0) {
        cli_error("inspect needs -m MODEL, and takes folders with --photos; see 'cozad inspect --help'");
        return CLI_USAGE;
    }
    if (a->common.json && a->common.csv) {
        cli_error("--json and --csv exclude each other");
        return CLI_USAGE;
    }
    if (a->distrust < 0.0 || a->distrust > 1.0) {
        cli_error("--distrust: %g is not between 0 and 1", a->distrust);
        return CLI_USAGE;
    }
    if (a->photos.count > 0 && a->report == NULL) cli_note("--photos has no effect without --report");
    return CLI_OK;
}

int cmd_inspect(int argc, char **argv)
{
    arguments a;
    memset(&a, 0, sizeof a);
    common_init(&a.common);
    const cli_option options[] = {
        {"model", 'm', CLI_STRING, &a.model, "MODEL", "model file", NULL},
        {"photos", 0, CLI_LIST, &a.photos, "DIR", "report: look for the photos here too, by their pixels", NULL},
        {"report", 0, CLI_STRING, &a.report, "FILE", "write a page with pictures of those trusted least", NULL},
        {"top", 0, CLI_SIZE, &a.top, "N", "photos shown; 0: 20 in the table, 60 on the page, all as CSV and JSON",
         NULL},
        {"distrust", 0, CLI_REAL, &a.distrust, "X", "suspects are those trusted less; 0: those that stand apart", NULL},
        {"export-clean", 0, CLI_STRING, &a.clean, "LIST", "write the photos that are no suspects; .csv: as a table",
         NULL},
        {"export-suspects", 0, CLI_STRING, &a.suspects, "LIST", "write the suspects; .csv: as a table", NULL},
        {"backbone", 0, CLI_STRING, &a.backbone, "NAME|FILE", "weights; found by the model's SHA-256 unless given",
         NULL},
        {"threads", 0, CLI_SIZE, &a.threads, "N", "0: all", NULL},
        COMMON_CACHE_OPTIONS(a.common),
        COMMON_READ_OPTIONS(a.common),
        {"json", 0, CLI_FLAG, &a.common.json, NULL, "JSON Lines", NULL},
        {"csv", 0, CLI_FLAG, &a.common.csv, NULL, "comma-separated values with a header", NULL},
    };
    cli_list args = {NULL, 0};
    int code = cli_parse(&verb, options, sizeof options / sizeof *options, argc, argv, &args);
    if (code < 0) {
        code = check(&a, &args);
        if (code == CLI_OK) {
            common_finish(&a.common);
            code = look(&a);
        }
    }
    cli_list_free(&a.photos);
    cli_list_free(&args);
    return cli_finish_output(code);
}
