/* SPDX-License-Identifier: Apache-2.0 */
#include "heads/compose.h"

#include "engine/engine.h"
#include "heads/compose_pass.h"
#include "util/alloc.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 64 }; /* patches a thread of one block: small enough for its product to stay in the second-level cache */

typedef struct tap {
    cz_tap_shape shape;
    size_t cells, count; /* h * w; columns of D */
    size_t rows;         /* rows of one run of `product`; cells are padded to a multiple of it */
    size_t padded;       /* cells */
    void *pooled;        /* [max_images, padded, count] F32, bf16 or u8 */
    uint16_t *wide;      /* INT8: [cells, count] bf16 of one image, before it is put into 8 bits */
    float *steps;        /* INT8: [max_images, cells] value = steps[cell] * (byte - zero) */
    float *zero;         /* INT8: [max_images] 0 unless an image has negative values */
    float *sums;         /* INT8: [K] product of a row of ones */
    cz_matmul *product;  /* [rows, count] with the tap's columns of M */
    float *result;       /* first tap: [rows, K]; later ones: [padded, K], of one image */
    cz_axis_step *y, *x; /* [grid_h], [grid_w]; NULL for the first tap */
} tap;

struct cz_composed {
    const cz_pooler *pooler;
    size_t hidden, max_images, images, tap_count, grid_h, grid_w;
    cz_precision precision;
    float slope;
    float *c, *w2;  /* [K] */
    float *shifted; /* INT8: [K] c of one image, less what its zero points add */
    tap taps[CZ_COMPOSE_MAX_TAPS];
};

static size_t value_size(const cz_composed *c)
{
    return c->precision == CZ_PRECISION_INT8 ? 1 : c->precision == CZ_PRECISION_BF16 ? 2 : 4;
}

void cz_composed_destroy(cz_composed *c)
{
    if (!c) return;
    for (size_t t = 0; t < c->tap_count; t++) {
        tap *own = &c->taps[t];
        cz_free(own->pooled);
        cz_free(own->wide);
        cz_free(own->steps);
        cz_free(own->zero);
        cz_free(own->sums);
        cz_free(own->result);
        cz_free(own->y);
        cz_free(own->x);
        cz_engine_matmul_destroy(own->product);
    }
    cz_free(c->c);
    cz_free(c->w2);
    cz_free(c->shifted);
    cz_free(c);
}

static cz_axis_step *axis_create(size_t in, size_t out)
{
    cz_axis_step *steps = cz_alloc_array(out, sizeof *steps);
    for (size_t i = 0; steps && i < out; i++) {
        double at = ((double)i + 0.5) * (double)in / (double)out - 0.5;
        if (at < 0) at = 0;
        size_t low = (size_t)at;
        if (low > in - 1) low = in - 1;
        steps[i] = (cz_axis_step){low, low + 1 < in ? low + 1 : low, (float)(at - (double)low)};
    }
    return steps;
}

/* The tap's column block of M [K, D] in the pooler's own order, packed. */
static cz_status product_create(const cz_composed *c, const cz_composition *composition, size_t index, size_t threads,
                                tap *own)
{
    const size_t k = composition->hidden, d = composition->width, count = own->count;
    cz_status status = CZ_E_MEMORY;
    size_t first, unused;
    float *block = cz_alloc_array(k * count, sizeof *block);
    size_t *order = cz_alloc_array(count, sizeof *order);
    if (!block || !order) goto out;
    cz_pooler_columns(c->pooler, index, &first, &unused);
    cz_pooler_order(c->pooler, index, order);
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < count; j++) block[i * count + j] = composition->m[i * d + first + order[j]];
    const cz_matmul_desc desc = {.m = own->rows,
                                 .n = k,
                                 .k = count,
                                 .b = block,
                                 .b_is_nk = true,
                                 .threads = threads,
                                 .precision = c->precision,
                                 .a_range = 255.0f};
    status = cz_engine_matmul_create(&desc, &own->product);
out:
    cz_free(block);
    cz_free(order);
    return status;
}

/* What INT8 needs besides. The product of ones with M's columns is what a zero point of 1 adds to each channel. */
static cz_status range_create(cz_composed *c, tap *own)
{
    cz_status status = CZ_E_MEMORY;
    uint8_t *ones = cz_calloc(own->rows, own->count);
    float *result = cz_alloc_array(own->rows * c->hidden, sizeof *result);
    own->wide = cz_alloc_array(own->cells * own->count, sizeof *own->wide);
    own->steps = cz_alloc_array(c->max_images * own->cells, sizeof *own->steps);
    own->zero = cz_calloc(c->max_images, sizeof *own->zero);
    own->sums = cz_alloc_array(c->hidden, sizeof *own->sums);
    if (!ones || !result || !own->wide || !own->steps || !own->zero || !own->sums) goto out;
    memset(ones, 1, own->count);
    CZ_TRY(cz_engine_matmul_run(own->product, ones, result));
    memcpy(own->sums, result, c->hidden * sizeof *result);
out:
    cz_free(ones);
    cz_free(result);
    return status;
}

static cz_status tap_create(cz_composed *c, const cz_composition *composition, size_t index,
                            const cz_composed_options *options)
{
    tap *own = &c->taps[index];
    size_t first, places, values, results;
    cz_status status = CZ_E_MEMORY;
    own->shape = options->taps[index];
    cz_pooler_columns(c->pooler, index, &first, &own->count);
    if (!cz_mul_size(own->shape.height, own->shape.width, &own->cells) || own->cells < 1)
        return cz_fail(CZ_E_ARG, "tap %zu has no cells", index);
    const size_t block = BLOCK * (options->threads > 1 ? options->threads : 2), width = own->shape.width;
    const size_t lines = block > width ? block / width : 1;
    own->rows = (lines < own->shape.height ? lines : own->shape.height) * width;
    if (!cz_add_size(own->cells, own->rows - 1, &own->padded)) return cz_fail(CZ_E_LIMIT, "tap %zu: too large", index);
    own->padded -= own->padded % own->rows;
    if (!cz_mul_size(c->max_images, own->padded, &places) || !cz_mul_size(places, own->count, &values) ||
        !cz_mul_size(index == 0 ? own->rows : own->padded, c->hidden, &results))
        return cz_fail(CZ_E_ARG, "%zu images at once are too many", c->max_images);
    own->pooled = cz_calloc(values, value_size(c));
    own->result = cz_alloc_array(results, sizeof *own->result);
    if (!own->pooled || !own->result) goto out;
    CZ_TRY(product_create(c, composition, index, options->threads, own));
    if (c->precision == CZ_PRECISION_INT8) CZ_TRY(range_create(c, own));
    if (index > 0) {
        own->y = axis_create(own->shape.height, c->grid_h);
        own->x = axis_create(own->shape.width, c->grid_w);
        if (!own->y || !own->x) status = CZ_E_MEMORY;
    }
out:
    return status;
}

static cz_status check(const cz_composition *composition, const cz_pooler *pooler, const cz_composed_options *options)
{
    const size_t count = cz_pooler_taps(pooler);
    if (cz_pooler_width(pooler) != composition->width)
        return cz_fail(CZ_E_ARG, "features are %zu wide, the detector expects %zu", cz_pooler_width(pooler),
                       composition->width);
    if (count < 1 || count > CZ_COMPOSE_MAX_TAPS)
        return cz_fail(CZ_E_ARG, "%zu taps are not in 1 … %d", count, (int)CZ_COMPOSE_MAX_TAPS);
    if (options->max_images < 1 || options->max_images > 4096)
        return cz_fail(CZ_E_ARG, "%zu images at once", options->max_images);
    if (options->threads < 1 || options->threads > 1024) return cz_fail(CZ_E_ARG, "%zu threads", options->threads);
    if (options->taps[0].height != cz_pooler_grid_h(pooler) || options->taps[0].width != cz_pooler_grid_w(pooler))
        return cz_fail(CZ_E_ARG, "the taps are not those of the pooler");
    return CZ_OK;
}

cz_status cz_composed_create(const cz_composition *composition, const cz_pooler *pooler,
                             const cz_composed_options *options, cz_composed **out)
{
    const size_t k = composition->hidden;
    cz_status status = check(composition, pooler, options);
    if (status != CZ_OK) return status;
    cz_composed *c = cz_calloc(1, sizeof *c);
    if (!c) return CZ_E_MEMORY;
    c->pooler = pooler;
    c->hidden = k;
    c->slope = composition->slope;
    c->max_images = options->max_images;
    c->precision = options->precision == CZ_PRECISION_FP32_WINOGRAD ? CZ_PRECISION_FP32 : options->precision;
    c->tap_count = cz_pooler_taps(pooler);
    c->grid_h = options->taps[0].height;
    c->grid_w = options->taps[0].width;
    c->c = cz_alloc_array(k, sizeof *c->c);
    c->w2 = cz_alloc_array(k, sizeof *c->w2);
    c->shifted = cz_alloc_array(k, sizeof *c->shifted);
    if (!c->c || !c->w2 || !c->shifted) {
        status = CZ_E_MEMORY;
        goto out;
    }
    memcpy(c->c, composition->c, k * sizeof *c->c);
    memcpy(c->w2, composition->w2, k * sizeof *c->w2);
    for (size_t t = 0; t < c->tap_count; t++) CZ_TRY(tap_create(c, composition, t, options));
    *out = c;
    return CZ_OK;
out:
    cz_composed_destroy(c);
    return status;
}

/* ---- pooling ----------------------------------------------------------------------------------------------------- */

/* Into 8 bits over each row's own range. Features are means of what comes out of a ReLU; should some be negative after all, over the
 * range of the whole image, in which 0 becomes a byte of its own. */
static cz_status quantise(tap *own, size_t image, uint8_t *out)
{
    float *steps = own->steps + image * own->cells, range[2];
    own->zero[image] = 0;
    if (cz_compose_quantise_rows(own->wide, own->cells, own->count, steps, out)) return CZ_OK;
    cz_compose_range(own->wide, own->cells * own->count, range);
    if (!isfinite(range[0]) || !isfinite(range[1]))
        return cz_fail(CZ_E_MODEL, "the backbone gives features that are not finite numbers");
    const float step = (range[1] - range[0]) / 255.0f;
    for (size_t i = 0; i < own->cells; i++) steps[i] = step;
    own->zero[image] = rintf(-range[0] / step);
    cz_compose_quantise(own->wide, own->cells * own->count, 1.0f / step, own->zero[image], out);
    return CZ_OK;
}

cz_status cz_composed_pool(cz_composed *c, const uint16_t *const *maps, size_t images, float scale)
{
    cz_status status = CZ_OK;
    c->images = 0;
    if (images < 1 || images > c->max_images)
        return cz_fail(CZ_E_ARG, "%zu images, the scorer was made for %zu", images, c->max_images);
    for (size_t t = 0; t < c->tap_count; t++) {
        tap *own = &c->taps[t];
        for (size_t n = 0; n < images; n++) {
            const uint16_t *map = maps[t] + n * own->cells * own->shape.channels;
            char *to = (char *)own->pooled + n * own->padded * own->count * value_size(c);
            if (c->precision == CZ_PRECISION_INT8) {
                cz_pooler_tap_ordered(c->pooler, t, map, scale, true, own->wide);
                CZ_TRY(quantise(own, n, (uint8_t *)to));
            } else {
                cz_pooler_tap_ordered(c->pooler, t, map, scale, c->precision == CZ_PRECISION_BF16, to);
            }
        }
    }
    c->images = images;
out:
    return status;
}

/* ---- scores ------------------------------------------------------------------------------------------------------- */

/* Rows of the pooled map of `image` from cell `cell` on, one run. */
static cz_status multiply(const cz_composed *c, const tap *own, size_t image, size_t cell, float *to)
{
    const size_t row = own->count * value_size(c);
    return cz_engine_matmul_run(own->product, (const char *)own->pooled + (image * own->padded + cell) * row, to);
}

/* Later taps' whole products, and what the pass over the blocks needs to know of them. */
static cz_status prepare(cz_composed *c, size_t image, cz_compose_pass *pass)
{
    cz_status status = CZ_OK;
    const bool bytes = c->precision == CZ_PRECISION_INT8;
    *pass = (cz_compose_pass){.hidden = c->hidden,
                              .width = c->grid_w,
                              .slope = c->slope,
                              .c = c->c,
                              .w2 = c->w2,
                              .first = c->taps[0].result,

                              .later = c->tap_count - 1};
    for (size_t t = 1; t < c->tap_count; t++) {
        const tap *own = &c->taps[t];
        for (size_t cell = 0; cell < own->cells; cell += own->rows)
            CZ_TRY(multiply(c, own, image, cell, own->result + cell * c->hidden));
        pass->taps[t - 1] = (cz_compose_later){own->result, own->shape.width, own->y, own->x,
                                               bytes ? own->steps + image * own->cells : NULL};
    }
    if (!bytes) goto out;
    memcpy(c->shifted, c->c, c->hidden * sizeof *c->shifted);
    for (size_t t = 0; t < c->tap_count; t++) {
        const float zero = c->taps[t].zero[image] * c->taps[t].steps[image * c->taps[t].cells];
        for (size_t i = 0; i < c->hidden && zero != 0.0f; i++) c->shifted[i] -= zero * c->taps[t].sums[i];
    }
    pass->c = c->shifted;
out:
    return status;
}

cz_status cz_composed_scores(cz_composed *c, float *scores)
{
    cz_status status = CZ_OK;
    const tap *first = &c->taps[0];
    if (c->images < 1) return cz_fail(CZ_E_ARG, "nothing was pooled");
    for (size_t n = 0; n < c->images; n++) {
        cz_compose_pass pass;
        CZ_TRY(prepare(c, n, &pass));
        for (size_t cell = 0; cell < first->cells; cell += first->rows) {
            const size_t left = first->cells - cell, count = left < first->rows ? left : first->rows;
            CZ_TRY(multiply(c, first, n, cell, first->result));
            if (c->precision == CZ_PRECISION_INT8) pass.first_steps = first->steps + n * first->cells + cell;
            cz_compose_rows(&pass, cell / c->grid_w, count / c->grid_w, scores + n * first->cells + cell);
        }
    }
out:
    return status;
}

size_t cz_composed_memory(const cz_composed *c)
{
    size_t bytes = 3 * c->hidden * sizeof(float);
    for (size_t t = 0; t < c->tap_count; t++) {
        const tap *own = &c->taps[t];
        bytes += c->max_images * own->padded * own->count * value_size(c);
        bytes += (t == 0 ? own->rows : own->padded) * c->hidden * sizeof(float);
        if (own->wide) bytes += own->cells * own->count * sizeof *own->wide + c->hidden * sizeof(float);
        bytes += cz_engine_matmul_memory(own->product);
    }
    return bytes;
}
