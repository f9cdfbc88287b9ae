/* A device: sends each line of its standard input as a message, and ends when all are acknowledged.
 *
 * usage: device [--es256] [--jws] [--did DID] KEYFILE FOLDER OWNER PROJECT TYPE URL < lines
 *
 * KEYFILE has 32 secret bytes and is made if it is not there; FOLDER keeps numbers and messages; URL is http://… or
 * mqtt://…. With `-` as TYPE it prints its DID and ends. */
#define _POSIX_C_SOURCE 200809L
#include "w3b_bearssl.h"
#include "w3b_posix.h"
#include "w3b_sodium.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAYLOAD_BYTES 1024

static void say(const char *what, const w3b_entry *entry, const w3b_answer *answer)
{
    char text[PAYLOAD_BYTES * 2 + 1];
    for (size_t i = 0; i < entry->payload.len; i++) {
        snprintf(text + 2 * i, 3, "%02x", entry->payload.data[i]);
    }
    text[2 * entry->payload.len] = 0;
    printf("{\"%s\": \"%s\", \"hex\": \"%s\", \"sequence\": \"%llu\"}\n", what, *answer->code ? answer->code : "yes", text,
           (unsigned long long)entry->sequence);
    fflush(stdout);
}

static void on_accepted(void *ctx, const w3b_entry *entry, const w3b_answer *answer)
{
    (void)ctx;
    say("accepted", entry, answer);
}

static void on_refused(void *ctx, const w3b_entry *entry, const w3b_answer *answer)
{
    (void)ctx;
    say("refused", entry, answer);
}

static int secret_of(const char *path, uint8_t secret[32])
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    ssize_t count;
    if (fd >= 0) {
        int failed = w3b_posix_random(NULL, secret, 32) != 0 || write(fd, secret, 32) != 32 || fsync(fd) != 0;
        close(fd);
        return failed;
    }
    fd = open(path, O_RDONLY);
    count = fd < 0 ? -1 : read(fd, secret, 32);
    if (fd >= 0) {
        close(fd);
    }
    return count != 32;
}

static int run(w3b_client *client)
{
    static char line[PAYLOAD_BYTES + 2];
    uint32_t wait;
    int result, count = 0;
    while (fgets(line, sizeof line, stdin)) {
        size_t len = strcspn(line, "\n");
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        result = w3b_client_push(client, client->ctx, (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000,
                                 (const uint8_t *)line, len);
        if (result != W3B_OK) {
            fprintf(stderr, "a message could not be kept (%d)\n", result);
            return 1;
        }
        count++;
    }
    printf("{\"queued\": %d}\n", count);
    fflush(stdout);
    while ((result = w3b_client_step(client, &wait)) == W3B_OK) {
        struct timespec pause;
        pause.tv_sec = wait / 1000;
        pause.tv_nsec = (long)(wait % 1000) * 1000000;
        nanosleep(&pause, NULL);
    }
    if (result != W3B_EMPTY) {
        fprintf(stderr, "the device stopped (%d)\n", result);
        return 1;
    }
    printf("{\"done\": true}\n");
    return 0;
}

int main(int argc, char **argv)
{
    static uint8_t record[PAYLOAD_BYTES + W3B_RECORD_OVERHEAD];
    static uint8_t body[W3B_JWS_SIZE(W3B_KEY_ID_SIZE, PAYLOAD_BYTES)];
    static w3b_client client;
    uint8_t secret[32];
    char did[W3B_DID_KEY_SIZE], key[W3B_KEY_ID_SIZE];
    const char *other = NULL;
    int es256 = 0, jws = 0, ended;
    w3b_crypto crypto;
    w3b_sodium ed25519;
    w3b_bearssl p256;
    w3b_folder folder;
    w3b_store store;
    w3b_http http;
    w3b_mqtt *mqtt = NULL;
    w3b_transport transport;
    for (; argc > 1 && strncmp(argv[1], "--", 2) == 0; argc--, argv++) {
        es256 |= strcmp(argv[1], "--es256") == 0;
        jws |= strcmp(argv[1], "--jws") == 0;
        if (strcmp(argv[1], "--did") == 0 && argc > 2) {
            other = argv[2];
            argc--, argv++;
        }
    }
    if (argc != 7) {
        fprintf(stderr, "usage: device [--es256] [--jws] [--did DID] KEYFILE FOLDER OWNER PROJECT TYPE URL\n");
        return 2;
    }
    if (secret_of(argv[1], secret)
        || (es256 ? w3b_bearssl_init(&p256, secret, w3b_posix_random, NULL, &crypto)
                  : w3b_sodium_init(&ed25519, secret, &crypto))
        || w3b_did_key(crypto.algorithm, es256 ? p256.public_key : ed25519.public_key, did, sizeof did)
        || w3b_key_id(other ? other : did, key, sizeof key)) {
        fprintf(stderr, "%s has no key that can be used\n", argv[1]);
        return 1;
    }
    if (strcmp(argv[5], "-") == 0) {
        printf("%s\n", did);
        return 0;
    }
    client.crypto = &crypto;
    client.store = &store;
    client.transport = &transport;
    client.key = key;
    client.form = jws ? W3B_FORM_JWS : W3B_FORM_ENVELOPE;
    client.record = record;
    client.record_cap = sizeof record;
    client.body = body;
    client.body_cap = sizeof body;
    client.on_accepted = on_accepted;
    client.on_refused = on_refused;
    client.ctx = argv[5];
    if (w3b_folder_open(&folder, argv[2], 10000, &store) || w3b_project_id(&crypto, argv[3], argv[4], client.audience)
        || w3b_client_open(&client)) {
        fprintf(stderr, "%s cannot be used, or another process does\n", argv[2]);
        return 1;
    }
    if (w3b_http_init(&http, argv[6], argv[4], &transport) != W3B_OK
        && (mqtt = w3b_mqtt_new(argv[6], argv[4], did, &transport)) == NULL) {
        fprintf(stderr, "%s is no http:// or mqtt:// URL\n", argv[6]);
        return 1;
    }
    ended = run(&client);
    if (mqtt) {
        w3b_mqtt_free(mqtt);
    }
    w3b_folder_close(&folder);
    return ended;
}
