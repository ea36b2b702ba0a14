/* SPDX-License-Identifier: Apache-2.0 */
/* docs/math/confidence.md says why the anchor is the median and why weights are constants of every derivative. */
#include "losses/soft_confident.h"

#include "util/alloc.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

void cz_confidence_options_init(cz_confidence_options *options)
{
    *options = (cz_confidence_options){.kappa = 1.5, .floor = 1e-3, .anchor = CZ_ANCHOR_MEDIAN, .hard = false};
}

/* ---- window --------------------------------------------------------------------------------------------------- */

/* Apart from the window, so that reading the spread of a constant one may grow it. */
typedef struct scratch {
    uint32_t *keys; /* [2 room] scores as ordered integers, and space to gather them in */
    size_t room;
} scratch;

struct cz_score_window {
    size_t capacity, count, images;
    size_t next;   /* where the next score goes; the oldest one once the ring is full */
    float *values; /* [capacity] ring */
    scratch *work;
};

cz_status cz_score_window_create(size_t capacity, cz_score_window **out)
{
    if (capacity < 1) return cz_fail(CZ_E_ARG, "a score window must hold at least one score");
    cz_score_window *window = cz_calloc(1, sizeof *window);
    if (!window) return CZ_E_MEMORY;
    window->capacity = capacity;
    window->values = cz_alloc_array(capacity, sizeof *window->values);
    window->work = cz_calloc(1, sizeof *window->work);
    if (!window->values || !window->work) {
        cz_score_window_destroy(window);
        return CZ_E_MEMORY;
    }
    *out = window;
    return CZ_OK;
}

void cz_score_window_destroy(cz_score_window *window)
{
    if (!window) return;
    if (window->work) cz_free(window->work->keys);
    cz_free(window->work);
    cz_free(window->values);
    cz_free(window);
}

void cz_score_window_push(cz_score_window *window, const float *scores, size_t count, size_t images)
{
    if (!cz_add_size(window->images, images, &window->images)) window->images = SIZE_MAX;
    if (count == 0) return;
    if (count > window->capacity) {
        scores += count - window->capacity;
        count = window->capacity;
    }
    const size_t to_end = window->capacity - window->next, first = count < to_end ? count : to_end;
    memcpy(window->values + window->next, scores, first * sizeof *scores);
    memcpy(window->values, scores + first, (count - first) * sizeof *scores);
    window->next = count < to_end ? window->next + count : count - to_end;
    window->count = count < window->capacity - window->count ? window->count + count : window->capacity;
}

size_t cz_score_window_count(const cz_score_window *window)
{
    return window->count;
}

size_t cz_score_window_capacity(const cz_score_window *window)
{
    return window->capacity;
}

size_t cz_score_window_images(const cz_score_window *window)
{
    return window->images;
}

void cz_score_window_values(const cz_score_window *window, float *out)
{
    const size_t oldest = window->count == window->capacity ? window->next : 0, first = window->count - oldest;
    memcpy(out, window->values + oldest, first * sizeof *out);
    memcpy(out + first, window->values, oldest * sizeof *out);
}

/* ---- order statistics ----------------------------------------------------------------------------------------- */

enum {
    DIGIT_BITS = 11, /* 32 bits in three digits */
    BINS = 1 << DIGIT_BITS,
    LEVELS = 3,
    FEW = 24, /* below this, insertion sort is faster than a histogram */
    RANKS = 7 /* the least one and two neighbours of each quartile */
};

/* Unsigned integers in the order of the floats; -0 comes just before 0. */
static uint32_t key_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static float value_of(uint32_t key)
{
    const uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void insertion_sort(uint32_t *keys, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        const uint32_t key = keys[i];
        size_t j = i;
        for (; j > 0 && keys[j - 1] > key; j--) keys[j] = keys[j - 1];
        keys[j] = key;
    }
}

/* Keys that share the digits so far, and which of the wanted ranks lie among them. */
typedef struct group {
    size_t first, count;             /* in the gathered keys */
    size_t below;                    /* keys in lower bins */
    size_t first_rank, beyond_ranks; /* of rank[] */
} group;

/* Selection by digits, the highest first: count the keys by digit, go on with those bins alone that hold a wanted rank.
 * Bins are disjoint, so a level touches each key at most twice: linear whatever the values are, which quickselect is not.
 * keys [count] is overwritten, spare: [count]; rank [ranks] each below count, ascending where count > FEW; value [ranks]. */
static void select_ranks(uint32_t *keys, uint32_t *spare, size_t count, int level, const size_t *rank, size_t ranks,
                         uint32_t *value)
{
    if (count <= FEW || level == LEVELS) { /* past the last digit all keys are equal */
        if (level < LEVELS) insertion_sort(keys, count);
        for (size_t r = 0; r < ranks; r++) value[r] = keys[rank[r]];
        return;
    }
    const int shift = level == 0 ? 32 - DIGIT_BITS : level == 1 ? 32 - 2 * DIGIT_BITS : 0;
    size_t bin[BINS] = {0}; /* counts, then where a key of this bin goes */
    group groups[RANKS];
    size_t used = 0, below = 0, gathered = 0;
    for (size_t i = 0; i < count; i++) bin[keys[i] >> shift & (BINS - 1)]++;
    for (size_t b = 0, r = 0; b < BINS; b++) {
        const size_t here = bin[b], first_rank = r;
        while (r < ranks && rank[r] < below + here) r++;
        bin[b] = SIZE_MAX;
        if (r > first_rank) {
            groups[used++] = (group){gathered, here, below, first_rank, r};
            bin[b] = gathered;
            gathered += here;
        }
        below += here;
    }
    if (groups[0].count == count) { /* one digit for all: nothing to gather */
        select_ranks(keys, spare, count, level + 1, rank, ranks, value);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        size_t *const to = &bin[keys[i] >> shift & (BINS - 1)];
        if (*to != SIZE_MAX) spare[(*to)++] = keys[i];
    }
    for (const group *g = groups; g < groups + used; g++) {
        size_t within[RANKS];
        for (size_t r = g->first_rank; r < g->beyond_ranks; r++) within[r - g->first_rank] = rank[r] - g->below;
        select_ranks(spare + g->first, keys + g->first, g->count, level + 1, within, g->beyond_ranks - g->first_rank,
                     value + g->first_rank);
    }
}

/* Copies scores as keys; returns the index of one that is not finite, or count. */
static size_t copy_keys(const float *scores, size_t count, uint32_t *keys)
{
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(scores[i])) return i;
        keys[i] = key_of(scores[i]);
    }
    return count;
}

static cz_status reserve(scratch *work, size_t count)
{
    if (count <= work->room) return CZ_OK;
    size_t room, doubled;
    if (!cz_add_size(count, count / 8, &room) || !cz_mul_size(room, 2, &doubled))
        return cz_fail(CZ_E_ARG, "a set of %zu scores is too large", count);
    cz_free(work->keys);
    work->room = 0;
    work->keys = cz_alloc_array(doubled, sizeof *work->keys);
    if (!work->keys) return CZ_E_MEMORY;
    work->room = room;
    return CZ_OK;
}

/* Between neighbours a <= b, in numpy's two forms: the result is numpy's to the last bit. */
static double between(double a, double b, double t)
{
    return t < 0.5 ? a + (b - a) * t : b - (b - a) * (1 - t);
}

cz_status cz_score_window_spread(const cz_score_window *window, const float *own, size_t count, cz_spread *out)
{
    size_t total, rank[RANKS] = {0}; /* ascending for five scores or more */
    uint32_t value[RANKS];
    double quartile[3];
    if (!cz_add_size(window->count, count, &total)) return cz_fail(CZ_E_ARG, "a set of %zu scores is too large", count);
    if (total < 1) return cz_fail(CZ_E_ARG, "no scores to take quartiles of");
    const cz_status status = reserve(window->work, total);
    if (status != CZ_OK) return status;
    uint32_t *const keys = window->work->keys;
    size_t bad = copy_keys(window->values, window->count, keys);
    if (bad < window->count)
        return cz_fail(CZ_E_ARG, "score %g in the window is not finite", (double)window->values[bad]);
    bad = copy_keys(own, count, keys + window->count);
    if (bad < count) return cz_fail(CZ_E_ARG, "score %zu is not finite (%g)", bad, (double)own[bad]);
    for (size_t k = 0; k < 3; k++) {
        rank[2 * k + 1] = (size_t)((double)(total - 1) * (0.25 * (double)(k + 1)));
        rank[2 * k + 2] = rank[2 * k + 1] + (rank[2 * k + 1] + 1 < total);
    }
    select_ranks(keys, keys + total, total, 0, rank, RANKS, value);
    for (size_t k = 0; k < 3; k++) {
        const double at = (double)(total - 1) * (0.25 * (double)(k + 1));
        quartile[k] = between((double)value_of(value[2 * k + 1]), (double)value_of(value[2 * k + 2]), at - floor(at));
    }
    *out = (cz_spread){(double)value_of(value[0]), quartile[0], quartile[1], quartile[2]};
    return CZ_OK;
}

/* ---- weights -------------------------------------------------------------------------------------------------- */

static cz_status check_weights(const cz_confidence_options *options, const cz_spread *spread, const float *scores,
                               size_t count)
{
    if (!(options->kappa >= 0) || !isfinite(options->kappa))
        return cz_fail(CZ_E_ARG, "kappa %g is not a finite value >= 0", options->kappa);
    if (!(options->floor > 0 && options->floor <= 1))
        return cz_fail(CZ_E_ARG, "the least weight %g is not in (0, 1]", options->floor);
    if (options->anchor != CZ_ANCHOR_MEDIAN && options->anchor != CZ_ANCHOR_MIN && options->anchor != CZ_ANCHOR_NONE)
        return cz_fail(CZ_E_ARG, "unknown weight anchor %d", (int)options->anchor);
    if (!isfinite(spread->least) || !isfinite(spread->q3) || !(spread->least <= spread->q1) ||
        !(spread->q1 <= spread->median) || !(spread->median <= spread->q3))
        return cz_fail(CZ_E_ARG, "minimum and quartiles %g, %g, %g, %g are not finite and ascending", spread->least,
                       spread->q1, spread->median, spread->q3);
    for (size_t i = 0; i < count; i++)
        if (!isfinite(scores[i])) return cz_fail(CZ_E_ARG, "score %zu is not finite (%g)", i, (double)scores[i]);
    return CZ_OK;
}

cz_status cz_confidence_weights(const cz_confidence_options *options, const cz_spread *spread, const float *scores,
                                size_t count, float *weights)
{
    const cz_status status = check_weights(options, spread, scores, count);
    if (status != CZ_OK) return status;
    const double range = spread->q3 - spread->q1;
    const double tau = spread->q3 + options->kappa * range; /* Eq. 6 */
    const double anchor = options->anchor == CZ_ANCHOR_MEDIAN ? spread->median
                          : options->anchor == CZ_ANCHOR_MIN  ? spread->least
                                                              : 0;
    /* tau - anchor, from differences of quartiles alone so that a shift of all scores does not round differently */
    const double limit = options->anchor == CZ_ANCHOR_NONE ? tau : (spread->q3 - anchor) + options->kappa * range;
    /* Without an anchor tau may be negative. tau / a is at least 1 for a in [tau, 0], and below it too low a score would
     * cost weight: 1 up to 0. */
    const double trusted = limit > 0 ? limit : 0;
    for (size_t i = 0; i < count; i++) {
        const double a = (double)scores[i] - anchor;
        if (!(range > 0)) {
            weights[i] = 1; /* no spread: nothing can be called far */
        } else if (options->hard) {
            weights[i] = (double)scores[i] <= tau ? 1.0f : 0.0f;
        } else {
            weights[i] = a <= trusted ? 1.0f : (float)fmax(options->floor, limit / a); /* Eq. 5 */
        }
    }
    return CZ_OK;
}
