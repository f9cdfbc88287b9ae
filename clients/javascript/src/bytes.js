// Bytes and texts.

import { sha256 } from '@noble/hashes/sha2.js'

const BASE58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'

export const utf8 = (text) => new TextEncoder().encode(text)

export const hex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('')

export function unhex(text) {
  if (!/^([0-9a-f]{2})*$/.test(text)) throw new Error('not hex digits')
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16))
}

export function concat(...parts) {
  const out = new Uint8Array(parts.reduce((n, part) => n + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** Base64 with the alphabet of URLs and without padding (RFC 7515). */
export function b64url(bytes) {
  let text = ''
  // In pieces: the arguments of a call are limited.
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192))
  return btoa(text).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}

export function unb64url(text) {
  return Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0))
}

export function base58(bytes) {
  let number = bytes.length ? BigInt('0x' + hex(bytes)) : 0n
  let text = ''
  for (; number; number /= 58n) text = BASE58[Number(number % 58n)] + text
  const zeros = bytes.findIndex((b) => b !== 0)
  return '1'.repeat(zeros < 0 ? bytes.length : zeros) + text
}

/** A number as so many bytes, big-endian. */
export function bigEndian(number, size) {
  const out = new Uint8Array(size)
  let left = BigInt(number)
  for (let at = size - 1; at >= 0; at--, left >>= 8n) out[at] = Number(left & 0xffn)
  return out
}

/** H(tag, parts…): SHA-256 over each part behind its length as 8 bytes. */
export function tagged(tag, ...parts) {
  const h = sha256.create()
  for (const part of [utf8(tag), ...parts]) h.update(bigEndian(part.length, 8)).update(part)
  return h.digest()
}
