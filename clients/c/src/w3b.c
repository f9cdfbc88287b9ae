#include "w3b.h"

#include <string.h>

/* Where bytes are written. What does not fit is counted and not written. */
typedef struct {
    uint8_t *out;
    size_t cap;
    size_t len;
} sink;

static void put(sink *s, const void *data, size_t len)
{
    if (len && s->len <= s->cap && len <= s->cap - s->len) {
        memcpy(s->out + s->len, data, len);
    }
    s->len += len;
}

static void put_byte(sink *s, uint8_t byte)
{
    put(s, &byte, 1);
}

static void big_endian(uint64_t n, uint8_t *out, size_t size)
{
    while (size--) {
        out[size] = (uint8_t)n;
        n >>= 8;
    }
}

/* H(tag, a, b): SHA-256 over each behind its length as 8 bytes. */
static int tagged(const w3b_crypto *crypto, const char *tag, w3b_bytes a, const w3b_bytes *b, uint8_t out[32])
{
    uint8_t lengths[3][8];
    w3b_bytes parts[6];
    size_t count = b ? 3 : 2;
    w3b_bytes given[3];
    given[0].data = (const uint8_t *)tag;
    given[0].len = strlen(tag);
    given[1] = a;
    given[2] = b ? *b : a;
    for (size_t i = 0; i < count; i++) {
        big_endian(given[i].len, lengths[i], 8);
        parts[2 * i].data = lengths[i];
        parts[2 * i].len = 8;
        parts[2 * i + 1] = given[i];
    }
    return crypto->sha256(crypto->ctx, parts, 2 * count, out) ? W3B_ERR_CRYPTO : W3B_OK;
}

static w3b_bytes text_bytes(const char *text)
{
    w3b_bytes b;
    b.data = (const uint8_t *)text;
    b.len = strlen(text);
    return b;
}

int w3b_project_id(const w3b_crypto *crypto, const char *owner, const char *project, uint8_t out[32])
{
    w3b_bytes name = text_bytes(project);
    return tagged(crypto, "w3b/project/1", text_bytes(owner), &name, out);
}

int w3b_did_key(w3b_algorithm algorithm, const uint8_t *public_key, char *out, size_t cap)
{
    static const char alphabet[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    /* Multicodec prefixes, as varints. */
    static const uint8_t prefixes[2][2] = {{0xed, 0x01}, {0x80, 0x24}};
    uint8_t number[35];
    uint8_t digits[50];
    size_t size = algorithm == W3B_EDDSA ? 34 : 35;
    size_t count = 0;
    memcpy(number, prefixes[algorithm == W3B_EDDSA ? 0 : 1], 2);
    memcpy(number + 2, public_key, size - 2);
    /* Base 58, the lowest digit first. The prefix is not zero, so that no leading zeros are to be kept. */
    for (size_t from = 0; from < size;) {
        unsigned rest = 0;
        for (size_t i = from; i < size; i++) {
            unsigned value = rest << 8 | number[i];
            number[i] = (uint8_t)(value / 58);
            rest = value % 58;
        }
        digits[count++] = (uint8_t)rest;
        while (from < size && number[from] == 0) {
            from++;
        }
    }
    if (cap < 9 + count + 1) {
        return W3B_ERR_SPACE;
    }
    memcpy(out, "did:key:z", 9);
    for (size_t i = 0; i < count; i++) {
        out[9 + i] = alphabet[digits[count - 1 - i]];
    }
    out[9 + count] = 0;
    return W3B_OK;
}

int w3b_key_id(const char *did, char *out, size_t cap)
{
    size_t len = strlen(did);
    const char *fragment = strncmp(did, "did:key:", 8) == 0 ? did + 8 : "0";
    if (cap < len + 1 + strlen(fragment) + 1) {
        return W3B_ERR_SPACE;
    }
    memcpy(out, did, len);
    out[len] = '#';
    memcpy(out + len + 1, fragment, strlen(fragment) + 1);
    return W3B_OK;
}

static int check(const w3b_message *m)
{
    size_t len = strlen(m->type);
    if (len < 1 || len > 63) {
        return W3B_ERR_INPUT;
    }
    for (size_t i = 0; i < len; i++) {
        char c = m->type[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) {
            return W3B_ERR_INPUT;
        }
    }
    /* No DID has what a JSON text would have to escape. */
    for (const char *c = m->key; *c; c++) {
        if (*c <= ' ' || *c > '~' || *c == '"' || *c == '\\') {
            return W3B_ERR_INPUT;
        }
    }
    return W3B_OK;
}

/* The shortest head of a CBOR item (RFC 8949). */
static void cbor_head(sink *s, unsigned major, uint64_t n)
{
    uint8_t bytes[9];
    size_t size = n < 24 ? 0 : n < 1u << 8 ? 1 : n < 1u << 16 ? 2 : n <= UINT32_MAX ? 4 : 8;
    static const uint8_t codes[9] = {0, 24, 25, 0, 26, 0, 0, 0, 27};
    bytes[0] = (uint8_t)(major << 5 | (size ? codes[size] : (uint8_t)n));
    big_endian(n, bytes + 1, size);
    put(s, bytes, 1 + size);
}

static void cbor_text(sink *s, const char *text)
{
    cbor_head(s, 3, strlen(text));
    put(s, text, strlen(text));
}

static void cbor_digest(sink *s, const uint8_t *digest)
{
    cbor_head(s, 2, 32);
    put(s, digest, 32);
}

int w3b_signing_input(const w3b_crypto *crypto, const w3b_message *m, uint8_t *out, size_t cap, size_t *len)
{
    sink s = {out, cap, 0};
    uint8_t digest[32];
    w3b_bytes salt;
    int error = check(m);
    if (error) {
        return error;
    }
    salt.data = m->salt;
    salt.len = 16;
    error = tagged(crypto, "w3b/payload/1", salt, &m->payload, digest);
    if (error) {
        return error;
    }
    cbor_head(&s, 4, 8);
    cbor_text(&s, "w3b/message");
    cbor_head(&s, 0, 1);
    cbor_digest(&s, m->audience);
    cbor_text(&s, m->key);
    cbor_text(&s, m->type);
    cbor_head(&s, 0, m->sequence);
    cbor_head(&s, 0, m->time);
    cbor_digest(&s, digest);
    *len = s.len;
    return s.len > cap ? W3B_ERR_SPACE : W3B_OK;
}

/* The id and the signature of what stands in `s`. */
static int seal(const w3b_crypto *crypto, const sink *s, uint8_t signature[64], uint8_t id[32])
{
    w3b_bytes signed_bytes;
    int error;
    if (s->len > s->cap) {
        return W3B_ERR_SPACE;
    }
    signed_bytes.data = s->out;
    signed_bytes.len = s->len;
    error = tagged(crypto, "w3b/message/1", signed_bytes, NULL, id);
    if (error) {
        return error;
    }
    return crypto->sign(crypto->ctx, s->out, s->len, signature) ? W3B_ERR_CRYPTO : W3B_OK;
}

static void varint(sink *s, uint64_t n)
{
    for (; n > 0x7f; n >>= 7) {
        put_byte(s, (uint8_t)(n | 0x80));
    }
    put_byte(s, (uint8_t)n);
}

static void field_number(sink *s, unsigned field, uint64_t n)
{
    if (n) {
        varint(s, field << 3);
        varint(s, n);
    }
}

static void field_bytes(sink *s, unsigned field, const void *data, size_t len)
{
    if (len) {
        varint(s, field << 3 | 2);
        varint(s, len);
        put(s, data, len);
    }
}

int w3b_envelope(const w3b_crypto *crypto, const w3b_message *m, uint8_t *out, size_t cap, size_t *len, uint8_t id[32])
{
    /* What is signed is shorter than the envelope, so that it fits in the same place before it. */
    sink s = {out, cap, 0};
    uint8_t signature[64];
    int error = w3b_signing_input(crypto, m, out, cap, &s.len);
    if (!error) {
        error = seal(crypto, &s, signature, id);
    }
    if (error) {
        return error;
    }
    s.len = 0;
    field_number(&s, 1, 1);
    field_bytes(&s, 2, m->audience, 32);
    field_bytes(&s, 3, m->key, strlen(m->key));
    field_bytes(&s, 4, m->type, strlen(m->type));
    field_number(&s, 5, m->sequence);
    field_number(&s, 6, m->time);
    field_bytes(&s, 7, m->salt, 16);
    field_bytes(&s, 8, m->payload.data, m->payload.len);
    field_bytes(&s, 9, signature, 64);
    *len = s.len;
    return s.len > cap ? W3B_ERR_SPACE : W3B_OK;
}

/* Base64url without padding (RFC 7515), into a sink or into another one of its kind. */
typedef struct b64 {
    sink *s;
    struct b64 *outer;
    uint32_t bits;
    unsigned count;
} b64;

static void b64_put(b64 *e, const void *data, size_t len);

static void b64_digit(b64 *e, unsigned value)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if (e->outer) {
        b64_put(e->outer, &alphabet[value & 63], 1);
    } else {
        put(e->s, &alphabet[value & 63], 1);
    }
}

static void b64_put(b64 *e, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < len; i++) {
        e->bits = e->bits << 8 | bytes[i];
        if (++e->count == 3) {
            for (unsigned shift = 24; shift; shift -= 6) {
                b64_digit(e, e->bits >> (shift - 6));
            }
            e->bits = 0;
            e->count = 0;
        }
    }
}

static void b64_end(b64 *e)
{
    uint32_t bits = e->bits << (24 - 8 * e->count);
    for (unsigned i = 0; e->count && i <= e->count; i++) {
        b64_digit(e, bits >> (18 - 6 * i));
    }
    e->bits = 0;
    e->count = 0;
}

static void b64_text(b64 *e, const char *text)
{
    b64_put(e, text, strlen(text));
}

static void b64_decimal(b64 *e, uint64_t n)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    b64_put(e, digits + at, sizeof digits - at);
}

static void b64_hex(b64 *e, const uint8_t *bytes, size_t len)
{
    static const char alphabet[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        b64_put(e, &alphabet[bytes[i] >> 4], 1);
        b64_put(e, &alphabet[bytes[i] & 15], 1);
    }
}

int w3b_jws(const w3b_crypto *crypto, const w3b_message *m, uint8_t *out, size_t cap, size_t *len, uint8_t id[32])
{
    sink s = {out, cap, 0};
    b64 part = {&s, NULL, 0, 0};
    b64 data = {&s, &part, 0, 0};
    uint8_t signature[64];
    int error = check(m);
    if (error) {
        return error;
    }
    b64_text(&part, crypto->algorithm == W3B_EDDSA ? "{\"alg\":\"EdDSA\",\"kid\":\"" : "{\"alg\":\"ES256\",\"kid\":\"");
    b64_text(&part, m->key);
    b64_text(&part, "\",\"typ\":\"w3b+jws\"}");
    b64_end(&part);
    put_byte(&s, '.');
    b64_text(&part, "{\"aud\":\"");
    b64_hex(&part, m->audience, 32);
    b64_text(&part, "\",\"data\":\"");
    b64_put(&data, m->payload.data, m->payload.len);
    b64_end(&data);
    b64_text(&part, "\",\"iat\":");
    b64_decimal(&part, m->time / 1000);
    b64_text(&part, ",\"seq\":\"");
    b64_decimal(&part, m->sequence);
    b64_text(&part, "\",\"type\":\"");
    b64_text(&part, m->type);
    b64_text(&part, "\"}");
    b64_end(&part);
    error = seal(crypto, &s, signature, id);
    if (error) {
        return error;
    }
    put_byte(&s, '.');
    b64_put(&part, signature, 64);
    b64_end(&part);
    *len = s.len;
    return s.len > cap ? W3B_ERR_SPACE : W3B_OK;
}
