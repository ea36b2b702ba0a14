/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of `cozad bench`: what is measured (bench_measure.c), what it is compared with (bench_against.c, over bench_peer.c) and how it
 * is told (bench_print.c). */
#ifndef BENCH_H
#define BENCH_H

#include "common.h"

enum {
    BENCH_STAGES = 6,
    BENCH_BACKBONE = 1,
    BENCH_HEAD = 3,
    BENCH_TOTAL = 5,
    BENCH_PRECISIONS = 4,
    BENCH_VARIANTS = 2
};
extern const char *const bench_stage_names[BENCH_STAGES]; /* preprocess … total */

typedef struct bench_options {
    const char *backbone, *size, *photo, *precision, *stage, *against, *peers, *keep;
    char *random; /* "random:ARCH" of --random; freed by cmd_bench */
    bool is_random;
    size_t threads, batch, repeat, photo_width, photo_height;
    cz_train_options train;
    common_options common;
} bench_options;

/* Pixels of a photo that nobody took. */
typedef struct bench_noise {
    uint8_t *pixels;
    cz_image image;
} bench_noise;
/* Smooth gradients with noise: plausible values, so that activations are neither flat nor denormal. */
bool bench_noise_make(bench_noise *n, size_t width, size_t height, uint32_t seed);

typedef struct bench_interval {
    double median, p5, p95;
} bench_interval;
/* Sorts `values`; `count` > 0. The percentiles are order statistics: of few values the least and the largest. */
bench_interval bench_summarise(double *values, size_t count);

/* One precision against one peer, alternating in one run: milliseconds an image. */
typedef struct bench_ratio {
    char peer[24]; /* "fp32", "int8" */
    double ours, theirs;
    bench_interval ratio; /* theirs / ours, of each round */
} bench_ratio;

/* What is known of one precision; milliseconds an image. */
typedef struct bench_row {
    cz_precision precision;
    bench_interval stages[BENCH_STAGES];
    double peak;     /* GFLOP/s */
    double features; /* of many photos, as training makes them; NaN: not measured */
    double open;     /* ms until the first result, plans and packed weights included */
    uint64_t memory; /* bytes of resident memory at most, while it was scored with */
    size_t grid_width, grid_height;
    bench_ratio ratios[BENCH_VARIANTS];
    size_t ratio_count;
    const char *stage; /* that the ratios are of */
} bench_row;

/* What is the same for all rows. */
typedef struct bench_run {
    const bench_options *options;
    cz_backbone *backbone;
    cz_model *model;
    bench_noise noise;
    size_t threads;                    /* never 0 */
    char version[64];                  /* of the peer; "" without */
    double parity[BENCH_VARIANTS];     /* relative difference of its maps from ours in fp32 */
    char variants[BENCH_VARIANTS][24]; /* what it computes in */
    size_t variant_count;
} bench_run;

cz_status bench_session_open(const bench_run *run, cz_precision precision, cz_session **out);
/* Stages, peak and memory of row->precision; it becomes what `auto` found. */
cz_status bench_measure(const bench_run *run, bench_row *row);
cz_status bench_measure_features(bench_run *run, bench_row *row);

/* Where the peers are: `--peers`, $COZAD_PEERS, or bench/ above the running program; an exit code when `name` is not installed there. The
 * folder: buffer of 4096. */
int bench_peer_find(const bench_options *options, char *folder);
/* Fills in the ratios of all rows. An exit code. */
int bench_against(bench_run *run, const char *folder, bench_row *rows, size_t count);

void bench_print_head(const bench_run *run);
void bench_print_row(const bench_run *run, const bench_row *row);

/* ---- a program that answers lines ------------------------------------------------------------------------------ */

typedef struct bench_peer {
    int child; /* process; 0: none */
    int in, out;
    char line[8192]; /* the last answer */
    size_t filled;
} bench_peer;
/* Runs a program to its end, its stdout becoming ours on stderr's side. An exit code; failures are told. */
int bench_peer_run(char *const *words);
int bench_peer_start(char *const *words, bench_peer *peer);
/* One command, tab-separated; the answer is peer->line. An exit code; failures are told. */
int bench_peer_ask(bench_peer *peer, const char *format, ...) __attribute__((format(printf, 2, 3)));
void bench_peer_stop(bench_peer *peer);

#endif
