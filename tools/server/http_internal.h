/* SPDX-License-Identifier: Apache-2.0 */
/* What the files http*.c share. Locks: `lock` of sv_http guards everything here that is marked; MHD_resume_connection is called
 * without it. */
#ifndef SV_HTTP_INTERNAL_H
#define SV_HTTP_INTERNAL_H

#include "http.h"
#include "log.h"

#include <microhttpd.h>
#include <pthread.h>
#include <sys/socket.h>

enum {
    HTTP_SEGMENTS = 16,            /* of a path */
    HTTP_PATH = 2048,              /* bytes of a path: longer ones are 414 */
    HTTP_CONNECTION_MEMORY = 65536 /* of MHD for one connection: what its header fields may take */
};

typedef struct http_pair {
    const char *name, *value;
} http_pair;

/* A path's segments, decoded; they point into `text`. */
typedef struct http_path {
    char text[HTTP_PATH + 1];
    const char *segments[HTTP_SEGMENTS];
    size_t count;
} http_path;

typedef struct http_route {
    char *method, *pattern, *name;
    http_path split; /* of pattern; "{}" stays as it is */
    sv_handler handler;
    void *ctx;
    bool public; /* needs no token */
    struct http_route *next;
} http_route;

typedef enum http_phase {
    HTTP_IDLE,      /* waits for a request line */
    HTTP_RECEIVING, /* has got one */
    HTTP_WORKING,   /* all was received; a handler has it */
    HTTP_ANSWERING  /* the answer is on its way */
} http_phase;

/* One for each connection, guarded by `lock`. */
typedef struct http_connection {
    int fd;
    http_phase phase;
    double since; /* of this phase */
    bool cut;     /* the keeper ended it */
    struct http_connection *next, *previous;
} http_connection;

struct sv_request {
    sv_http *http;
    struct MHD_Connection *connection;
    http_connection *peer;
    const http_route *route;        /* NULL: none fits */
    char *method, *raw_path, *text; /* `text`: what the pairs point into */
    char client[64];
    http_path path;
    const char *args[HTTP_SEGMENTS];
    size_t arg_count;
    http_pair *headers, *query;
    size_t header_count, query_count;
    http_pair *added; /* of the answer; strings owned */
    size_t added_count;

    unsigned char *body;
    size_t size, room;
    size_t declared; /* Content-Length; 0: none */
    bool chunked;
    int refused;      /* status that it will be answered with instead of being handled; 0: none */
    char reason[256]; /* of `refused` */
    char allow[64];   /* methods, of 405 */
    bool authorised;  /* by token or cookie, or none is needed */

    double complete, deadline; /* last byte; sv_now */
    double answered_at;
    int status;
    size_t answer_size;

    /* Guarded by `lock`. The request lives while MHD has it or a handler does. */
    bool attached, held, suspended, answered;
    struct MHD_Response *response;      /* NULL once answered: memory ran out, the connection is closed */
    struct sv_request *next, *previous; /* among those that are worked on */
};

struct sv_http {
    const sv_settings *settings;
    struct MHD_Daemon *daemon;
    int listener; /* -1 once MHD or nobody has it */
    unsigned port;
    char url[160], host[128]; /* `host`: the address bound to, as in Host without its port */
    char *tls_cert, *tls_key;
    char *auth; /* the token; NULL: none is needed */
    char page_token[65], cookie[65];
    char cookie_name[32];
    http_route *routes, **last_route;
    sv_http_observer observer;
    void *observer_ctx;
    char library_message[256]; /* MHD's last one before it ran */

    pthread_mutex_t lock;
    pthread_cond_t changed; /* for the keeper and sv_http_stop */
    http_connection *connections;
    sv_request *working;
    size_t connection_count, receiving, pending, answering;
    size_t bodies; /* bytes allocated for bodies */
    bool draining; /* answers close their connections */
    bool closing;  /* nothing more is handled */
    bool keeper_runs, keeper_ends;
    pthread_t keeper;
};

/* http_socket.c: a listening socket in h->listener, h->url and h->host. */
cz_status http_socket_open(sv_http *h);
/* `text`: name or address, as in a URL's host without brackets. */
bool http_loopback_name(const char *text);
/* "127.0.0.1", "::1"; v4 addresses inside v6 as v4. */
void http_address_text(const struct sockaddr *address, char *out, size_t room);

/* http_route.c */
/* False: malformed (a bad escape, control characters, no UTF-8, "." or "..", a slash inside a segment). */
bool http_path_split(const char *raw, http_path *out);
/* Decodes %XX in place; false: a bad escape, %00 or not UTF-8. */
bool http_decode(char *text);
bool http_utf8(const char *text);
/* Sets route and args, or refused (404, 405). */
void http_route_find(sv_http *h, sv_request *r);
void http_routes_free(sv_http *h);

/* http_access.c: what header and connection allow; sets `refused` and `authorised`. */
cz_status http_access_open(sv_http *h);
void http_access_close(sv_http *h);
void http_access_check(sv_http *h, sv_request *r);
cz_status http_access_routes(sv_http *h);
/* Takes as long for any text of one length. */
bool http_same(const char *secret, const char *text);

/* http_request.c: MHD's callbacks. */
enum MHD_Result http_handle(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                            const char *version, const char *upload, size_t *upload_size, void **con_cls);
void *http_request_line(void *cls, const char *uri, struct MHD_Connection *connection);
void http_completed(void *cls, struct MHD_Connection *connection, void **con_cls, enum MHD_RequestTerminationCode code);
void http_connection_event(void *cls, struct MHD_Connection *connection, void **socket_context,
                           enum MHD_ConnectionNotificationCode code);
void http_refuse(sv_request *r, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Needs the lock. */
void http_phase_set(sv_http *h, http_connection *c, http_phase phase);
void http_request_release(sv_request *r);

/* http_answer.c: {"error": …} with the headers that all answers have. NULL: no memory. */
struct MHD_Response *http_error_response(const sv_request *r, int status, const char *text, bool close);

/* http_keeper.c: a thread that ends what takes too long. */
cz_status http_keeper_start(sv_http *h);
void http_keeper_stop(sv_http *h);
/* Answers everything that is worked on with 503. */
void http_give_up(sv_http *h);

#endif
