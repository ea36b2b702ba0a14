/* SPDX-License-Identifier: Apache-2.0 */
#include "api/train_describe.h"

#include "api/head_settings.h"
#include "api/precision.h"
#include "api/train_settings.h"
#include "util/sha256.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *fit_name(cz_fit fit)
{
    return fit == CZ_FIT_LETTERBOX ? "letterbox" : fit == CZ_FIT_CROP ? "crop" : "squash";
}

static json_t *describe_input(const cz_model *m)
{
    json_t *input = json_pack("{s:I, s:I, s:s, s:I, s:b}", "width", (json_int_t)m->prep.width, "height",
                              (json_int_t)m->prep.height, "fit", fit_name(m->prep.fit), "resize",
                              (json_int_t)m->prep.resize, "ignore_mask", m->prep.ignore != NULL);
    if (m->prep.roi.width > 0) {
        (void)json_object_set_new(input, "roi",
                                  json_pack("{s:I, s:I, s:I, s:I}", "x", (json_int_t)m->prep.roi.x, "y",
                                            (json_int_t)m->prep.roi.y, "width", (json_int_t)m->prep.roi.width, "height",
                                            (json_int_t)m->prep.roi.height));
    }
    return input;
}

static json_t *describe_head(const cz_model *m, const cz_train_options *o)
{
    json_t *head = json_pack("{s:s, s:I, s:I, s:f, s:f, s:f, s:I, s:b}", "detector", m->detector, "feature_width",
                             (json_int_t)m->feature_width, "hidden_width", (json_int_t)o->hidden_width, "noise_std",
                             o->noise_std, "margin_positive", o->margin_positive, "margin_negative", o->margin_negative,
                             "top_k", (json_int_t)o->top_k, "simplenet_compat", o->simplenet_compat != 0);
    if (head != NULL &&
        (json_object_set_new(head, "neighbourhood", json_integer((json_int_t)o->neighbourhood)) != 0 ||
         json_object_set_new(head, "descriptor", json_string(m->relation != NULL ? "relational" : "patch")) != 0 ||
         json_object_set_new(head, "noise_twins", json_boolean(m->head->config.noise_twins)) != 0 ||
         cz_head_settings_write(m, head) != CZ_OK)) {
        json_decref(head);
        return NULL;
    }
    return head;
}

/* Every option of methods "cozad" and "comet" under its field's name (docs/math.md sections 4 to 6). */
static json_t *describe_cozad(const cz_cozad_options *c)
{
    json_t *scl =
        json_pack("{s:b, s:b, s:b, s:b, s:s, s:s, s:b, s:f, s:I, s:f, s:f, s:f, s:I, s:s, s:f, s:s, s:s}", "scl",
                  c->scl != 0, "data_uncertainty", c->data_uncertainty != 0, "model_uncertainty",
                  c->model_uncertainty != 0, "hard_cl", c->hard_cl != 0, "confidence_unit", c->confidence_unit,
                  "weight_anchor", c->weight_anchor, "weight_both", c->weight_both != 0, "weight_floor",
                  c->weight_floor, "weight_window", (json_int_t)c->weight_window, "kappa", c->kappa, "gamma", c->gamma,
                  "lambda0", c->lambda0, "uncertainty_pairs", (json_int_t)c->uncertainty_pairs, "uncertainty_scale",
                  c->uncertainty_scale, "det_max", c->det_max, "decay", c->decay, "loss_reduction", c->loss_reduction);
    json_t *rest = json_pack(
        "{s:b, s:f, s:I, s:f, s:I, s:b, s:s, s:b, s:s, s:I, s:I, s:f, s:f, s:b}", "contrast", c->contrast != 0,
        "lambda_cont", c->lambda_cont, "knn", (json_int_t)c->knn, "temperature", c->temperature, "contrast_chunk",
        (json_int_t)c->contrast_chunk, "contrast_literal", c->contrast_literal != 0, "contrast_in", c->contrast_in,
        "meta", c->meta != 0, "meta_gradient", c->meta_gradient, "tasks", (json_int_t)c->tasks, "inner_steps",
        (json_int_t)c->inner_steps, "inner_lr", c->inner_lr, "query_share", c->query_share, "balance", c->balance != 0);
    if (scl != NULL && rest != NULL) (void)json_object_update(scl, rest);
    json_decref(rest);
    return scl;
}

/* Which products it learnt from: what "zero-shot" is measured against. */
static json_t *describe_categories(const cz_train_facts *f)
{
    const cz_image_source *source = f->source;
    if (source->categories == 0 || source->category == NULL) return NULL;
    json_t *list = json_array();
    for (size_t c = 0; c < source->categories; c++) {
        size_t images = 0;
        for (size_t i = 0; i < f->set->count; i++) {
            images += source->category(source->ctx, f->set->items[i].source) == c;
        }
        const char *name = source->category_name != NULL ? source->category_name(source->ctx, c) : "";
        (void)json_array_append_new(list, json_pack("{s:s, s:I}", "name", name, "images", (json_int_t)images));
    }
    return list;
}

/* What epochs are made of, into `training`. */
static void describe_epochs(const cz_train_facts *f, json_t *training)
{
    const cz_train_options *o = f->options;
    json_t *epochs = json_pack("{s:I, s:I, s:I, s:I}", "epochs", (json_int_t)o->epochs, "batch", (json_int_t)o->batch,
                               "steps", (json_int_t)f->steps, "patches_per_image", (json_int_t)o->patches_per_image);
    (void)json_object_update(training, epochs);
    json_decref(epochs);
    (void)json_object_set_new(training, "seed", json_integer((json_int_t)o->seed));
    json_t *rates = json_pack("{s:f, s:f, s:f}", "lr_adaptor", o->lr_adaptor, "lr_discriminator", o->lr_discriminator,
                              "last_epoch_loss", f->loss);
    (void)json_object_update(training, rates);
    json_decref(rates);
}

/* Which settings of a bank were left to the photos, and what those said. */
static json_t *describe_choice(const cz_knn_choice *c)
{
    json_t *choice = json_pack("{s:b, s:b}", "rotations", c->rotations, "neighbourhood", c->neighbourhood);
    if (c->reason != NULL) {
        (void)json_object_set_new(choice, "reason", json_string(c->reason));
    } else {
        (void)json_object_set_new(choice, "fall", json_real(c->fall));
    }
    return choice;
}

static void describe_bank(const cz_train_facts *f, json_t *training)
{
    const cz_knn_options *k = &f->options->knn;
    (void)json_object_set_new(training, "seed", json_integer((json_int_t)f->options->seed));
    json_t *bank = json_pack("{s:I, s:s, s:I, s:I}", "rows_at_most", (json_int_t)k->bank, "select", k->select,
                             "candidates", (json_int_t)f->candidates, "rotations", (json_int_t)k->rotations);
    if (f->choice->rotations || f->choice->neighbourhood)
        (void)json_object_set_new(bank, "auto", describe_choice(f->choice));
    (void)json_object_set_new(training, "bank", bank);
}

static void add_digests(const cz_feature_set *set, json_t *hashes)
{
    for (size_t i = 0; i < set->count; i++) {
        char hex[65];
        cz_sha256_hex(set->items[i].sha256, hex);
        (void)json_array_append_new(hashes, json_string(hex));
    }
}

static void describe_negatives(const cz_train_facts *f, json_t *training)
{
    size_t synthetic, labelled;
    if (f->negatives == NULL) return;
    cz_negatives_count(f->negatives, &synthetic, &labelled);
    (void)json_object_set_new(training, "negatives",
                              json_pack("{s:b, s:I, s:I, s:I}", "noise", f->options->negatives.noise != 0, "copies",
                                        (json_int_t)f->options->negatives.synthetic, "synthetic", (json_int_t)synthetic,
                                        "labelled", (json_int_t)labelled));
}

static json_t *describe_training(const cz_train_facts *f)
{
    const cz_train_options *o = f->options;
    json_t *hashes = json_array();
    const cz_feature_set *labelled = f->negatives != NULL ? cz_negatives_labelled(f->negatives) : NULL;
    add_digests(f->set, hashes);
    if (labelled != NULL) add_digests(labelled, hashes); /* no figure may be had on them either */
    json_t *training = json_pack("{s:s, s:I, s:I}", "method", o->method, "images", (json_int_t)f->set->count,
                                 "images_skipped", (json_int_t)f->skipped);
    if (cz_train_by_bank(o->method)) {
        describe_bank(f, training);
    } else {
        describe_epochs(f, training);
    }
    (void)json_object_set_new(training, "pixels_sha256", hashes);
    if (o->shots > 0) (void)json_object_set_new(training, "shots", json_integer((json_int_t)o->shots));
    json_t *categories = describe_categories(f);
    describe_negatives(f, training);
    if (categories != NULL) (void)json_object_set_new(training, "categories", categories);
    if (strcmp(o->detector, "flow") == 0) (void)json_object_set_new(training, "lr_flow", json_real(o->flow.lr));
    if (cz_train_in_tasks(o->method)) (void)json_object_set_new(training, "cozad", describe_cozad(&o->cozad));
    return training;
}

cz_status cz_train_describe(cz_model *m, const cz_train_facts *facts)
{
    const cz_train_options *o = facts->options;
    char version[16];
    (void)snprintf(version, sizeof version, "%d.%d", CZ_MODEL_FORMAT_MAJOR, CZ_MODEL_FORMAT_MINOR);
    json_t *backbone = json_pack("{s:s, s:s, s:s, s:s, s:s, s:f, s:f}", "name", m->backbone_name, "path",
                                 cz_backbone_path(m->backbone), "architecture", cz_backbone_architecture(m->backbone),
                                 "sha256", m->backbone_sha256, "taps", m->taps, "feature_scale", m->feature_scale,
                                 "feature_rms", o->feature_rms);
    if (cz_backbone_version(m->backbone)[0] != '\0')
        (void)json_object_set_new(backbone, "version", json_string(cz_backbone_version(m->backbone)));
    json_t *scores = json_pack("{s:f, s:f}", "median", m->score_median, "max", m->score_max);
    json_decref(m->meta);
    m->meta = json_pack("{s:s, s:s, s:o, s:o, s:s, s:s, s:o, s:o, s:o}", "format_version", version, "software_version",
                        cz_version(), "backbone", backbone, "input", describe_input(m), "precision",
                        cz_precision_name(facts->precision), "algorithm", cz_precision_algorithm(facts->precision),
                        "head", describe_head(m, o), "training", describe_training(facts), "training_scores", scores);
    if (m->meta == NULL) return cz_fail(CZ_E_MEMORY, "out of memory, or a name that is not UTF-8 text");
    return cz_model_refresh_json(m);
}
