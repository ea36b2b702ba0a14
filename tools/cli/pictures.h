/* SPDX-License-Identifier: Apache-2.0 */
/* Heat maps, overlays and the page that score and eval write. */
#ifndef PICTURES_H
#define PICTURES_H

#include "inputs.h"
#include "report.h"

typedef struct pictures {
    const char *maps_dir; /* NULL: none */
    bool overlay;
    double low, high; /* one colour scale for the whole run */
    report *page;     /* NULL: none */
} pictures;

/* What was made of one photo. */
typedef struct picture_files {
    char *map, *overlay;   /* paths; NULL when not written */
    report_thumbs *thumbs; /* for the page */
} picture_files;
void picture_files_free(picture_files *files);

/* Refuses two inputs that would write the same file. */
cz_status pictures_check(const pictures *p, const input_list *list);
/* Writes what was asked for; several threads at once may, each its own photo. `truth` may be NULL. The map has the photo's size;
 * `session` makes its rows where result->map is NULL (map_rows.h). A file that cannot be written is CZ_E_NO_SPACE: not the photo's fault, and no other could be written either. `out` is empty before. */
cz_status pictures_make(const pictures *p, const input *item, const cz_image *photo, const cz_result *result,
                        cz_session *session, const cz_image *truth, picture_files *out);
/* Then, in the photos' order: to the page, where there is one. Empties `files` but for the paths. */
cz_status pictures_add(pictures *p, const input *item, double score, picture_files *files);
void pictures_free(pictures *p);
/* "LOW,HIGH" */
bool pictures_parse_range(const char *text, double *low, double *high);

#endif
