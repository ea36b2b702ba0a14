/* SPDX-License-Identifier: Apache-2.0 */
/* Counters as text: format 0.0.4 of Prometheus. */
#include "events_internal.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void head(FILE *f, const char *name, const char *type, const char *help)
{
    (void)fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* name="value" */
static void label(FILE *f, const char *name, const char *value)
{
    (void)fprintf(f, "%s=\"", name);
    for (; *value != '\0'; value++) {
        if (*value == '\\' || *value == '"') {
            (void)fprintf(f, "\\%c", *value);
        } else if (*value == '\n') {
            (void)fputs("\\n", f);
        } else {
            (void)fputc(*value, f);
        }
    }
    (void)fputc('"', f);
}

static void one(FILE *f, const char *name, const char *type, const char *help, double value)
{
    head(f, name, type, help);
    (void)fprintf(f, "%s %.17g\n", name, value);
}

/* One series of a histogram: `buckets` [count + 1] are not cumulative. `of`: its label's name, NULL: none. */
static void histogram(FILE *f, const char *name, const char *of, const char *value, const double *bounds,
                      const uint64_t *buckets, size_t count, double sum)
{
    uint64_t total = 0;
    for (size_t i = 0; i <= count; i++) {
        total += buckets[i];
        (void)fprintf(f, "%s_bucket{", name);
        if (of != NULL) {
            label(f, of, value);
            (void)fputc(',', f);
        }
        if (i < count) {
            (void)fprintf(f, "le=\"%g\"} %" PRIu64 "\n", bounds[i], total);
        } else {
            (void)fprintf(f, "le=\"+Inf\"} %" PRIu64 "\n", total);
        }
    }
    for (int what = 0; what < 2; what++) {
        (void)fprintf(f, "%s_%s", name, what == 0 ? "sum" : "count");
        if (of != NULL) {
            (void)fputc('{', f);
            label(f, of, value);
            (void)fputc('}', f);
        }
        if (what == 0) {
            (void)fprintf(f, " %.17g\n", sum);
        } else {
            (void)fprintf(f, " %" PRIu64 "\n", total);
        }
    }
}

static uint64_t sum_of(const uint64_t *values, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) sum += values[i];
    return sum;
}

static void requests(FILE *f, const sv_counts *c)
{
    head(f, "cozad_requests_total", "counter", "Answered requests by route, method and status.");
    for (size_t i = 0; i < c->request_count; i++) {
        const sv_request_count *r = &c->requests[i];
        if (r->count == 0) continue;
        (void)fputs("cozad_requests_total{", f);
        label(f, "route", c->routes[r->route].name);
        (void)fputc(',', f);
        label(f, "method", sv_metrics_method(r->method));
        (void)fprintf(f, ",status=\"%d\"} %" PRIu64 "\n", r->status, r->count);
    }
    head(f, "cozad_request_seconds", "histogram", "Seconds from a request's last byte to its answer, by route.");
    for (size_t i = 0; i < c->route_count; i++) {
        const sv_route_counts *r = &c->routes[i];
        if (sum_of(r->buckets, SV_LATENCY_BUCKETS + 1) == 0) continue;
        histogram(f, "cozad_request_seconds", "route", r->name, sv_latency_bounds, r->buckets, SV_LATENCY_BUCKETS,
                  r->sum);
    }
}

/* A batch is counted when all its images were: `images` of size n make images / n batches. */
static void batches(FILE *f, const uint64_t images[SV_LARGEST_BATCH + 1])
{
    static const double bounds[] = {1, 2, 4, 8, 16, 32, 64};
    enum { COUNT = sizeof bounds / sizeof bounds[0] };
    uint64_t buckets[COUNT + 1] = {0};
    double sum = 0;
    for (size_t n = 1, b = 0; n <= SV_LARGEST_BATCH; n++) {
        while (b < COUNT && (double)n > bounds[b]) b++;
        buckets[b] += images[n] / n;
        sum += (double)(images[n] / n * n);
    }
    head(f, "cozad_batch_size", "histogram", "Images that were computed together.");
    histogram(f, "cozad_batch_size", NULL, NULL, bounds, buckets, COUNT, sum);
}

static void models(FILE *f, const sv_counts *c)
{
    static const char *const decisions[3] = {"unknown", "normal", "anomalous"};
    const size_t first = c->models[0].failed + sum_of(c->models[0].decisions, 3) == 0; /* of the table's overflow */
    head(f, "cozad_score", "histogram", "Scores by model, in the detector's own unit.");
    for (size_t i = first; i < c->model_count; i++) {
        const sv_model_counts *m = &c->models[i];
        histogram(f, "cozad_score", "model", m->name, sv_score_bounds, m->buckets, SV_SCORE_BUCKETS, m->sum);
    }
    head(f, "cozad_decisions_total", "counter",
         "Scored images by model and decision; unknown: the model is not calibrated.");
    for (size_t i = first; i < c->model_count; i++) {
        for (size_t d = 0; d < 3; d++) {
            (void)fputs("cozad_decisions_total{", f);
            label(f, "model", c->models[i].name);
            (void)fprintf(f, ",decision=\"%s\"} %" PRIu64 "\n", decisions[d], c->models[i].decisions[d]);
        }
    }
    head(f, "cozad_failed_total", "counter", "Images that could not be scored, by model.");
    for (size_t i = first; i < c->model_count; i++) {
        (void)fputs("cozad_failed_total{", f);
        label(f, "model", c->models[i].name);
        (void)fprintf(f, "} %" PRIu64 "\n", c->models[i].failed);
    }
    head(f, "cozad_drift", "gauge",
         "1: recent scores differ from the calibration's (Kolmogorov-Smirnov, p < 0.01), 0: no difference seen, -1: "
         "not known.");
    for (size_t i = first; i < c->model_count; i++) {
        (void)fputs("cozad_drift{", f);
        label(f, "model", c->models[i].name);
        (void)fprintf(f, "} %d\n", c->models[i].drift);
    }
}

static double resident_bytes(void)
{
    unsigned long long size = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL) return NAN;
    const int got = fscanf(f, "%llu %llu", &size, &pages);
    (void)fclose(f);
    return got == 2 ? (double)pages * (double)sysconf(_SC_PAGESIZE) : NAN;
}

static double open_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    if (d == NULL) return NAN;
    double count = -1; /* the folder itself */
    for (const struct dirent *e; (e = readdir(d)) != NULL;) count += e->d_name[0] != '.';
    (void)closedir(d);
    return count;
}

static double cpu_seconds(void)
{
    struct timespec t;
    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0 ? (double)t.tv_sec + (double)t.tv_nsec * 1e-9 : NAN;
}

static void process(FILE *f)
{
    head(f, "cozad_build_info", "gauge", "Always 1; the version is its label.");
    (void)fputs("cozad_build_info{", f);
    label(f, "version", cz_version());
    (void)fputs("} 1\n", f);
    const double bytes = resident_bytes(), files = open_files(), cpu = cpu_seconds();
    if (!isnan(bytes)) one(f, "process_resident_memory_bytes", "gauge", "Resident memory in bytes.", bytes);
    if (!isnan(cpu)) one(f, "process_cpu_seconds_total", "counter", "User and system time in seconds.", cpu);
    if (!isnan(files)) one(f, "process_open_fds", "gauge", "Open file descriptors.", files);
}

char *sv_metrics_text(const sv_counts *c, const sv_gauges *g)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (f == NULL) return NULL;
    requests(f, c);
    one(f, "cozad_queue_waiting", "gauge", "Images that wait for a worker.", (double)g->pool.waiting);
    one(f, "cozad_queue_rejected_total", "counter", "Images that were turned away because the queue was full.",
        (double)g->pool.rejected);
    one(f, "cozad_queue_expired_total", "counter", "Images that were not scored before their deadline.",
        (double)g->pool.expired);
    batches(f, c->batches);
    models(f, c);
    one(f, "cozad_models_loaded", "gauge", "Models that are loaded.", (double)g->models);
    one(f, "cozad_connections", "gauge", "Open connections.", (double)g->connections);
    one(f, "cozad_jobs_running", "gauge", "Training jobs that run.", (double)g->jobs_running);
    head(f, "cozad_sink_lost_total", "counter", "Results that a sink could not take or deliver.");
    for (size_t i = 0; i < g->sink_count; i++) {
        (void)fputs("cozad_sink_lost_total{", f);
        label(f, "sink", sv_sink_name(g->sinks[i]));
        (void)fprintf(f, "} %" PRIu64 "\n", sv_sink_lost(g->sinks[i]));
    }
    process(f);
    const bool good = !ferror(f);
    if (fclose(f) == 0 && good) return text;
    free(text);
    return NULL;
}
