/* SPDX-License-Identifier: Apache-2.0 */
/* The listening socket: bound here, or taken from systemd. */
#include "http_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { FIRST_PASSED = 3, BACKLOG = 1024, OTHER_FILES = 256 };

void http_address_text(const struct sockaddr *address, char *out, size_t room)
{
    out[0] = '\0';
    if (address == NULL) return;
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        (void)inet_ntop(AF_INET, &in.sin_addr, out, (socklen_t)room);
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, address, sizeof in);
        if (IN6_IS_ADDR_V4MAPPED(&in.sin6_addr)) {
            (void)inet_ntop(AF_INET, &in.sin6_addr.s6_addr[12], out, (socklen_t)room);
        } else {
            (void)inet_ntop(AF_INET6, &in.sin6_addr, out, (socklen_t)room);
        }
    }
}

bool http_loopback_name(const char *text)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (strcasecmp(text, "localhost") == 0) return true;
    if (inet_pton(AF_INET, text, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* Number of descriptors that systemd passed on to this process; a child must not take them for its own. */
static size_t passed_descriptors(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    size_t n = 0;
    if (pid != NULL && count != NULL && strtol(pid, NULL, 10) == (long)getpid()) {
        const long value = strtol(count, NULL, 10);
        if (value > 0 && value < 1024) n = (size_t)value;
    }
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    return n;
}

static cz_status take_passed(sv_http *h, size_t count)
{
    int listens = 0, type = 0;
    socklen_t size = sizeof listens;
    for (size_t i = 0; i < count; i++) (void)fcntl(FIRST_PASSED + (int)i, F_SETFD, FD_CLOEXEC);
    if (getsockopt(FIRST_PASSED, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0)
        return sv_fail(CZ_E_ARG, "the socket of LISTEN_FDS does not listen");
    size = sizeof type;
    if (getsockopt(FIRST_PASSED, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM)
        return sv_fail(CZ_E_ARG, "the socket of LISTEN_FDS is none of TCP");
    if (count > 1) sv_log(SV_WARN, "sockets", "passed", "%zu", count, "used", "%d", 1, NULL);
    h->listener = FIRST_PASSED;
    return CZ_OK;
}

static int listen_at(const struct addrinfo *a)
{
    const int one = 1;
    const int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    if (fd < 0) return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    /* "::" means all addresses, those of IPv4 too. */
    const int v6_only = 0;
    if (a->ai_family == AF_INET6) (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) return fd;
    const int reason = errno;
    (void)close(fd);
    errno = reason;
    return -1;
}

static cz_status bind_host(sv_http *h, const char *host, unsigned port)
{
    struct addrinfo hints, *found = NULL;
    char service[16];
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    (void)snprintf(service, sizeof service, "%u", port);
    const int code = getaddrinfo(host, service, &hints, &found);
    if (code != 0) return sv_fail(CZ_E_ARG, "--host %s: %s", host, gai_strerror(code));
    errno = EADDRNOTAVAIL;
    for (const struct addrinfo *a = found; a != NULL && h->listener < 0; a = a->ai_next) h->listener = listen_at(a);
    const int reason = errno;
    freeaddrinfo(found);
    if (h->listener >= 0) return CZ_OK;
    return sv_fail(CZ_E_IO, "cannot listen on %s port %u: %s", host, port, strerror(reason));
}

/* Who may reach the socket decides, not what it was called. */
static cz_status check_exposure(const sv_http *h)
{
    const sv_settings *s = h->settings;
    if (http_loopback_name(h->host) || (s->auth_token_file != NULL && s->auth_token_file[0] != '\0')) return CZ_OK;
    if (!s->insecure) {
        return sv_fail(CZ_E_ARG,
                       "%s can be reached from other machines: give --auth-token-file FILE, or --insecure to serve "
                       "everyone who can connect",
                       h->host);
    }
    sv_log(SV_WARN, "insecure", "host", "%s", h->host, "reason", "%s",
           "anyone who can connect may use and change everything", NULL);
    return CZ_OK;
}

/* Each connection needs a descriptor; the usual limit is 1024. */
static void raise_limit(const sv_settings *s)
{
    struct rlimit limit;
    const rlim_t wanted = (rlim_t)s->max_connections + OTHER_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
        sv_log(SV_WARN, "open files", "limit", "%lu", (unsigned long)limit.rlim_cur, "wanted", "%lu",
               (unsigned long)wanted, NULL);
    }
}

cz_status http_socket_open(sv_http *h)
{
    const sv_settings *s = h->settings;
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    const size_t passed = passed_descriptors();
    cz_status status =
        passed > 0 ? take_passed(h, passed) : bind_host(h, s->host != NULL ? s->host : "127.0.0.1", s->port);
    if (status != CZ_OK) return status;
    (void)fcntl(h->listener, F_SETFL, O_NONBLOCK);
    memset(&address, 0, sizeof address);
    if (getsockname(h->listener, (struct sockaddr *)&address, &size) != 0)
        return sv_fail(CZ_E_IO, "the address of the socket: %s", strerror(errno));
    if (address.ss_family != AF_INET && address.ss_family != AF_INET6)
        return sv_fail(CZ_E_UNSUPPORTED, "the socket of LISTEN_FDS is none of IP");
    /* The ports are at the same place in both. */
    struct sockaddr_in in;
    memcpy(&in, &address, sizeof in);
    h->port = ntohs(in.sin_port);
    http_address_text((const struct sockaddr *)&address, h->host, sizeof h->host);
    const bool v6 = strchr(h->host, ':') != NULL;
    (void)snprintf(h->url, sizeof h->url, "%s://%s%s%s:%u/", s->tls_cert != NULL ? "https" : "http", v6 ? "[" : "",
                   h->host, v6 ? "]" : "", h->port);
    raise_limit(s);
    return check_exposure(h);
}
