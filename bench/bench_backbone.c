/* SPDX-License-Identifier: Apache-2.0 */
/* Milliseconds per image of the backbone alone. Usage: bench_backbone [ARCHITECTURE [SIDE]] */
#include "backbone/backbone.h"
#include "engine/engine.h"
#include "util/alloc.h"
#include "util/rng.h"
#include "util/threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { RUNS = 9 };

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static cz_status measure(const cz_backbone *b, size_t side, size_t batch, size_t threads)
{
    cz_status status = CZ_OK;
    cz_plan *plan = NULL;
    double ms[RUNS];
    const cz_plan_options options = {"layer2,layer3", batch, side, side, threads, CZ_PRECISION_FP32, NULL, false};
    const size_t count = batch * side * side * 3;
    float *input = cz_alloc_array(count, sizeof *input);
    if (!input) return CZ_E_MEMORY;
    for (size_t i = 0; i < count; i++) input[i] = 2 * cz_hash_uniform(1, i);
    const double begun = cz_now_ms();
    CZ_TRY(cz_plan_create(b, &options, &plan));
    const double created = cz_now_ms();
    CZ_TRY(cz_plan_run(plan, input)); /* warm-up */
    for (size_t i = 0; i < RUNS; i++) {
        const double start = cz_now_ms();
        CZ_TRY(cz_plan_run(plan, input));
        ms[i] = (cz_now_ms() - start) / (double)batch;
    }
    qsort(ms, RUNS, sizeof *ms, ascending);
    printf("batch %zu, %zu thread%s: median %7.2f ms, best %7.2f ms an image, %6.1f GFLOP/s; plan %.0f ms, %.0f MB\n",
           batch, threads, threads > 1 ? "s" : "", ms[RUNS / 2], ms[0],
           cz_backbone_flops(b, "layer3", side, side) / ms[RUNS / 2] * 1e-6, created - begun,
           (double)cz_plan_memory(plan) * 1e-6);
out:
    cz_plan_destroy(plan);
    cz_free(input);
    return status;
}

int main(int argc, char **argv)
{
    cz_backbone *b;
    char engine[100];
    struct rusage usage;
    const char *arch = argc > 1 ? argv[1] : "wide_resnet50_2";
    const size_t side = argc > 2 ? strtoul(argv[2], NULL, 10) : 256, most = cz_threads_available();
    cz_engine_describe(engine, sizeof engine);
    cz_status status = cz_backbone_random(arch, 1, &b);
    if (status == CZ_OK) {
        printf("%s, stem to layer3, %zu x %zu, %.2f GFLOP an image, fp32 direct; %s\n", arch, side, side,
               cz_backbone_flops(b, "layer3", side, side) * 1e-9, engine);
        for (size_t batch = 1; batch <= 8 && status == CZ_OK; batch += 7)
            for (size_t threads = 1; threads <= 2 && threads <= most && status == CZ_OK; threads++)
                status = measure(b, side, batch, threads);
        cz_backbone_close(b);
    }
    if (status != CZ_OK) {
        fprintf(stderr, "bench_backbone: %s\n", cz_last_error());
        return 1;
    }
    (void)getrusage(RUSAGE_SELF, &usage);
    printf("peak memory %.0f MB\n", (double)usage.ru_maxrss * 1024e-6);
    return 0;
}
