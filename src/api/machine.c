/* SPDX-License-Identifier: Apache-2.0 */
/* What the processor reaches in this library's own matrix products: the yardstick of `cozad bench`. */
#include "engine/engine.h"
#include "util/alloc.h"
#include "util/threads.h"

#include <math.h>
#include <string.h>

/* Shapes that keep the units busy: a square one, one of the head's kind, and two deep ones whose result is small beside what is read,
 * which the fast 8-bit units need. */
typedef struct shape {
    size_t m, n, k;
} shape;
static const shape shapes[] = {{1536, 1536, 1536}, {2048, 1024, 1536}, {1024, 512, 4096}, {2048, 512, 2048}};
enum { SHAPES = sizeof shapes / sizeof *shapes, RUNS_AT_LEAST = 9, RUNS_AT_MOST = 400 };
static const double MS_A_SHAPE = 120.0;

/* Values between -0.5 and 0.5: neither zero nor denormal. */
static float pattern(size_t i)
{
    return (float)(i % 17) * 0.0625f - 0.5f;
}

/* `a` in what the precision takes: floats, their upper halves, or bytes. */
static void *make_left(size_t count, cz_precision precision)
{
    const size_t item = precision == CZ_PRECISION_INT8 ? 1 : precision == CZ_PRECISION_BF16 ? 2 : 4;
    void *a = cz_alloc_array(count, item);
    if (a == NULL) return NULL;
    for (size_t i = 0; i < count; i++) {
        const float value = pattern(i);
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        if (item == 4) ((float *)a)[i] = value;
        if (item == 2) ((uint16_t *)a)[i] = (uint16_t)(bits >> 16); /* the pattern is exact in bf16 */
        if (item == 1) ((uint8_t *)a)[i] = (uint8_t)(i % 251);
    }
    return a;
}

/* The best rate of a product packed once; `a` as make_left makes it. */
static cz_status time_packed(const shape *s, size_t threads, cz_precision precision, double *best)
{
    cz_status status = CZ_OK;
    cz_matmul *mm = NULL;
    void *a = make_left(s->m * s->k, precision);
    float *b = cz_alloc_array(s->k * s->n, sizeof *b), *c = cz_alloc_array(s->m * s->n, sizeof *c);
    if (a == NULL || b == NULL || c == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    for (size_t i = 0; i < s->k * s->n; i++) b[i] = pattern(i);
    const cz_matmul_desc desc = {.m = s->m,
                                 .n = s->n,
                                 .k = s->k,
                                 .b = b,
                                 .threads = threads,
                                 .precision = precision,
                                 .a_range = precision == CZ_PRECISION_INT8 ? 1.0f : 0.0f};
    CZ_TRY(cz_engine_matmul_create(&desc, &mm));
    const double begun = cz_now_ms();
    for (int run = 0; run < RUNS_AT_MOST && (run < RUNS_AT_LEAST || cz_now_ms() - begun < MS_A_SHAPE); run++) {
        const double start = cz_now_ms();
        CZ_TRY(cz_engine_matmul_run(mm, a, c));
        *best = fmax(*best, 2.0 * (double)s->m * (double)s->n * (double)s->k / (fmax(cz_now_ms() - start, 1e-6) * 1e6));
    }
out:
    cz_engine_matmul_destroy(mm);
    cz_free(a);
    cz_free(b);
    cz_free(c);
    return status;
}

cz_status cz_machine_gflops(size_t threads, cz_precision precision, double *out)
{
    cz_error_clear();
    cz_status status = CZ_OK;
    cz_threads_scope scope = {0};
    double best = 0.0;
    if (out == NULL) return cz_fail(CZ_E_ARG, "cz_machine_gflops: a NULL argument");
    if (precision == CZ_PRECISION_FP32_WINOGRAD) precision = CZ_PRECISION_FP32;
    if (precision != CZ_PRECISION_FP32 && precision != CZ_PRECISION_BF16 && precision != CZ_PRECISION_INT8)
        return cz_fail(CZ_E_ARG, "cz_machine_gflops: fp32, bf16 or int8, not %s", cz_precision_name(precision));
    if (threads == 0) threads = cz_threads_available();
    CZ_TRY(cz_threads_enter(threads, &scope));
    for (size_t i = 0; i < SHAPES; i++) CZ_TRY(time_packed(&shapes[i], threads, precision, &best));
    *out = best;
out:
    cz_threads_leave(&scope);
    return status;
}
