/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pillow's 8-bit bilinear resize, bit for bit (Pillow 9.4, libImaging/Resample.c): a triangle filter whose support grows
 * with the reduction, coefficients normalised in double and rounded to 22-bit fixed point, the horizontal pass first,
 * 8-bit values in between, a pass left out where its size does not change.
 *
 * The result is cut into tiles; a tile makes the horizontally resized rows that it needs in a small buffer (the few rows
 * that two tiles share are computed twice) and runs the vertical pass over them while they are in the cache.
 */
#include "features/resize.h"

#include "features/preprocess.h"
#include "features/simd.h"
#include "util/alloc.h"

#include <math.h>
#include <omp.h>
#include <string.h>
#if CZ_SIMD_AVX2
#include <immintrin.h>
#endif

#define PRECISION_BITS 22
#define ROUNDING       (1 << (PRECISION_BITS - 1))
/* The vector kernels multiply 16-bit pairs: k = high * 2^11 + low, both below 2^12. Sums may wrap; their total does not. */
#define SPLIT_BITS 11
#define TILE_ROWS  32
#define TILE_BYTES ((size_t)512 * 1024)

typedef struct axis {
    size_t count;        /* outputs */
    size_t slots;        /* places for coefficients an output; a multiple of 8, unused ones are 0 */
    size_t vector_end;   /* outputs before this one may be computed with whole vector loads */
    uint32_t *first;     /* [count] first source sample of the window */
    uint32_t *taps;      /* [count] length of the window */
    int32_t *k;          /* [count, slots] fixed point coefficients */
    int16_t *high, *low; /* [count, slots] the same, split; NULL when not asked for */
} axis;

typedef struct job {
    cz_resize_spec s;
    bool horizontal, vertical, vector;
    axis h, v;
    uint8_t *out;
} job;

static void axis_free(axis *a)
{
    cz_free(a->first);
    cz_free(a->taps);
    cz_free(a->k);
    cz_free(a->high);
    cz_free(a->low);
    memset(a, 0, sizeof *a);
}

static cz_status axis_alloc(axis *a, bool split)
{
    size_t places;
    if (!cz_mul_size(a->count, a->slots, &places)) return cz_fail(CZ_E_LIMIT, "resize: too large");
    a->first = cz_alloc_array(a->count, sizeof *a->first);
    a->taps = cz_alloc_array(a->count, sizeof *a->taps);
    a->k = cz_calloc(places, sizeof *a->k);
    if (split) {
        a->high = cz_calloc(places, sizeof *a->high);
        a->low = cz_calloc(places, sizeof *a->low);
    }
    if (!a->first || !a->taps || !a->k || (split && (!a->high || !a->low))) return CZ_E_MEMORY;
    return CZ_OK;
}

/* One output's window and weights, in the same double operations as Pillow's precompute_coeffs. */
static void axis_window(axis *a, size_t in, double scale, size_t whole_index, size_t i, double *weights)
{
    const double filterscale = scale < 1.0 ? 1.0 : scale;
    const double support = filterscale, ss = 1.0 / filterscale;
    const double center = ((double)whole_index + 0.5) * scale;
    long first = (long)(center - support + 0.5);
    long end = (long)(center + support + 0.5);
    if (first < 0) first = 0;
    if (end > (long)in) end = (long)in;
    const size_t taps = (size_t)(end - first);
    double sum = 0.0;
    for (size_t t = 0; t < taps; t++) {
        const double x = fabs(((double)((long)t + first) - center + 0.5) * ss);
        weights[t] = x < 1.0 ? 1.0 - x : 0.0;
        sum += weights[t];
    }
    int32_t *k = a->k + i * a->slots;
    for (size_t t = 0; t < taps; t++) {
        const double w = sum != 0.0 ? weights[t] / sum : weights[t];
        k[t] = (int32_t)(0.5 + w * (1 << PRECISION_BITS));
    }
    a->first[i] = (uint32_t)first;
    a->taps[i] = (uint32_t)taps;
}

/* Outputs [from, from + count) of an axis resized from `in` to `whole`. `channels` != 0: with the vector kernels' tables. */
static cz_status axis_make(axis *a, size_t in, size_t whole, size_t from, size_t count, size_t channels)
{
    cz_status status = CZ_OK;
    const double scale = (double)in / (double)whole;
    const size_t reach = (size_t)ceil(scale < 1.0 ? 1.0 : scale) * 2 + 1;
    a->count = count;
    a->slots = ((reach < in ? reach : in) + 7) / 8 * 8;
    double *weights = cz_alloc_array(a->slots, sizeof *weights);
    if (!weights) return CZ_E_MEMORY;
    CZ_TRY(axis_alloc(a, channels != 0));
    for (size_t i = 0; i < count; i++) axis_window(a, in, scale, from + i, i, weights);
    a->vector_end = 0;
    if (channels == 0) goto out;
    for (size_t i = 0; i < count * a->slots; i++) {
        a->high[i] = (int16_t)(a->k[i] >> SPLIT_BITS);
        a->low[i] = (int16_t)(a->k[i] & ((1 << SPLIT_BITS) - 1));
    }
    /* Gray reads 8 bytes for 8 taps; colour reads 16 bytes for 4 taps, of which 3 channels use 12. */
    for (; a->vector_end < count; a->vector_end++) {
        const size_t first = a->first[a->vector_end], taps = a->taps[a->vector_end];
        const size_t end = channels == 1 ? first + (taps + 7) / 8 * 8 : (first + (taps - 1) / 4 * 4) * channels + 16;
        if (end > in * channels) break;
    }
out:
    cz_free(weights);
    return status;
}

static inline uint8_t clip8(int32_t sum)
{
    const int32_t v = sum >> PRECISION_BITS;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* ---- horizontal pass: outputs [x0, x1) of one or two source rows into d ------------------------------------------- */

static void horizontal_plain(const axis *a, size_t channels, size_t x0, size_t x1, const uint8_t *row, uint8_t *d)
{
    for (size_t x = x0; x < x1; x++, d += channels) {
        const int32_t *k = a->k + x * a->slots;
        const uint8_t *p = row + a->first[x] * channels;
        const size_t taps = a->taps[x];
        int32_t s0 = ROUNDING, s1 = ROUNDING, s2 = ROUNDING, s3 = ROUNDING;
        if (channels == 1) {
            for (size_t t = 0; t < taps; t++) s0 += k[t] * p[t];
            d[0] = clip8(s0);
            continue;
        }
        for (size_t t = 0; t < taps; t++, p += channels) {
            s0 += k[t] * p[0];
            s1 += k[t] * p[1];
            s2 += k[t] * p[2];
            if (channels == 4) s3 += k[t] * p[3];
        }
        d[0] = clip8(s0);
        d[1] = clip8(s1);
        d[2] = clip8(s2);
        if (channels == 4) d[3] = clip8(s3);
    }
}

#if CZ_SIMD_AVX2
CZ_TARGET_AVX2 static inline __m256i load_two_rows(const uint8_t *p, const uint8_t *q)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p)),
                                   _mm_loadu_si128((const __m128i *)(const void *)q), 1);
}

CZ_TARGET_AVX2 static inline __m256i broadcast_pair(const int16_t *k)
{
    int32_t pair;
    memcpy(&pair, k, sizeof pair);
    return _mm256_set1_epi32(pair);
}

/* 3 or 4 channels; one row in each 128-bit half. Four pixels are shuffled to 16-bit pairs of neighbours, one pair a channel. */
CZ_TARGET_AVX2 static void horizontal_avx2_colour(const axis *a, size_t channels, size_t x0, size_t x1,
                                                  const uint8_t *const row[2], uint8_t *const d[2])
{
    const __m128i first3 = _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1);
    const __m128i second3 = _mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
    const __m128i first4 = _mm_setr_epi8(0, -1, 4, -1, 1, -1, 5, -1, 2, -1, 6, -1, 3, -1, 7, -1);
    const __m128i second4 = _mm_setr_epi8(8, -1, 12, -1, 9, -1, 13, -1, 10, -1, 14, -1, 11, -1, 15, -1);
    const __m256i pick01 = _mm256_broadcastsi128_si256(channels == 3 ? first3 : first4);
    const __m256i pick23 = _mm256_broadcastsi128_si256(channels == 3 ? second3 : second4);
    for (size_t x = x0; x < x1; x++) {
        const size_t offset = a->first[x] * channels;
        const int16_t *high = a->high + x * a->slots, *low = a->low + x * a->slots;
        const uint8_t *p = row[0] + offset, *q = row[1] + offset;
        __m256i sum_high = _mm256_setzero_si256(), sum_low = _mm256_set1_epi32(ROUNDING);
        for (size_t t = 0; t < a->taps[x]; t += 4, p += 4 * channels, q += 4 * channels) {
            const __m256i pixels = load_two_rows(p, q);
            const __m256i v01 = _mm256_shuffle_epi8(pixels, pick01), v23 = _mm256_shuffle_epi8(pixels, pick23);
            sum_high = _mm256_add_epi32(sum_high, _mm256_madd_epi16(v01, broadcast_pair(high + t)));
            sum_low = _mm256_add_epi32(sum_low, _mm256_madd_epi16(v01, broadcast_pair(low + t)));
            sum_high = _mm256_add_epi32(sum_high, _mm256_madd_epi16(v23, broadcast_pair(high + t + 2)));
            sum_low = _mm256_add_epi32(sum_low, _mm256_madd_epi16(v23, broadcast_pair(low + t + 2)));
        }
        __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(sum_high, SPLIT_BITS), sum_low);
        sum = _mm256_srai_epi32(sum, PRECISION_BITS);
        sum = _mm256_packs_epi32(sum, sum);
        sum = _mm256_packus_epi16(sum, sum);
        const int32_t a0 = _mm_cvtsi128_si32(_mm256_castsi256_si128(sum));
        const int32_t a1 = _mm_cvtsi128_si32(_mm256_extracti128_si256(sum, 1));
        /* The fourth byte of a 3-channel pixel is overwritten by the next one. */
        const size_t at = (x - x0) * channels;
        if (channels == 4 || x + 1 < x1) {
            memcpy(d[0] + at, &a0, 4);
            memcpy(d[1] + at, &a1, 4);
        } else {
            memcpy(d[0] + at, &a0, 3);
            memcpy(d[1] + at, &a1, 3);
        }
    }
}

CZ_TARGET_AVX2 static void horizontal_avx2_gray(const axis *a, size_t x0, size_t x1, const uint8_t *const row[2],
                                                uint8_t *const d[2])
{
    for (size_t x = x0; x < x1; x++) {
        const int16_t *high = a->high + x * a->slots, *low = a->low + x * a->slots;
        const uint8_t *p = row[0] + a->first[x], *q = row[1] + a->first[x];
        __m256i sum_high = _mm256_setzero_si256(), sum_low = _mm256_setzero_si256();
        for (size_t t = 0; t < a->taps[x]; t += 8) {
            const __m128i both = _mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)(const void *)(p + t)),
                                                    _mm_loadl_epi64((const __m128i *)(const void *)(q + t)));
            const __m256i v = _mm256_cvtepu8_epi16(both);
            const __m128i kh = _mm_loadu_si128((const __m128i *)(const void *)(high + t));
            const __m128i kl = _mm_loadu_si128((const __m128i *)(const void *)(low + t));
            sum_high = _mm256_add_epi32(sum_high, _mm256_madd_epi16(v, _mm256_broadcastsi128_si256(kh)));
            sum_low = _mm256_add_epi32(sum_low, _mm256_madd_epi16(v, _mm256_broadcastsi128_si256(kl)));
        }
        __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(sum_high, SPLIT_BITS), sum_low);
        sum = _mm256_add_epi32(sum, _mm256_shuffle_epi32(sum, 0x4e));
        sum = _mm256_add_epi32(sum, _mm256_shuffle_epi32(sum, 0xb1));
        d[0][x - x0] = clip8(_mm_cvtsi128_si32(_mm256_castsi256_si128(sum)) + ROUNDING);
        d[1][x - x0] = clip8(_mm_cvtsi128_si32(_mm256_extracti128_si256(sum, 1)) + ROUNDING);
    }
}
#endif

/* Source rows [r0, r1), outputs [x0, x1) -> d, rows `pitch` bytes apart. */
static void horizontal_rows(const job *j, size_t r0, size_t r1, size_t x0, size_t x1, uint8_t *d, size_t pitch)
{
    const size_t channels = j->s.channels;
    const axis *a = &j->h;
    size_t vector_end = x0;
#if CZ_SIMD_AVX2
    if (j->vector) vector_end = a->vector_end < x0 ? x0 : a->vector_end > x1 ? x1 : a->vector_end;
    for (size_t r = r0; r < r1 && vector_end > x0; r += 2) {
        const size_t other = r + 1 < r1 ? 1 : 0; /* an odd last row is computed twice */
        const uint8_t *const row[2] = {j->s.source + r * j->s.stride, j->s.source + (r + other) * j->s.stride};
        uint8_t *const to[2] = {d + (r - r0) * pitch, d + (r - r0 + other) * pitch};
        if (channels == 1)
            horizontal_avx2_gray(a, x0, vector_end, row, to);
        else
            horizontal_avx2_colour(a, channels, x0, vector_end, row, to);
    }
#endif
    if (vector_end == x1) return;
    for (size_t r = r0; r < r1; r++)
        horizontal_plain(a, channels, vector_end, x1, j->s.source + r * j->s.stride,
                         d + (r - r0) * pitch + (vector_end - x0) * channels);
}

/* ---- vertical pass: one output row of n bytes from `taps` rows, `pitch` bytes apart ---------------------------------- */

static void vertical_plain(const int32_t *k, size_t taps, const uint8_t *rows, size_t pitch, size_t n, uint8_t *d)
{
    for (size_t i = 0; i < n; i += 64) {
        const size_t block = n - i < 64 ? n - i : 64;
        int32_t sum[64];
        for (size_t b = 0; b < block; b++) sum[b] = ROUNDING;
        for (size_t t = 0; t < taps; t++) {
            const uint8_t *p = rows + t * pitch + i;
            for (size_t b = 0; b < block; b++) sum[b] += k[t] * p[b];
        }
        for (size_t b = 0; b < block; b++) d[i + b] = clip8(sum[b]);
    }
}

#if CZ_SIMD_AVX2
CZ_TARGET_AVX2 static inline __m256i multiply_add(__m256i sum, const uint8_t *p, __m256i k)
{
    const __m256i v = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
    return _mm256_add_epi32(sum, _mm256_mullo_epi32(v, k));
}

CZ_TARGET_AVX2 static void vertical_avx2(const int32_t *k, size_t taps, const uint8_t *rows, size_t pitch, size_t n,
                                         uint8_t *d)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i s0 = _mm256_set1_epi32(ROUNDING), s1 = s0, s2 = s0, s3 = s0;
        const uint8_t *p = rows + i;
        for (size_t t = 0; t < taps; t++, p += pitch) {
            const __m256i kt = _mm256_set1_epi32(k[t]);
            s0 = multiply_add(s0, p, kt);
            s1 = multiply_add(s1, p + 8, kt);
            s2 = multiply_add(s2, p + 16, kt);
            s3 = multiply_add(s3, p + 24, kt);
        }
        const __m256i a =
            _mm256_packs_epi32(_mm256_srai_epi32(s0, PRECISION_BITS), _mm256_srai_epi32(s1, PRECISION_BITS));
        const __m256i b =
            _mm256_packs_epi32(_mm256_srai_epi32(s2, PRECISION_BITS), _mm256_srai_epi32(s3, PRECISION_BITS));
        const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(a, b), order);
        _mm256_storeu_si256((__m256i *)(void *)(d + i), bytes);
    }
    if (i < n) vertical_plain(k, taps, rows + i, pitch, n - i, d + i);
}
#endif

static void vertical_row(const job *j, size_t y, const uint8_t *rows, size_t pitch, size_t n, uint8_t *d)
{
    const int32_t *k = j->v.k + y * j->v.slots;
#if CZ_SIMD_AVX2
    if (j->vector) {
        vertical_avx2(k, j->v.taps[y], rows, pitch, n, d);
        return;
    }
#endif
    vertical_plain(k, j->v.taps[y], rows, pitch, n, d);
}

/* ---- tiles ------------------------------------------------------------------------------------------------------- */

/* Source rows that the vertical pass of output rows [y0, y1) reads. */
static void rows_needed(const job *j, size_t y0, size_t y1, size_t *r0, size_t *r1)
{
    *r0 = j->vertical ? j->v.first[y0] : j->s.y + y0;
    *r1 = j->vertical ? (size_t)j->v.first[y1 - 1] + j->v.taps[y1 - 1] : j->s.y + y1;
}

static void run_tile(const job *j, size_t y0, size_t y1, size_t x0, size_t x1, uint8_t *buffer)
{
    const size_t channels = j->s.channels, pitch_out = j->s.width * channels, n = (x1 - x0) * channels;
    uint8_t *out = j->out + y0 * pitch_out + x0 * channels;
    size_t r0, r1;
    rows_needed(j, y0, y1, &r0, &r1);
    if (j->horizontal && !j->vertical) {
        horizontal_rows(j, r0, r1, x0, x1, out, pitch_out);
        return;
    }
    const uint8_t *rows = j->s.source + r0 * j->s.stride + (j->s.x + x0) * channels;
    size_t pitch = j->s.stride;
    if (j->horizontal) {
        horizontal_rows(j, r0, r1, x0, x1, buffer, n);
        rows = buffer;
        pitch = n;
    }
    for (size_t y = y0; y < y1; y++, out += pitch_out) {
        if (j->vertical)
            vertical_row(j, y, rows + (j->v.first[y] - r0) * pitch, pitch, n, out);
        else
            memcpy(out, rows + (y - y0) * pitch, n);
    }
}

static cz_status run_tiles(const job *j)
{
    const size_t width = j->s.width, height = j->s.height, channels = j->s.channels;
    size_t tall = 1; /* source rows of the tallest tile */
    for (size_t y = 0; y < height; y += TILE_ROWS) {
        size_t r0, r1;
        rows_needed(j, y, y + TILE_ROWS < height ? y + TILE_ROWS : height, &r0, &r1);
        if (r1 - r0 > tall) tall = r1 - r0;
    }
    size_t columns = TILE_BYTES / (tall * channels) / 32 * 32;
    if (columns < 32) columns = 32;
    if (columns > width) columns = width;
    const size_t across = (width + columns - 1) / columns, down = (height + TILE_ROWS - 1) / TILE_ROWS;
    const bool parallel = j->s.sh * j->s.sw + width * height > 16384 && across * down > 1;
    const size_t threads = parallel ? (size_t)omp_get_max_threads() : 1;
    const size_t bytes = j->horizontal && j->vertical ? tall * columns * channels : 0;
    uint8_t *buffers = cz_alloc_array(threads, bytes);
    if (!buffers) return CZ_E_MEMORY;
#pragma omp parallel for schedule(dynamic) num_threads((int)threads) if (threads > 1)
    for (size_t i = 0; i < across * down; i++) {
        const size_t y0 = i / across * TILE_ROWS, x0 = i % across * columns;
        const size_t y1 = y0 + TILE_ROWS < height ? y0 + TILE_ROWS : height;
        const size_t x1 = x0 + columns < width ? x0 + columns : width;
        run_tile(j, y0, y1, x0, x1, buffers + (size_t)omp_get_thread_num() * bytes);
    }
    cz_free(buffers);
    return CZ_OK;
}

static bool side_ok(size_t side)
{
    return side >= 1 && side <= CZ_RESIZE_MAX_SIDE;
}

static cz_status check(const cz_resize_spec *s)
{
    if (!side_ok(s->sw) || !side_ok(s->sh) || !side_ok(s->width) || !side_ok(s->height))
        return cz_fail(CZ_E_ARG, "resize: sides are 1 to %d", CZ_RESIZE_MAX_SIDE);
    if (s->dw > INT32_MAX || s->dh > INT32_MAX) return cz_fail(CZ_E_ARG, "resize: the result is too long");
    if (s->x > s->dw || s->width > s->dw - s->x || s->y > s->dh || s->height > s->dh - s->y)
        return cz_fail(CZ_E_ARG, "resize: the window lies outside the result");
    if (s->channels != 1 && s->channels != 3 && s->channels != 4)
        return cz_fail(CZ_E_ARG, "resize: 1, 3 or 4 channels");
    if (!s->source || s->stride < s->sw * s->channels) return cz_fail(CZ_E_ARG, "resize: no pixels, or rows overlap");
    return CZ_OK;
}

cz_status cz_resize_window(const cz_resize_spec *spec, uint8_t *out)
{
    cz_status status = check(spec);
    if (status != CZ_OK) return status;
    job j = {.s = *spec, .out = out, .vector = !spec->plain && cz_has_avx2()};
    j.horizontal = spec->dw != spec->sw;
    j.vertical = spec->dh != spec->sh;
    if (j.horizontal) CZ_TRY(axis_make(&j.h, spec->sw, spec->dw, spec->x, spec->width, j.vector ? spec->channels : 0));
    if (j.vertical) CZ_TRY(axis_make(&j.v, spec->sh, spec->dh, spec->y, spec->height, 0));
    CZ_TRY(run_tiles(&j));
out:
    axis_free(&j.h);
    axis_free(&j.v);
    return status;
}

cz_status cz_resize_bilinear(const uint8_t *source, size_t sw, size_t sh, size_t stride, size_t channels, size_t dw,
                             size_t dh, uint8_t *out)
{
    const cz_resize_spec spec = {.source = source,
                                 .sw = sw,
                                 .sh = sh,
                                 .stride = stride,
                                 .channels = channels,
                                 .dw = dw,
                                 .dh = dh,
                                 .width = dw,
                                 .height = dh};
    return cz_resize_window(&spec, out);
}
