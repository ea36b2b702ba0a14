/* SPDX-License-Identifier: Apache-2.0 */
/* Training and adapting; a part of cozad.h, which includes it. */
#ifndef COZAD_COZAD_TRAIN_H
#define COZAD_COZAD_TRAIN_H

#include "cozad/cozad.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Names of the detectors that can be trained by gradients, "simplenet" first; NULL when `index` is out of range. */
CZ_API const char *cz_detector_name(size_t index);

/* Methods "cozad" and "comet" (docs/math.md sections 4 to 7): soft confident learning, contrastive learning, meta-learning. */
typedef struct cz_cozad_options {
    size_t struct_size;
    /* soft confident learning */
    int scl;                       /* 0: w = 1 and gamma = 0; 1 */
    int data_uncertainty;          /* weights w, Eq. 5 to 7; 1 */
    int model_uncertainty;         /* 0 is gamma = 0; Eq. 8 and 9; 1 */
    int hard_cl;                   /* w is 0 or 1 (Table 4); 0 */
    const char *confidence_unit;   /* "patch" or "image" */
    const char *weight_anchor;     /* "median", "min" or "none" (Eq. 5 as printed) */
    int weight_both;               /* w weighs all of L_AD; 0 */
    double weight_floor;           /* w_min, 1e-3 */
    size_t weight_window;          /* patch scores kept a category, 65536 */
    double kappa;                  /* Eq. 6, 1.5 */
    double gamma;                  /* Eq. 9, 1 */
    double lambda0;                /* Eq. 9, 5e-6 */
    size_t uncertainty_pairs;      /* n of Eq. 8, 10 */
    const char *uncertainty_scale; /* "relative" or "raw" */
    double det_max;                /* 100 */
    const char *decay;             /* ||theta||^2 over "matrices" or "all" */
    const char *loss_reduction;    /* "mean" or "sum" */
    /* contrastive learning */
    int contrast;            /* 1; "comet" has none whatever this says */
    double lambda_cont;      /* Eq. 4, 1 */
    size_t knn;              /* 5 */
    double temperature;      /* 0.1 */
    size_t contrast_chunk;   /* 256 */
    int contrast_literal;    /* the denominator of Eq. 2 as printed; 0 */
    const char *contrast_in; /* "both", "inner" or "outer" loops */
    /* meta-learning */
    int meta;                  /* 0: plain training on the union; 1 */
    const char *meta_gradient; /* "exact", "first-order" or "reptile" */
    size_t tasks;              /* T, 4 */
    size_t inner_steps;        /* S; 0: 1, reptile 5 */
    double inner_lr;           /* alpha, 3e-3 */
    double query_share;        /* 0.3 */
    int balance;               /* categories are drawn equally whatever their size; 1 */
} cz_cozad_options;
/* Fills in the defaults named above. */
CZ_API void cz_cozad_options_init(cz_cozad_options *options);

/* Detector "flow" (docs/math/flow.md). */
typedef struct cz_flow_options {
    size_t struct_size;
    const char
        *level;    /* what a sample is: "patch", or "image": one descriptor of the whole photo, a score without a map */
    size_t blocks; /* coupling blocks, 8 */
    size_t hidden; /* width of their subnets; 0: as many as dimensions */
    size_t project; /* dimensions that features are projected to, 256; 0, or as many as features have and more: none */
    double clamp;   /* largest |log scale| of a block, 1.9 */
    double lr;      /* 2e-4 */
} cz_flow_options;

/* Method "knn" (docs/math.md section 9): no training, a bank of patches of the photos themselves; a patch scores its distance to
 * the nearest of them. */
typedef struct cz_knn_options {
    size_t struct_size;
    size_t bank; /* patches at the most, 1 … 4194304; 10000. Fewer when there are not so many different ones */
    const char *
        select; /* of more than fit: "coreset", each next one as far as can be from those taken, or "random". A coreset is chosen
                           among a random 8 times as many, no more than 200000 */
    size_t
        rotations; /* every photo is there this many times, turned by 360 / rotations degrees each; 1 … 360; 1. About the middle
                           of the photo or its region. 0: 16 where 2 to 32 photos show parts that lie at any angle, else 1
                           (docs/math.md section 9). Other methods: 1; with an ignore_mask: 1 or 0 */
} cz_knn_options;

/* What one step of training did. A figure that was not measured in it is NaN. */
typedef struct cz_train_step {
    size_t struct_size;
    size_t epoch, step, steps; /* of this step, from 0; steps in all */
    double loss;               /* L_total of the query sets at the adapted parameters; plain training: of the batch */
    double loss_ad;            /* unweighted mean L_AD of the query sets */
    double loss_weighted;      /* its weighted L_AD */
    double loss_contrast;      /* before lambda_cont */
    double loss_decay;         /* lambda ||theta||^2 */
    double support_ad;         /* unweighted mean L_AD of the support sets before the inner loop */
    double mean_weight;        /* of support and query */
    double share_below_one;    /* patches with w < 1 */
    double det_sigma;          /* Eq. 8 */
    double lambda_ratio;       /* lambda / lambda0, Eq. 9 */
    double inner_shift;        /* |theta' - theta| / |theta|, mean over tasks */
    double support_drop;       /* L_total of a support set before minus after the inner loop; every 10th step */
    double meta_cosine;        /* of the exact and the first-order meta-gradient */
    double
        gradient_adaptor; /* Euclidean norm of the gradient's first group: SimpleNet's adaptor, all of other detectors */
    double gradient_discriminator; /* of the second, which not every detector has */
    double images_per_second, seconds, seconds_left;
} cz_train_step;
/* A non-zero return cancels the training (CZ_E_CANCELLED). */
typedef int (*cz_train_step_fn)(void *ctx, const cz_train_step *step);

/* A photo that a person has sorted out (docs/inspect.md). */
typedef struct cz_excluded_photo {
    const char *name;   /* what it was called when it was; NULL: unknown */
    uint8_t sha256[32]; /* cz_image_sha256 */
} cz_excluded_photo;

/* What a trained detector is shown as not normal (docs/zero-shot.md). Detector "simplenet". */
typedef struct cz_negatives_options {
    size_t struct_size;
    int noise;        /* 1: every patch's features with noise (Eq. 15) */
    size_t synthetic; /* so many copies of each photo with a drawn defect, 0 … 64; 0: none */
    /* Photos that show a defect, of any products, and where they show it; NULL: none. Their categories are those of the normal photos,
     * with as many of them; one without (or a photo that cannot be read) is left out. */
    const cz_image_source *labelled;
    /* The defect of photo `index`: GRAY8, >= 128 is defect, any size; `ctx` is labelled->ctx. `release_mask` may be NULL. Called from
     * several threads when labelled->concurrent. */
    cz_status (*mask)(void *ctx, size_t index, cz_image *out);
    void (*release_mask)(void *ctx, size_t index, cz_image *mask);
} cz_negatives_options;

typedef struct cz_train_options {
    size_t struct_size;
    /* A detector's name: plain training of it. "cozad": contrastive and soft confident learning and meta-learning around the
     * detector. "comet": the same without the contrastive term, for photos of which some may be defective. "knn": a bank of the
     * photos' patches in the place of training. "simplenet" */
    const char *method;
    const char *
        detector; /* cz_detector_name, or "knn" for that method; NULL: the one that the method names, else "simplenet" */
    const char *taps;                 /* "layer2,layer3" */
    size_t image_width, image_height; /* network input, 256 x 256 */
    cz_fit fit;
    size_t resize;               /* short side before the centre cut of CZ_FIT_CROP; 0: min(width, height) */
    cz_roi roi;                  /* stored in the model */
    const cz_image *ignore_mask; /* GRAY8; pixels >= 128 are not inspected; scaled to the region; NULL: none */
    size_t feature_width;        /* D; 0: cz_backbone_feature_width, 1536 for most weights */
    double feature_scale;        /* 0: as the backbone's metadata says (MATH.md section 2) */
    double feature_rms;          /* rho, 0.245 */
    size_t hidden_width;         /* K, 1024 */
    size_t epochs;               /* 40 */
    size_t batch;                /* images a step, for "cozad" images a task; 16 */
    size_t patches_per_image;    /* random patches an image an epoch; 0: all; 128 */
    double noise_std;            /* sigma of Eq. 15, 0.015 */
    double margin_positive, margin_negative; /* th+ 0.5, th- -0.5 (Eq. 16) */
    double lr_adaptor, lr_discriminator;     /* 1e-4, 2e-4 */
    int simplenet_compat;                    /* the public SimpleNet code's optimiser and biases */
    size_t top_k;                            /* image score = mean of the k largest patch scores; 1 */
    uint64_t seed;
    size_t threads; /* 0: all the process may use */
    cz_precision precision;
    cz_cache_options cache;
    cz_progress_fn progress;
    cz_log_fn log;
    void *ctx; /* of all callbacks */
    cz_cozad_options cozad;
    cz_train_step_fn step; /* NULL: none */
    /* A file that a stopped training can be resumed from: written every `checkpoint_every` steps (0: only when cancelled or
     * diverged) and removed by the caller once the model is safe. NULL: none. */
    const char *checkpoint;
    size_t checkpoint_every;
    int resume; /* go on from `checkpoint` when it is there: same options, photos and threads give the same model, bit for
                   bit. A checkpoint of other options or photos is CZ_E_MODEL. */
    size_t
        quantise_images; /* photos that the ranges for int8 are measured on, 32; 0: none, the model can be run in int8 only
                            if its weights have ranges inside */
    /* [excluded_count] photos that are left out of `images`, by their pixels; the model remembers them all, whether they were there or
     * not, so that the next training can leave them out again (cz_model_photo_at). */
    const cz_excluded_photo *excluded;
    size_t excluded_count;
    cz_flow_options flow; /* for detector "flow" */
    /* Only so many of the photos, drawn by `seed` and their names; more than there are is CZ_E_ARG. One that cannot be read is not
     * replaced. 0: all */
    size_t shots;
    cz_knn_options knn; /* for method "knn" */
    /* Cells a side that a patch's features are made of: 3, or 1, its own cell alone. 0: 3, for "knn" 1 where its photos show parts that
     * lie at any angle, as for rotations 0. 3 */
    size_t neighbourhood;
    /* What a patch is told by. "patch": its pooled features. "relational": 54 numbers (of two taps) that say how odd it is for its own
     * photo, which carry over to products that were never seen; for detectors that are trained (docs/zero-shot.md). "patch" */
    const char *descriptor;
    cz_negatives_options negatives; /* noise alone */
} cz_train_options;
/* Fills in the defaults named above. */
CZ_API void cz_train_options_init(cz_train_options *options);

/* Trains on normal images. CZ_E_NO_IMAGES when none could be read. Same seed, same thread count: same model, byte for
 * byte. */
CZ_API cz_status cz_train(cz_backbone *backbone, const cz_image_source *images, const cz_train_options *options,
                          cz_model **out);
typedef struct cz_adapt_options {
    size_t struct_size;
    size_t steps;             /* inner-loop steps, 0: the model's own inner_steps */
    double inner_lr;          /* 0: the model's own */
    size_t patches_per_image; /* a step; 0: all; 128 */
    uint64_t seed;
    size_t threads;
    cz_cache_options cache;
    cz_progress_fn progress;
    cz_log_fn log;
    void *ctx;
    cz_precision precision; /* CZ_PRECISION_MODEL */
} cz_adapt_options;
CZ_API void cz_adapt_options_init(cz_adapt_options *options);

/* Losses of the support set before and after. */
typedef struct cz_adapt_report {
    size_t images;
    double loss_before, loss_after; /* L_total */
    double ad_before, ad_after;     /* unweighted mean L_AD */
    double mean_weight;             /* after */
} cz_adapt_report;

/* Inner-loop steps (paper Eq. 11) of a trained model on a few photos of a new product, possibly contaminated; batch-norm
 * statistics are recomputed on them. `model` stays as it is. */
CZ_API cz_status cz_adapt(const cz_model *model, const cz_image_source *images, const cz_adapt_options *options,
                          cz_model **out, cz_adapt_report *report);

#ifdef __cplusplus
}
#endif

#endif
