/* SPDX-License-Identifier: Apache-2.0 */
/* What happened, handed to counters, history and sinks. */
#include "events_internal.h"
#include "log.h"

#include <stdlib.h>
#include <string.h>

enum { SINKS = 4 };
static const double flush_seconds = 0.1, search_seconds = 2, count_seconds = 0.5, csv_seconds = 30;

struct sv_events {
    sv_metrics *metrics;
    sv_memory *memory; /* without a database */
    sv_sink *history;  /* one of `sinks` */
    sv_reader *reader;
    sv_sink *sinks[SINKS];
    size_t sink_count;
};

static bool given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static cz_status open_history(const char *path, sv_events *e)
{
    if (!given(path)) return sv_memory_open(&e->memory);
    const cz_status status = sv_history_open(path, SV_HISTORY_ROWS, &e->history);
    if (status != CZ_OK) return status;
    e->sinks[e->sink_count++] = e->history;
    return sv_reader_open(path, &e->reader);
}

cz_status sv_events_open(const sv_settings *settings, sv_events **out)
{
    sv_events *e = calloc(1, sizeof *e);
    if (e == NULL) return sv_fail(CZ_E_MEMORY, "events: out of memory");
    cz_status status = sv_metrics_open(&e->metrics);
    if (status == CZ_OK) status = open_history(settings->history, e);
    if (status == CZ_OK && given(settings->results)) {
        status = sv_jsonl_open(settings->results, &e->sinks[e->sink_count]);
        e->sink_count += status == CZ_OK;
    }
    if (status == CZ_OK && given(settings->webhook)) {
        status = sv_webhook_open(settings->webhook, settings->anomalies_only, &e->sinks[e->sink_count]);
        e->sink_count += status == CZ_OK;
    }
    if (status == CZ_OK && given(settings->mqtt)) {
        status = sv_mqtt_open(settings->mqtt, settings->anomalies_only, &e->sinks[e->sink_count]);
        e->sink_count += status == CZ_OK;
    }
    if (status == CZ_OK) {
        *out = e;
    } else {
        sv_events_close(e, 0);
    }
    return status;
}

void sv_events_close(sv_events *e, double seconds)
{
    if (e == NULL) return;
    /* All of them end at once: the time is for all together. */
    for (size_t i = 0; i < e->sink_count; i++) sv_sink_end(e->sinks[i], seconds);
    sv_reader_close(e->reader);
    for (size_t i = 0; i < e->sink_count; i++) sv_sink_join(e->sinks[i]);
    sv_memory_close(e->memory);
    sv_metrics_close(e->metrics);
    free(e);
}

void sv_events_scored(sv_events *e, const sv_scored *s)
{
    sv_event event;
    sv_event_set(&event, s);
    sv_metrics_scored(e->metrics, &event, s->outcome);
    if (s->outcome->status != CZ_OK) return; /* counted; there is no result to keep */
    if (e->memory != NULL) sv_memory_push(e->memory, &event);
    for (size_t i = 0; i < e->sink_count; i++) sv_sink_push(e->sinks[i], &event);
}

void sv_events_answered(void *ctx, const char *route, const char *method, const char *path, int status,
                        double milliseconds, size_t in, size_t out)
{
    sv_events *e = ctx;
    const bool dull = path != NULL && (strncmp(path, "/v2/health/", 11) == 0 || strcmp(path, "/metrics") == 0);
    sv_metrics_request(e->metrics, route, method, status, milliseconds);
    sv_log(dull ? SV_DEBUG : SV_INFO, "request", "method", "%s", method, "path", "%s", path, "status", "%d", status,
           "ms", "%.1f", milliseconds, "in", "%zu", in, "out", "%zu", out, NULL);
}

int sv_events_drift(sv_events *e, const sv_model *model)
{
    return sv_metrics_drift(e->metrics, model);
}

char *sv_events_metrics(sv_events *e, const sv_pool_state *pool, size_t connections, size_t models, size_t jobs_running)
{
    sv_gauges g = {.connections = connections,
                   .models = models,
                   .jobs_running = jobs_running,
                   .sinks = e->sinks,
                   .sink_count = e->sink_count};
    if (pool != NULL) g.pool = *pool;
    sv_counts *counts = sv_metrics_counts(e->metrics);
    char *text = counts == NULL ? NULL : sv_metrics_text(counts, &g);
    free(counts);
    if (text == NULL) (void)sv_fail(CZ_E_MEMORY, "metrics: out of memory");
    return text;
}

/* ---- the history's rows -------------------------------------------------------------------------------------------- */

/* *total: as sv_reader_count; NULL: not asked for. */
static cz_status rows(sv_events *e, const sv_filter *f, sv_row row, void *ctx, bool *complete, int64_t *total)
{
    int64_t unused;
    *complete = true;
    if (e->memory != NULL) return sv_memory_rows(e->memory, f, row, ctx, total == NULL ? &unused : total);
    sv_sink_flush(e->history, flush_seconds); /* who has an answer finds its row */
    const cz_status status = sv_reader_rows(e->reader, f, row, ctx, complete);
    if (status != CZ_OK || total == NULL) return status;
    sv_filter count = *f;
    count.seconds = count_seconds;
    return sv_reader_count(e->reader, &count, total);
}

static bool add_json(void *ctx, const sv_event *event)
{
    return json_array_append_new(ctx, sv_event_json(event)) == 0;
}

json_t *sv_events_history(sv_events *e, const char *model, const char *text, int decision, uint64_t before, size_t most)
{
    const sv_filter f = {
        given(model) ? model : NULL, given(text) ? text : NULL, decision, before, most, search_seconds};
    bool complete = false;
    int64_t total = -1;
    json_t *list = json_array();
    if (list == NULL) {
        (void)sv_fail(CZ_E_MEMORY, "history: out of memory");
        return NULL;
    }
    if (rows(e, &f, add_json, list, &complete, &total) != CZ_OK) {
        json_decref(list);
        return NULL;
    }
    json_t *out = json_pack("{s:o, s:o, s:b}", "rows", list, "total", total < 0 ? json_null() : json_integer(total),
                            "complete", complete);
    if (out == NULL) (void)sv_fail(CZ_E_MEMORY, "history: out of memory");
    return out;
}

static bool add_csv(void *ctx, const sv_event *event)
{
    sv_event_csv(ctx, event);
    return !ferror((FILE *)ctx);
}

char *sv_events_history_csv(sv_events *e, const char *model, const char *text, int decision, size_t most)
{
    const sv_filter f = {given(model) ? model : NULL, given(text) ? text : NULL, decision, 0, most, csv_seconds};
    char *csv = NULL;
    size_t size = 0;
    bool complete = false;
    FILE *stream = open_memstream(&csv, &size);
    if (stream == NULL) {
        (void)sv_fail(CZ_E_MEMORY, "history: out of memory");
        return NULL;
    }
    sv_event_csv_head(stream);
    cz_status status = rows(e, &f, add_csv, stream, &complete, NULL);
    const bool written = !ferror(stream);
    if (fclose(stream) != 0 || !written) status = sv_fail(CZ_E_MEMORY, "history: out of memory");
    if (status == CZ_OK && !complete) /* a table that ends early looks like a whole one */
        status = sv_fail(CZ_E_LIMIT, "history: the search takes too long; ask for fewer rows");
    if (status == CZ_OK) return csv;
    free(csv);
    return NULL;
}
