/* SPDX-License-Identifier: Apache-2.0 */
/* What every row has in common: the base configuration, the targets, the results folder and what it was made for. */
#include "ablate.h"
#include "cozad/cozad_eval.h"
#include "inputs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

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
    a->config = ablate_read_json(a->config_path, true);
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
        char path[ABLATE_PATH];
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
    char root[ABLATE_PATH / 2], layout[32] = "", category[256] = "";
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
            if (ablate_exists(place)) continue;
            cli_error("%s: %s", place, strerror(errno));
            code = CLI_USAGE;
        }
    }
    return code;
}

/* ---- results folder ---------------------------------------------------------------------------------------------- */

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

static char *shown(const json_t *value)
{
    return value != NULL ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(9))
                         : strdup("not set");
}

/* Counts keys of two objects that differ and writes the first into `text`. */
static size_t differences(json_t *before, json_t *now, const char *prefix, char text[400])
{
    size_t count = 0;
    const char *key;
    json_t *unused, *all = json_copy(before);
    if (all == NULL || json_object_update_missing(all, now) != 0) count = 1;
    json_object_foreach(all, key, unused)
    {
        json_t *old = json_object_get(before, key), *new = json_object_get(now, key);
        if (old != NULL && new != NULL && json_equal(old, new)) continue;
        if (json_is_object(old) && json_is_object(new)) {
            char below[64];
            (void)snprintf(below, sizeof below, "%s%s.", prefix, key);
            count += differences(old, new, below, text);
            continue;
        }
        char *was = shown(old), *is = shown(new);
        if (count == 0 && was != NULL && is != NULL && text[0] == '\0') {
            (void)snprintf(text, 400, "%s%.60s was %.120s and is now %.120s", prefix, key, was, is);
        }
        free(was);
        free(is);
        count++;
    }
    json_decref(all);
    return count;
}

/* The folder is new, or was made for the same. */
static int compare(const ablate *a, const char *path, json_t *mine)
{
    if (!ablate_exists(path)) return CLI_OK;
    json_t *theirs = ablate_read_json(path, true);
    if (theirs == NULL) return CLI_USAGE;
    char text[400] = "";
    const size_t count = differences(theirs, mine, "", text);
    json_decref(theirs);
    if (count == 0) return CLI_OK;
    cli_error("%s holds results of another base: %s%s; choose another folder", a->results, text,
              count > 1 ? " (and more)" : "");
    return CLI_USAGE;
}

static int take_lock(ablate *a)
{
    char path[ABLATE_PATH], holder[64] = "";
    (void)ablate_path(a, NULL, 0, ".lock", path);
    /* Not closed on exec: a child that outlives this process (kill -9) goes on holding the lock. */
    a->lock = open(path, O_RDWR | O_CREAT, 0666); // NOLINT
    if (a->lock < 0) {
        cli_error("%s: %s", path, strerror(errno));
        return CLI_RESOURCES;
    }
    if (flock(a->lock, LOCK_EX | LOCK_NB) == 0) {
        ablate_note_child(a, 0);
        return CLI_OK;
    }
    const ssize_t size = pread(a->lock, holder, sizeof holder - 1, 0);
    holder[size > 0 ? size : 0] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
    cli_error("%s: another run works in this folder (process %s)", a->results, holder[0] != '\0' ? holder : "unknown");
    (void)close(a->lock);
    a->lock = -1;
    return CLI_RESOURCES;
}

void ablate_note_child(const ablate *a, pid_t child)
{
    char text[64];
    if (a->lock < 0) return;
    if (child != 0) {
        (void)snprintf(text, sizeof text, "%ld and its child %ld\n", (long)getpid(), (long)child);
    } else {
        (void)snprintf(text, sizeof text, "%ld\n", (long)getpid());
    }
    /* Only for a message: nothing depends on its being written. */
    if (ftruncate(a->lock, 0) == 0 && pwrite(a->lock, text, strlen(text), 0) < 0) return;
}

int ablate_open_folder(ablate *a, bool write)
{
    char path[ABLATE_PATH], base[ABLATE_PATH];
    if (strlen(a->results) > ABLATE_PATH / 2) {
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
    int code = write ? ablate_make_folder(a->results) : CLI_OK;
    if (code == CLI_OK && write) code = take_lock(a);
    if (code == CLI_OK) code = compare(a, path, mine);
    /* base.json first: a folder with ablate.json is whole. */
    if (code == CLI_OK && write && !ablate_exists(path)) {
        code = ablate_write_json(base, json_incref(a->config));
        if (code == CLI_OK) code = ablate_write_json(path, json_incref(mine));
    }
    if (code == CLI_OK && ablate_exists(base)) {
        const cz_status status = cz_file_sha256(base, a->base_sha256);
        if (status != CZ_OK) code = cli_fail(status);
    }
    json_decref(mine);
    return code;
}

void ablate_close_folder(ablate *a)
{
    if (a->lock >= 0) (void)close(a->lock);
    a->lock = -1;
}
