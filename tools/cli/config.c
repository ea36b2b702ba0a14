/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A configuration of a thousand sources has about 100 kB. */
#define MAX_BYTES ((size_t)4 << 20)

static bool is_among(config_names list, const char *name)
{
    for (size_t i = 0; i < list.count; i++) {
        if (strcmp(list.names[i], name) == 0) return true;
    }
    return false;
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

static int wrong(const char *path, const char *key, const char *problem)
{
    cli_error("%s: \"%.60s\" %s", path, key, problem);
    return CLI_USAGE;
}

static json_t *load(const char *path)
{
    json_error_t error;
    FILE *file = fopen(path, "re");
    char *text = malloc(MAX_BYTES + 1);
    json_t *root = NULL;
    if (file == NULL || text == NULL) {
        cli_error("%s: %s", path, strerror(errno));
        goto out;
    }
    const size_t length = fread(text, 1, MAX_BYTES + 1, file);
    if (ferror(file)) {
        cli_error("%s: %s", path, strerror(errno));
    } else if (length > MAX_BYTES) {
        cli_error("%s: larger than %zu bytes", path, MAX_BYTES);
    } else {
        root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
        if (root == NULL) cli_error("%s: line %d: %s", path, error.line, error.text);
    }
    if (root != NULL && !json_is_object(root)) {
        cli_error("%s: is not a JSON object", path);
        json_decref(root);
        root = NULL;
    }
out:
    free(text);
    if (file != NULL) (void)fclose(file);
    return root;
}

static bool set_list(const cli_option *o, const json_t *value)
{
    size_t index;
    json_t *item;
    if (json_is_string(value)) return cli_set_value(o, json_string_value(value));
    if (!json_is_array(value)) return false;
    json_array_foreach(value, index, item)
    {
        if (!json_is_string(item)) return false;
    }
    json_array_foreach(value, index, item)
    {
        if (!cli_set_value(o, json_string_value(item))) return false;
    }
    return true;
}

static bool set_from_json(const cli_option *o, const json_t *value)
{
    char text[32];
    switch (o->kind) {
    case CLI_FLAG:
        if (json_is_boolean(value)) *(bool *)o->target = json_is_true(value);
        return json_is_boolean(value);
    case CLI_SWITCH:
        if (json_is_boolean(value)) return cli_set_value(o, json_is_true(value) ? "on" : "off");
        return json_is_string(value) && cli_set_value(o, json_string_value(value));
    case CLI_STRING:
    case CLI_CHOICE:
        return json_is_string(value) && cli_set_value(o, json_string_value(value));
    case CLI_AUTO: /* "auto" */
    case CLI_U64:  /* what a JSON integer cannot hold is a string of digits */
        if (json_is_string(value)) return cli_set_value(o, json_string_value(value));
        /* fallthrough */
    case CLI_SIZE:
        (void)snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return json_is_integer(value) && cli_set_value(o, text);
    case CLI_REAL:
        if (json_is_number(value)) *(double *)o->target = json_number_value(value);
        return json_is_number(value);
    case CLI_LIST:
        return set_list(o, value);
    default:
        return false;
    }
}

static const char *wanted_in_json(const cli_option *o, char buffer[160])
{
    switch (o->kind) {
    case CLI_FLAG:
        return "true or false";
    case CLI_STRING:
        return "a string";
    case CLI_LIST:
        return "a string or an array of strings";
    case CLI_SIZE:
    case CLI_U64:
        return "a whole number in range";
    case CLI_AUTO:
        return "a whole number from 1 on, or \"auto\"";
    case CLI_REAL:
        return "a number";
    default:
        return cli_wanted(o, buffer);
    }
}

int config_read(const char *path, const cli_option *options, size_t count, config_names refused, const bool *given,
                bool *from_file, json_t **root)
{
    const char *key;
    json_t *value;
    json_t *file = load(path);
    if (file == NULL) return CLI_USAGE;
    *root = file;
    json_object_foreach(file, key, value)
    {
        size_t i = 0;
        while (i < count && (options[i].kind == CLI_HEADING || strcmp(options[i].name, key) != 0)) i++;
        if (i == count) return wrong(path, key, "is not a known key; the keys are the options of --help");
        if (is_among(refused, key)) return wrong(path, key, "belongs on the command line");
        /* What the command line overrides is still checked: into a place of its own. */
        union {
            bool flag;
            int on;
            const char *text;
            size_t size;
            uint64_t u64;
            double real;
            cli_list list;
        } elsewhere;
        memset(&elsewhere, 0, sizeof elsewhere);
        cli_option option = options[i];
        if (given[i]) option.target = &elsewhere;
        const bool fits = set_from_json(&option, value);
        if (given[i] && option.kind == CLI_LIST) cli_list_free(&elsewhere.list);
        if (!fits) {
            char buffer[160], problem[200];
            const char *wanted = wanted_in_json(&option, buffer);
            (void)snprintf(problem, sizeof problem, "is not %.170s", wanted != NULL ? wanted : "right");
            return wrong(path, key, problem);
        }
        from_file[i] = !given[i];
    }
    return CLI_OK;
}

/* ---- writing ------------------------------------------------------------------------------------------------------ */

const char *config_real(double value, char buffer[32])
{
    if (!isfinite(value)) return "null";
    for (int digits = 6; digits <= 17; digits++) {
        (void)snprintf(buffer, 32, "%.*g", digits, value);
        if (strtod(buffer, NULL) == value) break;
    }
    return buffer;
}

static bool put_string(FILE *out, const char *text)
{
    json_t *string = json_string(text);
    char *quoted = string != NULL ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    if (quoted != NULL) (void)fputs(quoted, out);
    const bool done = quoted != NULL;
    free(quoted);
    json_decref(string);
    return done;
}

static bool put_list(FILE *out, const cli_list *list)
{
    bool done = true;
    (void)fputc('[', out);
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0) (void)fputs(", ", out);
        done = put_string(out, list->items[i]) && done;
    }
    (void)fputc(']', out);
    return done;
}

static bool has_value(const cli_option *o)
{
    if (o->kind == CLI_HEADING) return false;
    if (o->kind == CLI_LIST) return ((const cli_list *)o->target)->count > 0;
    return (o->kind != CLI_STRING && o->kind != CLI_CHOICE) || *(const char **)o->target != NULL;
}

static bool put_value(FILE *out, const cli_option *o)
{
    char buffer[32];
    switch (o->kind) {
    case CLI_FLAG:
        (void)fputs(*(const bool *)o->target ? "true" : "false", out);
        return true;
    case CLI_SWITCH:
        (void)fputs(*(const int *)o->target != 0 ? "\"on\"" : "\"off\"", out);
        return true;
    case CLI_SIZE:
        (void)fprintf(out, "%zu", *(const size_t *)o->target);
        return true;
    case CLI_AUTO:
        if (*(const size_t *)o->target == 0) return put_string(out, "auto");
        (void)fprintf(out, "%zu", *(const size_t *)o->target);
        return true;
    case CLI_U64: {
        const uint64_t value = *(const uint64_t *)o->target;
        (void)fprintf(out, value <= INT64_MAX ? "%" PRIu64 : "\"%" PRIu64 "\"", value);
        return true;
    }
    case CLI_REAL:
        (void)fputs(config_real(*(const double *)o->target, buffer), out);
        return true;
    case CLI_LIST:
        return put_list(out, o->target);
    default:
        return put_string(out, *(const char **)o->target);
    }
}

char *config_text(const cli_option *options, size_t count, config_names left_out, bool indented)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) return NULL;
    bool done = true, first = true;
    (void)fputc('{', out);
    for (size_t i = 0; i < count; i++) {
        if (!has_value(&options[i]) || is_among(left_out, options[i].name)) continue;
        (void)fprintf(out, "%s%s\"%s\":%s", first ? "" : ",", indented ? "\n  " : "", options[i].name,
                      indented ? " " : "");
        done = put_value(out, &options[i]) && done;
        first = false;
    }
    (void)fputs(indented ? "\n}" : "}", out);
    if (fclose(out) == 0 && done) return text;
    free(text);
    return NULL;
}
