/* SPDX-License-Identifier: Apache-2.0 */
/* Gathers what the page shows, and puts the finished page in place. The page itself is report_page.c. */
#include "report.h"

#include "cozad/cozad_io.h"
#include "report_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { JPEG_QUALITY = 84 };

static cz_status no_memory(void)
{
    return cz_source_error(CZ_E_MEMORY, "the report: out of memory");
}

static cz_status copy_text(char **to, const char *text)
{
    char *copy = strdup(text ? text : "");
    if (!copy) return no_memory();
    free(*to);
    *to = copy;
    return CZ_OK;
}

cz_status report_open(size_t max_shown, report **out)
{
    report *r = calloc(1, sizeof *r);
    if (!r) return no_memory();
    r->max_shown = max_shown ? max_shown : REPORT_MAX_SHOWN;
    r->shown = calloc(r->max_shown, sizeof *r->shown);
    if (!r->shown || copy_text(&r->title, "Report") != CZ_OK) {
        report_close(r);
        return no_memory();
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
    for (size_t i = 0; i < r->row_count; i++) free(r->rows[i].category);
    free(r->rows);
    r->rows = NULL;
    r->row_count = 0;
}

static void clear_shown(report_shown *s)
{
    free(s->path);
    free(s->note);
    cz_string_free(s->photo);
    cz_string_free(s->overlay);
    *s = (report_shown){0};
}

void report_close(report *r)
{
    if (!r) return;
    clear_lines(&r->facts, &r->fact_count);
    clear_lines(&r->steps, &r->step_count);
    clear_rows(r);
    for (size_t i = 0; i < r->category_count; i++) free(r->categories[i]);
    for (size_t i = 0; i < r->shown_count; i++) clear_shown(&r->shown[i]);
    free(r->categories);
    free(r->shown);
    free(r->scores);
    free(r->title);
    free(r->lead);
    free(r->backbone);
    free(r);
}

cz_status report_set_title(report *r, const char *title, const char *lead)
{
    cz_status status = copy_text(&r->title, title);
    return status == CZ_OK ? copy_text(&r->lead, lead) : status;
}

cz_status report_set_backbone(report *r, const char *name, bool random)
{
    r->random = random;
    return copy_text(&r->backbone, name);
}

static cz_status add_line(report_line **lines, size_t *count, const char *name, const char *value)
{
    report_line *grown = realloc(*lines, (*count + 1) * sizeof *grown);
    if (!grown) return no_memory();
    *lines = grown;
    report_line line = {0};
    cz_status status = copy_text(&line.name, name);
    if (status == CZ_OK && value) status = copy_text(&line.value, value);
    if (status != CZ_OK) {
        free(line.name);
        return status;
    }
    grown[(*count)++] = line;
    return CZ_OK;
}

cz_status report_set_facts(report *r, const report_fact *facts, size_t count)
{
    clear_lines(&r->facts, &r->fact_count);
    cz_status status = CZ_OK;
    for (size_t i = 0; i < count && status == CZ_OK; i++)
        status = add_line(&r->facts, &r->fact_count, facts[i].name, facts[i].value ? facts[i].value : "");
    return status;
}

cz_status report_add_step(report *r, const char *text, const char *command)
{
    return add_line(&r->steps, &r->step_count, text, command);
}

cz_status report_set_metrics(report *r, const report_metric *rows, size_t count)
{
    clear_rows(r);
    if (count == 0) return CZ_OK;
    r->rows = calloc(count, sizeof *r->rows);
    if (!r->rows) return no_memory();
    for (size_t i = 0; i < count; i++) {
        report_row *row = &r->rows[i];
        *row = (report_row){NULL, rows[i].image_auroc, rows[i].pixel_auroc, rows[i].normal, rows[i].anomalous};
        r->row_count++;
        cz_status status = copy_text(&row->category, rows[i].category);
        if (status != CZ_OK) return status;
    }
    return CZ_OK;
}

void report_set_scale(report *r, double low, double high)
{
    r->has_scale = true;
    r->low = low;
    r->high = high;
}

void report_set_threshold(report *r, double threshold)
{
    r->has_threshold = true;
    r->threshold = threshold;
}

/* ---- pictures --------------------------------------------------------------------------------------------------- */

static cz_status find_category(report *r, const char *name, size_t *index)
{
    if (!name) name = "";
    for (size_t i = 0; i < r->category_count; i++) {
        if (strcmp(r->categories[i], name) != 0) continue;
        *index = i;
        return CZ_OK;
    }
    char **grown = realloc(r->categories, (r->category_count + 1) * sizeof *grown);
    if (!grown) return no_memory();
    r->categories = grown;
    grown[r->category_count] = NULL;
    cz_status status = copy_text(&grown[r->category_count], name);
    if (status == CZ_OK) *index = r->category_count++;
    return status;
}

static cz_status add_score(report *r, double value, int label, size_t category)
{
    if (r->score_count == r->score_room) {
        size_t room = r->score_room ? 2 * r->score_room : 256;
        report_score *grown = realloc(r->scores, room * sizeof *grown);
        if (!grown) return no_memory();
        r->scores = grown;
        r->score_room = room;
    }
    r->scores[r->score_count++] = (report_score){value, (uint32_t)category, label};
    return CZ_OK;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The least telling picture of those shown and the newcomer: among normal and unlabelled ones the lowest score; among
 * anomalous ones, once they fill half of the page, the middle one, since both misses and clear finds are worth seeing.
 * Returns its index, `shown_count` for the newcomer, SIZE_MAX without memory. */
static size_t least_telling(const report *r, const report_item *item)
{
    size_t bad = item->label == 1;
    for (size_t i = 0; i < r->shown_count; i++) bad += r->shown[i].label == 1;
    bool drop_bad = 2 * bad > r->max_shown + 1 || bad == r->shown_count + 1;
    double *values = malloc((r->shown_count + 1) * sizeof *values);
    if (!values) return SIZE_MAX;
    size_t count = 0, found = r->shown_count;
    for (size_t i = 0; i <= r->shown_count; i++) {
        int label = i < r->shown_count ? r->shown[i].label : item->label;
        if ((label == 1) == drop_bad) values[count++] = i < r->shown_count ? r->shown[i].score : item->score;
    }
    qsort(values, count, sizeof *values, by_value);
    double target = values[drop_bad ? count / 2 : 0];
    free(values);
    for (size_t i = 0; i < r->shown_count; i++) {
        bool same = r->shown[i].score <= target && r->shown[i].score >= target;
        if (same && (r->shown[i].label == 1) == drop_bad) found = i;
    }
    return found;
}

/* True where any truth pixel falls on thumbnail pixel (x, y). */
static bool truth_at(const cz_image *truth, const cz_image *thumb, size_t x, size_t y)
{
    size_t x0 = x * truth->width / thumb->width, x1 = (x + 1) * truth->width / thumb->width;
    size_t y0 = y * truth->height / thumb->height, y1 = (y + 1) * truth->height / thumb->height;
    for (size_t ty = y0; ty < truth->height && (ty < y1 || ty == y0); ty++)
        for (size_t tx = x0; tx < truth->width && (tx < x1 || tx == x0); tx++)
            if (((const uint8_t *)truth->data)[ty * truth->stride + tx] >= 128) return true;
    return false;
}

/* Pixel i of a w x h picture has a neighbour of kind `kind`. */
static bool touches(const uint8_t *kinds, size_t w, size_t h, size_t i, uint8_t kind)
{
    size_t x = i % w, y = i / w;
    return (x && kinds[i - 1] == kind) || (x + 1 < w && kinds[i + 1] == kind) || (y && kinds[i - w] == kind) ||
           (y + 1 < h && kinds[i + w] == kind);
}

/* A white line with a dark rim, just outside the true defect, so that nothing of it is covered. */
static cz_status draw_outline(cz_picture *thumb, const cz_image *truth)
{
    size_t w = thumb->image.width, h = thumb->image.height;
    size_t channels = thumb->image.format == CZ_GRAY8 ? 1 : 3;
    enum { OUTSIDE, INSIDE, WHITE, DARK };
    uint8_t *kinds = malloc(w * h), *pixels = thumb->pixels;
    if (!kinds) return no_memory();
    for (size_t i = 0; i < w * h; i++) kinds[i] = truth_at(truth, &thumb->image, i % w, i / w) ? INSIDE : OUTSIDE;
    for (uint8_t ring = WHITE; ring <= DARK; ring++)
        for (size_t i = 0; i < w * h; i++) {
            if (kinds[i] != OUTSIDE || !touches(kinds, w, h, i, (uint8_t)(ring - 1))) continue;
            kinds[i] = ring;
            memset(pixels + i / w * thumb->image.stride + i % w * channels, ring == WHITE ? 255 : 20, channels);
        }
    free(kinds);
    return CZ_OK;
}

static cz_status encode(const cz_image *image, const cz_image *truth, char **out, size_t *size, size_t *width,
                        size_t *height)
{
    cz_picture thumb = {0};
    cz_status status = cz_picture_thumbnail(image, REPORT_THUMB, &thumb);
    if (status != CZ_OK) return status;
    *width = thumb.image.width;
    *height = thumb.image.height;
    if (truth && truth->format == CZ_GRAY8) status = draw_outline(&thumb, truth);
    if (status == CZ_OK) status = cz_picture_encode_jpeg(&thumb.image, JPEG_QUALITY, out, size);
    cz_picture_free(&thumb);
    return status;
}

cz_status report_add_item(report *r, const report_item *item)
{
    if (!isfinite(item->score)) return cz_source_error(CZ_E_ARG, "the report: a score is not a number");
    size_t category = 0, place = r->shown_count;
    cz_status status = find_category(r, item->category, &category);
    if (status == CZ_OK) status = add_score(r, item->score, item->label, category);
    if (status != CZ_OK) return status;
    if (r->shown_count == r->max_shown) {
        place = least_telling(r, item);
        if (place == SIZE_MAX) return no_memory();
        if (place == r->shown_count) return CZ_OK;
    }
    report_shown s = {.category = category, .score = item->score, .label = item->label};
    size_t width, height;
    status = copy_text(&s.path, item->path);
    if (status == CZ_OK) status = copy_text(&s.note, item->note);
    if (status == CZ_OK) status = encode(item->photo, NULL, &s.photo, &s.photo_size, &s.width, &s.height);
    if (status == CZ_OK && item->overlay)
        status = encode(item->overlay, item->truth, &s.overlay, &s.overlay_size, &width, &height);
    if (status != CZ_OK) {
        clear_shown(&s);
        return status;
    }
    if (place == r->shown_count)
        r->shown_count++;
    else
        clear_shown(&r->shown[place]);
    r->shown[place] = s;
    return CZ_OK;
}

/* ---- the line between normal and anomalous ------------------------------------------------------------------------ */

static int by_score_down(const void *a, const void *b)
{
    double x = ((const report_score *)a)->value, y = ((const report_score *)b)->value;
    return (x < y) - (x > y);
}

/* Best F1 over all cuts between two different scores; the cut lies half-way. */
static report_limit best_f1(report_score *scores, size_t count, size_t positives)
{
    report_limit limit = {true, true, 0};
    double best = -1;
    size_t hits = 0;
    qsort(scores, count, sizeof *scores, by_score_down);
    for (size_t i = 0; i < count; i++) {
        hits += scores[i].label == 1;
        if (i + 1 < count && scores[i].value <= scores[i + 1].value) continue;
        double f1 = 2.0 * (double)hits / (double)(i + 1 + positives);
        if (f1 <= best) continue;
        best = f1;
        limit.value = i + 1 < count ? 0.5 * (scores[i].value + scores[i + 1].value) : scores[i].value;
    }
    return limit;
}

report_limit report_find_limit(const report *r, size_t category)
{
    if (r->has_threshold) return (report_limit){true, false, r->threshold};
    report_limit none = {false, false, 0};
    report_score *mine = malloc((r->score_count + 1) * sizeof *mine);
    if (!mine) return none;
    size_t count = 0, positives = 0;
    for (size_t i = 0; i < r->score_count; i++) {
        if (r->scores[i].category != category || r->scores[i].label < 0) continue;
        positives += r->scores[i].label == 1;
        mine[count++] = r->scores[i];
    }
    report_limit limit = positives > 0 && positives < count ? best_f1(mine, count, positives) : none;
    free(mine);
    return limit;
}

bool report_is_wrong(const report_limit *limit, int label, double score)
{
    return limit->known && label >= 0 && (score >= limit->value) != (label == 1);
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
    if (!name) return no_memory();
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
