/* SPDX-License-Identifier: Apache-2.0 */
/* The pictures and scores behind the page, and the line that is drawn between them. */
#include "cozad/cozad_io.h"
#include "report_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { JPEG_QUALITY = 84 };

static cz_status find_category(report *r, const char *name, size_t *index)
{
    if (!name) name = "";
    for (size_t i = 0; i < r->category_count; i++) {
        if (strcmp(r->categories[i], name) != 0) continue;
        *index = i;
        return CZ_OK;
    }
    char **grown = realloc(r->categories, (r->category_count + 1) * sizeof *grown);
    if (!grown) return report_no_memory();
    r->categories = grown;
    grown[r->category_count] = NULL;
    cz_status status = report_copy_text(&grown[r->category_count], name);
    if (status == CZ_OK) *index = r->category_count++;
    return status;
}

static cz_status add_score(report *r, double value, int label, size_t category)
{
    if (r->score_count == r->score_room) {
        size_t room = r->score_room ? 2 * r->score_room : 256;
        report_score *grown = realloc(r->scores, room * sizeof *grown);
        if (!grown) return report_no_memory();
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
    if (!kinds) return report_no_memory();
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

/* White where defective; any size of `truth`, so that a defect of one pixel stays visible. */
static cz_status encode_truth(const cz_image *truth, report_shown *s)
{
    uint8_t *pixels = malloc(s->width * s->height);
    if (!pixels) return report_no_memory();
    cz_image thumb = {0};
    thumb.data = pixels;
    thumb.width = s->width;
    thumb.height = s->height;
    thumb.stride = s->width;
    thumb.format = CZ_GRAY8;
    for (size_t i = 0; i < s->width * s->height; i++)
        pixels[i] = truth_at(truth, &thumb, i % s->width, i / s->width) ? 255 : 0;
    cz_status status = cz_picture_encode_jpeg(&thumb, JPEG_QUALITY, &s->truth, &s->truth_size);
    free(pixels);
    return status;
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

static cz_status make_thumbs(const report_item *item, report_shown *s)
{
    size_t width, height;
    cz_status status = encode(item->photo, NULL, &s->photo, &s->photo_size, &s->width, &s->height);
    if (status == CZ_OK && item->overlay)
        status = encode(item->overlay, item->truth, &s->overlay, &s->overlay_size, &width, &height);
    if (status == CZ_OK && item->label == 1 && item->truth && item->truth->format == CZ_GRAY8)
        status = encode_truth(item->truth, s);
    return status;
}

cz_status report_make_thumbs(const report_item *item, report_thumbs **out)
{
    report_shown *s = calloc(1, sizeof *s);
    if (!s) return report_no_memory();
    cz_status status = make_thumbs(item, s);
    if (status == CZ_OK)
        *out = s;
    else
        report_free_thumbs(s);
    return status;
}

void report_free_thumbs(report_thumbs *thumbs)
{
    if (!thumbs) return;
    report_clear_shown(thumbs);
    free(thumbs);
}

/* Notes the score, and finds where the picture goes: *place is SIZE_MAX when it is not shown. */
static cz_status find_place(report *r, const report_item *item, size_t *category, size_t *place)
{
    if (!isfinite(item->score)) return cz_source_error(CZ_E_ARG, "the report: a score is not a number");
    cz_status status = find_category(r, item->category, category);
    if (status == CZ_OK) status = add_score(r, item->score, item->label, *category);
    if (status != CZ_OK) return status;
    *place = r->shown_count;
    if (r->shown_count < r->max_shown) return CZ_OK;
    *place = least_telling(r, item);
    if (*place == SIZE_MAX) return report_no_memory();
    if (*place == r->shown_count) *place = SIZE_MAX;
    return CZ_OK;
}

/* Takes over what `s` holds. */
static cz_status show(report *r, const report_item *item, size_t category, size_t place, report_shown *s)
{
    s->category = category;
    s->score = item->score;
    s->label = item->label;
    cz_status status = report_copy_text(&s->path, item->path);
    if (status == CZ_OK) status = report_copy_text(&s->note, item->note);
    if (status != CZ_OK) {
        report_clear_shown(s);
        return status;
    }
    if (place == r->shown_count)
        r->shown_count++;
    else
        report_clear_shown(&r->shown[place]);
    r->shown[place] = *s;
    return CZ_OK;
}

cz_status report_add_made(report *r, const report_item *item, report_thumbs *thumbs)
{
    size_t category = 0, place = 0;
    cz_status status = find_place(r, item, &category, &place);
    if (status == CZ_OK && place != SIZE_MAX) {
        status = show(r, item, category, place, thumbs);
        free(thumbs);
    } else {
        report_free_thumbs(thumbs);
    }
    return status;
}

cz_status report_add_item(report *r, const report_item *item)
{
    size_t category = 0, place = 0;
    report_shown s = {0};
    cz_status status = find_place(r, item, &category, &place);
    if (status != CZ_OK || place == SIZE_MAX) return status;
    status = make_thumbs(item, &s);
    if (status == CZ_OK) return show(r, item, category, place, &s);
    report_clear_shown(&s);
    return status;
}

/* ---- the line between normal and anomalous ------------------------------------------------------------------------ */

const report_row *report_find_row(const report *r, size_t category)
{
    const report_row *only = NULL;
    size_t categories = 0;
    for (size_t i = 0; i < r->row_count; i++) {
        const report_row *row = &r->rows[i];
        if (row->kind == REPORT_POOLED && category == REPORT_ALL) return row;
        if (row->kind != REPORT_CATEGORY) continue;
        if (category != REPORT_ALL && strcmp(row->name, r->categories[category]) == 0) return row;
        categories++;
        only = row;
    }
    return categories == 1 && r->category_count == 1 ? only : NULL;
}

static int by_score_down(const void *a, const void *b)
{
    double x = ((const report_score *)a)->value, y = ((const report_score *)b)->value;
    return (x < y) - (x > y);
}

/* Best F1 over all cuts between two different scores. */
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
        if (f1 < best) continue; /* of equal ones the lowest */
        best = f1;
        limit.value = scores[i].value;
    }
    return limit;
}

static bool belongs(const report_score *s, size_t category)
{
    return category == REPORT_ALL || s->category == category;
}

report_limit report_find_limit(const report *r, size_t category)
{
    if (r->has_threshold) return (report_limit){true, false, r->threshold};
    report_limit none = {false, false, 0};
    const report_row *row = report_find_row(r, category);
    if (row && isfinite(row->figures.image_f1_threshold))
        return (report_limit){true, true, row->figures.image_f1_threshold};
    report_score *mine = malloc((r->score_count + 1) * sizeof *mine);
    if (!mine) return none;
    size_t count = 0, positives = 0;
    for (size_t i = 0; i < r->score_count; i++) {
        if (!belongs(&r->scores[i], category) || r->scores[i].label < 0) continue;
        positives += r->scores[i].label == 1;
        mine[count++] = r->scores[i];
    }
    report_limit limit = positives > 0 && positives < count ? best_f1(mine, count, positives) : none;
    free(mine);
    return limit;
}

bool report_is_above(const report_limit *limit, double score)
{
    return limit->from_labels ? score >= limit->value : score > limit->value;
}

bool report_is_wrong(const report_limit *limit, int label, double score)
{
    return limit->known && label >= 0 && report_is_above(limit, score) != (label == 1);
}

report_confusion report_count(const report *r, size_t category)
{
    report_confusion all = {0};
    for (size_t c = 0; c < r->category_count; c++) {
        if (category != REPORT_ALL && category != c) continue;
        const report_limit limit = report_find_limit(r, c);
        for (size_t i = 0; i < r->score_count && limit.known; i++) {
            const report_score *s = &r->scores[i];
            if (s->category == c && s->label >= 0) all.count[s->label == 1][report_is_above(&limit, s->value)]++;
        }
    }
    return all;
}

bool report_any_label(const report *r)
{
    for (size_t i = 0; i < r->score_count; i++)
        if (r->scores[i].label >= 0) return true;
    return false;
}
