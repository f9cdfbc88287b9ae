// What is signed and what travels: docs/devices.md, forms 1 and 2.
//
// A message is { audience, key, type, sequence, time, salt, payload }: audience 32 bytes, key a DID URL, sequence and
// time (milliseconds, 0 without a clock) BigInts, salt 16 random bytes that are never used twice, payload bytes.

import { b64url, bigEndian, concat, hex, tagged, utf8 } from './bytes.js'

/** The audience of a project: 32 bytes. */
export const projectId = (owner, project) => tagged('w3b/project/1', utf8(owner), utf8(project))

/** The DID URL of a DID's only key. */
export const keyId = (did) => `${did}#${did.startsWith('did:key:') ? did.slice('did:key:'.length) : '0'}`

/** The shortest head of a CBOR item (RFC 8949). */
function head(major, n) {
  n = BigInt(n)
  if (n < 24n) return new Uint8Array([(major << 5) | Number(n)])
  const size = [1, 2, 4, 8].find((bytes) => n < 1n << BigInt(8 * bytes))
  if (!size) throw new Error('a number has at most 64 bits')
  return concat([(major << 5) | (24 + Math.log2(size))], bigEndian(n, size))
}

const text = (value) => concat(head(3, utf8(value).length), utf8(value))
const bytes = (value) => concat(head(2, value.length), value)

/** The bytes that an envelope's signature is over. */
export function signingInput(m) {
  if (!/^[a-z0-9-]{1,63}$/.test(m.type)) throw new Error(`the event type ${JSON.stringify(m.type)} is not [a-z0-9-]{1,63}`)
  if (m.audience.length !== 32 || m.salt.length !== 16) throw new Error('an audience has 32 bytes and a salt 16')
  const digest = tagged('w3b/payload/1', m.salt, m.payload)
  return concat(
    head(4, 8), text('w3b/message'), head(0, 1), bytes(m.audience), text(m.key), text(m.type),
    head(0, m.sequence), head(0, m.time), bytes(digest),
  )
}

function varint(n) {
  const out = []
  for (n = BigInt(n); n > 0x7fn; n >>= 7n) out.push(Number(n & 0x7fn) | 0x80)
  return new Uint8Array([...out, Number(n)])
}

/** { body, id }: the protobuf envelope, and the message's id in hex. */
export async function envelope(key, m) {
  const signed = signingInput(m)
  const fields = [
    1n, m.audience, utf8(m.key), utf8(m.type), BigInt(m.sequence), BigInt(m.time), m.salt, m.payload, await key.sign(signed),
  ]
  const out = []
  fields.forEach((value, place) => {
    const number = place + 1
    if (typeof value === 'bigint') {
      if (value) out.push(varint(number << 3), varint(value))
    } else if (value.length) {
      out.push(varint((number << 3) | 2), varint(value.length), value)
    }
  })
  return { body: concat(...out), id: hex(tagged('w3b/message/1', signed)) }
}

/** { body, id }: the compact JWS, and the message's id in hex. The time is cut to seconds; the salt is not used. */
export async function jws(key, m) {
  signingInput(m) // checks the members
  const header = { alg: key.algorithm, kid: m.key, typ: 'w3b+jws' }
  const claims = {
    aud: hex(m.audience), data: b64url(m.payload), iat: Number(BigInt(m.time) / 1000n), seq: String(m.sequence), type: m.type,
  }
  const signed = [header, claims].map((part) => b64url(utf8(JSON.stringify(part)))).join('.')
  const body = utf8(`${signed}.${b64url(await key.sign(utf8(signed)))}`)
  return { body, id: hex(tagged('w3b/message/1', utf8(signed))) }
}
