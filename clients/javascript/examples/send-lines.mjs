// Sends each line of standard input as a message, and ends when all are acknowledged.
//
// usage: send-lines.mjs [--algorithm A] [--jws] [--did DID] KEYFILE STORE OWNER PROJECT TYPE URL < lines
//
// With `-` as TYPE it prints its DID and ends. URL: http, https, mqtt, mqtts, ws or wss.

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { Device, HttpTransport, Key } from 'w3bstream-device'
import { FileStore } from 'w3bstream-device/file-store'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { algorithm: { type: 'string', default: 'EdDSA' }, jws: { type: 'boolean' }, did: { type: 'string' } },
})
const [keyfile, path, owner, project, type, url] = positionals
if (!url) throw new Error('usage: send-lines.mjs KEYFILE STORE OWNER PROJECT TYPE URL < lines')
const hex = (bytes) => Buffer.from(bytes).toString('hex')
const say = (what) => console.log(JSON.stringify(what))

if (!existsSync(keyfile)) {
  const made = { algorithm: values.algorithm, secret_key: hex(Key.generate(values.algorithm).export()) }
  writeFileSync(keyfile, JSON.stringify(made), { mode: 0o600, flag: 'wx', flush: true })
}
const saved = JSON.parse(readFileSync(keyfile, 'utf8'))
const key = new Key(saved.algorithm, Buffer.from(saved.secret_key, 'hex'))
if (type === '-') {
  console.log(key.didKey())
} else {
  let transport
  if (url.startsWith('http')) transport = new HttpTransport(url)
  else transport = new (await import('w3bstream-device/mqtt')).MqttTransport(url)
  const device = new Device(key, {
    did: values.did, owner, project, transport, store: new FileStore(path), form: values.jws ? 'jws' : 'envelope',
    onAccepted: (e, o) => say({ accepted: 'yes', id: e.id, hex: hex(e.payload), duplicate: o.duplicate }),
    onRefused: (e, o) => say({ refused: o.code, hex: hex(e.payload), detail: o.detail }),
    onLater: (o) => console.error(`${o.code}: ${o.detail}; trying again in ${o.wait.toFixed(1)} s`),
  })
  await device.start()
  let count = 0
  for await (const line of createInterface({ input: process.stdin })) {
    await device.send(line, type)
    count++
  }
  say({ queued: count })
  await device.flush()
  await device.close()
  say({ done: true })
}
