/* SPDX-License-Identifier: Apache-2.0 */
/* cz_score_stream: order, failures, cancelling, bounds, and the same numbers whoever computes them. */
#include "cozad/cozad_eval.h"
#include "cozad/cozad_stream.h"
#include "util/alloc.h"

#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PHOTOS = 23, SIDE = 72, MOST = SIDE + PHOTOS, GRID_MAX = 256, NEVER = 1000 };

static cz_backbone *backbone;
static cz_model *model;
static uint8_t gray[PHOTOS][MOST * SIDE];
static struct {
    double score;
    size_t grid;
    float patches[GRID_MAX];
    double map_sum;
} known[PHOTOS]; /* by one session, one after the other */

static cz_image photo(size_t index)
{
    return (cz_image){gray[index], SIDE + index, SIDE, MOST, CZ_GRAY8}; /* no two of one size */
}

static double sum_of(const float *values, size_t count)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) sum += isnan(values[i]) ? 0.0 : (double)values[i] * (double)(i % 7 + 1);
    return sum;
}

static int make_model(void **state)
{
    (void)state;
    for (size_t n = 0; n < PHOTOS; n++) {
        for (size_t i = 0; i < sizeof gray[n]; i++)
            gray[n][i] = (uint8_t)((i * (n + 3) + i / MOST * 5 + (i % 11) * n) % 251);
    }
    cz_train_options o;
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    cz_train_options_init(&o);
    o.image_width = o.image_height = 64;
    o.feature_width = 16;
    o.hidden_width = 8;
    o.epochs = 2;
    o.patches_per_image = 8;
    o.threads = 1;
    extern cz_status plain_load(void *ctx, size_t index, cz_image *out);
    source.count = 4;
    source.load = plain_load;
    if (cz_backbone_open("random:resnet18:1", &backbone) != CZ_OK) return -1;
    if (cz_train(backbone, &source, &o, &model) != CZ_OK) return -1;
    cz_session_options options = CZ_SESSION_OPTIONS_INIT;
    cz_session *session = NULL;
    cz_result r;
    options.threads = 1;
    if (cz_session_open(model, &options, &session) != CZ_OK) return -1;
    for (size_t n = 0; n < PHOTOS; n++) {
        const cz_image image = photo(n);
        if (cz_score(session, &image, &r) != CZ_OK) return -1;
        known[n].score = r.score;
        known[n].grid = r.grid_width * r.grid_height;
        if (known[n].grid > GRID_MAX) return -1;
        memcpy(known[n].patches, r.patch_scores, known[n].grid * sizeof(float));
        known[n].map_sum = sum_of(r.map, r.map_width * r.map_height);
    }
    cz_session_close(session);
    return 0;
}

static int free_model(void **state)
{
    (void)state;
    cz_model_close(model);
    cz_backbone_close(backbone);
    return 0;
}

/* ---- a source and callbacks that watch ----------------------------------------------------------------------------- */

typedef struct watch {
    bool one_buffer;                            /* a source that holds one picture at a time */
    size_t bad_load, bad_score, bad_work, stop; /* indices; NEVER */
    size_t fatal_load, fatal_work;
    size_t slow; /* whose loading takes longest */
    useconds_t slow_deliver;
    size_t most; /* on the way at once, as `in_flight` says */
    bool maps;
    uint8_t buffer[MOST * SIDE];
    atomic_int loading, overlaps, on_the_way, worked, released, loads;
    atomic_int delivering;
    size_t next; /* to be delivered */
    double scores[PHOTOS];
} watch;

static void init(watch *w)
{
    memset(w, 0, sizeof *w);
    w->bad_load = w->bad_score = w->bad_work = w->stop = w->fatal_load = w->fatal_work = w->slow = NEVER;
    w->most = NEVER;
}

cz_status plain_load(void *ctx, size_t index, cz_image *out);
cz_status plain_load(void *ctx, size_t index, cz_image *out)
{
    (void)ctx;
    *out = photo(index);
    return CZ_OK;
}

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    watch *w = ctx;
    if (atomic_fetch_add(&w->loading, 1) > 0) atomic_fetch_add(&w->overlaps, 1);
    atomic_fetch_add(&w->loads, 1);
    if (index == w->slow) (void)usleep(60000);
    (void)usleep(500);
    *out = photo(index);
    if (w->one_buffer) {
        memcpy(w->buffer, gray[index], sizeof w->buffer);
        out->data = w->buffer;
    }
    if (index == w->bad_score) out->stride = 1;
    atomic_fetch_sub(&w->loading, 1);
    if (index == w->bad_load) return cz_source_error(CZ_E_FORMAT, "that photo is damaged");
    if (index == w->fatal_load) return cz_source_error(CZ_E_NO_SPACE, "no room left");
    if ((size_t)atomic_fetch_add(&w->on_the_way, 1) >= w->most) atomic_fetch_add(&w->overlaps, 1000);
    return CZ_OK;
}

static void release(void *ctx, size_t index, cz_image *image)
{
    watch *w = ctx;
    assert_non_null(image);
    if (w->one_buffer) memset(w->buffer, 0, sizeof w->buffer); /* whoever still reads it sees something else */
    atomic_fetch_add(&w->released, 1);
    (void)index;
}

static cz_status work(void *ctx, cz_stream_item *item)
{
    watch *w = ctx;
    atomic_fetch_add(&w->worked, 1);
    assert_non_null(item->session);
    assert_non_null(item->image->data);
    assert_int_equal(item->status, CZ_OK);
    if (w->maps) {
        assert_non_null(item->result->map);
        const double sum = sum_of(item->result->map, item->result->map_width * item->result->map_height);
        assert_true(sum == known[item->index].map_sum);
    }
    item->note = (void *)(uintptr_t)(item->index + 1);
    if (item->index == w->fatal_work) return cz_source_error(CZ_E_NO_SPACE, "nowhere to write");
    if (item->index == w->bad_work) return cz_source_error(CZ_E_IO, "that one cannot be written");
    return CZ_OK;
}

static int deliver(void *ctx, const cz_stream_item *item)
{
    watch *w = ctx;
    assert_int_equal(atomic_fetch_add(&w->delivering, 1), 0);
    assert_int_equal(item->index, w->next);
    const size_t n = w->next++;
    if (w->slow_deliver > 0) (void)usleep(w->slow_deliver);
    atomic_fetch_sub(&w->on_the_way, n != w->bad_load);
    assert_null(item->session);
    if (n == w->bad_load || n == w->bad_score || n == w->bad_work) {
        assert_int_equal(item->status, n == w->bad_load ? CZ_E_FORMAT : n == w->bad_score ? CZ_E_ARG : CZ_E_IO);
        assert_true(item->error[0] != '\0');
        assert_true((item->image == NULL) == (n == w->bad_load || (n == w->bad_score && w->one_buffer)));
        assert_true((item->result != NULL) == (n == w->bad_work));
    } else {
        const cz_result *r = item->result;
        assert_int_equal(item->status, CZ_OK);
        assert_string_equal(item->error, "");
        assert_int_equal(item->image->width, SIDE + n);
        assert_true((item->image->data != NULL) == (w->maps && r->map != NULL));
        assert_int_equal(r->grid_width * r->grid_height, known[n].grid);
        assert_true(r->score == known[n].score);
        assert_memory_equal(r->patch_scores, known[n].patches, known[n].grid * sizeof(float));
        assert_int_equal((uintptr_t)item->note, n + 1);
        if (r->map != NULL) assert_true(sum_of(r->map, r->map_width * r->map_height) == known[n].map_sum);
        w->scores[n] = r->score;
    }
    atomic_fetch_sub(&w->delivering, 1);
    return n == w->stop;
}

static cz_image_source source_of(watch *w, size_t count)
{
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    source.count = count;
    source.load = load;
    source.release = release;
    source.ctx = w;
    source.concurrent = !w->one_buffer;
    return source;
}

static cz_stream_options options_of(watch *w, size_t workers)
{
    cz_stream_options o = CZ_STREAM_OPTIONS_INIT;
    o.session.threads = 1;
    o.workers = workers;
    o.work = work;
    o.deliver = deliver;
    o.ctx = w;
    return o;
}

static void run(watch *w, const cz_stream_options *o, size_t count)
{
    const cz_image_source source = source_of(w, count);
    cz_stream_timing t;
    const cz_status status = cz_score_stream(model, &source, o, &t);
    if (status != CZ_OK) fail_msg("%s", cz_last_error());
    assert_int_equal(w->next, count);
    assert_int_equal(t.images, count);
    assert_true(t.workers >= (count > 0) && t.workers <= (o->workers > 0 ? o->workers : NEVER));
    assert_true(t.elapsed >= 0.0 && t.score.total >= 0.0 && t.load >= 0.0);
    assert_int_equal(w->released, atomic_load(&w->loads) - (w->bad_load < count));
}

/* ---- tests -------------------------------------------------------------------------------------------------------- */

static void any_number_of_workers(void **state)
{
    (void)state;
    static const size_t workers[] = {1, 2, 5, 40};
    for (size_t i = 0; i < 4; i++) {
        for (size_t batch = 1; batch <= 4; batch += 3) {
            watch w;
            init(&w);
            cz_stream_options o = options_of(&w, workers[i]);
            o.session.max_batch = batch;
            w.slow = 3;
            if (batch == 1) {
                run(&w, &o, PHOTOS);
                assert_int_equal(w.worked, PHOTOS);
            } else { /* another plan: other sums, the same to the last digits */
                o.work = NULL;
                o.deliver = NULL;
                const cz_image_source source = source_of(&w, PHOTOS);
                assert_int_equal(cz_score_stream(model, &source, &o, NULL), CZ_OK);
                assert_int_equal(w.released, PHOTOS);
            }
        }
    }
}

typedef struct batches {
    double scores[PHOTOS];
} batches;

static int keep_score(void *ctx, const cz_stream_item *item)
{
    batches *b = ctx;
    b->scores[item->index] = item->status == CZ_OK ? item->result->score : (double)NAN;
    return 0;
}

/* Batches lie where they lie, whoever takes them. */
static void same_batches(void **state)
{
    (void)state;
    batches b[2];
    for (size_t i = 0; i < 2; i++) {
        watch w;
        init(&w);
        w.bad_score = 9;
        cz_stream_options o = options_of(&w, i == 0 ? 1 : 3);
        const cz_image_source source = source_of(&w, PHOTOS);
        o.session.max_batch = 4;
        o.work = NULL;
        o.deliver = keep_score;
        o.ctx = &b[i];
        assert_int_equal(cz_score_stream(model, &source, &o, NULL), CZ_OK);
    }
    for (size_t n = 0; n < PHOTOS; n++) {
        if (n == 9) {
            assert_true(isnan(b[0].scores[n]) && isnan(b[1].scores[n]));
        } else {
            assert_true(b[0].scores[n] == b[1].scores[n]);
            assert_true(fabs(b[0].scores[n] - known[n].score) < 1e-4 * (1.0 + fabs(known[n].score)));
        }
    }
}

static void failures_are_the_photos(void **state)
{
    (void)state;
    for (size_t workers = 1; workers <= 3; workers++) {
        for (int kind = 0; kind < 2; kind++) {
            watch w;
            init(&w);
            w.bad_load = 4;
            w.bad_score = 5;
            w.bad_work = 6;
            w.one_buffer = kind == 1;
            const cz_stream_options o = options_of(&w, workers);
            const cz_image_source source = source_of(&w, PHOTOS);
            assert_int_equal(cz_score_stream(model, &source, &o, NULL), CZ_OK);
            assert_int_equal(w.next, PHOTOS);
            assert_int_equal(w.worked, PHOTOS - 2);
        }
    }
}

static void first_and_last_fail(void **state)
{
    (void)state;
    for (size_t bad = 0; bad < 3; bad += 2) {
        watch w;
        init(&w);
        w.bad_load = bad;
        const cz_stream_options o = options_of(&w, 3);
        run(&w, &o, 3);
    }
    watch w;
    init(&w);
    w.bad_load = 0;
    const cz_stream_options o = options_of(&w, 0);
    run(&w, &o, 1); /* none could be loaded at all */
}

static void few_photos(void **state)
{
    (void)state;
    watch w;
    init(&w);
    cz_stream_options o = options_of(&w, 0);
    run(&w, &o, 1);
    init(&w);
    o.session.threads = 4;
    const cz_image_source one = source_of(&w, 1);
    batches b;
    o.deliver = keep_score;
    o.work = NULL;
    o.ctx = &b;
    assert_int_equal(cz_score_stream(model, &one, &o, NULL), CZ_OK);
    assert_true(fabs(b.scores[0] - known[0].score) < 1e-4 * (1.0 + fabs(known[0].score)));
    init(&w);
    o = options_of(&w, 3);
    cz_stream_timing t;
    const cz_image_source none = source_of(&w, 0);
    assert_int_equal(cz_score_stream(model, &none, &o, &t), CZ_OK);
    assert_int_equal(t.images, 0);
    assert_int_equal(w.next, 0);
}

static void bounded(void **state)
{
    (void)state;
    static const size_t bounds[] = {1, 2, 3};
    for (size_t i = 0; i < 3; i++) {
        for (int slow = 0; slow < 2; slow++) {
            watch w;
            init(&w);
            w.most = bounds[i];
            w.slow = slow ? 2 : NEVER;
            w.slow_deliver = slow ? 0 : 2000;
            cz_stream_options o = options_of(&w, 4);
            o.in_flight = bounds[i];
            run(&w, &o, PHOTOS);
            assert_true(w.overlaps < 1000);
        }
    }
}

static void cancelled(void **state)
{
    (void)state;
    for (size_t workers = 1; workers <= 4; workers += 3) {
        for (size_t stop = 0; stop < PHOTOS; stop += 11) {
            watch w;
            init(&w);
            w.stop = stop;
            const cz_stream_options o = options_of(&w, workers);
            const cz_image_source source = source_of(&w, PHOTOS);
            assert_int_equal(cz_score_stream(model, &source, &o, NULL), CZ_E_CANCELLED);
            assert_int_equal(w.next, stop + 1);
            assert_int_equal(w.released, atomic_load(&w.loads));
        }
    }
}

/* What would meet all the others too ends it, after everything before it. */
static void fatal_ends(void **state)
{
    (void)state;
    for (size_t workers = 1; workers <= 4; workers += 3) {
        watch w;
        init(&w);
        w.fatal_load = 7;
        const cz_stream_options o = options_of(&w, workers);
        cz_image_source source = source_of(&w, PHOTOS);
        assert_int_equal(cz_score_stream(model, &source, &o, NULL), CZ_E_NO_SPACE);
        assert_string_equal(cz_last_error(), "no room left");
        assert_int_equal(w.next, 7);
        init(&w);
        w.fatal_work = 8;
        assert_int_equal(cz_score_stream(model, &source, &o, NULL), CZ_E_NO_SPACE);
        assert_string_equal(cz_last_error(), "nowhere to write");
        assert_int_equal(w.next, 8);
    }
}

static void maps_until_delivered(void **state)
{
    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        watch w;
        init(&w);
        w.maps = true;
        w.one_buffer = keep == 1;
        cz_stream_options o = options_of(&w, 3);
        o.keep_map = keep;
        run(&w, &o, PHOTOS);
    }
}

static void loads_one_at_a_time(void **state)
{
    (void)state;
    watch w;
    init(&w);
    w.one_buffer = true;
    const cz_stream_options o = options_of(&w, 5);
    run(&w, &o, PHOTOS);
    assert_int_equal(w.overlaps, 0);
    init(&w);
    run(&w, &o, PHOTOS);
    assert_true(w.overlaps > 0); /* where they may, they do */
}

static void wrong_arguments(void **state)
{
    (void)state;
    watch w;
    init(&w);
    cz_stream_options o = options_of(&w, 2);
    cz_image_source source = source_of(&w, PHOTOS);
    assert_int_equal(cz_score_stream(NULL, &source, &o, NULL), CZ_E_ARG);
    assert_int_equal(cz_score_stream(model, NULL, &o, NULL), CZ_E_ARG);
    assert_int_equal(cz_score_stream(model, &source, NULL, NULL), CZ_E_ARG);
    o.session.regions = 1; /* needs a calibrated model: known before anything is loaded */
    for (size_t workers = 1; workers <= 4; workers += 3) {
        o.workers = workers;
        assert_int_equal(cz_score_stream(model, &source, &o, NULL), CZ_E_ARG);
        assert_true(strstr(cz_last_error(), "regions") != NULL);
        assert_int_equal(w.next, 0);
    }
    o.workers = 5000;
    assert_int_equal(cz_score_stream(model, &source, &o, NULL), CZ_E_ARG);
    o = options_of(&w, 2);
    o.struct_size = 3;
    assert_int_equal(cz_score_stream(model, &source, &o, NULL), CZ_E_ARG);
    o = options_of(&w, 2);
    cz_status inside = CZ_OK;
#pragma omp parallel num_threads(2)
    {
#pragma omp single
        inside = cz_score_stream(model, &source, &o, NULL);
    }
    assert_int_equal(inside, CZ_E_ARG);
    assert_int_equal(w.next, 0);
}

/* Whichever allocation fails, the stream ends with CZ_E_MEMORY or gets everything done with the workers it has. */
static void short_of_memory(void **state)
{
    (void)state;
    size_t whole = 0, ended = 0;
    for (unsigned long n = 1; n < 4000; n += n < 60 ? 1 : n / 6) {
        watch w;
        init(&w);
        const cz_stream_options o = options_of(&w, 3);
        const cz_image_source source = source_of(&w, 9);
        cz_alloc_fail_after(n);
        const cz_status status = cz_score_stream(model, &source, &o, NULL);
        cz_alloc_fail_after(0);
        if (status == CZ_OK) {
            assert_int_equal(w.next, 9);
            whole++;
        } else {
            assert_int_equal(status, CZ_E_MEMORY);
            ended++;
        }
    }
    assert_true(whole > 0 && ended > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_workers),
        cmocka_unit_test(same_batches),
        cmocka_unit_test(failures_are_the_photos),
        cmocka_unit_test(first_and_last_fail),
        cmocka_unit_test(few_photos),
        cmocka_unit_test(bounded),
        cmocka_unit_test(cancelled),
        cmocka_unit_test(fatal_ends),
        cmocka_unit_test(maps_until_delivered),
        cmocka_unit_test(loads_one_at_a_time),
        cmocka_unit_test(wrong_arguments),
        cmocka_unit_test(short_of_memory),
    };
    return cmocka_run_group_tests(tests, make_model, free_model);
}
