/* SPDX-License-Identifier: Apache-2.0 */
/* Shapes with soft edges, drawn into coverage layers through their distance functions. */
#include "synth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool synth_layer_open(synth_layer *layer, size_t size)
{
    layer->size = size;
    layer->value = calloc(size * size, sizeof *layer->value);
    return layer->value != NULL;
}

void synth_layer_close(synth_layer *layer)
{
    free(layer->value);
    layer->value = NULL;
}

void synth_place(const synth_pose *pose, double x, double y, double *px, double *py)
{
    double c = synth_cos(pose->angle) * pose->scale, s = synth_sin(pose->angle) * pose->scale;
    *px = pose->x + c * x - s * y;
    *py = pose->y + s * x + c * y;
}

synth_pose synth_pose_in(const synth_pose *outer, const synth_pose *inner)
{
    synth_pose pose = {0, 0, outer->angle + inner->angle, outer->scale * inner->scale};
    synth_place(outer, inner->x, inner->y, &pose.x, &pose.y);
    return pose;
}

/* The pixels that a shape may touch: [x0, x1) x [y0, y1). */
typedef struct span {
    size_t x0, y0, x1, y1;
    double pixels; /* a unit */
} span;

static size_t clip(double value, size_t size)
{
    return value <= 0 ? 0 : value >= (double)size ? size : (size_t)value;
}

static span span_around(const synth_layer *l, double x0, double y0, double x1, double y1)
{
    double p = (double)l->size / SYNTH_UNITS;
    return (span){clip(floor(x0 * p - 2), l->size), clip(floor(y0 * p - 2), l->size), clip(ceil(x1 * p + 2), l->size),
                  clip(ceil(y1 * p + 2), l->size), p};
}

/* `distance` in pixels from the shape's edge, negative inside. */
static void cover(synth_layer *l, size_t x, size_t y, double distance, double value)
{
    double c = synth_clamp(0.5 - distance, 0.0, 1.0);
    float *at = &l->value[y * l->size + x];
    if (value < 0) {
        *at *= (float)(1.0 + c * synth_clamp(value, -1.0, 0.0));
        return;
    }
    float covered = (float)(c * value);
    if (covered > *at) *at = covered;
}

void synth_draw_disc(synth_layer *l, const synth_pose *pose, double x, double y, double radius, double value)
{
    double cx, cy, r = radius * pose->scale;
    synth_place(pose, x, y, &cx, &cy);
    span s = span_around(l, cx - r, cy - r, cx + r, cy + r);
    for (size_t py = s.y0; py < s.y1; py++)
        for (size_t px = s.x0; px < s.x1; px++) {
            double dx = (double)px + 0.5 - cx * s.pixels, dy = (double)py + 0.5 - cy * s.pixels;
            cover(l, px, py, sqrt(dx * dx + dy * dy) - r * s.pixels, value);
        }
}

void synth_draw_box(synth_layer *l, const synth_pose *pose, double x, double y, double half_width, double half_height,
                    double corner, double value)
{
    double cx, cy, c = synth_cos(pose->angle), n = synth_sin(pose->angle);
    synth_place(pose, x, y, &cx, &cy);
    double hw = half_width * pose->scale, hh = half_height * pose->scale, r = corner * pose->scale;
    double reach = sqrt(hw * hw + hh * hh);
    span s = span_around(l, cx - reach, cy - reach, cx + reach, cy + reach);
    for (size_t py = s.y0; py < s.y1; py++)
        for (size_t px = s.x0; px < s.x1; px++) {
            double dx = ((double)px + 0.5) / s.pixels - cx, dy = ((double)py + 0.5) / s.pixels - cy;
            double u = fabs(c * dx + n * dy) - hw + r, v = fabs(c * dy - n * dx) - hh + r;
            double ou = u > 0 ? u : 0, ov = v > 0 ? v : 0, in = u > v ? u : v;
            cover(l, px, py, (sqrt(ou * ou + ov * ov) + (in < 0 ? in : 0) - r) * s.pixels, value);
        }
}

/* Both kinds of stroke: half-widths `wa` and `wb` at the ends of one piece. */
static void draw_piece(synth_layer *l, const double a[2], const double b[2], double wa, double wb, double value)
{
    double w = wa > wb ? wa : wb;
    span s = span_around(l, fmin(a[0], b[0]) - w, fmin(a[1], b[1]) - w, fmax(a[0], b[0]) + w, fmax(a[1], b[1]) + w);
    double ex = b[0] - a[0], ey = b[1] - a[1], length = ex * ex + ey * ey;
    for (size_t py = s.y0; py < s.y1; py++)
        for (size_t px = s.x0; px < s.x1; px++) {
            double dx = ((double)px + 0.5) / s.pixels - a[0], dy = ((double)py + 0.5) / s.pixels - a[1];
            double t = length > 0 ? synth_clamp((dx * ex + dy * ey) / length, 0.0, 1.0) : 0.0;
            dx -= t * ex;
            dy -= t * ey;
            double half = synth_mixed(wa, wb, t) * s.pixels;
            /* a line thinner than a pixel stays visible, but fainter */
            double strength = half < 0.5 ? half / 0.5 : 1.0;
            cover(l, px, py, sqrt(dx * dx + dy * dy) * s.pixels - fmax(half, 0.5), value * strength);
        }
}

void synth_draw_line(synth_layer *l, const synth_pose *pose, const double *points, size_t count, double width,
                     double value)
{
    double half = width * pose->scale / 2, a[2], b[2];
    for (size_t i = 0; i + 1 < count; i++) {
        synth_place(pose, points[2 * i], points[2 * i + 1], &a[0], &a[1]);
        synth_place(pose, points[2 * i + 2], points[2 * i + 3], &b[0], &b[1]);
        draw_piece(l, a, b, half, half, value);
    }
}

void synth_draw_taper(synth_layer *l, const synth_pose *pose, const double *points, size_t count, double width,
                      double value)
{
    double half = width * pose->scale / 2, a[2], b[2];
    for (size_t i = 0; i + 1 < count; i++) {
        double t = (double)i / (double)(count - 1), u = (double)(i + 1) / (double)(count - 1);
        synth_place(pose, points[2 * i], points[2 * i + 1], &a[0], &a[1]);
        synth_place(pose, points[2 * i + 2], points[2 * i + 3], &b[0], &b[1]);
        draw_piece(l, a, b, half * sqrt(4 * t * (1 - t)), half * sqrt(4 * u * (1 - u)), value);
    }
}

void synth_curve(const double *control, double *points, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double t = (double)i / (double)(count - 1), s = 1 - t;
        double w[4] = {s * s * s, 3 * s * s * t, 3 * s * t * t, t * t * t};
        for (size_t k = 0; k < 2; k++)
            points[2 * i + k] =
                w[0] * control[k] + w[1] * control[2 + k] + w[2] * control[4 + k] + w[3] * control[6 + k];
    }
}

/* Strokes on a grid 4 wide (a … e) and 6 high (0 … 6, downwards): "a0e0" is the top edge; a space lifts the pen. */
static const char *glyph(char letter)
{
    static const struct {
        char letter;
        const char *strokes;
    } table[] = {
        {'0', "b0d0e1e5d6b6a5a1b0"},
        {'1', "b1c0c6"},
        {'2', "a1b0d0e1e2a6e6"},
        {'3', "a0e0c2d2e3e5d6b6a5"},
        {'4', "d6d0a4e4"},
        {'5', "e0a0a3d3e4e5d6a6"},
        {'6', "d0b0a1a5b6d6e5e4d3a3"},
        {'7', "a0e0b6"},
        {'8', "b0d0e1e2d3b3a4a5b6d6e5e4d3 b3a2a1b0"},
        {'9', "e3b3a2a1b0d0e1e5d6b6"},
        {'A', "a6c0e6 b4d4"},
        {'B', "a3d3e4e5d6a6a0d0e1e2d3"},
        {'C', "e1d0b0a1a5b6d6e5"},
        {'D', "a0c0e2e4c6a6a0"},
        {'E', "e0a0a6e6 a3d3"},
        {'J', "e0e5d6b6a5"},
        {'L', "a0a6e6"},
        {'O', "b0d0e1e5d6b6a5a1b0"},
        {'P', "a6a0d0e1e2d3a3"},
        {'Q', "b0d0e1e5d6b6a5a1b0 c4e6"},
        {'R', "a6a0d0e1e2d3a3 c3e6"},
        {'T', "a0e0 c0c6"},
        {'U', "a0a5b6d6e5e0"},
        {'V', "a0c6e0"},
        {'X', "a0e6 e0a6"},
        {'Z', "a0e0a6e6"},
        {'-', "b3d3"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].letter == letter) return table[i].strokes;
    return "";
}

void synth_draw_text(synth_layer *l, const synth_pose *pose, double x, double y, double height, double width,
                     const char *text, double value)
{
    double unit = height / 6.0, advance = 6.0 * unit, left = x - ((double)strlen(text) * advance - 2 * unit) / 2;
    for (; *text; text++, left += advance) {
        double points[64];
        size_t count = 0;
        for (const char *g = glyph(*text);; g++) {
            if (*g >= 'a' && g[1]) {
                points[2 * count] = left + (double)(*g - 'a') * unit;
                points[2 * count + 1] = y + ((double)(g[1] - '0') - 3.0) * unit;
                count += count < 31;
                g++;
                continue;
            }
            synth_draw_line(l, pose, points, count, width, value);
            count = 0;
            if (!*g) break;
        }
    }
}

bool synth_layer_blur(synth_layer *l, double radius)
{
    size_t n = l->size, r = (size_t)(radius * (double)n / SYNTH_UNITS + 0.5);
    if (r == 0) return true;
    float *line = malloc(n * sizeof *line);
    if (!line) return false;
    for (int pass = 0; pass < 4; pass++) /* rows, columns, and again */
        for (size_t i = 0; i < n; i++) {
            float *start = pass % 2 ? l->value + i : l->value + i * n;
            size_t step = pass % 2 ? n : 1;
            double sum = 0;
            for (size_t k = 0; k < r && k < n; k++) sum += (double)start[k * step];
            for (size_t k = 0; k < n; k++) {
                if (k + r < n) sum += (double)start[(k + r) * step];
                line[k] = (float)fmax(sum, 0.0) / (float)(2 * r + 1);
                if (k >= r) sum -= (double)start[(k - r) * step];
            }
            for (size_t k = 0; k < n; k++) start[k * step] = line[k];
        }
    free(line);
    return true;
}
