/* SPDX-License-Identifier: Apache-2.0 */
/* Milliseconds of every stage, memory, and features as training makes them. */
#include "bench.h"

#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *const bench_stage_names[BENCH_STAGES] = {"preprocess", "backbone", "pooling", "head", "map", "total"};

bool bench_noise_make(bench_noise *n, size_t width, size_t height, uint32_t seed)
{
    n->pixels = malloc(width * height * 3);
    if (n->pixels == NULL) return false;
    uint32_t state = 12345 + 77 * seed;
    for (size_t i = 0; i < width * height * 3; i++) {
        state = state * 1664525u + 1013904223u;
        n->pixels[i] = (uint8_t)(64 + (i / 3 % width) * (96 - seed % 4 * 16) / width + (state >> 27));
    }
    n->image = (cz_image){n->pixels, width, height, width * 3, CZ_RGB8};
    return true;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

bench_interval bench_summarise(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare);
    const size_t tail = count / 20;
    const double median = count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2.0;
    return (bench_interval){median, values[tail], values[count - 1 - tail]};
}

static double now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* Resident memory at most since the last reset; Linux counts it, elsewhere it is 0: unknown. */
static uint64_t peak_memory(void)
{
    char line[256];
    unsigned long long kilobytes = 0;
    FILE *file = fopen("/proc/self/status", "r");
    if (file == NULL) return 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "VmHWM: %llu", &kilobytes) == 1) break;
    }
    (void)fclose(file);
    return kilobytes * 1024;
}

/* Gives back what training left behind, so that it is not counted as scoring's. */
static void reset_peak_memory(void)
{
    (void)malloc_trim(0);
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file == NULL) return;
    (void)fputs("5", file); /* man 5 proc: resets the peak */
    (void)fclose(file);
}

cz_status bench_session_open(const bench_run *run, cz_precision precision, cz_session **out)
{
    cz_session_options options = CZ_SESSION_OPTIONS_INIT;
    options.threads = run->threads;
    options.max_batch = run->options->batch;
    options.precision = precision;
    return cz_session_open(run->model, &options, out);
}

/* times: [BENCH_STAGES, repeat] */
static cz_status time_stages(const bench_run *run, cz_session *session, double *times, bench_row *row)
{
    const bench_options *o = run->options;
    enum { WARM_UP = 2 };
    cz_image *images = calloc(o->batch, sizeof *images);
    cz_result *results = calloc(o->batch, sizeof *results);
    cz_status status = images != NULL && results != NULL ? CZ_OK : cz_source_error(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0; i < o->batch && status == CZ_OK; i++) images[i] = run->noise.image;
    for (size_t i = 0; i < o->repeat + WARM_UP && status == CZ_OK; i++) {
        const double start = now_ms();
        status = cz_score_batch(session, images, o->batch, results);
        if (i == 0) row->open += now_ms() - start;
        if (i < WARM_UP) continue;
        cz_timing t;
        cz_session_timing(session, &t);
        const double values[BENCH_STAGES] = {t.preprocess, t.backbone, t.pooling, t.head, t.map, t.total};
        for (size_t s = 0; s < BENCH_STAGES; s++) times[s * o->repeat + i - WARM_UP] = values[s] / (double)o->batch;
        if (cli_progress(NULL, "measuring", i, o->repeat + WARM_UP, cz_precision_name(row->precision)) != 0)
            status = CZ_E_CANCELLED;
    }
    cli_progress_end();
    if (status == CZ_OK) {
        row->grid_width = results[0].grid_width;
        row->grid_height = results[0].grid_height;
        for (size_t s = 0; s < BENCH_STAGES; s++) row->stages[s] = bench_summarise(times + s * o->repeat, o->repeat);
    }
    free(images);
    free(results);
    return status;
}

cz_status bench_measure(const bench_run *run, bench_row *row)
{
    double after = 0.0;
    cz_session *session = NULL;
    double *times = calloc(BENCH_STAGES * run->options->repeat, sizeof *times);
    if (times == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    reset_peak_memory();
    const double start = now_ms();
    cz_status status = bench_session_open(run, row->precision, &session);
    row->open = now_ms() - start;
    if (status == CZ_OK) {
        row->precision = cz_session_precision(session);
        status = time_stages(run, session, times, row);
    }
    row->memory = peak_memory();
    cz_session_close(session);
    free(times);
    /* The machine may be slower or faster than a moment ago: the peak is the better of before (made by the caller) and after. */
    if (status == CZ_OK) status = cz_machine_gflops(run->threads, row->precision, &after);
    row->peak = fmax(row->peak, after);
    return status;
}

/* ---- features of many photos, from the time when every worker has its plan to the last photo ------------------------ */

typedef struct features_clock {
    double first, last; /* ms */
    size_t done;        /* photos at `first` */
} features_clock;

enum { FEATURE_PHOTOS = 48, FEATURE_WARM_UP = 8 };

static cz_status load_noise(void *ctx, size_t index, cz_image *out)
{
    (void)index;
    *out = ((bench_noise *)ctx)->image;
    return CZ_OK;
}

/* Ends the training as soon as its features are there. */
static int watch_features(void *ctx, const char *what, size_t done, size_t total, const char *detail)
{
    features_clock *clock = ctx;
    (void)total;
    (void)detail;
    if (cli_interrupted()) return 1;
    if (strcmp(what, "features") != 0) return clock->first > 0.0;
    clock->last = now_ms();
    if (clock->first == 0.0 && done >= FEATURE_WARM_UP) {
        clock->first = clock->last;
        clock->done = done;
    }
    return 0;
}

cz_status bench_measure_features(bench_run *run, bench_row *row)
{
    features_clock clock = {0.0, 0.0, 0};
    cz_train_options options = run->options->train;
    cz_model *model = NULL;
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    source.count = FEATURE_PHOTOS;
    source.load = load_noise;
    source.ctx = &run->noise;
    options.progress = watch_features;
    options.ctx = &clock;
    options.precision = row->precision;
    options.threads = run->threads;
    const cz_status status = cz_train(run->backbone, &source, &options, &model);
    cz_model_close(model);
    if (cli_interrupted() || (status != CZ_E_CANCELLED && status != CZ_OK)) return status;
    if (clock.done > 0 && clock.done < FEATURE_PHOTOS)
        row->features = (clock.last - clock.first) / (double)(FEATURE_PHOTOS - clock.done);
    return CZ_OK;
}
