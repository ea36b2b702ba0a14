/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of events.h among themselves:
 *
 *   events.c           opens and closes them, hands each result to all
 *   events_text.c      one result as a record, as a JSON line, as CSV
 *   events_queue.c     a sink: bounded queue and thread
 *   events_metrics.c   counters;  events_expose.c: their text for Prometheus
 *   events_history.c   SQLite, written in a sink's thread;  events_query.c: read
 *   events_jsonl.c, events_webhook.c, events_mqtt.c    the other sinks */
#ifndef SV_EVENTS_INTERNAL_H
#define SV_EVENTS_INTERNAL_H

#include "events.h"

#include <stdio.h>

/* ---- a result as a record ------------------------------------------------------------------------------------------ */

/* Texts are valid UTF-8, whatever came from outside. */
typedef struct sv_event {
    uint64_t id;
    double wall;
    char model[SV_NAME], version[17];
    char name[256], client[64], route[32]; /* a longer one ends earlier, at a whole character */
    double score, p_value, threshold;      /* NaN: not known */
    int decision;
} sv_event;

void sv_event_set(sv_event *e, const sv_scored *s);
/* Copies what fits in `size` bytes with the final zero; bytes that are not UTF-8 become U+FFFD. */
void sv_text_copy(char *out, size_t size, const char *text);
/* A new reference; NULL: no memory. With "id" when it is not 0. */
json_t *sv_event_json(const sv_event *e);
enum { SV_LINE = 4096 }; /* longer than any line, and what a pipe takes in one piece */
/* One line of JSON with its newline; its length, 0: no memory. */
size_t sv_event_line(const sv_event *e, char line[SV_LINE]);
void sv_event_csv_head(FILE *f);
void sv_event_csv(FILE *f, const sv_event *e);

/* ---- sinks --------------------------------------------------------------------------------------------------------- */

typedef struct sv_sink sv_sink;

typedef struct sv_sink_kind {
    const char *name; /* in metrics and log lines */
    size_t capacity, batch;
    void (*begin)(void *ctx, sv_sink *sink); /* these run in its thread; NULL: nothing to do */
    /* How many of `count` <= batch were delivered: the others are lost, for the reason of sv_sink_reason. */
    size_t (*deliver)(void *ctx, sv_sink *sink, const sv_event *events, size_t count);
    void (*idle)(void *ctx, sv_sink *sink); /* about once a second while nothing waits */
    void (*release)(void *ctx);             /* last, in its thread or in that of sv_sink_start when it fails */
} sv_sink_kind;

/* Takes `ctx`, also when it fails. */
cz_status sv_sink_start(const sv_sink_kind *kind, void *ctx, bool anomalies_only, sv_sink **out);
void sv_sink_push(sv_sink *s, const sv_event *event);
/* Until what was pushed before is handled, at most `seconds`. */
void sv_sink_flush(sv_sink *s, double seconds);
uint64_t sv_sink_lost(sv_sink *s);
const char *sv_sink_name(const sv_sink *s);
/* It ends when nothing waits, at the latest after `seconds`; what waits then is lost. */
void sv_sink_end(sv_sink *s, double seconds);
/* After sv_sink_end. A thread that hangs in the system is left alone. */
void sv_sink_join(sv_sink *s);
/* For its thread: give up, the server ends. Also tells of losses. */
bool sv_sink_late(sv_sink *s);
/* Sleeps; false: give up. */
bool sv_sink_wait(sv_sink *s, double seconds);
void sv_sink_reason(sv_sink *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

cz_status sv_jsonl_open(const char *path, sv_sink **out);
cz_status sv_webhook_open(const char *url, bool anomalies_only, sv_sink **out);
cz_status sv_mqtt_open(const char *url, bool anomalies_only, sv_sink **out);

/* ---- history ------------------------------------------------------------------------------------------------------- */

enum { SV_HISTORY_ROWS = 1000000, SV_MEMORY_ROWS = 1000 };

typedef struct sv_filter {
    const char *model, *text; /* NULL: all */
    int decision;             /* -2: all */
    uint64_t before;          /* 0: from the newest */
    size_t most;
    double seconds; /* how long a search may take */
} sv_filter;
/* False stops the search. */
typedef bool (*sv_row)(void *ctx, const sv_event *event);

/* Its sink holds at most `rows` rows. */
cz_status sv_history_open(const char *path, uint64_t rows, sv_sink **out);

typedef struct sv_reader sv_reader;
cz_status sv_reader_open(const char *path, sv_reader **out);
void sv_reader_close(sv_reader *r);
/* *complete: false when it took too long. */
cz_status sv_reader_rows(sv_reader *r, const sv_filter *f, sv_row row, void *ctx, bool *complete);
/* Rows that fit, whatever `before` and `most`; -1: it took too long. */
cz_status sv_reader_count(sv_reader *r, const sv_filter *f, int64_t *total);

/* The latest results without a database. */
typedef struct sv_memory sv_memory;
cz_status sv_memory_open(sv_memory **out);
void sv_memory_close(sv_memory *m);
void sv_memory_push(sv_memory *m, const sv_event *event);
cz_status sv_memory_rows(sv_memory *m, const sv_filter *f, sv_row row, void *ctx, int64_t *total);

/* ---- metrics ------------------------------------------------------------------------------------------------------- */

enum {
    SV_LATENCY_BUCKETS = 11,
    SV_SCORE_BUCKETS = 27,
    SV_LARGEST_BATCH = 256,
    SV_ROUTES = 64,
    SV_SERIES = 2048, /* of requests */
    SV_METRIC_MODELS = 256,
    SV_RECENT = 500, /* scores that drift is measured over */
    SV_RECENT_LEAST = 100
};
extern const double sv_latency_bounds[SV_LATENCY_BUCKETS];
extern const double sv_score_bounds[SV_SCORE_BUCKETS];

typedef struct sv_route_counts {
    char name[32];
    uint64_t buckets[SV_LATENCY_BUCKETS + 1]; /* not cumulative; the last: above all */
    double sum;
} sv_route_counts;

typedef struct sv_request_count {
    size_t route; /* index */
    size_t method;
    int status;
    uint64_t count;
} sv_request_count;

typedef struct sv_model_counts {
    char name[SV_NAME];
    uint64_t decisions[3]; /* unknown, normal, anomalous */
    uint64_t failed;
    uint64_t buckets[SV_SCORE_BUCKETS + 1];
    double sum;
    int drift;
} sv_model_counts;

/* What is counted at one moment. */
typedef struct sv_counts {
    sv_route_counts routes[SV_ROUTES + 1]; /* the first: all that found no place */
    size_t route_count;
    sv_request_count requests[SV_SERIES + 1];
    size_t request_count;
    sv_model_counts models[SV_METRIC_MODELS + 1];
    size_t model_count;
    uint64_t batches[SV_LARGEST_BATCH + 1]; /* images by the size of their batch */
} sv_counts;

typedef struct sv_metrics sv_metrics;
cz_status sv_metrics_open(sv_metrics **out);
void sv_metrics_close(sv_metrics *m);
void sv_metrics_request(sv_metrics *m, const char *route, const char *method, int status, double milliseconds);
void sv_metrics_scored(sv_metrics *m, const sv_event *event, const sv_outcome *outcome);
int sv_metrics_drift(sv_metrics *m, const sv_model *model);
/* A copy: free(); NULL: no memory. */
sv_counts *sv_metrics_counts(sv_metrics *m);
const char *sv_metrics_method(size_t method);

typedef struct sv_gauges {
    sv_pool_state pool;
    size_t connections, models, jobs_running;
    sv_sink *const *sinks;
    size_t sink_count;
} sv_gauges;
/* free(); NULL: no memory. */
char *sv_metrics_text(const sv_counts *c, const sv_gauges *g);

#endif
