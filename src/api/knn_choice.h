/* SPDX-License-Identifier: Apache-2.0 */
/* What was left open for method "knn" and how it was decided (docs/math.md section 9). */
#ifndef CZ_API_KNN_CHOICE_H
#define CZ_API_KNN_CHOICE_H

#include <stdbool.h>

typedef struct cz_knn_choice {
    bool rotations, neighbourhood; /* these were open */
    double fall; /* of the photos' scores against each other with turned copies, at the most 1; NaN: not measured */
    const char *reason; /* why it was not; NULL: it was, or nothing was open */
} cz_knn_choice;

#endif
