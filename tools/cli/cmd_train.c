/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "cozad/cozad_eval.h"
#include "decisions.h"
#include "inputs.h"
#include "labelled.h"
#include "train_log.h"
#include "train_options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const cli_verb verb = {
    "train", "--normal DIR | --source ROOT:LAYOUT... [options] -o MODEL",
    "Learns what normal looks like from normal photos and writes one model file.",
    "The network that turns pixels into features is frozen (--backbone; unless given, wide_resnet50_2 where its "
    "weights are "
    "installed, else the built-in one); its features are computed once, kept in the "
    "feature store and used in every epoch. Region, fit and image size are stored in the model and used again when "
    "scoring. A photo that cannot be read is named and left out; the exit code is then 3 and the model is written all "
    "the same.\n\n"
    "--method cozad learns from photos of one or many categories (--source), some of which may be defective, a model "
    "for categories it has not seen. --method comet learns one product from unsorted photos, some of which may be "
    "defective, around --detector simplenet or flow; --method simplenet and flow train these detectors plainly; "
    "--method knn trains nothing and keeps patches of the photos, from one photo on. ^C "
    "keeps MODEL.checkpoint; the same command with --resume goes on from it. "
    "--config takes the options below from a JSON file, --literal sets the paper's printed form; what is said on the "
    "command line wins over both. A flag is taken back with --FLAG=off.\n\n"
    "--exclude leaves photos out: LIST is a list of paths, one a line, or a table as cozad inspect --csv writes it, "
    "whose "
    "lines say keep or exclude; the model remembers them by their pixels, and --exclude MODEL leaves the same ones out "
    "again. Of several the last word counts.",
    "  cozad train --normal photos/good -o part.cozad\n"
    "  cozad train --normal photos/good --backbone resnet50 --image-size 448 --epochs 20 --seed 7 -o part.cozad\n"
    "  cozad train --data mvtec/screw -o screw.cozad        (its train/good photos)\n"
    "  cozad train --normal photos --roi 100,50,640,480 --ignore-mask label.png -o part.cozad\n"
    "  cozad train --method cozad --source mvtec:mvtec:screw,tire --source dtd:folder --log zs.jsonl -o zs.cozad\n"
    "  cozad train --method comet --detector flow --normal photos/unsorted -o part.cozad\n"
    "  cozad train --method knn --normal photos/good --shots 4 -o few.cozad\n"
    "  cozad train --method cozad --print-config >base.json\n"
    "  cozad train --config base.json --source mvtec:mvtec --meta-gradient first-order -o zs.cozad"};

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* One training. */
typedef struct run {
    train_arguments *a;
    input_source source;
    cz_image_source images;
    labelled_source defects;
    train_choice choice;
    bool told; /* of it */
    train_log log;
    char *checkpoint;
    struct stat before; /* of the checkpoint when the training began; st_ino 0: there was none */
    double start;       /* seconds; the phases below are told by the callbacks, 0: not yet */
    double features, training, end;
    size_t steps, total; /* done, in all */
    size_t learnt;       /* photos that the model has learnt from */
    size_t excluded;     /* that were left out */
    double last_loss;
} run;

/* ---- photos ------------------------------------------------------------------------------------------------------- */

typedef struct twice {
    size_t count;
} twice;

static void note_twice(void *ctx, const char *path, const char *again)
{
    twice *t = ctx;
    if (t->count++ >= 5) return;
    if (strcmp(path, again) == 0) {
        cli_note("%s: is twice among the sources", path);
    } else {
        cli_note("%s: is twice among the sources, also as %s", path, again);
    }
}

static cz_status gather_sources(const train_arguments *a, input_list *list)
{
    twice t = {0};
    cz_status status = CZ_OK;
    for (size_t i = 0; status == CZ_OK && i < a->sources.count; i++) {
        status = inputs_add_source(list, a->sources.items[i]);
    }
    if (status == CZ_OK) status = inputs_find_twice(list, note_twice, &t);
    if (t.count > 5) cli_note("%zu photos in all are twice among the sources", t.count);
    return status;
}

static int gather(const train_arguments *a, const cli_list *args, input_list *list)
{
    if (args->count > 0) {
        cli_error("%s: train takes its photos from --normal, --source or --data", args->items[0]);
        return CLI_USAGE;
    }
    if (a->output == NULL || (a->normal == NULL && a->data == NULL && a->sources.count == 0)) {
        cli_error("train needs -o MODEL and one of --normal DIR, --source ROOT:LAYOUT or --data ROOT; see 'cozad train "
                  "--help'");
        return CLI_USAGE;
    }
    if (a->log != NULL && strcmp(a->log, a->output) == 0) {
        cli_error("--log and -o name the same file");
        return CLI_USAGE;
    }
    cz_status status;
    if (a->sources.count > 0) {
        status = gather_sources(a, list);
    } else {
        status = a->normal != NULL ? inputs_add_path(list, a->normal) : inputs_add_dataset(list, a->data, a->layout);
    }
    return status == CZ_OK ? CLI_OK : cli_fail(status);
}

static int no_photos(const train_arguments *a)
{
    const char *layout = a->data != NULL && strcmp(a->layout, "auto") == 0 ? inputs_detect_layout(a->data) : NULL;
    if (layout != NULL && strcmp(layout, "yesno") == 0) {
        cli_error("%s: there are no images to train on: in the layout yesno all are test photos; --source ROOT:yesno "
                  "takes the normal ones",
                  a->data);
    } else {
        cli_error("%s: there are no images to train on", a->normal != NULL ? a->normal : a->data);
    }
    return CLI_SOME_FAILED;
}

/* Said when the work begins, not when it is refused. */
static void tell_choice(run *r)
{
    if (r->told || !r->choice.recipe) return;
    r->told = true;
    cli_note(
        "%zu products: a patch is told by how odd it is for its photo, against drawn%s defects (--descriptor patch: by "
        "its features, as the paper has it)",
        r->images.categories, r->choice.labelled ? " and labelled" : "");
}

/* ---- while it runs -------------------------------------------------------------------------------------------------- */

static int note_phase(void *ctx, const char *what, size_t done, size_t total, const char *detail)
{
    run *r = ctx;
    tell_choice(r);
    const bool training = strcmp(what, "training") == 0;
    double *began =
        training || r->training > 0.0 ? &r->training : &r->features; /* all before the training prepares it */
    if (*began == 0.0) *began = seconds();
    r->end = seconds();
    train_log_phase(&r->log, what, done, total);
    if (training && r->steps > 0) return cli_interrupted(); /* steps tell more */
    return cli_progress(NULL, what, done, total, detail);
}

/* "  NAME VALUE" unless the figure was not measured. */
static void add_figure(char *text, size_t room, const char *name, double value, double unit, const char *format)
{
    const size_t length = strlen(text);
    char number[40];
    if (isnan(value) || length >= room) return;
    (void)snprintf(number, sizeof number, format, value * unit);
    (void)snprintf(text + length, room - length, "%s%s %s", length > 0 ? "  " : "", name, number);
}

static int note_step(void *ctx, const cz_train_step *step)
{
    run *r = ctx;
    char detail[256] = "";
    r->steps = step->step + 1;
    r->total = step->steps;
    r->last_loss = step->loss;
    if (r->training == 0.0) r->training = seconds();
    r->end = seconds();
    train_log_step(&r->log, step);
    add_figure(detail, sizeof detail, "loss", step->loss, 1.0, "%.4g");
    add_figure(detail, sizeof detail, "w", step->mean_weight, 1.0, "%.3f");
    add_figure(detail, sizeof detail, "w<1", step->share_below_one, 100.0, "%.1f%%");
    add_figure(detail, sizeof detail, "det", step->det_sigma, 1.0, "%.3g");
    add_figure(detail, sizeof detail, "lambda/0", step->lambda_ratio, 1.0, "%.3g");
    add_figure(detail, sizeof detail, "shift", step->inner_shift, 1.0, "%.2g");
    add_figure(detail, sizeof detail, "cos", step->meta_cosine, 1.0, "%.4f");
    add_figure(detail, sizeof detail, "img/s", step->images_per_second, 1.0, "%.4g");
    return cli_progress(NULL, "training", r->steps, step->steps, detail);
}

/* ---- checkpoints ---------------------------------------------------------------------------------------------------- */

static int prepare_checkpoint(run *r)
{
    train_arguments *a = r->a;
    const size_t room = strlen(a->output) + sizeof ".checkpoint";
    r->checkpoint = malloc(room);
    if (r->checkpoint == NULL) {
        cli_error("out of memory");
        return CLI_RESOURCES;
    }
    (void)snprintf(r->checkpoint, room, "%s.checkpoint", a->output);
    a->train.checkpoint = r->checkpoint;
    const bool there = stat(r->checkpoint, &r->before) == 0;
    if (!there) r->before.st_ino = 0;
    if (there && !a->resume) {
        cli_note("%s: is there from an earlier training and will be replaced; --resume goes on from it", r->checkpoint);
    } else if (!there && a->resume) {
        cli_note("%s: is not there; the training begins anew", r->checkpoint);
        a->train.resume = 0;
    }
    return CLI_OK;
}

/* There is a checkpoint of this training. */
static bool has_checkpoint(const run *r)
{
    struct stat now;
    if (r->checkpoint == NULL || stat(r->checkpoint, &now) != 0) return false;
    return r->a->train.resume || now.st_ino != r->before.st_ino || now.st_mtim.tv_sec != r->before.st_mtim.tv_sec ||
           now.st_mtim.tv_nsec != r->before.st_mtim.tv_nsec;
}

/* A training or a saving that failed. Says how to go on. */
static int fail(const run *r, cz_status status)
{
    const int code = cli_exit_code(status);
    if (!has_checkpoint(r) || status == CZ_E_MODEL || status == CZ_E_ARG) return cli_fail(status);
    const char *reason = cz_last_error();
    if (status == CZ_E_CANCELLED) {
        cli_error("interrupted after step %zu of %zu; the same command with --resume goes on from %s", r->steps,
                  r->total, r->checkpoint);
    } else if (status == CZ_E_DIVERGED) {
        cli_error("%s%s%s; --resume goes on from it with the same options; a lower --lr-adaptor, --lr-discriminator or "
                  "--inner-lr needs a new start",
                  reason, strstr(reason, r->checkpoint) == NULL ? "; the last good state is in " : "",
                  strstr(reason, r->checkpoint) == NULL ? r->checkpoint : "");
    } else {
        cli_error("%s; the same command with --resume goes on from %s",
                  reason[0] != '\0' ? reason : cz_status_name(status), r->checkpoint);
    }
    return code;
}

/* ---- one training --------------------------------------------------------------------------------------------------- */

static const char *photos_name(const train_arguments *a)
{
    const char *path = a->normal != NULL ? a->normal : a->data;
    return path != NULL ? path : "";
}

static void start_log(run *r, const cz_backbone *backbone)
{
    char *config = train_options_text(r->a, false);
    const train_log_facts facts = {cz_backbone_name(backbone), config, &r->images, photos_name(r->a),
                                   r->a->train.resume != 0};
    train_log_start(&r->log, &facts);
    free(config);
}

static size_t category_count(const run *r)
{
    return r->images.categories > 0 ? r->images.categories : 1;
}

static void print_result(const run *r)
{
    const train_arguments *a = r->a;
    const double features = r->training - r->features, training = r->end - r->training;
    const size_t photos = r->learnt;
    if (a->common.json) {
        json_t *line = json_pack("{s:s, s:I, s:I, s:f, s:f, s:f, s:s, s:I, s:I, s:o}", "model", a->output, "images",
                                 (json_int_t)photos, "failed", (json_int_t)r->source.failed, "seconds",
                                 seconds() - r->start, "feature_seconds", features, "training_seconds", training,
                                 "method", a->train.method, "categories", (json_int_t)category_count(r), "steps",
                                 (json_int_t)r->steps, "last_loss", common_json_real(r->last_loss));
        if (a->exclude.count > 0) (void)json_object_set_new(line, "excluded", json_integer((json_int_t)r->excluded));
        common_print_json(line);
        return;
    }
    char categories[48] = "";
    if (r->images.categories > 1) {
        (void)snprintf(categories, sizeof categories, " of %zu categories", r->images.categories);
    }
    char excluded[48] = "";
    if (r->excluded > 0) (void)snprintf(excluded, sizeof excluded, " (%zu left out)", r->excluded);
    printf("%s: learnt from %zu photos%s%s in %.1f s (features %.1f s, training %.1f s)\n", a->output, photos,
           categories, excluded, seconds() - r->start, features, training);
}

static void count_photos(run *r, const cz_model *model)
{
    for (size_t i = 0; i < cz_model_photos_count(model); i++) {
        cz_training_photo photo;
        if (cz_model_photo_at(model, i, &photo) == CZ_OK) r->learnt += photo.excluded == 0;
    }
    if (r->a->exclude.count == 0) return;
    json_t *meta = json_loads(cz_model_json(model), 0, NULL);
    r->excluded = (size_t)json_integer_value(json_object_get(json_object_get(meta, "training"), "images_excluded"));
    json_decref(meta);
}

/* Decisions of --exclude; `out` is freed by decisions_free, `excluded` by free. */
static int read_decisions(train_arguments *a, const input_list *list, decisions *out, cz_excluded_photo **excluded)
{
    int code = CLI_OK;
    for (size_t i = 0; code == CLI_OK && i < a->exclude.count; i++) code = decisions_read(out, a->exclude.items[i]);
    if (code == CLI_OK && a->exclude.count > 0)
        code = decisions_settle(out, list, &a->common.read, excluded, &a->train.excluded_count);
    a->train.excluded = *excluded;
    return code;
}

/* From photos to a model file. */
static int compute(run *r, cz_backbone *backbone)
{
    train_arguments *a = r->a;
    cz_model *model = NULL;
    a->train.progress = note_phase;
    a->train.step = note_step;
    a->train.ctx = r;
    start_log(r, backbone);
    cz_status status = cz_train(backbone, &r->images, &a->train, &model);
    cli_progress_end();
    if (status == CZ_OK) count_photos(r, model);
    if (status == CZ_OK) status = cz_model_save(model, a->output);
    train_log_end(&r->log, status, seconds() - r->start, status == CZ_OK ? a->output : NULL);
    const int code = status == CZ_OK ? CLI_OK : fail(r, status);
    if (status == CZ_OK && has_checkpoint(r) && unlink(r->checkpoint) != 0) {
        cli_note("%s: cannot be removed: %s", r->checkpoint, strerror(errno));
    }
    cz_model_close(model);
    return code;
}

/* What the photos make of --descriptor and --negatives. */
static int choose_negatives(run *r, const input_list *list)
{
    const int code = train_options_choose(r->a, list->group_count, list->defect_count, &r->choice);
    if (code >= 0) return code;
    if (!r->choice.labelled) return CLI_OK;
    const cz_status status = labelled_open(list, &r->a->common.read, &r->defects);
    if (status != CZ_OK) return cli_fail(status);
    labelled_offer(&r->defects, &r->a->train.negatives);
    return CLI_OK;
}

static int train(train_arguments *a, const input_list *list)
{
    run r = {.a = a, .log = TRAIN_LOG_NONE, .start = seconds(), .last_loss = NAN};
    cz_backbone *backbone = NULL;
    decisions decided = {0};
    cz_excluded_photo *excluded = NULL;
    cz_status status = input_source_open(list, a->data != NULL ? INPUT_TRAIN : INPUT_ANY, &a->common.read, &r.source);
    if (status != CZ_OK) return cli_fail(status);
    r.images = input_source_callbacks(&r.source);
    int code = r.source.count > 0 ? CLI_OK : no_photos(a);
    /* Found out now rather than after an hour of training. */
    if (code == CLI_OK) code = common_check_writable(a->output);
    if (code == CLI_OK) code = choose_negatives(&r, list);
    if (code == CLI_OK) code = read_decisions(a, list, &decided, &excluded);
    if (code == CLI_OK && (status = common_open_backbone(a->backbone, &backbone)) != CZ_OK)
        code = cli_fail_model(status);
    if (code == CLI_OK) code = prepare_checkpoint(&r);
    if (code == CLI_OK && a->log != NULL) code = train_log_open(&r.log, a->log, a->train.resume != 0);
    if (code == CLI_OK) code = compute(&r, backbone);
    if (code == CLI_OK) {
        print_result(&r);
        code = r.source.failed > 0 ? CLI_SOME_FAILED : CLI_OK;
    }
    train_log_close(&r.log);
    cz_backbone_close(backbone);
    input_source_free(&r.source);
    labelled_close(&r.defects);
    decisions_free(&decided);
    free(excluded);
    free(r.checkpoint);
    return code;
}

static int print_config(const train_arguments *a)
{
    char *text = train_options_text(a, true);
    if (text == NULL) {
        cli_error("the configuration cannot be written as JSON (is a path not UTF-8?)");
        return CLI_USAGE;
    }
    (void)puts(text);
    free(text);
    return CLI_OK;
}

int cmd_train(int argc, char **argv)
{
    train_arguments a;
    cli_list args = {NULL, 0};
    input_list list = {0};
    cz_picture mask = {0};
    train_options_init(&a);
    int code = train_options_read(&a, &verb, argc, argv, &args);
    if (code >= 0) goto out;
    if (a.print_config) {
        code = print_config(&a);
        goto out;
    }
    code = gather(&a, &args, &list);
    if (code == CLI_OK && a.mask != NULL) {
        const cz_status status = cz_picture_read_mask(a.mask, &a.common.read, &mask);
        code = status == CZ_OK ? CLI_OK : cli_fail(status);
        a.train.ignore_mask = &mask.image;
    }
    if (code == CLI_OK) code = train(&a, &list);
out:
    cz_picture_free(&mask);
    inputs_free(&list);
    cli_list_free(&args);
    train_options_free(&a);
    return cli_finish_output(code);
}
