#include "w3b_client.h"

#include <string.h>

#define COUNTERS ((uint64_t)1 << 32)
/* How often one message is signed anew. Once is what a wiped device needs; more means that two devices share a key. */
#define MAX_RESIGNED 4

/* A record: sequence 8, time 8, salt 16, how often signed anew 1, length of the type 1, type, payload. Signing it again
 * gives a message with the same id, so that the signature need not be kept. */
#define FIXED 34u

static void write_u64(uint8_t *out, uint64_t n)
{
    for (int i = 7; i >= 0; i--) {
        out[i] = (uint8_t)n;
        n >>= 8;
    }
}

static uint64_t read_u64(const uint8_t *in)
{
    uint64_t n = 0;
    for (int i = 0; i < 8; i++) {
        n = n << 8 | in[i];
    }
    return n;
}

int w3b_client_open(w3b_client *c)
{
    if (c->store->load(c->store->ctx, &c->epoch, &c->reserved) < 0) {
        return W3B_ERR_STORE;
    }
    c->block = c->block ? c->block : 64;
    c->first_wait_ms = c->first_wait_ms ? c->first_wait_ms : 500;
    c->most_wait_ms = c->most_wait_ms ? c->most_wait_ms : 60000;
    c->failures = 0;
    /* What was reserved and not used before the stop is left as a gap: a crash never uses a number twice. */
    c->next = c->reserved;
    return W3B_OK;
}

/* A number that was never given before, in `least` or a later boot epoch. It is reserved on disk before it is used. */
static int take_number(w3b_client *c, uint64_t least, uint64_t *sequence)
{
    uint64_t epoch = c->epoch;
    uint64_t next = c->next;
    uint64_t reserved = c->reserved;
    if (least > epoch || next >= COUNTERS) {
        epoch = least > epoch ? least : epoch + 1;
        next = reserved = 0;
    }
    if (epoch > UINT32_MAX) {
        return W3B_ERR_EPOCHS;
    }
    if (next >= reserved) {
        reserved = next + c->block < COUNTERS ? next + c->block : COUNTERS;
        if (c->store->save(c->store->ctx, (uint32_t)epoch, reserved) < 0) {
            return W3B_ERR_STORE;
        }
    }
    *sequence = epoch << 32 | next;
    c->epoch = (uint32_t)epoch;
    c->reserved = reserved;
    c->next = next + 1;
    return W3B_OK;
}

static int renumber(w3b_client *c, uint64_t least)
{
    uint64_t sequence;
    int error = take_number(c, least, &sequence);
    if (error) {
        return error;
    }
    write_u64(c->record, sequence);
    return c->crypto->random(c->crypto->ctx, c->record + 16, 16) ? W3B_ERR_CRYPTO : W3B_OK;
}

/* Reads the first record. Its type gets a place of its own, where a zero byte ends it. */
static int read_first(w3b_client *c, w3b_entry *entry, size_t *len)
{
    int found = c->store->first(c->store->ctx, c->record, c->record_cap, len);
    size_t type_len;
    if (found != W3B_OK) {
        return found == W3B_EMPTY ? W3B_EMPTY : W3B_ERR_STORE;
    }
    type_len = *len >= FIXED ? c->record[33] : 0;
    if (type_len < 1 || type_len > 63 || *len < FIXED + type_len) {
        return W3B_ERR_STORE;
    }
    memcpy(c->type, c->record + FIXED, type_len);
    c->type[type_len] = 0;
    entry->sequence = read_u64(c->record);
    entry->time = read_u64(c->record + 8);
    entry->type = c->type;
    entry->payload.data = c->record + FIXED + type_len;
    entry->payload.len = *len - FIXED - type_len;
    return W3B_OK;
}

static int drop_first(w3b_client *c)
{
    w3b_entry entry;
    size_t len;
    w3b_answer answer;
    int error = read_first(c, &entry, &len);
    if (error) {
        return error;
    }
    memset(&answer, 0, sizeof answer);
    answer.kind = W3B_REFUSED;
    strcpy(answer.code, "dropped");
    strcpy(answer.detail, "the queue was full");
    if (c->store->pop(c->store->ctx) < 0) {
        return W3B_ERR_STORE;
    }
    if (c->on_refused) {
        c->on_refused(c->ctx, &entry, &answer);
    }
    return W3B_OK;
}

int w3b_client_push(w3b_client *c, const char *type, uint64_t time, const uint8_t *payload, size_t len)
{
    size_t type_len = strlen(type);
    size_t size = FIXED + type_len + len;
    int result = W3B_FULL;
    if (type_len < 1 || type_len > 63) {
        return W3B_ERR_INPUT;
    }
    if (len > c->record_cap || size > c->record_cap) {
        return W3B_ERR_SPACE;
    }
    for (int attempt = 0; attempt < 2 && result == W3B_FULL; attempt++) {
        if (attempt && (!c->drop_oldest || drop_first(c) != W3B_OK)) {
            return W3B_FULL;
        }
        result = renumber(c, 0);
        if (result) {
            return result;
        }
        write_u64(c->record + 8, time);
        c->record[32] = 0;
        c->record[33] = (uint8_t)type_len;
        memcpy(c->record + FIXED, type, type_len);
        if (len) {
            memcpy(c->record + FIXED + type_len, payload, len);
        }
        result = c->store->push(c->store->ctx, c->record, size);
        /* Nobody has seen the number, and a full queue is not to wear out what keeps the reservations. */
        c->next -= result == W3B_FULL;
    }
    return result < 0 ? W3B_ERR_STORE : result;
}

int w3b_client_next(w3b_client *c, w3b_entry *entry, const char **content_type, size_t *len)
{
    static const char *const content_types[] = {"application/vnd.w3bstream.envelope", "application/jose"};
    uint8_t id[32];
    size_t size;
    w3b_message m;
    int error = read_first(c, entry, &size);
    if (error) {
        return error;
    }
    m.audience = c->audience;
    m.key = c->key;
    m.type = c->type;
    m.sequence = entry->sequence;
    m.time = entry->time;
    m.salt = c->record + 16;
    m.payload = entry->payload;
    *content_type = content_types[c->form == W3B_FORM_JWS];
    return (c->form == W3B_FORM_JWS ? w3b_jws : w3b_envelope)(c->crypto, &m, c->body, c->body_cap, len, id);
}

/* Signs the first message anew, whose number is of no use since the device had lost its counter. */
static int anew(w3b_client *c, const w3b_entry *entry, const w3b_answer *answer, size_t len)
{
    /* If the epoch has risen since the message got its number, the present numbers are good. */
    uint64_t least = answer->has_next_epoch ? answer->next_epoch : (entry->sequence >> 32) + 1;
    int error = renumber(c, least);
    if (error) {
        return error;
    }
    c->record[32]++;
    return c->store->replace_first(c->store->ctx, c->record, len) < 0 ? W3B_ERR_STORE : W3B_OK;
}

static uint32_t back_off(w3b_client *c, uint32_t at_least)
{
    uint64_t most = (uint64_t)c->first_wait_ms << (c->failures < 20 ? c->failures : 20);
    uint8_t dice[2] = {0, 0};
    uint32_t wait;
    c->failures++;
    most = most < c->most_wait_ms ? most : c->most_wait_ms;
    /* Between half and the whole of it, so that many devices do not come back at once. */
    (void)c->crypto->random(c->crypto->ctx, dice, 2);
    wait = (uint32_t)(most / 2 + most / 2 * ((uint32_t)dice[0] << 8 | dice[1]) / 65536);
    wait = wait > at_least ? wait : at_least;
    return wait ? wait : 1;
}

int w3b_client_answer(w3b_client *c, const w3b_answer *answer, uint32_t *wait_ms)
{
    w3b_entry entry;
    size_t len;
    int error;
    *wait_ms = 0;
    if (answer->kind == W3B_LATER) {
        *wait_ms = back_off(c, answer->wait_ms);
        return W3B_OK;
    }
    /* An answer of any kind says that the node is there. */
    c->failures = 0;
    error = read_first(c, &entry, &len);
    if (error) {
        return error;
    }
    if (answer->kind == W3B_REFUSED && c->record[32] < MAX_RESIGNED
        && (strcmp(answer->code, "too-old") == 0 || strcmp(answer->code, "conflict") == 0)) {
        error = anew(c, &entry, answer, len);
        /* Without an epoch that is left, the refusal stands. */
        if (error != W3B_ERR_EPOCHS) {
            return error;
        }
    }
    if (answer->kind == W3B_ACCEPTED && c->on_accepted) {
        c->on_accepted(c->ctx, &entry, answer);
    } else if (answer->kind == W3B_REFUSED && c->on_refused) {
        c->on_refused(c->ctx, &entry, answer);
    }
    return c->store->pop(c->store->ctx) < 0 ? W3B_ERR_STORE : W3B_OK;
}

int w3b_client_step(w3b_client *c, uint32_t *wait_ms)
{
    w3b_entry entry;
    const char *content_type;
    size_t len;
    w3b_answer answer;
    int error = w3b_client_next(c, &entry, &content_type, &len);
    *wait_ms = 0;
    if (error) {
        return error;
    }
    memset(&answer, 0, sizeof answer);
    c->transport->send(c->transport->ctx, entry.type, content_type, c->body, len, &answer);
    return w3b_client_answer(c, &answer, wait_ms);
}
