// Device keys and their DIDs.

import { ed25519 } from '@noble/curves/ed25519.js'
import { p256 } from '@noble/curves/nist.js'
import { secp256k1 } from '@noble/curves/secp256k1.js'
import { b64url, base58, bigEndian, concat, utf8 } from './bytes.js'

const CURVES = { EdDSA: ed25519, ES256: p256, ES256K: secp256k1 }
const JWK_NAMES = { EdDSA: 'Ed25519', ES256: 'P-256', ES256K: 'secp256k1' }
// Multicodec prefixes of public keys, as varints.
const MULTICODEC = { EdDSA: [0xed, 0x01], ES256: [0x80, 0x24], ES256K: [0xe7, 0x01] }
const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n

/** What both kinds of keys have. `publicKey` is 32 bytes (Ed25519) or the uncompressed point, 65 bytes. */
class PublicPart {
  constructor(algorithm, publicKey) {
    this.algorithm = algorithm
    this.publicKey = publicKey
  }

  didKey() {
    let key = this.publicKey
    if (this.algorithm !== 'EdDSA') key = concat([2 + (key[64] & 1)], key.subarray(1, 33))
    return 'did:key:z' + base58(concat(MULTICODEC[this.algorithm], key))
  }

  /** Its members are in lexical order; another order would be another DID. */
  didJwk() {
    const [crv, key] = [JWK_NAMES[this.algorithm], this.publicKey]
    const jwk = this.algorithm === 'EdDSA'
      ? { crv, kty: 'OKP', x: b64url(key) }
      : { crv, kty: 'EC', x: b64url(key.subarray(1, 33)), y: b64url(key.subarray(33)) }
    return 'did:jwk:' + b64url(utf8(JSON.stringify(jwk)))
  }
}

/** A private key of 32 bytes: Ed25519 (`EdDSA`), P-256 (`ES256`) or secp256k1 (`ES256K`). */
export class Key extends PublicPart {
  #secret

  constructor(algorithm, secret) {
    const curve = CURVES[algorithm]
    if (!curve) throw new Error(`algorithm ${algorithm} is not one of ${Object.keys(CURVES).join(', ')}`)
    super(algorithm, algorithm === 'EdDSA' ? curve.getPublicKey(secret) : curve.getPublicKey(secret, false))
    this.#secret = Uint8Array.from(secret)
  }

  static generate(algorithm = 'EdDSA') {
    return new Key(algorithm, CURVES[algorithm].utils.randomSecretKey())
  }

  /** The secret, for whoever stores the key. */
  export() {
    return Uint8Array.from(this.#secret)
  }

  /** 64 bytes. ECDSA: r ‖ s over SHA-256, deterministic (RFC 6979), low s: a high one is refused on secp256k1. */
  sign(message) {
    if (this.algorithm === 'EdDSA') return ed25519.sign(message, this.#secret)
    return CURVES[this.algorithm].sign(message, this.#secret, { prehash: true, lowS: true })
  }
}

/** A key that WebCrypto keeps: Ed25519 or P-256. It can be made so that no script can read the secret, and IndexedDB
 * stores it as it is. (secp256k1 is not in WebCrypto; Ed25519 is in browsers since 2025.) */
export class WebCryptoKey extends PublicPart {
  #pair

  constructor(algorithm, publicKey, pair) {
    super(algorithm, publicKey)
    this.#pair = pair
  }

  static async generate(algorithm = 'EdDSA', extractable = false) {
    const named = { EdDSA: { name: 'Ed25519' }, ES256: { name: 'ECDSA', namedCurve: 'P-256' } }[algorithm]
    if (!named) throw new Error(`WebCrypto has no ${algorithm}; take EdDSA or ES256, or the class Key`)
    return WebCryptoKey.from(await crypto.subtle.generateKey(named, extractable, ['sign', 'verify']))
  }

  /** Of a CryptoKeyPair, such as one from IndexedDB. */
  static async from(pair) {
    const algorithm = { Ed25519: 'EdDSA', ECDSA: 'ES256' }[pair.privateKey.algorithm.name]
    if (!algorithm) throw new Error(`a key for ${pair.privateKey.algorithm.name} cannot sign messages`)
    return new WebCryptoKey(algorithm, new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey)), pair)
  }

  /** The CryptoKeyPair, for whoever stores it. */
  get pair() {
    return this.#pair
  }

  async sign(message) {
    const how = this.algorithm === 'EdDSA' ? { name: 'Ed25519' } : { name: 'ECDSA', hash: 'SHA-256' }
    const signature = new Uint8Array(await crypto.subtle.sign(how, this.#pair.privateKey, message))
    if (this.algorithm === 'EdDSA') return signature
    // Of the two signatures that verify, always the one with the low s.
    const s = signature.subarray(32).reduce((n, b) => (n << 8n) | BigInt(b), 0n)
    return s > P256_ORDER / 2n ? concat(signature.subarray(0, 32), bigEndian(P256_ORDER - s, 32)) : signature
  }
}
