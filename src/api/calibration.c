/* SPDX-License-Identifier: Apache-2.0 */
#include "api/calibration.h"

#include "api/precision.h"
#include "calibrate/conformal.h"
#include "calibrate/drift.h"
#include "calibrate/fdr.h"
#include "calibrate/threshold.h"
#include "tensor/tensors.h"
#include "util/alloc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SCORES ((size_t)1 << 24)

static const char *const rules[] = {"fpr", "iqr", "f1", "cost"};
enum { RULES = sizeof rules / sizeof *rules };

const char *cz_threshold_rule_name(cz_threshold_rule rule)
{
    return (size_t)rule < RULES ? rules[rule] : "unknown";
}

void cz_calibration_free(struct cz_stored_calibration *calibration)
{
    if (calibration == NULL) return;
    cz_free(calibration->scores);
    cz_free(calibration);
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

static cz_status get_real(const json_t *from, const char *key, double low, double high, double *out)
{
    const json_t *value = json_object_get(from, key);
    const double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= low && number <= high)) {
        return cz_fail(CZ_E_MODEL, "model: \"calibration.%s\" is missing or not a number of %g to %g", key, low, high);
    }
    *out = number;
    return CZ_OK;
}

static cz_status get_count(const json_t *from, const char *key, size_t most, size_t *out)
{
    const json_t *value = json_object_get(from, key);
    const json_int_t whole = json_integer_value(value);
    if (!json_is_integer(value) || whole < 0 || (uint64_t)whole > most) {
        return cz_fail(CZ_E_MODEL, "model: \"calibration.%s\" is missing or not a whole number up to %zu", key, most);
    }
    *out = (size_t)whole;
    return CZ_OK;
}

static cz_status read_rule(const json_t *json, cz_calibration *c)
{
    cz_status status;
    const char *name = json_string_value(json_object_get(json, "rule"));
    size_t rule = 0;
    while (name != NULL && rule < RULES && strcmp(rules[rule], name) != 0) rule++;
    if (name == NULL || rule == RULES) return cz_fail(CZ_E_MODEL, "model: \"calibration.rule\" is not a known rule");
    c->rule = (cz_threshold_rule)rule;
    c->target = c->confidence = c->promise = c->separated = (double)NAN;
    c->contamination = 0.0;
    if (c->rule == CZ_RULE_FPR) {
        CZ_TRY(get_real(json, "target", 0.0, 1.0, &c->target));
        CZ_TRY(get_real(json, "confidence", 0.0, 1.0, &c->confidence));
        CZ_TRY(get_real(json, "promise", 0.0, 1.0, &c->promise));
    }
    if (c->rule == CZ_RULE_FPR && json_object_get(json, "contamination") != NULL) {
        CZ_TRY(get_real(json, "contamination", 0.0, 0.5, &c->contamination));
        CZ_TRY(get_real(json, "promise_if_separated", 0.0, 1.0, &c->separated));
    }
    const double most = 1e300;
    CZ_TRY(get_real(json, "threshold", -most, most, &c->threshold));
    CZ_TRY(get_real(json, "pixel_threshold", -most, most, &c->pixel_threshold));
    CZ_TRY(get_real(json, "pixel_quantile", 0.0, 1.0, &c->pixel_quantile));
    CZ_TRY(get_count(json, "images", MAX_SCORES, &c->count));
    CZ_TRY(get_count(json, "trained_on", MAX_SCORES, &c->trained_on));
out:
    return status;
}

static cz_status read_scores(const cz_model *m, struct cz_stored_calibration *c)
{
    const cz_tensor_view *view = m->extra != NULL ? cz_tensors_lookup(m->extra, "calib.scores") : NULL;
    if (view == NULL) return cz_fail(CZ_E_MODEL, "model: is calibrated, but has no tensor \"calib.scores\"");
    const size_t count = c->known.count;
    if (view->dtype != CZ_F32 || view->rank != 1 || count == 0 || view->shape[0] != count)
        return cz_fail(CZ_E_MODEL, "model: tensor \"calib.scores\" is not F32 [%zu]", count);
    c->scores = cz_alloc_array(count, sizeof *c->scores);
    if (c->scores == NULL) return CZ_E_MEMORY;
    memcpy(c->scores, view->data, count * sizeof *c->scores);
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(c->scores[i]) || (i > 0 && c->scores[i] < c->scores[i - 1]))
            return cz_fail(CZ_E_MODEL, "model: \"calib.scores\" is not ascending and finite at %zu", i);
    }
    c->known.scores = c->scores;
    return CZ_OK;
}

/* NULL: whole images. */
static cz_status check_tile(const json_t *tile)
{
    static const char *const keys[] = {"width", "height", "overlap"};
    for (size_t i = 0; tile != NULL && i < sizeof keys / sizeof *keys; i++) {
        const json_t *side = json_object_get(tile, keys[i]);
        if (!json_is_integer(side) || json_integer_value(side) < (i < 2))
            return cz_fail(CZ_E_MODEL, "model: \"calibration.tile.%s\" is missing or not a number of pixels", keys[i]);
    }
    return CZ_OK;
}

cz_status cz_calibration_read(cz_model *m)
{
    cz_status status;
    const json_t *json = json_object_get(m->meta, "calibration");
    cz_calibration_free(m->calibration);
    m->calibration = NULL;
    if (json == NULL) {
        if (m->extra == NULL || cz_tensors_lookup(m->extra, "calib.scores") == NULL) return CZ_OK;
        return cz_fail(CZ_E_MODEL, "model: tensor \"calib.scores\" without \"calibration\"");
    }
    if (!json_is_object(json)) return cz_fail(CZ_E_MODEL, "model: \"calibration\" is not an object");
    struct cz_stored_calibration *c = cz_calloc(1, sizeof *c);
    if (c == NULL) return CZ_E_MEMORY;
    CZ_TRY(read_rule(json, &c->known));
    CZ_TRY(read_scores(m, c));
    if (json_string_value(json_object_get(json, "precision")) == NULL ||
        json_string_value(json_object_get(json, "algorithm")) == NULL) {
        status = cz_fail(CZ_E_MODEL, "model: \"calibration\" does not say its precision and algorithm");
        goto out;
    }
    CZ_TRY(check_tile(json_object_get(json, "tile")));
    /* Size, fit and region of the network input, in the model's own words. */
    if (!json_equal(json_object_get(json, "input"), json_object_get(m->meta, "input"))) {
        status = cz_fail(CZ_E_MODEL, "model: was calibrated with another input size, fit or region than it has now");
        goto out;
    }
    m->calibration = c;
    c = NULL;
out:
    cz_calibration_free(c);
    return status;
}

/* ---- what belongs together ---------------------------------------------------------------------------------------- */

static bool same_mask(const cz_prep *a, const cz_prep *b)
{
    if (a->ignore == NULL || b->ignore == NULL) return a->ignore == b->ignore;
    return a->ignore_width == b->ignore_width && a->ignore_height == b->ignore_height &&
           memcmp(a->ignore, b->ignore, a->ignore_width * a->ignore_height) == 0;
}

static bool same_region(const cz_roi *a, const cz_roi *b)
{
    if (a->width == 0 || b->width == 0) return a->width == b->width;
    return a->x == b->x && a->y == b->y && a->width == b->width && a->height == b->height;
}

cz_status cz_calibration_check(const cz_model *m, const cz_prep *prep, cz_precision precision)
{
    const json_t *json = json_object_get(m->meta, "calibration");
    const char *was = json_string_value(json_object_get(json, "precision"));
    const char *algorithm = json_string_value(json_object_get(json, "algorithm"));
    if (strcmp(was, cz_precision_name(precision)) != 0)
        return cz_fail(CZ_E_ARG,
                       "the model's threshold was calibrated in %.40s and says nothing in %s: calibrate again with "
                       "--precision %s, or score without a decision (--no-decision)",
                       was, cz_precision_name(precision), cz_precision_name(precision));
    const char *what = strcmp(algorithm, cz_precision_algorithm(precision)) != 0 ? "algorithm"
                       : prep->fit != m->prep.fit                                ? "fit"
                       : !same_region(&prep->roi, &m->prep.roi)                  ? "region"
                       : !same_mask(prep, &m->prep)                              ? "ignore mask"
                                                                                 : NULL;
    if (what == NULL) return CZ_OK;
    return cz_fail(
        CZ_E_ARG,
        "the model's threshold was calibrated with another %s and says nothing here: train and calibrate with "
        "this one, or score without a decision (--no-decision)",
        what);
}

static bool has_side(const json_t *tile, const char *key, size_t side)
{
    return json_integer_value(json_object_get(tile, key)) == (json_int_t)side;
}

cz_status cz_calibration_check_tiles(const cz_model *m, const cz_tiling *tiling)
{
    const json_t *tile = json_object_get(json_object_get(m->meta, "calibration"), "tile");
    const bool same = tile == NULL
                          ? tiling->width == 0
                          : has_side(tile, "width", tiling->width) && has_side(tile, "height", tiling->height) &&
                                has_side(tile, "overlap", tiling->overlap);
    if (same) return CZ_OK;
    if (tile == NULL)
        return cz_fail(CZ_E_ARG, "the model's threshold was calibrated with whole images and says nothing about tiles: "
                                 "calibrate with --tile, or score without a decision (--no-decision)");
    return cz_fail(CZ_E_ARG,
                   "the model's threshold was calibrated with tiles of %lldx%lld pixels that overlap by %lld and says "
                   "nothing here: score with these, calibrate again, or score without a decision (--no-decision)",
                   (long long)json_integer_value(json_object_get(tile, "width")),
                   (long long)json_integer_value(json_object_get(tile, "height")),
                   (long long)json_integer_value(json_object_get(tile, "overlap")));
}

int cz_calibration_write_tiles(json_t *calibration, const cz_tiling *tiling)
{
    if (tiling->width == 0) return 0;
    return json_object_set_new(calibration, "tile",
                               json_pack("{s:I, s:I, s:I}", "width", (json_int_t)tiling->width, "height",
                                         (json_int_t)tiling->height, "overlap", (json_int_t)tiling->overlap));
}

/* ---- public ------------------------------------------------------------------------------------------------------- */

int cz_model_calibration(const cz_model *model, cz_calibration *out)
{
    memset(out, 0, sizeof *out);
    if (model == NULL || model->calibration == NULL) return 0;
    *out = model->calibration->known;
    return 1;
}

double cz_p_value(const cz_calibration *calibration, double score)
{
    return cz_conformal_p(calibration->scores, calibration->count, (float)score);
}

cz_status cz_false_discovery(const double *p_values, size_t count, double rate, uint8_t *found, size_t *total)
{
    cz_error_clear();
    if (count > 0 && (p_values == NULL || found == NULL))
        return cz_fail(CZ_E_ARG, "cz_false_discovery: a NULL argument");
    return cz_benjamini_hochberg(p_values, count, rate, found, total);
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

cz_status cz_measure_drift(const cz_model *model, const double *scores, size_t count, cz_drift *out)
{
    cz_error_clear();
    cz_status status;
    if (model == NULL || out == NULL || (scores == NULL && count > 0))
        return cz_fail(CZ_E_ARG, "cz_measure_drift: a NULL argument");
    if (model->calibration == NULL) return cz_fail(CZ_E_ARG, "the model is not calibrated: nothing to compare with");
    if (count == 0) return cz_fail(CZ_E_ARG, "there are no scores to compare");
    const cz_calibration *c = &model->calibration->known;
    float *sorted = cz_alloc_array(count, sizeof *sorted);
    if (sorted == NULL) return CZ_E_MEMORY;
    cz_drift drift = {.calibration_median = cz_quantile(c->scores, c->count, 0.5)};
    for (size_t i = 0; i < count; i++) {
        sorted[i] = (float)scores[i];
        if (!isfinite(sorted[i])) {
            status = cz_fail(CZ_E_ARG, "score %zu is not a finite number", i);
            goto out;
        }
        drift.above += (double)sorted[i] > c->threshold;
    }
    qsort(sorted, count, sizeof *sorted, ascending);
    drift.median = cz_quantile(sorted, count, 0.5);
    CZ_TRY(cz_ks(c->scores, c->count, sorted, count, &drift.statistic, &drift.p_value));
    *out = drift;
out:
    cz_free(sorted);
    return status;
}
