/* SPDX-License-Identifier: Apache-2.0 */
#include "api/cozad_settings.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* ---- reading ---------------------------------------------------------------------------------------------------- */

typedef enum field_kind { FLAG, COUNT, REAL, TEXT } field_kind;

#define FIELD(name, kind)                                                                                              \
    {                                                                                                                  \
#name, kind, offsetof(cz_cozad_options, name)                                                                  \
    }

static const struct field {
    const char *name;
    field_kind kind;
    size_t offset;
} fields[] = {
    FIELD(scl, FLAG),
    FIELD(data_uncertainty, FLAG),
    FIELD(model_uncertainty, FLAG),
    FIELD(hard_cl, FLAG),
    FIELD(confidence_unit, TEXT),
    FIELD(weight_anchor, TEXT),
    FIELD(weight_both, FLAG),
    FIELD(weight_floor, REAL),
    FIELD(weight_window, COUNT),
    FIELD(kappa, REAL),
    FIELD(gamma, REAL),
    FIELD(lambda0, REAL),
    FIELD(uncertainty_pairs, COUNT),
    FIELD(uncertainty_scale, TEXT),
    FIELD(det_max, REAL),
    FIELD(decay, TEXT),
    FIELD(loss_reduction, TEXT),
    FIELD(contrast, FLAG),
    FIELD(lambda_cont, REAL),
    FIELD(knn, COUNT),
    FIELD(temperature, REAL),
    FIELD(contrast_chunk, COUNT),
    FIELD(contrast_literal, FLAG),
    FIELD(contrast_in, TEXT),
    FIELD(meta, FLAG),
    FIELD(meta_gradient, TEXT),
    FIELD(tasks, COUNT),
    FIELD(inner_steps, COUNT),
    FIELD(inner_lr, REAL),
    FIELD(query_share, REAL),
    FIELD(balance, FLAG),
};

static cz_status read_field(const struct field *field, const json_t *value, cz_cozad_options *out)
{
    void *target = (char *)out + field->offset;
    bool fits = false;
    switch (field->kind) {
    case FLAG:
        fits = json_is_boolean(value);
        if (fits) *(int *)target = json_is_true(value);
        break;
    case COUNT:
        fits = json_is_integer(value) && json_integer_value(value) >= 0;
        if (fits) *(size_t *)target = (size_t)json_integer_value(value);
        break;
    case REAL:
        fits = json_is_number(value) && isfinite(json_number_value(value));
        if (fits) *(double *)target = json_number_value(value);
        break;
    case TEXT:
        fits = json_is_string(value);
        if (fits) *(const char **)target = json_string_value(value);
        break;
    }
    return fits ? CZ_OK : cz_fail(CZ_E_MODEL, "model: training.cozad.%s is of the wrong type", field->name);
}

cz_status cz_cozad_options_read(const json_t *from, cz_cozad_options *out)
{
    cz_cozad_options_init(out);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        const json_t *value = json_object_get(from, fields[i].name);
        if (value == NULL) continue; /* of a version that did not have it yet */
        const cz_status status = read_field(&fields[i], value, out);
        if (status != CZ_OK) return status;
    }
    return CZ_OK;
}

/* ---- the objective ---------------------------------------------------------------------------------------------- */

/* Index of `value` among `names`, or CZ_E_ARG with all of them. */
static cz_status choose(const char *option, const char *value, const char *const *names, size_t count, size_t *out)
{
    char known[160] = "";
    for (size_t i = 0; i < count; i++) {
        if (value != NULL && strcmp(value, names[i]) == 0) {
            *out = i;
            return CZ_OK;
        }
        const size_t used = strlen(known);
        (void)snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    return cz_fail(CZ_E_ARG, "%s \"%.40s\" is not one of: %s", option, value != NULL ? value : "", known);
}

static cz_status within(const char *option, double value, double low, double high)
{
    if (value >= low && value <= high) return CZ_OK;
    return cz_fail(CZ_E_ARG, "%s %g is not within %g … %g", option, value, low, high);
}

cz_status cz_cozad_objective(const cz_cozad_options *o, double noise_std, size_t top_k, cz_objective *out)
{
    cz_status status;
    size_t unit = 0, anchor = 0, decay = 0, reduction = 0;
    CZ_TRY(within("kappa", o->kappa, 0.0, 1e6));
    CZ_TRY(within("weight_floor", o->weight_floor, 1e-12, 1.0));
    CZ_TRY(within("weight_window", (double)o->weight_window, 16.0, 1e9));
    CZ_TRY(within("lambda_cont", o->lambda_cont, 0.0, 1e6));
    CZ_TRY(within("temperature", o->temperature, 1e-4, 1e6));
    CZ_TRY(within("contrast_chunk", (double)o->contrast_chunk, 2.0, 65536.0));
    CZ_TRY(within("knn", (double)o->knn, 0.0, 65536.0));
    if (o->contrast_literal && o->knn == 0)
        CZ_TRY(cz_fail(CZ_E_ARG, "contrast_literal needs knn of 1 or more: Eq. 1 has no other form"));
    CZ_TRY(choose("confidence_unit", o->confidence_unit, (const char *[]){"patch", "image"}, 2, &unit));
    CZ_TRY(choose("weight_anchor", o->weight_anchor, (const char *[]){"median", "min", "none"}, 3, &anchor));
    CZ_TRY(choose("decay", o->decay, (const char *[]){"matrices", "all"}, 2, &decay));
    CZ_TRY(choose("loss_reduction", o->loss_reduction, (const char *[]){"mean", "sum"}, 2, &reduction));
    cz_objective_init(out);
    out->weigh = o->scl && o->data_uncertainty;
    out->image_unit = unit == 1;
    out->top_k = top_k;
    out->confidence.kappa = o->kappa;
    out->confidence.floor = o->weight_floor;
    out->confidence.anchor = (cz_weight_anchor)anchor;
    out->confidence.hard = o->hard_cl != 0;
    out->contrast = o->contrast != 0;
    out->lambda_cont = o->lambda_cont;
    out->contrast_options.chunk = o->contrast_chunk;
    out->contrast_options.knn = o->knn;
    out->contrast_options.temperature = o->temperature;
    out->contrast_options.noise_std = noise_std;
    out->contrast_options.literal = o->contrast_literal != 0;
    out->sum = reduction == 1;
    out->decay_all = decay == 1;
out:
    return status;
}

cz_status cz_cozad_meta(const cz_cozad_options *o, cz_meta_options *out)
{
    cz_status status;
    size_t gradient = 0, in = 0;
    CZ_TRY(
        choose("meta_gradient", o->meta_gradient, (const char *[]){"exact", "first-order", "reptile"}, 3, &gradient));
    CZ_TRY(choose("contrast_in", o->contrast_in, (const char *[]){"both", "inner", "outer"}, 3, &in));
    CZ_TRY(within("inner_lr", o->inner_lr, 1e-12, 1e6));
    CZ_TRY(within("inner_steps", (double)o->inner_steps, 0.0, CZ_META_MAX_INNER));
    CZ_TRY(within("query_share", o->query_share, 0.0, 0.95));
    CZ_TRY(within("tasks", (double)o->tasks, 1.0, 4096.0));
    cz_meta_options_init(out);
    out->gradient = o->meta ? (cz_meta_gradient)(gradient + 1) : CZ_META_OFF;
    out->inner_steps = o->inner_steps;
    if (o->inner_steps == 0) out->inner_steps = out->gradient == CZ_META_REPTILE ? 5 : 1;
    out->inner_lr = o->inner_lr;
    out->contrast_inner = in != 2;
    out->contrast_outer = in != 1;
    if (out->gradient == CZ_META_REPTILE && out->inner_steps < 2)
        CZ_TRY(cz_fail(CZ_E_ARG, "reptile with one inner step is plain training (meta off): it needs 2 or more"));
out:
    return status;
}

cz_status cz_cozad_uncertainty(const cz_cozad_options *o, cz_uncertainty_options *out)
{
    cz_status status;
    size_t scale = 0;
    CZ_TRY(choose("uncertainty_scale", o->uncertainty_scale, (const char *[]){"relative", "raw"}, 2, &scale));
    CZ_TRY(within("gamma", o->gamma, 0.0, 1e9));
    CZ_TRY(within("lambda0", o->lambda0, 0.0, 1e3));
    CZ_TRY(within("det_max", o->det_max, 0.0, 1e12));
    CZ_TRY(within("uncertainty_pairs", (double)o->uncertainty_pairs, 2.0, CZ_UNCERTAINTY_MAX_PAIRS));
    cz_uncertainty_options_init(out);
    out->pairs = o->uncertainty_pairs;
    out->lambda0 = o->lambda0;
    out->gamma = o->scl && o->model_uncertainty ? o->gamma : 0.0;
    out->det_max = o->det_max;
    out->raw = scale == 1;
out:
    return status;
}

cz_status cz_cozad_options_check(const cz_cozad_options *o)
{
    cz_status status;
    cz_objective objective;
    cz_meta_options meta;
    cz_uncertainty_options uncertainty;
    if (o->struct_size < sizeof *o)
        return cz_fail(CZ_E_ARG, "cz_cozad_options: unknown struct_size %zu", o->struct_size);
    CZ_TRY(cz_cozad_objective(o, 0.0, 1, &objective));
    CZ_TRY(cz_cozad_meta(o, &meta));
    CZ_TRY(cz_cozad_uncertainty(o, &uncertainty));
out:
    return status;
}
