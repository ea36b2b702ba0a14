/* SPDX-License-Identifier: Apache-2.0 */
/* Drawings of the page: ROC and precision–recall curves, and the distribution of scores with the threshold. */
#include "report_internal.h"
#include "svg.h"

#include <math.h>
#include <stdlib.h>

enum {
    BINS = 60,
    POINTS = 300, /* of a curve, at most */
    UNITS = 1000, /* across the square that curves are drawn in */
    SQUARE = 150,
    LEFT = 36,
    TOP = 8, /* of the square in its picture */
};

/* ---- curves --------------------------------------------------------------------------------------------------------- */

/* The labelled scores of a category, and where its threshold lies on both curves (NaN: nowhere). */
typedef struct labelled {
    double *scores;
    uint8_t *labels;
    size_t count, normal, anomalous;
    double false_alarms, found, precision;
} labelled;

static void release(labelled *l)
{
    free(l->scores);
    free(l->labels);
    *l = (labelled){0};
}

static void find_mark(const report *r, size_t category, labelled *l)
{
    const report_limit limit = report_find_limit(r, category);
    size_t above[2] = {0, 0};
    for (size_t i = 0; i < l->count; i++) above[l->labels[i]] += report_is_above(&limit, l->scores[i]);
    l->false_alarms = l->found = l->precision = (double)NAN;
    if (!limit.known || l->normal == 0 || l->anomalous == 0) return;
    l->false_alarms = (double)above[0] / (double)l->normal;
    l->found = (double)above[1] / (double)l->anomalous;
    if (above[0] + above[1] > 0) l->precision = (double)above[1] / (double)(above[0] + above[1]);
}

/* False: no memory. */
static bool gather(const report *r, size_t category, labelled *l)
{
    *l = (labelled){0};
    l->scores = malloc((r->score_count + 1) * sizeof *l->scores);
    l->labels = malloc(r->score_count + 1);
    if (!l->scores || !l->labels) {
        release(l);
        return false;
    }
    for (size_t i = 0; i < r->score_count; i++) {
        const report_score *s = &r->scores[i];
        if (s->label < 0 || (category != REPORT_ALL && s->category != category)) continue;
        l->scores[l->count] = s->value;
        l->labels[l->count++] = s->label == 1;
        if (s->label == 1)
            l->anomalous++;
        else
            l->normal++;
    }
    find_mark(r, category, l);
    return true;
}

static long to_x(double x)
{
    return lround(x * UNITS);
}

static long to_y(double y)
{
    return lround((1 - y) * UNITS);
}

static void print_roc(const labelled *l, const char *class, FILE *f)
{
    cz_curve_point points[POINTS];
    const size_t count = cz_roc_curve(l->scores, l->labels, l->count, points, POINTS);
    if (count == 0) return;
    svg_pen pen = {.f = f};
    (void)fprintf(f, "<path class=\"%s\" d=\"", class);
    for (size_t i = 0; i < count; i++) svg_pen_to(&pen, to_x(points[i].x), to_y(points[i].y));
    (void)fputs("\"/>", f);
}

/* Steps, as average precision counts them: up to a recall, the precision at that recall. Points come in either order. */
static void print_pr(const labelled *l, const char *class, FILE *f)
{
    cz_curve_point points[POINTS];
    const size_t count = cz_pr_curve(l->scores, l->labels, l->count, points, POINTS);
    if (count == 0) return;
    const bool falls = points[0].x > points[count - 1].x;
    svg_pen pen = {.f = f};
    long before = 0;
    (void)fprintf(f, "<path class=\"%s\" d=\"", class);
    for (size_t i = 0; i < count; i++) {
        const cz_curve_point *p = &points[falls ? count - 1 - i : i];
        if (i > 0) svg_pen_to(&pen, before, to_y(p->y));
        before = to_x(p->x);
        svg_pen_to(&pen, before, to_y(p->y));
    }
    (void)fputs("\"/>", f);
}

/* The square with its marks; the curves follow in units of 1/1000 of it, and print_square_end closes it. */
static void print_square(const char *label, const char *across, const char *up, FILE *f)
{
    static const char *const marks[] = {"0", "0.5", "1"};
    (void)fprintf(f, "<svg viewBox=\"0 0 196 198\" role=\"img\" aria-label=\"%s\">", label);
    for (int i = 0; i < 3; i++)
        (void)fprintf(f,
                      "<text x=\"%d\" y=\"172\" text-anchor=\"%s\">%s</text><text x=\"32\" y=\"%d\" "
                      "text-anchor=\"end\">%s</text>",
                      LEFT + SQUARE / 2 * i, i < 2 ? "middle" : "end", marks[i],
                      TOP + SQUARE - SQUARE / 2 * i + (i < 2 ? 4 : 6), marks[i]);
    (void)fprintf(
        f,
        "<text x=\"111\" y=\"190\" text-anchor=\"middle\">%s</text><text transform=\"translate(10 120) rotate(-90)\" "
        "text-anchor=\"middle\">%s</text><g transform=\"translate(%d %d) scale(.15)\">"
        "<path class=\"gridline\" d=\"M0 0h1000v1000M500 0v1000M0 500h1000M0 250h1000M0 750h1000M250 0v1000M750 "
        "0v1000\"/>"
        "<path class=\"axis\" vector-effect=\"non-scaling-stroke\" d=\"M0 0v1000h1000\"/>",
        across, up, LEFT, TOP);
}

static void print_square_end(double x, double y, const char *name, double value, bool low, FILE *f)
{
    (void)fputs("</g>", f);
    if (!isnan(x) && !isnan(y))
        (void)fprintf(f, "<circle class=\"mark\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>", LEFT + SQUARE * x,
                      TOP + SQUARE * (1 - y));
    if (!isnan(value))
        (void)fprintf(f, "<text class=\"v\" x=\"%d\" y=\"%d\"%s>%s %.1f %%</text>", low ? LEFT + 6 : LEFT + SQUARE - 4,
                      TOP + SQUARE - 8, low ? "" : " text-anchor=\"end\"", name, 100 * value);
    (void)fputs("</svg>", f);
}

static void print_pair(const report *r, size_t category, const labelled *l, const labelled *pooled, FILE *f)
{
    const report_row *row = report_find_row(r, category);
    char label[160];
    (void)snprintf(
        label, sizeof label,
        "ROC curve of %zu normal and %zu anomalous photos; at the threshold %.1f %% false alarms, %.1f %% found",
        l->normal, l->anomalous, 100 * l->false_alarms, 100 * l->found);
    print_square(label, "false alarms", "found", f);
    (void)fputs("<path class=\"chance\" d=\"M0 1000L1000 0\"/>", f);
    if (pooled) print_roc(pooled, "ref", f);
    print_roc(l, "curve", f);
    print_square_end(l->false_alarms, l->found, "AUROC", row ? row->figures.metric[CZ_IMAGE_AUROC].value : (double)NAN,
                     false, f);
    (void)snprintf(label, sizeof label, "Precision-recall curve; at the threshold a precision of %.1f %%",
                   100 * l->precision);
    print_square(label, "found (recall)", "precision", f);
    const double share = (double)l->anomalous / (double)l->count;
    (void)fprintf(f, "<path class=\"chance\" d=\"M0 %ldh1000\"/>", to_y(share));
    if (pooled) print_pr(pooled, "ref", f);
    print_pr(l, "curve", f);
    print_square_end(l->found, l->precision, "AP", row ? row->figures.metric[CZ_IMAGE_AP].value : (double)NAN, true, f);
}

static void print_card(const report *r, size_t category, const labelled *l, const labelled *pooled, FILE *f)
{
    (void)fputs("<div class=\"card chart\"><h3>", f);
    report_put_text(f, category == REPORT_ALL ? "All photos" : report_category_title(r, category));
    (void)fputs("</h3>", f);
    if (l->normal > 0 && l->anomalous > 0) {
        (void)fputs("<div class=\"pair2\">", f);
        print_pair(r, category, l, pooled, f);
        (void)fputs("</div>", f);
    } else {
        (void)fprintf(f, "<p class=\"undef\">undefined: %zu normal and %zu anomalous photos</p>", l->normal,
                      l->anomalous);
    }
    (void)fputs("</div>\n", f);
}

static void print_curve_key(const report *r, bool several, FILE *f)
{
    (void)fputs("<p class=\"key\"><span><svg viewBox=\"0 0 30 10\" aria-hidden=\"true\"><path class=\"curve\" d=\"M0 "
                "5h30\"/></svg>"
                "curve</span>",
                f);
    if (several)
        (void)fputs(
            "<span><svg viewBox=\"0 0 30 10\" aria-hidden=\"true\"><path class=\"ref\" d=\"M0 5h30\"/></svg>all photos "
            "pooled</span>",
            f);
    (void)fprintf(f,
                  "<span><svg viewBox=\"0 0 30 10\" aria-hidden=\"true\"><path class=\"chance\" d=\"M0 "
                  "5h30\"/></svg>guessing</span>"
                  "<span><svg viewBox=\"0 0 30 10\" aria-hidden=\"true\"><circle class=\"mark\" cx=\"15\" cy=\"5\" "
                  "r=\"3.6\"/></svg>"
                  "%s</span></p>\n",
                  r->has_threshold ? "the threshold" : "the threshold of best F1, found with the labels");
}

void report_print_curves(const report *r, FILE *f)
{
    labelled all;
    const bool several = r->category_count > 1;
    if (!report_any_label(r) || !gather(r, REPORT_ALL, &all)) return;
    if (all.normal > 0 && all.anomalous > 0) {
        (void)fputs("<h2 id=\"curves\">Curves</h2>\n", f);
        print_curve_key(r, several, f);
        (void)fputs("<div class=\"charts\">\n", f);
        print_card(r, several ? REPORT_ALL : 0, &all, NULL, f);
        for (size_t c = 0; several && c < r->category_count && c < REPORT_MAX_CHARTS; c++) {
            labelled own;
            if (!gather(r, c, &own)) break;
            print_card(r, c, &own, &all, f);
            release(&own);
        }
        (void)fputs("</div>\n", f);
        if (several && r->category_count > REPORT_MAX_CHARTS)
            (void)fprintf(f, "<p class=\"soft\">Drawn: the first %d of %zu categories.</p>\n", REPORT_MAX_CHARTS,
                          r->category_count);
    }
    release(&all);
}

/* ---- distribution of scores ----------------------------------------------------------------------------------------- */

typedef struct histogram {
    double low, high;
    size_t counts[3][BINS], total[3]; /* unknown, normal, anomalous */
    size_t tallest;
} histogram;

static bool is_of(const report_score *s, size_t category)
{
    return category == REPORT_ALL || s->category == category;
}

static void count_scores(const report *r, size_t category, histogram *h)
{
    *h = (histogram){.low = INFINITY, .high = -INFINITY};
    for (size_t i = 0; i < r->score_count; i++) {
        if (!is_of(&r->scores[i], category)) continue;
        h->low = fmin(h->low, r->scores[i].value);
        h->high = fmax(h->high, r->scores[i].value);
    }
    if (r->has_threshold && r->threshold < h->low) h->low = r->threshold; /* the line is always in the picture */
    if (r->has_threshold && r->threshold > h->high) h->high = r->threshold;
    const double range = h->high - h->low;
    for (size_t i = 0; i < r->score_count; i++) {
        const report_score *s = &r->scores[i];
        if (!is_of(s, category)) continue;
        const size_t kind = s->label < 0 ? 0 : s->label == 0 ? 1 : 2;
        const double at = range > 0 ? (s->value - h->low) / range * BINS : 0;
        const size_t bin = at >= BINS ? BINS - 1 : (size_t)at;
        h->total[kind]++;
        const size_t n = ++h->counts[kind][bin];
        if (n > h->tallest) h->tallest = n;
    }
}

static void print_bars(FILE *f, const size_t *counts, double unit, bool downwards, const char *class)
{
    for (size_t b = 0; b < BINS; b++) {
        if (counts[b] == 0) continue;
        const double tall = fmax(1.5, (double)counts[b] * unit); /* a single photo among many is seen */
        (void)fprintf(f, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"6\" height=\"%.1f\" rx=\"1\"/>", class,
                      10 + 7.0 * (double)b + 0.5, downwards ? 73.5 : 70.5 - tall, tall);
    }
}

static double place(const histogram *h, double score)
{
    return h->high > h->low ? 10 + 420 * (score - h->low) / (h->high - h->low) : 220;
}

static void print_ticks(const histogram *h, int base, FILE *f)
{
    const double range = h->high - h->low, largest = fmax(fabs(h->low), fabs(h->high));
    if (!(range > 1e-9 * largest)) {
        (void)fprintf(f, "<text x=\"10\" y=\"%d\">%.4g</text>", base, h->low);
        return;
    }
    const double step = svg_nice_step(range, 5);
    for (double k = ceil(h->low / step); k * step <= h->high; k++) {
        char text[32];
        const double x = place(h, k * step);
        svg_format_mark(k * step, step, largest, text);
        (void)fprintf(
            f, "<path class=\"axis\" d=\"M%.1f %dv4\"/><text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>", x,
            base - 14, fmin(fmax(x, 14), 424), base, text);
    }
}

/* Normal (or unlabelled) pictures grow upwards from the axis, anomalous ones hang below it. */
static void print_strip(const report *r, size_t category, FILE *f)
{
    histogram h;
    count_scores(r, category, &h);
    const report_limit limit = report_find_limit(r, category);
    const double unit = fmin(9.0, 46.0 / (double)(h.tallest ? h.tallest : 1));
    const int base = h.total[2] ? 138 : 94; /* of the numbers */
    const char *before = "";
    (void)fputs("<div class=\"card\"><h3>", f);
    report_put_text(f, category == REPORT_ALL || r->category_count == 1 ? "All photos"
                                                                        : report_category_title(r, category));
    (void)fprintf(f, "</h3><svg viewBox=\"0 0 440 %d\" role=\"img\" aria-label=\"Distribution of scores: ", base + 5);
    static const char *const kinds[] = {"unlabelled", "normal", "anomalous"};
    for (size_t k = 1; k < 4; k++)
        if (h.total[k % 3]) (void)fprintf(f, "%zu %s, ", h.total[k % 3], kinds[k % 3]);
    (void)fprintf(f, "from %.4g to %.4g\">", h.low, h.high);
    print_bars(f, h.counts[0], unit, false, "u");
    print_bars(f, h.counts[1], unit, false, "n");
    print_bars(f, h.counts[2], unit, true, "b");
    (void)fprintf(f, "<path class=\"axis\" d=\"M10 72h420\"/>");
    if (base > 100) (void)fprintf(f, "<path class=\"axis\" d=\"M10 %dh420\" opacity=\".35\"/>", base - 14);
    print_ticks(&h, base, f);
    if (limit.known && h.high > h.low) {
        const double x = place(&h, limit.value);
        (void)fprintf(f, "<line class=\"cut\" x1=\"%.1f\" x2=\"%.1f\" y1=\"16\" y2=\"%d\"/>", x, x, base - 14);
        (void)fprintf(f, "<text class=\"v\" x=\"%.1f\" y=\"11\" text-anchor=\"%s\">threshold %.4g</text>",
                      fmin(fmax(x, 10), 430),
                      x < 70    ? "start"
                      : x > 370 ? "end"
                                : "middle",
                      limit.value);
    }
    (void)fputs("</svg><p class=\"soft\">", f);
    for (size_t k = 1; k < 4; k++)
        if (h.total[k % 3]) {
            (void)fprintf(f, "%s%zu %s", before, h.total[k % 3], kinds[k % 3]);
            before = ", ";
        }
    (void)fprintf(f, "; highest bar: %zu</p></div>\n", h.tallest);
}

void report_print_distribution(const report *r, FILE *f)
{
    if (r->score_count == 0) return;
    const bool labels = report_any_label(r);
    (void)fputs("<h2 id=\"scores\">Scores</h2>\n<p class=\"key\">", f);
    if (labels)
        (void)fputs("<span><span class=\"dot\" style=\"background:var(--normal)\"></span>normal, above the axis</span>"
                    "<span><span class=\"dot\" style=\"background:var(--bad)\"></span>anomalous, below it</span>",
                    f);
    (void)fputs("<span>Higher (to the right) is odder.</span>", f);
    if (!r->has_threshold && labels)
        (void)fputs(
            "<span>Dashed: the cut with the best F1, found <em>with</em> the labels; a cut for production comes from "
            "normal photos alone.</span>",
            f);
    if (r->has_threshold) {
        (void)fputs("<span>Dashed: the threshold", f);
        if (r->rule && r->rule[0]) {
            (void)fputs(", ", f);
            report_put_text(f, r->rule);
        }
        (void)fputs(".</span>", f);
    }
    (void)fputs("</p>\n<div class=\"strips\">\n", f);
    if (r->category_count > 1) print_strip(r, REPORT_ALL, f);
    for (size_t c = 0; c < r->category_count && c < REPORT_MAX_CHARTS; c++) print_strip(r, c, f);
    (void)fputs("</div>\n", f);
}
