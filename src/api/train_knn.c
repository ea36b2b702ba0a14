/* SPDX-License-Identifier: Apache-2.0 */
/* Method "knn": a bank of the photos' own patches in the place of training (docs/math.md section 9). */
#include "api/coreset.h"
#include "api/turned.h"
#include "engine/engine.h"
#include "util/alloc.h"
#include "util/threads.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Patches that a selection looks at: so many times the bank, and no more than MOST where the bank is smaller. Their projections,
 * 100 MB at the most, are all of them that is in memory. */
#define TIMES ((size_t)8)
#define MOST  ((size_t)200000)
/* A random projection to this many dimensions keeps distances to about 6 %. */
#define WIDTH ((size_t)128)
/* Streams of the counter rng. */
enum { CANDIDATES = 0, PROJECTION = 1, FIRST = 2 };

/* A photo as it is or turned. Its patches are number `first` and on of all patches. */
typedef struct view {
    cz_patch_set *set;
    size_t image, photo, first;
} view;

typedef struct filling {
    cz_trainer *t;
    cz_turned turned;
    view *views; /* [count + 1], photo by photo; the last is the end */
    size_t count;
    size_t *chosen; /* [rows] numbers of patches, ascending: first the candidates, then the bank */
    size_t rows;
} filling;

static size_t patches_in(const filling *f)
{
    return f->views[f->count].first;
}

/* ---- photos and their turned copies ------------------------------------------------------------------------------- */

static void add_view(filling *f, cz_patch_set *set, size_t image, size_t photo)
{
    view *v = &f->views[f->count++];
    *v = (view){set, image, photo, v->first};
    v[1].first = v->first + set->set.items[image].valid_count;
}

static cz_status make_views(filling *f)
{
    cz_patch_set *turned = &f->turned.set;
    const size_t photos = f->t->patches.set.count;
    size_t next = 0;
    f->views = cz_calloc(photos + turned->set.count + 1, sizeof *f->views);
    if (f->views == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; i < photos; i++) {
        add_view(f, &f->t->patches, i, i);
        while (next < turned->set.count && cz_turned_photo(&f->turned, next) == i) add_view(f, turned, next++, i);
    }
    return CZ_OK;
}

/* Calls `use` with the chosen patches of one view after the other, features [rows, D]. */
static cz_status visit(filling *f, const char *what,
                       cz_status (*use)(void *ctx, const view *v, const float *features, size_t rows), void *ctx)
{
    cz_trainer *t = f->t;
    size_t *which = cz_alloc_array(t->patches.grid, sizeof *which);
    cz_status status = which != NULL ? CZ_OK : CZ_E_MEMORY;
    for (size_t i = 0, at = 0; i < f->count && status == CZ_OK; i++) {
        const view *v = &f->views[i];
        size_t rows = 0;
        while (at < f->rows && f->chosen[at] < v[1].first) which[rows++] = f->chosen[at++] - v->first;
        status = cz_patch_set_report(&t->patches, "training", i, f->count, what);
        if (status != CZ_OK || rows == 0) continue;
        cz_patch_set_pick(v->set, v->image, which, rows, t->features);
        status = use(ctx, v, t->features, rows);
    }
    cz_free(which);
    return status;
}

/* ---- candidates --------------------------------------------------------------------------------------------------- */

static bool is_coreset(const filling *f)
{
    return strcmp(f->t->options->knn.select, "coreset") == 0;
}

static cz_status choose_candidates(filling *f)
{
    const size_t bank = f->t->options->knn.bank, all = patches_in(f);
    size_t limit = bank;
    cz_rng rng;
    if (is_coreset(f) && bank < MOST) limit = bank > MOST / TIMES ? MOST : bank * TIMES;
    f->rows = all < limit ? all : limit;
    f->chosen = cz_alloc_array(f->rows, sizeof *f->chosen);
    if (f->chosen == NULL) return CZ_E_MEMORY;
    cz_rng_init(&rng, f->t->options->seed, CZ_RNG_BANK, CANDIDATES, 0);
    cz_rng_choose(&rng, all, f->rows, f->chosen);
    f->t->candidates = f->rows;
    return CZ_OK;
}

typedef struct projecting {
    float *matrix, *out; /* [D, WIDTH], [rows, WIDTH] */
    size_t width, at;
} projecting;

/* One thread: a product's sums may be split otherwise among several. */
static cz_status project(void *ctx, const view *v, const float *features, size_t rows)
{
    projecting *p = ctx;
    (void)v;
    float *out = p->out + p->at * WIDTH;
    cz_threads_scope scope = {0};
    cz_status status = cz_threads_enter(1, &scope);
    if (status != CZ_OK) return status;
    status = cz_engine_sgemm(false, false, rows, WIDTH, p->width, 1.0f, features, p->width, p->matrix, WIDTH, 0.0f, out,
                             WIDTH);
    cz_threads_leave(&scope);
    p->at += rows;
    for (size_t i = 0; i < rows * WIDTH && status == CZ_OK; i++)
        if (!isfinite(out[i])) status = cz_fail(CZ_E_DIVERGED, "features that are not finite");
    return status;
}

static cz_status report_picks(void *ctx, size_t done, size_t total)
{
    const filling *f = ctx;
    return cz_patch_set_report(&f->t->patches, "training", done, total, "choosing patches");
}

static int ascending(const void *a, const void *b)
{
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* From candidates to the bank, where they are more than it holds. */
static cz_status select_rows(filling *f)
{
    cz_status status;
    const cz_train_options *o = f->t->options;
    cz_rng rng;
    size_t *picks = NULL, picked = 0;
    projecting p = {.width = f->t->patches.width};
    if (f->rows <= o->knn.bank) return CZ_OK;
    p.matrix = cz_alloc_array(p.width, WIDTH * sizeof *p.matrix);
    p.out = cz_alloc_array(f->rows, WIDTH * sizeof *p.out);
    picks = cz_alloc_array(o->knn.bank, sizeof *picks);
    if (p.matrix == NULL || p.out == NULL || picks == NULL) CZ_TRY(CZ_E_MEMORY);
    cz_rng_init(&rng, o->seed, CZ_RNG_BANK, PROJECTION, 0);
    cz_rng_normal_fill(&rng, 0, p.matrix, p.width * WIDTH, 1.0f / sqrtf((float)WIDTH));
    CZ_TRY(visit(f, "reading patches", project, &p));
    cz_rng_init(&rng, o->seed, CZ_RNG_BANK, FIRST, 0);
    const cz_coreset_options options = {
        .points = p.out,
        .count = f->rows,
        .width = WIDTH,
        .wanted = o->knn.bank,
        .first = (size_t)cz_rng_below(&rng, f->rows),
        .report = report_picks,
        .ctx = f,
    };
    CZ_TRY(cz_coreset_pick(&options, picks, &picked));
    qsort(picks, picked, sizeof *picks, ascending);
    for (size_t i = 0; i < picked; i++) f->chosen[i] = f->chosen[picks[i]]; /* picks[i] >= i */
    f->rows = picked;
out:
    cz_free(p.matrix);
    cz_free(p.out);
    cz_free(picks);
    return status;
}

/* ---- the bank ----------------------------------------------------------------------------------------------------- */

/* The head for as many rows as there are. */
static cz_status make_head(filling *f)
{
    cz_status status;
    cz_model *m = f->t->model;
    cz_head_config config = m->head->config;
    cz_head *head = NULL;
    config.bank = f->rows;
    CZ_TRY(cz_head_create(m->detector, &config, &head));
    cz_head_destroy(m->head);
    m->head = head;
    cz_free(m->params);
    m->params = cz_alloc_array(head->param_count, sizeof *m->params);
    if (m->params == NULL) CZ_TRY(CZ_E_MEMORY);
    cz_head_init(head, f->t->options->seed, m->params, m->state);
out:
    return status;
}

typedef struct adding {
    filling *f;
    cz_head_pass *pass;
} adding;

static cz_status add_rows(void *ctx, const view *v, const float *features, size_t rows)
{
    adding *a = ctx;
    cz_trainer *t = a->f->t;
    for (size_t i = 0; i < rows * t->patches.width; i++)
        if (!isfinite(features[i])) return cz_fail(CZ_E_DIVERGED, "features that are not finite");
    if (t->patches.set.count > 1) {
        t->patches.own[v->photo + 1] += rows;
    } else if (v->set == &t->patches) {
        for (size_t i = 0; i < rows; i++) t->patches.own[t->patches.rows[i] * CZ_OWN_STRIPS / t->patches.grid + 1]++;
    }
    return cz_head_pass_add(t->model->head, a->pass, features, rows);
}

static cz_status fill(filling *f)
{
    cz_status status;
    cz_trainer *t = f->t;
    cz_model *m = t->model;
    adding a = {.f = f};
    const size_t owners = t->patches.set.count > 1 ? t->patches.set.count : CZ_OWN_STRIPS;
    t->patches.own = cz_calloc(owners + 1, sizeof *t->patches.own);
    if (t->patches.own == NULL) CZ_TRY(CZ_E_MEMORY);
    CZ_TRY(make_head(f));
    CZ_TRY(cz_head_pass_begin(m->head, m->params, &a.pass));
    CZ_TRY(visit(f, "filling the bank", add_rows, &a));
    CZ_TRY(cz_head_pass_end(m->head, a.pass, m->params, m->state));
    for (size_t i = 0; i < owners; i++) t->patches.own[i + 1] += t->patches.own[i];
    CZ_TRY(cz_patch_set_report(&t->patches, "training", f->count, f->count, ""));
out:
    if (a.pass != NULL) cz_head_pass_destroy(m->head, a.pass);
    return status;
}

cz_status cz_train_knn(cz_trainer *t)
{
    cz_status status;
    filling f = {.t = t};
    CZ_TRY(cz_turned_create(t, t->options->knn.rotations, &f.turned));
    CZ_TRY(make_views(&f));
    CZ_TRY(choose_candidates(&f));
    CZ_TRY(select_rows(&f));
    CZ_TRY(fill(&f));
out:
    cz_turned_free(&f.turned);
    cz_free(f.views);
    cz_free(f.chosen);
    return status;
}
