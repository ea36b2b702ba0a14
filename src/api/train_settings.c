/* SPDX-License-Identifier: Apache-2.0 */
#include "api/train_settings.h"

#include "api/cozad_settings.h"
#include "api/measure.h"
#include "api/relate.h"
#include "features/descriptor.h"
#include "heads/heads.h"
#include "heads/knn.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- defaults ------------------------------------------------------------------------------------------------------- */

void cz_train_options_init(cz_train_options *o)
{
    cz_head_config head;
    cz_head_config_init(&head);
    memset(o, 0, sizeof *o);
    o->struct_size = sizeof *o;
    o->method = "simplenet";
    o->descriptor = "patch";
    o->negatives = (cz_negatives_options){.struct_size = sizeof o->negatives, .noise = 1};
    o->taps = "layer2,layer3";
    o->image_width = o->image_height = 256;
    o->fit = CZ_FIT_SQUASH;
    o->feature_rms = 0.245;
    o->hidden_width = 1024;
    o->epochs = 40;
    o->batch = 16;
    o->patches_per_image = 128;
    o->noise_std = 0.015;
    o->margin_positive = 0.5;
    o->margin_negative = -0.5;
    o->lr_adaptor = 1e-4;
    o->lr_discriminator = 2e-4;
    o->top_k = 1;
    o->neighbourhood = 3;
    o->cache = (cz_cache_options)CZ_CACHE_OPTIONS_INIT;
    cz_cozad_options_init(&o->cozad);
    o->checkpoint_every = 50;
    o->quantise_images = CZ_QUANTISE_IMAGES;
    const cz_flow_options flow = {sizeof flow,       "patch",         head.flow_blocks, head.flow_hidden,
                                  head.flow_project, head.flow_clamp, head.lr_flow};
    o->flow = flow;
    o->knn = (cz_knn_options){sizeof o->knn, head.bank, "coreset", 1};
}

void cz_cozad_options_init(cz_cozad_options *o)
{
    *o = (cz_cozad_options){
        .struct_size = sizeof *o,
        .scl = 1,
        .data_uncertainty = 1,
        .model_uncertainty = 1,
        .confidence_unit = "patch",
        .weight_anchor = "median",
        .weight_floor = 1e-3,
        .weight_window = 65536,
        .kappa = 1.5,
        .gamma = 1.0,
        .lambda0 = 5e-6,
        .uncertainty_pairs = 10,
        .uncertainty_scale = "relative",
        .det_max = 100.0,
        .decay = "matrices",
        .loss_reduction = "mean",
        .contrast = 1,
        .lambda_cont = 1.0,
        .knn = 5,
        .temperature = 0.1,
        .contrast_chunk = 256,
        .contrast_in = "both",
        .meta = 1,
        .meta_gradient = "exact",
        .tasks = 4,
        .inner_lr = 3e-3,
        .query_share = 0.3,
        .balance = 1,
    };
}

/* ---- methods and detectors -------------------------------------------------------------------------------------------- */

static const char *const in_tasks[] = {"cozad", "comet"};

bool cz_train_in_tasks(const char *method)
{
    for (size_t i = 0; i < sizeof in_tasks / sizeof *in_tasks; i++)
        if (strcmp(method, in_tasks[i]) == 0) return true;
    return false;
}

bool cz_train_by_bank(const char *method)
{
    return strcmp(method, cz_knn_ops.name) == 0;
}

const char *cz_detector_name(size_t index)
{
    const cz_head_ops *ops;
    for (size_t i = 0; (ops = cz_head_at(i)) != NULL; i++)
        if (cz_head_trains(ops) && index-- == 0) return ops->name;
    return NULL;
}

static bool is_detector(const char *name)
{
    const cz_head_ops *ops = cz_head_find(name);
    return ops != NULL && cz_head_trains(ops);
}

/* CZ_E_ARG: detectors, and in front of them `more`, are what it could have been. */
static cz_status unknown(const char *what, const char *name, const char *more)
{
    char known[300];
    const char *detector;
    (void)snprintf(known, sizeof known, "%s", more);
    for (size_t i = 0; (detector = cz_detector_name(i)) != NULL; i++) {
        const size_t used = strlen(known);
        (void)snprintf(known + used, sizeof known - used, "%s%s", used > 0 ? ", " : "", detector);
    }
    return cz_fail(CZ_E_ARG, "%s \"%.60s\" is not one of: %s", what, name != NULL ? name : "", known);
}

/* ---- checks --------------------------------------------------------------------------------------------------------- */

/* The method's own detector, or the one that it is put around. */
static cz_status settle_detector(cz_train_options *o)
{
    if (o->method == NULL || (!cz_train_in_tasks(o->method) && !cz_train_by_bank(o->method) && !is_detector(o->method)))
        return unknown("method", o->method, "cozad, comet, knn");
    const bool plain = !cz_train_in_tasks(o->method);
    if (o->detector == NULL) o->detector = plain ? o->method : "simplenet";
    if (!is_detector(o->detector) && !cz_train_by_bank(o->method)) return unknown("detector", o->detector, "");
    if (plain && strcmp(o->method, o->detector) != 0)
        return cz_fail(CZ_E_ARG, "method \"%s\" trains the detector of that name, not \"%s\"", o->method, o->detector);
    if (strcmp(o->method, "comet") == 0) o->cozad.contrast = 0;
    if (!cz_train_by_bank(o->method) && o->neighbourhood == 0) o->neighbourhood = 3;
    return CZ_OK;
}

static bool is_flow(const cz_train_options *o)
{
    return strcmp(o->detector, "flow") == 0;
}

bool cz_train_is_image_level(const cz_train_options *o)
{
    return is_flow(o) && strcmp(o->flow.level, "image") == 0;
}

bool cz_train_is_relational(const cz_train_options *o)
{
    return strcmp(o->descriptor, "relational") == 0;
}

/* A mask stays where it is while a photo turns below it: what it hides would be learnt. */
static cz_status check_knn(const cz_train_options *o)
{
    const cz_knn_options *k = &o->knn;
    if (k->struct_size < sizeof *k) return cz_fail(CZ_E_ARG, "cz_knn_options: unknown struct_size %zu", k->struct_size);
    if (!cz_train_by_bank(o->method) && k->rotations != 1)
        return cz_fail(CZ_E_ARG, "rotations are for method \"knn\", not \"%s\"", o->method);
    if (!cz_train_by_bank(o->method)) return CZ_OK;
    if (k->bank < 1 || k->bank > CZ_KNN_MAX_BANK)
        return cz_fail(CZ_E_ARG, "a bank of %zu rows is not in 1 … %zu", k->bank, CZ_KNN_MAX_BANK);
    if (k->select == NULL || (strcmp(k->select, "coreset") != 0 && strcmp(k->select, "random") != 0))
        return cz_fail(CZ_E_ARG, "bank selection \"%.40s\" is not one of: coreset, random",
                       k->select != NULL ? k->select : "");
    if (k->rotations > 360) return cz_fail(CZ_E_ARG, "%zu rotations are not in 1 … 360 (or 0: auto)", k->rotations);
    if (k->rotations > 1 && o->ignore_mask != NULL)
        return cz_fail(CZ_E_ARG, "rotations with an ignore mask: it would not turn with the photo");
    return CZ_OK;
}

/* What patches are told apart by, and what a detector is shown as not normal. */
static cz_status check_negatives(const cz_train_options *o)
{
    const cz_negatives_options *n = &o->negatives;
    if (n->struct_size < sizeof *n)
        return cz_fail(CZ_E_ARG, "cz_negatives_options: unknown struct_size %zu", n->struct_size);
    if (o->descriptor == NULL || (strcmp(o->descriptor, "patch") != 0 && !cz_train_is_relational(o)))
        return cz_fail(CZ_E_ARG, "descriptor \"%.40s\" is not one of: patch, relational",
                       o->descriptor != NULL ? o->descriptor : "");
    if (cz_train_is_relational(o) && (cz_train_by_bank(o->method) || cz_train_is_image_level(o)))
        return cz_fail(CZ_E_ARG, "relational descriptors are for detectors of patches that are trained");
    if (n->synthetic > 64)
        return cz_fail(CZ_E_ARG, "%zu defective copies of each photo are more than 64", n->synthetic);
    if (n->labelled != NULL &&
        (n->labelled->struct_size < sizeof *n->labelled || n->labelled->load == NULL || n->mask == NULL))
        return cz_fail(CZ_E_ARG, "labelled photos without callbacks, or of an unknown struct_size");
    if (cz_train_has_negatives(o) && strcmp(o->detector, "simplenet") != 0)
        return cz_fail(CZ_E_ARG,
                       "known negatives are for detector \"simplenet\": \"%s\" learns from normal patches alone",
                       o->detector);
    if (n->noise == 0 && !cz_train_has_negatives(o) && strcmp(o->detector, "simplenet") == 0)
        return cz_fail(CZ_E_ARG, "without noise there must be other negatives: nothing would be learnt");
    return CZ_OK;
}

bool cz_train_has_negatives(const cz_train_options *o)
{
    return o->negatives.synthetic > 0 || o->negatives.labelled != NULL;
}

/* What one detector has and another has not. Sizes are checked by the head itself. */
static cz_status check_detector(const cz_train_options *o)
{
    cz_status status;
    cz_head_config config;
    cz_head *head = NULL;
    CZ_TRY(check_knn(o));
    if (o->simplenet_compat && strcmp(o->detector, "simplenet") != 0)
        return cz_fail(CZ_E_ARG, "simplenet_compat is about detector \"simplenet\", not \"%s\"", o->detector);
    if (is_flow(o) && o->flow.struct_size < sizeof o->flow)
        return cz_fail(CZ_E_ARG, "cz_flow_options: unknown struct_size %zu", o->flow.struct_size);
    if (is_flow(o) && (o->flow.level == NULL || (strcmp(o->flow.level, "patch") != 0 && !cz_train_is_image_level(o))))
        return cz_fail(CZ_E_ARG, "flow level \"%.40s\" is not one of: patch, image",
                       o->flow.level != NULL ? o->flow.level : "");
    CZ_TRY(check_negatives(o)); /* asks for the flow's level */
    if (!cz_train_in_tasks(o->method) || !o->cozad.contrast) return CZ_OK;
    cz_train_head_config(o, CZ_PRECISION_FP32, &config);
    CZ_TRY(cz_head_create(o->detector, &config, &head));
    if (head->embed_width == 0)
        status = cz_fail(CZ_E_ARG,
                         "detector \"%s\" has no embedding for the contrastive term: method \"comet\", or contrast off",
                         o->detector);
out:
    cz_head_destroy(head);
    return status;
}

static cz_status check_options(const cz_train_options *o)
{
    if (o->image_width < 32 || o->image_height < 32 || o->image_width > 8192 || o->image_height > 8192) {
        return cz_fail(CZ_E_ARG, "image size %zux%zu is not within 32 … 8192", o->image_width, o->image_height);
    }
    if (o->epochs == 0 || o->epochs > 1000000) return cz_fail(CZ_E_ARG, "%zu epochs", o->epochs);
    if (o->batch == 0 || o->batch > 65536) return cz_fail(CZ_E_ARG, "a batch of %zu", o->batch);
    if (!(o->noise_std >= 0.0) || o->noise_std > 1e6) return cz_fail(CZ_E_ARG, "noise_std %g", o->noise_std);
    const cz_status status = cz_precision_check(o->precision);
    if (status != CZ_OK) return status;
    if (o->precision == CZ_PRECISION_MODEL)
        return cz_fail(CZ_E_ARG, "precision \"model\" is for models that are trained already");
    if (o->top_k == 0) return cz_fail(CZ_E_ARG, "top_k is at least 1");
    if (o->neighbourhood != 1 && o->neighbourhood != 3 && (o->neighbourhood != 0 || !cz_train_by_bank(o->method)))
        return cz_fail(CZ_E_ARG, "a neighbourhood of %zu is neither 1 nor 3", o->neighbourhood);
    if (!(o->feature_scale >= 0.0) || !(o->feature_rms > 0.0)) return cz_fail(CZ_E_ARG, "a feature scale below 0");
    return cz_train_in_tasks(o->method) ? cz_cozad_options_check(&o->cozad) : CZ_OK;
}

cz_status cz_train_options_settle(const cz_train_options *options, const cz_backbone *b, cz_train_options *out)
{
    cz_status status;
    if (options->struct_size < sizeof *options)
        return cz_fail(CZ_E_ARG, "cz_train_options: unknown struct_size %zu", options->struct_size);
    *out = *options;
    if (out->feature_width == 0) out->feature_width = cz_backbone_feature_width(b);
    CZ_TRY(settle_detector(out));
    CZ_TRY(check_options(out));
    if (out->precision == CZ_PRECISION_INT8 && out->quantise_images == 0 && !cz_backbone_has_ranges(b))
        CZ_TRY(cz_fail(CZ_E_ARG, "training in int8 needs photos that ranges are measured on (quantise_images)"));
    CZ_TRY(check_detector(out));
out:
    return status;
}

/* ---- the detector's configuration ---------------------------------------------------------------------------------- */

void cz_train_head_config(const cz_train_options *o, cz_precision products, cz_head_config *out)
{
    cz_head_config_init(out);
    out->width = o->feature_width;
    out->hidden = o->hidden_width;
    out->noise_std = o->noise_std;
    out->margin_positive = o->margin_positive;
    out->margin_negative = o->margin_negative;
    out->simplenet_compat = o->simplenet_compat != 0;
    out->weight_both = cz_train_in_tasks(o->method) && o->cozad.weight_both != 0;
    out->lr_adaptor = o->lr_adaptor;
    out->lr_discriminator = o->lr_discriminator;
    out->precision = products;
    if (cz_train_is_image_level(o)) out->width = cz_descriptor_width(o->feature_width);
    out->flow_blocks = o->flow.blocks;
    out->flow_hidden = o->flow.hidden;
    out->flow_project = o->flow.project;
    out->flow_clamp = o->flow.clamp;
    out->lr_flow = o->flow.lr;
    out->structure_seed = o->seed;
    out->bank = o->knn.bank;
    out->noise_twins = o->negatives.noise != 0;
    if (cz_train_is_relational(o)) out->width = cz_relate_width(o->taps);
}
