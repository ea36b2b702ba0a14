/* SPDX-License-Identifier: Apache-2.0 */
#include "eval_scores.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_LINE = 1 << 20, MAX_MASKS = 1024 };

/* ---- reading ------------------------------------------------------------------------------------------------------- */

static int bad(const char *path, size_t line, const char *problem)
{
    cli_error("%s: line %zu: %s", path, line, problem);
    return CLI_SOME_FAILED;
}

void scores_free(scores_file *file)
{
    for (size_t i = 0; i < file->count; i++) {
        free(file->items[i].masks);
        json_decref(file->lines[i]);
    }
    free(file->items);
    free(file->lines);
    json_decref(file->head);
    memset(file, 0, sizeof *file);
}

const char *scores_head(const scores_file *file, const char *key)
{
    return json_string_value(json_object_get(file->head, key));
}

/* Relative and without "..": it stays below the folder that it is joined to. */
static bool stays_below(const char *path)
{
    if (path[0] == '/' || path[0] == '\0') return false;
    for (const char *p = path; p != NULL; p = strchr(p, '/')) {
        if (*p == '/') p++;
        if (strncmp(p, "..", 2) == 0 && (p[2] == '/' || p[2] == '\0')) return false;
    }
    return true;
}

static const char *text_of(const json_t *line, const char *key)
{
    const char *text = json_string_value(json_object_get(line, key));
    return text != NULL ? text : "";
}

/* What is wrong with the masks, or NULL. `rooted`: they are below the data set's root. */
static const char *read_masks(const json_t *line, bool rooted, scores_item *item)
{
    const json_t *masks = json_object_get(line, "masks");
    if (masks == NULL) return NULL;
    if (!json_is_array(masks) || json_array_size(masks) > MAX_MASKS) return "\"masks\" is no list of files";
    item->mask_count = json_array_size(masks);
    item->masks = calloc(item->mask_count + 1, sizeof *item->masks);
    if (item->masks == NULL) return "out of memory";
    for (size_t i = 0; i < item->mask_count; i++) {
        item->masks[i] = json_string_value(json_array_get(masks, i));
        if (item->masks[i] == NULL) return "\"masks\" is no list of files";
        if (rooted && !stays_below(item->masks[i])) return "a mask that is not below the data set's root";
    }
    return NULL;
}

static const char *read_item(const json_t *line, bool rooted, scores_item *item)
{
    const json_t *label = json_object_get(line, "label"), *score = json_object_get(line, "score"),
                 *map = json_object_get(line, "map");
    item->path = json_string_value(json_object_get(line, "path"));
    item->category = text_of(line, "category");
    item->kind = text_of(line, "kind");
    item->failed = json_object_get(line, "error") != NULL;
    item->nonzero = strcmp(text_of(line, "mask_rule"), "nonzero") == 0;
    item->trained_on = json_is_true(json_object_get(line, "trained_on"));
    item->label = -1;
    if (item->path == NULL || item->path[0] == '\0') return "there is no \"path\"";
    if (item->failed) return NULL;
    if (!json_is_integer(label) || (json_integer_value(label) != 0 && json_integer_value(label) != 1))
        return "\"label\" is neither 0 nor 1";
    item->label = (int)json_integer_value(label);
    if (!json_is_number(score) || !isfinite(json_number_value(score))) return "\"score\" is no finite number";
    item->score = json_number_value(score);
    if (map != NULL && !json_is_null(map)) {
        item->map = json_string_value(map);
        if (item->map == NULL || !stays_below(item->map)) return "a map that is not below the folder of maps";
    }
    return read_masks(line, rooted, item);
}

static bool make_room(scores_file *file)
{
    if (file->count < file->room) return true;
    const size_t room = file->room == 0 ? 256 : 2 * file->room;
    scores_item *items = realloc(file->items, room * sizeof *items);
    if (items != NULL) file->items = items;
    json_t **lines = realloc(file->lines, room * sizeof(json_t *));
    if (lines != NULL) file->lines = lines;
    if (items == NULL || lines == NULL) return false;
    file->room = room;
    return true;
}

static int add_line(scores_file *file, const char *path, size_t number, json_t *line, json_t *seen)
{
    scores_item item = {0};
    const json_t *data = json_object_get(file->head, "data");
    if (!json_is_object(line)) return bad(path, number, "no object");
    if (!make_room(file)) {
        cli_error("out of memory");
        return CLI_RESOURCES;
    }
    const char *problem = read_item(line, json_is_string(data), &item);
    json_t *inside = problem == NULL ? json_object_get(seen, item.category) : NULL;
    if (problem == NULL && inside == NULL) {
        inside = json_object();
        if (json_object_set_new(seen, item.category, inside) != 0) problem = "out of memory";
    }
    if (problem == NULL && json_object_get(inside, item.path) != NULL) problem = "the same photo again";
    if (problem == NULL && json_object_set_new(inside, item.path, json_true()) != 0) problem = "out of memory";
    if (problem != NULL) {
        free(item.masks);
        return bad(path, number, problem);
    }
    file->items[file->count] = item;
    file->lines[file->count++] = json_incref(line);
    return CLI_OK;
}

static int set_head(scores_file *file, const char *path, json_t *line)
{
    const json_t *version = json_object_get(line, "version");
    if (strcmp(text_of(line, "event"), "scores") != 0 || !json_is_integer(version)) {
        return bad(path, 1, "not the head of saved scores (cozad eval --save-scores)");
    }
    if (json_integer_value(version) != SCORES_VERSION) return bad(path, 1, "scores of another version");
    file->head = json_incref(line);
    return CLI_OK;
}

static int read_lines(FILE *stream, const char *path, scores_file *out)
{
    char *text = NULL;
    size_t room = 0, number = 0;
    ssize_t length;
    int code = CLI_OK;
    json_t *seen = json_object();
    while (code == CLI_OK && (length = getline(&text, &room, stream)) >= 0) {
        number++;
        if (length == 1 && text[0] == '\n') continue;
        json_error_t error;
        json_t *line = length <= MAX_LINE ? json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &error) : NULL;
        if (line == NULL) {
            code = bad(path, number, length <= MAX_LINE ? error.text : "longer than 1 MB");
        } else {
            code = out->head == NULL ? set_head(out, path, line) : add_line(out, path, number, line, seen);
        }
        json_decref(line);
    }
    if (code == CLI_OK && ferror(stream)) {
        cli_error("%s: cannot be read: %s", path, strerror(errno));
        code = CLI_SOME_FAILED;
    }
    if (code == CLI_OK && out->head == NULL) code = bad(path, 1, "the file is empty");
    json_decref(seen);
    free(text);
    return code;
}

int scores_read(const char *path, scores_file *out)
{
    memset(out, 0, sizeof *out);
    FILE *stream = fopen(path, "re");
    if (stream == NULL) {
        cli_error("%s: cannot be opened: %s", path, strerror(errno));
        return CLI_SOME_FAILED;
    }
    const int code = read_lines(stream, path, out);
    (void)fclose(stream);
    if (code != CLI_OK) scores_free(out);
    return code;
}

/* ---- writing ------------------------------------------------------------------------------------------------------- */

static int fail_write(const scores_writer *w)
{
    cli_error("%s: cannot be written: %s", w->path, strerror(errno));
    return CLI_RESOURCES;
}

/* Takes the reference. */
static int write_line(scores_writer *w, json_t *line)
{
    char *text = line != NULL ? json_dumps(line, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(line);
    if (text == NULL) {
        cli_error("%s: a line cannot be written as JSON (is a path not UTF-8?)", w->path);
        return CLI_SOME_FAILED;
    }
    const bool good = fputs(text, w->stream) >= 0 && fputc('\n', w->stream) != EOF;
    free(text);
    return good ? CLI_OK : fail_write(w);
}

int scores_open(scores_writer *w, const char *path, json_t *head)
{
    w->path = path;
    const size_t room = strlen(path) + 6;
    w->temporary = malloc(room);
    if (w->temporary != NULL) (void)snprintf(w->temporary, room, "%s.part", path);
    w->stream = w->temporary != NULL ? fopen(w->temporary, "we") : NULL;
    if (w->stream == NULL) {
        json_decref(head);
        const int code = fail_write(w);
        scores_abort(w);
        return code;
    }
    json_t *line = json_pack("{s:s, s:i}", "event", "scores", "version", SCORES_VERSION);
    if (line != NULL && (head == NULL || json_object_update(line, head) != 0)) {
        json_decref(line);
        line = NULL;
    }
    json_decref(head);
    return write_line(w, line);
}

int scores_add(scores_writer *w, const scores_item *item)
{
    if (w->stream == NULL) return CLI_OK;
    json_t *line = json_pack("{s:s, s:s, s:s}", "path", item->path, "category", item->category, "kind", item->kind);
    if (item->failed) {
        if (line != NULL) (void)json_object_set_new(line, "error", json_string("could not be scored"));
        return write_line(w, line);
    }
    json_t *masks = json_array();
    for (size_t i = 0; i < item->mask_count; i++) (void)json_array_append_new(masks, json_string(item->masks[i]));
    json_t *rest = json_pack("{s:i, s:f, s:o, s:s?}", "label", item->label, "score", item->score, "masks", masks, "map",
                             item->map);
    if (line == NULL || rest == NULL || json_object_update(line, rest) != 0) {
        json_decref(line);
        line = NULL;
    }
    json_decref(rest);
    if (line != NULL && item->nonzero) (void)json_object_set_new(line, "mask_rule", json_string("nonzero"));
    if (line != NULL && item->trained_on) (void)json_object_set_new(line, "trained_on", json_true());
    return write_line(w, line);
}

int scores_commit(scores_writer *w)
{
    if (w->stream == NULL) return CLI_OK;
    bool good = fflush(w->stream) == 0 && fsync(fileno(w->stream)) == 0;
    good = fclose(w->stream) == 0 && good;
    w->stream = NULL;
    good = good && rename(w->temporary, w->path) == 0;
    const int code = good ? CLI_OK : fail_write(w);
    scores_abort(w);
    return code;
}

void scores_abort(scores_writer *w)
{
    if (w->stream != NULL) (void)fclose(w->stream);
    if (w->temporary != NULL) (void)unlink(w->temporary);
    free(w->temporary);
    *w = (scores_writer){0};
}
