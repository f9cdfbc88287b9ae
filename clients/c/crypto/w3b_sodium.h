/* Ed25519 and SHA-256 by libsodium. */
#ifndef W3B_SODIUM_H
#define W3B_SODIUM_H

#include "w3b.h"

typedef struct {
    uint8_t secret[64];
    uint8_t public_key[32];
} w3b_sodium;

/* From a seed of 32 bytes. `key` must live as long as what `crypto` is used. */
int w3b_sodium_init(w3b_sodium *key, const uint8_t seed[32], w3b_crypto *crypto);

#endif
