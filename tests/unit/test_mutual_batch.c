/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors against descriptors (api/mutual_batch.h): distances, candidates, photos of the same piece, patch and image scores against a
 * naive twin in double; duplicates, batches that are all alike, values that are not finite. */
#include "api/mutual_batch.h"
#include "cozad/cozad_mutual.h"
#include "tensor/dtype.h"
#include "util/rng.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- descriptors made up --------------------------------------------------------------------------------------------- */

enum { PHOTOS = 18, GRID_W = 6, GRID_H = 9, P = GRID_W * GRID_H, D = 24, CELLS = 2 * 3, M = 7, K = 3, SEED = 5 };
enum { SAME = 3, ODD = 11, ODD_PATCH = 40 }; /* photos 0 … SAME - 1 show one piece; one patch of ODD is like nothing */

static float x[PHOTOS][P][D];
static uint8_t valid[PHOTOS][P];

static void make_descriptors(void)
{
    static float usual[P][D];
    cz_rng rng;
    cz_rng_init(&rng, 11, CZ_RNG_TEST, 0, 0);
    for (size_t i = 0; i < P * D; i++) usual[i / D][i % D] = (float)cz_rng_normal(&rng);
    for (size_t i = 0; i < PHOTOS; i++) {
        for (size_t p = 0; p < P; p++) {
            valid[i][p] = i % 4 != 3 || p % GRID_W > 0; /* some photos have a column that is not inspected */
            for (size_t k = 0; k < D; k++) {
                const bool again = i > 0 && i < SAME;
                const float noise = (float)cz_rng_normal(&rng);
                x[i][p][k] = again ? x[0][p][k] + 0.02f * noise : usual[p][k] + 0.3f * noise;
            }
        }
    }
    for (size_t k = 0; k < D; k++) x[ODD][ODD_PATCH][k] += k % 2 ? 3.0f : -3.0f;
    for (size_t p = 0; p < P; p++) {
        if (!valid[3][p]) x[3][p][3] = NAN; /* where nobody looks */
    }
}

static void fill_batch(cz_mutual_batch *b)
{
    assert_int_equal(cz_mutual_batch_create(PHOTOS, GRID_W, GRID_H, D, b), CZ_OK);
    assert_int_equal(b->cells, CELLS);
    for (size_t i = 0; i < PHOTOS; i++) assert_int_equal(cz_mutual_batch_set(b, i, x[i][0], valid[i]), CZ_OK);
}

/* ---- the twin -------------------------------------------------------------------------------------------------------- */

static double rounded(float value)
{
    return (double)cz_bf16_to_f32(cz_f32_to_bf16(value));
}

/* Nearest inspected patch of j to patch p of i. */
static double naive_patch(size_t i, size_t p, size_t j)
{
    double best = INFINITY;
    for (size_t q = 0; q < P; q++) {
        double sum = 0.0;
        if (!valid[j][q]) continue;
        for (size_t k = 0; k < D; k++) {
            const double d = rounded(x[i][p][k]) - rounded(x[j][q][k]);
            sum += d * d;
        }
        best = sum < best ? sum : best;
    }
    return sqrt(best);
}

static void naive_cell(size_t i, size_t c, double out[D])
{
    size_t count = 0;
    memset(out, 0, D * sizeof *out);
    for (size_t p = 0; p < P; p++) {
        if (!valid[i][p] || p % GRID_W / 4 != c % 2 || p / GRID_W / 4 != c / 2) continue;
        for (size_t k = 0; k < D; k++) out[k] += (double)x[i][p][k];
        count++;
    }
    for (size_t k = 0; k < D; k++) out[k] /= (double)count;
}

static double naive_coarse(size_t i, size_t j)
{
    double sum = 0.0, a[D], b[D];
    for (size_t c = 0; c < CELLS; c++) {
        double best = INFINITY;
        naive_cell(i, c, a);
        for (size_t e = 0; e < CELLS; e++) {
            double square = 0.0;
            naive_cell(j, e, b);
            for (size_t k = 0; k < D; k++) square += (a[k] - b[k]) * (a[k] - b[k]);
            best = square < best ? square : best;
        }
        sum += sqrt(best);
    }
    return sum / CELLS;
}

static int ascending(const void *a, const void *b)
{
    const double p = *(const double *)a, q = *(const double *)b;
    return p < q ? -1 : p > q;
}

static double naive_median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : 0.5 * (values[count / 2 - 1] + values[count / 2]);
}

typedef struct twin {
    double patch[PHOTOS][P], raw[PHOTOS], placed[PHOTOS], score[PHOTOS];
    size_t left_out[PHOTOS], closest[PHOTOS], place[PHOTOS];
} twin;

/* Index of the smallest that is not taken. */
static size_t take_least(const double *values, bool *taken, size_t count)
{
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        if (!taken[i] && (best == SIZE_MAX || values[i] < values[best])) best = i;
    }
    taken[best] = true;
    return best;
}

/* Values ascend; how many are before the widest step. */
static size_t naive_same(const double *values, size_t count)
{
    double widest = 1.1;
    size_t best = 0;
    for (size_t k = 1; k < count && k <= 8; k++) {
        const double step = values[k] / values[k - 1];
        if (step > widest) {
            widest = step;
            best = k;
        }
    }
    return best;
}

/* All other photos by coarse distance; sorted: those distances. */
static void naive_others(size_t i, size_t *photo, double *sorted)
{
    double coarse[PHOTOS];
    bool taken[PHOTOS] = {false};
    for (size_t j = 0; j < PHOTOS; j++) coarse[j] = j == i ? INFINITY : naive_coarse(i, j);
    for (size_t m = 0; m < PHOTOS - 1; m++) {
        photo[m] = take_least(coarse, taken, PHOTOS);
        sorted[m] = coarse[photo[m]];
    }
}

/* The first M of all but the first `same`, drawn: each place takes one of what is left, which takes its place. */
static void naive_draw(size_t i, size_t *photo, size_t same)
{
    cz_rng rng;
    cz_rng_init(&rng, SEED, CZ_RNG_MUTUAL, i + 1, (uint32_t)1 << 21);
    memmove(photo, photo + same, (PHOTOS - 1 - same) * sizeof *photo);
    for (size_t m = 0; m < M; m++) {
        const size_t other = m + (size_t)cz_rng_below(&rng, PHOTOS - 1 - same - m), swap = photo[m];
        photo[m] = photo[other];
        photo[other] = swap;
    }
}

static void naive_photo(twin *t, size_t i, bool same_piece, bool drawn)
{
    double coarse[PHOTOS], mean[M], fine[M][P], ascending_mean[M];
    size_t photo[PHOTOS], order[M], same = 0;
    bool sorted[M] = {false};
    naive_others(i, photo, coarse);
    const size_t most_similar = photo[0];
    if (drawn && same_piece) same = naive_same(coarse, PHOTOS - 1);
    if (drawn) naive_draw(i, photo, same);
    for (size_t m = 0; m < M; m++) {
        size_t count = 0;
        mean[m] = 0.0;
        for (size_t p = 0; p < P; p++) {
            if (!valid[i][p]) continue;
            fine[m][p] = naive_patch(i, p, photo[m]);
            mean[m] += fine[m][p];
            count++;
        }
        mean[m] /= (double)count;
    }
    for (size_t m = 0; m < M; m++) {
        order[m] = take_least(mean, sorted, M);
        ascending_mean[m] = mean[order[m]];
    }
    const size_t left_out = same_piece ? naive_same(ascending_mean, M) : 0;
    t->left_out[i] = same + left_out;
    t->closest[i] = drawn ? most_similar : photo[order[0]];
    for (size_t p = 0; p < P; p++) {
        double values[M];
        const size_t count = M - left_out, most = K < count ? K : count;
        t->patch[i][p] = valid[i][p] ? 0.0 : (double)NAN;
        if (!valid[i][p]) continue;
        for (size_t m = 0; m < count; m++) values[m] = fine[order[left_out + m]][p];
        qsort(values, count, sizeof *values, ascending);
        for (size_t m = 0; m < most; m++) t->patch[i][p] += values[m] / (double)most;
    }
}

static double naive_top(const twin *t, size_t i, const double *usual)
{
    double values[P], sum = 0.0;
    size_t n = 0;
    for (size_t p = 0; p < P; p++) {
        if (valid[i][p]) values[n++] = t->patch[i][p] - (usual != NULL ? 0.5 * usual[p] : 0.0);
    }
    qsort(values, n, sizeof *values, ascending);
    for (size_t k = 0; k < 5; k++) sum += values[n - 1 - k] / 5.0;
    return sum;
}

static double naive_standing(const double *values, size_t i)
{
    double sorted[PHOTOS];
    memcpy(sorted, values, sizeof sorted);
    const double middle = naive_median(sorted, PHOTOS);
    for (size_t j = 0; j < PHOTOS; j++) sorted[j] = fabs(values[j] - middle);
    return (values[i] - middle) / fmax(naive_median(sorted, PHOTOS), 1e-3);
}

static void naive(twin *t, bool same_piece, bool drawn)
{
    double usual[P], column[PHOTOS];
    for (size_t i = 0; i < PHOTOS; i++) naive_photo(t, i, same_piece, drawn);
    for (size_t p = 0; p < P; p++) {
        size_t n = 0;
        for (size_t i = 0; i < PHOTOS; i++) {
            if (valid[i][p]) column[n++] = t->patch[i][p];
        }
        usual[p] = naive_median(column, n);
    }
    for (size_t i = 0; i < PHOTOS; i++) {
        t->raw[i] = naive_top(t, i, NULL);
        t->placed[i] = naive_top(t, i, usual);
        t->place[i] = valid[i][0] ? 0 : 1;
        for (size_t p = 1; p < P; p++) {
            if (valid[i][p] && t->patch[i][p] > t->patch[i][t->place[i]]) t->place[i] = p;
        }
    }
    for (size_t i = 0; i < PHOTOS; i++) t->score[i] = naive_standing(t->placed, i);
}

static void check_near(double got, double wanted, double off, const char *what, size_t i)
{
    if (!(fabs(got - wanted) <= off)) fail_msg("%s of photo %zu: %.9g, wanted %.9g", what, i, got, wanted);
}

static void check_twin(const cz_mutual_result *r, const twin *t)
{
    double worst = 0.0;
    for (size_t i = 0; i < PHOTOS; i++) {
        for (size_t p = 0; p < P; p++) {
            const double got = (double)r->patch[i * P + p];
            if (!valid[i][p]) assert_true(isnan(got));
            if (valid[i][p]) worst = fmax(worst, fabs(got - t->patch[i][p]));
        }
        assert_int_equal(r->left_out[i], t->left_out[i]);
        assert_int_equal(r->closest[i], t->closest[i]);
        assert_int_equal(r->place[i], t->place[i]);
        check_near(r->raw[i], t->raw[i], 1e-4, "raw", i);
        check_near(r->placed[i], t->placed[i], 1e-4, "placed", i);
        check_near(r->score[i], t->score[i], 1e-2, "score", i);
    }
    print_message("patch scores differ from the twin's by at most %.2g\n", worst);
    assert_true(worst < 1e-4);
}

/* ---- comparison -------------------------------------------------------------------------------------------------------- */

static const cz_mutual_compare usual_way = {.candidates = M, .nearest = K, .same_piece = true};

static void against_the_twin(void **state)
{
    (void)state;
    cz_mutual_batch b;
    cz_mutual_result r;
    static twin t;
    make_descriptors();
    fill_batch(&b);
    for (int same_piece = 0; same_piece < 2; same_piece++) {
        cz_mutual_compare how = usual_way;
        how.same_piece = same_piece != 0;
        naive(&t, how.same_piece, false);
        assert_int_equal(cz_mutual_compare_all(&b, &how, &r), CZ_OK);
        check_twin(&r, &t);
        for (size_t i = 0; i < SAME; i++) {
            assert_int_equal(r.left_out[i], same_piece ? SAME - 1 : 0);
            assert_true(r.closest[i] < SAME);
        }
        for (size_t i = 0; i < PHOTOS; i++) assert_true(i == ODD || r.score[i] < r.score[ODD]);
        assert_int_equal(r.place[ODD], ODD_PATCH);
        cz_mutual_result_free(&r);
    }
    cz_mutual_batch_free(&b);
}

/* Candidates that are drawn: none of the same piece where they are left out; another seed, other ones. */
static void drawn_candidates(void **state)
{
    (void)state;
    cz_mutual_batch b;
    cz_mutual_result r, other;
    static twin t;
    cz_mutual_compare how = usual_way;
    how.drawn = true;
    how.seed = SEED;
    make_descriptors();
    fill_batch(&b);
    for (int same_piece = 0; same_piece < 2; same_piece++) {
        how.same_piece = same_piece != 0;
        naive(&t, how.same_piece, true);
        assert_int_equal(cz_mutual_compare_all(&b, &how, &r), CZ_OK);
        check_twin(&r, &t);
        for (size_t i = 0; i < SAME; i++)
            assert_true(r.closest[i] < SAME && r.left_out[i] >= (same_piece ? SAME - 1 : 0));
        if (same_piece) break;
        cz_mutual_result_free(&r);
    }
    how.seed++;
    assert_int_equal(cz_mutual_compare_all(&b, &how, &other), CZ_OK);
    size_t changed = 0;
    for (size_t i = 0; i < PHOTOS; i++) changed += fabs(r.raw[i] - other.raw[i]) > 1e-6;
    assert_true(changed > PHOTOS / 2);
    cz_mutual_result_free(&other);
    how.candidates = 1000; /* all others: the seed is of no account */
    cz_mutual_result_free(&r);
    assert_int_equal(cz_mutual_compare_all(&b, &how, &r), CZ_OK);
    how.seed++;
    assert_int_equal(cz_mutual_compare_all(&b, &how, &other), CZ_OK);
    for (size_t i = 0; i < PHOTOS; i++) check_near(r.raw[i], other.raw[i], 1e-6, "raw", i);
    cz_mutual_result_free(&r);
    cz_mutual_result_free(&other);
    cz_mutual_batch_free(&b);
}

/* What a batch is like, against the twin; parts that lie in one of three ways are recognised. */
static void look_at_a_batch(void **state)
{
    (void)state;
    cz_mutual_batch b;
    cz_mutual_look look;
    double nearer[PHOTOS], sorted[PHOTOS], repeated = 0.0;
    size_t photo[PHOTOS];
    make_descriptors();
    fill_batch(&b);
    for (size_t i = 0; i < PHOTOS; i++) {
        naive_others(i, photo, sorted);
        nearer[i] = sorted[0] / sorted[8]; /* a twentieth of 17: the first */
        repeated += (double)naive_same(sorted, PHOTOS - 1) / PHOTOS;
    }
    assert_int_equal(cz_mutual_look_at(&b, &look), CZ_OK);
    check_near(look.nearer, naive_median(nearer, PHOTOS), 1e-4, "nearer", 0);
    check_near(look.repeated, repeated, 1e-9, "repeated", 0);
    assert_true(look.nearer > CZ_MUTUAL_ANYHOW && look.repeated < CZ_MUTUAL_REPEATED && look.repeated > 0.0);
    for (size_t i = 3; i < PHOTOS; i++) {
        for (size_t p = 0; p < P; p++) {
            for (size_t k = 0; k < D; k++) x[i][p][k] += (float)(i % 3) * ((float)((p * 7 + k * 5) % 11) - 5.0f);
            valid[i][p] = 1;
        }
    }
    x[3][0][3] = 0.0f;
    for (size_t p = 0; p < P; p += GRID_W) x[3][p][3] = 0.0f; /* was not a number */
    for (size_t i = 0; i < PHOTOS; i++) assert_int_equal(cz_mutual_batch_set(&b, i, x[i][0], valid[i]), CZ_OK);
    assert_int_equal(cz_mutual_look_at(&b, &look), CZ_OK);
    assert_true(look.nearer < CZ_MUTUAL_ANYHOW);
    cz_mutual_batch_free(&b);
    assert_int_equal(cz_mutual_batch_create(1, GRID_W, GRID_H, D, &b), CZ_OK);
    assert_int_equal(cz_mutual_look_at(&b, &look), CZ_E_ARG);
    cz_mutual_batch_free(&b);
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    cz_mutual_batch b;
    cz_mutual_result one, two;
    make_descriptors();
    fill_batch(&b);
    omp_set_num_threads(1);
    assert_int_equal(cz_mutual_compare_all(&b, &usual_way, &one), CZ_OK);
    omp_set_num_threads(2);
    assert_int_equal(cz_mutual_compare_all(&b, &usual_way, &two), CZ_OK);
    for (size_t i = 0; i < PHOTOS; i++) {
        for (size_t p = 0; p < P; p++) {
            if (valid[i][p]) check_near((double)two.patch[i * P + p], (double)one.patch[i * P + p], 2e-5, "patch", i);
        }
        check_near(two.score[i], one.score[i], 2e-3, "score", i);
        assert_int_equal(one.left_out[i], two.left_out[i]);
    }
    cz_mutual_result_free(&two);
    assert_int_equal(cz_mutual_compare_all(&b, &usual_way, &two), CZ_OK); /* and again the same bits */
    cz_mutual_result_free(&one);
    assert_int_equal(cz_mutual_compare_all(&b, &usual_way, &one), CZ_OK);
    assert_memory_equal(one.patch, two.patch, PHOTOS * P * sizeof *one.patch);
    assert_memory_equal(one.score, two.score, PHOTOS * sizeof *one.score);
    cz_mutual_result_free(&one);
    cz_mutual_result_free(&two);
    cz_mutual_batch_free(&b);
}

/* Photo 5 once more, as 6: their distance is 0, not rounding, and neither may speak for the other. */
static void duplicates(void **state)
{
    (void)state;
    cz_mutual_batch b;
    cz_mutual_result apart, kept;
    cz_mutual_compare how = usual_way;
    make_descriptors();
    for (size_t p = 0; p < P; p++) valid[5][p] = valid[6][p] = 1;
    memcpy(x[6], x[5], sizeof x[5]);
    for (size_t k = 0; k < D; k++) x[5][20][k] = x[6][20][k] = x[6][20][k] + (k % 2 ? 2.0f : -2.0f); /* its defect */
    fill_batch(&b);
    assert_int_equal(cz_mutual_compare_all(&b, &how, &apart), CZ_OK);
    how.same_piece = false;
    how.nearest = 1;
    assert_int_equal(cz_mutual_compare_all(&b, &how, &kept), CZ_OK);
    for (size_t i = 5; i < 7; i++) {
        assert_int_equal(apart.left_out[i], 1);
        assert_int_equal(apart.closest[i], 11 - i);
        assert_int_equal(kept.left_out[i], 0);
        assert_int_equal(apart.place[i], 20);
        assert_true(apart.score[i] > 3.0);
        for (size_t p = 0; p < P; p++) assert_true(kept.patch[i * P + p] <= 0.0f && apart.patch[i * P + p] > 0.1f);
    }
    cz_mutual_result_free(&apart);
    cz_mutual_result_free(&kept);
    cz_mutual_batch_free(&b);
}

static void all_alike(void **state)
{
    (void)state;
    cz_mutual_batch b;
    cz_mutual_result r;
    make_descriptors();
    assert_int_equal(cz_mutual_batch_create(PHOTOS, GRID_W, GRID_H, D, &b), CZ_OK);
    for (size_t i = 0; i < PHOTOS; i++) assert_int_equal(cz_mutual_batch_set(&b, i, x[0][0], NULL), CZ_OK);
    assert_int_equal(cz_mutual_compare_all(&b, &usual_way, &r), CZ_OK);
    for (size_t i = 0; i < PHOTOS; i++) {
        assert_true(r.score[i] >= 0.0 && r.score[i] <= 0.0 && r.raw[i] <= 0.0);
        assert_int_equal(r.left_out[i], 0);
        assert_int_equal(r.closest[i], i == 0 ? 1 : 0); /* ties: the lower index */
    }
    cz_mutual_result_free(&r);
    /* but for one: it alone stands out, by a finite amount */
    assert_int_equal(cz_mutual_batch_set(&b, ODD, x[ODD][0], NULL), CZ_OK);
    assert_int_equal(cz_mutual_compare_all(&b, &usual_way, &r), CZ_OK);
    for (size_t i = 0; i < PHOTOS; i++)
        assert_true(i == ODD ? isfinite(r.score[i]) && r.score[i] > 100.0 : r.raw[i] <= 0.0);
    cz_mutual_result_free(&r);
    cz_mutual_batch_free(&b);
}

static int stop_at(void *ctx, const char *what, size_t done, size_t total, const char *detail)
{
    size_t *left = ctx;
    (void)what;
    (void)detail;
    assert_true(done <= total);
    return (*left)-- == 0;
}

static void refusals(void **state)
{
    (void)state;
    cz_mutual_batch b;
    cz_mutual_result r;
    size_t left = 4, bytes;
    make_descriptors();
    fill_batch(&b);
    x[4][7][2] = NAN;
    assert_int_equal(cz_mutual_batch_set(&b, 4, x[4][0], valid[4]), CZ_E_DIVERGED);
    x[4][7][2] = INFINITY;
    assert_int_equal(cz_mutual_batch_set(&b, 4, x[4][0], valid[4]), CZ_E_DIVERGED);
    x[4][7][2] = 1e30f; /* its square is not finite */
    assert_int_equal(cz_mutual_batch_set(&b, 4, x[4][0], valid[4]), CZ_E_DIVERGED);
    memset(valid[4], 0, sizeof valid[4]);
    assert_int_equal(cz_mutual_batch_set(&b, 4, x[4][0], valid[4]), CZ_E_ARG);
    make_descriptors();
    assert_int_equal(cz_mutual_batch_set(&b, 4, x[4][0], valid[4]), CZ_OK);
    cz_mutual_compare how = usual_way;
    how.candidates = 0;
    assert_int_equal(cz_mutual_compare_all(&b, &how, &r), CZ_E_ARG);
    how = usual_way;
    how.progress = stop_at;
    how.ctx = &left;
    assert_int_equal(cz_mutual_compare_all(&b, &how, &r), CZ_E_CANCELLED);
    how = usual_way;
    how.candidates = how.nearest = 1000; /* more than there are: all */
    assert_int_equal(cz_mutual_compare_all(&b, &how, &r), CZ_OK);
    cz_mutual_result_free(&r);
    assert_false(cz_mutual_batch_bytes(SIZE_MAX / 2, 4, 1, &bytes));
    assert_int_equal(cz_mutual_batch_create(PHOTOS, SIZE_MAX / 8, 2, 64, &(cz_mutual_batch){0}), CZ_E_MEMORY);
    cz_mutual_batch_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_the_twin), cmocka_unit_test(threads_do_not_matter), cmocka_unit_test(duplicates),
        cmocka_unit_test(all_alike),        cmocka_unit_test(drawn_candidates),      cmocka_unit_test(look_at_a_batch),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
