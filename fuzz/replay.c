/* SPDX-License-Identifier: Apache-2.0 */
/* Feeds files, and the files of folders, to a fuzz target once: the corpus as an ordinary test, with any compiler. */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Each input lies in a block of its own size, so that AddressSanitizer sees one byte too many. */
static int replay_file(const char *path, size_t size)
{
    uint8_t *data = malloc(size ? size : 1);
    FILE *f = fopen(path, "rb");
    const int good = data && f && fread(data, 1, size, f) == size;
    if (f) (void)fclose(f);
    if (good) {
        (void)LLVMFuzzerTestOneInput(data, size);
    } else {
        fprintf(stderr, "%s: cannot read\n", path);
    }
    free(data);
    return good ? 1 : -1;
}

/* Files replayed, -1 when one could not be read. */
static int replay(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        fprintf(stderr, "%s: cannot read\n", path);
        return -1;
    }
    if (!S_ISDIR(info.st_mode)) return replay_file(path, (size_t)info.st_size);
    DIR *dir = opendir(path);
    int count = 0;
    for (const struct dirent *entry; dir && count >= 0 && (entry = readdir(dir)) != NULL;) {
        char file[4096];
        if (entry->d_name[0] == '.') continue;
        (void)snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        const int one = replay(file);
        count = one < 0 ? -1 : count + one;
    }
    if (dir) (void)closedir(dir);
    return dir ? count : -1;
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        const int count = replay(argv[i]);
        if (count < 0) return 1;
        total += count;
    }
    printf("%d inputs\n", total);
    return total > 0 ? 0 : 1; /* an empty corpus tests nothing */
}
