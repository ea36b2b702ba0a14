/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Milliseconds of one SimpleNet training step and of composed scoring, beside the matrix products alone in the same run,
 * and of a Hessian-vector product beside the forward and backward passes that it follows.
 * Shapes: training 2048 patches (16 images x 128), D 1536, K 1024; Hessian-vector product 1408 patches (a task's support
 * set, 11 images x 128); scoring layer2 32x32x512 + layer3 16x16x1024, in each precision.
 *   bench_head [THREADS [scoring]]
 */
#include "calibrate/score_map.h"
#include "common.h"
#include "engine/engine.h"
#include "heads/compose.h"
#include "heads/head.h"
#include "optim/adam.h"
#include "tensor/dtype.h"
#include "util/alloc.h"
#include "util/rng.h"
#include "util/threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { P = 2048, SUPPORT = 1408, D = 1536, K = 1024, RUNS = 9 };

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

/* Maps as out of a ReLU: two thirds of the values are 0. */
static uint16_t *random_maps(size_t count, uint64_t seed)
{
    uint16_t *maps = cz_alloc_array(count, sizeof *maps);
    if (!maps) check(CZ_E_MEMORY);
    for (size_t i = 0; i < count; i++) {
        const float v = cz_hash_uniform(seed, i) - 0.3f;
        maps[i] = cz_f32_to_bf16(v > 0 ? 3 * v : 0);
    }
    return maps;
}

/* The head's matrix products by themselves, in blocks of `rows` as it makes them. */
static double products_alone(cz_precision precision, size_t rows, size_t threads)
{
    const size_t size = precision == CZ_PRECISION_INT8 ? 1 : precision == CZ_PRECISION_BF16 ? 2 : 4;
    float *b = random_floats((size_t)K * D / 2, 0.03f), *c = random_floats(rows * K, 0);
    char *a = cz_calloc((size_t)1280 * D / 2, size);
    if (!a) check(CZ_E_MEMORY);
    const cz_matmul_desc desc = {rows, K, D / 2, b, true, NULL, threads, precision, 255};
    cz_matmul *mm;
    double times[RUNS];
    check(cz_engine_matmul_create(&desc, &mm));
    for (int run = 0; run < RUNS; run++) {
        const double start = cz_now_ms();
        for (size_t row = 0; row < 1280; row += rows) check(cz_engine_matmul_run(mm, a + row * (D / 2) * size, c));
        times[run] = cz_now_ms() - start;
    }
    cz_engine_matmul_destroy(mm);
    cz_free(a);
    cz_free(b);
    cz_free(c);
    return median(times);
}

static void bench_scoring(const cz_composition *composition, cz_precision precision, size_t images, size_t threads)
{
    const cz_tap_shape taps[2] = {{512, 32, 32}, {1024, 16, 16}};
    const cz_composed_options options = {taps, images, threads, precision};
    uint16_t *maps[2] = {random_maps(images * 32 * 32 * 512, 1), random_maps(images * 16 * 16 * 1024, 2)};
    float *scores = random_floats(images * 1024, 0);
    cz_pooler *pooler;
    cz_composed *composed;
    check(cz_pooler_create(taps, 2, D, 3, &pooler));
    check(cz_composed_create(composition, pooler, &options, &composed));
    double pool[RUNS], score[RUNS];
    for (int run = 0; run < RUNS; run++) {
        const double start = cz_now_ms();
        check(cz_composed_pool(composed, (const uint16_t *const *)maps, images, 1));
        const double middle = cz_now_ms();
        check(cz_composed_scores(composed, scores));
        score[run] = cz_now_ms() - middle;
        pool[run] = middle - start;
    }
    const double head_ms = median(score), gflop = 2e-9 * (double)images * K * (1024.0 * 768 + 256.0 * 768);
    printf("composed, %-4s %zu images %7.2f ms  %.1f GFLOP/s  products alone %.2f ms an image  pooling %.2f ms\n",
           cz_precision_name(precision), images, head_ms, 1e3 * gflop / head_ms,
           products_alone(precision, 128, threads), median(pool));
    cz_composed_destroy(composed);
    cz_pooler_destroy(pooler);
    cz_free(maps[0]);
    cz_free(maps[1]);
    cz_free(scores);
}

/* 32 x 32 patches -> 256 x 256 -> `side` x `side` */
static void bench_map(size_t side)
{
    float *scores = random_floats(1024, 1), *small = random_floats((size_t)256 * 256, 0);
    float *large = random_floats(side * side, 0);
    const double step = (double)side / 256;
    const cz_geometry g = {side, side, {0, 0, side, side}, 0, 0, 256, 256, step / 2 - 0.5, step / 2 - 0.5, step, step};
    cz_score_map *m;
    cz_prep prep;
    double input[RUNS], original[RUNS];
    check(cz_score_map_create(32, 32, 256, 256, &m));
    check(cz_prep_init(256, 256, CZ_FIT_SQUASH, 0, NULL, NULL, &prep));
    for (int run = 0; run < RUNS; run++) {
        const double start = cz_now_ms();
        cz_score_map_input(m, scores, small);
        const double middle = cz_now_ms();
        check(cz_score_map_original_rows(m, scores, &prep, &g, 0, side, large));
        original[run] = cz_now_ms() - middle;
        input[run] = middle - start;
    }
    printf("map             %8.2f ms  256 x 256;  %.2f ms  %zu x %zu (with the first step)\n", median(input),
           median(original), side, side);
    cz_score_map_destroy(m);
    cz_prep_free(&prep);
    cz_free(scores);
    cz_free(small);
    cz_free(large);
}

static void bench_composed(const cz_head *head, size_t threads)
{
    static const cz_precision precisions[] = {CZ_PRECISION_FP32, CZ_PRECISION_BF16, CZ_PRECISION_INT8};
    float *params = random_floats(head->param_count, 0), *state = random_floats(head->state_count, 0);
    cz_composition composition;
    cz_head_init(head, 1, params, state);
    check(cz_head_compose(head, params, state, &composition));
    for (size_t i = 0; i < 3; i++) {
        if (precisions[i] != CZ_PRECISION_FP32 && !cz_engine_native(precisions[i])) continue;
        bench_scoring(&composition, precisions[i], 1, threads);
        bench_scoring(&composition, precisions[i], 8, threads);
    }
    cz_composition_free(&composition);
    cz_free(params);
    cz_free(state);
}

int main(int argc, char **argv)
{
    const size_t threads = argc > 1 ? strtoul(argv[1], NULL, 10) : cz_threads_available();
    const bool scoring_only = argc > 2 && strcmp(argv[2], "scoring") == 0;
    cz_threads_scope scope;
    cz_head_config config;
    cz_head *head;
    check(cz_threads_enter(threads, &scope));
    cz_head_config_init(&config);
    check(cz_head_create("simplenet", &config, &head));
    printf("threads %zu, P %d, D %d, K %d, medians of %d\n", threads, (int)P, (int)D, (int)K, (int)RUNS);
    if (!scoring_only) bench_training(head);
    if (!scoring_only) bench_second_order(head);
    bench_composed(head, threads);
    bench_map(256);
    bench_map(1024);
    cz_head_destroy(head);
    cz_threads_leave(&scope);
    return 0;
}
