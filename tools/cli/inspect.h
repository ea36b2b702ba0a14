/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of cozad inspect. */
#ifndef INSPECT_H
#define INSPECT_H

#include "common.h"
#include "cozad/cozad_eval.h"
#include "inputs.h"
#include "report.h"

typedef struct inspect_row {
    cz_training_photo photo;
    bool suspect;
    char *file;            /* where its pixels were found; NULL: not looked for, or not there */
    report_thumbs *thumbs; /* NULL: none */
} inspect_row;

typedef struct inspect {
    const char *model_path;
    cz_model *model;
    inspect_row *rows; /* those trained on, the least trusted first; then those left out */
    size_t trained, excluded, suspects;
    bool estimated;
    double contamination;
    double distrust; /* suspects are those trusted less; 0: those that stand apart */
    size_t shown;    /* rows on the page */
} inspect;

/* All photos of the model, sorted. */
cz_status inspect_open(inspect *in);
void inspect_close(inspect *in);
/* "photos/a.png", or the first digits of its hash; control characters replaced. Buffer of 512. */
const char *inspect_name(const cz_training_photo *photo, char text[512]);

/* Looks for the rows that are shown, by their names and then below `folders`, by their pixels; scores those that are there and makes
 * their thumbnails. CZ_E_CANCELLED after ^C. */
cz_status inspect_pictures(inspect *in, const cli_list *folders, const cz_read_options *read,
                           const cz_session_options *session);
cz_status inspect_write_page(const inspect *in, const char *path);

#endif
