/* SPDX-License-Identifier: Apache-2.0 */
#include "api/precision.h"

#include "api/calibration.h"
#include "backbone/quantise.h"
#include "engine/engine.h"
#include "tensor/tensors.h"

#include <math.h>
#include <string.h>

static const struct {
    cz_precision precision;
    const char *name;
} table[] = {
    {CZ_PRECISION_FP32, "fp32"}, {CZ_PRECISION_FP32_WINOGRAD, "fp32-winograd"},
    {CZ_PRECISION_BF16, "bf16"}, {CZ_PRECISION_INT8, "int8"},
    {CZ_PRECISION_AUTO, "auto"}, {CZ_PRECISION_MODEL, "model"},
};

enum { COUNT = sizeof table / sizeof table[0] };

const char *cz_precision_name(cz_precision precision)
{
    for (size_t i = 0; i < COUNT; i++)
        if (table[i].precision == precision) return table[i].name;
    return "unknown";
}

int cz_precision_find(const char *name, cz_precision *out)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (strcmp(table[i].name, name) != 0) continue;
        *out = table[i].precision;
        return 1;
    }
    return 0;
}

const char *cz_precision_algorithm(cz_precision precision)
{
    return precision == CZ_PRECISION_FP32_WINOGRAD ? "winograd" : "direct";
}

cz_precision cz_precision_products(cz_precision precision)
{
    const bool low = precision == CZ_PRECISION_BF16 || precision == CZ_PRECISION_INT8;
    return low ? CZ_PRECISION_BF16 : CZ_PRECISION_FP32;
}

cz_status cz_precision_check(cz_precision precision)
{
    for (size_t i = 0; i < COUNT; i++)
        if (table[i].precision == precision) return CZ_OK;
    return cz_fail(CZ_E_ARG, "unknown precision %d", (int)precision);
}

void cz_precision_facts_init(cz_precision_facts *facts)
{
    memset(facts, 0, sizeof *facts);
    for (size_t i = 0; i < CZ_PRECISIONS; i++) facts->error[i] = (double)NAN;
    facts->error[CZ_PRECISION_FP32] = 0.0;
}

/* ---- choosing ----------------------------------------------------------------------------------------------------- */

cz_precision cz_precision_choose(const double error[CZ_PRECISIONS], bool (*native)(cz_precision))
{
    static const cz_precision fastest_first[] = {CZ_PRECISION_INT8, CZ_PRECISION_BF16, CZ_PRECISION_FP32_WINOGRAD};
    for (size_t i = 0; i < sizeof fastest_first / sizeof *fastest_first; i++) {
        const cz_precision p = fastest_first[i];
        if (native(p) && error[p] <= CZ_AUTO_ERROR) return p; /* false for NaN */
    }
    return CZ_PRECISION_FP32;
}

/* A precision by the name that stands in a model. */
static cz_status read_name(const json_t *from, const char *what, cz_precision *out)
{
    const json_t *value = json_object_get(from, "precision");
    const char *name = json_string_value(value);
    if (value == NULL) {
        *out = CZ_PRECISION_FP32; /* models made before there was another one */
        return CZ_OK;
    }
    if (name == NULL || !cz_precision_find(name, out) || (size_t)*out >= CZ_PRECISIONS) {
        return cz_fail(CZ_E_MODEL, "the model was %s in precision \"%.40s\", which this cozad does not know", what,
                       name != NULL ? name : "?");
    }
    return CZ_OK;
}

static void read_errors(const cz_model *m, double error[CZ_PRECISIONS])
{
    cz_precision_facts facts;
    const json_t *errors = json_object_get(m->meta, "precision_errors");
    cz_precision_facts_init(&facts);
    for (size_t i = 1; i < CZ_PRECISIONS; i++) {
        const json_t *value = json_object_get(errors, cz_precision_name((cz_precision)i));
        if (json_is_number(value) && json_number_value(value) >= 0.0) facts.error[i] = json_number_value(value);
    }
    memcpy(error, facts.error, sizeof facts.error);
}

cz_status cz_precision_of_model(const cz_model *m, cz_precision asked, cz_precision *out)
{
    const cz_status status = cz_precision_check(asked);
    if (status != CZ_OK) return status;
    if (asked != CZ_PRECISION_AUTO && asked != CZ_PRECISION_MODEL) {
        *out = asked;
        return CZ_OK;
    }
    /* whatever is faster, a threshold holds in one precision only */
    if (m->calibration != NULL) return read_name(json_object_get(m->meta, "calibration"), "calibrated", out);
    if (asked == CZ_PRECISION_MODEL) return read_name(m->meta, "trained", out);
    double error[CZ_PRECISIONS];
    read_errors(m, error);
    if (m->quant.count == 0) error[CZ_PRECISION_INT8] = (double)NAN;
    *out = cz_precision_choose(error, cz_engine_native);
    return CZ_OK;
}

const cz_quant *cz_precision_ranges(const cz_model *m)
{
    if (m->quant.count > 0) return &m->quant;
    return m->backbone != NULL ? cz_backbone_ranges(m->backbone) : NULL;
}

cz_status cz_precision_require(const cz_model *m, cz_precision precision)
{
    if (precision != CZ_PRECISION_INT8 || cz_precision_ranges(m) != NULL) return CZ_OK;
    return cz_fail(CZ_E_ARG, "the model has no ranges for int8: train it with --quantise N, or measure them with "
                             "'cozad calibrate --normal DIR --precision int8'");
}

/* ---- in models ------------------------------------------------------------------------------------------------------ */

cz_status cz_precision_read(cz_model *m)
{
    memset(&m->quant, 0, sizeof m->quant);
    if (m->extra == NULL || cz_tensors_lookup(m->extra, "quant.ranges") == NULL) return CZ_OK;
    const cz_status status = cz_quant_load(m->extra, &m->quant);
    return status == CZ_OK ? status : cz_fail_prefix(status, "model");
}

/* `text` into the model's description under `key`; takes the reference. */
static int put(cz_model *m, const char *key, json_t *value)
{
    return value != NULL ? json_object_set_new(m->meta, key, value) : -1;
}

static json_t *describe_errors(const cz_precision_facts *facts)
{
    json_t *errors = json_object();
    for (size_t i = 1; i < CZ_PRECISIONS; i++) {
        if (isfinite(facts->error[i]))
            (void)json_object_set_new(errors, cz_precision_name((cz_precision)i), json_real(facts->error[i]));
    }
    return errors;
}

cz_status cz_precision_store(cz_model *m, const cz_precision_facts *facts)
{
    cz_status status = CZ_OK;
    json_t *errors = NULL;
    char hash[17];
    int failed = 0;
    if (facts->quant.count > 0) {
        if (m->extra == NULL) CZ_TRY(cz_tensors_create(&m->extra));
        if (m->quant.count == 0) CZ_TRY(cz_quant_save(&facts->quant, m->extra));
        m->quant = facts->quant;
        cz_quant_hash(&facts->quant, hash);
        failed = put(m, "int8_ranges",
                     json_pack("{s:I, s:I, s:s}", "nodes", (json_int_t)facts->quant.count, "images",
                               (json_int_t)facts->photos, "hash", hash));
    }
    errors = describe_errors(facts);
    if (json_object_size(errors) > 0) failed |= json_object_set(m->meta, "precision_errors", errors);
    json_decref(errors);
    if (failed) status = cz_fail(CZ_E_MEMORY, "out of memory");
out:
    return status;
}
