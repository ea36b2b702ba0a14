/* SPDX-License-Identifier: Apache-2.0 */
#include "util/threads.h"

#include <omp.h>
#include <sched.h>
#include <time.h>

size_t cz_threads_available(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        const int count = CPU_COUNT(&set);
        if (count > 0) return (size_t)count;
    }
    return 1;
}

cz_status cz_threads_enter(size_t threads, cz_threads_scope *scope)
{
    scope->saved = 0;
    if (omp_in_parallel()) return cz_fail(CZ_E_ARG, "called from inside an OpenMP parallel region");
    if (threads == 0) threads = cz_threads_available();
    if (threads > 1024) return cz_fail(CZ_E_ARG, "%zu threads are more than 1024", threads);
    scope->saved = omp_get_max_threads();
    omp_set_num_threads((int)threads);
    return CZ_OK;
}

void cz_threads_leave(const cz_threads_scope *scope)
{
    if (scope->saved > 0) omp_set_num_threads(scope->saved);
}

double cz_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}
