/* SPDX-License-Identifier: Apache-2.0 */
/* Gathers what the page shows, and puts the finished page in place. The page itself is report_page.c. */
#include "report.h"

#include "report_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

cz_status report_no_memory(void)
{
    return cz_source_error(CZ_E_MEMORY, "the report: out of memory");
}

cz_status report_copy_text(char **to, const char *text)
{
    char *copy = strdup(text ? text : "");
    if (!copy) return report_no_memory();
    free(*to);
    *to = copy;
    return CZ_OK;
}

cz_status report_open(size_t max_shown, report **out)
{
    report *r = calloc(1, sizeof *r);
    if (!r) return report_no_memory();
    r->max_shown = max_shown ? max_shown : REPORT_MAX_SHOWN;
    r->shown = calloc(r->max_shown, sizeof *r->shown);
    if (!r->shown || report_copy_text(&r->title, "Report") != CZ_OK) {
        report_close(r);
        return report_no_memory();
    }
    *out = r;
    return CZ_OK;
}

static void clear_lines(report_line **lines, size_t *count)
{
    for (size_t i = 0; i < *count; i++) {
        free((*lines)[i].name);
        free((*lines)[i].value);
    }
    free(*lines);
    *lines = NULL;
    *count = 0;
}

static void clear_rows(report *r)
{
    for (size_t i = 0; i < r->row_count; i++) free((char *)r->rows[i].name);
    free(r->rows);
    r->rows = NULL;
    r->row_count = 0;
}

void report_clear_shown(report_shown *s)
{
    free(s->path);
    free(s->note);
    cz_string_free(s->photo);
    cz_string_free(s->overlay);
    cz_string_free(s->truth);
    *s = (report_shown){0};
}

void report_close(report *r)
{
    if (!r) return;
    clear_lines(&r->facts, &r->fact_count);
    clear_lines(&r->steps, &r->step_count);
    clear_lines(&r->warnings, &r->warning_count);
    clear_lines(&r->provenance, &r->provenance_count);
    clear_rows(r);
    for (size_t i = 0; i < r->category_count; i++) free(r->categories[i]);
    for (size_t i = 0; i < r->shown_count; i++) report_clear_shown(&r->shown[i]);
    free(r->categories);
    free(r->shown);
    free(r->scores);
    free(r->title);
    free(r->lead);
    free(r->backbone);
    free(r->rule);
    free(r);
}

cz_status report_set_title(report *r, const char *title, const char *lead)
{
    cz_status status = report_copy_text(&r->title, title);
    return status == CZ_OK ? report_copy_text(&r->lead, lead) : status;
}

cz_status report_set_backbone(report *r, const char *name, bool random)
{
    r->random = random;
    return report_copy_text(&r->backbone, name);
}

static cz_status add_line(report_line **lines, size_t *count, const char *name, const char *value)
{
    report_line *grown = realloc(*lines, (*count + 1) * sizeof *grown);
    if (!grown) return report_no_memory();
    *lines = grown;
    report_line line = {0};
    cz_status status = report_copy_text(&line.name, name);
    if (status == CZ_OK && value) status = report_copy_text(&line.value, value);
    if (status != CZ_OK) {
        free(line.name);
        return status;
    }
    grown[(*count)++] = line;
    return CZ_OK;
}

static cz_status set_lines(report_line **lines, size_t *line_count, const report_fact *facts, size_t count)
{
    clear_lines(lines, line_count);
    cz_status status = CZ_OK;
    for (size_t i = 0; i < count && status == CZ_OK; i++)
        status = add_line(lines, line_count, facts[i].name, facts[i].value ? facts[i].value : "");
    return status;
}

cz_status report_set_facts(report *r, const report_fact *facts, size_t count)
{
    return set_lines(&r->facts, &r->fact_count, facts, count);
}

cz_status report_set_provenance(report *r, const report_fact *facts, size_t count)
{
    return set_lines(&r->provenance, &r->provenance_count, facts, count);
}

cz_status report_add_warning(report *r, const char *text)
{
    return add_line(&r->warnings, &r->warning_count, text, NULL);
}

cz_status report_add_step(report *r, const char *text, const char *command)
{
    return add_line(&r->steps, &r->step_count, text, command);
}

cz_status report_set_figures(report *r, const report_row *rows, size_t count)
{
    static const char *const names[] = {"", "mean", "pooled"};
    clear_rows(r);
    if (count == 0) return CZ_OK;
    r->rows = calloc(count, sizeof *r->rows);
    if (!r->rows) return report_no_memory();
    for (size_t i = 0; i < count; i++) {
        char *name = NULL;
        cz_status status = report_copy_text(&name, rows[i].name ? rows[i].name : names[rows[i].kind]);
        if (status != CZ_OK) return status;
        r->rows[r->row_count++] = (report_row){name, rows[i].figures, rows[i].kind};
    }
    return CZ_OK;
}

void report_set_regions(report *r, const cz_region_figures *regions, double threshold)
{
    r->has_regions = true;
    r->regions = *regions;
    r->region_threshold = threshold;
}

void report_set_scale(report *r, double low, double high)
{
    r->has_scale = true;
    r->low = low;
    r->high = high;
}

cz_status report_set_threshold(report *r, double threshold, const char *rule)
{
    if (!isfinite(threshold)) return cz_source_error(CZ_E_ARG, "the report: the threshold is not a number");
    r->has_threshold = true;
    r->threshold = threshold;
    return report_copy_text(&r->rule, rule);
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static cz_status fail_errno(const char *path, const char *verb, int error)
{
    char message[1024];
    (void)snprintf(message, sizeof message, "%s: cannot %s: %s", path, verb, strerror(error));
    return cz_source_error(error == ENOSPC || error == EDQUOT ? CZ_E_NO_SPACE : CZ_E_IO, message);
}

/* A new file beside `path`; the name ends in the process's number, so that two runs do not meet. */
static FILE *open_temporary(const char *path, char *name, size_t room)
{
    for (int attempt = 0; attempt < 100; attempt++) {
        (void)snprintf(name, room, "%s.%ld-%d.tmp", path, (long)getpid(), attempt);
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0) {
            FILE *f = fdopen(fd, "wb");
            if (!f) (void)close(fd);
            return f;
        }
        if (errno != EEXIST) return NULL;
    }
    return NULL;
}

cz_status report_replace(const char *path, cz_status (*print)(const void *ctx, FILE *f), const void *ctx)
{
    size_t room = strlen(path) + 48;
    char *name = malloc(room);
    if (!name) return report_no_memory();
    FILE *f = open_temporary(path, name, room);
    if (!f) {
        cz_status failed = fail_errno(path, "write", errno);
        free(name);
        return failed;
    }
    errno = 0;
    cz_status status = print(ctx, f);
    bool flushed = fflush(f) == 0 && !ferror(f) && fsync(fileno(f)) == 0;
    if (status == CZ_OK && !flushed) status = fail_errno(path, "write", errno ? errno : EIO);
    if (fclose(f) != 0 && status == CZ_OK) status = fail_errno(path, "write", errno);
    if (status == CZ_OK && rename(name, path) != 0) status = fail_errno(path, "put the page in place", errno);
    if (status != CZ_OK) (void)unlink(name);
    free(name);
    return status;
}

static cz_status print_report(const void *r, FILE *f)
{
    report_print_page(r, f);
    return CZ_OK;
}

cz_status report_write(const report *r, const char *path)
{
    return report_replace(path, print_report, r);
}
