/* SPDX-License-Identifier: Apache-2.0 */
#include "api/patches.h"

#include "api/collect.h"
#include "heads/knn.h"
#include "util/alloc.h"
#include "util/reduce.h"
#include "util/threads.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- making --------------------------------------------------------------------------------------------------- */

static cz_status make_buffers(cz_patch_set *p)
{
    cz_status status;
    cz_tap_shape shapes[CZ_MAX_TAPS];
    const size_t taps = cz_extractor_taps(p->extractor);
    for (size_t i = 0; i < taps; i++) shapes[i] = *cz_extractor_shape(p->extractor, i);
    CZ_TRY(cz_pooler_create(shapes, taps, p->width, p->neighbourhood, &p->pooler));
    p->grid = cz_pooler_grid_h(p->pooler) * cz_pooler_grid_w(p->pooler);
    p->scratch = cz_alloc_array(cz_pooler_scratch(p->pooler), sizeof *p->scratch);
    p->rows = cz_alloc_array(p->grid, sizeof *p->rows);
    if (p->scratch == NULL || p->rows == NULL) status = CZ_E_MEMORY;
out:
    return status;
}

static cz_status collect(cz_patch_set *p, const cz_patch_options *o, const cz_extractor_options *extract)
{
    cz_status status;
    cz_extractor_options shared = *extract;
    if (shared.threads == 0) shared.threads = cz_threads_available();
    const cz_collect_options options = {
        .backbone = o->backbone,
        .source = o->source,
        .extract = &shared,
        .grid_w = cz_pooler_grid_w(p->pooler),
        .grid_h = cz_pooler_grid_h(p->pooler),
        .progress = o->progress,
        .ctx = o->ctx,
    };
    CZ_TRY(cz_feature_set_create(o->source->count, cz_extractor_values(p->extractor), &p->set));
    CZ_TRY(cz_collect(&options, &p->set, &p->skipped));
out:
    return status;
}

cz_status cz_patch_set_create(const cz_patch_options *o, cz_patch_set *out)
{
    cz_status status;
    cz_patch_set p = {.width = o->width,
                      .neighbourhood = o->neighbourhood > 0 ? o->neighbourhood : 3,
                      .scale = 1.0,
                      .progress = o->progress,
                      .ctx = o->ctx};
    p.set.file = -1;
    const cz_extractor_options extract = {.taps = o->taps,
                                          .prep = o->prep,
                                          .threads = o->threads,
                                          .batch = 1,
                                          .precision = o->precision,
                                          .quant = o->quant,
                                          .cache = o->cache,
                                          .log = o->log,
                                          .ctx = o->ctx};
    CZ_TRY(cz_extractor_create(o->backbone, &extract, &p.extractor));
    CZ_TRY(make_buffers(&p));
    CZ_TRY(collect(&p, o, &extract));
    *out = p;
    return CZ_OK;
out:
    cz_patch_set_free(&p);
    return status;
}

void cz_patch_set_free(cz_patch_set *p)
{
    cz_feature_set_free(&p->set);
    cz_feature_set_free(&p->related);
    cz_extractor_destroy(p->extractor);
    cz_pooler_destroy(p->pooler);
    cz_free(p->scratch);
    cz_free(p->rows);
    cz_descriptor_destroy(p->descriptor);
    cz_free(p->patches);
    cz_free(p->own);
    memset(p, 0, sizeof *p);
    p->set.file = -1;
}

cz_status cz_patch_set_use_neighbourhood(cz_patch_set *p, size_t neighbourhood)
{
    if (p->neighbourhood == neighbourhood) return CZ_OK;
    cz_pooler_destroy(p->pooler);
    cz_free(p->scratch);
    cz_free(p->rows);
    p->pooler = NULL;
    p->scratch = NULL;
    p->rows = NULL;
    p->neighbourhood = neighbourhood;
    return make_buffers(p);
}

cz_status cz_patch_set_report(const cz_patch_set *p, const char *what, size_t done, size_t total, const char *detail)
{
    if (p->progress == NULL || p->progress(p->ctx, what, done, total, detail) == 0) return CZ_OK;
    return cz_fail(CZ_E_CANCELLED, "cancelled");
}

/* ---- pooling -------------------------------------------------------------------------------------------------- */

/* The chosen rows (p->rows) of one photo. Its maps are let go of afterwards when there are many: pages that stay mapped count
 * as this process's memory, though the disk has them. */
static void pool(cz_patch_set *p, size_t image, size_t count, float *out)
{
    const uint16_t *maps[CZ_MAX_TAPS];
    if (p->scales != NULL) {
        cz_relate_rows(p->related.items[image].values, p->scales, p->width, (float)p->scale, p->rows, count, out);
        cz_feature_set_release_pages(&p->related, image);
        return;
    }
    cz_extractor_maps(p->extractor, p->set.items[image].values, maps);
    cz_pooler_rows_bf16(p->pooler, maps, (float)p->scale, p->rows, count, p->scratch, out);
    cz_feature_set_release_pages(&p->set, image);
}

static size_t cells(const cz_patch_set *p)
{
    return cz_pooler_grid_h(p->pooler) * cz_pooler_grid_w(p->pooler);
}

cz_status cz_patch_set_use_images(cz_patch_set *p)
{
    cz_status status;
    size_t floats;
    if (!cz_mul_size(cells(p), p->width, &floats)) return cz_fail(CZ_E_MEMORY, "an image's patches are too large");
    p->patches = cz_alloc_array(floats, sizeof *p->patches);
    if (p->patches == NULL) return CZ_E_MEMORY;
    CZ_TRY(cz_descriptor_create(p->width, cz_pooler_grid_w(p->pooler), cz_pooler_grid_h(p->pooler), &p->descriptor));
    p->width = cz_descriptor_width(p->width);
    p->grid = 1;
out:
    return status;
}

static cz_status report_relating(void *ctx, size_t done, size_t total)
{
    return cz_patch_set_report(ctx, "features", done, total, "relating patches");
}

cz_status cz_patch_set_use_relations(cz_patch_set *p, float *scales, bool measure)
{
    cz_status status;
    CZ_TRY(cz_relate_all(&p->set, p->extractor, report_relating, p, &p->related));
    p->width = p->related.values / cells(p);
    if (measure) CZ_TRY(cz_relate_measure(&p->set, &p->related, p->width, scales));
    p->scales = scales;
out:
    return status;
}

size_t cz_patch_set_whole(cz_patch_set *p, size_t image, float *out)
{
    const cz_feature_item *item = &p->set.items[image];
    size_t count = 0;
    for (size_t i = 0; i < cells(p); i++) {
        if (item->valid[i]) p->rows[count++] = i;
    }
    pool(p, image, count, p->descriptor != NULL ? p->patches : out);
    if (p->descriptor == NULL) return count;
    cz_descriptor_begin(p->descriptor);
    cz_descriptor_add(p->descriptor, p->patches, p->rows, count);
    (void)cz_descriptor_end(p->descriptor, out); /* a photo without inspected patches is not in the set */
    p->rows[0] = 0;
    return 1;
}

size_t cz_patch_set_count(const cz_patch_set *p, size_t image, size_t wanted)
{
    const size_t valid = p->descriptor != NULL ? 1 : p->set.items[image].valid_count;
    return wanted == 0 || wanted > valid ? valid : wanted;
}

/* p->rows: from `count` ascending places among the inspected patches to places in the grid. */
static void find_rows(cz_patch_set *p, size_t image, size_t count)
{
    const cz_feature_item *item = &p->set.items[image];
    size_t seen = 0, next = 0;
    for (size_t i = 0; i < p->grid && next < count; i++) {
        if (!item->valid[i]) continue;
        if (p->rows[next] == seen++) p->rows[next++] = i;
    }
}

size_t cz_patch_set_sample(cz_patch_set *p, size_t image, size_t wanted, cz_rng *rng, float *out)
{
    if (p->descriptor != NULL) return cz_patch_set_whole(p, image, out);
    const size_t count = cz_patch_set_count(p, image, wanted);
    cz_rng_choose(rng, p->set.items[image].valid_count, count, p->rows);
    find_rows(p, image, count);
    pool(p, image, count, out);
    return count;
}

void cz_patch_set_pick(cz_patch_set *p, size_t image, const size_t *which, size_t count, float *out)
{
    memcpy(p->rows, which, count * sizeof *which);
    find_rows(p, image, count);
    pool(p, image, count, out);
}

double cz_patch_set_rms(cz_patch_set *p, float *features)
{
    double sum = 0.0, count = 0.0;
    for (size_t i = 0; i < p->set.count; i++) {
        const size_t n = cz_patch_set_whole(p, i, features) * p->width;
        sum += cz_dot(features, features, n); /* the same for any run: the scale is part of a checkpoint's key */
        count += (double)n;
    }
    return sqrt(sum / count);
}

/* ---- over the whole set ----------------------------------------------------------------------------------------- */

cz_status cz_patch_set_statistics(cz_patch_set *p, cz_model *m, float *features)
{
    cz_status status;
    cz_head_pass *pass = NULL;
    if (m->head->ops->pass_begin == NULL) return CZ_OK;
    CZ_TRY(cz_head_pass_begin(m->head, m->params, &pass));
    for (size_t i = 0; i < p->set.count; i++) {
        CZ_TRY(cz_patch_set_report(p, "statistics", i, p->set.count, ""));
        const size_t rows = cz_patch_set_whole(p, i, features);
        CZ_TRY(cz_head_pass_add(m->head, pass, features, rows));
    }
    CZ_TRY(cz_head_pass_end(m->head, pass, m->params, m->state));
    CZ_TRY(cz_patch_set_report(p, "statistics", p->set.count, p->set.count, ""));
out:
    if (pass != NULL) cz_head_pass_destroy(m->head, pass);
    return status;
}

/* One photo alone is compared with itself strip by strip. */
static cz_status score_strips(cz_patch_set *p, const cz_model *m, const float *features, size_t rows, float *scores)
{
    cz_status status = CZ_OK;
    for (size_t first = 0, end; first < rows && status == CZ_OK; first = end) {
        const size_t strip = p->rows[first] * CZ_OWN_STRIPS / p->grid;
        for (end = first + 1; end < rows && p->rows[end] * CZ_OWN_STRIPS / p->grid == strip;) end++;
        status = cz_knn_score_without(m->head, m->params, m->state, p->own[strip], p->own[strip + 1],
                                      features + first * p->width, end - first, scores + first);
    }
    return status;
}

cz_status cz_patch_set_score(cz_patch_set *p, const cz_model *m, size_t image, const float *features, size_t rows,
                             float *scores)
{
    if (p->own == NULL) return cz_head_score(m->head, m->params, m->state, features, rows, scores);
    if (p->set.count == 1) return score_strips(p, m, features, rows, scores);
    return cz_knn_score_without(m->head, m->params, m->state, p->own[image], p->own[image + 1], features, rows, scores);
}

/* Photos whose patch scores are looked at for the colour scale: enough for a median and a typical maximum. */
#define SCALE_PHOTOS ((size_t)32)

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

cz_status cz_patch_set_score_scale(cz_patch_set *p, cz_model *m, float *features)
{
    cz_status status = CZ_OK;
    const size_t photos = p->set.count < SCALE_PHOTOS ? p->set.count : SCALE_PHOTOS;
    size_t count = 0;
    float *scores = cz_alloc_array(photos * p->grid, sizeof *scores);
    if (scores == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; i < photos; i++) {
        const size_t image = i * p->set.count / photos, rows = cz_patch_set_whole(p, image, features);
        CZ_TRY(cz_patch_set_score(p, m, image, features, rows, scores + count));
        count += rows;
    }
    qsort(scores, count, sizeof *scores, ascending);
    m->score_median = (double)scores[count / 2];
    m->score_max = (double)scores[count - 1];
    if (!isfinite(m->score_median) || !isfinite(m->score_max)) {
        status = cz_fail(CZ_E_DIVERGED, "training ended with scores that are not finite; lower the learning rates");
    }
out:
    cz_free(scores);
    return status;
}
