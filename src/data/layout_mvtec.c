/* SPDX-License-Identifier: Apache-2.0 */
/* MVTec AD and those laid out like it: AD 2, 3D-AD, LOCO, BTAD, VIADUCT, VisA's folders. */
#include "data/dataset.h"

#include "util/alloc.h"
#include "util/names.h"

#include <string.h>

typedef struct family {
    const char *normal;   /* the folder of normal pictures */
    const char *marks[4]; /* a category has one of these folders */
    cz_mask_rule rule;
    int depth; /* of folders that may hold categories */
} family;

static const family mvtec = {"good", {"train/good", "test", "test_public"}, CZ_MASK_HALF, 1};
static const family viaduct = {"good", {"train/good", "test"}, CZ_MASK_HALF, 3};
static const family loco = {"good", {"test/logical_anomalies", "test/structural_anomalies"}, CZ_MASK_NONZERO, 1};
static const family btad = {"ok", {"train/ok", "test/ko", "test/ok"}, CZ_MASK_HALF, 1};
static const family visa = {"good", {"train/good", "test/bad"}, CZ_MASK_NONZERO, 1};

static const struct {
    const char *name, *truth; /* where the masks of its kinds are, NULL: below the part itself */
    cz_split split;
    bool labelled;
} parts[] = {
    {"train", "ground_truth", CZ_SPLIT_TRAIN, true}, {"validation", "ground_truth", CZ_SPLIT_VALIDATION, true},
    {"test", "ground_truth", CZ_SPLIT_TEST, true},   {"test_public", "test_public/ground_truth", CZ_SPLIT_TEST, true},
    {"test_private", NULL, CZ_SPLIT_TEST, false},    {"test_private_mixed", NULL, CZ_SPLIT_TEST, false}};
#define PARTS (sizeof parts / sizeof *parts)

/* ---- one folder of pictures of a kind ------------------------------------------------------------------------ */

typedef struct kind_walk {
    cz_dataset *d;
    cz_sample_facts facts;
    cz_listing masks;
} kind_walk;

/* All pictures of the folder that LOCO has for each picture. */
static cz_status add_folder_masks(const kind_walk *w, const cz_entry *folder, cz_text_list *out)
{
    cz_listing l = {0};
    char *below = cz_below(w->masks.below, folder->name), *path = NULL;
    cz_status status = below != NULL ? cz_listing_read(w->d->root, below, &l) : CZ_E_MEMORY;
    for (size_t i = 0; i < l.count && status == CZ_OK; i++) {
        if (!l.entries[i].picture) continue;
        path = cz_below(below, l.entries[i].name);
        status = path != NULL ? cz_text_list_add(out, path) : CZ_E_MEMORY;
        cz_free(path);
    }
    cz_free(below);
    cz_listing_free(&l);
    return status;
}

static cz_status find_masks(kind_walk *w, const char *name, cz_text_list *out)
{
    const size_t stem = cz_name_stem(name);
    cz_entry *e = cz_listing_find_picture(&w->masks, name, stem, "_mask");
    if (e == NULL) e = cz_listing_find_picture(&w->masks, name, stem, "");
    if (e == NULL) {
        char *folder = cz_strndup(name, stem);
        if (folder == NULL) return CZ_E_MEMORY;
        e = cz_listing_find(&w->masks, folder);
        cz_free(folder);
        if (e == NULL || !e->folder) return CZ_OK;
        e->used = true;
        return add_folder_masks(w, e, out);
    }
    e->used = true;
    char *path = cz_below(w->masks.below, e->name);
    const cz_status status = path != NULL ? cz_text_list_add(out, path) : CZ_E_MEMORY;
    cz_free(path);
    return status;
}

static cz_status visit(void *ctx, const char *relative, const char *name)
{
    kind_walk *w = ctx;
    cz_text_list masks = {0};
    cz_status status;
    CZ_TRY(find_masks(w, name, &masks));
    CZ_TRY(cz_dataset_add(w->d, relative, &w->facts, (const char *const *)masks.items, masks.count));
out:
    cz_text_list_free(&masks);
    return status;
}

/* The pictures of ROOT/BELOW with masks from ROOT/TRUTH; TRUTH NULL: none. */
static cz_status read_kind(cz_dataset *d, const cz_sample_facts *facts, const char *below, const char *truth)
{
    kind_walk w = {.d = d, .facts = *facts};
    cz_status status = CZ_OK;
    if (truth != NULL) CZ_TRY(cz_listing_read_optional(d->root, truth, &w.masks));
    CZ_TRY(cz_walk(d->root, below, visit, &w));
    CZ_TRY(cz_dataset_add_strays(d, &w.masks));
out:
    cz_listing_free(&w.masks);
    return status;
}

/* ---- one category -------------------------------------------------------------------------------------------- */

/* PART/KIND, or MVTec 3D-AD's PART/KIND/rgb with its masks in PART/KIND/gt. */
static cz_status read_part_kind(cz_dataset *d, const cz_sample_facts *facts, const char *part, const char *truth,
                                const char *kind)
{
    cz_status status = CZ_E_MEMORY;
    char *below = cz_below(part, kind), *masks = cz_below(truth, kind);
    char *rgb = below != NULL ? cz_below(below, "rgb") : NULL, *gt = below != NULL ? cz_below(below, "gt") : NULL;
    if (below == NULL || masks == NULL || rgb == NULL || gt == NULL) goto out;
    const bool colour = cz_is_folder(d->root, rgb);
    status = read_kind(d, facts, colour ? rgb : below, colour ? gt : masks);
out:
    cz_free(below);
    cz_free(masks);
    cz_free(rgb);
    cz_free(gt);
    return status;
}

/* Masks of kinds that have no pictures. */
static cz_status add_lost_truth(cz_dataset *d, const char *truth, const cz_listing *kinds)
{
    cz_listing folders = {0}, masks = {0};
    cz_status status;
    char *below = NULL;
    CZ_TRY(cz_listing_read_optional(d->root, truth, &folders));
    for (size_t i = 0; i < folders.count; i++) {
        const cz_entry *e = &folders.entries[i], *kind = cz_listing_find(kinds, e->name);
        if (!e->folder || (kind != NULL && kind->folder)) continue;
        below = cz_below(truth, e->name);
        if (below == NULL) {
            status = CZ_E_MEMORY;
            goto out;
        }
        CZ_TRY(cz_listing_read(d->root, below, &masks));
        CZ_TRY(cz_dataset_add_strays(d, &masks));
        cz_listing_free(&masks);
        cz_free(below);
        below = NULL;
    }
out:
    cz_free(below);
    cz_listing_free(&masks);
    cz_listing_free(&folders);
    return status;
}

static cz_status read_part(cz_dataset *d, const family *f, const char *base, const char *category, size_t p)
{
    cz_listing kinds = {0};
    cz_sample_facts facts = {category, "", -1, parts[p].split, f->rule};
    cz_status status = CZ_E_MEMORY;
    char *part = cz_below(base, parts[p].name), *truth = parts[p].truth != NULL ? cz_below(base, parts[p].truth) : NULL;
    if (part == NULL || (truth == NULL && parts[p].truth != NULL)) goto out;
    if (!parts[p].labelled) {
        status = cz_is_folder(d->root, part) ? read_kind(d, &facts, part, NULL) : CZ_OK;
        goto out;
    }
    CZ_TRY(cz_listing_read_optional(d->root, part, &kinds));
    for (size_t i = 0; i < kinds.count; i++) {
        const char *kind = kinds.entries[i].name;
        if (!kinds.entries[i].folder || strcmp(kind, "ground_truth") == 0) continue;
        facts.label = strcmp(kind, f->normal) == 0 ? 0 : 1;
        facts.kind = facts.label == 0 ? "good" : kind;
        CZ_TRY(read_part_kind(d, &facts, part, truth, kind));
    }
    /* one truth folder for all parts: what is missing is what the test has not */
    if (parts[p].split == CZ_SPLIT_TEST && kinds.count > 0) CZ_TRY(add_lost_truth(d, truth, &kinds));
out:
    cz_listing_free(&kinds);
    cz_free(part);
    cz_free(truth);
    return status;
}

static cz_status read_category(cz_dataset *d, const family *f, const char *base, const char *category)
{
    cz_status status = CZ_OK;
    for (size_t p = 0; p < PARTS && status == CZ_OK; p++) status = read_part(d, f, base, category, p);
    return status;
}

/* ---- the set ------------------------------------------------------------------------------------------------- */

static cz_status is_category(const cz_dataset *d, const family *f, const char *base, bool *yes)
{
    *yes = false;
    for (size_t i = 0; i < sizeof f->marks / sizeof *f->marks && f->marks[i] != NULL && !*yes; i++) {
        char *below = cz_below(base, f->marks[i]);
        if (below == NULL) return CZ_E_MEMORY;
        *yes = cz_is_folder(d->root, below);
        cz_free(below);
    }
    return CZ_OK;
}

/* The categories below ROOT/BASE, named by their path. */
static cz_status read_categories(cz_dataset *d, const family *f, const char *base, int depth, bool *found)
{
    cz_listing l = {0};
    cz_status status;
    char *below = NULL;
    CZ_TRY(cz_listing_read(d->root, base, &l));
    for (size_t i = 0; i < l.count; i++) {
        bool yes;
        if (!l.entries[i].folder) continue;
        below = cz_below(base, l.entries[i].name);
        if (below == NULL) {
            status = CZ_E_MEMORY;
            goto out;
        }
        CZ_TRY(is_category(d, f, below, &yes));
        if (yes) {
            *found = true;
            CZ_TRY(read_category(d, f, below, below));
        } else if (depth > 1 && !l.entries[i].link) {
            CZ_TRY(read_categories(d, f, below, depth - 1, found));
        }
        cz_free(below);
        below = NULL;
    }
out:
    cz_free(below);
    cz_listing_free(&l);
    return status;
}

static cz_status read_family(cz_dataset *d, const family *f, bool *found)
{
    cz_status status = is_category(d, f, "", found);
    if (status != CZ_OK) return status;
    if (!*found) return read_categories(d, f, "", f->depth, found);
    char *name = cz_dataset_own_name(d);
    status = name != NULL ? read_category(d, f, "", name) : CZ_E_MEMORY;
    cz_free(name);
    return status;
}

cz_status cz_layout_mvtec(cz_dataset *d, bool *found)
{
    return read_family(d, &mvtec, found);
}

cz_status cz_layout_viaduct(cz_dataset *d, bool *found)
{
    return read_family(d, &viaduct, found);
}

cz_status cz_layout_loco(cz_dataset *d, bool *found)
{
    return read_family(d, &loco, found);
}

cz_status cz_layout_btad(cz_dataset *d, bool *found)
{
    return read_family(d, &btad, found);
}

cz_status cz_layout_visa_folders(cz_dataset *d, bool *found)
{
    return read_family(d, &visa, found);
}
