/* SPDX-License-Identifier: Apache-2.0 */
/* Brushed metal: fine streaks along one direction, a soft band of light across them. */
#include "synth.h"

#include <math.h>

enum { DEFECT_SCRATCH, DEFECT_DENT, DEFECT_RUST, DEFECT_FINGERPRINT };
static const char *const defect_names[] = {"scratch", "dent", "rust", "fingerprint"};

typedef struct metal {
    const synth_job *job;
    double angle_cos, angle_sin, band, band_width, slope_x, slope_y, tint;
    uint32_t streak;
    double x, y, radius, ratio, turn_cos, turn_sin;
    uint32_t shape;
    synth_layer bright, dark;
} metal;

static bool has(const metal *m, int defect)
{
    return m->job->defect == defect;
}

/* Position in the defect's own frame, in radii. */
static void local(const metal *m, double x, double y, double *u, double *v)
{
    double dx = (x - m->x) / m->radius, dy = (y - m->y) / m->radius;
    *u = m->turn_cos * dx + m->turn_sin * dy;
    *v = (m->turn_cos * dy - m->turn_sin * dx) * m->ratio;
}

static double streaks(const metal *m, double u, double v)
{
    double s = 0.46 * synth_noise(u / 210, v / 0.75, m->streak) + 0.36 * synth_noise(u / 90, v / 1.9, m->streak + 1) +
               0.30 * synth_noise(u / 46, v / 0.9, m->streak + 2) + 0.24 * synth_noise(u / 300, v / 9, m->streak + 3);
    /* now and then one deeper groove */
    double row = synth_floor(v / 1.3), groove = synth_hash((int64_t)row, 7, m->streak);
    if (groove > 0.93) s -= 0.7 * synth_step(0.1, 0.5, synth_noise(u / 70, row, m->streak + 4));
    return s;
}

/* The dent is a hollow with a raised lip: *du, *dv: its slopes. */
static void dent_slope(const metal *m, double x, double y, double *du, double *dv)
{
    double u, v;
    local(m, x, y, &u, &v);
    double r2 = u * u + v * v;
    double bowl = synth_exp(-2.2 * r2) * 4.4, lip = synth_exp(-1.1 * r2) * 1.1;
    double depth = 0.55 + 0.65 * m->job->severity;
    double g = (bowl - lip) * depth;
    *du = g * (m->turn_cos * u - m->turn_sin * v);
    *dv = g * (m->turn_sin * u + m->turn_cos * v);
}

static double rust(const metal *m, double x, double y)
{
    double u, v;
    local(m, x, y, &u, &v);
    double spread = synth_fbm(u * 1.6 + 5, v * 1.6, 4, m->shape);
    return synth_step(0.10, 0.42, 0.62 - 0.62 * sqrt(u * u + v * v) + 0.75 * spread);
}

/* Ridges of a fingertip: a whorl above, arches below, in an oval that fades out. */
static double fingerprint(const metal *m, double x, double y)
{
    double u, v;
    local(m, x, y, &u, &v);
    double oval = u * u * 1.55 + v * v;
    if (oval > 1.4) return 0;
    double wander = 0.10 * synth_noise(u * 2.4, v * 2.4, m->shape);
    double du = u + wander, dv = v + 0.25;
    double d = sqrt(du * du * 1.3 + dv * dv * (dv > 0 ? 0.65 : 1.15)) + 0.07 * du + wander;
    double ridge = synth_sin(d * 2 * SYNTH_PI * 8.0);
    double pressed = synth_step(-0.55, 0.25, synth_fbm(u * 2.2 + 3, v * 2.2, 3, m->shape + 9));
    return synth_step(-0.35, 0.45, ridge) * synth_step(1.15, 0.70, oval) * (0.35 + 0.65 * pressed);
}

static bool place_scratches(metal *m, synth_rng *rng, size_t size)
{
    if (!synth_layer_open(&m->bright, size) || !synth_layer_open(&m->dark, size)) return false;
    double s = m->job->severity;
    size_t count = 1 + synth_below(rng, s > 0.6 ? 3 : 2);
    double heading = synth_between(rng, 0.35, SYNTH_PI - 0.35); /* across the brushing */
    for (size_t k = 0; k < count; k++) {
        double half = synth_between(rng, 22, 36) + 34 * s * synth_between(rng, 0.6, 1);
        double angle = heading + 0.10 * synth_bell(rng), bow = 7 * synth_bell(rng);
        double control[8] = {-half, 0, -half / 3, bow, half / 3, bow * synth_between(rng, 0.2, 1), half, 0};
        double points[2 * 24];
        synth_curve(control, points, 24);
        synth_pose pose = {m->x + 9 * synth_bell(rng), m->y + 9 * synth_bell(rng), angle, 1};
        synth_pose lip = {pose.x + 1.0, pose.y + 1.2, angle, 1};
        double width = 1.1 + 1.3 * s * synth_between(rng, 0.6, 1.1);
        synth_draw_taper(&m->bright, &pose, points, 24, width, 1);
        synth_draw_taper(&m->dark, &lip, points, 24, width * 1.2, 0.9);
    }
    return true;
}

static bool place_defect(metal *m, size_t size)
{
    synth_rng rng;
    synth_rng_seed(&rng, m->job->defect_seed, SYNTH_STREAM_DEFECT);
    double s = m->job->severity, turn;
    m->x = synth_between(&rng, 60, 196);
    m->y = synth_between(&rng, 60, 196);
    m->shape = synth_u32(&rng);
    turn = synth_between(&rng, -0.6, 0.6);
    m->ratio = 1;
    m->radius = 1;
    if (has(m, DEFECT_DENT)) {
        m->radius = 15 + 15 * s * synth_between(&rng, 0.8, 1.2);
        m->ratio = synth_between(&rng, 1.0, 1.5);
    }
    if (has(m, DEFECT_RUST)) m->radius = 20 + 22 * s * synth_between(&rng, 0.8, 1.2);
    if (has(m, DEFECT_FINGERPRINT)) {
        m->radius = synth_between(&rng, 38, 46);
        m->ratio = synth_between(&rng, 0.92, 1.08);
    }
    m->turn_cos = synth_cos(turn);
    m->turn_sin = synth_sin(turn);
    return !has(m, DEFECT_SCRATCH) || place_scratches(m, &rng, size);
}

static void set_up(metal *m, const synth_job *job)
{
    synth_rng rng;
    m->job = job;
    synth_rng_seed(&rng, job->picture_seed, SYNTH_STREAM_POSE);
    double angle = 0.014 * synth_bell(&rng);
    m->angle_cos = synth_cos(angle);
    m->angle_sin = synth_sin(angle);
    synth_rng_seed(&rng, job->picture_seed, SYNTH_STREAM_LIGHT);
    m->band = 118 + 14 * synth_bell(&rng);
    m->band_width = 78 + 5 * synth_bell(&rng);
    m->slope_x = 0.0002 * synth_bell(&rng);
    m->slope_y = -0.0003 + 0.00015 * synth_bell(&rng);
    m->tint = 0.008 * synth_bell(&rng);
    synth_rng_seed(&rng, job->picture_seed, SYNTH_STREAM_TEXTURE);
    m->streak = synth_u32(&rng);
}

static void shade_pixel(const metal *m, size_t at, double x, double y, float *rgb)
{
    static const double oxide[3] = {0.50, 0.25, 0.10}, deep[3] = {0.24, 0.12, 0.07};
    double u = m->angle_cos * x + m->angle_sin * y, v = m->angle_cos * y - m->angle_sin * x;
    double du = 0, dv = 0, s = m->job->severity;
    if (has(m, DEFECT_DENT)) dent_slope(m, x, y, &du, &dv);
    /* a slope throws back the light of another place */
    double off = (u - m->band + 55 * du) / m->band_width;
    double light = 0.47 + 0.27 * synth_exp(-off * off) + m->slope_x * (x - 128) + m->slope_y * (y - 128);
    light += 0.17 * du + 0.23 * dv;
    double grain = streaks(m, u + 4 * dv, v);
    double value = light * (1 + 0.150 * grain);
    if (has(m, DEFECT_FINGERPRINT)) {
        double grease = fingerprint(m, x, y) * (0.55 + 0.45 * s);
        value = synth_mixed(value, 0.80 * light * (1 + 0.03 * grain) - 0.03, grease * 0.75);
    }
    if (has(m, DEFECT_SCRATCH)) {
        value *= 1 - 0.52 * (double)m->dark.value[at] * (0.6 + 0.4 * s);
        value = synth_mixed(value, 0.97, (double)m->bright.value[at] * (0.60 + 0.35 * s));
    }
    double c[3] = {value * (0.985 + m->tint), value, value * (1.025 - m->tint)};
    if (has(m, DEFECT_RUST)) {
        double amount = rust(m, x, y) * (0.62 + 0.33 * s);
        double pit = synth_step(-0.1, 0.6, synth_fbm(x / 3.5, y / 3.5, 3, m->shape + 5));
        for (int k = 0; k < 3; k++) {
            double flake =
                synth_mixed(oxide[k], deep[k], pit) * (1 + 0.25 * synth_noise(x / 1.6, y / 1.6, m->shape + 7));
            c[k] = synth_mixed(c[k], flake * (0.7 + 0.6 * light), amount);
        }
    }
    for (int k = 0; k < 3; k++) rgb[k] = (float)synth_clamp(c[k], 0, 1);
}

static bool render(const synth_job *job, synth_canvas *canvas)
{
    metal m = {0};
    set_up(&m, job);
    bool good = job->defect < 0 || place_defect(&m, canvas->size);
    double unit = (double)SYNTH_UNITS / (double)canvas->size;
    for (size_t i = 0; good && i < canvas->size * canvas->size; i++)
        shade_pixel(&m, i, ((double)(i % canvas->size) + 0.5) * unit, ((double)(i / canvas->size) + 0.5) * unit,
                    canvas->rgb + 3 * i);
    synth_layer_close(&m.bright);
    synth_layer_close(&m.dark);
    return good;
}

const synth_scene synth_metal = {"metal", "brushed metal", defect_names, sizeof defect_names / sizeof defect_names[0],
                                 render};
