/* SPDX-License-Identifier: Apache-2.0 */
#include "plot_chart.h"

#include "report_internal.h"
#include "svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    WIDTH = 1920,
    HEIGHT = 800,  /* of the SVG's own units, stretched by the page */
    COLUMNS = 480, /* of a decimated line */
    DOTS = 40,     /* so few points are also drawn as dots */
    LOGS_WITH_STEPS = 4,
    LINES = 2 * PLOT_MAX_LOGS
};

/* What one chart shows: the series of every log and quantity, and the range of the vertical axis. */
typedef struct frame {
    const plot_chart *chart;
    const plot_axis *axis;
    const plot_log *logs;
    size_t log_count, quantities;
    plot_series series[LINES]; /* [log_count, quantities] */
    double low, high;          /* on a logarithmic axis log10 */
    size_t outside;            /* points beyond it */
    double farthest;           /* the most distant of them */
} frame;

bool plot_chart_shows_steps(size_t log_count)
{
    return log_count <= LOGS_WITH_STEPS;
}

bool plot_chart_has_values(const plot_chart *chart, const plot_log *logs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t q = 0; q < 2 && (q == 0 || chart->labels[q] != NULL); q++)
            if (!isnan(plot_last(&logs[i], chart->fields[q]))) return true;
    return false;
}

/* ---- numbers on axes ------------------------------------------------------------------------------------------------ */

static void format_steps(double step, char text[32])
{
    if (step >= 1e6)
        (void)snprintf(text, 32, "%.6gM", step / 1e6);
    else if (step >= 1e4)
        (void)snprintf(text, 32, "%.6gk", step / 1e3);
    else
        (void)snprintf(text, 32, "%.0f", step);
}

/* ---- the horizontal axis -------------------------------------------------------------------------------------------- */

static void find_epochs(const plot_log *log, plot_axis *axis)
{
    const double first = log->rows[0].value[PLOT_EPOCH];
    const double epochs = log->rows[log->count - 1].value[PLOT_EPOCH] - first;
    if (!(epochs >= 1)) return;
    const double step = fmax(1, svg_nice_step(epochs, 7));
    double next = (floor(first / step) + 1) * step;
    for (size_t i = 0; i < log->count && axis->epoch_count < PLOT_EPOCH_MARKS; i++) {
        const double epoch = log->rows[i].value[PLOT_EPOCH];
        if (epoch < next) continue;
        next = (floor(epoch / step) + 1) * step;
        axis->epochs[axis->epoch_count].epoch = epoch;
        axis->epochs[axis->epoch_count++].step = log->rows[i].value[PLOT_STEP];
    }
}

plot_axis plot_axis_make(const plot_log *logs, size_t count)
{
    plot_axis axis = {.low = INFINITY, .high = -INFINITY};
    for (size_t i = 0; i < count; i++) {
        const plot_row *first = &logs[i].rows[0], *last = &logs[i].rows[logs[i].count - 1];
        axis.low = fmin(axis.low, first->value[PLOT_STEP]);
        if (last->value[PLOT_STEP] > axis.high) axis.longest = &logs[i];
        axis.high = fmax(axis.high, last->value[PLOT_STEP]);
    }
    if (axis.low >= axis.high) {
        axis.low -= 1;
        axis.high += 1;
    }
    const double room = axis.longest->count <= DOTS ? 0.02 * (axis.high - axis.low) : 0; /* for the dots at both ends */
    axis.low -= room;
    axis.high += room;
    find_epochs(axis.longest, &axis);
    return axis;
}

static double across(const plot_axis *axis, double step)
{
    return (step - axis->low) / (axis->high - axis->low);
}

/* A line into the drawing for each mark, or its number above. */
static void print_epochs(const plot_axis *axis, bool numbers, FILE *f)
{
    for (size_t i = 0; i < axis->epoch_count; i++) {
        const double at = across(axis, axis->epochs[i].step);
        if (!numbers)
            (void)fprintf(f, "<path class=\"ep\" d=\"M%.0f 0v%d\"/>", at * WIDTH, HEIGHT);
        else
            (void)fprintf(f, "<span class=\"e\" style=\"left:%.2f%%\">%.0f</span>", 100 * at, axis->epochs[i].epoch);
    }
    if (numbers && axis->epoch_count > 0) (void)fputs("<span class=\"et\">epoch</span>", f);
}

static void print_steps(const plot_axis *axis, FILE *f)
{
    const double step = fmax(1, svg_nice_step(axis->high - axis->low, 5));
    for (double k = fmax(0, ceil(axis->low / step)); k * step <= axis->high; k++) {
        char text[32];
        format_steps(k * step, text);
        (void)fprintf(f, "<span class=\"x\" style=\"left:%.2f%%\">%s</span>", 100 * across(axis, k * step), text);
    }
}

/* ---- the vertical axis ---------------------------------------------------------------------------------------------- */

/* Fewer than one point in a hundred may lie outside, where showing them would make everything else flat. */
static void widen(const plot_series *s, double *scratch, frame *fr, double *least, double *most)
{
    if (s->count == 0) return;
    double low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < s->count; i++) {
        low = fmin(low, s->y[i]);
        high = fmax(high, s->y[i]);
    }
    *least = fmin(*least, low);
    *most = fmax(*most, high);
    if (s->count >= 200) {
        memcpy(scratch, s->y, s->count * sizeof *scratch);
        low = plot_select(scratch, s->count, s->count / 200);
        high = plot_select(scratch, s->count, s->count - 1 - s->count / 200);
        for (size_t i = 0; i < s->smooth_count; i++) {
            low = fmin(low, s->smooth_y[i]);
            high = fmax(high, s->smooth_y[i]);
        }
    }
    fr->low = fmin(fr->low, low);
    fr->high = fmax(fr->high, high);
}

static void count_outside(const plot_series *s, frame *fr)
{
    for (size_t i = 0; i < s->count; i++) {
        const double y = s->y[i];
        if (y >= fr->low && y <= fr->high) continue;
        const double far = fmax(fr->low - y, y - fr->high);
        if (fr->outside++ == 0 || far > fmax(fr->low - fr->farthest, fr->farthest - fr->high)) fr->farthest = y;
    }
}

static cz_status find_range(frame *fr)
{
    size_t longest = 1;
    double least = INFINITY, most = -INFINITY;
    for (size_t i = 0; i < fr->log_count; i++) longest = fr->logs[i].count > longest ? fr->logs[i].count : longest;
    double *scratch = malloc(longest * sizeof *scratch);
    if (scratch == NULL) return cz_source_error(CZ_E_MEMORY, "the curves: out of memory");
    fr->low = INFINITY;
    fr->high = -INFINITY;
    for (size_t i = 0; i < fr->log_count * fr->quantities; i++) widen(&fr->series[i], scratch, fr, &least, &most);
    free(scratch);
    if (!(fr->low <= fr->high)) fr->low = fr->high = least = most = 0; /* nothing above 0 for a logarithmic axis */
    double span = fr->high - fr->low;
    if (least >= fr->low - 0.5 * span) fr->low = least;
    if (most <= fr->high + 0.5 * span) fr->high = most;
    const double size = fmax(fabs(fr->low), fabs(fr->high));
    if (fr->high - fr->low < fmax(1e-9 * size, 1e-90)) { /* constant */
        const double pad = size > 1e-90 ? 0.1 * size : 1;
        fr->low -= pad;
        fr->high += pad;
    }
    span = fr->high - fr->low;
    /* From 0 where that costs little room. */
    const bool from_zero = !fr->chart->logarithmic && least >= 0 && fr->low < 0.35 * span;
    fr->low = from_zero ? -0.015 * span : fr->low - 0.05 * span;
    fr->high += 0.05 * span;
    for (size_t i = 0; i < fr->log_count * fr->quantities; i++) count_outside(&fr->series[i], fr);
    return CZ_OK;
}

typedef struct mark {
    double at; /* 0 at the top, 1 at the bottom */
    char text[32];
} mark;
enum { MAX_MARKS = 16 };

static size_t linear_marks(const frame *fr, mark *marks)
{
    const bool log = fr->chart->logarithmic;
    const double low = log ? pow(10, fr->low) : fr->low, high = log ? pow(10, fr->high) : fr->high;
    const double step = svg_nice_step(high - low, 4), largest = fmax(fabs(low), fabs(high));
    size_t count = 0;
    for (double k = ceil(low / step); k * step <= high && count < MAX_MARKS; k++) {
        const double y = log ? log10(k * step) : k * step;
        marks[count].at = (fr->high - y) / (fr->high - fr->low);
        svg_format_mark(k * step, step, largest, marks[count++].text);
    }
    return count;
}

static size_t find_marks(const frame *fr, mark *marks)
{
    if (!fr->chart->logarithmic) return linear_marks(fr, marks);
    static const double between[] = {1, 2, 5};
    const double span = fr->high - fr->low, stride = fmax(1, ceil(span / 6));
    size_t count = 0;
    for (double d = floor(fr->low / stride) * stride; d <= fr->high && count < MAX_MARKS; d += stride)
        for (size_t k = 0; k < (span < 2.2 ? 3u : 1u) && count < MAX_MARKS; k++) {
            const double y = d + log10(between[k]);
            if (y < fr->low || y > fr->high) continue;
            marks[count].at = (fr->high - y) / span;
            (void)snprintf(marks[count].text, sizeof marks->text, "%.3g", pow(10, y));
            svg_tidy_exponent(marks[count++].text);
        }
    return count >= 2 ? count : linear_marks(fr, marks);
}

/* ---- lines ---------------------------------------------------------------------------------------------------------- */

static long unit_x(const frame *fr, double x)
{
    return lround(across(fr->axis, x) * WIDTH);
}

/* Points outside stay outside, but near, so that numbers stay short. */
static long unit_y(const frame *fr, double y)
{
    return lround(fmin(fmax((fr->high - y) / (fr->high - fr->low), -0.5), 1.5) * HEIGHT);
}

/* The smallest and the largest value of every column, in the order in which they came. */
static void put_columns(const frame *fr, const plot_series *s, svg_pen *p)
{
    for (size_t i = 0; i < s->count;) {
        const double column = floor(across(fr->axis, s->x[i]) * COLUMNS);
        size_t low = i, high = i, last = i;
        for (; last < s->count && floor(across(fr->axis, s->x[last]) * COLUMNS) <= column; last++) {
            if (s->y[last] < s->y[low]) low = last;
            if (s->y[last] > s->y[high]) high = last;
        }
        const size_t one = low < high ? low : high, other = low < high ? high : low;
        svg_pen_to(p, unit_x(fr, s->x[one]), unit_y(fr, s->y[one]));
        if (other != one) svg_pen_to(p, unit_x(fr, s->x[other]), unit_y(fr, s->y[other]));
        i = last;
    }
}

static void put_points(const frame *fr, const double *x, const double *y, size_t count, svg_pen *p)
{
    for (size_t i = 0; i < count; i++) svg_pen_to(p, unit_x(fr, x[i]), unit_y(fr, y[i]));
}

static void print_series(const frame *fr, size_t log, size_t quantity, FILE *f)
{
    const plot_series *s = &fr->series[log * fr->quantities + quantity];
    if (s->count == 0) return;
    /* One log: a colour for each quantity. Several: a colour for each log, the second quantity dashed. */
    const bool dashed = fr->log_count > 1 && quantity == 1;
    const size_t colour = fr->log_count > 1 ? log : quantity;
    if (s->smooth_count > 0 && plot_chart_shows_steps(fr->log_count)) {
        svg_pen p = {.f = f};
        (void)fprintf(f, "<path class=\"r c%zu\" d=\"", colour);
        if (s->count > 2 * COLUMNS)
            put_columns(fr, s, &p);
        else
            put_points(fr, s->x, s->y, s->count, &p);
        (void)fputs("\"/>", f);
    }
    svg_pen p = {.f = f};
    (void)fprintf(f, "<path class=\"s c%zu%s\" data-n=\"", colour, dashed ? " d" : "");
    if (fr->log_count > 1) report_put_text(f, fr->logs[log].name);
    if (fr->log_count > 1 && fr->quantities > 1) (void)fputs(", ", f);
    if (fr->quantities > 1) (void)fputs(fr->chart->labels[quantity], f);
    (void)fputs("\" d=\"", f);
    if (s->smooth_count > 0)
        put_points(fr, s->smooth_x, s->smooth_y, s->smooth_count, &p);
    else
        put_points(fr, s->x, s->y, s->count, &p);
    (void)fputs("\"/>", f);
    if (s->count > DOTS) return;
    (void)fprintf(f, "<path class=\"p c%zu\" d=\"", colour);
    for (size_t i = 0; i < s->count; i++) (void)fprintf(f, "M%ld %ldh0", unit_x(fr, s->x[i]), unit_y(fr, s->y[i]));
    (void)fputs("\"/>", f);
}

/* ---- the figure ----------------------------------------------------------------------------------------------------- */

static void print_caption(const frame *fr, FILE *f)
{
    const plot_chart *c = fr->chart;
    (void)fprintf(f, "<figure class=\"card chart\"><figcaption><h3>%s <i>%s</i></h3><p>%s</p>", c->title, c->symbol,
                  c->how);
    if (fr->quantities > 1) {
        (void)fputs("<p class=\"key\">", f);
        for (size_t q = 0; q < 2; q++)
            (void)fprintf(f,
                          "<span><svg class=\"line\" viewBox=\"0 0 24 6\"><path class=\"s %s\" d=\"M0 3h24\"/></svg>%s"
                          "</span>",
                          fr->log_count == 1 ? (q == 0 ? "c0" : "c1") : (q == 0 ? "ck" : "ck d"), c->labels[q]);
        (void)fputs("</p>", f);
    }
    (void)fputs("</figcaption>\n", f);
}

static void print_notes(const frame *fr, FILE *f)
{
    size_t not_positive = 0;
    for (size_t i = 0; i < fr->log_count * fr->quantities; i++) not_positive += fr->series[i].not_positive;
    if (fr->outside == 0 && not_positive == 0) return;
    (void)fputs("<p class=\"note\">", f);
    if (fr->outside > 0) {
        const double value = fr->chart->logarithmic ? pow(10, fr->farthest) : fr->farthest;
        (void)fprintf(
            f, fr->outside == 1 ? "%zu point lies outside, at %.4g. " : "%zu points lie outside, as far as %.4g. ",
            fr->outside, value);
    }
    if (not_positive > 0) (void)fprintf(f, "%zu points are 0 or below and have no place on this axis.", not_positive);
    (void)fputs("</p>", f);
}

static void print_frame(const frame *fr, FILE *f)
{
    mark marks[MAX_MARKS];
    const size_t mark_count = find_marks(fr, marks);
    print_caption(fr, f);
    (void)fprintf(f, "<div class=\"area\" data-y0=\"%.9g\" data-y1=\"%.9g\" data-log=\"%d\">", fr->low, fr->high,
                  fr->chart->logarithmic ? 1 : 0);
    (void)fprintf(
        f,
        "<svg viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"%s over the steps %.0f "
        "to %.0f\">",
        WIDTH, HEIGHT, fr->chart->title, fmax(0, fr->axis->low), fr->axis->high);
    for (size_t i = 0; i < mark_count; i++)
        (void)fprintf(f, "<path class=\"g\" d=\"M0 %.0fh%d\"/>", marks[i].at * HEIGHT, WIDTH);
    print_epochs(fr->axis, false, f);
    (void)fprintf(f, "<path class=\"ax\" d=\"M0 0v%dh%d\"/>\n", HEIGHT, WIDTH);
    for (size_t i = 0; i < fr->log_count; i++)
        for (size_t q = 0; q < fr->quantities; q++) print_series(fr, i, q, f);
    (void)fprintf(f, "</svg>\n<span class=\"u\">%s</span>", fr->chart->unit);
    for (size_t i = 0; i < mark_count; i++)
        (void)fprintf(f, "<span class=\"y\" style=\"top:%.2f%%\">%s</span>", 100 * marks[i].at, marks[i].text);
    print_epochs(fr->axis, true, f);
    print_steps(fr->axis, f);
    (void)fputs("<span class=\"xt\">step</span></div>", f);
    print_notes(fr, f);
    (void)fputs("</figure>\n", f);
}

cz_status plot_chart_print(const plot_chart *chart, const plot_axis *axis, const plot_log *logs, size_t count, FILE *f)
{
    frame fr = {.chart = chart, .axis = axis, .logs = logs, .log_count = count};
    fr.quantities = chart->labels[0] != NULL ? 2 : 1;
    cz_status status = CZ_OK;
    for (size_t i = 0; i < count * fr.quantities && status == CZ_OK; i++)
        status = plot_series_make(&logs[i / fr.quantities], chart->fields[i % fr.quantities], chart->scale,
                                  chart->logarithmic, &fr.series[i]);
    if (status == CZ_OK) status = find_range(&fr);
    if (status == CZ_OK) print_frame(&fr, f);
    for (size_t i = 0; i < LINES; i++) plot_series_free(&fr.series[i]);
    return status;
}
