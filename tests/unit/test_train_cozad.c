/* SPDX-License-Identifier: Apache-2.0 */
/* Method "cozad" through the public API: every switch trains, same seed same model, stopping and resuming changes no bit. */
#include "cozad/cozad.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PHOTOS = 18, SIDE = 64, CATEGORIES = 3 };

static unsigned char pixels[PHOTOS][SIDE * SIDE];
static cz_backbone *backbone;

static cz_status load(void *ctx, size_t index, cz_image *out)
{
    (void)ctx;
    *out = (cz_image){pixels[index], SIDE, SIDE, SIDE, CZ_GRAY8};
    return CZ_OK;
}

static size_t category(void *ctx, size_t index)
{
    (void)ctx;
    return index % CATEGORIES;
}

static const char *category_name(void *ctx, size_t index)
{
    static const char *const names[] = {"weave", "grid", "steel"};
    (void)ctx;
    return names[index];
}

static cz_image_source photos(void)
{
    cz_image_source source = CZ_IMAGE_SOURCE_INIT;
    source.count = PHOTOS;
    source.load = load;
    source.categories = CATEGORIES;
    source.category = category;
    source.category_name = category_name;
    return source;
}

typedef struct watcher {
    size_t steps, stop_at;
    cz_train_step last;
    bool finite, weights, measured_drop;
} watcher;

static int watch(void *ctx, const cz_train_step *step)
{
    watcher *w = ctx;
    assert_int_equal(step->struct_size, sizeof *step);
    w->finite = w->finite && isfinite(step->loss) && isfinite(step->loss_ad) && isfinite(step->gradient_adaptor) &&
                isfinite(step->gradient_discriminator);
    w->weights = w->weights && step->mean_weight > 0 && step->mean_weight <= 1;
    w->measured_drop = w->measured_drop || isfinite(step->support_drop);
    w->last = *step;
    return ++w->steps == w->stop_at;
}

static cz_train_options options(watcher *w)
{
    cz_train_options o;
    cz_train_options_init(&o);
    *w = (watcher){.finite = true, .weights = true};
    o.method = "cozad";
    o.image_width = o.image_height = SIDE;
    o.feature_width = 96;
    o.hidden_width = 48;
    o.epochs = 6;
    o.batch = 6;
    o.patches_per_image = 12;
    o.cozad.tasks = 2;
    o.cozad.contrast_chunk = 32;
    o.threads = 2;
    o.seed = 4;
    o.step = watch;
    o.ctx = w;
    return o;
}

static int set_up(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PHOTOS; i++) {
        unsigned s = i * 77 + 1;
        for (unsigned p = 0; p < SIDE * SIDE; p++) {
            s = s * 1664525u + 1013904223u;
            pixels[i][p] = (unsigned char)((p % SIDE * (2 + i % 3) + p / SIDE * (i % 3 * 2 + 1)) % 200 + (s >> 27));
        }
    }
    return cz_backbone_open("random:resnet18:1", &backbone) == CZ_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    cz_backbone_close(backbone);
    return 0;
}

static char *bytes_of(const cz_model *model, size_t *size)
{
    char path[] = "test_train_cozad-XXXXXX";
    close(mkstemp(path));
    assert_int_equal(cz_model_save(model, path), CZ_OK);
    FILE *file = fopen(path, "rb");
    char *bytes = malloc(1 << 20);
    *size = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    unlink(path);
    return bytes;
}

static void assert_same(const cz_model *a, const cz_model *b)
{
    size_t size[2];
    char *bytes[2] = {bytes_of(a, &size[0]), bytes_of(b, &size[1])};
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    free(bytes[0]);
    free(bytes[1]);
}

static void test_switches(void **state)
{
    (void)state;
    for (int i = 0; i < 14; i++) {
        watcher w;
        cz_train_options o = options(&w);
        cz_cozad_options *c = &o.cozad;
        cz_model *model = NULL;
        const cz_image_source source = photos();
        switch (i) {
        case 1:
            c->meta = 0;
            break;
        case 2:
            c->scl = c->contrast = c->meta = 0;
            break;
        case 3:
            c->meta_gradient = "first-order";
            break;
        case 4:
            c->meta_gradient = "reptile";
            break;
        case 5:
            c->inner_steps = 3;
            break;
        case 6:
            c->hard_cl = 1;
            break;
        case 7:
            c->confidence_unit = "image";
            break;
        case 8:
            c->loss_reduction = "sum", c->decay = "all";
            break;
        case 9:
            c->contrast_in = "inner";
            break;
        case 10:
            c->contrast_in = "outer", c->contrast_literal = 1;
            break;
        case 11:
            c->weight_anchor = "none", c->weight_both = 1, c->uncertainty_scale = "raw";
            break;
        case 12:
            c->balance = 0, c->knn = 0, c->data_uncertainty = 0;
            break;
        case 13:
            c->model_uncertainty = 0, c->weight_anchor = "min";
            break;
        default:
            break;
        }
        const cz_status status = cz_train(backbone, &source, &o, &model);
        if (status != CZ_OK) fail_msg("case %d: %s", i, cz_last_error());
        assert_true(w.finite && w.weights);
        assert_int_equal(w.steps, o.epochs * (size_t)(c->meta ? 2 : 3));
        assert_true((i == 0 || i == 5) == (w.measured_drop && isfinite(w.last.meta_cosine)) || i > 5);
        assert_true(c->contrast == isfinite(w.last.loss_contrast));
        assert_true((c->scl && c->model_uncertainty) || w.last.lambda_ratio == 1.0);
        assert_non_null(strstr(cz_model_json(model), "\"name\": \"weave\""));
        assert_non_null(strstr(cz_model_json(model), "\"meta_gradient\": "));
        cz_model_close(model);
    }
}

static void test_same_seed(void **state)
{
    (void)state;
    cz_model *model[3] = {NULL};
    for (int i = 0; i < 3; i++) {
        watcher w;
        cz_train_options o = options(&w);
        const cz_image_source source = photos();
        if (i == 2) o.seed++;
        assert_int_equal(cz_train(backbone, &source, &o, &model[i]), CZ_OK);
    }
    assert_same(model[0], model[1]);
    size_t size[2];
    char *bytes[2] = {bytes_of(model[0], &size[0]), bytes_of(model[2], &size[1])};
    assert_true(size[0] != size[1] || memcmp(bytes[0], bytes[1], size[0]) != 0);
    for (int i = 0; i < 2; i++) free(bytes[i]);
    for (int i = 0; i < 3; i++) cz_model_close(model[i]);
}

/* Stopped after 5 of 12 steps, once by the callback, once found in a checkpoint of every 5 steps; then resumed. */
static void stop_and_resume(const char *method)
{
    watcher w;
    cz_model *whole = NULL, *resumed = NULL;
    const cz_image_source source = photos();
    cz_train_options o = options(&w);
    o.method = method;
    assert_int_equal(cz_train(backbone, &source, &o, &whole), CZ_OK);

    char path[] = "test_train_cozad-XXXXXX";
    close(mkstemp(path));
    unlink(path);
    o = options(&w);
    o.method = method;
    o.checkpoint = path;
    o.checkpoint_every = 0;
    w.stop_at = 5;
    assert_int_equal(cz_train(backbone, &source, &o, &resumed), CZ_E_CANCELLED);
    assert_non_null(strstr(cz_last_error(), path));
    assert_int_equal(access(path, F_OK), 0);

    o = options(&w);
    o.method = method;
    o.checkpoint = path;
    o.resume = 1;
    o.seed++;
    assert_int_equal(cz_train(backbone, &source, &o, &resumed), CZ_E_MODEL); /* another training's */
    o.seed--;
    assert_int_equal(cz_train(backbone, &source, &o, &resumed), CZ_OK);
    assert_int_equal(w.last.step + 1, w.last.steps);
    assert_int_equal(w.steps, w.last.steps - 5);
    assert_same(whole, resumed);
    cz_model_close(whole);
    cz_model_close(resumed);
    unlink(path);
}

static void test_resume(void **state)
{
    (void)state;
    stop_and_resume("cozad");
    stop_and_resume("simplenet");
}

static void test_divergence(void **state)
{
    (void)state;
    watcher w;
    cz_model *model = NULL;
    const cz_image_source source = photos();
    cz_train_options o = options(&w);
    char path[] = "test_train_cozad-XXXXXX";
    close(mkstemp(path));
    unlink(path);
    o.cozad.inner_lr = 1e6;
    o.cozad.inner_steps = 20;
    o.cozad.meta_gradient = "first-order";
    o.lr_adaptor = o.lr_discriminator = 1e30;
    o.checkpoint = path;
    assert_int_equal(cz_train(backbone, &source, &o, &model), CZ_E_DIVERGED);
    assert_null(model);
    assert_non_null(strstr(cz_last_error(), "is not finite"));
    assert_non_null(strstr(cz_last_error(), path));
    assert_int_equal(access(path, F_OK), 0);
    unlink(path);
}

static void test_bad_options(void **state)
{
    (void)state;
    for (int i = 0; i < 9; i++) {
        watcher w;
        cz_train_options o = options(&w);
        cz_model *model = NULL;
        cz_image_source source = photos();
        switch (i) {
        case 0:
            o.cozad.meta_gradient = "second-order";
            break;
        case 1:
            o.cozad.kappa = (double)NAN;
            break;
        case 2:
            o.cozad.inner_lr = 0;
            break;
        case 3:
            o.cozad.meta_gradient = "reptile", o.cozad.inner_steps = 1;
            break;
        case 4:
            o.cozad.weight_anchor = NULL;
            break;
        case 5:
            o.cozad.tasks = 0;
            break;
        case 6:
            o.cozad.struct_size = 8;
            break;
        case 7:
            source.categories = 2;
            break; /* the callback names three */
        default:
            o.method = "halley";
            break;
        }
        assert_int_equal(cz_train(backbone, &source, &o, &model), CZ_E_ARG);
        assert_true(strlen(cz_last_error()) > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_switches),   cmocka_unit_test(test_same_seed),   cmocka_unit_test(test_resume),
        cmocka_unit_test(test_divergence), cmocka_unit_test(test_bad_options),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
