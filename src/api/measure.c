/* SPDX-License-Identifier: Apache-2.0 */
#include "api/measure.h"

#include "backbone/quantise.h"
#include "engine/engine.h"
#include "features/patch.h"
#include "util/alloc.h"
#include "util/reduce.h"
#include "util/threads.h"

#include <math.h>
#include <string.h>

/* Photos that errors are measured on, and what their inputs and features may take in memory. */
#define ERROR_PHOTOS ((size_t)8)
#define ERROR_BYTES  ((size_t)128 << 20)

typedef struct measurement {
    const cz_measure_options *options;
    cz_quantiser *quantiser;
    cz_pooler *pooler;
    size_t threads, photos, input_values, patch_values;
    size_t room, kept; /* photos that errors are measured on */
    float *inputs;     /* [room + 1, height, width, 3]; the photo at hand is behind those kept */
    float *reference;  /* [room, P, D] in fp32 */
    float *patches;    /* [P, D] */
    float *scratch;    /* of the pooler */
    uint8_t *rgb;      /* [height, width, 3] */
    float mean[3], std[3];
} measurement;

/* ---- making --------------------------------------------------------------------------------------------------------- */

static cz_status make_pooler(measurement *m)
{
    cz_tap_shape shapes[CZ_MAX_TAPS];
    const cz_plan *plan = cz_quantiser_plan(m->quantiser);
    const size_t taps = cz_plan_tap_count(plan);
    for (size_t i = 0; i < taps; i++) {
        const cz_tap *tap = cz_plan_tap(plan, i);
        shapes[i] = (cz_tap_shape){tap->channels, tap->height, tap->width};
    }
    return cz_pooler_create(shapes, taps, m->options->width, 3, &m->pooler);
}

static cz_status prepare(measurement *m)
{
    cz_status status;
    const cz_measure_options *o = m->options;
    const size_t photos = o->photos < o->source->count ? o->photos : o->source->count;
    if (photos == 0) return cz_fail(CZ_E_NO_IMAGES, "no photos to measure precisions on");
    m->photos = photos;
    CZ_TRY(cz_quantiser_create(o->backbone, o->taps, o->prep->height, o->prep->width, m->threads, &m->quantiser));
    CZ_TRY(make_pooler(m));
    cz_backbone_normalisation(o->backbone, m->mean, m->std);
    m->input_values = o->prep->height * o->prep->width * 3;
    m->patch_values = cz_pooler_grid_h(m->pooler) * cz_pooler_grid_w(m->pooler) * o->width;
    m->room = ERROR_BYTES / ((m->input_values + m->patch_values) * sizeof *m->inputs);
    if (m->room > ERROR_PHOTOS) m->room = ERROR_PHOTOS;
    if (m->room > photos) m->room = photos;
    if (m->room == 0) m->room = 1;
    m->rgb = cz_alloc(m->input_values);
    m->inputs = cz_alloc_array((m->room + 1) * m->input_values, sizeof *m->inputs);
    m->reference = cz_alloc_array(m->room * m->patch_values, sizeof *m->reference);
    m->patches = cz_alloc_array(m->patch_values, sizeof *m->patches);
    m->scratch = cz_alloc_array(cz_pooler_scratch(m->pooler), sizeof *m->scratch);
    if (m->rgb == NULL || m->inputs == NULL || m->reference == NULL || m->patches == NULL || m->scratch == NULL) {
        status = CZ_E_MEMORY;
    }
out:
    return status;
}

static void release(measurement *m)
{
    cz_quantiser_destroy(m->quantiser);
    cz_pooler_destroy(m->pooler);
    cz_free(m->rgb);
    cz_free(m->inputs);
    cz_free(m->reference);
    cz_free(m->patches);
    cz_free(m->scratch);
}

/* ---- ranges ----------------------------------------------------------------------------------------------------------- */

/* False: this photo is no use; its message is dropped. */
static bool load(measurement *m, size_t index, float *input)
{
    const cz_measure_options *o = m->options;
    cz_geometry geometry;
    cz_image image;
    memset(&image, 0, sizeof image);
    if (o->source->load(o->source->ctx, index, &image) != CZ_OK) {
        cz_error_clear();
        return false;
    }
    const cz_status status = cz_prep_image(o->prep, &image, m->mean, m->rgb, &geometry);
    if (o->source->release != NULL) o->source->release(o->source->ctx, index, &image);
    if (status != CZ_OK) {
        cz_error_clear();
        return false;
    }
    cz_prep_normalise(o->prep, &geometry, m->rgb, m->mean, m->std, input);
    return true;
}

static void keep(measurement *m)
{
    const cz_plan *plan = cz_quantiser_plan(m->quantiser);
    const float *maps[CZ_MAX_TAPS];
    for (size_t i = 0; i < cz_plan_tap_count(plan); i++) maps[i] = cz_plan_tap_data(plan, i);
    cz_pooler_patches(m->pooler, maps, 1.0f, m->scratch, m->reference + m->kept * m->patch_values);
    m->kept++;
}

static cz_status observe(measurement *m, cz_precision_facts *facts)
{
    cz_status status = CZ_OK;
    const cz_measure_options *o = m->options;
    for (size_t i = 0; i < m->photos; i++) {
        float *input = m->inputs + m->kept * m->input_values;
        if (o->progress != NULL && o->progress(o->ctx, "precision", i, m->photos, "") != 0)
            return cz_fail(CZ_E_CANCELLED, "cancelled");
        if (!load(m, i * o->source->count / m->photos, input)) continue;
        CZ_TRY(cz_quantiser_add(m->quantiser, input));
        facts->photos++;
        /* those that errors are measured on are spread over all of them, too */
        if (m->kept < m->room && i >= m->kept * m->photos / m->room) keep(m);
    }
    if (facts->photos == 0) return cz_fail(CZ_E_NO_IMAGES, "no photo could be read to measure precisions on");
    CZ_TRY(cz_quantiser_finish(m->quantiser, &facts->quant));
out:
    return status;
}

/* ---- errors ----------------------------------------------------------------------------------------------------------- */

/* Patch features of one kept photo as the head would see them. */
static cz_status pool(measurement *m, cz_plan *plan, size_t photo)
{
    const uint16_t *maps[CZ_MAX_TAPS];
    const cz_status status = cz_plan_run(plan, m->inputs + photo * m->input_values);
    if (status != CZ_OK) return status;
    for (size_t t = 0; t < cz_plan_tap_count(plan); t++) maps[t] = cz_plan_tap_bf16(plan, t);
    cz_pooler_patches_bf16(m->pooler, maps, 1.0f, m->scratch, m->patches);
    return CZ_OK;
}

/* sqrt(sum of (o - o_fp32)^2 / sum of o_fp32^2) over all patches of the kept photos. */
static cz_status measure_error(measurement *m, cz_precision precision, const cz_quant *quant, double *out)
{
    cz_status status;
    const cz_measure_options *o = m->options;
    const cz_plan_options options = {.taps = o->taps,
                                     .batch = 1,
                                     .height = o->prep->height,
                                     .width = o->prep->width,
                                     .threads = m->threads,
                                     .precision = precision,
                                     .quant = quant,
                                     .bf16_taps = true};
    cz_plan *plan = NULL;
    double difference = 0.0, size = 0.0;
    CZ_TRY(cz_plan_create(o->backbone, &options, &plan));
    for (size_t i = 0; i < m->kept; i++) {
        const float *reference = m->reference + i * m->patch_values;
        CZ_TRY(pool(m, plan, i));
        difference += cz_distance2(m->patches, reference, m->patch_values);
        size += cz_dot(reference, reference, m->patch_values);
    }
    if (size > 0.0 && isfinite(difference)) *out = sqrt(difference / size);
out:
    cz_plan_destroy(plan);
    return status;
}

static cz_status measure_errors(measurement *m, cz_precision_facts *facts)
{
    for (size_t i = 1; i < CZ_PRECISIONS; i++) {
        if (!cz_engine_native((cz_precision)i)) continue;
        const cz_status status = measure_error(m, (cz_precision)i, &facts->quant, &facts->error[i]);
        if (status == CZ_E_MEMORY) return status;
        if (status == CZ_OK) continue;
        facts->error[i] = (double)NAN;
        if (m->options->log != NULL && status != CZ_E_UNSUPPORTED) m->options->log(m->options->ctx, cz_last_error());
        cz_error_clear();
    }
    return CZ_OK;
}

cz_status cz_precision_measure(const cz_measure_options *options, cz_precision_facts *out)
{
    cz_status status;
    cz_precision_facts facts;
    measurement m = {.options = options, .threads = options->threads > 0 ? options->threads : cz_threads_available()};
    cz_precision_facts_init(&facts);
    CZ_TRY(prepare(&m));
    CZ_TRY(observe(&m, &facts));
    CZ_TRY(measure_errors(&m, &facts));
    *out = facts;
out:
    release(&m);
    return status;
}

cz_status cz_precision_measure_model(cz_model *model, cz_precision precision, const cz_measure_options *options)
{
    cz_status status;
    cz_precision_facts facts;
    cz_measure_options own = *options;
    if (precision != CZ_PRECISION_INT8 || model->quant.count > 0) return CZ_OK;
    own.backbone = model->backbone;
    own.taps = model->taps;
    own.prep = &model->prep;
    own.width = model->feature_width;
    CZ_TRY(cz_precision_measure(&own, &facts));
    CZ_TRY(cz_precision_store(model, &facts));
    CZ_TRY(cz_model_refresh_json(model));
out:
    return status;
}
