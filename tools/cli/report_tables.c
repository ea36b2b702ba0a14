/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of the page: figures with their intervals, what the threshold does, regions. */
#include "report_internal.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *name, *what;
} metrics[CZ_METRICS] = {
    {"Image AUROC", "Chance that a random anomalous photo scores above a random normal one. 50 % is guessing."},
    {"Image AP",
     "Average precision: the mean share of true finds among the photos called anomalous, over all recalls."},
    {"Image F1", "Best balance of precision and recall over all thresholds; chosen with the labels."},
    {"Pixel AUROC", "The same for pixels. Many easy background pixels keep it high."},
    {"Pixel AP", "Average precision for pixels: sensitive to false alarms around small defects."},
    {"Pixel F1", "Best F1 of pixels over all thresholds; chosen with the labels."},
    {"AUPRO 0.3", "Overlap with each defect region, small and large ones alike, up to 30 % false pixels."},
    {"AUPRO 0.05", "The same up to 5 % false pixels: stricter."},
};

/* A value in per cent above its interval, "undefined" for NaN; data-v is the value as computed. */
static void put_figure(FILE *f, const char *name, const cz_figure *figure)
{
    if (isnan(figure->value)) {
        (void)fprintf(f, "<td data-m=\"%s\" data-v=\"NaN\"><span class=\"undef\">undefined</span></td>", name);
        return;
    }
    (void)fprintf(f, "<td data-m=\"%s\" data-v=\"%.17g\"", name, figure->value);
    const bool interval = !isnan(figure->low) && !isnan(figure->high);
    if (interval) (void)fprintf(f, " data-low=\"%.17g\" data-high=\"%.17g\"", figure->low, figure->high);
    (void)fprintf(f, "><b>%.1f</b>", 100 * figure->value);
    if (interval) (void)fprintf(f, "<small>%.1f–%.1f</small>", 100 * figure->low, 100 * figure->high);
    (void)fputs("</td>", f);
}

static const char *const kinds[] = {"category", "mean", "pooled"}; /* of rows */

static const report_row *find_kind(const report *r, report_row_kind kind)
{
    for (size_t i = 0; i < r->row_count; i++)
        if (r->rows[i].kind == kind) return &r->rows[i];
    return NULL;
}

static size_t count_kind(const report *r, report_row_kind kind)
{
    size_t count = 0;
    for (size_t i = 0; i < r->row_count; i++) count += r->rows[i].kind == kind;
    return count;
}

/* ---- summary -------------------------------------------------------------------------------------------------------- */

static void print_summary_row(size_t m, const report_row *const *columns, size_t count, FILE *f)
{
    (void)fprintf(f, "<tr><th scope=\"row\">%s<span class=\"what\">%s</span></th>", metrics[m].name, metrics[m].what);
    for (size_t i = 0; i < count; i++) put_figure(f, cz_metric_name((cz_metric)m), &columns[i]->figures.metric[m]);
    (void)fputs("</tr>\n", f);
}

/* How far a counted figure may be from the exact one; masks that are missing. */
static void print_summary_notes(const report_row *const *columns, size_t count, FILE *f)
{
    double bound = 0;
    bool intervals = false;
    for (size_t i = 0; i < count; i++)
        for (size_t m = 0; m < CZ_METRICS; m++) {
            const cz_figure *figure = &columns[i]->figures.metric[m];
            if (!isnan(figure->value)) bound = fmax(bound, figure->bound);
            intervals = intervals || !isnan(figure->low);
        }
    const cz_figures *all = &columns[count - 1]->figures;
    (void)fprintf(f, "<p class=\"soft\">In per cent. %s%zu normal and %zu anomalous photos",
                  count > 1 ? "Mean: every category counts the same; pooled: all photos as if of one category. " : "",
                  all->normal, all->anomalous);
    if (all->masks > 0) (void)fprintf(f, "; %zu masks with %zu defect regions", all->masks, all->regions);
    (void)fputs(". ", f);
    if (intervals)
        (void)fputs(
            "Below each value its 95 % interval: bootstrap over photos, normal and anomalous ones drawn apart. ", f);
    (void)fputs("“undefined”: a class or the masks that the figure needs are absent. ", f);
    if (bound > 0)
        (void)fprintf(f, "Pixel figures are at most %.2g percentage points from the exact ones.", 100 * bound);
    (void)fputs("</p>\n", f);
}

void report_print_summary(const report *r, FILE *f)
{
    const report_row *columns[2];
    size_t count = 0;
    const report_row *mean = find_kind(r, REPORT_MEAN), *pooled = find_kind(r, REPORT_POOLED);
    if (count_kind(r, REPORT_CATEGORY) == 1 && r->row_count > 0) {
        columns[count++] = find_kind(r, REPORT_CATEGORY);
    } else {
        if (mean) columns[count++] = mean;
        if (pooled) columns[count++] = pooled;
    }
    if (count == 0) return;
    (void)fputs("<div class=\"card\"><h3>Figures</h3><div class=\"scroll\" tabindex=\"0\" role=\"region\" "
                "aria-label=\"Figures\">"
                "<table id=\"summary-table\">\n<thead><tr><th scope=\"col\">Metric</th>",
                f);
    for (size_t i = 0; i < count; i++)
        (void)fprintf(f, "<th scope=\"col\" data-kind=\"%s\">%s</th>", kinds[columns[i]->kind],
                      columns[i]->kind == REPORT_MEAN     ? "Mean"
                      : columns[i]->kind == REPORT_POOLED ? "Pooled"
                                                          : "Value");
    (void)fputs("</tr></thead>\n<tbody>\n", f);
    for (size_t m = 0; m < CZ_METRICS; m++) print_summary_row(m, columns, count, f);
    (void)fputs("</tbody></table></div>\n", f);
    print_summary_notes(columns, count, f);
    (void)fputs("</div>\n", f);
}

/* ---- categories ----------------------------------------------------------------------------------------------------- */

static void print_category_row(const report_row *row, FILE *f)
{
    (void)fprintf(f, "<tr data-kind=\"%s\" data-name=\"", kinds[row->kind]);
    report_put_text(f, row->name);
    (void)fputs("\"><th scope=\"row\">", f);
    report_put_text(f, row->name);
    (void)fputs("</th>", f);
    for (size_t m = 0; m < CZ_METRICS; m++) put_figure(f, cz_metric_name((cz_metric)m), &row->figures.metric[m]);
    (void)fprintf(f, "<td data-v=\"%zu\">%zu</td><td data-v=\"%zu\">%zu</td>", row->figures.normal, row->figures.normal,
                  row->figures.anomalous, row->figures.anomalous);
    (void)fprintf(f, "<td data-v=\"%zu\">%zu</td><td data-v=\"%zu\">%zu</td>", row->figures.masks, row->figures.masks,
                  row->figures.regions, row->figures.regions);
    (void)fputs("</tr>\n", f);
}

/* One category says no more than the summary. */
bool report_has_categories(const report *r)
{
    return count_kind(r, REPORT_CATEGORY) > 1;
}

void report_print_categories(const report *r, FILE *f)
{
    if (!report_has_categories(r)) return;
    (void)fputs("<h2 id=\"categories\">Categories</h2>\n<div class=\"card scroll\" tabindex=\"0\" role=\"region\" "
                "aria-label=\"Figures of each category\"><table class=\"wide sort sticky\" id=\"category-table\">\n"
                "<thead><tr><th scope=\"col\">Category</th>",
                f);
    for (size_t m = 0; m < CZ_METRICS; m++) (void)fprintf(f, "<th scope=\"col\">%s</th>", metrics[m].name);
    (void)fputs("<th scope=\"col\">Normal</th><th scope=\"col\">Anomalous</th>", f);
    (void)fputs("<th scope=\"col\">Masks</th><th scope=\"col\">Regions</th>", f);
    (void)fputs("</tr></thead>\n<tbody>\n", f);
    for (size_t i = 0; i < r->row_count; i++)
        if (r->rows[i].kind == REPORT_CATEGORY) print_category_row(&r->rows[i], f);
    (void)fputs("</tbody>\n", f);
    if (find_kind(r, REPORT_MEAN) || find_kind(r, REPORT_POOLED)) {
        (void)fputs("<tfoot>\n", f);
        for (report_row_kind kind = REPORT_MEAN; kind <= REPORT_POOLED; kind++)
            if (find_kind(r, kind)) print_category_row(find_kind(r, kind), f);
        (void)fputs("</tfoot>\n", f);
    }
    (void)fputs("</table></div>\n", f);
}

/* ---- the threshold -------------------------------------------------------------------------------------------------- */

/* Wilson's interval of a share, 95 %: fit for few photos and for none. */
static void put_share(FILE *f, size_t hits, size_t count)
{
    if (count == 0) {
        (void)fputs("<span class=\"undef\">undefined</span>", f);
        return;
    }
    const double z = 1.959963984540054, n = (double)count, p = (double)hits / n;
    const double middle = (p + z * z / (2 * n)) / (1 + z * z / n);
    const double half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    (void)fprintf(f, "%.1f&nbsp;%% <span class=\"ci\">(%.1f–%.1f)</span>", 100 * p, 100 * fmax(0, middle - half),
                  100 * fmin(1, middle + half));
}

static void put_rule(const report *r, FILE *f)
{
    if (r->has_threshold) {
        (void)fprintf(f, "<p>Scores above <b>%.6g</b> are called anomalous", r->threshold);
        if (r->rule && r->rule[0]) {
            (void)fputs(": ", f);
            report_put_text(f, r->rule);
        }
        (void)fputs(".</p>\n", f);
        return;
    }
    const report_limit limit = report_find_limit(r, 0);
    if (r->category_count == 1 && limit.known)
        (void)fprintf(f, "<p>Scores of <b>%.6g</b> and above are called anomalous. ", limit.value);
    else
        (void)fputs("<p>Each category has its own threshold. ", f);
    (void)fputs(
        "The threshold is the one of best F1, found <em>with the labels of these photos</em>: a new line will do "
        "worse. One for production comes from normal photos alone.</p>\n",
        f);
}

static void print_confusion_card(const report *r, FILE *f)
{
    const report_confusion c = report_count(r, REPORT_ALL);
    const size_t normal = c.count[0][0] + c.count[0][1], anomalous = c.count[1][0] + c.count[1][1];
    (void)fputs("<div class=\"card side\" id=\"threshold\"><h3>At the threshold</h3>\n", f);
    put_rule(r, f);
    (void)fprintf(
        f,
        "<table class=\"conf\" id=\"confusion-table\"><thead><tr><th scope=\"col\">Truth</th><th scope=\"col\">"
        "called normal</th><th scope=\"col\">called anomalous</th><th scope=\"col\">Error rate</th></tr></thead>\n"
        "<tbody><tr><th scope=\"row\">normal</th><td>%zu</td><td class=\"err\">%zu false alarm%s</td><td>",
        c.count[0][0], c.count[0][1], c.count[0][1] == 1 ? "" : "s");
    put_share(f, c.count[0][1], normal);
    (void)fprintf(
        f, "</td></tr>\n<tr><th scope=\"row\">anomalous</th><td class=\"err\">%zu missed</td><td>%zu found</td><td>",
        c.count[1][0], c.count[1][1]);
    put_share(f, c.count[1][0], anomalous);
    (void)fputs(
        "</td></tr></tbody></table>\n<p class=\"soft\">Photos; rates with their 95 % interval (Wilson).</p></div>\n",
        f);
}

static void print_confusion_row(const report *r, size_t category, FILE *f)
{
    const report_confusion c = report_count(r, category);
    const report_limit limit = report_find_limit(r, category);
    const size_t normal = c.count[0][0] + c.count[0][1], anomalous = c.count[1][0] + c.count[1][1];
    (void)fputs("<tr><th scope=\"row\">", f);
    report_put_text(f, report_category_title(r, category));
    (void)fputs("</th>", f);
    if (limit.known)
        (void)fprintf(f, "<td data-v=\"%.17g\">%.4g</td>", limit.value, limit.value);
    else
        (void)fputs("<td data-v=\"NaN\"><span class=\"undef\">none</span></td>", f);
    for (size_t label = 0; label < 2; label++) {
        const size_t all = label ? anomalous : normal, errors = c.count[label][!label];
        (void)fprintf(f, "<td data-v=\"%zu\">%zu of %zu</td><td data-v=\"%.17g\">", errors, errors, all,
                      all ? (double)errors / (double)all : (double)NAN);
        put_share(f, errors, all);
        (void)fputs("</td>", f);
    }
    (void)fputs("</tr>\n", f);
}

static void print_confusion_rows(const report *r, FILE *f)
{
    (void)fputs(
        "<div class=\"card\"><h3>By category</h3><div class=\"scroll\" tabindex=\"0\" role=\"region\" "
        "aria-label=\"Errors of each category\"><table class=\"sort sticky\"><thead><tr><th scope=\"col\">Category</th>"
        "<th scope=\"col\">Threshold</th><th scope=\"col\">False alarms</th><th scope=\"col\">False-alarm rate</th>"
        "<th scope=\"col\">Missed</th><th scope=\"col\">Miss rate</th></tr></thead>\n<tbody>\n",
        f);
    for (size_t c = 0; c < r->category_count; c++) print_confusion_row(r, c, f);
    (void)fputs("</tbody></table></div></div>\n", f);
}

/* ---- regions -------------------------------------------------------------------------------------------------------- */

static void print_regions(const report *r, FILE *f)
{
    static const char *const sizes[CZ_REGION_CLASSES] = {"up to 10", "11–100", "101–1000", "1001–10 000",
                                                         "above 10 000"};
    const cz_region_figures *g = &r->regions;
    size_t defects = 0, found = 0, alarms = 0;
    (void)fprintf(
        f,
        "<div class=\"card narrow\"><h3>Regions</h3><p>Connected pixels of the map above <b>%.6g</b>, by size.</p>"
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Regions by size\">"
        "<table id=\"region-table\"><thead><tr><th scope=\"col\">Pixels</th><th scope=\"col\">Defects</th>"
        "<th scope=\"col\">Found</th><th scope=\"col\">False regions</th></tr></thead>\n<tbody>\n",
        r->region_threshold);
    for (size_t i = 0; i < CZ_REGION_CLASSES; i++) {
        (void)fprintf(f, "<tr><th scope=\"row\">%s</th><td>%zu</td><td>%zu</td><td>%zu</td></tr>\n", sizes[i],
                      g->defects[i], g->found[i], g->false_alarms[i]);
        defects += g->defects[i];
        found += g->found[i];
        alarms += g->false_alarms[i];
    }
    (void)fprintf(
        f,
        "</tbody><tfoot><tr><th scope=\"row\">all</th><td>%zu</td><td>%zu</td><td>%zu</td></tr></tfoot></table>"
        "</div>\n<p class=\"soft\">",
        defects, found, alarms);
    if (g->images > 0) (void)fprintf(f, "%.3g false regions a photo. ", (double)alarms / (double)g->images);
    (void)fputs("A defect is found when any region touches it.</p></div>\n", f);
}

/* ---- both -------------------------------------------------------------------------------------------------------- */

bool report_is_judged(const report *r)
{
    const report_confusion c = report_count(r, REPORT_ALL);
    return c.count[0][0] + c.count[0][1] + c.count[1][0] + c.count[1][1] > 0;
}

void report_print_confusion(const report *r, FILE *f)
{
    if (report_is_judged(r)) print_confusion_card(r, f);
}

void report_print_details(const report *r, FILE *f)
{
    const bool rows = r->category_count > 1 && report_is_judged(r);
    if (!rows && !r->has_regions) return;
    (void)fputs("<h2>What the threshold does</h2>\n<div class=\"two\">\n", f);
    if (rows) print_confusion_rows(r, f);
    if (r->has_regions) print_regions(r, f);
    (void)fputs("</div>\n", f);
}
