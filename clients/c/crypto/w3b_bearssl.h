/* P-256 and SHA-256 by BearSSL, which allocates nothing. Signatures are deterministic (RFC 6979). */
#ifndef W3B_BEARSSL_H
#define W3B_BEARSSL_H

#include "w3b.h"

typedef struct {
    uint8_t secret[32];
    uint8_t public_key[33]; /* compressed */
    int (*random)(void *ctx, uint8_t *out, size_t len);
    void *random_ctx;
} w3b_bearssl;

/* From a secret of 32 bytes, which must be above 0 and below the curve's order. `random` is the platform's (BearSSL has
 * none for every platform); `key` must live as long as `crypto` is used. */
int w3b_bearssl_init(w3b_bearssl *key, const uint8_t secret[32], int (*random)(void *ctx, uint8_t *out, size_t len),
                     void *random_ctx, w3b_crypto *crypto);

#endif
