/* SPDX-License-Identifier: Apache-2.0 */
/* The page of cozad inspect: for someone who knows the product and not the method. Everything from outside goes through
 * report_put_text. Without its script the page shows the same; decisions are then made in the table of --csv. */
#include "inspect.h"
#include "report_internal.h"

#include "cozad/cozad_io.h"

#include <math.h>
#include <string.h>

enum { TABLE_MOST = 2000 };

static const char own_style[] =
    ".bar{display:inline-block;width:90px;height:.7em;border:1px solid var(--soft);border-radius:3px;overflow:hidden;"
    "vertical-align:-.02em;margin-right:.5em}.bar i{display:block;height:100%;background:var(--normal);"
    "print-color-adjust:exact;-webkit-print-color-adjust:exact}.low .bar i{background:var(--bad)}"
    ".pick{display:flex;gap:.5em;align-items:center;margin-top:8px;padding:4px 0;font-size:.9rem;cursor:pointer}"
    ".pick[hidden]{display:none}figure.out{border-color:var(--bad);box-shadow:0 0 0 2px var(--bad)}"
    "textarea{width:100%;max-width:75ch;font:12.5px ui-monospace,Menlo,Consolas,\"DejaVu Sans Mono\",monospace;"
    "background:var(--code);color:var(--ink);border:1px solid var(--line);border-radius:6px;padding:8px}"
    "#save{display:inline-block;padding:6px 14px;border:1px solid var(--normal);border-radius:6px;margin:.4em 0}"
    "#decide[hidden]{display:none}.none{display:grid;place-items:center;min-height:120px;font-size:.85rem;"
    "color:var(--soft);border:1px dashed var(--line);border-radius:5px;padding:8px;text-align:center}"
    "td.name{white-space:normal;overflow-wrap:anywhere;max-width:60ch}caption{text-align:left;color:var(--soft);"
    "font-size:.88rem;padding-bottom:.4em}@media print{.pick,#decide{display:none}}\n";

/* Ticked photos become lines of a table that cozad train --exclude takes. */
static const char own_script[] =
    "(function(){var "
    "d=document.getElementById('decide'),t=document.getElementById('lines'),s=document.getElementById('save'),"
    "n=document.getElementById('ticked'),u;if(!d)return;d.hidden=false;"
    "var b=Array.prototype.slice.call(document.querySelectorAll('.pick input'));"
    "function q(x){return /[\",\\r\\n]/.test(x)?'\"'+x.replace(/\"/g,'\"\"')+'\"':x}"
    "function f(){var k=0,o='path,decision,sha256\\n';b.forEach(function(i){"
    "i.closest('figure').classList.toggle('out',i.checked);"
    "if(i.checked){k++;o+=q(i.dataset.path)+',exclude,'+i.dataset.sha+'\\n'}});"
    "t.value=o;n.textContent=k+(k===1?' photo':' photos')+' ticked';"
    "if(u)URL.revokeObjectURL(u);u=URL.createObjectURL(new Blob([o],{type:'text/csv'}));s.href=u}"
    "b.forEach(function(i){i.closest('.pick').hidden=false;i.onchange=f});f()})();";

static void put_percent(FILE *f, double share)
{
    const double percent = 100.0 * share;
    (void)fprintf(f, percent > 0.0 && percent < 10.0 ? "%.1f" : "%.0f", percent);
}

/* ---- top ---------------------------------------------------------------------------------------------------------- */

static void put_fact(FILE *f, const char *name, const char *value)
{
    (void)fprintf(f, "<div><dt>%s</dt><dd>", name);
    report_put_text(f, value);
    (void)fputs("</dd></div>\n", f);
}

static void print_facts(const inspect *in, FILE *f)
{
    char number[64];
    (void)fputs("<dl class=\"card\">\n", f);
    put_fact(f, "Model", in->model_path);
    (void)snprintf(number, sizeof number, "%zu", in->trained);
    put_fact(f, "Photos it learnt from", number);
    if (in->estimated) {
        (void)snprintf(number, sizeof number, "about %.3g %%", 100.0 * in->contamination);
    } else {
        (void)snprintf(number, sizeof number, "unknown: too few photos");
    }
    put_fact(f, "Stand apart from the others", number);
    (void)snprintf(number, sizeof number, "%zu", in->suspects);
    put_fact(f, "Suspects, marked below", number);
    if (in->excluded > 0) {
        (void)snprintf(number, sizeof number, "%zu", in->excluded);
        put_fact(f, "Left out by earlier decisions", number);
    }
    put_fact(f, "cozad", cz_version());
    (void)fputs("</dl>\n", f);
}

static void print_warnings(const inspect *in, FILE *f)
{
    size_t missing = 0;
    for (size_t i = 0; i < in->shown; i++) missing += in->rows[i].thumbs == NULL;
    if (strncmp(cz_backbone_name(cz_model_backbone(in->model)), "random:", 7) == 0) {
        (void)fputs("<p class=\"card warn\"><strong>Random weights: a demonstration.</strong> The network behind this "
                    "model has never seen a photo; what it distrusts means little.</p>\n",
                    f);
    }
    if (in->estimated && in->contamination > 0.25) {
        (void)fputs(
            "<p class=\"card warn\"><strong>Very many photos stand apart.</strong> When more than a quarter do, "
            "the model may have taken defects for normal, and the trusted photos may be the wrong ones. Look at "
            "photos from both ends of the table, or begin with a smaller set that you have sorted by hand.</p>\n",
            f);
    }
    if (missing > 0) {
        (void)fprintf(f,
                      "<p class=\"card warn\"><strong>%zu of %zu photos are not where they were.</strong> They are "
                      "listed without a picture. <code>--photos FOLDER</code> looks for them there by their pixels, "
                      "whatever they are called now.</p>\n",
                      missing, in->shown);
    }
}

static void print_words(const inspect *in, FILE *f)
{
    (void)fputs(
        "<h2 id=\"meaning\">What this page tells</h2>\n"
        "<p>A model learns what is normal from the photos it is given. A defective one among them teaches it something "
        "wrong. So for each photo it is asked, after learning: how well do even its oddest spots agree with "
        "what the other photos show? The answer is its <strong>trust</strong>. At 100 % no spot of it stands out; the "
        "lower "
        "it is, the more one does.</p>\n"
        "<p>Trust is a hint where to look, not a verdict. A rare but good part has low trust as well, and a defect "
        "that "
        "most photos share is trusted. A score has no unit; it only orders the photos.</p>\n"
        "<h2 id=\"next\">What to do next</h2>\n<ol>\n"
        "<li><p>Go through the pictures below from the top. Left is the photo, right the same with its odd spots "
        "coloured.</p></li>\n"
        "<li><p>Tick <em>leave out</em> where you see a defect, the wrong part, or a spoilt photo. Leave good parts "
        "in, "
        "odd ones too: the model has to know that they are good. Stop when you see only good parts.</p></li>\n"
        "<li><p>Save your decisions (at the end of the pictures) and train again as before, without those "
        "photos:</p><pre>cozad train --normal FOLDER ",
        f);
    if (in->excluded > 0) (void)fputs("--exclude OLD.cozad ", f); /* or earlier decisions would be forgotten */
    (void)fputs(
        "--exclude decisions.csv -o NEW.cozad</pre></li>\n"
        "<li><p>Look at the new model in the same way. It remembers what was left out; later trainings leave the same "
        "photos "
        "out with <code>--exclude NEW.cozad</code>, also when they have been renamed or moved.</p></li>\n</ol>\n",
        f);
}

/* ---- pictures ----------------------------------------------------------------------------------------------------- */

static void put_image(FILE *f, const report_thumbs *t, const char *bytes, size_t size, const char *what,
                      const char *name)
{
    (void)fprintf(f, "<img width=\"%zu\" height=\"%zu\" decoding=\"async\" alt=\"%s ", t->width, t->height, what);
    report_put_text(f, name);
    (void)fputs("\" src=\"data:image/jpeg;base64,", f);
    report_put_base64(f, bytes, size);
    (void)fputs("\">", f);
}

static void put_bar(FILE *f, double weight)
{
    (void)fprintf(f, "<span class=\"bar\" aria-hidden=\"true\"><i style=\"width:%.0f%%\"></i></span>", 100.0 * weight);
}

static void print_card(const inspect_row *row, size_t rank, FILE *f)
{
    char name[512];
    const cz_training_photo *p = &row->photo;
    const report_thumbs *t = row->thumbs;
    (void)inspect_name(p, name);
    (void)fprintf(f, "<figure class=\"card%s\">", row->suspect ? " low" : "");
    if (t != NULL) {
        (void)fputs("<div class=\"pair\">", f);
        put_image(f, t, t->photo, t->photo_size, "photo", name);
        if (t->overlay != NULL) put_image(f, t, t->overlay, t->overlay_size, "odd spots of", name);
        (void)fputs("</div>\n", f);
    } else {
        (void)fputs("<div class=\"none\">The photo was not found.</div>\n", f);
    }
    (void)fprintf(f, "<figcaption><span class=\"soft\">%zu.</span> ", rank);
    put_bar(f, p->weight);
    (void)fputs("<strong>trust ", f);
    put_percent(f, p->weight);
    (void)fputs(" %</strong>", f);
    if (row->suspect) (void)fputs(" <span class=\"tag b\">suspect</span>", f);
    (void)fputs("<br><span class=\"soft\">", f);
    put_percent(f, p->share_below_one);
    (void)fprintf(f, " %% of it is doubted · score %.4g<br>", p->score);
    report_put_path(f, name);
    if (row->file != NULL && (p->name == NULL || strcmp(row->file, p->name) != 0)) {
        (void)fputs("<br>now: ", f);
        report_put_path(f, row->file);
    }
    (void)fputs("</span>\n<label class=\"pick\" hidden><input type=\"checkbox\" data-sha=\"", f);
    report_put_text(f, p->sha256);
    (void)fputs("\" data-path=\"", f);
    report_put_text(f, p->name != NULL ? p->name : "");
    (void)fputs("\"> leave out</label></figcaption></figure>\n", f);
}

static void print_legend(FILE *f)
{
    (void)fputs(
        "<p class=\"key\"><span>Odd spots: as usual<span class=\"ramp\" role=\"img\" aria-label=\"colour scale, "
        "from usual to odd\" style=\"background:linear-gradient(90deg",
        f);
    for (int i = 0; i <= 16; i++) {
        uint8_t rgb[3];
        cz_overlay_colour(i / 16.0, rgb);
        (void)fprintf(f, ",#%02x%02x%02x", (unsigned)rgb[0], (unsigned)rgb[1], (unsigned)rgb[2]);
    }
    (void)fputs(
        ")\"></span>odd, the same for all pictures</span><span>With the keyboard: Tab goes from photo to photo, the "
        "space bar ticks</span></p>\n",
        f);
}

static void print_pictures(const inspect *in, FILE *f)
{
    (void)fputs("<h2 id=\"pictures\">Pictures, least trusted first</h2>\n", f);
    (void)fprintf(f, "<p>%zu of %zu photos%s</p>\n", in->shown, in->trained,
                  in->shown < in->trained ? ", those trusted least; <code>--top N</code> shows more." : ".");
    print_legend(f);
    (void)fputs("<section>\n<div class=\"grid\">\n", f);
    for (size_t i = 0; i < in->shown; i++) print_card(&in->rows[i], i + 1, f);
    (void)fputs("</div>\n</section>\n<div id=\"decide\" hidden>\n<h2 id=\"decisions\">Your decisions</h2>\n<p><strong "
                "id=\"ticked\" "
                "aria-live=\"polite\"></strong>. Ticks are gone when this page is closed: save them first.</p>\n"
                "<p><a id=\"save\" href=\"#decisions\" download=\"decisions.csv\">Save decisions.csv</a></p>\n"
                "<p><label for=\"lines\">Or copy it from here:</label></p>\n"
                "<textarea id=\"lines\" rows=\"6\" readonly spellcheck=\"false\"></textarea>\n</div>\n"
                "<noscript><p class=\"card warn\">Scripts are off, so there is nothing to tick with: <code>cozad "
                "inspect --csv</code> "
                "writes the table of decisions.</p></noscript>\n",
                f);
}

/* ---- table -------------------------------------------------------------------------------------------------------- */

static void print_table(const inspect *in, FILE *f)
{
    const size_t rows = in->trained < TABLE_MOST ? in->trained : TABLE_MOST;
    char name[512];
    (void)fputs("<h2 id=\"all\">All photos</h2>\n<div class=\"scroll\"><table class=\"sort\"><caption>", f);
    if (rows < in->trained) (void)fprintf(f, "The %zu trusted least of %zu. ", rows, in->trained);
    (void)fputs(
        "Doubted: share of the photo whose trust is below 100 %.</caption>\n<thead><tr><th scope=\"col\">photo</th>"
        "<th scope=\"col\">trust</th><th scope=\"col\">doubted</th><th scope=\"col\">score</th>"
        "<th scope=\"col\">suspect</th></tr></thead>\n<tbody>\n",
        f);
    for (size_t i = 0; i < rows; i++) {
        const inspect_row *row = &in->rows[i];
        (void)fputs("<tr><td class=\"name\">", f);
        report_put_path(f, inspect_name(&row->photo, name));
        (void)fprintf(f, "</td><td data-v=\"%.6g\">", row->photo.weight);
        put_percent(f, row->photo.weight);
        (void)fprintf(f, " %%</td><td data-v=\"%.6g\">", row->photo.share_below_one);
        put_percent(f, row->photo.share_below_one);
        (void)fprintf(f, " %%</td><td data-v=\"%.9g\">%.4g</td><td data-v=\"%d\">%s</td></tr>\n", row->photo.score,
                      row->photo.score, (int)row->suspect, row->suspect ? "yes" : "");
    }
    (void)fputs("</tbody></table></div>\n", f);
}

static void print_excluded(const inspect *in, FILE *f)
{
    enum { NAMED = 200 };
    char name[512];
    if (in->excluded == 0) return;
    (void)fprintf(f,
                  "<h2 id=\"excluded\">Left out by earlier decisions</h2>\n<p>%zu photo%s; a line with the decision "
                  "<code>keep</code> in a table for <code>--exclude</code> takes one back.</p>\n<ul>\n",
                  in->excluded, in->excluded == 1 ? "" : "s");
    for (size_t i = 0; i < in->excluded && i < NAMED; i++) {
        (void)fputs("<li>", f);
        report_put_path(f, inspect_name(&in->rows[in->trained + i].photo, name));
        (void)fputs("</li>\n", f);
    }
    (void)fputs("</ul>\n", f);
    if (in->excluded > NAMED) (void)fprintf(f, "<p>and %zu more</p>\n", in->excluded - NAMED);
}

/* ---- the whole ---------------------------------------------------------------------------------------------------- */

static cz_status print_page(const void *ctx, FILE *f)
{
    const inspect *in = ctx;
    (void)fputs(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n<title>Which photos to look at first</title>\n",
        f);
    (void)fprintf(f, "<style>\n%s%s%s</style>\n</head>\n<body>\n<main>\n<header>\n", report_style(), report_own_style(),
                  own_style);
    (void)fputs(
        "<h1>Which photos to look at first</h1>\n<p>The photos that a model was trained on, those that it trusts "
        "least at the top.</p>\n",
        f);
    print_warnings(in, f);
    (void)fputs("</header>\n", f);
    print_facts(in, f);
    (void)fputs(
        "<nav aria-label=\"Parts of this page\"><a href=\"#meaning\">What it tells</a><a href=\"#next\">What to "
        "do</a><a href=\"#pictures\">Pictures</a><a href=\"#all\">All photos</a>",
        f);
    if (in->excluded > 0) (void)fputs("<a href=\"#excluded\">Left out</a>", f);
    (void)fputs("</nav>\n", f);
    print_words(in, f);
    print_pictures(in, f);
    print_table(in, f);
    print_excluded(in, f);
    (void)fprintf(f,
                  "<p class=\"soft\">Made by CoZAD %s. This page is one file and loads nothing from elsewhere.</p>\n"
                  "</main>\n<script>%s\n%s</script>\n</body>\n</html>\n",
                  cz_version(), report_script(), own_script);
    return CZ_OK;
}

cz_status inspect_write_page(const inspect *in, const char *path)
{
    return report_replace(path, print_page, in);
}
