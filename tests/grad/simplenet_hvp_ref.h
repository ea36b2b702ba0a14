/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plain twin of src/heads/simplenet_second.c: the loops of simplenet_ref.h with each line differentiated along
 * a direction right behind it (dual numbers written out), none of the library's rearrangements. v_x is the tangent of x.
 * For any REAL: define REAL and REF(name) before each inclusion, after that of simplenet_ref.h.
 */
typedef struct REF(product) {
    REAL *tangent_q;        /* [p, d] or NULL */
    const REAL *tangent_dq; /* [p, d] tangent of the gradient of another loss on q; NULL: none */
    REAL *out;              /* [ref_count] Hessian times direction */
} REF(product);

/* out = W in + bias, v_out its tangent; v_bias NULL: no bias */
static inline void REF(dual_layer)(const REAL *w, const REAL *v_w, const REAL *v_bias, const REAL *in, const REAL *v_in,
                                   size_t rows, size_t from, size_t to, REAL *v_out)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < to; i++) {
            REAL sum = v_bias ? v_bias[i] : 0;
            for (size_t j = 0; j < from; j++)
                sum += v_w[i * from + j] * in[r * from + j] + w[i * from + j] * v_in[r * from + j];
            v_out[r * to + i] = sum;
        }
}

/* The tangents of layer_backward's results, added to */
static inline void REF(dual_layer_backward)(const REAL *w, const REAL *v_w, const REAL *in, const REAL *v_in,
                                            const REAL *dout, const REAL *v_dout, size_t rows, size_t from, size_t to,
                                            REAL *v_dw, REAL *v_dbias, REAL *v_din)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < to; i++) {
            const REAL g = dout[r * to + i], v_g = v_dout[r * to + i];
            if (v_dbias) v_dbias[i] += v_g;
            for (size_t j = 0; j < from; j++) {
                v_dw[i * from + j] += v_g * in[r * from + j] + g * v_in[r * from + j];
                v_din[r * from + j] += v_g * w[i * from + j] + g * v_w[i * from + j];
            }
        }
}

/* One column of batch norm and what is behind it, of `n` rows `stride` apart. */
typedef struct REF(column) {
    const REAL *h, *v_h, *dd; /* dd: dL/dD */
    REAL *dh, *v_dh;
    size_t n, stride;
    REAL scale, shift, w2, v_scale, v_shift, v_w2;
    REAL v_dscale, v_dshift, v_dw2; /* results */
} REF(column);

static inline void REF(dual_column)(REF(column) * a)
{
    const size_t n = a->n, k = a->stride;
    const REAL rows = (REAL)n;
    REAL mean = 0, v_mean = 0, variance = 0, v_variance = 0;
    for (size_t r = 0; r < n; r++) mean += a->h[r * k] / rows;
    for (size_t r = 0; r < n; r++) v_mean += a->v_h[r * k] / rows;
    for (size_t r = 0; r < n; r++) variance += (a->h[r * k] - mean) * (a->h[r * k] - mean) / rows;
    for (size_t r = 0; r < n; r++) v_variance += 2 * (a->h[r * k] - mean) * (a->v_h[r * k] - v_mean) / rows;
    const REAL sd = (REAL)sqrt((double)variance + 1e-5), v_sd = v_variance / (2 * sd);
    REAL dmean = 0, v_dmean = 0, dvariance = 0, v_dvariance = 0;
    for (size_t r = 0; r < n; r++) {
        const REAL x = (a->h[r * k] - mean) / sd;
        const REAL v_x = (a->v_h[r * k] - v_mean) / sd - (a->h[r * k] - mean) * v_sd / (sd * sd);
        const REAL y = a->scale * x + a->shift, v_y = a->v_scale * x + a->scale * v_x + a->v_shift;
        const REAL slope = y > 0 ? 1 : (REAL)0.2;
        const REAL dy = a->dd[r] * a->w2 * slope, v_dy = a->dd[r] * a->v_w2 * slope;
        const REAL dx = dy * a->scale, v_dx = v_dy * a->scale + dy * a->v_scale;
        a->v_dw2 += a->dd[r] * slope * v_y;
        a->v_dscale += v_dy * x + dy * v_x;
        a->v_dshift += v_dy;
        a->dh[r * k] = dx / sd;
        a->v_dh[r * k] = v_dx / sd - dx * v_sd / (sd * sd);
        dmean -= dx / sd;
        v_dmean -= v_dx / sd - dx * v_sd / (sd * sd);
        dvariance -= dx * x / (2 * sd * sd);
        v_dvariance -= (v_dx * x + dx * v_x) / (2 * sd * sd) - dx * x * v_sd / (sd * sd * sd);
    }
    /* d variance / d h = 2 (h - mean) / n */
    for (size_t r = 0; r < n; r++) {
        const REAL centred = a->h[r * k] - mean, v_centred = a->v_h[r * k] - v_mean;
        a->dh[r * k] += dmean / rows + dvariance * 2 * centred / rows;
        a->v_dh[r * k] += v_dmean / rows + (v_dvariance * centred + dvariance * v_centred) * 2 / rows;
    }
}

/* dL/dD of every row, a constant along any direction; h: [n, k] */
static inline void REF(hinge_slopes)(const ref_config *s, const REAL *scale, const REAL *shift, const REAL *w2,
                                     const REF(batch) * b, const REAL *h, REAL *dd)
{
    const size_t p = s->p, k = s->k, n = 2 * p;
    REAL *big_d = calloc(n, sizeof *big_d);
    for (size_t c = 0; c < k; c++) {
        REAL mean = 0, variance = 0;
        for (size_t r = 0; r < n; r++) mean += h[r * k + c] / (REAL)n;
        for (size_t r = 0; r < n; r++) variance += (h[r * k + c] - mean) * (h[r * k + c] - mean) / (REAL)n;
        for (size_t r = 0; r < n; r++) {
            const REAL y = scale[c] * (h[r * k + c] - mean) / (REAL)sqrt((double)variance + 1e-5) + shift[c];
            big_d[r] += w2[c] * (y > 0 ? y : (REAL)0.2 * y);
        }
    }
    for (size_t i = 0; i < p; i++) {
        const REAL weight = b->weight[i] / (REAL)p;
        if (b->target[i] == 1)
            dd[i] = big_d[i] > (REAL)s->margin_negative ? weight : 0;
        else
            dd[i] = big_d[i] < (REAL)s->margin_positive ? -weight : 0;
        if (!s->no_twins && big_d[p + i] > (REAL)s->margin_negative) dd[p + i] = s->weight_both ? weight : 1 / (REAL)p;
    }
    free(big_d);
}

static inline void REF(hvp)(const ref_config *s, const REAL *theta, const REAL *v, const REF(batch) * b,
                            REF(product) * result)
{
    const size_t p = s->p, d = s->d, k = s->k, n = 2 * p;
    const size_t at_ba = d * d, at_w1 = at_ba + (s->compat ? d : 0), at_b1 = at_w1 + k * d;
    const size_t at_scale = at_b1 + (s->compat ? k : 0), at_shift = at_scale + k, at_w2 = at_shift + k;
    REAL *q = calloc(n * d, sizeof *q), *v_q = calloc(n * d, sizeof *v_q), *v_dq = calloc(n * d, sizeof *v_dq);
    REAL *h = calloc(n * k, sizeof *h), *v_h = calloc(n * k, sizeof *v_h), *dd = calloc(n, sizeof *dd);
    REAL *dh = calloc(n * k, sizeof *dh), *v_dh = calloc(n * k, sizeof *v_dh), *out = result->out;
    for (size_t i = 0; i < ref_count(s); i++) out[i] = 0;
    REF(layer)(theta, s->compat ? theta + at_ba : NULL, b->o, p, d, d, q);
    REF(layer)(v, s->compat ? v + at_ba : NULL, b->o, p, d, d, v_q); /* o is a constant */
    for (size_t i = 0; i < p * d; i++) {
        q[p * d + i] = q[i] + b->eps[i];
        v_q[p * d + i] = v_q[i];
        if (result->tangent_q) result->tangent_q[i] = v_q[i];
    }
    REF(layer)(theta + at_w1, s->compat ? theta + at_b1 : NULL, q, n, d, k, h);
    REF(dual_layer)(theta + at_w1, v + at_w1, s->compat ? v + at_b1 : NULL, q, v_q, n, d, k, v_h);
    REF(hinge_slopes)(s, theta + at_scale, theta + at_shift, theta + at_w2, b, h, dd);
    for (size_t c = 0; c < k; c++) {
        REF(column)
        column = {.h = h + c, .v_h = v_h + c, .dd = dd, .dh = dh + c, .v_dh = v_dh + c, .n = n, .stride = k};
        column.scale = theta[at_scale + c], column.v_scale = v[at_scale + c];
        column.shift = theta[at_shift + c], column.v_shift = v[at_shift + c];
        column.w2 = theta[at_w2 + c], column.v_w2 = v[at_w2 + c];
        REF(dual_column)(&column);
        out[at_scale + c] = column.v_dscale;
        out[at_shift + c] = column.v_dshift;
        out[at_w2 + c] = column.v_dw2;
    }
    REF(dual_layer_backward)
    (theta + at_w1, v + at_w1, q, v_q, dh, v_dh, n, d, k, out + at_w1, s->compat ? out + at_b1 : NULL, v_dq);
    for (size_t i = 0; i < p * d; i++) v_dq[i] += v_dq[p * d + i] + (result->tangent_dq ? result->tangent_dq[i] : 0);
    REF(layer_backward)(theta, b->o, v_dq, p, d, d, out, s->compat ? out + at_ba : NULL, NULL);
    REAL *const all[] = {q, v_q, v_dq, h, v_h, dd, dh, v_dh};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}
