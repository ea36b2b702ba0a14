/* SPDX-License-Identifier: Apache-2.0 */
/* The pictures of the page: the worst mistakes, then all that are shown, sorted by score. */
#include "cozad/cozad_io.h"
#include "report_internal.h"

#include <stdlib.h>
#include <string.h>

enum { WORST = 8 }; /* pictures of each kind of mistake */

const char *report_category_title(const report *r, size_t category)
{
    return r->categories[category][0] ? r->categories[category] : "Pictures";
}

static void print_image(const report_shown *s, const char *bytes, size_t size, const char *what, FILE *f)
{
    (void)fprintf(f, "<img width=\"%zu\" height=\"%zu\" decoding=\"async\" alt=\"%s ", s->width, s->height, what);
    report_put_text(f, s->path);
    (void)fputs("\" src=\"data:image/jpeg;base64,", f);
    report_put_base64(f, bytes, size);
    (void)fputs("\">", f);
}

static void print_caption(const report *r, const report_shown *s, const report_limit *limit, bool with_category,
                          FILE *f)
{
    const bool wrong = report_is_wrong(limit, s->label, s->score);
    (void)fprintf(f, "<figcaption><span class=\"score\">%.4g</span>", s->score);
    if (s->label >= 0) {
        (void)fputs(s->label ? "<span class=\"tag b\">" : "<span class=\"tag n\">", f);
        report_put_text(f, s->label == 0 ? "normal" : s->note[0] ? s->note : "anomalous");
        (void)fputs("</span>", f);
        if (wrong) (void)fputs(s->label ? " · missed" : " · false alarm", f);
        (void)fputs("<br>", f);
    } else if (limit->known) {
        (void)fputs(report_is_above(limit, s->score) ? "<span class=\"tag b\">anomalous</span><br>"
                                                     : "<span class=\"tag n\">normal</span><br>",
                    f);
    }
    if (with_category && r->category_count > 1) {
        report_put_text(f, report_category_title(r, s->category));
        (void)fprintf(f, ", threshold %.4g<br>", limit->value);
    }
    (void)fputs("<span class=\"soft\">", f);
    report_put_path(f, s->path);
    (void)fputs("</span></figcaption></figure>\n", f);
}

/* ---- mistakes ------------------------------------------------------------------------------------------------------- */

/* A mistake, and how far on the wrong side of its threshold. */
typedef struct mistake {
    const report_shown *shown;
    report_limit limit;
    double depth;
} mistake;

static int by_depth(const void *a, const void *b)
{
    const mistake *x = a, *y = b;
    if (x->depth < y->depth || x->depth > y->depth) return x->depth < y->depth ? 1 : -1;
    return strcmp(x->shown->path, y->shown->path);
}

static void print_mistake(const report *r, const mistake *m, FILE *f)
{
    const report_shown *s = m->shown;
    (void)fputs(
        "<figure class=\"card wrong\"><div class=\"heads\"><span>photo</span><span>map</span><span>mask</span></div>"
        "<div class=\"pair\">",
        f);
    print_image(s, s->photo, s->photo_size, "photo", f);
    if (s->overlay)
        print_image(s, s->overlay, s->overlay_size, "heat map over", f);
    else
        (void)fputs("<span class=\"none\">no map</span>", f);
    if (s->truth)
        print_image(s, s->truth, s->truth_size, "mask of the defect in", f);
    else
        (void)fputs(s->label == 1 ? "<span class=\"none\">no mask</span>" : "<span class=\"none\">no defect</span>", f);
    (void)fputs("</div>\n", f);
    print_caption(r, s, &m->limit, true, f);
}

static void print_worst(const report *r, int label, const report_limit *limits, size_t total, FILE *f)
{
    (void)fprintf(f, "<h3>%s</h3>\n", label ? "Worst misses" : "Worst false alarms");
    if (total == 0) {
        (void)fputs(label ? "<p>None: every defective photo was found.</p>\n"
                          : "<p>None: no normal photo was called anomalous.</p>\n",
                    f);
        return;
    }
    mistake *all = malloc((r->shown_count + 1) * sizeof *all);
    if (!all) {
        (void)fputs("<p>Left out: not enough memory.</p>\n", f);
        return;
    }
    size_t count = 0;
    for (size_t i = 0; i < r->shown_count; i++) {
        const report_shown *s = &r->shown[i];
        const report_limit *limit = &limits[s->category];
        if (s->label != label || !report_is_wrong(limit, label, s->score)) continue;
        all[count++] = (mistake){s, *limit, label ? limit->value - s->score : s->score - limit->value};
    }
    qsort(all, count, sizeof *all, by_depth);
    const size_t shown = count < WORST ? count : WORST;
    if (shown < total)
        (void)fprintf(f, "<p class=\"soft\">The %zu farthest from the threshold, of %zu.</p>\n", shown, total);
    (void)fputs("<div class=\"grid far\">\n", f);
    for (size_t i = 0; i < shown; i++) print_mistake(r, &all[i], f);
    (void)fputs("</div>\n", f);
    free(all);
}

void report_print_mistakes(const report *r, FILE *f)
{
    const report_confusion c = report_count(r, REPORT_ALL);
    if (!report_is_judged(r)) return;
    report_limit *limits = calloc(r->category_count + 1, sizeof *limits);
    if (!limits) return;
    for (size_t i = 0; i < r->category_count; i++) limits[i] = report_find_limit(r, i);
    (void)fputs("<h2 id=\"mistakes\">Mistakes</h2>\n", f);
    print_worst(r, 1, limits, c.count[1][0], f);
    print_worst(r, 0, limits, c.count[0][1], f);
    free(limits);
}

/* ---- gallery -------------------------------------------------------------------------------------------------------- */

static void print_legend(const report *r, FILE *f)
{
    bool overlays = false;
    for (size_t i = 0; i < r->shown_count; i++) overlays = overlays || r->shown[i].overlay;
    if (!overlays) return;
    (void)fputs("<p class=\"key\"><span>Heat map: ", f);
    if (r->has_scale) (void)fprintf(f, "%.4g", r->low);
    (void)fputs("<span class=\"ramp\" role=\"img\" aria-label=\"colour scale, from ordinary to unusual\" "
                "style=\"background:linear-gradient(90deg",
                f);
    for (int i = 0; i <= 16; i++) {
        uint8_t rgb[3];
        cz_overlay_colour(i / 16.0, rgb);
        (void)fprintf(f, ",#%02x%02x%02x", (unsigned)rgb[0], (unsigned)rgb[1], (unsigned)rgb[2]);
    }
    (void)fputs(")\"></span>", f);
    if (r->has_scale) (void)fprintf(f, "%.4g", r->high);
    (void)fputs(", the same for all pictures</span>", f);
    if (report_any_label(r)) (void)fputs("<span>White line: where the defect truly is</span>", f);
    (void)fputs("<span>Left the photo, right the same with its map</span></p>\n", f);
}

/* Shown by the script only: without it there is nothing to choose with. */
static void print_tools(const report *r, bool wrong, FILE *f)
{
    if (r->category_count < 2 && !wrong) return;
    (void)fputs("<div class=\"tools\" id=\"tools\" hidden>\n", f);
    if (r->category_count > 1) {
        (void)fputs("<label>Show <select id=\"cat\"><option value=\"\">all categories</option>", f);
        for (size_t c = 0; c < r->category_count; c++) {
            (void)fprintf(f, "<option value=\"%zu\">", c);
            report_put_text(f, report_category_title(r, c));
            (void)fputs("</option>", f);
        }
        (void)fputs("</select></label>\n", f);
    }
    if (wrong)
        (void)fputs(
            "<label><input type=\"checkbox\" id=\"wrong\"> only those on the wrong side of the threshold</label>\n", f);
    (void)fputs("<span class=\"soft\" id=\"count\" aria-live=\"polite\"></span>\n</div>\n", f);
}

static void print_item(const report *r, const report_shown *s, const report_limit *limit, FILE *f)
{
    const bool wrong = report_is_wrong(limit, s->label, s->score);
    (void)fprintf(f, "<figure class=\"card%s\"><div class=\"pair\">", wrong ? " wrong" : "");
    print_image(s, s->photo, s->photo_size, "photo", f);
    if (s->overlay) print_image(s, s->overlay, s->overlay_size, "heat map over", f);
    (void)fputs("</div>\n", f);
    print_caption(r, s, limit, false, f);
}

static int by_shown_score(const void *a, const void *b)
{
    const report_shown *x = *(const report_shown *const *)a, *y = *(const report_shown *const *)b;
    if (x->score < y->score || x->score > y->score) return x->score < y->score ? 1 : -1;
    return strcmp(x->path, y->path);
}

static void print_category(const report *r, size_t category, const report_shown **sorted, FILE *f)
{
    const report_limit limit = report_find_limit(r, category);
    (void)fprintf(f, "<section data-cat=\"%zu\">\n", category);
    if (r->category_count > 1) {
        (void)fputs("<h3>", f);
        report_put_text(f, report_category_title(r, category));
        (void)fputs("</h3>\n", f);
    }
    (void)fputs("<div class=\"grid\">\n", f);
    for (size_t i = 0; i < r->shown_count; i++)
        if (sorted[i]->category == category) print_item(r, sorted[i], &limit, f);
    (void)fputs("</div>\n</section>\n", f);
}

void report_print_gallery(const report *r, FILE *f)
{
    (void)fputs("<h2 id=\"pictures\">Pictures, highest score first</h2>\n", f);
    if (r->shown_count == 0) (void)fputs("<p>No picture was scored.</p>\n", f);
    if (r->score_count > r->shown_count)
        (void)fprintf(
            f,
            "<p>%zu of %zu pictures are shown; the other %zu, left out to keep the page small, are the normal or "
            "unlabelled ones of lowest score and, where defective ones fill half of the page, those of middling "
            "score.</p>\n",
            r->shown_count, r->score_count, r->score_count - r->shown_count);
    (void)fputs("<p class=\"paper soft\">On paper: the first 12 of each category.</p>\n", f);
    const report_shown **sorted = malloc((r->shown_count + 1) * sizeof *sorted);
    if (!sorted) {
        (void)fputs("<p>Left out: not enough memory.</p>\n", f);
        return;
    }
    bool wrong = false;
    for (size_t i = 0; i < r->shown_count; i++) sorted[i] = &r->shown[i];
    for (size_t c = 0; c < r->category_count; c++)
        wrong = wrong || (report_any_label(r) && report_find_limit(r, c).known);
    qsort(sorted, r->shown_count, sizeof *sorted, by_shown_score);
    print_legend(r, f);
    print_tools(r, wrong, f);
    for (size_t c = 0; c < r->category_count; c++) print_category(r, c, sorted, f);
    free(sorted);
}
