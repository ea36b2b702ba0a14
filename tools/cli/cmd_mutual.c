/* SPDX-License-Identifier: Apache-2.0 */
#include "mutual.h"

#include <stdlib.h>
#include <string.h>

static const cli_verb verb = {
    "mutual", "PHOTOS... [options]",
    "Compares the photos of one product with each other and lists the odd ones first. No training, no labels, no "
    "model.",
    "Give it all photos at once, at least 8: a patch scores its distance to the most similar patches of the photos "
    "most like its "
    "own, so what most photos have is normal, and so is a defect that they all share. Scores are comparable within one "
    "run alone: "
    "0 is the run's median, 1 its median deviation. Photos of the very same piece know its defect from each other; "
    "they are "
    "recognised and left out of its comparison (--same-piece keep: not). docs/mutual.md says when it is of use.\n\n"
    "With --data the test photos of a labelled data set are the batch, each category by itself, and figures are "
    "printed, as of "
    "protocol \"transductive\": all test photos are looked at together, which is another thing than cozad eval does. "
    "Labels are "
    "used for the figures only.\n\n"
    "--maps and --overlay write pictures as score does; the colour scale goes from the median to the 99.9 % quantile "
    "of all patch "
    "scores of the run. A photo that cannot be read is named, the others are compared, and the exit code is 3.",
    "  cozad mutual photos --overlay --maps maps\n"
    "  cozad mutual photos --report odd.html\n"
    "  cozad mutual photos --csv --top 50 >odd.csv\n"
    "  cozad mutual --data mvtec/screw --json"};

/* ---- output ------------------------------------------------------------------------------------------------------- */

static void print_table(const mutual_batch *b, size_t rows)
{
    if (rows > 0) printf("%9s  %9s  %9s  %4s  %11s  %s\n", "score", "raw", "placed", "same", "place", "photo");
    for (size_t i = 0; i < rows; i++) {
        const cz_mutual_photo *p = &b->photos[i];
        char place[48];
        (void)snprintf(place, sizeof place, "%zu,%zu", p->place_x, p->place_y);
        printf("%9.3f  %9.5f  %9.5f  %4zu  %11s  %s  (like %s)\n", p->score, p->raw, p->placed, p->same_piece, place,
               b->list->items[p->index].path, b->list->items[p->nearest].relative);
    }
    if (rows < b->count) printf("and %zu more (--top %zu)\n", b->count - rows, b->count);
}

static void print_csv(const mutual_batch *b, size_t rows)
{
    printf("path,score,raw,placed,place_x,place_y,same_piece,nearest,error\n");
    for (size_t i = 0; i < rows; i++) {
        const cz_mutual_photo *p = &b->photos[i];
        common_print_csv_field(b->list->items[p->index].path);
        printf(",%.9g,%.9g,%.9g,%zu,%zu,%zu,", p->score, p->raw, p->placed, p->place_x, p->place_y, p->same_piece);
        common_print_csv_field(b->list->items[p->nearest].path);
        printf(",\n");
    }
}

static void print_json(const mutual_batch *b, size_t rows)
{
    for (size_t i = 0; i < rows; i++) {
        const cz_mutual_photo *p = &b->photos[i];
        const picture_files *files = &b->files[p->index];
        json_t *line = json_pack("{s:s, s:f, s:f, s:f, s:[I,I], s:I, s:s}", "path", b->list->items[p->index].path,
                                 "score", p->score, "raw", p->raw, "placed", p->placed, "place", (json_int_t)p->place_x,
                                 (json_int_t)p->place_y, "same_piece", (json_int_t)p->same_piece, "nearest",
                                 b->list->items[p->nearest].path);
        if (line != NULL && files->map != NULL) (void)json_object_set_new(line, "map", json_string(files->map));
        if (line != NULL && files->overlay != NULL)
            (void)json_object_set_new(line, "overlay", json_string(files->overlay));
        common_print_json(line);
    }
}

/* A photo without a score, for the tables of machines; why has been said. */
static void print_failed(const mutual_setup *a, const char *path)
{
    static const char reason[] = "could not be used";
    if (a->common.csv) {
        common_print_csv_field(path);
        printf(",,,,,,,,%s\n", reason);
    } else if (a->common.json) {
        common_print_json(json_pack("{s:s, s:s}", "path", path, "error", reason));
    }
}

static void print(const mutual_setup *a, const mutual_batch *b, const cli_list *missing)
{
    const size_t rows = a->top > 0 && a->top < b->count ? a->top : b->count;
    if (a->common.csv) {
        print_csv(b, rows);
    } else if (a->common.json) {
        print_json(b, rows);
    } else {
        print_table(b, rows);
    }
    for (size_t i = 0; i < missing->count; i++) print_failed(a, missing->items[i]);
    for (size_t i = 0; i < b->list->count; i++) {
        if (!b->scored[i]) print_failed(a, b->list->items[i].path);
    }
    (void)fflush(stdout);
}

/* ---- photos -------------------------------------------------------------------------------------------------------- */

typedef struct picture_run {
    const mutual_setup *a;
    mutual_batch *batch;
} picture_run;

static cz_status take_pictures(void *ctx, const mutual_view *view)
{
    const picture_run *r = ctx;
    return mutual_write_pictures(r->a, r->batch, view);
}

static int compare(mutual_setup *a, cz_backbone *backbone, const input_list *list, const cli_list *missing)
{
    mutual_batch b = {0};
    size_t failed = 0;
    cz_status status = pictures_check(&a->pictures, list);
    int code = status == CZ_OK ? mutual_page_open(a) : cli_fail(status);
    if (code == CLI_OK) code = mutual_batch_score(a, backbone, list, &b);
    if (code == CLI_OK && (a->pictures.maps_dir != NULL || a->report != NULL)) {
        picture_run r = {a, &b};
        code = mutual_batch_look(a, &b, take_pictures, &r, &failed);
    }
    if (code == CLI_OK) {
        print(a, &b, missing);
        const size_t left_out = missing->count + failed + cz_mutual_scores_skipped(b.scores);
        code = mutual_page_write(a, &b, backbone, left_out);
        if (code == CLI_OK && left_out > 0) code = CLI_SOME_FAILED;
    }
    mutual_batch_free(&b);
    return code;
}

/* `missing`: room for all of them. */
static int gather(const cli_list *args, input_list *list, cli_list *missing)
{
    for (size_t i = 0; i < args->count; i++) {
        const cz_status status = inputs_add_path(list, args->items[i]);
        if (status == CZ_E_MEMORY) return cli_fail(status);
        if (status == CZ_OK) continue;
        (void)cli_fail(status);
        missing->items[missing->count++] = args->items[i];
    }
    if (list->count > 0) return CLI_OK;
    if (missing->count == 0) cli_error("%s: there are no images", args->items[0]);
    return CLI_SOME_FAILED;
}

static int compare_paths(mutual_setup *a, cz_backbone *backbone, const cli_list *args)
{
    input_list list = {0};
    cli_list missing = {calloc(args->count + 1, sizeof *missing.items), 0};
    int code = CLI_RESOURCES;
    if (missing.items == NULL)
        cli_error("out of memory");
    else
        code = gather(args, &list, &missing);
    if (code == CLI_OK) code = compare(a, backbone, &list, &missing);
    inputs_free(&list);
    cli_list_free(&missing);
    return code;
}

/* ---- the verb ----------------------------------------------------------------------------------------------------- */

static const char *problem_of(const mutual_setup *a, const cli_list *args)
{
    if ((a->data != NULL) == (args->count > 0)) {
        return a->data != NULL ? "photos and --data exclude each other"
                               : "mutual needs photos, folders of them, or --data ROOT";
    }
    if (a->common.json && a->common.csv) return "--json and --csv exclude each other";
    if (a->data == NULL && (a->category != NULL || a->save_scores != NULL || strcmp(a->layout, "auto") != 0))
        return "--layout, --category and --save-scores go with --data";
    if (a->data != NULL && a->report != NULL) return "--report goes with photos, not with --data";
    if (a->data != NULL && a->top > 0) return "--top goes with photos, not with --data";
    if (a->pictures.overlay && a->pictures.maps_dir == NULL) return "--overlay needs --maps DIR";
    return NULL;
}

/* What the options say of the library's own. */
static int settle(mutual_setup *a)
{
    cz_mutual_options *m = &a->mutual;
    m->fit = parse_fit(a->fit);
    m->same_piece = strcmp(a->same_piece, "leave-out") == 0;
    m->neighbourhood = strcmp(a->neighbourhood, "1") == 0   ? CZ_MUTUAL_NEIGHBOURHOOD_1
                       : strcmp(a->neighbourhood, "3") == 0 ? CZ_MUTUAL_NEIGHBOURHOOD_3
                                                            : CZ_MUTUAL_NEIGHBOURHOOD_AUTO;
    m->among = strcmp(a->among, "similar") == 0 ? CZ_MUTUAL_AMONG_SIMILAR
               : strcmp(a->among, "drawn") == 0 ? CZ_MUTUAL_AMONG_DRAWN
                                                : CZ_MUTUAL_AMONG_AUTO;
    (void)cz_precision_find(a->precision, &m->precision); /* one of the choices */
    m->cache = a->common.cache;
    m->progress = cli_progress;
    m->log = cli_log;
    if (!parse_size(a->size, &m->image_width, &m->image_height)) {
        cli_error("--image-size: \"%s\" is not N or WIDTHxHEIGHT", a->size);
        return CLI_USAGE;
    }
    if (a->roi != NULL && !parse_roi(a->roi, &m->roi)) {
        cli_error("--roi: \"%s\" is not x,y,width,height", a->roi);
        return CLI_USAGE;
    }
    if (a->mask == NULL) return CLI_OK;
    const cz_status status = cz_picture_read_mask(a->mask, &a->common.read, &a->ignored);
    m->ignore_mask = &a->ignored.image;
    return status == CZ_OK ? CLI_OK : cli_fail(status);
}

static int run(mutual_setup *a, const cli_list *args)
{
    cz_backbone *backbone = NULL;
    const char *problem = problem_of(a, args);
    if (problem != NULL) {
        cli_error("%s; see 'cozad mutual --help'", problem);
        return CLI_USAGE;
    }
    common_finish(&a->common);
    int code = settle(a);
    if (code != CLI_OK) return code;
    const cz_status status = common_open_backbone(a->backbone, &backbone);
    if (status != CZ_OK) return cli_fail_model(status);
    code = a->data != NULL ? mutual_data(a, backbone) : compare_paths(a, backbone, args);
    cz_backbone_close(backbone);
    return code;
}

int cmd_mutual(int argc, char **argv)
{
    mutual_setup a = {.backbone = common_default_backbone(), .size = "256", .fit = "squash", .precision = "fp32"};
    cz_mutual_options *m = &a.mutual;
    a.same_piece = "leave-out";
    a.neighbourhood = a.among = "auto";
    a.layout = "auto";
    a.resamples = 1000;
    cz_mutual_options_init(m);
    common_init(&a.common);
    const cli_option options[] = {
        {"top", 0, CLI_SIZE, &a.top, "N", "photos listed; 0: all", NULL},
        {"maps", 0, CLI_STRING, &a.pictures.maps_dir, "DIR", "write a heat map for each photo", NULL},
        {"overlay", 0, CLI_FLAG, &a.pictures.overlay, NULL, "with --maps: also a coloured map over the photo", NULL},
        {"report", 0, CLI_STRING, &a.report, "FILE", "write one HTML page, the odd photos first", NULL},
        {"backbone", 0, CLI_STRING, &a.backbone, "NAME|FILE", COMMON_BACKBONE_HELP, NULL},
        {"taps", 0, CLI_STRING, &m->taps, "LIST", "where features are taken", NULL},
        {"image-size", 0, CLI_STRING, &a.size, "N|WxH", "network input", NULL},
        {"fit", 0, CLI_CHOICE, &a.fit, NULL, "how a photo becomes that size", "squash|letterbox|crop"},
        {"resize", 0, CLI_SIZE, &m->resize, "N", "short side before --fit crop cuts; 0: the image size", NULL},
        {"roi", 0, CLI_STRING, &a.roi, "x,y,w,h", "only this region of every photo", NULL},
        {"ignore-mask", 0, CLI_STRING, &a.mask, "FILE", "white pixels of this picture are not inspected", NULL},
        {"candidates", 0, CLI_SIZE, &m->candidates, "M", "photos that each is compared with patch by patch", NULL},
        {"nearest", 0, CLI_SIZE, &m->nearest, "K", "of which a patch's score is the mean of the K smallest distances",
         NULL},
        {"same-piece", 0, CLI_CHOICE, &a.same_piece, NULL, "candidates that show the very same piece",
         "leave-out|keep"},
        {"neighbourhood", 0, CLI_CHOICE, &a.neighbourhood, NULL, "patches a descriptor is the mean of, a side",
         "auto|1|3"},
        {"among", 0, CLI_CHOICE, &a.among, NULL, "candidates: the most similar photos, or drawn ones",
         "auto|similar|drawn"},
        {"width", 0, CLI_SIZE, &m->width, "D", "dimensions that each tap is projected to", NULL},
        {"seed", 0, CLI_U64, &m->seed, "S", "of the projection, of drawn photos, and of the bootstrap", NULL},
        {"memory", 0, CLI_U64, &m->memory, "BYTES", "refuse larger batches; 0: 8 GB", NULL},
        {"precision", 0, CLI_CHOICE, &a.precision, NULL, "what to compute in; int8: weights with ranges inside",
         "fp32|fp32-winograd|bf16|int8"},
        {"threads", 0, CLI_SIZE, &m->threads, "N", "0: all", NULL},
        {"data", 0, CLI_STRING, &a.data, "ROOT", "instead of photos: a labelled data set; prints figures", NULL},
        {"layout", 0, CLI_STRING, &a.layout, "NAME", "of --data: auto, mvtec, visa, yesno, csv, ...", NULL},
        {"category", 0, CLI_STRING, &a.category, "NAME,...", "of --data: these categories only", NULL},
        {"resamples", 0, CLI_SIZE, &a.resamples, "N", "with --data: bootstrap resamples; 0: no intervals", NULL},
        {"save-scores", 0, CLI_STRING, &a.save_scores, "FILE",
         "with --data: write JSON Lines for cozad metrics and compare", NULL},
        COMMON_CACHE_OPTIONS(a.common),
        COMMON_READ_OPTIONS(a.common),
        {"json", 0, CLI_FLAG, &a.common.json, NULL, "JSON Lines; with --data one object", NULL},
        {"csv", 0, CLI_FLAG, &a.common.csv, NULL, "comma-separated values with a header", NULL},
    };
    cli_list args = {NULL, 0};
    int code = cli_parse(&verb, options, sizeof options / sizeof *options, argc, argv, &args);
    if (code < 0) code = run(&a, &args);
    pictures_free(&a.pictures);
    cz_picture_free(&a.ignored);
    cli_list_free(&args);
    return cli_finish_output(code);
}
