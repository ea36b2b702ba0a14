/* SPDX-License-Identifier: Apache-2.0 */
#include "api/scorer.h"

#include "api/relate.h"
#include "features/descriptor.h"
#include "heads/compose.h"
#include "tensor/bf16.h"
#include "util/alloc.h"
#include "util/threads.h"

/* Patches that are pooled at once, in whole grid rows: 12 MiB of features at D = 1536. Fixed, so that scores do not depend on
 * the thread count. */
#define CHUNK ((size_t)2048)

struct cz_scorer {
    const cz_model *model;
    cz_pooler *pooler;
    cz_composed *composed; /* NULL: the generic way, which alone has what follows */
    size_t grid, chunk;    /* P; patches at once */
    size_t *rows;          /* [chunk] */
    float *features;       /* [chunk, D] */
    float *scratch;        /* of the pooler */
    cz_descriptor *descriptor;
    float *described; /* [5 D] */
    cz_relation *relation;
    float *related;   /* [P, D] */
    uint16_t *narrow; /* the same, rounded as training has seen it */
};

void cz_scorer_destroy(cz_scorer *s)
{
    if (s == NULL) return;
    cz_composed_destroy(s->composed);
    cz_pooler_destroy(s->pooler);
    cz_free(s->rows);
    cz_free(s->features);
    cz_free(s->scratch);
    cz_descriptor_destroy(s->descriptor);
    cz_free(s->described);
    cz_relation_destroy(s->relation);
    cz_free(s->related);
    cz_free(s->narrow);
    cz_free(s);
}

static cz_status make_composed(cz_scorer *s, const cz_scorer_options *o)
{
    cz_status status;
    const cz_model *m = o->model;
    cz_composition composition = {0};
    const cz_composed_options options = {o->taps, 1, o->threads, o->precision};
    CZ_TRY(cz_head_compose(m->head, m->params, m->state, &composition));
    CZ_TRY(cz_composed_create(&composition, s->pooler, &options, &s->composed));
out:
    cz_composition_free(&composition);
    return status;
}

static cz_status make_relation(cz_scorer *s, const cz_scorer_options *o)
{
    cz_status status;
    size_t floats;
    CZ_TRY(cz_relation_create(o->taps, o->tap_count, &s->relation));
    if (cz_relation_width(s->relation) != o->model->feature_width)
        CZ_TRY(cz_fail(CZ_E_MODEL, "model: its relational numbers do not go with its taps"));
    if (!cz_mul_size(s->grid, o->model->feature_width, &floats)) CZ_TRY(cz_fail(CZ_E_MEMORY, "a grid is too large"));
    s->related = cz_alloc_array(floats, sizeof *s->related);
    s->narrow = cz_alloc_array(floats, sizeof *s->narrow);
    if (s->related == NULL || s->narrow == NULL) status = CZ_E_MEMORY;
out:
    return status;
}

static cz_status make_generic(cz_scorer *s)
{
    const size_t width = s->model->feature_width, grid_w = cz_pooler_grid_w(s->pooler);
    s->chunk = CHUNK > grid_w ? CHUNK - CHUNK % grid_w : grid_w;
    if (s->chunk > s->grid) s->chunk = s->grid;
    s->rows = cz_alloc_array(s->chunk, sizeof *s->rows);
    size_t floats;
    if (!cz_mul_size(s->chunk, width, &floats)) return cz_fail(CZ_E_MEMORY, "a row of patches is too large");
    s->features = cz_alloc_array(floats, sizeof *s->features);
    s->scratch = cz_alloc_array(cz_pooler_scratch(s->pooler), sizeof *s->scratch);
    if (s->rows == NULL || s->features == NULL || s->scratch == NULL) return CZ_E_MEMORY;
    if (!s->model->image_level) return CZ_OK;
    s->described = cz_alloc_array(cz_descriptor_width(width), sizeof *s->described);
    if (s->described == NULL) return CZ_E_MEMORY;
    return cz_descriptor_create(width, grid_w, cz_pooler_grid_h(s->pooler), &s->descriptor);
}

cz_status cz_scorer_create(const cz_scorer_options *o, cz_scorer **out)
{
    cz_status status;
    cz_scorer *s = cz_calloc(1, sizeof *s);
    if (s == NULL) return CZ_E_MEMORY;
    s->model = o->model;
    CZ_TRY(cz_pooler_create(o->taps, o->tap_count, o->model->feature_width, o->model->neighbourhood, &s->pooler));
    s->grid = cz_pooler_grid_w(s->pooler) * cz_pooler_grid_h(s->pooler);
    const bool related = o->model->relation != NULL;
    if (related) CZ_TRY(make_relation(s, o));
    CZ_TRY(!related && o->model->head->ops->compose != NULL ? make_composed(s, o) : make_generic(s));
    *out = s;
    return CZ_OK;
out:
    cz_scorer_destroy(s);
    return status;
}

size_t cz_scorer_grid_w(const cz_scorer *s)
{
    return cz_pooler_grid_w(s->pooler);
}

size_t cz_scorer_grid_h(const cz_scorer *s)
{
    return cz_pooler_grid_h(s->pooler);
}

/* The inspected patches from `first` on, no further than a chunk; returns how many. */
static size_t choose(const cz_scorer *s, const uint8_t *valid, size_t first)
{
    size_t count = 0;
    for (size_t i = first; i < s->grid && i < first + s->chunk; i++)
        if (valid[i]) s->rows[count++] = i;
    return count;
}

static cz_status score_chunk(cz_scorer *s, size_t first, size_t count, float *scores)
{
    const cz_model *m = s->model;
    const size_t end = first + s->chunk < s->grid ? first + s->chunk : s->grid;
    const cz_status status = cz_head_score(m->head, m->params, m->state, s->features, count, scores + first);
    if (status != CZ_OK) return status;
    /* from one behind the other to their places, the last one first */
    for (size_t i = end, left = count; i-- > first;) {
        if (left > 0 && s->rows[left - 1] == i) {
            scores[i] = scores[first + --left];
        } else {
            scores[i] = 0;
        }
    }
    return CZ_OK;
}

static cz_status score_image(cz_scorer *s, float *scores)
{
    const cz_model *m = s->model;
    float score = 0;
    if (cz_descriptor_end(s->descriptor, s->described)) {
        const cz_status status = cz_head_score(m->head, m->params, m->state, s->described, 1, &score);
        if (status != CZ_OK) return status;
    }
    for (size_t i = 0; i < s->grid; i++) scores[i] = score;
    return CZ_OK;
}

static cz_status relate(cz_scorer *s, const uint16_t *const *maps, const uint8_t *valid, cz_timing *timing)
{
    const double start = cz_now_ms();
    const cz_status status = cz_relation_run(s->relation, maps, valid, s->related);
    if (status == CZ_OK) cz_bf16_round(s->related, s->grid * s->model->feature_width, s->narrow);
    timing->pooling += cz_now_ms() - start;
    return status;
}

/* The features of the chosen patches (s->rows). */
static void take_rows(cz_scorer *s, const uint16_t *const *maps, size_t count)
{
    const cz_model *m = s->model;
    if (s->relation != NULL) {
        cz_relate_rows(s->narrow, m->relation, m->feature_width, (float)m->feature_scale, s->rows, count, s->features);
    } else {
        cz_pooler_rows_bf16(s->pooler, maps, (float)m->feature_scale, s->rows, count, s->scratch, s->features);
    }
}

static cz_status run_generic(cz_scorer *s, const uint16_t *const *maps, const uint8_t *valid, float *scores,
                             cz_timing *timing)
{
    cz_status status = CZ_OK;
    if (s->relation != NULL) CZ_TRY(relate(s, maps, valid, timing));
    if (s->descriptor != NULL) cz_descriptor_begin(s->descriptor);
    for (size_t first = 0; first < s->grid; first += s->chunk) {
        double start = cz_now_ms();
        const size_t count = choose(s, valid, first);
        if (count > 0) take_rows(s, maps, count);
        if (s->descriptor != NULL) cz_descriptor_add(s->descriptor, s->features, s->rows, count);
        timing->pooling += cz_now_ms() - start;
        start = cz_now_ms();
        if (s->descriptor == NULL) CZ_TRY(score_chunk(s, first, count, scores));
        timing->head += cz_now_ms() - start;
    }
    if (s->descriptor != NULL) status = score_image(s, scores);
out:
    return status;
}

cz_status cz_scorer_run(cz_scorer *s, const uint16_t *const *maps, const uint8_t *valid, float *scores,
                        cz_timing *timing)
{
    cz_status status;
    if (s->composed == NULL) return run_generic(s, maps, valid, scores, timing);
    double start = cz_now_ms();
    CZ_TRY(cz_composed_pool(s->composed, maps, 1, (float)s->model->feature_scale));
    timing->pooling += cz_now_ms() - start;
    start = cz_now_ms();
    CZ_TRY(cz_composed_scores(s->composed, scores));
    timing->head += cz_now_ms() - start;
out:
    return status;
}
