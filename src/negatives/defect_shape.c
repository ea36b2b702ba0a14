/* SPDX-License-Identifier: Apache-2.0 */
#include "negatives/defect_shape.h"

#include "negatives/blur.h"
#include "util/alloc.h"

#include <math.h>

void cz_defect_rng(const cz_defect_try *attempt, cz_defect_stream stream, cz_rng *out)
{
    cz_rng_init(out, attempt->seed, CZ_RNG_DEFECT, attempt->index,
                attempt->attempt * CZ_DEFECT_STREAMS + (uint32_t)stream);
}

double cz_defect_between(cz_rng *rng, double low, double high)
{
    return low + (high - low) * cz_rng_uniform(rng);
}

double cz_soft_mask_side(const cz_soft_mask *mask)
{
    return sqrt((double)mask->picture_height * (double)mask->picture_width);
}

void cz_soft_mask_free(cz_soft_mask *mask)
{
    cz_free(mask->value);
    mask->value = NULL;
}

/* Pixels of a side of `size` that [low, high] touches. */
static void cut(double low, double high, size_t size, size_t *first, size_t *count)
{
    const double end = (double)size;
    const double a = fmin(fmax(floor(low), 0.0), end), b = fmin(fmax(ceil(high), 0.0), end);
    *first = (size_t)a;
    *count = b > a ? (size_t)(b - a) : 0;
}

cz_status cz_soft_mask_window(cz_soft_mask *mask, const double corners[4], double margin)
{
    cut(corners[0] - margin, corners[2] + margin, mask->picture_width, &mask->x, &mask->width);
    cut(corners[1] - margin, corners[3] + margin, mask->picture_height, &mask->y, &mask->height);
    if (mask->width == 0 || mask->height == 0) mask->width = mask->height = 0;
    mask->value = cz_calloc(mask->width * mask->height, sizeof *mask->value);
    return mask->value == NULL ? CZ_E_MEMORY : CZ_OK;
}

/* Antialiasing: how much of a pixel is inside when its middle is `distance` pixels outside of an edge. */
static double coverage(double distance)
{
    return fmin(fmax(0.5 - distance, 0.0), 1.0);
}

static void cover(cz_soft_mask *mask, size_t x, size_t y, double value)
{
    float *at = &mask->value[(y - mask->y) * mask->width + (x - mask->x)];
    if ((float)value > *at) *at = (float)value;
}

/* Pixels of the mask's window within `reach` of the rectangle from (x0, y0) to (x1, y1): [x, end_x) by [y, end_y). */
typedef struct span {
    size_t x, y, end_x, end_y;
} span;

static span span_of(const cz_soft_mask *mask, double x0, double y0, double x1, double y1, double reach)
{
    size_t x, y, width, height;
    cut(x0 - reach, x1 + reach, mask->picture_width, &x, &width);
    cut(y0 - reach, y1 + reach, mask->picture_height, &y, &height);
    const size_t right = mask->x + mask->width, bottom = mask->y + mask->height;
    return (span){x < mask->x ? mask->x : x, y < mask->y ? mask->y : y, x + width < right ? x + width : right,
                  y + height < bottom ? y + height : bottom};
}

static double distance_to_segment(double x, double y, const double a[2], const double b[2])
{
    const double dx = b[0] - a[0], dy = b[1] - a[1];
    const double t = ((x - a[0]) * dx + (y - a[1]) * dy) / (dx * dx + dy * dy);
    const double s = fmin(fmax(t, 0.0), 1.0);
    return hypot(x - a[0] - s * dx, y - a[1] - s * dy);
}

enum { MAX_POINTS = 12 };

static cz_status scratch(cz_rng *rng, double margin, cz_soft_mask *mask)
{
    static const double widths[] = {1.0, 1.5, 2.0, 3.0, 4.5};
    const double side = cz_soft_mask_side(mask);
    double point[MAX_POINTS][2] = {{cz_defect_between(rng, 0.1, 0.9) * (double)mask->picture_width,
                                    cz_defect_between(rng, 0.1, 0.9) * (double)mask->picture_height}};
    double corners[4] = {point[0][0], point[0][1], point[0][0], point[0][1]};
    const size_t points = 4 + (size_t)cz_rng_below(rng, MAX_POINTS - 3);
    double direction = cz_defect_between(rng, 0.0, 2.0 * M_PI);
    for (size_t i = 1; i < points; i++) {
        direction += 0.25 * cz_rng_normal(rng);
        const double length = cz_defect_between(rng, 0.015, 0.05) * side;
        point[i][0] = point[i - 1][0] + cos(direction) * length;
        point[i][1] = point[i - 1][1] + sin(direction) * length;
        for (int k = 0; k < 2; k++) {
            corners[k] = fmin(corners[k], point[i][k]);
            corners[2 + k] = fmax(corners[2 + k], point[i][k]);
        }
    }
    /* Thinner than a pixel it would only get fainter. */
    const double half = 0.5 * fmax(1.0, widths[cz_rng_below(rng, 5)] * side / 256.0);
    const cz_status status = cz_soft_mask_window(mask, corners, half + 1.0 + margin);
    if (status != CZ_OK) return status;
    for (size_t i = 1; i < points; i++) {
        const double *a = point[i - 1], *b = point[i];
        const span s =
            span_of(mask, fmin(a[0], b[0]), fmin(a[1], b[1]), fmax(a[0], b[0]), fmax(a[1], b[1]), half + 1.0);
        for (size_t y = s.y; y < s.end_y; y++)
            for (size_t x = s.x; x < s.end_x; x++)
                cover(mask, x, y, coverage(distance_to_segment((double)x + 0.5, (double)y + 0.5, a, b) - half));
    }
    return CZ_OK;
}

typedef struct ellipse {
    double x, y, a, b, cosine, sine;
} ellipse;

/* The implicit function over the length of its gradient: close to the edge this is the distance. */
static double distance_to_ellipse(const ellipse *e, double x, double y)
{
    const double u = ((x - e->x) * e->cosine + (y - e->y) * e->sine) / e->a;
    const double v = ((y - e->y) * e->cosine - (x - e->x) * e->sine) / e->b;
    const double r = hypot(u, v), slope = hypot(u / e->a, v / e->b);
    return slope > 0.0 ? r * (r - 1.0) / slope : -fmin(e->a, e->b);
}

static cz_status ellipses(cz_rng *rng, double margin, cz_soft_mask *mask)
{
    enum { MOST = 4 };
    const double side = cz_soft_mask_side(mask);
    const size_t count = 1 + (size_t)cz_rng_below(rng, MOST);
    const double middle_x = cz_defect_between(rng, 0.15, 0.85) * (double)mask->picture_width;
    const double middle_y = cz_defect_between(rng, 0.15, 0.85) * (double)mask->picture_height;
    ellipse all[MOST];
    double corners[4] = {INFINITY, INFINITY, -INFINITY, -INFINITY};
    for (size_t i = 0; i < count; i++) {
        ellipse *e = &all[i];
        e->x = middle_x + 0.04 * side * cz_rng_normal(rng);
        e->y = middle_y + 0.04 * side * cz_rng_normal(rng);
        e->a = fmax(0.5, cz_defect_between(rng, 0.008, 0.06) * side);
        e->b = fmax(0.5, cz_defect_between(rng, 0.008, 0.06) * side);
        const double angle = cz_defect_between(rng, 0.0, M_PI), reach = fmax(e->a, e->b);
        e->cosine = cos(angle);
        e->sine = sin(angle);
        corners[0] = fmin(corners[0], e->x - reach);
        corners[1] = fmin(corners[1], e->y - reach);
        corners[2] = fmax(corners[2], e->x + reach);
        corners[3] = fmax(corners[3], e->y + reach);
    }
    const cz_status status = cz_soft_mask_window(mask, corners, 1.0 + margin);
    if (status != CZ_OK) return status;
    for (size_t i = 0; i < count; i++) {
        const ellipse *e = &all[i];
        const span s = span_of(mask, e->x, e->y, e->x, e->y, fmax(e->a, e->b) + 1.0);
        for (size_t y = s.y; y < s.end_y; y++)
            for (size_t x = s.x; x < s.end_x; x++)
                cover(mask, x, y, coverage(distance_to_ellipse(e, (double)x + 0.5, (double)y + 0.5)));
    }
    return CZ_OK;
}

static cz_status rectangle(cz_rng *rng, double margin, cz_soft_mask *mask)
{
    const double side = cz_soft_mask_side(mask);
    const double x0 = cz_defect_between(rng, 0.1, 0.9) * (double)mask->picture_width;
    const double y0 = cz_defect_between(rng, 0.1, 0.9) * (double)mask->picture_height;
    const double angle = cz_defect_between(rng, 0.0, M_PI), cosine = cos(angle), sine = sin(angle);
    const double half_x = side * exp(cz_defect_between(rng, log(0.02), log(0.16)));
    const double half_y = side * exp(cz_defect_between(rng, log(0.02), log(0.16)));
    const double reach_x = fabs(cosine) * half_x + fabs(sine) * half_y;
    const double reach_y = fabs(sine) * half_x + fabs(cosine) * half_y;
    const double corners[4] = {x0 - reach_x, y0 - reach_y, x0 + reach_x, y0 + reach_y};
    const cz_status status = cz_soft_mask_window(mask, corners, 1.0 + margin);
    if (status != CZ_OK) return status;
    for (size_t y = mask->y; y < mask->y + mask->height; y++) {
        for (size_t x = mask->x; x < mask->x + mask->width; x++) {
            const double dx = (double)x + 0.5 - x0, dy = (double)y + 0.5 - y0;
            const double u = fabs(dx * cosine + dy * sine) - half_x, v = fabs(dy * cosine - dx * sine) - half_y;
            cover(mask, x, y, coverage(u) * coverage(v));
        }
    }
    return CZ_OK;
}

cz_status cz_defect_shape_draw(const cz_defect_try *attempt, size_t height, size_t width, cz_defect_shape *shape,
                               cz_soft_mask *out)
{
    cz_soft_mask mask = {.picture_height = height, .picture_width = width};
    cz_rng rng;
    cz_defect_rng(attempt, CZ_DEFECT_STREAM_SHAPE, &rng);
    const cz_defect_shape kind = (cz_defect_shape)cz_rng_below(&rng, CZ_DEFECT_SHAPES);
    const bool soft = cz_rng_below(&rng, 2) == 0;
    const double sigma = soft ? cz_defect_between(&rng, 0.5, 2.0) * cz_soft_mask_side(&mask) / 256.0 : 0.0;
    const double margin = soft ? (double)cz_blur_reach(sigma) : 0.0;
    cz_status status;
    switch (kind) {
    case CZ_DEFECT_SCRATCH:
        CZ_TRY(scratch(&rng, margin, &mask));
        break;
    case CZ_DEFECT_ELLIPSES:
        CZ_TRY(ellipses(&rng, margin, &mask));
        break;
    case CZ_DEFECT_RECTANGLE:
        CZ_TRY(rectangle(&rng, margin, &mask));
        break;
    default:
        CZ_TRY(cz_defect_spots(attempt, &rng, margin, &mask));
        break;
    }
    if (soft) {
        CZ_TRY(cz_blur(mask.value, mask.height, mask.width, 1, sigma));
        /* Less than this changes no byte but by rounding. */
        for (size_t i = 0; i < mask.width * mask.height; i++)
            mask.value[i] = mask.value[i] < 1.0f / 1024.0f ? 0.0f : fminf(mask.value[i], 1.0f);
    }
    *shape = kind;
    *out = mask;
    return CZ_OK;
out:
    cz_soft_mask_free(&mask);
    return status;
}
