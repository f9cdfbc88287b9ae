/* Reads one message a line and prints what becomes of it, both in hex; tests/vectors.py compares. */
#include "w3b_bearssl.h"
#include "w3b_sodium.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int no_random(void *ctx, uint8_t *out, size_t len)
{
    (void)ctx, (void)out, (void)len;
    return -1;
}

static size_t unhex(const char *text, uint8_t *out)
{
    size_t len = strlen(text) / 2;
    for (size_t i = 0; i < len; i++) {
        unsigned byte;
        if (sscanf(text + 2 * i, "%2x", &byte) != 1) {
            exit(2);
        }
        out[i] = (uint8_t)byte;
    }
    return len;
}

static void hex(const char *name, const uint8_t *data, size_t len)
{
    printf("%s ", name);
    for (size_t i = 0; i < len; i++) {
        printf("%02x", data[i]);
    }
    printf("\n");
}

/* Nothing is written behind a buffer that is too small, and each size below the right one is refused. */
static int too_small(const w3b_crypto *crypto, const w3b_message *m, size_t envelope, size_t jws)
{
    uint8_t id[32];
    size_t len;
    int wrong = 0;
    for (size_t size = 0; size < envelope; size++) {
        uint8_t *out = malloc(size ? size : 1); /* the address sanitizer sees a byte behind it */
        wrong += w3b_envelope(crypto, m, out, size, &len, id) != W3B_ERR_SPACE;
        free(out);
    }
    for (size_t size = 0; size < jws; size += 7) {
        uint8_t *out = malloc(size ? size : 1);
        wrong += w3b_jws(crypto, m, out, size, &len, id) != W3B_ERR_SPACE;
        free(out);
    }
    return wrong;
}

int main(void)
{
    static char algorithm[16], secret[80], owner[200], project[64], type[64], payload[4096], did[512], salt[40];
    static uint8_t bytes[2048], out[4096], jws[8192];
    char made[W3B_DID_KEY_SIZE], key[1024];
    unsigned long long sequence, time;
    uint8_t seed[32], audience[32], salt_bytes[16], id[32], signature[64];
    size_t len, jws_len;
    while (scanf("%15s %79s %199s %63s %63s %llu %llu %39s %511s %4095s", algorithm, secret, owner, project, type, &sequence,
                 &time, salt, did, payload) == 10) {
        w3b_crypto crypto;
        w3b_sodium sodium;
        w3b_bearssl bearssl;
        w3b_message m;
        int ed = strcmp(algorithm, "EdDSA") == 0;
        unhex(secret, seed);
        if ((ed ? w3b_sodium_init(&sodium, seed, &crypto) : w3b_bearssl_init(&bearssl, seed, no_random, NULL, &crypto))
            || w3b_did_key(crypto.algorithm, ed ? sodium.public_key : bearssl.public_key, made, sizeof made)
            || w3b_key_id(did, key, sizeof key) || w3b_project_id(&crypto, owner, project, audience)) {
            return 1;
        }
        unhex(salt, salt_bytes);
        m.audience = audience;
        m.key = key;
        m.type = type;
        m.sequence = sequence;
        m.time = time;
        m.salt = salt_bytes;
        m.payload.data = bytes;
        m.payload.len = strcmp(payload, "-") == 0 ? 0 : unhex(payload, bytes);
        printf("did_key %s\nkey %s\n", made, key);
        hex("audience", audience, 32);
        if (w3b_signing_input(&crypto, &m, out, sizeof out, &len)) {
            return 1;
        }
        hex("signing_input", out, len);
        if (crypto.sign(crypto.ctx, out, len, signature)) {
            return 1;
        }
        hex("signature", signature, 64);
        if (w3b_envelope(&crypto, &m, out, sizeof out, &len, id) || len > W3B_ENVELOPE_OVERHEAD(strlen(key)) + m.payload.len) {
            return 1;
        }
        hex("envelope", out, len);
        hex("id", id, 32);
        if (w3b_jws(&crypto, &m, jws, sizeof jws, &jws_len, id) || jws_len > W3B_JWS_SIZE(strlen(key), m.payload.len)) {
            return 1;
        }
        printf("jws %.*s\n", (int)jws_len, (const char *)jws);
        hex("jws_id", id, 32);
        if (too_small(&crypto, &m, len, jws_len)) {
            fprintf(stderr, "a buffer that is too small was not refused\n");
            return 1;
        }
        m.type = "Upper";
        if (w3b_envelope(&crypto, &m, out, sizeof out, &len, id) != W3B_ERR_INPUT) {
            return 1;
        }
        printf("end .\n");
    }
    return 0;
}
