/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: options of its own, and those of cozad train that the trainings get. */
#include "config.h"
#include "contaminate.h"
#include "datasets.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const cli_verb verb = {
    "eval", "--contaminate LIST --data ROOT[:LAYOUT] -o RESULTS/ [training options]",
    "Puts defective photos among the training photos and measures what that costs: trains and evaluates every method, "
    "detector, rate and seed, and prints the table and, with --report, the curves.",
    "A rate is the share of the training photos that is defective. The photos are added, all normal ones stay, so that "
    "what is lost is due to them: n normal photos get round(n r / (1 - r)) defective ones, drawn by the seed, evenly "
    "over the kinds of defects. The same seed draws the same photos for every method, and a smaller rate's are among a "
    "larger one's. Those of the largest rate leave the test set at every rate, 0 included, so that all figures of a "
    "seed are of the same test photos; with --contaminate-keep-in-test yes none leaves, and every row says how many "
    "were trained on. At most half of each kind is taken (--contaminate-most); a rate that needs more is an error or, "
    "with --contaminate-cap, comes out smaller and is shown as it came out. --contaminate-from other takes defective "
    "photos of the data set's other categories. Labels decide what is injected and make the figures; no training sees "
    "them.\n\n"
    "RESULTS holds all runs and, for each seed and rate, injected.csv. ^C keeps what is done; the same command with "
    "--resume goes on, also with more seeds, methods or detectors. plain trains the detector alone; the other methods "
    "are those of 'cozad train --method'. Figures are of the last epoch: nothing is chosen by test labels.",
    "  cozad eval --contaminate 0,5,10,20% --data mvtec:mvtec --category screw --contaminate-cap --seeds 3 \\\n"
    "      --backbone resnet50_msra --report screw.html -o contaminated/\n"
    "  cozad eval --contaminate 0,10% --contaminate-keep-in-test yes --data magnetic_tile --with comet:epochs=160 -o "
    "kept/"};

/* Options of train that are this verb's own, or that make no sense for many trainings. */
static const char *const not_passed[] = {"normal", "data",   "layout", "source",       "output", "method", "detector",
                                         "seed",   "config", "log",    "print-config", "resume", "json"};
/* Passed on, but on the command line: they change no figure. */
static const char *const running[] = {"threads", "cache-dir", "cache-limit", "no-cache"};

#define IS_AMONG(list, name) is_among(list, sizeof(list) / sizeof *(list), name)

static bool is_among(const char *const *list, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i], name) == 0) return true;
    }
    return false;
}

static int no_memory(void)
{
    cli_error("out of memory");
    return CLI_RESOURCES;
}

static int usage(const char *option, const char *problem)
{
    cli_error("--%s: %s; see 'cozad eval --contaminate 0 --help'", option, problem);
    return CLI_USAGE;
}

/* ---- lists -------------------------------------------------------------------------------------------------------- */

static int compare_rates(const void *a, const void *b)
{
    const contaminate_rate *x = a, *y = b;
    return (x->percent > y->percent) - (x->percent < y->percent);
}

/* "0,5,10,20%", each with or without the sign. */
static int read_rates(contaminate *c)
{
    const char *p = c->options.rates;
    for (;;) {
        char *end;
        const double value = strtod(p, &end);
        if (end == p || !(value >= 0.0 && value <= 50.0)) {
            return usage("contaminate", "a list of shares from 0 to 50 per cent, such as 0,5,10,20%");
        }
        if (*end == '%') end++;
        if ((*end != ',' && *end != '\0') || c->rate_count == CONTAMINATE_RATES) {
            return usage("contaminate", "a list of at most 16 shares from 0 to 50 per cent, such as 0,5,10,20%");
        }
        contaminate_rate *r = &c->rates[c->rate_count++];
        r->percent = value + 0.0; /* no -0 */
        (void)snprintf(r->name, sizeof r->name, "%.6g", r->percent);
        if (*end == '\0') break;
        p = end + 1;
    }
    qsort(c->rates, c->rate_count, sizeof *c->rates, compare_rates);
    for (size_t i = 1; i < c->rate_count; i++) {
        if (strcmp(c->rates[i - 1].name, c->rates[i].name) == 0) return usage("contaminate", "a rate is there twice");
    }
    return -1;
}

/* "a,b" of those in `known` ("a|b|c"); each once. */
static int read_names(const char *option, const char *text, const char *known, char out[][32], size_t *count)
{
    char shown[300];
    for (const char *p = text;;) {
        const size_t n = strcspn(p, ",");
        bool good = n > 0 && n < 32 && *count < CONTAMINATE_NAMES;
        bool there = false;
        for (const char *k = known; good && *k != '\0';) {
            const size_t length = strcspn(k, "|");
            there = there || (length == n && strncmp(k, p, n) == 0);
            k += length + (k[length] == '|' ? 1 : 0);
        }
        if (!there) {
            (void)snprintf(shown, sizeof shown, "\"%.*s\" is none of those known: %.200s", (int)(n < 40 ? n : 40), p,
                           known);
            return usage(option, shown);
        }
        (void)snprintf(out[*count], 32, "%.*s", (int)n, p);
        for (size_t i = 0; i < *count; i++) good = good && strcmp(out[i], out[*count]) != 0;
        if (!good) return usage(option, "a name is there twice");
        (*count)++;
        if (p[n] == '\0') return -1;
        p += n + 1;
    }
}

static const cli_option *train_option(const contaminate *c, const char *name)
{
    for (size_t i = 0; i < c->train.option_count; i++) {
        const cli_option *o = &c->train.options[i];
        if (o->kind != CLI_HEADING && strcmp(o->name, name) == 0) return o;
    }
    return NULL;
}

/* Detectors are those of train; methods "plain" and those of train that are no detector's name. */
static int read_methods(contaminate *c)
{
    const char *detectors = train_option(c, "detector")->choices, *methods = train_option(c, "method")->choices;
    char known[300] = "plain", all[300];
    for (const char *p = methods; *p != '\0';) {
        const size_t n = strcspn(p, "|");
        bool detector = false;
        for (const char *d = detectors; *d != '\0';) {
            const size_t length = strcspn(d, "|");
            detector = detector || (length == n && strncmp(d, p, n) == 0);
            d += length + (d[length] == '|' ? 1 : 0);
        }
        const size_t at = strlen(known);
        if (!detector) (void)snprintf(known + at, sizeof known - at, "|%.*s", (int)n, p);
        p += n + (p[n] == '|' ? 1 : 0);
    }
    const char *name;
    for (size_t i = 0, used = 0; (name = cz_detector_name(i)) != NULL; i++, used = strlen(all))
        (void)snprintf(all + used, sizeof all - used, "%s%s", i > 0 ? "," : "", name);
    int code = read_names("methods", c->options.methods, known, c->methods, &c->method_count);
    const char *text = c->options.detectors != NULL ? c->options.detectors : all;
    if (code < 0) code = read_names("detectors", text, detectors, c->detectors, &c->detector_count);
    for (size_t i = 0; code < 0 && i < c->detector_count; i++) {
        const bool plain = c->method_count == 1 && strcmp(c->methods[0], "plain") == 0;
        if (strcmp(c->detectors[i], "knn") == 0 && !plain)
            code = usage("detectors", "knn is filled, not trained: it goes with --methods plain alone");
    }
    return code;
}

/* METHOD:NAME=VALUE */
static int check_with(const contaminate *c)
{
    for (size_t i = 0; i < c->options.with.count; i++) {
        const char *text = c->options.with.items[i], *colon = strchr(text, ':');
        const char *equals = colon != NULL ? strchr(colon, '=') : NULL;
        char name[64], shown[200];
        bool method = false;
        for (size_t m = 0; m < c->method_count && equals != NULL; m++) {
            method = method || (strlen(c->methods[m]) == (size_t)(colon - text) &&
                                strncmp(c->methods[m], text, (size_t)(colon - text)) == 0);
        }
        if (!method) {
            (void)snprintf(shown, sizeof shown, "\"%.80s\" is not METHOD:NAME=VALUE with one of --methods", text);
            return usage("with", shown);
        }
        (void)snprintf(name, sizeof name, "%.*s", (int)(equals - colon - 1), colon + 1);
        const cli_option *o = IS_AMONG(not_passed, name) || IS_AMONG(running, name) ? NULL : train_option(c, name);
        if (o == NULL) {
            (void)snprintf(shown, sizeof shown, "\"%.60s\" is no option of cozad train that can be given here", name);
            return usage("with", shown);
        }
        uint64_t room[8]; /* any kind's value but a list's */
        cli_option copy = *o;
        copy.target = room;
        const bool fits = o->kind == CLI_FLAG ? strcmp(equals + 1, "on") == 0 || strcmp(equals + 1, "off") == 0
                                              : o->kind != CLI_LIST && cli_set_value(&copy, equals + 1);
        if (!fits) {
            (void)snprintf(shown, sizeof shown, "\"%.80s\": not a value of --%.60s", text, name);
            return usage("with", shown);
        }
    }
    return -1;
}

/* ---- the data set's name ------------------------------------------------------------------------------------------ */

/* ROOT:LAYOUT, where there is nothing of that name and what follows the last colon is a layout. */
static int split_data(contaminate *c)
{
    c->data_root = strdup(c->data);
    if (c->data_root == NULL) return no_memory();
    char *colon = strrchr(c->data_root, ':');
    if (colon == NULL || jobs_exists(c->data)) return -1;
    const char *layout = c->data + (colon - c->data_root) + 1;
    if (strcmp(layout, "auto") != 0 && !dataset_is_layout(layout)) {
        cli_error("--data: \"%.60s\" is no layout of docs/data-sets.md", layout);
        return CLI_USAGE;
    }
    c->layout = layout;
    *colon = '\0';
    return -1;
}

/* ---- training options --------------------------------------------------------------------------------------------- */

/* What was said on the command line or in --config, as the file that every training is given. */
static int keep_config(contaminate *c)
{
    cli_option kept[TRAIN_MAX_OPTIONS];
    size_t count = 0;
    for (size_t i = 0; i < c->train.option_count; i++) {
        const cli_option *o = &c->train.options[i];
        if (o->kind == CLI_HEADING || IS_AMONG(running, o->name) || (!c->train.given[i] && !c->train.from_file[i]))
            continue;
        if (IS_AMONG(not_passed, o->name)) {
            if (c->train.from_file[i]) cli_note("%s: \"%s\" is not used here", c->train.config, o->name);
            continue;
        }
        kept[count++] = *o;
    }
    char *text = config_text(kept, count, (config_names){NULL, 0}, false);
    c->config = text != NULL ? json_loads(text, 0, NULL) : NULL;
    free(text);
    if (c->config != NULL) return -1;
    cli_error("the training options cannot be written as JSON (is a path not UTF-8?)");
    return CLI_USAGE;
}

static int parse(contaminate *c, int argc, char **argv, cli_list *args)
{
    const cli_option own[] = {
        {"What is measured", 0, CLI_HEADING, NULL, NULL, NULL, NULL},
        {"data", 0, CLI_STRING, &c->data, "ROOT[:LAYOUT]", "the data set, or a manifest file", NULL},
        {"layout", 0, CLI_STRING, &c->layout, "NAME", "how it is laid out: mvtec, visa, btad, csv, ...", NULL},
        {"category", 0, CLI_STRING, &c->category, "NAME,...", "these categories only, each by itself", NULL},
        CONTAMINATE_OPTIONS(c->options),
        {"config", 0, CLI_STRING, &c->train.config, "FILE", "JSON file of training options; the command line wins",
         NULL},
        {"report", 0, CLI_STRING, &c->report, "FILE", "write one HTML page with the curves", NULL},
        {"json", 0, CLI_FLAG, &c->json, NULL, "one JSON object", NULL},
        {"csv", 0, CLI_FLAG, &c->csv, NULL, "one line a method and rate", NULL},
    };
    enum { OWN = sizeof own / sizeof *own };
    cli_option all[OWN + TRAIN_MAX_OPTIONS];
    size_t from[OWN + TRAIN_MAX_OPTIONS], count = OWN; /* where an option is in train's table */
    bool given[OWN + TRAIN_MAX_OPTIONS] = {false};
    memcpy(all, own, sizeof own);
    for (size_t i = 0; i < c->train.option_count; i++) {
        const cli_option *o = &c->train.options[i];
        if (o->kind != CLI_HEADING && IS_AMONG(not_passed, o->name)) continue;
        from[count] = i;
        all[count++] = *o;
    }
    const int code = cli_parse_given(&verb, all, count, argc, argv, args, given);
    for (size_t i = OWN; i < count && code < 0; i++) c->train.given[from[i]] = given[i];
    return code;
}

static int check(const contaminate *c, const cli_list *args)
{
    const contaminate_options *o = &c->options;
    const char *problem = NULL;
    if (args->count > 0) {
        cli_error("%s: eval --contaminate takes no such argument", args->items[0]);
        return CLI_USAGE;
    }
    if (o->rates == NULL || c->data == NULL || o->output == NULL) {
        problem = "--contaminate needs --data ROOT[:LAYOUT] and -o RESULTS";
    } else if (o->seeds == 0 || o->seeds > CONTAMINATE_MOST_SEEDS) {
        problem = "--seeds: from 1 to 1000";
    } else if (!(o->most > 0.0 && o->most <= 1.0)) {
        problem = "--contaminate-most: above 0, at most 1";
    } else if (strcmp(o->from, "other") == 0 && strcmp(o->keep, "yes") == 0) {
        problem = "--contaminate-keep-in-test yes goes with --contaminate-from same: photos of other categories are in "
                  "no test "
                  "set of this one";
    } else if (c->json && c->csv) {
        problem = "--json and --csv cannot be mixed";
    } else if (strlen(o->output) > JOBS_PATH / 4) {
        problem = "-o: the folder's name is too long";
    }
    if (problem == NULL) return -1;
    cli_error("%s; see 'cozad eval --contaminate 0 --help'", problem);
    return CLI_USAGE;
}

bool contaminate_removes(const contaminate *c)
{
    return strcmp(c->options.from, "same") == 0 && strcmp(c->options.keep, "no") == 0;
}

int contaminate_read_options(contaminate *c, int argc, char **argv)
{
    cli_list args = {NULL, 0};
    train_options_init(&c->train);
    c->usual_limit = c->train.common.cache_limit;
    c->train.train.method = "cozad"; /* every option of train has a use for some method */
    int code = parse(c, argc, argv, &args);
    if (code < 0) code = check(c, &args);
    cli_list_free(&args);
    if (code < 0) code = read_rates(c);
    if (code < 0) code = read_methods(c);
    if (code < 0) code = check_with(c);
    if (code < 0) code = train_options_settle(&c->train);
    if (code < 0) code = keep_config(c);
    if (code < 0) code = split_data(c);
    if (code < 0 && c->report != NULL) {
        const int writable = common_check_writable(c->report);
        if (writable != CLI_OK) code = writable;
    }
    return code;
}

void contaminate_free_options(contaminate *c)
{
    cli_list_free(&c->options.with);
    json_decref(c->config);
    free(c->data_root);
    train_options_free(&c->train);
}
