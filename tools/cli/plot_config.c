/* SPDX-License-Identifier: Apache-2.0 */
/* Settings and categories: a list for one log, a table that shows the differences first for several. */
#include "plot_page.h"
#include "report_internal.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 1000 }; /* a log that names more is not made by a training */

/* The text of a value; NULL without memory. free */
static char *text_of(const json_t *value)
{
    char buffer[40];
    if (value == NULL || json_is_null(value)) return strdup("–");
    if (json_is_string(value)) return strdup(json_string_value(value));
    if (json_is_boolean(value)) return strdup(json_is_true(value) ? "yes" : "no");
    if (!json_is_real(value)) return json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    /* The shortest that reads back as the same number. */
    for (int digits = 6; digits <= 17; digits++) {
        (void)snprintf(buffer, sizeof buffer, "%.*g", digits, json_real_value(value));
        const double back = strtod(buffer, NULL);
        if (!(back < json_real_value(value)) && !(back > json_real_value(value))) break;
    }
    return strdup(buffer);
}

/* Cuts between characters. */
static void shorten(char *text)
{
    if (strlen(text) <= PLOT_MAX_TEXT) return;
    size_t end = PLOT_MAX_TEXT - 3;
    while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80) end--;
    memcpy(text + end, "…", sizeof "…");
}

static void put_short(const char *text, FILE *f)
{
    char *copy = strdup(text);
    if (copy == NULL) return;
    shorten(copy);
    report_put_text(f, copy);
    free(copy);
}

void plot_put_value(const json_t *value, FILE *f)
{
    char *text = text_of(value);
    if (text != NULL) put_short(text, f);
    free(text);
}

/* ---- rows: the union of the keys of all logs ------------------------------------------------------------------------ */

typedef struct grid {
    json_t *maps[PLOT_MAX_LOGS]; /* name → value; owned */
    json_t *names;               /* array of strings in order of appearance; owned */
    size_t count;
} grid;

static void grid_close(grid *g)
{
    for (size_t i = 0; i < g->count; i++) json_decref(g->maps[i]);
    json_decref(g->names);
}

/* Takes the references in g->maps. False without memory. */
static bool grid_finish(grid *g)
{
    json_t *seen = json_object();
    g->names = json_array();
    bool fine = seen != NULL && g->names != NULL;
    for (size_t i = 0; i < g->count && fine; i++) {
        const char *key;
        json_t *value;
        json_object_foreach(g->maps[i], key, value)
        {
            if (json_object_get(seen, key) != NULL) continue;
            fine = fine && json_object_set_new(seen, key, json_true()) == 0 &&
                   json_array_append_new(g->names, json_string(key)) == 0;
        }
    }
    json_decref(seen);
    return fine;
}

static bool row_differs(const grid *g, const char *name)
{
    bool differs = false;
    char *first = text_of(json_object_get(g->maps[0], name));
    for (size_t i = 1; i < g->count && !differs; i++) {
        char *other = text_of(json_object_get(g->maps[i], name));
        differs = first != NULL && other != NULL && strcmp(first, other) != 0;
        free(other);
    }
    free(first);
    return differs;
}

static void print_list(const grid *g, FILE *f)
{
    (void)fputs("<dl class=\"card dense\">\n", f);
    for (size_t i = 0; i < json_array_size(g->names) && i < MAX_ROWS; i++) {
        const char *name = json_string_value(json_array_get(g->names, i));
        (void)fputs("<div><dt>", f);
        put_short(name, f);
        (void)fputs("</dt><dd>", f);
        plot_put_value(json_object_get(g->maps[0], name), f);
        (void)fputs("</dd></div>\n", f);
    }
    (void)fputs("</dl>\n", f);
}

static void print_head(const plot_set *set, const char *first, FILE *f)
{
    (void)fprintf(f, "<div class=\"card scroll\"><table class=\"cmp\">\n<thead><tr><th scope=\"col\">%s</th>", first);
    for (size_t i = 0; i < set->count; i++) {
        (void)fprintf(f, "<th scope=\"col\"><span class=\"dot b%zu\"></span>", i);
        put_short(set->logs[i].name, f);
        (void)fputs("</th>", f);
    }
    (void)fputs("</tr></thead>\n<tbody>\n", f);
}

/* The rows that differ, or those that do not. */
static void print_rows(const plot_set *set, const grid *g, const char *first, bool differing, FILE *f)
{
    print_head(set, first, f);
    for (size_t i = 0; i < json_array_size(g->names) && i < MAX_ROWS; i++) {
        const char *name = json_string_value(json_array_get(g->names, i));
        if (row_differs(g, name) != differing) continue;
        (void)fputs(differing ? "<tr class=\"diff\"><th scope=\"row\">" : "<tr><th scope=\"row\">", f);
        put_short(name, f);
        (void)fputs("</th>", f);
        for (size_t l = 0; l < g->count; l++) {
            (void)fputs("<td>", f);
            plot_put_value(json_object_get(g->maps[l], name), f);
            (void)fputs("</td>", f);
        }
        (void)fputs("</tr>\n", f);
    }
    (void)fputs("</tbody></table></div>\n", f);
}

static void print_left_out(const grid *g, FILE *f)
{
    if (json_array_size(g->names) > MAX_ROWS)
        (void)fprintf(f, "<p class=\"soft\">%zu more are not shown.</p>\n", json_array_size(g->names) - MAX_ROWS);
}

static void print_grid(const plot_set *set, const grid *g, const char *first, FILE *f)
{
    size_t differing = 0, rows = json_array_size(g->names);
    if (rows > MAX_ROWS) rows = MAX_ROWS;
    if (set->count == 1) {
        print_list(g, f);
        print_left_out(g, f);
        return;
    }
    for (size_t i = 0; i < rows; i++) differing += row_differs(g, json_string_value(json_array_get(g->names, i)));
    if (differing > 0)
        print_rows(set, g, first, true, f);
    else
        (void)fputs("<p>The same in all logs.</p>\n", f);
    if (rows > differing) {
        (void)fprintf(f, "<details><summary>%zu that %s the same in all logs</summary>\n", rows - differing,
                      rows - differing == 1 ? "is" : "are");
        print_rows(set, g, first, false, f);
        (void)fputs("</details>\n", f);
    }
    print_left_out(g, f);
}

void plot_print_config(const plot_set *set, FILE *f)
{
    grid g = {.count = set->count};
    bool any = false;
    for (size_t i = 0; i < set->count; i++) {
        json_t *config = json_object_get(set->logs[i].start, "config");
        g.maps[i] = json_is_object(config) ? json_incref(config) : json_object();
        any = any || json_object_size(config) > 0;
    }
    (void)fputs("<h2>Settings</h2>\n", f);
    if (!any)
        (void)fputs("<p>No log says what it was trained with.</p>\n", f);
    else if (grid_finish(&g))
        print_grid(set, &g, "Option", f);
    grid_close(&g);
}

static void add_category(json_t *map, const char *name, json_t *images, size_t number)
{
    char *numbered = NULL;
    if (json_object_get(map, name) != NULL) { /* a name that comes twice gets its place in the list */
        const size_t room = strlen(name) + 32;
        if ((numbered = malloc(room)) == NULL) return;
        (void)snprintf(numbered, room, "%s (%zu)", name, number);
    }
    (void)json_object_set_new(map, numbered != NULL ? numbered : name,
                              images != NULL ? json_incref(images) : json_null());
    free(numbered);
}

static json_t *map_categories(const json_t *categories)
{
    json_t *map = json_object(), *one;
    size_t index;
    json_array_foreach(categories, index, one)
    {
        add_category(map, json_string_value(json_object_get(one, "name")), json_object_get(one, "images"), index + 1);
    }
    return map;
}

void plot_print_categories(const plot_set *set, FILE *f)
{
    grid g = {.count = set->count};
    bool any = false;
    for (size_t i = 0; i < set->count; i++) {
        g.maps[i] = map_categories(json_object_get(set->logs[i].start, "categories"));
        any = any || json_object_size(g.maps[i]) > 0;
    }
    if (any && grid_finish(&g)) {
        (void)fputs("<h2>Categories and their images</h2>\n", f);
        print_grid(set, &g, "Category", f);
    }
    grid_close(&g);
}
