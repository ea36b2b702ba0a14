/* SPDX-License-Identifier: Apache-2.0 */
#include "calibration.h"

#include <math.h>
#include <stdio.h>

const char *calibration_percent(double share, char text[32])
{
    double value = 100.0 * share;
    if (value > 0.0) {
        const double step = pow(10.0, floor(log10(value)) - 2.0);
        value = ceil(value / step - 1e-6) * step;
    }
    (void)snprintf(text, 32, "%.3g %%", value);
    return text;
}

const char *calibration_describe(const cz_calibration *c, char text[CALIBRATION_TEXT])
{
    char rate[32], separated[32];
    const char *known = c->trained_on > 0 ? ", some of them trained on: no promise holds" : "";
    switch (c->rule) {
    case CZ_RULE_FPR:
        if (c->contamination > 0.0) {
            (void)snprintf(text, CALIBRATION_TEXT,
                           "at most %s false alarms with %.4g %% confidence if at most %.4g %% of the %zu unlabelled "
                           "photos show a defect, at most %s if those score highest%s",
                           calibration_percent(c->promise, rate), 100.0 * c->confidence, 100.0 * c->contamination,
                           c->count,
                           calibration_percent(c->separated > c->target ? c->separated : c->target, separated), known);
            break;
        }
        (void)snprintf(text, CALIBRATION_TEXT,
                       "at most %s false alarms with %.4g %% confidence, from %zu normal photo%s%s",
                       calibration_percent(c->promise > c->target ? c->promise : c->target, rate),
                       100.0 * c->confidence, c->count, c->count == 1 ? "" : "s", known);
        break;
    case CZ_RULE_IQR:
        (void)snprintf(text, CALIBRATION_TEXT, "third quartile + 1.5 x interquartile range of %zu normal photos%s",
                       c->count, known);
        break;
    case CZ_RULE_F1:
        (void)snprintf(text, CALIBRATION_TEXT, "best F1 on labelled photos, %zu of them normal%s", c->count, known);
        break;
    default:
        (void)snprintf(text, CALIBRATION_TEXT, "lowest cost on labelled photos, %zu of them normal%s", c->count, known);
        break;
    }
    return text;
}

const char *calibration_warning(const cz_calibration *c, size_t needed, char text[CALIBRATION_TEXT])
{
    char target[32];
    (void)snprintf(
        text, CALIBRATION_TEXT,
        "at most %s with %.4g %% confidence needs %zu images, you gave %zu: the best I can promise is %.2g %%",
        calibration_percent(c->target, target), 100.0 * c->confidence, needed, c->count,
        100.0 * (c->contamination > 0.0 ? c->separated : c->promise));
    return text;
}
