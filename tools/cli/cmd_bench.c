/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"
#include "inputs.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

static const cli_verb verb = {
    "bench", "[options]", "Times every stage of scoring on this machine, and states the machine's own peak beside it.",
    "Medians over --repeat photos of noise, from decoded pixels to a map at the photo's own size; a model is trained "
    "on the spot for one epoch. The feature store is not used. \"of the peak\" compares with this library's large "
    "matrix products in the same run and precision; Winograd's operations count as the direct ones they replace. "
    "Memory "
    "is the process's resident memory at most while it scores. --precision all measures one after the other and leaves "
    "out what this build or processor has not. --against takes turns with another program on the same weights and "
    "shapes: onnxruntime (backbone; bench/setup installs it) or pytorch (SimpleNet's whole path). With --json, one "
    "object a precision.",
    "  cozad bench\n  cozad bench --backbone wide_resnet50_2 --random --precision all --threads 2\n"
    "  cozad bench --backbone resnet50 --image-size 448 --threads 1 --json\n"
    "  cozad bench --precision all --against onnxruntime"};

enum { TRAINING_PHOTOS = 4 };

static cz_status load_noise(void *ctx, size_t index, cz_image *out)
{
    *out = ((bench_noise *)ctx)[index].image;
    return CZ_OK;
}

/* One epoch over a few photos: what the head has learnt makes no difference to its speed. */
static cz_status train(bench_run *run)
{
    const bench_options *o = run->options;
    bench_noise photos[TRAINING_PHOTOS] = {{0}};
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    cz_status status = CZ_OK;
    source.count = TRAINING_PHOTOS;
    source.load = load_noise;
    source.ctx = photos;
    for (size_t i = 0; i < TRAINING_PHOTOS && status == CZ_OK; i++) {
        if (!bench_noise_make(&photos[i], o->train.image_width, o->train.image_height, (uint32_t)i))
            status = cz_source_error(CZ_E_MEMORY, "out of memory");
    }
    if (status == CZ_OK) status = cz_train(run->backbone, &source, &o->train, &run->model);
    for (size_t i = 0; i < TRAINING_PHOTOS; i++) free(photos[i].pixels);
    return status;
}

/* The precisions asked for; what is not there is left out under "all" and an error otherwise. */
static cz_status measure_all(bench_run *run, bench_row *rows, size_t *count)
{
    const bool all = strcmp(run->options->precision, "all") == 0;
    cz_precision asked = CZ_PRECISION_FP32;
    if (!all) (void)cz_precision_find(run->options->precision, &asked);
    for (size_t i = 0; i < (all ? (size_t)BENCH_PRECISIONS : 1); i++) {
        bench_row *row = &rows[*count];
        *row = (bench_row){.precision = all ? (cz_precision)i : asked, .features = (double)NAN};
        cz_status status = CZ_OK;
        if (row->precision < CZ_PRECISION_AUTO) status = cz_machine_gflops(run->threads, row->precision, &row->peak);
        if (status == CZ_OK) status = bench_measure(run, row);
        if (status == CZ_OK && strcmp(run->options->stage, "all") == 0) status = bench_measure_features(run, row);
        if (status == CZ_E_UNSUPPORTED && all) {
            cli_note("%s: left out: %s", cz_precision_name(row->precision), cz_last_error());
            continue;
        }
        if (status != CZ_OK) return status;
        (*count)++;
    }
    return CZ_OK;
}

static size_t threads_there_are(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (size_t)CPU_COUNT(&set) : 1;
}

static int bench(bench_options *o)
{
    bench_run run = {.options = o, .threads = o->threads > 0 ? o->threads : threads_there_are()};
    bench_row rows[BENCH_PRECISIONS];
    char folder[4096];
    size_t count = 0;
    int code = o->against != NULL ? bench_peer_find(o, folder) : CLI_OK;
    if (code != CLI_OK) return code;
    o->train.threads = run.threads;
    cz_status status = cz_backbone_open(o->backbone, &run.backbone);
    if (status != CZ_OK) return cli_fail_model(status);
    if (!bench_noise_make(&run.noise, o->photo_width, o->photo_height, 0))
        status = cz_source_error(CZ_E_MEMORY, "out of memory");
    if (status == CZ_OK) status = train(&run);
    if (status == CZ_OK) status = measure_all(&run, rows, &count);
    if (status != CZ_OK) code = cli_fail(status);
    if (status == CZ_E_UNSUPPORTED) code = CLI_USAGE; /* a precision that is not to be had here */
    if (code == CLI_OK && o->against != NULL) code = bench_against(&run, folder, rows, count);
    if (code == CLI_OK) bench_print_head(&run);
    for (size_t i = 0; i < count && code == CLI_OK; i++) bench_print_row(&run, &rows[i]);
    cz_model_close(run.model);
    cz_backbone_close(run.backbone);
    free(run.noise.pixels);
    return code;
}

static int check(bench_options *o, const cli_list *args)
{
    cz_precision precision;
    const bool sizes = parse_size(o->size, &o->train.image_width, &o->train.image_height) &&
                       parse_size(o->photo, &o->photo_width, &o->photo_height) && o->photo_width > 0 &&
                       o->photo_height > 0 && o->photo_width <= 16384 && o->photo_height <= 16384;
    if (!sizes || args->count > 0 || o->repeat == 0 || o->repeat > 10000 || o->batch == 0 || o->batch > 256) {
        cli_error("bench: a size, --repeat or --batch is out of range; see 'cozad bench --help'");
        return CLI_USAGE;
    }
    if (strcmp(o->precision, "all") != 0 &&
        (!cz_precision_find(o->precision, &precision) || precision == CZ_PRECISION_MODEL)) {
        cli_error("--precision: \"%s\" is none of fp32, fp32-winograd, bf16, int8, auto, all", o->precision);
        return CLI_USAGE;
    }
    if ((o->peers != NULL || o->keep != NULL) && o->against == NULL) {
        cli_error("--peers and --keep need --against");
        return CLI_USAGE;
    }
    if (!o->is_random) return CLI_OK;
    if (strchr(o->backbone, '/') != NULL) {
        cli_error("--random needs an architecture for --backbone, such as wide_resnet50_2");
        return CLI_USAGE;
    }
    if (strncmp(o->backbone, "random:", 7) == 0) return CLI_OK;
    const size_t size = strlen(o->backbone) + sizeof "random:";
    o->random = malloc(size);
    if (o->random == NULL) return cli_fail(CZ_E_MEMORY);
    (void)snprintf(o->random, size, "random:%s", o->backbone);
    o->backbone = o->random;
    return CLI_OK;
}

int cmd_bench(int argc, char **argv)
{
    bench_options o = {.backbone = "random:wide_resnet50_2",
                       .size = "256",
                       .photo = "1024",
                       .precision = "fp32",
                       .stage = "all",
                       .batch = 1,
                       .repeat = 15};
    common_init(&o.common);
    cz_train_options_init(&o.train);
    o.train.epochs = 1;
    o.train.patches_per_image = 64;
    const cli_option options[] = {
        {"backbone", 0, CLI_STRING, &o.backbone, "NAME|FILE", "weights", NULL},
        {"random", 0, CLI_FLAG, &o.is_random, NULL, "random weights; --backbone names the architecture", NULL},
        {"precision", 0, CLI_STRING, &o.precision, "NAME", "fp32, fp32-winograd, bf16, int8, auto or all", NULL},
        {"taps", 0, CLI_STRING, &o.train.taps, "LIST", "where features are taken", NULL},
        {"image-size", 0, CLI_STRING, &o.size, "N|WxH", "network input", NULL},
        {"photo-size", 0, CLI_STRING, &o.photo, "N|WxH", "the photo's own size", NULL},
        {"batch", 0, CLI_SIZE, &o.batch, "N", "photos computed at once", NULL},
        {"threads", 0, CLI_SIZE, &o.threads, "N", "0: all", NULL},
        {"repeat", 0, CLI_SIZE, &o.repeat, "N", "measurements; the median is printed", NULL},
        {"stage", 0, CLI_CHOICE, &o.stage, NULL, "which to print", "all|preprocess|backbone|pooling|head|map|total"},
        {"against", 0, CLI_CHOICE, &o.against, NULL, "compare in the same run, turn by turn", "onnxruntime|pytorch"},
        {"peers", 0, CLI_STRING, &o.peers, "DIR", "bench/ of the source; else $COZAD_PEERS, else above the program",
         NULL},
        {"keep", 0, CLI_STRING, &o.keep, "DIR", "with --against: leave the peer's weights and graphs there", NULL},
        {"json", 0, CLI_FLAG, &o.common.json, NULL, "one JSON object a precision", NULL},
    };
    cli_list args = {NULL, 0};
    int code = cli_parse(&verb, options, sizeof options / sizeof *options, argc, argv, &args);
    if (code < 0)
        code = check(&o, &args);
    else
        goto out;
    if (code == CLI_OK) code = bench(&o);
out:
    free(o.random);
    cli_list_free(&args);
    return cli_finish_output(code);
}
