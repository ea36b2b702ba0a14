/* SPDX-License-Identifier: Apache-2.0 */
/* From photos to patch features, as training and adapting need them: the features of all photos stay in a feature set, and
 * patches are pooled from it whenever they are asked for. */
#ifndef CZ_API_PATCHES_H
#define CZ_API_PATCHES_H

#include "api/feature_set.h"
#include "api/model.h"
#include "api/relate.h"
#include "features/descriptor.h"
#include "util/rng.h"

typedef struct cz_patch_options {
    cz_backbone *backbone;
    const cz_image_source *source;
    const char *taps;
    const cz_prep *prep;  /* must outlive the set */
    size_t width;         /* D of a patch */
    size_t neighbourhood; /* 3, or 1: cells a side; 0: 3 */
    size_t threads;       /* 0: all the process may use */
    cz_precision precision;
    const cz_quant *quant; /* for int8, else NULL */
    const cz_cache_options *cache;
    cz_progress_fn progress;
    cz_log_fn log;
    void *ctx;
} cz_patch_options;

/* Parts of a photo, as high as each other, that do not count for themselves where it is the only one. */
#define CZ_OWN_STRIPS ((size_t)8)

typedef struct cz_patch_set {
    cz_feature_set set;
    cz_extractor *extractor;
    cz_pooler *pooler;
    size_t neighbourhood;
    size_t grid, width; /* samples of a whole image (its patches), and their width D */
    double scale;       /* the features are multiplied by it; 1 until the caller sets it */
    size_t skipped;     /* photos that could not be read */
    cz_progress_fn progress;
    void *ctx;
    float *scratch;
    size_t *rows;              /* [P] places of the last photo's samples */
    cz_descriptor *descriptor; /* NULL: a sample is a patch; else it is an image (features/descriptor.h) */
    float *patches;            /* [P, D] of the image that is being described */
    const float *scales;       /* NULL: features are pooled; else they are relational numbers (api/relate.h): [2, D] */
    cz_feature_set related;    /* those numbers; empty without */
    size_t *own; /* of a bank that is these photos' patches (detector "knn"), else NULL: rows own[i] … own[i + 1] - 1
                                  are photo i's, [photos + 1]; of one photo alone strip i's, [CZ_OWN_STRIPS + 1] */
} cz_patch_set;

/* Computes (or finds in the feature store) the features of every photo of the source. */
cz_status cz_patch_set_create(const cz_patch_options *options, cz_patch_set *out);
void cz_patch_set_free(cz_patch_set *p);
/* From now on patches are made of so many cells a side, 3 or 1; grid and width stay as they are. */
cz_status cz_patch_set_use_neighbourhood(cz_patch_set *p, size_t neighbourhood);
/* From now on every image is one sample, its descriptor: grid is 1, width is the descriptor's. */
cz_status cz_patch_set_use_images(cz_patch_set *p);
/* From now on a patch's features are its relational numbers. scales: [2, width of those numbers], must outlive the set; `measure`
 * fills them in from these photos. */
cz_status cz_patch_set_use_relations(cz_patch_set *p, float *scales, bool measure);
/* All inspected patches of one photo; out: room for [grid, D]. Returns how many. OpenMP. */
size_t cz_patch_set_whole(cz_patch_set *p, size_t image, float *out);
/* How many patches `wanted` (0: all) means for one photo. */
size_t cz_patch_set_count(const cz_patch_set *p, size_t image, size_t wanted);
/* That many different inspected patches drawn with `rng`, in grid order; out: [cz_patch_set_count, D]. OpenMP. */
size_t cz_patch_set_sample(cz_patch_set *p, size_t image, size_t wanted, cz_rng *rng, float *out);
/* The inspected patches whose places among all inspected ones are which[0 … count - 1], ascending; out: [count, D]. Not for whole
 * images as samples. OpenMP. */
void cz_patch_set_pick(cz_patch_set *p, size_t image, const size_t *which, size_t count, float *out);
/* Root mean square of all features of all photos; features: scratch of [grid, D]. */
double cz_patch_set_rms(cz_patch_set *p, float *features);

/* The head's full pass at its parameters over all patches (running statistics, docs/math.md section 3; nothing for heads without
 * one), and the ends of its colour scale (cz_model_scale). features: scratch of [grid, D]. */
cz_status cz_patch_set_statistics(cz_patch_set *p, cz_model *model, float *features);
cz_status cz_patch_set_score_scale(cz_patch_set *p, cz_model *model, float *features);

/* Scores of a photo's patches as the last cz_patch_set_whole gave them, features [rows, D]: by the model, and where its bank holds
 * patches of the photo itself, by the others'. OpenMP. */
cz_status cz_patch_set_score(cz_patch_set *p, const cz_model *model, size_t image, const float *features, size_t rows,
                             float *scores);

/* Calls the progress callback; CZ_E_CANCELLED when it asks to stop. */
cz_status cz_patch_set_report(const cz_patch_set *p, const char *what, size_t done, size_t total, const char *detail);

#endif
