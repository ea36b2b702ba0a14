/* SPDX-License-Identifier: Apache-2.0 */
#include "decisions.h"

#include "cli.h"
#include "cozad/cozad_eval.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Limits of a file of decisions. */
enum { MAX_FILE = 64 << 20, MAX_COLUMNS = 32, MAX_FIELD = 64 << 10 };

static int no_memory(void)
{
    cli_error("out of memory");
    return CLI_RESOURCES;
}

void decisions_free(decisions *d)
{
    for (size_t i = 0; i < d->count; i++) free(d->items[i].path);
    free(d->items);
    memset(d, 0, sizeof *d);
}

/* Copies `one` and its path. */
static bool add(decisions *d, const decision *one, const char *path)
{
    if (d->count == d->room) {
        const size_t room = d->room == 0 ? 64 : 2 * d->room;
        decision *items = realloc(d->items, room * sizeof *items);
        if (items == NULL) return false;
        d->items = items;
        d->room = room;
    }
    decision copy = *one;
    copy.path = path != NULL ? strdup(path) : NULL;
    if (path != NULL && copy.path == NULL) return false;
    d->items[d->count++] = copy;
    return true;
}

static bool parse_digest(const char *text, uint8_t out[32])
{
    if (strlen(text) != 64 || strspn(text, "0123456789abcdefABCDEF") != 64) return false;
    for (size_t i = 0; i < 32; i++) {
        const char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};
        out[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return true;
}

/* ---- models ------------------------------------------------------------------------------------------------------- */

static int read_model(decisions *d, const char *file)
{
    cz_model *model = NULL;
    const cz_status status = cz_model_inspect(file, &model);
    if (status != CZ_OK) return cli_fail_model(status);
    int code = CLI_OK;
    for (size_t i = 0; code == CLI_OK && i < cz_model_photos_count(model); i++) {
        cz_training_photo photo;
        decision one = {.has_sha256 = true, .exclude = true, .file = file};
        if (cz_model_photo_at(model, i, &photo) != CZ_OK || !photo.excluded) continue;
        if (parse_digest(photo.sha256, one.sha256) && !add(d, &one, photo.name)) code = no_memory();
    }
    cz_model_close(model);
    return code;
}

/* ---- text --------------------------------------------------------------------------------------------------------- */

typedef struct reader {
    decisions *to;
    const char *file;
    char *text, *at, *end; /* `end` is a NUL */
    size_t line;           /* of `at` */
    char *fields[MAX_COLUMNS];
    size_t count, row_line;
    size_t path, sha256, decision; /* columns; MAX_COLUMNS: none */
} reader;

static int bad_line(const reader *r, size_t line, const char *what, const char *text)
{
    cli_error("%s:%zu: %s%s%.80s%s", r->file, line, what, text != NULL ? ": \"" : "", text != NULL ? text : "",
              text != NULL ? "\"" : "");
    return CLI_USAGE;
}

/* One row of comma-separated values, unquoted in place; quotes may hold line breaks. False with *problem set: not well-formed. */
static bool next_row(reader *r, const char **problem)
{
    char *out = r->at;
    r->count = 0;
    r->row_line = r->line;
    *problem = NULL;
    for (bool more = true; more;) {
        if (r->count == MAX_COLUMNS) *problem = "more than 32 columns";
        if (*problem != NULL) return false;
        char *field = out;
        const bool quoted = *r->at == '"';
        r->fields[r->count++] = field;
        if (quoted) r->at++;
        for (;;) {
            const char c = *r->at;
            const bool ends = r->at == r->end;
            if (quoted && ends) *problem = "a quote that does not end";
            if (out - field > MAX_FIELD) *problem = "a field of more than 65536 bytes";
            if (*problem != NULL) return false;
            if (quoted && c == '"' && r->at[1] != '"') break;
            if (!quoted && (ends || c == ',' || c == '\n' || (c == '\r' && r->at[1] == '\n'))) break;
            if (quoted && c == '"') r->at++;
            r->line += c == '\n';
            *out++ = c;
            r->at++;
        }
        if (quoted) r->at++;
        if (*r->at == '\r' && r->at[1] == '\n') r->at++;
        const char stop = *r->at;
        if (stop != ',' && stop != '\n' && r->at != r->end) *problem = "text behind a closing quote";
        if (*problem != NULL) return false;
        more = stop == ',';
        r->line += stop == '\n';
        if (r->at != r->end) r->at++;
        *out++ = '\0';
    }
    return true;
}

/* Whether the first line names columns; it is read then. */
static bool read_header(reader *r)
{
    char *copy = strdup(r->text), *kept_text = r->text, *kept_end = r->end;
    const char *problem;
    bool header = false;
    r->path = r->sha256 = r->decision = MAX_COLUMNS;
    if (copy == NULL) return false;
    /* On a copy: a plain list's first line must stay as it is. */
    r->text = r->at = copy;
    r->end = copy + (kept_end - kept_text);
    if (next_row(r, &problem)) {
        for (size_t i = 0; i < r->count; i++) {
            if (strcmp(r->fields[i], "path") == 0) r->path = i;
            if (strcmp(r->fields[i], "sha256") == 0 || strcmp(r->fields[i], "pixels_sha256") == 0) r->sha256 = i;
            if (strcmp(r->fields[i], "decision") == 0) r->decision = i;
        }
        header = r->path < MAX_COLUMNS || r->sha256 < MAX_COLUMNS;
    }
    r->at = kept_text + (header ? r->at - copy : 0);
    r->text = kept_text;
    r->end = kept_end;
    if (!header) r->line = 1;
    free(copy);
    return header;
}

static int take_row(reader *r, size_t columns)
{
    decision one = {.exclude = true, .file = r->file, .line = r->row_line};
    if (r->count == 1 && r->fields[0][0] == '\0') return CLI_OK; /* an empty line */
    if (r->count != columns) {
        char what[80];
        (void)snprintf(what, sizeof what, "%zu columns where the first line has %zu", r->count, columns);
        return bad_line(r, r->row_line, what, NULL);
    }
    const char *path = r->path < columns && r->fields[r->path][0] != '\0' ? r->fields[r->path] : NULL;
    const char *digest = r->sha256 < columns ? r->fields[r->sha256] : "";
    if (r->decision < columns) {
        const char *word = r->fields[r->decision];
        if (strcmp(word, "keep") != 0 && strcmp(word, "exclude") != 0)
            return bad_line(r, r->row_line, "a decision is \"keep\" or \"exclude\", not", word);
        one.exclude = word[0] == 'e';
    }
    if (digest[0] != '\0' && !parse_digest(digest, one.sha256))
        return bad_line(r, r->row_line, "not a SHA-256 of 64 hexadecimal digits", digest);
    one.has_sha256 = digest[0] != '\0';
    if (path == NULL && !one.has_sha256) return bad_line(r, r->row_line, "neither a path nor a SHA-256", NULL);
    return add(r->to, &one, path) ? CLI_OK : no_memory();
}

static int read_table(reader *r)
{
    const size_t columns = r->count;
    const char *problem;
    int code = CLI_OK;
    while (code == CLI_OK && r->at < r->end) {
        code = next_row(r, &problem) ? take_row(r, columns) : bad_line(r, r->row_line, problem, NULL);
    }
    return code;
}

/* A path or a SHA-256 a line, all to be left out. */
static int read_lines(reader *r)
{
    for (; r->at < r->end; r->line++) {
        char *stop = strchr(r->at, '\n'), *next = stop != NULL ? stop + 1 : r->end;
        if (stop == NULL) stop = r->end;
        if (stop > r->at && stop[-1] == '\r') stop--;
        *stop = '\0';
        decision one = {.exclude = true, .file = r->file, .line = r->line};
        if (stop - r->at > MAX_FIELD) return bad_line(r, r->line, "a line of more than 65536 bytes", NULL);
        one.has_sha256 = parse_digest(r->at, one.sha256);
        if (r->at[0] != '\0' && !add(r->to, &one, one.has_sha256 ? NULL : r->at)) return no_memory();
        r->at = next;
    }
    return CLI_OK;
}

static int read_text(decisions *d, const char *file, char *text, size_t size)
{
    reader r = {.to = d, .file = file, .text = text, .at = text, .end = text + size, .line = 1};
    size_t line = 1;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\0') return bad_line(&r, line, "not a text file", NULL);
        line += text[i] == '\n';
    }
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) r.text = r.at = text + 3;
    return read_header(&r) ? read_table(&r) : read_lines(&r);
}

int decisions_read(decisions *d, const char *file)
{
    struct stat info;
    FILE *f = fopen(file, "rb");
    if (f == NULL || fstat(fileno(f), &info) != 0 || S_ISDIR(info.st_mode)) {
        cli_error("%s: cannot read: %s", file, f != NULL ? "is a folder" : strerror(errno));
        if (f != NULL) (void)fclose(f);
        return CLI_USAGE;
    }
    char *text = malloc(MAX_FILE + 2);
    const size_t size = text != NULL ? fread(text, 1, MAX_FILE + 1, f) : 0;
    const bool failed = ferror(f) != 0;
    (void)fclose(f);
    int code = text == NULL ? no_memory() : CLI_OK;
    /* A model is a safetensors file: the length of its header in eight bytes, then that, which is JSON. */
    const bool model = size > 9 && memchr(text, '\0', 8) != NULL && text[8] == '{';
    if (text != NULL && failed) {
        cli_error("%s: cannot read", file);
        code = CLI_USAGE;
    } else if (model) {
        code = read_model(d, file);
    } else if (size > MAX_FILE) {
        cli_error("%s: a list of decisions has at most 64 MiB", file);
        code = CLI_USAGE;
    } else if (text != NULL) {
        text[size] = '\0';
        code = read_text(d, file, text, size);
    }
    free(text);
    return code;
}

/* ---- from paths to pixels ----------------------------------------------------------------------------------------- */

typedef struct known_path {
    char *path;
    const input *item;
} known_path;

static int by_path(const void *a, const void *b)
{
    return strcmp(((const known_path *)a)->path, ((const known_path *)b)->path);
}

static const input *find(const known_path *paths, size_t count, const char *path)
{
    const known_path key = {(char *)(uintptr_t)path, NULL};
    const known_path *found = count > 0 ? bsearch(&key, paths, count, sizeof *paths, by_path) : NULL;
    return found != NULL ? found->item : NULL;
}

/* Paths of the photos: as given, or (real) without links and detours. */
static known_path *index_paths(const input_list *list, bool real, size_t *count)
{
    known_path *paths = calloc(list->count + 1, sizeof *paths);
    *count = 0;
    for (size_t i = 0; paths != NULL && i < list->count; i++) {
        char *path = real ? realpath(list->items[i].path, NULL) : strdup(list->items[i].path);
        if (path != NULL) paths[(*count)++] = (known_path){path, &list->items[i]};
    }
    if (paths != NULL) qsort(paths, *count, sizeof *paths, by_path);
    return paths;
}

static void free_paths(known_path *paths, size_t count)
{
    for (size_t i = 0; i < count; i++) free(paths[i].path);
    free(paths);
}

static int hash_photo(decision *d, const char *path, const cz_read_options *read)
{
    cz_picture picture = {0};
    const cz_status status = cz_picture_read(path, read, &picture);
    if (status == CZ_E_MEMORY) return cli_fail(status);
    d->has_sha256 = status == CZ_OK; /* a photo that cannot be read is told of, and left out, in the training */
    if (status == CZ_OK) cz_image_sha256(&picture.image, d->sha256);
    cz_picture_free(&picture);
    return CLI_OK;
}

static int find_photos(decisions *d, const input_list *list, const cz_read_options *read)
{
    enum { NAMED = 5 };
    size_t given_count, real_count, missing = 0;
    int code = CLI_OK;
    known_path *given = index_paths(list, false, &given_count), *real = index_paths(list, true, &real_count);
    if (given == NULL || real == NULL) code = no_memory();
    for (size_t i = 0; code == CLI_OK && i < d->count; i++) {
        decision *one = &d->items[i];
        if (one->has_sha256) continue;
        const input *item = find(given, given_count, one->path);
        char *path = item == NULL ? realpath(one->path, NULL) : NULL;
        if (path != NULL) item = find(real, real_count, path);
        free(path);
        if (item != NULL) {
            code = hash_photo(one, item->path, read);
        } else if (missing++ < NAMED) {
            cli_error("%s:%zu: \"%.200s\" is not one of the photos", one->file, one->line, one->path);
        }
    }
    if (missing > NAMED) cli_error("%zu lines in all name none of the photos", missing);
    free_paths(given, given_count);
    free_paths(real, real_count);
    return code == CLI_OK && missing > 0 ? CLI_USAGE : code;
}

/* ---- the last word ------------------------------------------------------------------------------------------------ */

static int by_pixels(const void *a, const void *b)
{
    const decision *x = *(const decision *const *)a, *y = *(const decision *const *)b;
    const int order = memcmp(x->sha256, y->sha256, sizeof x->sha256);
    return order != 0 ? order : (x > y) - (x < y);
}

int decisions_settle(decisions *d, const input_list *list, const cz_read_options *read, cz_excluded_photo **excluded,
                     size_t *count)
{
    *excluded = NULL;
    *count = 0;
    const int code = find_photos(d, list, read);
    if (code != CLI_OK) return code;
    const decision **sorted = calloc(d->count + 1, sizeof *sorted);
    cz_excluded_photo *out = calloc(d->count + 1, sizeof *out);
    size_t known = 0;
    for (size_t i = 0; sorted != NULL && i < d->count; i++) {
        if (d->items[i].has_sha256) sorted[known++] = &d->items[i];
    }
    if (sorted != NULL && known > 0) qsort(sorted, known, sizeof *sorted, by_pixels);
    for (size_t i = 0; sorted != NULL && out != NULL && i < known; i++) {
        const bool last = i + 1 == known || memcmp(sorted[i]->sha256, sorted[i + 1]->sha256, 32) != 0;
        if (!last || !sorted[i]->exclude) continue;
        out[*count].name = sorted[i]->path;
        memcpy(out[(*count)++].sha256, sorted[i]->sha256, 32);
    }
    const bool failed = sorted == NULL || out == NULL;
    free(sorted);
    if (failed) free(out);
    if (failed) return no_memory();
    *excluded = out;
    return CLI_OK;
}
