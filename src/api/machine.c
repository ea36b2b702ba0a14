/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine.h"
#include "util/alloc.h"
#include "util/threads.h"

cz_status cz_machine_gflops(size_t threads, cz_precision precision, double *out)
{
    (void)precision;
    enum { SIZE = 1536, RUNS = 9 };
    cz_error_clear();
    cz_status status = CZ_OK;
    cz_threads_scope scope = {0};
    const size_t count = (size_t)SIZE * SIZE;
    float *a = cz_alloc_array(count, sizeof *a), *b = cz_alloc_array(count, sizeof *b),
          *c = cz_alloc_array(count, sizeof *c);
    double best = 0.0;
    if (a == NULL || b == NULL || c == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    CZ_TRY(cz_threads_enter(threads, &scope));
    for (size_t i = 0; i < count; i++) a[i] = b[i] = (float)(i % 17) * 0.0625f - 0.5f;
    for (int run = 0; run < RUNS; run++) {
        const double start = cz_now_ms();
        CZ_TRY(cz_engine_sgemm(false, false, SIZE, SIZE, SIZE, 1.0f, a, SIZE, b, SIZE, 0.0f, c, SIZE));
        const double rate = 2.0 * SIZE * SIZE * SIZE / ((cz_now_ms() - start) * 1e6);
        if (rate > best) best = rate;
    }
    *out = best;
out:
    cz_threads_leave(&scope);
    cz_free(a);
    cz_free(b);
    cz_free(c);
    return status;
}
