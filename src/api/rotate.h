/* SPDX-License-Identifier: Apache-2.0 */
/* The photos of a source, turned: few photos of a part seldom show it at every angle. */
#ifndef CZ_API_ROTATE_H
#define CZ_API_ROTATE_H

#include "util/status.h"

typedef struct cz_rotated {
    cz_image_source
        source; /* its ctx is this struct; (turns - 1) images a photo: image i is photo i / (turns - 1), turned
                               clockwise by 1 + i % (turns - 1) times 360 / turns degrees */
    const cz_image_source *all;
    size_t turns; /* >= 2 */
    cz_roi roi;
} cz_rotated;

/* Photos keep size and format. They turn about the middle of `roi`, of the whole photo where its width is 0; what a turn brings in
 * from outside the photo is its mirror image. Bilinear; a quarter turn of a square is exact. Photos of a size that cannot be held
 * twice are CZ_E_MEMORY. `all` must outlive `out`, and `out` must stay where it is. Nothing to free. */
cz_status cz_rotated_init(const cz_image_source *all, size_t turns, const cz_roi *roi, cz_rotated *out);

#endif
