/* SPDX-License-Identifier: Apache-2.0 */
/* The HTML page. Everything that comes from outside (paths, names) goes through put_text. */
#include "report_internal.h"

#include "cozad/cozad_io.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BINS = 60 };

static const char style[] =
    ":root{color-scheme:light dark;--bg:#f6f6f3;--card:#fff;--ink:#1d2023;--soft:#5d6369;--line:#dcdcd6;"
    "--normal:#2b6cb0;--bad:#c2410c;--warn:#fff4d6;--warnline:#e0b84a;--code:#eeeeea}\n"
    "@media (prefers-color-scheme:dark){:root{--bg:#141618;--card:#1e2124;--ink:#e8e8e4;--soft:#a0a6ac;--line:#34383d;"
    "--normal:#6aaaf0;--bad:#f0844c;--warn:#3a300f;--warnline:#8a6d1c;--code:#16181a}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);"
    "font:16px/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,\"DejaVu Sans\",sans-serif}\n"
    "main{max-width:1320px;margin:0 auto;padding:24px 20px 60px}h1{font-size:1.75rem;line-height:1.2;margin:.2em 0}"
    "h2{font-size:1.2rem;margin:2em 0 .6em}h3{font-size:1.05rem;margin:1.6em 0 .6em}p{max-width:75ch;margin:.5em 0}\n"
    ".soft{color:var(--soft)}.card{background:var(--card);border:1px solid var(--line);border-radius:10px;"
    "padding:14px 16px}.warn{background:var(--warn);border-color:var(--warnline);margin:1em 0;max-width:calc(75ch + "
    "34px)}\n"
    "dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(190px,1fr));gap:10px 24px;margin:0}"
    "dt{color:var(--soft);font-size:.82rem}dd{margin:0;overflow-wrap:anywhere}\n"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "th,td{padding:5px 18px 5px 0;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}"
    "th{font-weight:600;font-size:.85rem;color:var(--soft)}th:first-child,td:first-child{text-align:left}"
    "tbody th{color:var(--ink);font-size:1rem;font-weight:400}tr.mean>*{font-weight:600;border-bottom:0}\n"
    ".strips{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr));gap:14px}"
    ".strips h3{margin:0 0 .3em;font-size:.95rem}svg{display:block;width:100%;max-width:600px;height:auto}svg "
    "text{fill:var(--soft);"
    "font-size:11px}.n{fill:var(--normal)}.b{fill:var(--bad)}.u{fill:var(--soft)}.axis{stroke:var(--soft);stroke-width:"
    "1}"
    ".cut{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:4 3}\n"
    ".key{display:flex;flex-wrap:wrap;gap:6px 22px;align-items:center;font-size:.88rem;color:var(--soft);margin:.4em 0 "
    "1em}"
    ".dot{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em;vertical-align:-.06em}"
    ".ramp{display:inline-block;width:150px;height:.9em;border-radius:3px;vertical-align:-.1em;margin:0 .4em}\n"
    ".tools{display:flex;flex-wrap:wrap;gap:8px 22px;margin:0 0 1em}.tools[hidden]{display:none}select{font:inherit;"
    "padding:2px 6px;max-width:100%}\n"
    ".grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,300px),1fr));gap:14px}"
    "figure{margin:0;padding:10px}figure[hidden],section[hidden]{display:none}.wrong{border-color:var(--bad);"
    "box-shadow:0 0 0 1px var(--bad)}.pair{display:flex;gap:6px}.pair img{flex:1 1 0;min-width:0;width:50%;height:auto;"
    "border-radius:5px;background:var(--code)}.pair img:only-child{flex:0 1 auto;width:auto;max-width:100%}\n"
    "figcaption{font-size:.84rem;margin-top:8px;overflow-wrap:anywhere}.score{float:right;font-weight:600;"
    "font-variant-numeric:tabular-nums;margin-left:8px}.tag{font-weight:600}.tag.n{color:var(--normal)}"
    ".tag.b{color:var(--bad)}\n"
    "pre{background:var(--code);border:1px solid var(--line);border-radius:6px;padding:8px 12px;margin:.4em 0 1em;"
    "overflow-x:auto;font:13px/1.5 ui-monospace,Menlo,Consolas,\"DejaVu Sans Mono\",monospace}ol{padding-left:1.4em}"
    "li>p{margin:.2em 0}@media print{.tools{display:none}figure{break-inside:avoid}}\n";

static const char script[] =
    "(function(){var "
    "t=document.getElementById('tools'),c=document.getElementById('cat'),w=document.getElementById('wrong'),"
    "o=document.getElementById('count');if(!t)return;t.hidden=false;function f(){var n=0;"
    "document.querySelectorAll('section[data-cat]').forEach(function(s){var "
    "k=0,on=!c||c.value===''||s.dataset.cat===c.value;"
    "s.querySelectorAll('figure').forEach(function(i){var v=on&&(!w||!w.checked||i.classList.contains('wrong'));"
    "i.hidden=!v;if(v)k++});s.hidden=!k;n+=k});o.textContent=n+(n===1?' picture':' pictures')}"
    "if(c)c.onchange=f;if(w)w.onchange=f;f()})();";

/* ---- text ------------------------------------------------------------------------------------------------------- */

/* Bytes of the UTF-8 character at `s`, 0 where it is none (overlong forms and surrogates included). */
static size_t character(const unsigned char *s)
{
    if (s[0] < 0x80) return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf && (s[1] & 0xc0) == 0x80) return 2;
    if ((s[0] & 0xf0) == 0xe0 && (s[1] & 0xc0) == 0x80 && (s[2] & 0xc0) == 0x80)
        return (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ? 0 : 3;
    if (s[0] >= 0xf0 && s[0] <= 0xf4 && (s[1] & 0xc0) == 0x80 && (s[2] & 0xc0) == 0x80 && (s[3] & 0xc0) == 0x80)
        return (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f) ? 0 : 4;
    return 0;
}

/* Fit for text and for attributes in double quotes. Control characters and stray bytes become U+FFFD. */
static void put_bytes(FILE *f, const char *text, size_t length)
{
    const unsigned char *end = (const unsigned char *)text + length;
    for (const unsigned char *s = (const unsigned char *)text; s < end;) {
        size_t n = character(s);
        if (n == 0 || *s == 0x7f || (*s < 0x20 && *s != '\n' && *s != '\t'))
            (void)fputs("\xef\xbf\xbd", f);
        else if (*s == '&')
            (void)fputs("&amp;", f);
        else if (*s == '<')
            (void)fputs("&lt;", f);
        else if (*s == '>')
            (void)fputs("&gt;", f);
        else if (*s == '"')
            (void)fputs("&quot;", f);
        else if (*s == '\'')
            (void)fputs("&#39;", f);
        else
            (void)fwrite(s, 1, n, f);
        s += n ? n : 1;
    }
}

static void put_text(FILE *f, const char *text)
{
    put_bytes(f, text, strlen(text));
}

/* A path may break behind its slashes. */
static void put_path(FILE *f, const char *path)
{
    for (const char *slash; (slash = strchr(path, '/')) != NULL; path = slash + 1) {
        put_bytes(f, path, (size_t)(slash - path));
        (void)fputs("/<wbr>", f);
    }
    put_text(f, path);
}

static void put_base64(FILE *f, const char *bytes, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *b = (const unsigned char *)bytes;
    for (size_t i = 0; i < size; i += 3) {
        unsigned v =
            (unsigned)b[i] << 16 | (i + 1 < size ? (unsigned)b[i + 1] << 8 : 0) | (i + 2 < size ? b[i + 2] : 0U);
        char out[4] = {digits[v >> 18], digits[v >> 12 & 63], i + 1 < size ? digits[v >> 6 & 63] : '=',
                       i + 2 < size ? digits[v & 63] : '='};
        (void)fwrite(out, 1, 4, f);
    }
}

static void put_share(FILE *f, double value)
{
    if (isnan(value))
        (void)fputs("<td>–</td>", f);
    else
        (void)fprintf(f, "<td>%.1f %%</td>", 100 * value);
}

void report_put_text(FILE *f, const char *text)
{
    put_text(f, text);
}

const char *report_style(void)
{
    return style;
}

static const char *category_title(const report *r, size_t category)
{
    return r->categories[category][0] ? r->categories[category] : "Pictures";
}

static bool any_label(const report *r)
{
    for (size_t i = 0; i < r->score_count; i++)
        if (r->scores[i].label >= 0) return true;
    return false;
}

/* ---- parts of the page ------------------------------------------------------------------------------------------ */

static void print_top(const report *r, FILE *f)
{
    (void)fputs("<header>\n<h1>", f);
    put_text(f, r->title);
    (void)fputs("</h1>\n", f);
    if (r->lead && r->lead[0]) {
        (void)fputs("<p>", f);
        put_text(f, r->lead);
        (void)fputs("</p>\n", f);
    }
    if (r->random) {
        (void)fputs(
            "<p class=\"card warn\"><strong>Random weights: a demonstration, not a measure of quality.</strong> "
            "The network behind this page (",
            f);
        put_text(f, r->backbone ? r->backbone : "");
        (void)fputs(") has never seen a photo. Take one with trained weights for real work.</p>\n", f);
    }
    (void)fputs("</header>\n", f);
}

static void print_fact(FILE *f, const char *name, const char *value)
{
    (void)fputs("<div><dt>", f);
    put_text(f, name);
    (void)fputs("</dt><dd>", f);
    put_text(f, value);
    (void)fputs("</dd></div>\n", f);
}

static void print_facts(const report *r, FILE *f)
{
    (void)fputs("<dl class=\"card\">\n", f);
    if (r->backbone) {
        (void)fputs("<div><dt>Backbone</dt><dd>", f);
        put_text(f, r->backbone);
        (void)fputs(r->random ? " (random weights)</dd></div>\n" : "</dd></div>\n", f);
    }
    for (size_t i = 0; i < r->fact_count; i++) print_fact(f, r->facts[i].name, r->facts[i].value);
    char number[32];
    (void)snprintf(number, sizeof number, "%zu", r->score_count);
    print_fact(f, "Pictures scored", number);
    (void)fputs("</dl>\n", f);
}

static void print_metrics(const report *r, FILE *f)
{
    if (r->row_count == 0) return;
    (void)fputs("<h2>Figures</h2>\n<div class=\"card scroll\"><table>\n<thead><tr><th scope=\"col\">Category</th>"
                "<th scope=\"col\">Image AUROC</th><th scope=\"col\">Pixel AUROC</th><th scope=\"col\">Normal</th>"
                "<th scope=\"col\">Anomalous</th></tr></thead>\n<tbody>\n",
                f);
    for (size_t i = 0; i < r->row_count; i++) {
        const report_row *row = &r->rows[i];
        (void)fprintf(f, "<tr%s><th scope=\"row\">", strcmp(row->category, "mean") == 0 ? " class=\"mean\"" : "");
        put_text(f, row->category);
        (void)fputs("</th>", f);
        put_share(f, row->image_auroc);
        put_share(f, row->pixel_auroc);
        (void)fprintf(f, "<td>%zu</td><td>%zu</td></tr>\n", row->normal, row->anomalous);
    }
    (void)fputs(
        "</tbody></table></div>\n<p class=\"soft\">AUROC: the chance that a random anomalous picture (or pixel) "
        "scores above a random normal one. 50 % is guessing, 100 % is perfect.</p>\n",
        f);
}

typedef struct histogram {
    double low, high;
    size_t counts[3][BINS], total[3]; /* unknown, normal, anomalous */
    size_t tallest;
} histogram;

static void count_scores(const report *r, size_t category, histogram *h)
{
    *h = (histogram){.low = INFINITY, .high = -INFINITY};
    for (size_t i = 0; i < r->score_count; i++) {
        if (r->scores[i].category != category) continue;
        h->low = fmin(h->low, r->scores[i].value);
        h->high = fmax(h->high, r->scores[i].value);
    }
    double range = h->high - h->low;
    for (size_t i = 0; i < r->score_count; i++) {
        const report_score *s = &r->scores[i];
        if (s->category != category) continue;
        size_t kind = s->label < 0 ? 0 : s->label == 0 ? 1 : 2;
        double at = range > 0 ? (s->value - h->low) / range * BINS : 0;
        size_t bin = at >= BINS ? BINS - 1 : (size_t)at;
        h->total[kind]++;
        size_t n = ++h->counts[kind][bin];
        if (n > h->tallest) h->tallest = n;
    }
}

static void print_bars(FILE *f, const size_t *counts, double unit, bool downwards, const char *class)
{
    for (size_t b = 0; b < BINS; b++) {
        if (counts[b] == 0) continue;
        double tall = (double)counts[b] * unit;
        (void)fprintf(f, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"6\" height=\"%.1f\" rx=\"1\"/>", class,
                      10 + 7.0 * (double)b + 0.5, downwards ? 61.5 : 58.5 - tall, tall);
    }
}

/* Normal (or unlabelled) pictures grow upwards from the axis, anomalous ones hang below it. */
static void print_strip(const report *r, size_t category, FILE *f)
{
    histogram h;
    count_scores(r, category, &h);
    report_limit limit = report_find_limit(r, category);
    double unit = fmin(9.0, 46.0 / (double)(h.tallest ? h.tallest : 1)), range = h.high - h.low;
    (void)fputs("<div class=\"card\"><h3>", f);
    put_text(f, r->category_count > 1 ? category_title(r, category) : "All pictures");
    int base = h.total[2] ? 121 : 79; /* of the numbers */
    (void)fprintf(f, "</h3><svg viewBox=\"0 0 440 %d\" role=\"img\" aria-label=\"Distribution of scores: ", base + 5);
    if (h.total[1]) (void)fprintf(f, "%zu normal, ", h.total[1]);
    if (h.total[2]) (void)fprintf(f, "%zu anomalous, ", h.total[2]);
    if (h.total[0]) (void)fprintf(f, "%zu unlabelled, ", h.total[0]);
    (void)fprintf(f, "from %.4g to %.4g\">", h.low, h.high);
    print_bars(f, h.counts[0], unit, false, "u");
    print_bars(f, h.counts[1], unit, false, "n");
    print_bars(f, h.counts[2], unit, true, "b");
    (void)fputs("<line class=\"axis\" x1=\"10\" x2=\"430\" y1=\"60\" y2=\"60\"/>", f);
    (void)fprintf(f, "<text x=\"10\" y=\"%d\">%.4g</text><text x=\"430\" y=\"%d\" text-anchor=\"end\">%.4g</text>",
                  base, h.low, base, h.high);
    if (limit.known && range > 0 && limit.value >= h.low && limit.value <= h.high) {
        double x = 10 + 420 * (limit.value - h.low) / range;
        (void)fprintf(f, "<line class=\"cut\" x1=\"%.1f\" x2=\"%.1f\" y1=\"8\" y2=\"%d\"/>", x, x, base - 11);
        (void)fprintf(f, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.4g</text>", fmin(fmax(x, 90), 350), base,
                      limit.value);
    }
    (void)fputs("</svg></div>\n", f);
}

static void print_distribution(const report *r, FILE *f)
{
    if (r->score_count == 0) return;
    bool labels = any_label(r);
    (void)fputs("<h2>Scores</h2>\n<p class=\"key\">", f);
    if (labels)
        (void)fputs("<span><span class=\"dot\" style=\"background:var(--normal)\"></span>normal, above the axis</span>"
                    "<span><span class=\"dot\" style=\"background:var(--bad)\"></span>anomalous, below it</span>",
                    f);
    (void)fputs("<span>Higher (to the right) is less like the training photos.</span>", f);
    if (r->has_threshold)
        (void)fprintf(f, "<span>Dashed: the threshold, %.4g.</span>", r->threshold);
    else if (labels)
        (void)fputs(
            "<span>Dashed: the cut with the best F1, found <em>with</em> the labels; a cut for production comes from "
            "normal photos alone.</span>",
            f);
    (void)fputs("</p>\n<div class=\"strips\">\n", f);
    for (size_t c = 0; c < r->category_count; c++) print_strip(r, c, f);
    (void)fputs("</div>\n", f);
}

static void print_legend(const report *r, FILE *f)
{
    bool overlays = false, labels = any_label(r);
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
    if (labels) (void)fputs("<span>White line: where the defect truly is</span>", f);
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
            put_text(f, category_title(r, c));
            (void)fputs("</option>", f);
        }
        (void)fputs("</select></label>\n", f);
    }
    if (wrong)
        (void)fputs("<label><input type=\"checkbox\" id=\"wrong\"> only those on the wrong side of the line</label>\n",
                    f);
    (void)fputs("<span class=\"soft\" id=\"count\" aria-live=\"polite\"></span>\n</div>\n", f);
}

static void print_image(const report_shown *s, const char *bytes, size_t size, const char *what, FILE *f)
{
    (void)fprintf(f, "<img width=\"%zu\" height=\"%zu\" alt=\"%s ", s->width, s->height, what);
    put_text(f, s->path);
    (void)fputs("\" src=\"data:image/jpeg;base64,", f);
    put_base64(f, bytes, size);
    (void)fputs("\">", f);
}

static void print_item(const report_shown *s, const report_limit *limit, FILE *f)
{
    bool wrong = report_is_wrong(limit, s->label, s->score);
    (void)fprintf(f, "<figure class=\"card%s\"><div class=\"pair\">", wrong ? " wrong" : "");
    print_image(s, s->photo, s->photo_size, "photo", f);
    if (s->overlay) print_image(s, s->overlay, s->overlay_size, "heat map over", f);
    (void)fprintf(f, "</div>\n<figcaption><span class=\"score\">%.4g</span>", s->score);
    if (s->label >= 0) {
        (void)fputs(s->label ? "<span class=\"tag b\">" : "<span class=\"tag n\">", f);
        put_text(f, s->label == 0 ? "normal" : s->note[0] ? s->note : "anomalous");
        (void)fputs("</span>", f);
        if (wrong) (void)fputs(s->label ? " · missed" : " · false alarm", f);
        (void)fputs("<br>", f);
    } else if (limit->known) {
        (void)fputs(s->score >= limit->value ? "<span class=\"tag b\">anomalous</span><br>"
                                             : "<span class=\"tag n\">normal</span><br>",
                    f);
    }
    (void)fputs("<span class=\"soft\">", f);
    put_path(f, s->path);
    (void)fputs("</span></figcaption></figure>\n", f);
}

static int by_shown_score(const void *a, const void *b)
{
    const report_shown *x = *(const report_shown *const *)a, *y = *(const report_shown *const *)b;
    if (x->score < y->score || x->score > y->score) return x->score < y->score ? 1 : -1;
    return strcmp(x->path, y->path);
}

static void print_category(const report *r, size_t category, const report_shown **sorted, FILE *f)
{
    report_limit limit = report_find_limit(r, category);
    (void)fprintf(f, "<section data-cat=\"%zu\">\n", category);
    if (r->category_count > 1) {
        (void)fputs("<h3>", f);
        put_text(f, category_title(r, category));
        (void)fputs("</h3>\n", f);
    }
    (void)fputs("<div class=\"grid\">\n", f);
    for (size_t i = 0; i < r->shown_count; i++)
        if (sorted[i]->category == category) print_item(sorted[i], &limit, f);
    (void)fputs("</div>\n</section>\n", f);
}

static void print_pictures(const report *r, FILE *f)
{
    (void)fputs("<h2>Pictures, highest score first</h2>\n", f);
    if (r->shown_count == 0) (void)fputs("<p>No picture was scored.</p>\n", f);
    if (r->score_count > r->shown_count)
        (void)fprintf(
            f,
            "<p>%zu of %zu pictures are shown; the other %zu, left out to keep the page small, are the normal or "
            "unlabelled ones of lowest score and, where defective ones fill half of the page, those of middling "
            "score.</p>\n",
            r->shown_count, r->score_count, r->score_count - r->shown_count);
    const report_shown **sorted = malloc((r->shown_count + 1) * sizeof *sorted);
    if (!sorted) {
        (void)fputs("<p>Left out: not enough memory.</p>\n", f);
        return;
    }
    bool wrong = false;
    for (size_t i = 0; i < r->shown_count; i++) sorted[i] = &r->shown[i];
    for (size_t c = 0; c < r->category_count; c++) wrong = wrong || (any_label(r) && report_find_limit(r, c).known);
    qsort(sorted, r->shown_count, sizeof *sorted, by_shown_score);
    print_legend(r, f);
    print_tools(r, wrong, f);
    for (size_t c = 0; c < r->category_count; c++) print_category(r, c, sorted, f);
    free(sorted);
}

static void print_steps(const report *r, FILE *f)
{
    if (r->step_count == 0) return;
    (void)fputs("<h2>What was done</h2>\n<ol>\n", f);
    for (size_t i = 0; i < r->step_count; i++) {
        (void)fputs("<li><p>", f);
        put_text(f, r->steps[i].name);
        (void)fputs("</p>", f);
        if (r->steps[i].value) {
            (void)fputs("<pre>", f);
            put_text(f, r->steps[i].value);
            (void)fputs("</pre>", f);
        }
        (void)fputs("</li>\n", f);
    }
    (void)fputs("</ol>\n", f);
}

static void print_own(const report *r, FILE *f)
{
    (void)fputs(
        "<h2>How to do it with your own photos</h2>\n<ol>\n"
        "<li><p>Put photos of good parts only, 30 or more, taken the way later ones will be, in one folder, and learn "
        "from them:</p><pre>cozad train --normal photos/good -o part.cozad</pre></li>\n"
        "<li><p>Score other photos; this writes a page like this one, and a heat map for each photo:</p>"
        "<pre>cozad score -m part.cozad photos/today --maps maps --overlay --report today.html</pre></li>\n"
        "<li><p>Look at the photos with the highest scores first. A score has no unit: it says how far the oddest "
        "spot of a photo is from all that was seen in training.</p></li>\n",
        f);
    if (r->random)
        (void)fputs("<li><p>For real use, take a network with trained weights; both commands accept "
                    "<code>--backbone</code> with a name or a file:</p><pre>cozad weights fetch wide_resnet50_2\n"
                    "cozad train --backbone wide_resnet50_2 --normal photos/good -o part.cozad</pre></li>\n",
                    f);
    (void)fputs("</ol>\n", f);
}

void report_print_page(const report *r, FILE *f)
{
    (void)fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
                "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n<title>",
                f);
    put_text(f, r->title);
    (void)fprintf(f, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n", style);
    print_top(r, f);
    print_facts(r, f);
    print_metrics(r, f);
    print_distribution(r, f);
    print_pictures(r, f);
    print_steps(r, f);
    print_own(r, f);
    (void)fprintf(f,
                  "<p class=\"soft\">Made by CoZAD %s. This page is one file and loads nothing from elsewhere.</p>\n",
                  cz_version());
    (void)fprintf(f, "</main>\n<script>%s</script>\n</body>\n</html>\n", script);
}
