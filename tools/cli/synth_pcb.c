/* SPDX-License-Identifier: Apache-2.0 */
/* A small printed circuit: solder mask over traces, vias, a 16-pin chip, resistors and capacitors, white print. */
#include "synth.h"

#include <math.h>

enum { DEFECT_BRIDGE, DEFECT_OPEN_TRACE, DEFECT_MISSING_PART, DEFECT_MISPRINT, DEFECT_SCRATCH };
static const char *const defect_names[] = {"bridge", "open_trace", "missing_part", "misprint", "scratch"};

#define PIN_PITCH 10.0
#define CHIP_X    128.0
#define CHIP_Y    122.0
#define PIN_X     28.0 /* from the chip's middle */

typedef struct part {
    double x, y;
    bool upright, capacitor;
    const char *label, *marking;
    double label_x, label_y;
} part;
static const part parts[] = {
    {44, 52, false, false, "R1", "103", 44, 39},     {44, 88, false, false, "R2", "472", 44, 75},
    {44, 124, false, true, "C1", "", 44, 111},       {44, 160, false, false, "R3", "103", 44, 147},
    {212, 52, false, true, "C2", "", 212, 39},       {212, 88, false, false, "R4", "221", 212, 75},
    {212, 124, false, false, "R5", "103", 212, 111}, {212, 160, false, true, "C3", "", 212, 147},
    {96, 208, true, false, "R6", "512", 80, 208},    {160, 208, true, true, "C4", "", 176, 208},
};
enum { PARTS = sizeof parts / sizeof parts[0], TITLE };

/* Each trace: a pin's pad, a bend, an end. */
typedef struct trace {
    size_t count;
    double points[10];
} trace;
static const trace traces[] = {
    {4, {96, 87, 84, 87, 60, 63, 60, 52}},
    {3, {96, 97, 74, 97, 58, 88}},
    {4, {96, 107, 82, 107, 68, 124, 58, 124}},
    {3, {96, 117, 84, 117, 76, 136}},
    {4, {96, 127, 88, 127, 70, 160, 58, 160}},
    {4, {96, 137, 90, 144, 90, 170, 96, 196}},
    {3, {96, 147, 80, 168, 80, 184}},
    {4, {160, 87, 172, 87, 196, 63, 196, 52}},
    {3, {160, 97, 182, 97, 198, 88}},
    {4, {160, 107, 174, 107, 188, 124, 198, 124}},
    {3, {160, 117, 172, 117, 180, 138}},
    {4, {160, 127, 168, 127, 186, 160, 198, 160}},
    {4, {160, 137, 166, 144, 166, 170, 160, 196}},
    {3, {160, 147, 176, 168, 176, 184}},
    {4, {30, 52, 18, 64, 18, 186, 34, 202}},
    {4, {226, 52, 238, 64, 238, 186, 222, 202}},
    {3, {96, 220, 110, 234, 146, 234}},
    {2, {146, 234, 160, 220}},
    {2, {30, 88, 18, 88}},
    {2, {226, 124, 238, 124}},
};
static const double vias[][2] = {{76, 138},  {80, 186}, {180, 140}, {176, 186}, {36, 204}, {220, 204},
                                 {128, 184}, {112, 62}, {144, 62},  {128, 234}, {66, 184}, {190, 184}};
enum { TRACES = sizeof traces / sizeof traces[0], VIAS = sizeof vias / sizeof vias[0] };

typedef struct board {
    const synth_job *job;
    synth_pose pose;
    double light_x, light_y, tone;
    uint32_t weave, grain;
    synth_layer copper, pad, drill, ring, silk, shadow, body, ends, metal, marking, cut, laminate;
    synth_pose chip, placed[PARTS];
    size_t missing; /* PARTS: none */
    size_t wrong;   /* the label that is misprinted, or TITLE; PARTS: none */
} board;

static bool has(const board *b, int defect)
{
    return b->job->defect == defect;
}

static bool open_layers(board *b, size_t size)
{
    synth_layer *all[] = {&b->copper, &b->pad,  &b->drill, &b->ring,    &b->silk, &b->shadow,
                          &b->body,   &b->ends, &b->metal, &b->marking, &b->cut,  &b->laminate};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (!synth_layer_open(all[i], size)) return false;
    return true;
}

static void close_layers(board *b)
{
    synth_layer *all[] = {&b->copper, &b->pad,  &b->drill, &b->ring,    &b->silk, &b->shadow,
                          &b->body,   &b->ends, &b->metal, &b->marking, &b->cut,  &b->laminate};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) synth_layer_close(all[i]);
}

static void draw_copper(board *b)
{
    for (size_t i = 0; i < TRACES; i++)
        synth_draw_line(&b->copper, &b->pose, traces[i].points, traces[i].count, i > 13 ? 4.2 : 3.2, 1);
    for (size_t i = 0; i < VIAS; i++) {
        synth_draw_disc(&b->ring, &b->pose, vias[i][0], vias[i][1], 4.6, 1);
        synth_draw_disc(&b->drill, &b->pose, vias[i][0], vias[i][1], 2.1, 1);
    }
    static const double corners[4][2] = {{20, 20}, {236, 20}, {20, 236}, {236, 236}};
    for (size_t i = 0; i < 4; i++) {
        synth_draw_disc(&b->ring, &b->pose, corners[i][0], corners[i][1], 11.5, 1);
        synth_draw_disc(&b->drill, &b->pose, corners[i][0], corners[i][1], 7.2, 1);
    }
}

/* The white print; one label may be wrong: in the wrong place, printed twice, or missing. */
static void draw_silk(board *b, synth_rng *rng)
{
    double slip = b->wrong == TITLE ? 4 + 5 * b->job->severity : 0; /* the screen slipped: printed twice */
    synth_draw_text(&b->silk, &b->pose, 128, 17, 9, 1.7, "COZA-16 R2", 1);
    if (slip > 0) synth_draw_text(&b->silk, &b->pose, 128 + slip, 17 + slip, 9, 1.7, "COZA-16 R2", 0.9);
    static const double outline[] = {104, 76, 104, 168, 152, 168, 152, 76, 134, 76, 131, 80, 125, 80, 122, 76, 104, 76};
    synth_draw_line(&b->silk, &b->pose, outline, 9, 1.2, 1);
    synth_draw_text(&b->silk, &b->pose, 128, 68, 8, 1.5, "U1", 1);
    for (size_t i = 0; i < PARTS; i++) {
        double x = parts[i].label_x, y = parts[i].label_y;
        if (i == b->wrong) {
            size_t kind = synth_below(rng, 3);
            double s = b->job->severity;
            if (kind == 0) continue;
            if (kind == 1) synth_draw_text(&b->silk, &b->pose, x, y, 8, 1.5, parts[i].label, 1);
            x += 5 + 5 * s;
            y -= 3 + 3 * s;
        }
        synth_draw_text(&b->silk, &b->pose, x, y, 8, 1.5, parts[i].label, 1);
    }
}

static void draw_part(board *b, size_t i)
{
    synth_pose at = b->placed[i], home = {parts[i].x, parts[i].y, parts[i].upright ? SYNTH_PI / 2 : 0, 1};
    synth_pose board_home = synth_pose_in(&b->pose, &home);
    for (int side = -1; side <= 1; side += 2) synth_draw_box(&b->pad, &board_home, side * 12.0, 0, 5.2, 7.2, 0.8, 1);
    if (i == b->missing) return;
    synth_pose below = at;
    below.x += 1.8;
    below.y += 2.2;
    synth_draw_box(&b->shadow, &below, 0, 0, 14, 6.6, 1, 1);
    synth_layer *body = parts[i].capacitor ? &b->laminate : &b->body;
    synth_draw_box(body, &at, 0, 0, 14, 6.2, 0.8, 1);
    for (int side = -1; side <= 1; side += 2) synth_draw_box(&b->ends, &at, side * 12.2, 0, 2.4, 6.2, 0.8, 1);
    synth_draw_text(&b->marking, &at, 0, 0, 6.0, 1.1, parts[i].marking, 0.85);
}

static void draw_chip(board *b)
{
    synth_pose home = {CHIP_X, CHIP_Y, 0, 1}, at = synth_pose_in(&b->pose, &home), below = b->chip;
    below.x += 2.6;
    below.y += 3.2;
    synth_draw_box(&b->shadow, &below, 0, 0, 22, 42, 1, 1);
    for (int side = -1; side <= 1; side += 2)
        for (int pin = 0; pin < 8; pin++) {
            double y = (pin - 3.5) * PIN_PITCH;
            synth_draw_box(&b->pad, &at, side * (PIN_X + 2), y, 5.6, 3.0, 0.8, 1);
            synth_draw_box(&b->metal, &b->chip, side * (PIN_X - 2.5), y, 6.4, 2.0, 0.5, 1);
        }
    synth_draw_box(&b->body, &b->chip, 0, 0, 20.5, 41, 1.2, 1);
    synth_draw_disc(&b->marking, &b->chip, -14, -34, 2.6, 0.55);
    synth_pose sideways = {0, 0, -SYNTH_PI / 2, 1}, text = synth_pose_in(&b->chip, &sideways);
    synth_draw_text(&b->marking, &text, 0, -5, 8.5, 1.5, "CZ1604A", 0.8);
    synth_draw_text(&b->marking, &text, 0, 8, 6.5, 1.2, "2617 TU", 0.65);
}

/* Solder from one pin to the next, fat at both ends. */
static void draw_bridge(board *b, synth_rng *rng)
{
    synth_pose home = {CHIP_X, CHIP_Y, 0, 1}, at = synth_pose_in(&b->pose, &home);
    double side = synth_below(rng, 2) ? 1 : -1, s = b->job->severity;
    double y = ((double)synth_below(rng, 7) - 3.5) * PIN_PITCH, x = side * (PIN_X + synth_between(rng, 0, 3));
    double bow = side * synth_between(rng, 0.5, 2.5);
    double control[8] = {x, y, x + bow, y + 3, x + bow, y + 7, x, y + PIN_PITCH}, points[2 * 10];
    synth_curve(control, points, 10);
    synth_draw_line(&b->metal, &at, points, 10, 3.2 + 3.6 * s, 1);
    for (int k = 0; k < 2; k++)
        synth_draw_disc(&b->metal, &at, x + synth_bell(rng) * 0.5, y + k * PIN_PITCH, 3.6 + 2.0 * s, 1);
}

/* A piece of one trace is gone: copper and mask are eaten away. */
static void draw_open_trace(board *b, synth_rng *rng)
{
    static const size_t candidates[] = {0, 2, 4, 5, 7, 9, 11, 12, 14, 15};
    const trace *t = &traces[candidates[synth_below(rng, sizeof candidates / sizeof candidates[0])]];
    const double *p = t->points + 2 * (t->count - 3); /* the middle piece is the long one */
    double at = synth_between(rng, 0.3, 0.7), x = synth_mixed(p[0], p[2], at), y = synth_mixed(p[1], p[3], at);
    double dx = p[2] - p[0], dy = p[3] - p[1], length = sqrt(dx * dx + dy * dy), half = 2.2 + 3.4 * b->job->severity;
    for (int k = 0; k < 5; k++) {
        double along = half * (k - 2) / 2.0;
        double ox = x + along * dx / length + 0.5 * synth_bell(rng),
               oy = y + along * dy / length + 0.5 * synth_bell(rng);
        double r = 2.9 * synth_between(rng, 0.9, 1.25);
        synth_draw_disc(&b->copper, &b->pose, ox, oy, r, -1);
        synth_draw_disc(&b->cut, &b->pose, ox, oy, r, 1);
    }
}

static void draw_scratch(board *b, synth_rng *rng)
{
    double s = b->job->severity, half = 18 + 22 * s, points[2 * 20];
    double bow = 5 * synth_bell(rng), control[8] = {-half, 0, -half / 3, bow, half / 3, bow / 2, half, 0};
    synth_curve(control, points, 20);
    /* the left or the right field, where there is mask and copper to scratch */
    double x = synth_below(rng, 2) ? synth_between(rng, 64, 88) : synth_between(rng, 168, 192);
    synth_pose at = {x, synth_between(rng, 66, 190), SYNTH_PI / 2 + 0.45 * synth_bell(rng), 1};
    synth_pose pose = synth_pose_in(&b->pose, &at);
    synth_draw_taper(&b->cut, &pose, points, 20, 1.8 + 1.6 * s, 1);
}

static bool set_up(board *b, const synth_job *job, size_t size)
{
    synth_rng rng;
    b->job = job;
    if (!open_layers(b, size)) return false;
    synth_rng_seed(&rng, job->picture_seed, SYNTH_STREAM_POSE);
    double angle = 0.006 * synth_bell(&rng), x = 128 + 1.2 * synth_bell(&rng), y = 128 + 1.2 * synth_bell(&rng);
    double c = synth_cos(angle), n = synth_sin(angle);
    b->pose = (synth_pose){x - c * 128 + n * 128, y - n * 128 - c * 128, angle, 1}; /* turns about the middle */
    synth_pose chip = {CHIP_X + 0.4 * synth_bell(&rng), CHIP_Y + 0.4 * synth_bell(&rng), 0.004 * synth_bell(&rng), 1};
    b->chip = synth_pose_in(&b->pose, &chip);
    for (size_t i = 0; i < PARTS; i++) {
        synth_pose at = {parts[i].x + 0.5 * synth_bell(&rng), parts[i].y + 0.5 * synth_bell(&rng),
                         0.018 * synth_bell(&rng) + (parts[i].upright ? SYNTH_PI / 2 : 0), 1};
        b->placed[i] = synth_pose_in(&b->pose, &at);
    }
    synth_rng_seed(&rng, job->picture_seed, SYNTH_STREAM_LIGHT);
    b->light_x = -0.0004 + 0.0002 * synth_bell(&rng);
    b->light_y = -0.0006 + 0.0002 * synth_bell(&rng);
    b->tone = 1 + 0.012 * synth_bell(&rng);
    synth_rng_seed(&rng, job->picture_seed, SYNTH_STREAM_TEXTURE);
    b->weave = synth_u32(&rng);
    b->grain = synth_u32(&rng);
    b->missing = b->wrong = PARTS;
    return true;
}

static bool draw_board(board *b)
{
    synth_rng rng;
    synth_rng_seed(&rng, b->job->defect_seed, SYNTH_STREAM_DEFECT);
    if (has(b, DEFECT_MISSING_PART)) b->missing = synth_below(&rng, PARTS);
    if (has(b, DEFECT_MISPRINT)) b->wrong = synth_below(&rng, 5) < 3 ? synth_below(&rng, PARTS) : TITLE;
    draw_copper(b);
    if (has(b, DEFECT_OPEN_TRACE)) draw_open_trace(b, &rng);
    if (has(b, DEFECT_SCRATCH)) draw_scratch(b, &rng);
    draw_silk(b, &rng);
    for (size_t i = 0; i < PARTS; i++) draw_part(b, i);
    draw_chip(b);
    if (has(b, DEFECT_BRIDGE)) draw_bridge(b, &rng);
    return synth_layer_blur(&b->shadow, 1.4);
}

static void blend(double rgb[3], const double colour[3], double light, double amount)
{
    for (int k = 0; k < 3; k++) rgb[k] = synth_mixed(rgb[k], colour[k] * light, amount);
}

/* The edges of a layer that face the light are brighter: the difference between two neighbours, diagonally. */
static double relief(const synth_layer *l, size_t x, size_t y)
{
    if (x == 0 || y == 0 || x + 1 >= l->size || y + 1 >= l->size) return 0;
    return (double)(l->value[(y + 1) * l->size + x + 1] - l->value[(y - 1) * l->size + x - 1]);
}

static void shade_pixel(const board *b, size_t px, size_t py, double unit, float *out)
{
    static const double mask[3] = {0.045, 0.270, 0.150}, covered[3] = {0.130, 0.430, 0.230};
    static const double laminate[3] = {0.46, 0.37, 0.20}, tin[3] = {0.76, 0.76, 0.73}, gold[3] = {0.83, 0.68, 0.34};
    static const double bare[3] = {0.86, 0.55, 0.34}, white[3] = {0.92, 0.93, 0.90}, black[3] = {0.115, 0.115, 0.125};
    static const double tan[3] = {0.62, 0.47, 0.30}, hole[3] = {0.03, 0.03, 0.035};
    size_t at = py * b->copper.size + px;
    double x = ((double)px + 0.5) * unit, y = ((double)py + 0.5) * unit;
    double fibre = synth_sin(x * 1.9) * synth_sin(y * 1.9) * 0.02 + 0.025 * synth_noise(x / 5, y / 5, b->weave);
    double rough = synth_noise(x / 1.5, y / 1.5, b->grain);
    double rgb[3] = {mask[0] * (1 + fibre), mask[1] * (1 + fibre), mask[2] * (1 + fibre)};
    double copper = (double)b->copper.value[at];
    blend(rgb, covered, 1 + fibre + 0.30 * relief(&b->copper, px, py), copper);
    double cut = (double)b->cut.value[at];
    if (cut > 0) { /* copper shines where the scratch crosses it, else the glass fibre shows */
        double shown[3];
        for (int k = 0; k < 3; k++) shown[k] = synth_mixed(laminate[k], bare[k], copper) * (1 + 0.12 * rough);
        blend(rgb, shown, 1, cut);
    }
    blend(rgb, gold, 1 + 0.25 * relief(&b->ring, px, py) + 0.05 * rough, (double)b->ring.value[at]);
    blend(rgb, hole, 1, (double)b->drill.value[at]);
    blend(rgb, tin, 1 + 0.22 * relief(&b->pad, px, py) + 0.05 * rough, (double)b->pad.value[at]);
    blend(rgb, white, 1 + 0.03 * rough, (double)b->silk.value[at] * 0.94);
    double shade = 1 - 0.55 * (double)b->shadow.value[at];
    for (int k = 0; k < 3; k++) rgb[k] *= shade;
    blend(rgb, tin, 1.02 - 0.30 * relief(&b->metal, px, py) + 0.04 * rough, (double)b->metal.value[at]);
    blend(rgb, black, 1 - 0.9 * relief(&b->body, px, py) + 0.10 * rough, (double)b->body.value[at]);
    blend(rgb, tan, 1 - 0.25 * relief(&b->laminate, px, py) + 0.03 * rough, (double)b->laminate.value[at]);
    blend(rgb, tin, 1.05 - 0.2 * relief(&b->ends, px, py) + 0.05 * rough, (double)b->ends.value[at]);
    blend(rgb, white, 0.86, (double)b->marking.value[at]);
    double light = b->tone * (1.06 + b->light_x * (x - 128) + b->light_y * (y - 128));
    for (int k = 0; k < 3; k++) out[k] = (float)synth_clamp(rgb[k] * light, 0, 1);
}

static bool render(const synth_job *job, synth_canvas *canvas)
{
    board b = {0};
    double unit = (double)SYNTH_UNITS / (double)canvas->size;
    bool good = set_up(&b, job, canvas->size) && draw_board(&b);
    for (size_t y = 0; good && y < canvas->size; y++)
        for (size_t x = 0; x < canvas->size; x++) shade_pixel(&b, x, y, unit, canvas->rgb + (y * canvas->size + x) * 3);
    close_layers(&b);
    return good;
}

const synth_scene synth_pcb = {"pcb", "printed circuit", defect_names, sizeof defect_names / sizeof defect_names[0],
                               render};
