/* SPDX-License-Identifier: Apache-2.0 */
/* Heat maps, overlays and the page that score and eval write. */
#ifndef PICTURES_H
#define PICTURES_H

#include "inputs.h"
#include "report.h"

typedef struct pictures {
    const char *maps_dir; /* NULL: none */
    bool overlay;
    double low, high;              /* one colour scale for the whole run */
    report *page;                  /* NULL: none */
    char *map_path, *overlay_path; /* of the last image, "" when not written */
} pictures;

/* Refuses two inputs that would write the same file. */
cz_status pictures_check(const pictures *p, const input_list *list);
/* Writes what was asked for. `truth` may be NULL. result->map has the photo's size. */
cz_status pictures_add(pictures *p, const input *item, const cz_image *photo, const cz_result *result,
                       const cz_image *truth);
void pictures_free(pictures *p);
/* "LOW,HIGH" */
bool pictures_parse_range(const char *text, double *low, double *high);

#endif
