/* SPDX-License-Identifier: Apache-2.0 */
/* Packed weights: the block, its header, and who holds it. */
#include "engine/packed_dnnl2.h"

#include "engine/arena.h"
#include "util/alloc.h"

#include <stdatomic.h>
#include <string.h>

#define MAX_RECORDS  ((size_t)4096)
#define MAX_CHANNELS ((uint64_t)1 << 20)

static const unsigned char magic[8] = {'C', 'Z', 'P', 'A', 'C', 'K', 26, '\n'};
enum { VERSION = 1 };

/* Numbers as this machine has them; a block of a machine of the other byte order has no known version. */
typedef struct header {
    unsigned char magic[8];
    uint32_t version, record_bytes, records;
    uint32_t library; /* oneDNN's version: what a descriptor means is its own affair */
    uint64_t bytes;   /* of the block */
    uint64_t zero[4];
} header;

typedef struct record {
    uint64_t weights_offset, weights_bytes, bias_offset, scales_offset; /* bytes into the block; no scales: 0 */
    uint64_t out_channels, verified[4];
    uint32_t algorithm, limit;
    dnnl_memory_desc_t md; /* cleared, then filled field by field, to be compared as bytes and never interpreted */
} record;

struct cz_packed {
    atomic_size_t references;
    const unsigned char *bytes;
    size_t size;
    unsigned char *own; /* when it was packed here */
    void (*let_go)(void *ctx);
    void *ctx;
};

static uint32_t library(void)
{
    const dnnl_version_t *v = dnnl_version();
    return (uint32_t)(v->major << 20 | v->minor << 10 | v->patch);
}

static void copy_dims(dnnl_dims_t to, const dnnl_dims_t from, int count)
{
    memcpy(to, from, (size_t)count * sizeof *from);
}

/* oneDNN leaves padding and unused ends of arrays as they come. `from` is one of our own. */
static void canonical(const dnnl_memory_desc_t *from, dnnl_memory_desc_t *to)
{
    memset(to, 0, sizeof *to);
    to->ndims = from->ndims;
    copy_dims(to->dims, from->dims, from->ndims);
    to->data_type = from->data_type;
    copy_dims(to->padded_dims, from->padded_dims, from->ndims);
    copy_dims(to->padded_offsets, from->padded_offsets, from->ndims);
    to->offset0 = from->offset0;
    to->format_kind = from->format_kind;
    if (from->format_kind == dnnl_blocked) {
        const dnnl_blocking_desc_t *b = &from->format_desc.blocking;
        copy_dims(to->format_desc.blocking.strides, b->strides, from->ndims);
        to->format_desc.blocking.inner_nblks = b->inner_nblks;
        copy_dims(to->format_desc.blocking.inner_blks, b->inner_blks, b->inner_nblks);
        copy_dims(to->format_desc.blocking.inner_idxs, b->inner_idxs, b->inner_nblks);
    } else if (from->format_kind == dnnl_format_kind_wino) {
        const dnnl_wino_desc_t *w = &from->format_desc.wino_desc;
        to->format_desc.wino_desc.wino_format = w->wino_format;
        to->format_desc.wino_desc.r = w->r;
        to->format_desc.wino_desc.alpha = w->alpha;
        to->format_desc.wino_desc.ic = w->ic;
        to->format_desc.wino_desc.oc = w->oc;
        to->format_desc.wino_desc.ic_block = w->ic_block;
        to->format_desc.wino_desc.oc_block = w->oc_block;
        to->format_desc.wino_desc.ic2_block = w->ic2_block;
        to->format_desc.wino_desc.oc2_block = w->oc2_block;
        to->format_desc.wino_desc.adj_scale = w->adj_scale;
        to->format_desc.wino_desc.size = w->size;
    }
    to->extra.flags = from->extra.flags;
    if (from->extra.flags & (uint64_t)dnnl_memory_extra_flag_compensation_conv_s8s8)
        to->extra.compensation_mask = from->extra.compensation_mask;
    if (from->extra.flags & (uint64_t)dnnl_memory_extra_flag_scale_adjust)
        to->extra.scale_adjust = from->extra.scale_adjust;
}

/* ---- who holds it -------------------------------------------------------------------------------------------------- */

static cz_packed *packed_new(const void *bytes, size_t size)
{
    cz_packed *packed = cz_calloc(1, sizeof *packed);
    if (!packed) return NULL;
    atomic_init(&packed->references, 1);
    packed->bytes = bytes;
    packed->size = size;
    return packed;
}

cz_packed *cz_packed_retain(cz_packed *packed)
{
    atomic_fetch_add_explicit(&packed->references, 1, memory_order_relaxed);
    return packed;
}

void cz_packed_release(cz_packed *packed)
{
    if (!packed || atomic_fetch_sub_explicit(&packed->references, 1, memory_order_acq_rel) != 1) return;
    if (packed->let_go) packed->let_go(packed->ctx);
    cz_free(packed->own);
    cz_free(packed);
}

const void *cz_packed_bytes(const cz_packed *packed, size_t *size)
{
    *size = packed->size;
    return packed->bytes;
}

void *cz_packed_writable(cz_packed *packed, const void *part)
{
    return packed->own + ((const unsigned char *)part - packed->bytes);
}

/* ---- making one ---------------------------------------------------------------------------------------------------- */

/* *at: where `bytes` begin that are put behind *end. */
static bool place(size_t bytes, size_t *end, uint64_t *at)
{
    size_t rounded;
    if (!cz_add_size(bytes, CZ_ARENA_ALIGN - 1, &rounded)) return false;
    *at = *end;
    return cz_add_size(*end, rounded / CZ_ARENA_ALIGN * CZ_ARENA_ALIGN, end);
}

static bool place_record(const cz_packed_need *need, size_t *end, record *r)
{
    const size_t channels = need->out_channels * sizeof(float);
    memset(r, 0, sizeof *r);
    canonical(&need->md, &r->md);
    r->out_channels = need->out_channels;
    r->algorithm = (uint32_t)need->algorithm;
    r->limit = need->limit;
    r->weights_bytes = dnnl_memory_desc_get_size(&need->md);
    return place((size_t)r->weights_bytes, end, &r->weights_offset) && place(channels, end, &r->bias_offset) &&
           (need->limit == 0 || place(channels, end, &r->scales_offset));
}

/* From the end of a part to the next one. */
static void clear_gap(unsigned char *bytes, uint64_t end)
{
    memset(bytes + end, 0, (CZ_ARENA_ALIGN - end % CZ_ARENA_ALIGN) % CZ_ARENA_ALIGN);
}

/* So that equal weights give equal blocks. `end`: of the table. */
static void clear_gaps(const record *records, size_t count, size_t end, unsigned char *bytes)
{
    clear_gap(bytes, end);
    for (size_t i = 0; i < count; i++) {
        const record *r = &records[i];
        const uint64_t channels = r->out_channels * sizeof(float);
        clear_gap(bytes, r->weights_offset + r->weights_bytes);
        clear_gap(bytes, r->bias_offset + channels);
        if (r->limit) clear_gap(bytes, r->scales_offset + channels);
    }
}

cz_status cz_packed_new(const cz_packed_need *needs, size_t count, cz_packed **out)
{
    size_t end = 0;
    uint64_t table;
    cz_packed *packed = NULL;
    unsigned char *bytes = NULL;
    if (count > MAX_RECORDS) return cz_fail(CZ_E_LIMIT, "network: more than %zu convolutions", MAX_RECORDS);
    record *records = cz_alloc_array(count, sizeof *records);
    if (!records) return CZ_E_MEMORY;
    bool fits = place(sizeof(header), &end, &table) && place(count * sizeof *records, &end, &table);
    for (size_t i = 0; i < count && fits; i++) fits = place_record(&needs[i], &end, &records[i]);
    if (fits) bytes = cz_alloc(end);
    if (bytes) packed = packed_new(bytes, end);
    if (packed) {
        header h = {.version = VERSION,
                    .record_bytes = sizeof *records,
                    .records = (uint32_t)count,
                    .library = library(),
                    .bytes = end};
        memcpy(h.magic, magic, sizeof magic);
        clear_gaps(records, count, (size_t)table + count * sizeof *records, bytes);
        memcpy(bytes, &h, sizeof h);
        memcpy(bytes + table, records, count * sizeof *records);
        packed->own = bytes;
        *out = packed;
    } else {
        cz_free(bytes);
    }
    cz_free(records);
    return packed ? CZ_OK : fits ? CZ_E_MEMORY : cz_fail(CZ_E_LIMIT, "network: weights too large");
}

/* ---- reading one --------------------------------------------------------------------------------------------------- */

static header header_of(const cz_packed *packed)
{
    header h;
    memcpy(&h, packed->bytes, sizeof h);
    return h;
}

static const unsigned char *record_at(const unsigned char *bytes, size_t index)
{
    return bytes + (sizeof(header) + CZ_ARENA_ALIGN - 1) / CZ_ARENA_ALIGN * CZ_ARENA_ALIGN + index * sizeof(record);
}

/* [offset, offset + bytes) lies between the table and the end of the block, aligned. */
static bool inside(uint64_t offset, uint64_t bytes, size_t begin, size_t size)
{
    return offset % CZ_ARENA_ALIGN == 0 && offset >= begin && offset <= size && bytes > 0 && bytes <= size - offset;
}

static bool record_is_sound(const unsigned char *bytes, size_t index, size_t begin, size_t size)
{
    record r;
    memcpy(&r, record_at(bytes, index), sizeof r);
    if (r.out_channels == 0 || r.out_channels > MAX_CHANNELS || r.algorithm > CZ_PACKED_WINOGRAD) return false;
    if ((r.limit == 0) != (r.scales_offset == 0) || r.limit > 127) return false;
    const uint64_t channels = r.out_channels * sizeof(float);
    return inside(r.weights_offset, r.weights_bytes, begin, size) && inside(r.bias_offset, channels, begin, size) &&
           (r.limit == 0 || inside(r.scales_offset, channels, begin, size));
}

cz_status cz_packed_from_bytes(const void *bytes, size_t size, void (*let_go)(void *ctx), void *ctx, cz_packed **out)
{
    header h;
    if ((uintptr_t)bytes % CZ_ARENA_ALIGN != 0)
        return cz_fail(CZ_E_ARG, "packed weights: not on a multiple of 64 bytes");
    if (size < sizeof h) return cz_fail(CZ_E_FORMAT, "packed weights: %zu bytes are no header", size);
    memcpy(&h, bytes, sizeof h);
    if (memcmp(h.magic, magic, sizeof magic) != 0 || h.version != VERSION || h.record_bytes != sizeof(record))
        return cz_fail(CZ_E_FORMAT, "packed weights: not of this version of cozad");
    if (h.library != library()) return cz_fail(CZ_E_FORMAT, "packed weights: of another version of oneDNN");
    if (h.bytes != size || h.records > MAX_RECORDS || (h.zero[0] | h.zero[1] | h.zero[2] | h.zero[3]) != 0)
        return cz_fail(CZ_E_FORMAT, "packed weights: damaged header");
    const size_t begin = (size_t)(record_at(bytes, h.records) - (const unsigned char *)bytes);
    if (begin > size) return cz_fail(CZ_E_FORMAT, "packed weights: cut off in the table");
    for (size_t i = 0; i < h.records; i++)
        if (!record_is_sound(bytes, i, begin, size))
            return cz_fail(CZ_E_FORMAT, "packed weights: record %zu is damaged", i);
    cz_packed *packed = packed_new(bytes, size);
    if (!packed) return CZ_E_MEMORY;
    packed->let_go = let_go;
    packed->ctx = ctx;
    *out = packed;
    return CZ_OK;
}

size_t cz_packed_count(const cz_packed *packed)
{
    return header_of(packed).records;
}

bool cz_packed_get(const cz_packed *packed, size_t index, size_t out_channels, cz_packed_conv *out)
{
    record r;
    if (index >= cz_packed_count(packed)) return false;
    memcpy(&r, record_at(packed->bytes, index), sizeof r);
    if (r.out_channels != out_channels) return false;
    *out = (cz_packed_conv){.weights = packed->bytes + r.weights_offset,
                            .bias = (const float *)(const void *)(packed->bytes + r.bias_offset),
                            .algorithm = (cz_packed_algorithm)r.algorithm,
                            .limit = r.limit};
    if (r.limit != 0) out->scales = (const float *)(const void *)(packed->bytes + r.scales_offset);
    memcpy(out->verified, r.verified, sizeof r.verified);
    return true;
}

bool cz_packed_suits(const cz_packed *packed, size_t index, const cz_packed_need *need)
{
    record r;
    dnnl_memory_desc_t md;
    if (index >= cz_packed_count(packed)) return false;
    memcpy(&r, record_at(packed->bytes, index), sizeof r);
    canonical(&need->md, &md);
    return r.out_channels == need->out_channels && r.algorithm == (uint32_t)need->algorithm && r.limit == need->limit &&
           r.weights_bytes == dnnl_memory_desc_get_size(&need->md) && memcmp(&md, &r.md, sizeof md) == 0;
}

void cz_packed_set_verified(cz_packed *packed, size_t index, const size_t nchw[4])
{
    record r;
    unsigned char *at = cz_packed_writable(packed, record_at(packed->bytes, index));
    memcpy(&r, at, sizeof r);
    for (size_t i = 0; i < 4; i++) r.verified[i] = nchw[i];
    memcpy(at, &r, sizeof r);
}
