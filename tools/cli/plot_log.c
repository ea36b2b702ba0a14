/* SPDX-License-Identifier: Apache-2.0 */
#include "plot_log.h"

#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const names[PLOT_FIELDS] = {"epoch",
                                               "step",
                                               "steps",
                                               "loss",
                                               "loss_ad",
                                               "loss_weighted",
                                               "loss_contrast",
                                               "loss_decay",
                                               "support_ad",
                                               "mean_weight",
                                               "share_below_one",
                                               "det_sigma",
                                               "lambda_ratio",
                                               "inner_shift",
                                               "support_drop",
                                               "meta_cosine",
                                               "gradient_adaptor",
                                               "gradient_discriminator",
                                               "images_per_second",
                                               "seconds",
                                               "seconds_left"};

const char *plot_field_name(plot_field field)
{
    return names[field];
}

static cz_status fail(cz_status status, const plot_log *log, const char *problem)
{
    char message[1024];
    (void)snprintf(message, sizeof message, "%s: %s", log->path, problem);
    return cz_source_error(status, message);
}

/* ---- lines ---------------------------------------------------------------------------------------------------------- */

typedef enum line_kind { LINE_END, LINE_WHOLE, LINE_LAST /* without a newline */, LINE_LONG, LINE_ERROR } line_kind;

typedef struct lines {
    FILE *stream;
    char *buffer; /* [PLOT_MAX_LINE + 1] */
    size_t begin, end;
    bool ended;
} lines;

static bool refill(lines *l)
{
    memmove(l->buffer, l->buffer + l->begin, l->end - l->begin);
    l->end -= l->begin;
    l->begin = 0;
    l->end += fread(l->buffer + l->end, 1, PLOT_MAX_LINE + 1 - l->end, l->stream);
    l->ended = l->end < PLOT_MAX_LINE + 1;
    return ferror(l->stream) == 0;
}

/* Goes on behind the next newline. */
static line_kind skip_line(lines *l)
{
    for (;;) {
        const char *newline = memchr(l->buffer + l->begin, '\n', l->end - l->begin);
        if (newline != NULL) {
            l->begin = (size_t)(newline - l->buffer) + 1;
            return LINE_LONG;
        }
        l->begin = l->end;
        if (l->ended) return LINE_LONG;
        if (!refill(l)) return LINE_ERROR;
    }
}

static line_kind next_line(lines *l, const char **text, size_t *length)
{
    const char *newline = l->end > l->begin ? memchr(l->buffer + l->begin, '\n', l->end - l->begin) : NULL;
    if (newline == NULL && !l->ended) {
        if (!refill(l)) return LINE_ERROR;
        newline = memchr(l->buffer, '\n', l->end);
        if (newline == NULL && !l->ended) return skip_line(l);
    }
    if (l->begin == l->end) return LINE_END;
    *text = l->buffer + l->begin;
    *length = newline != NULL ? (size_t)(newline - *text) : l->end - l->begin;
    l->begin += *length + (newline != NULL ? 1 : 0);
    return newline != NULL ? LINE_WHOLE : LINE_LAST;
}

/* ---- events --------------------------------------------------------------------------------------------------------- */

/* Beyond 2^53 neighbouring steps are no longer told apart; beyond 1e100 differences and squares leave the range of a
 * double. Neither is a training. */
#define LARGEST_COUNT 9007199254740992.0
#define LARGEST_VALUE 1e100

/* NULL, or what is wrong with the field. */
static const char *take_field(const json_t *event, plot_field field, double *out)
{
    const json_t *value = json_object_get(event, names[field]);
    const bool count = field == PLOT_EPOCH || field == PLOT_STEP || field == PLOT_STEPS;
    *out = NAN;
    if (value == NULL || json_is_null(value)) return field == PLOT_STEP || field == PLOT_EPOCH ? "is missing" : NULL;
    if (count ? !json_is_integer(value) : !json_is_number(value))
        return count ? "is not a whole number" : "is not a number";
    *out = json_number_value(value);
    if (count && !(*out >= 0 && *out <= LARGEST_COUNT)) return "is out of range";
    return fabs(*out) <= LARGEST_VALUE ? NULL : "is out of range";
}

/* A resumed training repeats the steps since its checkpoint: the new ones count. */
static void drop_from(plot_log *log, double step)
{
    size_t low = 0, high = log->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (log->rows[middle].value[PLOT_STEP] < step)
            low = middle + 1;
        else
            high = middle;
    }
    log->replaced += log->count - low;
    log->count = low;
}

/* False: `problem` says why the line cannot be used, or *status why the whole log cannot. */
static bool take_step(plot_log *log, const json_t *event, char problem[96], cz_status *status)
{
    plot_row row;
    for (plot_field field = 0; field < PLOT_FIELDS; field++) {
        const char *wrong = take_field(event, field, &row.value[field]);
        if (wrong == NULL) continue;
        (void)snprintf(problem, 96, "\"%s\" %s", names[field], wrong);
        return false;
    }
    if (log->restarted) drop_from(log, row.value[PLOT_STEP]);
    log->restarted = false;
    if (log->count > 0 && row.value[PLOT_STEP] <= log->rows[log->count - 1].value[PLOT_STEP]) {
        (void)snprintf(problem, 96, "its step does not come after the one before");
        return false;
    }
    if (log->count == log->room) {
        const size_t room = log->room > 0 ? 2 * log->room : 1024;
        plot_row *rows = log->count < PLOT_MAX_STEPS ? realloc(log->rows, room * sizeof *rows) : NULL;
        if (rows == NULL) {
            *status = log->count < PLOT_MAX_STEPS ? fail(CZ_E_MEMORY, log, "out of memory")
                                                  : fail(CZ_E_LIMIT, log, "more than 2000000 steps");
            return false;
        }
        log->rows = rows;
        log->room = room < PLOT_MAX_STEPS ? room : PLOT_MAX_STEPS;
    }
    log->rows[log->count++] = row;
    json_decref(log->end);
    log->end = NULL;
    return true;
}

static bool is_category(const json_t *value)
{
    const json_t *images = json_object_get(value, "images");
    return json_is_string(json_object_get(value, "name")) && (images == NULL || json_is_integer(images));
}

static bool take_start(plot_log *log, json_t *event, char problem[96])
{
    const json_t *config = json_object_get(event, "config"), *categories = json_object_get(event, "categories"), *one;
    size_t index;
    if (config != NULL && !json_is_null(config) && !json_is_object(config)) {
        (void)snprintf(problem, 96, "\"config\" is not an object");
        return false;
    }
    bool whole = categories == NULL || json_is_null(categories) || json_is_array(categories);
    json_array_foreach(categories, index, one) whole = whole && is_category(one);
    if (!whole) {
        (void)snprintf(problem, 96, "\"categories\" is not a list of names and numbers of images");
        return false;
    }
    json_decref(log->start);
    json_decref(log->end);
    log->start = json_incref(event);
    log->end = NULL;
    log->restarted = log->count > 0;
    log->restarts += log->restarted;
    return true;
}

static bool take_event(plot_log *log, json_t *event, char problem[96], cz_status *status)
{
    const char *kind = json_string_value(json_object_get(event, "event"));
    if (kind == NULL) {
        (void)snprintf(problem, 96, "has no \"event\"");
        return false;
    }
    if (strcmp(kind, "step") == 0) return take_step(log, event, problem, status);
    if (strcmp(kind, "start") == 0) return take_start(log, event, problem);
    if (strcmp(kind, "end") == 0) {
        json_decref(log->end);
        log->end = json_incref(event);
    }
    return true; /* other kinds may come with later versions */
}

static void note_bad(plot_log *log, size_t number, const char *problem)
{
    if (log->bad_lines++ > 0) return;
    log->first_bad = number;
    (void)snprintf(log->first_problem, sizeof log->first_problem, "%s", problem);
}

static bool is_blank(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (strchr(" \t\r", text[i]) == NULL || text[i] == '\0') return false;
    return true;
}

static cz_status read_lines(plot_log *log, lines *l)
{
    for (size_t number = 1;; number++) {
        char problem[96] = "is not JSON";
        const char *text = "";
        size_t length = 0;
        cz_status status = CZ_OK;
        const line_kind kind = next_line(l, &text, &length);
        if (kind == LINE_END) return CZ_OK;
        if (kind == LINE_ERROR) return fail(CZ_E_IO, log, "cannot read it");
        if (number % 1024 == 0 && cli_interrupted()) return fail(CZ_E_CANCELLED, log, "interrupted");
        if (kind == LINE_LONG) {
            note_bad(log, number, "is longer than 1 MiB");
            continue;
        }
        if (is_blank(text, length)) continue;
        json_t *event = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
        const bool used = event != NULL && take_event(log, event, problem, &status);
        if (status == CZ_OK && !used && event == NULL && kind == LINE_LAST)
            log->partial = true;
        else if (status == CZ_OK && !used)
            note_bad(log, number, problem);
        json_decref(event);
        if (status != CZ_OK) return status;
    }
}

cz_status plot_log_read(const char *path, plot_log *log)
{
    memset(log, 0, sizeof *log);
    log->path = log->name = path;
    lines l = {.buffer = malloc(PLOT_MAX_LINE + 1)};
    /* Without O_NONBLOCK a pipe with nobody at its other end would be waited for. */
    const int fd = l.buffer != NULL ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    struct stat info;
    cz_status status = CZ_OK;
    if (l.buffer == NULL) {
        status = fail(CZ_E_MEMORY, log, "out of memory");
    } else if (fd < 0) {
        status = fail(CZ_E_IO, log, strerror(errno));
    } else if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        status = fail(CZ_E_IO, log, "is not a file");
    } else if ((l.stream = fdopen(fd, "rb")) == NULL) {
        status = fail(CZ_E_MEMORY, log, "out of memory");
    } else {
        status = read_lines(log, &l);
    }
    if (l.stream != NULL)
        (void)fclose(l.stream);
    else if (fd >= 0)
        (void)close(fd);
    free(l.buffer);
    if (status != CZ_OK || log->count > 0) return status;
    char problem[192] = "there is no training step in it";
    if (log->bad_lines > 0)
        (void)snprintf(problem, sizeof problem, "there is no training step in it (line %zu %s)", log->first_bad,
                       log->first_problem);
    return fail(CZ_E_FORMAT, log, problem);
}

void plot_log_close(plot_log *log)
{
    free(log->rows);
    json_decref(log->start);
    json_decref(log->end);
    memset(log, 0, sizeof *log);
}
