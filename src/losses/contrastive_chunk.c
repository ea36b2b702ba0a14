/* SPDX-License-Identifier: Apache-2.0 */
#include "losses/contrastive_chunk.h"

#include "engine/engine.h"
#include "util/alloc.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* The element-wise loops below are compiled for wider vectors as well. Sums run in LANES partial sums and contraction is
 * off, so every version gives the same bits. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif

enum { LANES = 16, TILE = 16 };

/* Below every cosine, so that a row never finds itself. */
static const float NO_COSINE = -2.0f;

/* ---- loops over a row ----------------------------------------------------------------------------------------- */

static double fold(const double *lanes)
{
    double sum = 0;
    for (size_t l = 0; l < LANES; l++) sum += lanes[l];
    return sum;
}

CLONES static double dot(const float *a, const float *b, size_t count)
{
    double lanes[LANES] = {0};
    const size_t whole = count - count % LANES;
    for (size_t i = 0; i < whole; i += LANES)
        for (size_t l = 0; l < LANES; l++) lanes[l] += (double)a[i + l] * (double)b[i + l];
    for (size_t i = whole; i < count; i++) lanes[i - whole] += (double)a[i] * (double)b[i];
    return fold(lanes);
}

CLONES static double sum(const float *a, size_t count)
{
    double lanes[LANES] = {0};
    const size_t whole = count - count % LANES;
    for (size_t i = 0; i < whole; i += LANES)
        for (size_t l = 0; l < LANES; l++) lanes[l] += (double)a[i + l];
    for (size_t i = whole; i < count; i++) lanes[i - whole] += (double)a[i];
    return fold(lanes);
}

CLONES static float greatest(const float *a, size_t count)
{
    float lanes[LANES], most = NO_COSINE;
    const size_t whole = count - count % LANES;
    for (size_t l = 0; l < LANES; l++) lanes[l] = NO_COSINE;
    for (size_t i = 0; i < whole; i += LANES)
        for (size_t l = 0; l < LANES; l++) lanes[l] = a[i + l] > lanes[l] ? a[i + l] : lanes[l];
    for (size_t i = whole; i < count; i++) most = a[i] > most ? a[i] : most;
    for (size_t l = 0; l < LANES; l++) most = lanes[l] > most ? lanes[l] : most;
    return most;
}

/* exp(x) for -60 <= x <= 0 (and a rounding error above), relative error about 1e-7; 0 below -50, where a weight is lost
 * beside the largest one and would only breed subnormals. Plain arithmetic, so that compilers vectorise it. */
static inline float exp_below(float x)
{
    const int32_t power = (int32_t)(x * 1.44269504f - 0.5f); /* rounds, since x <= 0 */
    const float n = (float)power;
    const float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
    const float p =
        1.0f +
        r * (1.0f +
             r * (0.5f + r * (0.16666667f +
                              r * (4.1666667e-2f + r * (8.3333333e-3f + r * (1.3888889e-3f + r * 1.9841270e-4f))))));
    const uint32_t bits = power < -72 ? 0 : (uint32_t)(power + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

/* out = exp(cosine inverse - top); in two loops, since gcc makes a branch of the clamp beside the rest */
CLONES static void exponentials(const float *cosine, size_t count, float inverse, float top, float *out)
{
    for (size_t j = 0; j < count; j++) {
        const float x = cosine[j] * inverse - top;
        out[j] = x < -60.0f ? -60.0f : x;
    }
    for (size_t j = 0; j < count; j++) out[j] = exp_below(out[j]);
}

static void multiply(float *a, size_t count, float factor)
{
    for (size_t j = 0; j < count; j++) a[j] *= factor;
}

/* ---- memory --------------------------------------------------------------------------------------------------- */

cz_status cz_contrast_chunk_create(cz_contrast_chunk *c)
{
    const size_t n = c->capacity, k = c->knn < n ? c->knn : n - 1;
    size_t square, pairs, wide, twice;
    if (!cz_mul_size(n, n, &square) || !cz_mul_size(square, 2, &pairs) || !cz_mul_size(n, c->width, &wide) ||
        !cz_mul_size(wide, 2, &twice))
        return cz_fail(CZ_E_LIMIT, "contrastive chunk of %zu rows of width %zu is too large", n, c->width);
    c->row = cz_calloc(n, sizeof *c->row);
    c->neighbour = cz_alloc_array(n * k, sizeof *c->neighbour); /* n k < n n */
    c->positive = cz_alloc_array(n * k, sizeof *c->positive);
    c->u = cz_alloc_array(twice, sizeof *c->u);
    c->result = cz_alloc_array(wide, sizeof *c->result);
    c->mix = cz_alloc_array(pairs, sizeof *c->mix);
    float **const squares[] = {&c->cosine, &c->dcosine, &c->weight, &c->dweight, &c->both, &c->dboth};
    bool whole = c->row && c->neighbour && c->positive && c->u && c->result && c->mix;
    for (size_t i = 0; i < sizeof squares / sizeof squares[0]; i++) {
        *squares[i] = cz_alloc_array(square, sizeof **squares[i]);
        whole = whole && *squares[i];
    }
    return whole ? CZ_OK : CZ_E_MEMORY; /* what there is goes with cz_contrast_chunk_free */
}

void cz_contrast_chunk_free(cz_contrast_chunk *c)
{
    cz_free(c->row);
    cz_free(c->neighbour);
    cz_free(c->positive);
    cz_free(c->u);
    cz_free(c->result);
    cz_free(c->mix);
    cz_free(c->cosine);
    cz_free(c->dcosine);
    cz_free(c->weight);
    cz_free(c->dweight);
    cz_free(c->both);
    cz_free(c->dboth);
}

/* ---- forward -------------------------------------------------------------------------------------------------- */

/* u = q / m, c = u . (q + delta) / (m m~); du = (dq - dm u) / m, dm = f u . dq, and dc from the same few sums. */
static void normalise(cz_contrast_chunk *c, size_t i)
{
    const size_t e = c->width, at = c->order[i] * e;
    const float *q = c->q + at, *delta = c->delta + at;
    cz_contrast_row *row = &c->row[i];
    const double qq = dot(q, q, e), qd = dot(q, delta, e), dd = dot(delta, delta, e);
    /* what is not finite stays so, for the caller to see */
    const double square = qq + 2 * qd + dd, length = sqrt(qq), twin = sqrt(square < 0 ? 0 : square);
    row->free = length <= CZ_CONTRAST_MIN_NORM ? 0 : 1;
    row->twin_free = twin <= CZ_CONTRAST_MIN_NORM ? 0 : 1;
    row->norm = length <= CZ_CONTRAST_MIN_NORM ? CZ_CONTRAST_MIN_NORM : length;
    row->twin_norm = twin <= CZ_CONTRAST_MIN_NORM ? CZ_CONTRAST_MIN_NORM : twin;
    row->cosine = (qq + qd) / (row->norm * row->twin_norm);
    const float inverse = (float)(1 / row->norm);
    float *u = c->u + i * e;
    for (size_t x = 0; x < e; x++) u[x] = q[x] * inverse;
    if (!c->tangent) return;
    const float *dq = c->tangent + at;
    float *du = c->u + (c->rows + i) * e;
    const double qt = dot(q, dq, e), along = qt / row->norm, twin_along = (qt + dot(delta, dq, e)) / row->twin_norm;
    row->dnorm = row->free * along;
    row->dtwin_norm = row->twin_free * twin_along;
    row->dcosine =
        (twin_along - row->dnorm * row->cosine) / row->norm + (along - row->dtwin_norm * row->cosine) / row->twin_norm;
    const float dnorm = (float)row->dnorm;
    for (size_t x = 0; x < e; x++) du[x] = (dq[x] - dnorm * u[x]) * inverse;
}

/* Indices of the k largest, largest first, ties to the lower index. */
static void mine(const float *cosine, size_t count, size_t k, size_t *best)
{
    size_t held = 0;
    for (size_t first = 0; k > 0 && first < count; first += LANES) {
        const size_t end = first + LANES < count ? first + LANES : count;
        if (held == k) { /* most blocks have nothing to offer */
            const float bar = cosine[best[k - 1]];
            int above = 0;
            for (size_t j = first; j < end; j++) above |= cosine[j] > bar;
            if (!above) continue;
        }
        for (size_t j = first; j < end; j++) {
            if (held == k && !(cosine[j] > cosine[best[k - 1]])) continue;
            size_t at = held < k ? held++ : k - 1;
            for (; at > 0 && cosine[j] > cosine[best[at - 1]]; at--) best[at] = best[at - 1];
            best[at] = j;
        }
    }
}

/* weight [n]: exp(s_ij - top) of the negatives j, 0 elsewhere; returns their logsumexp, *total its shifted sum. There is at
 * least one. */
static double negatives(const cz_contrast_chunk *c, size_t i, float inverse, double *total)
{
    const size_t n = c->rows, k = c->literal ? 0 : c->neighbours, *neighbour = c->neighbour + i * c->neighbours;
    float *cosine = c->cosine + i * n, *weight = c->weight + i * n;
    double *kept = c->positive + i * c->neighbours;
    for (size_t x = 0; x < k; x++) { /* mined rows step aside */
        kept[x] = (double)cosine[neighbour[x]];
        cosine[neighbour[x]] = NO_COSINE;
    }
    float top = greatest(cosine, n) * inverse;
    if (c->literal && inverse > top) top = inverse;
    exponentials(cosine, n, inverse, top, weight);
    weight[i] = 0;
    for (size_t x = 0; x < k; x++) {
        cosine[neighbour[x]] = (float)kept[x];
        weight[neighbour[x]] = 0;
    }
    *total = sum(weight, n) + (c->literal ? exp(1 / c->temperature - (double)top) : 0);
    return (double)top + log(*total);
}

/* p: softmax over the twin and the neighbours. Returns their logsumexp. */
static double positives(const cz_contrast_chunk *c, size_t i, float inverse)
{
    const float *cosine = c->cosine + i * c->rows;
    const size_t k = c->neighbours, *neighbour = c->neighbour + i * k;
    double *p = c->positive + i * k;
    cz_contrast_row *row = &c->row[i];
    const double twin = row->cosine / c->temperature;
    double top = twin;
    for (size_t x = 0; x < k; x++) {
        p[x] = (double)(cosine[neighbour[x]] * inverse);
        top = p[x] > top ? p[x] : top;
    }
    double total = exp(twin - top);
    row->positive_twin = total;
    for (size_t x = 0; x < k; x++) {
        p[x] = exp(p[x] - top);
        total += p[x];
    }
    row->positive_twin /= total;
    for (size_t x = 0; x < k; x++) p[x] /= total;
    return top + log(total);
}

/* L_i = log(1 + exp(x)), x = logsumexp(negatives) - logsumexp(positives), r = 1 / (1 + exp(-x)): no cancellation when one
 * side is far above the other. */
static void weigh(cz_contrast_chunk *c, size_t i)
{
    const size_t n = c->rows, k = c->neighbours;
    const float inverse = (float)(1 / c->temperature);
    float *weight = c->weight + i * n;
    cz_contrast_row *row = &c->row[i];
    c->cosine[i * n + i] = NO_COSINE;
    mine(c->cosine + i * n, n, k, c->neighbour + i * k);
    if (!c->literal && n == k + 1) { /* no negatives */
        memset(weight, 0, n * sizeof *weight);
        (void)positives(c, i, inverse);
        row->rest = 0;
        row->loss = 0;
        return;
    }
    double total;
    const double negative = negatives(c, i, inverse, &total);
    const double x = negative - positives(c, i, inverse), small = exp(-fabs(x));
    row->loss = fmax(x, 0) + log1p(small);
    row->rest = (x > 0 ? 1 : small) / (1 + small);
    multiply(weight, n, (float)(row->rest / total));
}

cz_status cz_contrast_chunk_forward(cz_contrast_chunk *c)
{
    const size_t n = c->rows, e = c->width;
    c->neighbours = c->knn < n ? c->knn : n - 1;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) normalise(c, i);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(c->row[i].norm) || !isfinite(c->row[i].twin_norm))
            return cz_fail(CZ_E_DIVERGED, "contrastive loss: row %zu of the embedding is not finite", c->order[i]);
    const cz_status status = cz_engine_sgemm(false, true, n, n, e, 1, c->u, e, c->u, e, 0, c->cosine, n);
    if (status != CZ_OK) return status;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) weigh(c, i);
    return CZ_OK;
}

/* ---- derivatives ---------------------------------------------------------------------------------------------- */

/* out = a + a^T, [n, n] */
static void add_transposed(const float *a, size_t n, float *out)
{
    const size_t tiles = (n + TILE - 1) / TILE;
#pragma omp parallel for schedule(static)
    for (size_t t = 0; t < tiles; t++) {
        const size_t i_end = (t + 1) * TILE < n ? (t + 1) * TILE : n;
        for (size_t first = 0; first < n; first += TILE) {
            const size_t j_end = first + TILE < n ? first + TILE : n;
            for (size_t i = t * TILE; i < i_end; i++)
                for (size_t j = first; j < j_end; j++) out[i * n + j] = a[i * n + j] + a[j * n + i];
        }
    }
}

/* g_ij = r (b_ij - p_ij) */
static void subtract_positives(cz_contrast_chunk *c, size_t i)
{
    const size_t k = c->neighbours, *neighbour = c->neighbour + i * k;
    float *weight = c->weight + i * c->rows;
    for (size_t x = 0; x < k; x++) weight[neighbour[x]] -= (float)(c->row[i].rest * c->positive[i * k + x]);
}

/* out's row = result + delta_factor delta */
static void scatter(const cz_contrast_chunk *c, float *out)
{
    const size_t e = c->width;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < c->rows; i++) {
        const float *result = c->result + i * e, *delta = c->delta + c->order[i] * e;
        float *to = out + c->order[i] * e;
        const float factor = c->row[i].delta_factor;
        for (size_t x = 0; x < e; x++) to[x] = result[x] + factor * delta[x];
    }
}

/* dq_i = (v - f (u.v) u) / m + h (u - f~ c u~) / m~ with v = sum_j (g_ij + g_ji) u_j + h u~, h = -r p_t and
 * u~ = (m u + delta) / m~, as coefficients of every u_j and of delta_i. */
static void gradient_row(cz_contrast_chunk *c, size_t i, double factor)
{
    const size_t n = c->rows;
    cz_contrast_row *row = &c->row[i];
    const float *both = c->both + i * n;
    float *mix = c->mix + i * n;
    const double m = row->norm, mt = row->twin_norm, h = -row->rest * row->positive_twin;
    const double along = dot(both, c->cosine + i * n, n) + h * row->cosine; /* u . v */
    const double on_twin = h / m - row->twin_free * h * row->cosine / mt;
    const double on_self = h / mt - row->free * along / m + on_twin * m / mt;
    const float scale = (float)(factor / m);
    for (size_t j = 0; j < n; j++) mix[j] = scale * both[j];
    mix[i] = (float)(factor * on_self);
    row->delta_factor = (float)(factor * on_twin / mt);
}

cz_status cz_contrast_chunk_gradient(cz_contrast_chunk *c, double factor, float *out)
{
    const size_t n = c->rows, e = c->width;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) subtract_positives(c, i);
    add_transposed(c->weight, n, c->both);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) gradient_row(c, i, factor);
    const cz_status status = cz_engine_sgemm(false, false, n, e, n, 1, c->mix, n, c->u, e, 0, c->result, e);
    if (status == CZ_OK) scatter(c, out);
    return status;
}

/* With s' the tangent of s, B = sum_j b_j s'_j, Q = sum over positives of p s', x' = B - Q and r' = r (1 - r) x':
 *   g'_ij = r b_ij (s'_ij + (1 - r) x' - B) - r p_ij (s'_ij + (1 - r) x' - Q),   h' = -r p_t (s'_t + (1 - r) x' - Q) */
static void tangent_weights(cz_contrast_chunk *c, size_t i)
{
    const size_t n = c->rows, k = c->neighbours, *neighbour = c->neighbour + i * k;
    const float *weight = c->weight + i * n, *dcosine = c->dcosine + i * n;
    const double *p = c->positive + i * k, inverse = 1 / c->temperature;
    float *dweight = c->dweight + i * n;
    cz_contrast_row *row = &c->row[i];
    const double r = row->rest, dtwin = row->dcosine * inverse;
    double mean = r > 0 ? dot(weight, dcosine, n) * inverse / r : 0, positive_mean = row->positive_twin * dtwin;
    for (size_t x = 0; x < k; x++) positive_mean += p[x] * (double)dcosine[neighbour[x]] * inverse;
    const double shift = (1 - r) * (mean - positive_mean);
    const float slope = (float)inverse, offset = (float)(shift - mean);
    for (size_t j = 0; j < n; j++) dweight[j] = weight[j] * (slope * dcosine[j] + offset);
    for (size_t x = 0; x < k; x++) {
        const double ds = (double)dcosine[neighbour[x]] * inverse;
        dweight[neighbour[x]] -= (float)(r * p[x] * (ds + shift - positive_mean));
    }
    row->dtwin = -r * row->positive_twin * (dtwin + shift - positive_mean);
}

/* The product rule on gradient_row's formula; with F = u.v and Y = u~.z = h c, z = h u:
 *   (v' - f (F' u + F u')) / m - m' (v - f F u) / m^2 + (z' - f~ (Y' u~ + Y u~')) / m~ - m~' (z - f~ Y u~) / m~^2
 * and u~' = (m u' + m' u - m~' u~) / m~. */
static void hessian_row(cz_contrast_chunk *c, size_t i, double factor)
{
    const size_t n = c->rows;
    cz_contrast_row *row = &c->row[i];
    const float *both = c->both + i * n, *dboth = c->dboth + i * n;
    float *on_u = c->mix + i * 2 * n, *on_du = on_u + n;
    const double m = row->norm, mt = row->twin_norm, dm = row->dnorm, dmt = row->dtwin_norm, f = row->free,
                 ft = row->twin_free;
    const double h = -row->rest * row->positive_twin, dh = row->dtwin;
    const double y = h * row->cosine, dy = dh * row->cosine + h * row->dcosine;
    const double along = dot(both, c->cosine + i * n, n) + y;
    const double dalong = dot(dboth, c->cosine + i * n, n) + dot(both, c->dcosine + i * n, n) + dy;

    const double on_dtwin = h / m - ft * y / mt;
    const double on_twin = dh / m - dm * h / (m * m) - ft * dy / mt + ft * dmt * y / (mt * mt) - on_dtwin * dmt / mt;
    const double on_self = -f * dalong / m + f * dm * along / (m * m) + dh / mt - dmt * h / (mt * mt) +
                           on_dtwin * dm / mt + on_twin * m / mt;
    const double on_dself = -f * along / m + h / mt + on_dtwin * m / mt;
    const float scale = (float)(factor / m), shrink = (float)(dm / m);
    for (size_t j = 0; j < n; j++) {
        on_u[j] = scale * (dboth[j] - shrink * both[j]);
        on_du[j] = scale * both[j];
    }
    on_u[i] = (float)(factor * on_self);
    on_du[i] = (float)(factor * on_dself);
    row->delta_factor = (float)(factor * on_twin / mt);
}

cz_status cz_contrast_chunk_hessian(cz_contrast_chunk *c, double factor, float *out)
{
    const size_t n = c->rows, e = c->width;
    /* d(u_i . u_j) = du_i . u_j + u_i . du_j */
    cz_status status = cz_engine_sgemm(false, true, n, n, e, 1, c->u + n * e, e, c->u, e, 0, c->dweight, n);
    if (status != CZ_OK) return status;
    add_transposed(c->dweight, n, c->dcosine);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) {
        tangent_weights(c, i);
        subtract_positives(c, i);
    }
    add_transposed(c->weight, n, c->both);
    add_transposed(c->dweight, n, c->dboth);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) hessian_row(c, i, factor);
    status = cz_engine_sgemm(false, false, n, e, 2 * n, 1, c->mix, 2 * n, c->u, e, 0, c->result, e);
    if (status == CZ_OK) scatter(c, out);
    return status;
}
