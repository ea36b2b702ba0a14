/* SPDX-License-Identifier: Apache-2.0 */
/* What a job may be asked for, and the command that it becomes. */
#include "studio_internal.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- checks --------------------------------------------------------------------------------------------------------- */

static bool one_of(const char *value, const char *const *choices)
{
    while (*choices != NULL && strcmp(value, *choices) != 0) choices++;
    return *choices != NULL;
}

typedef struct checking {
    const json_t *body;
    json_t *out;
    size_t known; /* keys of the body that were taken */
    cz_status status;
} checking;

static void refuse(checking *c, const char *key, const char *what)
{
    if (c->status == CZ_OK) c->status = sv_fail(CZ_E_ARG, "\"%s\" is %s", key, what);
}

static void put(checking *c, const char *key, json_t *value)
{
    if (json_object_set_new(c->out, key, value) != 0 && c->status == CZ_OK)
        c->status = sv_fail(CZ_E_MEMORY, "out of memory");
}

/* NULL: not there, or not a text (which is then refused). */
static const char *text(checking *c, const char *key)
{
    const json_t *value = json_object_get(c->body, key);
    if (value == NULL) return NULL;
    c->known++;
    const char *string = json_string_value(value);
    /* A zero inside would hide the rest from what follows. */
    if (string == NULL || strlen(string) != json_string_length(value)) {
        refuse(c, key, "not a text");
        return NULL;
    }
    return string;
}

static void take_name(checking *c, const char *key, const char *otherwise)
{
    const char *value = text(c, key);
    if (value == NULL) value = otherwise;
    if (value == NULL) {
        refuse(c, key, "missing");
    } else if (!sv_name_ok(value)) {
        refuse(c, key, "not a name: letters, digits, '.', '_' and '-', at most 63 of them, not beginning with a dot");
    } else {
        put(c, key, json_string(value));
    }
}

static void take_choice(checking *c, const char *key, const char *const *choices, const char *otherwise)
{
    const char *value = text(c, key);
    if (value == NULL) value = otherwise;
    if (value == NULL) return;
    if (!one_of(value, choices)) {
        refuse(c, key, "not one of the values that it can have");
    } else {
        put(c, key, json_string(value));
    }
}

static void take_whole(checking *c, const char *key, json_int_t least, json_int_t most)
{
    char what[80];
    const json_t *value = json_object_get(c->body, key);
    if (value == NULL) return;
    c->known++;
    if (!json_is_integer(value) || json_integer_value(value) < least || json_integer_value(value) > most) {
        (void)snprintf(what, sizeof what, "not a whole number from %" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT,
                       least, most);
        refuse(c, key, what);
    } else {
        put(c, key, json_integer(json_integer_value(value)));
    }
}

/* A name that weights are looked up by, never a path. */
static void take_backbone(checking *c)
{
    const char *value = text(c, "backbone");
    if (value == NULL) return;
    const bool random = strncmp(value, "random:", 7) == 0 && strlen(value) < SV_NAME &&
                        value[strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789_:")] == '\0';
    if (!random && (!sv_name_ok(value) || value[0] == '-')) {
        refuse(c, "backbone", "not the name of a backbone");
    } else {
        put(c, "backbone", json_string(value));
    }
}

/* A method that is a detector's name trains that one. */
static void check_detector(checking *c)
{
    const char *method = json_string_value(json_object_get(c->out, "method"));
    const char *detector = json_string_value(json_object_get(c->out, "detector"));
    if (method != NULL && detector != NULL && strcmp(method, "comet") != 0 && strcmp(method, detector) != 0)
        refuse(c, "detector", "another one than the method's");
}

static cz_status finish(checking *c, json_t **out)
{
    if (c->status == CZ_OK && c->known != json_object_size(c->body)) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)(uintptr_t)c->body, key, value)
        {
            if (json_object_get(c->out, key) == NULL) c->status = sv_fail(CZ_E_ARG, "\"%.60s\" is not known", key);
        }
        if (c->status == CZ_OK) c->status = sv_fail(CZ_E_ARG, "there is something that is not known");
    }
    if (c->status == CZ_OK) {
        *out = c->out;
    } else {
        json_decref(c->out);
    }
    return c->status;
}

static cz_status begin(checking *c, const json_t *body)
{
    *c = (checking){.body = body, .out = json_object(), .status = CZ_OK};
    if (c->out == NULL) return sv_fail(CZ_E_MEMORY, "out of memory");
    if (json_is_object(body)) return CZ_OK;
    json_decref(c->out);
    return sv_fail(CZ_E_ARG, "a job is described by a JSON object");
}

cz_status studio_train_options(const json_t *body, json_t **out)
{
    static const char *const methods[] = {"simplenet", "flow", "comet", NULL};
    static const char *const detectors[] = {"simplenet", "flow", NULL};
    static const char *const precisions[] = {"fp32", "fp32-winograd", "bf16", "int8", "auto", NULL};
    checking c;
    const cz_status status = begin(&c, body);
    if (status != CZ_OK) return status;
    take_name(&c, "dataset", NULL);
    take_name(&c, "name", json_string_value(json_object_get(c.out, "dataset")));
    take_choice(&c, "method", methods, "simplenet");
    take_choice(&c, "detector", detectors, NULL);
    take_choice(&c, "precision", precisions, NULL);
    take_whole(&c, "epochs", 1, 1000);
    take_whole(&c, "patches_per_image", 0, 65536);
    take_whole(&c, "image_size", 64, 1024);
    take_whole(&c, "seed", 0, INT64_MAX);
    take_backbone(&c);
    check_detector(&c);
    return finish(&c, out);
}

cz_status studio_calibrate_options(const json_t *body, json_t **out)
{
    checking c;
    const cz_status status = begin(&c, body);
    if (status != CZ_OK) return status;
    if (json_object_get(body, "dataset") != NULL) take_name(&c, "dataset", NULL);
    const json_t *alpha = json_object_get(body, "alpha");
    if (alpha != NULL) c.known++;
    const double value = alpha != NULL ? json_number_value(alpha) : 0.01;
    if ((alpha != NULL && !json_is_number(alpha)) || !(value >= 1e-6 && value <= 0.5)) {
        refuse(&c, "alpha", "not a rate from 0.000001 to 0.5");
    } else {
        put(&c, "alpha", json_real(value));
    }
    return finish(&c, out);
}

/* ---- commands ------------------------------------------------------------------------------------------------------- */

void studio_word(studio_words *w, const char *format, ...)
{
    char *word = NULL;
    va_list arguments;
    if (w->room < w->count + 2) {
        const size_t room = 2 * w->room + 16;
        char **items = realloc(w->items, room * sizeof *items);
        if (items == NULL) {
            w->failed = true;
            return;
        }
        w->items = items;
        w->room = room;
    }
    va_start(arguments, format);
    if (vasprintf(&word, format, arguments) < 0) {
        word = NULL;
        w->failed = true;
    }
    va_end(arguments);
    if (word != NULL) w->items[w->count++] = word;
    w->items[w->count] = NULL;
}

void studio_words_free(studio_words *w)
{
    for (size_t i = 0; i < w->count; i++) free(w->items[i]);
    free(w->items);
    memset(w, 0, sizeof *w);
}

void studio_train_words(const json_t *options, const char *backbone, studio_words *w)
{
    static const struct {
        const char *key, *option;
    } all[] = {{"method", "--method"}, {"detector", "--detector"},     {"precision", "--precision"},
               {"epochs", "--epochs"}, {"image_size", "--image-size"}, {"patches_per_image", "--patches-per-image"},
               {"seed", "--seed"}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const json_t *value = json_object_get(options, all[i].key);
        if (value == NULL) continue;
        studio_word(w, "%s", all[i].option);
        if (json_is_integer(value)) {
            studio_word(w, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        } else {
            studio_word(w, "%s", json_string_value(value));
        }
    }
    const char *chosen = json_string_value(json_object_get(options, "backbone"));
    if (chosen == NULL) chosen = backbone;
    if (chosen != NULL) {
        studio_word(w, "--backbone");
        studio_word(w, "%s", chosen);
    }
}
