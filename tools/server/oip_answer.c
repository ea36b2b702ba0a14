/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of the Open Inference Protocol: JSON, written as text because of the maps, and binary tensors behind it. */
#include "oip.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Values of maps in one answer: as numbers in JSON, and in all. */
#define MOST_MAP_TEXT   ((size_t)1 << 22)
#define MOST_MAP_VALUES ((size_t)1 << 26)

/* Grows; once `failed`, nothing is added any more. */
typedef struct bytes {
    char *data;
    size_t size, room;
    bool failed;
} bytes;

static bool reserve(bytes *b, size_t more)
{
    if (b->failed || more <= b->room - b->size) return !b->failed;
    size_t room = b->room > 0 ? b->room : 4096;
    while (room - b->size < more && room <= SIZE_MAX / 2) room *= 2;
    char *grown = room - b->size < more ? NULL : realloc(b->data, room);
    if (grown == NULL) {
        b->failed = true;
        return false;
    }
    b->data = grown;
    b->room = room;
    return true;
}

static void add(bytes *b, const void *data, size_t size)
{
    if (size == 0 || !reserve(b, size)) return;
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

/* At most 200 characters. */
static void add_text(bytes *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add_text(bytes *b, const char *format, ...)
{
    va_list values;
    if (!reserve(b, 256)) return;
    va_start(values, format);
    const int count = vsnprintf(b->data + b->size, 256, format, values);
    va_end(values);
    if (count < 0 || count >= 256) {
        b->failed = true;
    } else {
        b->size += (size_t)count;
    }
}

static void add_string(bytes *b, const char *text)
{
    json_t *value = json_string(text);
    char *quoted = value != NULL ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    if (quoted != NULL) {
        add(b, quoted, strlen(quoted));
    } else {
        b->failed = true;
    }
    free(quoted);
    json_decref(value);
}

static void add_number(bytes *b, double value, int digits)
{
    if (isfinite(value)) {
        add_text(b, "%.*g", digits, value);
    } else {
        add(b, "null", 4);
    }
}

static void add_little_endian(bytes *b, uint64_t bits, size_t size)
{
    unsigned char out[8];
    for (size_t i = 0; i < size; i++) out[i] = (unsigned char)(bits >> (8 * i));
    add(b, out, size);
}

static void add_double(bytes *b, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    add_little_endian(b, bits, 8);
}

static void add_float(bytes *b, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    add_little_endian(b, bits, 4);
}

/* ---- regions ------------------------------------------------------------------------------------------------------ */

static json_t *real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *sv_oip_regions(const sv_outcome *outcome)
{
    json_t *list = json_array();
    for (size_t i = 0; i < outcome->region_count; i++) {
        const cz_region *g = &outcome->regions[i];
        json_t *one = json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:o}", "x", (json_int_t)g->x, "y",
                                (json_int_t)g->y, "width", (json_int_t)g->width, "height", (json_int_t)g->height,
                                "area", (json_int_t)g->area, "peak", real(g->peak), "peak_x", (json_int_t)g->peak_x,
                                "peak_y", (json_int_t)g->peak_y, "mean", real(g->mean));
        if (json_array_append_new(list, one) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* One text an image; [count], each free(). */
static char **region_texts(const sv_outcome *outcomes, size_t count)
{
    char **texts = calloc(count, sizeof *texts);
    bool good = texts != NULL;
    for (size_t i = 0; good && i < count; i++) {
        json_t *list = sv_oip_regions(&outcomes[i]);
        texts[i] = list != NULL ? json_dumps(list, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
        json_decref(list);
        good = texts[i] != NULL;
    }
    for (size_t i = 0; !good && texts != NULL && i < count; i++) free(texts[i]);
    if (!good) free(texts);
    return good ? texts : NULL;
}

/* ---- tensors ------------------------------------------------------------------------------------------------------ */

typedef struct answer {
    const sv_outcome *outcomes;
    size_t count, width, height; /* of the maps */
    char **regions;
} answer;

typedef struct output {
    unsigned bit;
    const char *name, *type;
} output;
static const output all_outputs[] = {{SV_OIP_SCORE, "score", "FP64"},
                                     {SV_OIP_P_VALUE, "p_value", "FP64"},
                                     {SV_OIP_DECISION, "decision", "INT32"},
                                     {SV_OIP_MAP, "map", "FP32"},
                                     {SV_OIP_REGIONS, "regions", "BYTES"}};
enum { OUTPUTS = sizeof all_outputs / sizeof *all_outputs };

static void write_tensor(const answer *a, unsigned bit, bytes *out)
{
    for (size_t i = 0; i < a->count; i++) {
        const sv_outcome *o = &a->outcomes[i];
        if (bit == SV_OIP_SCORE) add_double(out, o->score);
        if (bit == SV_OIP_P_VALUE) add_double(out, o->p_value);
        if (bit == SV_OIP_DECISION) add_little_endian(out, (uint32_t)o->decision, 4);
        if (bit == SV_OIP_MAP)
            for (size_t k = 0; k < a->width * a->height; k++) add_float(out, o->map[k]);
        if (bit == SV_OIP_REGIONS) {
            const size_t length = strlen(a->regions[i]);
            add_little_endian(out, length, 4);
            add(out, a->regions[i], length);
        }
    }
}

static void write_values(const answer *a, unsigned bit, bytes *out)
{
    for (size_t i = 0; i < a->count; i++) {
        const sv_outcome *o = &a->outcomes[i];
        if (i > 0) add(out, ",", 1);
        if (bit == SV_OIP_SCORE) add_number(out, o->score, 17);
        if (bit == SV_OIP_P_VALUE) add_number(out, o->p_value, 17);
        if (bit == SV_OIP_DECISION) add_text(out, "%d", o->decision);
        if (bit == SV_OIP_REGIONS) add_string(out, a->regions[i]);
        for (size_t k = 0; bit == SV_OIP_MAP && k < a->width * a->height && !out->failed; k++) {
            if (k > 0) add(out, ",", 1);
            add_number(out, (double)o->map[k], 9);
        }
    }
}

static size_t tensor_size(const answer *a, unsigned bit)
{
    size_t sum = 0;
    if (bit == SV_OIP_SCORE || bit == SV_OIP_P_VALUE) return a->count * 8;
    if (bit == SV_OIP_DECISION) return a->count * 4;
    if (bit == SV_OIP_MAP) return a->count * a->width * a->height * 4;
    for (size_t i = 0; i < a->count; i++) sum += 4 + strlen(a->regions[i]);
    return sum;
}

static void write_output(const answer *a, const output *o, bool binary, bytes *out)
{
    add_text(out, "{\"name\":\"%s\",\"datatype\":\"%s\",\"shape\":[%zu", o->name, o->type, a->count);
    if (o->bit == SV_OIP_MAP) add_text(out, ",%zu,%zu", a->height, a->width);
    if (binary) {
        add_text(out, "],\"parameters\":{\"binary_data_size\":%zu}}", tensor_size(a, o->bit));
        return;
    }
    add_text(out, "],\"data\":[");
    write_values(a, o->bit, out);
    add_text(out, "]}");
}

/* All maps of one size, and not too many values. */
static cz_status check_maps(answer *a, bool binary)
{
    const sv_outcome *first = &a->outcomes[0];
    for (size_t i = 0; i < a->count; i++) {
        const sv_outcome *o = &a->outcomes[i];
        if (o->map == NULL) return sv_fail(CZ_E_UNSUPPORTED, "map: there is none for image %zu", i);
        if (o->width != first->width || o->height != first->height)
            return sv_fail(CZ_E_UNSUPPORTED, "map: the images of a request with maps must be of one size");
    }
    const size_t most = binary ? MOST_MAP_VALUES : MOST_MAP_TEXT;
    if (first->width == 0 || first->height == 0 || first->width > most / first->height / a->count)
        return sv_fail(CZ_E_LIMIT, "map: more than %zu values in one answer%s", most,
                       binary ? "" : " as JSON: ask for it with binary_data");
    a->width = first->width;
    a->height = first->height;
    return CZ_OK;
}

static void write_answer(const sv_oip_request *r, const sv_model *model, const answer *a, bytes *out,
                         size_t *header_length)
{
    bool first = true;
    add_text(out, "{\"model_name\":");
    add_string(out, model->name);
    add_text(out, ",\"model_version\":");
    add_string(out, model->version);
    if (r->id[0] != '\0') {
        add_text(out, ",\"id\":");
        add_string(out, r->id);
    }
    add_text(out, ",\"outputs\":[");
    for (size_t i = 0; i < OUTPUTS; i++) {
        if (!(r->outputs & all_outputs[i].bit)) continue;
        if (!first) add(out, ",", 1);
        write_output(a, &all_outputs[i], (r->binary & all_outputs[i].bit) != 0, out);
        first = false;
    }
    add_text(out, "]}");
    *header_length = (r->outputs & r->binary) != 0 ? out->size : SIZE_MAX;
    for (size_t i = 0; i < OUTPUTS; i++)
        if (r->outputs & r->binary & all_outputs[i].bit) write_tensor(a, all_outputs[i].bit, out);
}

cz_status sv_oip_answer(const sv_oip_request *r, const sv_model *model, const sv_outcome *outcomes, char **out,
                        size_t *size, size_t *header_length)
{
    answer a = {.outcomes = outcomes, .count = r->count};
    bytes text = {0};
    if (r->outputs & SV_OIP_MAP) {
        const cz_status status = check_maps(&a, (r->binary & SV_OIP_MAP) != 0);
        if (status != CZ_OK) return status;
    }
    if (r->outputs & SV_OIP_REGIONS) {
        a.regions = region_texts(outcomes, r->count);
        text.failed = a.regions == NULL;
    }
    size_t json_size = 0;
    write_answer(r, model, &a, &text, &json_size);
    for (size_t i = 0; a.regions != NULL && i < r->count; i++) free(a.regions[i]);
    free(a.regions);
    if (text.failed) {
        free(text.data);
        return sv_fail(CZ_E_MEMORY, "out of memory");
    }
    *out = text.data;
    *size = text.size;
    *header_length = json_size;
    return CZ_OK;
}
