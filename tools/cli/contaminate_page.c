/* SPDX-License-Identifier: Apache-2.0 */
/* One HTML page: a chart for each detector, image AUROC over the rate, a line a method, and the figures as a table. */
#include "contaminate.h"
#include "report_internal.h"
#include "svg.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 560, HEIGHT = 320, LEFT = 60, RIGHT = 14, TOP = 12, BOTTOM = 50, PAD = 22 /* right of the axis */ };

static const char style[] =
    ":root{--c0:#2563a8;--c1:#c2410c;--c2:#2f7d4f;--c3:#7b45b5;--c4:#9a6200;--c5:#0b7285;--c6:#b83280;--c7:#5d6369}\n"
    "@media screen and "
    "(prefers-color-scheme:dark){:root{--c0:#6aaaf0;--c1:#f0844c;--c2:#5cc08d;--c3:#b998f5;--c4:#dfb347;"
    "--c5:#4cc3d9;--c6:#f08bbd;--c7:#a9afb5}}\n"
    ".c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}"
    ".c6{--c:var(--c6)}.c7{--c:var(--c7)}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,420px),1fr));gap:14px}"
    ".chart h3{margin:0}.line{fill:none;stroke:var(--c);stroke-width:2.2;stroke-linejoin:round}"
    ".bar{fill:none;stroke:var(--c);stroke-width:1.3}.dotp{fill:var(--c);stroke:none}.g{stroke:var(--line)}"
    ".ax{stroke:var(--soft);fill:none}svg text{fill:var(--soft);font-size:14px}.charts{margin-bottom:14px}"
    ".key svg{display:inline-block;width:30px;height:10px;margin-right:.4em}td,th{white-space:nowrap}"
    "td small{display:block;color:var(--soft)}tbody tr:last-child>*{border-bottom:0}\n";

typedef struct axis {
    double low, high, x_high;
} axis;

static double across(const axis *a, double percent)
{
    return LEFT + PAD + (WIDTH - LEFT - PAD - RIGHT) * percent / a->x_high;
}

static double down(const axis *a, double value)
{
    const double v = fmin(fmax(value, a->low), a->high);
    return TOP + (HEIGHT - TOP - BOTTOM) * (a->high - v) / (a->high - a->low);
}

static double share_of(const contaminate *c, size_t scope, size_t rate)
{
    const contaminate_counts n = contaminate_counts_of(c, scope, rate);
    return 100.0 * (double)n.injected / (double)(n.normal + n.injected);
}

/* The same vertical axis for all detectors of a scope, so that charts can be compared; intervals of two or three seeds can be
 * wider than all else, and are cut at 0 and 100. */
static axis find_axis(const contaminate_figures *t, size_t scope)
{
    const contaminate *c = t->c;
    axis a = {INFINITY, -INFINITY, 1.0};
    for (size_t d = 0; d < c->detector_count; d++)
        for (size_t r = 0; r < c->rate_count; r++)
            for (size_t m = 0; m < c->method_count; m++) {
                const seeds_sum s = contaminate_cell_of(t, scope, r, d, m).auroc;
                if (s.count == 0) continue;
                a.low = fmin(a.low, 100.0 * (isnan(s.low) ? s.mean : s.low));
                a.high = fmax(a.high, 100.0 * (isnan(s.high) ? s.mean : s.high));
            }
    for (size_t r = 0; r < c->rate_count; r++) a.x_high = fmax(a.x_high, 1.06 * share_of(c, scope, r));
    if (!(a.low <= a.high)) a.low = a.high = 50.0; /* nothing is done */
    const double step = svg_nice_step(fmax(a.high - a.low, 2.0), 5);
    a.low = fmax(0.0, step * floor(a.low / step - 0.05));
    a.high = fmin(100.0, step * ceil(a.high / step + 0.05));
    return a;
}

static void print_axes(const contaminate *c, size_t scope, const axis *a, FILE *f)
{
    const double step = svg_nice_step(a->high - a->low, 5);
    for (double k = ceil(a->low / step - 1e-9); k * step <= a->high + 1e-9; k++) {
        char text[32];
        const double y = down(a, k * step);
        svg_format_mark(k * step, step, 100.0, text);
        (void)fprintf(f, "<path class=\"g\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>",
                      LEFT, y, WIDTH - RIGHT, LEFT - 7, y + 4.0, text);
    }
    double last = -INFINITY;
    for (size_t r = 0; r < c->rate_count; r++) {
        const double share = share_of(c, scope, r), x = across(a, share);
        if (x - last < 26.0) continue; /* capped rates come close to each other */
        last = x;
        (void)fprintf(f, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.3g</text>", x, HEIGHT - BOTTOM + 18,
                      share);
    }
    (void)fprintf(
        f,
        "<path class=\"ax\" d=\"M%d %dV%dH%d\"/><text x=\"%d\" y=\"%d\" text-anchor=\"middle\">defective among the "
        "training photos, %%</text><text transform=\"translate(13 %d) rotate(-90)\" text-anchor=\"middle\">image "
        "AUROC, "
        "%%</text>\n",
        LEFT, TOP, HEIGHT - BOTTOM, WIDTH - RIGHT, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, (TOP + HEIGHT - BOTTOM) / 2);
}

static void print_line(const contaminate_figures *t, size_t scope, size_t detector, size_t method, const axis *a,
                       FILE *f)
{
    const contaminate *c = t->c;
    const double aside = 3.0 * ((double)method - 0.5 * (double)(c->method_count - 1)); /* bars do not hide each other */
    bool begun = false;
    (void)fprintf(f, "<g class=\"c%zu\"><path class=\"line\" d=\"", method);
    for (size_t r = 0; r < c->rate_count; r++) {
        const seeds_sum s = contaminate_cell_of(t, scope, r, detector, method).auroc;
        if (s.count == 0) continue;
        (void)fprintf(f, "%c%.1f %.1f", begun ? 'L' : 'M', across(a, share_of(c, scope, r)) + aside,
                      down(a, 100.0 * s.mean));
        begun = true;
    }
    (void)fputs("\"/>", f);
    for (size_t r = 0; r < c->rate_count; r++) {
        const seeds_sum s = contaminate_cell_of(t, scope, r, detector, method).auroc;
        if (s.count == 0) continue;
        const double x = across(a, share_of(c, scope, r)) + aside;
        if (s.count > 1) {
            (void)fprintf(f, "<path class=\"bar\" d=\"M%.1f %.1fV%.1fM%.1f %.1fh8M%.1f %.1fh8\"/>", x,
                          down(a, 100.0 * s.low), down(a, 100.0 * s.high), x - 4.0, down(a, 100.0 * s.low), x - 4.0,
                          down(a, 100.0 * s.high));
        }
        (void)fprintf(
            f, "<circle class=\"dotp\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"><title>%s, %.3g %%: %.1f</title></circle>", x,
            down(a, 100.0 * s.mean), c->methods[method], share_of(c, scope, r), 100.0 * s.mean);
    }
    (void)fputs("</g>\n", f);
}

static void print_charts(const contaminate_figures *t, size_t scope, FILE *f)
{
    const contaminate *c = t->c;
    const axis a = find_axis(t, scope);
    (void)fputs("<p class=\"key\">", f);
    for (size_t m = 0; m < c->method_count; m++) {
        (void)fprintf(
            f, "<span class=\"c%zu\"><svg viewBox=\"0 0 30 10\"><path class=\"line\" d=\"M0 5h30\"/></svg>%s</span>", m,
            c->methods[m]);
    }
    (void)fputs("</p>\n<div class=\"charts\">\n", f);
    for (size_t d = 0; d < c->detector_count; d++) {
        (void)fprintf(f,
                      "<figure class=\"card chart\"><h3>%s</h3><svg viewBox=\"0 0 %d %d\" role=\"img\" "
                      "aria-label=\"image AUROC of "
                      "%s over the share of defective training photos\">",
                      c->detectors[d], WIDTH, HEIGHT, c->detectors[d]);
        print_axes(c, scope, &a, f);
        for (size_t m = 0; m < c->method_count; m++) print_line(t, scope, d, m, &a, f);
        (void)fputs("</svg></figure>\n", f);
    }
    (void)fputs("</div>\n", f);
}

/* ---- figures ------------------------------------------------------------------------------------------------------ */

static void put_cell(const seeds_sum *s, bool difference, FILE *f)
{
    if (s->count == 0) {
        (void)fputs("<td>–</td>", f);
        return;
    }
    (void)fprintf(f, difference ? "<td>%+.1f" : "<td>%.1f", 100.0 * s->mean);
    if (s->count > 1 && !difference) (void)fprintf(f, " ± %.1f", 100.0 * s->std);
    if (s->count > 1 && difference) (void)fprintf(f, "<small>%+.1f to %+.1f</small>", 100.0 * s->low, 100.0 * s->high);
    (void)fputs("</td>", f);
}

static void print_row(const contaminate_figures *t, size_t scope, size_t rate, size_t detector, FILE *f)
{
    const contaminate *c = t->c;
    const contaminate_counts n = contaminate_counts_of(c, scope, rate);
    contaminate_cell cells[CONTAMINATE_NAMES];
    for (size_t m = 0; m < c->method_count; m++) cells[m] = contaminate_cell_of(t, scope, rate, detector, m);
    (void)fprintf(f, "<tr><th scope=\"row\">%s</th><td>%.3g %%</td><td>%zu</td><td>", c->detectors[detector],
                  share_of(c, scope, rate), n.injected);
    (void)fprintf(f, n.in_test > 0 ? "<strong>%zu</strong></td>" : "%zu</td>", n.in_test);
    for (size_t m = 0; m < c->method_count; m++) put_cell(&cells[m].auroc, false, f);
    for (size_t m = 1; m < c->method_count; m++) put_cell(&cells[m].difference, true, f);
    for (size_t m = 0; m < c->method_count; m++) put_cell(&cells[m].loss, true, f);
    (void)fputs("</tr>\n", f);
}

static void print_table(const contaminate_figures *t, size_t scope, FILE *f)
{
    const contaminate *c = t->c;
    (void)fputs(
        "<div class=\"card scroll\"><table>\n<thead><tr><th scope=\"col\">Detector</th><th scope=\"col\">Share</th>"
        "<th scope=\"col\">Injected</th><th scope=\"col\">Of these tested</th>",
        f);
    for (size_t m = 0; m < c->method_count; m++) (void)fprintf(f, "<th scope=\"col\">%s</th>", c->methods[m]);
    for (size_t m = 1; m < c->method_count; m++) {
        (void)fprintf(f, "<th scope=\"col\">%s − %s</th>", c->methods[m], c->methods[0]);
    }
    for (size_t m = 0; m < c->method_count; m++) (void)fprintf(f, "<th scope=\"col\">loss, %s</th>", c->methods[m]);
    (void)fputs("</tr></thead>\n<tbody>\n", f);
    for (size_t d = 0; d < c->detector_count; d++) {
        for (size_t r = 0; r < c->rate_count; r++) print_row(t, scope, r, d, f);
    }
    (void)fputs("</tbody></table></div>\n", f);
}

static void print_top(const contaminate *c, FILE *f)
{
    (void)fputs("<h1>Defective photos among the training photos</h1>\n<p>", f);
    report_put_path(f, c->data_root);
    (void)fprintf(f,
                  "</p>\n<p class=\"soft\">Injected: %s. Lines: mean over %zu seed%s; bars: 95 %% intervals of "
                  "Student's t, cut at "
                  "the chart's edge. The vertical axis does not start at 0. Loss: clean minus contaminated.</p>\n",
                  contaminate_describe(c), c->options.seeds, c->options.seeds == 1 ? "" : "s");
    if (strcmp(c->options.keep, "yes") == 0) {
        (void)fputs("<p class=\"card warn\"><strong>Models are tested on photos that they were trained on.</strong> "
                    "The injected "
                    "photos stayed in the test set; the table says how many.</p>\n",
                    f);
    }
}

static cz_status print_page(const void *opaque, FILE *f)
{
    const contaminate_figures *t = opaque;
    const contaminate *c = t->c;
    (void)fprintf(
        f,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        "<title>Contaminated training photos</title>\n<style>\n%s%s</style>\n</head>\n<body>\n<main>\n",
        report_style(), style);
    print_top(c, f);
    for (size_t s = 0; s < CONTAMINATE_SCOPES(c); s++) {
        (void)fputs("<h2>", f);
        report_put_text(f, contaminate_scope_name(c, s));
        (void)fputs("</h2>\n", f);
        if (s < c->target_count) {
            (void)fprintf(
                f, "<p class=\"soft\">%zu normal training photos; tested on %zu normal and %zu defective photos.</p>\n",
                c->targets[s].train_count, c->targets[s].test_normal, c->targets[s].test_defective);
        }
        print_charts(t, s, f);
        print_table(t, s, f);
    }
    (void)fputs("<p class=\"soft\">Backbone ", f);
    report_put_text(f, c->train.backbone);
    (void)fprintf(
        f,
        ". Made by CoZAD %s. This page is one file and loads nothing from elsewhere.</p>\n</main>\n</body>\n</html>\n",
        cz_version());
    return CZ_OK;
}

int contaminate_page(const contaminate *c, const contaminate_figures *f)
{
    const cz_status status = report_replace(c->report, print_page, f);
    return status == CZ_OK ? CLI_OK : cli_fail(status);
}
