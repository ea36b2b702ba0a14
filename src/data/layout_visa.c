/* SPDX-License-Identifier: Apache-2.0 */
/* VisA: CATEGORY/Data/Images/{Normal,Anomaly} with split_csv/1cls.csv, or the folders that its authors' script makes of it. */
#include "data/dataset.h"

#include "util/alloc.h"
#include "util/names.h"

#include <stdint.h>
#include <string.h>

static const char table_name[] = "split_csv/1cls.csv";

/* ---- the table ----------------------------------------------------------------------------------------------- */

enum { OBJECT, SPLIT, LABEL, IMAGE, MASK, COLUMNS };

typedef struct visa_table {
    cz_dataset *d;
    size_t column[COLUMNS], columns;
    bool header;
} visa_table;

static cz_status read_header(visa_table *t, const cz_csv_field *fields, size_t count)
{
    static const char *const names[COLUMNS] = {"object", "split", "label", "image", "mask"};
    cz_status status = CZ_OK;
    for (size_t c = 0; c < COLUMNS; c++) {
        CZ_TRY(cz_table_column(table_name, fields, count, names[c], &t->column[c]));
        if (t->column[c] != SIZE_MAX) continue;
        status = cz_fail(CZ_E_FORMAT, "%s:1: there is no column \"%s\"", table_name, names[c]);
        goto out;
    }
    t->header = true;
    t->columns = count;
out:
    return status;
}

static cz_status read_row(void *ctx, size_t line, const cz_csv_field *fields, size_t count)
{
    visa_table *t = ctx;
    char image[CZ_DATA_MAX_PATH], mask[CZ_DATA_MAX_PATH];
    const char *value[COLUMNS], *const masks[1] = {mask};
    cz_status status = CZ_OK;
    if (!t->header) return read_header(t, fields, count);
    if (count != t->columns)
        return cz_table_fail(CZ_E_FORMAT, table_name, line, "the row has not the heading's fields");
    for (size_t c = 0; c < COLUMNS; c++) value[c] = fields[t->column[c]].text;
    cz_sample_facts facts = {value[OBJECT], "good", 0, CZ_SPLIT_ANY, CZ_MASK_NONZERO};
    if (!cz_parse_split(value[SPLIT], &facts.split) || facts.split == CZ_SPLIT_ANY) {
        return cz_table_fail(CZ_E_FORMAT, table_name, line, "the split is neither train nor test");
    }
    if (strcmp(value[LABEL], "normal") != 0) {
        if (strcmp(value[LABEL], "anomaly") != 0) {
            return cz_table_fail(CZ_E_FORMAT, table_name, line, "the label is neither normal nor anomaly");
        }
        facts.label = 1;
        facts.kind = "anomaly";
    }
    CZ_TRY(cz_table_path(table_name, line, value[IMAGE], image));
    const bool masked = value[MASK][0] != '\0';
    if (masked) CZ_TRY(cz_table_path(table_name, line, value[MASK], mask));
    CZ_TRY(cz_dataset_add(t->d, image, &facts, masks, masked ? 1 : 0));
out:
    return status;
}

/* ---- the folders as published, without the table: all are test photos ----------------------------------------- */

typedef struct visa_walk {
    cz_dataset *d;
    cz_sample_facts facts;
    cz_listing masks;
} visa_walk;

static cz_status visit(void *ctx, const char *relative, const char *name)
{
    visa_walk *w = ctx;
    char *path = NULL;
    cz_entry *mask = cz_listing_find_picture(&w->masks, name, cz_name_stem(name), "");
    if (mask != NULL) {
        mask->used = true;
        path = cz_below(w->masks.below, mask->name);
        if (path == NULL) return CZ_E_MEMORY;
    }
    const char *const masks[1] = {path};
    const cz_status status = cz_dataset_add(w->d, relative, &w->facts, masks, path != NULL ? 1 : 0);
    cz_free(path);
    return status;
}

static cz_status read_raw(cz_dataset *d, const char *category)
{
    visa_walk w = {.d = d};
    cz_status status = CZ_E_MEMORY;
    char *normal = cz_below(category, "Data/Images/Normal"), *anomaly = cz_below(category, "Data/Images/Anomaly");
    char *masks = cz_below(category, "Data/Masks/Anomaly");
    if (normal == NULL || anomaly == NULL || masks == NULL) goto out;
    w.facts = (cz_sample_facts){category, "good", 0, CZ_SPLIT_TEST, CZ_MASK_NONZERO};
    CZ_TRY(cz_walk(d->root, normal, visit, &w));
    w.facts.kind = "anomaly";
    w.facts.label = 1;
    CZ_TRY(cz_listing_read_optional(d->root, masks, &w.masks));
    if (cz_is_folder(d->root, anomaly)) CZ_TRY(cz_walk(d->root, anomaly, visit, &w));
    CZ_TRY(cz_dataset_add_strays(d, &w.masks));
out:
    cz_listing_free(&w.masks);
    cz_free(normal);
    cz_free(anomaly);
    cz_free(masks);
    return status;
}

/* ---- which of them ------------------------------------------------------------------------------------------- */

static bool is_visa_name(const char *name)
{
    static const char *const names[] = {"candle",    "capsules", "cashew", "chewinggum", "fryum", "macaroni1",
                                        "macaroni2", "pcb1",     "pcb2",   "pcb3",       "pcb4",  "pipe_fryum"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) return true;
    }
    return false;
}

static cz_status read_listed(cz_dataset *d, bool *found)
{
    cz_listing l = {0};
    cz_status status;
    char *below = NULL, *own = cz_dataset_own_name(d);
    bool known = own != NULL && is_visa_name(own) && cz_is_folder(d->root, "test/bad");
    if (own == NULL) return CZ_E_MEMORY;
    CZ_TRY(cz_listing_read(d->root, "", &l));
    for (size_t i = 0; i < l.count; i++) {
        const cz_entry *e = &l.entries[i];
        if (!e->folder) continue;
        below = cz_below(e->name, "Data/Images/Normal");
        if (below == NULL) {
            status = CZ_E_MEMORY;
            goto out;
        }
        const bool raw = cz_is_folder(d->root, below);
        cz_free(below);
        known = known || is_visa_name(e->name);
        if (!raw) continue;
        *found = true;
        CZ_TRY(read_raw(d, e->name));
    }
    if (!*found && (d->named || known)) CZ_TRY(cz_layout_visa_folders(d, found));
out:
    cz_listing_free(&l);
    cz_free(own);
    return status;
}

cz_status cz_layout_visa(cz_dataset *d, bool *found)
{
    visa_table t = {.d = d};
    if (!cz_is_file(d->root, table_name)) return read_listed(d, found);
    *found = true;
    return cz_dataset_read_csv(d, table_name, read_row, &t);
}
