/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Milliseconds of one meta-step, without meta-learning, first-order and exact, in turn in the same run.
 * Shapes: T = 4 tasks of 16 images x 128 patches (12 support, 4 query images), D 1536, K 1024, S = 1, chunks of 256;
 * windows full. Random features: time does not depend on them. bench/reference/cozad_torch.py is the same in PyTorch.
 * Usage: bench_meta [THREADS [RUNS [bf16]]]
 */
#include "meta/meta.h"
#include "util/alloc.h"
#include "util/rng.h"
#include "util/threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TASKS = 4, IMAGES = 16, QUERY = 4, PATCHES = 128, D = 1536, K = 1024, CHUNK = 256, MODES = 3, MOST = 32 };
enum { SUPPORT = IMAGES - QUERY, WINDOW = 65536 };

static void check(cz_status status)
{
    if (status == CZ_OK) return;
    fprintf(stderr, "bench_meta: %s\n", cz_last_error());
    exit(1);
}

static float *random_floats(size_t count, float std, uint32_t stream)
{
    float *values = cz_alloc_array(count, sizeof *values);
    if (!values) check(CZ_E_MEMORY);
    cz_rng rng;
    cz_rng_init(&rng, 1, CZ_RNG_TEST, 0, stream);
    cz_rng_normal_fill(&rng, 0, values, count, std);
    return values;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *times, size_t count)
{
    qsort(times, count, sizeof *times, compare);
    return count % 2 ? times[count / 2] : (times[count / 2 - 1] + times[count / 2]) / 2;
}

/* Multiply-adds of the matrix products of one patch: gradient 2 D^2 + 5 K D, Hessian-vector product 2 D^2 + 8 K D (q-
 * moves as q does), and of the contrastive term 2 and 3 rows of similarities. */
static double gflop(cz_meta_gradient gradient)
{
    const double each = 2.0 * D * D + 5.0 * K * D + 2.0 * CHUNK * D;
    const double hessian = 2.0 * D * D + 8.0 * K * D + 3.0 * CHUNK * D;
    const double support = SUPPORT * PATCHES, query = QUERY * PATCHES;
    return 2e-9 * TASKS * ((support + query) * each + (gradient == CZ_META_EXACT ? support * hessian : 0));
}

typedef struct workload {
    cz_head *head;
    cz_objective objective;
    cz_meta *meta[MODES];
    size_t first[IMAGES + 1];
    cz_meta_task task[TASKS];
    cz_score_window *window;
    cz_uncertainty uncertainty;
    float *features[TASKS], *params, *state, *grads, *batch_state;
} workload;

static const cz_meta_gradient modes[MODES] = {CZ_META_OFF, CZ_META_FIRST_ORDER, CZ_META_EXACT};
static const char *const names[MODES] = {"off", "first-order", "exact"};

static cz_task_set part(const workload *w, size_t task, size_t first, size_t images)
{
    return (cz_task_set){.batch = {.patches = images * PATCHES,
                                   .width = D,
                                   .features = w->features[task] + first * PATCHES * D,
                                   .images = images,
                                   .image_first = w->first}};
}

static void make_tasks(workload *w)
{
    for (size_t i = 0; i <= IMAGES; i++) w->first[i] = i * PATCHES;
    for (size_t t = 0; t < TASKS; t++) {
        w->features[t] = random_floats((size_t)IMAGES * PATCHES * D, 0.245f, (uint32_t)t);
        w->task[t] = (cz_meta_task){.support = part(w, t, 0, SUPPORT),
                                    .query = part(w, t, SUPPORT, QUERY),
                                    .all = part(w, t, 0, IMAGES),
                                    .index = (uint32_t)t};
    }
}

static void make(workload *w, cz_precision precision)
{
    cz_head_config config;
    cz_uncertainty_options uncertainty;
    cz_head_config_init(&config);
    config.width = D;
    config.hidden = K;
    config.precision = precision;
    check(cz_head_create("simplenet", &config, &w->head));
    w->params = random_floats(w->head->param_count, 0, 100);
    w->state = random_floats(w->head->state_count, 0, 100);
    w->grads = random_floats(w->head->param_count, 0, 100);
    w->batch_state = random_floats(w->head->state_count, 0, 100);
    cz_head_init(w->head, 1, w->params, w->state);
    cz_objective_init(&w->objective);
    w->objective.contrast_options.chunk = CHUNK;
    make_tasks(w);
    check(cz_score_window_create(WINDOW, &w->window));
    float *scores = random_floats(WINDOW, 1, 101);
    cz_score_window_push(w->window, scores, WINDOW, WINDOW / PATCHES);
    cz_free(scores);
    cz_uncertainty_options_init(&uncertainty);
    check(cz_uncertainty_init(&w->uncertainty, &uncertainty));
    for (int i = 0; i < MODES; i++) {
        cz_meta_options options;
        cz_meta_options_init(&options);
        options.gradient = modes[i];
        check(cz_meta_create(w->head, &w->objective, &options, TASKS, (size_t)IMAGES * PATCHES, IMAGES, &w->meta[i]));
    }
}

static void drop(workload *w)
{
    for (int i = 0; i < MODES; i++) cz_meta_destroy(w->meta[i]);
    for (size_t t = 0; t < TASKS; t++) cz_free(w->features[t]);
    cz_score_window_destroy(w->window);
    cz_head_destroy(w->head);
    cz_free(w->params);
    cz_free(w->state);
    cz_free(w->grads);
    cz_free(w->batch_state);
}

static double step_ms(workload *w, int mode, uint64_t step)
{
    cz_score_window *const windows[] = {w->window};
    cz_meta_report report;
    const cz_meta_call call = {.params = w->params,
                               .tasks = w->task,
                               .count = TASKS,
                               .windows = windows,
                               .uncertainty = &w->uncertainty,
                               .seed = 1,
                               .step = step};
    const double start = cz_now_ms();
    check(cz_meta_step(w->meta[mode], &call, w->grads, w->batch_state, &report));
    return cz_now_ms() - start;
}

int main(int argc, char **argv)
{
    const size_t threads = argc > 1 ? strtoul(argv[1], NULL, 10) : cz_threads_available();
    size_t runs = argc > 2 ? strtoul(argv[2], NULL, 10) : 5;
    double times[MODES][MOST], medians[MODES];
    static workload w;
    cz_threads_scope scope;
    if (runs < 1 || runs > MOST) runs = 5;
    check(cz_threads_enter(threads, &scope));
    make(&w, argc > 3 && strcmp(argv[3], "bf16") == 0 ? CZ_PRECISION_BF16 : CZ_PRECISION_FP32);
    printf("threads %zu, T %d, %d + %d images x %d patches, D %d, K %d, S 1, medians of %zu\n", threads, (int)TASKS,
           (int)SUPPORT, (int)QUERY, (int)PATCHES, (int)D, (int)K, runs);
    for (int mode = 0; mode < MODES; mode++) step_ms(&w, mode, 0); /* first touches of memory, generated code */
    for (size_t run = 0; run < runs; run++)
        for (int mode = 0; mode < MODES; mode++) times[mode][run] = step_ms(&w, mode, 1 + run);
    for (int mode = 0; mode < MODES; mode++) {
        medians[mode] = median(times[mode], runs);
        printf("%-12s %9.1f ms  %6.1f GFLOP/s\n", names[mode], medians[mode], 1e3 * gflop(modes[mode]) / medians[mode]);
    }
    printf("exact / first-order %.2f (bar 3.2)\n", medians[2] / medians[1]);
    drop(&w);
    cz_threads_leave(&scope);
    return 0;
}
