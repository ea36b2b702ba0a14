/* SPDX-License-Identifier: Apache-2.0 */
/* Method "knn" with rotations or neighbourhood left open: the photos tell whether parts lie anyhow (docs/math.md section 9). Where
 * they do, turned copies of a photo show what is in another one; where they do not, they show nothing that was missing. */
#include "api/train_settings.h"
#include "api/turned.h"
#include "util/alloc.h"
#include "util/threads.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of more photos than MOST every angle is there already. */
#define MOST ((size_t)32)
/* Positions that a photo is looked at in. */
#define TURNS ((size_t)8)
/* A fall of the mean image score that tells parts that lie anyhow, and what is then chosen: of few photos 0 to 5 % were measured
 * where parts lie the same way, 12 to 30 % where they do not (docs/zero-shot-log.md). */
#define LEAST     0.10
#define ROTATIONS ((size_t)16)
/* Photos that are scored, and patches of each that may still be its farthest once turned copies are there. */
#define ASKED   ((size_t)8)
#define LEADERS ((size_t)32)
/* Multiplications of the first comparison, about a second: of more patches some are drawn. */
#define PRODUCTS 2e10
/* Stream of the counter rng; train_knn.c has those before it. */
enum { ANGLES = 3 };

typedef struct probe {
    cz_trainer *t;
    cz_turned turned;
    cz_head *head; /* its bank is one image at a time */
    size_t count, photo[ASKED];
    size_t first[ASKED + 1]; /* of each one's rows below; the last is the end */
    float *queries;          /* [rows, D] */
    float *best, *scores;    /* [rows] distances: the smallest so far, those to one image */
} probe;

/* ---- measuring ---------------------------------------------------------------------------------------------------- */

static cz_status draw_queries(probe *p)
{
    cz_patch_set *set = &p->t->patches;
    const uint64_t seed = p->t->options->seed;
    const size_t photos = set->set.count;
    cz_rng rng;
    p->count = photos < ASKED ? photos : ASKED;
    const double room = PRODUCTS / ((double)p->count * (double)photos * (double)set->grid * (double)set->width);
    size_t wanted = room < (double)set->grid ? (size_t)room : set->grid;
    if (wanted < LEADERS) wanted = LEADERS;
    p->queries = cz_alloc_array(p->count * wanted, set->width * sizeof *p->queries);
    p->best = cz_alloc_array(p->count * wanted, sizeof *p->best);
    p->scores = cz_alloc_array(p->count * wanted, sizeof *p->scores);
    if (p->queries == NULL || p->best == NULL || p->scores == NULL) return CZ_E_MEMORY;
    cz_rng_init(&rng, seed, CZ_RNG_BANK, ANGLES, 0);
    cz_rng_choose(&rng, photos, p->count, p->photo);
    for (size_t i = 0; i < p->count; i++) {
        cz_rng_init(&rng, seed, CZ_RNG_BANK, ANGLES, 1 + (uint32_t)i);
        p->first[i + 1] =
            p->first[i] + cz_patch_set_sample(set, p->photo[i], wanted, &rng, p->queries + p->first[i] * set->width);
    }
    for (size_t r = 0; r < p->first[p->count]; r++) p->best[r] = INFINITY;
    return CZ_OK;
}

/* Every photo's queries but those of `photo` itself with one image, which shows that photo. One thread: a product's sums may be split
 * otherwise among several. */
static cz_status compare(probe *p, cz_patch_set *set, size_t image, size_t photo)
{
    float *bank = p->t->features;
    const float rows = (float)cz_patch_set_whole(set, image, bank);
    cz_threads_scope scope = {0};
    cz_status status = cz_threads_enter(1, &scope);
    if (status != CZ_OK) return status;
    size_t own = 0;
    while (own < p->count && p->photo[own] != photo) own++;
    const size_t end = p->first[p->count], before = p->first[own];
    const size_t parts[2][2] = {{0, before}, {own < p->count ? p->first[own + 1] : end, end}};
    for (size_t i = 0; i < 2 && status == CZ_OK; i++) {
        const size_t first = parts[i][0], count = parts[i][1] - first;
        if (count == 0) continue;
        status = cz_head_score(p->head, bank, &rows, p->queries + first * set->width, count, p->scores);
        for (size_t r = 0; r < count && status == CZ_OK; r++)
            p->best[first + r] = fminf(p->best[first + r], p->scores[r]);
    }
    cz_threads_leave(&scope);
    return status;
}

/* Mean over the photos of their farthest patch's distance. */
static cz_status mean_score(const probe *p, double *out)
{
    double sum = 0.0;
    for (size_t i = 0; i < p->count; i++) {
        float most = 0.0f;
        for (size_t r = p->first[i]; r < p->first[i + 1]; r++) most = fmaxf(most, p->best[r]);
        sum += (double)most;
    }
    *out = sum / (double)p->count;
    return isfinite(*out) ? CZ_OK : cz_fail(CZ_E_DIVERGED, "features that are not finite");
}

static int descending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x > y ? -1 : x < y;
}

/* A distance only falls when there is more to compare with: those patches that were far are enough from here on. */
static void keep_leaders(probe *p)
{
    const size_t width = p->t->patches.width;
    size_t kept = 0;
    for (size_t i = 0; i < p->count; i++) {
        const size_t first = p->first[i], rows = p->first[i + 1] - first;
        memcpy(p->scores, p->best + first, rows * sizeof *p->scores);
        qsort(p->scores, rows, sizeof *p->scores, descending);
        const float least = p->scores[(rows < LEADERS ? rows : LEADERS) - 1];
        p->first[i] = kept;
        for (size_t r = first; r < first + rows; r++) {
            if (p->best[r] < least) continue;
            p->best[kept] = p->best[r];
            memmove(p->queries + kept++ * width, p->queries + r * width, width * sizeof *p->queries);
        }
    }
    p->first[p->count] = kept;
}

static cz_status report(const probe *p, size_t done)
{
    const size_t total = p->t->patches.set.count + p->turned.set.set.count;
    return cz_patch_set_report(&p->t->patches, "training", done, total, "looking for angles");
}

/* The share by which the mean image score falls. */
static cz_status measure(cz_trainer *t, double *out)
{
    cz_status status;
    probe p = {.t = t};
    cz_head_config config = t->model->head->config;
    const size_t photos = t->patches.set.count;
    double plain, turned;
    config.bank = t->patches.grid;
    CZ_TRY(cz_turned_create(t, TURNS, &p.turned));
    CZ_TRY(cz_head_create(t->model->detector, &config, &p.head));
    CZ_TRY(draw_queries(&p));
    for (size_t i = 0; i < photos; i++) {
        CZ_TRY(report(&p, i));
        CZ_TRY(compare(&p, &t->patches, i, i));
    }
    CZ_TRY(mean_score(&p, &plain));
    keep_leaders(&p);
    for (size_t i = 0; i < p.turned.set.set.count; i++) {
        CZ_TRY(report(&p, photos + i));
        CZ_TRY(compare(&p, &p.turned.set, i, cz_turned_photo(&p.turned, i)));
    }
    CZ_TRY(mean_score(&p, &turned));
    *out = plain > 0.0 ? round(1e4 * (1.0 - turned / plain)) / 1e4 : 0.0;
out:
    cz_turned_free(&p.turned);
    cz_head_destroy(p.head);
    cz_free(p.queries);
    cz_free(p.best);
    cz_free(p.scores);
    return status;
}

/* ---- choosing ----------------------------------------------------------------------------------------------------- */

static const char *why_not(const cz_trainer *t)
{
    if (t->options->ignore_mask != NULL) return "an ignore mask would not turn with the photo";
    if (t->patches.set.count < 2) return "one photo has no other to be compared with";
    return t->patches.set.count > MOST ? "so many photos show a part at every angle that it has" : NULL;
}

static void tell(const cz_trainer *t)
{
    const cz_train_options *o = t->options;
    const cz_knn_choice *c = &t->choice;
    char line[400];
    size_t used = 0;
    if (o->log == NULL) return;
    if (c->rotations) used += (size_t)snprintf(line, sizeof line, "rotations: auto means %zu here", o->knn.rotations);
    if (c->neighbourhood)
        used += (size_t)snprintf(line + used, sizeof line - used, "%sneighbourhood: auto means %zu here",
                                 used > 0 ? ", " : "", o->neighbourhood);
    if (c->reason != NULL) {
        (void)snprintf(line + used, sizeof line - used, ": %s", c->reason);
    } else {
        (void)snprintf(
            line + used, sizeof line - used,
            ": turned copies bring the photos %.1f %% nearer to each other; from %.0f %% on parts lie anyhow",
            100.0 * c->fall, 100.0 * LEAST);
    }
    o->log(o->ctx, line);
}

cz_status cz_train_knn_choose(cz_trainer *t)
{
    cz_status status;
    cz_train_options *o = &t->settled;
    cz_knn_choice *c = &t->choice;
    *c = (cz_knn_choice){.fall = NAN};
    if (!cz_train_by_bank(o->method)) return CZ_OK;
    c->rotations = o->knn.rotations == 0;
    c->neighbourhood = o->neighbourhood == 0;
    if (!c->rotations && !c->neighbourhood) return CZ_OK;
    c->reason = why_not(t);
    CZ_TRY(cz_patch_set_use_neighbourhood(&t->patches, 3)); /* what LEAST was found with */
    if (c->reason == NULL) CZ_TRY(measure(t, &c->fall));
    const bool anyhow = c->reason == NULL && c->fall >= LEAST;
    if (c->rotations) o->knn.rotations = anyhow ? ROTATIONS : 1;
    if (c->neighbourhood) o->neighbourhood = anyhow ? 1 : 3;
    CZ_TRY(cz_patch_set_use_neighbourhood(&t->patches, o->neighbourhood));
    t->model->neighbourhood = o->neighbourhood;
    tell(t);
out:
    return status;
}
