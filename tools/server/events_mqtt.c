/* SPDX-License-Identifier: Apache-2.0 */
/* Results as messages to an MQTT broker, at least once each (QoS 1). The sink's thread does all of the protocol's work, so that a broker
 * that is away makes results wait in the sink's bounded queue and nowhere else. */
#include "events_internal.h"

#include <stdlib.h>
#include <string.h>

#ifdef COZAD_WITH_MQTT
#include <fcntl.h>
#include <mosquitto.h>
#include <pthread.h>

enum { KEEP_ALIVE = 20, PORT = 1883 };
static const double longest_pause = 30;

typedef struct mqtt {
    struct mosquitto *client;
    char *host, *topic;
    int port;
    bool tried, connected;
    size_t unacknowledged, acknowledged;
    double pause, next; /* seconds; of sv_now: when to connect again */
} mqtt;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int global = MOSQ_ERR_UNKNOWN;

static void init_library(void)
{
    global = mosquitto_lib_init();
}

static void release(void *ctx)
{
    mqtt *m = ctx;
    if (m->client != NULL) {
        if (m->connected) (void)mosquitto_disconnect(m->client);
        mosquitto_destroy(m->client);
    }
    free(m->host);
    free(m->topic);
    free(m);
}

static void on_connect(struct mosquitto *client, void *ctx, int code)
{
    mqtt *m = ctx;
    (void)client;
    m->connected = code == 0;
    if (m->connected) m->pause = 0;
}

static void on_disconnect(struct mosquitto *client, void *ctx, int code)
{
    (void)client;
    (void)code;
    ((mqtt *)ctx)->connected = false;
}

static void on_publish(struct mosquitto *client, void *ctx, int message)
{
    mqtt *m = ctx;
    (void)client;
    (void)message;
    if (m->unacknowledged == 0) return;
    m->unacknowledged--;
    m->acknowledged++;
}

static void lost_connection(mqtt *m, sv_sink *sink, const char *why)
{
    m->connected = false;
    m->pause = m->pause <= 0 ? 0.5 : m->pause * 2 < longest_pause ? m->pause * 2 : longest_pause;
    m->next = sv_now() + m->pause;
    sv_sink_reason(sink, "%s:%d: %s", m->host, m->port, why);
}

/* One step of the protocol, for at most a fifth of a second. */
static void step(mqtt *m, sv_sink *sink, int milliseconds)
{
    if (mosquitto_socket(m->client) >= 0) {
        const int code = mosquitto_loop(m->client, milliseconds, 1);
        if (code != MOSQ_ERR_SUCCESS) lost_connection(m, sink, mosquitto_strerror(code));
        return;
    }
    const double left = m->next - sv_now();
    if (left > 0) {
        (void)sv_sink_wait(sink, left < milliseconds / 1000.0 ? left : milliseconds / 1000.0);
        return;
    }
    m->connected = false;
    const int code = m->tried ? mosquitto_reconnect_async(m->client)
                              : mosquitto_connect_async(m->client, m->host, m->port, KEEP_ALIVE);
    m->tried = true;
    /* Training jobs, which are other programs, do not inherit the connection. */
    if (mosquitto_socket(m->client) >= 0) (void)fcntl(mosquitto_socket(m->client), F_SETFD, FD_CLOEXEC);
    if (code != MOSQ_ERR_SUCCESS) lost_connection(m, sink, mosquitto_strerror(code));
}

/* Does the library hold the message now? It does whatever became of the connection, and sends it again when there is one. */
static bool is_queued(int code)
{
    switch (code) {
    case MOSQ_ERR_NOMEM:
    case MOSQ_ERR_INVAL:
    case MOSQ_ERR_PROTOCOL:
    case MOSQ_ERR_PAYLOAD_SIZE:
    case MOSQ_ERR_MALFORMED_UTF8:
    case MOSQ_ERR_NOT_SUPPORTED:
    case MOSQ_ERR_QOS_NOT_SUPPORTED:
    case MOSQ_ERR_OVERSIZE_PACKET:
        return false;
    default:
        return true;
    }
}

static size_t deliver(void *ctx, sv_sink *sink, const sv_event *events, size_t count)
{
    mqtt *m = ctx;
    char line[SV_LINE];
    size_t sent = 0;
    m->acknowledged = 0;
    while (!m->connected && !sv_sink_late(sink)) step(m, sink, 200);
    for (; sent < count && !sv_sink_late(sink); sent++) {
        const size_t length = sv_event_line(&events[sent], line);
        if (length == 0) continue;
        const int code = mosquitto_publish(m->client, NULL, m->topic, (int)(length - 1), line, 1, false);
        if (is_queued(code)) {
            m->unacknowledged++;
        } else {
            sv_sink_reason(sink, "%s:%d: %s", m->host, m->port, mosquitto_strerror(code));
        }
    }
    while (m->unacknowledged > 0 && !sv_sink_late(sink)) step(m, sink, 200);
    return m->acknowledged;
}

/* Keeps the connection alive. */
static void idle(void *ctx, sv_sink *sink)
{
    step(ctx, sink, 0);
}

/* mqtt://HOST[:PORT]/TOPIC; HOST may be an IPv6 address in brackets. */
static cz_status parse(const char *url, mqtt *m)
{
    static const char form[] = "the address must be mqtt://HOST[:PORT]/TOPIC";
    if (strncmp(url, "mqtt://", 7) != 0) return sv_fail(CZ_E_ARG, "mqtt: %s", form);
    const char *host = url + 7, *slash = strchr(host, '/');
    if (slash == NULL) return sv_fail(CZ_E_ARG, "mqtt: %s", form);
    if (memchr(host, '@', (size_t)(slash - host)) != NULL)
        return sv_fail(CZ_E_UNSUPPORTED, "mqtt: a user name in the address is not supported");
    const bool brackets = host[0] == '[';
    const char *end = brackets ? memchr(host, ']', (size_t)(slash - host)) : memchr(host, ':', (size_t)(slash - host));
    const char *port = end == NULL ? slash : end + brackets;
    if (brackets && (end == NULL || (*port != ':' && port != slash))) return sv_fail(CZ_E_ARG, "mqtt: %s", form);
    if (end == NULL) end = slash;
    host += brackets;
    m->port = PORT;
    if (port != slash) {
        const size_t digits = strspn(port + 1, "0123456789");
        const long number = digits >= 1 && digits <= 5 && port + 1 + digits == slash ? strtol(port + 1, NULL, 10) : 0;
        if (number < 1 || number > 65535) return sv_fail(CZ_E_ARG, "mqtt: %s", form);
        m->port = (int)number;
    }
    if (end == host) return sv_fail(CZ_E_ARG, "mqtt: %s", form);
    const size_t length = strlen(slash + 1);
    if (length == 0 || length > 65535 || mosquitto_pub_topic_check(slash + 1) != MOSQ_ERR_SUCCESS ||
        mosquitto_validate_utf8(slash + 1, (int)length) != MOSQ_ERR_SUCCESS) {
        return sv_fail(CZ_E_ARG, "mqtt: the topic must be UTF-8 without + and #");
    }
    m->host = strndup(host, (size_t)(end - host));
    m->topic = strdup(slash + 1);
    return m->host == NULL || m->topic == NULL ? sv_fail(CZ_E_MEMORY, "mqtt: out of memory") : CZ_OK;
}

cz_status sv_mqtt_open(const char *url, bool anomalies_only, sv_sink **out)
{
    static const sv_sink_kind kind = {
        .name = "mqtt", .capacity = 1024, .batch = 16, .deliver = deliver, .idle = idle, .release = release};
    (void)pthread_once(&once, init_library);
    if (global != MOSQ_ERR_SUCCESS) return sv_fail(CZ_E_INTERNAL, "mqtt: libmosquitto cannot be used");
    mqtt *m = calloc(1, sizeof *m);
    if (m == NULL) return sv_fail(CZ_E_MEMORY, "mqtt: out of memory");
    cz_status status = parse(url, m);
    if (status == CZ_OK) {
        m->client = mosquitto_new(NULL, true, m);
        if (m->client == NULL) status = sv_fail(CZ_E_MEMORY, "mqtt: out of memory");
    }
    if (status != CZ_OK) {
        release(m);
        return status;
    }
    mosquitto_connect_callback_set(m->client, on_connect);
    mosquitto_disconnect_callback_set(m->client, on_disconnect);
    mosquitto_publish_callback_set(m->client, on_publish);
    return sv_sink_start(&kind, m, anomalies_only, out);
}

#else

cz_status sv_mqtt_open(const char *url, bool anomalies_only, sv_sink **out)
{
    (void)url;
    (void)anomalies_only;
    (void)out;
    return sv_fail(CZ_E_UNSUPPORTED, "mqtt: this program was built without MQTT (libmosquitto)");
}

#endif
