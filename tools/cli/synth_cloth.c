/* SPDX-License-Identifier: Apache-2.0 */
/* Woven cloth: a 2/2 twill of slate-blue warp and pale weft, threads of uneven thickness and tone, light on soft folds. */
#include "synth.h"

#include <math.h>

#define WARP_PITCH 7.2
#define WEFT_PITCH 6.8

enum { DEFECT_HOLE, DEFECT_BROKEN_THREAD, DEFECT_STAIN, DEFECT_LOOSE_THREAD };
static const char *const defect_names[] = {"hole", "broken_thread", "stain", "loose_thread"};

typedef struct cloth {
    const synth_job *job;
    double angle_cos, angle_sin, shift_x, shift_y;
    double light_x, light_y, fold_cos, fold_sin, fold_phase, fold_depth;
    uint32_t bend, yarn, fibre;
    /* the defect, in cloth coordinates except for layers */
    double x, y, radius, length;
    int64_t thread;
    bool vertical;
    uint32_t shape;
    synth_layer strand, shadow;
} cloth;

static bool has(const cloth *c, int defect)
{
    return c->job->defect == defect;
}

/* A thread's own place in its lane (-1 … 1 across), drawn from its number. */
static double across(double lane, int64_t number, uint32_t seed)
{
    double middle = 0.5 + 0.16 * (synth_hash(number, 1, seed) - 0.5);
    double half = 0.47 + 0.10 * (synth_hash(number, 2, seed) - 0.5);
    return (lane - middle) / half;
}

/* Which of the two threads that cross at (u, v) are there. In a hole each thread ends at its own length. */
static void present(const cloth *c, double u, double v, int64_t i, int64_t j, bool *warp, bool *weft)
{
    *warp = *weft = true;
    if (has(c, DEFECT_BROKEN_THREAD)) {
        double along = c->vertical ? v - c->y : u - c->x;
        double ragged = 2.0 * synth_noise(along / 2.0, 3.0, c->shape);
        bool gone = (c->vertical ? i : j) == c->thread && fabs(along) < c->length + ragged;
        if (c->vertical) *warp = !gone;
        if (!c->vertical) *weft = !gone;
    }
    double dx = u - c->x, dy = (v - c->y) * 1.2;
    if (has(c, DEFECT_HOLE) && dx * dx + dy * dy < 9 * c->radius * c->radius) {
        double ragged = 0.25 * synth_noise(dx / (c->radius * 0.7), dy / (c->radius * 0.7), c->shape);
        double edge = sqrt(dx * dx + dy * dy) - c->radius * (1.0 + ragged), fray = 0.25 * c->radius + 3;
        *warp = edge > fray * (synth_hash(i, 5, c->shape) - 0.45);
        *weft = edge > fray * (synth_hash(j, 6, c->shape) - 0.45);
    }
}

/* The colour of the weave at (u, v), in cloth coordinates. */
static void weave(const cloth *c, double u, double v, double rgb[3])
{
    static const double warp[3] = {0.30, 0.40, 0.53}, weft[3] = {0.80, 0.78, 0.72};
    double lu = u / WARP_PITCH, lv = v / WEFT_PITCH, fu = synth_floor(lu), fv = synth_floor(lv);
    int64_t i = (int64_t)fu, j = (int64_t)fv;
    double a = across(lu - fu, i, c->yarn), b = across(lv - fv, j, c->yarn + 1);
    int64_t turn = (i + j) & 3;
    bool warp_up = turn < 2, warp_here, weft_here;
    present(c, u, v, i, j, &warp_here, &weft_here);
    if (!warp_here && !weft_here) {
        for (int k = 0; k < 3; k++) rgb[k] = 0.055 + 0.01 * k + 0.02 * synth_noise(u / 3, v / 3, c->shape);
        return;
    }
    bool alone = !warp_here || !weft_here;
    if (alone) warp_up = warp_here; /* what lay under the missing one shows */
    double p = warp_up ? a : b;     /* across the thread on top */
    double t = warp_up ? ((double)(turn & 1) + lv - fv) / 2 : ((double)(turn & 1) + lu - fu) / 2;
    double dip = 4 * t * (1 - t); /* 0 where it dives under, 1 in the middle */
    int64_t number = warp_up ? i : j;
    uint32_t yarn = c->yarn + (warp_up ? 10 : 20);
    double tone = 1.0 + 0.16 * (synth_hash(number, 3, yarn) - 0.5);
    double fibre = synth_noise((warp_up ? v : u) * 0.55 + p * 1.1, (double)number * 7.0 + p * 2.2, c->fibre);
    double body = 1 - 0.55 * p * p;
    double lit = p * (warp_up ? c->light_x : c->light_y) + (1 - 2 * t) * 0.45 * (warp_up ? c->light_y : c->light_x);
    double shade = (0.50 + 0.50 * dip) * body * tone * (1 + 0.10 * fibre) * (1 - 0.20 * lit);
    double gap = synth_step(0.92, 1.12, fabs(p));
    shade = synth_mixed(shade, 0.30, gap);
    if (alone) shade = synth_mixed(shade * (has(c, DEFECT_HOLE) ? 0.85 : 0.52 + 0.16 * dip), 0.08, gap);
    const double *yarn_colour = warp_up ? warp : weft;
    for (int k = 0; k < 3; k++) rgb[k] = yarn_colour[k] * shade * 1.16;
}

/* How much of a stain is at (u, v): a soaked middle and a darker rim where it dried. */
static double stain(const cloth *c, double u, double v)
{
    double dx = (u - c->x) / c->radius, dy = (v - c->y) / c->radius;
    double edge = sqrt(dx * dx + dy * dy) + 0.55 * synth_fbm(dx * 1.1 + 9, dy * 1.1, 3, c->shape);
    double body = synth_step(1.06, 0.90, edge);
    return body * (0.62 + 0.38 * synth_step(0.62, 0.98, edge));
}

static bool place_loose_thread(cloth *c, synth_rng *rng, size_t size)
{
    if (!synth_layer_open(&c->strand, size) || !synth_layer_open(&c->shadow, size)) return false;
    double cx = synth_between(rng, 80, 176), cy = synth_between(rng, 80, 176), span = 30 + 40 * c->job->severity;
    double control[8], points[2 * 40];
    double turn = synth_between(rng, 0, 2 * SYNTH_PI);
    for (int i = 0; i < 4; i++) {
        double reach = span * synth_between(rng, 0.8, 1.2), angle = turn + i * synth_between(rng, 1.25, 1.75);
        control[2 * i] = reach * synth_cos(angle);
        control[2 * i + 1] = reach * synth_sin(angle);
    }
    synth_curve(control, points, 40);
    synth_pose pose = {cx, cy, 0, 1}, below = {cx + 2.2, cy + 2.8, 0, 1};
    double width = 2.2 + 1.4 * c->job->severity;
    synth_draw_line(&c->strand, &pose, points, 40, width, 1);
    synth_draw_line(&c->shadow, &below, points, 40, width + 1.5, 1);
    return synth_layer_blur(&c->shadow, 1.2);
}

static bool place_defect(cloth *c, size_t size)
{
    synth_rng rng;
    synth_rng_seed(&rng, c->job->defect_seed, SYNTH_STREAM_DEFECT);
    double s = c->job->severity;
    c->x = synth_between(&rng, 55, 200);
    c->y = synth_between(&rng, 55, 200);
    c->shape = synth_u32(&rng);
    c->vertical = synth_below(&rng, 2) == 0;
    if (has(c, DEFECT_HOLE)) c->radius = 9 + 15 * s * synth_between(&rng, 0.8, 1.1);
    if (has(c, DEFECT_STAIN)) c->radius = 16 + 20 * s * synth_between(&rng, 0.8, 1.2);
    c->length = 22 + 48 * s * synth_between(&rng, 0.8, 1.2);
    c->thread = (int64_t)(c->vertical ? c->x / WARP_PITCH : c->y / WEFT_PITCH);
    return !has(c, DEFECT_LOOSE_THREAD) || place_loose_thread(c, &rng, size);
}

static void set_up(cloth *c, const synth_job *job)
{
    synth_rng rng;
    synth_rng_seed(&rng, job->picture_seed, SYNTH_STREAM_POSE);
    double angle = 0.012 * synth_bell(&rng);
    c->job = job;
    c->angle_cos = synth_cos(angle);
    c->angle_sin = synth_sin(angle);
    c->shift_x = synth_between(&rng, 0, 4 * WARP_PITCH);
    c->shift_y = synth_between(&rng, 0, 4 * WEFT_PITCH);
    synth_rng_seed(&rng, job->picture_seed, SYNTH_STREAM_LIGHT);
    c->light_x = 0.8 + 0.1 * synth_bell(&rng);
    c->light_y = 0.7 + 0.1 * synth_bell(&rng);
    double fold = 0.6 + 0.25 * synth_bell(&rng);
    c->fold_cos = synth_cos(fold);
    c->fold_sin = synth_sin(fold);
    c->fold_phase = synth_between(&rng, 0, 2 * SYNTH_PI);
    c->fold_depth = synth_between(&rng, 0.05, 0.11);
    synth_rng_seed(&rng, job->picture_seed, SYNTH_STREAM_TEXTURE);
    c->bend = synth_u32(&rng);
    c->yarn = synth_u32(&rng);
    c->fibre = synth_u32(&rng);
}

/* One pixel: slow things once, the weave at two points (the lens softens the rest). */
static void shade_pixel(const cloth *c, double x, double y, double pixel, float *rgb)
{
    static const double soaked[3] = {0.66, 0.52, 0.34};
    double u = c->angle_cos * x - c->angle_sin * y + c->shift_x, v = c->angle_sin * x + c->angle_cos * y + c->shift_y;
    double bu = 2.6 * synth_noise(x / 70, y / 70, c->bend), bv = 2.6 * synth_noise(x / 60, y / 60, c->bend + 1);
    double along = x * c->fold_cos + y * c->fold_sin;
    double fold = synth_sin(along / 42 + c->fold_phase + 0.9 * synth_noise(x / 150, y / 150, c->bend + 2));
    double light = 1.0 + c->fold_depth * fold;
    double sum[3] = {0, 0, 0};
    for (int k = 0; k < 2; k++) {
        double sample[3], offset = (k ? 0.25 : -0.25) * pixel;
        weave(c, u + bu + offset, v + bv + offset * 0.9, sample);
        for (int i = 0; i < 3; i++) sum[i] += 0.5 * sample[i];
    }
    double wet = has(c, DEFECT_STAIN) ? stain(c, x, y) * (0.45 + 0.45 * c->job->severity) : 0;
    for (int i = 0; i < 3; i++) rgb[i] = (float)(sum[i] * light * synth_mixed(1.0, soaked[i], wet));
}

static void lay_strand(const cloth *c, synth_canvas *canvas)
{
    static const double colour[3] = {0.86, 0.30, 0.22};
    double unit = (double)SYNTH_UNITS / (double)canvas->size;
    for (size_t i = 0; i < canvas->size * canvas->size; i++) {
        double dark = 0.5 * (double)c->shadow.value[i], cover = (double)c->strand.value[i];
        if (dark <= 0 && cover <= 0) continue;
        double x = (double)(i % canvas->size) * unit, y = (double)(i / canvas->size) * unit;
        double twist = 0.85 + 0.22 * synth_sin((x + 0.7 * y) * 2.1);
        for (size_t k = 0; k < 3; k++) {
            double v = (double)canvas->rgb[3 * i + k] * (1 - dark);
            canvas->rgb[3 * i + k] = (float)synth_mixed(v, colour[k] * twist, cover);
        }
    }
}

static bool render(const synth_job *job, synth_canvas *canvas)
{
    cloth c = {0};
    set_up(&c, job);
    bool good = job->defect < 0 || place_defect(&c, canvas->size);
    double unit = (double)SYNTH_UNITS / (double)canvas->size;
    if (good) {
        /* holes and threads live on the cloth, which has moved */
        double x = c.x, y = c.y;
        if (!has(&c, DEFECT_STAIN)) {
            c.x = c.angle_cos * x - c.angle_sin * y + c.shift_x;
            c.y = c.angle_sin * x + c.angle_cos * y + c.shift_y;
            c.thread = (int64_t)synth_floor(c.vertical ? c.x / WARP_PITCH : c.y / WEFT_PITCH);
        }
        for (size_t py = 0; py < canvas->size; py++)
            for (size_t px = 0; px < canvas->size; px++)
                shade_pixel(&c, ((double)px + 0.5) * unit, ((double)py + 0.5) * unit, unit,
                            canvas->rgb + (py * canvas->size + px) * 3);
        if (has(&c, DEFECT_LOOSE_THREAD)) lay_strand(&c, canvas);
    }
    synth_layer_close(&c.strand);
    synth_layer_close(&c.shadow);
    return good;
}

const synth_scene synth_cloth = {"cloth", "woven cloth", defect_names, sizeof defect_names / sizeof defect_names[0],
                                 render};
