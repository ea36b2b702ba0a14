/* SPDX-License-Identifier: Apache-2.0 */
/* Counters. One mutex is held for a few additions or one copy, never while text is made or drift is measured. */
#include "events_internal.h"

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

const double sv_latency_bounds[SV_LATENCY_BUCKETS] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
/* Scores have the detector's own unit, of either sign: steps 1, 2, 5 of every power of ten on both sides of 0. The same for all models, so
 * that a model that is replaced goes on in the same series. */
const double sv_score_bounds[SV_SCORE_BUCKETS] = {-100, -50,   -20,   -10,   -5, -2,   -1,   -0.5, -0.2,
                                                  -0.1, -0.05, -0.02, -0.01, 0,  0.01, 0.02, 0.05, 0.1,
                                                  0.2,  0.5,   1,     2,     5,  10,   20,   50,   100};
static const double drift_level = 0.01;

/* Where the table is full, or a name is none that this program gives: no model, route or method can be called so. */
static const char other[] = "(other)";
static const char *const methods[] = {other, "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"};
enum { METHODS = sizeof methods / sizeof methods[0] };

/* Scores of one version of a model, the latest ones. */
typedef struct recent {
    char version[17];
    double scores[SV_RECENT]; /* a ring */
    size_t count, next;
    uint64_t changes, measured; /* drift belongs to `measured` changes */
} recent;

struct sv_metrics {
    pthread_mutex_t mutex;
    sv_counts counts;
    recent *recent[SV_METRIC_MODELS + 1]; /* beside counts.models; NULL: no memory */
};

cz_status sv_metrics_open(sv_metrics **out)
{
    sv_metrics *m = calloc(1, sizeof *m);
    if (m == NULL || pthread_mutex_init(&m->mutex, NULL) != 0) {
        free(m);
        return sv_fail(CZ_E_MEMORY, "metrics: out of memory");
    }
    sv_counts *c = &m->counts;
    memcpy(c->routes[0].name, other, sizeof other);
    memcpy(c->models[0].name, other, sizeof other);
    c->models[0].drift = -1;
    c->route_count = c->model_count = c->request_count = 1; /* requests[0]: route 0, method 0, status 0 */
    *out = m;
    return CZ_OK;
}

void sv_metrics_close(sv_metrics *m)
{
    if (m == NULL) return;
    for (size_t i = 0; i <= SV_METRIC_MODELS; i++) free(m->recent[i]);
    (void)pthread_mutex_destroy(&m->mutex);
    free(m);
}

const char *sv_metrics_method(size_t method)
{
    return methods[method < METHODS ? method : 0];
}

/* ---- requests ------------------------------------------------------------------------------------------------------ */

static size_t find_method(const char *name)
{
    for (size_t i = 1; i < METHODS; i++)
        if (name != NULL && strcmp(methods[i], name) == 0) return i;
    return 0;
}

static size_t find_route(sv_counts *c, const char *name)
{
    char text[sizeof c->routes[0].name];
    sv_text_copy(text, sizeof text, name);
    if (text[0] == '\0') return 0;
    for (size_t i = 1; i < c->route_count; i++)
        if (strcmp(c->routes[i].name, text) == 0) return i;
    if (c->route_count > SV_ROUTES) return 0;
    memcpy(c->routes[c->route_count].name, text, sizeof text);
    return c->route_count++;
}

static sv_request_count *find_request(sv_counts *c, size_t route, size_t method, int status)
{
    for (size_t i = 1; i < c->request_count; i++) {
        sv_request_count *r = &c->requests[i];
        if (r->route == route && r->method == method && r->status == status) return r;
    }
    if (c->request_count > SV_SERIES) return &c->requests[0];
    c->requests[c->request_count] = (sv_request_count){route, method, status, 0};
    return &c->requests[c->request_count++];
}

static size_t bucket(const double *bounds, size_t count, double value)
{
    size_t i = 0;
    while (i < count && value > bounds[i]) i++;
    return i;
}

void sv_metrics_request(sv_metrics *m, const char *route, const char *method, int status, double milliseconds)
{
    const double seconds = isfinite(milliseconds) && milliseconds > 0 ? milliseconds / 1000 : 0;
    const size_t method_index = find_method(method), b = bucket(sv_latency_bounds, SV_LATENCY_BUCKETS, seconds);
    if (status < 100 || status > 999) status = 0;
    (void)pthread_mutex_lock(&m->mutex);
    const size_t route_index = find_route(&m->counts, route);
    find_request(&m->counts, route_index, method_index, status)->count++;
    sv_route_counts *r = &m->counts.routes[route_index];
    r->buckets[b]++;
    r->sum += seconds;
    (void)pthread_mutex_unlock(&m->mutex);
}

/* ---- results ------------------------------------------------------------------------------------------------------- */

static size_t find_model(sv_metrics *m, const char *name, bool make)
{
    sv_counts *c = &m->counts;
    for (size_t i = 1; i < c->model_count; i++)
        if (strcmp(c->models[i].name, name) == 0) return i;
    if (!make || name[0] == '\0' || c->model_count > SV_METRIC_MODELS) return 0;
    const size_t i = c->model_count++;
    memcpy(c->models[i].name, name, strlen(name) + 1); /* of an sv_event: it fits */
    c->models[i].drift = -1;
    m->recent[i] = calloc(1, sizeof(recent));
    return i;
}

static void remember(recent *r, const sv_event *event)
{
    if (r == NULL || !(fabs(event->score) <= (double)FLT_MAX)) return;
    if (strcmp(r->version, event->version) != 0) { /* another calibration */
        memcpy(r->version, event->version, sizeof r->version);
        r->count = r->next = 0;
    }
    r->scores[r->next] = event->score;
    r->next = (r->next + 1) % SV_RECENT;
    if (r->count < SV_RECENT) r->count++;
    r->changes++;
}

void sv_metrics_scored(sv_metrics *m, const sv_event *event, const sv_outcome *outcome)
{
    const size_t batch = outcome->batch < SV_LARGEST_BATCH ? outcome->batch : SV_LARGEST_BATCH;
    const size_t b = bucket(sv_score_bounds, SV_SCORE_BUCKETS, event->score);
    (void)pthread_mutex_lock(&m->mutex);
    const size_t i = find_model(m, event->model, true);
    sv_model_counts *c = &m->counts.models[i];
    if (batch > 0) m->counts.batches[batch]++;
    if (outcome->status != CZ_OK) {
        c->failed += outcome->status != CZ_E_CANCELLED;
    } else {
        c->decisions[event->decision + 1]++;
        if (isfinite(event->score)) {
            c->buckets[b]++;
            c->sum += event->score;
        }
        remember(m->recent[i], event);
    }
    (void)pthread_mutex_unlock(&m->mutex);
}

int sv_metrics_drift(sv_metrics *m, const sv_model *model)
{
    double scores[SV_RECENT];
    size_t count = 0;
    uint64_t changes = 0;
    cz_drift drift;
    (void)pthread_mutex_lock(&m->mutex);
    const size_t i = find_model(m, model->name, false);
    recent *r = m->recent[i]; /* none for 0; stays where it is */
    int flag = -1;
    bool measure = false;
    if (r != NULL && strcmp(r->version, model->version) == 0) {
        flag = m->counts.models[i].drift;
        measure = r->changes != r->measured;
        changes = r->changes;
        count = r->count;
        memcpy(scores, r->scores, count * sizeof *scores);
    }
    (void)pthread_mutex_unlock(&m->mutex);
    if (measure) {
        const bool known = model->calibrated && count >= SV_RECENT_LEAST &&
                           cz_measure_drift(model->model, scores, count, &drift) == CZ_OK;
        flag = known ? drift.p_value < drift_level : -1;
    }
    if (r == NULL) return flag;
    (void)pthread_mutex_lock(&m->mutex);
    if (measure && strcmp(r->version, model->version) == 0) r->measured = changes;
    m->counts.models[i].drift = flag;
    (void)pthread_mutex_unlock(&m->mutex);
    return flag;
}

sv_counts *sv_metrics_counts(sv_metrics *m)
{
    sv_counts *copy = malloc(sizeof *copy);
    if (copy == NULL) return NULL;
    (void)pthread_mutex_lock(&m->mutex);
    *copy = m->counts;
    (void)pthread_mutex_unlock(&m->mutex);
    return copy;
}
