#!/usr/bin/env node
// A device in JavaScript: makes a key, signs messages, sends them over HTTP. Needs Node.js 20 or newer and nothing else.
//
//   device.mjs new device.json [--algorithm EdDSA|ES256|ES256K]
//   device.mjs send device.json --url http://127.0.0.1:8889 --owner DID --project NAME --type TYPE DATA
//   device.mjs vectors < inputs.json     # computes docs/devices.md's vectors from their inputs
//
// docs/devices.md explains each step.

import { createECDH, createHash, createPrivateKey, createPublicKey, randomBytes, sign, verify } from 'node:crypto'
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { parseArgs } from 'node:util'

const CURVES = {
  ES256: { name: 'P-256', ecdh: 'prime256v1', order: 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n },
  ES256K: { name: 'secp256k1', ecdh: 'secp256k1', order: 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n },
}
const MULTICODEC = { EdDSA: [0xed, 0x01], ES256: [0x80, 0x24], ES256K: [0xe7, 0x01] }

const hex = (bytes) => Buffer.from(bytes).toString('hex')
const unhex = (text) => Buffer.from(text, 'hex')
const b64url = (bytes) => Buffer.from(bytes).toString('base64url')
const u64 = (n) => { const b = Buffer.alloc(8); b.writeBigUInt64BE(BigInt(n)); return b }

/** H(tag, parts…): SHA-256 over each part behind its length. */
function tagged(tag, ...parts) {
  const hash = createHash('sha256')
  for (const part of [Buffer.from(tag), ...parts.map((p) => Buffer.from(p))]) hash.update(u64(part.length)).update(part)
  return hash.digest()
}

function base58(bytes) {
  const alphabet = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
  let number = BigInt('0x' + hex(bytes))
  let text = ''
  for (; number > 0n; number /= 58n) text = alphabet[Number(number % 58n)] + text
  for (const byte of bytes) {
    if (byte !== 0) break
    text = '1' + text
  }
  return text
}

/** A private key and its two DIDs. */
class Key {
  constructor(algorithm, secret) {
    this.algorithm = algorithm
    if (algorithm === 'EdDSA') {
      // PKCS #8 around the 32 bytes (RFC 8410).
      const der = Buffer.concat([unhex('302e020100300506032b657004220420'), secret])
      this.secret = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
      this.public = createPublicKey(this.secret)
      const { x } = this.public.export({ format: 'jwk' })
      this.jwk = { crv: 'Ed25519', kty: 'OKP', x }
      this.raw = Buffer.from(x, 'base64url')
    } else {
      const ecdh = createECDH(CURVES[algorithm].ecdh)
      ecdh.setPrivateKey(secret)
      const point = ecdh.getPublicKey()
      const [x, y] = [point.subarray(1, 33), point.subarray(33)].map(b64url)
      this.jwk = { crv: CURVES[algorithm].name, kty: 'EC', x, y }
      this.secret = createPrivateKey({ key: { ...this.jwk, d: b64url(secret) }, format: 'jwk' })
      this.public = createPublicKey(this.secret)
      this.raw = ecdh.getPublicKey(null, 'compressed')
    }
  }

  sign(message) {
    if (this.algorithm === 'EdDSA') return sign(null, message, this.secret)
    const signature = sign('sha256', message, { key: this.secret, dsaEncoding: 'ieee-p1363' })
    // A high s is refused on secp256k1, and half of all signatures have one.
    const { order } = CURVES[this.algorithm]
    const s = BigInt('0x' + hex(signature.subarray(32)))
    if (s > order / 2n) signature.write((order - s).toString(16).padStart(64, '0'), 32, 'hex')
    return signature
  }

  verify(message, signature) {
    if (this.algorithm === 'EdDSA') return verify(null, message, this.public, signature)
    return verify('sha256', message, { key: this.public, dsaEncoding: 'ieee-p1363' }, signature)
  }

  didKey() {
    return 'did:key:z' + base58(Buffer.concat([Buffer.from(MULTICODEC[this.algorithm]), this.raw]))
  }

  didJwk() {
    return 'did:jwk:' + b64url(JSON.stringify(this.jwk))
  }
}

const keyId = (did) => did + '#' + (did.startsWith('did:key:') ? did.slice('did:key:'.length) : '0')
const projectId = (owner, project) => tagged('w3b/project/1', owner, project)

/** The shortest head of a CBOR item. */
function cborHead(major, n) {
  n = BigInt(n)
  if (n < 24n) return Buffer.from([(major << 5) | Number(n)])
  const code = n < 1n << 8n ? 24 : n < 1n << 16n ? 25 : n < 1n << 32n ? 26 : 27
  return Buffer.concat([Buffer.from([(major << 5) | code]), u64(n).subarray(8 - (1 << (code - 24)))])
}

function cbor(item) {
  if (typeof item === 'bigint') return cborHead(0, item)
  if (Array.isArray(item)) return Buffer.concat([cborHead(4, item.length), ...item.map(cbor)])
  const bytes = Buffer.from(item)
  return Buffer.concat([cborHead(typeof item === 'string' ? 3 : 2, bytes.length), bytes])
}

function signingInput(m) {
  const digest = tagged('w3b/payload/1', m.salt, m.payload)
  return cbor(['w3b/message', 1n, m.audience, m.key, m.type, m.sequence, m.time, digest])
}

function varint(n) {
  const out = []
  for (n = BigInt(n); n > 0x7fn; n >>= 7n) out.push(Number(n & 0x7fn) | 0x80)
  return Buffer.from([...out, Number(n)])
}

function protobuf(m, signature) {
  const fields = [1n, m.audience, m.key, m.type, m.sequence, m.time, m.salt, m.payload, signature]
  return Buffer.concat(fields.flatMap((value, at) => {
    const number = at + 1
    if (typeof value === 'bigint') return value === 0n ? [] : [varint(number << 3), varint(value)]
    const bytes = Buffer.from(value)
    return bytes.length === 0 ? [] : [varint((number << 3) | 2), varint(bytes.length), bytes]
  }))
}

function jwsInput(key, m) {
  const header = { alg: key.algorithm, kid: m.key, typ: 'w3b+jws' }
  const claims = { aud: hex(m.audience), data: b64url(m.payload), iat: Number(m.time / 1000n), seq: String(m.sequence), type: m.type }
  return b64url(JSON.stringify(header)) + '.' + b64url(JSON.stringify(claims))
}

function jws(key, m) {
  const input = jwsInput(key, m)
  return input + '.' + b64url(key.sign(Buffer.from(input)))
}

/** Node.js signs ECDSA with random nonces. So the vector's own signatures are checked and taken over. */
function signatureFor(key, input, written) {
  const own = key.sign(input)
  if (!key.verify(input, own)) throw new Error('the own signature does not verify')
  if (key.algorithm === 'EdDSA') return own
  if (!key.verify(input, written)) throw new Error('the written signature does not verify')
  return written
}

function vector(given) {
  const key = new Key(given.algorithm, unhex(given.secret_key))
  const did = given.did.startsWith('did:jwk:') ? key.didJwk() : key.didKey()
  const m = {
    audience: projectId(given.owner, given.project), key: keyId(did), type: given.type,
    sequence: BigInt(given.sequence), time: BigInt(given.time), salt: unhex(given.salt), payload: unhex(given.payload),
  }
  const signed = signingInput(m)
  const signature = signatureFor(key, signed, unhex(given.signature))
  const text = jwsInput(key, m)
  const jwsSignature = signatureFor(key, Buffer.from(text), Buffer.from(given.jws.split('.')[2], 'base64url'))
  const { name, algorithm, secret_key, owner, project, type, sequence, time, salt, payload } = given
  return {
    name, algorithm, secret_key, owner, project, type, sequence, time, salt, payload,
    did, key: m.key, audience: hex(m.audience), payload_digest: hex(tagged('w3b/payload/1', m.salt, m.payload)),
    signing_input: hex(signed), signature: hex(signature), id: hex(tagged('w3b/message/1', signed)),
    envelope: hex(protobuf(m, signature)), jws: text + '.' + b64url(jwsSignature), jws_id: hex(tagged('w3b/message/1', text)),
  }
}

/** Writes the device's state so that a crash leaves the old or the new one. */
function store(path, state) {
  const file = openSync(path + '.new', 'w', 0o600)
  writeSync(file, JSON.stringify(state, null, 2))
  fsyncSync(file)
  closeSync(file)
  renameSync(path + '.new', path)
}

/** Sends the same bytes until they are accepted or refused for ever. */
async function deliver({ url, project, tries }, type, body) {
  let last
  for (let n = 0; n < Number(tries); n++) {
    try {
      const answer = await fetch(`${url}/v1/projects/${project}/events`, {
        method: 'POST', headers: { 'Content-Type': type }, body, signal: AbortSignal.timeout(30_000),
      })
      last = { status: answer.status, body: await answer.json().catch(() => ({ code: 'none', detail: answer.statusText })) }
      if (![408, 503, 504].includes(answer.status)) return last
      last.wait = Number(answer.headers.get('retry-after') ?? 1)
    } catch (error) {
      last = { status: 0, body: { code: 'unreachable', detail: String(error.cause ?? error) }, wait: 1 }
    }
    console.error(`${last.body.code}: ${last.body.detail}; trying again`)
    await new Promise((resolve) => setTimeout(resolve, last.wait * 1000))
  }
  return last
}

async function send(keyfile, data, options) {
  const state = JSON.parse(readFileSync(keyfile, 'utf8'))
  const key = new Key(state.algorithm, unhex(state.secret_key))
  for (let attempt = 0; ; attempt++) {
    const m = {
      audience: projectId(options.owner, options.project), key: keyId(key.didKey()), type: options.type,
      sequence: (BigInt(state.epoch) << 32n) | BigInt(state.counter), time: BigInt(Date.now()),
      salt: randomBytes(16), payload: Buffer.from(data),
    }
    // The number is used up before the message leaves: it must never stand in two messages.
    state.counter += 1
    store(keyfile, state)
    const { status, body } = options.form === 'jws'
      ? await deliver(options, 'application/jose', jws(key, m))
      : await deliver(options, 'application/vnd.w3bstream.envelope', protobuf(m, key.sign(signingInput(m))))
    if (attempt === 0 && ['too-old', 'conflict'].includes(body.code)) {
      // The device has lost its counter: it goes on in the next boot epoch.
      state.epoch = body.next_epoch ?? state.epoch + 1
      state.counter = 0
      continue
    }
    console.log(JSON.stringify(body))
    return status === 200 || status === 201 ? 0 : 1
  }
}

function make(keyfile, { algorithm }) {
  if (existsSync(keyfile)) throw new Error(`${keyfile} is there already; a device's key is not overwritten`)
  const secret = randomBytes(32)
  const key = new Key(algorithm, secret)
  store(keyfile, { algorithm, secret_key: hex(secret), epoch: 0, counter: 0 })
  console.log(key.didKey())
  return 0
}

const text = (value) => ({ type: 'string', default: value })
const { values, positionals: [command, keyfile, data] } = parseArgs({
  allowPositionals: true,
  options: {
    algorithm: text('EdDSA'), url: text('http://127.0.0.1:8889'), owner: text(''), project: text(''),
    type: text('default'), form: text('envelope'), tries: text('10'),
  },
})
if (command === 'vectors') {
  console.log(JSON.stringify(JSON.parse(readFileSync(0, 'utf8')).map(vector), null, 2))
} else if (command === 'new' && keyfile) {
  process.exitCode = make(keyfile, values)
} else if (command === 'send' && keyfile && data !== undefined && values.owner && values.project) {
  process.exitCode = await send(keyfile, data, values)
} else {
  console.error('usage: device.mjs new KEYFILE | send KEYFILE --owner DID --project NAME [--type T] DATA | vectors')
  process.exitCode = 2
}
