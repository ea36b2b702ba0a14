/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"
#include "common.h"
#include "inputs.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static const cli_verb verb = {
    "adapt", "-m MODEL --normal DIR [-k N,N,…] [options] -o NEW",
    "Adapts a trained model to a new product with a few of its photos, in seconds.",
    "Takes inner-loop steps (Eq. 11) from the model's parameters on the photos, with the objective that it was trained "
    "with; "
    "photos that are not normal are weighed down as in training. Batch-norm statistics are then recomputed on these "
    "photos. "
    "MODEL stays as it is. -k adapts with the first photos of a random order (the same for every number: the 2 are "
    "among the "
    "4), and with several numbers writes NEW.k1.cozad, NEW.k2.cozad … in place of NEW.cozad. The loss printed is that "
    "of the "
    "photos before and after, with the same patches and noise.",
    "  cozad adapt -m zero-shot.cozad --normal photos/new-part -o new-part.cozad\n"
    "  cozad adapt -m zero-shot.cozad --normal photos/new-part -k 1,2,4,8 --steps 20 -o new-part.cozad"};

enum { MAX_NUMBERS = 64 };

typedef struct arguments {
    const char *model, *normal, *photos, *backbone, *output;
    common_options common;
    cz_adapt_options adapt;
    size_t numbers[MAX_NUMBERS]; /* -k */
    size_t count;                /* of them; 0: all photos */
} arguments;

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* "1,2,4,8": whole numbers from 1, none twice. */
static bool parse_numbers(const char *text, arguments *a)
{
    for (;;) {
        char *end;
        if (text[0] < '1' || text[0] > '9' || a->count == MAX_NUMBERS) return false;
        const unsigned long value = strtoul(text, &end, 10);
        if (value > 1000000) return false;
        for (size_t i = 0; i < a->count; i++) {
            if (a->numbers[i] == value) return false;
        }
        a->numbers[a->count++] = value;
        if (*end == '\0') return true;
        if (*end != ',') return false;
        text = end + 1;
    }
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return strcmp(a, b) == 0 || (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

/* Where the model of `photos` photos goes: NEW.kN.cozad when there are several; free(). */
static char *output_name(const arguments *a, size_t photos)
{
    if (a->count < 2) return strdup(a->output);
    const char *slash = strrchr(a->output, '/'), *name = slash != NULL ? slash + 1 : a->output;
    const char *dot = strrchr(name, '.');
    const size_t stem = dot != NULL && dot != name ? (size_t)(dot - a->output) : strlen(a->output);
    const size_t room = strlen(a->output) + 32;
    char *path = malloc(room);
    if (path != NULL) (void)snprintf(path, room, "%.*s.k%zu%s", (int)stem, a->output, photos, a->output + stem);
    return path;
}

/* Found out now rather than after the work. */
static int check_outputs(const arguments *a)
{
    int code = CLI_OK;
    for (size_t i = 0; code == CLI_OK && (i == 0 || i < a->count); i++) {
        char *path = output_name(a, a->numbers[i]);
        if (path == NULL) return CLI_RESOURCES;
        if (same_file(path, a->model)) {
            cli_error("%s: is the model to adapt from; it stays as it is, so -o must name another file", path);
            code = CLI_USAGE;
        } else {
            code = common_check_writable(path);
        }
        free(path);
    }
    return code;
}

/* A seeded order of the photos (Fisher-Yates over splitmix64), so that -k takes the first ones. */
static void shuffle(size_t *items, size_t count, uint64_t seed)
{
    uint64_t at = seed;
    for (size_t i = count; i > 1; i--) {
        at += 0x9e3779b97f4a7c15u;
        uint64_t z = at;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        const size_t j = (size_t)((z ^ (z >> 31)) % i); /* i is far below 2^64: the bias is nothing */
        const size_t kept = items[i - 1];
        items[i - 1] = items[j];
        items[j] = kept;
    }
}

/* ---- one model ---------------------------------------------------------------------------------------------------- */

static void print_result(const arguments *a, const char *path, const cz_model *model, const cz_adapt_report *r,
                         size_t failed, double elapsed)
{
    json_t *meta = json_loads(cz_model_json(model), 0, NULL);
    const json_t *adapted = json_object_get(meta, "adapted");
    const json_int_t steps = json_integer_value(json_object_get(adapted, "steps"));
    const double rate = json_number_value(json_object_get(adapted, "inner_lr"));
    if (a->common.json) {
        common_print_json(json_pack("{s:s, s:I, s:I, s:I, s:f, s:o, s:o, s:o, s:o, s:o, s:f}", "model", path, "images",
                                    (json_int_t)r->images, "failed", (json_int_t)failed, "steps", steps, "inner_lr",
                                    rate, "loss_before", common_json_real(r->loss_before), "loss_after",
                                    common_json_real(r->loss_after), "ad_before", common_json_real(r->ad_before),
                                    "ad_after", common_json_real(r->ad_after), "mean_weight",
                                    common_json_real(r->mean_weight), "seconds", elapsed));
    } else {
        printf("%s: %lld step%s at %g on %zu photo%s: support loss %.6g before, %.6g after; %.1f s\n", path,
               (long long)steps, steps == 1 ? "" : "s", rate, r->images, r->images == 1 ? "" : "s", r->loss_before,
               r->loss_after, elapsed);
        (void)fflush(stdout);
    }
    json_decref(meta);
}

/* Adapts to the first `photos` of the source. */
static int adapt_one(arguments *a, const cz_model *model, input_source *source, size_t photos)
{
    cz_model *adapted = NULL;
    cz_adapt_report report;
    const double start = seconds();
    const size_t failed = source->failed;
    memset(source->refused, 0, source->count * sizeof *source->refused); /* counted anew for each model */
    char *path = output_name(a, photos);
    if (path == NULL) return CLI_RESOURCES;
    cz_image_source callbacks = input_source_callbacks(source);
    callbacks.count = photos;
    cz_status status = cz_adapt(model, &callbacks, &a->adapt, &adapted, &report);
    cli_progress_end();
    if (status == CZ_OK) status = cz_model_save(adapted, path);
    if (status == CZ_OK) print_result(a, path, adapted, &report, source->failed - failed, seconds() - start);
    const int code = status == CZ_OK ? CLI_OK : cli_fail(status);
    cz_model_close(adapted);
    free(path);
    return code;
}

static int adapt(arguments *a, const input_list *list)
{
    cz_model *model = NULL;
    input_source source;
    int code = check_outputs(a);
    if (code != CLI_OK) return code;
    const cz_status status = input_source_open(list, INPUT_ANY, &a->common.read, &source);
    if (status != CZ_OK) return cli_fail(status);
    if (source.count == 0) {
        cli_error("%s: there are no images to adapt to", a->normal);
        code = CLI_SOME_FAILED;
    }
    for (size_t i = 0; code == CLI_OK && i < a->count; i++) {
        if (a->numbers[i] <= source.count) continue;
        cli_error("-k %zu: there are %zu photos in %s", a->numbers[i], source.count, a->normal);
        code = CLI_USAGE;
    }
    if (code == CLI_OK) code = common_open_model(a->model, a->backbone, &model);
    if (a->count > 0) shuffle(source.chosen, source.count, a->adapt.seed);
    for (size_t i = 0; code == CLI_OK && (i == 0 || i < a->count); i++) {
        code = adapt_one(a, model, &source, a->count > 0 ? a->numbers[i] : source.count);
    }
    if (code == CLI_OK && source.failed > 0) code = CLI_SOME_FAILED;
    cz_model_close(model);
    input_source_free(&source);
    return code;
}

static int check_arguments(arguments *a, const cli_list *args)
{
    if (args->count > 0) {
        cli_error("%s: adapt takes its photos from --normal", args->items[0]);
        return CLI_USAGE;
    }
    if (a->model == NULL || a->normal == NULL || a->output == NULL) {
        cli_error("adapt needs -m MODEL, --normal DIR and -o NEW; see 'cozad adapt --help'");
        return CLI_USAGE;
    }
    if (a->photos != NULL && !parse_numbers(a->photos, a)) {
        cli_error("-k: \"%s\" is not a list of different whole numbers from 1", a->photos);
        return CLI_USAGE;
    }
    if (a->adapt.inner_lr < 0.0) {
        cli_error("--inner-lr: %g is below 0", a->adapt.inner_lr);
        return CLI_USAGE;
    }
    return CLI_OK;
}

int cmd_adapt(int argc, char **argv)
{
    arguments a;
    memset(&a, 0, sizeof a);
    common_init(&a.common);
    cz_adapt_options_init(&a.adapt);
    const cli_option options[] = {
        {"model", 'm', CLI_STRING, &a.model, "MODEL", "model file to adapt from; stays as it is", NULL},
        {"normal", 0, CLI_STRING, &a.normal, "DIR", "folder of photos of the new product", NULL},
        {"photos", 'k', CLI_STRING, &a.photos, "LIST", "how many of them, as 1,2,4,8: a model each; all unless given",
         NULL},
        {"output", 'o', CLI_STRING, &a.output, "NEW", "model file to write", NULL},
        {"steps", 0, CLI_SIZE, &a.adapt.steps, "S", "inner-loop steps; 0: the model's own", NULL},
        {"inner-lr", 0, CLI_REAL, &a.adapt.inner_lr, "X", "their learning rate; 0: the model's own", NULL},
        {"patches-per-image", 0, CLI_SIZE, &a.adapt.patches_per_image, "N", "random patches a step; 0: all", NULL},
        {"seed", 0, CLI_U64, &a.adapt.seed, "S", "of the choice of photos and patches, and of the noise", NULL},
        {"backbone", 0, CLI_STRING, &a.backbone, "NAME|FILE", "weights; found by the model's SHA-256 unless given",
         NULL},
        COMMON_PRECISION_OPTION(a.common),
        {"threads", 0, CLI_SIZE, &a.adapt.threads, "N", "0: all", NULL},
        COMMON_CACHE_OPTIONS(a.common),
        COMMON_READ_OPTIONS(a.common),
        {"json", 0, CLI_FLAG, &a.common.json, NULL, "JSON Lines", NULL},
    };
    cli_list args = {NULL, 0};
    input_list list;
    memset(&list, 0, sizeof list);
    int code = cli_parse(&verb, options, sizeof options / sizeof *options, argc, argv, &args);
    if (code < 0) {
        code = check_arguments(&a, &args);
        if (code == CLI_OK) {
            const cz_status status = inputs_add_path(&list, a.normal);
            if (status != CZ_OK) code = cli_fail(status);
        }
        if (code == CLI_OK) {
            common_finish(&a.common);
            a.adapt.cache = a.common.cache;
            a.adapt.precision = a.common.precision;
            a.adapt.progress = cli_progress;
            a.adapt.log = cli_log;
            code = adapt(&a, &list);
        }
    }
    inputs_free(&list);
    cli_list_free(&args);
    return cli_finish_output(code);
}
