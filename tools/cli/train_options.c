/* SPDX-License-Identifier: Apache-2.0 */
#include "train_options.h"
#include "config.h"
#include "inputs.h"

#include <string.h>

/* ---- the table ---------------------------------------------------------------------------------------------------- */

#define HEADING(text)                                                                                                  \
    {                                                                                                                  \
        text, 0, CLI_HEADING, NULL, NULL, NULL, NULL                                                                   \
    }
#define ADD(a, table) add_options(a, table, sizeof(table) / sizeof *(table))

static void add_options(train_arguments *a, const cli_option *options, size_t count)
{
    memcpy(a->options + a->option_count, options, count * sizeof *options);
    a->option_count += count;
}

/* "simplenet|flow|knn", and the same with cozad and comet. */
static void make_choices(train_arguments *a)
{
    const char *name;
    for (size_t i = 0; (name = cz_detector_name(i)) != NULL; i++) {
        const size_t used = strlen(a->detectors);
        (void)snprintf(a->detectors + used, sizeof a->detectors - used, "%s%s", i > 0 ? "|" : "", name);
    }
    const size_t used = strlen(a->detectors);
    (void)snprintf(a->detectors + used, sizeof a->detectors - used, "|knn");
    (void)snprintf(a->methods, sizeof a->methods, "%s|cozad|comet", a->detectors);
}

static void add_flow(train_arguments *a)
{
    cz_flow_options *f = &a->train.flow;
    const cli_option flow[] = {
        HEADING("Flow (--detector flow)"),
        {"flow-level", 0, CLI_CHOICE, &f->level, NULL, "what is learnt; image: one score for a photo, no map",
         "patch|image"},
        {"flow-blocks", 0, CLI_SIZE, &f->blocks, "B", "affine coupling blocks", NULL},
        {"flow-hidden", 0, CLI_SIZE, &f->hidden, "H", "width of their subnets; 0: the dimensions", NULL},
        {"flow-project", 0, CLI_SIZE, &f->project, "F", "dimensions that features are projected to; 0: none", NULL},
        {"flow-clamp", 0, CLI_REAL, &f->clamp, "X", "largest |log scale| of a block", NULL},
        {"lr-flow", 0, CLI_REAL, &f->lr, "X", "learning rate", NULL},
    };
    a->first_flow = a->option_count;
    ADD(a, flow);
    a->end_flow = a->option_count;
}

static void add_knn(train_arguments *a)
{
    cz_knn_options *k = &a->train.knn;
    const cli_option knn[] = {
        HEADING("Nearest neighbours (--method knn)"),
        {"bank", 0, CLI_SIZE, &k->bank, "N", "patches that are kept at the most", NULL},
        {"bank-select", 0, CLI_CHOICE, &k->select, NULL, "which of more: far from each other, or any",
         "coreset|random"},
        {"rotations", 0, CLI_AUTO, &k->rotations, "N|auto", "every photo also turned by 360/N degrees, N - 1 times",
         NULL},
    };
    a->first_knn = a->option_count;
    ADD(a, knn);
    a->end_knn = a->option_count;
}

static void add_negatives(train_arguments *a)
{
    const cli_option negatives[] = {
        HEADING("What carries over to other products"),
        {"descriptor", 0, CLI_CHOICE, &a->descriptor, NULL, "a patch's features, or how odd it is for its photo",
         "auto|patch|relational"},
        {"negatives", 0, CLI_STRING, &a->negatives, "LIST", "what is not normal: noise,synthetic,labelled", NULL},
        {"synthetic", 0, CLI_SIZE, &a->train.negatives.synthetic, "N", "copies of each photo with a drawn defect",
         NULL},
    };
    ADD(a, negatives);
}

static void add_general(train_arguments *a)
{
    cz_train_options *t = &a->train;
    const cli_option photos[] = {
        HEADING("Photos"),
        {"normal", 0, CLI_STRING, &a->normal, "DIR", "folder of normal photos", NULL},
        {"data", 0, CLI_STRING, &a->data, "ROOT", "data set instead: its normal training photos", NULL},
        {"layout", 0, CLI_STRING, &a->layout, "NAME", "of --data: auto, mvtec, visa, btad, csv, ...", NULL},
        {"source", 0, CLI_LIST, &a->sources, "ROOT:LAYOUT[:CATEGORY,...]",
         "instead, can be given several times; layouts as of --data, or folder", NULL},
        {"exclude", 0, CLI_LIST, &a->exclude, "LIST|MODEL", "leave out what a list, table or earlier model says", NULL},
        {"shots", 0, CLI_SIZE, &t->shots, "K", "only K of the photos, drawn by --seed; 0: all", NULL},
        {"roi", 0, CLI_STRING, &a->roi, "x,y,w,h", "only this region of every photo", NULL},
        {"ignore-mask", 0, CLI_STRING, &a->mask, "FILE", "white pixels of this picture are not inspected", NULL},
        {"image-size", 0, CLI_STRING, &a->size, "N|WxH", "network input", NULL},
        {"fit", 0, CLI_CHOICE, &a->fit, NULL, "how a photo becomes that size", "squash|letterbox|crop"},
        {"resize", 0, CLI_SIZE, &t->resize, "N", "short side before --fit crop cuts; 0: the image size", NULL},
        COMMON_READ_OPTIONS(a->common),
    };
    const cli_option training[] = {
        HEADING("Training"),
        {"output", 'o', CLI_STRING, &a->output, "MODEL", "model file to write", NULL},
        {"method", 0, CLI_CHOICE, &t->method, NULL, "plain training of a detector, the parts below, or a bank",
         a->methods},
        {"literal", 0, CLI_FLAG, &a->literal, NULL, "what is not set otherwise is as the paper prints it", NULL},
        {"epochs", 0, CLI_SIZE, &t->epochs, "N", "passes over the photos", NULL},
        {"batch", 0, CLI_SIZE, &t->batch, "N", "photos a step, for cozad and comet a task", NULL},
        {"patches-per-image", 0, CLI_SIZE, &t->patches_per_image, "K", "random patches; 0: all", NULL},
        {"lr-adaptor", 0, CLI_REAL, &t->lr_adaptor, "X", "learning rate of the adaptor", NULL},
        {"lr-discriminator", 0, CLI_REAL, &t->lr_discriminator, "X", "learning rate of the discriminator", NULL},
        {"seed", 0, CLI_U64, &t->seed, "S", "same seed, same threads: same model", NULL},
        {"precision", 0, CLI_CHOICE, &a->precision, NULL, "what features are computed in",
         "fp32|fp32-winograd|bf16|int8|auto"},
        {"quantise", 0, CLI_SIZE, &t->quantise_images, "N", "photos that ranges for int8 are measured on; 0: none",
         NULL},
        {"threads", 0, CLI_SIZE, &t->threads, "N", "0: all", NULL},
    };
    const cli_option detector[] = {
        HEADING("Features and detector (Eq. 14 to 17)"),
        {"backbone", 0, CLI_STRING, &a->backbone, "NAME|FILE", COMMON_BACKBONE_HELP, NULL},
        {"taps", 0, CLI_STRING, &t->taps, "LIST", "where features are taken", NULL},
        {"feature-width", 0, CLI_SIZE, &t->feature_width, "D", "numbers a patch; 0: as the weights say, mostly 1536",
         NULL},
        {"neighbourhood", 0, CLI_AUTO, &t->neighbourhood, "N|auto", "cells a side that a patch is made of, 3 or 1",
         NULL},
        {"feature-scale", 0, CLI_REAL, &t->feature_scale, "X", "0: as the weights need it", NULL},
        {"detector", 0, CLI_CHOICE, &t->detector, NULL, "what to train; simplenet, or the method's own", a->detectors},
        {"hidden-width", 0, CLI_SIZE, &t->hidden_width, "K", "of the discriminator", NULL},
        {"noise-std", 0, CLI_REAL, &t->noise_std, "X", "of the synthetic anomalies (Eq. 15)", NULL},
        {"margin-positive", 0, CLI_REAL, &t->margin_positive, "X", "th+ of Eq. 16", NULL},
        {"margin-negative", 0, CLI_REAL, &t->margin_negative, "X", "th- of Eq. 16", NULL},
        {"top-k", 0, CLI_SIZE, &t->top_k, "K", "image score: mean of the K largest patch scores", NULL},
        {"simplenet-compat", 0, CLI_FLAG, &a->compat, NULL, "biases and optimisers of the public SimpleNet code", NULL},
    };
    ADD(a, photos);
    ADD(a, training);
    ADD(a, detector);
    add_negatives(a);
    add_flow(a);
    add_knn(a);
}

static void add_cozad(train_arguments *a)
{
    cz_cozad_options *c = &a->train.cozad;
    const cli_option confident[] = {
        HEADING("Soft confident learning (cozad and comet, Eq. 5 to 10)"),
        {"scl", 0, CLI_SWITCH, &c->scl, NULL, "all of it", NULL},
        {"data-uncertainty", 0, CLI_SWITCH, &c->data_uncertainty, NULL, "weights w for doubtful samples", NULL},
        {"model-uncertainty", 0, CLI_SWITCH, &c->model_uncertainty, NULL, "lambda grows with det Sigma", NULL},
        {"hard-cl", 0, CLI_FLAG, &a->hard_cl, NULL, "w is 0 or 1 (Table 4)", NULL},
        {"confidence-unit", 0, CLI_CHOICE, &c->confidence_unit, NULL, "what has a weight", "patch|image"},
        {"weight-anchor", 0, CLI_CHOICE, &c->weight_anchor, NULL, "zero of the scores; none: Eq. 5 as printed",
         "median|min|none"},
        {"weight-both", 0, CLI_FLAG, &a->weight_both, NULL, "w weighs the synthetic anomalies' term as well", NULL},
        {"weight-floor", 0, CLI_REAL, &c->weight_floor, "X", "smallest w", NULL},
        {"weight-window", 0, CLI_SIZE, &c->weight_window, "N", "recent patch scores kept for each category", NULL},
        {"kappa", 0, CLI_REAL, &c->kappa, "X", "of Eq. 6", NULL},
        {"gamma", 0, CLI_REAL, &c->gamma, "X", "of Eq. 9", NULL},
        {"lambda0", 0, CLI_REAL, &c->lambda0, "X", "of Eq. 9", NULL},
        {"uncertainty-pairs", 0, CLI_SIZE, &c->uncertainty_pairs, "N", "pairs of losses in Sigma (Eq. 8)", NULL},
        {"uncertainty-scale", 0, CLI_CHOICE, &c->uncertainty_scale, NULL, "unit of those losses", "relative|raw"},
        {"det-max", 0, CLI_REAL, &c->det_max, "X", "det Sigma is cut off here", NULL},
        {"decay", 0, CLI_CHOICE, &c->decay, NULL, "what lambda applies to", "matrices|all"},
        {"loss-reduction", 0, CLI_CHOICE, &c->loss_reduction, NULL, "over samples (Eq. 10)", "mean|sum"},
    };
    const cli_option contrast[] = {
        HEADING("Contrastive learning (cozad, Eq. 1 to 4)"),
        {"contrast", 0, CLI_SWITCH, &c->contrast, NULL, "all of it", NULL},
        {"lambda-cont", 0, CLI_REAL, &c->lambda_cont, "X", "its share of the loss (Eq. 4)", NULL},
        {"knn", 0, CLI_SIZE, &c->knn, "K", "neighbours that count as positives; 0: Eq. 1", NULL},
        {"temperature", 0, CLI_REAL, &c->temperature, "X", "of the similarities", NULL},
        {"contrast-chunk", 0, CLI_SIZE, &c->contrast_chunk, "B", "patches compared with each other (Eq. 3)", NULL},
        {"contrast-literal", 0, CLI_FLAG, &a->contrast_literal, NULL, "denominator of Eq. 2 as printed", NULL},
        {"contrast-in", 0, CLI_CHOICE, &c->contrast_in, NULL, "loops that it is in", "both|inner|outer"},
    };
    const cli_option meta[] = {
        HEADING("Meta-learning (cozad and comet, Eq. 11 to 13)"),
        {"meta", 0, CLI_SWITCH, &c->meta, NULL, "off: plain training on all photos", NULL},
        {"meta-gradient", 0, CLI_CHOICE, &c->meta_gradient, NULL, "how Eq. 12 is computed",
         "exact|first-order|reptile"},
        {"tasks", 0, CLI_SIZE, &c->tasks, "T", "tasks a step", NULL},
        {"inner-steps", 0, CLI_SIZE, &c->inner_steps, "S", "of Eq. 11; 0: 1, for reptile 5", NULL},
        {"inner-lr", 0, CLI_REAL, &c->inner_lr, "X", "alpha of Eq. 11", NULL},
        {"query-share", 0, CLI_REAL, &c->query_share, "X", "of a task's photos", NULL},
        {"balance", 0, CLI_SWITCH, &c->balance, NULL, "categories are drawn equally, whatever their size", NULL},
    };
    a->first_cozad = a->option_count;
    ADD(a, confident);
    a->first_contrast = a->option_count;
    ADD(a, contrast);
    a->end_contrast = a->option_count;
    ADD(a, meta);
    a->end_cozad = a->option_count;
}

static void add_running(train_arguments *a)
{
    const cli_option running[] = {
        HEADING("Running"),
        {"config", 0, CLI_STRING, &a->config, "FILE", "JSON file of these options; the command line wins", NULL},
        {"print-config", 0, CLI_FLAG, &a->print_config, NULL, "print what would be used as such a file, and end", NULL},
        {"log", 0, CLI_STRING, &a->log, "FILE", "write each step's figures as JSON Lines", NULL},
        {"checkpoint-every", 0, CLI_SIZE, &a->train.checkpoint_every, "N",
         "steps between two MODEL.checkpoint; 0: only when stopped", NULL},
        {"resume", 0, CLI_FLAG, &a->resume, NULL, "go on from MODEL.checkpoint if it is there", NULL},
        COMMON_CACHE_OPTIONS(a->common),
        {"json", 0, CLI_FLAG, &a->common.json, NULL, "result as JSON", NULL},
    };
    ADD(a, running);
}

void train_options_init(train_arguments *a)
{
    memset(a, 0, sizeof *a);
    a->layout = "auto";
    a->backbone = common_default_backbone();
    a->size = "256";
    a->fit = "squash";
    a->precision = "fp32";
    a->descriptor = a->negatives = "auto";
    common_init(&a->common);
    cz_train_options_init(&a->train);
    a->train.knn.rotations = a->train.neighbourhood = 0; /* auto, until settle_bank */
    a->train.negatives.synthetic = 1;                    /* where they are wanted */
    make_choices(a);
    add_general(a);
    add_cozad(a);
    add_running(a);
}

void train_options_free(train_arguments *a)
{
    cli_list_free(&a->sources);
    cli_list_free(&a->exclude);
    json_decref(a->file);
    a->file = NULL;
}

/* ---- who decides --------------------------------------------------------------------------------------------------- */

static size_t find_option(const train_arguments *a, const char *name)
{
    size_t i = 0;
    while (i < a->option_count && (a->options[i].kind == CLI_HEADING || strcmp(a->options[i].name, name) != 0)) i++;
    return i;
}

/* Every decision of docs/math.md back to the printed paper. --contrast-in stays as it is: Eq. 11 and 13 have no contrastive
 * term, and without it in both there would be none at all. */
static void apply_literal(train_arguments *a)
{
    static const struct {
        const char *name, *text; /* NULL: a flag */
    } printed[] = {{"margin-negative", "0.5"}, {"confidence-unit", "image"}, {"weight-anchor", "none"},
                   {"weight-both", NULL},      {"uncertainty-scale", "raw"}, {"decay", "all"},
                   {"loss-reduction", "sum"},  {"contrast-literal", NULL}};
    for (size_t i = 0; i < sizeof printed / sizeof *printed; i++) {
        const size_t at = find_option(a, printed[i].name);
        if (at == a->option_count || a->given[at] || a->from_file[at]) continue;
        if (printed[i].text == NULL) {
            *(bool *)a->options[at].target = true;
        } else {
            (void)cli_set_value(&a->options[at], printed[i].text);
        }
    }
}

/* Photos named on the command line take the place of all that the file names. */
static void choose_photos(train_arguments *a)
{
    static const char *const names[] = {"normal", "data", "source"};
    bool given = false;
    for (size_t i = 0; i < 3; i++) given = given || a->given[find_option(a, names[i])];
    for (size_t i = 0; given && i < 3; i++) {
        const size_t at = find_option(a, names[i]);
        if (!a->from_file[at]) continue;
        if (a->options[at].kind == CLI_LIST) {
            cli_list_free(a->options[at].target);
        } else {
            *(const char **)a->options[at].target = NULL;
        }
    }
}

/* ---- descriptors and negatives -------------------------------------------------------------------------------------- */

enum { NOISE = 1, SYNTHETIC = 2, LABELLED = 4 };

/* "noise,synthetic,labelled" in any order; 0: not such a list. */
static unsigned parse_negatives(const char *text)
{
    static const char *const names[] = {"noise", "synthetic", "labelled"};
    unsigned found = 0;
    for (const char *p = text; *p != '\0';) {
        const size_t length = strcspn(p, ",");
        size_t i = 0;
        while (i < 3 && (strlen(names[i]) != length || strncmp(p, names[i], length) != 0)) i++;
        if (i == 3) return 0;
        found |= 1U << i;
        p += length;
        if (*p == ',' && *++p == '\0') return 0;
    }
    return found;
}

/* The recipe of docs/zero-shot.md, where nothing else was said: 54 numbers a patch need no wide head, and defects are told from many
 * patches rather than the one that is oddest. A file that --print-config wrote says the default of everything, which is as if it said
 * nothing. */
static void set_recipe(train_arguments *a)
{
    const cz_train_options *t = &a->train;
    cz_train_options d;
    cz_train_options_init(&d);
    const struct {
        const char *name, *text;
        bool own; /* another value than the default */
    } recipe[] = {{"hidden-width", "256", t->hidden_width != d.hidden_width},
                  {"patches-per-image", "32", t->patches_per_image != d.patches_per_image},
                  {"lr-adaptor", "1e-3", t->lr_adaptor != d.lr_adaptor},
                  {"lr-discriminator", "1e-3", t->lr_discriminator != d.lr_discriminator},
                  {"top-k", "20", t->top_k != d.top_k}};
    for (size_t i = 0; i < sizeof recipe / sizeof *recipe; i++) {
        const size_t at = find_option(a, recipe[i].name);
        if (!a->given[at] && !recipe[i].own) (void)cli_set_value(&a->options[at], recipe[i].text);
    }
}

int train_options_choose(train_arguments *a, size_t products, size_t defects, train_choice *choice)
{
    cz_train_options *t = &a->train;
    const bool zero_shot =
        strcmp(t->method, "cozad") == 0 && strcmp(t->detector, "simplenet") == 0 && products > 1 && !a->literal;
    const bool automatic = strcmp(a->descriptor, "auto") == 0;
    t->descriptor = automatic ? (zero_shot ? "relational" : "patch") : a->descriptor;
    const bool relational = strcmp(t->descriptor, "relational") == 0;
    /* only that detector learns from negatives */
    unsigned wanted = relational && strcmp(t->detector, "simplenet") == 0 ? SYNTHETIC | LABELLED : NOISE;
    if (strcmp(a->negatives, "auto") != 0) {
        wanted = parse_negatives(a->negatives);
        if (wanted == 0) {
            cli_error("--negatives: \"%s\" is not a list of noise, synthetic and labelled", a->negatives);
            return CLI_USAGE;
        }
        if ((wanted & LABELLED) && defects == 0) {
            cli_error("--negatives labelled: the data sets have no photos of defects with masks");
            return CLI_USAGE;
        }
    }
    if ((wanted & SYNTHETIC) && t->negatives.synthetic == 0) {
        cli_error("--synthetic 0: no copies of the photos, though --negatives has synthetic");
        return CLI_USAGE;
    }
    t->negatives.noise = (wanted & NOISE) != 0;
    if (!(wanted & SYNTHETIC) && a->given[find_option(a, "synthetic")])
        cli_note("--synthetic has no effect without --negatives synthetic");
    if (!(wanted & SYNTHETIC)) t->negatives.synthetic = 0;
    choice->labelled = (wanted & LABELLED) && defects > 0;
    if (automatic && relational) set_recipe(a);
    choice->recipe = automatic && relational;
    return -1;
}

static bool in_tasks(const train_arguments *a)
{
    return strcmp(a->train.method, "cozad") == 0 || strcmp(a->train.method, "comet") == 0;
}

static int check(train_arguments *a)
{
    if ((a->normal != NULL) + (a->data != NULL) + (a->sources.count > 0) > 1) {
        cli_error("--normal, --data and --source cannot be mixed; see 'cozad train --help'");
        return CLI_USAGE;
    }
    for (size_t i = 0; i < a->sources.count; i++) {
        const cz_status status = inputs_check_source(a->sources.items[i]);
        if (status != CZ_OK) return cli_fail(status);
    }
    if (!parse_size(a->size, &a->train.image_width, &a->train.image_height)) {
        cli_error("--image-size: \"%s\" is not N or WIDTHxHEIGHT", a->size);
        return CLI_USAGE;
    }
    if (a->roi != NULL && !parse_roi(a->roi, &a->train.roi)) {
        cli_error("--roi: \"%s\" is not x,y,width,height", a->roi);
        return CLI_USAGE;
    }
    return -1;
}

/* Rotations and neighbourhood: only a bank's photos are asked, and where the user has named one of the two the other is as it always
 * was. A file may have been written for another method. */
static void settle_bank(train_arguments *a)
{
    cz_train_options *t = &a->train;
    const size_t rotations = find_option(a, "rotations"), side = find_option(a, "neighbourhood");
    const bool bank = strcmp(t->method, "knn") == 0, turns_said = a->given[rotations] || a->from_file[rotations];
    const bool side_said = a->given[side] || a->from_file[side];
    if (!bank && !a->given[rotations] && (a->given[find_option(a, "method")] || !turns_said)) t->knn.rotations = 1;
    if (!bank && t->neighbourhood == 0) t->neighbourhood = 3;
    if (bank && !turns_said && t->neighbourhood != 0) t->knn.rotations = 1;
    if (bank && !side_said && t->knn.rotations != 0) t->neighbourhood = 3;
}

/* The method's detector, and no contrastive term for comet. The command line wins over a file, which may have been written for
 * another method. */
static int settle_method(train_arguments *a)
{
    cz_train_options *t = &a->train;
    const bool plain = !in_tasks(a), comet = strcmp(t->method, "comet") == 0;
    const size_t contrast = find_option(a, "contrast");
    if (plain && a->given[find_option(a, "method")] && !a->given[find_option(a, "detector")]) t->detector = t->method;
    settle_bank(a);
    if (t->detector == NULL) t->detector = plain ? t->method : cz_detector_name(0);
    if (plain && strcmp(t->detector, t->method) != 0) {
        cli_error("--method %s trains the detector of that name, not %s; around it go --method cozad and comet",
                  t->method, t->detector);
        return CLI_USAGE;
    }
    if (!plain && strcmp(t->detector, "knn") == 0) {
        cli_error("--detector knn: a bank of patches is filled, not trained: --method knn");
        return CLI_USAGE;
    }
    if (comet && a->given[contrast] && t->cozad.contrast) {
        cli_error("--contrast on: method comet has no contrastive term, method cozad has");
        return CLI_USAGE;
    }
    if (comet) t->cozad.contrast = 0;
    return -1;
}

/* Options of one detector for another. */
static int check_detector(const train_arguments *a)
{
    static const char *const simplenet[] = {"hidden-width",     "noise-std",  "margin-positive", "margin-negative",
                                            "simplenet-compat", "lr-adaptor", "lr-discriminator"};
    const char *detector = a->train.detector, *wrong = NULL;
    for (size_t i = 0; i < sizeof simplenet / sizeof *simplenet && strcmp(detector, "simplenet") != 0; i++) {
        if (a->given[find_option(a, simplenet[i])]) wrong = simplenet[i];
    }
    if (wrong != NULL) {
        cli_error("--%s is about detector simplenet, not %s", wrong, detector);
        return CLI_USAGE;
    }
    for (size_t i = a->first_flow; i < a->end_flow && strcmp(detector, "flow") != 0; i++) {
        if (a->given[i]) wrong = a->options[i].name;
    }
    if (wrong != NULL) {
        cli_error("--%s is about detector flow, not %s", wrong, detector);
        return CLI_USAGE;
    }
    for (size_t i = a->first_knn; i < a->end_knn && strcmp(detector, "knn") != 0; i++) {
        if (a->given[i]) wrong = a->options[i].name;
    }
    if (wrong == NULL) return -1;
    cli_error("--%s is about method knn, not %s", wrong, a->train.method);
    return CLI_USAGE;
}

/* Of options of epochs, which a bank has not. */
static void note_no_epochs(const train_arguments *a)
{
    static const char *const names[] = {"epochs", "batch", "patches-per-image", "checkpoint-every", "resume"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!a->given[find_option(a, names[i])]) continue;
        cli_note("--%s has no effect with --method knn: there are no epochs", names[i]);
        return;
    }
}

/* Says of the first option that does nothing in this method. */
static void note_idle(const train_arguments *a)
{
    const bool comet = strcmp(a->train.method, "comet") == 0;
    const size_t first = comet ? a->first_contrast : a->first_cozad, end = comet ? a->end_contrast : a->end_cozad;
    const size_t contrast = find_option(a, "contrast");
    for (size_t i = first; i < end && (comet || !in_tasks(a)); i++) {
        if (!a->given[i] || (comet && i == contrast)) continue;
        cli_note("--%s has no effect without --method cozad%s", a->options[i].name,
                 comet || (i >= a->first_contrast && i < a->end_contrast) ? "" : " or comet");
        return;
    }
}

static void finish(train_arguments *a)
{
    cz_cozad_options *c = &a->train.cozad;
    a->train.fit = parse_fit(a->fit);
    (void)cz_precision_find(a->precision, &a->train.precision);
    a->train.simplenet_compat = a->compat;
    a->train.resume = a->resume;
    c->hard_cl = a->hard_cl;
    c->weight_both = a->weight_both;
    c->contrast_literal = a->contrast_literal;
    common_finish(&a->common);
    a->train.cache = a->common.cache;
    a->train.log = cli_log;
}

int train_options_read(train_arguments *a, const cli_verb *verb, int argc, char **argv, cli_list *args)
{
    int code = cli_parse_given(verb, a->options, a->option_count, argc, argv, args, a->given);
    if (code < 0) code = train_options_settle(a);
    if (code < 0) code = check_detector(a);
    if (code < 0) note_idle(a);
    if (code < 0 && strcmp(a->train.method, "knn") == 0) note_no_epochs(a);
    return code;
}

int train_options_settle(train_arguments *a)
{
    static const char *const refused[] = {"config", "print-config"};
    int code;
    if (a->config != NULL) {
        code = config_read(a->config, a->options, a->option_count, (config_names){refused, 2}, a->given, a->from_file,
                           &a->file);
        if (code != CLI_OK) return code;
    }
    choose_photos(a);
    if (a->literal) apply_literal(a);
    code = check(a);
    if (code < 0) code = settle_method(a);
    if (code < 0) finish(a);
    return code;
}

char *train_options_text(const train_arguments *a, bool indented)
{
    /* --literal is in what it set; the others are about one run, not about what is learned. */
    static const char *const left_out[] = {"config", "print-config", "literal", "output", "log", "resume", "json"};
    return config_text(a->options, a->option_count, (config_names){left_out, sizeof left_out / sizeof *left_out},
                       indented);
}
