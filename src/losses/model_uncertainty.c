/* SPDX-License-Identifier: Apache-2.0 */
/* docs/math/confidence.md says why losses are scaled before the determinant is taken. */
#include "losses/model_uncertainty.h"

#include <math.h>

static const double SCALE_FLOOR = 1e-8;

void cz_uncertainty_options_init(cz_uncertainty_options *options)
{
    *options = (cz_uncertainty_options){.pairs = 10, .lambda0 = 5e-6, .gamma = 1, .det_max = 100, .raw = false};
}

static cz_status check_options(const cz_uncertainty_options *o)
{
    if (o->pairs < 2 || o->pairs > CZ_UNCERTAINTY_MAX_PAIRS)
        return cz_fail(CZ_E_ARG, "%zu loss pairs are not in 2 … %d", o->pairs, CZ_UNCERTAINTY_MAX_PAIRS);
    if (!(o->lambda0 >= 0) || !(o->gamma >= 0) || !(o->det_max >= 0) || !isfinite(o->det_max) ||
        !isfinite(o->lambda0 * (1 + o->gamma * o->det_max)))
        return cz_fail(CZ_E_ARG, "lambda0 %g, gamma %g and the largest determinant %g must be finite and >= 0",
                       o->lambda0, o->gamma, o->det_max);
    return CZ_OK;
}

cz_status cz_uncertainty_init(cz_uncertainty *u, const cz_uncertainty_options *options)
{
    const cz_status status = check_options(options);
    if (status == CZ_OK) *u = (cz_uncertainty){.options = *options, .scale = {1, 1}};
    return status;
}

/* Divided before they are added: no overflow. */
static double mean(const cz_uncertainty *u, size_t which)
{
    const size_t n = u->options.pairs;
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += u->pair[i][which] / (double)n;
    return sum;
}

/* n - 1, as in the covariance; relative to the largest deviation, so that squares neither vanish nor overflow. */
static double deviation(const cz_uncertainty *u, size_t which)
{
    const size_t n = u->options.pairs;
    const double middle = mean(u, which);
    double most = 0, squares = 0;
    for (size_t i = 0; i < n; i++) most = fmax(most, fabs(u->pair[i][which] - middle));
    if (!(most > 0)) return 0;
    for (size_t i = 0; i < n; i++) {
        const double part = (u->pair[i][which] - middle) / most;
        squares += part * part;
    }
    return most * sqrt(squares / (double)(n - 1));
}

/* Eq. 8: det of the 2 x 2 sample covariance of the scaled pairs, from centred values. */
static double determinant(const cz_uncertainty *u)
{
    const size_t n = u->options.pairs;
    const double mean0 = mean(u, 0), mean1 = mean(u, 1);
    double s00 = 0, s01 = 0, s11 = 0;
    for (size_t i = 0; i < n; i++) {
        const double x = (u->pair[i][0] - mean0) / u->scale[0], y = (u->pair[i][1] - mean1) / u->scale[1];
        s00 += x * x;
        s01 += x * y;
        s11 += y * y;
    }
    const double degrees = (double)(n - 1);
    return s00 / degrees * (s11 / degrees) - s01 / degrees * (s01 / degrees);
}

cz_status cz_uncertainty_push(cz_uncertainty *u, double training, double validation)
{
    const cz_status status = check_options(&u->options); /* it may have come from a file */
    if (status != CZ_OK) return status;
    if (!isfinite(training) || !isfinite(validation))
        return cz_fail(CZ_E_ARG, "loss pair (%g, %g) is not finite", training, validation);
    double *const pair = u->pair[u->pushed % u->options.pairs];
    pair[0] = training;
    pair[1] = validation;
    u->pushed++;
    u->det = 0;
    if (u->pushed < u->options.pairs) return CZ_OK;
    if (u->pushed == u->options.pairs && !u->options.raw)
        for (size_t k = 0; k < 2; k++) u->scale[k] = fmax(SCALE_FLOOR, deviation(u, k));
    const double det = determinant(u);
    /* Rounding may leave it below 0. What is not a number has overflowed: as uncertain as can be. */
    u->det = det <= 0 ? 0 : det < u->options.det_max ? det : u->options.det_max;
    return CZ_OK;
}

double cz_uncertainty_lambda(const cz_uncertainty *u)
{
    return u->options.lambda0 * (1 + u->options.gamma * u->det);
}
