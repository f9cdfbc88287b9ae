/* Messages of W3bstream devices: what is signed and what travels (docs/devices.md, forms 1 and 2).
 *
 * C99, no allocation, no global state, no input or output: everything goes into buffers of the caller. Functions return
 * W3B_OK or a negative code. Texts are UTF-8 and end with a zero byte. */
#ifndef W3B_H
#define W3B_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    W3B_OK = 0,
    W3B_EMPTY = 1,       /* nothing waits */
    W3B_FULL = 2,        /* the queue takes no more */
    W3B_ERR_SPACE = -1,  /* a buffer of the caller is too small */
    W3B_ERR_INPUT = -2,  /* a parameter is not what it must be */
    W3B_ERR_CRYPTO = -3, /* the crypto interface reported a failure */
    W3B_ERR_STORE = -4,  /* the store reported a failure; nothing of it counts */
    W3B_ERR_EPOCHS = -5  /* all boot epochs are used up: the device needs a new key */
};

typedef enum { W3B_EDDSA, W3B_ES256 } w3b_algorithm;

/* Bytes that somebody else owns. */
typedef struct {
    const uint8_t *data;
    size_t len;
} w3b_bytes;

/* The cryptography, which can be a library's or an accelerator's. Each function returns 0, or else the message is not
 * made. `sha256` is over all parts, one after the other. `sign` gets the message itself: Ed25519 signs it, P-256 signs
 * its SHA-256 and gives r and s, each as 32 bytes big-endian. `random` must be fit for keys. */
typedef struct {
    w3b_algorithm algorithm;
    int (*sha256)(void *ctx, const w3b_bytes *parts, size_t count, uint8_t out[32]);
    int (*sign)(void *ctx, const uint8_t *message, size_t len, uint8_t signature[64]);
    int (*random)(void *ctx, uint8_t *out, size_t len);
    void *ctx;
} w3b_crypto;

/* One message. `key` is the DID URL of the signing key, `type` is [a-z0-9-]{1,63}, `sequence` is boot epoch * 2^32 +
 * counter, `time` is in milliseconds since 1970 or 0 without a clock, `salt` is 16 random bytes never used twice. */
typedef struct {
    const uint8_t *audience; /* 32 bytes: the project's id */
    const char *key;
    const char *type;
    uint64_t sequence;
    uint64_t time;
    const uint8_t *salt; /* 16 bytes */
    w3b_bytes payload;
} w3b_message;

/* Room for everything around the payload of an envelope, if the key's DID URL has `key` bytes. */
#define W3B_ENVELOPE_OVERHEAD(key) (250u + (size_t)(key))
/* Room for a compact JWS of a payload of `payload` bytes. */
#define W3B_JWS_SIZE(key, payload) (500u + 2u * (size_t)(key) + 2u * (size_t)(payload))
/* Room for a did:key, and for the DID URL of its key. */
#define W3B_DID_KEY_SIZE 72u
#define W3B_KEY_ID_SIZE 128u

/* H("w3b/project/1", owner's DID, project's name). */
int w3b_project_id(const w3b_crypto *crypto, const char *owner, const char *project, uint8_t out[32]);

/* The did:key of a public key: 32 bytes (Ed25519), or the compressed point, 33 bytes (P-256). */
int w3b_did_key(w3b_algorithm algorithm, const uint8_t *public_key, char *out, size_t cap);

/* The DID URL of a DID's only key: did:key:X#X, did:jwk:X#0. */
int w3b_key_id(const char *did, char *out, size_t cap);

/* The bytes that an envelope's signature is over. */
int w3b_signing_input(const w3b_crypto *crypto, const w3b_message *message, uint8_t *out, size_t cap, size_t *len);

/* The protobuf envelope, and the message's id (which does not contain the signature). `out` holds the signing input
 * while it is signed, and must not overlap the payload. */
int w3b_envelope(const w3b_crypto *crypto, const w3b_message *message, uint8_t *out, size_t cap, size_t *len,
                 uint8_t id[32]);

/* The compact JWS, and the message's id. The time is cut to seconds, and the salt is not used. */
int w3b_jws(const w3b_crypto *crypto, const w3b_message *message, uint8_t *out, size_t cap, size_t *len, uint8_t id[32]);

#ifdef __cplusplus
}
#endif
#endif
