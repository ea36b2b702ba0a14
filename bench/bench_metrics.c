/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seconds and peak memory of all metrics, AUPRO and intervals (1000 resamples) included: N = 250, 500, 1000, 2000 images with
 * maps of 256 x 256, a third of them anomalous with two defects. Each N in a process of its own, so that its peak is its own;
 * making the maps is not counted, and one map is in memory at a time.
 * Usage: bench_metrics [THREADS [SIDE]]
 *        bench_metrics coverage [SETS]: how often the 95 % intervals of image metrics hold the true value, by simulation
 */
#include "cozad/cozad_eval.h"
#include "util/rng.h"
#include "util/threads.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(cz_status status)
{
    if (status == CZ_OK) return;
    fprintf(stderr, "bench_metrics: %s\n", cz_last_error());
    exit(1);
}

static void make_image(cz_rng *rng, float *map, uint8_t *mask, size_t side, int label)
{
    const float level = 3.0f + 0.3f * (float)cz_rng_normal(rng);
    memset(mask, 0, side * side);
    for (int d = 0; d < 2 * label; d++) {
        const size_t x0 = (size_t)cz_rng_below(rng, side * 3 / 4), y0 = (size_t)cz_rng_below(rng, side * 3 / 4);
        const size_t w = 2 + (size_t)cz_rng_below(rng, side / 5), h = 2 + (size_t)cz_rng_below(rng, side / 5);
        for (size_t y = y0; y < y0 + h; y++) memset(mask + y * side + x0, 1, w);
    }
    cz_rng_normal_fill(rng, 0, map, side * side, 0.5f);
    for (size_t i = 0; i < side * side; i++) map[i] += level + 0.8f * (float)mask[i];
}

static void run(size_t images, size_t side, size_t threads)
{
    float *map = malloc(side * side * sizeof *map);
    uint8_t *mask = malloc(side * side);
    cz_evaluation_options options = CZ_EVALUATION_OPTIONS_INIT;
    cz_evaluation *e;
    cz_figures f;
    double added = 0.0;
    if (!map || !mask) check(CZ_E_MEMORY);
    options.threads = threads;
    check(cz_evaluation_open(&options, &e));
    for (size_t i = 0; i < images; i++) {
        cz_rng rng;
        cz_rng_init(&rng, 1, CZ_RNG_TEST, i, 0);
        const int label = i % 3 == 0;
        const double score = cz_rng_normal(&rng) + 2.0 * label;
        make_image(&rng, map, mask, side, label);
        const double start = cz_now_ms();
        check(cz_evaluation_add(e, "bench", label, score, map, mask, side, side));
        added += cz_now_ms() - start;
    }
    const double start = cz_now_ms();
    check(cz_evaluation_figures(e, 0, &f));
    const double figures = cz_now_ms() - start;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%6zu images of %zu x %zu: adding %7.2f s, figures %6.2f s, together %7.2f s = %5.2f ms an image, peak %4ld "
           "MB\n",
           images, side, side, added / 1e3, figures / 1e3, (added + figures) / 1e3, (added + figures) / (double)images,
           usage.ru_maxrss / 1024);
    if (images == 2000)
        for (int m = 0; m < CZ_METRICS; m++)
            printf("    %-12s %.6f [%.6f, %.6f], at most %.1e off\n", cz_metric_name((cz_metric)m), f.metric[m].value,
                   f.metric[m].low, f.metric[m].high, f.metric[m].bound);
    cz_evaluation_close(e);
    free(map);
    free(mask);
}

/* Population values of binormal scores with the sample's share of anomalous images, by quadrature. */
static void population(double shift, double share, double truth[3])
{
    double before = 0.0;
    truth[0] = 0.5 * erfc(-shift / 2);
    truth[1] = truth[2] = 0.0;
    for (double t = 12; t > -10; t -= 1e-4) {
        const double tp = share * 0.5 * erfc((t - shift) / sqrt(2)), fp = (1 - share) * 0.5 * erfc(t / sqrt(2));
        if (tp > 0.0) truth[1] += (tp - before) / share * tp / (tp + fp);
        truth[2] = fmax(truth[2], 2 * tp / (tp + fp + share));
        before = tp;
    }
}

static void coverage(int sets)
{
    enum { KINDS = 5 };
    static const struct {
        size_t normal, anomalous;
        double shift;
    } kinds[KINDS] = {{20, 20, 1.5}, {30, 60, 2.0}, {50, 50, 1.5}, {40, 100, 3.0}, {150, 150, 1.0}};
    printf("share of %d intervals (500 resamples) that hold the true value, and that lie above it\n", sets);
    for (int kind = 0; kind < KINDS; kind++) {
        const size_t count = kinds[kind].normal + kinds[kind].anomalous;
        double scores[300], truth[3];
        uint8_t labels[300];
        int held[3] = {0, 0, 0}, above[3] = {0, 0, 0};
        population(kinds[kind].shift, (double)kinds[kind].anomalous / (double)count, truth);
        for (int i = 0; i < sets; i++) {
            cz_rng rng;
            cz_rng_init(&rng, 2, CZ_RNG_TEST, (uint64_t)i, (uint32_t)kind);
            for (size_t k = 0; k < count; k++) {
                labels[k] = k >= kinds[kind].normal;
                scores[k] = cz_rng_normal(&rng) + (labels[k] ? kinds[kind].shift : 0.0);
            }
            cz_evaluation_options options = {sizeof options, 500, (uint64_t)i, 0, 0, 1};
            cz_figures f;
            check(cz_score_figures(scores, labels, count, &options, &f));
            for (int m = 0; m < 3; m++) {
                held[m] += f.metric[m].low <= truth[m] && truth[m] <= f.metric[m].high;
                above[m] += truth[m] < f.metric[m].low;
            }
        }
        printf("%3zu normal, %3zu anomalous, shift %.1f:", kinds[kind].normal, kinds[kind].anomalous,
               kinds[kind].shift);
        for (int m = 0; m < 3; m++)
            printf("  %s (%.4f) %.2f %%, %.2f %%", cz_metric_name((cz_metric)m), truth[m], 100.0 * held[m] / sets,
                   100.0 * above[m] / sets);
        printf("\n");
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "coverage") == 0) {
        coverage(argc > 2 ? atoi(argv[2]) : 4000);
        return 0;
    }
    const size_t threads = argc > 1 ? (size_t)atoi(argv[1]) : 2, side = argc > 2 ? (size_t)atoi(argv[2]) : 256;
    for (size_t images = 250; images <= 2000; images *= 2) {
        fflush(stdout);
        const pid_t child = fork();
        int how = 1;
        if (child == 0) {
            run(images, side, threads);
            exit(0);
        }
        if (child < 0 || waitpid(child, &how, 0) < 0 || how != 0) return 1;
    }
    return 0;
}
