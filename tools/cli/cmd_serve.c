/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"
#include "server/server.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

static const cli_verb verb = {
    "serve", "[-m MODEL]... [options]",
    "Serves models over HTTP: a page for people, the Open Inference Protocol v2 and POST /score for programs.",
    "The page at / scores photos of files or a camera, shows heat maps and recent results, and with --state-dir trains "
    "models from uploaded photos. A model is served by its file's name without .cozad; one that is replaced on disk is "
    "loaded anew without dropping a request. Photos of several requests are scored together. /metrics is for "
    "Prometheus, /openapi.json describes everything.\n"
    "It listens on this machine alone unless --host says otherwise; other machines need --auth-token-file, or "
    "--insecure where everyone who can connect may use it. A name that clients call the server by, other than "
    "localhost and its address, is given with --allow-host: browsers' requests to other names are refused. A phone's "
    "camera works over HTTPS only (--tls-cert, --tls-key).\n"
    "The address is printed on stdout once all is loaded, one line for each request on stderr. SIGTERM and ^C end it "
    "after the requests that were accepted have been answered, SIGHUP looks for changed models at once. A socket and "
    "READY=1 of systemd are understood.",
    "  cozad serve -m part.cozad\n"
    "  curl -F image=@photo.jpg http://127.0.0.1:8080/score\n"
    "  cozad serve --model-dir models --state-dir state --history results.db\n"
    "  cozad serve -m part.cozad --host 0.0.0.0 --auth-token-file token --tls-cert cert.pem --tls-key key.pem"};

typedef struct arguments {
    sv_settings s;
    cli_list models, allow_hosts;
    size_t port;
    const char *precision;
    char binary[4096];
} arguments;

static bool at_least(const char *option, size_t value, size_t least)
{
    if (value >= least) return true;
    cli_error("--%s: %zu is less than %zu", option, value, least);
    return false;
}

static bool between(const char *option, double value, double low, double high)
{
    if (value >= low && value <= high) return true;
    cli_error("--%s: %g is not in %g to %g", option, value, low, high);
    return false;
}

static bool values_ok(const arguments *a)
{
    const sv_settings *s = &a->s;
    if (a->port > 65535) {
        cli_error("--port: %zu is not in 0 to 65535", a->port);
        return false;
    }
    if (s->max_bodies < s->max_body) {
        cli_error("--max-bodies is less than --max-body");
        return false;
    }
    return at_least("max-body", s->max_body, 1) && at_least("max-pixels", (size_t)s->max_pixels, 1) &&
           at_least("max-connections", s->max_connections, 1) && at_least("max-batch", s->max_batch, 1) &&
           at_least("queue", s->queue, 1) && between("timeout", s->timeout, 0.1, 86400.0) &&
           between("idle-timeout", s->idle_timeout, 1.0, 86400.0) && between("drain", s->drain, 0.0, 86400.0) &&
           between("retention", s->retention_days, 0.0, 36500.0);
}

/* What the parts would refuse one by one is said before anything is opened. */
static int check(arguments *a, const cli_list *args)
{
    const sv_settings *s = &a->s;
    if (args->count > 0) {
        cli_error("%s: serve takes models by -m or --model-dir; see 'cozad serve --help'", args->items[0]);
        return CLI_USAGE;
    }
    if (a->models.count == 0 && s->model_dir == NULL && s->state_dir == NULL) {
        cli_error("serve needs -m MODEL, --model-dir DIR or --state-dir DIR; see 'cozad serve --help'");
        return CLI_USAGE;
    }
    if (!values_ok(a)) return CLI_USAGE;
    if ((s->tls_cert == NULL) != (s->tls_key == NULL)) {
        cli_error("--tls-cert and --tls-key belong together");
        return CLI_USAGE;
    }
    if (s->anomalies_only && s->webhook == NULL && s->mqtt == NULL) {
        cli_error("--anomalies-only is for --webhook and --mqtt");
        return CLI_USAGE;
    }
    return CLI_OK;
}

static int serve(arguments *a)
{
#ifdef COZAD_WITH_SERVER
    sv_settings *s = &a->s;
    s->models = a->models.items;
    s->model_count = a->models.count;
    s->allow_hosts = a->allow_hosts.items;
    s->allow_host_count = a->allow_hosts.count;
    s->port = (unsigned)a->port;
    if (a->precision != NULL) (void)cz_precision_find(a->precision, &s->precision); /* one of the choices */
    /* By its path: the program's file may be replaced while it runs, and training jobs want the new one's name. */
    const ssize_t size = readlink("/proc/self/exe", a->binary, sizeof a->binary - 1);
    if (size > 0) a->binary[size] = '\0';
    s->binary = size > 0 ? a->binary : "/proc/self/exe";
    return sv_serve(s);
#else
    (void)a;
    cli_error("this cozad was built without 'serve': libmicrohttpd, sqlite3 or libcurl was missing");
    return CLI_USAGE;
#endif
}

int cmd_serve(int argc, char **argv)
{
    arguments a;
    memset(&a, 0, sizeof a);
    sv_settings *s = &a.s;
    sv_settings_init(s);
    a.port = s->port;
    const cli_option options[] = {
        {"Models", 0, CLI_HEADING, NULL, NULL, NULL, NULL},
        {"model", 'm', CLI_LIST, &a.models, "MODEL", "model file to serve; several times for several", NULL},
        {"model-dir", 0, CLI_STRING, &s->model_dir, "DIR", "serve every NAME.cozad in it, and what comes and goes",
         NULL},
        {"backbone", 0, CLI_STRING, &s->backbone, "NAME|FILE", "weights; found by the models' SHA-256 unless given",
         NULL},
        {"precision", 0, CLI_CHOICE, &a.precision, NULL, "what to compute in; the model's own unless given",
         "fp32|fp32-winograd|bf16|int8|auto"},
        {"threads", 0, CLI_SIZE, &s->threads, "N", "0: all", NULL},
        {"max-batch", 0, CLI_SIZE, &s->max_batch, "N", "photos of one request, and computed together", NULL},
        {"Connections", 0, CLI_HEADING, NULL, NULL, NULL, NULL},
        {"host", 0, CLI_STRING, &s->host, "NAME|ADDRESS", "where to listen", NULL},
        {"port", 0, CLI_SIZE, &a.port, "N", "0: any that is free, as printed", NULL},
        {"allow-host", 0, CLI_LIST, &a.allow_hosts, "NAME", "a name that clients may call it by; several times", NULL},
        {"auth-token-file", 0, CLI_STRING, &s->auth_token_file, "FILE", "every request needs the token in it", NULL},
        {"insecure", 0, CLI_FLAG, &s->insecure, NULL, "other machines without a token", NULL},
        {"tls-cert", 0, CLI_STRING, &s->tls_cert, "FILE", "certificate chain, PEM: HTTPS", NULL},
        {"tls-key", 0, CLI_STRING, &s->tls_key, "FILE", "its private key, PEM", NULL},
        {"Limits", 0, CLI_HEADING, NULL, NULL, NULL, NULL},
        {"max-body", 0, CLI_SIZE, &s->max_body, "BYTES", "of one request", NULL},
        {"max-bodies", 0, CLI_SIZE, &s->max_bodies, "BYTES", "of all requests at once", NULL},
        {"max-pixels", 0, CLI_U64, &s->max_pixels, "N", "refuse larger photos", NULL},
        {"max-connections", 0, CLI_SIZE, &s->max_connections, "N", "open at once", NULL},
        {"queue", 0, CLI_SIZE, &s->queue, "N", "photos that wait; more are answered 503", NULL},
        {"timeout", 0, CLI_REAL, &s->timeout, "SECONDS", "for a request to arrive, and then to be answered", NULL},
        {"idle-timeout", 0, CLI_REAL, &s->idle_timeout, "SECONDS", "after which a silent connection is closed", NULL},
        {"drain", 0, CLI_REAL, &s->drain, "SECONDS", "for accepted requests when it ends", NULL},
        {"Training", 0, CLI_HEADING, NULL, NULL, NULL, NULL},
        {"state-dir", 0, CLI_STRING, &s->state_dir, "DIR", "uploads, training jobs and their models; else no training",
         NULL},
        {"quota", 0, CLI_U64, &s->quota, "BYTES", "of uploaded photos", NULL},
        {"retention", 0, CLI_REAL, &s->retention_days, "DAYS", "unused uploads are removed after; 0: never", NULL},
        {"Results", 0, CLI_HEADING, NULL, NULL, NULL, NULL},
        {"history", 0, CLI_STRING, &s->history, "FILE", "keep results in this SQLite database", NULL},
        {"results", 0, CLI_STRING, &s->results, "FILE", "append results as JSON Lines; -: stdout", NULL},
        {"webhook", 0, CLI_STRING, &s->webhook, "URL", "post each result as JSON", NULL},
        {"mqtt", 0, CLI_STRING, &s->mqtt, "URL", "publish each result: mqtt://HOST[:PORT]/TOPIC", NULL},
        {"anomalies-only", 0, CLI_FLAG, &s->anomalies_only, NULL, "anomalies alone to webhook and MQTT", NULL},
        {"json-log", 0, CLI_FLAG, &s->json_log, NULL, "log lines as JSON", NULL},
    };
    cli_list args = {NULL, 0};
    int code = cli_parse(&verb, options, sizeof options / sizeof *options, argc, argv, &args);
    if (code < 0) {
        code = check(&a, &args);
        if (code == CLI_OK) code = serve(&a);
    }
    cli_list_free(&args);
    cli_list_free(&a.models);
    cli_list_free(&a.allow_hosts);
    return cli_finish_output(code);
}
