/* SPDX-License-Identifier: Apache-2.0 */
#include "pictures.h"

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

/* DIR/relative.ending; *out is replaced. */
static cz_status name_file(const pictures *p, const input *item, const char *ending, char **out)
{
    free(*out);
    const size_t room = strlen(p->maps_dir) + strlen(item->relative) + strlen(ending) + 2;
    *out = malloc(room);
    if (*out == NULL) return cz_source_error(CZ_E_MEMORY, "out of memory");
    (void)snprintf(*out, room, "%s/%s%s", p->maps_dir, item->relative, ending);
    return make_parents(*out);
}

static cz_status add_to_page(pictures *p, const input *item, const cz_image *photo, const cz_result *result,
                             const cz_image *overlay, const cz_image *truth)
{
    report_item entry = {0};
    entry.path = item->path;
    entry.score = result->score;
    entry.label = item->label;
    entry.category = "";
    entry.note = item->category;
    entry.photo = photo;
    entry.overlay = overlay;
    entry.truth = truth;
    return report_add_item(p->page, &entry);
}

/* The heat map keeps its own range, so that every raw value can be had back from the file; the overlay is for comparing
 * photos by eye and has the run's. */
static void range_of(const cz_result *result, double *low, double *high)
{
    *low = INFINITY;
    *high = -INFINITY;
    for (size_t i = 0; i < result->map_width * result->map_height; i++) {
        const double value = (double)result->map[i];
        if (value < *low) *low = value;
        if (value > *high) *high = value;
    }
    if (!(*high > *low)) {
        *low = isfinite(*low) ? *low : 0.0;
        *high = *low + 1.0;
    }
}

cz_status pictures_add(pictures *p, const input *item, const cz_image *photo, const cz_result *result,
                       const cz_image *truth)
{
    cz_status status = CZ_OK;
    cz_picture overlay = {0};
    if (p->maps_dir != NULL) {
        status = name_file(p, item, ".map.png", &p->map_path);
        if (status == CZ_OK) {
            double low, high;
            range_of(result, &low, &high);
            status = cz_heatmap_write(p->map_path, result->map, result->map_width, result->map_height, low, high);
        }
    }
    const bool wanted = p->page != NULL || (p->maps_dir != NULL && p->overlay);
    if (status == CZ_OK && wanted) status = cz_overlay(photo, result->map, p->low, p->high, &overlay);
    if (status == CZ_OK && p->maps_dir != NULL && p->overlay) {
        status = name_file(p, item, ".overlay.png", &p->overlay_path);
        if (status == CZ_OK) status = cz_picture_write(p->overlay_path, &overlay.image);
    }
    if (status == CZ_OK && p->page != NULL) status = add_to_page(p, item, photo, result, &overlay.image, truth);
    cz_picture_free(&overlay);
    return status;
}

void pictures_free(pictures *p)
{
    free(p->map_path);
    free(p->overlay_path);
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
