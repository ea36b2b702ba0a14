/* SPDX-License-Identifier: Apache-2.0 */
/* The page around the curves. Everything that comes from a log or from the command line goes through report_put_text. */
#include "plot_page.h"

#include "report_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char style[] =
    ":root{--c0:#2563a8;--c1:#c2410c;--c2:#2f7d4f;--c3:#7b45b5;--c4:#9a6200;--c5:#0b7285;--c6:#b83280;"
    "--c7:#5d6369;--grid:#ebebe6}\n"
    "@media (prefers-color-scheme:dark){:root{--c0:#6aaaf0;--c1:#f0844c;--c2:#5cc08d;--c3:#b998f5;"
    "--c4:#dfb347;--c5:#4cc3d9;--c6:#f08bbd;--c7:#a9afb5;--grid:#2b2f33}}\n"
    ".c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{"
    "--c:var(--c5)}.c6{--c:var(--c6)}.c7{--c:var(--c7)}.ck{--c:var(--ink)}.b0{background:var(--c0)}.b1{"
    "background:var(--c1)}.b2{background:var(--c2)}.b3{background:var(--c3)}.b4{background:var(--c4)}.b5{"
    "background:var(--c5)}.b6{background:var(--c6)}.b7{background:var(--c7)}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,390px),1fr));gap:14px}.chart{"
    "padding:12px 14px 10px;display:flex;flex-direction:column}.chart h3{margin:0;font-size:1rem}.chart h3 i{"
    "font-weight:400;color:var(--soft);margin-left:.3em}.chart figcaption{margin:0;font-size:.84rem;flex:1}"
    ".chart figcaption p{margin:.25em 0 0;color:var(--soft);line-height:1.4}.chart .key{gap:2px 16px;"
    "font-size:.84rem;color:var(--ink)}.line{display:inline-block;width:24px;height:6px;vertical-align:.15em;"
    "margin-right:.4em}\n"
    ".area{position:relative;height:190px;margin:28px 14px 24px 66px;font-size:11px;line-height:1;"
    "color:var(--soft);font-variant-numeric:tabular-nums;touch-action:pan-y}.area svg{position:absolute;"
    "left:0;top:0;width:100%;max-width:none;height:100%;overflow:hidden}.area span{position:absolute;"
    "white-space:nowrap}.area .y{right:100%;margin-right:6px;transform:translateY(-50%)}.area .x{top:100%;"
    "margin-top:6px;transform:translateX(-50%)}.area .xt{right:100%;top:100%;margin:6px 16px 0 0}.area .u{"
    "left:-65px;top:50%;writing-mode:vertical-rl;transform:translateY(-50%) rotate(180deg)}.area .e{"
    "bottom:100%;margin-bottom:8px;transform:translateX(-50%)}.area .et{bottom:100%;right:100%;"
    "margin:0 6px 8px 0}\n"
    "path{fill:none;vector-effect:non-scaling-stroke;stroke-linejoin:round;stroke-linecap:round}.g{"
    "stroke:var(--grid)}.ax{stroke:var(--soft)}.ep{stroke:var(--line);stroke-dasharray:2 3}.r{stroke:var(--c);"
    "stroke-width:1;opacity:.32}.s{stroke:var(--c);stroke-width:2}.d{stroke-dasharray:5 4;stroke-linecap:butt}"
    ".p{stroke:var(--c);stroke-width:6}.note{font-size:.78rem;color:var(--soft);margin:0}\n"
    ".area .cur{top:0;bottom:0;width:0;border-left:1px solid var(--ink);opacity:.5;pointer-events:none}.tip{"
    "position:absolute;z-index:2;top:4px;background:var(--card);color:var(--ink);border:1px solid var(--line);"
    "border-radius:6px;padding:5px 8px;font-size:12px;line-height:1.45;pointer-events:none;max-width:85%;"
    "overflow-wrap:anywhere}.tip div{border-left:3px solid var(--c);padding-left:6px}\n"
    ".scroll{width:fit-content;max-width:100%}.legend{max-width:none;position:sticky;top:0;z-index:3;background:var(--"
    "bg);"
    "padding:8px 0;margin:0;color:var(--ink);overflow-wrap:anywhere}.dense{"
    "grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:8px 20px;font-size:.92rem}th .dot{"
    "margin-right:.4em}.cmp td,.cmp th{text-align:left;vertical-align:top;font-size:.92rem}.cmp td{"
    "max-width:32ch;overflow-wrap:anywhere;white-space:normal}.cmp tbody th{font-size:.92rem}.runs "
    "td{white-space:nowrap}.runs td:nth-child(2){white-space:normal;min-width:14ch}.diff>*{"
    "background:var(--warn)}.diff th{padding-left:8px}summary{cursor:pointer;color:var(--soft);margin:.8em 0}"
    "tbody tr:last-child>*{border-bottom:0}td,th{padding-right:22px}@media(max-width:480px){main{"
    "padding:16px 12px 40px}.chart{padding:10px 8px 8px 10px}.area{margin-left:65px;margin-right:10px}}"
    "@media print{.chart{break-inside:avoid}.scroll{width:fit-content;max-width:100%}.legend{position:static}}"
    "\n";

/* Read-out under the pointer. Without it everything is visible all the same. */
static const char script[] =
    "(function(){var m=document.querySelector('main'),x0=+m.dataset.x0,x1=+m.dataset.x1,A=[];"
    "function num(v){var a=Math.abs(v);return a!==0&&(a<1e-3||a>=1e6)?v.toExponential(2):String(+v.toPrecision(4))}"
    "document.querySelectorAll('.area').forEach(function(e){var a={e:e,p:null,cur:document.createElement('span')};"
    "a.cur.className='cur';a.cur.hidden=true;e.appendChild(a.cur);A.push(a);"
    "function load(){a.p=[];e.querySelectorAll('.s').forEach(function(s){var n=(s.getAttribute('d').match(/-?\\d+/g)||"
    "[]).map(Number),q=[],x=0,y=0;for(var i=0;i+1<n.length;i+=2){x+=n[i];y+=n[i+1];q.push([x,y])}"
    "a.p.push({n:s.dataset.n,q:q,k:s.getAttribute('class')})})}"
    "function move(v){var r=e.getBoundingClientRect(),t=(v.clientX-r.left)/r.width;if(t<0||t>1)return leave();"
    "if(!a.p)load();A.forEach(function(b){b.cur.hidden=false;b.cur.style.left=100*t+'%'});"
    "if(!a.tip){a.tip=document.createElement('div');a.tip.className='tip';e.appendChild(a.tip)}"
    "a.tip.hidden=false;a.tip.textContent='step '+Math.round(x0+t*(x1-x0));"
    "a.tip.style.left=t<.5?'auto':'4px';a.tip.style.right=t<.5?'4px':'auto';"
    "a.p.forEach(function(s){var b=null,d=1e9;s.q.forEach(function(z){var g=Math.abs(z[0]-1920*t);if(g<d){d=g;b=z}});"
    "if(!b||d>40&&s.q.length>60)return;var y0=+e.dataset.y0,y1=+e.dataset.y1,y=y1-b[1]/800*(y1-y0);"
    "if(e.dataset.log==='1')y=Math.pow(10,y);var o=document.createElement('div');o.className=s.k.match(/c\\d/)[0];"
    "o.textContent=(s.n?s.n+' ':'')+'\\u2248 '+num(y);a.tip.appendChild(o)})}"
    "function leave(){A.forEach(function(b){b.cur.hidden=true;if(b.tip)b.tip.hidden=true})}"
    "e.addEventListener('pointermove',move);e.addEventListener('pointerdown',move);"
    "e.addEventListener('pointerleave',leave)})})();";

static const plot_chart charts[] = {
    {"Total loss",
     "L<sub>total</sub>",
     "loss",
     "What training brings down; a curve that is flat at the end has had enough epochs.",
     {PLOT_LOSS, 0},
     {0},
     1,
     false},
    {"Detector loss",
     "L<sub>AD</sub>",
     "loss",
     "Weighted below unweighted: doubtful patches count for less.",
     {PLOT_LOSS_AD, PLOT_LOSS_WEIGHTED},
     {"unweighted", "weighted"},
     1,
     false},
    {"Contrastive loss",
     "L<sub>nn</sub>",
     "loss",
     "Falls while a patch becomes more like its nearest neighbours than like the rest.",
     {PLOT_LOSS_CONTRAST, 0},
     {0},
     1,
     false},
    {"Weight decay",
     "λ‖θ‖²",
     "loss",
     "Small beside the total loss, or the decay rules the training.",
     {PLOT_LOSS_DECAY, 0},
     {0},
     1,
     false},
    {"Support and query",
     "L<sub>AD</sub>",
     "loss",
     "Support before the inner steps, query after them; query far above support is overfitting to a task.",
     {PLOT_SUPPORT_AD, PLOT_LOSS_AD},
     {"support", "query"},
     1,
     false},
    {"Mean weight",
     "w",
     "weight",
     "1: every patch counts fully; near 0: most of the data is distrusted.",
     {PLOT_MEAN_WEIGHT, 0},
     {0},
     1,
     false},
    {"Doubted patches",
     "w &lt; 1",
     "%",
     "Share of patches that count for less than one; a few per cent on clean photos.",
     {PLOT_SHARE_BELOW_ONE, 0},
     {0},
     100,
     false},
    {"Spread of the losses",
     "det Σ",
     "det Σ",
     "How unsteady support and query loss were over the last pairs; 0 until enough are known.",
     {PLOT_DET_SIGMA, 0},
     {0},
     1,
     false},
    {"Regularisation",
     "λ/λ₀",
     "ratio",
     "1: the decay as set; higher: more of it, because losses were unsteady.",
     {PLOT_LAMBDA_RATIO, 0},
     {0},
     1,
     false},
    {"Inner step",
     "‖θ′−θ‖/‖θ‖",
     "ratio",
     "How far a task moves the parameters: too small teaches nothing, jumps mean "
     "too large a rate.",
     {PLOT_INNER_SHIFT, 0},
     {0},
     1,
     false},
    {"Support loss drop",
     "before − after",
     "loss",
     "What the inner steps gain on their own task; below 0 they do harm.",
     {PLOT_SUPPORT_DROP, 0},
     {0},
     1,
     false},
    {"Exact and first-order gradient",
     "cosine",
     "cosine",
     "1: the second-order term changes nothing; the lower, the more it turns the meta-gradient.",
     {PLOT_META_COSINE, 0},
     {0},
     1,
     false},
    {"Gradient norms",
     "‖g‖",
     "norm",
     "Logarithmic. Sudden jumps announce divergence, a steady fall the end of learning.",
     {PLOT_GRADIENT_ADAPTOR, PLOT_GRADIENT_DISCRIMINATOR},
     {"adaptor", "discriminator"},
     1,
     true},
    {"Images a second",
     "",
     "images/s",
     "Dips are other work on the machine, or features that were not stored yet.",
     {PLOT_IMAGES_PER_SECOND, 0},
     {0},
     1,
     false},
};
enum { CHARTS = sizeof charts / sizeof *charts };

/* ---- top ------------------------------------------------------------------------------------------------------------ */

static void print_warnings(const plot_set *set, FILE *f)
{
    for (size_t i = 0; i < set->count; i++) {
        const plot_log *log = &set->logs[i];
        if (log->bad_lines > 0) {
            (void)fputs("<p class=\"card warn\"><strong>", f);
            report_put_text(f, log->name);
            (void)fprintf(f, ": %zu %s left out.</strong> Line %zu ", log->bad_lines,
                          log->bad_lines == 1 ? "line was" : "lines were", log->first_bad);
            report_put_text(f, log->first_problem);
            (void)fputs(log->bad_lines == 1 ? ".</p>\n" : "; it is the first of them.</p>\n", f);
        }
        if (log->restarts > 0) {
            (void)fputs("<p class=\"soft\">", f);
            report_put_text(f, log->name);
            (void)fprintf(f, " was resumed (%zu ×); %zu steps that were done again are shown once.</p>\n",
                          log->restarts, log->replaced);
        }
    }
}

static void print_top(const plot_set *set, FILE *f)
{
    (void)fputs("<h1>Training curves</h1>\n", f);
    if (set->count == 1) {
        (void)fputs("<p>", f);
        report_put_text(f, set->logs[0].path);
        (void)fputs("</p>\n", f);
    }
    print_warnings(set, f);
}

static void print_legend(const plot_set *set, FILE *f)
{
    if (set->count < 2) return;
    (void)fputs("<p class=\"key legend\">", f);
    for (size_t i = 0; i < set->count; i++) {
        (void)fprintf(f, "<span><span class=\"dot b%zu\"></span>", i);
        report_put_text(f, set->logs[i].name);
        (void)fputs("</span>", f);
    }
    (void)fputs("</p>\n", f);
}

/* ---- facts of the runs ---------------------------------------------------------------------------------------------- */

static void put_duration(double seconds, FILE *f)
{
    if (!(seconds >= 0 && seconds < 1e9)) {
        (void)fputs("–", f);
    } else if (seconds < 100) {
        (void)fprintf(f, "%.3g s", seconds);
    } else if (seconds < 5970) {
        (void)fprintf(f, "%d min %02d s", (int)seconds / 60, (int)seconds % 60);
    } else {
        (void)fprintf(f, "%d h %02d min", (int)(seconds / 3600), (int)seconds / 60 % 60);
    }
}

/* Seconds since 1970, or a text. */
static void put_time(const json_t *value, FILE *f)
{
    const double seconds = json_is_number(value) ? json_number_value(value) : -1;
    char text[40];
    struct tm when;
    const time_t whole = seconds >= 0 && seconds < 2e11 ? (time_t)seconds : -1;
    if (whole >= 0 && gmtime_r(&whole, &when) != NULL && strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &when) > 0)
        (void)fputs(text, f);
    else
        plot_put_value(value, f);
}

static void put_status(const plot_log *log, FILE *f)
{
    const json_t *status = json_object_get(log->end, "status"), *message = json_object_get(log->end, "message");
    if (status != NULL) {
        plot_put_value(status, f);
        if (message != NULL) (void)fputs(": ", f);
        if (message != NULL) plot_put_value(message, f);
    } else
        (void)fputs(log->partial ? "being written" : log->end != NULL ? "ended" : "no end: running, or cut off", f);
}

static void put_steps(const plot_log *log, FILE *f)
{
    const double last = plot_last(log, PLOT_STEP), all = plot_last(log, PLOT_STEPS);
    (void)fprintf(f, "%.0f", last + 1);
    if (all >= 1) (void)fprintf(f, " of %.0f", all);
}

typedef enum fact { STATUS, DURATION, STEPS, EPOCHS, STARTED, BACKBONE, VERSION, MODEL, FACTS } fact;
static const char *const fact_names[] = {"Status",  "Duration", "Steps",   "Epochs",
                                         "Started", "Backbone", "Version", "Model"};

static void put_fact(const plot_log *log, fact which, FILE *f)
{
    const double seconds = json_number_value(json_object_get(log->end, "seconds"));
    switch (which) {
    case STATUS:
        put_status(log, f);
        break;
    case DURATION:
        put_duration(seconds > 0 ? seconds : plot_last(log, PLOT_SECONDS), f);
        break;
    case STEPS:
        put_steps(log, f);
        break;
    case EPOCHS:
        (void)fprintf(f, "%.0f", log->rows[log->count - 1].value[PLOT_EPOCH] + 1);
        break;
    case STARTED:
        put_time(json_object_get(log->start, "time"), f);
        break;
    case BACKBONE:
        plot_put_value(json_object_get(log->start, "backbone"), f);
        break;
    case VERSION:
        plot_put_value(json_object_get(log->start, "version"), f);
        break;
    default:
        plot_put_value(json_object_get(log->end, "model"), f);
        break;
    }
}

static void print_facts(const plot_set *set, FILE *f)
{
    if (set->count == 1) {
        (void)fputs("<dl class=\"card\">\n", f);
        for (fact which = 0; which < FACTS; which++) {
            (void)fprintf(f, "<div><dt>%s</dt><dd>", fact_names[which]);
            put_fact(&set->logs[0], which, f);
            (void)fputs("</dd></div>\n", f);
        }
        (void)fputs("</dl>\n", f);
        return;
    }
    (void)fputs(
        "<h2>Runs</h2>\n<div class=\"card scroll\"><table class=\"cmp runs\">\n<thead><tr><th scope=\"col\">Log</th>",
        f);
    for (fact which = 0; which < FACTS; which++) (void)fprintf(f, "<th scope=\"col\">%s</th>", fact_names[which]);
    (void)fputs("</tr></thead>\n<tbody>\n", f);
    for (size_t i = 0; i < set->count; i++) {
        (void)fprintf(f, "<tr><th scope=\"row\"><span class=\"dot b%zu\"></span>", i);
        report_put_text(f, set->logs[i].name);
        (void)fputs("</th>", f);
        for (fact which = 0; which < FACTS; which++) {
            (void)fputs("<td>", f);
            put_fact(&set->logs[i], which, f);
            (void)fputs("</td>", f);
        }
        (void)fputs("</tr>\n", f);
    }
    (void)fputs("</tbody></table></div>\n", f);
}

/* ---- figures -------------------------------------------------------------------------------------------------------- */

static void put_figure(double value, FILE *f)
{
    char text[32] = "–";
    if (!isnan(value)) (void)snprintf(text, sizeof text, "%.4g", value);
    (void)fprintf(f, "<td>%s</td>", text);
}

static void print_figure_row(const plot_set *set, const plot_chart *c, size_t quantity, double *scratch, FILE *f)
{
    const plot_field field = c->fields[quantity];
    (void)fprintf(f, "<tr><th scope=\"row\">%s%s%s%s</th>", c->title, c->labels[0] != NULL ? ", " : "",
                  c->labels[0] != NULL ? c->labels[quantity] : "", strcmp(c->unit, "%") == 0 ? ", %" : "");
    for (size_t i = 0; i < set->count; i++) {
        const plot_log *log = &set->logs[i];
        if (set->count == 1) put_figure(c->scale * plot_median(log, field, 0, scratch), f);
        put_figure(c->scale * plot_median(log, field, 0.1, scratch), f);
        if (set->count == 1) put_figure(c->scale * plot_median(log, field, 1, scratch), f);
    }
    (void)fputs("</tr>\n", f);
}

static cz_status print_figures(const plot_set *set, FILE *f)
{
    size_t longest = 1;
    for (size_t i = 0; i < set->count; i++) longest = set->logs[i].count > longest ? set->logs[i].count : longest;
    double *scratch = malloc(longest * sizeof *scratch);
    if (scratch == NULL) return cz_source_error(CZ_E_MEMORY, "the page: out of memory");
    (void)fputs("<h2>Figures</h2>\n<div class=\"card scroll\"><table>\n<thead><tr><th scope=\"col\">Quantity</th>", f);
    if (set->count == 1)
        (void)fputs("<th scope=\"col\">Last step</th><th scope=\"col\">Last tenth</th><th scope=\"col\">Whole run</th>",
                    f);
    for (size_t i = 0; i < set->count && set->count > 1; i++) {
        (void)fprintf(f, "<th scope=\"col\"><span class=\"dot b%zu\"></span>", i);
        report_put_text(f, set->logs[i].name);
        (void)fputs("</th>", f);
    }
    (void)fputs("</tr></thead>\n<tbody>\n", f);
    bool shown[PLOT_FIELDS] = {false}; /* a quantity of two charts has one row */
    for (size_t c = 0; c < CHARTS; c++)
        for (size_t q = 0; q < (charts[c].labels[0] != NULL ? 2u : 1u); q++) {
            const plot_field field = charts[c].fields[q];
            if (!shown[field] && plot_chart_has_values(&charts[c], set->logs, set->count))
                print_figure_row(set, &charts[c], q, scratch, f);
            shown[field] = true;
        }
    (void)fprintf(f, "</tbody></table></div>\n<p class=\"soft\">%s</p>\n",
                  set->count == 1 ? "Medians; a dash: not measured there."
                                  : "Medians of the last tenth of the steps; a dash: not measured there.");
    free(scratch);
    return CZ_OK;
}

/* ---- curves --------------------------------------------------------------------------------------------------------- */

static void print_how(const plot_set *set, const plot_axis *axis, FILE *f)
{
    (void)fputs("<p class=\"soft\">Across: steps. ", f);
    if (axis->epoch_count > 0) {
        (void)fputs("Dotted lines mark epochs", f);
        if (set->count > 1) {
            (void)fputs(" of ", f);
            report_put_text(f, axis->longest->name);
        }
        (void)fputs(". ", f);
    }
    (void)fputs(
        plot_chart_shows_steps(set->count)
            ? "Thin: single steps, the smallest and the largest where many share a column. Thick: their running "
              "median over a fortieth of the run. "
            : "Lines: running medians over a fortieth of the run. ",
        f);
    (void)fputs("Vertical axes start at 0 only where 0 is marked.</p>\n", f);
}

static cz_status print_curves(const plot_set *set, const plot_axis *axis, FILE *f)
{
    cz_status status = CZ_OK;
    print_how(set, axis, f);
    (void)fputs("<div class=\"charts\">\n", f);
    for (size_t c = 0; c < CHARTS && status == CZ_OK; c++)
        if (plot_chart_has_values(&charts[c], set->logs, set->count))
            status = plot_chart_print(&charts[c], axis, set->logs, set->count, f);
    (void)fputs("</div>\n", f);
    const char *before = "<p class=\"soft\">Not measured: ";
    for (size_t c = 0; c < CHARTS; c++) {
        if (plot_chart_has_values(&charts[c], set->logs, set->count)) continue;
        (void)fprintf(f, "%s%s", before, charts[c].title);
        before = ", ";
    }
    if (before[0] == ',') (void)fputs(".</p>\n", f);
    return status;
}

cz_status plot_page_print(const void *opaque, FILE *f)
{
    const plot_set *set = opaque;
    const plot_axis axis = plot_axis_make(set->logs, set->count);
    (void)fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
                "script-src 'unsafe-inline'\">\n<title>Training curves: ",
                f);
    for (size_t i = 0; i < set->count; i++) {
        if (i > 0) (void)fputs(", ", f);
        report_put_text(f, set->logs[i].name);
    }
    (void)fprintf(f, "</title>\n<style>\n%s%s</style>\n</head>\n<body>\n<main data-x0=\"%.17g\" data-x1=\"%.17g\">\n",
                  report_style(), style, axis.low, axis.high);
    print_top(set, f);
    print_facts(set, f);
    print_legend(set, f);
    cz_status status = print_curves(set, &axis, f);
    if (status == CZ_OK) status = print_figures(set, f);
    plot_print_config(set, f);
    plot_print_categories(set, f);
    (void)fprintf(f,
                  "<p class=\"soft\">Made by CoZAD %s. This page is one file and loads nothing from elsewhere.</p>\n",
                  cz_version());
    (void)fprintf(f, "</main>\n<script>%s</script>\n</body>\n</html>\n", script);
    return status;
}
