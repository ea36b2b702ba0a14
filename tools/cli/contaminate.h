/* SPDX-License-Identifier: Apache-2.0 */
/* cozad eval --contaminate: what defective photos among the training photos cost (docs/contamination.md).
 *
 * A results folder holds
 *     contaminate.json                       what the folder is for
 *     base.json                              training options, as every training is given them (--config)
 *     TARGET/seedS/rateR/manifest.jsonl      the data set of these runs: training and test photos, below the links
 *     TARGET/seedS/rateR/{photos,injected}   "photos" and "injected", both to the data set's folder: what stays in the test
 *                                            set has two names
 *     TARGET/seedS/rateR/injected.csv        the defective photos among the training photos
 *     …/rateR/DETECTOR-METHOD/run.json       figures of one run, written last
 *     …/rateR/DETECTOR-METHOD/failed.json    how the last try failed, until one succeeds
 *     …/rateR/DETECTOR-METHOD/log.jsonl      of the training; eval.json; model.cozad with --keep-models
 *     tables.md, tables.json, tables.csv     everything above as tables */
#ifndef CONTAMINATE_H
#define CONTAMINATE_H

#include "cozad/cozad_eval.h"
#include "jobs.h"
#include "seeds.h"
#include "train_options.h"

enum { CONTAMINATE_RATES = 16, CONTAMINATE_NAMES = 8, CONTAMINATE_MOST_SEEDS = 1000, CONTAMINATE_OPTION_COUNT = 12 };

/* ---- options ------------------------------------------------------------------------------------------------------ */

typedef struct contaminate_options {
    const char *rates, *from, *keep, *methods, *detectors, *output;
    cli_list with;
    size_t seeds;
    double most;
    bool cap, resume, keep_models;
} contaminate_options;

#define CONTAMINATE_OPTIONS_INIT                                                                                       \
    {                                                                                                                  \
        .from = "same", .keep = "no", .methods = "plain,comet", .seeds = 5, .most = 0.5                                \
    }
/* CONTAMINATE_OPTION_COUNT entries of a table. */
#define CONTAMINATE_OPTIONS(o)                                                                                           \
    {"contaminate", 0,      CLI_STRING,                                                                                  \
     &(o).rates,    "LIST", "train with these shares of defective photos, per cent: 0,5,10,20%",                         \
     NULL},                                                                                                              \
        {"contaminate-from", 0, CLI_CHOICE, &(o).from, NULL, "category that the defective photos are of", "same|other"}, \
        {"contaminate-keep-in-test",                                                                                     \
         0,                                                                                                              \
         CLI_CHOICE,                                                                                                     \
         &(o).keep,                                                                                                      \
         NULL,                                                                                                           \
         "whether they stay in the test set as well",                                                                    \
         "no|yes"},                                                                                                      \
        {"contaminate-most",                                                                                             \
         0,                                                                                                              \
         CLI_REAL,                                                                                                       \
         &(o).most,                                                                                                      \
         "X",                                                                                                            \
         "largest part of a kind of defect's test photos that is injected",                                              \
         NULL},                                                                                                          \
        {"contaminate-cap", 0, CLI_FLAG, &(o).cap, NULL, "inject what there is where a rate cannot be reached", NULL},   \
        {"seeds", 0, CLI_SIZE, &(o).seeds, "N", "draw and train with the seeds 1 to N", NULL},                           \
        {"methods", 0, CLI_STRING, &(o).methods, "LIST", "what is compared with the first of them", NULL},               \
        {"detectors", 0, CLI_STRING, &(o).detectors, "LIST", "detectors; all trained by gradients unless given", NULL},  \
        {"with",                                                                                                         \
         0,                                                                                                              \
         CLI_LIST,                                                                                                       \
         &(o).with,                                                                                                      \
         "METHOD:NAME=VALUE",                                                                                            \
         "training option --NAME for one method alone; several times",                                                   \
         NULL},                                                                                                          \
        {"output", 'o', CLI_STRING, &(o).output, "DIR", "results folder; holds everything that is done", NULL},          \
        {"resume", 0, CLI_FLAG, &(o).resume, NULL, "go on with the results folder", NULL},                               \
    {                                                                                                                    \
        "keep-models", 0, CLI_FLAG, &(o).keep_models, NULL, "do not remove a model once it is evaluated", NULL           \
    }

/* --contaminate is among the arguments. */
bool contaminate_asked(int argc, char **argv);
/* The whole command; an exit code. */
int contaminate_main(int argc, char **argv);

/* ---- a run -------------------------------------------------------------------------------------------------------- */

typedef struct contaminate_rate {
    double percent;
    char name[24];
} contaminate_rate;

/* One category. */
typedef struct contaminate_target {
    char name[96];               /* of its folder and in tables */
    const char *category;        /* of the data set, which it belongs to */
    size_t *train, *test, *pool; /* samples of the data set; pool: those that may be injected, before the limit */
    size_t train_count, test_count, pool_count;
    size_t limit;                       /* so many of the pool may be injected */
    size_t injected[CONTAMINATE_RATES]; /* [rate_count] ascending */
    size_t test_normal, test_defective; /* left in the test set */
} contaminate_target;

typedef struct contaminate {
    contaminate_options options;
    const char *data, *layout, *category, *report;
    bool json, csv;
    train_arguments train;
    uint64_t usual_limit; /* of the feature store */

    char *data_root; /* --data without its layout */
    cz_dataset *dataset;
    char root[JOBS_PATH];                      /* that paths of samples are below, absolute */
    json_t *config;                            /* training options that were given */
    contaminate_rate rates[CONTAMINATE_RATES]; /* ascending */
    size_t rate_count;
    char methods[CONTAMINATE_NAMES][32], detectors[CONTAMINATE_NAMES][32];
    size_t method_count, detector_count;
    contaminate_target *targets;
    size_t target_count;
    jobs jobs;
} contaminate;

/* Which run: indices, and a seed from 1. */
typedef struct contaminate_run {
    size_t target, seed, rate, detector, method;
} contaminate_run;

/* contaminate_options.c: an exit code, -1 to go on. */
int contaminate_read_options(contaminate *c, int argc, char **argv);
void contaminate_free_options(contaminate *c);
/* The largest rate's injected photos leave the test set. */
bool contaminate_removes(const contaminate *c);

/* contaminate_draw.c: exit codes. */
int contaminate_open_data(contaminate *c);
/* out: [limit] samples in the order in which they are injected; a smaller rate takes the first of them. */
int contaminate_draw(const contaminate *c, const contaminate_target *t, size_t seed, size_t *out);
/* The kind of defect; where the data set does not say it (a table), the first folder of the path. */
enum { CONTAMINATE_KIND = 208 };
const char *contaminate_kind(const cz_sample *s, char room[CONTAMINATE_KIND]);
/* Of those injected at a rate, how many are in the test set, too. */
size_t contaminate_overlap(const contaminate *c, const contaminate_target *t, size_t rate);
/* Share of the training photos that is defective, as it came out. */
double contaminate_share(const contaminate_target *t, size_t rate);

/* contaminate_split.c: the folder of a target, seed and rate, made once. An exit code. */
int contaminate_make_split(const contaminate *c, const contaminate_run *run);

/* contaminate_job.c */
/* RESULTS/TARGET/seedS/rateR[/DETECTOR-METHOD]/FILE */
void contaminate_split_path(const contaminate *c, const contaminate_run *run, const char *file, char out[JOBS_PATH]);
void contaminate_run_path(const contaminate *c, const contaminate_run *run, const char *file, char out[JOBS_PATH]);
/* The figures of a run that is done, json_decref; NULL: it is not. */
json_t *contaminate_result(const contaminate *c, const contaminate_run *run);
/* CLI_OK: done. CLI_SOME_FAILED: noted in failed.json. Anything else ends the run. */
int contaminate_job_run(const contaminate *c, const contaminate_run *run);

/* contaminate_figures.c */
typedef struct contaminate_figures {
    const contaminate *c;
    double *auroc;         /* [targets, seeds, rates, detectors, methods] image AUROC, NaN: not done */
    unsigned char *failed; /* the same places */
} contaminate_figures;
/* An exit code. */
int contaminate_figures_read(const contaminate *c, contaminate_figures *out);
void contaminate_figures_free(contaminate_figures *f);
/* target_count stands for the mean over targets, seed by seed, where all of them are there. */
#define CONTAMINATE_SCOPES(c) ((c)->target_count > 1 ? (c)->target_count + 1 : (c)->target_count)
const char *contaminate_scope_name(const contaminate *c, size_t scope);
typedef struct contaminate_cell {
    seeds_sum auroc;
    seeds_sum difference; /* to the first method, seed by seed */
    seeds_sum loss;       /* clean minus contaminated, seed by seed; empty without a rate of 0 */
    seeds_sum saved;      /* loss of the first method minus this one's */
    size_t failures;
} contaminate_cell;
contaminate_cell contaminate_cell_of(const contaminate_figures *f, size_t scope, size_t rate, size_t detector,
                                     size_t method);
/* What was injected, over all targets of the scope. */
typedef struct contaminate_counts {
    size_t normal, injected, in_test;
    bool capped; /* fewer than the rate asks for */
} contaminate_counts;
contaminate_counts contaminate_counts_of(const contaminate *c, size_t scope, size_t rate);
/* One sentence: what was injected and whether it is in the test set. Static storage. */
const char *contaminate_describe(const contaminate *c);

/* contaminate_tables.c: reads every figure that is on disk, writes tables.{md,json,csv}, prints (`print`) one of them. An exit code. */
int contaminate_tables(const contaminate *c, bool print);
/* contaminate_page.c: an exit code. */
int contaminate_page(const contaminate *c, const contaminate_figures *f);

#endif
