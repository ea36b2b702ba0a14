/* SPDX-License-Identifier: Apache-2.0 */
/* The workers: the numbers of a session of one's own, failures of one image alone, limits, deadlines, models that change meanwhile. */
#include "pool_work.h"
#include "small_model.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { PHOTOS = 9, SUBMITTERS = 64, EACH = 4, FOREVER = 1000 };

static struct {
    uint8_t pixels[SMALL_MOST * SMALL_MOST];
    cz_image image;
    char *png; /* the same pixels */
    size_t png_size;
} photos[PHOTOS];

static sv_settings settings;
static sv_models *models;
static const sv_model *decides, *scores_only;

static int prepare(void **state)
{
    (void)state;
    if (small_begin() != 0 || mkdir(small_path("dir"), 0700) != 0) return -1;
    if (small_model_write(small_path("dir/decides.cozad"), 0, 1) != CZ_OK) return -1;
    if (small_model_write(small_path("other"), 1, 1) != CZ_OK) return -1;
    if (small_model_write(small_path("dir/plain.cozad"), 2, 0) != CZ_OK) return -1;
    for (size_t i = 0; i < PHOTOS; i++) { /* no two of one size */
        photos[i].image = small_photo(photos[i].pixels, SMALL_SIDE + 5 * i, SMALL_MOST - 3 * i, (unsigned)i);
        for (size_t y = 0; y < photos[i].image.height; y++) { /* mirrored: two regions instead of one */
            uint8_t *row = photos[i].pixels + y * photos[i].image.width;
            for (size_t x = 0; x < photos[i].image.width / 2; x++) row[photos[i].image.width - 1 - x] = row[x];
        }
        if (cz_picture_encode_png(&photos[i].image, &photos[i].png, &photos[i].png_size) != CZ_OK) return -1;
    }
    sv_settings_init(&settings);
    settings.model_dir = small_path("dir");
    settings.backbone = SMALL_BACKBONE;
    settings.threads = 4;
    if (sv_models_open(&settings, &models) != CZ_OK) return -1;
    decides = sv_models_get(models, "decides", NULL);
    scores_only = sv_models_get(models, "plain", NULL);
    return decides != NULL && scores_only != NULL ? 0 : -1;
}

static int finish(void **state)
{
    (void)state;
    sv_model_release(decides);
    sv_model_release(scores_only);
    sv_models_free(models);
    for (size_t i = 0; i < PHOTOS; i++) cz_string_free(photos[i].png);
    small_end();
    return 0;
}

/* ---- jobs ---------------------------------------------------------------------------------------------------------- */

typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t done, inside, most_inside;
    bool shut; /* `done` waits until it is opened */
} gate;
#define GATE_INIT                                                                                                      \
    {                                                                                                                  \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, false                                            \
    }

static void on_done(void *ctx, sv_job *job)
{
    gate *g = ctx;
    (void)job;
    (void)pthread_mutex_lock(&g->lock);
    if (++g->inside > g->most_inside) g->most_inside = g->inside;
    (void)pthread_cond_broadcast(&g->changed);
    while (g->shut) (void)pthread_cond_wait(&g->changed, &g->lock);
    g->inside--;
    g->done++;
    (void)pthread_cond_broadcast(&g->changed);
    (void)pthread_mutex_unlock(&g->lock);
}

static void wait_done(gate *g, size_t count)
{
    (void)pthread_mutex_lock(&g->lock);
    while (g->done < count) (void)pthread_cond_wait(&g->changed, &g->lock);
    (void)pthread_mutex_unlock(&g->lock);
}

static void wait_inside(gate *g, size_t count)
{
    (void)pthread_mutex_lock(&g->lock);
    while (g->inside < count) (void)pthread_cond_wait(&g->changed, &g->lock);
    (void)pthread_mutex_unlock(&g->lock);
}

static void set_gate(gate *g, bool shut)
{
    (void)pthread_mutex_lock(&g->lock);
    g->shut = shut;
    (void)pthread_cond_broadcast(&g->changed);
    (void)pthread_mutex_unlock(&g->lock);
}

static sv_job job_of(const sv_model *model, size_t photo, unsigned want, gate *g)
{
    sv_job job = {.model = model, .want = want, .deadline = sv_now() + FOREVER, .done = on_done, .ctx = g};
    if (photo % 2 == 0) {
        job.encoded = (const unsigned char *)photos[photo].png;
        job.encoded_size = photos[photo].png_size;
    } else {
        job.image = photos[photo].image;
    }
    return job;
}

static sv_pool *open_pool(size_t threads, size_t queue)
{
    sv_pool *p = NULL;
    sv_settings s = settings;
    s.threads = threads;
    s.queue = queue;
    assert_int_equal(sv_pool_open(&s, &p), CZ_OK);
    return p;
}

/* ---- the same numbers ---------------------------------------------------------------------------------------------- */

static cz_session *own_session(const sv_model *model)
{
    cz_session *session = NULL;
    cz_session_options o = CZ_SESSION_OPTIONS_INIT;
    o.threads = 1;
    o.regions = model->calibrated;
    assert_int_equal(cz_session_open(model->model, &o, &session), CZ_OK);
    return session;
}

static bool same(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

static void check_pictures(const sv_job *job, size_t photo, const cz_result *r)
{
    const sv_outcome *o = &job->outcome;
    cz_picture want = {0}, got = {0};
    const cz_read_options read = CZ_READ_OPTIONS_INIT;
    const sv_model *m = job->model;
    assert_int_equal(cz_overlay(&photos[photo].image, r->map, m->low, m->high, &want), CZ_OK);
    assert_int_equal(cz_picture_decode(o->overlay, o->overlay_size, &read, &got), CZ_OK);
    assert_true(got.image.width == o->width && got.image.height == o->height && got.image.format == CZ_RGB8);
    for (size_t y = 0; y < o->height; y++) {
        assert_memory_equal((const char *)got.image.data + y * got.image.stride,
                            (const char *)want.image.data + y * want.image.stride, 3 * o->width);
    }
    cz_picture_free(&want);
    cz_picture_free(&got);
    assert_int_equal(o->heat[25], 6);                                               /* PNG: colour and alpha */
    assert_int_equal(cz_picture_decode(o->heat, o->heat_size, &read, &got), CZ_OK); /* on white */
    assert_true(got.image.width == o->width && got.image.height == o->height && got.image.format == CZ_RGB8);
    size_t clear = 0, coloured = 0;
    for (size_t i = 0; i < o->width * o->height; i++) {
        const uint8_t *pixel = (const uint8_t *)got.image.data + i / o->width * got.image.stride + i % o->width * 3;
        const double t = ((double)r->map[i] - m->low) / (m->high - m->low);
        uint8_t rgb[3];
        cz_overlay_colour(1.0, rgb);
        if (t < 0.1) clear += pixel[0] == 255 && pixel[1] == 255 && pixel[2] == 255;
        if (t < 0.1) coloured++;
        if (t >= 1.0) assert_memory_equal(pixel, rgb, 3);
    }
    assert_true(clear == coloured);
    cz_picture_free(&got);
}

static void check_outcome(const sv_job *job, size_t photo, cz_session *session, double tolerance)
{
    const sv_outcome *o = &job->outcome;
    cz_result r;
    if (o->status != CZ_OK) fail_msg("photo %zu: %s", photo, o->error);
    assert_int_equal(cz_score(session, &photos[photo].image, &r), CZ_OK);
    assert_true(o->width == photos[photo].image.width && o->height == photos[photo].image.height);
    assert_true(fabs(o->score - r.score) <= tolerance);
    assert_true(o->batch >= 1 && o->score_ms > 0.0 && o->queue_ms >= 0.0);
    if (tolerance > 0.0) return;
    assert_true(same(o->p_value, r.p_value) && o->decision == r.decision);
    assert_true(same(o->threshold, r.threshold) && same(o->pixel_threshold, r.pixel_threshold));
    if ((job->want & SV_REGIONS) != 0 && r.region_total > 0) {
        assert_true(o->region_count == r.region_count && o->region_total == r.region_total);
        assert_memory_equal(o->regions, r.regions, r.region_count * sizeof *r.regions);
    } else {
        assert_true(o->regions == NULL && o->region_count == 0 && o->region_total == 0);
    }
    assert_true((o->map != NULL) == ((job->want & SV_MAP) != 0));
    if (o->map != NULL) assert_memory_equal(o->map, r.map, o->width * o->height * sizeof *r.map);
    assert_true((o->overlay != NULL) == ((job->want & SV_OVERLAY) != 0) && (o->heat != NULL) == (o->overlay != NULL));
    if (o->overlay != NULL) check_pictures(job, photo, &r);
}

static void same_numbers(void **state)
{
    (void)state;
    static const unsigned wants[] = {0, SV_REGIONS, SV_MAP, SV_MAP | SV_REGIONS | SV_OVERLAY | SV_HEAT};
    enum { WANTS = 4, COUNT = 2 * WANTS * PHOTOS };
    sv_job jobs[COUNT], *list[COUNT];
    gate g = GATE_INIT;
    sv_pool *p = open_pool(3, COUNT);
    size_t regions = 0;
    for (size_t i = 0; i < COUNT; i++) {
        jobs[i] = job_of(i % 2 == 0 ? decides : scores_only, i / 2 % PHOTOS, wants[i / 2 / PHOTOS], &g);
        list[i] = &jobs[i];
    }
    assert_int_equal(sv_pool_submit(p, list, COUNT), CZ_OK);
    wait_done(&g, COUNT);
    cz_session *sessions[] = {own_session(decides), own_session(scores_only)};
    for (size_t i = 0; i < COUNT; i++) {
        check_outcome(&jobs[i], i / 2 % PHOTOS, sessions[i % 2], 0.0);
        assert_int_equal(jobs[i].outcome.batch, 1);
        regions += jobs[i].outcome.region_total > 1;
        sv_outcome_free(&jobs[i].outcome);
    }
    assert_true(regions > 0); /* else the comparison says nothing */
    cz_session_close(sessions[0]);
    cz_session_close(sessions[1]);
    sv_pool_state s;
    sv_pool_state_get(p, &s);
    assert_true(s.done == COUNT && s.rejected == 0 && s.expired == 0 && s.waiting == 0 && s.workers == 3);
    sv_pool_close(p, 1.0);
}

static void batches(void **state)
{
    (void)state;
    enum { COUNT = 4 * PHOTOS };
    sv_job first, jobs[COUNT], *list[COUNT];
    gate g = GATE_INIT;
    sv_pool *p = open_pool(1, COUNT + 1);
    sv_pool_batch(p, 4);
    set_gate(&g, true);
    first = job_of(decides, 0, 0, &g);
    assert_int_equal(sv_pool_submit(p, (sv_job *[]){&first}, 1), CZ_OK);
    wait_inside(&g, 1); /* the only worker has it: the others wait together */
    for (size_t i = 0; i < COUNT; i++) {
        jobs[i] = job_of(i < 2 * PHOTOS ? decides : scores_only, i % PHOTOS, i % 3 == 0 ? SV_MAP | SV_REGIONS : 0, &g);
        list[i] = &jobs[i];
    }
    static const unsigned char damaged[] = "\x89PNG\r\n\x1a\nno";
    jobs[1].encoded = damaged; /* its neighbours are scored all the same */
    jobs[1].encoded_size = sizeof damaged;
    jobs[5].image.stride = 1; /* found when scored, all four at once */
    assert_int_equal(sv_pool_submit(p, list, COUNT), CZ_OK);
    set_gate(&g, false);
    wait_done(&g, COUNT + 1);
    cz_session *sessions[] = {own_session(decides), own_session(scores_only)};
    size_t together = 0;
    for (size_t i = 0; i < COUNT; i++) {
        if (i == 1 || i == 5) {
            assert_int_equal(jobs[i].outcome.status, i == 1 ? CZ_E_FORMAT : CZ_E_ARG);
        } else {
            check_outcome(&jobs[i], i % PHOTOS, sessions[i >= 2 * PHOTOS], 1e-4);
        }
        assert_true(jobs[i].outcome.batch <= 4);
        together += jobs[i].outcome.batch > 1;
        sv_outcome_free(&jobs[i].outcome);
    }
    assert_true(together >= COUNT / 2);
    sv_outcome_free(&first.outcome);
    cz_session_close(sessions[0]);
    cz_session_close(sessions[1]);
    sv_pool_close(p, 1.0);
}

/* ---- limits and failures ------------------------------------------------------------------------------------------- */

static void bad_images(void **state)
{
    (void)state;
    enum { COUNT = 9 };
    static const unsigned char text[] = "GIF89a is nothing that can be read";
    const char *png = photos[0].png;
    sv_job jobs[COUNT], *list[COUNT];
    gate g = GATE_INIT;
    sv_pool *p = NULL;
    sv_settings s = settings;
    s.max_pixels = (uint64_t)SMALL_MOST * SMALL_MOST;
    assert_int_equal(sv_pool_open(&s, &p), CZ_OK);
    for (size_t i = 0; i < COUNT; i++) {
        jobs[i] = job_of(decides, 1, SV_MAP | SV_OVERLAY, &g);
        list[i] = &jobs[i];
    }
    for (size_t i = 0; i < 3; i++) jobs[i].encoded = (const unsigned char *)png;
    jobs[0].encoded = text;
    jobs[0].encoded_size = sizeof text;
    jobs[1].encoded_size = photos[0].png_size / 2;
    jobs[2].encoded_size = 0;
    jobs[3].image.width = SMALL_MOST * SMALL_MOST + 1;
    jobs[3].image.height = 1;
    jobs[4].image.width = SIZE_MAX;
    jobs[4].image.height = SIZE_MAX;
    jobs[5].image.data = NULL;
    jobs[6].image.format = (cz_pixel_format)77;
    jobs[7].image.height = 0;
    assert_int_equal(sv_pool_submit(p, list, COUNT), CZ_OK);
    wait_done(&g, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        const sv_outcome *o = &jobs[i].outcome;
        assert_true((o->status == CZ_OK) == (i == 8));
        assert_true((o->error[0] == '\0') == (i == 8));
        assert_true((o->map != NULL) == (i == 8) && (o->overlay != NULL) == (i == 8));
        if (i == 3 || i == 4) assert_int_equal(o->status, CZ_E_LIMIT);
        if (i < 2) assert_true(o->status == CZ_E_FORMAT || o->status == CZ_E_UNSUPPORTED);
        sv_outcome_free(&jobs[i].outcome);
    }
    sv_pool_close(p, 1.0);
}

static void full_queue(void **state)
{
    (void)state;
    enum { QUEUE = 5 };
    sv_job jobs[2 + QUEUE + 2], *list[2 + QUEUE + 2];
    gate g = GATE_INIT;
    sv_pool_state s;
    sv_pool *p = open_pool(2, QUEUE);
    for (size_t i = 0; i < 2 + QUEUE + 2; i++) {
        jobs[i] = job_of(decides, i % PHOTOS, 0, &g);
        list[i] = &jobs[i];
    }
    set_gate(&g, true);
    assert_int_equal(sv_pool_submit(p, list, 2), CZ_OK);
    wait_inside(&g, 2);
    assert_int_equal(sv_pool_submit(p, list + 2, QUEUE + 1), CZ_E_LIMIT); /* all or none */
    assert_int_equal(sv_pool_submit(p, list + 2, QUEUE - 1), CZ_OK);
    assert_int_equal(sv_pool_submit(p, list + 1 + QUEUE, 2), CZ_E_LIMIT);
    assert_int_equal(sv_pool_submit(p, list + 1 + QUEUE, 1), CZ_OK);
    assert_int_equal(sv_pool_submit(p, list + 2 + QUEUE, 1), CZ_E_LIMIT);
    sv_pool_state_get(p, &s);
    assert_true(s.waiting == QUEUE && s.running == 2 && s.rejected == QUEUE + 1 + 2 + 1);
    set_gate(&g, false);
    wait_done(&g, 2 + QUEUE);
    for (size_t i = 0; i < 2 + QUEUE; i++) assert_int_equal(jobs[i].outcome.status, CZ_OK);
    sv_pool_close(p, 1.0);
}

static void deadlines(void **state)
{
    (void)state;
    sv_job jobs[3];
    gate g = GATE_INIT;
    sv_pool_state s;
    sv_pool *p = open_pool(1, 10);
    set_gate(&g, true);
    for (size_t i = 0; i < 3; i++) jobs[i] = job_of(decides, i, SV_MAP, &g);
    jobs[1].deadline = sv_now() + 0.05;
    assert_int_equal(sv_pool_submit(p, (sv_job *[]){&jobs[0], &jobs[1], &jobs[2]}, 3), CZ_OK);
    wait_inside(&g, 1);
    (void)usleep(60000);
    set_gate(&g, false);
    wait_done(&g, 3);
    assert_int_equal(jobs[0].outcome.status, CZ_OK);
    assert_int_equal(jobs[1].outcome.status, CZ_E_CANCELLED);
    assert_true(jobs[1].outcome.error[0] != '\0' && jobs[1].outcome.map == NULL && jobs[1].outcome.queue_ms >= 50.0);
    assert_int_equal(jobs[2].outcome.status, CZ_OK);
    sv_pool_state_get(p, &s);
    assert_true(s.expired == 1 && s.done == 2);
    for (size_t i = 0; i < 3; i++) sv_outcome_free(&jobs[i].outcome);
    sv_pool_close(p, 1.0);
}

static void fewer_workers(void **state)
{
    (void)state;
    enum { COUNT = 8 };
    sv_job jobs[COUNT], *list[COUNT];
    gate g = GATE_INIT;
    sv_pool_state s;
    sv_pool *p = open_pool(4, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        jobs[i] = job_of(decides, i % PHOTOS, 0, &g);
        list[i] = &jobs[i];
    }
    static const struct {
        double share;
        size_t workers;
    } limits[] = {{0.5, 2}, {0.0, 1}, {(double)NAN, 1}, {0.9, 3}, {7.0, 4}, {0.25, 1}};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        sv_pool_limit(p, limits[i].share);
        sv_pool_state_get(p, &s);
        assert_int_equal(s.workers, limits[i].workers);
    }
    sv_pool_limit(p, 0.5);
    set_gate(&g, true);
    assert_int_equal(sv_pool_submit(p, list, COUNT), CZ_OK);
    wait_inside(&g, 2);
    (void)usleep(100000);
    assert_int_equal(g.most_inside, 2);
    sv_pool_limit(p, 1.0); /* those that rest are woken */
    wait_inside(&g, 4);
    set_gate(&g, false);
    wait_done(&g, COUNT);
    sv_pool_close(p, 1.0);
}

static void closing(void **state)
{
    (void)state;
    enum { COUNT = 30 };
    sv_job jobs[COUNT], *list[COUNT];
    gate g = GATE_INIT;
    sv_pool *p = open_pool(2, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        jobs[i] = job_of(decides, i % PHOTOS, SV_MAP, &g);
        list[i] = &jobs[i];
    }
    sv_pool_limit(p, 0.5);
    assert_int_equal(sv_pool_submit(p, list, COUNT), CZ_OK);
    sv_pool_close(p, 60.0);
    assert_int_equal(g.done, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(jobs[i].outcome.status, CZ_OK);
        sv_outcome_free(&jobs[i].outcome);
    }
    p = open_pool(2, COUNT);
    g.done = 0;
    assert_int_equal(sv_pool_submit(p, list, COUNT), CZ_OK);
    sv_pool_close(p, 0.0); /* what runs may end well, the rest is told */
    assert_int_equal(g.done, COUNT);
    size_t cancelled = 0;
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(jobs[i].outcome.status == CZ_OK || jobs[i].outcome.status == CZ_E_CANCELLED);
        cancelled += jobs[i].outcome.status == CZ_E_CANCELLED;
        sv_outcome_free(&jobs[i].outcome);
    }
    assert_true(cancelled > 0);
    sv_pool_close(NULL, 1.0);
}

/* ---- many at once -------------------------------------------------------------------------------------------------- */

typedef struct submitter {
    sv_pool *pool;
    const char *model;       /* asked for by name each time; NULL: `decides` */
    const double *scores[2]; /* [PHOTOS] that an answer may have */
    size_t rounds, first;
    size_t good, refused, absent;
    pthread_t thread;
} submitter;

static void *submit_on(void *argument)
{
    submitter *s = argument;
    for (size_t round = 0; round < s->rounds; round++) {
        const size_t photo = (s->first + round) % PHOTOS;
        const sv_model *model = s->model != NULL ? sv_models_get(models, s->model, NULL) : sv_model_hold(decides);
        gate g = GATE_INIT;
        if (model == NULL) {
            s->absent++;
            (void)usleep(1000);
            continue;
        }
        sv_job job = job_of(model, photo, round % 2 == 0 ? SV_MAP | SV_REGIONS : 0, &g);
        if (sv_pool_submit(s->pool, (sv_job *[]){&job}, 1) == CZ_OK) {
            wait_done(&g, 1);
            const double score = job.outcome.score;
            if (job.outcome.status == CZ_OK &&
                (score == s->scores[0][photo] || (s->scores[1] != NULL && score == s->scores[1][photo])))
                s->good++;
            sv_outcome_free(&job.outcome);
        } else {
            s->refused++;
        }
        sv_model_release(model);
    }
    return NULL;
}

static void known_scores(const sv_model *model, double scores[PHOTOS])
{
    cz_session *session = own_session(model);
    for (size_t i = 0; i < PHOTOS; i++) {
        cz_result r;
        assert_int_equal(cz_score(session, &photos[i].image, &r), CZ_OK);
        scores[i] = r.score;
    }
    cz_session_close(session);
}

static void many_submitters(void **state)
{
    (void)state;
    static submitter all[SUBMITTERS];
    double scores[PHOTOS];
    sv_pool *p = open_pool(4, SUBMITTERS);
    known_scores(decides, scores);
    for (size_t i = 0; i < SUBMITTERS; i++) {
        all[i] = (submitter){.pool = p, .scores = {scores, NULL}, .rounds = EACH, .first = i};
        assert_int_equal(pthread_create(&all[i].thread, NULL, submit_on, &all[i]), 0);
    }
    for (size_t i = 0; i < SUBMITTERS; i++) {
        (void)pthread_join(all[i].thread, NULL);
        assert_int_equal(all[i].good, EACH);
    }
    sv_pool_close(p, 1.0);
}

static void on_change(void *ctx, const char *name)
{
    (void)name;
    sv_pool_forget(ctx);
}

/* Replaced six times, then unloaded, while eight clients ask for it: each answer is one model's or the other's. */
static void changing_models(void **state)
{
    (void)state;
    enum { CLIENTS = 8, ROUNDS = 40 };
    static submitter all[CLIENTS];
    double scores[2][PHOTOS];
    const char *file = small_path("served/changing.cozad");
    sv_settings s = settings;
    sv_models *outer = models;
    sv_pool *p = open_pool(3, 100);
    size_t good = 0, absent = 0;
    assert_int_equal(mkdir(small_path("served"), 0700), 0);
    assert_int_equal(small_copy(small_path("dir/decides.cozad"), file), 0);
    s.model_dir = small_path("served");
    assert_int_equal(sv_models_open(&s, &models), CZ_OK);
    sv_models_on_change(models, on_change, p);
    known_scores(decides, scores[0]);
    assert_int_equal(small_copy(small_path("other"), file), 0);
    assert_int_equal(sv_models_load(models, "changing"), CZ_OK);
    const sv_model *model = sv_models_get(models, "changing", NULL);
    known_scores(model, scores[1]);
    assert_true(scores[0][0] != scores[1][0]);
    sv_model_release(model);
    for (size_t i = 0; i < CLIENTS; i++) {
        all[i] =
            (submitter){.pool = p, .model = "changing", .scores = {scores[0], scores[1]}, .rounds = ROUNDS, .first = i};
        assert_int_equal(pthread_create(&all[i].thread, NULL, submit_on, &all[i]), 0);
    }
    for (int i = 0; i < 6; i++) {
        const char *from = small_path(i % 2 == 0 ? "dir/decides.cozad" : "other");
        assert_int_equal(small_copy(from, small_path("served/.part")), 0);
        assert_int_equal(rename(small_path("served/.part"), file), 0);
        assert_int_equal(sv_models_load(models, "changing"), CZ_OK);
        (void)usleep(20000);
    }
    assert_int_equal(sv_models_unload(models, "changing"), CZ_OK);
    for (size_t i = 0; i < CLIENTS; i++) {
        (void)pthread_join(all[i].thread, NULL);
        assert_int_equal(all[i].good + all[i].absent, ROUNDS);
        good += all[i].good;
        absent += all[i].absent;
    }
    assert_true(good > 0);
    (void)absent; /* as many as the machine left */
    sv_pool_close(p, 1.0);
    sv_models_free(models);
    models = outer;
}

/* More models than a worker keeps sessions of. */
static void many_models(void **state)
{
    (void)state;
    enum { MODELS = 6 };
    double scores[MODELS][PHOTOS];
    const sv_model *held[MODELS];
    sv_settings s = settings;
    sv_models *six = NULL;
    sv_pool *p = open_pool(1, 100);
    gate g = GATE_INIT;
    assert_int_equal(mkdir(small_path("six"), 0700), 0);
    for (int i = 0; i < MODELS; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "six/m%d.cozad", i);
        assert_int_equal(small_copy(small_path(i % 2 == 0 ? "dir/decides.cozad" : "other"), small_path(name)), 0);
    }
    s.model_dir = small_path("six");
    assert_int_equal(sv_models_open(&s, &six), CZ_OK);
    for (int i = 0; i < MODELS; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "m%d", i);
        held[i] = sv_models_get(six, name, NULL);
        assert_non_null(held[i]);
        known_scores(held[i], scores[i]);
    }
    for (size_t i = 0; i < 3 * MODELS; i++) {
        sv_job job = job_of(held[i % MODELS], i % PHOTOS, 0, &g);
        assert_int_equal(sv_pool_submit(p, (sv_job *[]){&job}, 1), CZ_OK);
        wait_done(&g, i + 1);
        assert_int_equal(job.outcome.status, CZ_OK);
        assert_true(job.outcome.score == scores[i % MODELS][i % PHOTOS]);
    }
    for (int i = 0; i < MODELS; i++) sv_model_release(held[i]);
    sv_models_free(six);
    sv_pool_forget(p); /* all are retired: their sessions go while the worker has nothing to do */
    (void)usleep(20000);
    sv_pool_close(p, 1.0);
}

static void count_done(void *ctx, sv_job *job)
{
    (void)job;
    (*(size_t *)ctx)++;
}

static size_t sessions_of(const sv_bench *b)
{
    size_t count = 0;
    for (size_t i = 0; i < SV_SLOTS; i++) count += b->slots[i].session != NULL;
    return count;
}

/* One worker's sessions: the least recently used goes first, and that of a retired model when it is not used any more. */
static void sessions(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    static sv_bench b;
    const sv_model *held[5];
    sv_settings s = settings;
    sv_models *five = NULL;
    atomic_bool cancel = false;
    size_t done = 0;
    assert_int_equal(mkdir(small_path("five"), 0700), 0);
    for (size_t i = 0; i < 5; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "five/%s.cozad", names[i]);
        assert_int_equal(small_copy(small_path("dir/plain.cozad"), small_path(name)), 0);
    }
    s.model_dir = small_path("five");
    assert_int_equal(sv_models_open(&s, &five), CZ_OK);
    sv_bench_init(&b, &settings, &cancel);
    static const size_t order[] = {0, 1, 2, 3, 0, 4, 0}; /* 1 goes */
    for (size_t i = 0; i < 5; i++) held[i] = sv_models_get(five, names[i], NULL);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        sv_job job = job_of(held[order[i]], 1, 0, NULL);
        sv_bench_run(&b, (sv_job *[]){&job}, 1, count_done, &done);
        assert_int_equal(job.outcome.status, CZ_OK);
        assert_int_equal(sessions_of(&b), i < 4 ? i + 1 : SV_SLOTS);
    }
    assert_int_equal(done, sizeof order / sizeof *order);
    for (size_t i = 0; i < SV_SLOTS; i++) assert_ptr_not_equal(b.slots[i].model, held[1]);
    assert_false(sv_bench_stale(&b, 0.0));
    assert_int_equal(sv_models_unload(five, "a"), CZ_OK);
    assert_true(sv_bench_stale(&b, 0.0));
    sv_bench_sweep(&b, 100.0); /* used a moment ago */
    assert_int_equal(sessions_of(&b), SV_SLOTS);
    sv_bench_sweep(&b, 0.0);
    assert_int_equal(sessions_of(&b), SV_SLOTS - 1);
    atomic_store(&cancel, true);
    sv_job job = job_of(held[0], 1, 0, NULL);
    sv_bench_run(&b, (sv_job *[]){&job}, 1, count_done, &done);
    assert_int_equal(job.outcome.status, CZ_E_CANCELLED);
    for (size_t i = 0; i < 5; i++) sv_model_release(held[i]);
    sv_models_free(five);
    sv_bench_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_numbers), cmocka_unit_test(batches),         cmocka_unit_test(bad_images),
        cmocka_unit_test(full_queue),   cmocka_unit_test(deadlines),       cmocka_unit_test(fewer_workers),
        cmocka_unit_test(closing),      cmocka_unit_test(many_submitters), cmocka_unit_test(changing_models),
        cmocka_unit_test(many_models),  cmocka_unit_test(sessions),
    };
    return cmocka_run_group_tests(tests, prepare, finish);
}
