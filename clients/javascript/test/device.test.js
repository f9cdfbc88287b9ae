// Queue, numbers and refusals against a node of the test's own.

import assert from 'node:assert/strict'
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { afterEach, beforeEach } from 'node:test'
import { Device, Key, MemoryStore, QueueFull, readAnswer } from '../src/index.js'
import { FileStore } from '../src/file-store.js'
import { readReason } from '../src/mqtt.js'

const KEY = new Key('EdDSA', new Uint8Array(32).fill(0x21))
const OK = { kind: 'accepted', duplicate: false }
const never = new Promise(() => {})
const refused = (code, nextEpoch) => ({ kind: 'refused', code, detail: '', nextEpoch })
const later = { kind: 'later', code: 'overloaded', detail: '', wait: 0 }
const words = (entry) => new TextDecoder().decode(entry.payload)
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

let folder
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'w3b-')) })
afterEach(() => rmSync(folder, { recursive: true }))
const file = (options) => new FileStore(join(folder, 'device.journal'), options)

/** A started device and a transport that asks `judge(entry)`. */
async function device(judge, options = {}) {
  const log = { sent: [], accepted: [], refused: [] }
  const transport = {
    window: 4, open: async () => {}, close: async () => {},
    send: async (entry) => {
      log.sent.push(entry)
      return judge(entry)
    },
  }
  const made = new Device(KEY, {
    owner: 'did:key:zOwner', project: 'p', transport, store: new MemoryStore(), firstWait: 0.01, longestWait: 0.02,
    onAccepted: (entry) => log.accepted.push(entry), onRefused: (entry, { code }) => log.refused.push([words(entry), code]),
    ...options,
  })
  await made.start()
  return { made, log }
}

test('a transient refusal is tried again with the same bytes', async () => {
  const answers = [later, later, OK]
  const { made, log } = await device(() => answers.shift())
  await made.send('1')
  assert.ok(await made.flush(5))
  assert.equal(log.sent.length, 3)
  assert.ok(log.sent.every((e) => e.body === log.sent[0].body))
  assert.deepEqual([log.accepted.length, log.refused], [1, []])
  await made.close()
})

test('the waits grow, and what the node asks for is kept', async () => {
  // Without an answer's own wait: 25 to 50 ms, 50 to 100, then 100 to 200.
  for (const [wait, shortest] of [[0, 100], [0.4, 400]]) {
    const begin = performance.now()
    const { made, log } = await device(() => ({ ...later, wait }), { firstWait: 0.05, longestWait: 0.2 })
    await made.send('1')
    await pause(1000)
    await made.close()
    const most = 3 + (performance.now() - begin) / shortest
    assert.ok(log.sent.length >= 2 && log.sent.length <= most, `${log.sent.length} tries`)
  }
})

test('after the last counter comes the next epoch, and it waits for the older one', async () => {
  const first = await device(() => never, { store: file() })
  await first.made.close()
  const path = join(folder, 'device.journal')
  writeFileSync(path, readFileSync(path, 'utf8').replace('"reserved":0', '"reserved":4294967295'))
  const store = file()
  const { made, log } = await device(() => never, { store })
  await made.send('0')
  await made.send('1')
  assert.deepEqual(store.first(9).map((e) => e.sequence), [0xffffffffn, 1n << 32n])
  await pause(300)
  assert.deepEqual(log.sent.map(words), ['0'])
})

test('a permanent refusal is told and is not in the way; a duplicate counts as accepted', async () => {
  const { made, log } = await device((e) => (words(e) === '1' ? refused('revoked') : { ...OK, duplicate: true }))
  await Promise.all([made.send('1'), made.send('2')])
  assert.ok(await made.flush(5))
  assert.deepEqual(log.refused, [['1', 'revoked']])
  assert.deepEqual(log.accepted.map(words), ['2'])
  assert.equal(log.sent.length, 2)
  await made.close()
})

test('the queue outlives the process and no number comes twice', async () => {
  const first = file()
  const one = await device(() => never, { store: first })
  for (let n = 0; n < 100; n++) await one.made.send(String(n))
  const before = first.first(1000)
  // As a crash: what the device would still do is never done, and half a line is left.
  await first.release()
  appendFileSync(join(folder, 'device.journal'), '{"put":{"tick')
  const seen = []
  const two = await device(() => OK, { store: file(), onAccepted: (e) => seen.push(e) })
  await two.made.send('100')
  assert.ok(await two.made.flush(10))
  assert.deepEqual(seen.map((e) => e.sequence).slice(0, 100), before.map((e) => e.sequence))
  assert.deepEqual(seen.map((e) => e.id).slice(0, 100), before.map((e) => e.id), 'what was signed stays as it was')
  assert.equal(seen[100].sequence, 128n, 'what was reserved (2 blocks of 64) is not used again')
  assert.equal(seen[100].ticket, 101)
  await two.made.close()
})

test('a journal of many changes is written anew, and a ticket is not used twice', async () => {
  const one = await device(() => OK, { store: file() })
  for (let n = 0; n < 700; n++) await one.made.send('x')
  assert.ok(await one.made.flush(10))
  await one.made.close()
  assert.ok(readFileSync(join(folder, 'device.journal'), 'utf8').split('\n').length < 1010)
  const two = await device(() => OK, { store: file() })
  assert.equal(await two.made.send('x'), 701)
  await two.made.close()
})

test('a damaged journal is said to be', async () => {
  writeFileSync(join(folder, 'device.journal'), '{"state":null,"ticket":0}\nrubbish\n{"ticket":0}\n')
  await assert.rejects(device(() => OK, { store: file() }), /line 2, is damaged/)
})

test('a full queue takes no more, or drops the oldest', async () => {
  const full = await device(() => never, { maxQueue: 5 })
  for (let n = 0; n < 5; n++) await full.made.send(String(n))
  await assert.rejects(full.made.send('5'), QueueFull)
  const drops = await device(() => never, { maxQueue: 5, whenFull: 'drop-oldest' })
  for (let n = 0; n < 6; n++) await drops.made.send(String(n))
  assert.deepEqual(drops.log.refused, [['4', 'dropped']], 'the oldest that is not under way')
  assert.equal(drops.made.waiting, 5)
})

test('a store belongs to one device and one process', async () => {
  const one = await device(() => OK, { store: file() })
  await assert.rejects(async () => {
    writeFileSync(join(folder, 'device.journal.lock'), '1')
    await file().open('x')
  }, /process 1 has/)
  await one.made.close()
  await assert.rejects(file().open('another'), /belongs to did:key/)
})

test('a wiped device goes on in the epoch that it is told', async () => {
  let highest = 4
  const judge = async (e) => {
    await pause(Math.random() * 3)
    if (Number(e.sequence >> 32n) < highest) return refused('too-old', highest + 1)
    highest = Number(e.sequence >> 32n)
    return OK
  }
  const { made, log } = await device(judge, { store: file() })
  for (let n = 0; n < 10; n++) await made.send(String(n))
  assert.ok(await made.flush(10))
  assert.deepEqual(log.accepted.map(words).sort(), [...'0123456789'])
  assert.ok(log.accepted.every((e) => e.sequence >> 32n === 5n))
  assert.deepEqual(log.refused, [])
  await made.close()
  const store = file()
  const again = await device(() => OK, { store })
  assert.equal(store.epoch, 5, 'the epoch is kept')
  await again.made.close()
})

test('after a conflict its own epoch and one; two devices with one key do not fight for ever', async () => {
  const { made, log } = await device((e) => (e.sequence >> 32n ? OK : refused('conflict')))
  await made.send('1')
  assert.ok(await made.flush(5))
  assert.deepEqual(log.accepted.map((e) => e.sequence), [1n << 32n])
  const two = await device(() => refused('conflict'))
  await two.made.send('1')
  assert.ok(await two.made.flush(5))
  assert.deepEqual([two.log.sent.length, two.log.refused], [5, [['1', 'conflict']]])
  const last = await device(() => refused('too-old', 2 ** 32))
  await last.made.send('1')
  assert.ok(await last.made.flush(5))
  assert.deepEqual(last.log.refused, [['1', 'too-old']], 'no epoch is left')
})

test('no newer epoch is sent while an older message is without answer', async () => {
  const out = []
  let release
  const gate = new Promise((resolve) => { release = resolve })
  const judge = async (e) => {
    const [epoch, word] = [Number(e.sequence >> 32n), words(e)]
    out.push([epoch, word])
    if (epoch === 0 && word === '0' && out.length < 3) {
      await gate
      return later // it has it, but its answer was lost
    }
    return epoch === 0 && word === '1' ? refused('conflict') : OK
  }
  const { made } = await device(judge)
  await made.send('0')
  await made.send('1')
  await pause(300)
  assert.deepEqual(out, [[0, '0'], [0, '1']], 'the message signed anew waits for the older one')
  release()
  assert.ok(await made.flush(5))
  assert.deepEqual(out.slice(2), [[0, '0'], [1, '1']])
})

test('what answers mean', () => {
  const code = (status, body, wait) => readAnswer(status, wait, body)
  assert.deepEqual(code(409, '{"code":"too-old","detail":"d","next_epoch":7}'), { ...refused('too-old', 7), detail: 'd' })
  assert.equal(code(200, '{"duplicate":true}').duplicate, true)
  assert.deepEqual(code(503, '{"code":"overloaded"}', '3'), { ...later, wait: 3 })
  for (const [status, body] of [[404, '<html>'], [500, '{"code":"x"}'], [429, '{"code":"x"}'], [302, ''], [403, '[]'], [403, 'null']]) {
    assert.equal(code(status, body).kind, 'later', "not the node's own word")
  }
  assert.equal(readReason(0x10).kind, 'accepted')
  assert.deepEqual(readReason(0x83, 'too-old: a: b; next-epoch=7'), { ...refused('too-old', 7), detail: 'a: b; next-epoch=7' })
  assert.equal(readReason(0x87).code, 'mqtt-0x87')
})
