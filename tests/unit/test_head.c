/* SPDX-License-Identifier: Apache-2.0 */
/* The detector interface: table, files, configurations, the composed form, passes over a set, the neighbour bank. */
#include "heads/compose.h"
#include "heads/head.h"
#include "tensor/dtype.h"
#include "tensor/tensors.h"
#include "util/alloc.h"
#include "util/rng.h"
#include "util/threads.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static float *hashed(const char *name, size_t count, float scale, float offset)
{
    float *values = calloc(count ? count : 1, sizeof *values);
    const uint64_t hash = cz_name_hash(name, 0);
    assert_non_null(values);
    for (size_t i = 0; i < count; i++) values[i] = offset + scale * cz_hash_uniform(hash, i);
    return values;
}

typedef struct fixture {
    cz_head *head;
    float *params, *state;
} fixture;

static cz_head_config config_of(size_t width, size_t hidden, bool compat)
{
    cz_head_config config;
    cz_head_config_init(&config);
    config.width = width;
    config.hidden = hidden;
    config.simplenet_compat = compat;
    return config;
}

static fixture make(size_t width, size_t hidden, bool compat)
{
    const cz_head_config config = config_of(width, hidden, compat);
    fixture f = {0};
    assert_int_equal(cz_head_create("simplenet", &config, &f.head), CZ_OK);
    f.params = calloc(f.head->param_count, sizeof(float));
    f.state = calloc(f.head->state_count, sizeof(float));
    cz_head_init(f.head, 7, f.params, f.state);
    return f;
}

/* Trained-looking batch-norm parameters and statistics. */
static void unsettle(fixture *f)
{
    const size_t k = f->head->config.hidden;
    float *const where[] = {f->params + cz_head_param(f->head, "norm.scale")->first,
                            f->params + cz_head_param(f->head, "norm.shift")->first, f->state, f->state + k};
    const float scale[] = {0.4f, 0.3f, 0.5f, 0.6f}, offset[] = {1, 0, 0.1f, 1};
    static const char *const names[] = {"scale", "shift", "mean", "var"};
    for (size_t i = 0; i < 4; i++) {
        float *values = hashed(names[i], k, scale[i], offset[i]);
        memcpy(where[i], values, k * sizeof *values);
        free(values);
    }
}

static void drop(fixture *f)
{
    cz_head_destroy(f->head);
    free(f->params);
    free(f->state);
}

static float largest(const float *values, size_t count)
{
    float most = 0;
    for (size_t i = 0; i < count; i++) most = fmaxf(most, fabsf(values[i]));
    return most;
}

static void assert_close(const float *a, const float *b, size_t count, float relative)
{
    const float bound = relative * largest(b, count);
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(a[i] - b[i]) <= bound))
            fail_msg("%zu: %.9g, expected %.9g within %.3g", i, (double)a[i], (double)b[i], (double)bound);
}

static void test_table_and_bad_configs(void **state)
{
    (void)state;
    cz_head *head = NULL;
    cz_head_config config = config_of(8, 4, false);
    assert_non_null(cz_head_find("simplenet"));
    assert_non_null(cz_head_find("knn"));
    assert_null(cz_head_find("simple"));
    assert_null(cz_head_find(""));
    cz_error_clear();
    assert_int_equal(cz_head_create("nope", &config, &head), CZ_E_ARG);
    assert_non_null(strstr(cz_last_error(), "simplenet, flow, knn"));
    assert_int_equal(cz_head_create(NULL, &config, &head), CZ_E_ARG);
#define REFUSED(detector, field, value)                                                                                \
    do {                                                                                                               \
        cz_head_config bad = config_of(8, 4, false);                                                                   \
        bad.field = (value);                                                                                           \
        assert_int_equal(cz_head_create((detector), &bad, &head), CZ_E_ARG);                                           \
    } while (0)
    REFUSED("simplenet", width, 0);
    REFUSED("simplenet", width, CZ_HEAD_MAX_WIDTH + 1);
    REFUSED("simplenet", hidden, 0);
    REFUSED("simplenet", hidden, CZ_HEAD_MAX_WIDTH + 1);
    REFUSED("simplenet", noise_std, -0.1);
    REFUSED("simplenet", noise_std, (double)NAN);
    REFUSED("simplenet", margin_positive, (double)INFINITY);
    REFUSED("simplenet", margin_negative, (double)NAN);
    REFUSED("simplenet", lr_adaptor, 0);
    REFUSED("simplenet", lr_discriminator, (double)NAN);
    REFUSED("knn", bank, 0);
    REFUSED("knn", bank, SIZE_MAX);
    assert_null(head);
}

static void test_layout_covers_params(void **state)
{
    (void)state;
    for (int compat = 0; compat < 2; compat++) {
        fixture f = make(6, 5, compat != 0);
        size_t at = 0, grouped = 0;
        for (size_t i = 0; i < f.head->param_views; i++) {
            assert_int_equal(f.head->param[i].first, at);
            at += f.head->param[i].count;
        }
        for (size_t i = 0; i < f.head->groups; i++) {
            assert_int_equal(f.head->group[i].first, grouped);
            grouped += f.head->group[i].count;
        }
        assert_int_equal(at, f.head->param_count);
        assert_int_equal(grouped, f.head->param_count);
        assert_int_equal(cz_head_param(f.head, "hidden.bias") != NULL, compat);
        assert_null(cz_head_param(f.head, "norm.mean"));
        assert_non_null(cz_head_state(f.head, "norm.mean"));
        assert_true(cz_head_param(f.head, "adaptor.weight")->decay && !cz_head_param(f.head, "norm.scale")->decay);
        assert_int_equal(f.head->group[0].decoupled, compat);
        drop(&f);
    }
}

static void test_init_is_xavier_and_seeded(void **state)
{
    (void)state;
    const cz_head_config config = config_of(96, 64, false);
    cz_head *head = NULL;
    assert_int_equal(cz_head_create("simplenet", &config, &head), CZ_OK);
    float *a = calloc(head->param_count, sizeof *a), *b = calloc(head->param_count, sizeof *b);
    float *s = calloc(head->state_count, sizeof *s);
    cz_head_init(head, 1, a, s);
    cz_head_init(head, 1, b, s);
    assert_memory_equal(a, b, head->param_count * sizeof *a);
    cz_head_init(head, 2, b, s);
    assert_memory_not_equal(a, b, head->param_count * sizeof *a);
    const cz_head_view *view = cz_head_param(head, "hidden.weight");
    double squares = 0;
    for (size_t i = 0; i < view->count; i++) squares += (double)a[view->first + i] * (double)a[view->first + i];
    const double expected = 2.0 / (96 + 64), error = 5 * expected * sqrt(2.0 / (double)view->count);
    assert_true(fabs(squares / (double)view->count - expected) < error);
    assert_true(s[0] == 0 && s[64] == 1 && a[cz_head_param(head, "norm.scale")->first] == 1);
    free(a);
    free(b);
    free(s);
    cz_head_destroy(head);
}

static void test_files_round_trip(void **state)
{
    (void)state;
    for (int compat = 0; compat < 2; compat++) {
        fixture f = make(6, 5, compat != 0), g = make(6, 5, compat != 0), other = make(6, 4, compat != 0);
        cz_tensors *file = NULL, *empty = NULL;
        unsettle(&f);
        assert_int_equal(cz_tensors_create(&file), CZ_OK);
        assert_int_equal(cz_tensors_create(&empty), CZ_OK);
        assert_int_equal(cz_head_save(f.head, f.params, f.state, file), CZ_OK);
        assert_non_null(cz_tensors_lookup(file, "head.adaptor.weight"));
        assert_non_null(cz_tensors_lookup(file, "state.norm.var"));
        memset(g.params, 0, g.head->param_count * sizeof(float));
        assert_int_equal(cz_head_load(g.head, file, g.params, g.state), CZ_OK);
        assert_memory_equal(f.params, g.params, f.head->param_count * sizeof(float));
        assert_memory_equal(f.state, g.state, f.head->state_count * sizeof(float));
        cz_error_clear();
        assert_int_equal(cz_head_load(g.head, empty, g.params, g.state), CZ_E_MODEL);
        assert_non_null(strstr(cz_last_error(), "head.adaptor.weight"));
        cz_error_clear();
        assert_int_equal(cz_head_load(other.head, file, other.params, other.state), CZ_E_MODEL);
        assert_non_null(strstr(cz_last_error(), "head.hidden.weight"));
        cz_tensors_close(file);
        cz_tensors_close(empty);
        drop(&f);
        drop(&g);
        drop(&other);
    }
}

static cz_status reload(const fixture *f)
{
    cz_tensors *file = NULL;
    assert_int_equal(cz_tensors_create(&file), CZ_OK);
    assert_int_equal(cz_head_save(f->head, f->params, f->state, file), CZ_OK);
    const cz_status status = cz_head_load(f->head, file, f->params, f->state);
    cz_tensors_close(file);
    return status;
}

static void test_damaged_values_are_refused(void **state)
{
    (void)state;
    fixture f = make(4, 3, false);
    assert_int_equal(reload(&f), CZ_OK);
    f.state[3] = -1; /* a variance */
    assert_int_equal(reload(&f), CZ_E_MODEL);
    f.state[3] = 1;
    f.params[5] = NAN;
    assert_int_equal(reload(&f), CZ_E_MODEL);
    drop(&f);
}

/* The values rounded to bf16, and in place. The caller frees. */
static uint16_t *rounded(float *values, size_t count)
{
    uint16_t *out = malloc(count * sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < count; i++) {
        out[i] = cz_f32_to_bf16(values[i]);
        values[i] = cz_bf16_to_f32(out[i]);
    }
    return out;
}

/* scores of the composed form on maps against the definition on pooled features */
static void compare_composed(const cz_tap_shape *taps, size_t tap_count, size_t width, size_t hidden, size_t images,
                             size_t max_images, size_t side, bool compat)
{
    static const char *const names[] = {"map0", "map1", "map2"};
    fixture f = make(width, hidden, compat);
    cz_pooler *pooler = NULL;
    cz_composed *composed = NULL;
    cz_composition composition;
    float *maps[3] = {0};
    uint16_t *bf16[3] = {0};
    unsettle(&f);
    assert_int_equal(cz_pooler_create(taps, tap_count, width, side, &pooler), CZ_OK);
    for (size_t t = 0; t < tap_count; t++) {
        const size_t values = images * taps[t].height * taps[t].width * taps[t].channels;
        maps[t] = hashed(names[t], values, 1, 0.4f);
        bf16[t] = rounded(maps[t], values);
    }
    const size_t patches = taps[0].height * taps[0].width;
    float *features = calloc(images * patches * width, sizeof *features);
    float *scratch = calloc(cz_pooler_scratch(pooler) + 1, sizeof *scratch);
    float *direct = calloc(images * patches, sizeof *direct), *fast = calloc(images * patches, sizeof *fast);
    for (size_t n = 0; n < images; n++) {
        const float *one[3] = {0};
        for (size_t t = 0; t < tap_count; t++) one[t] = maps[t] + n * taps[t].height * taps[t].width * taps[t].channels;
        cz_pooler_patches(pooler, one, 0.7f, scratch, features + n * patches * width);
    }
    assert_int_equal(cz_head_score(f.head, f.params, f.state, features, images * patches, direct), CZ_OK);
    assert_int_equal(cz_head_compose(f.head, f.params, f.state, &composition), CZ_OK);
    const cz_composed_options options = {taps, max_images, 2, CZ_PRECISION_FP32};
    assert_int_equal(cz_composed_create(&composition, pooler, &options, &composed), CZ_OK);
    assert_true(cz_composed_memory(composed) > 0);
    assert_int_equal(cz_composed_scores(composed, fast), CZ_E_ARG); /* nothing pooled yet */
    assert_int_equal(cz_composed_pool(composed, (const uint16_t *const *)bf16, images, 0.7f), CZ_OK);
    assert_int_equal(cz_composed_scores(composed, fast), CZ_OK);
    assert_close(fast, direct, images * patches, 1e-5f);
    assert_int_equal(cz_composed_pool(composed, (const uint16_t *const *)bf16, max_images + 1, 1), CZ_E_ARG);
    cz_composed_destroy(composed);
    cz_composition_free(&composition);
    cz_pooler_destroy(pooler);
    for (size_t t = 0; t < tap_count; t++) free(maps[t]), free(bf16[t]);
    free(features);
    free(scratch);
    free(direct);
    free(fast);
    drop(&f);
}

static void test_composed_equals_direct(void **state)
{
    static const cz_tap_shape usual[] = {{16, 8, 8}, {32, 4, 4}}, odd[] = {{5, 7, 6}, {9, 4, 3}, {11, 2, 5}};
    static const cz_tap_shape same[] = {{8, 5, 5}, {8, 5, 5}}, up[] = {{6, 3, 3}, {6, 6, 5}};
    cz_threads_scope scope;
    (void)state;
    assert_int_equal(cz_threads_enter(2, &scope), CZ_OK);
    compare_composed(usual, 2, 48, 32, 1, 1, 3, false);
    compare_composed(usual, 2, 48, 32, 3, 3, 3, false);
    compare_composed(usual, 2, 48, 300, 2, 3, 3, true); /* fewer than the most; K past one piece */
    compare_composed(usual, 1, 48, 17, 1, 2, 3, false);
    compare_composed(odd, 3, 31, 19, 2, 2, 3, false); /* 3 does not divide 31: neighbouring ranges overlap */
    compare_composed(same, 2, 24, 7, 1, 1, 3, false);
    compare_composed(up, 2, 24, 7, 1, 1, 3, false);
    compare_composed(usual, 2, 48, 32, 2, 2, 1, false); /* a cell alone */
    compare_composed(odd, 3, 31, 19, 2, 2, 1, true);
    cz_threads_leave(&scope);
}

static void test_weights_in_the_loss(void **state)
{
    enum { P = 10, D = 6, K = 8 };
    (void)state;
    fixture f = make(D, K, false);
    cz_head_work *work = NULL;
    float *o = hashed("o", P * D, 1, 0), *ones = hashed("1", P, 0, 1), *zeros = hashed("0", P, 0, 0);
    float *a = calloc(f.head->param_count, sizeof *a), *b = calloc(f.head->param_count, sizeof *b);
    cz_batch batch = {.patches = P, .width = D, .features = o, .images = 1};
    const cz_head_noise noise = {.seed = 3, .step = 5, .task = 1};
    double unweighted, weighted, none, sum = 0;
    assert_int_equal(cz_head_work_create(f.head, P, &work), CZ_OK);
    assert_int_equal(cz_head_forward(f.head, f.params, &batch, &noise, work), CZ_OK);
    for (size_t i = 0; i < P; i++) sum += (double)work->loss[i];
    assert_int_equal(cz_head_loss(f.head, &batch, work, &unweighted), CZ_OK);
    assert_true(fabs(sum / P - unweighted) < 1e-6);
    assert_int_equal(cz_head_backward(f.head, f.params, &batch, NULL, work, a), CZ_OK);
    batch.weight = ones;
    assert_int_equal(cz_head_loss(f.head, &batch, work, &weighted), CZ_OK);
    assert_true(weighted == unweighted);
    assert_int_equal(cz_head_forward(f.head, f.params, &batch, &noise, work), CZ_OK);
    assert_int_equal(cz_head_backward(f.head, f.params, &batch, NULL, work, b), CZ_OK);
    assert_memory_equal(a, b, f.head->param_count * sizeof *a);
    batch.weight = zeros; /* only the noised term is left */
    assert_int_equal(cz_head_loss(f.head, &batch, work, &none), CZ_OK);
    assert_true(none > 0 && none < unweighted);
    assert_int_equal(cz_head_forward(f.head, f.params, &batch, &noise, work), CZ_OK);
    assert_int_equal(cz_head_backward(f.head, f.params, &batch, NULL, work, b), CZ_OK);
    assert_memory_not_equal(a, b, f.head->param_count * sizeof *a);
    cz_head_work_destroy(work);
    free(o);
    free(ones);
    free(zeros);
    free(a);
    free(b);
    drop(&f);
}

static void test_bad_batches(void **state)
{
    enum { P = 4, D = 3 };
    (void)state;
    fixture f = make(D, 5, false);
    cz_head_work *work = NULL;
    float *o = hashed("o", (P + 1) * D, 1, 0), *grads = calloc(f.head->param_count, sizeof *grads);
    cz_batch batch = {.patches = P, .width = D, .features = o, .images = 1};
    const cz_head_noise noise = {0};
    assert_int_equal(cz_head_work_create(f.head, 0, &work), CZ_E_ARG);
    assert_int_equal(cz_head_work_create(f.head, SIZE_MAX / 2, &work), CZ_E_ARG);
    assert_int_equal(cz_head_work_create(f.head, P, &work), CZ_OK);
    assert_int_equal(cz_head_backward(f.head, f.params, &batch, NULL, work, grads), CZ_E_ARG); /* no forward */
    batch.width = D + 1;
    assert_int_equal(cz_head_forward(f.head, f.params, &batch, &noise, work), CZ_E_ARG);
    batch.width = D;
    batch.patches = P + 1;
    assert_int_equal(cz_head_forward(f.head, f.params, &batch, &noise, work), CZ_E_ARG);
    batch.patches = 0;
    assert_int_equal(cz_head_forward(f.head, f.params, &batch, &noise, work), CZ_E_ARG);
    batch.patches = P;
    o[2] = NAN;
    assert_int_equal(cz_head_forward(f.head, f.params, &batch, &noise, work), CZ_E_ARG);
    assert_int_equal(cz_head_backward(f.head, f.params, &batch, NULL, work, grads), CZ_E_ARG);
    o[2] = 0;
    assert_int_equal(cz_head_forward(f.head, f.params, &batch, &noise, work), CZ_OK);
    assert_int_equal(cz_head_backward(f.head, f.params, &batch, NULL, work, grads), CZ_OK);
    assert_int_equal(cz_head_tangent(f.head, f.params, &batch, grads, work, o), CZ_E_ARG); /* kept nothing */
    cz_head_work_destroy(work);
    free(o);
    free(grads);
    drop(&f);
}

/* One training step with drawn noise at 1 and 2 threads. */
static void test_thread_count(void **state)
{
    enum { P = 300, D = 40, K = 70 };
    (void)state;
    fixture f = make(D, K, true);
    float *o = hashed("o", P * D, 1, 0.2f), *inject = hashed("inject", P * D, 0.001f, 0);
    float *grads[2], *stats[2], score[2][P], whole[2][P];
    for (size_t threads = 1; threads <= 2; threads++) {
        const cz_batch batch = {.patches = P, .width = D, .features = o, .images = 1};
        const cz_head_noise noise = {.seed = 3, .step = 5};
        cz_head_work *work = NULL;
        cz_threads_scope scope;
        const size_t i = threads - 1;
        grads[i] = calloc(f.head->param_count, sizeof(float));
        stats[i] = calloc(f.head->state_count, sizeof(float));
        assert_int_equal(cz_threads_enter(threads, &scope), CZ_OK);
        assert_int_equal(cz_head_work_create(f.head, P, &work), CZ_OK);
        assert_int_equal(cz_head_forward(f.head, f.params, &batch, &noise, work), CZ_OK);
        memcpy(score[i], work->score, sizeof score[i]);
        cz_head_batch_state(f.head, work, stats[i]);
        assert_int_equal(cz_head_backward(f.head, f.params, &batch, inject, work, grads[i]), CZ_OK);
        assert_int_equal(cz_head_score(f.head, f.params, f.state, o, P, whole[i]), CZ_OK);
        cz_head_work_destroy(work);
        cz_threads_leave(&scope);
    }
    assert_close(score[1], score[0], P, 1e-5f);
    assert_close(whole[1], whole[0], P, 1e-5f);
    assert_close(stats[1], stats[0], f.head->state_count, 1e-5f);
    assert_close(grads[1], grads[0], f.head->param_count, 1e-5f);
    for (size_t i = 0; i < 2; i++) {
        free(grads[i]);
        free(stats[i]);
    }
    free(o);
    free(inject);
    drop(&f);
}

/* Statistics of a set in uneven chunks against the definition with many drawn noise rows. */
static void test_pass_recomputes_statistics(void **state)
{
    enum { ROWS = 4500, D = 12, K = 20 };
    (void)state;
    fixture f = make(D, K, true);
    f.head->config.noise_std = 0.5; /* large, so that its share of the variance shows */
    cz_head_pass *pass = NULL;
    cz_head_work *work = NULL;
    float *o = hashed("o", ROWS * D, 1, 0.3f), stats[2 * K];
    assert_int_equal(cz_head_pass_begin(f.head, f.params, &pass), CZ_OK);
    assert_int_equal(cz_head_pass_end(f.head, pass, f.params, f.state), CZ_E_NO_IMAGES);
    const size_t cuts[] = {0, 1, 40, 40, 2600, ROWS};
    for (size_t i = 0; i + 1 < sizeof cuts / sizeof cuts[0]; i++)
        assert_int_equal(cz_head_pass_add(f.head, pass, o + cuts[i] * D, cuts[i + 1] - cuts[i]), CZ_OK);
    assert_int_equal(cz_head_pass_end(f.head, pass, f.params, f.state), CZ_OK);
    cz_head_pass_destroy(f.head, pass);

    const cz_batch batch = {.patches = ROWS, .width = D, .features = o, .images = 1};
    const cz_head_noise noise = {.seed = 1};
    assert_int_equal(cz_head_work_create(f.head, ROWS, &work), CZ_OK);
    assert_int_equal(cz_head_forward(f.head, f.params, &batch, &noise, work), CZ_OK);
    cz_head_batch_state(f.head, work, stats);
    assert_close(f.state, stats, K, 0.03f);
    assert_close(f.state + K, stats + K, K, 0.03f);
    float moved[2 * K];
    memset(moved, 0, sizeof moved);
    cz_head_state_update(f.head, moved, stats);
    for (size_t i = 0; i < 2 * K; i++) assert_true(fabsf(moved[i] - 0.1f * stats[i]) <= 1e-6f * fabsf(stats[i]));
    cz_head_work_destroy(work);
    free(o);
    drop(&f);
}

/* noise 0: [q; q] has the very statistics of q, so the pass is exact, whatever the offset of the features */
static void test_pass_without_noise_is_exact(void **state)
{
    enum { ROWS = 999, D = 5, K = 9 };
    (void)state;
    cz_head_config config = config_of(D, K, false);
    cz_head *head = NULL;
    cz_head_pass *pass = NULL;
    cz_head_work *work = NULL;
    config.noise_std = 0;
    assert_int_equal(cz_head_create("simplenet", &config, &head), CZ_OK);
    float *params = calloc(head->param_count, sizeof *params), stats[2 * K], exact[2 * K];
    float *o = hashed("o", ROWS * D, 1, 50);
    cz_head_init(head, 1, params, stats);
    assert_int_equal(cz_head_pass_begin(head, params, &pass), CZ_OK);
    assert_int_equal(cz_head_pass_add(head, pass, o, ROWS), CZ_OK);
    assert_int_equal(cz_head_pass_end(head, pass, params, stats), CZ_OK);
    cz_head_pass_destroy(head, pass);
    const cz_batch batch = {.patches = ROWS, .width = D, .features = o, .images = 1};
    const cz_head_noise noise = {0};
    assert_int_equal(cz_head_work_create(head, ROWS, &work), CZ_OK);
    assert_int_equal(cz_head_forward(head, params, &batch, &noise, work), CZ_OK);
    cz_head_batch_state(head, work, exact);
    assert_close(stats, exact, K, 1e-5f);
    assert_close(stats + K, exact + K, K, 1e-4f);
    cz_head_work_destroy(work);
    cz_head_destroy(head);
    free(params);
    free(o);
}

static void fill_bank(const cz_head *head, const float *rows, size_t count, float *params, float *state)
{
    cz_head_pass *pass = NULL;
    cz_head_init(head, 0, params, state);
    assert_int_equal(cz_head_pass_begin(head, params, &pass), CZ_OK);
    const size_t half = count / 3;
    assert_int_equal(cz_head_pass_add(head, pass, rows, half), CZ_OK);
    assert_int_equal(cz_head_pass_add(head, pass, rows + half * head->config.width, count - half), CZ_OK);
    assert_int_equal(cz_head_pass_end(head, pass, params, state), CZ_OK);
    cz_head_pass_destroy(head, pass);
}

static void test_neighbour_bank(void **state)
{
    enum { ROWS = 2100, QUERIES = 300, D = 7 };
    (void)state;
    cz_head_config config = config_of(D, 1, false);
    cz_head *head = NULL;
    cz_head_work *work = NULL;
    cz_composition composition;
    config.bank = 2500; /* more than there are, and more than one product's worth of neighbours */
    assert_int_equal(cz_head_create("knn", &config, &head), CZ_OK);
    float *params = calloc(head->param_count, sizeof *params), filled = 0, scores[QUERIES];
    float *rows = hashed("rows", ROWS * D, 1, 3), *queries = hashed("queries", QUERIES * D, 1.2f, 3);
    memcpy(queries + 5 * D, rows + 2077 * D, D * sizeof *rows);
    assert_int_equal(cz_head_score(head, params, &filled, queries, QUERIES, scores), CZ_E_MODEL); /* empty */
    fill_bank(head, rows, ROWS, params, &filled);
    assert_true(filled == ROWS);
    assert_int_equal(cz_head_score(head, params, &filled, queries, QUERIES, scores), CZ_OK);
    for (size_t q = 0; q < QUERIES; q++) {
        double best = 1e30;
        for (size_t r = 0; r < ROWS; r++) {
            double sum = 0;
            for (size_t c = 0; c < D; c++) sum += pow((double)queries[q * D + c] - (double)rows[r * D + c], 2);
            best = sum < best ? sum : best;
        }
        assert_true(fabs((double)scores[q] - sqrt(best)) <= 1e-5);
    }
    assert_true(scores[5] == 0);
    assert_int_equal(cz_head_work_create(head, 8, &work), CZ_E_UNSUPPORTED);
    assert_int_equal(cz_head_tangent(head, params, NULL, params, NULL, rows), CZ_E_UNSUPPORTED);
    assert_int_equal(cz_head_hessian(head, params, NULL, params, NULL, NULL, NULL, rows), CZ_E_UNSUPPORTED);
    assert_int_equal(cz_head_compose(head, params, &filled, &composition), CZ_E_UNSUPPORTED);
    free(params);
    free(queries);
    free(rows);
    cz_head_destroy(head);
}

static void test_neighbour_bank_subsamples(void **state)
{
    enum { ROWS = 1000, BANK = 100 };
    (void)state;
    cz_head_config config = config_of(1, 1, false);
    float rows[ROWS], bank[2][BANK], filled;
    config.bank = BANK;
    for (size_t i = 0; i < ROWS; i++) rows[i] = (float)i;
    for (uint64_t seed = 0; seed < 2; seed++) {
        cz_head *head = NULL;
        bool seen[ROWS] = {false};
        double mean = 0;
        config.seed = seed;
        assert_int_equal(cz_head_create("knn", &config, &head), CZ_OK);
        fill_bank(head, rows, ROWS, bank[seed], &filled);
        assert_true(filled == BANK);
        for (size_t i = 0; i < BANK; i++) {
            assert_false(seen[(size_t)bank[seed][i]]); /* without replacement */
            seen[(size_t)bank[seed][i]] = true;
            mean += (double)bank[seed][i] / BANK;
        }
        assert_true(fabs(mean - 499.5) < 5 * 288.7 / 10); /* five standard errors */
        cz_head_destroy(head);
    }
    assert_memory_not_equal(bank[0], bank[1], sizeof bank[0]);
}

/* Every allocation of a training step and of the fast scorer fails once: an error each time, nothing leaks. */
static void test_out_of_memory(void **state)
{
    static const cz_tap_shape taps[] = {{4, 4, 4}, {4, 2, 2}};
    (void)state;
    const cz_head_config config = config_of(8, 6, false);
    cz_pooler *pooler = NULL;
    assert_int_equal(cz_pooler_create(taps, 2, 8, 3, &pooler), CZ_OK);
    bool failed = true;
    for (unsigned long n = 1; failed; n++) {
        cz_head *head = NULL;
        cz_head_work *work = NULL;
        cz_composed *composed = NULL;
        cz_composition composition = {0};
        cz_status status = CZ_OK;
        float params[8 * 8 + 6 * 8 + 18], values[12];
        cz_alloc_fail_after(n);
        CZ_TRY(cz_head_create("simplenet", &config, &head));
        cz_head_init(head, 1, params, values);
        CZ_TRY(cz_head_work_create(head, 4, &work));
        CZ_TRY(cz_head_compose(head, params, values, &composition));
        const cz_composed_options options = {taps, 2, 1, CZ_PRECISION_INT8};
        CZ_TRY(cz_composed_create(&composition, pooler, &options, &composed));
    out:
        cz_alloc_fail_after(0);
        failed = status != CZ_OK;
        if (failed) assert_int_equal(status, CZ_E_MEMORY);
        assert_true(n < 200);
        cz_composed_destroy(composed);
        cz_composition_free(&composition);
        cz_head_work_destroy(work);
        cz_head_destroy(head);
    }
    cz_pooler_destroy(pooler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_and_bad_configs),
        cmocka_unit_test(test_layout_covers_params),
        cmocka_unit_test(test_init_is_xavier_and_seeded),
        cmocka_unit_test(test_files_round_trip),
        cmocka_unit_test(test_damaged_values_are_refused),
        cmocka_unit_test(test_composed_equals_direct),
        cmocka_unit_test(test_weights_in_the_loss),
        cmocka_unit_test(test_bad_batches),
        cmocka_unit_test(test_thread_count),
        cmocka_unit_test(test_pass_recomputes_statistics),
        cmocka_unit_test(test_pass_without_noise_is_exact),
        cmocka_unit_test(test_neighbour_bank),
        cmocka_unit_test(test_neighbour_bank_subsamples),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
