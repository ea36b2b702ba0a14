/* SPDX-License-Identifier: Apache-2.0 */
/* What the layouts share: a data set being filled, and folders as sorted lists. Everything read here comes from outside. */
#ifndef CZ_DATA_DATASET_H
#define CZ_DATA_DATASET_H

#include "cozad/cozad_eval.h"
#include "util/status.h"

#include <stdbool.h>

#define CZ_DATA_MAX_SAMPLES ((size_t)1 << 22)
#define CZ_DATA_MAX_DEPTH   32
#define CZ_DATA_MAX_TABLE   ((size_t)1 << 28) /* bytes of a manifest */
#define CZ_DATA_MAX_PATH    4096

typedef struct cz_text_list {
    char **items;
    size_t count, room;
} cz_text_list;

struct cz_dataset {
    char *root;
    const char *prefix, *mask_root; /* while plain folders are read: before `relative`; where masks lie. Else NULL */
    const char *layout;
    bool named; /* the layout was asked for, not detected */
    cz_sample *samples;
    size_t count, room;
    cz_text_list categories; /* sorted */
    cz_text_list stray;      /* paths of mask files without a picture */
};

typedef struct cz_entry {
    char *name;
    bool folder;  /* also through a link */
    bool link;    /* a link to a folder */
    bool picture; /* a regular file (also through a link, or a link to nothing) with a picture's name */
    bool used;    /* for the caller: masks that were given away */
} cz_entry;

/* A folder's entries but hidden ones, sorted by name. */
typedef struct cz_listing {
    cz_entry *entries;
    size_t count;
    char *below; /* the folder, below root */
} cz_listing;

/* What a layout knows of a picture. */
typedef struct cz_sample_facts {
    const char *category, *kind;
    int label;
    cz_split split;
    cz_mask_rule rule;
} cz_sample_facts;

/* ---- dataset.c ---- */

/* Adds a picture; `masks`: [count] paths below root. */
cz_status cz_dataset_add(cz_dataset *d, const char *relative, const cz_sample_facts *facts, const char *const *masks,
                         size_t count);
cz_status cz_dataset_add_stray(cz_dataset *d, const char *relative);
/* The pictures and folders of a listing that are not `used`. */
cz_status cz_dataset_add_strays(cz_dataset *d, const cz_listing *masks);
/* Replaces the kind of a sample. */
cz_status cz_dataset_set_kind(cz_dataset *d, size_t index, const char *kind);
cz_status cz_text_list_add(cz_text_list *list, const char *text);
void cz_text_list_free(cz_text_list *list);
/* The name that a root has by itself, the last component of its real path; cz_free. */
char *cz_dataset_own_name(const cz_dataset *d);

/* A layout fills `d`, or leaves it empty and *found false when it is not there. `d` is given up on failure. */
typedef cz_status (*cz_layout_read_fn)(cz_dataset *d, bool *found);
cz_status cz_layout_csv(cz_dataset *d, bool *found);
cz_status cz_layout_jsonl(cz_dataset *d, bool *found);
cz_status cz_layout_mvtec(cz_dataset *d, bool *found);
cz_status cz_layout_loco(cz_dataset *d, bool *found);
cz_status cz_layout_btad(cz_dataset *d, bool *found);
cz_status cz_layout_viaduct(cz_dataset *d, bool *found);
cz_status cz_layout_visa(cz_dataset *d, bool *found);
cz_status cz_layout_kolektor(cz_dataset *d, bool *found);
cz_status cz_layout_kolektor2(cz_dataset *d, bool *found);
cz_status cz_layout_rsdd(cz_dataset *d, bool *found);
cz_status cz_layout_dagm(cz_dataset *d, bool *found);
cz_status cz_layout_magnetic_tile(cz_dataset *d, bool *found);
cz_status cz_layout_headct(cz_dataset *d, bool *found);
cz_status cz_layout_brainmri(cz_dataset *d, bool *found);
cz_status cz_layout_br35h(cz_dataset *d, bool *found);
cz_status cz_layout_folder(cz_dataset *d, bool *found);
/* VisA's folders after its split_csv was applied: MVTec AD's, but for the masks' rule (layout_mvtec.c). */
cz_status cz_layout_visa_folders(cz_dataset *d, bool *found);

/* Fills `d`, whose root holds the normal pictures (layout_folder.c). */
cz_status cz_read_folders(cz_dataset *d, const char *abnormal, const char *masks);

/* ---- walk.c ---- */

/* `below`: a path below root, "" for root itself. */
cz_status cz_listing_read(const char *root, const char *below, cz_listing *out);
/* The same; a folder that is not there gives no entries. */
cz_status cz_listing_read_optional(const char *root, const char *below, cz_listing *out);
void cz_listing_free(cz_listing *l);
/* NULL: not there */
cz_entry *cz_listing_find(const cz_listing *l, const char *name);
/* The first picture named STEM, SUFFIX, any extension. */
cz_entry *cz_listing_find_picture(const cz_listing *l, const char *stem, size_t stem_length, const char *suffix);
bool cz_is_folder(const char *root, const char *below);
bool cz_is_file(const char *root, const char *below);
/* "a/b", without a slash where one of them is empty; cz_free. */
char *cz_below(const char *a, const char *b);
/* The picture at `relative` (in the folder `folder` among its neighbours); `name` is its last component. */
typedef cz_status (*cz_walk_fn)(void *ctx, const char *relative, const char *name);
/* Every picture below ROOT/BELOW, folders in the order of names; links to folders are not followed. */
cz_status cz_walk(const char *root, const char *below, cz_walk_fn visit, void *ctx);

/* ---- csv.c ---- */

typedef struct cz_csv_field {
    const char *text; /* zero-terminated */
    size_t length;
} cz_csv_field;

/* A row; `line` is where it begins, from 1. */
typedef cz_status (*cz_csv_row_fn)(void *ctx, size_t line, const cz_csv_field *fields, size_t count);
/* RFC 4180: CR LF or LF, fields in quotes may hold commas, line ends and doubled quotes; a UTF-8 byte order mark is skipped, so
 * are empty lines. A quote inside an unquoted field, text behind a closing one, an open quote at the end, a zero byte, more than
 * 64 fields or a field over CZ_DATA_MAX_PATH bytes is CZ_E_FORMAT or CZ_E_LIMIT. `name` begins messages. */
cz_status cz_csv_parse(const char *bytes, size_t size, const char *name, cz_csv_row_fn row, void *ctx);

/* ---- manifest.c ---- */

/* A path of a table has to be relative and without "..": it stays below its root. Writes it without "." and doubled slashes to
 * `out`; CZ_E_FORMAT says NAME:LINE. Links below the root are taken as they are: a table cannot make one. */
cz_status cz_table_path(const char *name, size_t line, const char *path, char out[CZ_DATA_MAX_PATH]);
/* "train", "test", "val", … and "" in any case; false: none of them. */
bool cz_parse_split(const char *text, cz_split *out);
/* Reads ROOT/BELOW as CSV. */
cz_status cz_dataset_read_csv(const cz_dataset *d, const char *below, cz_csv_row_fn row, void *ctx);
/* The column of a heading with that name, spaces around it and case aside; SIZE_MAX when there is none; CZ_E_FORMAT when there
 * are two. */
cz_status cz_table_column(const char *name, const cz_csv_field *fields, size_t count, const char *wanted, size_t *out);
/* Whole manifests in memory; `name` begins messages. */
cz_status cz_manifest_csv(cz_dataset *d, const char *bytes, size_t size, const char *name);
cz_status cz_manifest_jsonl(cz_dataset *d, const char *bytes, size_t size, const char *name);
/* ROOT/BELOW by its extension. */
cz_status cz_manifest_read(cz_dataset *d, const char *below);
/* "NAME:LINE: REASON" */
cz_status cz_table_fail(cz_status status, const char *name, size_t line, const char *reason);

#endif
