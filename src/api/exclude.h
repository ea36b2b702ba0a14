/* SPDX-License-Identifier: Apache-2.0 */
/* A source of photos without those that a person has sorted out. */
#ifndef CZ_API_EXCLUDE_H
#define CZ_API_EXCLUDE_H

#include "util/status.h"

typedef struct cz_excluding {
    cz_image_source source; /* of the rest; its ctx is this struct */
    const cz_image_source *all;
    size_t *index;   /* [source.count] in `all` */
    size_t left_out; /* photos */
} cz_excluding;

/* Looks at the pixels of every photo of `all`, which must outlive `out`, and `out` must stay where it is. A photo that cannot be
 * read stays in: whoever asks for it next is told why. */
cz_status cz_excluding_create(const cz_image_source *all, const cz_train_options *options, cz_excluding *out);
void cz_excluding_free(cz_excluding *e);

#endif
