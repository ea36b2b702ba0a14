/* SPDX-License-Identifier: Apache-2.0 */
/* One self-contained HTML page about a run: figures with their intervals, curves, the distribution of scores, what a
 * threshold does, pictures sorted by score beside their heat maps, what was done and how to do it again. No script, style,
 * font or picture comes from elsewhere.
 *
 *   report_open → report_set_… in any order → report_add_item for each picture as it is scored → report_write → report_close
 *
 * Only small JPEGs are kept, of at most `max_shown` pictures; of the others the score alone. Curves, histograms and counts
 * are made from the scores and labels of all items and need no call of their own. */
#ifndef REPORT_H
#define REPORT_H

#include "cozad/cozad_eval.h"

#include <stdbool.h>

enum { REPORT_MAX_SHOWN = 400, REPORT_THUMB = 192 };

typedef struct report report;

typedef struct report_item {
    const char *path;
    double score;            /* finite; higher is more anomalous */
    int label;               /* -1 unknown, 0 normal, 1 anomalous */
    const char *category;    /* the product, as in the rows of figures; "" or NULL: none */
    const char *note;        /* the folder that names the defect, say; "" or NULL: none */
    const cz_image *photo;   /* any size, shrunk here */
    const cz_image *overlay; /* NULL: none; as the photo */
    const cz_image *truth;   /* NULL: none; GRAY8, pixels >= 128 are defective; its outline is drawn on the overlay */
} report_item;

typedef struct report_fact {
    const char *name, *value;
} report_fact;

/* One line of the table of figures. The mean over categories and all pictures pooled are set apart. */
typedef enum report_row_kind { REPORT_CATEGORY = 0, REPORT_MEAN = 1, REPORT_POOLED = 2 } report_row_kind;
typedef struct report_row {
    const char *name; /* of the category; NULL: "mean", "pooled" by its kind */
    cz_figures figures;
    report_row_kind kind;
} report_row;

/* `max_shown` 0: REPORT_MAX_SHOWN. */
cz_status report_open(size_t max_shown, report **out);
void report_close(report *r);
/* Texts are copied by all of these. `title` heads the page; `lead` is a paragraph under it and may be NULL. */
cz_status report_set_title(report *r, const char *title, const char *lead);
/* Shown at the top in the order given: model, data set, image size, date … Few and short. Replaces earlier ones. */
cz_status report_set_facts(report *r, const report_fact *facts, size_t count);
/* Shown at the end: all that is needed to have the same page again (hashes, layout, configuration, version, date). A fact
 * named "Command" is shown as typed. Replaces earlier ones. */
cz_status report_set_provenance(report *r, const report_fact *facts, size_t count);
/* Also states, where `random` is true, that random weights make the page a demonstration and not a measure of quality. */
cz_status report_set_backbone(report *r, const char *name, bool random);
/* A sentence in a box at the top: test photos that were trained on, photos that could not be read … */
cz_status report_add_warning(report *r, const char *text);
/* Categories first or last, in any order; mean and pooled may be absent. Values as computed: 0…1, NaN is "undefined". The
 * summary shows the mean and the pooled row, or the only category. Replaces earlier ones. */
cz_status report_set_figures(report *r, const report_row *rows, size_t count);
/* Defects found and false regions by size at the pixel threshold `threshold`. */
void report_set_regions(report *r, const cz_region_figures *regions, double threshold);
/* Raw values at both ends of the colour scale. Without it the legend has no numbers. */
void report_set_scale(report *r, double low, double high);
/* Scores above are called anomalous. `rule` (may be NULL) says where the threshold comes from: "at most 1 % false alarms
 * with 95 % confidence, from 299 normal photos". Without a threshold, and with labels, the one of best F1 is drawn for each
 * category, and the page says that it comes from the labels. */
cz_status report_set_threshold(report *r, double threshold, const char *rule);
/* One step of "What was done"; `command` (may be NULL) is shown as typed. */
cz_status report_add_step(report *r, const char *text, const char *command);
/* Encodes the thumbnails at once; nothing of `item` is needed afterwards. */
cz_status report_add_item(report *r, const report_item *item);
/* The same in two steps. The first takes the time, needs no report and can be done in several threads at once; in the second photo,
 * overlay and truth are not looked at any more, and the thumbnails are taken over, also on failure. */
typedef struct report_shown report_thumbs;
cz_status report_make_thumbs(const report_item *item, report_thumbs **out);
void report_free_thumbs(report_thumbs *thumbs);
cz_status report_add_made(report *r, const report_item *item, report_thumbs *thumbs);
/* To a temporary file beside `path`, then renamed: an earlier page stays whole on failure. A full disk is CZ_E_NO_SPACE. */
cz_status report_write(const report *r, const char *path);

#endif
