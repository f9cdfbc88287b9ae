#include "w3b_sodium.h"

#include <sodium.h>

static int hash(void *ctx, const w3b_bytes *parts, size_t count, uint8_t out[32])
{
    crypto_hash_sha256_state state;
    (void)ctx;
    crypto_hash_sha256_init(&state);
    for (size_t i = 0; i < count; i++) {
        crypto_hash_sha256_update(&state, parts[i].data, parts[i].len);
    }
    return crypto_hash_sha256_final(&state, out);
}

static int sign(void *ctx, const uint8_t *message, size_t len, uint8_t signature[64])
{
    return crypto_sign_detached(signature, NULL, message, len, ((w3b_sodium *)ctx)->secret);
}

static int random_bytes(void *ctx, uint8_t *out, size_t len)
{
    (void)ctx;
    randombytes_buf(out, len);
    return 0;
}

int w3b_sodium_init(w3b_sodium *key, const uint8_t seed[32], w3b_crypto *crypto)
{
    if (sodium_init() < 0 || crypto_sign_seed_keypair(key->public_key, key->secret, seed) != 0) {
        return W3B_ERR_CRYPTO;
    }
    crypto->algorithm = W3B_EDDSA;
    crypto->sha256 = hash;
    crypto->sign = sign;
    crypto->random = random_bytes;
    crypto->ctx = key;
    return W3B_OK;
}
