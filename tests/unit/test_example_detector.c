/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The example of docs/adding-a-detector.md: with one entry in the table it is trained plainly and by the methods, scores, is
 * saved and read again; its derivatives are right, and the page quotes the very code. Nothing else knows its name.
 * This program compiles head.c with that entry, in place of the library's own.
 */
#include "heads/heads.h"

extern const cz_head_ops cz_gaussian_ops;
#define CZ_HEADS_MORE &cz_gaussian_ops
#include "heads/head.c"

#include "cozad/cozad.h"
#include "util/file.h"
#include "util/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { P = 7, D = 5, PHOTOS = 12, SIDE = 64 };

static cz_backbone *backbone;
static unsigned char pixels[PHOTOS][SIDE * SIDE];

/* ---- derivatives ------------------------------------------------------------------------------------------------ */

typedef struct problem {
    cz_head *head;
    cz_head_work *work;
    float x[P * D], w[P], params[2 * D], direction[2 * D];
    cz_batch batch;
} problem;

static problem make_problem(void)
{
    problem p = {.head = NULL};
    cz_head_config config;
    cz_rng rng;
    cz_head_config_init(&config);
    config.width = D;
    assert_int_equal(cz_head_create("gaussian", &config, &p.head), CZ_OK);
    assert_int_equal(p.head->param_count, 2 * D);
    assert_int_equal(cz_head_work_create(p.head, P, &p.work), CZ_OK);
    assert_int_equal(cz_head_work_second_order(p.work), CZ_OK);
    cz_rng_init(&rng, 3, CZ_RNG_INIT, 0, 0);
    cz_rng_normal_fill(&rng, 0, p.x, P * D, 1.0f);
    cz_rng_normal_fill(&rng, 0, p.params, 2 * D, 0.3f);
    cz_rng_normal_fill(&rng, 0, p.direction, 2 * D, 1.0f);
    for (size_t i = 0; i < P; i++) p.w[i] = 0.2f + 0.1f * (float)i;
    return p;
}

/* Gradient of the objective at params + step * direction; returns the objective. */
static double gradient_at(problem *p, double step, float *grads)
{
    double value = 0;
    float moved[2 * D];
    const cz_batch batch = {.patches = P, .width = D, .features = p->x, .images = 1, .weight = p->w};
    for (size_t i = 0; i < 2 * D; i++) moved[i] = p->params[i] + (float)step * p->direction[i];
    assert_int_equal(cz_head_forward(p->head, moved, &batch, NULL, p->work), CZ_OK);
    assert_int_equal(cz_head_loss(p->head, &batch, p->work, &value), CZ_OK);
    assert_int_equal(cz_head_backward(p->head, moved, &batch, NULL, p->work, grads), CZ_OK);
    return value;
}

static void test_derivatives(void **state)
{
    (void)state;
    problem p = make_problem();
    float g[2 * D], up[2 * D], down[2 * D], product[2 * D];
    const double h = 1.0 / 64;
    const double rise = (gradient_at(&p, h, up) - gradient_at(&p, -h, down)) / (2 * h);
    const cz_batch batch = {.patches = P, .width = D, .features = p.x, .images = 1, .weight = p.w};
    (void)gradient_at(&p, 0, g);
    assert_int_equal(cz_head_tangent(p.head, p.params, &batch, p.direction, p.work, NULL), CZ_OK);
    assert_int_equal(cz_head_hessian(p.head, p.params, &batch, p.direction, NULL, NULL, p.work, product), CZ_OK);
    double along = 0, largest = 0;
    for (size_t i = 0; i < 2 * D; i++) {
        along += (double)g[i] * (double)p.direction[i];
        largest = fmax(largest, fabs((double)product[i]));
    }
    assert_true(fabs(along - rise) < 2e-3 * fabs(along));
    for (size_t i = 0; i < 2 * D; i++) {
        const double wanted = ((double)up[i] - (double)down[i]) / (2 * h);
        if (!(fabs(wanted - (double)product[i]) < 3e-3 * largest)) fail_msg("%zu: %g, %g", i, wanted, product[i]);
    }
    cz_head_work_destroy(p.work);
    cz_head_destroy(p.head);
}

/* ---- through the library ------------------------------------------------------------------------------------------ */

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    (void)ctx;
    *out = (cz_image){pixels[index], SIDE, SIDE, SIDE, CZ_GRAY8};
    return CZ_OK;
}

static int set_up(void **state)
{
    (void)state;
    unsigned s = 1;
    for (size_t i = 0; i < PHOTOS; i++)
        for (size_t p = 0; p < SIDE * SIDE; p++) {
            s = s * 1664525u + 1013904223u;
            pixels[i][p] = (unsigned char)((p % SIDE * 3 + p / SIDE) % 200 + (s >> 27));
        }
    return cz_backbone_open("random:resnet18:1", &backbone) == CZ_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    cz_backbone_close(backbone);
    return 0;
}

static double score_of(const cz_model *model, const unsigned char *data)
{
    cz_session *session = NULL;
    cz_session_options o = CZ_SESSION_OPTIONS_INIT;
    cz_result result;
    const cz_image image = {data, SIDE, SIDE, SIDE, CZ_GRAY8};
    o.threads = 1;
    assert_int_equal(cz_session_open(model, &o, &session), CZ_OK);
    assert_int_equal(cz_score(session, &image, &result), CZ_OK);
    assert_non_null(result.map);
    const double score = result.score;
    cz_session_close(session);
    return score;
}

static void test_methods(void **state)
{
    (void)state;
    static const char *const methods[] = {"gaussian", "comet", "cozad"};
    assert_string_equal(cz_detector_name(2), "gaussian");
    for (size_t i = 0; i < 3; i++) {
        cz_train_options o;
        cz_model *model = NULL, *read = NULL;
        cz_image_source source = CZ_IMAGE_SOURCE_INIT;
        source.count = PHOTOS;
        source.load = load;
        cz_train_options_init(&o);
        o.method = methods[i];
        o.detector = "gaussian";
        o.image_width = o.image_height = SIDE;
        o.feature_width = 48;
        o.epochs = 30;
        o.batch = 4;
        o.patches_per_image = 16;
        o.quantise_images = 0;
        o.threads = 1;
        o.cozad.tasks = 2;
        if (i == 2) {
            assert_int_equal(cz_train(backbone, &source, &o, &model), CZ_E_ARG); /* no embedding */
            assert_non_null(strstr(cz_last_error(), "embedding"));
            continue;
        }
        if (cz_train(backbone, &source, &o, &model) != CZ_OK) fail_msg("%s: %s", methods[i], cz_last_error());
        char path[] = "test_example_detector-XXXXXX";
        close(mkstemp(path));
        assert_int_equal(cz_model_save(model, path), CZ_OK);
        assert_int_equal(cz_model_open(path, backbone, &read), CZ_OK);
        unlink(path);
        unsigned char damaged[SIDE * SIDE];
        memcpy(damaged, pixels[0], sizeof damaged);
        for (size_t y = 20; y < 44; y++) memset(damaged + y * SIDE + 20, 0, 24);
        const double normal = score_of(model, pixels[0]);
        assert_true(normal == score_of(read, pixels[0]));
        assert_true(score_of(model, damaged) > normal);
        cz_model_close(model);
        cz_model_close(read);
    }
}

/* ---- the page ----------------------------------------------------------------------------------------------------- */

static char *text_of(const char *path)
{
    uint8_t *bytes;
    size_t size;
    assert_int_equal(cz_file_read(path, 1 << 20, &bytes, &size), CZ_OK);
    char *text = malloc(size + 1);
    memcpy(text, bytes, size);
    text[size] = '\0';
    cz_free(bytes);
    return text;
}

/* Every block of C on the page is a part of the example, letter by letter. */
static void test_page(void **state)
{
    (void)state;
    char *page = text_of(TEST_FILES "/../../../docs/adding-a-detector.md");
    char *code = text_of(TEST_FILES "/../../detector/gaussian.c");
    size_t blocks = 0;
    for (char *at = page; (at = strstr(at, "\n```c\n")) != NULL; blocks++) {
        char *begin = at + 6, *end = strstr(begin, "\n```");
        assert_non_null(end);
        *end = '\0';
        if (strstr(code, begin) == NULL) fail_msg("not in gaussian.c: %s", begin);
        at = end + 1;
    }
    assert_true(blocks >= 5);
    free(page);
    free(code);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_derivatives),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_page),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
