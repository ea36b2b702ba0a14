/* SPDX-License-Identifier: Apache-2.0 */
/* One line an event on stderr: "2026-11-22T08:15:30.123Z info request method=POST path=/score status=200 ms=31.2", or one JSON object.
 * Values are escaped: no byte from outside can begin a line. Any thread. */
#ifndef SV_LOG_H
#define SV_LOG_H

#include "server.h"

typedef enum sv_level { SV_DEBUG, SV_INFO, SV_WARN, SV_ERROR } sv_level;

void sv_log_setup(bool json, sv_level lowest);
/* `format` makes "key=value" pairs' values in turn: sv_log(SV_INFO, "request", "method", "%s", m, "ms", "%.1f", t, NULL). Pairs of key
 * and printf format with exactly one conversion: %s, %d, %zu, %u, %.Nf, %" PRIu64 " or %ld. A value NULL of %s is "". */
void sv_log(sv_level level, const char *event, ...) __attribute__((sentinel));

#endif
