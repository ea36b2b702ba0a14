/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics/bootstrap.h"

#include "util/alloc.h"
#include "util/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void cz_resample_members(const uint8_t *labels, size_t count, uint32_t *members)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        if (labels[i] == 0) members[n++] = (uint32_t)i;
    for (size_t i = 0; i < count; i++)
        if (labels[i] != 0) members[n++] = (uint32_t)i;
}

void cz_resample(const uint32_t *members, size_t normal, size_t anomalous, uint64_t seed, uint64_t r, uint32_t task,
                 uint32_t *times)
{
    cz_rng rng;
    cz_rng_init(&rng, seed, CZ_RNG_BOOTSTRAP, r, task);
    memset(times, 0, (normal + anomalous) * sizeof *times);
    for (size_t i = 0; i < normal; i++) times[members[cz_rng_below(&rng, normal)]]++;
    for (size_t i = 0; i < anomalous; i++) times[members[normal + cz_rng_below(&rng, anomalous)]]++;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, size_t count, double q)
{
    const double at = q * (double)(count - 1);
    const size_t i = (size_t)at;
    const double next = i + 1 < count ? sorted[i + 1] : sorted[i];
    return sorted[i] + (at - (double)i) * (next - sorted[i]);
}

void cz_percentile_interval(double *values, size_t count, double *low, double *high)
{
    size_t defined = 0;
    for (size_t i = 0; i < count; i++)
        if (!isnan(values[i])) values[defined++] = values[i];
    *low = *high = (double)NAN;
    if (defined == 0 || 2 * defined < count) return;
    qsort(values, defined, sizeof *values, ascending);
    *low = quantile(values, defined, 0.025);
    *high = quantile(values, defined, 0.975);
}

/* 97.5 % quantile of Student's t; beyond the table Cornish-Fisher's expansion, right to 1e-3. */
static double student(size_t freedom)
{
    static const double table[] = {12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281};
    if (freedom <= sizeof table / sizeof *table) return table[freedom - 1];
    const double z = 1.959963984540054, f = (double)freedom;
    return z + (z * z * z + z) / (4.0 * f) + (5.0 * pow(z, 5.0) + 16.0 * z * z * z + 3.0 * z) / (96.0 * f * f);
}

void cz_bootstrap_half_widths(const double *replicates, size_t resamples, size_t normal, size_t anomalous,
                              double half[CZ_METRICS])
{
    const size_t n = normal < anomalous ? normal : anomalous;
    for (size_t m = 0; m < CZ_METRICS; m++) {
        double mean = 0.0, squares = 0.0;
        size_t defined = 0;
        for (size_t r = 0; r < resamples; r++) {
            const double v = replicates[r * CZ_METRICS + m];
            if (isnan(v)) continue;
            defined++; /* Welford's */
            const double off = v - mean;
            mean += off / (double)defined;
            squares += off * (v - mean);
        }
        half[m] = (double)NAN;
        if (n < 2 || defined < 2 || 2 * defined < resamples) continue;
        half[m] = student(2 * (n - 1)) * sqrt(squares / (double)(defined - 1));
    }
}

void cz_logit_interval(double value, double half, double *low, double *high)
{
    *low = *high = (double)NAN;
    if (!(value > 1e-12 && value < 1.0 - 1e-12) || isnan(half)) return;
    const double at = log(value / (1.0 - value)), width = half / (value * (1.0 - value));
    *low = fmin(value, 1.0 / (1.0 + exp(width - at)));
    *high = fmax(value, 1.0 / (1.0 + exp(-width - at)));
}

/* The sketches of all images, put into one set of few bins: [bins] in descending order. */
typedef struct coarse {
    size_t images, bins;
    size_t *normal_at, *defect_at;     /* [images + 1] where an image's entries begin */
    uint16_t *normal_bin, *defect_bin; /* of an entry */
    float *normal, *defect, *overlap;  /* its weights */
} coarse;

static void coarse_free(coarse *c)
{
    cz_free(c->normal_at);
    cz_free(c->defect_at);
    cz_free(c->normal_bin);
    cz_free(c->defect_bin);
    cz_free(c->normal);
    cz_free(c->defect);
    cz_free(c->overlap);
}

/* A coarse bin ends where it holds enough: 2 % of the normal pixels from the top on (but at most 1/256 of all), 1/512 of
 * the anomalous ones or of the regions. Two thousand are never reached by much more than half. */
enum { MOST_BINS = 4096 };
static size_t choose_edges(const cz_bins *bins, uint32_t lowest[MOST_BINS])
{
    double normal = 0.0, anomalous = 0.0, overlap = 0.0;
    const cz_bin *bin;
    for (size_t at = (size_t)CZ_PAGES * CZ_PAGE_BINS; (bin = cz_bins_below(bins, &at)) != NULL;) {
        normal += (double)bin->normal;
        anomalous += (double)bin->anomalous;
        overlap += bin->overlap;
    }
    size_t count = 0;
    double above = 0.0, n = 0.0, p = 0.0, w = 0.0;
    for (size_t at = (size_t)CZ_PAGES * CZ_PAGE_BINS; (bin = cz_bins_below(bins, &at)) != NULL;) {
        n += (double)bin->normal;
        p += (double)bin->anomalous;
        w += bin->overlap;
        const bool full = n > fmin(0.02 * (above + n), normal / 256.0) || p * 512.0 > anomalous || w * 512.0 > overlap;
        if (!full || count + 1 == MOST_BINS) continue;
        lowest[count++] = (uint32_t)at;
        above += n;
        n = p = w = 0.0;
    }
    lowest[count++] = 0;
    return count;
}

static uint16_t coarse_bin(const uint32_t *lowest, size_t count, uint32_t bin)
{
    size_t low = 0, high = count - 1; /* the first whose lowest bin is not above `bin` */
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (lowest[middle] <= bin) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return (uint16_t)low;
}

static cz_status coarse_allocate(coarse *c, size_t images, size_t normal, size_t defect)
{
    c->images = images;
    c->normal_at = cz_alloc_array(images + 1, sizeof *c->normal_at);
    c->defect_at = cz_alloc_array(images + 1, sizeof *c->defect_at);
    c->normal_bin = cz_alloc_array(normal, sizeof *c->normal_bin);
    c->defect_bin = cz_alloc_array(defect, sizeof *c->defect_bin);
    c->normal = cz_alloc_array(normal, sizeof *c->normal);
    c->defect = cz_alloc_array(defect, sizeof *c->defect);
    c->overlap = cz_alloc_array(defect, sizeof *c->overlap);
    const bool whole = c->normal_at != NULL && c->defect_at != NULL && c->normal_bin != NULL && c->defect_bin != NULL &&
                       c->normal != NULL && c->defect != NULL && c->overlap != NULL;
    return whole ? CZ_OK : CZ_E_MEMORY;
}

static cz_status coarse_make(const cz_bootstrap *b, coarse *c)
{
    uint32_t lowest[MOST_BINS];
    size_t normal = 0, defect = 0;
    for (size_t i = 0; i < b->ranks->count; i++) {
        if (b->sketches[i] == NULL) continue;
        normal += b->sketches[i]->normal_count;
        defect += b->sketches[i]->defect_count;
    }
    const cz_status status = coarse_allocate(c, b->ranks->count, normal, defect);
    if (status != CZ_OK) return status;
    c->bins = choose_edges(b->bins, lowest);
    normal = defect = 0;
    for (size_t i = 0; i < b->ranks->count; i++) {
        const cz_sketch *s = b->sketches[i];
        c->normal_at[i] = normal;
        c->defect_at[i] = defect;
        if (s == NULL) continue;
        for (size_t k = 0; k < s->normal_count; k++, normal++) {
            c->normal_bin[normal] = coarse_bin(lowest, c->bins, s->normal[k].bin);
            c->normal[normal] = s->normal[k].weight;
        }
        for (size_t k = 0; k < s->defect_count; k++, defect++) {
            c->defect_bin[defect] = coarse_bin(lowest, c->bins, s->defect[k].bin);
            c->defect[defect] = s->defect[k].weight;
            c->overlap[defect] = s->overlap[k];
        }
    }
    c->normal_at[c->images] = normal;
    c->defect_at[c->images] = defect;
    return CZ_OK;
}

/* work: [bins, 3] normal, anomalous, overlap */
static void coarse_values(const coarse *c, const uint32_t *times, double *work, cz_sweep_values *out)
{
    memset(work, 0, 3 * c->bins * sizeof *work);
    for (size_t i = 0; i < c->images; i++) {
        if (times[i] == 0) continue;
        const double t = (double)times[i];
        for (size_t k = c->normal_at[i]; k < c->normal_at[i + 1]; k++)
            work[3 * (size_t)c->normal_bin[k]] += t * (double)c->normal[k];
        for (size_t k = c->defect_at[i]; k < c->defect_at[i + 1]; k++) {
            work[3 * (size_t)c->defect_bin[k] + 1] += t * (double)c->defect[k];
            work[3 * (size_t)c->defect_bin[k] + 2] += t * (double)c->overlap[k];
        }
    }
    double total[3] = {0.0, 0.0, 0.0};
    for (size_t i = 0; i < 3 * c->bins; i++) total[i % 3] += work[i];
    cz_sweep sweep;
    cz_sweep_begin(&sweep, total[0], total[1], total[2]);
    for (size_t i = 0; i < c->bins; i++) {
        const double *w = work + 3 * i;
        if (w[0] + w[1] <= 0.0) continue;
        const cz_group group = {0.0, 0.0, w[0], w[1], w[2], true};
        cz_sweep_add(&sweep, &group);
    }
    cz_sweep_end(&sweep, out);
}

static void put_values(const cz_sweep_values *image, const cz_sweep_values *pixel, double out[CZ_METRICS])
{
    out[CZ_IMAGE_AUROC] = image->auroc;
    out[CZ_IMAGE_AP] = image->ap;
    out[CZ_IMAGE_F1] = image->f1;
    out[CZ_PIXEL_AUROC] = pixel->auroc;
    out[CZ_PIXEL_AP] = pixel->ap;
    out[CZ_PIXEL_F1] = pixel->f1;
    out[CZ_AUPRO_030] = pixel->aupro[0];
    out[CZ_AUPRO_005] = pixel->aupro[1];
}

static void one_resample(const cz_bootstrap *b, const coarse *c, const uint32_t *times, double *work, double *out)
{
    cz_sweep_values image, pixel;
    const double none = (double)NAN;
    pixel = (cz_sweep_values){.auroc = none, .ap = none, .f1 = none, .aupro = {none, none}};
    cz_ranks_weighted(b->ranks, times, work, &image);
    if (c->bins > 0) coarse_values(c, times, work, &pixel);
    put_values(&image, &pixel, out);
}

/* Resamples are dealt out in blocks with their own work space, made before the threads start. */
enum { BLOCKS = 64 };

cz_status cz_bootstrap_run(const cz_bootstrap *b, double *at_all, double *replicates)
{
    const size_t images = b->ranks->count;
    coarse c = {0};
    cz_status status = CZ_OK;
    uint32_t *members = NULL, *times = NULL;
    double *work = NULL;
    size_t doubles = 0;
    if (b->sketches != NULL) CZ_TRY(coarse_make(b, &c));
    doubles = 2 * b->ranks->groups > 3 * c.bins ? 2 * b->ranks->groups : 3 * c.bins;
    members = cz_alloc_array(images, sizeof *members);
    times = cz_calloc(images + 1, BLOCKS * sizeof *times);
    work = cz_calloc(doubles + 1, BLOCKS * sizeof *work);
    if (members == NULL || times == NULL || work == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    cz_resample_members(b->ranks->label, images, members);
    for (size_t i = 0; i < images; i++) times[i] = 1;
    one_resample(b, &c, times, work, at_all);
#pragma omp parallel for schedule(dynamic)
    for (int block = 0; block < BLOCKS; block++) {
        uint32_t *mine = times + (size_t)block * (images + 1);
        double *space = work + (size_t)block * (doubles + 1);
        for (size_t r = (size_t)block; r < b->resamples; r += BLOCKS) {
            cz_resample(members, b->ranks->normal, b->ranks->anomalous, b->seed, r, b->task, mine);
            one_resample(b, &c, mine, space, replicates + r * CZ_METRICS);
        }
    }
out:
    coarse_free(&c);
    cz_free(members);
    cz_free(times);
    cz_free(work);
    return status;
}
