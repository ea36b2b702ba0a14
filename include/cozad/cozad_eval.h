/* SPDX-License-Identifier: Apache-2.0 */
/* CoZAD, measuring: data sets in their published layouts, metrics with intervals, comparison of two detectors.
 * The conventions of cozad.h hold. */
#ifndef COZAD_COZAD_EVAL_H
#define COZAD_COZAD_EVAL_H

#include "cozad/cozad.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- data sets ---------------------------------------------------------------------------------------------- */

typedef enum cz_split { CZ_SPLIT_ANY = 0, CZ_SPLIT_TRAIN = 1, CZ_SPLIT_TEST = 2, CZ_SPLIT_VALIDATION = 3 } cz_split;

/* How the pixels of a mask file say "defective". */
typedef enum cz_mask_rule {
    CZ_MASK_HALF = 0,   /* above half of the largest value in the file: 0/255, 0/253, 0/1, soft edges */
    CZ_MASK_NONZERO = 1 /* any value but 0: files whose values name kinds of defects (VisA, MVTec LOCO) */
} cz_mask_rule;

typedef struct cz_sample {
    const char *path;         /* root joined with `relative` */
    const char *relative;     /* below root */
    const char *category;     /* product: "screw"; "" where the set has only one and no name for it */
    const char *kind;         /* "good", or the defect's name; "" when the layout does not say */
    const char *const *masks; /* [mask_count] files whose union is the truth (MVTec LOCO has several) */
    size_t mask_count;        /* 0: none; normal samples may have masks too, which should be empty */
    cz_mask_rule mask_rule;
    int label; /* -1 unknown, 0 normal, 1 anomalous. -1 with masks (KolektorSDD and KolektorSDD2): anomalous unless they are empty */
    cz_split split;
} cz_sample;

typedef struct cz_dataset cz_dataset;

/* `layout`: "mvtec" (also AD 2, 3D-AD's colour images, one category or a folder of them), "loco", "visa", "btad", "kolektor",
 * "kolektor2", "rsdd", "dagm", "dtd_synthetic", "headct", "brainmri", "br35h", "viaduct", "magnetic_tile", "folder", "csv" (split.csv or
 * manifest.csv), "jsonl" (manifest.jsonl), "yesno"; NULL or "auto": detected. Only names and tables are read, no picture. A path that
 * leaves `root` or a malformed table is CZ_E_FORMAT, a layout that is not there CZ_E_NO_IMAGES; messages say what and where. Samples are
 * sorted by category, split, path. */
CZ_API cz_status cz_dataset_open(const char *root, const char *layout, cz_dataset **out);
/* A manifest (CSV or JSON Lines: path, split, label, mask, category, any subset but path) whose paths lie below its own folder. */
CZ_API cz_status cz_dataset_open_manifest(const char *path, cz_dataset **out);
/* Plain folders: every picture below `normal` is label 0, below `abnormal` (may be NULL) label 1 with its mask NAME.*, NAME_mask.* below
 * `masks` (may be NULL), in the same folder as below `abnormal` or in `masks` itself. All are test samples; `relative` begins with
 * "normal/" or "abnormal/", `kind` is the folder below `abnormal`. */
CZ_API cz_status cz_dataset_open_folders(const char *normal, const char *abnormal, const char *masks, cz_dataset **out);
CZ_API void cz_dataset_close(cz_dataset *d);
CZ_API const char *cz_dataset_layout(const cz_dataset *d);
CZ_API size_t cz_dataset_count(const cz_dataset *d);
/* Belongs to the data set; NULL when out of range. */
CZ_API const cz_sample *cz_dataset_at(const cz_dataset *d, size_t index);
CZ_API size_t cz_dataset_categories(const cz_dataset *d);
CZ_API const char *cz_dataset_category(const cz_dataset *d, size_t index);
/* Mask files that no picture goes with, in layouts where masks have a place of their own. */
CZ_API size_t cz_dataset_stray_masks(const cz_dataset *d);
CZ_API const char *cz_dataset_stray_mask(const cz_dataset *d, size_t index);
/* The known layouts, NULL behind the last. */
CZ_API const char *cz_dataset_layout_name(size_t index);

/* ---- the photos a model was trained on ----------------------------------------------------------------------------------------- */

/* One of them and how much it was trusted at the end of the training (docs/inspect.md). Texts belong to the model. A figure that the
 * model does not have (an older file, an excluded photo) is NaN. */
typedef struct cz_training_photo {
    const char *name;       /* as its source called it; NULL: not known. A file's word, not to be trusted */
    const char *sha256;     /* 64 hex digits: cz_image_sha256 */
    double weight;          /* confidence, 0 … 1 (paper Eq. 5 of how odd its oddest patches are; docs/inspect.md) */
    double share_below_one; /* of its patches: weight below 1 */
    double score;           /* its image score */
    int apart;              /* 1: stands apart from the bulk, is counted in cz_model_contamination */
    int excluded;           /* 1: was not trained on, cz_train_options.excluded */
    size_t place_x, place_y, grid_width,
        grid_height; /* the patch trusted least, in the patch grid; a grid of 0: not known */
    double level;    /* how odd, for an order among photos of equal weight; NaN: not known */
} cz_training_photo;

/* Trained on, in the training's order, then excluded. */
CZ_API size_t cz_model_photos_count(const cz_model *model);
CZ_API cz_status cz_model_photo_at(const cz_model *model, size_t index, cz_training_photo *out);
/* The image scores between which 99 % of the training photos of a model of several products lie; a photo beyond them, most of all one of
 * many of its product, is unlike anything that the model's scores were learnt on, and they should not be trusted (docs/zero-shot.md).
 * Returns 0, and leaves the range as it was, for a model of one product or of fewer than 20 photos, and for one that was adapted. */
CZ_API int cz_model_source_range(const cz_model *model, double *low, double *high);
/* 1: *rate is the estimated share of training photos that do not belong there, 0 … 0.5; 0: not known. */
CZ_API int cz_model_contamination(const cz_model *model, double *rate);

/* ---- metrics ------------------------------------------------------------------------------------------------- */

typedef enum cz_metric {
    CZ_IMAGE_AUROC = 0,
    CZ_IMAGE_AP = 1, /* average precision: sum over thresholds of (R_n - R_n-1) P_n */
    CZ_IMAGE_F1 = 2, /* the largest over all thresholds: chosen with the labels */
    CZ_PIXEL_AUROC = 3,
    CZ_PIXEL_AP = 4,
    CZ_PIXEL_F1 = 5,
    CZ_AUPRO_030 = 6, /* area under the per-region-overlap curve up to a false-positive rate of 0.3, divided by 0.3 */
    CZ_AUPRO_005 = 7,
    CZ_METRICS = 8
} cz_metric;
/* "image_auroc", … as in JSON. */
CZ_API const char *cz_metric_name(cz_metric metric);

typedef struct cz_figure {
    double value;     /* NaN: undefined (a class is absent, no masks) */
    double low, high; /* 95 % interval of a bootstrap over images, stratified by label; NaN: none */
    double bound;     /* `value` is at most this far from the exact one; 0 in exact mode */
} cz_figure;

typedef struct cz_figures {
    size_t struct_size;
    cz_figure metric[CZ_METRICS];
    double image_f1_threshold, pixel_f1_threshold;
    size_t normal, anomalous; /* images */
    size_t masks;             /* anomalous images with one */
    size_t regions;           /* 8-connected regions of all masks */
    uint64_t pixels;
} cz_figures;

typedef struct cz_evaluation_options {
    size_t struct_size;
    size_t resamples; /* of the bootstrap; 0: no intervals; 1000 */
    uint64_t seed;
    int exact;     /* pixels are kept and sorted instead of counted in 2^20 bins: memory grows with them */
    int simplenet; /* SimpleNet's own per-region overlap (200 thresholds) instead: to compare with published tables */
    size_t threads;
} cz_evaluation_options;
#define CZ_EVALUATION_OPTIONS_INIT                                                                                     \
    {                                                                                                                  \
        sizeof(cz_evaluation_options), 1000, 0, 0, 0, 0                                                                \
    }

/* Accumulates test images of any number of categories in bounded memory: bins, and a few kilobytes an image. */
typedef struct cz_evaluation cz_evaluation;
CZ_API cz_status cz_evaluation_open(const cz_evaluation_options *options, cz_evaluation **out);
CZ_API void cz_evaluation_close(cz_evaluation *e);
/* One image. label: 0 or 1. map: [height, width] anomaly scores, NULL: no pixel metrics from this image; mask: [height, width], 0 or
 * not, NULL: all normal if label is 0; an anomalous image without mask is left out of the pixel metrics. A score that is not finite is
 * CZ_E_ARG; map values that are NaN (not inspected) are left out. */
CZ_API cz_status cz_evaluation_add(cz_evaluation *e, const char *category, int label, double score, const float *map,
                                   const uint8_t *mask, size_t width, size_t height);
CZ_API size_t cz_evaluation_categories(const cz_evaluation *e);
CZ_API const char *cz_evaluation_category(const cz_evaluation *e, size_t index);
#define CZ_EVALUATION_MEAN   ((size_t)-1) /* mean over categories, undefined ones left out; resampled within each */
#define CZ_EVALUATION_POOLED ((size_t)-2) /* all images as one category */
/* `category`: an index or one of the above. */
CZ_API cz_status cz_evaluation_figures(cz_evaluation *e, size_t category, cz_figures *out);

/* Area under the ROC curve by ranks, ties counted half: the probability that a random anomalous sample (label != 0)
 * scores above a random normal one. NaN when a class is absent; CZ_E_ARG on a NaN score. Sorts a copy. */
CZ_API cz_status cz_auroc(const float *scores, const uint8_t *labels, size_t count, double *out);

/* Streaming AUROC over many pixels with bounded memory: a histogram of 2^20 bins over the ordered bit patterns of
 * float (equal bins: scores that differ by less than one part in 2^11 may count as ties; *error_bound says how far the
 * exact value can be away at the most). */
typedef struct cz_auroc_stream cz_auroc_stream;
CZ_API cz_status cz_auroc_stream_open(cz_auroc_stream **out);
/* `labels` NULL: all normal. NaN scores count as the lowest of all. */
CZ_API cz_status cz_auroc_stream_add(cz_auroc_stream *s, const float *scores, const uint8_t *labels, size_t count);
CZ_API double cz_auroc_stream_value(const cz_auroc_stream *s, double *error_bound);
CZ_API void cz_auroc_stream_close(cz_auroc_stream *s);

/* Exact metrics of scores against labels (0, 1): fills the image figures of `out`. */
CZ_API cz_status cz_score_figures(const double *scores, const uint8_t *labels, size_t count,
                                  const cz_evaluation_options *options, cz_figures *out);

/* Points of curves, for drawing: `most` points at the most, the ends included. x: false-positive rate or recall; y: true-positive rate or
 * precision. Returns how many. */
typedef struct cz_curve_point {
    double x, y, threshold;
} cz_curve_point;
CZ_API size_t cz_roc_curve(const double *scores, const uint8_t *labels, size_t count, cz_curve_point *out, size_t most);
CZ_API size_t cz_pr_curve(const double *scores, const uint8_t *labels, size_t count, cz_curve_point *out, size_t most);

/* Two detectors on the same images. */
typedef struct cz_comparison {
    double difference; /* of image AUROC, first minus second */
    double low, high;  /* 95 % */
    double p_value;    /* two-sided, of no difference */
} cz_comparison;
/* DeLong et al. (1988). */
CZ_API cz_status cz_compare_delong(const double *first, const double *second, const uint8_t *labels, size_t count,
                                   cz_comparison *out);
/* Paired bootstrap over images, stratified by label. */
CZ_API cz_status cz_compare_bootstrap(const double *first, const double *second, const uint8_t *labels, size_t count,
                                      size_t resamples, uint64_t seed, cz_comparison *out);

/* ---- regions ------------------------------------------------------------------------------------------------- */

typedef struct cz_region {
    size_t x, y, width, height; /* bounding box, pixels */
    size_t area;                /* pixels */
    size_t peak_x, peak_y;
    double peak, mean; /* scores */
} cz_region;
/* 8-connected regions of map > threshold of at least `min_area` pixels, the highest peak first; at most `most` are written, *count is how
 * many there are. NaN is below every threshold. */
CZ_API cz_status cz_regions(const float *map, size_t width, size_t height, double threshold, size_t min_area,
                            cz_region *out, size_t most, size_t *count);

/* What a threshold finds, by region: defects (regions of the mask) that any region of the map touches, and regions of the map that touch
 * no defect, by area in classes up to 10, 100, 1000, 10000 and more pixels. */
#define CZ_REGION_CLASSES 5
typedef struct cz_region_figures {
    size_t images;
    size_t defects[CZ_REGION_CLASSES], found[CZ_REGION_CLASSES], false_alarms[CZ_REGION_CLASSES];
} cz_region_figures;
/* Adds one image. mask NULL: all normal. */
CZ_API cz_status cz_region_figures_add(cz_region_figures *f, const float *map, const uint8_t *mask, size_t width,
                                       size_t height, double threshold, size_t min_area);

#ifdef __cplusplus
}
#endif
#endif
