/* SPDX-License-Identifier: Apache-2.0 */
/* What every row has in common: the base configuration, the targets, the results folder and what it was made for. */
#include "ablate.h"
#include "cozad/cozad_eval.h"
#include "inputs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- configuration ----------------------------------------------------------------------------------------------- */

/* "true", "on" and 1 are alike, as are 1.5 and "1.5". Static storage; NULL when the key is not there. */
static const char *config_text(const json_t *config, const char *key)
{
    static char text[64];
    const json_t *value = json_object_get(config, key);
    if (json_is_string(value)) return json_string_value(value);
    if (json_is_boolean(value)) return json_is_true(value) ? "on" : "off";
    if (json_is_integer(value)) {
        (void)snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value));
        return text;
    }
    if (json_is_real(value)) {
        (void)snprintf(text, sizeof text, "%.17g", json_real_value(value));
        return text;
    }
    return NULL;
}

/* The rows switch components off from the whole method: a base that has done so already would make them something else. */
static int check_components(const ablate *a)
{
    static const struct {
        const char *key, *needed;
    } rules[] = {{"scl", "on"},
                 {"meta", "on"},
                 {"contrast", "on"},
                 {"data-uncertainty", "on"},
                 {"model-uncertainty", "on"},
                 {"hard-cl", "off"},
                 {"method", "cozad"}};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const char *text = config_text(a->config, rules[i].key);
        if (text != NULL && strcmp(text, rules[i].needed) != 0) {
            cli_error("%s: \"%s\" is %s; the rows set it, so the base must leave it out or have it %s", a->config_path,
                      rules[i].key, text, rules[i].needed);
            return CLI_USAGE;
        }
    }
    return CLI_OK;
}

static int config_number(const ablate *a, const char *key, double *value)
{
    const char *text = config_text(a->config, key);
    if (text == NULL) return CLI_OK;
    char *end;
    *value = strtod(text, &end);
    if (end != text && *end == '\0' && isfinite(*value)) return CLI_OK;
    cli_error("%s: \"%s\" is no number", a->config_path, key);
    return CLI_USAGE;
}

/* Those that evaluation shares with training, unless the command line has them. */
static void take_running_options(ablate *a)
{
    const json_t *threads = json_object_get(a->config, "threads"), *folder = json_object_get(a->config, "cache-dir");
    if (a->threads == 0 && json_integer_value(threads) > 0) a->threads = (size_t)json_integer_value(threads);
    if (a->common.cache_dir[0] == '\0' && json_is_string(folder)) a->common.cache_dir = json_string_value(folder);
    if (json_is_true(json_object_get(a->config, "no-cache"))) a->common.no_cache = true;
}

int ablate_read_config(ablate *a)
{
    cz_train_options defaults;
    cz_train_options_init(&defaults);
    a->config = jobs_read_json(a->config_path, true);
    if (a->config == NULL) return CLI_USAGE;
    a->base =
        (ablate_base){defaults.cozad.kappa, (double)defaults.cozad.knn, defaults.cozad.lambda_cont, defaults.taps};
    int code = check_components(a);
    if (code == CLI_OK) code = config_number(a, "kappa", &a->base.kappa);
    if (code == CLI_OK) code = config_number(a, "knn", &a->base.knn);
    if (code == CLI_OK) code = config_number(a, "lambda-cont", &a->base.lambda_cont);
    if (code != CLI_OK) return code;
    const json_t *taps = json_object_get(a->config, "taps");
    if (json_is_string(taps)) a->base.taps = json_string_value(taps);
    const char *backbone = a->backbone != NULL ? a->backbone : config_text(a->config, "backbone");
    (void)snprintf(a->backbone_name, sizeof a->backbone_name, "%s",
                   backbone != NULL ? backbone : common_default_backbone());
    a->names_backbone = backbone != NULL;
    take_running_options(a);
    if (a->sources.count == 0 && json_object_get(a->config, "source") == NULL &&
        json_object_get(a->config, "normal") == NULL && json_object_get(a->config, "data") == NULL) {
        cli_error("there is nothing to train on: --source, or \"source\" in %s", a->config_path);
        return CLI_USAGE;
    }
    for (size_t i = 0; i < a->sources.count; i++) {
        if (inputs_check_source(a->sources.items[i]) != CZ_OK) return cli_fail(CZ_E_ARG);
    }
    return CLI_OK;
}

/* ---- targets ----------------------------------------------------------------------------------------------------- */

static int no_memory(void)
{
    cli_error("out of memory");
    return CLI_RESOURCES;
}

/* The next field up to an unescaped `separator` or the end, backslashes resolved, into `out`; returns what follows the
 * separator, NULL at the end. */
static const char *take_field(const char *text, char separator, char *out, size_t size)
{
    size_t n = 0;
    for (; *text != '\0' && *text != separator; text++) {
        if (*text == '\\' && (text[1] == ':' || text[1] == ',' || text[1] == '\\')) text++;
        if (n + 1 < size) out[n++] = *text;
    }
    out[n] = '\0';
    return *text == separator ? text + 1 : NULL;
}

static bool add_place(ablate_target *t, const char *root, const char *category)
{
    return json_array_append_new(t->places,
                                 category[0] != '\0' ? json_sprintf("%s/%s", root, category) : json_string(root)) == 0;
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* ROOT itself where it is laid out as a data set, else each of its folders that is. */
static bool find_places(ablate_target *t, const char *root)
{
    if (inputs_detect_layout(root) != NULL) return add_place(t, root, "");
    struct dirent **entries = NULL;
    const int count = scandir(root, &entries, visible, alphasort);
    bool good = true;
    for (int i = 0; i < count; i++) {
        char path[JOBS_PATH];
        if (snprintf(path, sizeof path, "%s/%s", root, entries[i]->d_name) < (int)sizeof path &&
            inputs_detect_layout(path) != NULL) {
            good = add_place(t, root, entries[i]->d_name) && good;
        }
        free(entries[i]);
    }
    free(entries);
    /* categories that a table of the data set names, not folders: eval takes them apart itself */
    cz_dataset *whole = NULL;
    if (json_array_size(t->places) == 0 && cz_dataset_open(root, t->layout, &whole) == CZ_OK) {
        good = add_place(t, root, "") && good;
    }
    cz_dataset_close(whole);
    return good;
}

/* Names are file names and column heads, no two alike, and none is one of the other files' names. */
static void name_target(const ablate *a, ablate_target *t, const char *wanted)
{
    char plain[72];
    (void)snprintf(plain, sizeof plain, "%.71s", wanted);
    for (char *p = plain; *p != '\0'; p++) {
        if (!isalnum((unsigned char)*p) && strchr("._-", *p) == NULL) *p = '_';
    }
    if (plain[0] == '\0' || plain[0] == '.') plain[0] = '_';
    (void)snprintf(t->name, sizeof t->name, "%s", plain);
    for (size_t suffix = 2;; suffix++) {
        bool taken = strcmp(t->name, "run") == 0 || strcmp(t->name, "failed") == 0 || strcmp(t->name, "mean") == 0;
        for (const ablate_target *other = a->targets; other < t; other++) {
            taken = taken || strcmp(other->name, t->name) == 0;
        }
        if (!taken) return;
        (void)snprintf(t->name, sizeof t->name, "%s-%zu", plain, suffix);
    }
}

static const char *known_layout(const char *text)
{
    if (strcmp(text, "auto") == 0) return "auto";
    for (size_t i = 0; cz_dataset_layout_name(i) != NULL; i++) {
        if (strcmp(text, cz_dataset_layout_name(i)) == 0) return cz_dataset_layout_name(i);
    }
    return NULL;
}

/* ROOT:LAYOUT[:CATEGORY,…] */
static int read_target(const ablate *a, const char *text, ablate_target *t)
{
    char root[JOBS_PATH / 2], layout[32] = "", category[256] = "";
    const char *rest = take_field(text, ':', root, sizeof root);
    const char *categories = rest != NULL ? take_field(rest, ':', layout, sizeof layout) : NULL;
    t->layout = known_layout(layout);
    t->places = json_array();
    json_t *names = json_array();
    bool good = t->places != NULL && names != NULL;
    if (t->layout == NULL || root[0] == '\0') {
        cli_error("--target: \"%s\" is not ROOT:LAYOUT[:CATEGORY,...] with auto or a layout of docs/data-sets.md",
                  text);
        json_decref(names);
        return CLI_USAGE;
    }
    while (strlen(root) > 1 && root[strlen(root) - 1] == '/') root[strlen(root) - 1] = '\0';
    for (const char *p = categories; p != NULL && good;) {
        p = take_field(p, ',', category, sizeof category);
        if (category[0] == '\0') continue;
        good = json_array_append_new(names, json_string(category)) == 0 && add_place(t, root, category);
    }
    if (good && json_array_size(names) == 0) good = find_places(t, root);
    const char *slash = strrchr(root, '/');
    const char *last = slash != NULL && slash[1] != '\0' ? slash + 1 : root;
    name_target(a, t, json_array_size(names) == 1 ? json_string_value(json_array_get(names, 0)) : last);
    t->spec =
        json_pack("{s:s, s:s, s:s, s:o}", "name", t->name, "root", root, "layout", t->layout, "categories", names);
    if (!good || t->spec == NULL) {
        cli_error("--target %s: out of memory, or a path that is not UTF-8", text);
        return CLI_RESOURCES;
    }
    if (json_array_size(t->places) == 0) {
        cli_error("--target %s: there is no data set in this folder", text);
        return CLI_USAGE;
    }
    return CLI_OK;
}

int ablate_read_targets(ablate *a)
{
    a->targets = calloc(a->target_texts.count + 1, sizeof *a->targets);
    if (a->targets == NULL) return no_memory();
    int code = CLI_OK;
    for (size_t i = 0; i < a->target_texts.count && code == CLI_OK; i++) {
        code = read_target(a, a->target_texts.items[i], &a->targets[i]);
        a->target_count = i + 1; /* also after an error: places is to be freed */
    }
    for (size_t i = 0; i < a->target_count && code == CLI_OK; i++) {
        for (size_t k = 0; k < json_array_size(a->targets[i].places); k++) {
            const char *place = json_string_value(json_array_get(a->targets[i].places, k));
            if (jobs_exists(place)) continue;
            cli_error("%s: %s", place, strerror(errno));
            code = CLI_USAGE;
        }
    }
    return code;
}

/* ---- results folder ---------------------------------------------------------------------------------------------- */

const char *ablate_path(const ablate *a, const char *row, size_t seed, const char *file, char out[JOBS_PATH])
{
    char below[JOBS_PATH / 8] = "";
    if (row != NULL && seed > 0) {
        (void)snprintf(below, sizeof below, "/%s/seed%zu", row, seed);
    } else if (row != NULL) {
        (void)snprintf(below, sizeof below, "/%s", row);
    }
    (void)snprintf(out, JOBS_PATH, "%s%s%s%s", a->jobs.folder, below, file[0] != '\0' ? "/" : "", file);
    return out;
}

/* {"config", "backbone", "sources", "targets"}: two runs that agree in it may share a folder. */
static json_t *identity(const ablate *a)
{
    json_t *sources = json_array(), *targets = json_array();
    for (size_t i = 0; i < a->sources.count; i++) {
        if (json_array_append_new(sources, json_string(a->sources.items[i])) != 0) goto fail;
    }
    for (size_t i = 0; i < a->target_count; i++) {
        if (json_array_append(targets, a->targets[i].spec) != 0) goto fail;
    }
    return json_pack("{s:i, s:O, s:s, s:o, s:o}", "format", 1, "config", a->config, "backbone", a->backbone_name,
                     "sources", sources, "targets", targets);
fail:
    json_decref(sources);
    json_decref(targets);
    return NULL;
}

int ablate_open_folder(ablate *a, bool write)
{
    char path[JOBS_PATH], base[JOBS_PATH];
    if (strlen(a->jobs.folder) > JOBS_PATH / 2) {
        cli_error("-o: the folder's name is too long");
        return CLI_USAGE;
    }
    (void)ablate_path(a, NULL, 0, "ablate.json", path);
    (void)ablate_path(a, NULL, 0, "base.json", base);
    json_t *mine = identity(a);
    if (mine == NULL) {
        cli_error("out of memory, or a path that is not UTF-8");
        return CLI_RESOURCES;
    }
    int code = write ? jobs_make_folder(a->jobs.folder) : CLI_OK;
    if (code == CLI_OK && write) code = jobs_lock(&a->jobs);
    if (code == CLI_OK) code = jobs_compare(&a->jobs, path, mine, "base");
    /* base.json first: a folder with ablate.json is whole. */
    if (code == CLI_OK && write && !jobs_exists(path)) {
        code = jobs_write_json(base, json_incref(a->config));
        if (code == CLI_OK) code = jobs_write_json(path, json_incref(mine));
    }
    if (code == CLI_OK && jobs_exists(base)) {
        const cz_status status = cz_file_sha256(base, a->base_sha256);
        if (status != CZ_OK) code = cli_fail(status);
    }
    json_decref(mine);
    return code;
}
