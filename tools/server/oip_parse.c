/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the Open Inference Protocol. Every byte comes from outside. */
#include "oip_internal.h"

#include <stdlib.h>
#include <string.h>

static const unsigned default_outputs = SV_OIP_SCORE | SV_OIP_P_VALUE | SV_OIP_DECISION | SV_OIP_REGIONS;

void sv_oip_free(sv_oip_request *r)
{
    if (r == NULL) return;
    free(r->images);
    free(r->files);
    free(r->file_sizes);
    free(r->pixels);
    memset(r, 0, sizeof *r);
}

/* A part of somebody's text for a message: printable ASCII. */
static const char *echo(const char *text, char out[48])
{
    size_t i = 0;
    for (; text[i] != '\0' && i < 47; i++) out[i] = (char)(text[i] >= ' ' && text[i] < 127 ? text[i] : '?');
    out[i] = '\0';
    return out;
}

/* ---- what is asked for -------------------------------------------------------------------------------------------- */

static unsigned output_bit(const char *name)
{
    static const char *const names[] = {"score", "p_value", "decision", "map", "regions"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return 1u << i;
    return 0;
}

/* parameters.KEY of `object`: 1, 0, or `other` where it is not there; -1 with a message. */
static int flag(const json_t *object, const char *key, int other)
{
    const json_t *parameters = json_object_get(object, "parameters");
    const json_t *value = json_object_get(parameters, key);
    if (parameters != NULL && !json_is_object(parameters)) {
        (void)sv_fail(CZ_E_FORMAT, "parameters: not an object");
        return -1;
    }
    if (value == NULL) return other;
    if (!json_is_boolean(value)) {
        (void)sv_fail(CZ_E_FORMAT, "parameters: \"%s\" is not true or false", key);
        return -1;
    }
    return json_is_true(value);
}

static cz_status read_output(const json_t *output, int binary_all, sv_oip_request *out)
{
    char text[48];
    const char *name = json_string_value(json_object_get(output, "name"));
    if (name == NULL) return sv_fail(CZ_E_FORMAT, "outputs: each is an object with a \"name\"");
    const unsigned bit = output_bit(name);
    if (bit == 0)
        return sv_fail(CZ_E_FORMAT, "outputs: no \"%s\", but score, p_value, decision, map, regions", echo(name, text));
    if (out->outputs & bit) return sv_fail(CZ_E_FORMAT, "outputs: \"%s\" twice", name);
    const int binary = flag(output, "binary_data", binary_all);
    if (binary < 0) return CZ_E_FORMAT;
    out->outputs |= bit;
    if (binary) out->binary |= bit;
    return CZ_OK;
}

static cz_status read_wishes(const json_t *root, sv_oip_request *out)
{
    const json_t *id = json_object_get(root, "id"), *outputs = json_object_get(root, "outputs");
    if (id != NULL && !json_is_string(id)) return sv_fail(CZ_E_FORMAT, "id: not a string");
    if (json_string_length(id) >= sizeof out->id)
        return sv_fail(CZ_E_LIMIT, "id: longer than %zu bytes", sizeof out->id - 1);
    if (id != NULL) memcpy(out->id, json_string_value(id), json_string_length(id));
    if (outputs != NULL && !json_is_array(outputs)) return sv_fail(CZ_E_FORMAT, "outputs: not an array");
    const int binary = flag(root, "binary_data_output", 0);
    if (binary < 0) return CZ_E_FORMAT;
    for (size_t i = 0; i < json_array_size(outputs); i++) {
        const cz_status status = read_output(json_array_get(outputs, i), binary, out);
        if (status != CZ_OK) return status;
    }
    if (out->outputs == 0) {
        out->outputs = default_outputs;
        out->binary = binary ? default_outputs : 0;
    }
    return CZ_OK;
}

/* ---- the input tensor --------------------------------------------------------------------------------------------- */

static cz_status read_type(const json_t *input, oip_tensor *t)
{
    char text[48];
    const char *name = json_string_value(json_object_get(input, "name"));
    const char *type = json_string_value(json_object_get(input, "datatype"));
    if (name == NULL || type == NULL)
        return sv_fail(CZ_E_FORMAT, "inputs: an input is an object with \"name\", \"shape\" and \"datatype\"");
    if (strcmp(name, "image") != 0)
        return sv_fail(CZ_E_FORMAT, "inputs: no \"%s\": the model's input is \"image\"", echo(name, text));
    t->bytes = strcmp(type, "BYTES") == 0;
    if (!t->bytes && strcmp(type, "UINT8") != 0)
        return sv_fail(CZ_E_UNSUPPORTED, "image: UINT8 pixels or BYTES (picture files), not \"%s\"", echo(type, text));
    return CZ_OK;
}

static cz_status read_shape(const json_t *input, oip_tensor *t)
{
    const json_t *shape = json_object_get(input, "shape");
    const char *form = t->bytes ? "image: the shape of BYTES is [N] or [N, 1]"
                                : "image: the shape of UINT8 is [N, H, W, 3], [N, H, W, 1], [H, W, 3] or [H, W, 1]";
    t->rank = json_array_size(shape);
    if (t->bytes ? t->rank < 1 || t->rank > 2 : t->rank < 3 || t->rank > 4) return sv_fail(CZ_E_FORMAT, "%s", form);
    for (size_t i = 0; i < t->rank; i++) {
        const json_t *side = json_array_get(shape, i);
        if (!json_is_integer(side) || json_integer_value(side) < 1) return sv_fail(CZ_E_FORMAT, "%s", form);
        t->shape[i] = (size_t)json_integer_value(side);
    }
    const size_t last = t->shape[t->rank - 1];
    if (t->bytes ? t->rank == 2 && last != 1 : last != 1 && last != 3) return sv_fail(CZ_E_FORMAT, "%s", form);
    return CZ_OK;
}

static cz_status read_size(const json_t *input, oip_tensor *t)
{
    const json_t *parameters = json_object_get(input, "parameters");
    const json_t *size = json_object_get(parameters, "binary_data_size");
    if (parameters != NULL && !json_is_object(parameters))
        return sv_fail(CZ_E_FORMAT, "image: parameters: not an object");
    t->sized = size != NULL;
    if (size == NULL) return CZ_OK;
    if (!json_is_integer(size) || json_integer_value(size) < 0)
        return sv_fail(CZ_E_FORMAT, "image: binary_data_size is not a whole number of bytes");
    t->binary_size = (size_t)json_integer_value(size);
    return CZ_OK;
}

static cz_status read_tensor(const json_t *root, oip_tensor *t, const json_t **input)
{
    const json_t *inputs = json_object_get(root, "inputs");
    if (json_array_size(inputs) != 1) return sv_fail(CZ_E_FORMAT, "inputs: an array of exactly one input, \"image\"");
    *input = json_array_get(inputs, 0);
    cz_status status = read_type(*input, t);
    if (status == CZ_OK) status = read_shape(*input, t);
    if (status == CZ_OK) status = read_size(*input, t);
    return status;
}

/* ---- images ------------------------------------------------------------------------------------------------------- */

/* Bytes of one image; checks the limits, so that no later product can overflow. */
static cz_status image_size(const oip_tensor *t, uint64_t max_pixels, size_t *out)
{
    const size_t *side = t->shape + (t->rank - 3);
    if (side[0] > max_pixels || side[1] > max_pixels / side[0] || side[0] > SIZE_MAX / 3 / side[1])
        return sv_fail(CZ_E_LIMIT, "image: %zu x %zu, above the limit of %llu pixels", side[1], side[0],
                       (unsigned long long)max_pixels);
    *out = side[0] * side[1] * side[2];
    return CZ_OK;
}

static cz_status set_images(sv_oip_request *out, const oip_tensor *t, const unsigned char *pixels, size_t one)
{
    const size_t *side = t->shape + (t->rank - 3);
    out->images = calloc(out->count, sizeof *out->images);
    if (out->images == NULL) return sv_fail(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0; i < out->count; i++) {
        out->images[i] =
            (cz_image){pixels + i * one, side[1], side[0], side[1] * side[2], side[2] == 3 ? CZ_RGB8 : CZ_GRAY8};
    }
    return CZ_OK;
}

static cz_status take_pixels(sv_oip_request *out, const oip_tensor *t, const oip_span *data, const unsigned char *rest,
                             size_t rest_size, uint64_t max_pixels)
{
    size_t one = 0;
    const cz_status status = image_size(t, max_pixels, &one);
    if (status != CZ_OK) return status;
    if (data->at == NULL) {
        if (rest_size / out->count != one || rest_size % out->count != 0)
            return sv_fail(CZ_E_FORMAT, "image: %zu bytes, which is not what its shape says", rest_size);
        return set_images(out, t, rest, one);
    }
    /* every element takes two characters at the least: nothing is allocated on the word of a shape */
    if (one > data->size / 2 / out->count) return sv_fail(CZ_E_FORMAT, "data: fewer elements than \"shape\" says");
    out->pixels = malloc(one * out->count);
    if (out->pixels == NULL) return sv_fail(CZ_E_MEMORY, "out of memory");
    const cz_status read = oip_read_pixels(data, t, out->pixels);
    return read == CZ_OK ? set_images(out, t, out->pixels, one) : read;
}

static size_t little_endian(const unsigned char *p)
{
    return (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
}

/* Elements with their lengths before them. */
static cz_status split_files(sv_oip_request *out, const unsigned char *rest, size_t size)
{
    size_t at = 0;
    for (size_t i = 0; i < out->count; i++) {
        if (size - at < 4) return sv_fail(CZ_E_FORMAT, "image: the bytes end before element %zu", i);
        const size_t length = little_endian(rest + at);
        at += 4;
        if (length == 0 || length > size - at)
            return sv_fail(CZ_E_FORMAT, "image: element %zu says it has %zu bytes, %zu are left", i, length, size - at);
        out->files[i] = rest + at;
        out->file_sizes[i] = length;
        at += length;
    }
    return at == size ? CZ_OK : sv_fail(CZ_E_FORMAT, "image: %zu bytes behind the last element", size - at);
}

static cz_status take_files(sv_oip_request *out, const oip_tensor *t, const oip_span *data, const unsigned char *rest,
                            size_t rest_size)
{
    out->files = calloc(out->count, sizeof *out->files);
    out->file_sizes = calloc(out->count, sizeof *out->file_sizes);
    if (out->files == NULL || out->file_sizes == NULL) return sv_fail(CZ_E_MEMORY, "out of memory");
    if (data->at != NULL) {
        out->pixels = malloc(data->size);
        if (out->pixels == NULL) return sv_fail(CZ_E_MEMORY, "out of memory");
        return oip_read_files(data, t, out->pixels, out->files, out->file_sizes);
    }
    if (rest_size == 0) return sv_fail(CZ_E_FORMAT, "image: neither \"data\" nor bytes behind the JSON");
    /* OpenVINO Model Server takes one picture as the rest of the body, without its length. No picture format begins with its length. */
    const bool alone = !t->sized && out->count == 1 && (rest_size < 4 || little_endian(rest) != rest_size - 4);
    if (!alone) return split_files(out, rest, rest_size);
    out->files[0] = rest;
    out->file_sizes[0] = rest_size;
    return CZ_OK;
}

typedef struct limits {
    size_t max_batch;
    uint64_t max_pixels;
} limits;

static cz_status take_images(sv_oip_request *out, const json_t *input, const oip_tensor *t, const oip_span *data,
                             const unsigned char *rest, size_t rest_size, const limits *limit)
{
    const json_t *value = json_object_get(input, "data");
    out->count = !t->bytes && t->rank == 3 ? 1 : t->shape[0];
    if (out->count > limit->max_batch)
        return sv_fail(CZ_E_LIMIT, "image: %zu images, the limit is %zu", out->count, limit->max_batch);
    if (data->at != NULL ? !json_is_null(value) : value != NULL)
        return sv_fail(CZ_E_FORMAT, "image: \"data\" is not an array"); /* or its key is written with escapes */
    if (data->at != NULL && (t->sized || rest_size > 0))
        return sv_fail(CZ_E_FORMAT, "image: both \"data\" and bytes behind the JSON");
    if (t->sized && t->binary_size != rest_size)
        return sv_fail(CZ_E_FORMAT, "image: binary_data_size is %zu, behind the JSON are %zu bytes", t->binary_size,
                       rest_size);
    if (t->bytes) return take_files(out, t, data, rest, rest_size);
    return take_pixels(out, t, data, rest, rest_size, limit->max_pixels);
}

/* ---- the request -------------------------------------------------------------------------------------------------- */

static cz_status parse_json(const unsigned char *body, size_t size, size_t json_size, const limits *limit,
                            sv_oip_request *out)
{
    char *text = NULL, shown[48];
    size_t text_size = 0;
    oip_span data;
    oip_tensor tensor = {0};
    const json_t *input = NULL;
    json_error_t error;
    cz_status status = oip_skim(body, json_size, &text, &text_size, &data);
    if (status != CZ_OK) return status;
    json_t *root = json_loadb(text, text_size, JSON_REJECT_DUPLICATES, &error);
    free(text);
    if (root == NULL) return sv_fail(CZ_E_FORMAT, "the request is not JSON: %s", echo(error.text, shown));
    status = json_is_object(root) ? read_wishes(root, out) : sv_fail(CZ_E_FORMAT, "the request is not a JSON object");
    if (status == CZ_OK) status = read_tensor(root, &tensor, &input);
    if (status == CZ_OK) status = take_images(out, input, &tensor, &data, body + json_size, size - json_size, limit);
    json_decref(root);
    return status;
}

/* Triton's raw binary request: no JSON, the body is the input. */
static cz_status parse_raw(const unsigned char *body, size_t size, sv_oip_request *out)
{
    static const oip_tensor one = {.bytes = true, .rank = 1, .shape = {1}};
    static const oip_span none = {NULL, 0, 0};
    out->outputs = default_outputs;
    out->count = 1;
    return take_files(out, &one, &none, body, size);
}

cz_status sv_oip_parse(const unsigned char *body, size_t size, size_t header_length, size_t max_batch,
                       uint64_t max_pixels, sv_oip_request *out)
{
    const limits limit = {max_batch, max_pixels};
    cz_status status;
    memset(out, 0, sizeof *out);
    if (body == NULL || size == 0) return sv_fail(CZ_E_FORMAT, "the request has no body");
    if (header_length == SIZE_MAX) header_length = size;
    if (header_length > size) {
        status =
            sv_fail(CZ_E_FORMAT, "Inference-Header-Content-Length is %zu, the body has %zu bytes", header_length, size);
    } else {
        status = header_length == 0 ? parse_raw(body, size, out) : parse_json(body, size, header_length, &limit, out);
    }
    if (status != CZ_OK) sv_oip_free(out);
    return status;
}
