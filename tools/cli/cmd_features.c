/* SPDX-License-Identifier: Apache-2.0 */
#include "common.h"
#include "inputs.h"

#include <stdlib.h>
#include <string.h>

static const cli_verb verb = {
    "features", "[IMG...] --backbone NAME|FILE --tap LIST -o FILE",
    "Writes intermediates of the network as safetensors, in F32 and unrounded.",
    "Taps: input, stem.relu, stem.pool, layer1 to layer4, layerL.B (block B of stage L), patches. Maps are [N, C, H, "
    "W] and "
    "patches are [N, H*W, D]. Convolution is direct and in fp32 unless --precision says otherwise.",
    "  cozad features a.jpg b.jpg --backbone resnet18 --tap layer2,layer3,patches -o out.safetensors\n"
    "  cozad features --tensor activations.safetensors:input --backbone resnet18.safetensors --tap layer1 -o "
    "out.safetensors"};

typedef struct arguments {
    const char *backbone, *tensor, *output, *size, *fit, *precision;
    cz_features_options features;
    common_options common;
} arguments;

static cz_status from_tensor(const arguments *a, const cz_backbone *backbone, cz_tensors *into)
{
    const char *colon = strrchr(a->tensor, ':');
    cz_tensors *file = NULL;
    cz_tensor_view view;
    if (colon == NULL || colon == a->tensor || colon[1] == '\0') {
        return cz_source_error(CZ_E_ARG, "--tensor: FILE:NAME is wanted");
    }
    char *path = strndup(a->tensor, (size_t)(colon - a->tensor));
    cz_status status = path != NULL ? cz_tensors_open(path, &file) : CZ_E_MEMORY;
    if (status == CZ_OK) status = cz_tensors_find(file, colon + 1, &view);
    if (status == CZ_OK) status = cz_features_tensor(backbone, &view, &a->features, into);
    cz_tensors_close(file);
    free(path);
    return status;
}

static cz_status from_images(const arguments *a, const cli_list *args, const cz_backbone *backbone, cz_tensors *into)
{
    cz_picture *pictures = calloc(args->count, sizeof *pictures);
    cz_image *images = calloc(args->count, sizeof *images);
    cz_status status = pictures != NULL && images != NULL ? CZ_OK : cz_source_error(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0; i < args->count && status == CZ_OK; i++) {
        status = cz_picture_read(args->items[i], &a->common.read, &pictures[i]);
        if (status == CZ_OK) images[i] = pictures[i].image;
    }
    if (status == CZ_OK) status = cz_features_images(backbone, images, args->count, &a->features, into);
    for (size_t i = 0; pictures != NULL && i < args->count; i++) cz_picture_free(&pictures[i]);
    free(pictures);
    free(images);
    return status;
}

static int compute(const arguments *a, const cli_list *args)
{
    cz_backbone *backbone = NULL;
    cz_tensors *into = NULL;
    cz_status status = common_open_backbone(a->backbone, &backbone);
    if (status != CZ_OK) return cli_fail_model(status);
    status = cz_tensors_create(&into);
    if (status == CZ_OK) status = cz_tensors_set_metadata(into, "backbone", cz_backbone_name(backbone));
    if (status == CZ_OK) status = cz_tensors_set_metadata(into, "backbone_sha256", cz_backbone_sha256(backbone));
    if (status == CZ_OK) {
        status = a->tensor != NULL ? from_tensor(a, backbone, into) : from_images(a, args, backbone, into);
    }
    if (status == CZ_OK) status = cz_tensors_save(into, a->output);
    const int code = status == CZ_OK ? CLI_OK : cli_fail(status);
    cz_tensors_close(into);
    cz_backbone_close(backbone);
    return code;
}

int cmd_features(int argc, char **argv)
{
    arguments a = {.backbone = common_default_backbone(), .size = "256", .fit = "squash", .precision = "fp32"};
    a.features = (cz_features_options)CZ_FEATURES_OPTIONS_INIT;
    common_init(&a.common);
    const cli_option options[] = {
        {"backbone", 0, CLI_STRING, &a.backbone, "NAME|FILE", COMMON_BACKBONE_HELP, NULL},
        {"tap", 0, CLI_STRING, &a.features.taps, "LIST", "what to write", NULL},
        {"output", 'o', CLI_STRING, &a.output, "FILE", "safetensors file to write", NULL},
        {"tensor", 0, CLI_STRING, &a.tensor, "FILE:NAME", "instead of images: a normalised input [N, 3, H, W]", NULL},
        {"patch-taps", 0, CLI_STRING, &a.features.patch_taps, "LIST", "taps that patches are made of", NULL},
        {"feature-width", 0, CLI_SIZE, &a.features.feature_width, "D",
         "numbers a patch; 0: as the weights say, mostly 1536", NULL},
        {"feature-scale", 0, CLI_REAL, &a.features.feature_scale, "X", "factor of patches", NULL},
        {"image-size", 0, CLI_STRING, &a.size, "N|WxH", "network input", NULL},
        {"fit", 0, CLI_CHOICE, &a.fit, NULL, "how a photo becomes that size", "squash|letterbox|crop"},
        {"resize", 0, CLI_SIZE, &a.features.resize, "N", "short side before --fit crop cuts; 0: the image size", NULL},
        {"precision", 0, CLI_CHOICE, &a.precision, NULL, "what to compute in; int8: weights with ranges inside",
         "fp32|fp32-winograd|bf16|int8"},
        {"threads", 0, CLI_SIZE, &a.features.threads, "N", "0: all", NULL},
        COMMON_READ_OPTIONS(a.common),
    };
    cli_list args = {NULL, 0};
    int code = cli_parse(&verb, options, sizeof options / sizeof *options, argc, argv, &args);
    if (code < 0) {
        a.features.fit = parse_fit(a.fit);
        (void)cz_precision_find(a.precision, &a.features.precision);
        if (a.output == NULL || (args.count == 0) == (a.tensor == NULL)) {
            cli_error("features needs -o FILE and either images or --tensor; see 'cozad features --help'");
            code = CLI_USAGE;
        } else if (!parse_size(a.size, &a.features.image_width, &a.features.image_height)) {
            cli_error("--image-size: \"%s\" is not N or WIDTHxHEIGHT", a.size);
            code = CLI_USAGE;
        } else {
            code = compute(&a, &args);
        }
    }
    cli_list_free(&args);
    return cli_finish_output(code);
}
