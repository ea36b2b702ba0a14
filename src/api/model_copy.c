/* SPDX-License-Identifier: Apache-2.0 */
#include "api/model.h"
#include "tensor/tensors.h"
#include "util/alloc.h"

#include <string.h>

static cz_status copy_prep(const cz_prep *from, cz_prep *out)
{
    *out = *from;
    out->ignore = NULL;
    if (from->ignore == NULL) return CZ_OK;
    const size_t count = from->ignore_width * from->ignore_height;
    out->ignore = cz_alloc(count);
    if (out->ignore == NULL) return CZ_E_MEMORY;
    memcpy(out->ignore, from->ignore, count);
    return CZ_OK;
}

static cz_status copy_extra(const cz_tensors *from, cz_tensors **out)
{
    cz_status status;
    CZ_TRY(cz_tensors_create(out));
    for (size_t i = 0; from != NULL && i < cz_tensors_count(from); i++) {
        cz_tensor_view view;
        CZ_TRY(cz_tensors_get(from, i, &view));
        if (strncmp(view.name, "calib.", 6) != 0) CZ_TRY(cz_tensors_add(*out, &view));
    }
    for (size_t i = 0; from != NULL && i < cz_tensors_metadata_count(from); i++) {
        const char *key, *value;
        CZ_TRY(cz_tensors_metadata_at(from, i, &key, &value));
        CZ_TRY(cz_tensors_set_metadata(*out, key, value));
    }
out:
    return status;
}

static cz_status copy_head(const cz_model *from, const cz_head_config *config, cz_model *m)
{
    cz_status status;
    CZ_TRY(cz_head_create(from->detector, config, &m->head));
    m->params = cz_alloc_array(m->head->param_count, sizeof *m->params);
    m->state = cz_alloc_array(m->head->state_count, sizeof *m->state);
    if (m->params == NULL || m->state == NULL) return CZ_E_MEMORY;
    memcpy(m->params, from->params, m->head->param_count * sizeof *m->params);
    if (m->head->state_count > 0) memcpy(m->state, from->state, m->head->state_count * sizeof *m->state);
out:
    return status;
}

static cz_status copy_relation(const cz_model *from, cz_model *m)
{
    const size_t count = 2 * from->feature_width;
    if (from->relation == NULL) return CZ_OK;
    m->relation = cz_alloc_array(count, sizeof *m->relation);
    if (m->relation == NULL) return CZ_E_MEMORY;
    memcpy(m->relation, from->relation, count * sizeof *m->relation);
    return CZ_OK;
}

cz_status cz_model_copy(const cz_model *from, const cz_head_config *config, cz_model **out)
{
    cz_status status;
    cz_model *m = NULL;
    CZ_TRY(cz_model_create(&m));
    m->backbone = cz_backbone_retain(from->backbone);
    m->feature_scale = from->feature_scale;
    m->score_median = from->score_median;
    m->score_max = from->score_max;
    m->top_k = from->top_k;
    m->quant = from->quant;
    m->feature_width = from->feature_width;
    m->neighbourhood = from->neighbourhood;
    m->image_level = from->image_level;
    m->taps = cz_strdup(from->taps);
    m->detector = cz_strdup(from->detector);
    m->backbone_name = cz_strdup(from->backbone_name);
    m->backbone_sha256 = cz_strdup(from->backbone_sha256);
    m->meta = json_deep_copy(from->meta);
    if (m->taps == NULL || m->detector == NULL || m->backbone_name == NULL || m->backbone_sha256 == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    if (m->meta == NULL) {
        status = cz_fail(CZ_E_MEMORY, "out of memory");
        goto out;
    }
    (void)json_object_del(m->meta, "calibration"); /* absent as a rule */
    CZ_TRY(copy_relation(from, m));
    CZ_TRY(copy_prep(&from->prep, &m->prep));
    CZ_TRY(copy_extra(from->extra, &m->extra));
    CZ_TRY(copy_head(from, config != NULL ? config : &from->head->config, m));
    CZ_TRY(cz_model_refresh_json(m));
    *out = m;
    m = NULL;
out:
    cz_model_close(m);
    return status;
}
