/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CoZAD: visual anomaly detection in C. Learns what normal looks like from photos, scores others, shows where.
 *
 * Conventions of every function here:
 *  - it returns a cz_status; CZ_OK is 0. On failure cz_last_error() holds one line of text for the calling thread;
 *  - `T **out` is written only on success, and the caller owns what it receives until the matching _close;
 *  - a returned `const T *` belongs to the object it was asked of;
 *  - options structs begin with `size_t struct_size`; start from the matching _INIT macro;
 *  - no global state: a cz_backbone or cz_model is immutable once opened and may be shared between threads; a
 *    cz_session belongs to one thread at a time;
 *  - nothing here prints, exits or aborts;
 *  - a thread that computes should not run signal handlers on its own stack: generated code of the matrix library keeps data
 *    below the stack pointer. Block signals in it (sigwait in another thread), or use sigaltstack and SA_ONSTACK;
 *  - the progress callback runs in one thread at a time; log lines may come from several at once.
 *
 * Symbols: N images, H x W patch grid, P = H*W patches, D patch-feature width.
 */
#ifndef COZAD_COZAD_H
#define COZAD_COZAD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CZ_API __attribute__((visibility("default")))
#else
#define CZ_API
#endif

#define CZ_VERSION_MAJOR 0
#define CZ_VERSION_MINOR 1
#define CZ_VERSION_PATCH 0

/* ---- status ------------------------------------------------------------------------------------------------- */

typedef enum cz_status {
    CZ_OK = 0,
    CZ_E_ARG = 1,         /* the caller's argument is off */
    CZ_E_MEMORY = 2,      /* an allocation failed */
    CZ_E_IO = 3,          /* a file could not be opened, read or written */
    CZ_E_FORMAT = 4,      /* bytes from outside break their format */
    CZ_E_LIMIT = 5,       /* an input is larger than a stated, settable limit */
    CZ_E_UNSUPPORTED = 6, /* well-formed, but not something this build can do */
    CZ_E_MODEL = 7,       /* a model file is damaged, of an unknown version, or does not fit */
    CZ_E_WEIGHTS = 8,     /* backbone weights are missing, misshapen or the wrong ones */
    CZ_E_CANCELLED = 9,   /* a progress callback asked to stop */
    CZ_E_NETWORK = 10,    /* a download failed */
    CZ_E_NO_SPACE = 11,   /* the disk is full */
    CZ_E_NO_IMAGES = 12,  /* nothing to train on or to score */
    CZ_E_INTERNAL = 13,   /* a broken promise of this library or of one below it */
    CZ_E_DIVERGED = 14,   /* training: a loss or gradient is not finite any more; the message names the term */
    CZ_E_TRAINED_ON = 15  /* photos that must be new to the model were trained on; the message says which */
} cz_status;

/* One line about the calling thread's last failure; "" if none. Valid until the thread's next call. Never NULL. */
CZ_API const char *cz_last_error(void);
/* A short fixed name of a status, "ok", "bad argument", … Never NULL. */
CZ_API const char *cz_status_name(cz_status status);
/* "0.1.0" */
CZ_API const char *cz_version(void);
/* Several lines: library versions and the processor features in use. Belongs to the calling thread. */
CZ_API const char *cz_build_info(void);

/* Progress of a long call: `done` of `total` steps, in the phase named by `what` ("features", "training", …).
 * `detail` is a short text such as "loss 0.31", or "". A non-zero return cancels the call (CZ_E_CANCELLED). */
typedef int (*cz_progress_fn)(void *ctx, const char *what, size_t done, size_t total, const char *detail);
/* A message worth showing (a skipped photo, a cache that could not be written). One line, no newline at its end. */
typedef void (*cz_log_fn)(void *ctx, const char *message);

/* ---- images ------------------------------------------------------------------------------------------------- */

typedef enum cz_pixel_format {
    CZ_GRAY8 = 0,
    CZ_GRAY16 = 1, /* host byte order, full range 0…65535 */
    CZ_RGB8 = 2,
    CZ_BGR8 = 3,
    CZ_RGBA8 = 4, /* alpha is ignored: composite beforehand if it matters (cozad_io.h does, on white) */
    CZ_BGRA8 = 5
} cz_pixel_format;

/* Pixels in the caller's memory; row y starts at (const char *)data + y * stride (stride in bytes, >= row size). */
typedef struct cz_image {
    const void *data;
    size_t width, height, stride;
    cz_pixel_format format;
} cz_image;

/* SHA-256 over width, height, format and pixel rows: what a model remembers its photos by (`pixels_sha256` in cz_model_json).
 * It is that of the decoded pixels, not of the file. */
CZ_API void cz_image_sha256(const cz_image *image, uint8_t digest[32]);

/* Where training images come from: decoding stays with the caller. `load` fills *out with pixels that stay valid until
 * `release` (may be NULL) is called for the same index; it is called from one thread at a time, but not necessarily
 * the one that called cz_train. A load that fails skips the image with a log line. `name` (may be NULL) is for
 * messages. The first cause of a failure is set with cz_source_error. */
typedef struct cz_image_source {
    size_t struct_size;
    size_t count;
    cz_status (*load)(void *ctx, size_t index, cz_image *out);
    void (*release)(void *ctx, size_t index, cz_image *image);
    const char *(*name)(void *ctx, size_t index);
    void *ctx;
    /* Products of several kinds in one training set (method "cozad"): which category an image belongs to, below
     * `categories`, and what it is called. All NULL and 0: one category. */
    size_t categories;
    size_t (*category)(void *ctx, size_t index);
    const char *(*category_name)(void *ctx, size_t category);
    int concurrent; /* 1: `load`, `release` and `name` may be called from several threads at once, for different indices */
} cz_image_source;
#define CZ_IMAGE_SOURCE_INIT                                                                                           \
    {                                                                                                                  \
        sizeof(cz_image_source), 0, NULL, NULL, NULL, NULL, 0, NULL, NULL, 0                                           \
    }

/* For callbacks: sets the calling thread's error line and returns `status`. */
CZ_API cz_status cz_source_error(cz_status status, const char *message);

/* ---- tensors in files (safetensors, PyTorch .pth) ------------------------------------------------------------ */

typedef enum cz_dtype {
    CZ_F32 = 0,
    CZ_F16 = 1,
    CZ_BF16 = 2,
    CZ_F64 = 3,
    CZ_I64 = 4,
    CZ_I32 = 5,
    CZ_I8 = 6,
    CZ_U8 = 7
} cz_dtype;
#define CZ_MAX_RANK 8

typedef struct cz_tensor_view {
    const char *name; /* UTF-8 */
    cz_dtype dtype;
    size_t rank;
    size_t shape[CZ_MAX_RANK];
    const void *data; /* contiguous, row-major, little-endian; no alignment is promised */
    size_t bytes;
} cz_tensor_view;

/* A named collection of tensors and string metadata. */
typedef struct cz_tensors cz_tensors;

/* Reads a safetensors file (memory-mapped) or a PyTorch checkpoint, zip or pre-1.6 legacy stream, recognised by
 * content. Only what a state dict of tensors needs is accepted. */
CZ_API cz_status cz_tensors_open(const char *path, cz_tensors **out);
CZ_API cz_status cz_tensors_create(cz_tensors **out);
CZ_API void cz_tensors_close(cz_tensors *t);
/* "safetensors", "pytorch-zip", "pytorch-legacy" or "memory". */
CZ_API const char *cz_tensors_format(const cz_tensors *t);
CZ_API size_t cz_tensors_count(const cz_tensors *t);
/* `index` < count, in file order. */
CZ_API cz_status cz_tensors_get(const cz_tensors *t, size_t index, cz_tensor_view *out);
/* CZ_E_FORMAT, naming the tensor, when there is none. */
CZ_API cz_status cz_tensors_find(const cz_tensors *t, const char *name, cz_tensor_view *out);
/* Copies `view->data`. A second tensor of one name is CZ_E_ARG. */
CZ_API cz_status cz_tensors_add(cz_tensors *t, const cz_tensor_view *view);
CZ_API size_t cz_tensors_metadata_count(const cz_tensors *t);
CZ_API cz_status cz_tensors_metadata_at(const cz_tensors *t, size_t index, const char **key, const char **value);
/* NULL when absent. */
CZ_API const char *cz_tensors_metadata(const cz_tensors *t, const char *key);
CZ_API cz_status cz_tensors_set_metadata(cz_tensors *t, const char *key, const char *value);
/* Writes safetensors: to a temporary file beside `path`, fsynced, renamed. */
CZ_API cz_status cz_tensors_save(const cz_tensors *t, const char *path);

/* ---- backbones ---------------------------------------------------------------------------------------------- */

/* Frozen weights of a ResNet-family network, batch norm folded. Immutable, shareable. */
typedef struct cz_backbone cz_backbone;

/* `name` is a file, or a name looked up as NAME.safetensors and under torchvision's file name in $COZAD_HOME,
 * $XDG_CACHE_HOME/cozad (else ~/.cache/cozad) and the installed share folder, where "builtin", the weights that come with
 * the library, is; "random:ARCH[:SEED]" makes seeded random weights on the spot. The architecture comes from the file's metadata or from tensor shapes. A missing or misshapen
 * tensor is CZ_E_WEIGHTS and names it and what was expected. */
CZ_API cz_status cz_backbone_open(const char *name, cz_backbone **out);
/* Counts references: a model or session that uses the backbone keeps it alive. */
CZ_API void cz_backbone_close(cz_backbone *b);
CZ_API const char *cz_backbone_name(const cz_backbone *b);         /* as asked for, file stem or name */
CZ_API const char *cz_backbone_architecture(const cz_backbone *b); /* "wide_resnet50_2" */
CZ_API const char *cz_backbone_path(const cz_backbone *b);         /* "" for random weights */
/* 64 hex digits over names, shapes and values of the tensors used (ranges for int8 are some), whatever file format they came in. */
CZ_API const char *cz_backbone_sha256(const cz_backbone *b);
/* Metadata "version", such as "builtin-1"; "" where there is none (or one of more than 31 bytes). */
CZ_API const char *cz_backbone_version(const cz_backbone *b);
/* D that patch features have unless it is given: metadata "feature_width", else 384 for cozad_r32 and 1536 for the others. */
CZ_API size_t cz_backbone_feature_width(const cz_backbone *b);
/* 1: the weight file has ranges for int8 inside (cz_backbone_measure_ranges). */
CZ_API int cz_backbone_has_ranges(const cz_backbone *b);
/* Writes the canonical (folded, F32) weights as safetensors. */
CZ_API cz_status cz_backbone_save(const cz_backbone *b, const char *path);
/* Floating-point operations (2 per multiply-add) of one image up to the last of `taps`; 0 on error. */
CZ_API double cz_backbone_flops(const cz_backbone *b, const char *taps, size_t width, size_t height);

/* Where a name was looked for and where to put it, one folder a line; the caller frees with cz_string_free. */
CZ_API char *cz_backbone_search_path(void);
/* The folder that downloads and conversions go to ($COZAD_HOME or the cache folder); free with cz_string_free. */
CZ_API char *cz_home(void);
CZ_API void cz_string_free(char *s);
/* SHA-256 of a file's bytes as 64 hex digits. */
CZ_API cz_status cz_file_sha256(const char *path, char hex[65]);

/* Published weights that can be downloaded. The hex digits in a file's name begin its SHA-256. */
typedef struct cz_known_weights {
    const char *name; /* "wide_resnet50_2"; several files may share one, the first is what the name means */
    const char *file; /* "wide_resnet50_2-95faca4d.pth" */
    const char *url;
    const char *sha256_prefix; /* 8 hex digits */
    const char *source;        /* "torchvision Wide-ResNet-50-2 IMAGENET1K_V1" */
    uint64_t megabytes;        /* about */
} cz_known_weights;
CZ_API size_t cz_known_weights_count(void);
/* NULL when `index` is out of range. */
CZ_API const cz_known_weights *cz_known_weights_at(size_t index);

/* ---- options shared by training and scoring ------------------------------------------------------------------ */

/* What the backbone and the head compute in. Features, thresholds and stored features belong to one of them. */
typedef enum cz_precision {
    CZ_PRECISION_FP32 = 0, /* direct convolution */
    CZ_PRECISION_FP32_WINOGRAD =
        1,                   /* Winograd for the 3x3 layers where it agrees with direct (checked); head in fp32 */
    CZ_PRECISION_BF16 = 2,   /* weights and activations in bf16, sums in fp32 */
    CZ_PRECISION_INT8 = 3,   /* 8-bit weights and activations, ranges measured on training photos */
    CZ_PRECISION_AUTO = 100, /* to ask for: the fastest of them that the processor computes natively and whose
                                       features differ from fp32 by at most CZ_AUTO_ERROR (docs/precision.md) */
    CZ_PRECISION_MODEL = 101 /* to ask for: what the model was calibrated with, else trained with */
} cz_precision;
/* Relative root mean square difference of patch features from fp32 that `auto` allows. */
#define CZ_AUTO_ERROR 0.05
/* "fp32", "fp32-winograd", "bf16", "int8", "auto", "model". Never NULL. */
CZ_API const char *cz_precision_name(cz_precision precision);
/* 1: found. */
CZ_API int cz_precision_find(const char *name, cz_precision *out);

/* How an image (or its region) becomes the network's input. */
typedef enum cz_fit {
    CZ_FIT_SQUASH = 0,    /* resize to width x height, aspect ratio not kept (the papers' way) */
    CZ_FIT_LETTERBOX = 1, /* keep the ratio, pad with the network's mean; the padding is not scored */
    CZ_FIT_CROP = 2       /* resize the short side to `resize`, cut the centre */
} cz_fit;

typedef struct cz_roi {
    size_t x, y, width, height; /* pixels of the original image; width 0: the whole image */
} cz_roi;

/* Feature store: tapped maps on disk, so that a second run over the same pixels skips the backbone. */
typedef struct cz_cache_options {
    size_t struct_size;
    const char *dir;      /* NULL: no store; "": the default folder */
    uint64_t limit_bytes; /* least recently used entries go first; 0: 20 GB */
} cz_cache_options;
#define CZ_CACHE_OPTIONS_INIT                                                                                          \
    {                                                                                                                  \
        sizeof(cz_cache_options), NULL, 0                                                                              \
    }

/* ---- models ------------------------------------------------------------------------------------------------- */

typedef struct cz_model cz_model;

/* Training and adapting. */
#include "cozad/cozad_train.h"

/* Opens a model file. `backbone` may be NULL: then weights are looked for by the SHA-256 stored in the model. A backbone
 * other than the model's own is CZ_E_WEIGHTS. */
CZ_API cz_status cz_model_open(const char *path, cz_backbone *backbone, cz_model **out);
/* As cz_model_open, but needs no backbone: such a model can be described, not scored with. */
CZ_API cz_status cz_model_inspect(const char *path, cz_model **out);
CZ_API cz_status cz_model_save(const cz_model *model, const char *path);
CZ_API void cz_model_close(cz_model *model);
/* The model's `__metadata__` as JSON text; belongs to the model. */
CZ_API const char *cz_model_json(const cz_model *model);
/* Ends of a colour scale that suits every image scored with the model: `low` is the median patch score of the training
 * photos, `high` their largest plus its distance to the median. */
CZ_API void cz_model_scale(const cz_model *model, double *low, double *high);
/* NULL for a model that was only inspected. */
CZ_API cz_backbone *cz_model_backbone(const cz_model *model);

/* ---- calibration: from scores to decisions (docs/calibration.md) ------------------------------------------------- */

/* An image is anomalous when its score, rounded to float, is above the threshold. */
typedef enum cz_threshold_rule {
    CZ_RULE_FPR = 0, /* P(false-positive rate <= target) >= confidence, whatever the scores' distribution */
    CZ_RULE_IQR = 1, /* Q3 + 1.5 (Q3 - Q1): no promise */
    CZ_RULE_F1 = 2,  /* largest F1 on labelled images: no promise */
    CZ_RULE_COST = 3 /* smallest cost_miss * misses + cost_alarm * false alarms on labelled images: no promise */
} cz_threshold_rule;
/* "fpr", "iqr", "f1", "cost" */
CZ_API const char *cz_threshold_rule_name(cz_threshold_rule rule);

typedef struct cz_calibrate_options {
    size_t struct_size;
    cz_threshold_rule rule;
    double target, confidence;       /* CZ_RULE_FPR: 0.01, 0.95 */
    double cost_miss, cost_alarm;    /* CZ_RULE_COST: 1, 1 */
    double pixel_quantile;           /* of the normal photos' map pixels, in (0, 1]; 0.999 */
    const cz_image_source *abnormal; /* photos with a defect, for CZ_RULE_F1 and CZ_RULE_COST; NULL: none */
    int allow_training_photos;       /* 0: such photos are CZ_E_TRAINED_ON; 1: they are used, and the model says so */
    int strict;                      /* 1: CZ_E_ARG when there are too few photos for the target */
    size_t threads;
    cz_cache_options cache;
    cz_progress_fn progress;
    cz_log_fn log;
    void *ctx;
    cz_precision precision;                       /* the calibrated model's own from then on; CZ_PRECISION_MODEL */
    size_t tile_width, tile_height, tile_overlap; /* as in cz_session_options; a calibration belongs to them too */
    /* CZ_RULE_FPR: the photos are not sorted, and at most this share of them shows a defect, 0 … 0.5; 0: all are normal. The promise is
     * a weaker one (docs/calibration.md). */
    double contamination;
} cz_calibrate_options;
CZ_API void cz_calibrate_options_init(cz_calibrate_options *options);

/* What a model knows of its calibration. A figure that the rule does not have is NaN. */
typedef struct cz_calibration {
    cz_threshold_rule rule;
    double target, confidence;
    double promise; /* CZ_RULE_FPR: the rate is at most this with that confidence; above `target`: too few photos */
    double threshold;
    double pixel_threshold, pixel_quantile;
    const float *scores; /* [count] of the normal photos, ascending; belongs to the model */
    size_t count;
    size_t trained_on; /* photos of them that the model had learnt from */
    /* From unlabelled photos: `promise` then holds whatever the defective ones among them score, and `separated` is what it would be
     * if they score highest. 0 and NaN for normal photos. */
    double contamination, separated;
} cz_calibration;

typedef struct cz_calibration_report {
    cz_calibration calibration; /* its scores belong to the new model */
    size_t images, abnormal;    /* scored */
    size_t skipped;             /* could not be read or scored */
    size_t repeated;            /* the same pixels as an earlier photo: counted once */
    size_t trained_on;          /* also set with CZ_E_TRAINED_ON */
    size_t order;               /* CZ_RULE_FPR: the threshold is the order-th smallest score */
    size_t needed;              /* CZ_RULE_FPR: images that the target needs at the least */
    double value;               /* CZ_RULE_F1: F1; CZ_RULE_COST: cost; both on these very photos */
    size_t discounted;          /* unlabelled photos: the highest scores that were set aside as possibly defective */
} cz_calibration_report;

/* Scores normal photos that were held out from training and makes a copy of the model that decides. `model` stays as it is; a
 * calibration that it has is replaced. `report` may be NULL. A photo that is also in `abnormal` is CZ_E_ARG. */
CZ_API cz_status cz_calibrate(const cz_model *model, const cz_image_source *normal, const cz_calibrate_options *options,
                              cz_model **out, cz_calibration_report *report);
/* 1: calibrated, *out is filled; 0: not, *out is all zero. */
CZ_API int cz_model_calibration(const cz_model *model, cz_calibration *out);

/* Conformal p-value of a score: (1 + calibration scores at or above it) / (count + 1). NaN for a NaN score. */
CZ_API double cz_p_value(const cz_calibration *calibration, double score);
/* Benjamini and Hochberg (1995): found[i] = 1 for p-values that are called anomalous such that at most the share `rate` of those called
 * so is expected to be normal. *total: how many. A p-value outside [0, 1] is CZ_E_ARG. */
CZ_API cz_status cz_false_discovery(const double *p_values, size_t count, double rate, uint8_t *found, size_t *total);

/* Have the scores moved since calibration? Two-sample Kolmogorov-Smirnov test. */
typedef struct cz_drift {
    double statistic; /* largest distance of the two distribution functions */
    double p_value;   /* two-sided; exact up to 10^8 pairs, beyond that asymptotic */
    double median, calibration_median;
    size_t above; /* scores above the threshold */
} cz_drift;
/* CZ_E_ARG for an uncalibrated model, no scores, or one that is not finite. */
CZ_API cz_status cz_measure_drift(const cz_model *model, const double *scores, size_t count, cz_drift *out);

/* ---- scoring ------------------------------------------------------------------------------------------------ */

typedef enum cz_map_kind {
    CZ_MAP_NONE = 0,
    CZ_MAP_INPUT = 1,    /* at the network's input size */
    CZ_MAP_ORIGINAL = 2, /* at the image's own size */
    CZ_MAP_ROWS =
        3 /* at the image's own size, some rows at a time: cz_session_map_rows. For images whose map is too large */
} cz_map_kind;

typedef struct cz_session_options {
    size_t struct_size;
    size_t threads; /* 0: all the process may use */
    cz_precision precision;
    cz_map_kind map;
    size_t max_batch; /* images computed at once by cz_score_batch, 1 */
    cz_cache_options cache;
    const cz_roi *roi;           /* instead of the model's own region; NULL: the model's. Copied. */
    const cz_image *ignore_mask; /* instead of the model's own; NULL: the model's. Copied. */
    const cz_fit *fit;           /* instead of the model's own; NULL: the model's. Copied. */
    cz_log_fn log;
    void *ctx;
    /* 1: neither p-value nor decision nor regions. A calibrated model with another region, mask or fit than its own must be
     * scored so, otherwise it is CZ_E_ARG: its threshold belongs to its own. */
    int no_decision;
    int regions;        /* 1: regions of the map above the pixel threshold; needs a map and a calibrated model */
    size_t region_area; /* the smallest worth telling, pixels of the map; 0: 1 */
    /* Large images: tiles of tile_width x tile_height of the image's own pixels, each scaled to the network's input, overlapping by
     * `tile_overlap` pixels and blended (docs/tiles.md). 0: the whole image at once. An image no larger than a tile is one tile. */
    size_t tile_width, tile_height, tile_overlap;
} cz_session_options;
#define CZ_SESSION_OPTIONS_INIT                                                                                        \
    {                                                                                                                  \
        sizeof(cz_session_options), 0, CZ_PRECISION_MODEL, CZ_MAP_ORIGINAL, 1, CZ_CACHE_OPTIONS_INIT, NULL, NULL,      \
            NULL, NULL, NULL, 0, 0, 0, 0, 0, 0                                                                         \
    }

typedef struct cz_session cz_session;
struct cz_region; /* cozad_eval.h */

/* Arrays belong to the session and are valid until its next call. NaN in a map or patch score: not inspected (outside
 * the region, in the ignore mask, or padding). Higher means more anomalous; the unit is the detector's own. */
typedef struct cz_result {
    double score;
    size_t grid_width, grid_height;
    const float *patch_scores; /* [grid_height, grid_width] */
    size_t map_width, map_height;
    const float *map;                  /* [map_height, map_width], NULL with CZ_MAP_NONE */
    int from_cache;                    /* 1 when the features came from the feature store */
    double p_value;                    /* conformal; NaN without calibration */
    int decision;                      /* -1 unknown, 0 normal, 1 anomalous */
    double threshold, pixel_threshold; /* that it was decided with; NaN without calibration */
    const struct cz_region *regions; /* [region_count] of cozad_eval.h, the highest peak first; NULL unless asked for */
    size_t region_count;             /* at most 1000 */
    size_t region_total;             /* how many there are */
} cz_result;

/* Milliseconds of each stage of the last cz_score or cz_score_batch, for the whole call. */
typedef struct cz_timing {
    double preprocess, backbone, pooling, head, map, total;
} cz_timing;

CZ_API cz_status cz_session_open(const cz_model *model, const cz_session_options *options, cz_session **out);
CZ_API void cz_session_close(cz_session *session);
CZ_API cz_status cz_score(cz_session *session, const cz_image *image, cz_result *result);
/* Any `count`; results[i] belongs to images[i]. All images may differ in size. */
CZ_API cz_status cz_score_batch(cz_session *session, const cz_image *images, size_t count, cz_result *results);
CZ_API void cz_session_timing(const cz_session *session, cz_timing *out);
/* What the session computes in; never CZ_PRECISION_AUTO or _MODEL. */
CZ_API cz_precision cz_session_precision(const cz_session *session);
/* Makes everything that the first call would make (plans, packed weights, buffers) and runs it `runs` times (at least once) on a
 * gray image of width x height, and on max_batch of them, so that no later call is slower than the others. The feature store is
 * neither read nor written. */
CZ_API cz_status cz_session_warmup(cz_session *session, size_t width, size_t height, size_t runs);
/* With CZ_MAP_ROWS: rows [first, first + count) of the map of the last call's image `index`. out: [count, image width]. */
CZ_API cz_status cz_session_map_rows(cz_session *session, size_t index, size_t first, size_t count, float *out);

/* ---- intermediates, for parity work and for other people's detectors ------------------------------------------ */

typedef struct cz_features_options {
    size_t struct_size;
    const char *taps;       /* comma-separated: stem.relu, stem.pool, layer1 … layer4, layerL.B, input, patches */
    const char *patch_taps; /* taps that `patches` is made of, "layer2,layer3" */
    size_t feature_width;   /* D of `patches`; 0: cz_backbone_feature_width */
    size_t image_width, image_height;
    cz_fit fit;
    size_t resize;
    size_t threads;
    cz_precision precision; /* int8 only of weights with ranges inside */
    double feature_scale;   /* of `patches`, 1 */
} cz_features_options;
#define CZ_FEATURES_OPTIONS_INIT                                                                                       \
    {                                                                                                                  \
        sizeof(cz_features_options), "patches", "layer2,layer3", 0, 256, 256, CZ_FIT_SQUASH, 0, 0, CZ_PRECISION_FP32,  \
            1.0                                                                                                        \
    }

/* Computes taps of images in F32, unrounded, into `into`, each named "TAP" and shaped [N, C, H, W]; "patches" is
 * [N, H*W, D] and "input" the normalised network input. All in one call share one batch. */
CZ_API cz_status cz_features_images(const cz_backbone *b, const cz_image *images, size_t count,
                                    const cz_features_options *options, cz_tensors *into);
/* The same for an already normalised input [N, 3, H, W] in F32. */
CZ_API cz_status cz_features_tensor(const cz_backbone *b, const cz_tensor_view *input,
                                    const cz_features_options *options, cz_tensors *into);

typedef struct cz_ranges_options {
    size_t struct_size;
    size_t photos;                    /* of the source at the most, evenly spaced; 0: 32 */
    size_t image_width, image_height; /* network input, 256 x 256 */
    size_t threads;                   /* 0: all the process may use */
    cz_progress_fn progress;          /* of the photos, as "precision" */
    cz_log_fn log;
    void *ctx;
} cz_ranges_options;
#define CZ_RANGES_OPTIONS_INIT                                                                                         \
    {                                                                                                                  \
        sizeof(cz_ranges_options), 0, 256, 256, 0, NULL, NULL, NULL                                                    \
    }

/* Measures on photos the ranges of activations that int8 needs (docs/precision.md), of the whole network, and puts them into
 * `into` as the tensor "quant.ranges" and what was done as metadata "int8_ranges". Where a weight file has both, int8 needs no
 * training first; ranges that a training measures on its own photos win. A tensor of that name must not be there yet. */
CZ_API cz_status cz_backbone_measure_ranges(cz_backbone *b, const cz_image_source *images,
                                            const cz_ranges_options *options, cz_tensors *into);

/* What the machine's arithmetic units reach in this library's matrix product, in GFLOP/s: the best of several runs of a large
 * one in fp32, bf16 or int8 (Winograd: fp32). Takes about a second. */
CZ_API cz_status cz_machine_gflops(size_t threads, cz_precision precision, double *out);

/* ---- feature store ------------------------------------------------------------------------------------------- */

typedef struct cz_cache_entry {
    char key[65];
    uint64_t bytes;
    int64_t last_used; /* seconds since 1970 */
    int damaged;       /* verify only */
    int packed;        /* 1: packed weights of a backbone, 0: features of a photo */
} cz_cache_entry;
typedef int (*cz_cache_visit_fn)(void *ctx, const cz_cache_entry *entry);

/* The default folder; the caller frees with cz_string_free. NULL when out of memory. */
CZ_API char *cz_cache_default_dir(void);
/* Calls `visit` for each entry; `verify` reads every byte and checks it. With the default folder the packed weights in the folder
 * beside it count as entries too, here and in cz_cache_prune. */
CZ_API cz_status cz_cache_list(const cz_cache_options *options, int verify, cz_cache_visit_fn visit, void *ctx);
/* Removes least recently used and damaged entries until at most `keep_bytes` remain; features go before packed weights. */
CZ_API cz_status cz_cache_prune(const cz_cache_options *options, uint64_t keep_bytes, uint64_t *removed_bytes);

#ifdef __cplusplus
}
#endif
#endif
