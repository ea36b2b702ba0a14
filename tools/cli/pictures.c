/* SPDX-License-Identifier: Apache-2.0 */
#include "pictures.h"

#include "map_rows.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

cz_status pictures_check(const pictures *p, const input_list *list)
{
    if (p->maps_dir == NULL || list->count == 0) return CZ_OK;
    const char **names = malloc(list->count * sizeof *names);
    if (names == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    for (size_t i = 0; i < list->count; i++) names[i] = list->items[i].relative;
    qsort(names, list->count, sizeof *names, compare_names);
    cz_status status = CZ_OK;
    for (size_t i = 1; i < list->count && status == CZ_OK; i++) {
        if (strcmp(names[i - 1], names[i]) != 0) continue;
        char line[512];
        (void)snprintf(line, sizeof line,
                       "two inputs would both write %.200s.map.png into the folder of --maps; score them apart",
                       names[i]);
        status = cz_source_error(CZ_E_ARG, line);
    }
    free(names);
    return status;
}

static cz_status make_parents(const char *path)
{
    char *copy = strdup(path);
    if (copy == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    cz_status status = CZ_OK;
    for (char *p = strchr(copy + 1, '/'); p != NULL && status == CZ_OK; p = strchr(p + 1, '/')) {
        *p = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) {
            char line[1024];
            (void)snprintf(line, sizeof line, "%.900s: cannot make folder: %s", copy, strerror(errno));
            status = cz_source_error(errno == ENOSPC ? CZ_E_NO_SPACE : CZ_E_IO, line);
        }
        *p = '/';
    }
    free(copy);
    return status;
}

/* DIR/relative.ending */
static cz_status name_file(const pictures *p, const input *item, const char *ending, char **out)
{
    const size_t room = strlen(p->maps_dir) + strlen(item->relative) + strlen(ending) + 2;
    *out = malloc(room);
    if (*out == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    (void)snprintf(*out, room, "%s/%s%s", p->maps_dir, item->relative, ending);
    return make_parents(*out);
}

static report_item entry_of(const input *item, double score)
{
    report_item entry = {0};
    entry.path = item->path;
    entry.score = score;
    entry.label = item->label;
    entry.category = "";
    entry.note = item->category;
    return entry;
}

void picture_files_free(picture_files *files)
{
    free(files->map);
    free(files->overlay);
    report_free_thumbs(files->thumbs);
    memset(files, 0, sizeof *files);
}

static cz_status make_files(const pictures *p, const input *item, const cz_image *photo, const map_rows *rows,
                            picture_files *out)
{
    const cz_map_source map = map_rows_source(rows);
    double low, high;
    /* The heat map keeps its own range, so that every raw value can be had back from the file; the overlay is for comparing
     * photos by eye and has the run's. */
    cz_status status = name_file(p, item, ".map.png", &out->map);
    if (status == CZ_OK) status = map_rows_range(rows, &low, &high);
    if (status == CZ_OK) status = cz_heatmap_write_rows(out->map, &map, low, high);
    if (status != CZ_OK || !p->overlay) return status;
    status = name_file(p, item, ".overlay.png", &out->overlay);
    if (status == CZ_OK) status = cz_overlay_write(out->overlay, photo, &map, p->low, p->high);
    return status;
}

cz_status pictures_make(const pictures *p, const input *item, const cz_image *photo, const cz_result *result,
                        cz_session *session, const cz_image *truth, picture_files *out)
{
    const map_rows rows = {result, session};
    const cz_map_source map = map_rows_source(&rows);
    cz_picture overlay = {0};
    cz_status status = p->maps_dir != NULL ? make_files(p, item, photo, &rows, out) : CZ_OK;
    if (status == CZ_OK && p->page != NULL) {
        status = cz_overlay_thumbnail(photo, &map, p->low, p->high, REPORT_THUMB, &overlay);
        report_item entry = entry_of(item, result->score);
        entry.photo = photo;
        entry.overlay = &overlay.image;
        entry.truth = truth;
        if (status == CZ_OK) status = report_make_thumbs(&entry, &out->thumbs);
    }
    cz_picture_free(&overlay);
    return status == CZ_E_IO ? CZ_E_NO_SPACE : status;
}

cz_status pictures_add(pictures *p, const input *item, double score, picture_files *files)
{
    if (p->page == NULL || files->thumbs == NULL) return CZ_OK;
    const report_item entry = entry_of(item, score);
    const cz_status status = report_add_made(p->page, &entry, files->thumbs);
    files->thumbs = NULL;
    return status;
}

void pictures_free(pictures *p)
{
    report_close(p->page);
    memset(p, 0, sizeof *p);
}

bool pictures_parse_range(const char *text, double *low, double *high)
{
    char *end;
    *low = strtod(text, &end);
    if (end == text || *end != ',') return false;
    text = end + 1;
    *high = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*low) && isfinite(*high) && *low < *high;
}
