/* SPDX-License-Identifier: Apache-2.0 */
#include "api/relate.h"

#include "tensor/bf16.h"
#include "util/alloc.h"

#include <math.h>

size_t cz_relate_width(const char *taps)
{
    size_t count = 1;
    for (const char *p = taps; *p != '\0'; p++) count += *p == ',';
    return count * (CZ_RELATION_KINDS * CZ_RELATION_FORMS);
}

void cz_relate_rows(const uint16_t *values, const float *scales, size_t width, float scale, const size_t *rows,
                    size_t count, float *out)
{
    const float *mean = scales, *factor = scales + width;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++) {
        float *row = out + i * width;
        cz_bf16_widen_run(values + rows[i] * width, width, row);
        for (size_t c = 0; c < width; c++) row[c] = (row[c] - mean[c]) * factor[c] * scale;
    }
}

static cz_status make_relation(const cz_extractor *x, cz_relation **out)
{
    cz_tap_shape shapes[CZ_MAX_TAPS];
    const size_t taps = cz_extractor_taps(x);
    for (size_t i = 0; i < taps; i++) shapes[i] = *cz_extractor_shape(x, i);
    return cz_relation_create(shapes, taps, out);
}

cz_status cz_relate_all(const cz_feature_set *photos, const cz_extractor *x,
                        cz_status (*report)(void *ctx, size_t done, size_t total), void *ctx, cz_feature_set *out)
{
    cz_status status;
    cz_relation *relation = NULL;
    float *wide = NULL;
    uint16_t *narrow = NULL;
    CZ_TRY(make_relation(x, &relation));
    const size_t cells = cz_relation_grid_h(relation) * cz_relation_grid_w(relation);
    const size_t values = cells * cz_relation_width(relation);
    wide = cz_alloc_array(values, sizeof *wide);
    narrow = cz_alloc_array(values, sizeof *narrow);
    if (wide == NULL || narrow == NULL) CZ_TRY(CZ_E_MEMORY);
    CZ_TRY(cz_feature_set_create(photos->count, values, out));
    for (size_t i = 0; i < photos->count; i++) {
        const uint16_t *maps[CZ_MAX_TAPS];
        CZ_TRY(report(ctx, i, photos->count));
        cz_extractor_maps(x, photos->items[i].values, maps);
        CZ_TRY(cz_relation_run(relation, maps, photos->items[i].valid, wide));
        cz_feature_set_release_pages(photos, i);
        cz_bf16_round(wide, values, narrow);
        CZ_TRY(cz_feature_set_map(out, narrow, &out->items[i].entry));
        out->items[i].values = out->items[i].entry.values;
    }
    CZ_TRY(report(ctx, photos->count, photos->count));
out:
    cz_relation_destroy(relation);
    cz_free(wide);
    cz_free(narrow);
    return status;
}

cz_status cz_relate_measure(const cz_feature_set *photos, const cz_feature_set *related, size_t width, float *scales)
{
    const size_t cells = related->values / width;
    double *sums = cz_calloc(2 * width, sizeof *sums), count = 0.0;
    float *row = cz_alloc_array(width, sizeof *row);
    cz_status status = sums != NULL && row != NULL ? CZ_OK : CZ_E_MEMORY;
    for (size_t i = 0; status == CZ_OK && i < related->count; i++) {
        for (size_t cell = 0; cell < cells; cell++) {
            if (!photos->items[i].valid[cell]) continue;
            cz_bf16_widen_run(related->items[i].values + cell * width, width, row);
            for (size_t c = 0; c < width; c++) {
                const double x = (double)row[c];
                sums[c] += x;
                sums[width + c] += x * x;
            }
            count += 1.0;
        }
        cz_feature_set_release_pages(related, i);
    }
    for (size_t c = 0; status == CZ_OK && c < width; c++) {
        const double mean = sums[c] / count, variance = sums[width + c] / count - mean * mean;
        scales[c] = (float)mean;
        scales[width + c] = variance > 1e-10 ? (float)(1.0 / sqrt(variance)) : 0.0f;
    }
    cz_free(sums);
    cz_free(row);
    return status;
}
