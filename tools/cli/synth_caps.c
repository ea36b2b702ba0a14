/* SPDX-License-Identifier: Apache-2.0 */
/* A bottle cap from above on a conveyor belt: flat printed top, rounded shoulder, crimped skirt with 21 teeth. */
#include "synth.h"

#include <math.h>

#define CAP_RADIUS 98.0
#define TEETH      21
#define SHOULDER   0.70 /* of the radius: the flat top ends here */

enum { DEFECT_BENT_RIM, DEFECT_MISPRINT, DEFECT_SCRATCH, DEFECT_DENT };
static const char *const defect_names[] = {"bent_rim", "misprint", "scratch", "dent"};

typedef struct cap {
    const synth_job *job;
    synth_pose pose;
    double turn_cos, turn_sin;
    double light[3], half[3], ambient;
    uint32_t belt, paint;
    synth_layer white, gold, shadow, bare, groove;
    double bend_at, bend_width, bend_depth;
    double dent_x, dent_y, dent_radius, dent_depth;
} cap;

static bool has(const cap *c, int defect)
{
    return c->job->defect == defect;
}

/* How far the rim is pushed in at `angle`, as a share of the radius. */
static double bend(const cap *c, double angle)
{
    double d = angle - c->bend_at;
    d -= 2 * SYNTH_PI * synth_floor(d / (2 * SYNTH_PI) + 0.5);
    d /= c->bend_width;
    return c->bend_depth * synth_exp(-d * d * d * d);
}

static double rim(const cap *c, double angle)
{
    double pushed = has(c, DEFECT_BENT_RIM) ? bend(c, angle) : 0;
    double teeth = pushed > 0 ? 1 - synth_clamp(pushed * 7, 0, 0.9) : 1;
    return 1 + 0.022 * teeth * synth_cos(TEETH * angle) - pushed;
}

/* Height above the belt, in radii, at (x, y) in radii from the middle. */
static double height(const cap *c, double x, double y)
{
    double r = sqrt(x * x + y * y), h = 0.30 + 0.012 * (1 - r * r);
    if (r > SHOULDER - 0.03) {
        double angle = synth_atan2(y, x);
        double edge = rim(c, angle);
        double t = synth_clamp((r - SHOULDER) / (edge - SHOULDER), 0, 1);
        h -= 0.26 * t * t * (0.55 + 0.45 * t);
        double teeth = edge < 0.965 ? 0.3 : 1;
        h += 0.026 * teeth * synth_step(0.25, 0.95, t) * synth_cos(TEETH * angle);
    }
    if (has(c, DEFECT_DENT)) {
        double dx = (x - c->dent_x) / c->dent_radius, dy = (y - c->dent_y) / c->dent_radius;
        h -= c->dent_depth * synth_exp(-1.6 * (dx * dx + dy * dy));
    }
    return h;
}

/* Lacquered sheet metal: diffuse, a broad gloss and a tight one. */
static void lacquer(const cap *c, double x, double y, const double paint[3], double metallic, double rgb[3])
{
    double e = 0.006, h = height(c, x, y);
    double nx = -(height(c, x + e, y) - h) / e, ny = -(height(c, x, y + e) - h) / e, nz = 1;
    double n = sqrt(nx * nx + ny * ny + 1);
    nx /= n;
    ny /= n;
    nz /= n;
    double diffuse = nx * c->light[0] + ny * c->light[1] + nz * c->light[2];
    double gloss = nx * c->half[0] + ny * c->half[1] + nz * c->half[2];
    gloss = gloss > 0 ? gloss * gloss : 0;
    gloss *= gloss;
    gloss *= gloss; /* 8 */
    double tight = gloss * gloss;
    tight *= tight;
    tight *= tight; /* 64 */
    double base = c->ambient + 0.66 * synth_clamp(diffuse, 0, 1);
    double shine = (0.05 + 0.10 * metallic) * gloss + (0.42 + 0.2 * metallic) * tight;
    for (int k = 0; k < 3; k++) rgb[k] = paint[k] * base + shine * (1 - 0.35 * paint[k]);
}

static void belt(const cap *c, double x, double y, double rgb[3])
{
    double weave = 0.5 * synth_noise(x / 1.4, y / 2.6, c->belt) + 0.5 * synth_fbm(x / 9, y / 9, 2, c->belt + 1);
    double rib = synth_sin(y * 2 * SYNTH_PI / 16.0);
    double v = 0.255 + 0.020 * weave + 0.012 * rib;
    rgb[0] = v * 0.97;
    rgb[1] = v;
    rgb[2] = v * 1.04;
}

/* The print: gold ring, white disc edge, star, name and a line of small text. */
static bool print_top(cap *c, size_t size, synth_rng *rng)
{
    if (!synth_layer_open(&c->white, size) || !synth_layer_open(&c->gold, size)) return false;
    synth_pose pose = c->pose;
    double s = c->job->severity;
    size_t kind = 0;
    if (has(c, DEFECT_MISPRINT)) {
        kind = 1 + synth_below(rng, 3);
        if (kind == 1) { /* off centre and turned */
            double angle = synth_between(rng, 0, 2 * SYNTH_PI), far = 6 + 9 * s;
            pose.x += far * synth_cos(angle);
            pose.y += far * synth_sin(angle);
            pose.angle += 0.25 * synth_bell(rng) * s;
        }
    }
    synth_draw_disc(&c->gold, &pose, 0, 0, 63, 1);
    synth_draw_disc(&c->gold, &pose, 0, 0, 59.5, -1);
    double star[22];
    for (int k = 0; k < 11; k++) {
        double r = k % 2 ? 7.2 : 17, a = SYNTH_PI * (k / 5.0 - 0.5);
        star[2 * k] = r * synth_cos(a);
        star[2 * k + 1] = -26 + r * synth_sin(a);
    }
    synth_draw_line(&c->white, &pose, star, 11, 2.6, 1);
    synth_draw_disc(&c->white, &pose, 0, -26, 7.6, 1);
    synth_draw_text(&c->white, &pose, 0, 11, 24, 5.0, "COZA", 1);
    synth_draw_text(&c->gold, &pose, 0, 38, 8.5, 1.8, "BRAU 1904", 1);
    if (kind == 2) { /* ink did not take */
        double angle = synth_between(rng, 0, 2 * SYNTH_PI), far = synth_between(rng, 4, 26);
        double x = far * synth_cos(angle), y = far * synth_sin(angle);
        synth_layer *layers[2] = {&c->white, &c->gold};
        for (size_t k = 0; k < 7; k++) {
            double r = (8 + 15 * s) * synth_between(rng, 0.4, 0.8);
            double ox = x + (12 + 8 * s) * 0.6 * synth_bell(rng), oy = y + 7 * synth_bell(rng);
            for (size_t i = 0; i < 2; i++) synth_draw_disc(layers[i], &pose, ox, oy, r, -1);
        }
    }
    if (kind == 3) { /* printed twice */
        synth_pose twice = pose;
        twice.x += 4 + 4 * s;
        twice.y -= 3 + 4 * s;
        twice.angle += 0.05;
        synth_draw_text(&c->white, &twice, 0, 11, 24, 5.0, "COZA", 0.85);
        synth_draw_line(&c->white, &twice, star, 11, 2.6, 0.85);
        synth_draw_text(&c->gold, &twice, 0, 38, 8.5, 1.8, "BRAU 1904", 0.85);
    }
    return true;
}

static bool place_scratch(cap *c, size_t size, synth_rng *rng)
{
    if (!synth_layer_open(&c->bare, size) || !synth_layer_open(&c->groove, size)) return false;
    double s = c->job->severity, angle = synth_between(rng, 0, SYNTH_PI);
    size_t count = 1 + synth_below(rng, 3);
    for (size_t k = 0; k < count; k++) {
        double half = 18 + 24 * s * synth_between(rng, 0.7, 1.1), bow = 6 * synth_bell(rng);
        double control[8] = {-half, 0, -half / 3, bow, half / 3, -bow * 0.4, half, 0}, points[2 * 24];
        synth_curve(control, points, 24);
        synth_pose at = {synth_between(rng, -16, 16), synth_between(rng, -16, 16), angle + 0.12 * synth_bell(rng), 1};
        synth_pose pose = synth_pose_in(&c->pose, &at), lip = pose;
        lip.x += 1.1;
        lip.y += 1.1;
        double width = 1.4 + 1.8 * s * synth_between(rng, 0.6, 1);
        synth_draw_taper(&c->bare, &pose, points, 24, width, 1);
        synth_draw_taper(&c->groove, &lip, points, 24, width * 1.2, 0.8);
    }
    return true;
}

static bool place_defect(cap *c, size_t size)
{
    synth_rng rng;
    synth_rng_seed(&rng, c->job->defect_seed, SYNTH_STREAM_DEFECT);
    double s = c->job->severity, angle = synth_between(&rng, 0, 2 * SYNTH_PI);
    c->bend_at = angle;
    c->bend_width = 0.28 + 0.22 * s * synth_between(&rng, 0.7, 1.2);
    c->bend_depth = 0.055 + 0.085 * s * synth_between(&rng, 0.8, 1.1);
    double far = synth_between(&rng, 0.1, 0.45);
    c->dent_x = far * synth_cos(angle);
    c->dent_y = far * synth_sin(angle);
    c->dent_radius = 0.13 + 0.10 * s * synth_between(&rng, 0.8, 1.2);
    c->dent_depth = c->dent_radius * (0.20 + 0.26 * s);
    if (has(c, DEFECT_SCRATCH) && !place_scratch(c, size, &rng)) return false;
    return print_top(c, size, &rng);
}

static bool set_up(cap *c, const synth_job *job, size_t size)
{
    synth_rng rng;
    c->job = job;
    synth_rng_seed(&rng, job->picture_seed, SYNTH_STREAM_POSE);
    c->pose = (synth_pose){128 + 1.8 * synth_bell(&rng), 128 + 1.8 * synth_bell(&rng), 0.05 * synth_bell(&rng), 1};
    c->turn_cos = synth_cos(c->pose.angle);
    c->turn_sin = synth_sin(c->pose.angle);
    synth_rng_seed(&rng, job->picture_seed, SYNTH_STREAM_LIGHT);
    c->light[0] = -0.42 + 0.025 * synth_bell(&rng);
    c->light[1] = -0.50 + 0.025 * synth_bell(&rng);
    c->light[2] = sqrt(1 - c->light[0] * c->light[0] - c->light[1] * c->light[1]);
    double n = sqrt(c->light[0] * c->light[0] + c->light[1] * c->light[1] + (c->light[2] + 1) * (c->light[2] + 1));
    for (int k = 0; k < 3; k++) c->half[k] = (c->light[k] + (k == 2)) / n;
    c->ambient = 0.34 + 0.012 * synth_bell(&rng);
    synth_rng_seed(&rng, job->picture_seed, SYNTH_STREAM_TEXTURE);
    c->belt = synth_u32(&rng);
    c->paint = synth_u32(&rng);
    if (!synth_layer_open(&c->shadow, size)) return false;
    synth_draw_disc(&c->shadow, &c->pose, 6, 8, CAP_RADIUS * 0.99, 1);
    return synth_layer_blur(&c->shadow, 4);
}

/* `at`: the pixel's place in the layers; (x, y): a point of it, in units. */
static void shade_point(const cap *c, size_t at, double x, double y, double pixel, double rgb[3])
{
    static const double red[3] = {0.66, 0.09, 0.10}, white[3] = {0.95, 0.93, 0.88}, gold[3] = {0.86, 0.66, 0.28};
    static const double steel[3] = {0.78, 0.79, 0.80};
    double dx = (x - c->pose.x) / CAP_RADIUS, dy = (y - c->pose.y) / CAP_RADIUS;
    double u = c->turn_cos * dx + c->turn_sin * dy, v = c->turn_cos * dy - c->turn_sin * dx, r2 = u * u + v * v;
    double inside = r2 < 0.7 ? 1 : 0;
    if (r2 >= 0.7 && r2 < 1.1) {
        double edge = rim(c, synth_atan2(v, u)), soft = 0.5 * pixel / CAP_RADIUS;
        inside = synth_step(edge + soft, edge - soft, sqrt(r2));
    }
    double under[3] = {0, 0, 0}, top[3] = {0, 0, 0};
    if (inside < 1) {
        belt(c, x, y, under);
        for (int k = 0; k < 3; k++) under[k] *= 1 - 0.62 * (double)c->shadow.value[at];
    }
    if (inside > 0) {
        double paint[3], w = (double)c->white.value[at], g = (double)c->gold.value[at];
        double bare = c->bare.value ? (double)c->bare.value[at] : 0;
        double grain = 1 + 0.020 * synth_noise(x / 1.3, y / 1.3, c->paint);
        for (int k = 0; k < 3; k++) {
            paint[k] = synth_mixed(synth_mixed(red[k], gold[k], g), white[k], w) * grain;
            if (c->groove.value) paint[k] *= 1 - 0.6 * (double)c->groove.value[at];
            paint[k] = synth_mixed(paint[k], steel[k], bare);
        }
        lacquer(c, u, v, paint, synth_mixed(g, 1, bare), top);
        double rimward = synth_step(0.86, 1.02, sqrt(r2)); /* the skirt turns away from the sky */
        for (int k = 0; k < 3; k++) top[k] *= 1 - 0.45 * rimward;
    }
    for (int k = 0; k < 3; k++) rgb[k] = synth_mixed(under[k], top[k], inside);
}

static bool render(const synth_job *job, synth_canvas *canvas)
{
    cap c = {0};
    bool good = set_up(&c, job, canvas->size);
    good = good && (job->defect < 0 ? print_top(&c, canvas->size, NULL) : place_defect(&c, canvas->size));
    double unit = (double)SYNTH_UNITS / (double)canvas->size;
    for (size_t i = 0; good && i < canvas->size * canvas->size; i++) {
        double x = (double)(i % canvas->size), y = (double)(i / canvas->size), sum[3] = {0, 0, 0};
        double dx = (x + 0.5) * unit - c.pose.x, dy = (y + 0.5) * unit - c.pose.y;
        double r2 = (dx * dx + dy * dy) / (CAP_RADIUS * CAP_RADIUS);
        int samples = r2 > 0.40 && r2 < 1.10 ? 2 : 1; /* fine detail only where the sheet is bent */
        for (int k = 0; k < samples; k++) {
            double point[3], offset = samples == 1 ? 0.5 : 0.25 + 0.5 * k;
            shade_point(&c, i, (x + offset) * unit, (y + offset) * unit, unit, point);
            for (int n = 0; n < 3; n++) sum[n] += point[n] / samples;
        }
        for (size_t n = 0; n < 3; n++) canvas->rgb[3 * i + n] = (float)synth_clamp(sum[n], 0, 1);
    }
    synth_layer *layers[] = {&c.white, &c.gold, &c.shadow, &c.bare, &c.groove};
    for (size_t k = 0; k < sizeof layers / sizeof layers[0]; k++) synth_layer_close(layers[k]);
    return good;
}

const synth_scene synth_caps = {"caps", "bottle caps", defect_names, sizeof defect_names / sizeof defect_names[0],
                                render};
