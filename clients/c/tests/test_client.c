/* Queue, numbers and refusals against a node of the test's own. */
#define _POSIX_C_SOURCE 200809L
#include "w3b_posix.h"
#include "w3b_sodium.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int failed, passed;

static void check_at(int ok, const char *what, int line)
{
    passed += ok != 0;
    failed += ok == 0;
    if (!ok) {
        fprintf(stderr, "line %d: FAILED: %s\n", line, what);
    }
}
#define CHECK(what) check_at((what), #what, __LINE__)

static struct {
    w3b_answer answers[32];
    int given, sent, accepted, refused;
    uint8_t bodies[32][2048];
    size_t lens[32];
    uint64_t sequences[256];
    char codes[32][32];
} node;

static void send_to_node(void *ctx, const char *type, const char *content_type, const uint8_t *body, size_t len,
                         w3b_answer *answer)
{
    (void)ctx;
    CHECK(strcmp(type, "reading") == 0 && strcmp(content_type, "application/vnd.w3bstream.envelope") == 0);
    memcpy(node.bodies[node.sent], body, len);
    node.lens[node.sent] = len;
    *answer = node.answers[node.sent < node.given ? node.sent : node.given - 1];
    node.sent++;
}

static void accepted(void *ctx, const w3b_entry *entry, const w3b_answer *answer)
{
    (void)ctx, (void)answer;
    node.sequences[node.accepted++] = entry->sequence;
}

static void refused(void *ctx, const w3b_entry *entry, const w3b_answer *answer)
{
    (void)ctx, (void)entry;
    strcpy(node.codes[node.refused++], answer->code);
}

static char folder_path[64];
static w3b_sodium key;
static w3b_crypto crypto;
static w3b_folder folder;
static w3b_store store;
static const w3b_transport transport = {send_to_node, NULL};
static uint8_t record[512], body[1024];

static w3b_client start(uint32_t most)
{
    w3b_client c;
    memset(&c, 0, sizeof c);
    CHECK(w3b_folder_open(&folder, folder_path, most, &store) == W3B_OK);
    c.crypto = &crypto;
    c.store = &store;
    c.transport = &transport;
    c.key = "did:key:zX#zX";
    c.record = record;
    c.record_cap = sizeof record;
    c.body = body;
    c.body_cap = sizeof body;
    c.on_accepted = accepted;
    c.on_refused = refused;
    CHECK(w3b_client_open(&c) == W3B_OK);
    return c;
}

static void fresh(void)
{
    char command[128];
    memset(&node, 0, sizeof node);
    snprintf(command, sizeof command, "rm -rf '%s'", folder_path);
    CHECK(system(command) == 0);
}

static void then(w3b_kind kind, const char *code, int has_epoch, uint32_t epoch)
{
    w3b_answer *a = &node.answers[node.given++];
    a->kind = kind;
    strcpy(a->code, code);
    a->has_next_epoch = has_epoch;
    a->next_epoch = epoch;
}

static int push(w3b_client *c, const char *text)
{
    return w3b_client_push(c, "reading", 1, (const uint8_t *)text, strlen(text));
}

static void run(w3b_client *c)
{
    uint32_t wait;
    while (w3b_client_step(c, &wait) == W3B_OK && node.sent < 31) {
    }
}

static void retries_and_refusals(void)
{
    w3b_client c;
    uint32_t wait;
    fresh();
    c = start(10);
    then(W3B_LATER, "overloaded", 0, 0);
    then(W3B_ACCEPTED, "", 0, 0);
    then(W3B_REFUSED, "revoked", 0, 0);
    then(W3B_ACCEPTED, "", 0, 0);
    push(&c, "1"), push(&c, "2"), push(&c, "3");
    CHECK(w3b_client_step(&c, &wait) == W3B_OK && wait >= 250 && wait <= 500);
    run(&c);
    CHECK(node.sent == 4 && node.accepted == 2 && node.refused == 1 && strcmp(node.codes[0], "revoked") == 0);
    CHECK(node.lens[0] == node.lens[1] && memcmp(node.bodies[0], node.bodies[1], node.lens[0]) == 0);
    CHECK(w3b_client_step(&c, &wait) == W3B_EMPTY);
    w3b_folder_close(&folder);
}

static void waits_grow(void)
{
    w3b_client c;
    uint32_t wait, last = 0, most = 0;
    fresh();
    c = start(10);
    then(W3B_LATER, "unreachable", 0, 0);
    push(&c, "1");
    for (int i = 0; i < 30; i++) {
        uint32_t full = i < 7 ? 500u << i : 60000;
        w3b_client_step(&c, &wait);
        CHECK(wait >= full / 2 && wait <= full);
        last = wait;
        most = wait > most ? wait : most;
    }
    CHECK(last >= 30000 && most <= 60000);
    node.answers[0].wait_ms = 90000;
    node.sent = 0;
    w3b_client_step(&c, &wait);
    CHECK(wait == 90000);
    w3b_folder_close(&folder);
}

static void restarts(void)
{
    w3b_client c;
    fresh();
    c = start(300);
    for (int i = 0; i < 100; i++) {
        CHECK(push(&c, "x") == W3B_OK);
    }
    w3b_folder_close(&folder); /* as a crash: the client is not told */
    c = start(300);
    CHECK(push(&c, "y") == W3B_OK);
    then(W3B_ACCEPTED, "", 0, 0);
    for (int i = 0; i < 101; i++) {
        uint32_t wait;
        node.sent = 0;
        CHECK(w3b_client_step(&c, &wait) == W3B_OK);
    }
    CHECK(node.accepted == 101);
    for (uint64_t i = 0; i < 100; i++) {
        CHECK(node.sequences[i] == i);
    }
    CHECK(node.sequences[100] == 128); /* what was reserved (2 blocks of 64) is not used again */
    w3b_folder_close(&folder);
}

static void epochs(void)
{
    w3b_client c;
    fresh();
    c = start(10);
    then(W3B_REFUSED, "too-old", 1, 5);
    then(W3B_ACCEPTED, "", 0, 0);
    then(W3B_REFUSED, "too-old", 1, 6); /* the second message still has epoch 0 */
    then(W3B_ACCEPTED, "", 0, 0);
    then(W3B_REFUSED, "conflict", 0, 0);
    then(W3B_ACCEPTED, "", 0, 0);
    push(&c, "1"), push(&c, "2");
    run(&c);
    push(&c, "3");
    run(&c);
    CHECK(node.sequences[0] == (uint64_t)5 << 32 && node.sequences[1] == (uint64_t)6 << 32);
    CHECK(node.sequences[2] == (uint64_t)7 << 32);
    CHECK(memcmp(node.bodies[0], node.bodies[1], node.lens[0]) != 0);
    w3b_folder_close(&folder);
    c = start(10);
    CHECK(c.epoch == 7); /* the epoch is kept */
    memset(&node, 0, sizeof node);
    then(W3B_REFUSED, "conflict", 0, 0);
    push(&c, "4");
    run(&c);
    CHECK(node.sent == 5 && node.refused == 1); /* two devices with one key do not fight for ever */
    memset(&node, 0, sizeof node);
    then(W3B_REFUSED, "too-old", 1, UINT32_MAX);
    then(W3B_REFUSED, "conflict", 0, 0);
    push(&c, "5");
    run(&c);
    CHECK(node.refused == 1 && strcmp(node.codes[0], "conflict") == 0); /* no epoch is left */
    w3b_folder_close(&folder);
}

static void full(void)
{
    w3b_client c;
    fresh();
    c = start(2);
    CHECK(push(&c, "1") == W3B_OK && push(&c, "2") == W3B_OK && push(&c, "3") == W3B_FULL && push(&c, "3") == W3B_FULL);
    c.drop_oldest = 1;
    CHECK(push(&c, "3") == W3B_OK && node.refused == 1 && strcmp(node.codes[0], "dropped") == 0);
    then(W3B_ACCEPTED, "", 0, 0);
    run(&c);
    CHECK(node.accepted == 2 && node.sequences[0] == 1 && node.sequences[1] == 2);
    CHECK(w3b_client_push(&c, "reading", 1, record, sizeof record) == W3B_ERR_SPACE);
    w3b_folder_close(&folder);
}

static w3b_answer http(int status, const char *text)
{
    w3b_answer a;
    w3b_read_http(status, 3, text, strlen(text), &a);
    return a;
}

static w3b_answer puback(int code, const char *reason)
{
    w3b_answer a;
    w3b_read_puback(code, reason, &a);
    return a;
}

static void answers(void)
{
    static const char *const strange[] = {"", "<html>", "{", "\"", "{\"code", "{\"a\":{\"code\":\"revoked\"}}", "[\"code\"]", "\\"};
    w3b_answer a = http(409, "{\"x\": {\"next_epoch\": 9}, \"y\": \"\\\"code\", \"code\" : \"too-old\",\"next_epoch\": 7}");
    CHECK(a.kind == W3B_REFUSED && strcmp(a.code, "too-old") == 0 && a.has_next_epoch && a.next_epoch == 7);
    CHECK(http(409, "{\"code\":\"too-old\",\"next_epoch\":4294967296}").has_next_epoch == 0);
    CHECK(http(200, "{\"id\":\"0\",\"duplicate\":true}").duplicate && !http(201, "{\"duplicate\":false}").duplicate);
    a = http(503, "{\"code\":\"overloaded\"}");
    CHECK(a.kind == W3B_LATER && a.wait_ms == 3000 && strcmp(a.code, "overloaded") == 0);
    CHECK(http(500, "{\"code\":\"x\"}").kind == W3B_LATER && http(429, "{\"code\":\"x\"}").kind == W3B_LATER);
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        CHECK(http(403, strange[i]).kind == W3B_LATER); /* not the node's own word */
    }
    CHECK(puback(0, NULL).kind == W3B_ACCEPTED && puback(0x10, "x").kind == W3B_ACCEPTED);
    a = puback(0x83, "too-old: a: b; next-epoch=1; next-epoch=7");
    CHECK(a.kind == W3B_REFUSED && strcmp(a.code, "too-old") == 0 && a.has_next_epoch && a.next_epoch == 7);
    CHECK(!puback(0x83, "too-old: a; next-epoch=7x").has_next_epoch && puback(0x87, NULL).kind == W3B_REFUSED);
}

int main(void)
{
    uint8_t seed[32] = {1};
    snprintf(folder_path, sizeof folder_path, "/tmp/w3b-test-client-%ld", (long)getpid());
    CHECK(w3b_sodium_init(&key, seed, &crypto) == W3B_OK);
    retries_and_refusals();
    waits_grow();
    restarts();
    epochs();
    full();
    answers();
    fresh();
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
