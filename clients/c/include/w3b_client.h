/* A device: its queue, its numbers, and what it does with answers. For a loop without threads.
 *
 * Messages are sent one at a time, the oldest first, until the node accepts them or refuses them for ever. What must
 * survive a crash goes through the store's functions; nothing is allocated. */
#ifndef W3B_CLIENT_H
#define W3B_CLIENT_H

#include "w3b.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { W3B_ACCEPTED, W3B_REFUSED, W3B_LATER } w3b_kind;

/* What became of a message. */
typedef struct {
    w3b_kind kind;
    int duplicate;       /* accepted: the node had it before */
    char code[32];       /* refused, later: a code of docs/devices.md, or `unreachable`, or `dropped` */
    char detail[128];    /* in words, cut to this size */
    int has_next_epoch;  /* refused as too-old: */
    uint32_t next_epoch; /* the boot epoch to go on in */
    uint32_t wait_ms;    /* later: at least this long */
} w3b_answer;

/* What the device keeps. Each function returns W3B_OK when the change is durable, W3B_EMPTY or W3B_FULL where said, or a
 * negative code; the change must then not have happened. */
typedef struct {
    /* The boot epoch and the first counter that is not reserved; 0 and 0 in a new device. */
    int (*load)(void *ctx, uint32_t *epoch, uint64_t *reserved);
    int (*save)(void *ctx, uint32_t epoch, uint64_t reserved);
    /* A queue of records, first in, first out. `push` may say W3B_FULL, the others W3B_EMPTY. */
    int (*push)(void *ctx, const uint8_t *record, size_t len);
    int (*first)(void *ctx, uint8_t *record, size_t cap, size_t *len);
    int (*replace_first)(void *ctx, const uint8_t *record, size_t len);
    int (*pop)(void *ctx);
    void *ctx;
} w3b_store;

/* Sends `body` and says in `answer` what became of it. It may take as long as it likes. */
typedef struct {
    void (*send)(void *ctx, const char *type, const char *content_type, const uint8_t *body, size_t len,
                 w3b_answer *answer);
    void *ctx;
} w3b_transport;

/* A message in the queue, as the callbacks see it. */
typedef struct {
    uint64_t sequence;
    uint64_t time;
    const char *type;
    w3b_bytes payload;
} w3b_entry;

typedef enum { W3B_FORM_ENVELOPE, W3B_FORM_JWS } w3b_form;

/* Bytes of a record around its payload. */
#define W3B_RECORD_OVERHEAD 98u

typedef struct {
    /* Set by the caller before w3b_client_open. */
    const w3b_crypto *crypto;
    const w3b_store *store;
    const w3b_transport *transport; /* may be NULL if w3b_client_next and w3b_client_answer are used */
    const char *key;                /* DID URL */
    uint8_t audience[32];
    w3b_form form;
    uint8_t *record; /* largest payload + W3B_RECORD_OVERHEAD */
    size_t record_cap;
    uint8_t *body; /* largest payload + W3B_ENVELOPE_OVERHEAD, or W3B_JWS_SIZE; never less than the record */
    size_t body_cap;
    uint32_t block;         /* how many counters are reserved at a time; 0: 64 */
    uint32_t first_wait_ms; /* 0: 500 */
    uint32_t most_wait_ms;  /* 0: 60,000 */
    int drop_oldest;        /* what a full queue does: else it takes no more */
    void (*on_accepted)(void *ctx, const w3b_entry *entry, const w3b_answer *answer);
    void (*on_refused)(void *ctx, const w3b_entry *entry, const w3b_answer *answer);
    void *ctx;
    /* Its own. */
    uint32_t epoch;
    uint64_t next;
    uint64_t reserved;
    unsigned failures;
    char type[64];
} w3b_client;

/* Reads what is kept. */
int w3b_client_open(w3b_client *client);

/* Gives a message a number and puts it in the queue. W3B_FULL: the queue is full and nothing may be dropped. */
int w3b_client_push(w3b_client *client, const char *type, uint64_t time, const uint8_t *payload, size_t len);

/* Sends the oldest message and reacts to what became of it. W3B_EMPTY: nothing waits. W3B_OK: call it again after
 * `wait_ms` milliseconds. */
int w3b_client_step(w3b_client *client, uint32_t *wait_ms);

/* The two halves of w3b_client_step, for a transport that works by events: signs the oldest message into `client->body`,
 * and reacts to an answer to it. Between them no message may be pushed: they share the record's buffer. */
int w3b_client_next(w3b_client *client, w3b_entry *entry, const char **content_type, size_t *len);
int w3b_client_answer(w3b_client *client, const w3b_answer *answer, uint32_t *wait_ms);

/* What an HTTP answer means. What is not the node's own refusal (a proxy's, a 500) is tried again. `retry_after` is the
 * header in seconds, or 0. */
void w3b_read_http(int status, uint32_t retry_after, const char *body, size_t len, w3b_answer *answer);

/* What a PUBACK of MQTT 5 means; `reason` may be NULL. */
void w3b_read_puback(int reason_code, const char *reason, w3b_answer *answer);

/* An answer in place of none: the message is sent again. */
void w3b_unreachable(w3b_answer *answer, const char *detail);

#ifdef __cplusplus
}
#endif
#endif
