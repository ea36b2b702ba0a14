/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of score_api.h share. */
#ifndef SV_SCORE_API_INTERNAL_H
#define SV_SCORE_API_INTERNAL_H

#include "score_api.h"

#include <pthread.h>

/* Requests that take long and score nothing. */
typedef void (*api_slow)(sv_score_api *a, sv_request *r);
typedef struct api_task {
    api_slow slow;
    sv_request *request;
} api_task;
enum { API_LANE_ROOM = 32, API_LANE_THREADS = 2 };
typedef struct api_lane {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool closing;
    api_task tasks[API_LANE_ROOM]; /* a ring */
    size_t first, count;
    pthread_t thread[API_LANE_THREADS];
    size_t threads;
} api_lane;

struct sv_score_api {
    const sv_settings *settings;
    sv_http *http;
    sv_models *models;
    sv_pool *pool;
    sv_events *events;
    struct sv_studio *studio;
    api_lane lane;
};

cz_status api_lane_open(sv_score_api *a);
/* Answers what waits first. */
void api_lane_close(sv_score_api *a);
/* `slow` answers `r` in another thread. */
void api_later(sv_score_api *a, sv_request *r, api_slow slow);

/* Handlers (`ctx`: sv_score_api). */
void api_score(void *ctx, sv_request *r);
void api_infer(void *ctx, sv_request *r);
void api_models(void *ctx, sv_request *r);
void api_model(void *ctx, sv_request *r);

/* The loaded model, held; NULL: the request was answered, 404. `version` as sv_models_get. */
const sv_model *api_find(const sv_score_api *a, sv_request *r, const char *name, const char *version);
/* What the index says of `name`: belongs to `index`; NULL: nothing. */
const json_t *api_entry(const json_t *index, const char *name);
/* The first model of the index that is ready, "" without one. */
void api_first(const sv_score_api *a, char name[SV_NAME]);

/* A query value that says yes or no: 1, 0 (also without it), -1: answered, 400. */
int api_flag(sv_request *r, const char *name);
/* A query value that is a number up to `most`; `other` without it. False: answered, 400. */
bool api_number(sv_request *r, const char *name, uint64_t other, uint64_t most, uint64_t *out);
/* Whether a Content-Type is `wanted`; "image/" for all of a kind. */
bool api_type_is(const char *type, const char *wanted);
/* NaN and infinities: null. */
json_t *api_real(double value);
/* "?" for what is no UTF-8. */
json_t *api_string(const char *text);
/* "normal", "anomalous", NULL */
const char *api_decision(int decision);

#endif
