/* SPDX-License-Identifier: Apache-2.0 */
#include "backbone/describe.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void cz_description_default(cz_description *out)
{
    static const double mean[3] = {0.485, 0.456, 0.406}, std[3] = {0.229, 0.224, 0.225};
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < 3; i++) {
        out->mean[i] = (float)(mean[i] * 255);
        out->std[i] = (float)(std[i] * 255);
    }
    out->eps = 1e-5;
    out->feature_scale = 1;
}

/* jansson reads numbers in any locale, strtod does not. */
static cz_status parse_numbers(const char *key, const char *text, double *out, size_t count)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    bool good = json != NULL;
    for (size_t i = 0; good && i < count; i++) {
        const json_t *item = count == 1 && !json_is_array(json) ? json : json_array_get(json, i);
        good = json_is_number(item) && (json == item || json_array_size(json) == count);
        if (good) out[i] = json_number_value(item);
    }
    json_decref(json);
    if (good) return CZ_OK;
    return cz_fail(CZ_E_WEIGHTS, "metadata %s: %zu number%s expected, found %s", key, count, count == 1 ? "" : "s",
                   text);
}

static cz_status read_normalisation(const cz_tensors *tensors, cz_description *out)
{
    cz_status status = CZ_OK;
    const char *range = cz_tensors_metadata(tensors, "input_range");
    const char *mean = cz_tensors_metadata(tensors, "input_mean"), *std = cz_tensors_metadata(tensors, "input_std");
    double m[3], s[3];
    if (range && strcmp(range, "0..1 RGB") != 0 && strcmp(range, "0..255 RGB") != 0)
        return cz_fail(CZ_E_WEIGHTS, "metadata input_range: \"0..1 RGB\" or \"0..255 RGB\" expected, found \"%s\"",
                       range);
    if (!mean != !std) return cz_fail(CZ_E_WEIGHTS, "metadata has only one of input_mean and input_std");
    if (!mean) return CZ_OK;
    CZ_TRY(parse_numbers("input_mean", mean, m, 3));
    CZ_TRY(parse_numbers("input_std", std, s, 3));
    const double unit = range && strcmp(range, "0..255 RGB") == 0 ? 1 : 255;
    for (size_t i = 0; i < 3; i++) {
        if (!(fabs(m[i]) <= 1e6) || !(s[i] > 1e-6 && s[i] <= 1e6))
            return cz_fail(CZ_E_WEIGHTS, "metadata input_mean or input_std: a value is out of range");
        out->mean[i] = (float)(m[i] * unit);
        out->std[i] = (float)(s[i] * unit);
    }
out:
    return status;
}

static cz_status read_feature_scale(const cz_tensors *tensors, cz_description *out)
{
    const char *text = cz_tensors_metadata(tensors, "feature_scale");
    if (!text) {
        /* torchvision divides by a std; a network that does not has features of another size */
        out->feature_scale = out->std[0] == 1.0f && out->std[1] == 1.0f && out->std[2] == 1.0f ? 0 : 1;
        return CZ_OK;
    }
    out->feature_scale = 0;
    if (strcmp(text, "calibrate") == 0) return CZ_OK;
    const cz_status status = parse_numbers("feature_scale", text, &out->feature_scale, 1);
    if (status != CZ_OK) return status;
    if (!(out->feature_scale > 0 && out->feature_scale <= 1e9))
        return cz_fail(CZ_E_WEIGHTS, "metadata feature_scale: a positive number or \"calibrate\" expected, found %s",
                       text);
    return CZ_OK;
}

static cz_status read_feature_width(const cz_tensors *tensors, cz_description *out)
{
    double width;
    const char *text = cz_tensors_metadata(tensors, "feature_width");
    if (!text) return CZ_OK;
    const cz_status status = parse_numbers("feature_width", text, &width, 1);
    if (status != CZ_OK) return status;
    if (!(width >= 1 && width <= (double)CZ_DESCRIPTION_MAX_WIDTH) || width != floor(width))
        return cz_fail(CZ_E_WEIGHTS, "metadata feature_width: a whole number from 1 to %zu expected, found %s",
                       CZ_DESCRIPTION_MAX_WIDTH, text);
    out->feature_width = (size_t)width;
    return CZ_OK;
}

cz_status cz_description_read(const cz_tensors *tensors, cz_description *out)
{
    cz_status status = CZ_OK;
    cz_description_default(out);
    CZ_TRY(read_normalisation(tensors, out));
    CZ_TRY(read_feature_scale(tensors, out));
    CZ_TRY(read_feature_width(tensors, out));
    const char *version = cz_tensors_metadata(tensors, "version");
    if (version && strlen(version) < sizeof out->version) memcpy(out->version, version, strlen(version) + 1);
    const char *eps = cz_tensors_metadata(tensors, "bn_eps"), *stride = cz_tensors_metadata(tensors, "stride_in");
    const char *pool = cz_tensors_metadata(tensors, "stem_pool");
    if (eps) CZ_TRY(parse_numbers("bn_eps", eps, &out->eps, 1));
    if (!(out->eps >= 0 && out->eps < 1)) CZ_TRY(cz_fail(CZ_E_WEIGHTS, "metadata bn_eps: %s is out of range", eps));
    if (stride) {
        out->stride_in_conv1 = strncmp(stride, "conv1", 5) == 0;
        if (!out->stride_in_conv1 && strncmp(stride, "conv2", 5) != 0)
            CZ_TRY(
                cz_fail(CZ_E_WEIGHTS, "metadata stride_in: \"conv1 …\" or \"conv2 …\" expected, found \"%s\"", stride));
    }
    if (pool) {
        out->pool_ceil = strcmp(pool, "3x3 stride 2 padding 0 ceil_mode") == 0;
        if (!out->pool_ceil && strcmp(pool, "3x3 stride 2 padding 1") != 0)
            CZ_TRY(cz_fail(CZ_E_WEIGHTS,
                           "metadata stem_pool: \"3x3 stride 2 padding 1\" or \"3x3 stride 2 padding 0 ceil_mode\" "
                           "expected, found \"%s\"",
                           pool));
    }
out:
    return status;
}

static cz_status write_json(cz_tensors *tensors, const char *key, json_t *json)
{
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    json_decref(json);
    if (!text) return cz_fail(CZ_E_MEMORY, "out of memory");
    const cz_status status = cz_tensors_set_metadata(tensors, key, text);
    free(text); /* jansson's allocation */
    return status;
}

cz_status cz_description_write(const cz_description *d, cz_tensors *tensors)
{
    cz_status status = CZ_OK;
    const float *m = d->mean, *s = d->std;
    CZ_TRY(cz_tensors_set_metadata(tensors, "input_range", "0..255 RGB"));
    CZ_TRY(write_json(tensors, "input_mean", json_pack("[f,f,f]", (double)m[0], (double)m[1], (double)m[2])));
    CZ_TRY(write_json(tensors, "input_std", json_pack("[f,f,f]", (double)s[0], (double)s[1], (double)s[2])));
    CZ_TRY(cz_tensors_set_metadata(tensors, "stride_in",
                                   d->stride_in_conv1 ? "conv1 (the first 1x1)" : "conv2 (the 3x3)"));
    CZ_TRY(cz_tensors_set_metadata(tensors, "stem_pool",
                                   d->pool_ceil ? "3x3 stride 2 padding 0 ceil_mode" : "3x3 stride 2 padding 1"));
    if (d->feature_scale > 0)
        CZ_TRY(write_json(tensors, "feature_scale", json_real(d->feature_scale)));
    else
        CZ_TRY(cz_tensors_set_metadata(tensors, "feature_scale", "calibrate"));
    if (d->feature_width > 0) CZ_TRY(write_json(tensors, "feature_width", json_integer((json_int_t)d->feature_width)));
    if (d->version[0] != '\0') CZ_TRY(cz_tensors_set_metadata(tensors, "version", d->version));
out:
    return status;
}

void cz_description_hash(const cz_description *d, cz_sha256 *sha)
{
    cz_description usual;
    cz_description_default(&usual);
    if (memcmp(d->mean, usual.mean, sizeof d->mean) != 0 || memcmp(d->std, usual.std, sizeof d->std) != 0) {
        cz_sha256_update(sha, "input", 6);
        cz_sha256_update(sha, d->mean, sizeof d->mean);
        cz_sha256_update(sha, d->std, sizeof d->std);
    }
    if (d->eps != usual.eps) {
        cz_sha256_update(sha, "bn_eps", 7);
        cz_sha256_update(sha, &d->eps, sizeof d->eps);
    }
    if (d->stride_in_conv1) cz_sha256_update(sha, "stride_in conv1", 16);
    if (d->pool_ceil) cz_sha256_update(sha, "stem_pool ceil_mode", 20);
    if (d->feature_width > 0) {
        const uint64_t width = d->feature_width;
        cz_sha256_update(sha, "feature_width", 14);
        cz_sha256_update(sha, &width, sizeof width);
    }
}
