/* SPDX-License-Identifier: Apache-2.0 */
/* A source of photos without those that a person has sorted out. */
#ifndef CZ_API_EXCLUDE_H
#define CZ_API_EXCLUDE_H

#include "api/subset.h"

/* The photos of `all` but options->excluded, as cz_subset_create. Looks at the pixels of every photo; one that cannot be read
 * stays in: whoever asks for it next is told why. */
cz_status cz_exclude(const cz_image_source *all, const cz_train_options *options, cz_subset *out);

#endif
