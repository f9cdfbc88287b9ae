// The published vectors. DEVICES_MD names docs/devices.md if the package stands outside of the repository.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { p256 } from '@noble/curves/nist.js'
import { Key, WebCryptoKey, envelope, jws, keyId, projectId, signingInput } from '../src/index.js'
import { hex, unhex } from '../src/bytes.js'

const doc = readFileSync(process.env.DEVICES_MD ?? new URL('../../../docs/devices.md', import.meta.url), 'utf8')
const vectors = JSON.parse(/<!-- vectors: begin -->\n```json\n([^]*?)```/.exec(doc)[1])

function made(v) {
  const key = new Key(v.algorithm, unhex(v.secret_key))
  const did = v.did.startsWith('did:jwk:') ? key.didJwk() : key.didKey()
  const message = {
    audience: projectId(v.owner, v.project), key: keyId(did), type: v.type, sequence: BigInt(v.sequence), time: BigInt(v.time),
    salt: unhex(v.salt), payload: unhex(v.payload),
  }
  return { key, did, message }
}

test('there are vectors', () => assert.ok(vectors.length >= 4))

for (const v of vectors) {
  test(`each byte is as published: ${v.name}`, async () => {
    const { key, did, message } = made(v)
    assert.equal(did, v.did)
    assert.equal(message.key, v.key)
    assert.equal(hex(message.audience), v.audience)
    assert.equal(hex(signingInput(message)), v.signing_input)
    assert.equal(hex(key.sign(signingInput(message))), v.signature)
    const enveloped = await envelope(key, message)
    assert.deepEqual([hex(enveloped.body), enveloped.id], [v.envelope, v.id])
    const signed = await jws(key, message)
    assert.deepEqual([new TextDecoder().decode(signed.body), signed.id], [v.jws, v.jws_id])
  })
}

test('every part is signed', async () => {
  const { key, message } = made(vectors[0])
  const changes = {
    audience: new Uint8Array(32), key: message.key + 'x', type: 'other', sequence: 8n, time: 1n, salt: new Uint8Array(16),
    payload: new Uint8Array(1),
  }
  const ids = new Set([(await envelope(key, message)).id])
  for (const [name, value] of Object.entries(changes)) ids.add((await envelope(key, { ...message, [name]: value })).id)
  assert.equal(ids.size, 8)
})

test('nonsense is not signed', async () => {
  const { key, message } = made(vectors[0])
  for (const wrong of [{ type: 'Upper' }, { type: '' }, { type: 'x'.repeat(64) }, { salt: new Uint8Array(0) }]) {
    await assert.rejects(envelope(key, { ...message, ...wrong }))
    await assert.rejects(jws(key, { ...message, ...wrong }))
  }
})

for (const algorithm of ['EdDSA', 'ES256']) {
  test(`a key that WebCrypto keeps signs ${algorithm}`, async () => {
    const key = await WebCryptoKey.generate(algorithm)
    assert.equal(key.pair.privateKey.extractable, false)
    const again = await WebCryptoKey.from(key.pair)
    assert.equal(again.didKey(), key.didKey())
    for (let n = 0; n < 8; n++) {
      const [message, signature] = [new Uint8Array([n]), await key.sign(new Uint8Array([n]))]
      if (algorithm === 'ES256') assert.ok(p256.verify(signature, message, key.publicKey, { lowS: true }), 'low s')
      else assert.ok(await crypto.subtle.verify('Ed25519', key.pair.publicKey, signature, message))
    }
  })
}
