#define _POSIX_C_SOURCE 200809L
#include "w3b_posix.h"

#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TIMEOUT_S 30

struct w3b_mqtt {
    char host[128];
    int port;
    int tls;
    char project[64];
    char client_id[256];
    struct mosquitto *link; /* NULL: not connected */
    int connected;
    int lost;
    int mid;
    int answered;
    w3b_answer *answer;
};

static void on_connect(struct mosquitto *link, void *ctx, int code, int flags, const mosquitto_property *properties)
{
    struct w3b_mqtt *m = ctx;
    (void)link, (void)flags, (void)properties;
    m->connected = code == 0;
    m->lost = code != 0;
}

static void on_disconnect(struct mosquitto *link, void *ctx, int code, const mosquitto_property *properties)
{
    struct w3b_mqtt *m = ctx;
    (void)link, (void)code, (void)properties;
    m->lost = 1;
}

static void on_publish(struct mosquitto *link, void *ctx, int mid, int code, const mosquitto_property *properties)
{
    struct w3b_mqtt *m = ctx;
    char *reason = NULL;
    (void)link;
    if (mid != m->mid || m->answered) {
        return;
    }
    mosquitto_property_read_string(properties, MQTT_PROP_REASON_STRING, &reason, false);
    w3b_read_puback(code, reason, m->answer);
    m->answered = 1;
    free(reason);
}

static void hang_up(struct w3b_mqtt *m)
{
    if (m->link) {
        mosquitto_disconnect(m->link);
        mosquitto_destroy(m->link);
        m->link = NULL;
    }
}

/* Runs the connection until `*done` or until it is lost or the time is over. */
static int run_until(struct w3b_mqtt *m, const int *done)
{
    time_t end = time(NULL) + TIMEOUT_S;
    while (!*done && !m->lost && time(NULL) < end) {
        if (mosquitto_loop(m->link, 200, 1) != MOSQ_ERR_SUCCESS) {
            m->lost = 1;
        }
    }
    return *done;
}

/* A new connection each time: the library would else send again by itself what it has kept. */
static int dial(struct w3b_mqtt *m)
{
    m->connected = m->lost = 0;
    m->link = mosquitto_new(m->client_id, true, m);
    if (!m->link) {
        return -1;
    }
    mosquitto_int_option(m->link, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
    mosquitto_connect_v5_callback_set(m->link, on_connect);
    mosquitto_disconnect_v5_callback_set(m->link, on_disconnect);
    mosquitto_publish_v5_callback_set(m->link, on_publish);
    if ((m->tls && mosquitto_tls_set(m->link, NULL, "/etc/ssl/certs", NULL, NULL, NULL) != MOSQ_ERR_SUCCESS)
        || mosquitto_connect(m->link, m->host, m->port, 30) != MOSQ_ERR_SUCCESS || !run_until(m, &m->connected)) {
        hang_up(m);
        return -1;
    }
    return 0;
}

static void publish(void *ctx, const char *type, const char *content_type, const uint8_t *body, size_t len,
                    w3b_answer *answer)
{
    struct w3b_mqtt *m = ctx;
    char topic[160];
    (void)content_type; /* the form is known by its first bytes */
    snprintf(topic, sizeof topic, "w3b/%s/%s", m->project, type);
    /* Between messages nobody has looked whether the connection still stands. */
    if (m->link && (m->lost || mosquitto_loop(m->link, 0, 1) != MOSQ_ERR_SUCCESS)) {
        hang_up(m);
    }
    if (!m->link && dial(m) != 0) {
        w3b_unreachable(answer, "the broker does not answer CONNECT");
        return;
    }
    m->answer = answer;
    m->answered = 0;
    m->mid = 0;
    if (mosquitto_publish_v5(m->link, &m->mid, topic, (int)len, body, 1, false, NULL) != MOSQ_ERR_SUCCESS
        || !run_until(m, &m->answered)) {
        hang_up(m);
        w3b_unreachable(answer, "no PUBACK came");
    }
}

w3b_mqtt *w3b_mqtt_new(const char *url, const char *project, const char *client_id, w3b_transport *transport)
{
    struct w3b_mqtt *m = calloc(1, sizeof *m);
    if (!m) {
        return NULL;
    }
    m->tls = strncmp(url, "mqtts://", 8) == 0;
    m->port = m->tls ? 8883 : 1883;
    if (strlen(project) >= sizeof m->project || strlen(client_id) >= sizeof m->client_id
        || sscanf(url, m->tls ? "mqtts://%127[^:/]:%d" : "mqtt://%127[^:/]:%d", m->host, &m->port) < 1
        || mosquitto_lib_init() != MOSQ_ERR_SUCCESS) {
        free(m);
        return NULL;
    }
    strcpy(m->project, project);
    strcpy(m->client_id, client_id);
    transport->send = publish;
    transport->ctx = m;
    return m;
}

void w3b_mqtt_free(w3b_mqtt *m)
{
    hang_up(m);
    mosquitto_lib_cleanup();
    free(m);
}
