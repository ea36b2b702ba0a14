/* SPDX-License-Identifier: Apache-2.0 */
/* Which photos: training and test photos of every category, and what is injected. */
#include "contaminate.h"
#include "datasets.h"
#include "eval.h"
#include "synth.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int no_memory(void)
{
    cli_error("out of memory");
    return CLI_RESOURCES;
}

/* ---- the order of injection --------------------------------------------------------------------------------------- */

typedef struct candidate {
    const cz_sample *sample;
    size_t index, rank; /* rank: among those of its kind, by key */
    uint64_t key, turn;
} candidate;

/* FNV-1a, mixed: a photo's place in the draw depends on the seed and its name alone, not on what else is there. */
static uint64_t hash_text(uint64_t seed, const char *text)
{
    uint64_t h = 0xcbf29ce484222325U;
    for (; *text != '\0'; text++) h = (h ^ (unsigned char)*text) * 0x100000001b3U;
    return synth_mix(h, seed);
}

const char *contaminate_kind(const cz_sample *s, char room[CONTAMINATE_KIND])
{
    if (s->kind[0] != '\0') return s->kind;
    const size_t length = strcspn(s->relative, "/");
    (void)snprintf(room, CONTAMINATE_KIND, "%.*s", (int)(s->relative[length] == '/' && length < 200 ? length : 0),
                   s->relative);
    return room;
}

static int compare_kinds(const candidate *x, const candidate *y)
{
    char room[2][CONTAMINATE_KIND];
    const int order = strcmp(x->sample->category, y->sample->category);
    return order != 0 ? order : strcmp(contaminate_kind(x->sample, room[0]), contaminate_kind(y->sample, room[1]));
}

static int by_kind(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    int order = compare_kinds(x, y);
    if (order == 0) order = (x->key > y->key) - (x->key < y->key);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static int by_turn(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    int order = (x->rank > y->rank) - (x->rank < y->rank);
    if (order == 0) order = (x->turn > y->turn) - (x->turn < y->turn);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

/* Of `count` photos of a kind so many may be injected. Other categories' photos are tested nowhere: all of them. */
static size_t most_of(const contaminate *c, size_t count)
{
    if (strcmp(c->options.from, "other") == 0) return count;
    return (size_t)floor(c->options.most * (double)count + 1e-9);
}

/* Leaves those that may be injected, in order; returns how many. The kinds take turns, in another order each time. */
static size_t put_in_order(const contaminate *c, candidate *list, size_t count, uint64_t seed)
{
    char room[CONTAMINATE_KIND];
    size_t kept = 0;
    qsort(list, count, sizeof *list, by_kind);
    for (size_t first = 0, last; first < count; first = last) {
        for (last = first + 1; last < count && compare_kinds(&list[first], &list[last]) == 0;) last++;
        const size_t most = most_of(c, last - first);
        for (size_t i = 0; i < most; i++) {
            candidate one = list[first + i];
            one.rank = i;
            one.turn =
                hash_text(synth_mix(hash_text(seed, one.sample->category), i), contaminate_kind(one.sample, room));
            list[kept++] = one;
        }
    }
    qsort(list, kept, sizeof *list, by_turn);
    return kept;
}

/* `out` NULL: only how many. */
static int draw(const contaminate *c, const contaminate_target *t, size_t seed, size_t *out, size_t *count)
{
    candidate *list = calloc(t->pool_count + 1, sizeof *list);
    if (list == NULL) return no_memory();
    for (size_t i = 0; i < t->pool_count; i++) {
        const cz_sample *s = cz_dataset_at(c->dataset, t->pool[i]);
        list[i] = (candidate){.sample = s, .index = t->pool[i], .key = hash_text(seed, s->relative)};
    }
    const size_t kept = put_in_order(c, list, t->pool_count, seed);
    for (size_t i = 0; i < kept && out != NULL; i++) out[i] = list[i].index;
    if (count != NULL) *count = kept;
    free(list);
    return CLI_OK;
}

int contaminate_draw(const contaminate *c, const contaminate_target *t, size_t seed, size_t *out)
{
    return draw(c, t, seed, out, NULL);
}

size_t contaminate_overlap(const contaminate *c, const contaminate_target *t, size_t rate)
{
    return strcmp(c->options.from, "same") == 0 && strcmp(c->options.keep, "yes") == 0 ? t->injected[rate] : 0;
}

double contaminate_share(const contaminate_target *t, size_t rate)
{
    return (double)t->injected[rate] / (double)(t->train_count + t->injected[rate]);
}

/* ---- targets ------------------------------------------------------------------------------------------------------ */

/* The data set's own name stands for a category without one. */
static void name_target(const contaminate *c, contaminate_target *t)
{
    const char *slash = strrchr(c->root, '/');
    const char *wanted = t->category[0] != '\0' ? t->category : slash != NULL && slash[1] != '\0' ? slash + 1 : "data";
    char plain[72];
    (void)snprintf(plain, sizeof plain, "%.71s", wanted);
    for (char *p = plain; *p != '\0'; p++) {
        if (!isalnum((unsigned char)*p) && strchr("._-", *p) == NULL) *p = '_';
    }
    if (plain[0] == '.') plain[0] = '_';
    (void)snprintf(t->name, sizeof t->name, "%s", plain);
    for (size_t suffix = 2;; suffix++) {
        bool taken = false;
        for (const contaminate_target *o = c->targets; o < t; o++) taken = taken || strcmp(o->name, t->name) == 0;
        if (!taken) return;
        (void)snprintf(t->name, sizeof t->name, "%s-%zu", plain, suffix);
    }
}

static bool is_listed(const char *list, const char *name)
{
    const size_t length = strlen(name);
    for (const char *p = list; *p != '\0';) {
        const size_t n = strcspn(p, ",");
        if (n == length && strncmp(p, name, n) == 0) return true;
        p += n + (p[n] == ',' ? 1 : 0);
    }
    return false;
}

/* Sorts the samples into training photos, test photos and what may be injected. */
static int fill_target(const contaminate *c, contaminate_target *t)
{
    const size_t count = cz_dataset_count(c->dataset);
    const bool other = strcmp(c->options.from, "other") == 0;
    t->train = calloc(count + 1, sizeof *t->train);
    t->test = calloc(count + 1, sizeof *t->test);
    t->pool = calloc(count + 1, sizeof *t->pool);
    if (t->train == NULL || t->test == NULL || t->pool == NULL) return no_memory();
    for (size_t i = 0; i < count; i++) {
        const cz_sample *s = cz_dataset_at(c->dataset, i);
        const bool own = strcmp(s->category, t->category) == 0;
        int label = s->label;
        if ((!own && !other) || (s->split != CZ_SPLIT_TRAIN && s->split != CZ_SPLIT_TEST)) continue;
        const cz_status status = dataset_label(s, &c->train.common.read, &label);
        if (status != CZ_OK) return cli_fail(status);
        if (own && s->split == CZ_SPLIT_TRAIN && label != 1) t->train[t->train_count++] = i;
        if (s->split != CZ_SPLIT_TEST) continue;
        if (label == 1 && own != other) t->pool[t->pool_count++] = i;
        if (!own || label < 0) continue;
        t->test[t->test_count++] = i;
        t->test_normal += label == 0;
        t->test_defective += label == 1;
    }
    return draw(c, t, 1, NULL, &t->limit); /* how many does not depend on the seed */
}

/* Defective photos for every rate; -1 where there are too few. */
static int count_injected(const contaminate *c, contaminate_target *t)
{
    for (size_t r = 0; r < c->rate_count; r++) {
        const double share = c->rates[r].percent / 100.0;
        t->injected[r] = (size_t)llround((double)t->train_count * share / (1.0 - share));
        if (t->injected[r] <= t->limit) continue;
        if (!c->options.cap) {
            cli_error("%s: %s %% of %zu normal photos takes %zu defective ones, and %zu of %zu may be injected; "
                      "--contaminate-cap injects these, --contaminate-most X allows more of each kind",
                      t->name, c->rates[r].name, t->train_count, t->injected[r], t->limit, t->pool_count);
            return CLI_USAGE;
        }
        t->injected[r] = t->limit;
    }
    if (contaminate_removes(c)) t->test_defective -= t->injected[c->rate_count - 1];
    return CLI_OK;
}

/* NULL: nothing is missing. */
static const char *missing(const contaminate *c, const contaminate_target *t)
{
    if (t->train_count == 0)
        return "has no normal training photos (a manifest with a column \"split\" can set some aside)";
    if (t->test_normal == 0) return "has no normal test photos";
    if (t->test_defective == 0) return "has no defective test photos";
    if (t->limit == 0 && c->rates[c->rate_count - 1].percent > 0.0) {
        return strcmp(c->options.from, "other") == 0
                   ? "has no other category with defective test photos in its data set"
                   : "has too few defective test photos to give any away";
    }
    return NULL;
}

static void free_target(contaminate_target *t)
{
    free(t->train);
    free(t->test);
    free(t->pool);
    memset(t, 0, sizeof *t);
}

static int add_target(contaminate *c, const char *category)
{
    contaminate_target *t = &c->targets[c->target_count++]; /* counted in any case: it is to be freed */
    t->category = category;
    name_target(c, t);
    int code = fill_target(c, t);
    if (code != CLI_OK) return code;
    const char *problem = missing(c, t);
    if (problem == NULL) {
        code = count_injected(c, t);
        if (code == CLI_OK && t->test_defective == 0) problem = "would have no defective test photos left";
        if (problem == NULL) return code;
    }
    if (c->category != NULL || cz_dataset_categories(c->dataset) == 1) {
        cli_error("%s %s", t->name, problem);
        return CLI_USAGE;
    }
    cli_note("%s %s; left out", t->name, problem);
    free_target(t);
    c->target_count--;
    return CLI_OK;
}

/* ---- the data set ------------------------------------------------------------------------------------------------- */

/* The folder that paths of samples are below. */
static int find_root(contaminate *c)
{
    const cz_sample *s = cz_dataset_at(c->dataset, 0);
    if (s == NULL) {
        cli_error("%s: is empty", c->data_root);
        return CLI_USAGE;
    }
    const size_t path = strlen(s->path), relative = strlen(s->relative);
    char *folder = path > relative ? strndup(s->path, path - relative) : strdup("."); /* ends with a slash */
    char *real = folder != NULL ? realpath(folder, NULL) : NULL;
    const bool fits = real != NULL && strlen(real) < sizeof c->root;
    if (fits) (void)snprintf(c->root, sizeof c->root, "%s", real);
    if (!fits) cli_error("%s: %s", c->data_root, real == NULL ? strerror(errno) : "the path is too long");
    free(real);
    free(folder);
    return fits ? CLI_OK : CLI_RESOURCES;
}

static int check_categories(const contaminate *c)
{
    for (const char *p = c->category; p != NULL && *p != '\0';) {
        const size_t n = strcspn(p, ",");
        bool found = false;
        for (size_t i = 0; i < cz_dataset_categories(c->dataset) && !found; i++) {
            const char *name = cz_dataset_category(c->dataset, i);
            found = strlen(name) == n && strncmp(name, p, n) == 0;
        }
        if (!found) {
            cli_error("%s: there is no category \"%.*s\"", c->data_root, (int)(n < 80 ? n : 80), p);
            return CLI_USAGE;
        }
        p += n + (p[n] == ',' ? 1 : 0);
    }
    return CLI_OK;
}

int contaminate_open_data(contaminate *c)
{
    const cz_status status = eval_is_file(c->data_root) ? cz_dataset_open_manifest(c->data_root, &c->dataset)
                                                        : cz_dataset_open(c->data_root, c->layout, &c->dataset);
    if (status != CZ_OK) return cli_fail(status);
    const size_t count = cz_dataset_categories(c->dataset);
    if (strcmp(c->options.from, "other") == 0 && count < 2) {
        cli_error("%s: has one category; --contaminate-from other needs a data set of several", c->data_root);
        return CLI_USAGE;
    }
    c->targets = calloc(count + 1, sizeof *c->targets);
    if (c->targets == NULL) return no_memory();
    int code = find_root(c);
    if (code == CLI_OK) code = check_categories(c);
    for (size_t i = 0; i < count && code == CLI_OK; i++) {
        const char *name = cz_dataset_category(c->dataset, i);
        if (c->category == NULL || is_listed(c->category, name)) code = add_target(c, name);
    }
    if (code == CLI_OK && c->target_count == 0) {
        cli_error("%s: no category can be used", c->data_root);
        code = CLI_USAGE;
    }
    return code;
}
