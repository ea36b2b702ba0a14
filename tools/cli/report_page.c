/* SPDX-License-Identifier: Apache-2.0 */
/* The HTML page: its order, top and end. Everything that comes from outside (paths, names) goes through report_put_text. */
#include "report_internal.h"

#include <string.h>

static void print_top(const report *r, FILE *f)
{
    (void)fputs("<header>\n<h1>", f);
    report_put_text(f, r->title);
    (void)fputs("</h1>\n", f);
    if (r->lead && r->lead[0]) {
        (void)fputs("<p>", f);
        report_put_text(f, r->lead);
        (void)fputs("</p>\n", f);
    }
    if (r->random) {
        (void)fputs(
            "<p class=\"card warn\"><strong>Random weights: a demonstration, not a measure of quality.</strong> "
            "The network behind this page (",
            f);
        report_put_text(f, r->backbone ? r->backbone : "");
        (void)fputs(") has never seen a photo. Take one with trained weights for real work.</p>\n", f);
    }
    for (size_t i = 0; i < r->warning_count; i++) {
        (void)fputs("<p class=\"card warn\"><strong>Note.</strong> ", f);
        report_put_text(f, r->warnings[i].name);
        (void)fputs("</p>\n", f);
    }
    (void)fputs("</header>\n", f);
}

static void print_fact(FILE *f, const char *name, const char *value)
{
    (void)fputs("<div><dt>", f);
    report_put_text(f, name);
    (void)fputs("</dt><dd>", f);
    report_put_text(f, value);
    (void)fputs("</dd></div>\n", f);
}

static void print_facts(const report *r, FILE *f)
{
    (void)fputs("<dl class=\"card\">\n", f);
    if (r->backbone) {
        (void)fputs("<div><dt>Backbone</dt><dd>", f);
        report_put_text(f, r->backbone);
        (void)fputs(r->random ? " (random weights)</dd></div>\n" : "</dd></div>\n", f);
    }
    for (size_t i = 0; i < r->fact_count; i++) print_fact(f, r->facts[i].name, r->facts[i].value);
    char number[32];
    (void)snprintf(number, sizeof number, "%zu", r->score_count);
    print_fact(f, "Pictures scored", number);
    (void)fputs("</dl>\n", f);
}

/* Jumps to what is there. */
static void print_nav(const report *r, FILE *f)
{
    const report_confusion c = report_count(r, REPORT_ALL);
    const bool judged = report_is_judged(r);
    if (!judged && r->row_count == 0) return;
    (void)fputs("<nav aria-label=\"Parts of this page\">", f);
    (void)fputs("<a href=\"#summary\">Summary</a>", f);
    if (judged) (void)fputs("<a href=\"#threshold\">Threshold</a>", f);
    if (report_has_categories(r)) (void)fputs("<a href=\"#categories\">Categories</a>", f);
    if (c.count[0][0] + c.count[0][1] > 0 && c.count[1][0] + c.count[1][1] > 0)
        (void)fputs("<a href=\"#curves\">Curves</a>", f);
    (void)fputs("<a href=\"#scores\">Scores</a>", f);
    if (judged) (void)fputs("<a href=\"#mistakes\">Mistakes</a>", f);
    (void)fputs("<a href=\"#pictures\">Pictures</a>", f);
    if (r->provenance_count > 0) (void)fputs("<a href=\"#provenance\">Provenance</a>", f);
    (void)fputs("</nav>\n", f);
}

static void print_figures(const report *r, FILE *f)
{
    if (r->row_count == 0 && !report_is_judged(r)) return;
    (void)fputs("<h2 id=\"summary\">Summary</h2>\n<div class=\"two\">\n", f);
    report_print_summary(r, f);
    report_print_confusion(r, f);
    (void)fputs("</div>\n", f);
    report_print_categories(r, f);
    report_print_details(r, f);
}

static void print_provenance(const report *r, FILE *f)
{
    if (r->provenance_count == 0) return;
    (void)fputs("<h2 id=\"provenance\">Provenance</h2>\n<dl class=\"card prov\">\n", f);
    for (size_t i = 0; i < r->provenance_count; i++) {
        const report_line *line = &r->provenance[i];
        (void)fputs("<div><dt>", f);
        report_put_text(f, line->name);
        (void)fputs(strcmp(line->name, "Command") == 0 ? "</dt><dd class=\"cmd\"><code>" : "</dt><dd><code>", f);
        report_put_text(f, line->value);
        (void)fputs("</code></dd></div>\n", f);
    }
    (void)fputs("</dl>\n", f);
}

static void print_steps(const report *r, FILE *f)
{
    if (r->step_count == 0) return;
    (void)fputs("<h2>What was done</h2>\n<ol>\n", f);
    for (size_t i = 0; i < r->step_count; i++) {
        (void)fputs("<li><p>", f);
        report_put_text(f, r->steps[i].name);
        (void)fputs("</p>", f);
        if (r->steps[i].value) {
            (void)fputs("<pre>", f);
            report_put_text(f, r->steps[i].value);
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
    report_put_text(f, r->title);
    (void)fprintf(f, "</title>\n<style>\n%s%s</style>\n</head>\n<body>\n<main>\n", report_style(), report_own_style());
    print_top(r, f);
    print_facts(r, f);
    print_nav(r, f);
    print_figures(r, f);
    report_print_curves(r, f);
    report_print_distribution(r, f);
    report_print_mistakes(r, f);
    report_print_gallery(r, f);
    print_provenance(r, f);
    print_steps(r, f);
    if (r->row_count == 0) print_own(r, f);
    (void)fprintf(f,
                  "<p class=\"soft\">Made by CoZAD %s. This page is one file and loads nothing from elsewhere.</p>\n",
                  cz_version());
    (void)fprintf(f, "</main>\n<script>%s</script>\n</body>\n</html>\n", report_script());
}
