/* SPDX-License-Identifier: Apache-2.0 */
/* cozad weights fetch: downloads a published file to FILE.part, resumes one that was interrupted, checks its SHA-256 and
 * renames it. */
#include "cmd_weights.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef COZAD_WITH_CURL
#include <curl/curl.h>

typedef struct download {
    const cz_known_weights *known;
    const char *url;
    char *path, *part;
    FILE *stream;     /* the part file, locked */
    curl_off_t start; /* bytes of it from an earlier attempt */
    int write_error;  /* errno, 0: none */
} download;

/* What to do instead, in the same line as the reason. */
static int fail_download(const download *d, const char *reason)
{
    cli_error("cannot download %s: %s; get %s on a connected machine and put it at %s", d->known->file, reason, d->url,
              d->path);
    return CLI_RESOURCES;
}

static size_t on_data(char *data, size_t size, size_t count, void *context)
{
    download *d = context;
    const size_t written = fwrite(data, size, count, d->stream);
    if (written != count) d->write_error = errno ? errno : EIO;
    return written * size;
}

static int on_progress(void *context, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now)
{
    const download *d = context;
    (void)up_total;
    (void)up_now;
    if (total <= 0) return cli_interrupted();
    return cli_progress(NULL, "download", (size_t)((d->start + now) / 1000000), (size_t)((d->start + total) / 1000000),
                        "MB");
}

static CURLcode transfer(download *d, long *http, char *reason)
{
    CURL *curl = curl_easy_init();
    if (!curl) return CURLE_FAILED_INIT;
    (void)curl_easy_setopt(curl, CURLOPT_URL, d->url);
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https,http,file");
    (void)curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "https,http");
    (void)curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 5L);
    (void)curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 5L);
    (void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, 30L);
    (void)curl_easy_setopt(curl, CURLOPT_RESUME_FROM_LARGE, d->start);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, d);
    (void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFODATA, d);
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    const CURLcode result = curl_easy_perform(curl);
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, http);
    curl_easy_cleanup(curl);
    cli_progress_end();
    return result;
}

/* False when the part file cannot be made or another download is writing it; reported. */
static bool open_part(download *d)
{
    const int fd = open(d->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    d->stream = fd >= 0 ? fdopen(fd, "r+b") : NULL;
    if (!d->stream) {
        cli_error("%s: cannot write: %s", d->part, strerror(errno));
        if (fd >= 0) (void)close(fd);
        return false;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        cli_error("%s: another download of this file is running", d->part);
        return false;
    }
    return true;
}

static bool seek_part(download *d, bool from_start)
{
    if (from_start && ftruncate(fileno(d->stream), 0) != 0) return false;
    if (fseeko(d->stream, 0, SEEK_END) != 0) return false;
    d->start = (curl_off_t)ftello(d->stream);
    return d->start >= 0;
}

/* An exit code. On success the part file holds all that the server has. */
static int download_part(download *d)
{
    char reason[CURL_ERROR_SIZE] = "";
    long http = 0;
    if (!seek_part(d, false)) return fail_download(d, strerror(errno));
    if (d->start > 0) cli_note("resuming %s at byte %lld", d->part, (long long)d->start);
    const curl_off_t resumed = d->start;
    CURLcode result = transfer(d, &http, reason);
    /* 416: nothing is left to send. A server that cannot resume sends everything again. */
    if (resumed > 0 && result == CURLE_HTTP_RETURNED_ERROR && http == 416) return CLI_OK;
    if (resumed > 0 && (result == CURLE_RANGE_ERROR || result == CURLE_BAD_DOWNLOAD_RESUME) && seek_part(d, true))
        result = transfer(d, &http, reason);
    if (cli_interrupted() || result == CURLE_ABORTED_BY_CALLBACK) {
        cli_error("interrupted; what was downloaded is kept in %s and the next fetch goes on from there", d->part);
        return CLI_INTERRUPTED;
    }
    if (d->write_error) {
        cli_error("%s: cannot write: %s", d->part, strerror(d->write_error));
        return CLI_RESOURCES;
    }
    if (result != CURLE_OK) return fail_download(d, reason[0] ? reason : curl_easy_strerror(result));
    if (fflush(d->stream) != 0 || fsync(fileno(d->stream)) != 0) {
        cli_error("%s: cannot write: %s", d->part, strerror(errno));
        return CLI_RESOURCES;
    }
    return CLI_OK;
}

static bool has_prefix(const char *path, const cz_known_weights *known, char hex[65])
{
    return cz_file_sha256(path, hex) == CZ_OK && strncmp(hex, known->sha256_prefix, strlen(known->sha256_prefix)) == 0;
}

static int run_download(download *d)
{
    char hex[65] = "";
    int code = download_part(d);
    if (code == CLI_OK && !has_prefix(d->part, d->known, hex)) {
        /* An old part file of something else, perhaps: once more, from the beginning. */
        const bool again = d->start > 0 && seek_part(d, true);
        code = again ? download_part(d) : CLI_OK;
        if (code == CLI_OK && !(again && has_prefix(d->part, d->known, hex))) {
            (void)unlink(d->part);
            cli_error("%s: what %s sent has SHA-256 %s, which does not begin with %s; removed", d->known->file, d->url,
                      hex, d->known->sha256_prefix);
            return CLI_RESOURCES;
        }
    }
    if (code != CLI_OK) return code;
    if (rename(d->part, d->path) != 0) {
        cli_error("%s: cannot rename: %s", d->part, strerror(errno));
        return CLI_RESOURCES;
    }
    cli_note("%s (%s), SHA-256 %s", d->path, d->known->source, hex);
    return CLI_OK;
}

static int fetch_to(download *d)
{
    if (!open_part(d)) {
        if (d->stream) (void)fclose(d->stream);
        return CLI_RESOURCES;
    }
    int code = CLI_RESOURCES;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        cli_error("libcurl cannot be used");
    } else {
        code = run_download(d);
        curl_global_cleanup();
    }
    /* An empty part file is no use to anyone. */
    struct stat info;
    if (code != CLI_OK && fstat(fileno(d->stream), &info) == 0 && info.st_size == 0) (void)unlink(d->part);
    (void)fclose(d->stream);
    return code;
}
#endif

static bool make_folders(char *path)
{
    for (char *p = path + 1; *p; p++) {
        if (*p != '/') continue;
        *p = '\0';
        const bool made = mkdir(path, 0777) == 0 || errno == EEXIST;
        *p = '/';
        if (!made) return false;
    }
    return mkdir(path, 0777) == 0 || errno == EEXIST;
}

static char *join_url(const char *mirror, const char *file)
{
    const size_t length = strlen(mirror);
    char *copy = strndup(mirror, length > 0 && mirror[length - 1] == '/' ? length - 1 : length);
    char *url = copy ? weights_join(copy, file) : NULL;
    free(copy);
    return url;
}

static int fetch_url(const cz_known_weights *known, const char *url, const char *path)
{
#ifdef COZAD_WITH_CURL
    const size_t size = strlen(path) + 6;
    download d = {.known = known, .url = url, .path = strdup(path), .part = malloc(size)};
    int code = CLI_RESOURCES;
    if (d.path && d.part) {
        (void)snprintf(d.part, size, "%s.part", path);
        code = fetch_to(&d);
    } else {
        cli_error("out of memory");
    }
    free(d.path);
    free(d.part);
    return code;
#else
    cli_error("cannot download %s: built without libcurl; get %s and put it at %s", known->file, url, path);
    return CLI_RESOURCES;
#endif
}

static int fetch_one(const char *name, const char *folder, const char *mirror)
{
    const cz_known_weights *known = weights_known(name);
    char hex[65];
    if (!known) {
        cli_error("no published weights \"%s\"; 'cozad weights list' names those that are known", name);
        return CLI_USAGE;
    }
    char *path = weights_join(folder, known->file);
    char *url = mirror ? join_url(mirror, known->file) : strdup(known->url);
    int code = CLI_RESOURCES;
    if (!path || !url) {
        cli_error("out of memory");
    } else if (access(path, F_OK) != 0) {
        code = fetch_url(known, url, path);
    } else if (cz_file_sha256(path, hex) != CZ_OK) {
        code = cli_fail(CZ_E_IO);
    } else if (strncmp(hex, known->sha256_prefix, strlen(known->sha256_prefix)) == 0) {
        cli_note("%s is there already", path);
        code = CLI_OK;
    } else {
        cli_error("%s: SHA-256 does not begin with %s; remove it to fetch it again", path, known->sha256_prefix);
        code = CLI_BAD_MODEL;
    }
    free(path);
    free(url);
    return code;
}

int weights_fetch(int argc, char **argv)
{
    static const cli_verb VERB = {"weights fetch", "NAME...",
                                  "Downloads published weights to $COZAD_HOME (else the cache folder).",
                                  "A download that was interrupted goes on where it stopped. The SHA-256 is checked "
                                  "before the file gets its name. "
                                  "Without a network it fails at once (exit code 5) and says where to put the file.",
                                  "  cozad weights fetch wide_resnet50_2\n  cozad weights fetch resnet50-11ad3fa6 "
                                  "--mirror http://files.local/torch"};
    const char *mirror = NULL, *folder = NULL;
    const cli_option options[] = {
        {"mirror", 0, CLI_STRING, &mirror, "URL", "folder to fetch from, in place of download.pytorch.org", NULL},
        {"to", 0, CLI_STRING, &folder, "DIR", "folder to put the file in", NULL}};
    cli_list args = {NULL, 0};
    int code = cli_parse(&VERB, options, 2, argc, argv, &args);
    if (code >= 0) return code;
    char *home = folder ? strdup(folder) : cz_home();
    code = args.count > 0 && home ? CLI_OK : home ? CLI_USAGE : CLI_RESOURCES;
    if (args.count == 0) cli_error("weights fetch needs a NAME; 'cozad weights list' shows them");
    if (code == CLI_OK && !make_folders(home)) {
        cli_error("%s: cannot make folder: %s", home, strerror(errno));
        code = CLI_RESOURCES;
    }
    for (size_t i = 0; i < args.count && code == CLI_OK; i++) code = fetch_one(args.items[i], home, mirror);
    if (folder) {
        free(home);
    } else {
        cz_string_free(home);
    }
    cli_list_free(&args);
    return code;
}
