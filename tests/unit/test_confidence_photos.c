/* SPDX-License-Identifier: Apache-2.0 */
/* How far training photos are trusted: planted outliers come last, the contamination estimate on simulated rates, what a model file
 * says of its photos, photos left out. */
#include "api/confidence.h"
#include "api/model.h"
#include "calibrate/contamination.h"
#include "cozad/cozad_eval.h"
#include "tensor/tensors.h"
#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

/* ---- planted scores ----------------------------------------------------------------------------------------------- */

enum { PHOTOS = 60, GRID = 400, PLANTED = 6 };

typedef struct planted {
    uint64_t seed;
    bool mixed; /* even photos are of category 1, whose scores are 100 times as large */
    size_t asked[PHOTOS];
    size_t count;    /* patches of a photo; 0: GRID */
    float bad_value; /* of the last patch of photo 9, 0: as all */
} planted;

static bool is_planted(size_t photo)
{
    return photo % 10 == 7;
}

/* Normal patches; in planted photos 8 of them are far away. */
static cz_status planted_scores(void *ctx, size_t photo, float *scores, size_t *count, const size_t **place)
{
    static size_t places[GRID];
    planted *p = ctx;
    cz_rng rng;
    cz_rng_init(&rng, p->seed, CZ_RNG_PATCHES, photo, 0);
    *count = p->count > 0 ? p->count : GRID;
    p->asked[photo]++;
    for (size_t i = 0; i < *count; i++) {
        float value = (float)cz_rng_normal(&rng);
        if (is_planted(photo) && i >= 50 && i < 58) value = 9.0f + (float)(i == 53);
        scores[i] = p->mixed && photo % 2 == 0 ? 100.0f * value - 700.0f : value;
        places[i] = *count - 1 - i;
    }
    if (photo == 9 && !(p->bad_value >= 0.0f && p->bad_value <= 0.0f)) scores[*count - 1] = p->bad_value;
    *place = places;
    return CZ_OK;
}

static cz_confidence computed(planted *p, const size_t *category, size_t limit)
{
    cz_confidence c;
    const cz_confidence_input input = {.photos = PHOTOS,
                                       .categories = category != NULL ? 2 : 1,
                                       .category = category,
                                       .grid = GRID,
                                       .top_k = 1,
                                       .scores = planted_scores,
                                       .ctx = p,
                                       .limit = limit};
    if (cz_confidence_compute(&input, &c) != CZ_OK) fail_msg("%s", cz_last_error());
    return c;
}

static void check_ranks(const cz_confidence *c)
{
    size_t apart = 0;
    for (size_t i = 0; i < PHOTOS; i++) {
        const cz_photo_confidence *a = &c->photos[i];
        assert_true(a->weight > 0.0 && a->weight <= 1.0 && a->share_below_one >= 0.0 && a->share_below_one < 0.1);
        apart += a->apart;
        if (!is_planted(i)) continue;
        assert_true(a->apart);
        assert_int_equal(a->place, GRID - 1 - 53);
        assert_true(a->share_below_one >= 8.0 / GRID - 1e-9);
        for (size_t k = 0; k < PHOTOS; k++) {
            if (!is_planted(k)) assert_true(c->photos[k].weight > a->weight + 0.3);
        }
    }
    assert_true(apart <= PLANTED + 2); /* a normal photo may stand apart by chance */
    assert_true(fabs(c->contamination - (double)apart / PHOTOS) < 1e-12);
}

static void ranks_planted(void **state)
{
    (void)state;
    planted p = {.seed = 4};
    cz_confidence c = computed(&p, NULL, 0);
    check_ranks(&c);
    for (size_t i = 0; i < PHOTOS; i++) assert_int_equal(p.asked[i], 1);
    /* Eq. 5 by hand: tau of a standard normal is Q3 + 1.5 (Q3 - Q1) = 2.70, and four patches of 400 count: 10, 9, 9, 9 */
    const double wanted = 0.25 * (2.698 / 10.0 + 3.0 * 2.698 / 9.0);
    assert_true(fabs(c.photos[7].weight - wanted) < 0.01);
    assert_true(fabs(c.photos[7].score - 10.0) < 1e-6 && fabs(c.photos[7].level - 9.25) < 1e-6);
    cz_confidence_free(&c);
    /* thinned to 20 scores a photo the quartiles hardly move */
    p = (planted){.seed = 4};
    cz_confidence thin = computed(&p, NULL, (size_t)PHOTOS * 20);
    assert_true(fabs(thin.photos[7].weight - wanted) < 0.05 && thin.photos[7].apart);
    assert_true(thin.photos[7].score == thin.photos[17].score);
    cz_confidence_free(&thin);
    /* one score each at the least */
    p = (planted){.seed = 4};
    thin = computed(&p, NULL, 1);
    assert_true(thin.photos[7].apart && !thin.photos[8].apart);
    cz_confidence_free(&thin);
}

/* A category of another unit changes nothing: each is judged by its own. */
static void judges_by_category(void **state)
{
    (void)state;
    planted p = {.seed = 5, .mixed = true};
    size_t category[PHOTOS];
    for (size_t i = 0; i < PHOTOS; i++) category[i] = i % 2 == 0;
    cz_confidence c = computed(&p, category, 0);
    check_ranks(&c);
    for (size_t i = 0; i < PHOTOS; i++) assert_int_equal(c.photos[i].category, category[i]);
    cz_confidence_free(&c);
}

static void odd_sets(void **state)
{
    (void)state;
    planted p = {.seed = 6, .count = 3};
    cz_confidence c;
    cz_confidence_input input = {
        .photos = 5, .categories = 1, .grid = GRID, .top_k = 7, .scores = planted_scores, .ctx = &p};
    assert_int_equal(cz_confidence_compute(&input, &c), CZ_OK);
    assert_true(isnan(c.contamination)); /* five photos tell nothing */
    for (size_t i = 0; i < 5; i++) assert_true(c.photos[i].weight > 0.0 && !c.photos[i].apart && c.photos[i].place < 3);
    cz_confidence_free(&c);
    p = (planted){.seed = 6, .bad_value = (float)NAN};
    input.photos = PHOTOS;
    assert_int_equal(cz_confidence_compute(&input, &c), CZ_E_DIVERGED);
    assert_null(c.photos);
    p.bad_value = (float)INFINITY;
    assert_int_equal(cz_confidence_compute(&input, &c), CZ_E_DIVERGED);
    input.photos = 0;
    assert_int_equal(cz_confidence_compute(&input, &c), CZ_E_NO_IMAGES);
}

/* ---- contamination ------------------------------------------------------------------------------------------------ */

/* Standard normal, or Gumbel (as largest values are) of the same spread. */
static double clean_score(cz_rng *rng, bool gumbel)
{
    return gumbel ? -log(-log(cz_rng_uniform(rng) * (1.0 - 1e-12) + 5e-13)) / 1.2825 : (double)cz_rng_normal(rng);
}

static void estimates(void **state)
{
    (void)state;
    static const double rates[] = {0.0, 0.05, 0.1, 0.2, 0.4};
    enum { RUNS = 300, N = 200 };
    for (int gumbel = 0; gumbel < 2; gumbel++) {
        for (size_t r = 0; r < sizeof rates / sizeof *rates; r++) {
            double sum = 0.0;
            size_t astray = 0;
            for (size_t run = 0; run < RUNS; run++) {
                float scores[N];
                cz_rng rng;
                cz_rng_init(&rng, 11, CZ_RNG_PATCHES, run, (uint32_t)r);
                const size_t bad = (size_t)(rates[r] * N + 0.5);
                for (size_t i = 0; i < N; i++) {
                    scores[i] = (float)(i < bad ? 7.0 + 1.5 * (double)cz_rng_normal(&rng) : clean_score(&rng, gumbel));
                }
                qsort(scores, N, sizeof *scores, ascending);
                const cz_contamination c = cz_contamination_estimate(scores, N);
                assert_true(c.rate >= 0.0 && c.rate <= CZ_CONTAMINATION_MOST);
                sum += c.rate;
                astray += fabs(c.rate - rates[r]) > 0.06;
            }
            /* skewed scores look a little contaminated, and near one half the bulk is now and then lost */
            const double mean = sum / RUNS, skew = gumbel ? 0.02 : 0.005;
            if (!(mean > rates[r] - 0.01 && mean < rates[r] + skew && astray <= RUNS / 20))
                fail_msg("rate %g: mean %g, %zu astray", rates[r], mean, astray);
        }
    }
}

static void estimates_edges(void **state)
{
    (void)state;
    float scores[40];
    for (size_t i = 0; i < 40; i++) scores[i] = 3.0f;
    cz_contamination c = cz_contamination_estimate(scores, 40);
    assert_true(c.rate == 0.0 && isinf(c.limit) && c.beyond == 0); /* no spread */
    for (size_t i = 0; i < 40; i++) scores[i] = (float)i;
    c = cz_contamination_estimate(scores, 40);
    assert_true(c.rate == 0.0 && c.beyond == 0 && isfinite(c.limit)); /* even: nothing stands apart */
    scores[39] = 1e30f;
    c = cz_contamination_estimate(scores, 40);
    assert_true(c.beyond == 1 && c.rate == 1.0 / 40);
    c = cz_contamination_estimate(scores + 29, CZ_CONTAMINATION_LEAST - 1);
    assert_true(c.rate == 0.0 && isinf(c.limit));
    for (size_t i = 0; i < 40; i++) scores[i] = i < 10 ? (float)i : 1000.0f + (float)i;
    c = cz_contamination_estimate(scores, 40);
    assert_true(c.rate <= CZ_CONTAMINATION_MOST); /* three quarters are the bulk, whatever they are */
}

/* ---- models ------------------------------------------------------------------------------------------------------- */

enum { SIDE = 64, COUNT = 14 };
static uint8_t photos[COUNT][SIDE * SIDE];
static cz_backbone *backbone;

typedef struct source_state {
    size_t loads;
    bool nameless;
} source_state;

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    ((source_state *)ctx)->loads++;
    if (index == 3) return cz_source_error(CZ_E_FORMAT, "photo 3 is damaged");
    *out = (cz_image){photos[index], SIDE, SIDE, SIDE, CZ_GRAY8};
    return CZ_OK;
}

static const char *name_of(void *ctx, size_t index)
{
    static char name[32];
    if (((source_state *)ctx)->nameless) return NULL;
    (void)snprintf(name, sizeof name, index == 5 ? "\xff\xfe-%zu" : "<photo \"%zu\">", index);
    return name;
}

static cz_image_source source_of(source_state *s)
{
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    source.count = COUNT;
    source.load = load;
    source.name = name_of;
    source.ctx = s;
    return source;
}

static cz_train_options small(void)
{
    cz_train_options o;
    cz_train_options_init(&o);
    o.image_width = o.image_height = 64;
    o.feature_width = 96;
    o.hidden_width = 32;
    o.epochs = 4;
    o.patches_per_image = 16;
    o.threads = 1;
    o.quantise_images = 0;
    return o;
}

static void make_photos(void)
{
    cz_rng rng;
    cz_rng_init(&rng, 3, CZ_RNG_PATCHES, 0, 0);
    for (size_t i = 0; i < COUNT; i++) {
        for (size_t p = 0; p < SIDE * SIDE; p++)
            photos[i][p] = (uint8_t)(110 + (p / SIDE + p % SIDE) % 16 + (size_t)(cz_rng_uniform(&rng) * 8.0));
    }
    for (size_t y = 20; y < 44; y++) memset(&photos[11][y * SIDE + 24], 255, 20); /* a bright patch */
}

static cz_model *train(const cz_train_options *o, source_state *s)
{
    cz_model *m = NULL;
    const cz_image_source source = source_of(s);
    if (cz_train(backbone, &source, o, &m) != CZ_OK) fail_msg("%s", cz_last_error());
    return m;
}

static void hex_of(const uint8_t *pixels, char hex[65], uint8_t digest[32])
{
    const cz_image image = {pixels, SIDE, SIDE, SIDE, CZ_GRAY8};
    cz_image_sha256(&image, digest);
    for (size_t i = 0; i < 32; i++) (void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

static void model_knows(void **state)
{
    (void)state;
    const cz_train_options o = small();
    source_state s = {0};
    cz_model *m = train(&o, &s), *back = NULL;
    char path[] = "/tmp/cozad-photos-XXXXXX", hex[65];
    uint8_t digest[32];
    const int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(cz_model_save(m, path), CZ_OK);
    assert_int_equal(cz_model_inspect(path, &back), CZ_OK);
    assert_int_equal(cz_model_photos_count(back), COUNT - 1);
    double rate = -1.0, least = 2.0;
    assert_int_equal(cz_model_contamination(back, &rate), 1); /* 13 are just enough */
    assert_true(rate >= 0.0 && rate <= 0.5);
    size_t lowest = COUNT;
    for (size_t i = 0; i < COUNT - 1; i++) {
        cz_training_photo p;
        const size_t index = i < 3 ? i : i + 1; /* photo 3 could not be read */
        char name[32];
        assert_int_equal(cz_model_photo_at(back, i, &p), CZ_OK);
        hex_of(photos[index], hex, digest);
        assert_string_equal(p.sha256, hex);
        (void)snprintf(name, sizeof name, "<photo \"%zu\">", index);
        if (index == 5) assert_null(p.name); /* not UTF-8 */
        if (index != 5) assert_string_equal(p.name, name);
        assert_true(p.weight > 0.0 && p.weight <= 1.0 && p.share_below_one >= 0.0 && p.share_below_one <= 1.0);
        assert_true(isfinite(p.score) && !p.excluded && p.grid_width == 8 && p.grid_height == 8);
        assert_true(p.place_x < 8 && p.place_y < 8);
        if (p.weight < least) lowest = index;
        least = fmin(least, p.weight);
    }
    assert_int_equal(lowest, 11);
    cz_training_photo none;
    assert_int_equal(cz_model_photo_at(back, COUNT, &none), CZ_E_ARG);
    /* scores are those of a session */
    cz_session_options session_options = CZ_SESSION_OPTIONS_INIT;
    cz_session *session = NULL;
    cz_result result;
    cz_training_photo first;
    const cz_image image = {photos[0], SIDE, SIDE, SIDE, CZ_GRAY8};
    session_options.threads = 1;
    assert_int_equal(cz_session_open(m, &session_options, &session), CZ_OK);
    assert_int_equal(cz_score(session, &image, &result), CZ_OK);
    assert_int_equal(cz_model_photo_at(m, 0, &first), CZ_OK);
    assert_true(fabs(result.score - first.score) <= 1e-4 * fmax(1.0, fabs(first.score)));
    cz_session_close(session);
    cz_model_close(back);
    cz_model_close(m);
    (void)remove(path);
}

static void leaves_out(void **state)
{
    (void)state;
    char hex[3][65];
    cz_excluded_photo out[3] = {{.name = "b"}, {.name = NULL}, {.name = "gone"}};
    hex_of(photos[11], hex[0], out[0].sha256);
    hex_of(photos[2], hex[1], out[1].sha256);
    memset(out[2].sha256, 7, 32);
    cz_train_options o = small();
    source_state s = {.nameless = true};
    o.excluded = out;
    o.excluded_count = 3;
    cz_model *m = train(&o, &s), *none = NULL;
    assert_int_equal(cz_model_photos_count(m), COUNT - 3 + 3);
    for (size_t i = 0; i < COUNT; i++) {
        cz_training_photo p;
        assert_int_equal(cz_model_photo_at(m, i, &p), CZ_OK);
        assert_int_equal(p.excluded, i >= COUNT - 3);
        if (p.excluded) {
            assert_true(isnan(p.weight) && isnan(p.score) && p.grid_width == 0);
            continue;
        }
        assert_null(p.name);
        assert_true(strcmp(p.sha256, hex[0]) != 0 && strcmp(p.sha256, hex[1]) != 0);
    }
    cz_training_photo p;
    assert_int_equal(cz_model_photo_at(m, COUNT - 3, &p), CZ_OK);
    assert_string_equal(p.name, "b");
    assert_string_equal(p.sha256, hex[0]);
    assert_non_null(strstr(cz_model_json(m), "\"images_excluded\": 2"));
    assert_non_null(strstr(cz_model_json(m), "\"images_skipped\": 1")); /* the damaged one is still told of */
    cz_model_close(m);
    /* leaving out is what a source without them would give, but for the list */
    cz_excluded_photo all[COUNT];
    char text[65];
    memset(all, 0, sizeof all);
    for (size_t i = 0; i < COUNT; i++) hex_of(photos[i], text, all[i].sha256);
    o.excluded = all;
    o.excluded_count = COUNT;
    const cz_image_source source = source_of(&s);
    assert_int_equal(cz_train(backbone, &source, &o, &none), CZ_E_NO_IMAGES); /* but for the damaged one */
    o.excluded = NULL;
    assert_int_equal(cz_train(backbone, &source, &o, &none), CZ_E_ARG);
    assert_null(none);
}

/* ---- files -------------------------------------------------------------------------------------------------------- */

/* A model's file with other metadata. */
static cz_status reopened(const cz_model *m, const char *key, const char *json, cz_model **out)
{
    char path[] = "/tmp/cozad-photos-XXXXXX";
    const int file = mkstemp(path);
    assert_true(file >= 0);
    json_t *meta = json_deep_copy(m->meta);
    json_t *value = json != NULL ? json_loads(json, JSON_DECODE_ANY, NULL) : NULL;
    if (json != NULL) assert_non_null(value);
    if (json != NULL) (void)json_object_set_new(meta, key, value);
    if (json == NULL) (void)json_object_del(meta, key);
    cz_tensors *t = NULL;
    char *text = json_dumps(meta, 0);
    assert_int_equal(cz_tensors_create(&t), CZ_OK);
    assert_int_equal(cz_tensors_set_metadata(t, "cozad", text), CZ_OK);
    assert_int_equal(cz_head_save(m->head, m->params, m->state, t), CZ_OK);
    assert_int_equal(cz_tensors_save(t, path), CZ_OK);
    const cz_status status = cz_model_inspect(path, out);
    cz_tensors_close(t);
    free(text);
    json_decref(meta);
    (void)remove(path);
    return status;
}

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void hostile_files(void **state)
{
    (void)state;
    static const struct {
        const char *key, *json;
        bool good;
    } cases[] = {
        {"photos", "[]", true},
        {"photos", "{}", false},
        {"photos", "7", false},
        {"photos", "[7]", false},
        {"photos", "[{}]", false},
        {"photos", "[{\"pixels_sha256\":\"" DIGEST "\",\"weight\":1,\"share_below_one\":0,\"score\":-2.5}]", true},
        {"photos",
         "[{\"name\":null,\"pixels_sha256\":\"" DIGEST
         "\",\"weight\":0.5,\"share_below_one\":0,\"score\":0,\"place\":[0,3],\"apart\":true,\"new\":[]}]",
         true},
        {"photos", "[{\"name\":5,\"pixels_sha256\":\"" DIGEST "\",\"weight\":1,\"share_below_one\":0,\"score\":0}]",
         false},
        {"photos", "[{\"pixels_sha256\":\"0123\",\"weight\":1,\"share_below_one\":0,\"score\":0}]", false},
        {"photos", "[{\"pixels_sha256\":\"" DIGEST "\",\"weight\":1.5,\"share_below_one\":0,\"score\":0}]", false},
        {"photos", "[{\"pixels_sha256\":\"" DIGEST "\",\"weight\":1,\"share_below_one\":-1,\"score\":0}]", false},
        {"photos", "[{\"pixels_sha256\":\"" DIGEST "\",\"weight\":1,\"share_below_one\":0}]", false},
        {"photos",
         "[{\"pixels_sha256\":\"" DIGEST "\",\"weight\":1,\"share_below_one\":0,\"score\":0,\"place\":[-1,3]}]", false},
        {"photos", "[{\"pixels_sha256\":\"" DIGEST "\",\"weight\":1,\"share_below_one\":0,\"score\":0,\"apart\":1}]",
         false},
        {"excluded", "[{\"name\":\"x\",\"pixels_sha256\":\"" DIGEST "\"}]", true},
        {"excluded", "[\"x\"]", false},
        {"excluded", "\"x\"", false},
        {"confidence", "[]", false},
        {"confidence", "{}", true},
        {"confidence", "{\"contamination\":null}", true},
        {"confidence", "{\"contamination\":1.5}", false},
        {"confidence", "{\"contamination\":\"much\"}", false},
    };
    const cz_train_options o = small();
    source_state s = {0};
    cz_model *m = train(&o, &s), *back = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        back = NULL;
        const cz_status status = reopened(m, cases[i].key, cases[i].json, &back);
        if (status != (cases[i].good ? CZ_OK : CZ_E_MODEL)) fail_msg("%s: %s", cases[i].json, cz_last_error());
        for (size_t k = 0; k < cz_model_photos_count(back); k++) {
            cz_training_photo p;
            assert_int_equal(cz_model_photo_at(back, k, &p), CZ_OK);
            assert_int_equal(strlen(p.sha256), 64);
        }
        cz_model_close(back);
    }
    /* A file from before: hashes alone. */
    double rate;
    assert_int_equal(reopened(m, "photos", NULL, &back), CZ_OK);
    cz_training_photo p;
    assert_int_equal(cz_model_photos_count(back), COUNT - 1);
    assert_int_equal(cz_model_photo_at(back, 0, &p), CZ_OK);
    assert_true(p.name == NULL && isnan(p.weight) && strlen(p.sha256) == 64);
    cz_model_close(back);
    assert_int_equal(reopened(m, "confidence", NULL, &back), CZ_OK);
    assert_int_equal(cz_model_contamination(back, &rate), 0);
    cz_model_close(back);
    cz_model_close(m);
    assert_int_equal(cz_model_inspect(TEST_FILES "/model-v1.cozad", &back), CZ_OK);
    assert_int_equal(cz_model_contamination(back, &rate), 0);
    assert_true(cz_model_photos_count(back) > 0);
    cz_model_close(back);
    assert_int_equal(cz_model_photos_count(NULL), 0);
    assert_int_equal(cz_model_photo_at(NULL, 0, &p), CZ_E_ARG);
}

static int setup(void **state)
{
    (void)state;
    make_photos();
    return cz_backbone_open("random:resnet18:1", &backbone) == CZ_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    cz_backbone_close(backbone);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_planted), cmocka_unit_test(judges_by_category), cmocka_unit_test(odd_sets),
        cmocka_unit_test(estimates),     cmocka_unit_test(estimates_edges),    cmocka_unit_test(model_knows),
        cmocka_unit_test(leaves_out),    cmocka_unit_test(hostile_files),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
