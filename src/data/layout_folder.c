/* SPDX-License-Identifier: Apache-2.0 */
/* Folders named for what is in them: plain ones, and the medical sets HeadCT, BrainMRI and Br35H. None sets photos aside for
 * training. */
#include "data/dataset.h"

#include "util/alloc.h"
#include "util/names.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct plain_walk {
    cz_dataset *d;
    cz_sample_facts facts;
    cz_listing masks; /* the folder of masks itself */
    cz_listing here;  /* the one below it that is like the folder being read */
} plain_walk;

static cz_status visit(void *ctx, const char *relative, const char *name)
{
    (void)name;
    plain_walk *w = ctx;
    return cz_dataset_add(w->d, relative, &w->facts, NULL, 0);
}

static cz_status read_folder(cz_dataset *d, const char *below, const char *kind, int label, cz_split split)
{
    plain_walk w = {.d = d, .facts = {"", kind, label, split, CZ_MASK_HALF}};
    return cz_walk(d->root, below, visit, &w);
}

/* ---- yes and no ---------------------------------------------------------------------------------------------- */

cz_status cz_layout_brainmri(cz_dataset *d, bool *found)
{
    cz_status status = CZ_OK;
    *found = cz_is_folder(d->root, "yes") && cz_is_folder(d->root, "no");
    if (!*found) return CZ_OK;
    CZ_TRY(read_folder(d, "no", "good", 0, CZ_SPLIT_TEST));
    CZ_TRY(read_folder(d, "yes", "yes", 1, CZ_SPLIT_TEST));
out:
    return status;
}

cz_status cz_layout_br35h(cz_dataset *d, bool *found)
{
    cz_status status = CZ_OK;
    if (!cz_is_folder(d->root, "pred")) return CZ_OK;
    CZ_TRY(cz_layout_brainmri(d, found));
    if (*found) CZ_TRY(read_folder(d, "pred", "", -1, CZ_SPLIT_TEST));
out:
    return status;
}

/* ---- HeadCT -------------------------------------------------------------------------------------------------- */

typedef struct headct {
    cz_dataset *d;
    size_t id, label, columns;
    bool header, fits;
} headct;

/* 7 is 007.png, in the first of the folders that has it. */
static cz_status add_head(headct *h, size_t line, const char *id, const char *label)
{
    static const char *const folders[] = {"head_ct/", "head_ct/head_ct/", ""};
    char relative[64];
    id += strspn(id, " ");
    label += strspn(label, " ");
    const size_t digits = strspn(id, "0123456789");
    if (digits == 0 || digits > 6 || id[digits + strspn(id + digits, " ")] != '\0') {
        return cz_table_fail(CZ_E_FORMAT, "labels.csv", line, "the id is no number of up to 6 digits");
    }
    if ((label[0] != '0' && label[0] != '1') || label[1 + strspn(label + 1, " ")] != '\0') {
        return cz_table_fail(CZ_E_FORMAT, "labels.csv", line, "hemorrhage is neither 0 nor 1");
    }
    const int zeros = digits < 3 ? 3 - (int)digits : 0;
    for (size_t i = 0;; i++) {
        const bool last = i == sizeof folders / sizeof *folders;
        (void)snprintf(relative, sizeof relative, "%s%.*s%.*s.png", folders[last ? 0 : i], zeros, "00", (int)digits,
                       id);
        if (last || cz_is_file(h->d->root, relative)) break;
    }
    const bool ill = label[0] == '1';
    const cz_sample_facts facts = {"", ill ? "hemorrhage" : "good", ill, CZ_SPLIT_TEST, CZ_MASK_HALF};
    return cz_dataset_add(h->d, relative, &facts, NULL, 0);
}

static cz_status headct_row(void *ctx, size_t line, const cz_csv_field *fields, size_t count)
{
    headct *h = ctx;
    cz_status status = CZ_OK;
    if (!h->header) {
        CZ_TRY(cz_table_column("labels.csv", fields, count, "id", &h->id));
        CZ_TRY(cz_table_column("labels.csv", fields, count, "hemorrhage", &h->label));
        h->header = true;
        h->columns = count;
        h->fits = h->id != SIZE_MAX && h->label != SIZE_MAX;
    } else if (h->fits) {
        if (count != h->columns)
            return cz_table_fail(CZ_E_FORMAT, "labels.csv", line, "the row has not the heading's fields");
        CZ_TRY(add_head(h, line, fields[h->id].text, fields[h->label].text));
    }
out:
    return status;
}

cz_status cz_layout_headct(cz_dataset *d, bool *found)
{
    headct h = {.d = d};
    if (!cz_is_file(d->root, "labels.csv")) return CZ_OK;
    cz_status status = cz_dataset_read_csv(d, "labels.csv", headct_row, &h);
    if (status != CZ_OK && status != CZ_E_MEMORY && !h.fits && !d->named) {
        cz_error_clear(); /* some other labels.csv */
        status = CZ_OK;
    }
    *found = h.fits;
    return status;
}

/* ---- plain folders ------------------------------------------------------------------------------------------- */

cz_status cz_layout_folder(cz_dataset *d, bool *found)
{
    *found = true;
    return read_folder(d, "", "", -1, CZ_SPLIT_ANY);
}

/* The mask in a listing, below its root; *out NULL: none. */
static cz_status take_mask(cz_listing *l, const char *name, char **out)
{
    const size_t stem = cz_name_stem(name);
    cz_entry *e = cz_listing_find_picture(l, name, stem, "_mask");
    if (e == NULL) e = cz_listing_find_picture(l, name, stem, "");
    *out = NULL;
    if (e == NULL) return CZ_OK;
    e->used = true;
    *out = cz_below(l->below, e->name);
    return *out != NULL ? CZ_OK : CZ_E_MEMORY;
}

/* The listing of the folder of masks that is like the picture's own, kept while its neighbours come. */
static cz_status enter(plain_walk *w, const char *folder)
{
    if (w->here.below != NULL && strcmp(w->here.below, folder) == 0) return CZ_OK;
    cz_listing_free(&w->here);
    return cz_listing_read_optional(w->d->mask_root, folder, &w->here);
}

static cz_status visit_abnormal(void *ctx, const char *relative, const char *name)
{
    plain_walk *w = ctx;
    cz_status status = CZ_E_MEMORY;
    char *mask = NULL, *folder = cz_strndup(relative, strlen(relative) - strlen(name)), *kind = NULL;
    if (folder == NULL) goto out;
    const size_t length = strlen(folder);
    if (length > 0) folder[length - 1] = '\0';
    kind = cz_strndup(folder, strcspn(folder, "/"));
    if (kind == NULL) goto out;
    w->facts.kind = kind;
    if (w->d->mask_root != NULL) {
        if (length > 0) {
            CZ_TRY(enter(w, folder));
            CZ_TRY(take_mask(&w->here, name, &mask));
        }
        if (mask == NULL) CZ_TRY(take_mask(&w->masks, name, &mask));
    }
    const char *const masks[1] = {mask};
    CZ_TRY(cz_dataset_add(w->d, relative, &w->facts, masks, mask != NULL ? 1 : 0));
out:
    cz_free(mask);
    cz_free(kind);
    cz_free(folder);
    return status;
}

cz_status cz_read_folders(cz_dataset *d, const char *abnormal, const char *masks)
{
    plain_walk w = {.d = d, .facts = {"", "", 1, CZ_SPLIT_TEST, CZ_MASK_HALF}};
    cz_status status;
    char *root = abnormal != NULL ? cz_strdup(abnormal) : NULL;
    d->prefix = "normal";
    CZ_TRY(read_folder(d, "", "good", 0, CZ_SPLIT_TEST));
    if (abnormal == NULL) goto out;
    if (root == NULL) {
        status = CZ_E_MEMORY;
        goto out;
    }
    cz_free(d->root);
    d->root = root;
    root = NULL;
    d->prefix = "abnormal";
    d->mask_root = masks;
    if (masks != NULL) CZ_TRY(cz_listing_read(masks, "", &w.masks));
    CZ_TRY(cz_walk(d->root, "", visit_abnormal, &w));
    CZ_TRY(cz_dataset_add_strays(d, &w.masks));
out:
    cz_free(root);
    cz_listing_free(&w.here);
    cz_listing_free(&w.masks);
    d->prefix = d->mask_root = NULL;
    return status;
}
