/* SPDX-License-Identifier: Apache-2.0 */
/* What photos of the products that a model has learnt from score: beyond it, a score of another product says little. */
#include "api/model.h"
#include "cozad/cozad_eval.h"
#include "util/alloc.h"

#include <math.h>
#include <stdlib.h>

/* Photos that a range is taken from at the least, and the share of them that lies in it. */
#define LEAST ((size_t)20)
static const double WITHIN = 0.99;

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int cz_model_source_range(const cz_model *model, double *low, double *high)
{
    if (model == NULL || low == NULL || high == NULL) return 0;
    const json_t *training = json_object_get(model->meta, "training");
    const size_t photos = cz_model_photos_count(model);
    if (json_array_size(json_object_get(training, "categories")) < 2 || photos < LEAST) return 0;
    if (json_object_get(model->meta, "adapted") != NULL) return 0; /* these are the scores of before */
    double *scores = cz_alloc_array(photos, sizeof *scores);
    size_t count = 0;
    for (size_t i = 0; scores != NULL && i < photos; i++) {
        cz_training_photo photo;
        if (cz_model_photo_at(model, i, &photo) == CZ_OK && !photo.excluded && isfinite(photo.score))
            scores[count++] = photo.score;
    }
    cz_error_clear(); /* a model without them has no range; that is no failure */
    if (count >= LEAST) {
        qsort(scores, count, sizeof *scores, ascending);
        const size_t beyond = (size_t)(0.5 * (1.0 - WITHIN) * (double)count);
        *low = scores[beyond];
        *high = scores[count - 1 - beyond];
    }
    cz_free(scores);
    return count >= LEAST;
}
