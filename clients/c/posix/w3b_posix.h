/* The device's store in a folder, and two transports, for systems with POSIX. */
#ifndef W3B_POSIX_H
#define W3B_POSIX_H

#include "w3b_client.h"

/* A folder: `state` has boot epoch and reservation, `q` one file for each record. Each change is on disk (fsync) before
 * it counts. One process at a time. */
typedef struct {
    char path[256];
    uint32_t max_records;
    uint64_t head; /* the first record's number */
    uint64_t tail; /* the number behind the last one's */
    int lock;
} w3b_folder;

int w3b_folder_open(w3b_folder *folder, const char *path, uint32_t max_records, w3b_store *store);
void w3b_folder_close(w3b_folder *folder);

/* HTTP/1.1 without TLS, one connection for each message. A device in the open gives w3b_client a transport of its own
 * that has TLS. */
typedef struct {
    char host[128];
    char port[8];
    char project[64];
    int timeout_s;
} w3b_http;

/* `url` is http://host:port. */
int w3b_http_init(w3b_http *http, const char *url, const char *project, w3b_transport *transport);

/* MQTT 5 by libmosquitto: mqtt://host:port, or mqtts://host:port with the system's certificates. */
typedef struct w3b_mqtt w3b_mqtt;
w3b_mqtt *w3b_mqtt_new(const char *url, const char *project, const char *client_id, w3b_transport *transport);
void w3b_mqtt_free(w3b_mqtt *mqtt);

/* Random bytes of the system. */
int w3b_posix_random(void *ctx, uint8_t *out, size_t len);

#endif
