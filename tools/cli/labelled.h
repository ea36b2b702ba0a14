/* SPDX-License-Identifier: Apache-2.0 */
/* Photos that show a defect and the masks that say where, for training with --negatives labelled. */
#ifndef LABELLED_H
#define LABELLED_H

#include "inputs.h"

typedef struct labelled_source {
    const input_list *list;
    cz_picture *photos, *masks; /* [list->defect_count] those that are loaded */
    cz_read_options read;
    cz_image_source source; /* its ctx is this struct */
} labelled_source;

/* Over list->defects; both must stay where they are. */
cz_status labelled_open(const input_list *list, const cz_read_options *read, labelled_source *out);
void labelled_close(labelled_source *s);
/* Fills in what cz_train needs of them. */
void labelled_offer(labelled_source *s, cz_negatives_options *out);

#endif
