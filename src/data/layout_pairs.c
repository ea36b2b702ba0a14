/* SPDX-License-Identifier: Apache-2.0 */
/* Sets with pictures and masks side by side, told apart by their names: KolektorSDD, KolektorSDD2, DAGM, magnetic tile, RSDD. */
#include "data/dataset.h"

#include "util/alloc.h"
#include "util/names.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

typedef struct pair_rule {
    const char *suffix;    /* masks are STEM, SUFFIX, any extension; "": the same stem with the extension `extension` */
    const char *extension; /* of masks; NULL: any */
    bool read_label;       /* the label is in the mask: unknown; else `facts` has it */
    bool by_mask;          /* the label is whether there is a mask */
} pair_rule;

/* STEM ends with the suffix of masks (or the name with their extension). */
static bool is_mask(const pair_rule *rule, const char *name)
{
    const size_t stem = cz_name_stem(name), length = strlen(rule->suffix);
    if (rule->extension != NULL && (name[stem] != '.' || strcasecmp(name + stem + 1, rule->extension) != 0))
        return false;
    return stem > length && memcmp(name + stem - length, rule->suffix, length) == 0;
}

static cz_entry *find_mask(const pair_rule *rule, const cz_listing *masks, const char *name)
{
    const size_t stem = cz_name_stem(name);
    char wanted[512];
    if (rule->extension == NULL) return cz_listing_find_picture(masks, name, stem, rule->suffix);
    const size_t length = strlen(rule->suffix), more = strlen(rule->extension);
    if (stem + length + more + 2 > sizeof wanted) return NULL;
    memcpy(wanted, name, stem);
    memcpy(wanted + stem, rule->suffix, length);
    wanted[stem + length] = '.';
    memcpy(wanted + stem + length + 1, rule->extension, more + 1);
    return cz_listing_find(masks, wanted);
}

static cz_status add_one(cz_dataset *d, const cz_sample_facts *given, const pair_rule *rule, const char *relative,
                         const cz_listing *masks, cz_entry *mask)
{
    cz_sample_facts facts = *given;
    cz_status status;
    char *path = NULL;
    if (rule->read_label) facts.label = -1;
    if (rule->by_mask) {
        facts.label = mask != NULL;
        facts.kind = mask != NULL ? "defect" : "good";
    }
    if (mask != NULL) {
        mask->used = true;
        path = cz_below(masks->below, mask->name);
        if (path == NULL) return CZ_E_MEMORY;
    }
    const char *const paths[1] = {path};
    status = cz_dataset_add(d, relative, &facts, paths, mask != NULL ? 1 : 0);
    cz_free(path);
    return status;
}

/* The pictures of ROOT/BELOW, not of folders in it; masks among them (`truth` NULL) or in ROOT/TRUTH. */
static cz_status read_pairs(cz_dataset *d, const cz_sample_facts *facts, const pair_rule *rule, const char *below,
                            const char *truth)
{
    cz_listing pictures = {0}, others = {0};
    cz_listing *masks = truth != NULL ? &others : &pictures;
    cz_status status;
    char *relative = NULL;
    CZ_TRY(cz_listing_read_optional(d->root, below, &pictures));
    if (truth != NULL) CZ_TRY(cz_listing_read_optional(d->root, truth, &others));
    for (size_t i = 0; i < pictures.count; i++) {
        cz_entry *e = &pictures.entries[i];
        if (!e->picture || (truth == NULL && is_mask(rule, e->name))) continue;
        cz_entry *mask = find_mask(rule, masks, e->name);
        relative = cz_below(below, e->name);
        if (relative == NULL) {
            status = CZ_E_MEMORY;
            goto out;
        }
        CZ_TRY(add_one(d, facts, rule, relative, masks, mask));
        e->used = true;
        cz_free(relative);
        relative = NULL;
    }
    for (size_t i = 0; i < masks->count; i++) {
        if (masks->entries[i].folder) masks->entries[i].used = true;
    }
    CZ_TRY(cz_dataset_add_strays(d, masks));
out:
    cz_free(relative);
    cz_listing_free(&pictures);
    cz_listing_free(&others);
    return status;
}

/* PREFIX and digits */
static bool is_numbered(const char *name, const char *prefix)
{
    const size_t length = strlen(prefix);
    return strncasecmp(name, prefix, length) == 0 && isdigit((unsigned char)name[length]) &&
           strspn(name + length, "0123456789") == strlen(name + length);
}

/* ---- KolektorSDD: kosNN/PartN.jpg, PartN_label.bmp ----------------------------------------------------------- */

cz_status cz_layout_kolektor(cz_dataset *d, bool *found)
{
    static const pair_rule rule = {"_label", NULL, true, false};
    static const cz_sample_facts facts = {"", "", -1, CZ_SPLIT_TEST, CZ_MASK_NONZERO};
    cz_listing l = {0};
    cz_status status;
    CZ_TRY(cz_listing_read(d->root, "", &l));
    for (size_t i = 0; i < l.count; i++) {
        if (!l.entries[i].folder || !is_numbered(l.entries[i].name, "kos")) continue;
        *found = true;
        CZ_TRY(read_pairs(d, &facts, &rule, l.entries[i].name, NULL));
    }
out:
    cz_listing_free(&l);
    return status;
}

/* ---- KolektorSDD2: train and test, NNNNN.png, NNNNN_GT.png ---------------------------------------------------- */

static cz_status has_masks(const cz_dataset *d, const char *below, const pair_rule *rule, bool *yes)
{
    cz_listing l = {0};
    const cz_status status = cz_listing_read_optional(d->root, below, &l);
    for (size_t i = 0; i < l.count && !*yes; i++) *yes = l.entries[i].picture && is_mask(rule, l.entries[i].name);
    cz_listing_free(&l);
    return status;
}

cz_status cz_layout_kolektor2(cz_dataset *d, bool *found)
{
    static const pair_rule rule = {"_GT", NULL, true, false};
    static const cz_sample_facts train = {"", "", -1, CZ_SPLIT_TRAIN, CZ_MASK_HALF};
    static const cz_sample_facts test = {"", "", -1, CZ_SPLIT_TEST, CZ_MASK_HALF};
    cz_status status;
    CZ_TRY(has_masks(d, "train", &rule, found));
    if (!*found) CZ_TRY(has_masks(d, "test", &rule, found));
    if (!*found) return CZ_OK;
    CZ_TRY(read_pairs(d, &train, &rule, "train", NULL));
    CZ_TRY(read_pairs(d, &test, &rule, "test", NULL));
out:
    return status;
}

/* ---- DAGM 2007: ClassN/Train/NNNN.PNG, ClassN/Train/Label/NNNN_label.PNG -------------------------------------- */

static cz_status read_class(cz_dataset *d, const char *base, const char *category, bool *found)
{
    static const pair_rule rule = {"_label", NULL, false, true};
    static const struct {
        const char *name;
        cz_split split;
    } parts[] = {{"Train", CZ_SPLIT_TRAIN}, {"Test", CZ_SPLIT_TEST}};
    cz_status status = CZ_OK;
    char *part = NULL, *truth = NULL;
    for (size_t i = 0; i < 2; i++) {
        part = cz_below(base, parts[i].name);
        truth = part != NULL ? cz_below(part, "Label") : NULL;
        if (truth == NULL) {
            status = CZ_E_MEMORY;
            goto out;
        }
        if (cz_is_folder(d->root, part)) {
            const cz_sample_facts facts = {category, "", -1, parts[i].split, CZ_MASK_HALF};
            *found = true;
            CZ_TRY(read_pairs(d, &facts, &rule, part, truth));
        }
        cz_free(part);
        cz_free(truth);
        part = truth = NULL;
    }
out:
    cz_free(part);
    cz_free(truth);
    return status;
}

cz_status cz_layout_dagm(cz_dataset *d, bool *found)
{
    cz_listing l = {0};
    cz_status status = CZ_OK;
    if (cz_is_folder(d->root, "Train/Label") || cz_is_folder(d->root, "Test/Label")) {
        char *name = cz_dataset_own_name(d);
        status = name != NULL ? read_class(d, "", name, found) : CZ_E_MEMORY;
        cz_free(name);
        return status;
    }
    CZ_TRY(cz_listing_read(d->root, "", &l));
    for (size_t i = 0; i < l.count; i++) {
        const char *name = l.entries[i].name;
        if (l.entries[i].folder && is_numbered(name, "Class")) CZ_TRY(read_class(d, name, name, found));
    }
out:
    cz_listing_free(&l);
    return status;
}

/* ---- magnetic tile: MT_KIND/Imgs/NAME.jpg, NAME.png ----------------------------------------------------------- */

static cz_status read_tiles(cz_dataset *d, const char *folder, bool *found)
{
    static const pair_rule rule = {"", "png", false, false};
    const bool normal = strcmp(folder, "MT_Free") == 0;
    const cz_sample_facts facts = {"", normal ? "good" : folder + 3, !normal, CZ_SPLIT_TEST, CZ_MASK_HALF};
    char *below = cz_below(folder, "Imgs");
    cz_status status = below != NULL ? CZ_OK : CZ_E_MEMORY;
    if (below != NULL && cz_is_folder(d->root, below)) {
        *found = true;
        status = read_pairs(d, &facts, &rule, below, NULL);
    }
    cz_free(below);
    return status;
}

/* Names the kinds that split.csv does not have. */
static cz_status name_kinds(cz_dataset *d)
{
    cz_status status = CZ_OK;
    for (size_t i = 0; i < d->count && status == CZ_OK; i++) {
        const char *relative = d->samples[i].relative;
        if (d->samples[i].label != 1 || strncmp(relative, "MT_", 3) != 0) continue;
        char *kind = cz_strndup(relative + 3, strcspn(relative + 3, "/"));
        status = kind != NULL ? cz_dataset_set_kind(d, i, kind) : CZ_E_MEMORY;
        cz_free(kind);
    }
    return status;
}

cz_status cz_layout_magnetic_tile(cz_dataset *d, bool *found)
{
    cz_listing l = {0};
    cz_status status;
    if (cz_is_file(d->root, "split.csv")) {
        CZ_TRY(cz_layout_csv(d, found));
        return name_kinds(d);
    }
    CZ_TRY(cz_listing_read(d->root, "", &l));
    for (size_t i = 0; i < l.count; i++) {
        const cz_entry *e = &l.entries[i];
        if (e->folder && strncmp(e->name, "MT_", 3) == 0) CZ_TRY(read_tiles(d, e->name, found));
    }
out:
    cz_listing_free(&l);
    return status;
}

/* ---- RSDD: a folder of originals beside a folder GroundTruth --------------------------------------------------- */

static bool is_truth_name(const char *name)
{
    static const char *const names[] = {"groundtruth", "ground truth", "ground_truth", "gt"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcasecmp(name, names[i]) == 0) return true;
    }
    return false;
}

/* "Type-I RSDDs dataset": what detection goes by. */
static bool is_rail_name(const char *name)
{
    return strcasestr(name, "rsdd") != NULL || strncasecmp(name, "Type-I", 6) == 0;
}

/* A folder that has a folder of masks: the pictures in it and in its other folders. All show defects. */
static cz_status read_rails(cz_dataset *d, const cz_listing *l, const char *truth, const char *category)
{
    static const pair_rule rule = {"", NULL, false, false};
    const cz_sample_facts facts = {category, "defect", 1, CZ_SPLIT_TEST, CZ_MASK_HALF};
    cz_status status;
    char *below = cz_below(l->below, truth), *folder = NULL;
    bool own = false;
    if (below == NULL) return CZ_E_MEMORY;
    for (size_t i = 0; i < l->count; i++) own = own || l->entries[i].picture;
    if (own) CZ_TRY(read_pairs(d, &facts, &rule, l->below, below));
    for (size_t i = 0; i < l->count && !own; i++) {
        if (!l->entries[i].folder || strcmp(l->entries[i].name, truth) == 0) continue;
        folder = cz_below(l->below, l->entries[i].name);
        if (folder == NULL) {
            status = CZ_E_MEMORY;
            goto out;
        }
        CZ_TRY(read_pairs(d, &facts, &rule, folder, below));
        cz_free(folder);
        folder = NULL;
    }
    status = CZ_OK;
out:
    cz_free(folder);
    cz_free(below);
    return status;
}

static cz_status search_rails(cz_dataset *d, const char *below, const char *category, bool rail, int depth, bool *found)
{
    cz_listing l = {0};
    cz_status status;
    char *next = NULL;
    const char *truth = NULL;
    CZ_TRY(cz_listing_read(d->root, below, &l));
    for (size_t i = 0; i < l.count; i++) {
        if (l.entries[i].folder && is_truth_name(l.entries[i].name)) truth = l.entries[i].name;
    }
    if (truth != NULL && rail) {
        *found = true;
        CZ_TRY(read_rails(d, &l, truth, category));
        goto out;
    }
    for (size_t i = 0; i < l.count && depth > 0; i++) {
        const cz_entry *e = &l.entries[i];
        if (!e->folder || e->link) continue;
        next = cz_below(below, e->name);
        if (next == NULL) {
            status = CZ_E_MEMORY;
            goto out;
        }
        CZ_TRY(search_rails(d, next, e->name, rail || is_rail_name(e->name), depth - 1, found));
        cz_free(next);
        next = NULL;
    }
out:
    cz_free(next);
    cz_listing_free(&l);
    return status;
}

cz_status cz_layout_rsdd(cz_dataset *d, bool *found)
{
    char *name = cz_dataset_own_name(d);
    if (name == NULL) return CZ_E_MEMORY;
    const cz_status status = search_rails(d, "", name, d->named || is_rail_name(name), 2, found);
    cz_free(name);
    return status;
}
