/* SPDX-License-Identifier: Apache-2.0 */
/* What drawings in pages share: marks on axes and short paths. */
#ifndef SVG_H
#define SVG_H

#include <stdbool.h>
#include <stdio.h>

/* 1, 2 or 5 times a power of ten, so that about `wanted` of them fill `span` (> 0). */
double svg_nice_step(double span, double wanted);
/* "4.50e-06" becomes "4.5e-6": shorter. */
void svg_tidy_exponent(char *text);
/* As many digits as tell marks `step` apart from each other; `largest`: of the absolute values on the axis. */
void svg_format_mark(double value, double step, double largest, char text[32]);

/* Writes a path in whole units, each point relative to the one before: about six bytes a point. Begin with {.f = f}. */
typedef struct svg_pen {
    FILE *f;
    long x, y;
    bool down, relative;
} svg_pen;
void svg_pen_to(svg_pen *p, long x, long y);

#endif
