/* SPDX-License-Identifier: Apache-2.0 */
/* Twenty training steps on real photos, and what they score, against PyTorch: the whole way from files to image AUROC.
 * make_tire_goldens.py says what is drawn and how (all of it by hashes, so both sides draw the same). */
#include "api/extract.h"
#include "cozad/cozad_eval.h"
#include "cozad/cozad_io.h"
#include "features/patch.h"
#include "heads/compose.h"
#include "heads/head.h"
#include "optim/adam.h"
#include "util/threads.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "golden.h"

enum {
    D = 1536,
    K = 1024,
    SIDE = 256,
    GRID = 32 * 32,
    STEPS = 20,
    IMAGES = 16,
    PATCHES = 128,
    ROWS = IMAGES * PATCHES
};

static const double SCALE_LIMIT = 1e-4; /* relative */
static const double LOSS_LIMIT = 1e-3;
static const double STATISTICS_LIMIT = 1e-3; /* mean in standard deviations, variance relative */
static const double SCORE_LIMIT = 0.02;      /* scores are 17 +- 3 */
static const double AUROC_LIMIT = 0.1;       /* percentage points */

/* Parameters agree when they are within 1e-4. The batches are identical only up to bf16: where two fp32 backbones end
 * on either side of a rounding boundary (two to four of 10,000 values of a map), values differ by one part in 256. That
 * can turn Adam's first step, rate * sign(gradient), where a gradient is near 0. Hence a few may be outside, by such
 * steps of the larger rate. */
static const double PARAMETER_LIMIT = 1e-4, PARAMETER_FARTHEST = 8e-4, OUTSIDE_LIMIT = 0.002; /* OUTSIDE: a share */

/* ---- photos ------------------------------------------------------------------------------------------------------ */

typedef struct photos {
    char **paths; /* below the data set's folder, bytewise ascending */
    size_t count;
} photos;

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static char *join(const char *folder, const char *name)
{
    const size_t room = strlen(folder) + strlen(name) + 2;
    char *path = malloc(room);
    assert_non_null(path);
    (void)snprintf(path, room, "%s/%s", folder, name);
    return path;
}

static int bytewise(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Files of root/folder, folders searched `depth` levels deep. */
static void list(const char *root, const char *folder, int depth, photos *out)
{
    struct dirent **entries;
    char *full = join(root, folder);
    const int count = scandir(full, &entries, visible, NULL);
    assert_true(count >= 0);
    for (int i = 0; i < count; i++) {
        char *path = join(folder, entries[i]->d_name);
        free(entries[i]);
        if (depth > 0) {
            list(root, path, depth - 1, out);
            free(path);
            continue;
        }
        out->paths = realloc(out->paths, (out->count + 1) * sizeof *out->paths);
        assert_non_null(out->paths);
        out->paths[out->count++] = path;
    }
    free(entries);
    free(full);
    qsort(out->paths, out->count, sizeof *out->paths, bytewise);
}

static void free_photos(photos *p)
{
    for (size_t i = 0; i < p->count; i++) free(p->paths[i]);
    free(p->paths);
}

/* ---- what is drawn ----------------------------------------------------------------------------------------------- */

static void hashed(const char *name, size_t count, double scale, float *out)
{
    const uint64_t hash = cz_name_hash(name, 0);
    const float factor = (float)scale;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++) out[i] = cz_hash_uniform(hash, i) * factor;
}

static int ascending(const void *a, const void *b)
{
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* `count` of 0 … n-1, ascending; n <= GRID. */
static void choose(const char *name, size_t n, size_t count, size_t *out)
{
    size_t items[GRID];
    const uint64_t hash = cz_name_hash(name, 0);
    for (size_t i = 0; i < n; i++) items[i] = i;
    for (size_t i = 0; i < count; i++) {
        const size_t j = i + (size_t)(((double)cz_hash_uniform(hash, i) + 1) / 2 * (double)(n - i));
        out[i] = items[j];
        items[j] = items[i];
    }
    qsort(out, count, sizeof *out, ascending);
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

typedef struct fixture {
    cz_tensors *golden;
    char *root;
    photos train, test;
    cz_backbone *backbone;
    cz_prep prep;
    cz_extractor *extractor;
    cz_tap_shape shapes[CZ_MAX_TAPS];
    cz_pooler *pooler;
    uint16_t *maps;  /* [train.count, cz_extractor_values] bf16 */
    float *scratch;  /* of the pooler */
    float *features; /* [ROWS, D] */
    float scale;
    cz_head *head;
    float *params, *state;
} fixture;

static const float *golden(const fixture *f, const char *name, size_t count)
{
    cz_tensor_view view;
    assert_int_equal(cz_tensors_find(f->golden, name, &view), CZ_OK);
    assert_true(view.dtype == CZ_F32 && view.bytes == count * sizeof(float));
    assert_int_equal((uintptr_t)view.data % sizeof(float), 0);
    return view.data;
}

/* Must not be NaN, and is printed whether it passes or not. */
static void within(const char *what, double got, double bound)
{
    printf("tire, %-30s %.3e (bound %.0e)\n", what, got, bound);
    fflush(stdout);
    assert_true(got <= bound);
}

static double largest_difference(const float *ours, const float *theirs, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs((double)ours[i] - (double)theirs[i]);
        if (!(difference <= most)) most = difference;
    }
    return most;
}

/* bf16 maps of one photo, through what training and scoring use; valid until the next. */
static const uint16_t *extract(fixture *f, const char *path)
{
    cz_picture picture;
    cz_extracted what;
    cz_timing timing = {0};
    char *full = join(f->root, path);
    assert_int_equal(cz_picture_read(full, NULL, &picture), CZ_OK);
    assert_int_equal(cz_extractor_run(f->extractor, &picture.image, 1, &what, &timing), CZ_OK);
    cz_picture_free(&picture);
    free(full);
    return what.values;
}

static const uint16_t *train_maps(const fixture *f, size_t photo)
{
    return f->maps + photo * cz_extractor_values(f->extractor);
}

static void pool(fixture *f, const uint16_t *values, const size_t *rows, size_t count, float *out)
{
    const uint16_t *maps[CZ_MAX_TAPS];
    cz_extractor_maps(f->extractor, values, maps);
    if (rows)
        cz_pooler_rows_bf16(f->pooler, maps, f->scale, rows, count, f->scratch, out);
    else
        cz_pooler_patches_bf16(f->pooler, maps, f->scale, f->scratch, out);
}

static void open_head(fixture *f)
{
    static const struct {
        const char *name;
        double factor; /* F of make_tire_goldens.py */
    } weights[] = {{"adaptor.weight", 64}, {"hidden.weight", 64}, {"output.weight", 8}};
    cz_head_config config;
    cz_head_config_init(&config);
    config.noise_std = 64 * 0.015;
    assert_int_equal(cz_head_create("simplenet", &config, &f->head), CZ_OK);
    assert_true(f->head->config.width == D && f->head->config.hidden == K);
    f->params = calloc(f->head->param_count, sizeof(float));
    f->state = calloc(f->head->state_count, sizeof(float));
    assert_true(f->params && f->state);
    cz_head_init(f->head, 1, f->params, f->state); /* scale 1, shift 0 */
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++) {
        const cz_head_view *v = cz_head_param(f->head, weights[i].name);
        const double xavier = sqrt(6.0 / (double)(v->shape[0] + v->shape[1]));
        hashed(v->name, v->count, weights[i].factor * xavier, f->params + v->first);
    }
}

static void open_fixture(fixture *f, const char *weights)
{
    assert_int_equal(cz_safetensors_open(TEST_FILES "/tire.safetensors", &f->golden), CZ_OK);
    list(f->root, "train/good", 0, &f->train);
    list(f->root, "test", 1, &f->test);
    assert_true(f->train.count == 210 && f->test.count == 112);
    f->backbone = open_weights(weights);
    assert_non_null(f->backbone);
    assert_int_equal(cz_prep_init(SIDE, SIDE, CZ_FIT_SQUASH, 0, NULL, NULL, &f->prep), CZ_OK);
    const cz_extractor_options options = {
        .taps = "layer2,layer3", .prep = &f->prep, .batch = 1, .precision = CZ_PRECISION_FP32};
    assert_int_equal(cz_extractor_create(f->backbone, &options, &f->extractor), CZ_OK);
    assert_int_equal(cz_extractor_taps(f->extractor), 2);
    for (size_t t = 0; t < 2; t++) f->shapes[t] = *cz_extractor_shape(f->extractor, t);
    assert_int_equal(cz_pooler_create(f->shapes, 2, D, 3, &f->pooler), CZ_OK);
    assert_int_equal(cz_pooler_grid_h(f->pooler) * cz_pooler_grid_w(f->pooler), GRID);
    const size_t values = cz_extractor_values(f->extractor);
    f->maps = malloc(f->train.count * values * sizeof *f->maps);
    f->scratch = malloc(cz_pooler_scratch(f->pooler) * sizeof *f->scratch);
    f->features = malloc((size_t)ROWS * D * sizeof *f->features);
    assert_true(f->maps && f->scratch && f->features);
    open_head(f);
}

static void close_fixture(fixture *f)
{
    cz_head_destroy(f->head);
    cz_pooler_destroy(f->pooler);
    cz_extractor_destroy(f->extractor);
    cz_prep_free(&f->prep);
    cz_backbone_close(f->backbone);
    cz_tensors_close(f->golden);
    free_photos(&f->train);
    free_photos(&f->test);
    free(f->maps);
    free(f->scratch);
    free(f->features);
    free(f->params);
    free(f->state);
    free(f->root);
}

/* Maps of the training photos, and the constant that brings their features' root mean square to 0.245. */
static void collect(fixture *f)
{
    const size_t values = cz_extractor_values(f->extractor);
    double sum = 0;
    f->scale = 1;
    for (size_t i = 0; i < f->train.count; i++) {
        memcpy(f->maps + i * values, extract(f, f->train.paths[i]), values * sizeof *f->maps);
        pool(f, train_maps(f, i), NULL, GRID, f->features);
        double part = 0;
#pragma omp parallel for schedule(static) reduction(+ : part)
        for (size_t j = 0; j < (size_t)GRID * D; j++) part += (double)f->features[j] * (double)f->features[j];
        sum += part;
    }
    const double scale = 0.245 / sqrt(sum / ((double)f->train.count * GRID * D));
    const double wanted = (double)*golden(f, "feature_scale", 1);
    f->scale = (float)scale;
    printf("tire, feature scale %.9g, PyTorch's %.9g\n", scale, wanted);
    within("feature scale, relative", fabs(scale / wanted - 1), SCALE_LIMIT);
}

/* [ROWS, D] features and noise of one step */
static void make_batch(fixture *f, int step, float *noise)
{
    char name[40];
    size_t images[IMAGES], rows[PATCHES];
    (void)snprintf(name, sizeof name, "images.%d", step);
    choose(name, f->train.count, IMAGES, images);
    for (size_t slot = 0; slot < IMAGES; slot++) {
        (void)snprintf(name, sizeof name, "patches.%d.%zu", step, slot);
        choose(name, GRID, PATCHES, rows);
        pool(f, train_maps(f, images[slot]), rows, PATCHES, f->features + slot * PATCHES * D);
    }
    (void)snprintf(name, sizeof name, "noise.%d", step);
    hashed(name, (size_t)ROWS * D, f->head->config.noise_std * sqrt(3.0), noise);
}

static void train(fixture *f)
{
    const cz_head *head = f->head;
    cz_head_work *work;
    cz_adam adam;
    cz_adam_group groups[CZ_HEAD_MAX_GROUPS];
    float *noise = malloc((size_t)ROWS * D * sizeof *noise), *grads = malloc(head->param_count * sizeof *grads);
    float losses[STEPS];
    assert_true(noise && grads);
    assert_int_equal(cz_head_work_create(head, ROWS, &work), CZ_OK);
    assert_int_equal(cz_adam_init(head->param_count, &adam), CZ_OK);
    for (size_t i = 0; i < head->groups; i++) {
        const cz_head_group *g = &head->group[i];
        groups[i] = (cz_adam_group){g->first, g->count, g->lr, g->decay, g->decoupled};
    }
    for (int step = 0; step < STEPS; step++) {
        double loss;
        make_batch(f, step, noise);
        const cz_batch batch = {.patches = ROWS, .width = D, .features = f->features, .images = 1};
        const cz_head_noise injected = {.injected = noise};
        assert_int_equal(cz_head_forward(head, f->params, &batch, &injected, work), CZ_OK);
        assert_int_equal(cz_head_loss(head, &batch, work, &loss), CZ_OK);
        assert_int_equal(cz_head_backward(head, f->params, &batch, NULL, work, grads), CZ_OK);
        cz_adam_step(&adam, groups, head->groups, f->params, grads);
        losses[step] = (float)loss;
    }
    printf("tire, loss %.6f … %.6f\n", (double)losses[0], (double)losses[STEPS - 1]);
    within("losses", largest_difference(losses, golden(f, "losses", STEPS), STEPS), LOSS_LIMIT);
    cz_adam_free(&adam);
    cz_head_work_destroy(work);
    free(noise);
    free(grads);
}

static void compare_values(const char *name, const float *ours, const float *theirs, size_t count)
{
    size_t outside = 0;
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs((double)ours[i] - (double)theirs[i]);
        if (!(difference <= PARAMETER_LIMIT)) outside++;
        sum += difference;
    }
    const double most = largest_difference(ours, theirs, count);
    printf("tire, %s: %zu of %zu values differ by more than %.0e; largest %.2e, mean %.2e\n", name, outside, count,
           PARAMETER_LIMIT, most, sum / (double)count);
    assert_true((double)outside <= OUTSIDE_LIMIT * (double)count);
    assert_true(most <= PARAMETER_FARTHEST);
}

/* Small tensors whole, large ones at the places that hashweights.sample_indices draws. */
static void compare_parameters(const fixture *f)
{
    enum { SAMPLES = 4096 };
    for (size_t i = 0; i < f->head->param_views; i++) {
        const cz_head_view *v = &f->head->param[i];
        const float *ours = f->params + v->first;
        float samples[SAMPLES];
        char name[48];
        const bool whole = v->count <= SAMPLES;
        (void)snprintf(name, sizeof name, "sample:%s", v->name);
        for (size_t s = 0; !whole && s < SAMPLES; s++) {
            const double u = (double)cz_hash_uniform(cz_name_hash(name, 0), s);
            samples[s] = ours[(size_t)((u + 1.0) * 0.5 * (double)v->count)];
        }
        const size_t count = whole ? v->count : SAMPLES;
        compare_values(v->name, whole ? ours : samples, golden(f, v->name, count), count);
    }
}

static void compare_statistics(fixture *f)
{
    cz_head_pass *pass;
    assert_int_equal(cz_head_pass_begin(f->head, f->params, &pass), CZ_OK);
    for (size_t i = 0; i < f->train.count; i++) {
        pool(f, train_maps(f, i), NULL, GRID, f->features);
        assert_int_equal(cz_head_pass_add(f->head, pass, f->features, GRID), CZ_OK);
    }
    assert_int_equal(cz_head_pass_end(f->head, pass, f->params, f->state), CZ_OK);
    cz_head_pass_destroy(f->head, pass);
    const float *mean = golden(f, "norm.mean", K), *var = golden(f, "norm.var", K);
    double worst[2] = {0, 0}; /* largest of the mean, of the variance */
    for (size_t k = 0; k < K; k++) {
        const double of_mean = fabs((double)f->state[k] - (double)mean[k]) / sqrt((double)var[k]);
        const double of_var = fabs((double)f->state[K + k] / (double)var[k] - 1);
        if (!(of_mean <= worst[0])) worst[0] = of_mean;
        if (!(of_var <= worst[1])) worst[1] = of_var;
    }
    within("running mean, in deviations", worst[0], STATISTICS_LIMIT);
    within("running variance, relative", worst[1], STATISTICS_LIMIT);
}

static void compare_scores(fixture *f, size_t threads)
{
    cz_composition composition;
    const cz_composed_options options = {f->shapes, 1, threads, CZ_PRECISION_FP32};
    cz_composed *composed;
    float patches[GRID], *scores = malloc(f->test.count * sizeof *scores);
    uint8_t *labels = malloc(f->test.count);
    double auroc;
    assert_true(scores && labels);
    assert_int_equal(cz_head_compose(f->head, f->params, f->state, &composition), CZ_OK);
    assert_int_equal(cz_composed_create(&composition, f->pooler, &options, &composed), CZ_OK);
    for (size_t i = 0; i < f->test.count; i++) {
        const uint16_t *maps[CZ_MAX_TAPS];
        cz_extractor_maps(f->extractor, extract(f, f->test.paths[i]), maps);
        assert_int_equal(cz_composed_pool(composed, maps, 1, f->scale), CZ_OK);
        assert_int_equal(cz_composed_scores(composed, patches), CZ_OK);
        scores[i] = patches[0];
        for (size_t j = 1; j < GRID; j++) scores[i] = fmaxf(scores[i], patches[j]);
        labels[i] = strncmp(f->test.paths[i], "test/good/", 10) != 0;
    }
    assert_int_equal(cz_auroc(scores, labels, f->test.count, &auroc), CZ_OK);
    const double wanted = (double)*golden(f, "auroc", 1);
    const double most = largest_difference(scores, golden(f, "scores", f->test.count), f->test.count);
    within("image scores", most, SCORE_LIMIT);
    printf("tire, image AUROC %.4f %%, PyTorch's %.4f %%\n", 100 * auroc, wanted);
    within("AUROC, points", fabs(100 * auroc - wanted), AUROC_LIMIT);
    cz_composed_destroy(composed);
    cz_composition_free(&composition);
    free(scores);
    free(labels);
}

static void test_tire(void **state)
{
    (void)state;
    fixture f = {0};
    cz_threads_scope scope;
    const char *outside = getenv("COZAD_TEST_DATA");
    char *weights = join(outside ? outside : "", "weights/resnet50_msra.safetensors");
    f.root = join(outside ? outside : "", "data/mvtec/tire");
    DIR *folder = outside ? opendir(f.root) : NULL;
    FILE *file = outside ? fopen(weights, "rb") : NULL;
    const bool there = folder && file;
    if (folder) closedir(folder);
    if (file) fclose(file);
    if (!there) {
        printf("skipped: tire (no outside data)\n");
        free(weights);
        free(f.root);
        skip();
    }
    assert_int_equal(cz_threads_enter(0, &scope), CZ_OK);
    open_fixture(&f, weights);
    double start = cz_now_ms();
    collect(&f);
    printf("tire, %.1f s for the features of %zu photos\n", (cz_now_ms() - start) / 1e3, f.train.count);
    start = cz_now_ms();
    train(&f);
    printf("tire, %.1f s for %d steps\n", (cz_now_ms() - start) / 1e3, (int)STEPS);
    compare_parameters(&f);
    start = cz_now_ms();
    compare_statistics(&f);
    printf("tire, %.1f s for the statistics\n", (cz_now_ms() - start) / 1e3);
    start = cz_now_ms();
    compare_scores(&f, cz_threads_available());
    printf("tire, %.1f s for scoring %zu photos\n", (cz_now_ms() - start) / 1e3, f.test.count);
    cz_threads_leave(&scope);
    close_fixture(&f);
    free(weights);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tire)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
