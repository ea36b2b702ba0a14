/* SPDX-License-Identifier: Apache-2.0 */
#include "api/checkpoint.h"

#include "tensor/dtype.h"
#include "tensor/tensors.h"
#include "util/alloc.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* The file: safetensors with the metadata below and the tensors
 *   head.* state.*       as in a model
 *   adam.m adam.v        F32 [params]
 *   progress.counters    I64 [2]: next step, optimiser steps done
 *   progress.sums        F64 [CZ_CHECKPOINT_SUMS]
 *   uncertainty.pairs    F64 [n, 2]: the ring as it lies
 *   uncertainty.scale    F64 [3]: the two divisors, det
 *   uncertainty.pushed   I64 [1]
 *   window.N             F32 [scores held], oldest first, for each window
 *   window.images        I64 [windows]
 */
#define FORMAT_KEY   "cozad.checkpoint"
#define FORMAT       "1"
#define TRAINING_KEY "cozad.training"

/* Images that a window may claim to have seen. */
#define MAX_IMAGES ((int64_t)1 << 53)

static bool all_finite(const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) return false;
    }
    return true;
}

/* ---- saving ----------------------------------------------------------------------------------------------------- */

static cz_status add(cz_tensors *t, const char *name, cz_dtype dtype, size_t rows, size_t columns, const void *data)
{
    cz_tensor_view view = {.name = name, .dtype = dtype, .rank = 1, .shape = {rows}, .data = data};
    if (columns > 0) {
        view.rank = 2;
        view.shape[1] = columns;
    }
    view.bytes = rows * (columns > 0 ? columns : 1) * cz_dtype_size(dtype);
    return cz_tensors_add(t, &view);
}

static cz_status add_progress(const cz_checkpoint *c, cz_tensors *t)
{
    cz_status status;
    const int64_t counters[2] = {(int64_t)c->step, (int64_t)c->adam->step};
    CZ_TRY(add(t, "progress.counters", CZ_I64, 2, 0, counters));
    CZ_TRY(add(t, "progress.sums", CZ_F64, CZ_CHECKPOINT_SUMS, 0, c->sums));
out:
    return status;
}

static cz_status add_uncertainty(const cz_uncertainty *u, cz_tensors *t)
{
    cz_status status;
    const double scale[3] = {u->scale[0], u->scale[1], u->det};
    const int64_t pushed = (int64_t)u->pushed;
    CZ_TRY(add(t, "uncertainty.pairs", CZ_F64, u->options.pairs, 2, u->pair));
    CZ_TRY(add(t, "uncertainty.scale", CZ_F64, 3, 0, scale));
    CZ_TRY(add(t, "uncertainty.pushed", CZ_I64, 1, 0, &pushed));
out:
    return status;
}

static void window_name(size_t index, char out[32])
{
    (void)snprintf(out, 32, "window.%zu", index);
}

static cz_status add_windows(const cz_checkpoint *c, cz_tensors *t)
{
    cz_status status = CZ_OK;
    float *values = NULL;
    int64_t *images = cz_alloc_array(c->window_count, sizeof *images);
    if (images == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; i < c->window_count; i++) {
        const size_t count = cz_score_window_count(c->windows[i]);
        char name[32];
        window_name(i, name);
        cz_free(values);
        values = cz_alloc_array(count, sizeof *values);
        if (values == NULL) {
            status = CZ_E_MEMORY;
            goto out;
        }
        cz_score_window_values(c->windows[i], values);
        CZ_TRY(add(t, name, CZ_F32, count, 0, values));
        const size_t seen = cz_score_window_images(c->windows[i]);
        images[i] = seen < (size_t)MAX_IMAGES ? (int64_t)seen : MAX_IMAGES;
    }
    CZ_TRY(add(t, "window.images", CZ_I64, c->window_count, 0, images));
out:
    cz_free(values);
    cz_free(images);
    return status;
}

cz_status cz_checkpoint_save(const cz_checkpoint *c, const char *path)
{
    cz_status status;
    cz_tensors *t = NULL;
    const size_t params = c->head->param_count;
    if (!all_finite(c->params, params) || !all_finite(c->state, c->head->state_count) ||
        !all_finite(c->adam->m, params) || !all_finite(c->adam->v, params)) {
        return cz_fail(CZ_E_DIVERGED, "%s: parameters that are not finite are not kept", path);
    }
    CZ_TRY(cz_tensors_create(&t));
    CZ_TRY(cz_tensors_set_metadata(t, FORMAT_KEY, FORMAT));
    CZ_TRY(cz_tensors_set_metadata(t, TRAINING_KEY, c->key));
    CZ_TRY(cz_head_save(c->head, c->params, c->state, t));
    CZ_TRY(add(t, "adam.m", CZ_F32, params, 0, c->adam->m));
    CZ_TRY(add(t, "adam.v", CZ_F32, params, 0, c->adam->v));
    CZ_TRY(add_progress(c, t));
    if (c->uncertainty != NULL) CZ_TRY(add_uncertainty(c->uncertainty, t));
    if (c->window_count > 0) CZ_TRY(add_windows(c, t));
    CZ_TRY(cz_tensors_save(t, path));
out:
    cz_tensors_close(t);
    return status;
}

/* ---- loading ---------------------------------------------------------------------------------------------------- */

/* Everything of a file, checked, before any of it is handed over. */
typedef struct loaded {
    float *params, *state, *m, *v;
    int64_t counters[2];
    double sums[CZ_CHECKPOINT_SUMS];
    cz_uncertainty uncertainty;
    cz_score_window **windows;
    size_t window_count; /* made so far */
} loaded;

static void free_loaded(loaded *l)
{
    cz_free(l->params);
    cz_free(l->state);
    cz_free(l->m);
    cz_free(l->v);
    for (size_t i = 0; i < l->window_count; i++) cz_score_window_destroy(l->windows[i]);
    cz_free(l->windows);
}

static cz_status find(const cz_tensors *t, const char *name, cz_dtype dtype, const cz_tensor_view **out)
{
    const cz_tensor_view *view = cz_tensors_lookup(t, name);
    if (view == NULL) return cz_fail(CZ_E_MODEL, "tensor '%s' is missing", name);
    if (view->dtype != dtype) {
        return cz_fail(CZ_E_MODEL, "tensor '%s' is %s, expected %s", name, cz_dtype_name(view->dtype),
                       cz_dtype_name(dtype));
    }
    *out = view;
    return CZ_OK;
}

/* The values of a tensor of just this shape (columns 0: rank 1); `out` has room for them. */
static cz_status read(const cz_tensors *t, const char *name, cz_dtype dtype, size_t rows, size_t columns, void *out)
{
    const cz_tensor_view *view = NULL;
    const cz_status status = find(t, name, dtype, &view);
    if (status != CZ_OK) return status;
    const bool same = columns == 0 ? view->rank == 1 : view->rank == 2 && view->shape[1] == columns;
    if (!same || view->shape[0] != rows) {
        return cz_fail(CZ_E_MODEL, "tensor '%s' has the wrong shape, expected [%zu%s%.0zu]", name, rows,
                       columns > 0 ? ", " : "", columns);
    }
    if (view->bytes > 0) memcpy(out, view->data, view->bytes);
    return CZ_OK;
}

static cz_status read_floats(const cz_tensors *t, const char *name, size_t count, float **out)
{
    *out = cz_alloc_array(count, sizeof **out);
    if (*out == NULL) return CZ_E_MEMORY;
    const cz_status status = read(t, name, CZ_F32, count, 0, *out);
    if (status != CZ_OK) return status;
    return all_finite(*out, count) ? CZ_OK : cz_fail(CZ_E_MODEL, "tensor '%s' holds a value that is not finite", name);
}

static cz_status read_learnt(const cz_checkpoint *c, const cz_tensors *t, loaded *l)
{
    cz_status status;
    const size_t params = c->head->param_count;
    l->params = cz_alloc_array(params, sizeof *l->params);
    l->state = cz_alloc_array(c->head->state_count, sizeof *l->state);
    if (l->params == NULL || l->state == NULL) return CZ_E_MEMORY;
    CZ_TRY(cz_head_load(c->head, t, l->params, l->state));
    CZ_TRY(read_floats(t, "adam.m", params, &l->m));
    CZ_TRY(read_floats(t, "adam.v", params, &l->v));
    for (size_t i = 0; i < params; i++) {
        if (l->v[i] < 0.0f) return cz_fail(CZ_E_MODEL, "tensor 'adam.v' holds a value below 0");
    }
    CZ_TRY(read(t, "progress.counters", CZ_I64, 2, 0, l->counters));
    CZ_TRY(read(t, "progress.sums", CZ_F64, CZ_CHECKPOINT_SUMS, 0, l->sums));
    if (l->counters[0] < 0 || l->counters[1] < 0) {
        return cz_fail(CZ_E_MODEL, "tensor 'progress.counters' holds a value below 0");
    }
out:
    return status;
}

static cz_status read_uncertainty(const cz_uncertainty *mine, const cz_tensors *t, cz_uncertainty *out)
{
    cz_status status;
    double scale[3];
    int64_t pushed;
    *out = *mine;
    const size_t pairs = mine->options.pairs;
    CZ_TRY(read(t, "uncertainty.pairs", CZ_F64, pairs, 2, out->pair));
    CZ_TRY(read(t, "uncertainty.scale", CZ_F64, 3, 0, scale));
    CZ_TRY(read(t, "uncertainty.pushed", CZ_I64, 1, 0, &pushed));
    for (size_t i = 0; i < pairs; i++) {
        if (!isfinite(out->pair[i][0]) || !isfinite(out->pair[i][1])) {
            return cz_fail(CZ_E_MODEL, "tensor 'uncertainty.pairs' holds a value that is not finite");
        }
    }
    if (!isfinite(scale[0]) || !isfinite(scale[1]) || !(scale[0] > 0.0) || !(scale[1] > 0.0) || !(scale[2] >= 0.0) ||
        scale[2] > mine->options.det_max || pushed < 0) {
        return cz_fail(CZ_E_MODEL, "the state of the model uncertainty is out of range");
    }
    out->scale[0] = scale[0];
    out->scale[1] = scale[1];
    out->det = scale[2];
    out->pushed = (size_t)pushed;
out:
    return status;
}

static cz_status read_window(const cz_tensors *t, const char *name, size_t capacity, int64_t images,
                             cz_score_window **out)
{
    cz_status status;
    const cz_tensor_view *view = NULL;
    float *values = NULL;
    cz_score_window *window = NULL;
    CZ_TRY(find(t, name, CZ_F32, &view));
    if (view->rank != 1 || view->shape[0] > capacity) {
        status = cz_fail(CZ_E_MODEL, "tensor '%s' is not a list of at most %zu scores", name, capacity);
        goto out;
    }
    if (images < 0 || images > MAX_IMAGES) {
        status = cz_fail(CZ_E_MODEL, "tensor 'window.images' is out of range");
        goto out;
    }
    CZ_TRY(read_floats(t, name, view->shape[0], &values));
    CZ_TRY(cz_score_window_create(capacity, &window));
    cz_score_window_push(window, values, view->shape[0], (size_t)images);
    *out = window;
out:
    cz_free(values);
    return status;
}

static cz_status read_windows(const cz_checkpoint *c, const cz_tensors *t, loaded *l)
{
    cz_status status = CZ_OK;
    int64_t *images = cz_alloc_array(c->window_count, sizeof *images);
    l->windows = cz_alloc_array(c->window_count, sizeof(cz_score_window *));
    if (images == NULL || l->windows == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    CZ_TRY(read(t, "window.images", CZ_I64, c->window_count, 0, images));
    for (size_t i = 0; i < c->window_count; i++) {
        char name[32];
        window_name(i, name);
        CZ_TRY(read_window(t, name, cz_score_window_capacity(c->windows[i]), images[i], &l->windows[i]));
        l->window_count++;
    }
out:
    cz_free(images);
    return status;
}

static cz_status check_kind(const cz_checkpoint *c, const cz_tensors *t)
{
    const char *format = cz_tensors_metadata(t, FORMAT_KEY), *key = cz_tensors_metadata(t, TRAINING_KEY);
    if (format == NULL || key == NULL) return cz_fail(CZ_E_MODEL, "is not a checkpoint of a training");
    if (strcmp(format, FORMAT) != 0) {
        return cz_fail(CZ_E_MODEL, "is a checkpoint of version %.20s, this cozad reads " FORMAT, format);
    }
    if (strcmp(key, c->key) != 0) {
        return cz_fail(CZ_E_MODEL, "is the checkpoint of another training (other options, photos or weights)");
    }
    return CZ_OK;
}

static cz_status read_all(const cz_checkpoint *c, const cz_tensors *t, loaded *l)
{
    cz_status status;
    CZ_TRY(check_kind(c, t));
    CZ_TRY(read_learnt(c, t, l));
    if (c->uncertainty != NULL) CZ_TRY(read_uncertainty(c->uncertainty, t, &l->uncertainty));
    if (c->window_count > 0) CZ_TRY(read_windows(c, t, l));
    const size_t wanted = c->head->param_views + c->head->state_views + 4 + (c->uncertainty != NULL ? 3 : 0) +
                          (c->window_count > 0 ? c->window_count + 1 : 0);
    if (cz_tensors_count(t) != wanted) {
        return cz_fail(CZ_E_MODEL, "holds %zu tensors where this training has %zu", cz_tensors_count(t), wanted);
    }
out:
    return status;
}

static void hand_over(cz_checkpoint *c, loaded *l)
{
    const size_t params = c->head->param_count;
    memcpy(c->params, l->params, params * sizeof *c->params);
    if (c->head->state_count > 0) memcpy(c->state, l->state, c->head->state_count * sizeof *c->state);
    memcpy(c->adam->m, l->m, params * sizeof *l->m);
    memcpy(c->adam->v, l->v, params * sizeof *l->v);
    c->step = (uint64_t)l->counters[0];
    c->adam->step = (uint64_t)l->counters[1];
    memcpy(c->sums, l->sums, sizeof c->sums);
    if (c->uncertainty != NULL) *c->uncertainty = l->uncertainty;
    for (size_t i = 0; i < c->window_count; i++) { /* the old ones leave with `l` */
        cz_score_window *old = c->windows[i];
        c->windows[i] = l->windows[i];
        l->windows[i] = old;
    }
}

cz_status cz_checkpoint_load(cz_checkpoint *c, const char *path)
{
    cz_status status;
    cz_tensors *t = NULL;
    loaded l;
    memset(&l, 0, sizeof l);
    status = cz_safetensors_open(path, &t);
    if (status == CZ_OK) {
        status = read_all(c, t, &l);
        if (status != CZ_OK && status != CZ_E_MEMORY) (void)cz_fail_prefix(status, path);
    }
    if (status == CZ_OK) hand_over(c, &l);
    free_loaded(&l);
    cz_tensors_close(t);
    /* Whatever part of the reader refused: to the user it is one thing, a bad checkpoint. */
    if (status == CZ_E_FORMAT || status == CZ_E_ARG || status == CZ_E_LIMIT) status = CZ_E_MODEL;
    return status;
}

bool cz_checkpoint_exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 || (errno != ENOENT && errno != ENOTDIR);
}
