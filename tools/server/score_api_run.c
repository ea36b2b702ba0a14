/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that score: their images go to the pool at once, the last one that is done answers. */
#include "score_api_internal.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A request under way; belongs to its jobs once they are submitted. */
typedef struct scoring {
    const sv_score_api *api;
    sv_request *request;
    const sv_model *model;
    const char *route;
    char name[256];     /* what the client calls the image */
    sv_oip_request oip; /* `infer` only */
    bool with_pictures; /* `score`: pictures inside the JSON */
    unsigned want;      /* SV_MAP | … */
    void (*answer)(struct scoring *s);
    atomic_size_t left; /* jobs that are not done */
    size_t count;
    sv_job *jobs;  /* [count] */
    sv_job **list; /* [count] */
} scoring;

static void scoring_free(scoring *s)
{
    for (size_t i = 0; s->jobs != NULL && i < s->count; i++) sv_outcome_free(&s->jobs[i].outcome);
    free(s->jobs);
    free(s->list);
    sv_oip_free(&s->oip);
    sv_model_release(s->model);
    free(s);
}

static void answer_busy(sv_request *r, const char *why)
{
    sv_answer_header(r, "Retry-After", "1");
    sv_answer_error(r, 503, "%s", why);
}

/* False: an image failed, and the request was answered so. */
static bool check_outcomes(const scoring *s)
{
    for (size_t i = 0; i < s->count; i++) {
        const sv_outcome *o = &s->jobs[i].outcome;
        if (o->status == CZ_OK) continue;
        if (o->status == CZ_E_CANCELLED && sv_now() >= sv_request_deadline(s->request)) {
            sv_answer_error(s->request, 504, "the images were not scored within the time a request may take");
        } else if (o->status == CZ_E_CANCELLED) {
            answer_busy(s->request, "the server is ending");
        } else if (s->count > 1) {
            sv_answer_failure(s->request, sv_fail(o->status, "image %zu: %s", i, o->error));
        } else {
            sv_answer_failure(s->request, sv_fail(o->status, "%s", o->error));
        }
        return false;
    }
    return true;
}

static void tell_events(const scoring *s)
{
    for (size_t i = 0; i < s->count; i++) {
        const sv_scored scored = {.wall = sv_wall(),
                                  .model = s->model->name,
                                  .version = s->model->version,
                                  .name = s->name,
                                  .client = sv_request_client(s->request),
                                  .route = s->route,
                                  .outcome = &s->jobs[i].outcome};
        sv_events_scored(s->api->events, &scored);
    }
}

static void job_done(void *ctx, sv_job *job)
{
    scoring *s = ctx;
    (void)job;
    if (atomic_fetch_sub(&s->left, 1) != 1) return;
    tell_events(s);
    if (check_outcomes(s)) s->answer(s);
    scoring_free(s);
}

/* Takes `s`. */
static void submit(scoring *s, size_t count)
{
    s->jobs = calloc(count, sizeof *s->jobs);
    s->list = calloc(count, sizeof *s->list);
    if (s->jobs == NULL || s->list == NULL) {
        sv_answer_failure(s->request, sv_fail(CZ_E_MEMORY, "out of memory"));
        scoring_free(s);
        return;
    }
    s->count = count;
    atomic_init(&s->left, count);
    for (size_t i = 0; i < count; i++) {
        sv_job *job = s->list[i] = &s->jobs[i];
        job->model = s->model;
        job->want = s->want;
        job->deadline = sv_request_deadline(s->request);
        job->done = job_done;
        job->ctx = s;
        if (s->oip.images != NULL) {
            job->image = s->oip.images[i];
        } else {
            job->encoded = s->oip.files[i];
            job->encoded_size = s->oip.file_sizes[i];
        }
    }
    sv_request *const request = s->request;
    const cz_status status = sv_pool_submit(s->api->pool, s->list, count);
    if (status == CZ_OK) return; /* it may be answered and freed by now */
    if (status == CZ_E_LIMIT || status == CZ_E_CANCELLED) {
        answer_busy(request, status == CZ_E_LIMIT ? "too many requests are waiting" : "the server is ending");
    } else {
        sv_answer_failure(request, status);
    }
    scoring_free(s);
}

/* Takes the reference to `model`; NULL: answered. */
static scoring *begin(const sv_score_api *a, sv_request *r, const sv_model *model, const char *route)
{
    scoring *s = calloc(1, sizeof *s);
    if (s == NULL) {
        sv_model_release(model);
        sv_answer_failure(r, sv_fail(CZ_E_MEMORY, "out of memory"));
        return NULL;
    }
    s->api = a;
    s->request = r;
    s->model = model;
    s->route = route;
    return s;
}

/* ---- the protocol ------------------------------------------------------------------------------------------------- */

static void answer_infer(scoring *s)
{
    sv_outcome *outcomes = calloc(s->count, sizeof *outcomes); /* views */
    char *body = NULL, length[24];
    size_t size = 0, header_length = SIZE_MAX;
    cz_status status = CZ_E_MEMORY;
    if (outcomes != NULL) {
        for (size_t i = 0; i < s->count; i++) outcomes[i] = s->jobs[i].outcome;
        status = sv_oip_answer(&s->oip, s->model, outcomes, &body, &size, &header_length);
    } else {
        (void)sv_fail(status, "out of memory");
    }
    free(outcomes);
    if (status != CZ_OK) {
        sv_answer_failure(s->request, status);
    } else if (header_length == SIZE_MAX) {
        sv_answer(s->request, 200, "application/json", body, size);
    } else {
        (void)snprintf(length, sizeof length, "%zu", header_length);
        sv_answer_header(s->request, "Inference-Header-Content-Length", length);
        sv_answer(s->request, 200, "application/octet-stream", body, size);
    }
}

/* False: answered. *length: SIZE_MAX without the header. */
static bool header_length_of(sv_request *r, size_t *length)
{
    const char *text = sv_request_header(r, "Inference-Header-Content-Length");
    *length = SIZE_MAX;
    if (text == NULL) return true;
    const size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 18 || text[digits] != '\0') {
        sv_answer_error(r, 400, "Inference-Header-Content-Length is not a number");
        return false;
    }
    *length = (size_t)strtoull(text, NULL, 10);
    return true;
}

void api_infer(void *ctx, sv_request *r)
{
    const sv_score_api *a = ctx;
    const char *type = sv_request_header(r, "Content-Type");
    size_t size = 0, header_length;
    const unsigned char *body = sv_request_body(r, &size);
    if (!header_length_of(r, &header_length)) return;
    /* With the header, which no form can send, clients name all sorts of types or none. */
    if (header_length == SIZE_MAX && type != NULL && !api_type_is(type, "application/json")) {
        sv_answer_error(r, 415, "application/json, or Inference-Header-Content-Length and binary data");
        return;
    }
    const sv_model *model = api_find(a, r, sv_request_arg(r, 0), sv_request_arg(r, 1));
    scoring *s = model != NULL ? begin(a, r, model, "infer") : NULL;
    if (s == NULL) return;
    /* What the empty queue has no room for can never be taken. */
    const size_t most = a->settings->max_batch < a->settings->queue ? a->settings->max_batch : a->settings->queue;
    const cz_status status = sv_oip_parse(body, size, header_length, most, a->settings->max_pixels, &s->oip);
    if (status != CZ_OK) {
        sv_answer_failure(r, status);
        scoring_free(s);
        return;
    }
    (void)snprintf(s->name, sizeof s->name, "%s", s->oip.id);
    s->want = (s->oip.outputs & SV_OIP_MAP ? SV_MAP : 0u) | (s->oip.outputs & SV_OIP_REGIONS ? SV_REGIONS : 0u);
    s->answer = answer_infer;
    submit(s, s->oip.count);
}

/* ---- the plain endpoint ------------------------------------------------------------------------------------------- */

/* "data:image/png;base64,…"; NULL: out of memory. */
static json_t *data_url(const char *bytes, size_t size)
{
    static const char head[] = "data:image/png;base64,";
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (size > SIZE_MAX / 2) return NULL;
    char *text = malloc(sizeof head + (size + 2) / 3 * 4), *at = text;
    if (text == NULL) return NULL;
    memcpy(at, head, sizeof head - 1);
    at += sizeof head - 1;
    for (size_t i = 0; i < size; i += 3) {
        unsigned bits = 0;
        for (size_t k = 0; k < 3; k++) bits = bits << 8 | (i + k < size ? (unsigned char)bytes[i + k] : 0u);
        for (size_t k = 0; k < 4; k++) *at++ = i + k > size ? '=' : digits[bits >> (18 - 6 * k) & 63];
    }
    json_t *out = json_stringn_nocheck(text, (size_t)(at - text));
    free(text);
    return out;
}

static void answer_json(const scoring *s)
{
    const sv_outcome *o = &s->jobs[0].outcome;
    json_t *out = sv_score_json(s->model, s->name, o);
    if (out == NULL) {
        sv_answer_failure(s->request, sv_fail(CZ_E_MEMORY, "out of memory"));
        return;
    }
    if (s->with_pictures) {
        (void)json_object_set_new(out, "overlay", o->overlay ? data_url(o->overlay, o->overlay_size) : json_null());
        (void)json_object_set_new(out, "heat", o->heat ? data_url(o->heat, o->heat_size) : json_null());
    }
    sv_answer_json(s->request, 200, out);
}

static void answer_score(scoring *s)
{
    const sv_outcome *o = &s->jobs[0].outcome;
    const bool overlay = (s->want & SV_OVERLAY) != 0;
    const char *picture = overlay ? o->overlay : o->heat;
    const size_t size = overlay ? o->overlay_size : o->heat_size;
    const char *decision = api_decision(o->decision);
    char score[40];
    if (s->with_pictures || !(s->want & (SV_OVERLAY | SV_HEAT))) {
        answer_json(s);
        return;
    }
    char *body = picture != NULL && size > 0 ? malloc(size) : NULL;
    if (body == NULL) {
        sv_answer_failure(s->request, picture == NULL ? sv_fail(CZ_E_UNSUPPORTED, "the model makes no map")
                                                      : sv_fail(CZ_E_MEMORY, "out of memory"));
        return;
    }
    memcpy(body, picture, size);
    (void)snprintf(score, sizeof score, "%.9g", o->score);
    sv_answer_header(s->request, "X-CoZAD-Score", score);
    sv_answer_header(s->request, "X-CoZAD-Decision", decision != NULL ? decision : "unknown");
    sv_answer(s->request, 200, "image/png", body, size);
}

/* What the query asks for beside the score. False: answered. */
static bool read_query(sv_request *r, unsigned *want, bool *with_pictures)
{
    const char *include = sv_request_query(r, "include");
    const int overlay = api_flag(r, "overlay");
    if (overlay < 0) return false;
    const int heat = api_flag(r, "heat");
    if (heat < 0) return false;
    if (include != NULL && strcmp(include, "overlay") != 0) {
        sv_answer_error(r, 400, "include: \"overlay\" is all there is");
        return false;
    }
    if (overlay + heat + (include != NULL) > 1) {
        sv_answer_error(r, 400, "one of overlay, heat and include");
        return false;
    }
    *with_pictures = include != NULL;
    *want = SV_REGIONS | (overlay || include ? SV_OVERLAY : 0u) | (heat || include ? SV_HEAT : 0u);
    return true;
}

/* The picture's bytes. False: answered. */
static bool find_picture(sv_request *r, const unsigned char **picture, size_t *size, char name[256])
{
    const char *type = sv_request_header(r, "Content-Type"), *given = sv_request_query(r, "name");
    const unsigned char *body = sv_request_body(r, size);
    name[0] = '\0';
    if (type != NULL && api_type_is(type, "multipart/form-data")) {
        const size_t all = *size;
        if (body == NULL || (!sv_multipart_find(type, body, all, "image", picture, size, name) &&
                             !sv_multipart_find(type, body, all, NULL, picture, size, name))) {
            sv_answer_error(r, 400, "multipart/form-data without a file \"image\"");
            return false;
        }
    } else if (type != NULL && (api_type_is(type, "image/") || api_type_is(type, "application/octet-stream"))) {
        *picture = body;
    } else {
        sv_answer_error(r, 415,
                        "a picture as image/… or application/octet-stream, or multipart/form-data with a file "
                        "\"image\"");
        return false;
    }
    if (given != NULL && strlen(given) > 255) {
        sv_answer_error(r, 400, "name: longer than 255 bytes");
        return false;
    }
    if (given != NULL) (void)snprintf(name, 256, "%s", given);
    if (*size > 0) return true;
    sv_answer_error(r, 400, "the picture is empty");
    return false;
}

/* One encoded picture, as if it had come through the protocol. */
static bool set_picture(scoring *s, const unsigned char *picture, size_t size)
{
    s->oip.files = malloc(sizeof *s->oip.files);
    s->oip.file_sizes = malloc(sizeof *s->oip.file_sizes);
    if (s->oip.files == NULL || s->oip.file_sizes == NULL) return false;
    s->oip.files[0] = picture;
    s->oip.file_sizes[0] = size;
    return true;
}

void api_score(void *ctx, sv_request *r)
{
    const sv_score_api *a = ctx;
    const char *wanted = sv_request_query(r, "model");
    const unsigned char *picture = NULL;
    char model_name[SV_NAME], name[256];
    size_t size = 0;
    unsigned want;
    bool with_pictures;
    if (!read_query(r, &want, &with_pictures) || !find_picture(r, &picture, &size, name)) return;
    if (wanted == NULL) {
        api_first(a, model_name);
        wanted = model_name;
    }
    const sv_model *model = api_find(a, r, wanted, NULL);
    scoring *s = model != NULL ? begin(a, r, model, "score") : NULL;
    if (s == NULL) return;
    memcpy(s->name, name, sizeof s->name);
    s->want = want;
    s->with_pictures = with_pictures;
    s->answer = answer_score;
    if (!set_picture(s, picture, size)) {
        sv_answer_failure(r, sv_fail(CZ_E_MEMORY, "out of memory"));
        scoring_free(s);
        return;
    }
    submit(s, 1);
}
