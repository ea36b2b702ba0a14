/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One SimpleNet training step (16 images x 1,024 patches, true and noised, D 1536, K 1024: forward, backward, Adam) in fp32
 * and bf16: milliseconds, GFLOP/s and the share of the peak: what one large matrix product reaches between the steps, in the same precision; the
 * median over the rounds of the best of three, so that step and peak see the same load.
 * Random features: time does not depend on them. bench/reference/train_torch.py is the same step in PyTorch,
 * bench/train_step.sh runs both in turn.
 * Usage: bench_train [THREADS [RUNS [fp32|bf16|both]]]
 */
#include "common.h"
#include "engine/engine.h"
#include "heads/head.h"
#include "optim/adam.h"
#include "tensor/bf16.h"
#include "util/alloc.h"
#include "util/rng.h"
#include "util/threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { P = 16 * 1024, D = 1536, K = 1024, MOST = 64, PEAK_M = 4096, PEAK_N = 1536, PEAK_K = 1536 };

static double median(double *times, size_t count)
{
    qsort(times, count, sizeof *times, compare);
    return count % 2 ? times[count / 2] : (times[count / 2 - 1] + times[count / 2]) / 2;
}

/* Matrix products that a step must do: the gradients of q and q- are added before they go on. */
static double step_gflop(void)
{
    return 2e-9 * P * (2.0 * D * D + 5.0 * K * D);
}

/* A product as good as any for the engine: GFLOP/s of one run. */
typedef struct peak {
    float *a, *b, *c;
    uint16_t *narrow;
    cz_gemm *gemm;
} peak;

static double peak_gflops(peak *p, bool bf16)
{
    const double start = cz_now_ms();
    if (bf16) {
        const cz_gemm_desc desc = {.m = PEAK_M,
                                   .n = PEAK_N,
                                   .k = PEAK_K,
                                   .alpha = 1,
                                   .a = {p->narrow, PEAK_K, false, true},
                                   .b = {p->b, PEAK_K, true, false},
                                   .c = p->c,
                                   .ldc = PEAK_N};
        check(cz_engine_gemm(p->gemm, &desc));
    } else {
        check(cz_engine_sgemm(false, true, PEAK_M, PEAK_N, PEAK_K, 1, p->a, PEAK_K, p->b, PEAK_K, 0, p->c, PEAK_N));
    }
    return 2e-6 * PEAK_M * PEAK_N * PEAK_K / (cz_now_ms() - start);
}

typedef struct trainer {
    cz_head *head;
    float *params, *state, *statistics, *grads;
    cz_head_work *work;
    cz_adam adam;
    cz_adam_group groups[CZ_HEAD_MAX_GROUPS];
} trainer;

static void trainer_make(trainer *t, cz_precision precision)
{
    cz_head_config config;
    cz_head_config_init(&config);
    config.width = D;
    config.hidden = K;
    config.precision = precision;
    check(cz_head_create("simplenet", &config, &t->head));
    t->params = random_floats(t->head->param_count, 0);
    t->grads = random_floats(t->head->param_count, 0);
    t->state = random_floats(t->head->state_count, 0);
    t->statistics = random_floats(t->head->state_count, 0);
    cz_head_init(t->head, 1, t->params, t->state);
    check(cz_head_work_create(t->head, P, &t->work));
    check(cz_adam_init(t->head->param_count, &t->adam));
    for (size_t i = 0; i < t->head->groups; i++) {
        const cz_head_group *g = &t->head->group[i];
        t->groups[i] = (cz_adam_group){g->first, g->count, g->lr, g->decay, g->decoupled};
    }
}

static void trainer_free(trainer *t)
{
    cz_head_work_destroy(t->work);
    cz_adam_free(&t->adam);
    float *const all[] = {t->params, t->grads, t->state, t->statistics};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) cz_free(all[i]);
    cz_head_destroy(t->head);
}

/* Milliseconds of forward, backward and optimiser, added up in out[3]. */
static double step_ms(trainer *t, const float *o, uint64_t step, double parts[3])
{
    const cz_batch batch = {.patches = P, .width = D, .features = o, .images = 16};
    const cz_head_noise noise = {.seed = 1, .step = step};
    double loss;
    const double start = cz_now_ms();
    check(cz_head_forward(t->head, t->params, &batch, &noise, t->work));
    check(cz_head_loss(t->head, &batch, t->work, &loss));
    const double middle = cz_now_ms();
    cz_head_batch_state(t->head, t->work, t->statistics);
    check(cz_head_backward(t->head, t->params, &batch, NULL, t->work, t->grads));
    const double late = cz_now_ms();
    cz_adam_step(&t->adam, t->groups, t->head->groups, t->params, t->grads);
    cz_head_state_update(t->head, t->state, t->statistics);
    const double end = cz_now_ms();
    parts[0] = middle - start;
    parts[1] = late - middle;
    parts[2] = end - late;
    return end - start;
}

static void bench(cz_precision precision, size_t runs, const float *o, peak *p)
{
    const bool bf16 = precision == CZ_PRECISION_BF16;
    double total[MOST], part[3][MOST], parts[3], peaks[MOST];
    trainer t;
    trainer_make(&t, precision);
    step_ms(&t, o, 0, parts); /* first touches of memory, generated code */
    for (size_t run = 0; run < runs; run++) {
        peaks[run] = 0;
        for (int i = 0; i < 3; i++) {
            const double now = peak_gflops(p, bf16);
            if (now > peaks[run]) peaks[run] = now;
        }
        total[run] = step_ms(&t, o, 1 + run, parts);
        for (int i = 0; i < 3; i++) part[i][run] = parts[i];
    }
    const double ms = median(total, runs), rate = 1e3 * step_gflop() / ms, best = median(peaks, runs);
    printf("%s %9.1f ms  %7.1f GFLOP/s  %5.1f %% of the peak %.1f  (forward %.1f, backward %.1f, adam %.1f, fastest "
           "%.1f)\n",
           bf16 ? "bf16" : "fp32", ms, rate, 100 * rate / best, best, median(part[0], runs), median(part[1], runs),
           median(part[2], runs), total[0]);
    trainer_free(&t);
}

int main(int argc, char **argv)
{
    const size_t threads = argc > 1 ? strtoul(argv[1], NULL, 10) : cz_threads_available();
    size_t runs = argc > 2 ? strtoul(argv[2], NULL, 10) : 7;
    const char *which = argc > 3 ? argv[3] : "both";
    cz_threads_scope scope;
    peak p;
    if (runs < 1 || runs > MOST) runs = 7;
    check(cz_threads_enter(threads, &scope));
    float *o = random_floats((size_t)P * D, 0.245f);
    p.a = random_floats((size_t)PEAK_M * PEAK_K, 1);
    p.b = random_floats((size_t)PEAK_N * PEAK_K, 1);
    p.c = random_floats((size_t)PEAK_M * PEAK_N, 0);
    p.narrow = cz_alloc_array((size_t)PEAK_M * PEAK_K, sizeof *p.narrow);
    if (!p.narrow) check(CZ_E_MEMORY);
    cz_bf16_round(p.a, (size_t)PEAK_M * PEAK_K, p.narrow);
    check(cz_engine_gemm_create(&p.gemm));
    printf("threads %zu, P %d, D %d, K %d, %.0f GFLOP a step, medians of %zu\n", threads, (int)P, (int)D, (int)K,
           step_gflop(), runs);
    if (strcmp(which, "bf16") != 0) bench(CZ_PRECISION_FP32, runs, o, &p);
    if (strcmp(which, "fp32") != 0) bench(CZ_PRECISION_BF16, runs, o, &p);
    cz_engine_gemm_destroy(p.gemm);
    cz_free(o);
    cz_free(p.a);
    cz_free(p.b);
    cz_free(p.c);
    cz_free(p.narrow);
    cz_threads_leave(&scope);
    return 0;
}
