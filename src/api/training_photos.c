/* SPDX-License-Identifier: Apache-2.0 */
#include "api/training_photos.h"

#include "cozad/cozad_eval.h"
#include "losses/soft_confident.h"
#include "util/sha256.h"

#include <math.h>
#include <string.h>

#define MAX_PHOTOS ((size_t)1 << 24)

/* ---- writing ------------------------------------------------------------------------------------------------------ */

/* null where there is none, or where it is not UTF-8 and so cannot be told in JSON. */
static json_t *json_name(const char *name)
{
    json_t *text = name != NULL && name[0] != '\0' ? json_string(name) : NULL;
    return text != NULL ? text : json_null();
}

/* Six decimals tell photos apart; more only make the file longer. */
static double rounded(double value)
{
    return round(value * 1e6) / 1e6;
}

static json_t *photo_json(const char *name, const cz_feature_item *item, const cz_photo_confidence *c,
                          size_t grid_width)
{
    char hex[65];
    cz_sha256_hex(item->sha256, hex);
    return json_pack("{s:o, s:s, s:f, s:f, s:f, s:f, s:[I, I], s:b}", "name", json_name(name), "pixels_sha256", hex,
                     "weight", rounded(c->weight), "share_below_one", rounded(c->share_below_one), "score",
                     (double)(float)c->score, "level", rounded(c->level), "place", (json_int_t)(c->place % grid_width),
                     (json_int_t)(c->place / grid_width), "apart", (int)c->apart);
}

static json_t *photos_json(const cz_image_source *source, const cz_feature_set *set, const cz_confidence *confidence)
{
    json_t *list = json_array();
    for (size_t i = 0; i < set->count; i++) {
        const cz_feature_item *item = &set->items[i];
        const char *name = source->name != NULL ? source->name(source->ctx, item->source) : NULL;
        json_t *one = photo_json(name, item, &confidence->photos[i], confidence->grid_width);
        if (one == NULL || json_array_append_new(list, one) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *excluded_json(const cz_train_options *o)
{
    json_t *list = json_array();
    for (size_t i = 0; i < o->excluded_count; i++) {
        char hex[65];
        cz_sha256_hex(o->excluded[i].sha256, hex);
        json_t *one = json_pack("{s:o, s:s}", "name", json_name(o->excluded[i].name), "pixels_sha256", hex);
        if (one == NULL || json_array_append_new(list, one) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* How the weights were found, so that the figures can be had again. */
static json_t *confidence_json(const cz_confidence *c)
{
    cz_confidence_options o;
    cz_confidence_options_init(&o);
    return json_pack("{s:o, s:f, s:f, s:s, s:I, s:I}", "contamination",
                     isfinite(c->contamination) ? json_real(rounded(c->contamination)) : json_null(), "kappa", o.kappa,
                     "weight_floor", o.floor, "weight_anchor", "median", "grid_width", (json_int_t)c->grid_width,
                     "grid_height", (json_int_t)c->grid_height);
}

cz_status cz_training_photos_store(cz_model *model, const cz_train_options *options, const cz_image_source *source,
                                   const cz_feature_set *set, const cz_confidence *confidence, size_t left_out)
{
    json_t *meta = model->meta, *training = json_object_get(meta, "training");
    int failed = json_object_set_new(meta, "confidence", confidence_json(confidence));
    if (!failed) failed = json_object_set_new(meta, "photos", photos_json(source, set, confidence));
    if (!failed && options->excluded_count > 0) {
        failed = json_object_set_new(training, "images_excluded", json_integer((json_int_t)left_out));
        if (!failed) failed = json_object_set_new(meta, "excluded", excluded_json(options));
    }
    return failed ? cz_fail(CZ_E_MEMORY, "out of memory") : cz_model_refresh_json(model);
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

static bool is_digest(const json_t *value)
{
    const char *text = json_string_value(value);
    return text != NULL && strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

static bool is_within(const json_t *value, double low, double high)
{
    return json_is_number(value) && json_number_value(value) >= low && json_number_value(value) <= high;
}

static bool is_name(const json_t *value)
{
    return value == NULL || json_is_null(value) || json_is_string(value);
}

static bool is_place(const json_t *value)
{
    if (value == NULL) return true;
    if (!json_is_array(value) || json_array_size(value) != 2) return false;
    for (size_t i = 0; i < 2; i++) {
        const json_t *side = json_array_get(value, i);
        if (!json_is_integer(side) || !is_within(side, 0, 1 << 24)) return false;
    }
    return true;
}

static bool is_photo(const json_t *photo)
{
    const json_t *apart = json_object_get(photo, "apart"), *level = json_object_get(photo, "level");
    return json_is_object(photo) && is_name(json_object_get(photo, "name")) &&
           is_digest(json_object_get(photo, "pixels_sha256")) && is_within(json_object_get(photo, "weight"), 0, 1) &&
           is_within(json_object_get(photo, "share_below_one"), 0, 1) &&
           is_within(json_object_get(photo, "score"), -1e38, 1e38) && is_place(json_object_get(photo, "place")) &&
           (level == NULL || is_within(level, -1e38, 1e38)) && (apart == NULL || json_is_boolean(apart));
}

static bool is_excluded(const json_t *photo)
{
    return json_is_object(photo) && is_name(json_object_get(photo, "name")) &&
           is_digest(json_object_get(photo, "pixels_sha256"));
}

static cz_status check_list(const cz_model *m, const char *key, bool (*is_entry)(const json_t *))
{
    const json_t *list = json_object_get(m->meta, key);
    if (list == NULL) return CZ_OK;
    if (!json_is_array(list) || json_array_size(list) > MAX_PHOTOS)
        return cz_fail(CZ_E_MODEL, "model: \"%s\" is not a list of photos", key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!is_entry(json_array_get(list, i)))
            return cz_fail(CZ_E_MODEL, "model: \"%s\": entry %zu is not a photo's description", key, i);
    }
    return CZ_OK;
}

cz_status cz_training_photos_check(const cz_model *m)
{
    const json_t *confidence = json_object_get(m->meta, "confidence");
    const json_t *rate = json_object_get(confidence, "contamination");
    if (confidence != NULL && !json_is_object(confidence))
        return cz_fail(CZ_E_MODEL, "model: \"confidence\" is not an object");
    if (rate != NULL && !json_is_null(rate) && !is_within(rate, 0, 1))
        return cz_fail(CZ_E_MODEL, "model: \"confidence.contamination\" is not a share");
    const cz_status status = check_list(m, "photos", is_photo);
    return status == CZ_OK ? check_list(m, "excluded", is_excluded) : status;
}

/* ---- public ------------------------------------------------------------------------------------------------------- */

/* Without "photos" (a file from before) what is known is the hashes. */
static const json_t *hashes_of(const cz_model *m)
{
    return json_object_get(json_object_get(m->meta, "training"), "pixels_sha256");
}

static size_t trained_count(const cz_model *m)
{
    const json_t *photos = json_object_get(m->meta, "photos");
    return json_array_size(photos != NULL ? photos : hashes_of(m));
}

size_t cz_model_photos_count(const cz_model *model)
{
    return model == NULL ? 0 : trained_count(model) + json_array_size(json_object_get(model->meta, "excluded"));
}

cz_status cz_model_photo_at(const cz_model *model, size_t index, cz_training_photo *out)
{
    cz_error_clear();
    if (model == NULL || out == NULL) return cz_fail(CZ_E_ARG, "cz_model_photo_at: a NULL argument");
    const size_t trained = trained_count(model);
    const json_t *photos = json_object_get(model->meta, "photos");
    const json_t *from = index >= trained ? json_object_get(model->meta, "excluded")
                         : photos != NULL ? photos
                                          : hashes_of(model);
    const json_t *photo = json_array_get(from, index >= trained ? index - trained : index);
    if (photo == NULL) return cz_fail(CZ_E_ARG, "the model knows of no photo %zu", index);
    *out = (cz_training_photo){.weight = (double)NAN,
                               .share_below_one = (double)NAN,
                               .score = (double)NAN,
                               .level = (double)NAN,
                               .excluded = index >= trained};
    if (json_is_string(photo)) {
        out->sha256 = json_string_value(photo);
        return CZ_OK;
    }
    out->name = json_string_value(json_object_get(photo, "name"));
    out->sha256 = json_string_value(json_object_get(photo, "pixels_sha256"));
    if (out->sha256 == NULL) return cz_fail(CZ_E_MODEL, "model: photo %zu has no hash", index);
    if (out->excluded) return CZ_OK;
    const json_t *place = json_object_get(photo, "place"), *confidence = json_object_get(model->meta, "confidence");
    out->weight = json_number_value(json_object_get(photo, "weight"));
    out->share_below_one = json_number_value(json_object_get(photo, "share_below_one"));
    out->score = json_number_value(json_object_get(photo, "score"));
    if (json_is_number(json_object_get(photo, "level")))
        out->level = json_number_value(json_object_get(photo, "level"));
    out->apart = json_is_true(json_object_get(photo, "apart"));
    out->place_x = (size_t)json_integer_value(json_array_get(place, 0));
    out->place_y = (size_t)json_integer_value(json_array_get(place, 1));
    out->grid_width = (size_t)json_integer_value(json_object_get(confidence, "grid_width"));
    out->grid_height = (size_t)json_integer_value(json_object_get(confidence, "grid_height"));
    return CZ_OK;
}

int cz_model_contamination(const cz_model *model, double *rate)
{
    const json_t *value =
        model != NULL ? json_object_get(json_object_get(model->meta, "confidence"), "contamination") : NULL;
    if (!json_is_number(value)) return 0;
    if (rate != NULL) *rate = json_number_value(value);
    return 1;
}
