#include "w3b_bearssl.h"

#include <bearssl.h>
#include <string.h>

static int hash(void *ctx, const w3b_bytes *parts, size_t count, uint8_t out[32])
{
    br_sha256_context state;
    (void)ctx;
    br_sha256_init(&state);
    for (size_t i = 0; i < count; i++) {
        br_sha256_update(&state, parts[i].data, parts[i].len);
    }
    br_sha256_out(&state, out);
    return 0;
}

static br_ec_private_key private_key(w3b_bearssl *key)
{
    br_ec_private_key secret;
    secret.curve = BR_EC_secp256r1;
    secret.x = key->secret;
    secret.xlen = sizeof key->secret;
    return secret;
}

/* Of the two signatures that verify, always the one with the low s. A signature is public: this need not take the same
 * time for each. */
static void make_low(uint8_t s[32])
{
    static const uint8_t order[32] = {0xff, 0xff, 0xff, 0xff, 0,    0,    0,    0,    0xff, 0xff, 0xff,
                                      0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17,
                                      0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};
    uint8_t other[32];
    int borrow = 0;
    for (int i = 31; i >= 0; i--) {
        int difference = order[i] - s[i] - borrow;
        borrow = difference < 0;
        other[i] = (uint8_t)(difference & 0xff);
    }
    if (memcmp(other, s, 32) < 0) {
        memcpy(s, other, 32);
    }
}

static int sign(void *ctx, const uint8_t *message, size_t len, uint8_t signature[64])
{
    uint8_t digest[32];
    br_ec_private_key secret = private_key(ctx);
    w3b_bytes part;
    part.data = message;
    part.len = len;
    (void)hash(NULL, &part, 1, digest);
    if (br_ecdsa_sign_raw_get_default()(br_ec_get_default(), &br_sha256_vtable, digest, &secret, signature) != 64) {
        return -1;
    }
    make_low(signature + 32);
    return 0;
}

static int random_bytes(void *ctx, uint8_t *out, size_t len)
{
    w3b_bearssl *key = ctx;
    return key->random(key->random_ctx, out, len);
}

int w3b_bearssl_init(w3b_bearssl *key, const uint8_t secret[32], int (*random)(void *ctx, uint8_t *out, size_t len),
                     void *random_ctx, w3b_crypto *crypto)
{
    uint8_t point[BR_EC_KBUF_PUB_MAX_SIZE];
    br_ec_private_key private;
    memcpy(key->secret, secret, 32);
    private = private_key(key);
    if (br_ec_compute_pub(br_ec_get_default(), NULL, point, &private) != 65) {
        return W3B_ERR_CRYPTO;
    }
    key->public_key[0] = (uint8_t)(2 + (point[64] & 1));
    memcpy(key->public_key + 1, point + 1, 32);
    key->random = random;
    key->random_ctx = random_ctx;
    crypto->algorithm = W3B_ES256;
    crypto->sha256 = hash;
    crypto->sign = sign;
    crypto->random = random_bytes;
    crypto->ctx = key;
    return W3B_OK;
}
