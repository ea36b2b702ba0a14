/* SPDX-License-Identifier: Apache-2.0 */
/* Status codes with one thread-local message: set where a failure is detected, never overwritten on the way up. */
#ifndef CZ_UTIL_STATUS_H
#define CZ_UTIL_STATUS_H

#include "cozad/cozad.h"

/* Records the message unless one is already there, and returns `status`. One line, no newline at its end. Control
 * characters from outside (file names) are replaced by '?'. */
cz_status cz_fail(cz_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Every public entry point calls this first. */
void cz_error_clear(void);
/* Puts "prefix: " before the message that is there (a file's name before a parser's reason). */
cz_status cz_fail_prefix(cz_status status, const char *prefix);

/* Inside a function with `cz_status status` and the label `out`. */
#define CZ_TRY(expression)                                                                                             \
    do {                                                                                                               \
        status = (expression);                                                                                         \
        if (status != CZ_OK) goto out;                                                                                 \
    } while (0)

#endif
