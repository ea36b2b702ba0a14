/* SPDX-License-Identifier: Apache-2.0 */
/* Eight threads and two models in one process; a caller that uses OpenMP itself; sessions that are warmed up. */
#include "cozad/cozad_stream.h"
#include "util/alloc.h"

#include <dirent.h>
#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PHOTOS = 6, SIDE = 80, THREADS = 8, ROUNDS = 3, MODELS = 2, GRID_MAX = 256 };

static cz_backbone *backbones[MODELS];
static cz_model *models[MODELS];
static uint8_t gray[PHOTOS][SIDE * SIDE];

typedef struct expected {
    double score;
    size_t grid;
    float patches[GRID_MAX];
} expected;
static expected serial[MODELS][PHOTOS];

static cz_image photo(size_t index)
{
    return (cz_image){gray[index], SIDE, SIDE, SIDE, CZ_GRAY8};
}

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    (void)ctx;
    *out = photo(index);
    return CZ_OK;
}

static cz_session *open_session(size_t model, size_t threads)
{
    cz_session_options o = CZ_SESSION_OPTIONS_INIT;
    cz_session *session = NULL;
    o.threads = threads;
    return cz_session_open(models[model], &o, &session) == CZ_OK ? session : NULL;
}

static int make_models(void **state)
{
    (void)state;
    static const char *const names[] = {"random:resnet18:1", "random:resnet18:2"};
    for (size_t n = 0; n < PHOTOS; n++) {
        for (size_t i = 0; i < sizeof gray[n]; i++)
            gray[n][i] = (uint8_t)((i * (n + 2) + i / SIDE * (n % 3 + 1)) % 253);
    }
    for (size_t m = 0; m < MODELS; m++) {
        cz_train_options o;
        cz_image_source source = CZ_IMAGE_SOURCE_INIT;
        cz_result r;
        cz_train_options_init(&o);
        o.image_width = o.image_height = 64 + 32 * m;
        o.feature_width = 16 + 8 * m;
        o.hidden_width = 8;
        o.epochs = 1;
        o.patches_per_image = 8;
        o.threads = 1;
        o.seed = m;
        source.count = 3;
        source.load = load;
        source.concurrent = 1;
        if (cz_backbone_open(names[m], &backbones[m]) != CZ_OK) return -1;
        if (cz_train(backbones[m], &source, &o, &models[m]) != CZ_OK) return -1;
        cz_session *session = open_session(m, 1);
        for (size_t n = 0; n < PHOTOS; n++) {
            const cz_image image = photo(n);
            if (session == NULL || cz_score(session, &image, &r) != CZ_OK) return -1;
            serial[m][n].score = r.score;
            serial[m][n].grid = r.grid_width * r.grid_height;
            if (serial[m][n].grid > GRID_MAX) return -1;
            memcpy(serial[m][n].patches, r.patch_scores, serial[m][n].grid * sizeof(float));
        }
        cz_session_close(session);
    }
    return 0;
}

static int free_models(void **state)
{
    (void)state;
    for (size_t m = 0; m < MODELS; m++) {
        cz_model_close(models[m]);
        cz_backbone_close(backbones[m]);
    }
    return 0;
}

/* ---- threads ------------------------------------------------------------------------------------------------------ */

typedef struct scorer {
    size_t number;
    pthread_t thread;
    size_t wrong, done;
} scorer;

static size_t check(const cz_result *r, const expected *e)
{
    return r->score != e->score || r->grid_width * r->grid_height != e->grid ||
           memcmp(r->patch_scores, e->patches, e->grid * sizeof(float)) != 0;
}

/* Opens and closes its session too, while others compute. */
static void *score_photos(void *argument)
{
    scorer *s = argument;
    for (size_t round = 0; round < ROUNDS; round++) {
        const size_t m = (s->number + round) % MODELS;
        cz_session *session = open_session(m, 1);
        for (size_t i = 0; i < PHOTOS && session != NULL; i++) {
            const size_t n = (i + s->number) % PHOTOS;
            const cz_image image = photo(n);
            cz_result r;
            s->done += cz_score(session, &image, &r) == CZ_OK;
            s->wrong += check(&r, &serial[m][n]);
        }
        cz_session_close(session);
    }
    return NULL;
}

static void eight_threads_two_models(void **state)
{
    (void)state;
    scorer scorers[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        scorers[i] = (scorer){.number = i};
        assert_int_equal(pthread_create(&scorers[i].thread, NULL, score_photos, &scorers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) (void)pthread_join(scorers[i].thread, NULL);
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(scorers[i].done, ROUNDS * PHOTOS);
        assert_int_equal(scorers[i].wrong, 0);
    }
}

typedef struct streamer {
    size_t model, wrong, done;
    cz_status status;
    pthread_t thread;
} streamer;

static int compare(void *ctx, const cz_stream_item *item)
{
    streamer *s = ctx;
    s->wrong += item->status != CZ_OK || check(item->result, &serial[s->model][item->index]);
    s->done++;
    return 0;
}

static void *run_stream(void *argument)
{
    streamer *s = argument;
    cz_stream_options o = CZ_STREAM_OPTIONS_INIT;
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    source.count = PHOTOS;
    source.load = load;
    source.concurrent = 1;
    o.session.threads = 1;
    o.workers = 3;
    o.deliver = compare;
    o.ctx = s;
    s->status = cz_score_stream(models[s->model], &source, &o, NULL);
    return NULL;
}

static void streams_side_by_side(void **state)
{
    (void)state;
    streamer s[2 * MODELS];
    for (size_t i = 0; i < 2 * MODELS; i++) {
        s[i] = (streamer){.model = i % MODELS};
        assert_int_equal(pthread_create(&s[i].thread, NULL, run_stream, &s[i]), 0);
    }
    for (size_t i = 0; i < 2 * MODELS; i++) (void)pthread_join(s[i].thread, NULL);
    for (size_t i = 0; i < 2 * MODELS; i++) {
        assert_int_equal(s[i].status, CZ_OK);
        assert_int_equal(s[i].done, PHOTOS);
        assert_int_equal(s[i].wrong, 0);
    }
}

/* ---- a caller with OpenMP ------------------------------------------------------------------------------------------ */

/* Inside a parallel region all is refused, by every thread of it, and says so; before and after it works, and the caller's own thread
 * count is as it was. */
static void inside_a_parallel_region(void **state)
{
    (void)state;
    int refused = 0, other = 0;
    cz_session *session = open_session(0, 2);
    assert_non_null(session);
    const int before = omp_get_max_threads();
#pragma omp parallel num_threads(2) reduction(+ : refused, other)
    {
        const cz_image image = photo(0);
        cz_result r;
        cz_session *mine = NULL;
        const bool first = omp_get_thread_num() == 0; /* a session belongs to one thread */
        const cz_status opened = cz_session_open(models[1], NULL, &mine);
        const cz_status scored = first ? cz_score(session, &image, &r) : CZ_E_ARG;
        refused += opened == CZ_E_ARG && scored == CZ_E_ARG && strstr(cz_last_error(), "OpenMP") != NULL;
        other += opened != CZ_E_ARG || scored != CZ_E_ARG;
        cz_session_close(mine);
    }
    assert_int_equal(other, 0);
    assert_int_equal(refused, 2);
    assert_int_equal(omp_get_max_threads(), before);
    const cz_image image = photo(0);
    cz_result r;
    assert_int_equal(cz_score(session, &image, &r), CZ_OK);
    assert_true(fabs(r.score - serial[0][0].score) < 1e-4 * (1.0 + fabs(r.score)));
    assert_int_equal(omp_get_max_threads(), before);
    cz_session_close(session);
}

/* ---- warming up ---------------------------------------------------------------------------------------------------- */

static size_t files_below(const char *folder)
{
    size_t count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir)) {
        char path[512];
        if (e->d_name[0] == '.') continue;
        (void)snprintf(path, sizeof path, "%.200s/%.200s", folder, e->d_name);
        count += e->d_type == DT_DIR ? files_below(path) : strstr(e->d_name, "lock") == NULL;
    }
    if (dir != NULL) (void)closedir(dir);
    return count;
}

static void warmed_up(void **state)
{
    (void)state;
    char folder[] = "/tmp/cozad-warm-XXXXXX";
    assert_non_null(mkdtemp(folder));
    cz_session_options o = CZ_SESSION_OPTIONS_INIT;
    cz_session *session = NULL;
    o.threads = 1;
    o.max_batch = 3;
    o.cache.dir = folder;
    assert_int_equal(cz_session_open(models[0], &o, &session), CZ_OK);
    const size_t before = files_below(folder);
    assert_int_equal(cz_session_warmup(session, SIDE, SIDE, 2), CZ_OK);
    assert_int_equal(files_below(folder), before); /* a gray picture is not kept */
    const cz_image image = photo(2);
    cz_result r;
    cz_session_options plain = CZ_SESSION_OPTIONS_INIT;
    plain.threads = 1;
    assert_int_equal(cz_score(session, &image, &r), CZ_OK);
    assert_true(r.score == serial[0][2].score && !r.from_cache);
    assert_true(files_below(folder) > before); /* a photo is */
    assert_int_equal(cz_score(session, &image, &r), CZ_OK);
    assert_true(r.from_cache);
    cz_session_close(session);
    /* without a store the first call makes no more than the second */
    assert_int_equal(cz_session_open(models[0], &plain, &session), CZ_OK);
    assert_int_equal(cz_session_warmup(session, SIDE, SIDE, 0), CZ_OK);
    unsigned long counts[3] = {cz_alloc_count(), 0, 0};
    for (int i = 1; i < 3; i++) {
        assert_int_equal(cz_score(session, &image, &r), CZ_OK);
        assert_true(r.score == serial[0][2].score);
        counts[i] = cz_alloc_count();
    }
    assert_int_equal(counts[1] - counts[0], counts[2] - counts[1]);
    assert_int_equal(cz_session_warmup(session, 0, SIDE, 1), CZ_E_ARG);
    assert_int_equal(cz_session_warmup(NULL, SIDE, SIDE, 1), CZ_E_ARG);
    cz_session_close(session);
    char command[600];
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_threads_two_models),
        cmocka_unit_test(streams_side_by_side),
        cmocka_unit_test(inside_a_parallel_region),
        cmocka_unit_test(warmed_up),
    };
    return cmocka_run_group_tests(tests, make_models, free_models);
}
