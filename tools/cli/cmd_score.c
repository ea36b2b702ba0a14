/* SPDX-License-Identifier: Apache-2.0 */
#include "calibration.h"
#include "common.h"
#include "cozad/cozad_stream.h"
#include "pictures.h"
#include "score_output.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const cli_verb verb = {
    "score", "-m MODEL [options] PATH...", "Scores photos and folders of photos: the higher, the more anomalous.",
    "One result a photo on stdout as soon as it is known. With a calibrated model (cozad calibrate) it says normal or "
    "anomalous, and p, the share of normal photos that would score at least as high; --regions and --json add the "
    "connected regions of the map above the model's pixel threshold. --fdr decides all photos of the run together "
    "(Benjamini-Hochberg) and prints at the end. --gate makes an anomaly exit code 1, by the model's own decision or "
    "by "
    "SCORE. --maps writes PHOTO.map.png for each, 16-bit gray at the photo's own size with the raw range in the text "
    "chunks cozad:low and cozad:high; --overlay adds PHOTO.overlay.png, coloured, with one scale for all photos of a "
    "run. Region, ignore mask and fit are the model's unless given here; a calibrated model then needs --no-decision. "
    "A photo that cannot be read is reported, the others are scored all the same, and the exit code is 3.",
    "  cozad score -m part.cozad photos/today\n"
    "  cozad score -m part.cozad photos/today --maps maps --overlay --report today.html\n"
    "  cozad score -m part.cozad camera.png --json\n"
    "  cozad score -m part.cozad camera.png --gate || stop-the-line          (exit code 1: anomaly)\n"
    "  cozad score -m part.cozad camera.png --gate 0.2 || stop-the-line      (a threshold of your own)\n"
    "  cozad score -m part.cozad photos/today --fdr 0.05"};

typedef struct arguments {
    const char *model, *backbone, *roi, *mask, *fit, *range, *report, *gate;
    size_t threads, workers, batch, min_area;
    bool no_decision;
    common_options common;
    pictures pictures;
    score_format format;         /* threshold: of --gate SCORE, else the model's */
    char rule[CALIBRATION_TEXT]; /* where it comes from */
    size_t missing;              /* arguments that are not there */
} arguments;

/* A running `score`. */
typedef struct run {
    arguments *a;
    const input_list *list;
    picture_files *files; /* [list->count] what is written for each photo, until it is delivered */
    score_records kept;   /* with --fdr */
    size_t failed, anomalies, done;
    size_t scored, beyond; /* those that score out of the range of the products learnt from */
    cz_roi roi;
    cz_fit fit;
    cz_picture mask;
    bool interrupted;
    cz_status status; /* of `deliver`, with its message */
    char message[1024];
} run;

static void print_failure(const arguments *a, const char *path, const char *reason)
{
    const bool named = strstr(reason, path) != NULL;
    const score_record record = {.path = path, .error = reason};
    cli_error("%s%s%s", named ? "" : path, named ? "" : ": ", reason);
    score_print(&a->format, &record);
}

static cz_status take_score(run *r, const cz_stream_item *scored)
{
    const arguments *a = r->a;
    const score_format *f = &a->format;
    const cz_result *result = scored->result;
    const picture_files *files = &r->files[scored->index];
    const bool own = a->gate != NULL && a->gate[0] != '\0'; /* --gate SCORE goes before the model's threshold */
    score_record record = {.path = r->list->items[scored->index].path,
                           .score = result->score,
                           .p_value = result->p_value,
                           .decision = own ? result->score > f->threshold : result->decision,
                           .width = scored->image->width,
                           .height = scored->image->height,
                           .from_cache = result->from_cache,
                           .regions = result->regions,
                           .region_count = result->region_count,
                           .region_total = result->region_total,
                           .map = files->map,
                           .overlay = files->overlay};
    r->scored++;
    r->beyond += score_is_out_of_range(f, result->score);
    if (f->fdr > 0.0) return score_keep(&r->kept, &record);
    r->anomalies += record.decision > 0;
    score_print(f, &record);
    return CZ_OK;
}

/* In the worker that has scored the photo. */
static cz_status make_pictures(void *ctx, cz_stream_item *scored)
{
    const run *r = ctx;
    if (scored->result->map_width == 0) return CZ_OK; /* no map */
    return pictures_make(&r->a->pictures, &r->list->items[scored->index], scored->image, scored->result,
                         scored->session, NULL, &r->files[scored->index]);
}

/* In the order of the list. */
static int deliver(void *ctx, const cz_stream_item *scored)
{
    run *r = ctx;
    const input *item = &r->list->items[scored->index];
    if (scored->status != CZ_OK) {
        print_failure(r->a, item->path, scored->error);
        r->failed++;
    } else {
        r->status = pictures_add(&r->a->pictures, item, scored->result->score, &r->files[scored->index]);
        if (r->status == CZ_OK) r->status = take_score(r, scored);
        if (r->status != CZ_OK) (void)snprintf(r->message, sizeof r->message, "%s", cz_last_error());
    }
    picture_files_free(&r->files[scored->index]);
    r->done++;
    r->interrupted = cli_progress(NULL, "scoring", r->done, r->list->count, "") != 0 && r->done < r->list->count;
    return r->status != CZ_OK || r->interrupted;
}

/* With --fdr: all photos together, then their lines. */
static int decide_all(run *r)
{
    const score_format *f = &r->a->format;
    const cz_status status = score_decide(&r->kept, f->fdr, &r->anomalies);
    if (status != CZ_OK) return cli_fail(status);
    for (size_t i = 0; i < r->kept.count; i++) score_print(f, &r->kept.items[i]);
    cli_note("%zu of %zu photos are anomalous; of those at most %.3g %% are expected to be normal ones", r->anomalies,
             r->kept.count, 100.0 * f->fdr);
    return CLI_OK;
}

static int end_stream(const run *r, cz_status status)
{
    cli_progress_end();
    if (status == CZ_OK) return CLI_OK;
    if (r->interrupted) {
        cli_error("interrupted after %zu of %zu photos", r->done, r->list->count);
        return CLI_INTERRUPTED;
    }
    return cli_fail(r->status != CZ_OK ? cz_source_error(r->status, r->message) : status);
}

static int score_all(run *r, const cz_model *model, const cz_session_options *session)
{
    cz_stream_options stream = CZ_STREAM_OPTIONS_INIT;
    input_source source;
    cz_status status = input_source_open(r->list, INPUT_ANY, &r->a->common.read, &source);
    if (status != CZ_OK) return cli_fail(status);
    const cz_image_source images = input_source_callbacks(&source);
    int code = CLI_OK;
    stream.session = *session;
    stream.workers = r->a->workers;
    stream.work = make_pictures;
    stream.deliver = deliver;
    stream.ctx = r;
    r->files = calloc(r->list->count, sizeof *r->files);
    if (r->files == NULL) {
        code = cli_fail(cz_source_error(CZ_E_MEMORY, "out of memory"));
    } else {
        r->interrupted = cli_progress(NULL, "scoring", 0, r->list->count, "") != 0;
        status = r->interrupted ? CZ_E_CANCELLED : cz_score_stream(model, &images, &stream, NULL);
        code = end_stream(r, status);
        for (size_t i = 0; i < r->list->count; i++) picture_files_free(&r->files[i]);
    }
    free(r->files);
    input_source_free(&source);
    if (code == CLI_OK && r->a->format.fdr > 0.0) code = decide_all(r);
    if (code == CLI_OK && r->a->gate != NULL && r->anomalies > 0) return CLI_ANOMALY;
    return code == CLI_OK && r->failed > 0 ? CLI_SOME_FAILED : code;
}

static int write_page(const run *r, const cz_model *model)
{
    report *page = r->a->pictures.page;
    char photos[32];
    (void)snprintf(photos, sizeof photos, "%zu", r->list->count + r->a->missing - r->failed);
    const report_fact facts[] = {{"Model", r->a->model}, {"Photos scored", photos}, {"cozad", cz_version()}};
    const cz_backbone *backbone = cz_model_backbone(model);
    cz_status status =
        report_set_title(page, "What is not normal", "Photos sorted by score, the most anomalous first.");
    if (status == CZ_OK) status = report_set_facts(page, facts, sizeof facts / sizeof *facts);
    if (status == CZ_OK) {
        status = report_set_backbone(page, cz_backbone_name(backbone),
                                     strncmp(cz_backbone_name(backbone), "random:", 7) == 0);
    }
    report_set_scale(page, r->a->pictures.low, r->a->pictures.high);
    if (status == CZ_OK && isfinite(r->a->format.threshold))
        status = report_set_threshold(page, r->a->format.threshold, r->a->rule);
    if (status == CZ_OK) status = report_write(page, r->a->report);
    if (status != CZ_OK) return cli_fail(status);
    cli_note("%s: written", r->a->report);
    return CLI_OK;
}

/* A detector of whole photos has one score for each: its maps are of one colour. */
static void note_no_map(const arguments *a, const cz_model *model)
{
    if (a->pictures.maps_dir == NULL && a->report == NULL) return;
    json_t *meta = json_loads(cz_model_json(model), 0, NULL);
    const json_t *flow = json_object_get(json_object_get(meta, "head"), "flow");
    const char *level = json_string_value(json_object_get(flow, "level"));
    if (level != NULL && strcmp(level, "image") == 0)
        cli_note("%s: scores whole photos (--flow-level image), its maps show nothing of where", a->model);
    json_decref(meta);
}

/* A model of other products that was not calibrated on this one. */
static void set_range(arguments *a, const cz_model *model)
{
    score_format *f = &a->format;
    f->ranged = !f->decides && cz_model_source_range(model, &f->low, &f->high) != 0;
}

/* Single photos may be as odd as they like; if most are, the product is not what the scores were learnt on. */
static void warn_of_range(const run *r)
{
    if (r->beyond == 0 || 2 * r->beyond < r->scored) return;
    cli_note(
        "%zu of %zu photos score beyond %.4g to %.4g, where 99 %% of the products lie that %s has learnt from: do not "
        "trust these scores. Calibrate it on normal photos of this product (cozad calibrate), or use some of them: "
        "cozad train --method knn",
        r->beyond, r->scored, r->a->format.low, r->a->format.high, r->a->model);
}

/* What the options point to is in `r`. */
static int set_session(run *r, cz_session_options *out)
{
    arguments *a = r->a;
    cz_session_options options = CZ_SESSION_OPTIONS_INIT;
    r->fit = a->fit != NULL ? parse_fit(a->fit) : CZ_FIT_SQUASH;
    options.no_decision = a->no_decision;
    options.regions = a->format.decides && (a->format.regions || a->common.json);
    options.region_area = a->min_area;
    const bool mapped = a->pictures.maps_dir != NULL || a->report != NULL || options.regions != 0;
    options.threads = a->threads;
    options.max_batch = a->batch;
    tile_apply(&a->common.tile, &options);
    options.map = !mapped ? CZ_MAP_NONE : options.tile_width > 0 ? CZ_MAP_ROWS : CZ_MAP_ORIGINAL;
    options.cache = a->common.cache;
    options.precision = a->common.precision;
    options.log = cli_log;
    if (a->fit != NULL) options.fit = &r->fit;
    if (a->roi != NULL) {
        if (!parse_roi(a->roi, &r->roi)) {
            cli_error("--roi: \"%s\" is not x,y,width,height", a->roi);
            return CLI_USAGE;
        }
        options.roi = &r->roi;
    }
    cz_status status = CZ_OK;
    if (a->mask != NULL) {
        status = cz_picture_read_mask(a->mask, &a->common.read, &r->mask);
        options.ignore_mask = &r->mask.image;
    }
    *out = options;
    return status == CZ_OK ? CLI_OK : cli_fail(status);
}

/* With few calibration photos p-values are coarse, and a single one cannot be small enough for a large batch. */
static void warn_coarse(const arguments *a, const cz_calibration *c, size_t photos)
{
    const double smallest = 1.0 / (double)(c->count + 1);
    const double together = ceil(smallest * (double)photos / a->format.fdr - 1e-9);
    if (together < 2.0) return;
    if (together > (double)photos) {
        cli_note("no photo can be called anomalous: with %zu calibration photos p is at least %.2g", c->count,
                 smallest);
    } else {
        cli_note(
            "with %zu calibration photos p is at least %.2g: of %zu photos none is called anomalous unless %.0f have "
            "that p",
            c->count, smallest, photos, together);
    }
}

/* What the model can decide and what was asked for. */
static int prepare_decision(arguments *a, const cz_model *model, size_t photos)
{
    cz_calibration c;
    const bool calibrated = cz_model_calibration(model, &c) != 0, own = a->gate != NULL && a->gate[0] != '\0';
    const char *wants = a->format.fdr > 0.0       ? "--fdr"
                        : a->format.regions       ? "--regions"
                        : a->gate != NULL && !own ? "--gate without a score"
                                                  : NULL;
    if (!calibrated && wants != NULL) {
        cli_error("%s needs a calibrated model, and %s is not: see 'cozad calibrate --help'", wants, a->model);
        return CLI_USAGE;
    }
    a->format.decides = calibrated && !a->no_decision;
    if (own) {
        (void)snprintf(a->rule, sizeof a->rule, "as given with --gate");
    } else if (a->format.decides && a->format.fdr <= 0.0) {
        a->format.threshold = c.threshold;
        (void)calibration_describe(&c, a->rule);
    }
    if (a->format.fdr > 0.0) warn_coarse(a, &c, photos);
    return CLI_OK;
}

static int score(arguments *a, const input_list *list)
{
    run r = {.a = a, .list = list, .failed = a->missing};
    cz_model *model = NULL;
    int code = common_open_model(a->model, a->backbone, &model);
    if (code != CLI_OK) return code;
    cz_model_scale(model, &a->pictures.low, &a->pictures.high);
    note_no_map(a, model);
    cz_status status = CZ_OK;
    code = tile_settle(&a->common.tile, model);
    if (code == CLI_OK) code = prepare_decision(a, model, list->count);
    if (code == CLI_OK) set_range(a, model);
    if (code == CLI_OK && a->range != NULL && !pictures_parse_range(a->range, &a->pictures.low, &a->pictures.high)) {
        cli_error("--range: \"%s\" is not LOW,HIGH", a->range);
        code = CLI_USAGE;
    }
    if (code == CLI_OK && (status = pictures_check(&a->pictures, list)) != CZ_OK) code = cli_fail(status);
    if (code == CLI_OK && a->report != NULL) code = common_check_writable(a->report);
    if (code == CLI_OK && a->report != NULL && (status = report_open(0, &a->pictures.page)) != CZ_OK)
        code = cli_fail(status);
    cz_session_options session;
    if (code == CLI_OK) code = set_session(&r, &session);
    if (code == CLI_OK) {
        code = score_all(&r, model, &session);
        const bool done = code == CLI_OK || code == CLI_ANOMALY || code == CLI_SOME_FAILED;
        if (done) warn_of_range(&r);
        if (done && a->report != NULL) {
            const int written = write_page(&r, model);
            if (written != CLI_OK) code = written;
        }
    }
    score_records_free(&r.kept);
    cz_picture_free(&r.mask);
    cz_model_close(model);
    return code;
}

static int check(arguments *a, const cli_list *args)
{
    if (a->model == NULL || args->count == 0) {
        cli_error("score needs -m MODEL and at least one photo or folder; see 'cozad score --help'");
        return CLI_USAGE;
    }
    if (a->common.json && a->common.csv) {
        cli_error("--json and --csv exclude each other");
        return CLI_USAGE;
    }
    if (a->workers > 1024) {
        cli_error("--workers: at most 1024");
        return CLI_USAGE;
    }
    if (a->batch == 0 || a->batch > 1024) {
        cli_error("--batch: 1 to 1024");
        return CLI_USAGE;
    }
    const bool own = a->gate != NULL && a->gate[0] != '\0';
    a->format.json = a->common.json;
    a->format.csv = a->common.csv;
    a->format.gate = a->gate != NULL;
    a->format.threshold = own ? strtod(a->gate, NULL) : (double)NAN;
    if (a->format.fdr < 0.0 || a->format.fdr >= 1.0) {
        cli_error("--fdr: %g is not between 0 and 1", a->format.fdr);
        return CLI_USAGE;
    }
    if (a->format.mm_per_pixel < 0.0) {
        cli_error("--mm-per-pixel: %g is below 0", a->format.mm_per_pixel);
        return CLI_USAGE;
    }
    if (a->format.fdr > 0.0 && own) {
        cli_error("--fdr and a score for --gate exclude each other");
        return CLI_USAGE;
    }
    if (a->no_decision && (a->format.fdr > 0.0 || a->format.regions || (a->gate != NULL && !own))) {
        cli_error("--no-decision excludes --fdr, --regions and --gate without a score");
        return CLI_USAGE;
    }
    return CLI_OK;
}

int cmd_score(int argc, char **argv)
{
    arguments a = {.batch = 1, .min_area = 1};
    common_init(&a.common);
    const cli_option options[] = {
        {"model", 'm', CLI_STRING, &a.model, "MODEL", "model file", NULL},
        {"backbone", 0, CLI_STRING, &a.backbone, "NAME|FILE", "weights; found by the model's SHA-256 unless given",
         NULL},
        {"maps", 0, CLI_STRING, &a.pictures.maps_dir, "DIR", "write a heat map for each photo", NULL},
        {"overlay", 0, CLI_FLAG, &a.pictures.overlay, NULL, "with --maps: also a coloured map over the photo", NULL},
        {"range", 0, CLI_STRING, &a.range, "LOW,HIGH", "ends of the colour scale; the model's unless given", NULL},
        {"report", 0, CLI_STRING, &a.report, "FILE", "write one HTML page, photos sorted by score", NULL},
        {"gate", 0, CLI_NUMBER, &a.gate, "[SCORE]", "exit code 1 for an anomaly: by the model, or above SCORE", NULL},
        {"fdr", 0, CLI_REAL, &a.format.fdr, "Q", "decide together: share of false ones among the anomalous; 0: off",
         NULL},
        {"no-decision", 0, CLI_FLAG, &a.no_decision, NULL, "scores alone, even from a calibrated model", NULL},
        {"regions", 0, CLI_FLAG, &a.format.regions, NULL, "print the regions above the pixel threshold", NULL},
        {"min-area", 0, CLI_SIZE, &a.min_area, "N", "leave out regions of fewer pixels", NULL},
        {"mm-per-pixel", 0, CLI_REAL, &a.format.mm_per_pixel, "X", "gives regions an area in mm2; 0: not known", NULL},
        {"roi", 0, CLI_STRING, &a.roi, "x,y,w,h", "instead of the model's region", NULL},
        {"ignore-mask", 0, CLI_STRING, &a.mask, "FILE", "instead of the model's mask", NULL},
        {"fit", 0, CLI_CHOICE, &a.fit, NULL, "instead of the model's fit", "squash|letterbox|crop"},
        {"batch", 0, CLI_SIZE, &a.batch, "N", "photos that a worker computes at once", NULL},
        TILE_OPTIONS(a.common.tile),
        COMMON_PRECISION_OPTION(a.common),
        {"workers", 0, CLI_SIZE, &a.workers, "N", "photos scored side by side, each by threads / N; 0: one a thread",
         NULL},
        {"threads", 0, CLI_SIZE, &a.threads, "N", "0: all", NULL},
        COMMON_CACHE_OPTIONS(a.common),
        COMMON_READ_OPTIONS(a.common),
        {"json", 0, CLI_FLAG, &a.common.json, NULL, "JSON Lines", NULL},
        {"csv", 0, CLI_FLAG, &a.common.csv, NULL, "comma-separated values with a header", NULL},
    };
    cli_list args = {NULL, 0};
    input_list list = {0};
    int code = cli_parse(&verb, options, sizeof options / sizeof *options, argc, argv, &args);
    if (code < 0)
        code = check(&a, &args);
    else
        goto out;
    if (code == CLI_OK) score_print_header(&a.format);
    for (size_t i = 0; i < args.count && code == CLI_OK; i++) {
        const cz_status status = inputs_add_path(&list, args.items[i]);
        if (status == CZ_E_MEMORY) code = cli_fail(status);
        if (status != CZ_OK && status != CZ_E_MEMORY) {
            print_failure(&a, args.items[i], cz_last_error());
            a.missing++;
        }
    }
    if (code == CLI_OK && list.count == 0) {
        if (a.missing == 0) cli_error("%s: there are no images", args.items[0]);
        code = CLI_SOME_FAILED;
    }
    if (code == CLI_OK) {
        common_finish(&a.common);
        code = score(&a, &list);
    }
out:
    pictures_free(&a.pictures);
    inputs_free(&list);
    cli_list_free(&args);
    return cli_finish_output(code);
}
