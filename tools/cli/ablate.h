/* SPDX-License-Identifier: Apache-2.0 */
/* cozad ablate: the paper's Tables 3 to 7 as trainings that differ from one base configuration by a few switches.
 *
 * A results folder holds
 *     base.json                    the base configuration, as every training is given it (--config)
 *     ablate.json                  what the folder is for: configuration, backbone, sources, targets
 *     ROWKEY/row.json              the switches of one row
 *     ROWKEY/seedS/TARGET.json     figures of one target: {"categories": …, "mean": …}
 *     ROWKEY/seedS/log.jsonl       of the training; model.cozad while it is needed, or for good with --keep-models
 *     ROWKEY/seedS/run.json        written last: this row and seed are done
 *     ROWKEY/seedS/failed.json     how the last try failed, until one succeeds
 *     tables.md, tables.json       everything above as tables */
#ifndef ABLATE_H
#define ABLATE_H

#include "common.h"
#include "jobs.h"

/* ---- rows and tables (ablate_rows.c) ----------------------------------------------------------------------------- */

enum { ABLATE_FIRST_TABLE = 3, ABLATE_TABLES = 5, ABLATE_MOST_ROWS = 40 };

/* Components that are on. */
enum { ABLATE_SCL = 1, ABLATE_META = 2, ABLATE_CONTRAST = 4, ABLATE_FULL = 7 };

typedef enum ablate_change {
    ABLATE_NONE,
    ABLATE_NO_DATA,  /* --data-uncertainty off */
    ABLATE_NO_MODEL, /* --model-uncertainty off */
    ABLATE_HARD,     /* --hard-cl */
    ABLATE_KAPPA,
    ABLATE_KNN,
    ABLATE_LAMBDA,
    ABLATE_TAPS
} ablate_change;

/* One line of a table of the paper. */
typedef struct ablate_line {
    int table;         /* 3 … 7 */
    const char *name;  /* as in --rows table3:NAME */
    const char *group; /* Table 5's first column, else "" */
    const char *label; /* as printed in the paper, Markdown */
    int parts;         /* ABLATE_SCL | … */
    ablate_change change;
    const char *value; /* of ABLATE_KAPPA … ABLATE_TAPS, else "" */
    /* The paper's figures as it prints them; NULL: none. */
    const char *image[2]; /* MVTec-AD, VisA */
    const char *pixel[2];
} ablate_line;

/* All lines of all tables, in the paper's order. */
extern const ablate_line ablate_lines[];
extern const size_t ablate_line_count;
const char *ablate_caption(int table);

/* What the base configuration leaves unchanged in "full". */
typedef struct ablate_base {
    double kappa, knn, lambda_cont;
    const char *taps;
} ablate_base;

/* One training, shared by every line that has the same switches. */
typedef struct ablate_row {
    char key[64];
    json_t *switches; /* array of strings: words of the command line */
    bool chosen;
    const char *taps;  /* of Table 6 where other than the base's, else NULL */
    bool missing_taps; /* the weights do not have them */
} ablate_row;

typedef struct ablate_plan {
    ablate_row rows[ABLATE_MOST_ROWS];
    size_t count;
    size_t row_of[ABLATE_MOST_ROWS]; /* [ablate_line_count] index into rows */
    bool shown[ABLATE_TABLES];       /* tables to print */
} ablate_plan;

/* Fills in rows and the choice of --rows ("table3,table4:hard-cl,kappa-0.5"). An exit code. */
int ablate_plan_make(ablate_plan *plan, const ablate_base *base, const char *rows);
void ablate_plan_free(ablate_plan *plan);

/* ---- the run ----------------------------------------------------------------------------------------------------- */

typedef struct ablate_target {
    char name[96];  /* its file's name and its column's head */
    json_t *spec;   /* {"name", "root", "layout", "categories"}, what the folder is compared with */
    json_t *places; /* roots that `cozad eval` is given, one a category */
    const char *layout;
} ablate_target;

typedef struct ablate {
    const char *config_path, *rows, *backbone;
    cli_list sources, target_texts;
    size_t seeds, threads;
    bool dry_run, keep_models;
    common_options common;

    json_t *config; /* the base configuration, an object */
    char base_sha256[65];
    char backbone_name[256]; /* given here, in the configuration, or the default */
    bool names_backbone;     /* it is not the default */
    ablate_base base;
    ablate_target *targets;
    size_t target_count;
    ablate_plan plan;
    uint64_t usual_limit; /* of the feature store; another one is passed on */
    jobs jobs;
} ablate;

/* ablate_base.c: the base configuration, the targets, the results folder. Exit codes. */
int ablate_read_config(ablate *a);
int ablate_read_targets(ablate *a);
/* Refuses a folder that was made for something else. With `write`, makes and locks it. */
int ablate_open_folder(ablate *a, bool write);
/* RESULTS/ROW/seedS/FILE; seed 0 leaves "seedS" out, row NULL also the row. The length of RESULTS was checked. */
const char *ablate_path(const ablate *a, const char *row, size_t seed, const char *file, char out[JOBS_PATH]);

/* ablate_job.c: one row with one seed. */
json_t *ablate_train_command(const ablate *a, const ablate_row *row, size_t seed);
json_t *ablate_eval_command(const ablate *a, const ablate_row *row, size_t seed, const ablate_target *target,
                            size_t place);
bool ablate_job_done(const ablate *a, const ablate_row *row, size_t seed, double *seconds);
/* CLI_OK: done. CLI_SOME_FAILED: noted in failed.json. Anything else ends the run. */
int ablate_job_run(const ablate *a, const ablate_row *row, size_t seed);

/* ablate_tables.c: reads every figure that is on disk, writes tables.md and tables.json, and prints (`print`) one of
 * them. An exit code. */
int ablate_tables(const ablate *a, bool print);

#endif
