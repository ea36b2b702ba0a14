/* SPDX-License-Identifier: Apache-2.0 */
/* What happened: counted for Prometheus, kept in a history, passed on to sinks. Sinks have a thread and a bounded queue each: a slow or
 * dead one loses its own events (counted, logged once a minute) and never holds up an answer. Any thread. */
#ifndef SV_EVENTS_H
#define SV_EVENTS_H

#include "pool.h"

#include <jansson.h>

typedef struct sv_events sv_events;

typedef struct sv_scored {
    double wall;
    const char *model, *version, *name; /* `name`: what the client called the image, "" */
    const char *client, *route;
    const sv_outcome *outcome;
} sv_scored;

cz_status sv_events_open(const sv_settings *settings, sv_events **out);
/* Also for an image that failed: counted, except one that was cancelled; only results are kept and passed on. */
void sv_events_scored(sv_events *e, const sv_scored *s);
/* An sv_http_observer. */
void sv_events_answered(void *ctx, const char *route, const char *method, const char *path, int status,
                        double milliseconds, size_t in, size_t out);
/* Drift of a model's recent scores against its calibration (cz_measure_drift over the last 500 of this version, from 100 on; p-value below
 * 0.01): -1 unknown, 0, 1. sv_events_metrics shows what was measured last, so its caller asks this for each loaded model before. */
int sv_events_drift(sv_events *e, const sv_model *model);
/* Text format 0.0.4 of Prometheus: requests by route and status, latency histogram by route, queue, batch sizes, scores histogram by model,
 * decisions, drift flag, models loaded, connections, jobs, sink losses, resident memory. free(). */
char *sv_events_metrics(sv_events *e, const sv_pool_state *pool, size_t connections, size_t models,
                        size_t jobs_running);
/* The history's latest rows that fit, newest first: {"rows": [{"id", "time", "model", "version", "name", "score", "p_value", "threshold",
 * "decision", "client", "route"}…], "total", "complete"}; from memory (the last 1000) without --history. A new reference; NULL: a failure.
 * "time" as sv_time_text; "decision" "normal", "anomalous" or null; a figure that is not known is null. "total": rows that fit, null where
 * counting takes too long; "complete" false: the search was given up after two seconds, there may be more. `model`, `text`: NULL or "" for all;
 * `text`: part of the name or the model, any case; `decision` -2 for all. `before`: rows with a smaller id, 0: from the newest. */
json_t *sv_events_history(sv_events *e, const char *model, const char *text, int decision, uint64_t before,
                          size_t most);
/* The same rows as CSV (RFC 4180; no cell begins a formula). free(); NULL: a failure, also where it would take over thirty seconds. */
char *sv_events_history_csv(sv_events *e, const char *model, const char *text, int decision, size_t most);
/* Hands over what waits, at most `seconds`. */
void sv_events_close(sv_events *e, double seconds);

#endif
