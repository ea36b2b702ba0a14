/* SPDX-License-Identifier: Apache-2.0 */
/* cz_backbone_measure_ranges: what int8 needs, measured once for weights rather than for each model. */
#include "api/measure.h"
#include "backbone/quantise.h"
#include "tensor/tensors.h"
#include "util/threads.h"

#include <math.h>
#include <stdio.h>

static cz_status describe(const cz_precision_facts *facts, const cz_ranges_options *o, cz_tensors *into)
{
    char text[120];
    const double error = facts->error[CZ_PRECISION_INT8];
    int used = snprintf(text, sizeof text, "%zu photos, %zu x %zu", facts->photos, o->image_width, o->image_height);
    if (isfinite(error) && used > 0 && (size_t)used < sizeof text)
        (void)snprintf(text + used, sizeof text - (size_t)used, "; features differ from fp32 by %.2f %%",
                       100.0 * error);
    return cz_tensors_set_metadata(into, "int8_ranges", text);
}

/* The last stage, so that every node is computed, and before it the one that patches are made of along with it. */
static void last_stages(const cz_backbone *b, char taps[24])
{
    cz_tap tap;
    size_t stages = 4;
    while (stages > 1) {
        (void)snprintf(taps, 24, "layer%zu", stages);
        if (cz_backbone_tap_shape(b, taps, 32, 32, &tap) == CZ_OK) break;
        stages--;
    }
    cz_error_clear();
    if (stages > 1)
        (void)snprintf(taps, 24, "layer%zu,layer%zu", stages - 1, stages);
    else
        (void)snprintf(taps, 24, "layer1");
}

cz_status cz_backbone_measure_ranges(cz_backbone *b, const cz_image_source *images, const cz_ranges_options *options,
                                     cz_tensors *into)
{
    cz_error_clear();
    cz_status status;
    char taps[24];
    cz_precision_facts facts;
    cz_prep prep = {0};
    cz_threads_scope scope = {0};
    if (b == NULL || images == NULL || options == NULL || into == NULL || images->load == NULL)
        return cz_fail(CZ_E_ARG, "cz_backbone_measure_ranges: a NULL argument");
    if (images->struct_size < sizeof *images) return cz_fail(CZ_E_ARG, "cz_image_source: unknown struct_size");
    if (options->struct_size < sizeof *options) return cz_fail(CZ_E_ARG, "cz_ranges_options: unknown struct_size");
    if (cz_tensors_lookup(into, CZ_QUANT_TENSOR) != NULL)
        return cz_fail(CZ_E_ARG, "there is a tensor \"" CZ_QUANT_TENSOR "\" already");
    last_stages(b, taps);
    CZ_TRY(cz_threads_enter(options->threads, &scope));
    CZ_TRY(cz_prep_init(options->image_width, options->image_height, CZ_FIT_SQUASH, 0, NULL, NULL, &prep));
    const cz_measure_options measure = {.backbone = b,
                                        .source = images,
                                        .photos = options->photos > 0 ? options->photos : CZ_QUANTISE_IMAGES,
                                        .taps = taps,
                                        .prep = &prep,
                                        .width = cz_backbone_feature_width(b),
                                        .threads = options->threads,
                                        .progress = options->progress,
                                        .log = options->log,
                                        .ctx = options->ctx};
    CZ_TRY(cz_precision_measure(&measure, &facts));
    CZ_TRY(cz_quant_save(&facts.quant, into));
    CZ_TRY(describe(&facts, options, into));
out:
    cz_prep_free(&prep);
    cz_threads_leave(&scope);
    return status;
}
