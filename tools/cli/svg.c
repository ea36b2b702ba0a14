/* SPDX-License-Identifier: Apache-2.0 */
#include "svg.h"

#include <math.h>
#include <string.h>

double svg_nice_step(double span, double wanted)
{
    const double raw = span / wanted, power = pow(10.0, floor(log10(raw))), rest = raw / power;
    return power * (rest < 1.5 ? 1 : rest < 3.5 ? 2 : rest < 7.5 ? 5 : 10);
}

void svg_tidy_exponent(char *text)
{
    char *e = strchr(text, 'e');
    if (e == NULL) return;
    char *digits = e + (e[1] == '-' || e[1] == '+' ? 2 : 1), *to = e[1] == '-' ? e + 2 : e + 1;
    while (*digits == '0' && digits[1] != '\0') digits++;
    memmove(to, digits, strlen(digits) + 1);
}

void svg_format_mark(double value, double step, double largest, char text[32])
{
    const int order = (int)floor(log10(step) + 1e-9);
    if (fabs(value) < 0.5 * step) {
        (void)snprintf(text, 32, "0");
    } else if (largest >= 1e6 || order < -5) {
        const int digits = (int)floor(log10(fabs(value)) + 1e-9) - order;
        (void)snprintf(text, 32, "%.*e", digits < 0 ? 0 : digits > 12 ? 12 : digits, value);
        svg_tidy_exponent(text);
    } else {
        (void)snprintf(text, 32, "%.*f", order < 0 ? -order : 0, value);
    }
    if (text[0] == '-') { /* a true minus sign, as wide as a digit */
        memmove(text + 3, text + 1, strlen(text));
        memcpy(text, "\xe2\x88\x92", 3);
    }
}

static void put_number(FILE *f, long value, bool space)
{
    (void)fprintf(f, space && value >= 0 ? " %ld" : "%ld", value);
}

void svg_pen_to(svg_pen *p, long x, long y)
{
    if (!p->down) {
        (void)fprintf(p->f, "M%ld %ld", x, y);
    } else if (x != p->x || y != p->y) {
        if (!p->relative) (void)fputc('l', p->f);
        put_number(p->f, x - p->x, p->relative);
        put_number(p->f, y - p->y, true);
        p->relative = true;
    }
    p->down = true;
    p->x = x;
    p->y = y;
}
