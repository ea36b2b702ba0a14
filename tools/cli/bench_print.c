/* SPDX-License-Identifier: Apache-2.0 */
/* What `cozad bench` found, for people and as JSON. */
#include "bench.h"

#include <math.h>
#include <string.h>

static bool wanted(const bench_options *o, size_t stage)
{
    return strcmp(o->stage, "all") == 0 || strcmp(o->stage, bench_stage_names[stage]) == 0;
}

/* Operations of one image in a stage, Winograd counted as direct; 0: not counted in this way. */
static double flops(const bench_run *run, const bench_row *row, size_t stage)
{
    const cz_train_options *t = &run->options->train;
    if (stage == BENCH_BACKBONE) return cz_backbone_flops(run->backbone, t->taps, t->image_width, t->image_height);
    if (stage != BENCH_HEAD || strcmp(t->taps, "layer2,layer3") != 0) return 0.0;
    /* The composed head, its second half on the coarser grid (docs/math.md section 3). */
    const double fine = (double)(row->grid_width * row->grid_height);
    const double coarse = (double)(((row->grid_width + 1) / 2) * ((row->grid_height + 1) / 2));
    const size_t width = t->feature_width > 0 ? t->feature_width : cz_backbone_feature_width(run->backbone);
    return 2.0 * (double)t->hidden_width * ((fine + coarse) * (double)width / 2.0 + fine);
}

/* GFLOP/s; 0 where operations are not counted. */
static double rate(const bench_run *run, const bench_row *row, size_t stage)
{
    return flops(run, row, stage) / (row->stages[stage].median * 1e6);
}

static json_t *stages_json(const bench_run *run, const bench_row *row)
{
    json_t *stages = json_object();
    for (size_t s = 0; s < BENCH_STAGES; s++) {
        const bench_interval *i = &row->stages[s];
        if (!wanted(run->options, s)) continue;
        json_t *stage = json_pack("{s:f, s:f, s:f}", "ms", i->median, "p5", i->p5, "p95", i->p95);
        if (flops(run, row, s) > 0.0) {
            (void)json_object_set_new(stage, "gflops", json_real(rate(run, row, s)));
            (void)json_object_set_new(stage, "of_peak", json_real(rate(run, row, s) / row->peak));
        }
        (void)json_object_set_new(stages, bench_stage_names[s], stage);
    }
    return stages;
}

static json_t *against_json(const bench_run *run, const bench_row *row)
{
    json_t *peers = json_object();
    for (size_t i = 0; i < row->ratio_count; i++) {
        const bench_ratio *r = &row->ratios[i];
        (void)json_object_set_new(peers, r->peer,
                                  json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "ms", r->theirs, "our_ms", r->ours,
                                            "ratio", r->ratio.median, "p5", r->ratio.p5, "p95", r->ratio.p95,
                                            "difference", run->parity[i]));
    }
    return json_pack("{s:s, s:s, s:s, s:o}", "name", run->options->against, "version", run->version, "stage",
                     row->stage, "peers", peers);
}

static void print_json(const bench_run *run, const bench_row *row)
{
    const bench_options *o = run->options;
    const double backbone = row->stages[BENCH_BACKBONE].median, total = row->stages[BENCH_TOTAL].median;
    json_t *line =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "backbone",
                  cz_backbone_name(run->backbone), "architecture", cz_backbone_architecture(run->backbone), "precision",
                  cz_precision_name(row->precision), "image_width", (json_int_t)o->train.image_width, "image_height",
                  (json_int_t)o->train.image_height, "photo_width", (json_int_t)o->photo_width, "photo_height",
                  (json_int_t)o->photo_height, "batch", (json_int_t)o->batch, "threads", (json_int_t)run->threads,
                  "repeat", (json_int_t)o->repeat, "stages", stages_json(run, row));
    if (line == NULL) {
        cli_error("out of memory");
        return;
    }
    const double backbone_rate = rate(run, row, BENCH_BACKBONE);
    (void)json_object_set_new(line, "images_per_second", common_json_real(1e3 / total));
    (void)json_object_set_new(line, "peak_gflops", common_json_real(row->peak));
    (void)json_object_set_new(line, "backbone_gflops", common_json_real(backbone_rate));
    (void)json_object_set_new(line, "backbone_of_peak", common_json_real(backbone_rate / row->peak));
    (void)json_object_set_new(line, "total_over_backbone", common_json_real(total / backbone));
    (void)json_object_set_new(line, "features_ms", common_json_real(row->features));
    (void)json_object_set_new(line, "first_result_ms", common_json_real(row->open));
    (void)json_object_set_new(line, "peak_memory_bytes", json_integer((json_int_t)row->memory));
    if (row->ratio_count > 0) (void)json_object_set_new(line, "against", against_json(run, row));
    common_print_json(line);
}

void bench_print_head(const bench_run *run)
{
    const bench_options *o = run->options;
    if (o->common.json) return;
    printf("%s, %zux%zu, batch %zu, %zu thread%s, photo %zux%zu; medians of %zu, [5 %% and 95 %%]\n",
           cz_backbone_name(run->backbone), o->train.image_width, o->train.image_height, o->batch, run->threads,
           run->threads > 1 ? "s" : "", o->photo_width, o->photo_height, o->repeat);
}

static void print_ratios(const bench_run *run, const bench_row *row)
{
    for (size_t i = 0; i < row->ratio_count; i++) {
        const bench_ratio *r = &row->ratios[i];
        printf("  %s %s, %s: %.2f ms, ours %.2f: %.2f x [%.2f %.2f]; its maps differ by %.1e\n", run->options->against,
               run->version, r->peer, r->theirs, r->ours, r->ratio.median, r->ratio.p5, r->ratio.p95, run->parity[i]);
    }
}

void bench_print_row(const bench_run *run, const bench_row *row)
{
    const bench_options *o = run->options;
    if (o->common.json) {
        print_json(run, row);
        return;
    }
    char memory[32];
    const double backbone = row->stages[BENCH_BACKBONE].median, total = row->stages[BENCH_TOTAL].median;
    printf("%s\n", cz_precision_name(row->precision));
    for (size_t s = 0; s < BENCH_STAGES; s++) {
        const bench_interval *i = &row->stages[s];
        if (!wanted(o, s)) continue;
        printf("  %-12s %8.2f ms an image [%.2f %.2f]", bench_stage_names[s], i->median, i->p5, i->p95);
        if (flops(run, row, s) > 0.0) {
            printf(", %.2f GFLOP at %.0f GFLOP/s: %.0f %% of the peak", flops(run, row, s) / 1e9, rate(run, row, s),
                   100.0 * rate(run, row, s) / row->peak);
        }
        printf("\n");
    }
    printf("  peak %.0f GFLOP/s (this library's matrix product, same run, %s)\n", row->peak,
           row->precision == CZ_PRECISION_FP32_WINOGRAD ? "fp32 direct" : cz_precision_name(row->precision));
    printf("  %.1f images/s; everything but the backbone %.2f ms; total is %.3f x the backbone\n", 1e3 / total,
           total - backbone, total / backbone);
    printf("  first result after %.0f ms; at most %s of memory\n", row->open, cli_bytes(row->memory, memory));
    if (isfinite(row->features)) {
        printf("  features of many photos, as training makes them: %.2f ms a photo, %.3f x the backbone\n",
               row->features, row->features / backbone);
    }
    print_ratios(run, row);
}
