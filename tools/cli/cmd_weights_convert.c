/* SPDX-License-Identifier: Apache-2.0 */
/* cozad weights convert: a checkpoint as safetensors, and ranges for int8 put inside. */
#include "cmd_weights.h"
#include "inputs.h"

#include <stdlib.h>
#include <string.h>

#define RANGES "quant.ranges"

typedef struct arguments {
    const char *quantise_on, *size;
    cz_ranges_options ranges;
    cz_read_options read;
} arguments;

/* ---- what is known of the file ---- */

static const struct {
    const char *key, *value;
} TORCHVISION[] = {
    {"batchnorm", "separate"},
    {"bn_eps", "1e-5"},
    {"stem_pool", "3x3 stride 2 padding 1"},
    {"input_range", "0..1 RGB"},
    {"input_mean", "[0.485,0.456,0.406]"},
    {"input_std", "[0.229,0.224,0.225]"},
    {"license", "BSD-3-Clause"},
};

static cz_status set_if_absent(cz_tensors *t, const char *key, const char *value)
{
    return cz_tensors_metadata(t, key) ? CZ_OK : cz_tensors_set_metadata(t, key, value);
}

/* Says what the file is, where that is certain: its architecture, and for a published file its preprocessing. */
static cz_status describe(cz_tensors *t, const char *path)
{
    char hex[65];
    cz_backbone *b = NULL;
    cz_status status = CZ_OK;
    if (cz_backbone_open(path, &b) == CZ_OK) {
        status = set_if_absent(t, "architecture", cz_backbone_architecture(b));
        cz_backbone_close(b);
    } else {
        cli_note("%s; converted as it is", cz_last_error());
    }
    if (status == CZ_OK) status = cz_file_sha256(path, hex);
    const cz_known_weights *known = NULL;
    for (size_t i = 0; status == CZ_OK && i < cz_known_weights_count(); i++) {
        const cz_known_weights *k = cz_known_weights_at(i);
        if (strncmp(hex, k->sha256_prefix, strlen(k->sha256_prefix)) == 0) known = k;
    }
    if (status == CZ_OK) status = set_if_absent(t, "converted_from_sha256", hex);
    if (!known || status != CZ_OK) return status;
    status = set_if_absent(t, "source", known->source);
    for (size_t i = 0; status == CZ_OK && i < sizeof TORCHVISION / sizeof TORCHVISION[0]; i++)
        status = set_if_absent(t, TORCHVISION[i].key, TORCHVISION[i].value);
    return status;
}

/* ---- ranges ---- */

/* All tensors and metadata but an earlier file's ranges. */
static cz_status copy_without_ranges(const cz_tensors *from, cz_tensors **out)
{
    cz_tensors *t = NULL;
    cz_status status = cz_tensors_create(&t);
    for (size_t i = 0; status == CZ_OK && i < cz_tensors_metadata_count(from); i++) {
        const char *key, *value;
        status = cz_tensors_metadata_at(from, i, &key, &value);
        if (status == CZ_OK) status = cz_tensors_set_metadata(t, key, value);
    }
    for (size_t i = 0; status == CZ_OK && i < cz_tensors_count(from); i++) {
        cz_tensor_view view;
        status = cz_tensors_get(from, i, &view);
        if (status == CZ_OK && strcmp(view.name, RANGES) != 0) status = cz_tensors_add(t, &view);
    }
    if (status == CZ_OK) {
        *out = t;
    } else {
        cz_tensors_close(t);
    }
    return status;
}

static int show_progress(void *ctx, const char *what, size_t done, size_t total, const char *detail)
{
    return cli_progress(ctx, what, done, total, detail);
}

/* Measures with the weights of the file `from`; an exit code. */
static int add_ranges(arguments *a, const char *from, cz_tensors *t)
{
    cz_backbone *b = NULL;
    input_list list = {0};
    input_source source = {0};
    int code = CLI_OK;
    a->ranges.progress = show_progress;
    a->ranges.log = cli_log;
    cz_status status = cz_backbone_open(from, &b);
    if (status != CZ_OK) return cli_fail_model(status);
    status = inputs_add_path(&list, a->quantise_on);
    if (status == CZ_OK) status = input_source_open(&list, INPUT_ANY, &a->read, &source);
    if (status == CZ_OK) {
        const cz_image_source images = input_source_callbacks(&source);
        status = cz_backbone_measure_ranges(b, &images, &a->ranges, t);
        cli_progress_end();
        if (status == CZ_OK && source.failed > 0) code = CLI_SOME_FAILED;
    }
    if (status != CZ_OK) code = cli_fail(status);
    input_source_free(&source);
    inputs_free(&list);
    cz_backbone_close(b);
    return code;
}

/* ---- the verb ---- */

/* Weights made on the spot become a file like any other. An exit code. */
static int save_random(const char *name, const char *to)
{
    cz_backbone *b = NULL;
    cz_status status = cz_backbone_open(name, &b);
    int code = CLI_OK;
    if (status != CZ_OK) {
        code = cli_fail(status);
    } else if ((status = cz_backbone_save(b, to)) != CZ_OK) {
        code = cli_fail(status);
    }
    cz_backbone_close(b);
    return code;
}

static int convert(arguments *a, const char *from, const char *to)
{
    cz_tensors *t = NULL;
    int code = CLI_OK;
    if (strncmp(from, "random:", 7) == 0) {
        code = save_random(from, to);
        if (code != CLI_OK || a->quantise_on == NULL) return code;
        from = to;
    }
    cz_status status = cz_tensors_open(from, &t);
    if (status == CZ_OK && a->quantise_on != NULL) {
        cz_tensors *rest = NULL;
        status = copy_without_ranges(t, &rest);
        cz_tensors_close(t);
        t = rest;
    }
    if (status == CZ_OK) status = describe(t, from);
    if (status != CZ_OK) {
        cz_tensors_close(t);
        return cli_fail_model(status);
    }
    if (a->quantise_on != NULL) code = add_ranges(a, from, t);
    if ((code == CLI_OK || code == CLI_SOME_FAILED) && (status = cz_tensors_save(t, to)) != CZ_OK) {
        code = cli_fail(status);
    } else if (code == CLI_OK || code == CLI_SOME_FAILED) {
        const char *ranges = a->quantise_on != NULL ? cz_tensors_metadata(t, "int8_ranges") : NULL;
        cli_note("%s: %zu tensors%s%s", to, cz_tensors_count(t), ranges != NULL ? "; ranges for int8: " : "",
                 ranges != NULL ? ranges : "");
    }
    cz_tensors_close(t);
    return code;
}

int weights_convert(int argc, char **argv)
{
    static const cli_verb VERB = {
        "weights convert", "IN OUT.safetensors [--quantise-on DIR]",
        "Writes the tensors of a checkpoint as safetensors.",
        "Names, types and values stay as they are. The architecture is written to the metadata, and for torchvision's "
        "published files also preprocessing and source. --quantise-on measures on photos the ranges of activations "
        "that "
        "int8 needs and puts them into the file, so that int8 works with these weights before any training; a training "
        "measures its own and uses them. With ranges the backbone's SHA-256 is another one. IN can be "
        "random:ARCH[:SEED] too.",
        "  cozad weights convert wide_resnet50_2-95faca4d.pth wide_resnet50_2.safetensors\n"
        "  cozad weights convert mine.safetensors mine-int8.safetensors --quantise-on photos --photos 64"};
    arguments a = {.size = "256", .ranges = CZ_RANGES_OPTIONS_INIT, .read = CZ_READ_OPTIONS_INIT};
    a.ranges.photos = 32;
    const cli_option options[] = {
        {"quantise-on", 0, CLI_STRING, &a.quantise_on, "DIR", "folder of photos to measure ranges for int8 on", NULL},
        {"photos", 0, CLI_SIZE, &a.ranges.photos, "N", "of them at the most, evenly spaced", NULL},
        {"image-size", 0, CLI_STRING, &a.size, "N|WxH", "network input", NULL},
        {"threads", 0, CLI_SIZE, &a.ranges.threads, "N", "0: all", NULL},
        {"max-pixels", 0, CLI_U64, &a.read.max_pixels, "N", "refuse larger photos; 0: 268435456", NULL},
    };
    cli_list args = {NULL, 0};
    int code = cli_parse(&VERB, options, sizeof options / sizeof *options, argc, argv, &args);
    if (code >= 0) return code;
    if (args.count != 2) {
        cli_error("weights convert needs an input and an output file");
        code = CLI_USAGE;
    } else if (!parse_size(a.size, &a.ranges.image_width, &a.ranges.image_height) || a.ranges.photos == 0) {
        cli_error("weights convert: --image-size or --photos is out of range");
        code = CLI_USAGE;
    } else {
        code = convert(&a, args.items[0], args.items[1]);
    }
    cli_list_free(&args);
    return code;
}
