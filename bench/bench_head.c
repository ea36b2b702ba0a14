/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Milliseconds of one SimpleNet training step and of composed scoring, beside the matrix products alone in the same run,
 * and of a Hessian-vector product beside the forward and backward passes that it follows.
 * Shapes: training 2048 patches (16 images x 128), D 1536, K 1024; Hessian-vector product 1408 patches (a task's support
 * set, 11 images x 128); scoring layer2 32x32x512 + layer3 16x16x1024.
 */
#include "engine/engine.h"
#include "heads/compose.h"
#include "heads/head.h"
#include "optim/adam.h"
#include "util/alloc.h"
#include "util/rng.h"
#include "util/threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { P = 2048, SUPPORT = 1408, D = 1536, K = 1024, RUNS = 9 };

static void check(cz_status status)
{
    if (status == CZ_OK) return;
    fprintf(stderr, "bench_head: %s\n", cz_last_error());
    exit(1);
}

static float *random_floats(size_t count, float std)
{
    float *values = cz_alloc_array(count, sizeof *values);
    if (!values) check(CZ_E_MEMORY);
    cz_rng rng;
    cz_rng_init(&rng, 1, CZ_RNG_TEST, 0, 0);
    cz_rng_normal_fill(&rng, 0, values, count, std);
    return values;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *times)
{
    qsort(times, RUNS, sizeof *times, compare);
    return times[RUNS / 2];
}

/* The five products of a step, same shapes; timed between steps, so that both see the same load of the machine. */
static double products(const float *o, float *wide, float *z, float *weights)
{
    cz_rng rng; /* plausible values: each run overwrites them */
    cz_rng_init(&rng, 2, CZ_RNG_TEST, 0, 0);
    cz_rng_normal_fill(&rng, 0, wide, (size_t)2 * P * D, 0.2f);
    cz_rng_normal_fill(&rng, 0, weights, (size_t)D * D, 0.02f);
    const double start = cz_now_ms();
    check(cz_engine_sgemm(false, true, P, D, D, 1, o, D, weights, D, 0, wide, D));
    check(cz_engine_sgemm(false, true, 2 * P, K, D, 1, wide, D, weights, D, 0, z, K));
    check(cz_engine_sgemm(true, false, K, D, 2 * P, 1, z, K, wide, D, 0, weights, D));
    check(cz_engine_sgemm(false, false, P, D, K, 1, z, K, weights, D, 0, wide, D));
    check(cz_engine_sgemm(true, false, D, D, P, 1, wide, D, o, D, 0, weights, D));
    return cz_now_ms() - start;
}

static void bench_training(const cz_head *head)
{
    float *params = random_floats(head->param_count, 0.02f), *state = random_floats(head->state_count, 1);
    float *grads = random_floats(head->param_count, 0), *o = random_floats((size_t)P * D, 0.25f);
    float *statistics = random_floats(head->state_count, 1), *wide = random_floats((size_t)2 * P * D, 0.2f);
    float *z = random_floats((size_t)2 * P * K, 0.2f), *weights = random_floats((size_t)D * D, 0.02f);
    cz_head_work *work;
    cz_adam adam;
    cz_adam_group groups[CZ_HEAD_MAX_GROUPS];
    cz_head_init(head, 1, params, state);
    check(cz_head_work_create(head, P, &work));
    check(cz_adam_init(head->param_count, &adam));
    for (size_t i = 0; i < head->groups; i++) {
        const cz_head_group *g = &head->group[i];
        groups[i] = (cz_adam_group){g->first, g->count, g->lr, g->decay, g->decoupled};
    }
    const cz_batch batch = {.patches = P, .width = D, .features = o, .images = 16};
    double total[RUNS], forward[RUNS], backward[RUNS], optimiser[RUNS], noise[RUNS], gemms[RUNS];
    for (uint64_t run = 0; run < RUNS; run++) {
        const cz_head_noise draw = {.seed = 1, .step = run};
        const double start = cz_now_ms();
        check(cz_head_forward(head, params, &batch, &draw, work));
        const double middle = cz_now_ms();
        check(cz_head_backward(head, params, &batch, NULL, work, grads));
        cz_head_batch_state(head, work, statistics);
        cz_head_state_update(head, state, statistics);
        const double late = cz_now_ms();
        cz_adam_step(&adam, groups, head->groups, params, grads);
        const double end = cz_now_ms();
        cz_rng rng;
        cz_rng_init(&rng, 1, CZ_RNG_NOISE, run, 0);
        cz_rng_normal_fill(&rng, 0, wide, (size_t)P * D, 0.015f);
        noise[run] = cz_now_ms() - end;
        gemms[run] = products(o, wide, z, weights);
        forward[run] = middle - start;
        backward[run] = late - middle;
        optimiser[run] = end - late;
        total[run] = end - start;
    }
    const double gemm = median(gemms), step = median(total);
    const double gflop = 2e-9 * P * ((double)D * D * 2 + (double)K * D * 5);
    printf("training step   %8.2f ms  forward %.2f  backward %.2f  adam %.2f  (noise alone %.2f)\n", step,
           median(forward), median(backward), median(optimiser), median(noise));
    printf("products alone  %8.2f ms  %.1f GFLOP/s  %.1f %% of the step\n", gemm, 1e3 * gflop / gemm,
           100 * gemm / step);
    cz_head_work_destroy(work);
    cz_adam_free(&adam);
    float *const all[] = {params, state, grads, o, statistics, wide, z, weights};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) cz_free(all[i]);
}

/* Counted in products of P x K x D: forward and backward 8, tangent and hessian 11 with D = 1.5 K. */
static void bench_second_order(const cz_head *head)
{
    float *params = random_floats(head->param_count, 0.02f), *state = random_floats(head->state_count, 1);
    float *grads = random_floats(head->param_count, 0), *out = random_floats(head->param_count, 0);
    float *direction = random_floats(head->param_count, 0.01f), *o = random_floats((size_t)SUPPORT * D, 0.25f);
    float *moved = random_floats((size_t)SUPPORT * D, 0), *dq = random_floats((size_t)SUPPORT * D, 1e-5f);
    cz_head_work *plain, *keep;
    cz_head_init(head, 1, params, state);
    check(cz_head_work_create(head, SUPPORT, &plain));
    check(cz_head_work_create(head, SUPPORT, &keep));
    check(cz_head_work_second_order(keep));
    const cz_batch batch = {.patches = SUPPORT, .width = D, .features = o, .images = 11};
    double first[RUNS], kept[RUNS], tangent[RUNS], hessian[RUNS], second[RUNS];
    for (uint64_t run = 0; run < RUNS; run++) {
        const cz_head_noise draw = {.seed = 1, .step = run};
        const double start = cz_now_ms();
        check(cz_head_forward(head, params, &batch, &draw, plain));
        check(cz_head_backward(head, params, &batch, dq, plain, grads));
        const double middle = cz_now_ms();
        check(cz_head_forward(head, params, &batch, &draw, keep));
        check(cz_head_backward(head, params, &batch, dq, keep, grads));
        const double late = cz_now_ms();
        check(cz_head_tangent(head, params, &batch, direction, keep, moved));
        const double moving = cz_now_ms();
        check(cz_head_hessian(head, params, &batch, direction, dq, dq, keep, out));
        const double end = cz_now_ms();
        first[run] = middle - start;
        kept[run] = late - middle;
        tangent[run] = moving - late;
        hessian[run] = end - moving;
        second[run] = end - late;
    }
    const double base = median(first), product = median(second);
    printf("first order     %8.2f ms  forward + backward, %d patches; keeping %.2f\n", base, (int)SUPPORT,
           median(kept));
    printf("second order    %8.2f ms  tangent %.2f  hessian %.2f  %.2f x first order\n", product, median(tangent),
           median(hessian), product / base);
    cz_head_work_destroy(plain);
    cz_head_work_destroy(keep);
    float *const all[] = {params, state, grads, out, direction, o, moved, dq};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) cz_free(all[i]);
}

static void bench_scoring(const cz_head *head, size_t images, size_t threads)
{
    const cz_tap_shape taps[2] = {{512, 32, 32}, {1024, 16, 16}};
    float *params = random_floats(head->param_count, 0), *state = random_floats(head->state_count, 0);
    float *maps[2] = {random_floats(images * 32 * 32 * 512, 1), random_floats(images * 16 * 16 * 1024, 1)};
    float *scores = random_floats(images * 1024, 0);
    cz_composition composition;
    cz_pooler *pooler;
    cz_composed *composed;
    cz_head_init(head, 1, params, state);
    check(cz_head_compose(head, params, state, &composition));
    check(cz_pooler_create(taps, 2, D, &pooler));
    check(cz_composed_create(&composition, pooler, taps, images, threads, &composed));
    double pool[RUNS], score[RUNS];
    for (int run = 0; run < RUNS; run++) {
        const double start = cz_now_ms();
        check(cz_composed_pool(composed, (const float *const *)maps, images, 1));
        const double middle = cz_now_ms();
        check(cz_composed_scores(composed, scores));
        score[run] = cz_now_ms() - middle;
        pool[run] = middle - start;
    }
    const double head_ms = median(score), gflop = 2e-9 * (double)images * K * (1024.0 * 768 + 256.0 * 768);
    printf("composed, %2zu    %8.2f ms  %.1f GFLOP/s  pooling %.2f ms  (a call of %zu images)\n", images, head_ms,
           1e3 * gflop / head_ms, median(pool), images);
    cz_composed_destroy(composed);
    cz_pooler_destroy(pooler);
    cz_composition_free(&composition);
    float *const all[] = {params, state, maps[0], maps[1], scores};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) cz_free(all[i]);
}

int main(int argc, char **argv)
{
    const size_t threads = argc > 1 ? strtoul(argv[1], NULL, 10) : cz_threads_available();
    cz_threads_scope scope;
    cz_head_config config;
    cz_head *head;
    check(cz_threads_enter(threads, &scope));
    cz_head_config_init(&config);
    check(cz_head_create("simplenet", &config, &head));
    printf("threads %zu, P %d, D %d, K %d, medians of %d\n", threads, (int)P, (int)D, (int)K, (int)RUNS);
    bench_training(head);
    bench_second_order(head);
    bench_scoring(head, 1, threads);
    bench_scoring(head, 8, threads);
    cz_head_destroy(head);
    cz_threads_leave(&scope);
    return 0;
}
