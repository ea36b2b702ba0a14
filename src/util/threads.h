/* SPDX-License-Identifier: Apache-2.0 */
/* Thread counts. oneDNN bakes the OpenMP thread count into a primitive when it is created, so the same count is set
 * before create and before execute, and the caller's own setting is put back afterwards. */
#ifndef CZ_UTIL_THREADS_H
#define CZ_UTIL_THREADS_H

#include "util/status.h"

typedef struct cz_threads_scope {
    int saved;
} cz_threads_scope;

/* Processors that this process may run on (its affinity mask), at least 1. */
size_t cz_threads_available(void);
/* `threads` 0 means all available. CZ_E_ARG inside an OpenMP parallel region. Pair with cz_threads_leave. */
cz_status cz_threads_enter(size_t threads, cz_threads_scope *scope);
void cz_threads_leave(const cz_threads_scope *scope);
/* Monotonic clock in milliseconds. */
double cz_now_ms(void);

#endif
