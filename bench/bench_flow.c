/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Milliseconds of the flow detector's passes beside SimpleNet's in the same run, both in fp32, alternating.
 * Shapes: 1024 patches, D 1536; SimpleNet K 1024; flow F 256, 8 blocks, subnets 256 wide.
 *   bench_flow [THREADS]
 */
#include "common.h"
#include "heads/head.h"
#include "util/alloc.h"
#include "util/rng.h"
#include "util/threads.h"

#include <stdio.h>
#include <stdlib.h>

enum { P = 1024, D = 1536, RUNS = 7, PARTS = 5 };

typedef struct subject {
    cz_head *head;
    cz_head_work *work;
    float *params, *state, *grads, *direction, *moved, *scores;
    double ms[PARTS][RUNS];
} subject;

static void open_subject(const char *name, const cz_head_config *config, const float *o, subject *s)
{
    check(cz_head_create(name, config, &s->head));
    s->params = random_floats(s->head->param_count, 0);
    s->state = random_floats(s->head->state_count, 0);
    s->grads = random_floats(s->head->param_count, 0);
    s->direction = random_floats(s->head->param_count, 0.01f);
    s->moved = random_floats((size_t)P * D, 0);
    s->scores = random_floats(P, 0);
    cz_head_init(s->head, 1, s->params, s->state);
    if (s->head->ops->pass_first) {
        cz_head_pass *pass;
        check(cz_head_pass_begin(s->head, s->params, &pass));
        check(cz_head_pass_add(s->head, pass, o, P));
        check(cz_head_pass_end(s->head, pass, s->params, s->state));
        cz_head_pass_destroy(s->head, pass);
    }
    check(cz_head_work_create(s->head, P, &s->work));
    check(cz_head_work_second_order(s->work));
}

static void run(subject *s, const cz_batch *batch, size_t run)
{
    const cz_head_noise noise = {.seed = 1, .step = run};
    double at[PARTS + 1];
    at[0] = cz_now_ms();
    check(cz_head_forward(s->head, s->params, batch, &noise, s->work));
    at[1] = cz_now_ms();
    check(cz_head_backward(s->head, s->params, batch, NULL, s->work, s->grads));
    at[2] = cz_now_ms();
    check(cz_head_tangent(s->head, s->params, batch, s->direction, s->work, s->moved));
    at[3] = cz_now_ms();
    check(cz_head_hessian(s->head, s->params, batch, s->direction, NULL, NULL, s->work, s->grads));
    at[4] = cz_now_ms();
    check(cz_head_score(s->head, s->params, s->state, batch->features, P, s->scores));
    at[5] = cz_now_ms();
    for (size_t i = 0; i < PARTS; i++) s->ms[i][run] = at[i + 1] - at[i];
}

static void report(subject *s, double *step)
{
    double median[PARTS];
    for (size_t i = 0; i < PARTS; i++) {
        qsort(s->ms[i], RUNS, sizeof s->ms[i][0], compare);
        median[i] = s->ms[i][RUNS / 2];
    }
    *step = median[0] + median[1];
    printf("%-10s forward %7.2f  backward %7.2f  tangent %7.2f  hessian %7.2f  score %7.2f ms;  %.1f us a patch and "
           "step\n",
           s->head->ops->name, median[0], median[1], median[2], median[3], median[4], 1e3 * *step / P);
}

static void close_subject(subject *s)
{
    float *const all[] = {s->params, s->state, s->grads, s->direction, s->moved, s->scores};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) cz_free(all[i]);
    cz_head_work_destroy(s->work);
    cz_head_destroy(s->head);
}

int main(int argc, char **argv)
{
    const size_t threads = argc > 1 ? (size_t)strtoul(argv[1], NULL, 10) : cz_threads_available();
    static subject simplenet, flow;
    cz_threads_scope scope;
    cz_head_config config;
    double steps[2];
    check(cz_threads_enter(threads, &scope));
    cz_head_config_init(&config);
    float *o = random_floats((size_t)P * D, 0.25f);
    const cz_batch batch = {.patches = P, .width = D, .features = o, .images = 1};
    open_subject("simplenet", &config, o, &simplenet);
    open_subject("flow", &config, o, &flow);
    for (size_t i = 0; i < RUNS; i++) {
        run(&simplenet, &batch, i);
        run(&flow, &batch, i);
    }
    printf("%d patches, D %d, %zu threads\n", P, D, threads);
    report(&simplenet, &steps[0]);
    report(&flow, &steps[1]);
    printf("flow / simplenet, forward and backward: %.2f\n", steps[1] / steps[0]);
    close_subject(&simplenet);
    close_subject(&flow);
    cz_free(o);
    cz_threads_leave(&scope);
    return 0;
}
