/* SPDX-License-Identifier: Apache-2.0 */
#include "train_log.h"
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A training that was killed can have left half a line. */
static bool ends_inside(const char *path)
{
    char last = '\n';
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) return false;
    const off_t size = lseek(file, 0, SEEK_END);
    const bool inside = size > 0 && pread(file, &last, 1, size - 1) == 1 && last != '\n';
    (void)close(file);
    return inside;
}

int train_log_open(train_log *log, const char *path, bool append)
{
    *log = (train_log)TRAIN_LOG_NONE;
    log->path = path;
    log->inside = append && ends_inside(path);
    log->file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0666);
    if (log->file >= 0) return CLI_OK;
    cli_error("%s: cannot write there: %s", path, strerror(errno));
    return CLI_RESOURCES;
}

void train_log_close(train_log *log)
{
    if (log->file >= 0) (void)close(log->file);
    log->file = -1;
}

/* One write a line: a reader that follows the file sees whole lines. Frees `text`, which has `length` bytes and begins with a
 * newline that is left out unless the line before it was cut short. */
static void put_line(train_log *log, char *text, size_t length)
{
    const char *from = log->inside ? text : text + 1;
    size_t left = text == NULL ? 0 : length - (log->inside ? 0 : 1);
    errno = 0;
    while (left > 0) {
        const ssize_t wrote = write(log->file, from, left);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) break;
        log->inside = true;
        from += wrote;
        left -= (size_t)wrote;
    }
    if (text != NULL && left == 0) {
        log->inside = false;
    } else if (!log->told) {
        cli_note("%s: cannot be written: %s; the training goes on", log->path,
                 errno != 0 ? strerror(errno) : "out of memory");
        log->told = true;
    }
    free(text);
}

typedef struct line {
    FILE *out; /* NULL: out of memory */
    char *text;
    size_t length;
} line;

static void begin(line *l, const char *event)
{
    *l = (line){NULL, NULL, 0};
    l->out = open_memstream(&l->text, &l->length);
    if (l->out != NULL) (void)fprintf(l->out, "\n{\"event\":\"%s\"", event);
}

static void finish(line *l, train_log *log)
{
    if (l->out != NULL) {
        (void)fputs("}\n", l->out);
        const bool failed = ferror(l->out) != 0;
        if (fclose(l->out) != 0 || failed) {
            free(l->text);
            l->text = NULL;
        }
    }
    put_line(log, l->text, l->length);
}

/* Paths need not be UTF-8, which JSON must be. */
static void put_quoted(FILE *out, const char *text)
{
    json_t *string = json_string(text);
    if (string == NULL) {
        char *plain = strdup(text);
        for (char *p = plain; p != NULL && *p != '\0'; p++) {
            if ((unsigned char)*p >= 0x80) *p = '?';
        }
        string = plain != NULL ? json_string(plain) : NULL;
        free(plain);
    }
    char *quoted = string != NULL ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    (void)fputs(quoted != NULL ? quoted : "null", out);
    free(quoted);
    json_decref(string);
}

static void put_text(FILE *out, const char *key, const char *text)
{
    (void)fprintf(out, ",\"%s\":", key);
    if (text != NULL) {
        put_quoted(out, text);
    } else {
        (void)fputs("null", out);
    }
}

static void put_time(FILE *out)
{
    char text[32];
    const time_t now = time(NULL);
    struct tm parts;
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
    put_text(out, "time", text);
}

static void put_categories(FILE *out, const train_log_facts *facts)
{
    const cz_image_source *s = facts->images;
    (void)fputs(",\"categories\":[", out);
    for (size_t c = 0; c < (s->categories > 0 ? s->categories : 1); c++) {
        size_t images = s->categories > 0 ? 0 : s->count;
        for (size_t i = 0; s->categories > 0 && i < s->count; i++) images += s->category(s->ctx, i) == c;
        (void)fprintf(out, "%s{\"name\":", c > 0 ? "," : "");
        put_quoted(out, s->categories > 0 ? s->category_name(s->ctx, c) : facts->only);
        (void)fprintf(out, ",\"images\":%zu}", images);
    }
    (void)fputc(']', out);
}

void train_log_start(train_log *log, const train_log_facts *facts)
{
    if (log->file < 0) return;
    line l;
    begin(&l, "start");
    if (l.out != NULL) {
        put_time(l.out);
        put_text(l.out, "version", cz_version());
        put_text(l.out, "backbone", facts->backbone);
        (void)fprintf(l.out, ",\"resumed\":%s,\"config\":%s", facts->resumed ? "true" : "false",
                      facts->config != NULL ? facts->config : "null");
        put_categories(l.out, facts);
    }
    finish(&l, log);
}

void train_log_step(train_log *log, const cz_train_step *s)
{
    if (log->file < 0) return;
    const struct {
        const char *name;
        double value;
    } fields[] = {
        {"loss", s->loss},
        {"loss_ad", s->loss_ad},
        {"loss_weighted", s->loss_weighted},
        {"loss_contrast", s->loss_contrast},
        {"loss_decay", s->loss_decay},
        {"support_ad", s->support_ad},
        {"mean_weight", s->mean_weight},
        {"share_below_one", s->share_below_one},
        {"det_sigma", s->det_sigma},
        {"lambda_ratio", s->lambda_ratio},
        {"inner_shift", s->inner_shift},
        {"support_drop", s->support_drop},
        {"meta_cosine", s->meta_cosine},
        {"gradient_adaptor", s->gradient_adaptor},
        {"gradient_discriminator", s->gradient_discriminator},
        {"images_per_second", s->images_per_second},
        {"seconds", s->seconds},
        {"seconds_left", s->seconds_left},
    };
    line l;
    begin(&l, "step");
    if (l.out != NULL) {
        (void)fprintf(l.out, ",\"epoch\":%zu,\"step\":%zu,\"steps\":%zu", s->epoch, s->step, s->steps);
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
            char buffer[32];
            (void)fprintf(l.out, ",\"%s\":%s", fields[i].name, config_real(fields[i].value, buffer));
        }
    }
    finish(&l, log);
}

/* The event of a phase as the library calls it; NULL: none. */
static const char *phase_event(const char *what)
{
    static const char *const events[][2] = {{"features", "features"},
                                            {"precision", "precision"},
                                            {"statistics", "statistics"},
                                            {"comparing photos", "comparing"},
                                            {"confidence", "confidence"}};
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        if (strcmp(what, events[i][0]) == 0) return events[i][1];
    return NULL;
}

void train_log_phase(train_log *log, const char *what, size_t done, size_t total)
{
    const char *event = phase_event(what);
    struct timespec t;
    if (log->file < 0 || event == NULL) return;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    const double now = (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
    if (log->phase == event && now < log->next && done < total) return;
    log->phase = event;
    log->next = now + 1.0;
    line l;
    begin(&l, event);
    if (l.out != NULL) (void)fprintf(l.out, ",\"done\":%zu,\"total\":%zu", done, total);
    finish(&l, log);
}

void train_log_end(train_log *log, cz_status status, double seconds, const char *model)
{
    if (log->file < 0) return;
    line l;
    begin(&l, "end");
    if (l.out != NULL) {
        put_time(l.out);
        put_text(l.out, "status", cz_status_name(status));
        if (status != CZ_OK) put_text(l.out, "message", cz_last_error());
        (void)fprintf(l.out, ",\"seconds\":%.3f", seconds);
        put_text(l.out, "model", model);
    }
    finish(&l, log);
}
