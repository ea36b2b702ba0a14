/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"
#include "common.h"
#include "inputs.h"

#include <string.h>
#include <time.h>

static const cli_verb verb = {
    "train", "--normal DIR [options] -o MODEL",
    "Learns what normal looks like from a folder of normal photos and writes one model file.",
    "The network that turns pixels into features is frozen (--backbone); its features are computed once, kept in the "
    "feature "
    "store and used in every epoch. Region, fit and image size are stored in the model and used again when scoring. A "
    "photo "
    "that cannot be read is named and left out; the exit code is then 3 and the model is written all the same.",
    "  cozad train --normal photos/good -o part.cozad\n"
    "  cozad train --normal photos/good --backbone resnet50 --image-size 448 --epochs 20 --seed 7 -o part.cozad\n"
    "  cozad train --data mvtec/screw -o screw.cozad        (its train/good photos)\n"
    "  cozad train --normal photos --roi 100,50,640,480 --ignore-mask label.png -o part.cozad"};

typedef struct arguments {
    const char *normal, *data, *layout, *output, *backbone, *size, *fit, *roi, *mask;
    bool compat;
    common_options common;
    cz_train_options train;
} arguments;

static int gather(const arguments *a, const cli_list *args, input_list *list)
{
    if (args->count > 0) {
        cli_error("%s: train takes its photos from --normal or --data", args->items[0]);
        return CLI_USAGE;
    }
    if (a->output == NULL || (a->normal == NULL) == (a->data == NULL)) {
        cli_error("train needs -o MODEL and one of --normal DIR or --data ROOT; see 'cozad train --help'");
        return CLI_USAGE;
    }
    const cz_status status =
        a->normal != NULL ? inputs_add_path(list, a->normal) : inputs_add_dataset(list, a->data, a->layout);
    return status == CZ_OK ? CLI_OK : cli_fail(status);
}

static int parse_texts(arguments *a, cz_picture *mask)
{
    if (!parse_size(a->size, &a->train.image_width, &a->train.image_height)) {
        cli_error("--image-size: \"%s\" is not N or WIDTHxHEIGHT", a->size);
        return CLI_USAGE;
    }
    if (a->roi != NULL && !parse_roi(a->roi, &a->train.roi)) {
        cli_error("--roi: \"%s\" is not x,y,width,height", a->roi);
        return CLI_USAGE;
    }
    a->train.fit = parse_fit(a->fit);
    a->train.simplenet_compat = a->compat;
    if (a->mask != NULL) {
        const cz_status status = cz_picture_read_mask(a->mask, &a->common.read, mask);
        if (status != CZ_OK) return cli_fail(status);
        a->train.ignore_mask = &mask->image;
    }
    return CLI_OK;
}

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* When each phase of the training began, told by the progress callback. */
typedef struct phases {
    double features, training, end; /* seconds; 0: not yet */
} phases;

static int note_phase(void *ctx, const char *what, size_t done, size_t total, const char *detail)
{
    phases *p = ctx;
    double *began = strcmp(what, "features") == 0 ? &p->features : &p->training;
    if (*began == 0.0) *began = seconds();
    p->end = seconds();
    return cli_progress(NULL, what, done, total, detail);
}

static void print_result(const arguments *a, const input_source *source, const phases *p, double elapsed)
{
    const double features = p->training - p->features, training = p->end - p->training;
    if (a->common.json) {
        json_t *line = json_pack("{s:s, s:I, s:I, s:f, s:f, s:f}", "model", a->output, "images",
                                 (json_int_t)(source->count - source->failed), "failed", (json_int_t)source->failed,
                                 "seconds", elapsed, "feature_seconds", features, "training_seconds", training);
        common_print_json(line);
    } else {
        printf("%s: learnt from %zu photos in %.1f s (features %.1f s, training %.1f s)\n", a->output,
               source->count - source->failed, elapsed, features, training);
    }
}

static int train(arguments *a, const input_list *list)
{
    cz_backbone *backbone = NULL;
    cz_model *model = NULL;
    input_source source;
    const double start = seconds();
    phases p = {0.0, 0.0, 0.0};
    int code = CLI_OK;
    cz_status status = input_source_open(list, a->data != NULL ? INPUT_TRAIN : INPUT_ANY, &a->common.read, &source);
    if (status != CZ_OK) return cli_fail(status);
    if (source.count == 0) {
        cli_error("%s: there are no images to train on", a->normal != NULL ? a->normal : a->data);
        code = CLI_SOME_FAILED;
        goto out;
    }
    /* Found out now rather than after an hour of training. */
    if ((code = common_check_writable(a->output)) != CLI_OK) goto out;
    if ((status = cz_backbone_open(a->backbone, &backbone)) != CZ_OK) {
        code = cli_fail_model(status);
        goto out;
    }
    a->train.progress = note_phase;
    a->train.ctx = &p;
    cz_image_source callbacks = input_source_callbacks(&source);
    status = cz_train(backbone, &callbacks, &a->train, &model);
    cli_progress_end();
    if (status == CZ_OK) status = cz_model_save(model, a->output);
    if (status != CZ_OK) {
        code = cli_fail(status);
        goto out;
    }
    print_result(a, &source, &p, seconds() - start);
    code = source.failed > 0 ? CLI_SOME_FAILED : CLI_OK;
out:
    cz_model_close(model);
    cz_backbone_close(backbone);
    input_source_free(&source);
    return code;
}

int cmd_train(int argc, char **argv)
{
    arguments a = {.layout = "auto", .backbone = common_default_backbone(), .size = "256", .fit = "squash"};
    common_init(&a.common);
    cz_train_options_init(&a.train);
    const cli_option options[] = {
        {"normal", 0, CLI_STRING, &a.normal, "DIR", "folder of normal photos", NULL},
        {"data", 0, CLI_STRING, &a.data, "ROOT", "data set instead: its normal training photos", NULL},
        {"layout", 0, CLI_CHOICE, &a.layout, NULL, "of --data", "auto|mvtec|csv"},
        {"output", 'o', CLI_STRING, &a.output, "MODEL", "model file to write", NULL},
        {"method", 0, CLI_CHOICE, &a.train.method, NULL, "how to train", "simplenet"},
        {"detector", 0, CLI_CHOICE, &a.train.detector, NULL, "what to train", "simplenet"},
        {"backbone", 0, CLI_STRING, &a.backbone, "NAME|FILE", "weights; random:ARCH[:SEED] makes some", NULL},
        {"taps", 0, CLI_STRING, &a.train.taps, "LIST", "where features are taken", NULL},
        {"image-size", 0, CLI_STRING, &a.size, "N|WxH", "network input", NULL},
        {"fit", 0, CLI_CHOICE, &a.fit, NULL, "how a photo becomes that size", "squash|letterbox|crop"},
        {"resize", 0, CLI_SIZE, &a.train.resize, "N", "short side before --fit crop cuts; 0: the image size", NULL},
        {"roi", 0, CLI_STRING, &a.roi, "x,y,w,h", "only this region of every photo", NULL},
        {"ignore-mask", 0, CLI_STRING, &a.mask, "FILE", "white pixels of this picture are not inspected", NULL},
        {"epochs", 0, CLI_SIZE, &a.train.epochs, "N", "passes over the photos", NULL},
        {"batch", 0, CLI_SIZE, &a.train.batch, "N", "photos a step", NULL},
        {"patches-per-image", 0, CLI_SIZE, &a.train.patches_per_image, "K", "random patches; 0: all", NULL},
        {"seed", 0, CLI_U64, &a.train.seed, "S", "same seed, same threads: same model", NULL},
        {"noise-std", 0, CLI_REAL, &a.train.noise_std, "X", "of the synthetic anomalies (Eq. 15)", NULL},
        {"margin-positive", 0, CLI_REAL, &a.train.margin_positive, "X", "th+ of Eq. 16", NULL},
        {"margin-negative", 0, CLI_REAL, &a.train.margin_negative, "X", "th- of Eq. 16", NULL},
        {"lr-adaptor", 0, CLI_REAL, &a.train.lr_adaptor, "X", "learning rate of the adaptor", NULL},
        {"lr-discriminator", 0, CLI_REAL, &a.train.lr_discriminator, "X", "learning rate of the discriminator", NULL},
        {"feature-width", 0, CLI_SIZE, &a.train.feature_width, "D", "numbers a patch", NULL},
        {"hidden-width", 0, CLI_SIZE, &a.train.hidden_width, "K", "of the discriminator", NULL},
        {"feature-scale", 0, CLI_REAL, &a.train.feature_scale, "X", "0: as the weights need it", NULL},
        {"top-k", 0, CLI_SIZE, &a.train.top_k, "K", "image score: mean of the K largest patch scores", NULL},
        {"simplenet-compat", 0, CLI_FLAG, &a.compat, NULL, "biases and optimisers of the public SimpleNet code", NULL},
        {"threads", 0, CLI_SIZE, &a.train.threads, "N", "0: all", NULL},
        COMMON_CACHE_OPTIONS(a.common),
        COMMON_READ_OPTIONS(a.common),
        {"json", 0, CLI_FLAG, &a.common.json, NULL, "result as JSON", NULL},
    };
    cli_list args = {NULL, 0};
    input_list list = {NULL, 0, 0};
    cz_picture mask = {0};
    int code = cli_parse(&verb, options, sizeof options / sizeof *options, argc, argv, &args);
    if (code < 0) code = gather(&a, &args, &list);
    if (code == CLI_OK && a.output != NULL && (list.count > 0 || a.normal != NULL || a.data != NULL)) {
        common_finish(&a.common);
        a.train.cache = a.common.cache;
        a.train.log = cli_log;
        code = parse_texts(&a, &mask);
        if (code == CLI_OK) code = train(&a, &list);
    }
    cz_picture_free(&mask);
    inputs_free(&list);
    cli_list_free(&args);
    return cli_finish_output(code);
}
